"""The border with Keras: the only place that touches its internals."""

from kerasurgeon.keras_io.derive import check_types, derive_specs, infer
from kerasurgeon.keras_io.emit import emit
from kerasurgeon.keras_io.layers import layer_from_keras
from kerasurgeon.keras_io.lift import lift, lift_with_variables

__all__ = ["check_types", "derive_specs", "emit", "infer", "layer_from_keras", "lift", "lift_with_variables"]
