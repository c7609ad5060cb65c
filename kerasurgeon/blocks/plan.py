"""A plan of what is put in place of which parts of a network. Data, to be shown, saved, edited and carried out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
from rich.table import Table

from kerasurgeon.blocks.networks import Array, network_config, network_from_config, network_weights, with_weights
from kerasurgeon.costs import cost
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.values import TensorSpec
from kerasurgeon.plan_files import PlanFile
from kerasurgeon.recover.bridges import Bridge
from kerasurgeon.report import Printed, format_count, grid
from kerasurgeon.rewrite.regions import Region

PLAN = PlanFile("blocks", "plan of blocks", {"model": str, "note": str, "steps": list})


@final
@dataclass(frozen=True, eq=False)
class BlockStep:
    """One replacement. Names of nodes are those of the graph as it is before the step.

    Attributes:
        action: What kind of replacement it is: ``"shunt"``, ``"translator"``, ``"drop"``, ``"insert"``, ...
        name: What it is called: the beginning of its layers' names, and the name of its bridge.
        entry: The tensor that the replacement reads, as ``"conv1"`` or ``"split#1"``.
        exit: The tensor whose place its result takes. Equal to ``entry`` where something is inserted.
        nodes: Names of the nodes that go, in topological order; none where something is inserted.
        entry_spec: Shape and dtype of the entry.
        exit_spec: Shape and dtype of the exit.
        network: What is put there; ``None`` for nothing: the exit's users read the entry.
        options: How it was made (``{"arch": "1"}``), to be read by people.
        bridge: Where it ended up, once it was carried out.
    """

    action: str
    name: str
    entry: str
    exit: str
    nodes: tuple[str, ...]
    entry_spec: TensorSpec
    exit_spec: TensorSpec
    network: Graph | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    bridge: Bridge | None = None

    @classmethod
    def of(cls, action: str, name: str, region: Region, network: Graph | None, **options: Any) -> BlockStep:
        """The step that puts a network, or nothing, in place of a region; its options name the region."""
        return cls(
            action,
            name,
            str(region.entry),
            str(region.exit),
            region.nodes,
            region.entry_spec,
            region.exit_spec,
            network,
            {"region": region.name, **options},
        )

    @property
    def parameters(self) -> int:
        """Elements of the weights of what is put there."""
        return 0 if self.network is None else sum(layer.parameters for layer in self.network.layers.values())

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates of one sample of what is put there; ``None`` where they are unknown, or in part."""
        if self.network is None:
            return 0
        found = cost(self.network)
        return None if found.left_out else found.macs

    def weights(self) -> dict[str, Array]:
        """The weights of what is put there, by layer and path: ``"conv/kernel"``."""
        return {} if self.network is None else network_weights(self.network)

    def to_dict(self) -> dict[str, Any]:
        """All but the weights, as plain data."""
        return {
            "action": self.action,
            "name": self.name,
            "entry": self.entry,
            "exit": self.exit,
            "nodes": list(self.nodes),
            "entry_spec": _spec_to_list(self.entry_spec),
            "exit_spec": _spec_to_list(self.exit_spec),
            "options": dict(self.options),
            "bridge": None if self.bridge is None else _bridge_to_dict(self.bridge),
            "network": None if self.network is None else network_config(self.network),
        }

    @classmethod
    def from_parts(cls, data: Mapping[str, Any], weights: Mapping[str, Array]) -> BlockStep:
        """What ``to_dict`` and ``weights`` gave.

        Raises:
            PlanError: The network cannot be made.
            KeyError, TypeError, ValueError: The parts are not those of a step.
        """
        if len(set(data["nodes"])) < len(data["nodes"]):
            raise ValueError("its nodes are named twice")
        network = None if data["network"] is None else network_from_config(data["network"])
        bridge = data.get("bridge")
        return cls(
            str(data["action"]),
            str(data["name"]),
            str(data["entry"]),
            str(data["exit"]),
            tuple(map(str, data["nodes"])),
            _spec_from_list(data["entry_spec"]),
            _spec_from_list(data["exit_spec"]),
            None if network is None else with_weights(network, weights),
            dict(data["options"]),
            None if bridge is None else Bridge(**{**bridge, "layers": tuple(bridge["layers"])}),
        )


