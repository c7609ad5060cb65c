"""Every kind of layer alone in a model, once per set of options: what the sweep of files is made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
from keras import layers

from tests.export.single_layers import Case, In

ROWS, IMAGES, VOLUMES = (In((9, 4)),), (In((7, 9, 4)),), (In((5, 6, 7, 4)),)
BY_RANK = {1: ROWS, 2: IMAGES, 3: VOLUMES}
FIRST = {1: (In((4, 9)),), 2: (In((4, 7, 9)),), 3: (In((4, 5, 6, 7)),)}
OPEN = {1: (In((None, 4)),), 2: (In((None, None, 4)),), 3: (In((None, None, None, 4)),)}
VECTOR, SEQUENCE = (In((6,)),), (In((6, 4)),)
MASK = In((6,), values=[True, True, False], dtype="bool")
FILMS = {1: (In((3, 6, 2)),), 2: (In((3, 5, 6, 2)),), 3: (In((3, 4, 5, 3, 2)),)}
IDS = (In((5,), "int32", 0, 6),)
FIRST_OPTION = {"data_format": "channels_first"}

Options = Mapping[str, Any]


def _cases(kind: str, inputs: Sequence[In], *several: Options, **more: Any) -> Iterator[Case]:
    """One case per set of options."""
    for options in several:
        said = ", ".join(f"{key}={_shown(value)}" for key, value in options.items())
        yield Case(f"{kind}({said})", _layer(kind, options), inputs, reference=False, **more)


def _shown(value: Any) -> str:
    if isinstance(value, keras.layers.Layer):
        return type(value).__name__
    return str(value)


def _layer(kind: str, options: Options) -> Any:
    def make(*xs: Any) -> Any:
        return getattr(layers, kind)(**options)(xs[0] if len(xs) == 1 else list(xs))

    return make


def _called(name: str, make: Any, inputs: Sequence[In], **more: Any) -> Case:
    return Case(name, make, inputs, reference=False, **more)


def _convolutions() -> Iterator[Case]:
    for rank in (1, 2, 3):
        usual, first, wide = BY_RANK[rank], FIRST[rank], {"filters": 6, "kernel_size": 3}
        same = {**wide, "padding": "same"}
        yield from _cases(
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
        yield from _cases(f"Conv{rank}D", first, {**same, **FIRST_OPTION, "strides": 2})
        yield from _cases(f"Conv{rank}D", OPEN[rank], {**same, "strides": 2}, wide)
        yield from _cases(
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
        yield from _cases(f"Conv{rank}DTranspose", first, {**same, **FIRST_OPTION, "strides": 2})
        yield from _cases(f"Conv{rank}DTranspose", OPEN[rank], {**same, "strides": 2}, {**wide, "strides": 2})
    yield from _cases(
        "Conv1D",
        ROWS,
        {"filters": 5, "kernel_size": 3, "padding": "causal"},
        {"filters": 5, "kernel_size": 3, "padding": "causal", "strides": 2},
        {"filters": 5, "kernel_size": 3, "padding": "causal", "dilation_rate": 3, "groups": 1},
    )
    yield from _cases(
        "Conv2D",
        IMAGES,
        {"filters": 5, "kernel_size": (1, 4), "strides": (2, 1), "padding": "same"},
        {"filters": 5, "kernel_size": (4, 2), "dilation_rate": (1, 3)},
    )
    yield from _cases(
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
        yield from _cases(f"DepthwiseConv{rank}D", usual, *several)
        yield from _cases(f"DepthwiseConv{rank}D", OPEN[rank], {**each, "padding": "same"})
        yield from _cases(f"SeparableConv{rank}D", usual, *({"filters": 5, **options} for options in several))
        yield from _cases(f"DepthwiseConv{rank}D", FIRST[rank], {**each, **FIRST_OPTION, "padding": "same"})
        yield from _cases(f"SeparableConv{rank}D", FIRST[rank], {"filters": 5, **each, **FIRST_OPTION})


def _windows() -> Iterator[Case]:
    for rank in (1, 2, 3):
        for kind in ("Max", "Average"):
            name = f"{kind}Pooling{rank}D"
            yield from _cases(
                name,
                BY_RANK[rank],
                {"pool_size": 2},
                {"pool_size": 3, "strides": 1, "padding": "same"},
                {"pool_size": 3, "strides": 2, "padding": "same"},
                {"pool_size": 2, "strides": 3},
                {"pool_size": 2, "strides": 4, "padding": "same"},
            )
            yield from _cases(name, FIRST[rank], {"pool_size": 3, "strides": 2, **FIRST_OPTION})
            yield from _cases(name, OPEN[rank], {"pool_size": 2, "padding": "same"})
            whole = f"Global{kind}Pooling{rank}D"
            yield from _cases(whole, BY_RANK[rank], {}, {"keepdims": True})
            yield from _cases(whole, FIRST[rank], {**FIRST_OPTION, "keepdims": True})
            yield from _cases(whole, OPEN[rank], {})
            adaptive = f"Adaptive{kind}Pooling{rank}D"
            yield from _cases(adaptive, BY_RANK[rank], {"output_size": 3})
            yield from _cases(adaptive, FIRST[rank], {"output_size": 2, **FIRST_OPTION})
        pair = {1: (1, 2), 2: ((1, 2), (0, 1)), 3: ((1, 2), (0, 1), (2, 0))}[rank]
        yield from _cases(f"ZeroPadding{rank}D", BY_RANK[rank], {"padding": pair})
        yield from _cases(f"Cropping{rank}D", BY_RANK[rank], {"cropping": pair})
        yield from _cases(f"UpSampling{rank}D", BY_RANK[rank], {"size": 3})
        yield from _cases(f"ZeroPadding{rank}D", FIRST[rank], {"padding": 1, **FIRST_OPTION})
        yield from _cases(f"Cropping{rank}D", OPEN[rank], {"cropping": 1})
        if rank > 1:
            yield from _cases(f"Cropping{rank}D", FIRST[rank], {"cropping": pair, **FIRST_OPTION})
            yield from _cases(f"UpSampling{rank}D", FIRST[rank], {"size": 2, **FIRST_OPTION})
            yield from _cases(f"UpSampling{rank}D", OPEN[rank], {"size": 2})
    for mode in ("bilinear", "bicubic", "lanczos3"):
        yield from _cases("UpSampling2D", IMAGES, {"size": (2, 3), "interpolation": mode}, rtol=2e-5)
    yield from _cases("UpSampling2D", OPEN[2], {"size": 2, "interpolation": "bilinear"}, rtol=2e-5)
    yield from _cases("UpSampling2D", FIRST[2], {"size": 2, "interpolation": "bilinear", **FIRST_OPTION}, rtol=2e-5)
    size = {"height": 5, "width": 12}
    for mode in ("bilinear", "nearest", "bicubic", "lanczos3", "lanczos5", "area"):
        yield from _cases("Resizing", IMAGES, {**size, "interpolation": mode}, rtol=2e-5)
    yield from _cases("Resizing", OPEN[2], size, {**size, "interpolation": "nearest"}, rtol=2e-5)
    yield from _cases(
        "Resizing",
        IMAGES,
        {**size, "antialias": True},
        {**size, "crop_to_aspect_ratio": True},
        {**size, "pad_to_aspect_ratio": True, "fill_mode": "constant", "fill_value": 1.5},
        rtol=2e-5,
    )
    yield from _cases("Resizing", FIRST[2], {**size, **FIRST_OPTION}, rtol=2e-5)
    yield from _cases("CenterCrop", IMAGES, {"height": 4, "width": 5}, {"height": 12, "width": 5}, rtol=2e-5)


def _norms() -> Iterator[Case]:
    yield from _cases(
        "BatchNormalization", IMAGES, {}, {"axis": 1}, {"scale": False}, {"center": False, "epsilon": 0.1}, {"axis": -2}
    )
    yield from _cases("BatchNormalization", VECTOR, {})
    yield from _cases("BatchNormalization", OPEN[3], {})
    yield from _cases(
        "LayerNormalization", IMAGES, {}, {"axis": 1}, {"axis": [1, 2, 3]}, {"axis": (-1, 1)}, {"center": False}
    )
    yield from _cases("LayerNormalization", OPEN[1], {}, {"scale": False, "epsilon": 1e-6})
    yield from _cases(
        "GroupNormalization", IMAGES, {"groups": 2}, {"groups": 1}, {"groups": -1}, {"groups": 2, "scale": False}
    )
    yield from _cases("GroupNormalization", OPEN[2], {"groups": 2})
    yield from _cases("GroupNormalization", VECTOR, {"groups": 3})
    yield from _cases("GroupNormalization", FIRST[3], {"groups": 2, "axis": 1})
    yield from _cases("UnitNormalization", IMAGES, {}, {"axis": 1}, {"axis": (1, 3)})
    yield from _cases("RMSNormalization", IMAGES, {}, {"axis": [2, 3]}, {"epsilon": 0.1})
    given = {"mean": [0.1, 0.2, 0.3, 0.4], "variance": [1.0, 2.0, 3.0, 0.5]}
    yield from _cases(
        "Normalization", IMAGES, given, {**given, "invert": True}, {"axis": None, "mean": 0.5, "variance": 2.0}
    )
    yield from _cases("Rescaling", IMAGES, {"scale": 0.5, "offset": -1.0}, {"scale": [1.0, 2.0, 3.0, 4.0]})
    yield from _cases("SpectralNormalization", IMAGES, {"layer": layers.Conv2D(3, 3)}, {"layer": layers.Dense(3)})


NAMED = (
    "celu elu exponential gelu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu linear "
    "log_sigmoid log_softmax mish relu relu6 selu sigmoid silu soft_shrink softmax softplus softsign sparse_plus "
    "sparse_sigmoid sparsemax squareplus swish tanh tanh_shrink"
)


def _elements() -> Iterator[Case]:
    for name in NAMED.split():
        yield from _cases("Activation", IMAGES, {"activation": name})
        yield from _cases("Dense", VECTOR, {"units": 5, "activation": name})
    yield from _cases(
        "ReLU", IMAGES, {}, {"max_value": 6.0}, {"max_value": 1.0, "threshold": 0.2, "negative_slope": 0.1}
    )
    yield from _cases("ReLU", IMAGES, {"negative_slope": 0.3}, {"negative_slope": 0.3, "max_value": 0.5})
    yield from _cases("LeakyReLU", IMAGES, {}, {"negative_slope": 0.0})
    yield from _cases("ELU", IMAGES, {}, {"alpha": 0.3})
    yield from _cases("PReLU", IMAGES, {}, {"shared_axes": [1, 2]}, {"shared_axes": [3]})
    yield from _cases("Softmax", IMAGES, {}, {"axis": 1}, {"axis": (1, 2)}, {"axis": (-1, -3)})
    for rank in (1, 2, 3):
        yield from _cases("Dense", BY_RANK[rank], {"units": 5, "activation": "relu"}, {"units": 1, "use_bias": False})
    yield from _cases("Dense", OPEN[2], {"units": 5})
    yield from _cases(
        "EinsumDense",
        SEQUENCE,
        {"equation": "abc,cd->abd", "output_shape": (None, 5), "bias_axes": "d", "activation": "gelu"},
        {"equation": "abc,bcd->abd", "output_shape": (6, 3), "bias_axes": "bd"},
        {"equation": "abc,cde->abed", "output_shape": (None, 2, 3)},
        {"equation": "abc,bc->a", "output_shape": ()},
    )
    yield from _cases(
        "EinsumDense", OPEN[1], {"equation": "abc,cde->abde", "output_shape": (None, 2, 3), "bias_axes": "de"}
    )
    yield from _cases(
        "Embedding", IDS, {"input_dim": 6, "output_dim": 3}, {"input_dim": 6, "output_dim": 3, "mask_zero": True}
    )
    yield from _cases("ReversibleEmbedding", IDS, {"input_dim": 6, "output_dim": 3})
    pair = (In((4, 1, 3)), In((1, 5, 3)))
    for kind in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"):
        yield from _cases(kind, pair, {})
        yield from _cases(kind, (In((4, 3)), In((4, 3))), {})
    for axis in (1, 2, -1):
        yield from _cases("Concatenate", (In((4, 5, 3)), In((4, 5, 3))), {"axis": axis})
    yield from _cases("Dot", (In((4, 5)), In((6, 5))), {"axes": 2}, {"axes": (2, 2), "normalize": True})
    yield from _cases("Flatten", IMAGES, {}, FIRST_OPTION)
    yield from _cases("Flatten", OPEN[2], {})
    yield from _cases(
        "Reshape", IMAGES, {"target_shape": (9, 28)}, {"target_shape": (-1, 4, 3)}, {"target_shape": (252,)}
    )
    yield from _cases("Reshape", OPEN[1], {"target_shape": (-1, 2)})
    yield from _cases("Permute", IMAGES, {"dims": (3, 1, 2)}, {"dims": (2, 1, 3)})
    yield from _cases("Permute", OPEN[2], {"dims": (3, 2, 1)})
    yield from _cases("RepeatVector", VECTOR, {"n": 3})
    yield from _cases("Masking", SEQUENCE, {})
    for kind in ("Dropout", "GaussianDropout", "AlphaDropout", "SpatialDropout2D"):
        yield from _cases(kind, IMAGES, {"rate": 0.5})
    for mode in ("int", "one_hot", "multi_hot", "count"):
        borders = {"bin_boundaries": [-1.0, 0.0, 0.5], "output_mode": mode}
        yield from _cases("Discretization", VECTOR, borders)
    yield from _cases("Discretization", (In((1,)),), {"bin_boundaries": [0.0, 1.0], "output_mode": "one_hot"})
    for mode in ("multi_hot", "count"):
        yield from _cases("CategoryEncoding", IDS, {"num_tokens": 6, "output_mode": mode})
    yield from _cases("CategoryEncoding", IDS, {"num_tokens": 6, "output_mode": "one_hot"})
    words, whole = {"vocabulary": [3, 5, 9]}, (In((4,), "int64", 0, 10),)
    yield from _cases(
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
    yield from _cases("IntegerLookup", (In((1,), "int64", 0, 10),), {**words, "output_mode": "one_hot"})


def _whole_numbers() -> Iterator[Case]:
    """Layers that read whole numbers."""
    whole, bytes_of = (In((6, 4), "int32", -9, 9),), (In((6, 8, 3), "uint8", 0, 255),)
    yield from _cases("Dense", whole, {"units": 3, "activation": "relu"})
    for kind in ("BatchNormalization", "Flatten", "ReLU", "GlobalMaxPooling1D", "Dropout"):
        yield from _cases(kind, whole, {"rate": 0.2} if kind == "Dropout" else {})
    yield from _cases("Rescaling", bytes_of, {"scale": 1 / 255}, {"scale": 0.1, "offset": [1.0, 2.0, 3.0]})
    yield from _cases("Normalization", bytes_of, {"mean": [1.0, 2.0, 3.0], "variance": [4.0, 5.0, 6.0]})
    yield from _cases("UpSampling2D", bytes_of, {"size": 2})
    yield from _cases("ZeroPadding2D", bytes_of, {"padding": 1})
    yield from _cases("Resizing", bytes_of, {"height": 5, "width": 7, "interpolation": "nearest"})
    yield from _cases("Resizing", bytes_of, {"height": 5, "width": 7, "interpolation": "bicubic"})
    step = 1 / 255  # where a number is halfway between two whole ones
    yield from _cases("Resizing", bytes_of, {"height": 12, "width": 7}, rtol=step)
    yield from _cases("CenterCrop", bytes_of, {"height": 3, "width": 5})
    for kind in ("Add", "Multiply", "Maximum", "Concatenate", "Average"):
        yield from _cases(kind, (*whole, In((6, 4))), {})
        yield from _cases(kind, (*whole, *whole), {})
    yield from _cases("Embedding", (In((5,), "float32", 0, 5.9),), {"input_dim": 6, "output_dim": 3})
    yield from _cases("Embedding", (In((5,), "int64", 0, 6),), {"input_dim": 6, "output_dim": 3})
    yield from _cases("Embedding", (In((5,), "uint8", 0, 6),), {"input_dim": 6, "output_dim": 3})


def _recurrences() -> Iterator[Case]:
    whole = {"return_sequences": True}
    for kind in ("SimpleRNN", "GRU", "LSTM"):
        every: Sequence[Options] = (
            {},
            whole,
            {"return_state": True},
            {**whole, "return_state": True, "go_backwards": True},
            {"go_backwards": True},
            {"unroll": True},
            {"use_bias": False, **whole},
            {"activation": "relu"},
            {"activation": "gelu"},
            {"activation": "softsign", **whole},
            {"dropout": 0.2, "recurrent_dropout": 0.1},
        )
        yield from _cases(kind, SEQUENCE, *({"units": 3, **options} for options in every), rtol=2e-5)
        yield from _cases(kind, (In((1, 4)),), {"units": 3, **whole})
        yield from _cases(kind, SEQUENCE, {"units": 3, "stateful": True}, fixed=True)
        yield from _cases(kind, SEQUENCE, {"units": 3, "stateful": True, **whole, "go_backwards": True}, fixed=True)
        for options in ({}, {**whole, "go_backwards": True}, {"return_state": True}, {**whole, "activation": "selu"}):
            said = f"{kind}(mask, {options})"
            yield _called(said, _masked(kind, {"units": 3, **options}), (*SEQUENCE, MASK), rtol=2e-5)
    yield from _cases(
        "GRU", SEQUENCE, {"units": 3, "reset_after": False}, {"units": 3, "recurrent_activation": "hard_sigmoid"}
    )
    yield from _cases("LSTM", SEQUENCE, {"units": 3, "recurrent_activation": "hard_sigmoid", "unit_forget_bias": False})
    for kind in ("SimpleRNN", "GRU", "LSTM"):
        for merge in ("concat", "sum", "mul", "ave", None):
            inner = getattr(layers, kind)(3, return_sequences=True)
            yield from _cases("Bidirectional", SEQUENCE, {"layer": inner, "merge_mode": merge})
        yield from _cases("Bidirectional", SEQUENCE, {"layer": getattr(layers, kind)(3, return_state=True)})
        cell = getattr(layers, f"{kind}Cell")
        yield from _cases("RNN", SEQUENCE, {"cell": cell(3)}, {"cell": cell(3), **whole, "go_backwards": True})
    yield from _cases("RNN", SEQUENCE, {"cell": [layers.LSTMCell(3), layers.GRUCell(2)], "return_state": True})
    yield from _cases("RNN", SEQUENCE, {"cell": layers.GRUCell(3), "stateful": True}, fixed=True)
    for rank in (1, 2, 3):
        each: Options = {"filters": 2, "kernel_size": 2}
        yield from _cases(
            f"ConvLSTM{rank}D",
            FILMS[rank],
            each,
            {**each, "padding": "same", "strides": 2, "return_sequences": True},
            {**each, "go_backwards": True, "return_state": True},
            {**each, "dilation_rate": 2, "use_bias": False},
            rtol=2e-5,
        )
    yield from _cases("ConvLSTM2D", FILMS[2], {"filters": 2, "kernel_size": 2, "stateful": True}, fixed=True, rtol=2e-5)
    yield from _cases(
        "ConvLSTM2D",
        (In((3, 2, 5, 6)),),
        {"filters": 2, "kernel_size": 2, **FIRST_OPTION, "return_sequences": True},
        rtol=2e-5,
    )
    for inner in (
        layers.Dense(3, activation="relu"),
        layers.Conv2D(3, 2),
        layers.Flatten(),
        layers.BatchNormalization(),
    ):
        yield from _cases("TimeDistributed", FILMS[2], {"layer": inner})
    yield from _cases(
        "TimeDistributed", (In((3, 5, 2)),), {"layer": layers.LSTM(3)}, {"layer": layers.GlobalMaxPooling1D()}
    )


def _masked(kind: str, options: Options) -> Any:
    return lambda x, mask: getattr(layers, kind)(**options)(x, mask=mask)


def _attending() -> Iterator[Case]:
    pair = (In((6, 4)), In((5, 4)))
    causal = {"use_causal_mask": True}
    for kind, several in {
        "MultiHeadAttention": (
            ({"num_heads": 2, "key_dim": 3}, {}),
            ({"num_heads": 2, "key_dim": 3, "value_dim": 5, "output_shape": 7}, causal),
            ({"num_heads": 2, "key_dim": 3, "use_bias": False, "use_gate": True}, {}),
            ({"num_heads": 1, "key_dim": 3, "sliding_window": 2}, {}),
            ({"num_heads": 2, "key_dim": 3, "flash_attention": False}, {}),
        ),
        "GroupQueryAttention": (
            ({"head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 2}, {}),
            ({"head_dim": 3, "num_query_heads": 3, "num_key_value_heads": 1, "use_gate": True}, causal),
            ({"head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 4, "use_bias": False}, {}),
        ),
        "Attention": (({}, causal), ({"use_scale": True, "score_mode": "concat"}, {}), ({"dropout": 0.1}, {})),
        "AdditiveAttention": (({}, causal), ({"use_scale": False}, {})),
    }.items():
        for options, more in several:
            said = ", ".join(f"{key}={value}" for key, value in {**options, **more}.items())
            yield _called(f"{kind}({said})", _attention(kind, options, more), pair)
    yield _called(
        "MultiHeadAttention(attention_axes=(1, 2))",
        lambda x: layers.MultiHeadAttention(2, 3, attention_axes=(1, 2))(x, x),
        (In((3, 4, 5)),),
        rtol=2e-5,
    )
    yield _called(
        "MultiHeadAttention(scores)",
        lambda x: list(layers.MultiHeadAttention(2, 3)(x, x, return_attention_scores=True)),
        SEQUENCE,
    )
    yield _called("MultiHeadAttention(free length)", lambda x: layers.MultiHeadAttention(2, 3)(x, x), OPEN[1])


def _attention(kind: str, options: Options, more: Options) -> Any:
    def make(x: Any, y: Any) -> Any:
        layer = getattr(layers, kind)(**options)
        return layer([x, y], **more) if kind in ("Attention", "AdditiveAttention") else layer(x, y, **more)

    return make


def _models() -> Iterator[Case]:
    """Models whose shape is what is special in them."""
    ops = keras.ops
    yield _called("an input that is given through", lambda x: [x, layers.Dense(3)(x)], VECTOR)
    yield _called("nothing but an input", lambda x: [x], IMAGES)
    yield _called("one tensor as two outputs", lambda x: [layers.Dense(3)(x)] * 2, VECTOR)
    yield _called("an image as two outputs", lambda x: [layers.Conv2D(3, 2)(x)] * 2, IMAGES)
    yield _called("twelve outputs", lambda x: [layers.Dense(k + 1)(x) for k in range(12)], VECTOR)
    yield _called(
        "names of other letters",
        lambda x: layers.Dense(3, name="größe 1: 出力 (b)")(layers.Dense(2, name="a b")(x)),
        VECTOR,
    )
    yield _called("one layer called twice", lambda x, y: _twice(x, y), (*VECTOR, *VECTOR))
    yield _called("an input that nothing reads", lambda x, y: layers.Dense(2)(x), (*VECTOR, *VECTOR))
    yield _called("a sum over all", lambda x: ops.sum(x), VECTOR)
    yield _called("argmax", lambda x: ops.argmax(x, axis=-1), VECTOR)
    yield _called("argmax over rows", lambda x: [ops.argmax(x, axis=1), ops.argmin(x, axis=2)], IMAGES)
    yield _called("top_k", lambda x: list(ops.top_k(x, 3)), VECTOR)
    yield _called("top_k of images", lambda x: list(ops.top_k(layers.Conv2D(5, 1)(x), 2)), IMAGES)
    yield _called("a nested model", lambda x: _nested()(_nested()(x)), VECTOR)
    yield _called(
        "uint8 images", lambda x: layers.Conv2D(3, 2)(layers.Rescaling(1 / 255)(x)), (In((6, 6, 3), "uint8", 0, 255),)
    )
    yield _called("a truth", lambda x: x > 0, VECTOR)


def _twice(x: Any, y: Any) -> Any:
    layer = layers.Dense(3, activation="relu")
    return [layer(x), layer(y)]


def _nested() -> keras.Model:
    x = keras.Input((6,))
    return keras.Model(x, layers.Dense(6, activation="tanh")(x))


def _named(cases: Iterator[Case]) -> Iterator[Case]:
    for case in cases:
        shapes = [
            ("" if each.dtype == "float32" else each.dtype) + str(each.shape).replace("None", "?")
            for each in case.inputs
        ]
        name = f"{case.name} of {' and '.join(shapes)}"
        yield Case(name, case.make, case.inputs, case.rtol, case.opset, case.reference, case.turned, case.fixed)


LAYERS: tuple[Case, ...] = tuple(
    case
    for family in (_convolutions, _windows, _norms, _elements, _whole_numbers, _recurrences, _attending, _models)
    for case in _named(family())
)
