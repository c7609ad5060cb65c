"""All of ONNX's operators that TFLite has something for."""

from __future__ import annotations

from collections.abc import Mapping

from kerasurgeon.layers.tflite_elements import ELEMENTS
from kerasurgeon.layers.tflite_loops import LOOPS
from kerasurgeon.layers.tflite_moving import MOVING
from kerasurgeon.layers.tflite_picking import PICKING
from kerasurgeon.layers.tflite_products import PRODUCTS
from kerasurgeon.layers.tflite_whole import WHOLE
from kerasurgeon.layers.tflite_windows import WINDOWS
from kerasurgeon.rules.tflite_call import Translation

TRANSLATIONS: Mapping[str, Translation] = {**ELEMENTS, **WHOLE, **MOVING, **PICKING, **PRODUCTS, **WINDOWS, **LOOPS}
"""What adds TFLite's operators for one of ONNX's, by the latter's name."""

BY_ELEMENT = (frozenset(ELEMENTS) | frozenset(WHOLE)) - {"Softmax", "LogSoftmax", "PRelu"}
"""Those that compute every element from the elements at its place, whatever the order of axes."""