@final
@dataclass(frozen=True, eq=False)
class BlockPlan(Printed):
    """What is put in place of which parts of a network, in order. Prints as a table.

    Two plans are equal if they do the same with the same weights.

    Attributes:
        steps: The replacements.
        model: The name of the model that they were made for.
        note: Anything to remember about it.
    """

    steps: tuple[BlockStep, ...] = ()
    model: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(self.steps))

    @property
    def bridges(self) -> tuple[Bridge, ...]:
        """Where in the new model the networks are that were put there, for ``train_bridges``."""
        return tuple(step.bridge for step in self.steps if step.bridge is not None and step.bridge.layers)

    def save(self, path: str | Path, *, overwrite: bool = True) -> None:
        """Write ``path.json``, and the weights as ``path.npz`` where there are any; beside, then moved into place.

        Raises:
            FileError: They cannot be written, or others are there and ``overwrite`` is false.
            PlanError: A network holds what JSON cannot say.
        """
        packed = {
            f"{index}/{key}": array for index, step in enumerate(self.steps) for key, array in step.weights().items()
        }
        PLAN.save_pair(path, self._data(), packed or None, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path) -> BlockPlan:
        """Read a plan from its files.

        Args:
            path: With the suffix of either file, or without.

        Raises:
            PlanError: A file is missing or damaged, or of another format or version.
        """
        data, packed = PLAN.load_pair(path)
        steps: list[BlockStep] = []
        for index, entry in enumerate(data["steps"]):
            prefix = f"{index}/"
            own = {key[len(prefix) :]: array for key, array in packed.items() if key.startswith(prefix)}
            with PLAN.part(f"{path}, step {index + 1}"):
                steps.append(BlockStep.from_parts(entry, own))
        return cls(tuple(steps), data["model"], data["note"])

    def to_json(self) -> str:
        """All but the weights, as JSON."""
        return PLAN.text(self._data())

    def table(self) -> Table:
        """A rich table, one row a step."""
        rows = [
            (
                step.action + "".join(f" {value}" for key, value in step.options.items() if key == "arch"),
                step.name,
                step.entry,
                step.exit,
                str(len(step.nodes)),
                f"{step.entry_spec} -> {step.exit_spec}",
                format_count(step.parameters),
                "?" if step.macs is None else format_count(step.macs),
            )
            for step in self.steps
        ]
        left = ("action", "name", "from", "to", "shape")
        heads = ("action", "name", "from", "to", "nodes", "shape", "parameters", "MACs")
        return grid(heads, rows, left=left, title=f"blocks of {self.model or 'a model'}")

    def __repr__(self) -> str:
        return f"BlockPlan({len(self.steps)} steps for {self.model or 'a model'!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BlockPlan) or len(self.steps) != len(other.steps):
            return False
        return all(_same(one, two) for one, two in zip(self.steps, other.steps, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def _data(self) -> dict[str, Any]:
        steps = [step.to_dict() for step in self.steps]
        return {"model": self.model, "note": self.note, "steps": steps}


def _same(one: BlockStep, other: BlockStep) -> bool:
    mine, theirs = one.weights(), other.weights()
    first, second = ({**step.to_dict(), "network": step.network is None, "bridge": None} for step in (one, other))
    return (
        PLAN.text(first) == PLAN.text(second)
        and list(mine) == list(theirs)
        and all(np.array_equal(mine[key], theirs[key]) for key in mine)
    )


def _spec_to_list(spec: TensorSpec) -> list[Any]:
    return [list(spec.shape), spec.dtype]


def _spec_from_list(entry: Sequence[Any]) -> TensorSpec:
    shape, dtype = entry
    return TensorSpec(tuple(None if size is None else int(size) for size in shape), str(dtype))


def _bridge_to_dict(bridge: Bridge) -> dict[str, Any]:
    return {name: getattr(bridge, name) for name in Bridge.__slots__}


__all__ = ["PLAN", "BlockPlan", "BlockStep"]
