"""Layers of ``keras.applications`` that ``keras.layers`` does not have."""

from __future__ import annotations

import numpy as np

from kerasurgeon.ir.layer import Layer
from kerasurgeon.layers.arithmetic import WeightedSum
from kerasurgeon.layers.elementwise import Elementwise
from kerasurgeon.layers.only_in_training import OnlyInTraining
from kerasurgeon.layers.onnx_norms import write_affine
from kerasurgeon.rules.answers import Combination, Sum
from kerasurgeon.rules.channel_call import ChannelCall
from kerasurgeon.rules.labels import Labels
from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.registry import register_rule


class LayerScale(Elementwise):
    """ConvNeXt's LayerScale: a learned factor per channel of the last axis."""

    def channels(self, call: ChannelCall) -> Labels:
        """The factors shrink with the channels."""
        ids = call.along(call.input, -1)
        for key in call.weights:  # Keras gives it no name
            call.weight(key, {0: ids})
        call.count(projection_dim=ids)
        return call.input

    def onnx(self, call: OnnxCall) -> None:
        """A product."""
        (weight,) = call.weights.values()
        write_affine(call, weight.array, np.zeros(()), [-1])


class StochasticDepth(OnlyInTraining):
    """ConvNeXt's StochasticDepth: drops a branch at random."""

    def __init__(self) -> None:
        super().__init__("drop_path_rate")


class ScaledSum(WeightedSum):
    """InceptionResNetV2's CustomScaleLayer: the first operand plus the second times a number."""

    def onnx(self, call: OnnxCall) -> None:
        """A product and a sum."""
        order = call.best_order(*call.inputs)
        first, second = (call.aligned(operand, order) for operand in call.inputs)
        scaled = call.op("Mul", second, call.constant(call.config["scale"]))
        call.give(call.op("Add", first, scaled), order)

    def combination(self, layer: Layer, operands: int) -> Combination | None:
        """A sum."""
        return Sum((1.0, float(layer.config.get("scale", 1.0)))) if operands == 2 else None


register_rule("custom:keras.src.applications.convnext.LayerScale", LayerScale())
register_rule("custom:keras.src.applications.convnext.StochasticDepth", StochasticDepth())
register_rule("custom:keras.src.applications.inception_resnet_v2.CustomScaleLayer", ScaledSum())
