"""The border with Keras: the only place that touches its internals."""

from kerasurgeon.keras_io.derive import check_types, derive_specs, infer
from kerasurgeon.keras_io.emit import emit
from kerasurgeon.keras_io.internals import (
    calls_of,
    flatten_layers,
    input_structure,
    keras_mask,
    operations,
    output_structure,
    producer,
)
from kerasurgeon.keras_io.layers import layer_from_keras
from kerasurgeon.keras_io.lift import lift, lift_with_variables

__all__ = [
    "calls_of",
    "check_types",
    "derive_specs",
    "emit",
    "flatten_layers",
    "infer",
    "input_structure",
    "keras_mask",
    "layer_from_keras",
    "lift",
    "lift_with_variables",
    "operations",
    "output_structure",
    "producer",
]
