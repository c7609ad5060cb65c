"""Accuracy of factorised networks without training again: what ``Factorise(macs=...)`` gives with data and without.

    uv run --all-extras python benchmarks/factorise_defaults.py [--seeds 2] [--folder FOLDER]

The networks, the digits and the folder of trained networks are those of pruning_defaults.py. Printed is a table in
Markdown: the error of kernels alone, with and without ``rescale``, the default without data, and with 512 images.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from pruning_defaults import IMAGES, KEPT, SIZE, accuracy, trained

import kerasurgeon as ks
from kerasurgeon.passes import Factorise
from kerasurgeon.workflows.data import digits

NETWORKS = ("ResNet", "MobileNet")
WAYS: dict[str, tuple[dict[str, Any], bool]] = {
    "kernels alone": ({"minimise": "kernel"}, False),
    "kernels alone, rescaled": ({"minimise": "kernel", "rescale": True}, False),
    "default without data": ({"input_range": (0, 1)}, False),
    f"default with {IMAGES} images": ({}, True),
}


def main() -> None:
    """Train, factorise, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="keeps trained networks for the next time")
    options = parser.parse_args()
    found: dict[tuple[str, str], list[list[float]]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for seed in range(options.seeds):
            data = digits(seed, size=SIZE)
            for kind in NETWORKS:
                model = trained(kind, seed, data, options.folder or Path(temporary))
                print(f"{kind}, seed {seed}: {100 * accuracy(model, data.test):.1f} %", flush=True)
                for way, (settings, given) in WAYS.items():
                    images = data.train.images[:IMAGES] if given else None
                    row = []
                    for kept in KEPT:
                        passes = [Factorise(macs=kept, unreachable="nearest", **settings)]
                        small = ks.apply_passes(model, passes, data=images, verify="structure")
                        row.append(100 * accuracy(small, data.test))
                    print(f"  {way}: " + " / ".join(f"{one:.1f}" for one in row), flush=True)
                    found.setdefault((way, kind), []).append(row)
    print("\n| | " + " | ".join(NETWORKS) + " |\n|---|" + "---|" * len(NETWORKS))
    for way in WAYS:
        cells = (" / ".join(f"{one:.0f}" for one in np.mean(found[way, kind], axis=0)) for kind in NETWORKS)
        print(f"| {way} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
