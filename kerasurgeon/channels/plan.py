"""A plan: which channels of which layers are kept. Data, to be shown, saved, edited and applied."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, final

from kerasurgeon.atomic import write_text
from kerasurgeon.channels.kept import KeptChannels
from kerasurgeon.channels.preview import Preview, preview
from kerasurgeon.errors import PlanError

FORMAT = "kerasurgeon.channels/1"


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

    def show(self, model: Any, *, importance: Any = "l2", data: Any = None, loss: Any = None) -> Preview:
        """What would go from a model, before it goes: print it.

        Args:
            model: A Keras model or a graph; it is only read.
            importance: What matters least, where the plan gives numbers: a criterion as for ``PruneChannels``.
            data: Inputs, or ``(inputs, labels)``, for criteria that use data.
            loss: A loss, for criteria that use gradients.

        Raises:
            PlanError: The plan does not fit the model.
            OptionError: The criterion is not known, or cannot judge with what it is given.
        """
        return preview(self, model, importance, data, loss)

    def to_json(self) -> str:
        """As JSON: see ``from_json``."""
        kept = {name: wanted if isinstance(wanted, int) else list(wanted) for name, wanted in self.kept.items()}
        entries = {"format": FORMAT, "model": self.model, "note": self.note, "widths": dict(self.widths), "kept": kept}
        lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in entries.items() if key != "kept"]
        inner = ",\n".join(f"    {json.dumps(name)}: {json.dumps(wanted)}" for name, wanted in kept.items())
        lines.append(f'  "kept": {{\n{inner}\n  }}' if kept else '  "kept": {}')
        return "{\n" + ",\n".join(lines) + "\n}\n"

    @classmethod
    def from_json(cls, text: str) -> ChannelPlan:
        """Read a plan: its own form, or a plain object of layer names to indices, counts, or true-false lists.

        The last is what MorphNet writes (alive counts) and what model definitions list (widths).

        Raises:
            PlanError: The text is no plan.
        """
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise PlanError("The plan is not valid JSON.", where=f"line {error.lineno}", got=error.msg) from error
        if not isinstance(data, dict):
            raise PlanError("A plan is an object of layer names and what they keep.", got=type(data).__name__)
        if "format" not in data:
            return cls(data)
        if data["format"] != FORMAT:
            raise PlanError("The plan has an unknown format.", expected=FORMAT, got=str(data["format"]))
        extra = set(data) - {"format", "model", "note", "widths", "kept"}
        if extra or not isinstance(data.get("kept"), dict):
            raise PlanError("The plan does not have the form of a plan.", got=", ".join(sorted(extra)) or "no 'kept'")
        widths = data.get("widths", {})
        if not isinstance(widths, dict) or not all(type(width) is int for width in widths.values()):
            expected = "how many channels each layer has"
            raise PlanError("The plan's 'widths' cannot be used.", expected=expected, got=repr(widths)[:80])
        return cls(data["kept"], widths, str(data.get("model", "")), str(data.get("note", "")))

    def save(self, path: str | Path) -> None:
        """Write it as JSON, whole or not at all."""
        try:
            write_text(path, self.to_json())
        except OSError as error:
            raise PlanError("The plan cannot be written.", where=str(path), got=error.strerror or str(error)) from error

    @classmethod
    def load(cls, path: str | Path) -> ChannelPlan:
        """Read a plan from a file.

        Raises:
            PlanError: The file is missing or holds no plan.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise PlanError("The plan cannot be read.", where=str(path), got=str(error)) from error
        return cls.from_json(text)
