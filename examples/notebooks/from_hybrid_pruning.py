# %% [markdown]
# # Tucker beside a sparse residual
#
# What tf-hybrid-pruning did: convolutions into chains of 1x1, k x k, 1x1 of lower rank, with a sparse convolution
# beside them; to a share of the parameters, or as far as the accuracy allows. A minute on one core.

# %%
import keras
from keras import layers

import kerasurgeon as ks
from kerasurgeon.passes import Factorise, TuckerSplit
from kerasurgeon.workflows.data import load_digits

# %%
keras.utils.set_random_seed(0)
digits = load_digits(0)
image = keras.Input((8, 8, 1), name="image")
x = layers.Conv2D(24, 3, padding="same", activation="relu", name="stem")(image)
x = layers.Conv2D(32, 3, 2, padding="same", activation="relu", name="middle")(x)
x = layers.Conv2D(32, 3, padding="same", activation="relu", name="deep")(x)
x = layers.GlobalAveragePooling2D(name="pool")(x)
model = keras.Model(image, layers.Dense(10, name="digit")(x), name="net")
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.Adam(5e-3), loss, metrics=["accuracy"])
model.fit(digits.train.images, digits.train.labels, batch_size=32, epochs=4, verbose=0)

# %% [markdown]
# To a share of the parameters of the layers that may be factorised; 5 % of what the chains miss is kept beside them.

# %%
hybrid = TuckerSplit(compression_factor=0.5, cost="params", sparsity=0.05)
result = ks.Pipeline([hybrid]).run(model, data=digits.train.images[:256])
print(result.report)

# %% [markdown]
# As far as the accuracy allows. A quarter of the labelled images has no part in the search: what it found is
# confirmed on them, and both figures are in the report.

# %%
search = Factorise(max_accuracy_loss=0.02, cost="params", evaluations=15)
found = ks.Pipeline([search]).run(model, data=(digits.validation.images, digits.validation.labels))
print(found.report)
print(found.report.passes[0].plans[0])  # what was tried
print(f"{ks.cost(found.model).parameters / ks.cost(model).parameters:.0%} of the parameters")
