"""What slicing the residual stream makes of small language models that were trained: the table of docs/slicing.md.

    python benchmarks/slice_language.py [NAME ...] [--write docs/slicing.md]

The networks, the grammar and the losses are those of ``open_language.py``, trained for 480 steps and opened, with norms
that are written out. Each is brought to a share of its MACs by the hidden width alone, and not trained again; 256
sequences of training tokens are the data.

- pruned: ``PruneChannels`` with all other layers in ``ignore``, channels by size.
- sliced: ``SliceStream``.
- everything: ``PruneChannels(macs=...)`` of all channels, with least squares.

The first figure of a pair is without compensation, the second with least squares. With ``--write`` the rows of these
networks are replaced.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import open_language as language

import kerasurgeon as ks
from kerasurgeon.authoring import Pass
from kerasurgeon.errors import BudgetError
from kerasurgeon.passes import PruneChannels, SliceStream

HEAD = """| network | MACs | original | pruned | sliced | everything |
|---|---|---|---|---|---|
"""
NETWORKS = ("GPT2", "Llama")
SHARES = (0.85, 0.7)
WAYS = ("none", "least_squares")


def trained(name: str) -> keras.Model:
    """A network that has learned the grammar; with norms that are written out, as plain layers."""
    keras.utils.set_random_seed(0)
    model = language.NETWORKS[name]()
    steps = language.TRAINED
    rate = keras.optimizers.schedules.CosineDecay(1e-4, steps, warmup_target=4e-3, warmup_steps=steps // 20)
    model.compile(keras.optimizers.Adam(rate), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    inputs, wanted, counts = language.data(name, steps * language.BATCH, seed=2)
    model.fit(inputs, wanted, sample_weight=counts, batch_size=language.BATCH, verbose=0)
    return ks.emit(ks.lift(model, open="all"), fold=False, compile=False) if name == "Llama" else model


def others(model: keras.Model) -> list[str]:
    """The layers that make other channels than those of the stream, which is the group of the words."""
    return [group.name for group in ks.groups(model) if "words" not in [source.layer for source in group.sources]]


def measure(name: str) -> list[str]:
    """One network: its lines."""
    model = trained(name)
    held_out = language.data(name, 256, seed=1)
    data = language.data(name, language.FITTED, seed=3)[0]
    original = language.loss_of(model, held_out)

    def loss(item: Pass) -> tuple[str, float]:
        try:
            small = ks.apply_passes(model, [item], data=data)
        except BudgetError:
            return "-", 0.0
        found = language.loss_of(small, held_out)
        way = getattr(item, "compensate", "")
        print(f"    {name}, {item.name}, {way}: {found:.3f} ({time.process_time():.0f} s)", file=sys.stderr, flush=True)
        return f"{found:.3f}", ks.cost(small).macs / ks.cost(model).macs

    def pair(items: Sequence[Pass]) -> str:
        return " / ".join(dict.fromkeys(loss(item)[0] for item in items))

    lines = []
    for share in SHARES:
        options: dict[str, Any] = {"macs": share, "ignore": others(model), "importance": "l2", "round_to": 1}
        pruned = pair([PruneChannels(compensate=way, **options) for way in WAYS])
        sliced = pair([SliceStream(macs=share, compensate=way, round_to=1) for way in WAYS])
        everything = loss(PruneChannels(macs=share, compensate="least_squares"))[0]
        lines.append(f"| {name} | {100 * share:.0f} % | {original:.3f} | {pruned} | {sliced} | {everything} |")
    return lines


def main() -> None:
    """Measure and print, and write the table if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NETWORKS)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    lines = [line for name in options.names for line in measure(name)]
    print(HEAD + "\n".join(lines))
    if options.write:
        before, _, after = options.write.read_text().partition(HEAD)
        rows = []
        while after.startswith("|"):
            row, _, after = after.partition("\n")
            rows.append(row)
        kept = [row for row in rows if row.split("|")[1].strip() not in options.names]
        options.write.write_text(before + HEAD + "\n".join(sorted([*kept, *lines], key=_place)) + "\n" + after)


def _place(row: str) -> int:
    """Where the rows of a network stand."""
    return NETWORKS.index(row.split("|")[1].strip())


if __name__ == "__main__":
    main()
