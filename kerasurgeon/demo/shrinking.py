"""What the demo does to the network, as recipes."""

from __future__ import annotations

from typing import Any

SHRINK: dict[str, Any] = {
    "pass": [
        {
            "name": "ReplaceLayers",
            "pattern": "Activation",
            "where": {"activation": "silu"},
            "function": "kerasurgeon.passes.replacements:swish_to_relu",
        },
        # The stem reads one channel: there is nothing to split off.
        {"name": "TuckerSplit", "ratio": 0.375, "round_to": 8, "where": "!stem_*"},
    ]
}
"""What changes the outputs; training makes up for it afterwards."""

FINISH: dict[str, Any] = {
    "pass": [
        {"name": "Simplify", "training_layers": True},
        {"name": "FoldBatchNorm"},
    ]
}
"""What leaves the outputs as they are, and is checked to. It comes last: batch norms and dropout help training."""
