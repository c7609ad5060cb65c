"""Open a model for running: Keras models, .keras, .h5, .tflite and .onnx files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kerasurgeon.errors import ModelFileError
from kerasurgeon.exporting.keras_runner import KerasRunner, open_keras_file
from kerasurgeon.exporting.onnx_runner import OnnxRunner
from kerasurgeon.exporting.runners import Runner
from kerasurgeon.exporting.tflite_runner import TfliteRunner
from kerasurgeon.file_errors import file_error, nearest

SUFFIXES = (".keras", ".h5", ".hdf5", ".tflite", ".onnx")


def open_runner(
    model: Any,
    *,
    threads: int | None = None,
    custom_objects: Mapping[str, Any] | None = None,
    safe_mode: bool = True,
    optimise: bool = True,
) -> Runner:
    """Open a model or a model file for running.

    Args:
        model: A Keras model, a path ending in .keras, .h5 (.hdf5), .tflite or .onnx, or a Runner (returned as it is).
        threads: How many threads the TFLite and ONNX runtimes use; None leaves it to them. Keras' threads are
            TensorFlow's and cannot be set here.
        custom_objects: The custom classes that a .keras file needs, by name.
        safe_mode: Whether to refuse .keras files that carry Python code (Lambda layers).
        optimise: Whether the TFLite and ONNX runtimes may compute in their own way (XNNPACK, a rewritten graph), or
            operator by operator as the file says.

    Raises:
        ModelFileError: The file is missing, of an unknown kind, truncated or otherwise unreadable.
        MissingExtraError: The runtime is not installed.
    """
    if isinstance(model, Runner):
        return model
    if not isinstance(model, (str, os.PathLike)):
        return KerasRunner(model)
    path = Path(model)
    check_model_file(path)
    match path.suffix.lower():
        case ".tflite":
            return TfliteRunner(path, threads=threads, optimise=optimise)
        case ".onnx":
            return OnnxRunner(path, threads=threads, optimise=optimise)
        case _:
            return open_keras_file(path, custom_objects=custom_objects, safe_mode=safe_mode)


def check_model_file(path: Path) -> None:
    """Check that a path is a file of a kind that can be opened.

    Args:
        path: The file.

    Raises:
        ModelFileError: It is missing, a directory, empty or of an unknown kind.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ModelFileError(
            "The kind of the model file is not known.",
            where=str(path),
            expected=f"a name ending in {', '.join(SUFFIXES)}",
            got=path.suffix or "no suffix",
        )
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise ModelFileError("The model file does not exist.", where=str(path), hint=nearest(path, SUFFIXES)) from None
    except (OSError, ValueError) as error:
        raise file_error(path, error, what="model file", doing="read", kind=ModelFileError) from error
    if path.is_dir():
        raise ModelFileError(
            "The model file is a directory.", where=str(path), hint="name a file; SavedModel folders cannot be read"
        )
    if size == 0:
        raise ModelFileError("The model file is empty.", where=str(path), hint="copy, download or export it again")
