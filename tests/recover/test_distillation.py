"""Distillation losses against plain numpy; what they compare; where gradients go."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.errors import OptionError
from kerasurgeon.recover import ACE, AttentionTransfer, DarkKnowledge, FeatureMatching
from kerasurgeon.recover.pairing import Pair
from kerasurgeon.recover.trainee import Term, Trainee
from tests.recover.networks import bridged, images, residual

Array = np.ndarray[Any, Any]


def draw(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(0, 2, shape).astype("float32")


def softmax(logits: Array) -> Array:
    powers = np.exp(logits.astype("float64") - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


@pytest.mark.parametrize("shape", [(6, 5), (2, 3, 4, 5)])
def test_dark_knowledge(shape: tuple[int, ...]) -> None:
    teacher, student = draw(*shape), draw(*shape, seed=1)
    for temperature, strength in ((5.0, 4.0), (1.0, 0.5)):
        each = (softmax(teacher / temperature) * np.log(softmax(student / temperature))).sum(axis=-1)
        wanted = -strength * temperature**2 * each.mean()
        got = DarkKnowledge(temperature, strength).compute_loss(teacher, student)
        np.testing.assert_allclose(float(got), wanted, rtol=1e-5)


def test_the_gradient_of_dark_knowledge_is_least_where_the_student_agrees() -> None:
    teacher = draw(4, 5)
    best = float(DarkKnowledge().compute_loss(teacher, teacher))
    for seed in range(1, 5):
        assert float(DarkKnowledge().compute_loss(teacher, teacher + 0.1 * draw(4, 5, seed=seed))) > best


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e5])
def test_attention_transfer(scale: float) -> None:
    first, second = scale * draw(3, 4, 5, 6), draw(3, 4, 5, 2, seed=1)

    def attention(features: Array) -> Array:
        flat = np.square(features.astype("float64")).sum(axis=-1).reshape(3, -1)
        return np.asarray(flat / np.linalg.norm(flat, axis=-1, keepdims=True))

    wanted = 7.0 * (np.square(attention(first) - attention(second)).mean() + 0.0)
    got = AttentionTransfer(["one"], strength=7.0).compute_loss(first, second)
    np.testing.assert_allclose(float(got), wanted, rtol=1e-4)
    turned = AttentionTransfer(["one"], 7.0, channel_axis=1).compute_loss(
        np.moveaxis(first, -1, 1), np.moveaxis(second, -1, 1)
    )
    np.testing.assert_allclose(float(turned), wanted, rtol=1e-4)
    both = AttentionTransfer(["one", "two"], strength=7.0).compute_loss([first, first], [second, first])
    np.testing.assert_allclose(float(both), wanted, rtol=1e-4)
    assert np.isfinite(float(AttentionTransfer(["one"]).compute_loss(0 * first, second)))


def test_feature_matching() -> None:
    first, second = draw(3, 4, 5), draw(3, 4, 5, seed=1)
    got = FeatureMatching(["one", "two"], strength=2.0).compute_loss([first, first], [second, first + 1])
    wanted = 2.0 * (np.square(first.astype("float64") - second).mean() + 1.0)
    np.testing.assert_allclose(float(got), wanted, rtol=1e-5)


@pytest.mark.parametrize("weights", [None, [1.0, 0.5, 0.0, 3.0]])
@pytest.mark.parametrize("last_axis", [False, True])
def test_ace(weights: list[float] | None, last_axis: bool) -> None:
    teacher, student = draw(2, 5, 6, 4), draw(2, 5, 6, 4, seed=1)
    labels = np.random.default_rng(2).integers(0, 4, (2, 5, 6))
    labels[:, :3] = teacher.argmax(axis=-1)[:, :3]  # the teacher is right about half of them
    labels[0, 0] = 255
    total, count = 0.0, 0
    of_teacher, of_student = softmax(teacher), softmax(student)
    for place in np.ndindex(labels.shape):
        label = int(labels[place])
        if label == 255:
            continue
        target = np.eye(4)[label]
        if of_teacher[place].argmax() == label:
            target = 0.3 * of_teacher[place] + 0.7 * target
        factor = np.ones(4) if weights is None else np.array(weights)
        total -= float((factor * target * np.log(of_student[place])).sum())
        count += 1
    given = labels[..., None] if last_axis else labels
    loss = ACE(kappa=0.3, class_weights=weights, strength=2.0)
    np.testing.assert_allclose(float(loss.compute_loss(teacher, student, y_true=given)), 2 * total / count, rtol=1e-5)
    nothing = loss.compute_loss(teacher, student, y_true=np.full_like(labels, 255))
    assert float(nothing) == 0.0
    with pytest.raises(OptionError, match="ACE needs labels"):
        loss.compute_loss(teacher, student)


@pytest.mark.parametrize(
    "loss",
    [
        DarkKnowledge(3.0, 2.0),
        AttentionTransfer("auto", 10.0),
        AttentionTransfer(["a", "b"], 10.0, channel_axis=1),
        FeatureMatching(["a", "b"], 0.5),
        FeatureMatching(ks.Bridge("bridge", "a", "b", new_exit="c")),
        ACE(0.5, [1.0, 2.0], ignore_label=None, strength=3.0),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_losses_can_be_written_and_read(loss: Any) -> None:
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()


def test_nothing_is_learned_through_the_teacher() -> None:
    tf = pytest.importorskip("tensorflow")
    teacher, student = tf.constant(draw(2, 3, 3, 4)), tf.constant(draw(2, 3, 3, 4, seed=1))
    labels = np.argmax(teacher, axis=-1)
    for loss in (DarkKnowledge(), AttentionTransfer(["a"]), FeatureMatching("a"), ACE()):
        with tf.GradientTape() as tape:
            tape.watch([teacher, student])
            value = loss.compute_loss(teacher, student, y_true=labels)
        ours, theirs = tape.gradient(value, [student, teacher])
        assert theirs is None
        assert float(tf.reduce_max(tf.abs(ours))) > 0


def test_a_trainee_trains_the_student_only() -> None:
    tf = pytest.importorskip("tensorflow")
    model = residual(1)
    student, teacher = (keras.Model(one.input, [one.output, [one.output]]) for one in (residual(1), model))
    trainee = Trainee(student, teacher, [Term("dark", DarkKnowledge(), 1.0, (0,))], None)
    trainee.compile("sgd", loss=None)
    x, _ = images(4)
    with tf.GradientTape() as tape:
        value = trainee.compute_loss(x, None, trainee(x, training=True))
    found = tape.gradient(value, [*[v.value for v in student.weights], *[v.value for v in teacher.weights]])
    ours, theirs = found[: len(student.weights)], found[len(student.weights) :]
    assert all(gradient is None for gradient in theirs)
    assert sum(gradient is not None for gradient in ours) == len(student.trainable_variables)
    assert {id(v) for v in trainee.trainable_variables} == {id(v) for v in student.trainable_variables}


def pair(teacher: keras.Model, student: keras.Model, changes: Any = None) -> Pair:
    return Pair(ks.lift(teacher), ks.lift(student), changes)


def test_attention_is_compared_at_additions_behind_the_change() -> None:
    model = residual(9)
    student, _ = bridged(model, "stem_bn", "b1_add")
    names = [str(one) for one, _ in AttentionTransfer().taps(pair(model, student))]
    # Of the additions 2 to 8 a third, from the first to the last.
    assert names == ["b2_add", "b5_add", "b8_add"]
    late, bridge = bridged(model, "b2_add", "b5_add")
    found = AttentionTransfer().taps(pair(model, late, bridge.layers))
    assert [str(one) for one, _ in found] == ["b6_add", "b8_add"]
    short = keras.Model(model.input, model.get_layer("b8_add").output)
    cut, _ = bridged(short, "stem_bn", "b6_add")
    with pytest.raises(OptionError, match="no addition"):  # b8 and b7 are among or before the last three
        AttentionTransfer().taps(pair(short, bridged(short, "stem_bn", "b7_add")[0]))
    assert [str(one) for one, _ in AttentionTransfer().taps(pair(short, cut))] == ["b7_add"]


def test_layers_that_cannot_be_compared() -> None:
    model = residual(2)
    student, bridge = bridged(model)
    both = pair(model, student)
    with pytest.raises(OptionError, match="has no layer 'b1_ad'") as caught:
        FeatureMatching("b1_ad").taps(both)
    assert "b1_add" in str(caught.value)
    with pytest.raises(OptionError, match="cannot be compared"):
        AttentionTransfer(["pool"]).taps(both)
    assert [tuple(map(str, tap)) for tap in FeatureMatching(bridge).taps(both)] == [("b0_add", "b0_add")]
    other = keras.Model(model.input, model.get_layer("pool").output)
    with pytest.raises(OptionError, match="do not give the same outputs"):
        pair(model, other)


@pytest.mark.parametrize(
    ("make", "option"),
    [
        (lambda: DarkKnowledge(temperature=0.0), "temperature"),
        (lambda: DarkKnowledge(strength=-1.0), "strength"),
        (lambda: ACE(kappa=1.5), "kappa"),
        (lambda: ACE(class_weights=[1.0, -1.0]), "class_weights"),
        (lambda: AttentionTransfer(layers=[]), "layers"),
        (lambda: FeatureMatching([]), "layers"),
    ],
)
def test_options_out_of_range(make: Any, option: str) -> None:
    with pytest.raises(OptionError, match=f"option '{option}'"):
        make()


def test_the_losses_serve_in_the_distiller_of_keras() -> None:
    inputs = keras.Input((4,))
    teacher, student = (keras.Model(inputs, keras.layers.Dense(3)(inputs)) for _ in range(2))
    distiller = keras.distillation.Distiller(teacher, student, [DarkKnowledge()])
    distiller.compile("sgd", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    history = distiller.fit(draw(8, 4), np.arange(8) % 3, epochs=1, verbose=0).history
    assert np.isfinite(history["distillation_loss"][0])
