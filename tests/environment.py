"""What the processes of a test run inherit; importing this sets it, and must come before TensorFlow is imported.

TensorFlow's 2,000 modules take 7 s to compile and 2 s to load, and a run starts dozens of processes: the workers and
those that tests are about. Where bytecode must not be written (``PYTHONDONTWRITEBYTECODE``), the run keeps its own
beside pytest's cache.

A worker has the processor's cores to share with the other workers. Two that use all of them wait for each other.
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

BYTECODE = Path(__file__).resolve().parent.parent / ".pytest_cache" / "bytecode"
THREADS = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def set_up() -> None:
    """Set what this process and those that it starts go by; what the caller has set stays."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    if platform.machine().lower() in ("x86_64", "amd64"):
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", str(int(_has_avx512())))
    _keep_bytecode()
    if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
        _share_cores(int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))


def _has_avx512() -> bool:
    """Whether the processor has AVX-512. On those without, oneDNN as TensorFlow 2.21 has it writes beside its memory.

    It does so in the gradient of a convolution by a 1 x 1 kernel with stride 2 that reads 3, 4 or 6 channels, and the
    process ends in an abort, there or later. TensorFlow itself leaves oneDNN off on such processors.
    """
    try:
        return "avx512f" in Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return False


def _keep_bytecode() -> None:
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
        os.environ.setdefault("PYTHONPYCACHEPREFIX", str(BYTECODE))
        sys.dont_write_bytecode = False
        sys.pycache_prefix = os.environ["PYTHONPYCACHEPREFIX"]


def _share_cores(workers: int) -> None:
    threads = max(1, (os.cpu_count() or 1) // workers)
    for name in THREADS:
        os.environ.setdefault(name, str(threads))


set_up()
