"""The built-in passes, imported as ``kerasurgeon.passes``."""

if __name__ != "kerasurgeon.passes":
    raise ImportError(f"import kerasurgeon.passes, not {__name__}")

from kerasurgeon.passes.fold_batch_norm import FoldBatchNorm
from kerasurgeon.passes.simplify import Simplify

__all__ = ["FoldBatchNorm", "Simplify"]
