# %% [markdown]
# # Widths learned in training
#
# What MorphNet did for TensorFlow 1: a regulariser puts a price on every channel, channels that matter less than they
# cost die in training, and what is left is cut out and grown back to the old cost. A minute on one core.

# %%
import keras
from keras import layers

import kerasurgeon as ks
from kerasurgeon.morphnet import MorphNet, SteerStrength
from kerasurgeon.passes import Expand
from kerasurgeon.workflows.data import load_digits

# %%
keras.utils.set_random_seed(0)
digits = load_digits(0)
image = keras.Input((8, 8, 1), name="image")
x = image
for name, width, strides in (("one", 24, 1), ("two", 32, 2), ("three", 32, 1)):
    x = layers.Conv2D(width, 3, strides, padding="same", use_bias=False, name=name)(x)
    x = layers.ReLU(name=f"{name}_relu")(layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x))
x = layers.GlobalAveragePooling2D(name="pool")(x)
model = keras.Model(image, layers.Dense(10, name="digit")(x), name="net")
model.compile(keras.optimizers.Adam(5e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))

# %% [markdown]
# Attach, train, cut. The strength is steered so that half of the cost is left at the end.

# %%
with MorphNet(model, "gamma", target="macs", strength=0.1) as morph:
    callbacks = [SteerStrength(morph, kept=0.5), morph.callback()]
    train = digits.train.images, digits.train.labels
    history = model.fit(*train, batch_size=64, epochs=4, verbose=0, callbacks=callbacks).history
    print(morph)
    small = morph.shrink(kept=0.5)
print("share of the cost alive, after each epoch:", [round(value, 2) for value in history["morphnet_kept"]])
assert ks.cost(small).macs <= 0.5 * ks.cost(model).macs

# %% [markdown]
# Grow it to the cost that there was, by one factor for all widths, without changing what it computes.

# %%
grown = ks.apply_passes(small, [Expand(macs=ks.cost(model).macs)])
for name, network in (("before", model), ("learned", small), ("grown", grown)):
    print(name, {layer.name: layer.filters for layer in network.layers if hasattr(layer, "filters")})
