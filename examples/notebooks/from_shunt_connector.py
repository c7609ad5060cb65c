# %% [markdown]
# # A small network in place of blocks
#
# What ShuntConnector did: knowledge quotients say which blocks matter least, a *shunt* takes their place, is trained
# to make what they made, and the whole is trained with the old network as teacher. A minute on one core.

# %%
import keras

import kerasurgeon as ks
from kerasurgeon.passes import ReplaceWithShunt
from kerasurgeon.recover import DarkKnowledge
from kerasurgeon.workflows.data import digits
from kerasurgeon.workflows.networks import inverted_bottlenecks

# %%
keras.utils.set_random_seed(0)
data = digits(0)
train, validation = (data.train.images, data.train.labels), (data.validation.images, data.validation.labels)
stages = ((1, 16, 1, 1), (4, 24, 3, 2), (4, 32, 2, 2))
model = inverted_bottlenecks(
    data.train.images.shape[1:], data.classes, stages=stages, stem_stride=1, last=64, momentum=0.9
)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.Adam(5e-3), loss, metrics=["accuracy"])
model.fit(*train, batch_size=32, epochs=4, verbose=0)

# %% [markdown]
# What is lost without each block, and what it costs.

# %%
quotients = ks.knowledge_quotients(model, data=validation, which="stage*", min_nodes=6)
print(quotients)

# %% [markdown]
# One shunt in place of two blocks; then its training, from the features of the network alone; then that of the whole.

# %%
result = ks.Pipeline([ReplaceWithShunt("stage2_block2_expand..stage2_block3_add", arch="4")]).run(model)
print(result.report)
bridges = result.report.passes[0].plans[0].bridges
shunted = ks.train_bridges(model, result.model, bridges, train[0], epochs=2, verbose=0).model
tuned = ks.fine_tune(shunted, train, validation, teacher=model, distillation=[DarkKnowledge(3.0)], epochs=1, verbose=0)


# %%
def accuracy(network: keras.Model) -> float:
    """Share of the test images that a network gets right."""
    return float((network.predict(data.test.images, verbose=0).argmax(-1) == data.test.labels).mean())


for name, network in (("network", model), ("with a shunt", result.model), ("trained", shunted), ("tuned", tuned.model)):
    print(f"{name}: {ks.cost(network).macs:,} MACs, accuracy {accuracy(network):.1%}")

# %% [markdown]
# The same from a recipe, in a folder, resumable, with a page of the run: `ks.Procedure`, `kerasurgeon shunt`.
