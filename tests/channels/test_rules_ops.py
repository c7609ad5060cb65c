"""Ops that select, split, extend, reduce and move: cuts equal the masked twin, and what should shrink does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras.src.utils import naming

from kerasurgeon.channels.analysis import analyse
from kerasurgeon.keras_io import check_types, emit, lift
from kerasurgeon.keras_io.samples import sample_inputs
from kerasurgeon.rules.reasons import Reason
from tests.channels.building import Case, Tail, array, assert_case, dense, doubts, free, image, reasons, steps
from tests.channels.oracle import assert_cut_is_exact, cut_and_masked, outputs, random_cut

FREE = {"one": 8}
CF = "channels_first"


def _over_space(name: str) -> Callable[[], keras.Model]:
    return lambda: image(lambda x: getattr(ops, name)(x, axis=(1, 2)))


def _over_channels(name: str) -> Tail:
    return lambda x: getattr(ops, name)(x, axis=-1, keepdims=True)


SELECTING: dict[str, Case] = {
    "slice": (lambda: image(lambda x: x[..., 2:7]), FREE),
    "negative slice": (lambda: image(lambda x: x[..., -5:-1]), FREE),
    "slice from": (lambda: steps(lambda x: ops.add(dense(5)(x[..., 2:]), dense(5)(x[..., :2]))), FREE),
    "slice of space": (lambda: image(lambda x: x[:, 1:4, ::2]), FREE),
    "reversed": (lambda: steps(lambda x: x[:, :, ::-1] * array(8)), FREE),
    "a number before": (lambda: image(lambda x: x[:, 2, None]), FREE),
    "a new axis last": (lambda: image(lambda x: ops.swapaxes(x[..., None], -1, -2)), FREE),
    "one channel": (lambda: image(lambda x: x[..., 3, None]), {"one": 7}),
    "a step": (lambda: image(lambda x: x[..., ::2]), {"one": 0}),
    "op slice": (lambda: _batched(lambda x: ops.slice(x, (0, 0, 2), (2, 4, 5))), FREE),
    "op slice of all": (lambda: _batched(lambda x: ops.slice(x, (0, 0, 0), (2, 4, 8))), FREE),
    "op slice to the end": (lambda: steps(lambda x: ops.slice(x, (0, 1, 3), (-1, -1, -1))), FREE),
    "take": (lambda: image(lambda x: ops.take(x, [6, 1, 1, -2, 0], axis=-1)), FREE),
    "take by an array": (lambda: image(lambda x: ops.take(x, np.array([6, 1, 4]), axis=3)), FREE),
    "take one": (lambda: steps(lambda x: ops.take(x, 2, axis=-1)), {"one": 7}),
    "take from space": (lambda: image(lambda x: ops.take(x, np.array([[0, 1], [2, 2]]), axis=1)), FREE),
    "take many": (lambda: image(lambda x: ops.take(x, np.array([[0, 1], [2, 2]]), axis=-1)), {"one": 0}),
    "take along space": (lambda: image(lambda x: ops.take_along_axis(x, ops.argsort(x, axis=1), axis=1)), FREE),
    "take along space, one row for all": (
        lambda: image(lambda x: ops.take_along_axis(x, np.array([2, 0]).reshape(1, 2, 1, 1), axis=1)),
        FREE,
    ),
    "take along space, of each channel": (
        lambda: image(lambda x: ops.take_along_axis(x, np.arange(16).reshape(1, 2, 1, 8) % 6, axis=1)),
        FREE,
    ),
    "take along space, of maps of one channel": (
        lambda: image(lambda x: ops.take_along_axis(ops.sum(x, -1, keepdims=True), ops.argsort(x, axis=1), axis=1)),
        FREE,
    ),
    "take along channels": (lambda: image(lambda x: ops.take_along_axis(x, ops.argsort(x, -1), -1)), {"one": 0}),
    "take along channels, numbers of others": (
        lambda: image(lambda x, y: ops.take_along_axis(x, ops.argsort(y[..., :4], axis=1), axis=-1), two=8),
        {"one": 0, "two": 8},
    ),
    "split in two": (lambda: steps(lambda x: list(ops.split(x, 2, axis=-1))), FREE),
    "split at places": (lambda: image(lambda x: list(ops.split(x, [2, 5], axis=-1))), FREE),
    "split and gate": (lambda: steps(lambda x: ops.multiply(*ops.split(x, 2, axis=-1))), {"one": 4}),
    "split space": (lambda: image(lambda x: list(ops.split(x, 2, axis=1))), FREE),
    "array_split": (lambda: steps(lambda x: list(ops.array_split(x, 4, axis=-1))), {"one": 2}),
    "array_split unequal": (lambda: steps(lambda x: list(ops.array_split(x, 3, axis=-1))), {"one": 0}),
    "hsplit": (lambda: steps(lambda x: list(ops.hsplit(ops.swapaxes(x, 1, 2), [3]))), {"one": 0}),
    "dsplit": (lambda: steps(lambda x: list(ops.dsplit(x, [3]))), FREE),
    "unstack": (lambda: steps(lambda x: ops.unstack(x, axis=1)[:2]), FREE),
    "unstack channels": (lambda: steps(lambda x: [value[:, :, None] for value in ops.unstack(x, axis=2)]), {"one": 0}),
}
EXTENDING: dict[str, Case] = {
    "pad": (lambda: image(lambda x: ops.pad(x, [[0, 0], [1, 1], [0, 0], [1, 2]], constant_values=3)), FREE),
    "pad by mirroring": (lambda: image(lambda x: ops.pad(x, [[0, 0], [1, 1], [0, 0], [0, 0]], "reflect")), FREE),
    "mirror channels": (lambda: image(lambda x: ops.pad(x, [[0, 0]] * 3 + [[1, 0]], "reflect")), {"one": 0}),
    "tile": (lambda: image(lambda x: ops.tile(x, [1, 2, 1, 3])), FREE),
    "tile fewer axes": (lambda: steps(lambda x: ops.tile(x, 2)), FREE),
    "repeat": (lambda: image(lambda x: ops.repeat(ops.repeat(x, 2, axis=-1), 3, axis=1)), FREE),
    "repeat one position": (lambda: image(lambda x: x * ops.repeat(_over_channels("sum")(x), 8, axis=-1)), FREE),
    "tile one position": (lambda: image(lambda x: x + ops.tile(_over_channels("sum")(x), (1, 1, 1, 8))), FREE),
    "tile to more axes": (lambda: _batched(lambda x: x * ops.tile(ops.sum(x, 2)[..., None], (1, 1, 8))), FREE),
    "broadcast one position": (
        lambda: _batched(lambda x: x * ops.broadcast_to(ops.sum(x, (1, 2), keepdims=True), (2, 4, 8))),
        FREE,
    ),
    "flip": (lambda: image(lambda x: ops.flip(x, axis=-1) + array(8)), FREE),
    "flip all": (lambda: steps(lambda x: ops.flip(x) + array(8)), FREE),
    "fliplr": (lambda: steps(lambda x: ops.fliplr(x)), FREE),
    "roll": (lambda: image(lambda x: ops.roll(x, 3, axis=-1)), FREE),
    "roll back": (lambda: steps(lambda x: ops.roll(x, (1, -11), axis=(1, 2))), FREE),
    "roll space": (lambda: image(lambda x: ops.roll(x, (-2, 1), axis=(1, 2))), FREE),
    "broadcast_to": (lambda: _batched(lambda x: ops.broadcast_to(x[:, :1], (3, 2, 4, 8))), FREE),
    "append": (lambda: image(lambda x, y: ops.append(x, y, axis=-1), two=5), {"one": 8, "two": 5}),
    "hstack": (lambda: image(lambda x, y: ops.hstack([x, y]), two=8), FREE),
    "vstack": (lambda: image(lambda x, y: ops.vstack([x, y]), two=8), FREE),
    "dstack": (lambda: steps(lambda x, y: ops.dstack([x, y]), two=5), {"one": 8, "two": 5}),
    "ravel": (lambda: _batched(lambda x: ops.reshape(ops.ravel(x), (2, 4, 8))), FREE),
    "depth_to_space": (lambda: image(lambda x: ops.depth_to_space(x, 2), one=12), {"one": 3}),
    "space_to_depth": (lambda: image(lambda x: ops.space_to_depth(x, 2)), FREE),
    "extract_patches": (lambda: image(lambda x: ops.image.extract_patches(x, 2)), FREE),
    "channels first": (
        lambda: image(lambda x: _last(ops.space_to_depth(ops.depth_to_space(_first(x), 2, CF), 3, CF)), one=12),
        {"one": 3},
    ),
}
REDUCING: dict[str, Case] = {
    "sum": (lambda: image(lambda x: ops.sum(x, axis=-1)), FREE),
    "sum of all": (lambda: image(lambda x: ops.sum(x, axis=[1, 3], keepdims=True)), FREE),
    "sum over space": (lambda: image(lambda x: ops.sum(x, axis=(1, 2), keepdims=True) + x), FREE),
    "nansum": (lambda: steps(lambda x: ops.nansum(x, axis=2)), FREE),
    "norm": (lambda: steps(lambda x: ops.norm(x, axis=-1)), FREE),
    "norm of order 1": (lambda: steps(lambda x: ops.norm(x, ord=1, axis=-1)), FREE),
    "norm of matrices": (lambda: steps(lambda x: ops.norm(x, axis=(1, 2), keepdims=True)), FREE),
    **{
        f"{name} over space": (_over_space(name), FREE)
        for name in ("mean", "max", "min", "prod", "std", "var", "logsumexp")
    },
    "median over space": (lambda: image(lambda x: ops.median(x, axis=1)), FREE),
    "argmax over space": (lambda: image(lambda x: ops.cast(ops.argmax(x, axis=1), "float32")), FREE),
    "argmax over channels": (lambda: image(lambda x: ops.cast(ops.argmax(x, axis=-1), "float32")), {"one": 0}),
    "sort over space": (lambda: image(lambda x: ops.sort(x, axis=1)), FREE),
    "sort channels": (lambda: image(lambda x: ops.sort(x, axis=-1)), {"one": 0}),
    "top_k": (lambda: image(lambda x: ops.top_k(x, 3)[0]), {"one": 0}),
    "cumsum over space": (lambda: image(lambda x: ops.cumsum(x, axis=1)), FREE),
    "cumsum over channels": (lambda: image(lambda x: ops.cumsum(x, axis=-1)), {"one": 0}),
    "diff": (lambda: steps(lambda x: ops.diff(x, axis=1)), FREE),
    "moments": (lambda: image(lambda x: ops.add(*ops.moments(x, axes=[1, 2]))), FREE),
    "glu": (lambda: image(lambda x: ops.glu(x)), {"one": 4}),
    "normalize": (lambda: steps(lambda x: ops.normalize(x, axis=-1)), FREE),
    "softmax over space": (lambda: image(lambda x: ops.softmax(x, axis=1)), FREE),
    "layer_norm over time": (lambda: steps(lambda x: ops.layer_normalization(x, array(6), axis=1)), FREE),
    "batch_norm": (
        lambda: image(lambda x: ops.batch_normalization(x, array(8), array(8) ** 2, -1, scale=array(8))),
        FREE,
    ),
    "batch_norm by moments": (
        lambda: image(lambda x: ops.batch_normalization(x, *ops.moments(x, axes=[0, 1, 2]), axis=-1)),
        FREE,
    ),
}
IMAGES: dict[str, Case] = {
    "average_pool": (lambda: image(lambda x: ops.average_pool(x, 2)), FREE),
    "max_pool": (lambda: image(lambda x: ops.max_pool(x, 2, padding="same")), FREE),
    "resize": (lambda: image(lambda x: ops.image.resize(x, (9, 4), antialias=True)), FREE),
    "resize and pad": (lambda: image(lambda x: ops.image.resize(x, (9, 4), pad_to_aspect_ratio=True)), FREE),
    "crop and pad": (
        lambda: image(lambda x: ops.image.pad_images(ops.image.crop_images(x, 1, 1, 1, 1), 0, 2, 2, 0)),
        FREE,
    ),
    "affine_transform": (
        lambda: _batched(lambda x: ops.image.affine_transform(x, np.tile([1, 0.1, 0, 0.2, 1, 0, 0, 0], (2, 1))), True),
        FREE,
    ),
    "conv": (lambda: image(lambda x: ops.conv(x, array(3, 3, 8, 5))), {"one": 8, "conv": 5}),
    "conv by strides": (lambda: steps(lambda x: ops.conv(x, array(3, 8, 5), 2, "same")), {"one": 8, "conv": 5}),
    "depthwise_conv": (lambda: image(lambda x: ops.depthwise_conv(x, array(3, 3, 8, 2))), FREE),
    "separable_conv": (
        lambda: image(lambda x: ops.separable_conv(x, array(3, 3, 8, 2), array(1, 1, 16, 5))),
        {"one": 8, "separable_conv": 5},
    ),
}
SHAPING: dict[str, Case] = {
    "reshape to nothing known": (lambda: image(lambda x: ops.reshape(x, (-1, 8))), FREE),
    "reshape with -1 for channels": (lambda: image(lambda x: ops.reshape(x, (-1, 36, 8)) + array(8)), FREE),
    "reshape over the batch": (lambda: _swapped(lambda x: ops.reshape(x, (-1, 8, 3))), {"one": 0}),
    "reshape of unknown sizes": (lambda: image(lambda x: ops.reshape(x, (-1, 8)), size=None), FREE),
    "layer with -1": (lambda: image(lambda x: layers.Reshape((-1, 8))(x), size=None), FREE),
    "layer with -1 for channels": (lambda: image(lambda x: layers.Reshape((36, -1))(x)), FREE),
    "squeeze": (lambda: image(lambda x: ops.squeeze(x[:, :1, :, None], (1, 3))), FREE),
    "squeeze all": (lambda: image(lambda x: ops.squeeze(x[:, :1])), FREE),
    "squeeze the only channel": (lambda: steps(lambda x: ops.squeeze(x, -1)[:, None], one=1), {"one": 0}),
    "expand_dims": (lambda: image(lambda x: ops.squeeze(ops.expand_dims(x, (1, -2)), (1, -2)), size=None), FREE),
    "moveaxis": (lambda: image(lambda x: ops.moveaxis(ops.moveaxis(x, -1, 1), 1, -1)), FREE),
    "stack": (lambda: steps(lambda x, y: ops.stack([x, y], axis=1), two=8), FREE),
    "where": (lambda: steps(lambda x, y: ops.where(x > y, x * 2.0, y), two=8), FREE),
    "per-channel clip": (lambda: steps(lambda x: ops.minimum(ops.maximum(x, array(8)), array(6, 1))), FREE),
    "isin": (lambda: steps(lambda x: ops.cast(ops.isin(ops.round(x), [0.0, 1.0, 2.0]), "float32")), FREE),
    "digitize": (lambda: steps(lambda x: ops.cast(ops.digitize(x, np.array([0.0, 0.5])), "float32")), FREE),
}
CASES = {**SELECTING, **EXTENDING, **REDUCING, **IMAGES, **SHAPING}


def _first(value: Any) -> Any:
    return ops.transpose(value, (0, 3, 1, 2))


def _last(value: Any) -> Any:
    return ops.transpose(value, (0, 2, 3, 1))


def _batched(tail: Tail, wide: bool = False) -> keras.Model:
    """As ``steps``, for a batch of two."""
    inputs = keras.Input(batch_shape=(2, 4, 4, 3) if wide else (2, 4, 3))
    return keras.Model(inputs, dense(2)(tail(dense(8, "one", activation="tanh")(inputs))))


def _swapped(tail: Tail) -> keras.Model:
    inputs = keras.Input((4, 6, 3))
    return keras.Model(inputs, dense(2)(tail(ops.transpose(dense(8, "one")(inputs), (0, 3, 1, 2)))))


@pytest.mark.spread(4)
@pytest.mark.parametrize("name", CASES)
def test_cuts_equal_the_masked_twin(name: str) -> None:
    assert_case(CASES[name])


FROZEN: dict[str, tuple[Callable[[], keras.Model], Reason]] = {
    "a step": (lambda: image(lambda x: x[..., ::2]), Reason.PICKED),
    "one channel": (lambda: image(lambda x: x[..., 3, None]), Reason.PICKED),
    "unstack": (lambda: steps(lambda x: [value[:, :, None] for value in ops.unstack(x, axis=2)]), Reason.PICKED),
    "unequal parts": (lambda: steps(lambda x: list(ops.array_split(x, 3, axis=-1))), Reason.PICKED),
    "mirrored": (lambda: image(lambda x: ops.pad(x, [[0, 0]] * 3 + [[1, 0]], "reflect")), Reason.MIXED),
    "argmax": (lambda: image(lambda x: ops.cast(ops.argmax(x, axis=-1), "float32")), Reason.MIXED),
    "sorted": (lambda: image(lambda x: ops.sort(x, axis=-1)), Reason.MIXED),
    "over the batch": (lambda: _swapped(lambda x: ops.reshape(x, (-1, 8, 3))), Reason.OPEN_SIZE),
    "raveled": (lambda: steps(lambda x: ops.reshape(ops.ravel(x), (-1, 1))), Reason.OPEN_SIZE),
    "spread": (lambda: _batched(lambda x: ops.broadcast_to(x[..., :1], (2, 4, 8))), Reason.SPREAD),
    "set of values": (lambda: steps(lambda x: ops.cast(ops.isin(x, x), "float32")), Reason.MIXED),
    "rotated": (lambda: image(lambda x: ops.rot90(x, axes=(1, 2))), Reason.CANNOT_TELL),
    "adaptive pooling": (lambda: image(lambda x: ops.adaptive_max_pool(x, (2, 3))), Reason.CANNOT_TELL),
    "flattened": (lambda: steps(lambda x: ops.reshape(ops.append(x, x), (-1, 1))), Reason.CANNOT_TELL),
    "weighted": (lambda: steps(lambda x: ops.average(x, axis=1, weights=array(6))), Reason.CANNOT_TELL),
    "by Python": (lambda: steps(lambda x: ops.clip(x, array(8) - 1, array(8))), Reason.NO_RULE),
    "computed kernel": (lambda: _batched(lambda x: ops.conv(x, ops.reshape(x, (1, 8, 8)))), Reason.CANNOT_TELL),
}


@pytest.mark.parametrize("name", FROZEN)
def test_what_may_not_go_says_why(name: str) -> None:
    build, reason = FROZEN[name]
    channels = analyse(lift(build()))
    assert reason in reasons(channels, "one")
    assert_cut_is_exact(build(), seeds=(0,))


INEXACT: dict[str, tuple[Tail, Reason]] = {
    **{
        name: (_over_channels(name), Reason.REDUCED)
        for name in ("mean", "max", "min", "prod", "std", "var", "logsumexp", "median")
    },
    "any": (lambda x: ops.cast(ops.any(x > 0, axis=-1), "float32"), Reason.REDUCED),
    "norm": (lambda x: ops.norm(x, ord=0, axis=-1), Reason.REDUCED),
    "softmax": (lambda x: ops.softmax(x), Reason.NORMALISED),
    "log_softmax": (lambda x: ops.log_softmax(x, axis=2), Reason.NORMALISED),
    "sparsemax": (lambda x: ops.sparsemax(x), Reason.NORMALISED),
    "layer_norm": (lambda x: ops.layer_normalization(x, array(8), array(8)), Reason.NORMALISED),
    "rms_norm": (lambda x: ops.rms_normalization(x, array(8)), Reason.NORMALISED),
}


@pytest.mark.parametrize("name", INEXACT)
def test_statistics_over_channels_are_not_exact_and_say_so(name: str) -> None:
    tail, reason = INEXACT[name]
    model = steps(tail)
    graph = lift(model)
    channels = analyse(graph)
    assert not channels.barriers
    assert free(channels, "one") == 8
    assert doubts(channels, "one") == {reason}
    gone = random_cut(channels, 0, 0.5, inexact=True)
    assert gone.any()
    small, _ = cut_and_masked(model, gone, channels)
    check_types(small, everything=True)
    assert all(np.isfinite(value).all() for value in outputs(emit(small), sample_inputs(graph, batch_size=2, seed=0)))


def test_the_kernel_of_a_transposed_convolution_shrinks() -> None:
    """Keras 3.15 cannot run ``ops.conv_transpose`` in a model: only shapes are looked at."""
    naming.reset_uids()
    model = image(lambda x: ops.conv_transpose(x, array(3, 3, 5, 8), 2))
    channels = analyse(lift(model))
    assert free(channels, "one") == 8
    assert free(channels, "conv_transpose") == 5
    small, _ = cut_and_masked(model, random_cut(channels, 0), channels)
    kernel = small["conv_transpose"].args[1]
    assert kernel.shape[2:] == (small["conv_transpose"].outputs[0].shape[-1], small["one"].outputs[0].shape[-1])
    assert kernel.shape[2] < 5
    assert kernel.shape[3] < 8
