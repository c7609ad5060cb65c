"""What a student can learn from its teacher, as losses: dark knowledge, attention, features, and ACE for segmentation.

Each is a ``keras.distillation.DistillationLoss``: ``compute_loss(teacher_outputs, student_outputs)`` is a number. So
they also serve in a ``keras.distillation.Distiller``, on models whose output is what the loss compares. With
``fine_tune`` each finds in the graphs what it compares (``taps``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from kerasurgeon.errors import OptionError
from kerasurgeon.ir.values import Value
from kerasurgeon.recover.bridges import Bridge
from kerasurgeon.recover.pairing import Pair
from kerasurgeon.recover.segmentation import checked_weights, squeezed, weights_of

ops = keras.ops
Taps = list[tuple[Value, Value]]


class GraphLoss(keras.distillation.DistillationLoss):
    """A loss that finds in the graphs of teacher and student what it compares.

    Attributes:
        needs_labels: Whether ``compute_loss`` takes the labels, as ``y_true``.
    """

    needs_labels = False

    def taps(self, pair: Pair) -> Taps:
        """The tensors to compare: pairs of one of the teacher's and one of the student's.

        Raises:
            OptionError: They cannot be found, or do not fit one another.
        """
        raise NotImplementedError

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """The loss of a config."""
        return cls(**config)


@keras.saving.register_keras_serializable(package="kerasurgeon")
class DarkKnowledge(GraphLoss):
    """What a teacher says of all classes, softened by a temperature.

    ``-strength * T^2 * sum over classes of p_teacher log p_student``, with ``p = softmax(logits / T)``, as the mean
    over the batch, and over positions where there are any. Several outputs are added up.

    Args:
        temperature: ``T``, above 0. The higher, the more the small probabilities count.
        strength: A factor.

    ``compute_loss`` takes logits, classes along the last axis. ``fine_tune`` finds them before the softmax, whether
    that is a layer or the activation of one.

    Reference:
        Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", arXiv:1503.02531.
    """

    def __init__(self, temperature: float = 5.0, strength: float = 4.0) -> None:
        self.temperature = _positive("temperature", temperature)
        self.strength = _positive("strength", strength)

    def taps(self, pair: Pair) -> Taps:
        """The logits of every output."""
        return pair.logits()

    def compute_loss(self, teacher_outputs: Any, student_outputs: Any, **kwargs: Any) -> Any:
        """The loss of a batch.

        Args:
            teacher_outputs: Logits, or a structure of several.
            student_outputs: Likewise.
            **kwargs: Not used.
        """
        total = 0.0
        for theirs, ours in _pairs(teacher_outputs, student_outputs):
            wanted = ops.softmax(theirs / self.temperature, axis=-1)
            each = -ops.sum(wanted * ops.log_softmax(ours / self.temperature, axis=-1), axis=-1)
            total = total + ops.mean(each)
        return self.strength * self.temperature**2 * total

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {"temperature": self.temperature, "strength": self.strength}


@keras.saving.register_keras_serializable(package="kerasurgeon")
class AttentionTransfer(GraphLoss):
    """Where a teacher looks: maps of the squares of its features, summed over channels.

    Of features ``x`` the map is ``A = sum over channels of x^2``, flattened and divided by its l2 norm, for each sample
    by itself. The loss is ``strength`` times the mean square of the difference of the maps of teacher and student,
    added up over layers. Numbers of channels may differ, sizes of images may not.

    Args:
        layers: Names of layers to compare; or ``"auto"``: of the ``n`` additions behind the first change, the last
            three layers of the network left out, ``max(2, ceil(n / 3))``, spread evenly.
        strength: A factor. As the maps have norm 1, their mean square is small: 1000 is what the authors use.
        channel_axis: The axis of channels; ``fine_tune`` sets it to 1 where the network has its channels first.

    Reference:
        Zagoruyko and Komodakis, "Paying more attention to attention", arXiv:1612.03928.
    """

    def __init__(self, layers: str | Sequence[str] = "auto", strength: float = 1000.0, channel_axis: int = -1) -> None:
        self.layers = "auto" if layers == "auto" else _names(layers)
        self.strength = _positive("strength", strength)
        self.channel_axis = channel_axis

    def taps(self, pair: Pair) -> Taps:
        """The tensors of the layers."""
        self.channel_axis = pair.channel_axis()
        names = pair.additions() if self.layers == "auto" else self.layers
        if not names:
            raise OptionError(
                "AttentionTransfer finds no addition behind what has changed.",
                got="no Add layer of the same size in teacher and student",
                hint="name layers that both have: AttentionTransfer(layers=[...])",
            )
        taps = [pair.named(name) for name in names]
        for theirs, ours in taps:
            one, other = pair.teacher.spec(theirs).shape, pair.student.spec(ours).shape
            axis = self.channel_axis
            if len(one) < 3 or len(one) != len(other) or _without(one, axis) != _without(other, axis):
                raise OptionError(
                    f"The maps of {theirs} cannot be compared.",
                    expected=f"positions and channels, of the same size in both: {one}",
                    got=str(other),
                )
        return taps

    def compute_loss(self, teacher_outputs: Any, student_outputs: Any, **kwargs: Any) -> Any:
        """The loss of a batch.

        Args:
            teacher_outputs: Features ``(batch, *positions, channels)``, or a structure of several.
            student_outputs: Likewise.
            **kwargs: Not used.
        """
        total = 0.0
        for theirs, ours in _pairs(teacher_outputs, student_outputs):
            total = total + ops.mean(ops.square(self._map(theirs) - self._map(ours)))
        return self.strength * total

    def _map(self, features: Any) -> Any:
        # Divided by the largest first: the sum of fourth powers of large features has no place in single precision.
        largest = ops.max(ops.abs(features), axis=tuple(range(1, len(features.shape))), keepdims=True)
        largest = ops.stop_gradient(largest)  # the map does not depend on it
        attention = ops.sum(ops.square(features / ops.maximum(largest, 1e-12)), axis=self.channel_axis)
        flat = ops.reshape(attention, (ops.shape(attention)[0], -1))
        return flat / ops.sqrt(ops.maximum(ops.sum(ops.square(flat), axis=-1, keepdims=True), 1e-12))

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        layers = self.layers if isinstance(self.layers, str) else list(self.layers)
        return {"layers": layers, "strength": self.strength, "channel_axis": self.channel_axis}


@keras.saving.register_keras_serializable(package="kerasurgeon")
class FeatureMatching(GraphLoss):
    """The mean square of the difference of features of teacher and student, added up over layers.

    Args:
        layers: Names of layers of both models, or bridges: then what they make is compared.
        strength: A factor.
    """

    def __init__(self, layers: str | Sequence[str | Bridge] | Bridge, strength: float = 1.0) -> None:
        given = [layers] if isinstance(layers, (str, Bridge)) else list(layers)
        self.layers = tuple(
            (layer.exit, layer.new_exit) if isinstance(layer, Bridge)
            else (layer, layer) if isinstance(layer, str) else tuple(layer)
            for layer in given
        )  # fmt: skip
        if not self.layers or not all(len(names) == 2 and all(map(_is_name, names)) for names in self.layers):
            raise OptionError(
                "option 'layers' cannot be used.", expected="names of layers, or bridges", got=repr(layers)
            )
        self.strength = _positive("strength", strength)

    def taps(self, pair: Pair) -> Taps:
        """The tensors of the layers."""
        taps = [pair.named(*names) for names in self.layers]
        for theirs, ours in taps:
            one, other = pair.teacher.spec(theirs).shape, pair.student.spec(ours).shape
            if one[1:] != other[1:]:
                raise OptionError(f"The features of {theirs} cannot be compared.", expected=str(one), got=str(other))
        return taps

    def compute_loss(self, teacher_outputs: Any, student_outputs: Any, **kwargs: Any) -> Any:
        """The loss of a batch.

        Args:
            teacher_outputs: Features, or a structure of several.
            student_outputs: Likewise.
            **kwargs: Not used.
        """
        total = 0.0
        for theirs, ours in _pairs(teacher_outputs, student_outputs):
            total = total + ops.mean(ops.square(theirs - ours))
        return self.strength * total

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {"layers": [list(names) for names in self.layers], "strength": self.strength}


@keras.saving.register_keras_serializable(package="kerasurgeon")
class ACE(GraphLoss):
    """Adapted crossentropy, for segmentation: a teacher's opinion where it is right, the label where it is not.

    Of each position the target is ``t = kappa * p_teacher + (1 - kappa) * onehot(label)`` where the teacher's largest
    probability is that of the label, else ``onehot(label)``. The loss is ``strength`` times the mean of
    ``-sum over classes of w t log p_student`` over the positions whose label is not ignored.

    Args:
        kappa: The teacher's share, in [0, 1].
        class_weights: A factor per class, at least 0; by default 1.
        ignore_label: The label of positions that do not count; ``None`` for none.
        strength: A factor.

    ``compute_loss`` takes logits ``(batch, *positions, classes)`` and, as ``y_true``, class numbers
    ``(batch, *positions)`` or with a last axis of 1.
    """

    needs_labels = True

    def __init__(
        self,
        kappa: float = 0.3,
        class_weights: Sequence[float] | None = None,
        ignore_label: int | None = 255,
        strength: float = 1.0,
    ) -> None:
        if isinstance(kappa, bool) or not isinstance(kappa, (int, float)) or not 0 <= kappa <= 1:
            raise OptionError("option 'kappa' cannot be used.", expected="a number in [0, 1]", got=repr(kappa))
        self.kappa = float(kappa)
        self.class_weights = checked_weights(class_weights)
        self.ignore_label = ignore_label
        self.strength = _positive("strength", strength)

    def taps(self, pair: Pair) -> Taps:
        """The logits of the output."""
        taps = pair.logits()
        if len(taps) != 1:
            raise OptionError("ACE is for models of one output.", got=f"{len(taps)} outputs")
        return taps

    def compute_loss(self, teacher_outputs: Any, student_outputs: Any, **kwargs: Any) -> Any:
        """The loss of a batch.

        Args:
            teacher_outputs: Logits.
            student_outputs: Logits.
            **kwargs: ``y_true``: the labels.

        Raises:
            OptionError: There are no labels, or not one class weight per class.
        """
        labels = kwargs.get("y_true")
        if labels is None:
            raise OptionError("ACE needs labels.", hint="pass y_true=, or data=(inputs, labels)")
        ((theirs, ours),) = _pairs(teacher_outputs, student_outputs)
        numbers = ops.cast(squeezed(ops.convert_to_tensor(keras.tree.flatten(labels)[0]), len(ours.shape)), "int32")
        classes = ours.shape[-1]
        counts = ops.ones_like(numbers, dtype="float32")
        if self.ignore_label is not None:
            counts = ops.cast(ops.not_equal(numbers, self.ignore_label), "float32")
        onehot = ops.one_hot(ops.where(counts > 0, numbers, 0), classes, dtype="float32")
        right = ops.cast(ops.equal(ops.cast(ops.argmax(theirs, axis=-1), "int32"), numbers), "float32")
        share = self.kappa * ops.expand_dims(right, axis=-1)
        target = share * ops.softmax(theirs, axis=-1) + (1.0 - share) * onehot
        if self.class_weights is not None:
            target = target * weights_of(ops.arange(classes), self.class_weights, classes)
        each = -ops.sum(target * ops.log_softmax(ours, axis=-1), axis=-1)
        return self.strength * ops.divide_no_nan(ops.sum(each * counts), ops.sum(counts))

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        weights = None if self.class_weights is None else list(self.class_weights)
        return {
            "kappa": self.kappa,
            "class_weights": weights,
            "ignore_label": self.ignore_label,
            "strength": self.strength,
        }


def taps_of(loss: Any, pair: Pair) -> Taps:
    """What a loss compares; of Keras' own losses too, which name layers or compare logits or outputs."""
    if isinstance(loss, GraphLoss):
        return loss.taps(pair)
    names = [getattr(loss, f"{whose}_layer_name", None) for whose in ("teacher", "student")]
    given = [str(name) for name in names if name]
    if given:
        return [pair.named(given[0], given[-1])]
    return pair.logits() if isinstance(loss, keras.distillation.LogitsDistillation) else pair.outputs()


