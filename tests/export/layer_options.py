"""Every kind of layer alone in a model, once per set of options: what the sweep of files is made of."""

from __future__ import annotations

from collections.abc import Iterator

from keras import layers

from tests.export.options import (
    BY_RANK,
    FIRST,
    FIRST_OPTION,
    IDS,
    IMAGES,
    OPEN,
    ROWS,
    SEQUENCE,
    VECTOR,
    Options,
    cases_of,
    named,
)
from tests.export.sequence_options import attending, models, recurrences
from tests.export.single_layers import Case, In


def _convolutions() -> Iterator[Case]:
    for rank in (1, 2, 3):
        usual, first, wide = BY_RANK[rank], FIRST[rank], {"filters": 6, "kernel_size": 3}
        same = {**wide, "padding": "same"}
        yield from cases_of(
            f"Conv{rank}D",
            usual,
            wide,
            {**same, "strides": 2, "activation": "relu"},
            {**wide, "strides": 4},
            {**same, "strides": 4, "kernel_size": 2},
            {**same, "dilation_rate": 2, "use_bias": False},
            {**wide, "dilation_rate": 2, "activation": "gelu"},
            {**wide, "groups": 2},
            {**same, "groups": 2, "strides": 2},
            {**wide, "filters": 8, "groups": 4},
            {"filters": 5, "kernel_size": 1, "strides": 2, "activation": "hard_silu"},
        )
        yield from cases_of(f"Conv{rank}D", first, {**same, **FIRST_OPTION, "strides": 2})
        yield from cases_of(f"Conv{rank}D", OPEN[rank], {**same, "strides": 2}, wide)
        yield from cases_of(
            f"Conv{rank}DTranspose",
            usual,
            wide,
            {**same, "strides": 2},
            {**wide, "strides": 2},
            {**wide, "strides": 4},
            {**same, "strides": 4, "kernel_size": 2},
            {**same, "strides": 2, "output_padding": 1, "activation": "relu"},
            {**wide, "strides": 3, "output_padding": 2},
            {**same, "strides": 3, "output_padding": 0},
            {**wide, "dilation_rate": 2, "use_bias": False},
            {**same, "dilation_rate": 2},
        )
        yield from cases_of(f"Conv{rank}DTranspose", first, {**same, **FIRST_OPTION, "strides": 2})
        yield from cases_of(f"Conv{rank}DTranspose", OPEN[rank], {**same, "strides": 2}, {**wide, "strides": 2})
    yield from cases_of(
        "Conv1D",
        ROWS,
        {"filters": 5, "kernel_size": 3, "padding": "causal"},
        {"filters": 5, "kernel_size": 3, "padding": "causal", "strides": 2},
        {"filters": 5, "kernel_size": 3, "padding": "causal", "dilation_rate": 3, "groups": 1},
    )
    yield from cases_of(
        "Conv2D",
        IMAGES,
        {"filters": 5, "kernel_size": (1, 4), "strides": (2, 1), "padding": "same"},
        {"filters": 5, "kernel_size": (4, 2), "dilation_rate": (1, 3)},
    )
    yield from cases_of(
        "Conv2DTranspose",
        IMAGES,
        {"filters": 5, "kernel_size": (2, 5), "strides": (3, 1), "padding": "same"},
        {"filters": 5, "kernel_size": (4, 3), "strides": (2, 3), "output_padding": (1, 0)},
    )
    for rank in (1, 2):
        usual, each = BY_RANK[rank], {"kernel_size": 3}
        several: tuple[Options, ...] = (
            each,
            {**each, "strides": 2, "padding": "same", "activation": "relu6"},
            {**each, "strides": 4},
            {**each, "depth_multiplier": 3, "use_bias": False},
            {**each, "dilation_rate": 2, "padding": "same"},
        )
        yield from cases_of(f"DepthwiseConv{rank}D", usual, *several)
        yield from cases_of(f"DepthwiseConv{rank}D", OPEN[rank], {**each, "padding": "same"})
        yield from cases_of(f"SeparableConv{rank}D", usual, *({"filters": 5, **options} for options in several))
        yield from cases_of(f"DepthwiseConv{rank}D", FIRST[rank], {**each, **FIRST_OPTION, "padding": "same"})
        yield from cases_of(f"SeparableConv{rank}D", FIRST[rank], {"filters": 5, **each, **FIRST_OPTION})
        kinds = (f"Conv{rank}D", f"Conv{rank}DTranspose", f"SeparableConv{rank}D")
        for kind in kinds:  # as many channels as columns: Keras adds the bias along the latter
            square = {"filters": 9, "kernel_size": 3, "padding": "same", **FIRST_OPTION}
            yield from cases_of(kind, FIRST[rank], square)


