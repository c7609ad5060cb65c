"""Import Keras and its backend: seconds, and a page of messages that nobody asked for."""

from __future__ import annotations

import logging
import warnings

from kerasurgeon.cli.console import Activity
from kerasurgeon.errors import MissingExtraError, missing_extra


def start_keras(activity: Activity) -> None:
    """Import Keras, silently; commands call this before anything that needs it.

    Args:
        activity: Told what is going on.

    Raises:
        MissingExtraError: The backend is not installed.
    """
    from kerasurgeon.quiet import import_quietly

    activity.phase("starting Keras")
    try:
        import_quietly("keras")
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        if missing not in ("tensorflow", "jax", "torch"):
            raise
        if missing == "tensorflow":
            raise missing_extra("tensorflow", "tensorflow", "Keras") from error
        raise MissingExtraError(
            f"Keras is set to work with {missing}, which is not installed.",
            where="KERAS_BACKEND, or ~/.keras/keras.json",
            hint=f"pip install {missing}, or set KERAS_BACKEND=tensorflow",
        ) from error
    for name in ("absl", "tensorflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for module in ("keras", "tensorflow"):
        warnings.filterwarnings("ignore", module=rf"{module}(\.|$)")
