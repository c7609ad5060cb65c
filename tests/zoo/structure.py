"""How calls, models, inputs and outputs are put together.

Not here, because Keras 3.15 refuses it: names with a ``/``, two layers of one name in a model, ``None`` or a
constant as an output, ``Input(tensor=...)`` inside a graph, chains of 1000 nodes (Keras recurses).
"""

# mypy: disallow-subclassing-any=False

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from tests.zoo.registry import Tensor, case, image, sequence, vector


def small_cnn(name: str, channels: int = 3, prefix: str = "") -> keras.Model:
    """A nested model: conv, batch norm, relu."""
    x = inputs = image(None, channels, name=f"{prefix}input")
    x = layers.Conv2D(4, 3, padding="same", name=f"{prefix}conv")(x)
    x = layers.BatchNormalization(name=f"{prefix}bn")(x)
    x = layers.ReLU(name=f"{prefix}relu")(x)
    return keras.Model(inputs, x, name=name)


def head(x: Tensor, units: int = 5, name: str = "logits") -> Tensor:
    """Global pooling and a classifier."""
    return layers.Dense(units, name=name)(layers.GlobalAveragePooling2D()(x))


# Chains and Sequential


@case("nothing awkward: conv, bn, relu, pool, dense")
def plain_chain() -> keras.Model:
    x = inputs = image()
    x = layers.Conv2D(4, 3, padding="same")(x)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU()(x)
    x = layers.MaxPooling2D()(x)
    return keras.Model(inputs, head(x), name="plain")


@case("Sequential without an Input, built by build(): its InputLayer is implicit")
def sequential_built() -> keras.Model:
    model = keras.Sequential([layers.Conv2D(4, 3), layers.ReLU(), layers.Flatten(), layers.Dense(3)], name="seq")
    model.build((None, 6, 6, 3))
    return model


@case("Sequential with an explicit, named Input")
def sequential_with_input() -> keras.Model:
    return keras.Sequential([vector(name="given"), layers.Dense(4, activation="relu"), layers.Dense(3)])


@case("Sequential whose members are a Functional and a Sequential model", "nested")
def sequential_of_models() -> keras.Model:
    tail = keras.Sequential([layers.GlobalMaxPooling2D(), layers.Dense(3)], name="tail")
    return keras.Sequential([image(), small_cnn("body"), tail])


@case("Sequential from which a layer was popped after it had been built")
def sequential_popped() -> keras.Model:
    model = keras.Sequential([vector(), layers.Dense(4), layers.Dense(2), layers.Dense(5)], name="seq")
    model.pop()
    return model


@case("300 nodes deep: recursion must not be needed")
def deep_chain() -> keras.Model:
    x = inputs = vector()
    for step in range(300):
        x = ops.negative(x) if step % 2 else ops.add(x, 0.1)
    return keras.Model(inputs, layers.Dense(3)(x))


@case("one value used by eight consumers and again by their sum")
def wide_fan_out() -> keras.Model:
    inputs = vector()
    x = layers.Dense(4)(inputs)
    branches = [layers.Dense(4, name=f"branch_{i}")(x) for i in range(8)]
    return keras.Model(inputs, layers.Add()([x, *branches]))


@case("two components that share no node")
def disconnected_components() -> keras.Model:
    a, b = vector(name="a"), vector(4, name="b")
    return keras.Model([a, b], [layers.Dense(3, name="from_a")(a), layers.Dense(2, name="from_b")(b)])


# Sharing


@case("a conv called twice in one chain", "shared")
def shared_conv() -> keras.Model:
    inputs = image()
    conv = layers.Conv2D(3, 3, padding="same", name="conv")
    x = layers.ReLU()(conv(inputs))
    return keras.Model(inputs, head(conv(x)))


@case("a conv called three times on inputs of different sizes", "shared")
def shared_conv_three_sizes() -> keras.Model:
    inputs = image(16)
    conv = layers.Conv2D(4, 3, strides=2, name="conv")
    pyramid = [inputs, layers.AveragePooling2D(2)(inputs), layers.MaxPooling2D(4)(inputs)]
    pooled = [layers.GlobalMaxPooling2D()(conv(level)) for level in pyramid]
    return keras.Model(inputs, layers.Dense(3)(layers.Concatenate()(pooled)))


@case("a siamese pair: one encoder on two inputs", "shared")
def siamese() -> keras.Model:
    left, right = vector(name="left"), vector(name="right")
    encoder = layers.Dense(4, activation="tanh", name="encoder")
    return keras.Model([left, right], layers.Subtract()([encoder(left), encoder(right)]))