def _windows() -> Iterator[Case]:
    for rank in (1, 2, 3):
        for kind in ("Max", "Average"):
            name = f"{kind}Pooling{rank}D"
            yield from cases_of(
                name,
                BY_RANK[rank],
                {"pool_size": 2},
                {"pool_size": 3, "strides": 1, "padding": "same"},
                {"pool_size": 3, "strides": 2, "padding": "same"},
                {"pool_size": 2, "strides": 3},
                {"pool_size": 2, "strides": 4, "padding": "same"},
            )
            yield from cases_of(name, FIRST[rank], {"pool_size": 3, "strides": 2, **FIRST_OPTION})
            yield from cases_of(name, OPEN[rank], {"pool_size": 2, "padding": "same"})
            whole = f"Global{kind}Pooling{rank}D"
            yield from cases_of(whole, BY_RANK[rank], {}, {"keepdims": True})
            yield from cases_of(whole, FIRST[rank], {**FIRST_OPTION, "keepdims": True})
            yield from cases_of(whole, OPEN[rank], {})
            adaptive = f"Adaptive{kind}Pooling{rank}D"
            yield from cases_of(adaptive, BY_RANK[rank], {"output_size": 3})
            yield from cases_of(adaptive, FIRST[rank], {"output_size": 2, **FIRST_OPTION})
        pair = {1: (1, 2), 2: ((1, 2), (0, 1)), 3: ((1, 2), (0, 1), (2, 0))}[rank]
        yield from cases_of(f"ZeroPadding{rank}D", BY_RANK[rank], {"padding": pair})
        yield from cases_of(f"Cropping{rank}D", BY_RANK[rank], {"cropping": pair})
        yield from cases_of(f"UpSampling{rank}D", BY_RANK[rank], {"size": 3})
        yield from cases_of(f"ZeroPadding{rank}D", FIRST[rank], {"padding": 1, **FIRST_OPTION})
        yield from cases_of(f"Cropping{rank}D", OPEN[rank], {"cropping": 1})
        if rank > 1:
            yield from cases_of(f"Cropping{rank}D", FIRST[rank], {"cropping": pair, **FIRST_OPTION})
            yield from cases_of(f"UpSampling{rank}D", FIRST[rank], {"size": 2, **FIRST_OPTION})
            yield from cases_of(f"UpSampling{rank}D", OPEN[rank], {"size": 2})
    for mode in ("bilinear", "bicubic", "lanczos3"):
        yield from cases_of("UpSampling2D", IMAGES, {"size": (2, 3), "interpolation": mode}, rtol=2e-5)
        yield from cases_of("UpSampling2D", OPEN[2], {"size": 2, "interpolation": mode}, rtol=2e-5)
    yield from cases_of("UpSampling2D", OPEN[2], {"size": (1, 3), "interpolation": "bicubic"}, rtol=2e-5)
    yield from cases_of("UpSampling2D", FIRST[2], {"size": 2, "interpolation": "bilinear", **FIRST_OPTION}, rtol=2e-5)
    size = {"height": 5, "width": 12}
    for mode in ("bilinear", "nearest", "bicubic", "lanczos3", "lanczos5", "area"):
        yield from cases_of("Resizing", IMAGES, {**size, "interpolation": mode}, rtol=2e-5)
        yield from cases_of("Resizing", OPEN[2], {**size, "interpolation": mode}, rtol=2e-5)
    for more in ({"antialias": True}, {"crop_to_aspect_ratio": True}, {"pad_to_aspect_ratio": True, "fill_value": 1.5}):
        yield from cases_of("Resizing", OPEN[2], {**size, **more}, rtol=2e-5)
    yield from cases_of(
        "Resizing",
        IMAGES,
        {**size, "antialias": True},
        {**size, "crop_to_aspect_ratio": True},
        {**size, "pad_to_aspect_ratio": True, "fill_mode": "constant", "fill_value": 1.5},
        rtol=2e-5,
    )
    for kind in ("AdaptiveAveragePooling2D", "AdaptiveMaxPooling2D"):
        yield from cases_of(kind, OPEN[2], {"output_size": (3, 2)})
    yield from cases_of("Resizing", FIRST[2], {**size, **FIRST_OPTION}, rtol=2e-5)
    yield from cases_of("CenterCrop", IMAGES, {"height": 4, "width": 5}, {"height": 12, "width": 5}, rtol=2e-5)


