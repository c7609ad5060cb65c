"""Rules of kinds without multiply-accumulates that say how channels pass: merged into the table of all rules."""

from __future__ import annotations

from kerasurgeon.layers import elementwise, embedding, joining, norms, shapes
from kerasurgeon.layers import pooling as spatial
from kerasurgeon.layers.applications import APPLICATION_RULES
from kerasurgeon.layers.free import ACTIVATION_OPS, ELEMENTWISE_OPS, names
from kerasurgeon.layers.structure_table import structure_rules
from kerasurgeon.rules.rule import Rule

_ELEMENTWISE_LAYERS = names("""
    Identity ActivityRegularization Dropout AlphaDropout GaussianDropout GaussianNoise ReLU LeakyReLU ELU
    Add Subtract Multiply Average Maximum Minimum
""")

_PER_CHANNEL_LAYERS = names("""
    SpatialDropout Cropping UpSampling ZeroPadding AdaptiveAveragePooling AdaptiveMaxPooling AveragePooling MaxPooling
    GlobalAveragePooling GlobalMaxPooling
""")

_NOT_ELEMENTWISE = {"log_softmax", "softmax", "sparsemax", "glu", "isin", "digitize", "empty_like"}
# Those without a data_format of their own.
_SEQUENCE_LAYERS = ("Cropping1D", "UpSampling1D", "SpatialDropout1D")


def channel_rules() -> dict[str, Rule]:
    """Kinds with their rules."""
    each, per_channel = elementwise.Elementwise(), spatial.PerChannel()
    ops = [name for name in (*ELEMENTWISE_OPS, *ACTIVATION_OPS) if name not in _NOT_ELEMENTWISE]
    return {
        **APPLICATION_RULES,
        **structure_rules(),
        **dict.fromkeys(_ELEMENTWISE_LAYERS, each),
        **dict.fromkeys((f"ops.{name}" for name in ops), each),
        "ops.isin": elementwise.FirstOperand(),
        "ops.digitize": elementwise.FirstOperand(),
        "Masking": elementwise.Masking(),
        "Activation": elementwise.Activation(),
        "Embedding": embedding.Embedding(),
        "ReversibleEmbedding": embedding.ReversibleEmbedding(),
        **{f"{name}{rank}D": per_channel for name in _PER_CHANNEL_LAYERS for rank in (1, 2, 3)},
        **dict.fromkeys(_SEQUENCE_LAYERS, spatial.PerChannel(spatial.last_axis)),
        "PReLU": elementwise.PReLU(),
        "Concatenate": joining.Concatenation(),
        "ops.concatenate": joining.Concatenation(),
        "ops.stack": joining.Stacking(),
        "BatchNormalization": norms.BatchNormalization(),
        "LayerNormalization": norms.StatisticsOverAxes("gamma", "beta"),
        "RMSNormalization": norms.StatisticsOverAxes("scale"),
        "GroupNormalization": norms.GroupNormalization(),
        "UnitNormalization": norms.UnitNormalization(),
        "Normalization": norms.FixedNormalization(),
        "Rescaling": norms.Rescaling(),
        "Softmax": norms.SoftmaxOverAxes(),
        "ops.softmax": norms.SoftmaxOverAxes(),
        "ops.log_softmax": norms.SoftmaxOverAxes(),
        "ops.sparsemax": norms.SoftmaxOverAxes(),
        "Reshape": shapes.Reshape("target_shape", batch=1),
        "ops.reshape": shapes.Reshape("newshape", batch=0),
        "Flatten": shapes.Flatten(),
        "Permute": shapes.Permute(keeps_batch=True),
        **{f"ops.{name}": shapes.Permute() for name in ("transpose", "moveaxis", "swapaxes")},
        "ops.expand_dims": shapes.InsertedAxes(),
        "ops.squeeze": shapes.InsertedAxes(),
        "RepeatVector": shapes.RepeatVector(),
    }
