"""Ops that fit nowhere else, and the kinds that no maker makes, each with its reason."""

from __future__ import annotations

from typing import Any

from tests.fuzz.drawing import Draw, Live, Refused
from tests.fuzz.kinds.convolving import data_format
from tests.fuzz.kinds.elementwise import check_jumps
from tests.fuzz.kinds.registry import ops


@ops("cross")
def cross(draw: Draw, name: str, x: Live) -> None:
    one, two = (draw.layer("Dense", x, units=3) for _ in range(2))
    draw.op(name, one, two)


@ops("diagonal trace", 3, 4)
def diagonal(draw: Draw, name: str, x: Live) -> None:
    if name == "trace" and x.rank == 3:
        x = draw.op("expand_dims", x, -1)
    draw.op(name, x, axis1=1, axis2=2)


@ops("tril triu", 3, 4)
def triangle(draw: Draw, name: str, x: Live) -> None:
    draw.op(name, x, draw.whole(-1, 1))


@ops("rot90", 4)
def rotated(draw: Draw, name: str, x: Live) -> None:
    draw.op(name, x, k=draw.whole(1, 3), axes=(1, 2))


@ops("kron", 2)
def kron(draw: Draw, name: str, x: Live) -> None:
    draw.op(name, x, draw.array(1, 2))


@ops("trapezoid", 3, 4)
def integral(draw: Draw, name: str, x: Live) -> None:
    draw.op(name, x, axis=-1)


@ops("one_hot multi_hot", 2)
def one_hot(draw: Draw, name: str, x: Live) -> None:
    draw.op(name, draw.tokens(), 4, dtype=draw.floats)


@ops("take_along_axis", 3)
def take_along(draw: Draw, name: str, x: Live) -> None:
    draw.op(name, x, draw.array(1, x.shape[0], 1, dtype="int32"), axis=2)


@ops("quantile percentile nanquantile nanpercentile", 2, 3)
def quantile(draw: Draw, name: str, x: Live) -> None:
    check_jumps(draw, "floor")
    draw.op(name, x, 50 if "percent" in name else 0.5, axis=-1, keepdims=True)


@ops("rgb_to_grayscale rgb_to_hsv hsv_to_rgb", 4)
def colours(draw: Draw, name: str, x: Live) -> None:
    image = draw.layer("Conv2D", x, filters=3, kernel_size=1, activation="sigmoid", **data_format(draw))
    draw.op(name, image, **data_format(draw))


@ops("affine_transform", 4)
def affine(draw: Draw, name: str, x: Live) -> None:
    draw.op(name, x, [1.0, 0.1, 0.0, 0.0, 1.0, 0.2, 0.0, 0.0], **data_format(draw))


@ops("binary_crossentropy categorical_crossentropy", 2, 3)
def loss(draw: Draw, name: str, x: Live) -> None:
    one, two = (draw.op("sigmoid", each) for each in (x, draw.like(x)))
    y = draw.op(name, one, two)
    if y.rank == 2 and x.rank == 2:
        draw.op("tanh", y)


@ops("sparse_categorical_crossentropy", 3)
def against_targets(draw: Draw, name: str, x: Live) -> None:
    tokens = draw.tokens()
    draw.op(name, tokens, draw.op("softmax", draw.made_of(x, (*tokens.shape, 4))))


@ops("fold unfold", 4)
def windows(draw: Draw, name: str, x: Live) -> None:
    if draw.first:
        y = draw.op("unfold", x, 2, stride=2)
        if name == "fold":
            draw.op("fold", y, x.shape[1:], 2, stride=2)
    else:
        raise Refused("takes channels first")


@ops("extract_sequences", 3)
def sequences(draw: Draw, name: str, x: Live) -> None:
    draw.op(name, draw.op("transpose", x, (0, 2, 1)), 2, 1)


@ops("convert_to_tensor array", 2, 3)
def converted(draw: Draw, name: str, x: Live) -> None:
    draw.op("tanh", draw.op(name, x))


@ops("elastic_transform", 4)
def elastic(draw: Draw, name: str, x: Live) -> None:
    draw.op(name, x, alpha=1.0, sigma=1.0, seed=3, **data_format(draw))


ONE_NUMBER = "gives one number, or a vector, for the whole batch: no tensor of a batch, which all drawn tensors are"
MOVES = "moves or mixes the batch, which all drawn tensors keep first"
CONSTANT = "reads no tensor"
FOURIER = "reads or gives real and imaginary parts, or needs longer axes than are drawn: see test_rules_fourier.py"
LEFT_OUT: dict[str, str] = {
    "InputLayer": "is in every model, without a maker",
    "Equalization": "Keras returns its operand for it, and then finds a cycle",
    "MelSpectrogram": FOURIER,
    "STFTSpectrogram": FOURIER,
    "StringLookup": "reads text",
    "TextVectorization": "reads text",
}


def _leave_out(kinds: str, reason: str) -> Any:
    LEFT_OUT.update((f"ops.{kind}", reason) for kind in kinds.split())


_leave_out("allclose psnr ndim size in_top_k vdot histogram bincount nonzero unique", ONE_NUMBER)
_leave_out("diag diagflat flipud meshgrid outer vsplit segment_max segment_min segment_prod segment_sum vander", MOVES)
_leave_out("searchsorted unravel_index slice_update scatter_update scatter", "takes vectors or whole batches alone")
_leave_out("fft fft2 ifft2 rfft irfft stft istft", FOURIER)
_leave_out("arange full geomspace linspace logspace empty_like", CONSTANT)
_leave_out("conv_transpose", "Keras 3.15 swaps its operands when it is called in a model")
_leave_out("select", "reads a list of flags and a list of tensors that Keras cannot serialise as one call")
_leave_out("map_coordinates scale_and_translate perspective_transform", "its operands are made for one batch size")
