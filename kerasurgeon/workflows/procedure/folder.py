"""The folder of a run: recipe, log, models, histories, and which steps are done."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras

from kerasurgeon.atomic import make_folder, staged, write_text
from kerasurgeon.errors import OptionError, RecipeError
from kerasurgeon.file_errors import writing
from kerasurgeon.hidden import alone, is_empty
from kerasurgeon.keras_io.large_files import save_keras
from kerasurgeon.keras_io.loading import load_model
from kerasurgeon.plan_files import PlanFile
from kerasurgeon.workflows.procedure.keys import STEPS
from kerasurgeon.workflows.procedure.recipe import ProcedureRecipe, read_procedure

STATE_FILE = PlanFile("procedure", "state of a run", {"steps": dict})
RECIPE, STATE, LOG, SUMMARY = "recipe.toml", "state.json", "output.log", "summary.json"


class RunFolder:
    """A folder that holds a run; make one by ``new`` or ``open``.

    Everything in it is written beside its place and moved there, so that what is there is whole. A step counts as done
    when ``state.json`` says so, which is written last.

    Args:
        path: The folder.
        unsafe: Whether its models may hold Python code, which loading them runs.
    """

    def __init__(self, path: Path, *, unsafe: bool = False) -> None:
        self.path, self.unsafe = path, unsafe

    @classmethod
    def new(cls, path: Path | None, recipe: ProcedureRecipe, *, unsafe: bool = False) -> RunFolder:
        """A folder for a recipe: a new one, or the one of a run of this recipe that was interrupted.

        Args:
            path: The folder; ``None`` for ``runs/`` and date and time.
            recipe: The recipe; a copy goes into the folder.
            unsafe: Whether models may hold Python code.

        Raises:
            OptionError: The folder holds something else.
            RecipeError: It holds a run of another recipe, as far as it has come; the message names what differs.
        """
        if path is None:
            path = _new_folder(Path("runs"))
        folder = cls(path, unsafe=unsafe)
        with writing(path, "folder"):
            there = (path / RECIPE).exists()
        if there:
            with folder.locked():
                folder.go_on_with(recipe)
            return folder
        if path.exists() and not (path.is_dir() and is_empty(path)):
            raise OptionError(
                "The folder is not empty and holds no run.", where=str(path), hint="name a new or empty folder"
            )
        make_folder(path)
        with folder.locked():
            if (path / RECIPE).exists():  # another process was quicker
                folder.go_on_with(recipe)
            else:
                write_text(path / RECIPE, recipe.to_toml(), what="recipe")
        return folder

    @classmethod
    def open(cls, path: Path, *, unsafe: bool = False) -> RunFolder:
        """The folder of a run.

        Args:
            path: The folder.
            unsafe: Whether its models may hold Python code.

        Raises:
            OptionError: It holds none.
        """
        if not os.path.isfile(path / RECIPE):
            raise OptionError(
                "The folder holds no run of a procedure.", where=str(path), expected=f"a folder with a {RECIPE}"
            )
        return cls(path, unsafe=unsafe)

    def recipe(self, *, allow: str | Sequence[str] = ()) -> ProcedureRecipe:
        """The recipe of the run; ``allow`` as for ``read_procedure``."""
        return read_procedure(self.path / RECIPE, allow=allow)

    def go_on_with(self, recipe: ProcedureRecipe) -> None:
        """Take a recipe as that of the run. Keys of steps that have not begun may have changed.

        Raises:
            RecipeError: What steps that have begun were done by differs; the message names it.
        """
        old, new = _flat(self.recipe().given), _flat(recipe.given)
        differ = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
        begun = {step for step in STEPS if step in self.done() or self._has_begun(step)}
        fixed = [key for key in differ if begun and (key.split(".")[0] in begun or key.split(".")[0] not in STEPS)]
        if fixed:
            raise RecipeError(
                "The folder holds a run of another recipe.",
                where=str(self.path),
                expected="; ".join(f"{key} = {old.get(key, 'not set')!r}" for key in fixed[:5]),
                got="; ".join(f"{key} = {new.get(key, 'not set')!r}" for key in fixed[:5]),
                hint="leave the recipe out to go on with the run as it was begun, change keys of steps that have not "
                "begun, or name another folder",
            )
        if differ:
            write_text(self.path / RECIPE, recipe.to_toml(), what="recipe")

    def _has_begun(self, step: str) -> bool:
        """Whether a training that is not done has left something to go on from."""
        place = self.path / "training" / step.removeprefix("train_")
        return step.startswith("train_") and place.is_dir() and not is_empty(place)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from working on the run at the same time.

        Raises:
            OptionError: One does.
        """
        with alone(self.path):
            yield

    def done(self) -> dict[str, dict[str, Any]]:
        """The steps that are done, with what they found.

        Raises:
            PlanError: The file that says so cannot be read.
        """
        if not (self.path / STATE).exists():
            return {}
        steps: dict[str, dict[str, Any]] = STATE_FILE.load(self.path / STATE)["steps"]
        return {step: steps[step] for step in STEPS if step in steps}

    def finish(self, step: str, facts: dict[str, Any]) -> None:
        """Note that a step is done."""
        steps = {**self.done(), step: facts}
        STATE_FILE.save(self.path / STATE, {"steps": steps})

    def model_path(self, name: str) -> Path:
        """Where a model is kept."""
        return self.path / "models" / f"{name}.keras"

    def save_model(self, name: str, model: keras.Model) -> None:
        """Keep a model."""
        make_folder(self.model_path(name).parent)
        with staged(self.model_path(name)) as temporary:
            save_keras(model, temporary)

    def load_model(self, name: str, custom_objects: Any = None) -> keras.Model:
        """A model that was kept.

        Raises:
            ModelFileError: It cannot be loaded, as where it holds Python code and the folder is not ``unsafe``.
            OptionError: It is not there.
        """
        path = self.model_path(name)
        if not path.is_file():
            raise OptionError("The run has no such model.", where=str(path))
        return load_model(path, custom_objects=custom_objects, compile=False, unsafe=self.unsafe)

    def training(self, name: str) -> Path:
        """Where a training keeps what it needs to go on."""
        return self.path / "training" / name

    def keep_history(self, name: str, training: Path) -> None:
        """Copy the history of a training to where all are."""
        if training.is_file():
            make_folder(self.path / "histories")
            with staged(self.path / "histories" / f"{name}.csv") as temporary:
                shutil.copyfile(training, temporary)

    @contextlib.contextmanager
    def logging(self) -> Iterator[logging.Logger]:
        """A logger that writes to the log of the run."""
        logger = logging.Logger("kerasurgeon.procedure", logging.INFO)  # of this run alone: no other has its handler
        logger.parent = logging.getLogger("kerasurgeon")
        with writing(self.path / LOG):
            handler = _Log(self.path / LOG, encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
        logger.addHandler(handler)
        try:
            yield logger
        finally:
            logger.removeHandler(handler)
            handler.close()


class _Log(logging.FileHandler):
    """A log whose errors are those of the run, where ``logging`` would print a traceback and go on."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - its name in logging
        with writing(self.baseFilename):
            raise


def _new_folder(place: Path) -> Path:
    """A folder that is called after date and time and that no other process has."""
    stamp, number = time.strftime("%Y%m%d-%H%M%S"), 1
    make_folder(place)
    while True:
        path = place / (stamp if number == 1 else f"{stamp}-{number}")
        with writing(path, "folder"), contextlib.suppress(FileExistsError):
            path.mkdir()
            return path
        number += 1


def _flat(table: Any, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            found.update(_flat(value, f"{prefix}{key}."))
        elif prefix or key != "versions":
            found[prefix + key] = value
    return found
