"""Segmentation: a loss and a metric that leave pixels of an ignored label out of every count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kerasurgeon.errors import OptionError

ops = keras.ops


@keras.saving.register_keras_serializable(package="kerasurgeon")
class SegmentationCrossEntropy(keras.losses.SparseCategoricalCrossentropy):
    """The crossentropy of each pixel, as an average over the pixels whose label counts.

    ``sum over counted pixels of w[label] * -log p[label]``, divided by how many pixels count. Pixels of the ignored
    label are in neither; a batch of nothing else gives 0. With class weights of 1 it is Keras' crossentropy with
    ``ignore_class``, which it is built on.

    Args:
        ignore_label: The label of pixels that do not count, in or out of the range of classes; ``None`` for none.
        class_weights: A factor per class, at least 0; by default 1.
        from_logits: Whether predictions are logits, and not probabilities.
        name: Name of the loss.
        **kwargs: As for ``keras.losses.Loss``.

    Labels are class numbers, ``(batch, height, width)`` or with a last axis of 1; predictions
    ``(batch, height, width, classes)``.

    Raises:
        OptionError: A class weight is negative or no number; from a call, if there is not one per class.
    """

    def __init__(
        self,
        ignore_label: int | None = 255,
        class_weights: Sequence[float] | None = None,
        from_logits: bool = False,
        name: str = "segmentation_crossentropy",
        **kwargs: Any,
    ) -> None:
        super().__init__(from_logits=from_logits, ignore_class=ignore_label, name=name, **kwargs)
        self.ignore_label = ignore_label
        self.from_logits = from_logits
        self.class_weights = checked_weights(class_weights)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The loss of a batch; ``sample_weight`` multiplies whole samples or single pixels."""
        labels = squeezed(ops.convert_to_tensor(y_true), len(y_pred.shape))
        if sample_weight is not None:
            sample_weight = _per_pixel(sample_weight, len(labels.shape))
        if self.class_weights is not None:
            pixel_weights = weights_of(labels, self.class_weights, y_pred.shape[-1])
            sample_weight = pixel_weights if sample_weight is None else pixel_weights * sample_weight
        return super().__call__(labels, y_pred, sample_weight=sample_weight)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        config = super().get_config()
        config.pop("ignore_class", None)
        config.pop("axis", None)
        config.pop("fn", None)
        return {
            **config,
            "ignore_label": self.ignore_label,
            "class_weights": None if self.class_weights is None else list(self.class_weights),
            "from_logits": self.from_logits,
        }


@keras.saving.register_keras_serializable(package="kerasurgeon")
class MeanIoU(keras.metrics.MeanIoU):
    """The mean over classes of intersection over union, of the pixels whose label counts.

    It is Keras' metric with predictions of one number per class, as a segmentation network gives them, and an ignored
    label. Classes that neither labels nor predictions name are left out of the mean, and so is the ignored one where it
    is a class of the network (a void class), as Cityscapes' evaluation does: it has no intersection over union. A pixel
    of another class that is taken for void is missed by its class.

    Args:
        num_classes: How many classes there are.
        ignore_label: The label of pixels that do not count, in or out of the range of classes; ``None`` for none.
        name: Name of the metric.
        dtype: Its dtype.
    """

    def __init__(
        self, num_classes: int, ignore_label: int | None = 255, name: str = "mean_iou", dtype: Any = None
    ) -> None:
        super().__init__(
            num_classes=num_classes, name=name, dtype=dtype, ignore_class=ignore_label, sparse_y_pred=False
        )
        self.ignore_label = ignore_label
        self.target_class_ids = [number for number in range(num_classes) if number != ignore_label]

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {
            "num_classes": self.num_classes,
            "ignore_label": self.ignore_label,
            "name": self.name,
            "dtype": self.dtype,
        }


def checked_weights(class_weights: Any) -> tuple[float, ...] | None:
    """Class weights as numbers.

    Raises:
        OptionError: They are none.
    """
    if class_weights is None:
        return None
    try:
        array = np.asarray(class_weights, np.float64)
    except (TypeError, ValueError):
        array = np.full((), np.nan)
    if array.ndim != 1 or not array.size or not np.isfinite(array).all() or (array < 0).any():
        raise OptionError(
            "option 'class_weights' cannot be used.",
            expected="one number of at least 0 per class",
            got=repr(class_weights),
        )
    return tuple(float(value) for value in array)


def weights_of(labels: Any, class_weights: Sequence[float], classes: int | None) -> Any:
    """The weight of each pixel by its label; labels out of range take the nearest class and must not count."""
    if classes is not None and classes != len(class_weights):
        raise OptionError(
            "There must be one class weight per class.", expected=f"{classes} weights", got=f"{len(class_weights)}"
        )
    numbers = ops.clip(ops.cast(labels, "int32"), 0, len(class_weights) - 1)
    return ops.take(ops.convert_to_tensor(class_weights, dtype="float32"), numbers)


def squeezed(labels: Any, rank: int) -> Any:
    """Labels without a last axis of 1, for predictions of some rank."""
    return ops.squeeze(labels, axis=-1) if len(labels.shape) == rank and labels.shape[-1] == 1 else labels


def _per_pixel(sample_weight: Any, rank: int) -> Any:
    """Weights of samples or of pixels, with as many axes as labels have."""
    given = ops.cast(ops.convert_to_tensor(sample_weight), "float32")
    while len(given.shape) < rank:
        given = ops.expand_dims(given, axis=-1)
    return ops.squeeze(given, axis=-1) if len(given.shape) > rank else given


__all__ = ["MeanIoU", "SegmentationCrossEntropy"]
