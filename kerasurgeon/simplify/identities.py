"""Rules of ``Simplify`` for layers and ops that return what they are given."""

from __future__ import annotations

from typing import Any

import numpy as np

from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.structure import leaves
from kerasurgeon.ir.values import Value
from kerasurgeon.rewrite.passes import Skip
from kerasurgeon.simplify.rules import Rule, bypass, operand, require_inference, rule

# Layers that do something in training only, with the entry of their config that must be zero for nothing at all.
_DROPOUTS = {
    **dict.fromkeys(("AlphaDropout", "Dropout", "GaussianDropout"), ("rate",)),
    **dict.fromkeys(("SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"), ("rate",)),
    "ActivityRegularization": ("l1", "l2"),
    "GaussianNoise": ("stddev",),
}
# Augmentations that return images as they are in inference. RandomCrop is not one: it resizes them.
_AUGMENTATIONS = (
    *("AugMix", "CutMix", "MixUp", "RandAugment", "RandomBrightness", "RandomColorDegeneration"),
    *("RandomColorJitter", "RandomContrast", "RandomElasticTransform", "RandomErasing", "RandomFlip"),
    *("RandomGaussianBlur", "RandomGrayscale", "RandomHue", "RandomInvert", "RandomPerspective"),
    *("RandomPosterization", "RandomRotation", "RandomSaturation", "RandomSharpness", "RandomShear"),
    *("RandomTranslation", "RandomZoom", "Solarization"),
)
_ONLY_IN_TRAINING = "it does something in training, which only training_layers=True gives up"
TRAINING_KINDS = (*_DROPOUTS, *_AUGMENTATIONS, "ops.stop_gradient")


@rule("training_layers", *TRAINING_KINDS)
def training_layer(graph: Graph, node: Node) -> str:
    """Dropout, noise, regularisation of activities, augmentation, stopped gradients."""
    require_inference(graph, node)
    return bypass(graph, node, "it does nothing in inference")


@rule("identities", *_DROPOUTS)
def dropout_of_nothing(graph: Graph, node: Node) -> str:
    """Dropout and the like at rate zero."""
    config = graph.layer_of(node).config
    if any(config[entry] for entry in _DROPOUTS[graph.kind(node)]):
        raise Skip(_ONLY_IN_TRAINING)
    return bypass(graph, node, "its rate is 0")


@rule("identities", *_AUGMENTATIONS, "ops.stop_gradient")
def augmentation(graph: Graph, node: Node) -> str:
    """Say how to remove what works in training; ``training_layer`` has had its turn before."""
    raise Skip(_ONLY_IN_TRAINING)


@rule("identities", "Identity", "ops.copy")
def identity(graph: Graph, node: Node) -> str:
    """Layers that only pass on."""
    return bypass(graph, node, "it returns what it reads")


@rule("identities", "Activation")
def linear_activation(graph: Graph, node: Node) -> str:
    """``Activation("linear")``."""
    activation = graph.layer_of(node).config["activation"]
    if activation not in (None, "linear"):
        name = activation.get("config") if isinstance(activation, dict) else activation
        raise Skip(f"its activation is {name!r}, not linear")
    return bypass(graph, node, "its activation is linear")


@rule("identities", "UpSampling1D", "UpSampling2D", "UpSampling3D")
def unit_upsampling(graph: Graph, node: Node) -> str:
    """Upsampling by 1."""
    return _if_all(graph, node, "size", 1, "it repeats every element once")


@rule("identities", *(f"{kind}Pooling{rank}D" for kind in ("Max", "Average") for rank in (1, 2, 3)))
def unit_pooling(graph: Graph, node: Node) -> str:
    """Pooling over windows of one element, at every element."""
    config = graph.layer_of(node).config
    if not _all(config["strides"], 1):
        raise Skip(f"its strides are {_shown(config['strides'])}, not 1")
    return _if_all(graph, node, "pool_size", 1, "it pools single elements")


@rule("identities", *(f"{kind}{rank}D" for kind in ("ZeroPadding", "Cropping") for rank in (1, 2, 3)))
def empty_border(graph: Graph, node: Node) -> str:
    """Padding or cropping by nothing."""
    entry = "padding" if graph.kind(node).startswith("Zero") else "cropping"
    return _if_all(graph, node, entry, 0, "it changes no border")


@rule("identities", "Rescaling")
def unit_rescaling(graph: Graph, node: Node) -> str:
    """``Rescaling(1, 0)``."""
    config = graph.layer_of(node).config
    if not _all(config["scale"], 1) or not _all(config["offset"], 0):
        raise Skip(f"it multiplies by {_shown(config['scale'])} and adds {_shown(config['offset'])}")
    return bypass(graph, node, "it multiplies by 1 and adds 0")


