"""Run Keras models, in memory or from .keras files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np

from kerasurgeon.errors import ExportError, KerasurgeonError, ModelFileError
from kerasurgeon.exporting.converter_errors import digest
from kerasurgeon.exporting.runners import Runner, unreadable
from kerasurgeon.exporting.signature import check_model, input_infos, output_infos, pack_inputs
from kerasurgeon.exporting.tensors import Feeds
from kerasurgeon.keras_io.machine import on_this_machine
from kerasurgeon.keras_io.seeding import python_kept
from kerasurgeon.quiet import quiet


class KerasRunner(Runner):
    """A Keras model that predicts.

    Args:
        model: A Functional or built Sequential model.
        source: What to call it; by default its name.
    """

    kind: ClassVar[str] = "keras"

    def __init__(self, model: Any, *, source: str | None = None) -> None:
        check_model(model)
        self.model = model
        self.source = source or str(model.name)
        self.inputs = input_infos(model)
        self.outputs = output_infos(model)
        self._compiled: Callable[..., Any] | None = None
        self._calls = 0

    def run_batch(self, feeds: Feeds) -> Feeds:
        """Run once; see `Runner.run_batch`.

        Raises:
            CannotRunError: This machine cannot run the model.
            ExportError: It cannot be run on these inputs.
        """
        # Tracing costs about ten eager calls, so it pays only for long runs.
        self._calls += 1
        tensors = [keras.ops.convert_to_tensor(feeds[info.name], dtype=info.dtype) for info in self.inputs]
        try:
            with quiet(), on_this_machine(f"model {self.model.name!r}"):
                values = self._function()(*tensors) if self._calls > 8 else self._call(*tensors)
        except KerasurgeonError:
            raise
        except Exception as error:
            raise ExportError(
                "The Keras model itself cannot be run.",
                where=f"model {self.model.name!r}",
                got=f"{type(error).__name__}: {digest(str(error), lines=2, first=True)}",
                hint="pass inputs=... that it is meant for; calling the model on them shows Keras' whole error",
            ) from error
        return {
            info.name: _as_numpy(value) for info, value in zip(self.outputs, keras.tree.flatten(values), strict=True)
        }

    def prepare(self, feeds: Feeds) -> Callable[[], object]:
        """A function that runs the compiled model; see `Runner.prepare`.

        Raises:
            CannotRunError: This machine cannot run the model as it is.
        """
        tensors = [keras.ops.convert_to_tensor(feeds[info.name], dtype=info.dtype) for info in self.inputs]
        function = self._compile()
        # Times are those of the model as it is, or none.
        with quiet(), on_this_machine(f"model {self.model.name!r} to time it", equal=False):
            function(*tensors)

        def run_once() -> object:
            # Fetching the result waits for it, also on backends that run asynchronously.
            return [np.asarray(value) for value in keras.tree.flatten(function(*tensors))]

        return run_once

    def _call(self, *tensors: Any) -> Any:
        # Layers that keep state (a stateful RNN) change it in the scope, not in the user's model.
        with keras.StatelessScope():
            return self.model(pack_inputs(self.model, tensors), training=False)

    def _function(self) -> Callable[..., Any]:
        if self._compiled is None:
            self._compiled = self._compile()
        return self._compiled

    def _compile(self) -> Callable[..., Any]:
        """The model compiled by its backend; not by ``predict``, which leaves traces on the user's model."""
        if keras.backend.backend() != "tensorflow":
            return self._call
        import tensorflow as tf

        return tf.function(self._call, autograph=False, reduce_retracing=True)  # type: ignore[no-any-return]


def _as_numpy(value: Any) -> Any:
    array = np.asarray(keras.ops.convert_to_numpy(value))
    # float16 and bfloat16 hold too little for the differences that are taken of them.
    return array.astype(np.float32) if array.dtype.name in ("float16", "bfloat16") else array


def open_keras_file(
    path: Path, *, custom_objects: Mapping[str, Any] | None = None, safe_mode: bool = True
) -> KerasRunner:
    """Load a .keras file for running.

    Args:
        path: The file.
        custom_objects: The custom classes it needs, by name.
        safe_mode: Whether to refuse files that carry Python code.

    Raises:
        ModelFileError: It cannot be loaded.
    """
    try:
        with quiet(), python_kept():
            model = keras.saving.load_model(
                path, custom_objects=dict(custom_objects or {}), compile=False, safe_mode=safe_mode
            )
    except Exception as error:
        text = str(error)
        if "Lambda" in text and "safe_mode" in text:
            raise ModelFileError(
                "The file has a Lambda layer, whose Python code would run on this machine.",
                where=str(path),
                hint="if you trust the file, open it with safe_mode=False",
            ) from error
        if "Could not locate class" in text or "register_keras_serializable" in text:
            raise ModelFileError(
                "The file needs a class that is not known here.",
                where=str(path),
                got=text.strip().splitlines()[0][:200],
                hint="import the module that registers it, or pass custom_objects={'Name': Class}",
            ) from error
        raise unreadable(path, "a .keras file", error) from error
    return KerasRunner(model, source=str(path))