def _pairs(teacher_outputs: Any, student_outputs: Any) -> list[tuple[Any, Any]]:
    """Tensors of teacher and student in single precision; nothing is learned through the teacher's."""
    theirs, ours = keras.tree.flatten(teacher_outputs), keras.tree.flatten(student_outputs)
    if len(theirs) != len(ours):
        raise OptionError(
            "Teacher and student give different numbers of tensors.", got=f"{len(theirs)} and {len(ours)}"
        )
    return [
        (ops.stop_gradient(ops.cast(one, "float32")), ops.cast(other, "float32"))
        for one, other in zip(theirs, ours, strict=True)
    ]


def _positive(option: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise OptionError(f"option {option!r} cannot be used.", expected="a number above 0", got=repr(value))
    return float(value)


def _names(layers: Any) -> tuple[str, ...]:
    given = (layers,) if isinstance(layers, str) else layers
    if not isinstance(given, Sequence) or not given or not all(map(_is_name, given)):
        raise OptionError("option 'layers' cannot be used.", expected="'auto' or names of layers", got=repr(layers))
    return tuple(given)


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and bool(name)


def _without(shape: Sequence[int | None], axis: int) -> list[int | None]:
    skip = axis % len(shape)
    return [size for place, size in enumerate(shape) if place not in (0, skip)]


__all__ = ["ACE", "AttentionTransfer", "DarkKnowledge", "FeatureMatching", "GraphLoss", "taps_of"]
