"""The ten steps from a network to a smaller one, in a folder, each done once."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
from rich.table import Table

from kerasurgeon.atomic import write_text
from kerasurgeon.errors import KerasurgeonError, OptionError, did_you_mean
from kerasurgeon.keras_io.seeding import keras_seeded
from kerasurgeon.report.page import save_report
from kerasurgeon.report.procedure import summary_line, summary_table
from kerasurgeon.report.tables import Printed
from kerasurgeon.trust import allow_imports
from kerasurgeon.workflows.procedure.folder import SUMMARY, RunFolder
from kerasurgeon.workflows.procedure.keys import STEPS
from kerasurgeon.workflows.procedure.page import page_of
from kerasurgeon.workflows.procedure.recipe import ProcedureRecipe, read_procedure
from kerasurgeon.workflows.procedure.run import Run, Tell
from kerasurgeon.workflows.procedure.steps import DEFAULTS

Phase = Callable[[str], None]


@dataclass(frozen=True)
class ProcedureResult(Printed):
    """What a procedure came to.

    Attributes:
        folder: Where everything is.
        summary: What was saved, and how good the network was after each step, as plain data.
        unsafe: Whether its models may hold Python code.
    """

    folder: Path
    summary: Mapping[str, Any]
    unsafe: bool = False

    @cached_property
    def model(self) -> keras.Model:
        """The final network."""
        return RunFolder(self.folder, unsafe=self.unsafe).load_model("final")

    @cached_property
    def original(self) -> keras.Model:
        """The original network, trained."""
        return RunFolder(self.folder, unsafe=self.unsafe).load_model("trained")

    def table(self) -> Table:
        """The summary as a table, to be printed by rich."""
        return summary_table(self.summary)

    def lines(self) -> list[str]:
        """What was saved and what was lost."""
        return [summary_line(self.summary), *self.summary.get("warnings", ())]

    def to_page(self) -> dict[str, Any]:
        """What a page shows of the run, as plain data: see ``kerasurgeon.report.page``.

        Raises:
            ModelFileError: A model cannot be loaded.
        """
        return page_of(RunFolder(self.folder, unsafe=self.unsafe), self.summary)

    def save(self, path: str | Path, *, overwrite: bool = True) -> None:
        """Write a report to a file: a page with both networks, learning curves and quotients, JSON, or text.

        Args:
            path: The file, ending in .html, .json or .txt.
            overwrite: Whether a file that is there may be replaced.

        Raises:
            OptionError: The suffix is another.
            FileError: The file cannot be written; what was there before stays.
        """
        data = {"folder": str(self.folder), **self.summary}
        save_report(path, page=self.to_page, data=lambda: data, text=lambda: str(self), overwrite=overwrite)


class Procedure:
    """Make a network smaller by shunts, in ten steps.

    1. ``data``: read the data set. 2. ``original``: build the network or read it. 3. ``train_original``. 4.
    ``quotients``: measure how much each region matters. 5. ``shunt``: put small networks in place of regions. 6.
    ``train_shunt``: train them to make what the regions made. 7. ``insert``: the smaller network. 8. ``train_final``:
    train the whole, with the original as teacher. 9. ``latency``. 10. ``summary``.

    A recipe says what each does; steps 3, 4, 6, 8 and 9 can be left out by ``run = false``. Each can be done by a
    function instead, which is called with the ``Run`` and returns what the step makes: ``data`` a data set,
    ``quotients`` quotients, ``shunt`` the result of a pipeline with ``ReplaceWithShunt`` (or a model and a plan),
    ``latency`` and ``summary`` plain data, all others a model.

    Everything is kept in a folder. If the run is interrupted, at whatever moment, running it again in the same folder
    goes on where it stopped: steps that are done are not done again, and a training goes on behind its last epoch.

    Models are loaded in safe mode: those that hold Python code (a ``Lambda`` layer) are refused, also in a run's own
    folder, which may come from elsewhere.

    Args:
        recipe: What to do.
        functions: Functions in place of steps, by name.
        unsafe: Whether models may hold Python code, which loading them runs.

    Raises:
        OptionError: There is no such step.
        RecipeError: The recipe names something that may not be imported.

    Reference:
        Haas et al., "Neural Network Compression Through Shunt Connections and Knowledge Distillation for Semantic
        Segmentation Problems", AIAI 2021.

    Example:
        >>> result = ks.Procedure.from_recipe("digits.toml").run()
        >>> print(result)
    """

    def __init__(
        self,
        recipe: ProcedureRecipe,
        functions: Mapping[str, Callable[[Run], Any]] | None = None,
        *,
        unsafe: bool = False,
    ) -> None:
        self.recipe, self.functions, self.unsafe = recipe, dict(functions or {}), unsafe
        for step, function in self.functions.items():
            if step not in STEPS:
                raise OptionError(f"A procedure has no step {step!r}.", hint=did_you_mean(step, STEPS))
            if not callable(function):
                raise OptionError(f"What stands for step {step!r} is no function.", got=repr(function))
        self._named = [step for step in STEPS if step not in self.functions]
        recipe.check_names(self._named)

    @classmethod
    def from_recipe(
        cls,
        source: str | Path | Mapping[str, Any],
        *,
        changes: Mapping[str, Any] | None = None,
        functions: Mapping[str, Callable[[Run], Any]] | None = None,
        allow: str | Sequence[str] = (),
        unsafe: bool = False,
    ) -> Procedure:
        """The procedure that a recipe describes.

        Args:
            source: Path of a TOML or JSON file, or its contents as a mapping.
            changes: Values in place of the recipe's, by dotted key: ``{"train_final.epochs": 3}``.
            functions: Functions in place of steps, by name.
            allow: What names in the recipe may be imported from, beside kerasurgeon and installed packages of passes:
                packages, modules, or single objects as ``"module:name"``.
            unsafe: Whether models may hold Python code, which loading them runs.

        Raises:
            RecipeError: The recipe cannot be read, or names what may not be imported; the message names the key and
                what may stand there.
            OptionError: There is no such step.
        """
        return cls(read_procedure(source, changes=changes, allow=allow), functions, unsafe=unsafe)

    @classmethod
    def resume(
        cls,
        folder: str | Path,
        *,
        functions: Mapping[str, Callable[[Run], Any]] | None = None,
        allow: str | Sequence[str] = (),
        unsafe: bool = False,
    ) -> Procedure:
        """The procedure of a folder, as it was begun; ``run(folder)`` goes on with it.

        Args:
            folder: The folder.
            functions: As for ``from_recipe``; they are not kept in the folder.
            allow: Likewise.
            unsafe: Likewise.

        Raises:
            OptionError: The folder holds no run.
            RecipeError: Its recipe names what may not be imported.
        """
        return cls(RunFolder.open(Path(folder)).recipe(allow=allow), functions, unsafe=unsafe)

    def run(
        self,
        folder: str | Path | None = None,
        *,
        phase: Phase = lambda _: None,
        progress: Tell = lambda *_: None,
        verbose: Any = 0,
    ) -> ProcedureResult:
        """Do the steps that are not done yet.

        Args:
            folder: Where everything is kept: a new folder, or that of a run of the same recipe, which is gone on with.
                ``None``: ``runs/`` and date and time.
            phase: Told which step begins.
            progress: Told how far a step is.
            verbose: As for Keras' ``fit``.

        Raises:
            ModelFileError: A model holds Python code, and the procedure is not ``unsafe``.
            RecipeError: The folder holds a run of another recipe, or a function does not take the recipe's arguments.
            OptionError: The data, the network or an option cannot be used.
        """
        self.recipe.check_functions(self._named)
        place = RunFolder.new(None if folder is None else Path(folder), self.recipe, unsafe=self.unsafe)
        with place.locked(), place.logging() as log, allow_imports(*self.recipe.allow):
            run = Run(self.recipe, place, log, place.done(), self.functions, progress, verbose)
            log.info("%s, in %s", "going on" if run.found else "begin", place.path)
            for number, step in enumerate(STEPS, start=1):
                if step in run.found:
                    continue
                phase(f"step {number} of {len(STEPS)}: {step}")
                with _logged(log, place.path, number, step):
                    self._do(run, step)
            content = run.found["summary"]
            write_text(place.path / SUMMARY, json.dumps(content, indent=1) + "\n")
            result = ProcedureResult(place.path, content, self.unsafe)
            write_text(place.path / "summary.txt", str(result))
            log.info("done\n%s", result)
        return result

    def _do(self, run: Run, step: str) -> None:
        """One step: random choices follow from the recipe's seed and the step alone."""
        started = time.perf_counter()
        with keras_seeded(run.seed(step) % 2**32):
            facts = DEFAULTS[step](run)
        facts.setdefault("seconds", time.perf_counter() - started)  # the summary has that of all steps
        run.folder.finish(step, facts)
        # As another process would read it.
        run.found = run.folder.done()


@contextmanager
def _logged(log: logging.Logger, folder: Path, number: int, step: str) -> Iterator[None]:
    log.info("step %d of %d: %s", number, len(STEPS), step)
    started = time.perf_counter()
    try:
        yield
    except KeyboardInterrupt:
        log.info("interrupted in step %s; run it again with the folder %s to go on", step, folder)
        raise
    except Exception as error:
        log.info("step %s failed: %s", step, error, exc_info=not isinstance(error, KerasurgeonError))
        error.add_note(f"in step {step!r}; what is done is kept: run it again with the folder {folder} to go on")
        raise
    log.info("%s done in %.1f s", step, time.perf_counter() - started)


__all__ = ["Procedure", "ProcedureResult"]