@case("a layer used inside a nested model and by the outer model", "shared", "nested", "unsaveable")
def layer_shared_with_nested() -> keras.Model:
    conv = layers.Conv2D(3, 3, padding="same", name="conv")
    inner_in = image(name="inner_image")
    inner = keras.Model(inner_in, layers.ReLU()(conv(inner_in)), name="inner")
    inputs = image()
    return keras.Model(inputs, head(inner(conv(inputs))))


@case("a layer inside TimeDistributed that is also called directly", "shared", "unsaveable")
def wrapper_shares_layer() -> keras.Model:
    inputs = sequence()
    dense = layers.Dense(4, name="shared")
    pooled = layers.GlobalAveragePooling1D()(layers.TimeDistributed(dense, name="each_step")(inputs))
    return keras.Model(inputs, layers.Dense(2, name="logits")(dense(pooled)))


@case("layers called at several depths: the order of model.layers is not an order of execution", "shared")
def layer_order_not_topological() -> keras.Model:
    inputs = vector()
    first, second = layers.Dense(6, name="first"), layers.Dense(6, name="second")
    x = first(second(first(second(inputs))))
    y = second(first(inputs))
    return keras.Model(inputs, layers.Concatenate()([y, x]))


@case("layers that earlier calls outside the model also used: node indices do not start at 0", "shared")
def layers_used_elsewhere() -> keras.Model:
    conv, bn = layers.Conv2D(4, 3, name="conv"), layers.BatchNormalization(name="bn")
    other = image(12, name="other")
    bn(conv(other))  # stays an inbound node of both layers, in no model
    inputs = image()
    return keras.Model(inputs, head(bn(conv(inputs))))


@case("cut from a larger model by its intermediate tensors, whose layers stay shared with it", "shared")
def submodel_of_larger() -> keras.Model:
    whole_in = image()
    entry = layers.Conv2D(4, 3, name="stem")(whole_in)
    x = layers.ReLU(name="relu")(layers.Conv2D(4, 3, padding="same", name="middle")(entry))
    exit_ = layers.Add(name="add")([entry, x])
    keras.Model(whole_in, head(exit_), name="whole")
    return keras.Model(entry, exit_, name="part")


@case("a branch with weights hangs off the graph and leads to no output")
def dangling_branch() -> keras.Model:
    inputs = vector()
    x = layers.Dense(4, activation="relu", name="trunk")(inputs)
    layers.Dense(7, name="unused_head")(x)
    return keras.Model(inputs, layers.Dense(3, name="head")(x))


# Nesting


@case("a Functional model inside", "nested")
def nested_functional() -> keras.Model:
    inputs = image()
    return keras.Model(inputs, head(small_cnn("backbone")(inputs)))


@case("a Functional model called twice", "nested", "shared")
def nested_called_twice() -> keras.Model:
    left, right = image(name="left"), image(12, name="right")
    backbone = small_cnn("backbone")
    pooled = [layers.GlobalAveragePooling2D()(backbone(x)) for x in (left, right)]
    return keras.Model([left, right], layers.Dense(3)(layers.Concatenate()(pooled)))


@case("a Sequential model inside", "nested")
def nested_sequential() -> keras.Model:
    inputs = image()
    block = keras.Sequential([layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU()], name="block")
    return keras.Model(inputs, head(block(inputs)))


@case("a Sequential model called twice", "nested", "shared")
def nested_sequential_twice() -> keras.Model:
    inputs = image()
    block = keras.Sequential([layers.Conv2D(3, 3, padding="same", name="conv"), layers.ReLU()], name="block")
    return keras.Model(inputs, head(block(block(inputs))))


@case("a model in a model in a model", "nested")
def doubly_nested() -> keras.Model:
    middle_in = image(None, name="middle_in")
    middle = keras.Model(middle_in, small_cnn("core")(layers.Rescaling(0.5)(middle_in)), name="middle")
    inputs = image()
    return keras.Model(inputs, head(middle(inputs)))


@case("a nested model with two inputs and two outputs", "nested")
def nested_multi_io() -> keras.Model:
    a, b = vector(4, name="a"), vector(4, name="b")
    inner = keras.Model([a, b], [layers.Add()([a, b]), layers.Dense(4)(layers.Multiply()([a, b]))], name="inner")
    left, right = vector(4, name="left"), vector(4, name="right")
    total, product = inner([right, left])
    return keras.Model([left, right], layers.Concatenate()([product, total, left]))


@case("a nested model with dict inputs and dict outputs, keys not in sorted order of creation", "nested")
def nested_dict_io() -> keras.Model:
    inner_in = {"z": vector(4, name="z"), "a": vector(4, name="a")}
    summed = layers.Dense(3, name="total")(inner_in["z"] - inner_in["a"])
    inner = keras.Model(inner_in, {"y": summed, "b": inner_in["a"] * 2.0}, name="inner")
    left, right = vector(4, name="left"), vector(4, name="right")
    result = inner({"z": left, "a": right})
    return keras.Model([left, right], layers.Concatenate()([result["b"], result["y"]]))


