"""Networks made to fit other inputs, classes and vocabularies, with what they have learned.

* ``resize_inputs`` gives inputs other channels and sizes, ``resize_outputs`` outputs other classes, ``cut_vocabulary``
  an embedding fewer rows; each changes a graph in place and says what it did, by node.
* ``change_input``, ``change_classes`` and ``prune_vocabulary`` do the same with models.
* ``KeptIds`` says which old id each new id stands for.
"""

from kerasurgeon.adapting.api import change_classes, change_input, prune_vocabulary
from kerasurgeon.adapting.classes import resize_outputs
from kerasurgeon.adapting.inputs import CHANNELS, DENSE, resize_inputs
from kerasurgeon.adapting.kept_ids import KeptIds
from kerasurgeon.adapting.options import check_shape, read_ids
from kerasurgeon.adapting.vocabulary import HEADS, cut_vocabulary

__all__ = [
    "CHANNELS",
    "DENSE",
    "HEADS",
    "KeptIds",
    "change_classes",
    "change_input",
    "check_shape",
    "cut_vocabulary",
    "prune_vocabulary",
    "read_ids",
    "resize_inputs",
    "resize_outputs",
]
