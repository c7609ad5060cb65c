"""Load model files, and say clearly why one cannot be."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

from kerasurgeon.cli.console import Activity, note
from kerasurgeon.cli.errors import UsageError
from kerasurgeon.cli.groups import Loading
from kerasurgeon.errors import ModelFileError

_MOST_NODES = 20_000
"""How many layers in a row a model file may have."""

_HDF5 = b"\x89HDF\r\n\x1a\n"


def load_model(path: Path, activity: Activity, loading: Loading) -> Any:
    """Load a .keras or .h5 file. Keras must have been started.

    Args:
        path: The file; it exists.
        activity: Told what is going on.
        loading: What the file may do and needs.

    Raises:
        ModelFileError: It cannot be loaded, and why.
        UsageError: A module cannot be imported.
    """
    from kerasurgeon.quiet import quiet

    _check_kind(path)
    custom: dict[str, Any] = {}
    for name in loading.custom_objects or ():
        module = _import(name)
        custom |= {
            key: item for key, item in vars(module).items() if getattr(item, "__module__", "") == module.__name__
        }
    activity.phase(f"loading {path.name}")
    try:
        with quiet():
            return _load(path, custom, safe_mode=not loading.unsafe)
    except Exception as error:
        raise _explained(path, error) from error


def _load(path: Path, custom: dict[str, Any], *, safe_mode: bool) -> Any:
    from keras.saving import load_model

    from kerasurgeon.keras_io.recursion import room_for

    with room_for(_MOST_NODES):
        try:
            return load_model(path, custom_objects=custom, safe_mode=safe_mode)
        except Exception:  # noqa: BLE001 - perhaps only a loss or an optimizer; if not, the next line raises it again
            model = load_model(path, custom_objects=custom, safe_mode=safe_mode, compile=False)
    note("the optimizer, loss or metrics of the model could not be restored; the result will not have them")
    return model


def _check_kind(path: Path) -> None:
    """Refuse what is no model by its first bytes, since Keras' own words for it are hard to read."""
    with path.open("rb") as file:
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


def _explained(path: Path, error: Exception) -> ModelFileError:
    """What to tell the user of an error that Keras raised."""
    text = str(error)
    first = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)[:200]
    unknown = re.search(r"[Cc]ould not locate (?:class|function) '([^']+)'|Unknown layer: '?(\w+)", text)
    if "safe_mode" in text or "unsafe_deserialization" in text:
        return ModelFileError(
            "The model has Python code of its own (a Lambda layer), which loading it would run on this machine.",
            where=str(path),
            hint="if you trust the file, add --unsafe; better, replace the Lambda by a layer class",
        )
    if unknown or "register_keras_serializable" in text:
        return ModelFileError(
            "The model needs a class or function that is not known here.",
            where=str(path),
            got=first if unknown is None else repr(unknown[1] or unknown[2]),
            hint="name the module that defines it: --custom-objects my_layers (or my_layers.py)",
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


def _import(name: str) -> ModuleType:
    """Import a module by its name, or by the path of its file."""
    try:
        if not name.endswith(".py"):
            return importlib.import_module(name)
        path = Path(name)
        if not path.is_file():
            raise UsageError("The module does not exist.", where=name, hint="check the path")
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None:
            raise ImportError(f"no loader for {name}")
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
        return module
    except UsageError:
        raise
    except Exception as error:  # whatever the user's module does
        raise UsageError(
            "The module with the custom objects cannot be imported.",
            where=name,
            got=f"{type(error).__name__}: {error}",
            hint="modules are looked for in the current directory too; `--debug` shows the traceback",
        ) from error
