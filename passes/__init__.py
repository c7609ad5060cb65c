"""The built-in passes, imported as ``kerasurgeon.passes``."""

if __name__ != "kerasurgeon.passes":
    raise ImportError(f"import kerasurgeon.passes, not {__name__}")

from kerasurgeon.passes.apply_blocks import ApplyBlocks
from kerasurgeon.passes.apply_factors import ApplyFactors
from kerasurgeon.passes.apply_plan import ApplyPlan
from kerasurgeon.passes.change_classes import ChangeClasses
from kerasurgeon.passes.change_input import ChangeInput
from kerasurgeon.passes.compress import Compress
from kerasurgeon.passes.drop_block import DropBlock
from kerasurgeon.passes.expand import Expand
from kerasurgeon.passes.factorise import Factorise
from kerasurgeon.passes.fold_batch_norm import FoldBatchNorm
from kerasurgeon.passes.insert_block import InsertBlock
from kerasurgeon.passes.merge_blocks import MergeBlocks
from kerasurgeon.passes.morphnet_shrink import MorphNetShrink
from kerasurgeon.passes.prune_channels import PruneChannels
from kerasurgeon.passes.prune_embedding import PruneEmbedding
from kerasurgeon.passes.recalibrate_batch_norm import RecalibrateBatchNorm
from kerasurgeon.passes.reconstruct_widths import ReconstructWidths
from kerasurgeon.passes.remove_dead_channels import RemoveDeadChannels
from kerasurgeon.passes.replace_layers import ReplaceLayers
from kerasurgeon.passes.replace_with_shunt import ReplaceWithShunt
from kerasurgeon.passes.replace_with_translator import ReplaceWithTranslator
from kerasurgeon.passes.set_output_stride import SetOutputStride
from kerasurgeon.passes.simplify import Simplify
from kerasurgeon.passes.slice_stream import SliceStream
from kerasurgeon.passes.sparsify import Sparsify
from kerasurgeon.passes.tucker_split import TuckerSplit

__all__ = [
    "ApplyBlocks",
    "ApplyFactors",
    "ApplyPlan",
    "ChangeClasses",
    "ChangeInput",
    "Compress",
    "DropBlock",
    "Expand",
    "Factorise",
    "FoldBatchNorm",
    "InsertBlock",
    "MergeBlocks",
    "MorphNetShrink",
    "PruneChannels",
    "PruneEmbedding",
    "RecalibrateBatchNorm",
    "ReconstructWidths",
    "RemoveDeadChannels",
    "ReplaceLayers",
    "ReplaceWithShunt",
    "ReplaceWithTranslator",
    "SetOutputStride",
    "Simplify",
    "SliceStream",
    "Sparsify",
    "TuckerSplit",
]
