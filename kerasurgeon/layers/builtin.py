"""The library's own rules: the whole table, in one place."""

from __future__ import annotations

import keras

from kerasurgeon.ir.kinds import kind_of
from kerasurgeon.layers import attention, contraction, convolution, convolution_ops, dense, recurrent, wrappers
from kerasurgeon.layers.channel_table import channel_rules
from kerasurgeon.layers.free import FREE_BATCHWISE_OPS, FREE_LAYERS, FREE_MOVING_OPS
from kerasurgeon.rules.rule import Free, Rule, RuleFor


def built_in_rules(rule_for: RuleFor) -> dict[str, Rule]:
    """Every kind that the library knows, with its rule.

    Args:
        rule_for: Finds the rule for a layer inside another; it sees what users have registered.
    """
    batchwise, moving = Free(keeps_batch=True), Free(keeps_batch=False)
    return {
        **dict.fromkeys(FREE_LAYERS, batchwise),
        **dict.fromkeys((f"ops.{name}" for name in FREE_BATCHWISE_OPS), batchwise),
        **dict.fromkeys((f"ops.{name}" for name in FREE_MOVING_OPS), moving),
        **channel_rules(),
        **_linear_layers(),
        **_linear_ops(),
        **_recurrent_layers(rule_for),
        "TimeDistributed": wrappers.TimeDistributed(rule_for),
        "SpectralNormalization": wrappers.SpectralNormalization(rule_for),
        "Functional": wrappers.NestedModel(rule_for),
        "Sequential": wrappers.NestedModel(rule_for),
    }


def _linear_layers() -> dict[str, Rule]:
    return {
        **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D"), convolution.Convolution()),
        **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), convolution.DepthwiseConvolution()),
        **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), convolution.SeparableConvolution()),
        **dict.fromkeys(("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), convolution.TransposedConvolution()),
        "Dense": dense.Dense(),
        "EinsumDense": dense.EinsumDense(),
        "Dot": contraction.DotLayer(),
        "MultiHeadAttention": attention.MultiHeadAttention(),
        # Its class is called otherwise than its public name: the kind is asked for, not written.
        kind_of(keras.layers.GroupQueryAttention): attention.GroupedQueryAttention(),
        "Attention": attention.DotAttention(),
        "AdditiveAttention": attention.AdditiveAttention(),
    }


def _linear_ops() -> dict[str, Rule]:
    inner_product = contraction.InnerProduct()
    return {
        "ops.matmul": contraction.MatMul(),
        "ops.dot": inner_product,
        "ops.inner": inner_product,
        "ops.vdot": contraction.VectorDot(),
        "ops.tensordot": contraction.TensorDot(),
        "ops.einsum": contraction.Einsum(),
        "ops.conv": convolution_ops.ConvolutionOp(),
        "ops.depthwise_conv": convolution_ops.DepthwiseConvolutionOp(),
        "ops.separable_conv": convolution_ops.SeparableConvolutionOp(),
        "ops.conv_transpose": convolution_ops.TransposedConvolutionOp(),
        "ops.dot_product_attention": attention.DotProductAttentionOp(),
    }


def _recurrent_layers(rule_for: RuleFor) -> dict[str, Rule]:
    gates = {"SimpleRNN": 1, "GRU": 3, "LSTM": 4}
    return {
        **{name: recurrent.Recurrence(count) for name, count in gates.items()},
        **{f"{name}Cell": recurrent.Cell(count) for name, count in gates.items()},
        "StackedRNNCells": recurrent.StackedCells(rule_for),
        "RNN": recurrent.CellRecurrence(rule_for),
        **dict.fromkeys(("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"), recurrent.ConvolutionalRecurrence()),
        "Bidirectional": recurrent.Bidirectional(rule_for),
    }
