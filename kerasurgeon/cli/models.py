"""Load the model files that a command is given."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kerasurgeon.cli.console import Activity, note
from kerasurgeon.cli.errors import UsageError
from kerasurgeon.cli.groups import Loading
from kerasurgeon.cli.imports import findable
from kerasurgeon.errors import ModelFileError


def load_model(
    path: Path,
    activity: Activity,
    loading: Loading,
    *,
    weights: Path | None = None,
    tell: Callable[[str], None] | None = None,
) -> Any:
    """Load a .keras or .h5 file. Keras must have been started.

    Args:
        path: The file; it exists.
        activity: Told what is going on.
        loading: What the file may do and needs.
        weights: For a .json file: the file with the weights.
        tell: Called with each thing that is not as a file of Keras 2 says.

    Raises:
        ModelFileError: It cannot be loaded, and why.
        UsageError: A module cannot be imported.
    """
    from kerasurgeon.keras_io.loading import load_model as load

    custom: dict[str, Any] = {}
    for name in loading.custom_objects or ():
        custom |= _defined_in(name)
    activity.phase(f"loading {path.name}")
    given: dict[str, Any] = {"weights": weights, "custom_objects": custom, "unsafe": loading.unsafe, "tell": tell}
    try:
        return load(path, **given)
    except ModelFileError:  # perhaps only of a loss or an optimizer; if not, the next line raises it again
        model = load(path, **given, compile=False)
    note("the optimizer, loss or metrics of the model could not be restored; the result will not have them")
    return model


def _defined_in(name: str) -> dict[str, Any]:
    """What a module defines that is named by the user, by its name or by the path of its file."""
    with findable([name], "--custom-objects") as (module_name,):
        try:
            module = importlib.import_module(module_name)
        except Exception as error:  # whatever the user's module does
            raise UsageError(
                "The module with the custom objects cannot be imported.",
                where=name,
                got=f"{type(error).__name__}: {error}",
                hint="`--debug` shows the traceback",
            ) from error
    return {key: item for key, item in vars(module).items() if getattr(item, "__module__", "") == module.__name__}
