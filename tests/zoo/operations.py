"""keras.ops in the graph: constants, operators, several outputs, tied weights as operands.

Not here, because Keras 3.15 refuses it: a value as the condition of a Python ``if``; a softmax over two axes
(it builds, but does not run); ``keras.random`` functions on a value.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers, ops

from tests.zoo.registry import Tensor, case, image, sequence, tokens, vector


@case("no weights at all: only ops")
def no_weights() -> keras.Model:
    inputs = image()
    x = ops.relu(inputs - ops.mean(inputs, axis=(1, 2), keepdims=True))
    return keras.Model(inputs, ops.max(x, axis=(1, 2)))


@case("Python scalars as operands, left and right")
def scalar_constants() -> keras.Model:
    inputs = vector()
    x = ops.add(ops.multiply(inputs, 2), 1.5)
    return keras.Model(inputs, layers.Dense(3)(ops.subtract(1, ops.divide(x, 3.0))))


@case("numpy arrays as operands, left and right")
def numpy_constants() -> keras.Model:
    inputs = vector()
    x = ops.multiply(np.linspace(0.5, 1.5, 6, dtype="float32"), inputs)
    return keras.Model(inputs, layers.Dense(3)(x + np.arange(6, dtype="float32")))


@case("backend tensors (not numpy arrays) as operands")
def backend_constants() -> keras.Model:
    inputs = vector()
    return keras.Model(inputs, layers.Dense(3)(inputs * ops.convert_to_tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])))


@case("a constant operand of 64 kB, used twice")
def big_constant() -> keras.Model:
    inputs = vector(128)
    basis = np.random.default_rng(0).normal(size=(128, 128)).astype("float32") / 12.0
    return keras.Model(inputs, layers.Dense(3)(ops.matmul(ops.relu(ops.matmul(inputs, basis)), basis)))


@case("overloaded operators, reflected ones too: x*2+1, 1-x, 2/x, x**2, -x, abs(x), x//1, x%2")
def operator_overloads() -> keras.Model:
    inputs = vector()
    x = inputs * 2 + 1
    y = (1 - x) * (2 / (abs(x) + 3)) - (-x) ** 2 / 4
    z = x // 1 + x % 2
    return keras.Model(inputs, layers.Dense(3)(layers.Concatenate()([y, z])))


@case("x + x: two edges between the same two nodes")
def parallel_edges() -> keras.Model:
    inputs = vector()
    x = layers.Dense(4)(inputs)
    return keras.Model(inputs, [x + x, layers.Multiply()([x, x])])


@case("slices with ranges, steps, Ellipsis, newaxis and an integer")
def slicing() -> keras.Model:
    inputs = image()
    x = inputs[:, 1:, ::2, ..., None]
    return keras.Model(inputs, [x[:, :, -1], layers.Dense(3)(x)])


@case("a value used as an index array: ops.take and ops.take_along_axis")
def indexing_by_value() -> keras.Model:
    inputs = image()
    order = ops.argsort(inputs, axis=-1)
    x = ops.take_along_axis(inputs, order, axis=-1)
    return keras.Model(inputs, ops.take(x, np.array([2, 0]), axis=-1))


@case("einsum: a string operand before two tensors")
def einsum_two_tensors() -> keras.Model:
    a, b = sequence(name="a"), sequence(name="b")
    scores = ops.einsum("bic,bjc->bij", layers.Dense(4)(a), layers.Dense(4)(b))
    return keras.Model([a, b], ops.einsum("bij,bjc->bic", ops.softmax(scores), b))


@case("matmul of two tensors, one transposed")
def matmul_two_tensors() -> keras.Model:
    a, b = sequence(name="a"), sequence(name="b")
    return keras.Model([a, b], ops.matmul(layers.Dense(4)(a), ops.transpose(b, (0, 2, 1))))


@case("a list operand: concatenate and stack, a constant-free and a repeated member")
def list_operands() -> keras.Model:
    inputs = vector()
    x = layers.Dense(6)(inputs)
    return keras.Model(inputs, [ops.concatenate([x, inputs, x], axis=-1), ops.stack([inputs, x], axis=1)])


@case("a list operand that mixes tensors and numpy arrays")
def list_operand_with_constant() -> keras.Model:
    inputs = keras.Input(batch_shape=(2, 6), name="features")
    return keras.Model(inputs, layers.Dense(3)(ops.concatenate([inputs, np.ones((2, 2), "float32")], axis=-1)))


@case("where: a boolean tensor, a tensor and a scalar")
def where_op() -> keras.Model:
    inputs = vector()
    return keras.Model(inputs, layers.Dense(3)(ops.where(inputs > 0, inputs, -0.1)))


@case("comparison and logic, a boolean output among the outputs")
def comparison_logic() -> keras.Model:
    inputs = vector()
    inside = ops.logical_and(inputs > -1.0, ops.logical_not(inputs >= 1.0))
    return keras.Model(inputs, [layers.Dense(3)(ops.cast(inside, "float32")), inside, inputs > 0.5])


@case("a boolean input")
def boolean_input() -> keras.Model:
    inputs, keep = vector(), keras.Input((6,), dtype="bool", name="keep")
    return keras.Model([inputs, keep], layers.Dense(3)(ops.where(keep, inputs, ops.zeros_like(inputs))))


@case("reshape with -1 and transpose by ops")
def reshape_by_ops() -> keras.Model:
    inputs = image()
    x = layers.Conv2D(4, 3, name="conv")(inputs)
    x = ops.transpose(ops.reshape(x, (-1, 36, 4)), (0, 2, 1))
    return keras.Model(inputs, layers.Dense(3)(ops.reshape(x, (-1, 144))))


@case("several outputs of an op: split into equal and unequal parts, one part unused")
def split_op() -> keras.Model:
    inputs = image()
    x = layers.Conv2D(6, 3, padding="same")(inputs)
    a, b, c = ops.split(x, 3, axis=-1)
    d, _, e = ops.split(x, [1, 4], axis=-1)
    return keras.Model(inputs, ops.concatenate([c, a * b, e, d], axis=-1))


@case("several outputs as a named tuple or list: top_k, moments, unstack")
def several_op_outputs() -> keras.Model:
    inputs = vector()
    values, indices = ops.top_k(layers.Dense(6)(inputs), k=3)
    mean, variance = ops.moments(inputs, axes=[1], keepdims=True)
    first, *_ = ops.unstack(ops.expand_dims(values, 1), axis=1)
    return keras.Model(inputs, [first, indices, mean, variance])


@case("a dtype operand: cast there and back, one_hot")
def casts() -> keras.Model:
    inputs = vector()
    classes = ops.argmax(inputs, axis=-1)
    return keras.Model(
        inputs, layers.Dense(3)(ops.cast(ops.one_hot(classes, 6), "float32") + ops.cast(inputs, "float16"))
    )


@case("ops with nested tuple operands and keyword-only settings: pad, clip, roll, flip, repeat")
def ops_with_settings() -> keras.Model:
    inputs = image()
    x = ops.pad(inputs, ((0, 0), (1, 2), (0, 1), (0, 0)), mode="reflect")
    x = ops.clip(ops.roll(x, shift=1, axis=2), x_min=-2.0, x_max=2.0)
    return keras.Model(inputs, ops.repeat(ops.flip(x, axis=1), 2, axis=-1))


@case("ops.image.resize and resize to a larger size")
def image_resize() -> keras.Model:
    inputs = image()
    small = ops.image.resize(layers.Conv2D(4, 3, padding="same")(inputs), (5, 5), interpolation="bilinear")
    return keras.Model(inputs, ops.image.resize(small, (8, 8), interpolation="nearest"))


@case("ops.nn functions: conv with a constant kernel, average_pool, gelu, softmax")
def functional_nn_ops() -> keras.Model:
    inputs = image()
    kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 4)).astype("float32") / 5.0
    x = ops.gelu(ops.conv(inputs, kernel, strides=1, padding="same"), approximate=False)
    return keras.Model(inputs, ops.softmax(ops.average_pool(x, 2, 2), axis=-1))


@case("a layer called on a constant: its result is computed when the model is built")
def layer_on_constant() -> keras.Model:
    inputs = vector()
    table = layers.Dense(6, name="applied_to_constant")(np.ones((1, 4), "float32"))
    return keras.Model(inputs, layers.Dense(3)(inputs + table))


@case("a weight as an operand of an op (weight tying): einsum with emb.embeddings", "tied")
def tied_embedding() -> keras.Model:
    inputs = tokens()
    embedding = layers.Embedding(10, 4, name="embedding")
    x = layers.Dense(4)(embedding(inputs))
    return keras.Model(inputs, ops.einsum("btc,vc->btv", x, embedding.embeddings))


@case("a tied weight through ops.transpose, which Keras freezes to a constant")
def tied_embedding_frozen() -> keras.Model:
    inputs = tokens()
    embedding = layers.Embedding(10, 4, name="embedding")
    x = layers.Dense(4)(embedding(inputs))
    return keras.Model(inputs, ops.matmul(x, ops.transpose(embedding.embeddings)))


@case("weights of a called layer in overloaded operators", "tied")
def weight_as_operand() -> keras.Model:
    inputs = vector()
    dense = layers.Dense(6, name="dense")
    x = dense(inputs)
    return keras.Model(inputs, (x * dense.bias) @ dense.kernel)


def shuffle(x: Tensor, groups: int) -> Tensor:
    """ShuffleNet's channel shuffle."""
    _, height, width, channels = x.shape
    x = ops.reshape(x, (-1, height, width, groups, channels // groups))
    return ops.reshape(ops.transpose(x, (0, 1, 2, 4, 3)), (-1, height, width, channels))


@case("channel shuffle by reshape and transpose, between grouped convs")
def channel_shuffle() -> keras.Model:
    inputs = image(channels=4)
    x = layers.Conv2D(8, 1, groups=4, name="squeeze")(inputs)
    x = layers.DepthwiseConv2D(3, padding="same", name="spatial")(shuffle(x, 4))
    return keras.Model(inputs, layers.Conv2D(4, 1, groups=2, name="expand")(x))


@case("depth-to-space by reshape and transpose (sub-pixel upsampling)")
def depth_to_space() -> keras.Model:
    inputs = image(4)
    x = layers.Conv2D(12, 3, padding="same")(inputs)
    x = ops.transpose(ops.reshape(x, (-1, 4, 4, 2, 2, 3)), (0, 1, 3, 2, 4, 5))
    return keras.Model(inputs, ops.reshape(x, (-1, 8, 8, 3)))


@case("space-to-depth by strided slices")
def space_to_depth() -> keras.Model:
    inputs = image()
    parts = [inputs[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
    return keras.Model(inputs, layers.Conv2D(4, 3)(ops.concatenate(parts, axis=-1)))


@case("layers and ops of one class name: Add, Reshape, Softmax, Concatenate, Multiply")
def layers_and_ops_of_one_name() -> keras.Model:
    inputs = vector()
    x = layers.Add()([inputs, layers.Reshape((6,))(inputs)])
    y = ops.add(inputs, ops.reshape(inputs, (-1, 6)))
    z = layers.Softmax()(x) + ops.softmax(y)
    joined = layers.Concatenate()([x, y, z])
    return keras.Model(inputs, ops.concatenate([joined, layers.Multiply()([z, x]), ops.multiply(z, y)], axis=-1))


@case("a merge called twice, with operands of different widths", "shared")
def shared_merge() -> keras.Model:
    inputs = vector()
    concatenate = layers.Concatenate(name="joined")
    x = concatenate([inputs, inputs])
    return keras.Model(inputs, layers.Dense(3)(concatenate([x, inputs])))


@case("a reshape with -1 that merges the batch with free spatial dimensions")
def free_dims_reshape() -> keras.Model:
    inputs = image(None)
    x = layers.Conv2D(4, 3, padding="same")(inputs)
    batch, *_, channels = ops.shape(x)  # plain Python values: None and 4
    return keras.Model(inputs, ops.mean(ops.reshape(x, (batch or -1, channels)), axis=-1))


@case("stop_gradient: an identity that matters in training only")
def stop_gradient() -> keras.Model:
    inputs = vector()
    x = layers.Dense(4)(inputs)
    return keras.Model(inputs, ops.stop_gradient(x) * 0.5 + x)


def double(x: Tensor) -> Tensor:
    return x * 2.0


def accumulate(carry: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    return carry + x, carry * x


@case(
    "Python functions as operands: ops.map and ops.scan",
    "custom",
    "unregistered",
    custom_objects={"double": double, "accumulate": accumulate},
)
def function_operands() -> keras.Model:
    inputs = keras.Input(batch_shape=(2, 6, 4), name="steps")
    steps = ops.transpose(ops.map(double, inputs), (1, 0, 2))
    carry, outputs = ops.scan(accumulate, np.zeros((2, 4), "float32"), steps)
    return keras.Model(inputs, [layers.Dense(3)(carry), outputs])


def small_enough(x: Tensor) -> Tensor:
    return ops.sum(ops.abs(x)) < 100.0


def double_all(x: Tensor) -> tuple[Tensor]:
    return (x * 2.0,)


@case("a while loop, whose functions Keras cannot write to a config", "custom", "unsaveable")
def while_loop() -> keras.Model:
    inputs = vector()
    (x,) = ops.while_loop(small_enough, double_all, (inputs,))
    return keras.Model(inputs, layers.Dense(3)(x * 0.01))


@case("a Variable that belongs to no layer as an operand", "tied")
def variable_of_no_layer() -> keras.Model:
    inputs = vector()
    gains = keras.Variable(np.linspace(0.5, 1.5, 6, dtype="float32"), name="gains")
    return keras.Model(inputs, layers.Dense(3)(inputs * gains))


@case("a weight as an operand whose layer is not in the model", "tied")
def weight_of_uncalled_layer() -> keras.Model:
    inputs = vector()
    elsewhere = layers.Dense(4, name="elsewhere")
    elsewhere.build((None, 6))
    return keras.Model(inputs, layers.Dense(3)(ops.matmul(inputs, elsewhere.kernel)))


@case("a decomposition with three outputs: svd")
def decomposition() -> keras.Model:
    inputs = vector()
    u, s, v = ops.svd(ops.reshape(inputs, (-1, 2, 3)), full_matrices=False)
    return keras.Model(inputs, [ops.matmul(u * s[:, None], v), s])
