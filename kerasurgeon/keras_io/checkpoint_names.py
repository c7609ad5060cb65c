"""Which variable of a checkpoint is which variable of a network: by the name of the layer and the kind of variable."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

Shape = tuple[int, ...]

# What TensorFlow's libraries call the variables of a layer, in Keras' words.
_KINDS = {
    "weights": "kernel",
    "w": "kernel",
    "depthwise_weights": "depthwise_kernel",
    "pointwise_weights": "pointwise_kernel",
    "embedding_weights": "embeddings",
    "biases": "bias",
    "b": "bias",
}

# What is in checkpoints for training alone: a part of a name, whatever stands before and behind it.
_TRAINING = re.compile(
    r"(^|/)(\.OPTIMIZER_SLOT|ExponentialMovingAverage|(Adam|AdamW|Adamax|Nadam|Momentum|SGD|RMSProp|Adagrad|Adadelta|Ftrl"
    r"|AdaFactor|Lion|LAMB)(_\d+)?|global_step|save_counter|beta[12]_power(_\d+)?)(/|$)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Row:
    """What became of one variable of a network.

    Attributes:
        variable: Its path in the network.
        shape: Its shape there.
        status: ``"read"``, ``"missing"`` (the checkpoint has none of its name), ``"shape"`` (it has one of another
            shape) or ``"ambiguous"`` (it has several that may be meant).
        names: Its name in the checkpoint, or those that may be meant.
        saved: The shape there; ``None`` unless there is one name.
    """

    variable: str
    shape: Shape
    status: str
    names: tuple[str, ...] = ()
    saved: Shape | None = None

    def __str__(self) -> str:
        return {
            "read": f"{self.variable}: {', '.join(self.names)}",
            "missing": f"{self.variable} {self.shape}: not in the checkpoint",
            "shape": f"{self.variable}: is {self.shape}, {', '.join(self.names)} in the checkpoint is {self.saved}",
            "ambiguous": f"{self.variable}: may be {' or '.join(self.names)}{self._shared}",
        }[self.status]

    @property
    def _shared(self) -> str:
        return ", or that is another layer's of its name" if len(self.names) == 1 else ""


@dataclass
class _Saved:
    """A layer of the checkpoint, as it is called there: its variables by kind."""

    path: str
    variables: dict[str, str] = field(default_factory=dict)


@dataclass
class _Wanted:
    """A layer of the network: its keys, the one with all models that it is inside of first; its variables by kind."""

    keys: tuple[tuple[str, ...], ...]
    variables: dict[str, int] = field(default_factory=dict)


def is_for_training(name: str) -> bool:
    """Whether a variable of a checkpoint is an optimizer's, an average or a counter."""
    return bool(_TRAINING.search(name))


def fits(saved: Shape, shape: Shape) -> bool:
    """Whether an array may be read into a variable: of its shape, or a 1x1 convolution for a dense layer or back."""
    return prod(saved) == prod(shape) and _core(saved) == _core(shape)


def match(
    variables: Sequence[tuple[str, Shape, int]],
    saved: Mapping[str, Shape],
    *,
    scope: str | None = None,
    rename: Mapping[str, str] | None = None,
) -> list[Row]:
    """Find each variable of a network in a checkpoint.

    A layer of the network is one of the checkpoint whose name ends like its own, where ``/``, ``_``, capitals and the
    words for batch normalisation make no difference. The names of models that it is inside of belong to its own name
    where the checkpoint has them. What stands before that is its scope; where several are possible, the one that fits
    most layers counts, and where two fit equally many, the layer is ambiguous.

    Args:
        variables: Path and shape of each variable of the network, and of how many models its path names first.
        saved: Shapes in the checkpoint, by name.
        scope: Only layers right in this scope count.
        rename: Replacements for patterns in names of the checkpoint, made one after the other.

    Returns:
        A row for each variable, in their order.
    """
    wanted = _layers_wanted(variables)
    index = _index(_layers_saved(saved), scope, rename or {})
    shapes = [shape for _, shape, _ in variables]
    candidates = [_candidates(layer, index, shapes, saved) for layer in wanted]
    votes = Counter(prefix for found in candidates for prefix in {prefix for prefix, _ in found})
    chosen: dict[int, list[_Saved]] = {}
    used: set[str] = set()
    for count in sorted(set(votes.values()), reverse=True):
        claims: dict[int, list[_Saved]] = {}
        for position, found in enumerate(candidates):
            here = [layer for prefix, layer in found if votes[prefix] == count and layer.path not in used]
            if here and position not in chosen:
                claims[position] = here
        claimed = Counter(layer.path for layers in claims.values() for layer in layers)
        for position, layers in claims.items():
            alone = len(layers) == 1 and claimed[layers[0].path] == 1
            chosen[position] = layers if alone else [*layers, _Saved("")]
        used.update(claimed)
    rows = [Row(path, shape, "missing") for path, shape, _ in variables]
    for position, layers in chosen.items():
        for kind, variable in wanted[position].variables.items():
            names = tuple(name for layer in layers if (name := _of_kind(layer, kind)) is not None)
            if names:
                rows[variable] = _row(*variables[variable][:2], names, saved, ambiguous=len(layers) > 1)
    return rows


