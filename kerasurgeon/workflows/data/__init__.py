"""Data sets in three parts: digits, CIFAR, generated shapes, TFRecord files, and whatever Keras can train on."""

from kerasurgeon.workflows.data.augment import Augment
from kerasurgeon.workflows.data.batches import Batches, batched
from kerasurgeon.workflows.data.cifar import cifar
from kerasurgeon.workflows.data.digits import Digits, digits, load_digits
from kerasurgeon.workflows.data.given import data_set
from kerasurgeon.workflows.data.parts import DataSet, Split
from kerasurgeon.workflows.data.shapes import shapes
from kerasurgeon.workflows.data.splitting import standardised, stratified
from kerasurgeon.workflows.data.tfrecord_writing import write_records
from kerasurgeon.workflows.data.tfrecords import Cropping, read_records, segmentation_records

__all__ = [
    "Augment",
    "Batches",
    "Cropping",
    "DataSet",
    "Digits",
    "Split",
    "batched",
    "cifar",
    "data_set",
    "digits",
    "load_digits",
    "read_records",
    "segmentation_records",
    "shapes",
    "standardised",
    "stratified",
    "write_records",
]
