"""Edit a functional model layer by layer: insert, replace, delete, rename, cut out.

uv run --all-extras python examples/surgery_by_hand.py
"""

import keras

import kerasurgeon as ks

keras.utils.set_random_seed(0)
model = keras.applications.MobileNetV2(weights=None, input_shape=(96, 96, 3))
graph = ks.lift(model)

# A softer activation in one place: the layer is replaced, its users are not touched.
ks.replace_layer(graph, "block_16_expand_relu", keras.layers.Activation("silu"))

# Regularise the head.
ks.insert_before(graph, "predictions", keras.layers.Dropout(0.2, name="head_dropout"))

# Take out a whole residual block: its input stands in for its output, since the shapes agree.
ks.replace_region(graph, "block_14_add", "block_15_add", keras.layers.Identity(name="block_15"))

ks.rename(graph, "predictions", "scores")
edited = ks.emit(graph)
print([layer.name for layer in edited.layers][-6:])

# A shape that does not fit is refused with the reason, and the graph stays as it was.
try:
    ks.insert_after(graph, "block_5_add", keras.layers.Conv2D(7, 1, name="too_narrow"))
except ks.KerasurgeonError as error:
    print(error)

# The features between two tensors, as a model of their own.
features = ks.emit(ks.extract(graph, "block_3_project_BN", "out_relu"))
print(features.name, features.input_shape, "->", features.output_shape)
