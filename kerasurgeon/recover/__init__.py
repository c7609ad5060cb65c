"""Recovering what surgery cost: statistics from data, training of what was put in, fine-tuning, distillation.

``ks.recover`` is this package: ``ks.recover.DarkKnowledge()``, ``ks.recover.Poly(power=0.9)``.
"""

from kerasurgeon.recover.batch_norm import recalibrate_batch_norm, recalibrate_graph
from kerasurgeon.recover.bridge_training import train_bridges
from kerasurgeon.recover.bridges import Bridge
from kerasurgeon.recover.distillation import ACE, AttentionTransfer, DarkKnowledge, FeatureMatching, GraphLoss
from kerasurgeon.recover.fine_tuning import fine_tune
from kerasurgeon.recover.learning_rate import LearningRate, Plateau, Poly, TwoCycles
from kerasurgeon.recover.lessons import check_distillation
from kerasurgeon.recover.pairing import Pair
from kerasurgeon.recover.result import TrainResult
from kerasurgeon.recover.segmentation import MeanIoU, SegmentationCrossEntropy

__all__ = [
    "ACE",
    "AttentionTransfer",
    "Bridge",
    "DarkKnowledge",
    "FeatureMatching",
    "GraphLoss",
    "LearningRate",
    "MeanIoU",
    "Pair",
    "Plateau",
    "Poly",
    "SegmentationCrossEntropy",
    "TrainResult",
    "TwoCycles",
    "check_distillation",
    "fine_tune",
    "recalibrate_batch_norm",
    "recalibrate_graph",
    "train_bridges",
]
