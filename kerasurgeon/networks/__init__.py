"""Networks to begin with: segmentation on a MobileNetV3, and a classifier for small images.

All are plain functional Keras models with random weights from Keras' seed, or with weights that are given.
"""

from kerasurgeon.networks.backbones import mobilenet_v3
from kerasurgeon.networks.bottlenecks import inverted_bottlenecks
from kerasurgeon.networks.lraspp import lraspp

__all__ = ["inverted_bottlenecks", "lraspp", "mobilenet_v3"]
