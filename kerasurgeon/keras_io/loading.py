"""Load model files: in safe mode unless told otherwise, and with the reason in words where one cannot be loaded."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import keras

from kerasurgeon.array_files import free_memory
from kerasurgeon.errors import ModelFileError
from kerasurgeon.file_errors import reading
from kerasurgeon.keras_io.injection import limited, unfilled
from kerasurgeon.keras_io.keras2 import compile_as, is_keras2, read_keras2
from kerasurgeon.keras_io.keras2_options import without_dropped
from kerasurgeon.keras_io.large_files import as_keras_takes_it
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
    weights: str | Path | None = None,
    custom_objects: Mapping[str, Any] | None = None,
    compile: bool = True,
    unsafe: bool = False,
    how: str = "unsafe=True",
    tell: Callable[[str], None] | None = None,
) -> Any:
    """Load a model file: of Keras 3, as .keras or .h5, or of Keras 2, as .h5 or as .json with its weights beside it.

    Layers of Keras 2 come as those of Keras 3 that compute the same (docs/old_files.md). Code in files is not run
    unless it is trusted (docs/security.md).

    Args:
        path: The file.
        weights: For a .json file: the HDF5 file with the weights.
        custom_objects: The classes and functions that it needs, by name; of a file of Keras 2 also the functions of
            Lambda layers, by the layer's name.
        compile: Whether the model is compiled as it was.
        unsafe: Whether the file may hold Python code, which loading it runs.
        how: How the user says so, for errors.
        tell: Called with each thing that is not as a file of Keras 2 says.

    Returns:
        The Keras model.

    Raises:
        ModelFileError: It cannot be loaded, and why.
    """
    file = Path(path)
    _check_kind(file)
    if weights is not None or file.suffix.lower() == ".json":
        weights = _checked_weights(file, weights)
    try:
        with quiet(), python_kept(), room_for(_MOST_NODES), limited(free_memory()):
            configs, version = _configs(file)
            if configs and is_keras2(configs[0], version):
                model, changes = read_keras2(
                    configs[0],
                    file if weights is None else weights,
                    where=str(file),
                    training=configs[1] if compile and len(configs) > 1 else None,
                    custom_objects=custom_objects,
                    unsafe=unsafe,
                    how=how,
                )
                if tell is not None:
                    for change in changes:
                        tell(change)
                return model
            if not unsafe:
                for config in configs:
                    check_config(config, str(file), how)
            if weights is not None:
                model = keras.saving.deserialize_keras_object(
                    configs[0], custom_objects=dict(custom_objects or {}), safe_mode=not unsafe
                )
                model.load_weights(weights)
                return model
            try:
                with as_keras_takes_it(file) as source, nullcontext() if source is file else unfilled():
                    return keras.saving.load_model(
                        source, custom_objects=dict(custom_objects or {}), compile=compile, safe_mode=not unsafe
                    )
            except Exception:
                plain = without_dropped(configs[0]) if configs and file.suffix.lower() != ".keras" else None
                if plain is None or plain is configs[0]:
                    raise
                model = _of_config(plain, file, custom_objects)
                if compile and len(configs) > 1:
                    compile_as(model, configs[1], custom_objects or {}, str(file), how, unsafe)
                if tell is not None:
                    tell("options of Keras 2 that mean nothing were left out")
                return model
    except ModelFileError:
        raise
    except Exception as error:
        raise _explained(file, error, how) from error


def _of_config(config: Any, path: Path, custom_objects: Mapping[str, Any] | None) -> Any:
    """A model from a config, and the weights from its .h5 file."""
    cls = keras.Sequential if config.get("class_name") == "Sequential" else keras.Model
    model = cls.from_config(config["config"], custom_objects=dict(custom_objects or {}))
    model.load_weights(path)
    return model


def _checked_weights(path: Path, weights: str | Path | None) -> Path:
    """The file of weights that belongs to a config."""
    if path.suffix.lower() != ".json":
        raise ModelFileError("Only a .json file takes its weights from another file.", where=str(path))
    if weights is None:
        raise ModelFileError(
            "A .json file holds no weights.", where=str(path), hint="name their file: weights='model_weights.h5'"
        )
    _check_kind(Path(weights))
    return Path(weights)


def _check_kind(path: Path) -> None:
    """Refuse what is no model by its first bytes, since Keras' own words for it are hard to read."""
    if (path / "saved_model.pb").exists():
        raise ModelFileError(
            "Keras 3 cannot read SavedModel folders as networks.",
            where=str(path),
            hint=saved_model_hint(path),
        )
    if path.suffix.lower() == ".json":
        with reading(path, "model file", ModelFileError):
            path.open("rb").close()
        return
    with reading(path, "model file", ModelFileError), path.open("rb") as file:
        head = file.read(8)
    if not head:
        raise ModelFileError("The model file is empty.", where=str(path), hint="copy, download or save it again")
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


def saved_model_hint(path: str | Path) -> str:
    """The one way from a SavedModel folder to layers: saving it again by the Keras that wrote it."""
    return (
        "where TensorFlow below 2.16, or TensorFlow with the package tf_keras, is installed: "
        f"tf_keras.models.load_model({str(path)!r}).save('model.h5'), then `kerasurgeon convert model.h5 model.keras`. "
        "keras.layers.TFSMLayer only calls it, as one closed layer that no pass can change"
    )


def _configs(path: Path) -> tuple[list[Any], Any]:
    """What a file says of its model, and of how it was compiled; and the version of Keras that wrote it."""
    texts: list[Any] = []
    version: Any = None
    if path.suffix.lower() == ".json":
        if path.stat().st_size > _MOST_BYTES:
            raise _too_long(path, path.stat().st_size)
        try:
            config = json.loads(path.read_bytes())
            if isinstance(config, str):  # json.dump(model.to_json(), file)
                config = json.loads(config)
        except ValueError:
            config = None
        if not isinstance(config, dict) or not isinstance(config.get("config"), (dict, list)):
            raise ModelFileError(
                "The file is no config of a model.",
                where=str(path),
                expected="JSON as model.to_json() writes it",
            )
        return [config], config.get("keras_version")
    if path.suffix.lower() == ".keras":  # as Keras tells one from the other; a file can be both
        with zipfile.ZipFile(path) as archive:
            info = archive.getinfo("config.json")
            if info.file_size > _MOST_BYTES:
                raise _too_long(path, info.file_size)
            texts.append(archive.read(info))
    else:
        import h5py

        with h5py.File(path, "r") as file:
            texts += [file.attrs.get(name) for name in ("model_config", "training_config")]
            version = file.attrs.get("keras_version")
    return [json.loads(text) for text in texts if text is not None], version


def _too_long(path: Path, size: int) -> ModelFileError:
    return ModelFileError(
        "The model file's config is absurdly long.",
        where=str(path),
        expected=f"at most {_MOST_BYTES:,} bytes",
        got=f"{size:,}",
    )


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


__all__ = ["load_model", "saved_model_hint"]
