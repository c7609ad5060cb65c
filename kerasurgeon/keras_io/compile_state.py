"""Carry a model's compile state over: optimizer, loss and metrics as configured, not their running state."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import keras

from kerasurgeon.keras_io.custom_objects import foreign_names, harvest

_LOG = logging.getLogger(__name__)


def compile_state(model: Any) -> tuple[Mapping[str, Any] | None, dict[str, Any], tuple[str, ...]]:
    """What ``compile()`` was called with.

    Returns:
        The serialised configuration (``None`` if the model is not compiled or Keras cannot serialise it), the
        unregistered objects it names, and notes on what is lost.
    """
    if not getattr(model, "compiled", False):
        return None, {}, ()
    try:
        config = model.get_compile_config()
    except Exception as error:  # noqa: BLE001 - user objects are serialised here; whatever they raise is a note
        return None, {}, (f"compile state was not carried over: {_first_line(error)}",)
    if not config:
        return None, {}, ("compile state was not carried over: the model does not give its compile configuration",)
    return config, harvest(getattr(model, "_compile_config", None), foreign_names(config)), ()


def compile_like(model: Any, config: Mapping[str, Any], custom_objects: Mapping[str, Any]) -> str | None:
    """Compile ``model`` with a configuration from ``compile_state``. Returns a note if that failed."""
    try:
        with keras.saving.custom_object_scope(dict(custom_objects)):
            arguments = keras.saving.deserialize_keras_object(dict(config))
        model.compile(**arguments)
    except Exception as error:  # noqa: BLE001 - see above: a model without compile state is still right
        _LOG.info("compile state of %s was not carried over", model.name, exc_info=True)
        return f"compile state was not carried over: {_first_line(error)}"
    return None


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
