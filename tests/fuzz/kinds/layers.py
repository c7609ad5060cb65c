"""Dense layers, activations, norms, merges, shapes, layers of training, lookups and augmentation."""

from __future__ import annotations

from typing import Any

from tests.fuzz.drawing import Draw, Live
from tests.fuzz.kinds.convolving import ACTIVATIONS, channels, data_format, divisors
from tests.fuzz.kinds.elementwise import check_jumps
from tests.fuzz.kinds.registry import made


@made("Dense", 2, 3, 4)
def dense(draw: Draw, kind: str, x: Live) -> None:
    draw.layer(kind, x, units=draw.whole(2, 6), activation=draw.pick(*ACTIVATIONS), use_bias=draw.chance(0.7))


@made("EinsumDense", 3, 4)
def einsum_dense(draw: Draw, kind: str, x: Live) -> None:
    width, units = x.shape[-1], draw.whole(2, 5)
    if x.rank == 4:
        options: dict[str, Any] = {"equation": "abcd,de->abce", "output_shape": (*x.shape[:-1], units)}
        draw.layer(kind, x, **options, bias_axes=draw.pick(None, "e"))
        return
    equation, shape, axes = draw.pick(
        ("abc,cd->abd", (None, units), "d"),
        ("...c,cd->...d", (None, units), "d"),
        ("abc,bd->adc", (units, width), "c"),
        ("abc,cde->abde", (None, 2, units), "de"),
        ("abc,cd->abd", (x.shape[0], units), "bd"),
    )
    draw.layer(kind, x, equation=equation, output_shape=shape, bias_axes=draw.pick(None, axes))


@made("Activation", 2, 3, 4)
def activation(draw: Draw, kind: str, x: Live) -> None:
    names = "relu relu6 tanh sigmoid softmax softplus softsign silu gelu elu selu mish hard_sigmoid hard_silu linear"
    draw.layer(kind, x, activation=draw.pick(*names.split()))


@made("ReLU LeakyReLU ELU", 2, 3, 4)
def rectifier(draw: Draw, kind: str, x: Live) -> None:
    more = {"ReLU": {"max_value": draw.pick(None, 6.0), "threshold": draw.pick(0.0, 0.1)}}
    draw.layer(kind, x, **more.get(kind, {}))


@made("PReLU", 2, 3, 4)
def slopes(draw: Draw, kind: str, x: Live) -> None:
    axes = draw.pick(None, list(range(1, x.rank - 1)), [x.rank - 1], [1])
    draw.layer(kind, x, shared_axes=axes or None)


@made("Softmax", 2, 3, 4)
def softmax(draw: Draw, kind: str, x: Live) -> None:
    draw.layer(kind, x, axis=draw.pick(-1, 1, (1, 2) if x.rank == 4 else -1))


@made("BatchNormalization", 2, 3, 4, 5)
def batch_norm(draw: Draw, kind: str, x: Live) -> None:
    axis = draw.axis if x.rank > 2 else -1
    if draw.chance(0.5) and x.rank == 4:
        x = draw.layer("Conv2D", x, filters=draw.whole(2, 4), kernel_size=draw.pick(1, 3), **data_format(draw))
    draw.layer(kind, x, axis=axis if draw.chance(0.9) else 1, scale=draw.chance(0.8), center=draw.chance(0.8))


@made("LayerNormalization RMSNormalization", 2, 3, 4)
def layer_norm(draw: Draw, kind: str, x: Live) -> None:
    draw.layer(kind, x, axis=draw.pick(-1, -1, 1, [-2, -1] if x.rank > 2 and kind != "RMSNormalization" else -1))


@made("GroupNormalization", 3, 4, 5)
def group_norm(draw: Draw, kind: str, x: Live) -> None:
    draw.layer(kind, x, groups=draw.pick(-1, *divisors(channels(draw, x))), axis=draw.axis)


@made("UnitNormalization", 2, 3, 4)
def unit_norm(draw: Draw, kind: str, x: Live) -> None:
    draw.layer(kind, x, axis=draw.pick(-1, 1))


@made("Normalization", 2, 3, 4)
def normalization(draw: Draw, kind: str, x: Live) -> None:
    places = range(x.shape[-1])
    draw.layer(kind, x, axis=-1, mean=[0.1 * place for place in places], variance=[1.0 + place for place in places])


@made("Rescaling", 2, 3, 4)
def rescaling(draw: Draw, kind: str, x: Live) -> None:
    draw.layer(kind, x, scale=draw.pick(0.5, -1.5), offset=draw.pick(0.0, 0.3))


@made("Add Average Subtract Multiply Maximum Minimum Concatenate Dot", 2, 3, 4)
def merging(draw: Draw, kind: str, x: Live) -> None:
    if kind == "Dot":
        y = draw.like(x)
        if x.rank < 4:
            draw.layer(kind, [x, y], axes=draw.pick(-1, 1) if x.rank == 3 else -1, normalize=draw.chance(0.3))
        else:
            draw.layer(kind, [x, y], axes=3)
        return
    several = [x, draw.like(x)]
    if kind != "Subtract" and draw.chance(0.3):
        several.append(draw.like(x))
    if kind == "Concatenate":
        draw.layer(kind, several, axis=draw.pick(-1, draw.axis, 1))
        return
    if x.rank > 2 and draw.chance(0.2):
        several[1] = draw.layer("Dense", several[1], units=1)  # is broadcast
    draw.layer(kind, several)


@made("Flatten", 2, 3, 4, 5)
def flatten(draw: Draw, kind: str, x: Live) -> None:
    draw.layer(kind, x, **data_format(draw))