@case("a nested model one of whose outputs is unused", "nested")
def nested_unused_output() -> keras.Model:
    x = inner_in = vector(name="inner_in")
    x = layers.Dense(4, name="feature")(x)
    inner = keras.Model(inner_in, [x, layers.Dense(9, name="auxiliary")(x)], name="inner")
    inputs = vector()
    feature, _ = inner(inputs)
    return keras.Model(inputs, layers.Dense(3)(feature))


@case("a nested model that hands one input through unchanged", "nested")
def nested_passthrough() -> keras.Model:
    inner_in = vector(name="inner_in")
    inner = keras.Model(inner_in, [inner_in, layers.Dense(6)(inner_in)], name="inner")
    inputs = vector()
    return keras.Model(inputs, layers.Add()(inner(layers.Dense(6)(inputs))))


@case("a frozen backbone called with training=False, as in transfer learning", "nested")
def frozen_backbone() -> keras.Model:
    backbone = small_cnn("backbone")
    backbone.trainable = False
    inputs = image()
    return keras.Model(inputs, head(backbone(inputs, training=False)))


@case(
    "training flags at several levels: dropout with training=True in a model called with training=False",
    "nested",
    "random",
)
def nested_training_flags() -> keras.Model:
    x = inner_in = vector(name="inner_in")
    x = layers.Dropout(0.5, seed=1, name="asks_for_training")(layers.Dense(6)(x), training=True)
    inner = keras.Model(inner_in, layers.BatchNormalization(name="bn")(x), name="inner")
    inputs = vector()
    return keras.Model(inputs, layers.Dense(3)(inner(inputs, training=False)))


@case("two nested models whose layers have equal names", "nested")
def nested_equal_names() -> keras.Model:
    inputs = image()
    x = small_cnn("first")(inputs)
    x = small_cnn("second", channels=4)(x)
    return keras.Model(inputs, head(x))


@case("an outer layer has the name of a layer in the nested model", "nested")
def nested_name_used_outside() -> keras.Model:
    inputs = image()
    x = layers.Conv2D(3, 3, padding="same", name="conv")(inputs)
    return keras.Model(inputs, head(layers.ReLU(name="relu")(small_cnn("backbone")(x))))


@case("a nested model has the same name as one of its own layers", "nested")
def nested_named_as_its_layer() -> keras.Model:
    inner_in = vector(name="inner_in")
    inner = keras.Model(inner_in, layers.Dense(4, name="block")(inner_in), name="block")
    inputs = vector()
    return keras.Model(inputs, layers.Dense(3)(inner(inputs)))


@case("a nested model without layers: it returns its input", "nested")
def nested_identity() -> keras.Model:
    inner_in = vector(name="inner_in")
    inputs = vector()
    return keras.Model(inputs, layers.Dense(3)(keras.Model(inner_in, inner_in, name="inner")(inputs)))


@case("a nested model called by keyword (inputs=)", "nested")
def nested_called_by_keyword() -> keras.Model:
    inputs = image()
    return keras.Model(inputs, head(small_cnn("backbone")(inputs=inputs)))


@case("a nested model whose Input casts: it is given float32 and computes on int32", "nested")
def nested_input_casts() -> keras.Model:
    inner_in = keras.Input((6,), dtype="int32", name="whole_numbers")
    inner = keras.Model(inner_in, layers.Rescaling(0.5)(ops.cast(inner_in, "float32")), name="inner")
    inputs = vector()
    return keras.Model(inputs, layers.Dense(3)(inner(inputs * 4.0)))


@case("a nested model whose Input drops a trailing axis of size 1", "nested")
def nested_input_squeezes() -> keras.Model:
    inner_in = vector(name="inner_in")
    inner = keras.Model(inner_in, layers.Dense(4)(inner_in), name="inner")
    inputs = keras.Input((6, 1), name="column")
    return keras.Model(inputs, layers.Dense(3)(inner(inputs)))


@case("a nested model that is partly frozen: one layer inside is not trainable", "nested")
def nested_frozen_sublayer() -> keras.Model:
    backbone = small_cnn("backbone")
    backbone.get_layer("conv").trainable = False
    inputs = image()
    return keras.Model(inputs, head(backbone(inputs)))


# Inputs and outputs


@case("several inputs, given in another order than they were made")
def several_inputs() -> keras.Model:
    a, b, c = vector(name="a"), image(name="b"), vector(3, name="c")
    x = layers.Concatenate()([a, layers.GlobalAveragePooling2D()(b), c])
    return keras.Model([c, a, b], layers.Dense(4)(x))


