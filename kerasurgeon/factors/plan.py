"""Factors as a plan: found once, shown, saved, and put into a model later or elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, final

import numpy as np
from rich.table import Table

from kerasurgeon.factors.kernels.method import Factors
from kerasurgeon.factors.kernels.shape import Shape, Stage, chain_params
from kerasurgeon.plan_files import PlanFile
from kerasurgeon.report import Printed, format_count, grid

Array = np.ndarray[Any, Any]

PLAN = PlanFile("factors", "plan of factors", {"model": str, "note": str, "layers": dict})


def fingerprint(kernel: Array) -> str:
    """What tells a kernel from all others: a digest of its shape, dtype and entries."""
    kernel = np.ascontiguousarray(kernel)
    digest = hashlib.sha256(f"{kernel.shape} {kernel.dtype.str} ".encode())
    digest.update(kernel.data if kernel.dtype.isnative else kernel.tobytes())
    return digest.hexdigest()


@final
@dataclass(frozen=True, slots=True, eq=False)
class PlannedFactors:
    """The factors of one layer.

    Attributes:
        factors: The factors, in the dtype of the kernel.
        fingerprint: Of the kernel that they were made from.
        error: ``||W - What|| / ||W||`` in the Frobenius norm, residual included.
    """

    factors: Factors
    fingerprint: str
    error: float

    @classmethod
    def of(cls, kernel: Array, factors: Factors) -> PlannedFactors:
        """Factors and the kernel ``(groups, *sizes, inputs, outputs)`` that they were made from."""
        kernel = np.asarray(kernel)
        factors = replace(
            factors,
            kernels=tuple(np.asarray(one, kernel.dtype) for one in factors.kernels),
            residual=None if factors.residual is None else np.asarray(factors.residual, kernel.dtype),
            bias=None if factors.bias is None else np.asarray(factors.bias, kernel.dtype),
        )
        missed = np.linalg.norm((kernel - factors.reconstruct()).ravel())
        norm = np.linalg.norm(kernel.ravel())
        return cls(factors, fingerprint(kernel), float(missed / norm) if norm else 0.0)

    @property
    def params(self) -> int:
        """Entries of the chain's kernels, and of the residual those that are not zero."""
        return int(chain_params(self.factors.shape, self.factors.stages)) + self.factors.kept

    @property
    def sparsity(self) -> float:
        """Share of the kernel's entries that the residual keeps."""
        return self.factors.kept / self.factors.shape.params

    def to_dict(self) -> dict[str, Any]:
        """All but the arrays, as plain data."""
        factors = self.factors
        return {
            "method": factors.method,
            "ranks": list(factors.ranks),
            "sparsity": self.sparsity,
            "error": self.error,
            "params_before": factors.shape.params,
            "params": self.params,
            "shape": asdict(factors.shape),
            "stages": [asdict(stage) for stage in factors.stages],
            "fingerprint": self.fingerprint,
        }

    def arrays(self) -> dict[str, Array]:
        """The arrays by role: a kernel per stage, the residual as flat indices and values, the bias."""
        factors = self.factors
        found = {stage.role: kernel for stage, kernel in zip(factors.stages, factors.kernels, strict=True)}
        if factors.residual is not None:
            where = np.flatnonzero(factors.residual)
            found["residual_indices"], found["residual"] = where, factors.residual.ravel()[where]
        return found if factors.bias is None else {**found, "bias": factors.bias}

    @classmethod
    def from_parts(cls, data: Mapping[str, Any], arrays: Mapping[str, Array]) -> PlannedFactors:
        """What ``to_dict`` and ``arrays`` were made from.

        Raises:
            KeyError, TypeError, ValueError: Something is missing, or does not fit together.
        """
        shape = Shape(**{**data["shape"], "sizes": tuple(data["shape"]["sizes"])})
        stages = tuple(Stage(**{**stage, "axes": tuple(stage["axes"])}) for stage in data["stages"])
        kernels = tuple(arrays[stage.role] for stage in stages)
        for stage, kernel in zip(stages, kernels, strict=True):
            places = tuple(size if axis in stage.axes else 1 for axis, size in enumerate(shape.sizes))
            last = (stage.inputs, stage.outputs // stage.inputs if stage.depthwise else stage.outputs)
            if kernel.shape != (shape.groups, *places, *last):
                raise ValueError(f"the kernel of stage {stage.role!r} has shape {kernel.shape}")
        residual = None
        if "residual" in arrays:
            residual, indices = np.zeros(shape.params, arrays["residual"].dtype), arrays["residual_indices"]
            if len(np.unique(indices)) < len(indices) or (len(indices) and np.min(indices) < 0):
                raise ValueError("the indices of the residual are no places of the kernel, each once")
            residual[indices] = arrays["residual"]
            residual = residual.reshape(shape.groups, *shape.sizes, shape.inputs, shape.outputs)
        bias = arrays.get("bias")
        factors = Factors(shape, str(data["method"]), tuple(data["ranks"]), stages, kernels, residual, bias)
        return cls(factors, str(data["fingerprint"]), float(data["error"]))


@final
@dataclass(frozen=True, eq=False)
class FactorPlan(Printed):
    """Which layers are factorised, and into what. Prints as a table.

    Two plans are equal if their layers have the same factors of the same kernels.

    Attributes:
        layers: The factors by name of the layer.
        model: The name of the model that they were made for.
        note: Anything to remember about it.
    """

    layers: Mapping[str, PlannedFactors] = field(default_factory=dict)
    model: str = ""
    note: str = ""

    @classmethod
    def of(cls, model: str, layers: Mapping[str, tuple[Array, Factors]], note: str = "") -> FactorPlan:
        """The plan for some kernels and their factors.

        Args:
            model: Name of the model.
            layers: By name of the layer its kernel ``(groups, *sizes, inputs, outputs)`` and its factors.
            note: Anything to remember.
        """
        return cls({name: PlannedFactors.of(*pair) for name, pair in layers.items()}, model, note)

    def misfit(self, name: str, kernel: Array) -> str:
        """Why a layer's factors are not those of a kernel; empty if they are.

        Args:
            name: Name of a layer of the plan.
            kernel: The kernel that the layer has, ``(groups, *sizes, inputs, outputs)``.
        """
        planned = self.layers[name]
        shape = planned.factors.shape
        wanted = (shape.groups, *shape.sizes, shape.inputs, shape.outputs)
        if np.shape(kernel) != wanted:
            return f"the plan was made for a kernel of shape {wanted}, it has {np.shape(kernel)}"
        if fingerprint(kernel) != planned.fingerprint:
            return "the plan was made from a kernel with other values"
        return ""

    def save(self, path: str | Path, *, overwrite: bool = True) -> None:
        """Write ``path.json`` and ``path.npz``, beside and then moved into place.

        Raises:
            FileError: They cannot be written, or others are there and ``overwrite`` is false.
        """
        packed = {
            f"{name}/{role}": array for name, planned in self.layers.items() for role, array in planned.arrays().items()
        }
        PLAN.save_pair(path, self._data(), packed, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path) -> FactorPlan:
        """Read a plan from its two files. Layers that were deleted from the JSON file are left out.

        Args:
            path: With the suffix of either file, or without.

        Raises:
            PlanError: A file is missing or damaged, or of another format or version.
        """
        data, packed = PLAN.load_pair(path)
        layers = {}
        for name, entry in data["layers"].items():
            # Names of layers may hold slashes, roles do not.
            own = {key[len(name) + 1 :]: array for key, array in packed.items() if key.rpartition("/")[0] == name}
            with PLAN.part(f"{path}, layer {name!r}"):
                layers[name] = PlannedFactors.from_parts(entry, own)
        return cls(layers, data["model"], data["note"])

    def to_json(self) -> str:
        """All but the arrays, as JSON."""
        return PLAN.text(self._data())

    def table(self) -> Table:
        """A rich table, one row a layer."""
        table = grid(
            ("layer", "method", "ranks", "residual", "error", "parameters", "kept"),
            left=("layer", "method"),
            title=f"factors of {self.model or 'a model'}",
        )
        for name, planned in self.layers.items():
            factors = planned.factors
            table.add_row(
                name,
                factors.method,
                ", ".join("-" if rank is None else str(rank) for rank in factors.ranks),
                "" if factors.residual is None else f"{planned.sparsity:.2%}",
                f"{planned.error:.4f}",
                f"{format_count(factors.shape.params)} -> {format_count(planned.params)}",
                f"{planned.params / factors.shape.params:.1%}",
            )
        return table

    def __repr__(self) -> str:
        return f"FactorPlan({len(self.layers)} layers of {self.model or 'a model'!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FactorPlan) or list(self.layers) != list(other.layers):
            return False
        pairs = [(one, other.layers[name]) for name, one in self.layers.items()]
        return all(_same(one, two) for one, two in pairs)

    __hash__ = None  # type: ignore[assignment]

    def _data(self) -> dict[str, Any]:
        layers = {name: planned.to_dict() for name, planned in self.layers.items()}
        return {"model": self.model, "note": self.note, "layers": layers}


def _same(one: PlannedFactors, other: PlannedFactors) -> bool:
    mine, theirs = one.arrays(), other.arrays()
    return (
        (one.fingerprint, one.factors.method, one.factors.ranks, one.factors.stages, one.factors.shape)
        == (other.fingerprint, other.factors.method, other.factors.ranks, other.factors.stages, other.factors.shape)
        and mine.keys() == theirs.keys()
        and all(np.array_equal(mine[role], theirs[role]) for role in mine)
    )


__all__ = ["PLAN", "FactorPlan", "PlannedFactors", "fingerprint"]
