"""What a model carries beside its graph: dtypes, flags, regularisers, randomness, compile state.

Left out on purpose: string lookups and text vectorisation: strings in, tables that are no weights.
"""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from tests.zoo.registry import Tensor, case, image, sequence, tokens, vector
from tests.zoo.sampling import randomise


def classifier(policy: Any = None, name: str = "classifier") -> keras.Model:
    """Conv, batch norm, dense, all of one dtype policy."""
    inputs = image()
    x = layers.Conv2D(4, 3, dtype=policy, name="conv")(inputs)
    x = layers.BatchNormalization(dtype=policy, name="bn")(x)
    x = layers.GlobalAveragePooling2D(dtype=policy, name="pool")(layers.ReLU(dtype=policy, name="relu")(x))
    return keras.Model(inputs, layers.Dense(3, dtype=policy, name="logits")(x), name=name)


# Dtypes


@case("mixed_float16 as the policy of every layer", "low_precision")
def mixed_float16() -> keras.Model:
    return classifier("mixed_float16")


@case("mixed_bfloat16 with a float32 head, as recommended for training", "low_precision")
def mixed_bfloat16() -> keras.Model:
    body = classifier("mixed_bfloat16")
    return keras.Model(body.input, layers.Softmax(dtype="float32", name="probabilities")(body.output))


@case("the global policy was mixed_float16 when the model was built, ops included", "low_precision")
def global_mixed_policy() -> keras.Model:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        inputs = vector()
        x = layers.Dense(4, name="dense")(inputs)
        return keras.Model(inputs, ops.multiply(layers.Dense(3, name="logits")(x * 2.0), 0.5))
    finally:
        keras.config.set_dtype_policy(before)


@case("float16 weights, not only float16 compute", "low_precision")
def pure_float16() -> keras.Model:
    return classifier("float16")


@case("float64 throughout, input included")
def float64() -> keras.Model:
    inputs = vector(dtype="float64")
    x = layers.Dense(4, activation="tanh", dtype="float64")(inputs)
    return keras.Model(inputs, ops.add(layers.Dense(3, dtype="float64")(x), 0.25))


@case("a policy per layer, one with autocast off, which no config records", "low_precision", "saves_differently")
def mixed_policies() -> keras.Model:
    inputs = vector()
    x = layers.Dense(6, dtype="mixed_float16", name="half")(inputs)
    x = layers.Dense(6, dtype="float64", name="double")(x)
    x = layers.Dense(6, dtype="bfloat16", name="brain")(x)
    x = layers.Activation("tanh", dtype="float32", autocast=False, name="as_it_comes")(x)
    return keras.Model(inputs, layers.Dense(3, dtype="float32", name="single")(x))


@case("configs that say the dtype of variables in place of the policy", "low_precision", "saves_differently", "random")
def policies_that_configs_forget() -> keras.Model:
    inputs = sequence()
    x = layers.SpatialDropout1D(0.3, seed=1, dtype="mixed_bfloat16", name="drop")(inputs)
    return keras.Model(inputs, layers.Dense(4, name="dense")(x))


@case(
    "a DTypePolicyMap: two sublayers of attention have policies of their own, which no config records",
    "low_precision",
    "saves_differently",
)
def policy_map() -> keras.Model:
    policies = keras.dtype_policies.DTypePolicyMap()
    policies["attention/(query|key)"] = keras.dtype_policies.DTypePolicy("mixed_float16")
    inputs = sequence()
    attention = layers.MultiHeadAttention(2, 4, dtype=policies, name="attention")
    return keras.Model(inputs, attention(inputs, inputs))


# Trainable flags


@case("one frozen layer")
def frozen_layer() -> keras.Model:
    inputs = vector()
    x = layers.Dense(4, trainable=False, name="frozen")(inputs)
    return keras.Model(inputs, layers.Dense(3, name="free")(x))


@case("model.trainable = False: every flag below it is cleared as well")
def frozen_model() -> keras.Model:
    model = classifier()
    model.trainable = False
    return model


@case("the model is not trainable, one of its layers is again")
def frozen_then_thawed() -> keras.Model:
    model = classifier()
    model.trainable = False
    model.get_layer("logits").trainable = True
    return model


@case("a frozen batch norm, which Keras runs in inference mode in training too")
def frozen_batch_norm() -> keras.Model:
    model = classifier()
    model.get_layer("bn").trainable = False
    return model


@case("a frozen layer inside a composite layer: attention's query projection")
def frozen_sublayer() -> keras.Model:
    inputs = sequence()
    attention = layers.MultiHeadAttention(2, 4, name="attention")
    x = attention(inputs, inputs)
    attention.query_dense.trainable = False
    return keras.Model(inputs, x)


