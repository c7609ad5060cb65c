"""What the demo does to the network, as recipes."""

from __future__ import annotations

from typing import Any

SHRINK: dict[str, Any] = {
    "pass": [
        {
            "name": "ReplaceLayers",
            "pattern": "Activation",
            "where": {"activation": "silu"},
            "function": "kerasurgeon.replacing.replacements:swish_to_relu",
        },
        # Of MACs the dense layer has next to none: a budget of MACs would leave it as it is.
        {"name": "Sparsify", "sparsity": 0.25, "structure": "output_channel", "where": "hidden"},
        {"name": "RemoveDeadChannels"},
        {"name": "PruneChannels", "macs": 0.5, "compensate": "batch_norm", "round_to": 8},
        # Both for the least error of what layers put out on the data. The stem reads one channel: there is nothing to
        # split off.
        {"name": "TuckerSplit", "macs": 0.3, "minimise": "output", "round_to": 8, "where": "!stem_*"},
        {
            "name": "Factorise",
            "method": "svd",
            "ratio": 0.375,
            "minimise": "output",
            "round_to": 8,
            "where": ("block3_pointwise", "hidden"),
        },
        # Last, as it makes up for the others.
        {"name": "RecalibrateBatchNorm"},
    ]
}
"""What changes the outputs; training makes up for it afterwards. The last three passes look at data: the images to
train on."""

FINISH: dict[str, Any] = {
    "pass": [
        {"name": "Simplify", "training_layers": True},
        {"name": "FoldBatchNorm"},
    ]
}
"""What leaves the outputs as they are, and is checked to. It comes last: batch norms and dropout help training."""
