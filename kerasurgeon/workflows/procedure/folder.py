"""The folder of a run: recipe, log, models, histories, and which steps are done."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from kerasurgeon.atomic import staged, write_text
from kerasurgeon.errors import OptionError, RecipeError
from kerasurgeon.plan_files import PlanFile
from kerasurgeon.workflows.procedure.keys import STEPS
from kerasurgeon.workflows.procedure.recipe import ProcedureRecipe, read_procedure

try:
    import fcntl
except ImportError:  # not on Windows, where two processes on one run are not told apart
    fcntl = None  # type: ignore[assignment]

STATE_FILE = PlanFile("procedure", "state of a run", {"steps": dict})
RECIPE, STATE, LOG, SUMMARY = "recipe.toml", "state.json", "output.log", "summary.json"


class RunFolder:
    """A folder that holds a run; make one by ``new`` or ``open``.

    Everything in it is written beside its place and moved there, so that what is there is whole. A step counts as done
    when ``state.json`` says so, which is written last.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def new(cls, path: Path | None, recipe: ProcedureRecipe) -> RunFolder:
        """A folder for a recipe: a new one, or the one of a run of this recipe that was interrupted.

        Args:
            path: The folder; ``None`` for ``runs/`` and date and time.
            recipe: The recipe; a copy goes into the folder.

        Raises:
            OptionError: The folder holds something else.
            RecipeError: It holds a run of another recipe; the message names what differs.
        """
        if path is None:
            stamp = time.strftime("%Y%m%d-%H%M%S")
            path, number = Path("runs", stamp), 1
            while path.exists():
                number += 1
                path = Path("runs", f"{stamp}-{number}")
        folder = cls(path)
        if (path / RECIPE).exists():
            folder.check_same(recipe)
            return folder
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise OptionError(
                "The folder is not empty and holds no run.", where=str(path), hint="name a new or empty folder"
            )
        path.mkdir(parents=True, exist_ok=True)
        write_text(path / RECIPE, recipe.to_toml())
        return folder

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """The folder of a run.

        Raises:
            OptionError: It holds none.
        """
        if not (path / RECIPE).is_file():
            raise OptionError(
                "The folder holds no run of a procedure.", where=str(path), expected=f"a folder with a {RECIPE}"
            )
        return cls(path)

    def recipe(self) -> ProcedureRecipe:
        """The recipe of the run."""
        return read_procedure(self.path / RECIPE)

    def check_same(self, recipe: ProcedureRecipe) -> None:
        """Check that a recipe is that of the run.

        Raises:
            RecipeError: It is not.
        """
        old, new = _flat(self.recipe().given), _flat(recipe.given)
        differ = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
        if differ:
            raise RecipeError(
                "The folder holds a run of another recipe.",
                where=str(self.path),
                expected="; ".join(f"{key} = {old.get(key, 'not set')!r}" for key in differ[:5]),
                got="; ".join(f"{key} = {new.get(key, 'not set')!r}" for key in differ[:5]),
                hint="leave the recipe out to go on with the run as it was begun, or name another folder",
            )

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from working on the run at the same time.

        Raises:
            OptionError: One does.
        """
        with (self.path / ".lock").open("w") as file:
            try:
                if fcntl is not None:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise OptionError(
                    "Another process is working on this run.", where=str(self.path), hint="wait until it has ended"
                ) from error
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
        self.model_path(name).parent.mkdir(exist_ok=True)
        with staged(self.model_path(name)) as temporary:
            model.save(temporary)

    def load_model(self, name: str, custom_objects: Any = None) -> keras.Model:
        """A model that was kept.

        Raises:
            OptionError: It is not there.
        """
        path = self.model_path(name)
        if not path.is_file():
            raise OptionError("The run has no such model.", where=str(path))
        # The file was written by this procedure, of a model of the user's own.
        return keras.saving.load_model(path, custom_objects=custom_objects, compile=False, safe_mode=False)

    def training(self, name: str) -> Path:
        """Where a training keeps what it needs to go on."""
        return self.path / "training" / name

    def keep_history(self, name: str, training: Path) -> None:
        """Copy the history of a training to where all are."""
        if training.is_file():
            (self.path / "histories").mkdir(exist_ok=True)
            with staged(self.path / "histories" / f"{name}.csv") as temporary:
                shutil.copyfile(training, temporary)

    @contextlib.contextmanager
    def logging(self) -> Iterator[logging.Logger]:
        """A logger that writes to the log of the run."""
        logger = logging.getLogger(f"kerasurgeon.procedure.{os.getpid()}.{id(self)}")
        handler = logging.FileHandler(self.path / LOG, encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        try:
            yield logger
        finally:
            logger.removeHandler(handler)
            handler.close()


def _flat(table: Any, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            found.update(_flat(value, f"{prefix}{key}."))
        elif prefix or key != "versions":
            found[prefix + key] = value
    return found
