"""What a pipeline did, pass by pass: as text, in a notebook, as JSON."""

from __future__ import annotations

import html
import io
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from kerasurgeon.costs import format_bytes, format_count
from kerasurgeon.rewrite.context import Site

_SHOWN_REASONS = 8


@dataclass(frozen=True, slots=True)
class Size:
    """How big a model is.

    Attributes:
        nodes: Calls of layers and ops.
        parameters: Elements over all weights.
        macs: Multiply-accumulates of one sample.
        weight_bytes: Bytes of all weights.
        peak_activation_bytes: Bytes of the tensors that must be held at once, for one sample.
    """

    nodes: int
    parameters: int
    macs: int
    weight_bytes: int
    peak_activation_bytes: int


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

    @property
    def changed(self) -> tuple[Site, ...]:
        """The sites it changed."""
        return tuple(site for site in self.sites if site.changed)

    @property
    def left(self) -> tuple[Site, ...]:
        """The sites it left alone, with the reasons."""
        return tuple(site for site in self.sites if not site.changed)


@dataclass(frozen=True, slots=True)
class Report:
    """What a pipeline did.

    Attributes:
        model: Name of the model.
        passes: One report a pass, in order.
        seconds: Time of the whole run, lift and emit included.
        notes: What else the user should know, one sentence each.
    """

    model: str
    passes: tuple[PassReport, ...] = ()
    seconds: float = 0.0
    notes: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {
            "model": self.model,
            "seconds": self.seconds,
            "notes": list(self.notes),
            "passes": [
                {
                    "name": item.name,
                    "options": {key: _plain(value) for key, value in item.options.items()},
                    "preserves": item.preserves,
                    "plans": [json.loads(plan.to_json()) for plan in item.plans],
                    "before": _size(item.before),
                    "after": _size(item.after),
                    "seconds": item.seconds,
                    "verify_seconds": item.verify_seconds,
                    "difference": item.difference,
                    "changed": [{"node": site.node, "what": site.what} for site in item.changed],
                    "left": [{"node": site.node, "why": site.what} for site in item.left],
                    "removed": list(item.removed),
                }
                for item in self.passes
            ],
        }

    def to_json(self) -> str:
        """Everything, as JSON."""
        return json.dumps(self.to_dict(), indent=2)

    def table(self) -> Table:
        """One row a pass."""
        table = Table(title=f"{self.model}: {self.seconds:.1f} s", title_justify="left")
        for column in (
            "pass",
            "sites changed",
            "left alone",
            "nodes",
            "parameters",
            "MACs",
            "weights",
            "output change",
        ):
            table.add_column(column, justify="left" if column == "pass" else "right")
        for item in self.passes:
            before, after = item.before, item.after
            table.add_row(
                item.name,
                str(len(item.changed)),
                str(len(item.left)),
                _arrow(before.nodes, after.nodes),
                _arrow(before.parameters, after.parameters),
                _arrow(before.macs, after.macs),
                _arrow(before.weight_bytes, after.weight_bytes, format_bytes),
                "-" if item.difference is None else f"{item.difference:.1e}",
            )
        return table

    def reasons(self) -> list[str]:
        """Why sites were left alone, counted, most frequent first; a pass that changed nothing always says why."""
        lines = []
        for item in self.passes:
            counted = Counter(site.what for site in item.left)
            if not item.changed and not counted:
                lines.append(f"{item.name}: changed nothing; it found no site to look at")
            for reason, count in counted.most_common(_SHOWN_REASONS):
                example = next(site.node for site in item.left if site.what == reason)
                lines.append(f"{item.name}: left {count} alone ({example}{', ...' if count > 1 else ''}): {reason}")
            if len(counted) > _SHOWN_REASONS:
                lines.append(f"{item.name}: and {len(counted) - _SHOWN_REASONS} more reasons, see report.to_dict()")
        return lines

    def __str__(self) -> str:
        out = io.StringIO()
        console = Console(file=out, width=120, color_system=None)
        console.print(self.table())
        for line in [*self.reasons(), *self.notes]:
            console.print(line, highlight=False, markup=False)
        return out.getvalue().rstrip()

    def _repr_html_(self) -> str:
        out = Console(record=True, file=io.StringIO(), width=120)
        out.print(self.table())
        body = out.export_html(inline_styles=True, code_format="<pre>{code}</pre>")
        return body + "".join(f"<div>{html.escape(line)}</div>" for line in [*self.reasons(), *self.notes])


def _arrow(before: int, after: int, shown: Callable[[float], str] = format_count) -> str:
    if before == after:
        return shown(after)
    kept = f" ({after / before:.0%})" if before else ""
    return f"{shown(before)} -> {shown(after)}{kept}"


def _size(size: Size) -> dict[str, int]:
    return {name: getattr(size, name) for name in Size.__slots__}


def _plain(value: Any) -> Any:
    if isinstance(value, (str, int, float, bool, type(None))):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return getattr(value, "__name__", None) or repr(value)
