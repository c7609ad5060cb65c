"""CIFAR-10 and CIFAR-100, which ``keras.datasets`` downloads, split and standardised as usual."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from kerasurgeon.errors import OptionError
from kerasurgeon.rewrite.option_checks import wrong_option
from kerasurgeon.workflows.data.parts import DataSet, Split
from kerasurgeon.workflows.data.splitting import standardised, stratified

_CLASSES = {"cifar10": 10, "cifar100": 100}


def cifar(name: str = "cifar10", seed: int = 42, *, validation: float = 0.2, arrays: Any = None) -> DataSet:
    """CIFAR: 32 x 32 pixels in colour, 50,000 images in the training files and 10,000 to test.

    A share of the training images, the same of every class, is kept apart to choose by. Channels are standardised with
    mean and standard deviation of the training images.

    Args:
        name: ``"cifar10"`` or ``"cifar100"``.
        seed: Same seed, same split.
        validation: The share kept apart, in (0, 1).
        arrays: ``((images, labels), (images, labels))`` in place of a download.

    Raises:
        OptionError: There is no such set; or it is neither here nor can be fetched.
    """
    if name not in _CLASSES:
        raise wrong_option("cifar", "name", name, " or ".join(map(repr, _CLASSES)))
    (images, labels), (test_images, test_labels) = _fetched(name) if arrays is None else arrays
    labels, test_labels = (np.asarray(found).reshape(-1).astype(np.int32) for found in (labels, test_labels))
    first, second = stratified(labels, validation, seed)
    parts = (
        Split(np.asarray(images)[first], labels[first]),
        Split(np.asarray(images)[second], labels[second]),
        Split(np.asarray(test_images), test_labels),
    )
    (train, kept, test), facts = standardised(parts)
    return DataSet(name, train, kept, test, classes=_CLASSES[name], facts=facts)


def _fetched(name: str) -> Any:
    try:
        return getattr(keras.datasets, name).load_data()
    except Exception as error:
        raise OptionError(
            f"The data set {name} is not on this machine and cannot be fetched.",
            where="keras.datasets",
            got=(str(error).splitlines() or [type(error).__name__])[0][:200],
            hint="run it once where there is a network and copy ~/.keras/datasets here, or use another data set",
        ) from error