@case("a single variable with trainable=False: a kernel whose bias trains on")
def frozen_variable() -> keras.Model:
    model = classifier()
    model.get_layer("conv").kernel.trainable = False
    return model


# Regularisers, constraints, initialisers


@case("regularisers on kernel, bias and activity; ActivityRegularization")
def regularisers() -> keras.Model:
    inputs = vector()
    x = layers.Dense(
        4,
        kernel_regularizer=keras.regularizers.L1L2(1e-4, 1e-3),
        bias_regularizer="l2",
        activity_regularizer=keras.regularizers.L2(1e-3),
    )(inputs)
    x = layers.ActivityRegularization(l1=1e-4)(x)
    x = layers.Dense(4, kernel_regularizer=keras.regularizers.OrthogonalRegularizer(0.01))(x)
    return keras.Model(inputs, x)


@case("constraints on kernels, bias and embeddings")
def constraints() -> keras.Model:
    inputs = tokens()
    x = layers.Embedding(10, 4, embeddings_constraint=keras.constraints.UnitNorm(axis=1))(inputs)
    x = layers.Conv1D(4, 3, kernel_constraint="max_norm", bias_constraint=keras.constraints.NonNeg())(x)
    return keras.Model(inputs, x)


@case("initialisers as objects, seeded and with arguments")
def initializers() -> keras.Model:
    inputs = image()
    x = layers.Conv2D(
        4,
        3,
        kernel_initializer=keras.initializers.HeNormal(seed=7),
        bias_initializer=keras.initializers.Constant(0.1),
    )(inputs)
    scaled = keras.initializers.VarianceScaling(2.0, mode="fan_out", distribution="uniform")
    return keras.Model(inputs, layers.Dense(3, kernel_initializer=scaled)(x))


# Randomness


@case("dropouts and noises, seeded", "random")
def dropouts() -> keras.Model:
    x = inputs = sequence()
    x = layers.SpatialDropout1D(0.2, seed=1)(layers.Dense(6)(x))
    x = layers.GaussianNoise(0.1, seed=2)(x)
    x = layers.AlphaDropout(0.1, seed=3)(layers.Activation("selu")(x))
    x = layers.GaussianDropout(0.1, seed=4)(x)
    return keras.Model(inputs, layers.Dropout(0.5, noise_shape=(None, 1, None), seed=5)(x))


@case("a dropout and a noise without seeds, called twice", "random", "shared")
def dropout_unseeded() -> keras.Model:
    inputs = vector()
    dropout = layers.Dropout(0.3, name="dropout")
    x = dropout(layers.Dense(6)(inputs))
    return keras.Model(inputs, layers.Dense(3)(dropout(layers.Dense(6)(x))))


@case("dropout switched on for good: training=True in the call", "random", "always_random")
def dropout_always_on() -> keras.Model:
    inputs = vector()
    x = layers.Dropout(0.3, seed=1, name="monte_carlo")(layers.Dense(8)(inputs), training=True)
    return keras.Model(inputs, layers.Dense(3)(x))


@case("batch norm called with training=False in the graph")
def batch_norm_in_inference() -> keras.Model:
    inputs = image()
    x = layers.BatchNormalization(name="bn")(layers.Conv2D(4, 3)(inputs), training=False)
    return keras.Model(inputs, x)


@case("augmentation layers: identities in inference", "random")
def augmentation() -> keras.Model:
    x = inputs = image()
    x = layers.RandomFlip("horizontal", seed=1)(x)
    x = layers.RandomRotation(0.1, seed=2)(x)
    x = layers.RandomTranslation(0.1, 0.1, seed=3)(layers.RandomContrast(0.2, seed=4)(x))
    return keras.Model(inputs, layers.Conv2D(4, 3)(x))


# Preprocessing


@case("Normalization with adapted statistics: weights that its call does not read")
def normalization_adapted() -> keras.Model:
    normalization = layers.Normalization(name="normalization")
    normalization.adapt(np.random.default_rng(0).normal(2.0, 3.0, (64, 6)).astype("float32"))
    inputs = vector()
    return keras.Model(inputs, layers.Dense(3)(normalization(inputs)))


@case("Normalization with statistics from its config; Rescaling; Resizing; CenterCrop")
def preprocessing() -> keras.Model:
    x = inputs = image(10)
    x = layers.Rescaling(1 / 2.0, offset=-0.1)(x)
    x = layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 0.5, 2.0])(x)
    x = layers.Resizing(9, 9)(x)
    return keras.Model(inputs, layers.Conv2D(4, 3)(layers.CenterCrop(8, 8)(x)))


