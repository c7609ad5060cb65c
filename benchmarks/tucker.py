"""Our Tucker-2 decomposition of convolution kernels against tensorly's, interleaved: time, error and their ratio.

    uv run python benchmarks/tucker.py [--quick]

Each kernel has decaying spectra in both channel modes (singular values about as i^-0.6), in a random basis. Both run
with one BLAS thread, which is the best for either: see ``kerasurgeon.factors.one_blas_thread``. White kernels
(independent entries) get as many sweeps as reach tensorly's error. Below the table: all 3 x 3 kernels of ResNet50's
shapes, and the whole pass ``TuckerSplit(ratio=0.5)`` on ResNet50, from a Keras model to a new one.
"""

from __future__ import annotations

import argparse
import platform
import time
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from tensorly.decomposition import partial_tucker

from kerasurgeon.factors import METHODS, Shape, one_blas_thread

Array = np.ndarray[Any, Any]
Method = Callable[[Array, int], tuple[Array, Array, Array]]

CASES = ((512, 128), (512, 256), (256, 64), (256, 128))
QUICK = ((256, 64), (256, 128))
WHITE = ((512, 128), (512, 256))
# Channels of the 3 x 3 convolutions of ResNet50, and how many there are of each.
RESNET50 = ((64, 3), (128, 4), (256, 6), (512, 3))
MOST_SWEEPS = 64


def decaying_kernel(channels: int, seed: int, power: float = 0.6) -> Array:
    """A 3 x 3 kernel, float32, with decaying spectra of its channel modes."""
    rng = np.random.default_rng(seed)
    scale = np.arange(1, channels + 1) ** -power
    core = rng.standard_normal((3, 3, channels, channels)) * scale[:, None] * scale
    left, right = (np.linalg.qr(rng.standard_normal((channels, channels)))[0] for _ in range(2))
    kernel: Array = (left @ core @ right).astype("float32")
    return kernel


def white_kernel(channels: int, seed: int) -> Array:
    """A 3 x 3 kernel, float32, of independent normal entries."""
    return np.random.default_rng(seed).standard_normal((3, 3, channels, channels)).astype("float32")


def ours(kernel: Array, rank: int, sweeps: int = 1) -> tuple[Array, Array, Array]:
    prepared = METHODS["tucker"].prepare(kernel[None], Shape(kernel.shape[:2], *kernel.shape[2:]))
    first, core, last = prepared.factors((rank, rank), sweeps=sweeps).kernels
    return core[0], first[0, 0, 0], last[0, 0, 0].T


def theirs(kernel: Array, rank: int) -> tuple[Array, Array, Array]:
    (core, (u_in, u_out)), _ = partial_tucker(kernel, rank=[rank, rank], modes=[2, 3])
    return core, u_in, u_out


def error_of(kernel: Array, core: Array, u_in: Array, u_out: Array) -> float:
    """The relative error, from the reconstructed kernel in float64."""
    exact = kernel.astype("float64")
    rebuilt = u_in.astype("float64") @ core.astype("float64") @ u_out.astype("float64").T
    return float(np.linalg.norm(exact - rebuilt) / np.linalg.norm(exact))


@dataclass
class Measured:
    """Milliseconds of each round, on the clock and of computing, and the error."""

    clock: list[float] = field(default_factory=list)
    computing: list[float] = field(default_factory=list)
    error: float = 0.0

    def run(self, method: Method, kernel: Array, rank: int) -> None:
        clock, computing = time.perf_counter(), time.process_time()
        factors = method(kernel, rank)
        self.computing.append(1e3 * (time.process_time() - computing))
        self.clock.append(1e3 * (time.perf_counter() - clock))
        self.error = error_of(kernel, *factors)


def compared(kernel: Array, rank: int, rounds: int, sweeps: int = 1) -> list[str]:
    """One row of the table, but for the case itself."""
    mine, reference = Measured(), Measured()
    ours(kernel, rank)  # the first call pays for pages and for loading
    for _ in range(rounds):
        mine.run(partial(ours, sweeps=sweeps), kernel, rank)
        reference.run(theirs, kernel, rank)
    cells = []
    for one, other in ((mine.clock, reference.clock), (mine.computing, reference.computing)):
        quick, slow = median(one), median(other)
        cells += [f"{quick:,.0f} ms", f"{slow:,.0f} ms", f"{slow / quick:.1f} x"]
    return [*cells, f"{mine.error:.5f}", f"{reference.error:.5f}", f"{mine.error / reference.error:.5f}"]