def _norms() -> Iterator[Case]:
    yield from cases_of(
        "BatchNormalization", IMAGES, {}, {"axis": 1}, {"scale": False}, {"center": False, "epsilon": 0.1}, {"axis": -2}
    )
    yield from cases_of("BatchNormalization", VECTOR, {})
    yield from cases_of("BatchNormalization", OPEN[3], {})
    yield from cases_of(
        "LayerNormalization", IMAGES, {}, {"axis": 1}, {"axis": [1, 2, 3]}, {"axis": (-1, 1)}, {"center": False}
    )
    yield from cases_of("LayerNormalization", OPEN[1], {}, {"scale": False, "epsilon": 1e-6})
    yield from cases_of(
        "GroupNormalization", IMAGES, {"groups": 2}, {"groups": 1}, {"groups": -1}, {"groups": 2, "scale": False}
    )
    yield from cases_of("GroupNormalization", OPEN[2], {"groups": 2})
    yield from cases_of("GroupNormalization", VECTOR, {"groups": 3})
    yield from cases_of("GroupNormalization", FIRST[3], {"groups": 2, "axis": 1})
    yield from cases_of("UnitNormalization", IMAGES, {}, {"axis": 1}, {"axis": (1, 3)})
    yield from cases_of("RMSNormalization", IMAGES, {}, {"axis": [2, 3]}, {"epsilon": 0.1})
    given = {"mean": [0.1, 0.2, 0.3, 0.4], "variance": [1.0, 2.0, 3.0, 0.5]}
    yield from cases_of(
        "Normalization", IMAGES, given, {**given, "invert": True}, {"axis": None, "mean": 0.5, "variance": 2.0}
    )
    yield from cases_of("Rescaling", IMAGES, {"scale": 0.5, "offset": -1.0}, {"scale": [1.0, 2.0, 3.0, 4.0]})
    yield from cases_of("SpectralNormalization", IMAGES, {"layer": layers.Conv2D(3, 3)}, {"layer": layers.Dense(3)})


NAMED = (
    "celu elu exponential gelu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu linear "
    "log_sigmoid log_softmax mish relu relu6 selu sigmoid silu soft_shrink softmax softplus softsign sparse_plus "
    "sparse_sigmoid sparsemax squareplus swish tanh tanh_shrink"
)


def _elements() -> Iterator[Case]:
    for name in NAMED.split():
        yield from cases_of("Activation", IMAGES, {"activation": name})
        yield from cases_of("Dense", VECTOR, {"units": 5, "activation": name})
    yield from cases_of(
        "ReLU", IMAGES, {}, {"max_value": 6.0}, {"max_value": 1.0, "threshold": 0.2, "negative_slope": 0.1}
    )
    yield from cases_of("ReLU", IMAGES, {"negative_slope": 0.3}, {"negative_slope": 0.3, "max_value": 0.5})
    yield from cases_of("LeakyReLU", IMAGES, {}, {"negative_slope": 0.0})
    yield from cases_of("ELU", IMAGES, {}, {"alpha": 0.3})
    yield from cases_of("PReLU", IMAGES, {}, {"shared_axes": [1, 2]}, {"shared_axes": [3]})
    yield from cases_of("Softmax", IMAGES, {}, {"axis": 1}, {"axis": (1, 2)}, {"axis": (-1, -3)})
    for rank in (1, 2, 3):
        yield from cases_of("Dense", BY_RANK[rank], {"units": 5, "activation": "relu"}, {"units": 1, "use_bias": False})
    yield from cases_of("Dense", OPEN[2], {"units": 5})
    yield from cases_of(
        "EinsumDense",
        SEQUENCE,
        {"equation": "abc,cd->abd", "output_shape": (None, 5), "bias_axes": "d", "activation": "gelu"},
        {"equation": "abc,bcd->abd", "output_shape": (6, 3), "bias_axes": "bd"},
        {"equation": "abc,cde->abed", "output_shape": (None, 2, 3)},
        {"equation": "abc,bc->a", "output_shape": ()},
    )
    yield from cases_of(
        "EinsumDense", OPEN[1], {"equation": "abc,cde->abde", "output_shape": (None, 2, 3), "bias_axes": "de"}
    )
    yield from cases_of(
        "Embedding", IDS, {"input_dim": 6, "output_dim": 3}, {"input_dim": 6, "output_dim": 3, "mask_zero": True}
    )
    yield from cases_of("ReversibleEmbedding", IDS, {"input_dim": 6, "output_dim": 3})
    pair = (In((4, 1, 3)), In((1, 5, 3)))
    for kind in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"):
        yield from cases_of(kind, pair, {})
        yield from cases_of(kind, (In((4, 3)), In((4, 3))), {})
    for axis in (1, 2, -1):
        yield from cases_of("Concatenate", (In((4, 5, 3)), In((4, 5, 3))), {"axis": axis})
    yield from cases_of("Dot", (In((4, 5)), In((6, 5))), {"axes": 2}, {"axes": (2, 2), "normalize": True})
    yield from cases_of("Flatten", IMAGES, {}, FIRST_OPTION)
    yield from cases_of("Flatten", OPEN[2], {})
    yield from cases_of(
        "Reshape", IMAGES, {"target_shape": (9, 28)}, {"target_shape": (-1, 4, 3)}, {"target_shape": (252,)}
    )
    yield from cases_of("Reshape", OPEN[1], {"target_shape": (-1, 2)})
    yield from cases_of("Permute", IMAGES, {"dims": (3, 1, 2)}, {"dims": (2, 1, 3)})
    yield from cases_of("Permute", OPEN[2], {"dims": (3, 2, 1)})
    yield from cases_of("RepeatVector", VECTOR, {"n": 3})
    yield from cases_of("Masking", SEQUENCE, {})
    for kind in ("Dropout", "GaussianDropout", "AlphaDropout", "SpatialDropout2D"):
        yield from cases_of(kind, IMAGES, {"rate": 0.5})
    for mode in ("int", "one_hot", "multi_hot", "count"):
        borders = {"bin_boundaries": [-1.0, 0.0, 0.5], "output_mode": mode}
        yield from cases_of("Discretization", VECTOR, borders)
    yield from cases_of("Discretization", (In((1,)),), {"bin_boundaries": [0.0, 1.0], "output_mode": "one_hot"})
    for mode in ("multi_hot", "count"):
        yield from cases_of("CategoryEncoding", IDS, {"num_tokens": 6, "output_mode": mode})
    yield from cases_of("CategoryEncoding", IDS, {"num_tokens": 6, "output_mode": "one_hot"})
    words, whole = {"vocabulary": [3, 5, 9]}, (In((4,), "int64", 0, 10),)
    yield from cases_of(
        "IntegerLookup",
        whole,
        words,
        {**words, "mask_token": 0},
        {**words, "output_mode": "multi_hot"},
        {**words, "output_mode": "count", "num_oov_indices": 1},
        {**words, "invert": True},
        {**words, "num_oov_indices": 3},
        {**words, "num_oov_indices": 2, "mask_token": 0, "output_mode": "count"},
        {**words, "mask_token": 4, "invert": True},
        {"vocabulary": [*range(10)], "num_oov_indices": 0},
    )
    yield from cases_of("IntegerLookup", (In((1,), "int64", 0, 10),), {**words, "output_mode": "one_hot"})


