"""Split convolutions into chains of smaller ones by Tucker-2 decomposition of their kernels.

``W[i, j, c, n] ~ U[c, r] G[i, j, r, q] V[n, q]`` makes a ``k x k`` convolution a chain of three: ``1x1`` from C_in to
R_in channels, ``k x k`` from R_in to R_out, ``1x1`` from R_out to C_out. What the chain misses may be kept in part: a
fourth, sparse convolution beside it holds the largest entries of ``W - W_hat``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, ClassVar, final

import numpy as np

from kerasurgeon.authoring import (
    APPROXIMATE,
    Context,
    Graph,
    Layer,
    OptionError,
    Pass,
    Preserves,
    Skip,
    TensorSpec,
    check_fraction,
)
from kerasurgeon.passes.tucker import ChannelModes, largest_entries, one_blas_thread, rank_for_energy, squared_norm
from kerasurgeon.passes.tucker_layers import SplitLayers, chain_layers, chain_macs, conv_macs, put, split_layers
from kerasurgeon.passes.tucker_sites import ConvSite, convolutions, require_conv2d, require_splittable

STRUCTURES = ("unstructured",)

Ranks = tuple[int | None, int | None]
"""Ranks of the input and the output mode; ``None`` leaves a mode whole."""


@final
@dataclass(frozen=True)
class TuckerSplit(Pass):
    """Split each Conv2D into 1x1, k x k, 1x1 of lower rank, with or without a sparse convolution beside them.

    Stride, padding, dilation and groups stay on the k x k core, the bias on the last factor, the activation behind
    all. Each group of a grouped convolution is decomposed by itself, to the same ranks. A mode that keeps full rank
    needs no 1x1: two convolutions then take the place of one. All calls of a shared layer are split alike.

    Matches:
        ``Conv2D`` with a kernel of more than one position.
    Leaves alone:
        * layers that ``where`` or ``ranks`` do not name; kernels of 1x1; other convolutions than Conv2D;
        * weights used elsewhere, quantised, not finite, or with low-rank adapters;
        * factors and residuals of an earlier split;
        * layers whose ranks would be full, or whose split would not take fewer multiply-accumulates.
    Preserves:
        Shapes and dtypes. Outputs approximately: the relative error of each kernel is in the report.

    Args:
        energy: Share of the squared singular values of each mode unfolding to keep, in (0, 1]. It decides the input and
            the output rank of each layer independently.
        ratio: Share of a group's input and output channels to keep as ranks, in (0, 1]. One of ``energy``, ``ratio``
            and ``ranks`` must be given.
        ranks: Ranks by name pattern, ``{"block1_*": (16, 32)}``; the first pattern that names a layer counts. A rank
            above the number of channels of a group is full.
        sparsity: Share of the entries of ``W - W_hat`` to keep in a convolution beside the factors, in [0, 1]; 0 for no
            such convolution. Its kernel is stored dense: only a runtime that skips zeros gains from it, so its cost is
            counted by the entries kept. Training fills its zeros.
        structure: Which entries may be kept together; ``"unstructured"``: the largest, each by itself.
        round_to: Make ranks by ratio or energy multiples of this (by energy, the next above). Runtimes like 4 or 8:
            with odd ranks ONNX Runtime was measured to lose a tenth of its speed.
        min_channels: Smallest rank by ratio or energy, unless the layer has fewer channels.
        where: Patterns of layer names (``fnmatch``) to look at; one with ``!`` before it leaves out what it names.
            Names inside nested models have the model's name before them: ``"backbone/block_1_*"``.
        only_if_cheaper: Leave layers alone whose split would take as many multiply-accumulates as before. ``False``
            splits them all the same, at full rank too (then into three convolutions, exactly).
        hooi_sweeps: Sweeps of higher-order orthogonal iteration after the truncated SVD.

    Shapes:
        kernel ``(kh, kw, c, n)`` -> ``(1, 1, c, r)``, ``(kh, kw, r, q)``, ``(1, 1, q, n)``; the residual's as the
        original's.

    Raises:
        OptionError: An option has a value that it may not have, or not exactly one of ``energy``, ``ratio`` and
            ``ranks`` is given.

    Reference:
        Kim et al., "Compression of Deep Convolutional Neural Networks for Fast and Low Power Mobile Applications",
        ICLR 2016, arXiv:1511.06530, section 3. De Lathauwer, De Moor and Vandewalle, "On the best rank-1 and
        rank-(R1, R2, ..., RN) approximation of higher-order tensors", SIAM J. Matrix Anal. Appl. 21 (4), 2000.

    Example:
        >>> small = apply_passes(model, [TuckerSplit(energy=0.9, round_to=8, where="!stem_*")])
    """

    preserves: ClassVar[Preserves] = APPROXIMATE

    energy: float | None = None
    ratio: float | None = None
    ranks: Mapping[str, tuple[int, int]] | None = None
    sparsity: float = 0.0
    structure: str = "unstructured"
    round_to: int = 1
    min_channels: int = 1
    where: str | Sequence[str] = ()
    only_if_cheaper: bool = True
    hooi_sweeps: int = 1

    def __post_init__(self) -> None:
        chosen = [name for name in ("energy", "ratio", "ranks") if getattr(self, name) is not None]
        if len(chosen) != 1:
            raise OptionError(
                f"{self.name}: the ranks must be chosen in one way.",
                expected="exactly one of energy=, ratio= and ranks=",
                got=" and ".join(chosen) or "none of them",
                hint="TuckerSplit(energy=0.9) is a start",
            )
        for option in ("energy", "ratio"):
            if getattr(self, option) is not None:
                check_fraction(self, option, getattr(self, option))
        check_fraction(self, "sparsity", self.sparsity, zero=True)
        if self.structure not in STRUCTURES:
            raise self._wrong("structure", " or ".join(map(repr, STRUCTURES)))
        for option, least in (("round_to", 1), ("min_channels", 1), ("hooi_sweeps", 0)):
            if not _is_count(getattr(self, option), least):
                raise self._wrong(option, f"a whole number from {least}")
        if not isinstance(self.only_if_cheaper, bool):
            raise self._wrong("only_if_cheaper", "True or False")
        object.__setattr__(self, "where", self._checked_where())
        if self.ranks is not None:
            object.__setattr__(self, "ranks", self._checked_ranks())

    def run(self, graph: Graph, context: Context) -> None:
        """Decide for each convolution, decompose the kernels, then change the graph."""
        tied = graph.tied_layers()
        # What a site is refused for is asked of the graph as it came: factors made here are no sites.
        sites = [(site, self._refusal(graph, site, tied)) for site in convolutions(graph)]
        with one_blas_thread():
            for done, (site, refusal) in enumerate(sites):
                context.progress(done / len(sites), f"{self.name}: {site.name}")
                try:
                    if refusal is not None:
                        raise refusal
                    split = self._plan(site)
                except Skip as skip:
                    context.left(site.name, skip.reason)
                    continue
                put(graph, site.key, split.layers)
                context.changed(site.name, split.report)

    def _refusal(self, graph: Graph, site: ConvSite, tied: frozenset[str]) -> Skip | None:
        try:
            require_conv2d(site)
            self._require_named(site)
            require_splittable(graph, site, tied)
        except Skip as skip:
            return skip
        return None

    def _require_named(self, site: ConvSite) -> None:
        wanted = [pattern for pattern in self.where if not pattern.startswith("!")]
        if wanted and not any(map(site.matches, wanted)):
            raise Skip(f"where={self.where!r} does not name it")
        for pattern in self.where:
            if pattern.startswith("!") and site.matches(pattern[1:]):
                raise Skip(f"where= leaves it out: {pattern!r}")
        if self.ranks is not None and not any(map(site.matches, self.ranks)):
            raise Skip("no pattern of ranks= names it")

    def _plan(self, site: ConvSite) -> _Split:
        """What becomes of one layer.

        Raises:
            Skip: It would not pay.
        """
        modes = [ChannelModes(kernel) for kernel in site.kernels()]
        ranks = self._truncated(site, self._choose(site, modes))
        sides = zip(ranks, site.channels, strict=True)
        shown = ", ".join(
            f"{side} {'whole' if rank is None else f'{rank} of {channels}'}"
            for side, (rank, channels) in zip(("in", "out"), sides, strict=True)
        )
        before, after, unit = self._macs(site, ranks)
        if self.only_if_cheaper and after >= before:
            raise Skip(f"its split (ranks {shown}) would take {after:,} MACs{unit}; it takes {before:,}")
        factors = [mode.decompose(*ranks, sweeps=self.hooi_sweeps) for mode in modes]
        said = [f"ranks {shown}", f"MACs{unit} {before:,} -> {after:,} ({after / before:.0%})"]
        norm = sum(mode.squared_norm for mode in modes)
        lost = sum(mode.squared_norm * group.error**2 for mode, group in zip(modes, factors, strict=True))
        said.append(f"relative kernel error {_relative(lost, norm):.3g}")
        residual = None
        if self.sparsity:
            missed = np.concatenate(
                [kernel - group.reconstruct() for kernel, group in zip(site.kernels(), factors, strict=True)], axis=-1
            )
            residual = largest_entries(missed, self.sparsity)
            kept = f"{np.count_nonzero(residual):,} of {residual.size:,} entries"
            said.append(f"with {kept} in the residual {_relative(squared_norm(missed - residual), norm):.3g}")
        return _Split(split_layers(site.layer, factors, residual), "; ".join([*said, *_notes(site)]))

    def _choose(self, site: ConvSite, modes: Sequence[ChannelModes]) -> tuple[int, int]:
        """The ranks of one layer, by whichever option says so."""
        if self.ranks is not None:
            return next(ranks for pattern, ranks in self.ranks.items() if site.matches(pattern))
        if self.energy is not None:
            # The groups have one rank, so their energies are taken together.
            inputs = np.sum([mode.inputs.values for mode in modes], axis=0)
            outputs = np.sum([mode.outputs.values for mode in modes], axis=0)
            found = [rank_for_energy(values, self.energy) for values in (inputs, outputs)]
            multiples = [-(-rank // self.round_to) for rank in found]
        else:
            assert self.ratio is not None
            multiples = [int(self.ratio * channels / self.round_to + 0.5) for channels in site.channels]
        rank_in, rank_out = (max(count * self.round_to, self.round_to, self.min_channels) for count in multiples)
        return rank_in, rank_out

    def _truncated(self, site: ConvSite, wanted: tuple[int, int]) -> Ranks:
        """The ranks within the channels there are; a mode that keeps all of them is left whole."""
        full = [rank >= channels for rank, channels in zip(wanted, site.channels, strict=True)]
        if all(full):
            if self.only_if_cheaper:
                raise Skip(f"its ranks would be full: {site.channels[0]} in, {site.channels[1]} out")
            return site.channels
        return None if full[0] else wanted[0], None if full[1] else wanted[1]

    def _macs(self, site: ConvSite, ranks: Ranks) -> tuple[int, int, str]:
        """MACs of all calls before and after, the residual by its entries, and what they are for, if not a sample."""
        chain = chain_layers(site.layer, *ranks)
        kernel = site.layer.weights["kernel"]
        kept = ceil(self.sparsity * kernel.array.size)
        before = after = 0
        open_sizes = False
        for specs in site.specs:
            open_sizes = open_sizes or None in specs[1].shape[1:]
            source, result = _known(site.layer, *specs)
            whole = conv_macs(site.layer, source, result)
            before += whole
            after += chain_macs(chain, source, result) + whole * kept // kernel.array.size
        return before, after, " an output position" if open_sizes else ""

    def _checked_where(self) -> tuple[str, ...]:
        patterns = (self.where,) if isinstance(self.where, str) else self.where
        listed = isinstance(patterns, Sequence)
        if not listed or not all(isinstance(pattern, str) and pattern.strip("!") for pattern in patterns):
            raise self._wrong("where", 'name patterns, as ("block1_*", "!*_proj")')
        return tuple(patterns)

    def _checked_ranks(self) -> dict[str, tuple[int, int]]:
        expected = '{"name pattern": (input rank, output rank)}, ranks from 1'
        if not isinstance(self.ranks, Mapping) or not self.ranks:
            raise self._wrong("ranks", expected)
        for pattern, pair in self.ranks.items():
            pair_like = isinstance(pair, Sequence) and not isinstance(pair, str) and len(pair) == 2
            if not isinstance(pattern, str) or not pair_like or not all(_is_count(rank, 1) for rank in pair):
                raise self._wrong("ranks", expected)
        return {pattern: (pair[0], pair[1]) for pattern, pair in self.ranks.items()}

    def _wrong(self, option: str, expected: str) -> OptionError:
        return OptionError(
            f"{self.name}: option {option!r} cannot be used.", expected=expected, got=repr(getattr(self, option))
        )


@dataclass(frozen=True, slots=True)
class _Split:
    """What becomes of one layer, and what the report says of it."""

    layers: SplitLayers
    report: str


def _known(layer: Layer, source: TensorSpec, result: TensorSpec) -> tuple[TensorSpec, TensorSpec]:
    """Specs with sizes in place of the unknown: one sample, and one output position along an axis that is open."""
    first = 1 if layer.config["data_format"] == "channels_first" else len(source.shape) - 1
    positions = [axis for axis in range(1, len(source.shape)) if axis != first]
    strides = dict(zip(positions, layer.config["strides"], strict=True))
    before = (
        (1 if axis == 0 else strides[axis]) if result.shape[axis] is None else size
        for axis, size in enumerate(source.shape)
    )
    after = (1 if size is None else size for size in result.shape)
    return replace(source, shape=tuple(before)), replace(result, shape=tuple(after))


def _relative(squared: float, norm: float) -> float:
    return float((squared / norm) ** 0.5) if norm else 0.0


def _notes(site: ConvSite) -> list[str]:
    notes = [f"{len(site.calls)} calls"] if len(site.calls) > 1 else []
    if site.layer.config.get("kernel_constraint") is not None:
        notes.append("the kernel constraint is dropped: it cannot hold for factors")
    return notes


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


__all__ = ["STRUCTURES", "TuckerSplit"]