@rule(
    "identities",
    *("Concatenate", "Add", "Multiply", "Average", "Maximum", "Minimum", "ops.concatenate"),
    sites=lambda _, node: len(node.inputs) == len(list(leaves(node.operands))) == 1,
)
def merge_of_one(graph: Graph, node: Node) -> str:
    """Merging layers with a single operand."""
    return bypass(graph, node, "it merges one tensor")


@rule("identities", "ops.add", "ops.multiply", sites=lambda graph, node: _is_neutral(graph, node, either=True))
def neutral_operand(graph: Graph, node: Node) -> str:
    """``x + 0`` and ``x * 1``, either way round."""
    return bypass(graph, node, "its other operand changes nothing")


@rule(
    "identities",
    *("ops.subtract", "ops.divide", "ops.true_divide", "ops.power"),
    sites=lambda graph, node: _is_neutral(graph, node, either=False),
)
def neutral_right_operand(graph: Graph, node: Node) -> str:
    """``x - 0``, ``x / 1`` and ``x ** 1``."""
    return bypass(graph, node, "its other operand changes nothing")


@rule("identities", "ops.cast")
def cast_to_same(graph: Graph, node: Node) -> str:
    """A cast to the dtype that the tensor has."""
    return bypass(graph, node, "the tensor has that dtype already")


@rule("identities", "ops.repeat", "ops.tile")
def single_repeat(graph: Graph, node: Node) -> str:
    """Repeating once."""
    return _if_all(graph, node, "repeats", 1, "it repeats every element once")


@rule("identities", "ops.get_item", sites=lambda _, node: len(node.inputs) == 1)
def whole_slice(graph: Graph, node: Node) -> str:
    """``x[:, 0:n]`` over everything there is."""
    value, key = node.args[0], operand(graph, node, "key")
    shape = graph.spec(value).shape
    parts = key if isinstance(key, tuple) else (key,)
    if Ellipsis in [part for part in parts if not isinstance(part, slice)]:
        at = next(index for index, part in enumerate(parts) if part is Ellipsis)
        filler = (slice(None),) * (len(shape) - len(parts) + 1)
        parts = (*parts[:at], *filler, *parts[at + 1 :])
    if not all(isinstance(part, slice) for part in parts) or len(parts) > len(shape):
        raise Skip("it takes single positions")
    for axis, (part, size) in enumerate(zip(parts, shape, strict=False)):
        whole = part == slice(None) or (size is not None and range(*part.indices(size)) == range(size))
        if not whole:
            raise Skip(f"it takes a part of axis {axis}")
    return bypass(graph, node, "it takes everything")


def constant_of(leaf: Any) -> np.ndarray[Any, Any] | None:
    """A number or array among the operands, or ``None`` for anything else."""
    if isinstance(leaf, (int, float, np.ndarray, np.generic)) and not isinstance(leaf, bool):
        return np.asarray(leaf)
    if hasattr(leaf, "numpy") and not isinstance(leaf, Value):  # a tensor that was given as an operand
        return np.asarray(leaf)
    return None


def _is_neutral(graph: Graph, node: Node, *, either: bool) -> bool:
    """Whether an op reads one tensor and, as its second operand or as either, the number that changes nothing."""
    if len(node.args) != 2 or len(node.inputs) != 1 or not (either or isinstance(node.args[0], Value)):
        return False
    arrays = [array for leaf in node.args if (array := constant_of(leaf)) is not None]
    neutral = 0 if graph.kind(node) in ("ops.add", "ops.subtract") else 1
    return len(arrays) == 1 and bool(np.all(arrays[0] == neutral))


def _if_all(graph: Graph, node: Node, entry: str, wanted: int, why: str) -> str:
    setting = graph.layer_of(node).config[entry]
    if not _all(setting, wanted):
        raise Skip(f"its {entry} is {_shown(setting)}, not {wanted}")
    return bypass(graph, node, why)


def _all(setting: Any, wanted: int) -> bool:
    return bool(np.all(np.asarray(list(leaves(setting))) == wanted))


def _shown(setting: Any) -> str:
    values = list(leaves(setting))
    return str(values[0]) if len(values) == 1 else str(tuple(values))


RULES: tuple[Rule, ...] = (
    training_layer,
    dropout_of_nothing,
    augmentation,
    identity,
    linear_activation,
    unit_upsampling,
    unit_pooling,
    empty_border,
    unit_rescaling,
    merge_of_one,
    neutral_operand,
    neutral_right_operand,
    cast_to_same,
    single_repeat,
    whole_slice,
)

__all__ = ["RULES", "TRAINING_KINDS", "constant_of"]
