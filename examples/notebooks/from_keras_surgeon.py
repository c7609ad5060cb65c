# %% [markdown]
# # Channels deleted, and all that hangs on them
#
# What keras-surgeon did for Keras 2, `delete_channels` and `operate`, in networks of any shape: what is added, gated
# or concatenated with a channel goes with it. Seconds on one core.

# %%
import keras
import numpy as np
from keras import layers

import kerasurgeon as ks
from kerasurgeon.passes import PruneChannels

# %% [markdown]
# A network with a residual sum. Any functional or sequential Keras 3 model will do.

# %%
keras.utils.set_random_seed(0)
image = keras.Input((16, 16, 3), name="image")
x = layers.Conv2D(16, 3, padding="same", use_bias=False, name="stem")(image)
x = layers.ReLU(name="stem_relu")(layers.BatchNormalization(name="stem_norm")(x))
y = layers.Conv2D(32, 3, padding="same", activation="relu", name="wide")(x)
y = layers.Conv2D(16, 3, padding="same", name="narrow")(y)
x = layers.GlobalAveragePooling2D(name="pool")(layers.Add(name="sum")([x, y]))
model = keras.Model(image, layers.Dense(10, name="classes")(x), name="net")

# %% [markdown]
# `stem` and `narrow` are added, so they lose the same channels; nobody has to say so. The classes may not go.

# %%
print(ks.groups(model))

# %% [markdown]
# By hand: which channels each layer keeps. The result is a plain Keras model, and computes what the whole one does
# with those channels at zero.

# %%
plan = ks.ChannelPlan({"wide": [c for c in range(32) if c not in (1, 5, 8)], "stem": range(12)})
smaller = ks.cut(model, plan)
print({layer.name: layer.filters for layer in smaller.layers if hasattr(layer, "filters")})
images = np.random.default_rng(0).normal(size=(4, 16, 16, 3)).astype("float32")
np.testing.assert_allclose(smaller(images), ks.masked(model, plan)(images), rtol=1e-4, atol=1e-5)

# %% [markdown]
# By a budget, the channels chosen by what they matter: half of the multiply-accumulates.

# %%
result = ks.Pipeline([PruneChannels(macs=0.5, importance="apoz", compensate="none")]).run(model, data=images)
print(result.report)
print(ks.compare_costs(ks.cost(model), ks.cost(result.graph)))
