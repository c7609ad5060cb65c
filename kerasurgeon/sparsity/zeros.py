"""Zeros in the kernels of a graph, in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.layer import Layer, sealed
from kerasurgeon.rules.asking import affine_of, linear_form, may_be_linear
from kerasurgeon.rules.linear import Kernel
from kerasurgeon.sparsity.kernels import KernelChoice, KernelCriterion, importance, kernel_of
from kerasurgeon.sparsity.structures import Structure, kept_masks

Array = np.ndarray[Any, Any]


class KernelSite(NamedTuple):
    """A layer with a kernel that may have zeros.

    Attributes:
        key: The layer's key.
        node: The name of its first call.
        layer: The layer.
    """

    key: str
    node: str
    layer: Layer

    @property
    def form(self) -> Kernel:
        """Which weight the kernel is, and how its axes stand."""
        form = kernel_of(self.layer)
        assert form is not None
        return form

    @property
    def kernel(self) -> Array:
        """The kernel, ``(*positions, in, out)``."""
        return self.form.seen(self.layer.weights[self.form.key].array)


def kernel_sites(graph: Graph, choice: KernelChoice, structure: Structure) -> tuple[list[KernelSite], dict[str, str]]:
    """The layers of a graph whose kernels may have zeros.

    Args:
        graph: The graph; it is only read.
        choice: Which kernels are looked at.
        structure: What is zeroed together.

    Returns:
        The layers, and for others of these kinds, by the name of the first call, why they are left alone.
    """
    tied = graph.tied_layers()
    found: list[KernelSite] = []
    left: dict[str, str] = {}
    done = set()
    for node in graph.nodes():
        layer = graph.layer_of(node)
        if node.layer in done or not may_be_linear(layer.kind):
            continue
        done.add(node.layer)
        site = KernelSite(node.layer, node.name, layer)
        refusal = _refusal(graph, site, node.layer in tied, choice, structure)
        if refusal:
            left[node.name] = refusal
        else:
            found.append(site)
    return found, left


def zero_kernels(
    graph: Graph,
    sites: Sequence[KernelSite],
    structure: Structure,
    sparsity: float = 0.0,
    *,
    criterion: str | KernelCriterion = "l1",
    together: bool = False,
) -> dict[str, tuple[bool, str]]:
    """Set the least important entries of kernels to zero, in place; entries that are zero already count.

    With ``"output_channel"`` the bias of a zeroed channel goes too, and scale, shift and mean of batch norms behind.

    Args:
        graph: The graph.
        sites: Layers of it, see ``kernel_sites``.
        structure: What is zeroed together.
        sparsity: Share of entries to zero; ``"n:m"`` says it by itself.
        criterion: What matters least, see ``importance``.
        together: Whether the share is that of all kernels together, and not of each.

    Returns:
        For each layer, by the name of the first call, whether it changed, and how many entries are zero.
    """
    kernels = [site.kernel for site in sites]
    ranked = [importance(criterion, site.key, kernel) for site, kernel in zip(sites, kernels, strict=True)]
    masks = kept_masks(ranked, structure, sparsity, together=together)
    said = {}
    for site, kernel, mask in zip(sites, kernels, masks, strict=True):
        result = np.where(mask, kernel, np.zeros((), kernel.dtype))
        zeros = int(result.size - np.count_nonzero(result))
        what = f"{zeros:,} of {result.size:,} entries are zero ({zeros / result.size:.1%})"
        changed = structure.name == "output_channel" and _silence(
            graph, site.key, np.asarray(~mask.any(axis=tuple(range(mask.ndim - 1))))
        )
        if not np.array_equal(result, kernel):
            graph.set_weight(site.key, site.form.key, site.form.seen(sealed(result)))
            changed = True
        said[site.node] = changed, what if changed else f"{what} already"
    return said


def _refusal(graph: Graph, site: KernelSite, tied: bool, choice: KernelChoice, structure: Structure) -> str:
    layer = site.layer
    form = linear_form(layer)
    if form is None:
        return "its kernel is quantised or adapted"
    if not form.by_channel:
        return "its kernel does not make channels along one axis"
    if tied:
        return "its weights are used elsewhere too"
    if not np.isfinite(site.kernel.astype(np.float64)).all():
        return "its kernel has entries that are not finite"
    calls = graph.calls(site.key)
    if structure.name == "output_channel" and any(graph.is_output(call.value) for call in calls):
        return "its channels are an output of the model"
    names = {site.key, *(call.name for call in calls)}
    return choice.refusal(layer, names) or structure.refusal(site.kernel.shape)


def _silence(graph: Graph, key: str, gone: Array) -> bool:
    """Make output channels zero behind the layer too: its bias, batch norms that read it. Whether any changed."""
    changed = _zero(graph, key, ("bias",), gone)
    for call in graph.calls(key):
        for user in graph.users(call):
            affine = affine_of(graph.layer_of(user))
            if affine is not None and len(graph.calls(user.layer)) == 1:
                changed |= _zero(graph, user.layer, (affine.scale_key, affine.shift_key, "moving_mean"), gone)
    return changed


def _zero(graph: Graph, key: str, names: Sequence[str], gone: Array) -> bool:
    changed = False
    for name in names:
        array = graph.layers[key].array(name)
        if array is not None and array.shape == gone.shape and array[gone].any():
            graph.set_weight(key, name, np.where(gone, np.zeros((), array.dtype), array))
            changed = True
    return changed


__all__ = ["KernelSite", "kernel_sites", "zero_kernels"]