def _row(path: str, shape: Shape, names: tuple[str, ...], saved: Mapping[str, Shape], *, ambiguous: bool) -> Row:
    if ambiguous:
        return Row(path, shape, "ambiguous", names)
    there = saved[names[0]]
    return Row(path, shape, "read" if fits(there, shape) else "shape", names, there)


def _candidates(
    layer: _Wanted,
    index: Mapping[tuple[str, ...], list[tuple[str, _Saved]]],
    shapes: Sequence[Shape],
    saved: Mapping[str, Shape],
) -> list[tuple[str, _Saved]]:
    """Layers of a name that have something for a layer: of these the ones that fit in most of it."""

    def fitting(there: _Saved) -> int:
        pairs = ((_of_kind(there, kind), shapes[index]) for kind, index in layer.variables.items())
        return sum(name is not None and fits(saved[name], shape) for name, shape in pairs)

    by_key = (
        [item for item in index.get(key, []) if any(_of_kind(item[1], kind) for kind in layer.variables)]
        for key in layer.keys
    )
    named: list[tuple[str, _Saved]] = next(filter(None, by_key), [])
    most = max((fitting(there) for _, there in named), default=0)
    return [item for item in named if fitting(item[1]) == most]


def _of_kind(layer: _Saved, kind: str) -> str | None:
    """The name of a layer's variable of a kind; a depthwise convolution of Keras 3 has its own under ``kernel``."""
    return layer.variables.get(kind) or (layer.variables.get("depthwise_kernel") if kind == "kernel" else None)


def _layers_wanted(variables: Sequence[tuple[str, Shape, int]]) -> list[_Wanted]:
    """The layers of a network; those that share a path are several, so that none takes what may be another's."""
    layers: list[_Wanted] = []
    last: dict[str, _Wanted] = {}
    for index, (path, _, depth) in enumerate(variables):
        place, _, kind = path.rpartition("/")
        kind = _KINDS.get(kind, kind)
        if place not in last or kind in last[place].variables:
            parts = place.split("/")
            last[place] = _Wanted(tuple(_key(parts[start:]) for start in range(depth + 1)))
            layers.append(last[place])
        last[place].variables[kind] = index
    return layers


def _layers_saved(saved: Mapping[str, Shape]) -> list[_Saved]:
    layers: dict[str, _Saved] = {}
    for name in saved:
        place, _, kind = name.rpartition("/")
        layers.setdefault(place, _Saved(place)).variables[_KINDS.get(kind, kind)] = name
    return list(layers.values())


def _index(
    layers: Sequence[_Saved], scope: str | None, rename: Mapping[str, str]
) -> dict[tuple[str, ...], list[tuple[str, _Saved]]]:
    """Layers of a checkpoint by each end of their names, with what stands before it."""
    index: dict[tuple[str, ...], list[tuple[str, _Saved]]] = {}
    for layer in layers:
        path = layer.path
        for pattern, new in rename.items():
            path = re.sub(pattern, new, path)
        parts = path.split("/")
        for start in range(len(parts)):
            prefix = "/".join(parts[:start])
            if scope is None or prefix == scope.strip("/"):
                index.setdefault(_key(parts[start:]), []).append((prefix, layer))
    return index


def _key(parts: Sequence[str]) -> tuple[str, ...]:
    """The words of a layer's name, in which the ways to write it make no difference."""
    words: list[str] = []
    for part in parts:
        text = re.sub(r"batch_?norm(alization)?", "bn", part.lower())
        text = re.sub(r"layer_?norm(alization)?", "ln", text)
        own = [word for word in re.split(r"[^a-z0-9]+", text) if word]
        if own[:1] == ["bn"] and len(own) > 1 and not own[1].isdecimal():  # bn_conv1
            own = [*own[1:], "bn"]
        words += own
    return tuple(words)


def _core(shape: Shape) -> Shape:
    while len(shape) > 2 and shape[0] == 1:
        shape = shape[1:]
    return shape


__all__ = ["Row", "Shape", "fits", "is_for_training", "match"]
