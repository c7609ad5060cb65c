"""Kernels that may have zeros: which weight of which layer, how its axes stand, how important its entries are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from kerasurgeon.errors import OptionError
from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.name_patterns import where_refusal
from kerasurgeon.rewrite.option_checks import check_flag, check_patterns, check_several
from kerasurgeon.rules.asking import channel_form, linear_kinds
from kerasurgeon.rules.linear import Kernel

Array = np.ndarray[Any, Any]
KernelCriterion = Callable[[str, Array], Any]
"""From a layer's name and its kernel ``(*positions, in, out)`` to an importance per entry, of the same shape."""

CRITERIA = ("l1", "l2")


@dataclass(frozen=True, slots=True)
class KernelChoice:
    """Which kernels are looked at.

    Attributes:
        where: Patterns of layer names (see ``names_match``); one with ``!`` before it leaves out what it names.
        kinds: Kinds of layers; empty for all that have a kernel.
        pointwise: Whether kernels of one position count too.
        depthwise: Whether depthwise kernels count too.
    """

    where: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    pointwise: bool = False
    depthwise: bool = False

    @classmethod
    def of(cls, where: Any, kinds: Any, pointwise: Any, depthwise: Any) -> KernelChoice:
        """Options as users give them.

        Raises:
            OptionError: One cannot be used.
        """
        patterns = check_patterns("", "where", where, excluding=True)
        wanted = check_several("", "kinds", kinds, linear_kinds())
        check_flag("", "pointwise", pointwise)
        check_flag("", "depthwise", depthwise)
        return cls(patterns, wanted, pointwise, depthwise)

    def refusal(self, layer: Layer, names: set[str]) -> str:
        """Why the kernel of a layer is left alone; empty if it is not.

        Args:
            layer: The layer.
            names: Names that the layer goes by.
        """
        unnamed = where_refusal(names, self.where)
        if unnamed:
            return unnamed
        if self.kinds and layer.kind not in self.kinds:
            return f"kinds= leaves out {layer.kind}"
        form = channel_form(layer)
        if form is None:
            return "it has no kernel that makes channels"
        if form.depthwise and not self.depthwise:
            return "depthwise kernels are small and lose much by zeros: depthwise=True zeroes them too"
        convolves = form.window is not None and not form.depthwise
        if convolves and (form.pointwise or form.separable) and not self.pointwise:
            return "kernels of one position (1x1) are left alone unless pointwise=True"
        return ""


def kernel_of(layer: Layer) -> Kernel | None:
    """The kernel that makes the channels of a layer: of a separable convolution the pointwise one."""
    form = channel_form(layer)
    return form.kernels[-1] if form is not None else None


def importance(criterion: str | KernelCriterion, name: str, kernel: Array) -> Array:
    """How important each entry of a kernel is.

    Args:
        criterion: ``"l1"``: the magnitude; ``"l2"``: its square; or a function of name and kernel.
        name: Name of the layer.
        kernel: ``(*positions, in, out)``.

    Raises:
        OptionError: The criterion gives another shape, or something that is not finite.
    """
    wide = kernel.astype(np.float64)
    if criterion == "l1":
        return np.abs(wide)
    if criterion == "l2":
        return np.square(wide)
    assert callable(criterion)
    found = np.array(criterion(name, kernel), np.float64)
    if found.shape != kernel.shape or not np.isfinite(found).all():
        raise OptionError(
            f"The criterion gives something that cannot be ranked for {name!r}.",
            expected=f"finite numbers of shape {kernel.shape}",
            got=f"shape {found.shape}" + ("" if np.isfinite(found).all() else ", not finite"),
        )
    return found


def check_criterion(criterion: Any) -> None:
    """Refuse what is no criterion.

    Raises:
        OptionError: It is neither a name nor a function.
    """
    if criterion not in CRITERIA and not callable(criterion):
        raise OptionError(
            f"criterion={criterion!r} cannot be used.",
            expected="'l1', 'l2' or a function of (layer name, kernel) to an importance per entry",
        )


def check_sparsity(option: str, value: Any) -> None:
    """Refuse what is no share of zeros.

    Raises:
        OptionError: It is no number in [0, 1).
    """
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < 1:
        raise OptionError(
            f"option {option!r} must be the share of entries to zero.", expected="a number in [0, 1)", got=repr(value)
        )
