"""What both tables of docs/export_support.md are made with: one thread, this repository's code, one file for both."""

from __future__ import annotations

import os
import sys
from pathlib import Path

for variable in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

FORMATS = ("onnx", "tflite")
TITLE = "## Single layers"


def tables(path: Path | None) -> tuple[str, str]:
    """What a file has before the title of the second table, and from there on; nothing where there is no file."""
    text = path.read_text(encoding="utf-8") if path is not None and path.exists() else ""
    before, title, behind = text.partition(f"\n{TITLE}")
    return before, title + behind