@made("Reshape", 2, 3, 4, 5)
def reshape(draw: Draw, kind: str, x: Live) -> None:
    total = 1
    for size in x.shape:
        total *= size
    one = draw.pick(*divisors(total))
    two = draw.pick(*divisors(total // one))
    shape = draw.pick((total,), (one, total // one), (one, -1), (one, two, total // one // two), (1, *x.shape))
    draw.layer(kind, x, target_shape=shape)


@made("Permute", 3, 4)
def permute(draw: Draw, kind: str, x: Live) -> None:
    axes = list(range(1, x.rank))
    draw.random.shuffle(axes)
    draw.layer(kind, x, dims=tuple(axes))


@made("RepeatVector", 2)
def repeat(draw: Draw, kind: str, x: Live) -> None:
    draw.layer(kind, x, n=draw.whole(2, 4))


@made("Dropout AlphaDropout GaussianDropout", 2, 3, 4)
def dropout(draw: Draw, kind: str, x: Live) -> None:
    draw.layer(kind, x, rate=draw.pick(0.0, 0.3))


@made("SpatialDropout1D SpatialDropout2D SpatialDropout3D")
def spatial_dropout(draw: Draw, kind: str, x: Live) -> None:
    draw.layer(kind, x, rate=draw.pick(0.0, 0.3), **({} if "1D" in kind else data_format(draw)))


@made("GaussianNoise", 2, 3, 4)
def noise(draw: Draw, kind: str, x: Live) -> None:
    draw.layer(kind, x, stddev=draw.pick(0.0, 0.3))


@made("ActivityRegularization", 2, 3, 4)
def penalty(draw: Draw, kind: str, x: Live) -> None:
    draw.layer(kind, x, l2=draw.pick(0.0, 0.01))


@made("Identity", 2, 3, 4)
def identity(draw: Draw, kind: str, x: Live) -> None:
    draw.layer(kind, x)


@made("LayerScale StochasticDepth", 4, prefix="custom:keras.src.applications.convnext.")
def convnext(draw: Draw, kind: str, x: Live) -> None:
    kind = kind.rpartition(".")[2]
    options: dict[str, Any] = (
        {"init_values": 0.5, "projection_dim": x.shape[-1]} if kind == "LayerScale" else {"drop_path_rate": 0.2}
    )
    draw.layer(kind, x, **options)


@made("CustomScaleLayer", 4, prefix="custom:keras.src.applications.inception_resnet_v2.")
def scaled_sum(draw: Draw, kind: str, x: Live) -> None:
    draw.layer("CustomScaleLayer", [x, draw.like(x)], scale=0.3)


# Lookups


@made("IntegerLookup Hashing CategoryEncoding Discretization HashedCrossing", 2)
def lookup(draw: Draw, kind: str, x: Live) -> None:
    ids = draw.tokens()
    if kind == "IntegerLookup":
        ids = draw.layer(kind, ids, vocabulary=[1, 2, 3], output_mode=draw.pick("int", "multi_hot"), dtype="int64")
    elif kind == "Hashing":
        ids = draw.layer(kind, ids, num_bins=4, dtype="int64")
    elif kind == "CategoryEncoding":
        ids = draw.layer(kind, ids, num_tokens=4, output_mode=draw.pick("multi_hot", "count"))
    elif kind == "Discretization":
        check_jumps(draw, "floor")
        ids = draw.layer(kind, x, bin_boundaries=[-0.5, 0.0, 0.5])
    else:
        crossed = [draw.op("slice", ids, (0, place), (-1, 1)) for place in (0, 1)]
        ids = draw.layer(kind, crossed, num_bins=5, output_mode="one_hot")
    draw.op("cast", ids, draw.floats)


# Augmentation: nothing in inference, or something of every pixel

AUGMENTATION: dict[str, dict[str, Any]] = {
    "AugMix": {}, "CutMix": {}, "MixUp": {}, "RandAugment": {}, "RandomGrayscale": {},
    "RandomBrightness": {"factor": 0.2}, "RandomColorDegeneration": {"factor": 0.2}, "RandomColorJitter": {},
    "RandomContrast": {"factor": 0.2}, "RandomElasticTransform": {}, "RandomErasing": {}, "RandomGaussianBlur": {},
    "RandomHue": {"factor": 0.2}, "RandomInvert": {}, "RandomPosterization": {"factor": 4},
    "RandomSaturation": {"factor": 0.2}, "RandomSharpness": {"factor": 0.2}, "Solarization": {},
    "RandomFlip": {}, "RandomPerspective": {}, "RandomRotation": {"factor": 0.2}, "RandomShear": {},
    "RandomTranslation": {"height_factor": 0.1, "width_factor": 0.1}, "RandomZoom": {"height_factor": 0.1},
    "AutoContrast": {}, "ContrastLimitedAdaptiveHistogramEqualization": {},
}  # fmt: skip


@made(AUGMENTATION, 4)
def augmentation(draw: Draw, kind: str, x: Live) -> None:
    image = draw.layer("Conv2D", x, filters=3, kernel_size=1, activation="sigmoid", **data_format(draw))
    if kind in ("AutoContrast", "Solarization") or "Limited" in kind:
        image = draw.layer("Rescaling", image, scale=255.0)
    y = draw.layer(kind, image, **AUGMENTATION[kind], **data_format(draw))
    if kind in ("AutoContrast", "Solarization") or "Limited" in kind:
        draw.layer("Rescaling", y, scale=1 / 255.0)
