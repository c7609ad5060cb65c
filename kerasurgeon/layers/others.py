"""Layers and ops that cost no multiply-accumulates, and of which nothing more is known."""

from __future__ import annotations

from kerasurgeon.layers.onnx_others import OTHERS
from kerasurgeon.layers.onnx_preprocessing import LAYERS, WHY_NOT
from kerasurgeon.layers.words import words
from kerasurgeon.rules.call import CannotTell
from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.registry import register_rule
from kerasurgeon.rules.rule import Free

_LOOKUPS = """
    CategoryEncoding Discretization HashedCrossing Hashing IntegerLookup StringLookup TextVectorization
"""

# Ops that leave the batch where it is.
_BATCHWISE = """
    allclose binary_crossentropy categorical_crossentropy elastic_transform empty_like hsv_to_rgb in_top_k
    map_coordinates nanpercentile nanquantile percentile psnr quantile rgb_to_grayscale rgb_to_hsv
    scale_and_translate sparse_categorical_crossentropy
"""

# Ops that may put something else where the batch was, or make it longer or shorter.
_MOVING = """
    arange array bincount convert_to_tensor cross diag diagflat diagonal extract_sequences fold full geomspace
    histogram kron linspace logspace meshgrid multi_hot ndim nonzero one_hot outer rearrange rot90 scatter
    scatter_update searchsorted segment_max segment_min segment_prod segment_sum select size slice_update
    trace trapezoid tril triu unfold unique unravel_index vander view view_as_complex view_as_real
"""


class Preprocessing(Free):
    """Layers that look values up, or count them."""

    def onnx(self, call: OnnxCall) -> None:
        """By the kind.

        Raises:
            CannotTell: ONNX cannot.
        """
        if call.kind in WHY_NOT:
            raise CannotTell(WHY_NOT[call.kind])
        LAYERS[call.kind](call)


class Written(Free):
    """Ops of which is known how they are written."""

    def onnx(self, call: OnnxCall) -> None:
        """By the op's name."""
        OTHERS[call.kind.removeprefix("ops.")](call)


register_rule(("InputLayer", *words(_LOOKUPS)), Preprocessing())
register_rule(words(_BATCHWISE, "ops."), Written())
register_rule(words(_MOVING, "ops."), Written(keeps_batch=False))
