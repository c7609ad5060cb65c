"""What a pipeline did, pass by pass: as text, in a notebook, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from kerasurgeon.costs import LeftOut
from kerasurgeon.report import page
from kerasurgeon.report.drawing import Drawing
from kerasurgeon.report.numbers import format_shape
from kerasurgeon.report.passes import passes_table, reasons
from kerasurgeon.report.tables import Printed, as_html
from kerasurgeon.rewrite.context import RankedGroup, Site


@dataclass(frozen=True, slots=True)
class Size:
    """How big a model is.

    Attributes:
        nodes: Calls of layers and ops.
        parameters: Elements over all weights.
        macs: Multiply-accumulates of one sample.
        weight_bytes: Bytes of all weights.
        peak_activation_bytes: Bytes of the tensors that must be held at once, for one sample.
        left_out: The calls whose MACs cannot be told, which ``macs`` leaves out.
    """

    nodes: int
    parameters: int
    macs: int
    weight_bytes: int
    peak_activation_bytes: int
    left_out: LeftOut = field(default_factory=LeftOut)


@dataclass(frozen=True, slots=True)
class PassReport:
    """What one pass did.

    Attributes:
        name: The pass.
        options: Its options.
        preserves: What it promises about outputs.
        before: Size of the model before.
        after: Size after.
        seconds: Time the pass itself took.
        verify_seconds: Time its verification took.
        difference: Largest relative difference of outputs to before the pass, or, for a masked-exact pass, to the
            masked model; ``None`` where not compared.
        sites: What it changed and what it left alone.
        removed: Nodes that nothing used any more after it.
        plans: What it decided as plans, one a round, that can be saved,
            edited and applied again.
        notes: What the user should know of what it did: a budget that was missed, say.
        groups: The channels that it ranked.
    """

    name: str
    options: dict[str, Any]
    preserves: str
    before: Size
    after: Size
    seconds: float
    verify_seconds: float
    difference: float | None
    sites: tuple[Site, ...]
    removed: tuple[str, ...] = ()
    plans: tuple[Any, ...] = ()
    notes: tuple[str, ...] = ()
    groups: tuple[RankedGroup, ...] = ()

    @property
    def changed(self) -> tuple[Site, ...]:
        """The sites it changed."""
        return tuple(site for site in self.sites if site.changed)

    @property
    def left(self) -> tuple[Site, ...]:
        """The sites it left alone, with the reasons."""
        return tuple(site for site in self.sites if not site.changed)


@dataclass(frozen=True, slots=True)
class Report(Printed):
    """What a pipeline did.

    Attributes:
        model: Name of the model.
        passes: One report a pass, in order.
        seconds: Time of the whole run, lift and emit included.
        notes: What else the user should know, one sentence each.
        sizes: The sizes of the inputs that costs are counted for, by their names; empty for the model's own.
        before: The graph before the first pass, to be drawn (``kerasurgeon.report.drawing``); None without passes.
        after: The graph after the last one.
    """

    model: str
    passes: tuple[PassReport, ...] = ()
    seconds: float = 0.0
    notes: tuple[str, ...] = field(default=())
    sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    before: Drawing | None = field(default=None, repr=False)
    after: Drawing | None = field(default=None, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the drawings, as plain data."""
        return {
            "model": self.model,
            "seconds": self.seconds,
            "notes": list(self.notes),
            "sizes": {name: list(shape) for name, shape in self.sizes.items()},
            "passes": [
                {
                    "name": item.name,
                    "options": {key: _plain(value) for key, value in item.options.items()},
                    "preserves": item.preserves,
                    "notes": list(item.notes),
                    "plans": [json.loads(plan.to_json()) for plan in item.plans],
                    "before": _size(item.before),
                    "after": _size(item.after),
                    "seconds": item.seconds,
                    "verify_seconds": item.verify_seconds,
                    "difference": item.difference,
                    "changed": [{"node": site.node, "what": site.what} for site in item.changed],
                    "left": [{"node": site.node, "why": site.what} for site in item.left],
                    "removed": list(item.removed),
                    "groups": [asdict(group) for group in item.groups],
                }
                for item in self.passes
            ],
        }

    def to_json(self) -> str:
        """What ``to_dict`` gives, as JSON."""
        return json.dumps(self.to_dict(), indent=2)

    def to_page(self, tables: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
        """What a page shows of it, as plain data: see ``kerasurgeon.report.page``.

        Args:
            tables: What else it shows, as ``kerasurgeon.report.page.table`` makes them.
        """
        passes = [{key: value for key, value in item.items() if key != "plans"} for item in self.to_dict()["passes"]]
        notes = [*self.notes, *self._counted()]
        drawings = {"before": self.before, "after": self.after}
        charts = [made for item in self.passes for plan in item.plans for made in getattr(plan, "charts", list)()]
        shown = {"title": self.model, **drawings, "passes": passes, "notes": notes}
        return {**shown, "tables": list(tables), "charts": charts}

    def save(self, path: str | Path, *, tables: Sequence[Mapping[str, Any]] = (), overwrite: bool = True) -> None:
        """Write it to a file: a page with drawings of the network before and after, JSON, or text.

        Args:
            path: The file, ending in .html, .json or .txt.
            tables: What else a page shows, as ``kerasurgeon.report.page.table`` makes them: accuracies, latencies.
            overwrite: Whether a file that is there may be replaced.

        Raises:
            OptionError: The suffix is another.
            FileError: The file cannot be written; what was there before stays.
        """
        as_page = partial(self.to_page, tables)
        page.save_report(path, page=as_page, data=self.to_dict, text=self.__str__, overwrite=overwrite)

    def _repr_html_(self) -> str:
        below = f"<div>{page.frame(self.to_page())}</div>" if self.after is not None else ""
        return as_html(self.table(), self.lines()) + below

    def table(self) -> Table:
        """One row a pass."""
        return passes_table(self.passes, f"{self.model}: {self.seconds:.1f} s")

    def reasons(self) -> list[str]:
        """Why sites were left alone, counted, most frequent first; a pass that changed nothing always says why."""
        return reasons(self.passes)

    def lines(self) -> list[str]:
        """Reasons, then notes, then what costs are counted for and what they leave out."""
        notes = [f"{item.name}: {note}" for item in self.passes for note in item.notes]
        return [*self.reasons(), *notes, *self.notes, *self._counted()]

    def _counted(self) -> list[str]:
        shapes = ", ".join(f"{name} {format_shape(shape)}" for name, shape in self.sizes.items())
        lines = [f"costs are counted for inputs of {shapes}"] if shapes else []
        left = [self.passes[0].before.left_out, self.passes[-1].after.left_out] if self.passes else []
        if len(left) == 2 and set(left[1].names) <= set(left[0].names):
            left.pop()
        return [*lines, *(one.said for one in left if one)]


def _size(size: Size) -> dict[str, Any]:
    return {**{name: getattr(size, name) for name in Size.__slots__}, "left_out": size.left_out.to_dict()}


def _plain(value: Any) -> Any:
    if isinstance(value, (str, int, float, bool, type(None))):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return getattr(value, "__name__", None) or repr(value)
