"""Small models, one awkward feature each: the list that parametrises most tests.

    from tests.zoo import ZOO, build, sample_inputs

    @pytest.mark.parametrize("name", ZOO)
    def test_something(name):
        model = build(name)
        model(sample_inputs(model))

Reading a graph that Keras built, these are the surprises that the cases hold:

* A call-site ``training`` gives way to an explicit ``training`` of the outermost call; ``predict`` gives one.
* Masks appear as ordinary nodes (``not_equal``) and operands (``mask=``) where a layer has one tensor
  operand, and are carried by the tensors alone where it has several.

What Keras 3.15 itself refuses is not here: see the comments in the theme modules.
"""

from __future__ import annotations

import keras
from keras.src.utils import naming

from tests.zoo import blocks, convolution, custom, operations, sequences, state, structure
from tests.zoo.bad import BAD
from tests.zoo.registry import ZOO, ZooCase
from tests.zoo.sampling import flatten_layers, randomise, sample_inputs

__all__ = [
    "BAD",
    "THEMES",
    "ZOO",
    "ZooCase",
    "build",
    "flatten_layers",
    "randomise",
    "sample_inputs",
]

THEMES = (structure, operations, convolution, blocks, sequences, state, custom)


def build(name: str, seed: int = 0) -> keras.Model:
    """Build the case ``name`` with every weight randomised from ``seed``; the same call, the same model."""
    # Automatic layer names must not depend on what ran before. clear_session() would do it too, but also
    # drops the dtype policy and the custom-object scopes that the caller may have set.
    naming.reset_uids()
    keras.utils.set_random_seed(seed)
    model = ZOO[name].build()
    if "own_weights" not in ZOO[name].tags:
        randomise(model, seed)
    return model
