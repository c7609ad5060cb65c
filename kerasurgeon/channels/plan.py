"""A plan: which channels of which layers are kept. Data, to be shown, saved, edited and applied."""

from __future__ import annotations

from pathlib import Path
from typing import Any, final

from kerasurgeon.channels.kept import KeptChannels
from kerasurgeon.channels.preview import Preview, preview
from kerasurgeon.errors import OptionError, PlanError
from kerasurgeon.plan_files import PlanFile, parse_json, read_plan_text
from kerasurgeon.rules import Sizes

PLAN = PlanFile(
    "channels",
    "plan of channels",
    {"model": str, "note": str, "widths": dict, "kept": dict},
    frozenset({"model", "note", "widths"}),
)


@final
class ChannelPlan(KeptChannels):
    """Which channels are kept, by the layers that make them: shown on a model, saved, read.

    Attributes:
        kept: For a layer (``"conv1"``; ``"attention#heads"`` where it makes several kinds of channels) the indices of
            the channels that are kept, or their number where a criterion is to choose them.
        widths: How many channels these layers have in the model that the plan was made for.
        model: The name of that model.
        note: Anything to remember about it.
    """

    def show(
        self, model: Any, *, importance: Any = "l2", data: Any = None, loss: Any = None, sizes: Sizes | None = None
    ) -> Preview:
        """What would go from a model, before it goes: print it.

        Args:
            model: A Keras model or a graph; it is only read.
            importance: What matters least, where the plan gives numbers: a criterion as for ``PruneChannels``.
            data: Inputs, or ``(inputs, labels)``, for criteria that use data.
            loss: A loss, for criteria that use gradients.
            sizes: Sizes of the inputs that MACs are counted for, as for ``kerasurgeon.cost``.

        Raises:
            PlanError: The plan does not fit the model.
            OptionError: The criterion is not known, or cannot judge with what it is given.
        """
        return preview(self, model, importance, data, loss, sizes)

    def to_json(self) -> str:
        """As JSON: see ``from_json``."""
        return PLAN.text({"model": self.model, "note": self.note, "widths": self.widths, "kept": self.kept})

    @classmethod
    def from_json(cls, text: str) -> ChannelPlan:
        """Read a plan: its own form, or a plain object of layer names to indices, counts, or true-false lists.

        The last is what MorphNet writes (alive counts) and what model definitions list (widths).

        Raises:
            PlanError: The text is no plan.
        """
        return cls.from_data(parse_json(text, PLAN.what))

    def save(self, path: str | Path, *, overwrite: bool = True) -> None:
        """Write it as JSON, whole or not at all.

        Raises:
            FileError: It cannot be written, or a file is there and ``overwrite`` is false.
        """
        data = {"model": self.model, "note": self.note, "widths": self.widths, "kept": self.kept}
        PLAN.save(path, data, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path) -> ChannelPlan:
        """Read a plan from a file.

        Raises:
            PlanError: The file is missing or holds no plan.
        """
        return cls.from_data(parse_json(read_plan_text(path, PLAN.what), PLAN.what, str(path)), str(path))

    @classmethod
    def from_data(cls, data: Any, where: str | None = None) -> ChannelPlan:
        """Read a plan from what its JSON holds.

        Args:
            data: What ``from_json`` reads, as data.
            where: The file that it is from, for messages.

        Raises:
            PlanError: It is no plan.
        """
        if isinstance(data, dict) and "format" not in data:
            return cls._made(where, data)
        data = PLAN.entries_of(data, where)
        widths = data.get("widths", {})
        if not all(type(width) is int for width in widths.values()):
            expected, got = "how many channels each layer has", repr(widths)[:80]
            raise PlanError("The plan's 'widths' cannot be used.", where=where, expected=expected, got=got)
        return cls._made(where, data["kept"], widths, data.get("model", ""), data.get("note", ""))

    @classmethod
    def _made(cls, where: str | None, *parts: Any) -> ChannelPlan:
        try:
            return cls(*parts)
        except OptionError as error:
            raise PlanError(error.what, where=where, expected=error.expected, got=error.got) from error
