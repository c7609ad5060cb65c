"""Load model files: in safe mode unless told otherwise, and with the reason in words where one cannot be loaded."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from kerasurgeon.array_files import free_memory
from kerasurgeon.errors import ModelFileError
from kerasurgeon.file_errors import reading
from kerasurgeon.keras_io.injection import limited
from kerasurgeon.keras_io.model_config import check_config
from kerasurgeon.keras_io.recursion import room_for
from kerasurgeon.keras_io.seeding import python_kept
from kerasurgeon.quiet import quiet

_MOST_NODES = 20_000
"""How many layers in a row a model file may have."""

_MOST_BYTES = 1 << 28
"""How long the description of a model may be; those of the largest networks are a few megabytes long."""

_HDF5 = b"\x89HDF\r\n\x1a\n"


def load_model(
    path: str | Path,
    *,
    custom_objects: Mapping[str, Any] | None = None,
    compile: bool = True,
    unsafe: bool = False,
    how: str = "unsafe=True",
) -> Any:
    """Load a .keras or .h5 file.

    Args:
        path: The file.
        custom_objects: The classes and functions that it needs, by name.
        compile: Whether the model is compiled as it was.
        unsafe: Whether the file may hold Python code, which loading it runs.
        how: How the user says so, for errors.

    Raises:
        ModelFileError: It cannot be loaded, and why.
    """
    file = Path(path)
    _check_kind(file)
    try:
        if not unsafe:
            for config in _configs(file):
                check_config(config, str(file), how)
        with quiet(), python_kept(), room_for(_MOST_NODES), limited(free_memory()):
            return keras.saving.load_model(
                file, custom_objects=dict(custom_objects or {}), compile=compile, safe_mode=not unsafe
            )
    except ModelFileError:
        raise
    except Exception as error:
        raise _explained(file, error, how) from error


def _check_kind(path: Path) -> None:
    """Refuse what is no model by its first bytes, since Keras' own words for it are hard to read."""
    with reading(path, "model file", ModelFileError), path.open("rb") as file:
        head = file.read(8)
    if not head:
        raise ModelFileError("The model file is empty.", where=str(path))
    is_zip, is_hdf5 = zipfile.is_zipfile(path), head == _HDF5
    if is_zip if path.suffix.lower() == ".keras" else is_hdf5:
        return
    if head[:2] == b"PK" and not is_hdf5:
        hint, got = "copy or download it again", "the beginning of a .keras file, without its end"
    elif is_hdf5:
        hint, got = "give it the suffix .h5", "an HDF5 file"
    elif is_zip:
        hint, got = "give it the suffix .keras", "a .keras file"
    else:
        hint = "check that it is a whole model, saved by model.save()"
        got = "a .tflite file" if head[4:] == b"TFL3" else "something else"
    raise ModelFileError(f"The file cannot be read as a {path.suffix} file.", where=str(path), got=got, hint=hint)


def _configs(path: Path) -> list[Any]:
    """What a file says of its model, and of how it was compiled."""
    texts: list[Any] = []
    if path.suffix.lower() == ".keras":  # as Keras tells one from the other; a file can be both
        with zipfile.ZipFile(path) as archive:
            info = archive.getinfo("config.json")
            if info.file_size > _MOST_BYTES:
                raise ModelFileError(
                    "The model file's config is absurdly long.",
                    where=str(path),
                    expected=f"at most {_MOST_BYTES:,} bytes",
                    got=f"{info.file_size:,}",
                )
            texts.append(archive.read(info))
    else:
        import h5py

        with h5py.File(path, "r") as file:
            texts += [file.attrs.get(name) for name in ("model_config", "training_config")]
    return [json.loads(text) for text in texts if text is not None]


def _explained(path: Path, error: Exception, how: str) -> ModelFileError:
    """What to tell the user of an error that Keras raised."""
    text = str(error)
    first = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)[:200]
    unknown = re.search(r"[Cc]ould not locate (?:class|function) '([^']+)'|Unknown layer: '?(\w+)", text)
    if isinstance(error, RecursionError):
        return ModelFileError("The model file's config is nested too deeply.", where=str(path))
    if "safe_mode" in text or "unsafe_deserialization" in text:
        code = "has Python code of its own (a Lambda layer), which loading it would run on this machine"
        other = "reads other files or programs when it is loaded"
        return ModelFileError(
            f"The model {code if 'ambda' in text else other}.",
            where=str(path),
            got=None if "ambda" in text else first,
            hint=f"if you trust the file, load it with {how}; better, use a layer class in its place",
        )
    if unknown or "register_keras_serializable" in text:
        return ModelFileError(
            "The model needs a class or function that is not known here.",
            where=str(path),
            got=first if unknown is None else repr(unknown[1] or unknown[2]),
            hint="import the module that registers it, or name it: custom_objects={'Name': Class}",
        )
    if "No model config found" in text or "model_config" in text:
        return ModelFileError(
            "The file holds weights only.", where=str(path), hint="save the whole model with model.save()"
        )
    return ModelFileError(
        "The model file cannot be loaded.",
        where=str(path),
        got=first,
        hint="it may be truncated, or made by a version of Keras that is newer or much older than this one",
    )


__all__ = ["load_model"]
