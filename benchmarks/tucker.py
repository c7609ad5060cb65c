"""Our Tucker-2 decomposition of convolution kernels against tensorly's, interleaved: time, error and their ratio.

    uv run python benchmarks/tucker.py [--quick]

Each kernel has decaying spectra in both channel modes (singular values about as i^-0.6), in a random basis. Both run
with one BLAS thread, which is the best for either: see ``kerasurgeon.passes.tucker.one_blas_thread``.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from tensorly.decomposition import partial_tucker

from kerasurgeon.passes.tucker import ChannelModes, one_blas_thread

Array = np.ndarray[Any, Any]
Method = Callable[[Array, int], tuple[Array, Array, Array]]

CASES = ((512, 128), (512, 256), (256, 64), (256, 128))
QUICK = ((256, 64), (256, 128))


def decaying_kernel(channels: int, seed: int, power: float = 0.6) -> Array:
    """A 3 x 3 kernel, float32, with decaying spectra of its channel modes."""
    rng = np.random.default_rng(seed)
    scale = np.arange(1, channels + 1) ** -power
    core = rng.standard_normal((3, 3, channels, channels)) * scale[:, None] * scale
    left, right = (np.linalg.qr(rng.standard_normal((channels, channels)))[0] for _ in range(2))
    kernel: Array = (left @ core @ right).astype("float32")
    return kernel


def ours(kernel: Array, rank: int) -> tuple[Array, Array, Array]:
    factors = ChannelModes(kernel).decompose(rank, rank)
    assert factors.u_in is not None
    assert factors.u_out is not None
    return factors.core, factors.u_in, factors.u_out


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


def compared(kernel: Array, rank: int, rounds: int) -> list[str]:
    """One row of the table, but for the case itself."""
    ours(kernel, rank)  # the first call pays for pages and for loading
    mine, reference = Measured(), Measured()
    for _ in range(rounds):
        mine.run(ours, kernel, rank)
        reference.run(theirs, kernel, rank)
    cells = []
    for one, other in ((mine.clock, reference.clock), (mine.computing, reference.computing)):
        quick, slow = median(one), median(other)
        cells += [f"{quick:,.0f} ms", f"{slow:,.0f} ms", f"{slow / quick:.1f} x"]
    return [*cells, f"{mine.error:.5f}", f"{reference.error:.5f}", f"{mine.error / reference.error:.5f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="256 channels only, three rounds")
    parser.add_argument("--rounds", type=int, default=0, help="how often each is timed (default 5; quick: 3)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rounds = options.rounds or (3 if options.quick else 5)
    table = Table(title=f"Tucker-2 of 3 x 3 kernels, medians of {rounds} rounds, one BLAS thread", title_justify="left")
    for column in ("channels", "rank", "ours", "tensorly", "ratio", "ours, CPU", "tensorly, CPU", "ratio, CPU"):
        table.add_column(column, justify="right")
    for column in ("our error", "tensorly's", "ratio"):
        table.add_column(column, justify="right")
    with one_blas_thread():
        for channels, rank in QUICK if options.quick else CASES:
            kernel = decaying_kernel(channels, options.seed)
            table.add_row(str(channels), str(rank), *compared(kernel, rank, rounds))
    console = Console(width=140)
    console.print(table)
    console.print(f"numpy {np.__version__}, {platform.machine()}, seed {options.seed}", highlight=False)


if __name__ == "__main__":
    main()
