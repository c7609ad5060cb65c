"""Networks to begin with: segmentation on a MobileNetV3, and a classifier for small images.

All are plain functional Keras models with random weights from Keras' seed, or with weights that are given.
"""

from kerasurgeon.workflows.networks.applications import application, application_names
from kerasurgeon.workflows.networks.backbones import mobilenet_v3
from kerasurgeon.workflows.networks.bottlenecks import inverted_bottlenecks
from kerasurgeon.workflows.networks.lraspp import lraspp

__all__ = ["application", "application_names", "inverted_bottlenecks", "lraspp", "mobilenet_v3"]
