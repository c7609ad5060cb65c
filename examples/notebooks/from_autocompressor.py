# %% [markdown]
# # The part of a backbone that a task needs
#
# What keras_autocompressor did: keras-tuner searches for what to cut out of a trained backbone (a *translator*
# bridges it), for the width of the head, and for the learning rate. A minute on one core.

# %%
import tempfile

import keras
import keras_tuner

import kerasurgeon as ks
from kerasurgeon.workflows.data import digits
from kerasurgeon.workflows.networks import inverted_bottlenecks
from kerasurgeon.workflows.tuner import AutoCompress, Cuts, best_model, trials

# %%
keras.utils.set_random_seed(0)
data = digits(0)
images, labels = data.train.images[:256], data.train.labels[:256]
stages = ((1, 8, 1, 1), (4, 8, 2, 2), (4, 16, 2, 2))
network = inverted_bottlenecks(data.train.images.shape[1:], stages=stages, last=None)
backbone = keras.Model(network.input, network.get_layer("stage3_block2_add").output, name="backbone")

# %% [markdown]
# Every cut between two blocks that saves a fifth or more. What is maximised weighs accuracy against cost.

# %%
hypermodel = AutoCompress(backbone, classes=10, tau=0.8, cuts=Cuts(least_saved=0.2))
print(f"{len(hypermodel.choices) - 1} cuts, such as {hypermodel.choices[1]!r}")
with tempfile.TemporaryDirectory() as folder:
    tuner = keras_tuner.RandomSearch(
        hypermodel, objective=hypermodel.objective, max_trials=2, seed=0, directory=folder, project_name="digits"
    )
    validation = data.validation.images[:100], data.validation.labels[:100]
    tuner.search(images, labels, validation_data=validation, epochs=1, verbose=0)
    print(trials(tuner))
    best = best_model(tuner)
print(f"{ks.cost(best).macs / ks.cost(network).macs:.0%} of the MACs")