def sweeps_to_match(kernel: Array, rank: int) -> int:
    """The smallest number of sweeps, up to some, whose error is at most tensorly's."""
    wanted = error_of(kernel, *theirs(kernel, rank))
    tried = range(1, MOST_SWEEPS + 1)
    found = bisect_left(tried, -wanted, key=lambda sweeps: -error_of(kernel, *ours(kernel, rank, sweeps)))
    return tried[min(found, len(tried) - 1)]


def resnet50(seed: int, rounds: int, console: Console) -> None:
    """Time of all 3 x 3 convolutions of ResNet50 at half of their channels."""
    kernels = [decaying_kernel(channels, seed + copy) for channels, count in RESNET50 for copy in range(count)]
    clock, computing = [], []
    for _ in range(rounds + 1):
        start, used = time.perf_counter(), time.process_time()
        for kernel in kernels:
            ours(kernel, kernel.shape[-1] // 2)
        clock.append(time.perf_counter() - start)
        computing.append(time.process_time() - used)
    console.print(
        f"{len(kernels)} 3 x 3 kernels of ResNet50's shapes at rank .5: {median(clock[1:]):.2f} s"
        f" ({median(computing[1:]):.2f} s of computing)",
        highlight=False,
    )


def whole_pass(rounds: int, console: Console) -> None:
    """Time of the pass on all of ResNet50, from a Keras model to a new one, at half of the ranks."""
    import keras

    from kerasurgeon import Pipeline
    from kerasurgeon.passes import TuckerSplit

    model = keras.applications.ResNet50(weights=None)
    pipeline = Pipeline([TuckerSplit(ratio=0.5)])
    clock, computing = [], []
    for _ in range(rounds + 1):
        start, used = time.perf_counter(), time.process_time()
        result = pipeline.run(model, verify="structure")
        clock.append(time.perf_counter() - start)
        computing.append(time.process_time() - used)
    console.print(
        f"TuckerSplit(ratio=0.5) on ResNet50, lift to emit, {len(result.report.passes[0].changed)} layers split: "
        f"{median(clock[1:]):.2f} s ({median(computing[1:]):.2f} s of computing)",
        highlight=False,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="256 channels only, three rounds")
    parser.add_argument("--rounds", type=int, default=0, help="how often each is timed (default 5; quick: 3)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rounds = options.rounds or (3 if options.quick else 5)
    table = Table(title=f"Tucker-2 of 3 x 3 kernels, medians of {rounds} rounds, one BLAS thread", title_justify="left")
    for column in ("spectrum", "channels", "rank", "sweeps"):
        table.add_column(column, justify="right")
    for column in ("ours", "tensorly", "ratio", "ours, CPU", "tensorly, CPU", "ratio, CPU"):
        table.add_column(column, justify="right")
    for column in ("our error", "tensorly's", "ratio"):
        table.add_column(column, justify="right")
    console = Console(width=160)
    with one_blas_thread():
        for channels, rank in QUICK if options.quick else CASES:
            kernel = decaying_kernel(channels, options.seed)
            table.add_row("i^-0.6", str(channels), str(rank), "1", *compared(kernel, rank, rounds))
        for channels, rank in () if options.quick else WHITE:
            kernel = white_kernel(channels, options.seed)
            sweeps = sweeps_to_match(kernel, rank)
            row = compared(kernel, rank, max(1, rounds // 2), sweeps)
            table.add_row("white", str(channels), str(rank), str(sweeps), *row)
        console.print(table)
        resnet50(options.seed, rounds, console)
    whole_pass(rounds, console)
    console.print(f"numpy {np.__version__}, {platform.machine()}, seed {options.seed}", highlight=False)


if __name__ == "__main__":
    main()
