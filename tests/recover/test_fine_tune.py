"""Fine-tuning: what is trained, what is frozen, what is logged, which weights come back."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.errors import OptionError
from kerasurgeon.recover import ACE, AttentionTransfer, DarkKnowledge, FeatureMatching, Poly
from tests.recover.networks import CLASSES, assert_same_weights, bridged, images, residual, weights

layers = keras.layers


def test_without_a_teacher_it_is_what_keras_does() -> None:
    model, (x, y) = residual(1), images(24)
    before = weights(model)
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    twin.compile(keras.optimizers.SGD(0.05, momentum=0.9), "sparse_categorical_crossentropy", metrics=["accuracy"])
    rates = keras.callbacks.LearningRateScheduler(lambda epoch: 0.05 * (1 - epoch / 2) ** 0.9)
    batches = [(x[start : start + 8], y[start : start + 8]) for start in (0, 8, 16)]
    for epoch in range(2):
        for one in batches:
            twin.optimizer.learning_rate = rates.schedule(epoch)
            twin.train_on_batch(*one)
    result = ks.fine_tune(model, batches, epochs=2, optimizer=keras.optimizers.SGD(0.05, momentum=0.9), verbose=0)
    for one, other in zip(result.model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert set(result.history) == {"loss", "accuracy", "learning_rate"}
    assert_same_weights(before, weights(model))
    assert result.model.compiled


@pytest.mark.usefixtures("untraced")
def test_the_loss_is_that_of_the_labels_and_of_the_teacher() -> None:
    model, (x, y) = residual(4), images(16)
    student, bridge = bridged(model)
    for layer in student.layers:  # so that the loss before the step can be computed by hand
        layer.trainable = not isinstance(layer, layers.BatchNormalization)
    losses: list[Any] = [
        DarkKnowledge(2.0, 3.0),
        (AttentionTransfer("auto", 10.0), 0.5),
        FeatureMatching(bridge),
        ACE(),
    ]
    result = ks.fine_tune(
        student,
        (x, y),
        teacher=model,
        distillation=losses,
        epochs=1,
        batch_size=16,
        optimizer=keras.optimizers.SGD(1e-6),
        verbose=0,
    )

    def tensors(one: keras.Model, name: str) -> Any:
        return np.asarray(keras.Model(one.input, one.get_layer(name).output)(x, training=False), np.float64)

    def logits(one: keras.Model) -> Any:
        kernel, bias = one.get_layer("scores").get_weights()
        return tensors(one, "pool") @ kernel + bias

    def soft(numbers: Any, temperature: float = 1.0) -> Any:
        powers = np.exp(numbers / temperature)
        return powers / powers.sum(axis=-1, keepdims=True)

    ours, theirs = logits(student), logits(model)
    dark = -3 * 4 * (soft(theirs, 2.0) * np.log(soft(ours, 2.0))).sum(axis=-1).mean()
    attention = 0.0
    for name in ("b1_add", "b3_add"):
        maps = [np.square(tensors(one, name)).sum(axis=-1).reshape(16, -1) for one in (model, student)]
        units = [one / np.linalg.norm(one, axis=-1, keepdims=True) for one in maps]
        attention += 0.5 * 10 * np.square(units[0] - units[1]).mean()
    matching = np.square(tensors(model, "b0_add") - tensors(student, "b0_add")).mean()
    onehot = np.eye(CLASSES)[y]
    right = (theirs.argmax(axis=-1) == y)[:, None]
    target = np.where(right, 0.3 * soft(theirs) + 0.7 * onehot, onehot)
    ace = -(target * np.log(soft(ours))).sum(axis=-1).mean()
    labels = -np.log(soft(ours)[np.arange(16), y]).mean()
    found = {name: values[0] for name, values in result.history.items()}
    np.testing.assert_allclose(found["dark_knowledge"], dark, rtol=1e-4)
    np.testing.assert_allclose(found["attention_transfer"], attention, rtol=1e-3)
    np.testing.assert_allclose(found["feature_matching"], matching, rtol=1e-4)
    np.testing.assert_allclose(found["ace"], ace, rtol=1e-4)
    np.testing.assert_allclose(found["loss"], labels + dark + attention + matching + ace, rtol=1e-4)


@pytest.mark.usefixtures("untraced")
@pytest.mark.spread(2)
@pytest.mark.parametrize("fused", [False, True])
def test_what_lies_before_the_change_is_frozen(fused: bool) -> None:
    model, data = residual(3, fused=fused), images(16)
    student, bridge = bridged(model, "b0_add", "b1_add")
    before, teacher = weights(student), weights(model)
    result = ks.fine_tune(
        student, data, teacher=model, distillation=[DarkKnowledge()], freeze_before=bridge, epochs=1, verbose=0
    )
    moved = {path.split("/")[0] for path, array in weights(result.model).items() if (array != before[path]).any()}
    head = "scores" if fused else "logits"
    assert moved == {*bridge.layers, "b2_conv", "b2_bn", head}
    assert_same_weights(before, weights(student))
    assert_same_weights(teacher, weights(model))
    assert [layer.trainable for layer in result.model.layers] == [layer.trainable for layer in student.layers]
    found = ks.fine_tune(
        student, data, teacher=model, distillation=DarkKnowledge(), freeze_before="changes", epochs=1, verbose=0
    )
    assert_same_weights(weights(result.model), weights(found.model))


@pytest.mark.usefixtures("untraced")
@pytest.mark.usefixtures("untraced")
def test_the_best_weights_come_back_and_the_last_on_request() -> None:
    model, data, held_out = residual(1, drop=0.5), images(16), images(16, seed=1)
    found = {}
    for best in (True, False):
        result = ks.fine_tune(
            model,
            data,
            held_out,
            epochs=4,
            optimizer=keras.optimizers.SGD(0.5),
            restore_best=best,
            monitor="val_loss",
            verbose=0,
        )
        losses = list(result.history["val_loss"])
        found[best] = result.model.evaluate(*held_out, verbose=0)[0]
        np.testing.assert_allclose(found[best], min(losses) if best else losses[-1], rtol=1e-4)
        assert result.best_epoch == (int(np.argmin(losses)) if best else None)
    by_metric = ks.fine_tune(model, data, held_out, epochs=3, verbose=0)
    accuracies = list(by_metric.history["val_accuracy"])
    assert by_metric.best_epoch == int(np.argmax(accuracies))


@pytest.mark.sweep
def test_from_the_teacher_alone_and_with_statistics_anew() -> None:
    model, (x, _) = residual(2), images(32)
    student, _ = bridged(model)
    losses = [
        DarkKnowledge(),
        keras.distillation.LogitsDistillation(2.0),
        keras.distillation.FeatureDistillation("mse", "pool", "pool"),
    ]
    result = ks.fine_tune(
        student,
        x,
        x[:8],
        loss=None,
        metrics=None,
        teacher=model,
        distillation=losses,
        epochs=2,
        verbose=0,
        recalibrate=1,
    )
    assert result.history["loss"][1] < result.history["loss"][0]
    assert {"dark_knowledge", "logits_distillation", "val_feature_distillation"} <= set(result.history)
    last = ks.fine_tune(
        student, x, x[:8], loss=None, metrics=None, teacher=model, distillation=losses, epochs=2, verbose=0
    )
    again = ks.recalibrate_batch_norm(last.model, x[np.random.default_rng((0, 1)).permutation(32)], batches=1)
    for one, other in zip(result.model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_several_outputs_by_name() -> None:
    inputs = keras.Input((4,), name="numbers")
    x = layers.Dense(6, activation="relu", name="hidden")(inputs)
    outputs = {"kind": layers.Dense(3, activation="softmax", name="kind")(x), "size": layers.Dense(1, name="size")(x)}
    model = keras.Model(inputs, outputs)
    data = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")
    labels = {"kind": np.arange(16) % 3, "size": data[:, :1]}
    result = ks.fine_tune(
        model,
        ({"numbers": data}, labels),
        ({"numbers": data}, labels),
        epochs=2,
        verbose=0,
        teacher=model,
        loss={"kind": "sparse_categorical_crossentropy", "size": "mse"},
        metrics={"kind": ["accuracy"], "size": ["mae"]},
        distillation=FeatureMatching("hidden"),
    )
    assert {"val_kind_accuracy", "val_size_mae", "feature_matching"} <= set(result.history)
    assert set(result.model(data)) == {"kind", "size"}
    with pytest.raises(OptionError, match="chooses among classes"):
        ks.fine_tune(model, (data, labels), loss=None, teacher=model, distillation=[DarkKnowledge()], verbose=0)


@pytest.mark.sweep
def test_mixed_precision() -> None:
    keras.config.set_dtype_policy("mixed_float16")
    model, data = residual(4), images(16)
    student, bridge = bridged(model)
    trained = ks.train_bridges(model, student, bridge, data, epochs=2, verbose=0)
    assert trained.history["bridge/loss"][1] < trained.history["bridge/loss"][0]
    result = ks.fine_tune(
        trained.model,
        data,
        data,
        teacher=model,
        distillation=[DarkKnowledge(), AttentionTransfer()],
        epochs=2,
        verbose=0,
    )
    assert np.isfinite([*result.history["loss"], *result.history["val_loss"]]).all()
    assert result.model.get_layer("bridge_conv").compute_dtype == "float16"


@pytest.mark.usefixtures("untraced")
def test_bad_input() -> None:
    model, (x, y) = residual(2), images(8)
    student, bridge = bridged(model)
    lost = keras.Model(model.input, model.output)
    one_hot = np.eye(CLASSES)[y]
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (x, {}, "has no labels"),
        ((x, y + 1), {}, "no class of the model"),
        ((x, y - 5), {}, "no class of the model"),
        ((x, one_hot), {}, "wrong shape"),
        ((x, y), {"loss": "categorical_crossentropy"}, "wrong shape"),
        ((x, y[:5]), {}, "does not hold one of the labels per sample"),
        ((x[:, :4], y), {}, "does not fit the model's inputs"),
        ((x[:0], y[:0]), {}, "is empty"),
        (iter([(x, y)]), {}, "is a generator"),
        (None, {}, "needs data"),
        ((x, y), {"validation_data": (x[..., :2], y)}, "'validation_data' does not fit"),
        ((x, y), {"teacher": model}, "nothing to learn from it"),
        ((x, y), {"distillation": [DarkKnowledge()]}, "needs a teacher"),
        ((x, y), {"teacher": model, "distillation": ["dark"]}, "option 'distillation'"),
        ((x, y), {"loss": None}, "nothing to train for"),
        ((x, y), {"schedule": "poly"}, "'schedule'"),
        ((x, y), {"epochs": 0}, "'epochs'"),
        ((x, y), {"monitor_mode": "up"}, "'monitor_mode'"),
        ((x, y), {"freeze_before": "bridge_comv"}, "freeze_before names"),
        ((x, y), {"freeze_before": "changes"}, "needs a teacher"),
        (
            (x, y),
            {"optimizer": keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 10))},
            "schedule of its own",
        ),
    ]
    for data, options, message in cases:
        with pytest.raises(OptionError, match=message):
            ks.fine_tune(student, data, **{"verbose": 0, "epochs": 1, **options})
    with pytest.raises(OptionError, match="is not compiled"):
        ks.fine_tune(lost, (x, y), verbose=0)
    wide = keras.Model(model.input, layers.Dense(5, activation="softmax")(model.get_layer("pool").output))
    with pytest.raises(OptionError, match="do not give the same outputs"):
        ks.fine_tune(student, (x, y), teacher=wide, distillation=[DarkKnowledge()], verbose=0)
    with pytest.raises(OptionError, match="'val_acuracy' is not among what is logged"):
        ks.fine_tune(student, (x, y), (x, y), monitor="val_acuracy", epochs=1, verbose=0)
    assert Poly().rate(1.0, 0, 5) == 1.0
    assert bridge.layers