@case("Discretization with given boundaries, CategoryEncoding, Hashing: integer values inside")
def category_preprocessing() -> keras.Model:
    inputs, codes = vector(), keras.Input((3,), dtype="int32", name="codes")
    buckets = layers.Discretization(bin_boundaries=[-1.0, 0.0, 1.0])(inputs)
    x = layers.CategoryEncoding(num_tokens=4, output_mode="multi_hot")(buckets)
    hashed = layers.Hashing(num_bins=5)(codes)
    y = layers.CategoryEncoding(num_tokens=5, output_mode="count")(hashed)
    return keras.Model([inputs, codes], layers.Dense(3)(layers.Concatenate()([x, y])))


@case("IntegerLookup: a table that is no weight")
def integer_lookup() -> keras.Model:
    inputs = tokens()
    x = layers.IntegerLookup(vocabulary=[3, 5, 7, 9], output_mode="int", name="lookup")(inputs)
    return keras.Model(inputs, layers.Embedding(5, 4)(x))


@case("Pipeline: layers in a list inside one layer", "random")
def pipeline() -> keras.Model:
    inputs = image()
    x = layers.Pipeline([layers.Rescaling(0.5), layers.RandomFlip(seed=1)], name="pipeline")(inputs)
    return keras.Model(inputs, layers.Conv2D(4, 3)(x))


# Compile state


@case("compiled: a learning-rate schedule, a loss and metrics per output, loss weights", "compiled")
def compiled() -> keras.Model:
    inputs = vector()
    x = layers.Dense(4, activation="relu", name="hidden")(inputs)
    outputs = {
        "class": layers.Dense(3, activation="softmax", name="class")(x),
        "value": layers.Dense(1, name="value")(x),
    }
    model = keras.Model(inputs, outputs)
    model.compile(
        optimizer=keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(1e-3, 100), weight_decay=1e-4),
        loss={"class": "sparse_categorical_crossentropy", "value": keras.losses.Huber(delta=0.5)},
        loss_weights={"class": 1.0, "value": 0.3},
        metrics={"class": ["accuracy", keras.metrics.SparseTopKCategoricalAccuracy(2)], "value": ["mae"]},
        jit_compile=False,
    )
    # Keras warns when it loads an optimizer that was saved before its first step.
    model.optimizer.build(model.trainable_variables)
    return model


@case("compiled and trained for a step: the optimizer has slots, the metrics have counts", "compiled")
def compiled_and_fitted() -> keras.Model:
    model = classifier()
    model.compile(optimizer=keras.optimizers.SGD(0.01, momentum=0.9), loss="mse", metrics=["mae"], jit_compile=False)
    rng = np.random.default_rng(0)
    model.fit(rng.normal(size=(4, 8, 8, 3)), rng.normal(size=(4, 3)), epochs=1, verbose=0)
    return model


def scaled_error(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """A loss that Keras does not know."""
    return ops.mean(ops.square(y_true - y_pred) * 0.5, axis=-1)


@case(
    "compiled with a loss function that is not registered",
    "compiled",
    "custom",
    "unregistered",
    custom_objects={"scaled_error": scaled_error},
)
def compiled_custom_loss() -> keras.Model:
    model = classifier()
    model.compile(optimizer="adam", loss=scaled_error)
    model.optimizer.build(model.trainable_variables)
    return model


# Quantisation and adapters


def quantize(model: keras.Model, mode: str) -> None:
    with warnings.catch_warnings():
        # Keras says so of every layer without weights.
        warnings.filterwarnings("ignore", message=r"Layer \w+ does not have a `quantize` method")
        model.quantize(mode)


@case("quantised to int8 by Keras: integer kernels and scales", "own_weights", "low_precision")
def quantized_int8() -> keras.Model:
    inputs = tokens()
    x = layers.Embedding(16, 8, name="embedding")(inputs)
    x = layers.Dense(8, activation="relu", name="dense")(x)
    x = layers.EinsumDense("btc,cd->btd", (None, 4), bias_axes="d", name="einsum")(x)
    model = keras.Model(inputs, x)
    randomise(model)
    quantize(model, "int8")
    return model


@case(
    "quantised to int4: two weights in a byte, so that the kernel's shape is not the layer's",
    "own_weights",
    "low_precision",
)
def quantized_int4() -> keras.Model:
    inputs = vector(8)
    model = keras.Model(inputs, layers.Dense(4, name="dense")(inputs))
    randomise(model)
    quantize(model, "int4")
    return model


@case("LoRA adapters: the kernel that computes is a sum of weights")
def lora() -> keras.Model:
    inputs = vector()
    dense = layers.Dense(6, name="adapted")
    x = dense(inputs)
    dense.enable_lora(2)
    return keras.Model(inputs, layers.Dense(3, name="plain")(x))
