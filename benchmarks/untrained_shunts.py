"""Shunts in place of blocks of a trained network, not trained: fresh, and fitted to images by least squares.

    uv run --all-extras python benchmarks/untrained_shunts.py [--seed 0] [--folder FOLDER]

The residual network of ``benchmarks/pruning_defaults.py`` learns scikit-learn's digits; each of its blocks is replaced
in turn. Printed are accuracies on the test digits, without further training, as a table in Markdown. ``--folder`` keeps
the trained network for the next time.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from pruning_defaults import IMAGES, SIZE, accuracy, trained

import kerasurgeon as ks
from kerasurgeon.passes import ReplaceWithShunt
from kerasurgeon.workflows.data import digits

BLOCKS = tuple(f"stage{stage}_{block}" for stage in range(3) for block in range(2))
FITS = ("none", "least_squares")


def main() -> None:
    """Train, replace, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    data = digits(options.seed, size=SIZE)
    with tempfile.TemporaryDirectory() as temporary:
        model = trained("ResNet", options.seed, data, options.folder or Path(temporary))
    print(f"The network as it is: {accuracy(model, data.test):.1%}.\n")
    print("| block | " + " | ".join(f'`arch="4"`, `fit="{fit}"`' for fit in FITS) + " | of the variance missed |")
    print("|---|" + "---|" * (len(FITS) + 1))
    for block in BLOCKS:
        cells = []
        for fit in FITS:
            passes = [ReplaceWithShunt(block, "4", fit=fit)]
            result = ks.Pipeline(passes).run(
                model, data=data.train.images[:IMAGES], seed=options.seed, verify="structure"
            )
            cells.append(f"{100 * accuracy(result.model, data.test):.1f}")
        (step,) = result.report.passes[0].plans[0].steps
        print(f"| {block} | " + " | ".join(cells) + f" | {step.options['error']:.0%} |", flush=True)


if __name__ == "__main__":
    main()