@case("several outputs, one of them an interior value")
def several_outputs() -> keras.Model:
    inputs = vector()
    x = layers.Dense(4, activation="relu", name="hidden")(inputs)
    return keras.Model(inputs, [layers.Dense(3, name="late")(x), x, layers.Dense(2, name="other")(x)])


@case("dict inputs and dict outputs")
def dict_io() -> keras.Model:
    inputs = {"image": image(), "meta": vector(4, name="meta")}
    x = layers.Concatenate()([layers.GlobalAveragePooling2D()(inputs["image"]), inputs["meta"]])
    return keras.Model(inputs, {"score": layers.Dense(1, name="s")(x), "class": layers.Dense(4, name="c")(x)})


@case("outputs nested in dicts, lists and tuples")
def nested_output_structure() -> keras.Model:
    inputs = vector()
    a, b, c = (layers.Dense(units, name=f"dense_{units}")(inputs) for units in (2, 3, 4))
    outputs: dict[str, Any] = {"pair": (a, b), "rest": [{"c": c}, [a * 2.0]]}
    return keras.Model(inputs, outputs)


@case("inputs nested in a list of dicts and tuples")
def nested_input_structure() -> keras.Model:
    a, b, c = (vector(name=name) for name in "abc")
    x = layers.Add()([a, layers.Multiply()([b, c])])
    return keras.Model([{"a": a}, (b, c)], layers.Dense(3)(x))


@case("one input and one output, each in a list of one")
def lists_of_one() -> keras.Model:
    inputs = vector()
    return keras.Model([inputs], [layers.Dense(3)(inputs)])


@case("a tuple of outputs")
def tuple_outputs() -> keras.Model:
    inputs = vector()
    return keras.Model((inputs,), (layers.Dense(3)(inputs), layers.Dense(2)(inputs)))


@case("the same tensor as two outputs")
def same_output_twice() -> keras.Model:
    inputs = vector()
    x = layers.Dense(3)(inputs)
    return keras.Model(inputs, [x, x])


@case("an input passed straight through to an output")
def input_is_output() -> keras.Model:
    inputs = vector()
    return keras.Model(inputs, [layers.Dense(3)(inputs), inputs])


@case("no layers: the input is the output")
def zero_layers() -> keras.Model:
    inputs = vector()
    return keras.Model(inputs, inputs)


@case("the same tensor as two inputs")
def same_input_twice() -> keras.Model:
    inputs = vector()
    return keras.Model([inputs, inputs], layers.Dense(3)(inputs))


@case("an input that nothing uses")
def unused_input() -> keras.Model:
    inputs, unused = vector(), vector(2, name="unused")
    return keras.Model([inputs, unused], layers.Dense(3)(inputs))


class AddIfGiven(layers.Layer):
    """Adds its second operand unless that is None."""

    def call(self, x: Tensor, extra: Tensor | None = None) -> Tensor:
        return x if extra is None else x + extra

    def compute_output_shape(self, x_shape: Any, *_: Any) -> Any:
        return x_shape


@case("an optional input, which may be given as None", "custom", custom_objects={"AddIfGiven": AddIfGiven})
def optional_input() -> keras.Model:
    inputs, extra = vector(), vector(name="extra", optional=True)
    return keras.Model([inputs, extra], layers.Dense(3)(AddIfGiven()(inputs, extra)))


@case("inputs with names that are not identifiers")
def unusual_input_names() -> keras.Model:
    a, b = vector(name="serving.input-0"), vector(name="Eingabe für B")
    return keras.Model([a, b], layers.Dense(3, name="output:0")(layers.Add()([a, b])))


@case("a fixed batch size")
def fixed_batch() -> keras.Model:
    inputs = keras.Input(batch_shape=(2, 6), name="pair")
    return keras.Model(inputs, layers.Dense(3)(inputs))


@case("layer names with '.', '-', '>', ':' and spaces; a model name with a slash-like look")
def unusual_layer_names() -> keras.Model:
    x = inputs = vector()
    for name in ("block.1", "a-b", "in>out", "dense:0", "with space", "Größe"):
        x = layers.Dense(4, name=name)(x)
    return keras.Model(inputs, x, name="model.v1>2")


@case("names that look like the suffixes a tool would add")
def names_like_suffixes() -> keras.Model:
    x = inputs = vector()
    dense = layers.Dense(6, name="dense")
    x = dense(x)
    x = layers.Dense(6, name="dense_1")(x)
    x = layers.Dense(6, name="dense:1")(x)
    return keras.Model(inputs, dense(x))
