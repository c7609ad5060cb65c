"""Bridges: networks that make a tensor like a region's exit from one like its entry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import keras

from kerasurgeon.blocks.geometry import Geometry, geometry
from kerasurgeon.blocks.shunts import SHUNTS, fitting
from kerasurgeon.blocks.translator import translator
from kerasurgeon.errors import GraphError, OptionError, did_you_mean
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.structure import values_in
from kerasurgeon.ir.values import TensorSpec
from kerasurgeon.keras_io.lift import lift
from kerasurgeon.rewrite.option_checks import naming
from kerasurgeon.rewrite.regions import Region
from kerasurgeon.trust import import_object

Builder: TypeAlias = Callable[[Geometry, int], keras.Model]
Own: TypeAlias = Callable[[TensorSpec, TensorSpec], keras.Model]

ARCHITECTURES: dict[str, Builder] = dict(SHUNTS)
"""The architectures of shunts by name: called with a ``Geometry`` and a seed they build one. Add your own."""

AUTO = "auto"
"""Stands for the first of architectures 1 and 5 that can bridge a region."""


def check_architecture(arch: Any, where: str = "the architecture") -> str | Own:
    """An architecture as it is named: a name, or a function.

    Args:
        arch: A name of ``ARCHITECTURES`` (1, 4 and 5 as numbers too), ``"auto"``, ``"module:name"`` of a function
            ``(entry_spec, exit_spec) -> keras.Model``, or such a function.
        where: Which option it was given for, for errors.

    Raises:
        OptionError: It is none of these.
        RecipeError: The path cannot be imported.
    """
    if isinstance(arch, int) and not isinstance(arch, bool):
        arch = str(arch)
    if isinstance(arch, str):
        if ":" in arch:
            found = import_object(arch, where)
            if not callable(found):
                raise OptionError(f"{where}: {arch!r} is no function.", got=type(found).__name__)
            return arch
        if arch in ARCHITECTURES or arch == AUTO:
            return arch
        hint = did_you_mean(arch, [*ARCHITECTURES, AUTO])
        raise OptionError(f"{where}: there is no architecture {arch!r}.", hint=hint)
    if callable(arch):
        return arch  # type: ignore[no-any-return]
    expected = f"{', '.join(map(repr, [*ARCHITECTURES, AUTO]))}, or a function (entry_spec, exit_spec) -> keras.Model"
    raise OptionError(f"{where} cannot be used.", expected=expected, got=repr(arch)[:80])


@naming()
def build_shunt(graph: Graph, region: Region, arch: Any, seed: int) -> tuple[str, Graph]:
    """A shunt for a region, with fresh weights.

    Args:
        graph: The graph.
        region: One of its regions.
        arch: As for ``check_architecture``.
        seed: The same seed, the same weights; functions of one's own are not given it.

    Returns:
        The name of the architecture that was taken, and the shunt.

    Raises:
        PlaceError: The architecture cannot bridge the region, or what a function made does not fit.
    """
    named = check_architecture(arch)
    if isinstance(named, str) and ":" not in named:
        wanted = geometry(graph, region)
        name = _automatic(wanted) if named == AUTO else named
        try:
            return name, lift(ARCHITECTURES[name](wanted, seed))
        except GraphError as error:
            raise GraphError(
                error.what,
                where=f"region {region.name!r}: {region.entry} -> {region.exit}",
                expected=error.expected,
                got=error.got,
                hint=error.hint,
            ) from error
    function = import_object(named, "the architecture") if isinstance(named, str) else named
    name = named if isinstance(named, str) else getattr(named, "__name__", type(named).__name__)
    made = function(region.entry_spec, region.exit_spec)
    return name, checked(made, region, f"The function {name!r}")


def checked(made: Any, region: Region, who: str) -> Graph:
    """What a function made for a region, as a graph, if it fits.

    Args:
        made: A Keras model, or a graph.
        region: The region.
        who: Who made it, for errors.

    Raises:
        GraphError: It is neither, or takes or returns other tensors than the region does.
    """
    if not isinstance(made, (keras.Model, Graph)):
        raise GraphError(f"{who} did not return a model.", expected="a keras.Model", got=repr(made)[:80])
    inner = made if isinstance(made, Graph) else lift(made)
    inputs, outputs = values_in(inner.inputs), values_in(inner.outputs)
    if len(inputs) != 1 or len(outputs) != 1:
        raise GraphError(
            f"{who} returned a model that is no bridge.",
            expected="one input and one output",
            got=f"{len(inputs)} inputs and {len(outputs)} outputs",
        )
    takes, makes = inner.spec(inputs[0]), inner.spec(outputs[0])
    if not takes.accepts(region.entry_spec) or makes != region.exit_spec:
        raise GraphError(
            f"{who} returned a model that does not fit the region {region.name!r}.",
            expected=f"{region.entry_spec} -> {region.exit_spec}",
            got=f"{takes} -> {makes}",
            hint="take keras.Input(batch_shape=entry_spec.shape, dtype=entry_spec.dtype) as its input",
        )
    return inner


def _automatic(wanted: Geometry) -> str:
    for name in ("1", "5"):
        if SHUNTS[name].fits(wanted):
            return name
    return "5"  # which says why it cannot


__all__ = [
    "ARCHITECTURES",
    "AUTO",
    "Builder",
    "Geometry",
    "build_shunt",
    "check_architecture",
    "checked",
    "fitting",
    "geometry",
    "translator",
]
