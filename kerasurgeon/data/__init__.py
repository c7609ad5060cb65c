"""Data sets in three parts: digits, CIFAR, generated shapes, TFRecord files, and whatever Keras can train on."""

from kerasurgeon.data.augment import Augment
from kerasurgeon.data.batches import Batches, batched
from kerasurgeon.data.cifar import cifar
from kerasurgeon.data.digits import Digits, digits, load_digits
from kerasurgeon.data.given import data_set
from kerasurgeon.data.parts import DataSet, Split
from kerasurgeon.data.shapes import shapes
from kerasurgeon.data.splitting import standardised, stratified
from kerasurgeon.data.tfrecord_writing import write_records
from kerasurgeon.data.tfrecords import Cropping, read_records, segmentation_records

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