def _whole_numbers() -> Iterator[Case]:
    """Layers that read whole numbers."""
    whole, bytes_of = (In((6, 4), "int32", -9, 9),), (In((6, 8, 3), "uint8", 0, 255),)
    yield from cases_of("Dense", whole, {"units": 3, "activation": "relu"})
    for kind in ("BatchNormalization", "Flatten", "ReLU", "GlobalMaxPooling1D", "Dropout"):
        yield from cases_of(kind, whole, {"rate": 0.2} if kind == "Dropout" else {})
    yield from cases_of("Rescaling", bytes_of, {"scale": 1 / 255}, {"scale": 0.1, "offset": [1.0, 2.0, 3.0]})
    yield from cases_of("Normalization", bytes_of, {"mean": [1.0, 2.0, 3.0], "variance": [4.0, 5.0, 6.0]})
    yield from cases_of("UpSampling2D", bytes_of, {"size": 2})
    yield from cases_of("ZeroPadding2D", bytes_of, {"padding": 1})
    yield from cases_of("Resizing", bytes_of, {"height": 5, "width": 7, "interpolation": "nearest"})
    yield from cases_of("Resizing", bytes_of, {"height": 5, "width": 7, "interpolation": "bicubic"})
    step = 5e-3  # of 255, where a number is halfway between two whole ones
    yield from cases_of("Resizing", bytes_of, {"height": 12, "width": 7}, rtol=step)
    yield from cases_of("CenterCrop", bytes_of, {"height": 3, "width": 5})
    for kind in ("Add", "Multiply", "Maximum", "Concatenate", "Average"):
        yield from cases_of(kind, (*whole, In((6, 4))), {})
        yield from cases_of(kind, (*whole, *whole), {})
    yield from cases_of("Embedding", (In((5,), "float32", 0, 5.9),), {"input_dim": 6, "output_dim": 3})
    yield from cases_of("Embedding", (In((5,), "int64", 0, 6),), {"input_dim": 6, "output_dim": 3})
    yield from cases_of("Embedding", (In((5,), "uint8", 0, 6),), {"input_dim": 6, "output_dim": 3})


LAYERS: tuple[Case, ...] = tuple(
    case
    for family in (_convolutions, _windows, _norms, _elements, _whole_numbers, recurrences, attending, models)
    for case in named(family())
)
