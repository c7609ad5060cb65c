"""What to call a region."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from kerasurgeon.ir import Graph, Value
from kerasurgeon.rewrite.region_kinds import RegionKind

_WORD = re.compile(r"[^_/.\-]+")


class RegionNames:
    """Gives every region of a graph a name of its own.

    That is what its nodes' names begin with, if few other names do; otherwise the name of the node that
    merges, or of the first and the last node.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._taken: set[str] = set()
        self._words = {node.name: tuple(_WORD.findall(node.name)) for node in graph.nodes()}
        self._total = Counter(prefix for words in self._words.values() for prefix in _prefixes(words))

    def new(self, nodes: Sequence[str], exit: Value, kind: RegionKind) -> str:
        """A name that no other region has."""
        plain = f"{nodes[0]}..{nodes[-1]}" if kind in ("chain", "run") and len(nodes) > 1 else str(exit)
        choices = [name for name in (self._shared_prefix(nodes), plain) if name and name not in self._taken]
        name, count = choices[0] if choices else plain, 2
        while name in self._taken:
            name, count = f"{plain}~{count}", count + 1
        self._taken.add(name)
        return name

    def _shared_prefix(self, nodes: Sequence[str]) -> str:
        """The beginning of names that tells these nodes from the others best, if it does so well enough.

        It is shared by all nodes with weights, if there are several: they are the ones that people name.
        """
        weighted = [name for name in nodes if self._graph.layer_of(name).weights]
        named = weighted if len(weighted) > 1 else list(nodes)
        inside = Counter(prefix for name in nodes for prefix in _prefixes(self._words[name]))
        common = set.intersection(*(set(_prefixes(self._words[name])) for name in named))
        best: tuple[str, ...] = ()
        overlap = 0.5  # harmonic mean of precision and recall
        for prefix in sorted(common, key=len, reverse=True):
            score = 2 * inside[prefix] / (len(nodes) + self._total[prefix])
            if score > overlap:
                best, overlap = prefix, score
        if not best:
            return ""
        ends = [match.end() for match in _WORD.finditer(named[0])]
        return named[0][: ends[len(best) - 1]]


def _prefixes(words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for length in range(1, len(words) + 1):
        yield words[:length]
