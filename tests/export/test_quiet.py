"""Nothing that TensorFlow, the converters or the runtimes say reaches the user."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from kerasurgeon.quiet import quiet

_EXPORTS = """
import sys
from kerasurgeon.quiet import import_quietly, silence_tensorflow_startup
silence_tensorflow_startup()
keras = import_quietly("keras")
import numpy as np
from kerasurgeon.errors import ExportError
from kerasurgeon.exporting import compare, export, latency

image = keras.Input((8, 8, 3), name="image")
x = keras.layers.Conv2D(4, 3, activation="gelu")(image)
model = keras.Model(image, keras.layers.Dense(3)(keras.layers.Flatten()(x)))
data = np.random.default_rng(0).random((8, 8, 8, 3), np.float32)
for suffix in ("keras", "tflite", "onnx"):
    export(model, f"{sys.argv[1]}/a.{suffix}")
for suffix in ("tflite", "onnx"):
    for quantize in ("float16", "dynamic"):
        export(model, f"{sys.argv[1]}/a.{suffix}", quantize=quantize)
    export(model, f"{sys.argv[1]}/a.{suffix}", quantize="int8", calibration=data)
    try:
        export(keras.Model(image, keras.ops.erfinv(image)), f"{sys.argv[1]}/b.{suffix}")
    except ExportError:
        pass
compare(f"{sys.argv[1]}/a.onnx", f"{sys.argv[1]}/a.tflite")
latency({"a": model, "b": f"{sys.argv[1]}/a.onnx"}, rounds=1)
"""


@pytest.mark.sweep  # tests/cli/test_process.py has the usual formats in every run
def test_a_whole_session_says_nothing(tmp_path: Path) -> None:
    """In a process with a fake root package: what the root imports is not this package's to silence."""
    root = Path(__file__).parents[2] / "kerasurgeon"
    fake = f"import sys, types; m = types.ModuleType('kerasurgeon'); m.__path__ = [{str(root)!r}]\n"
    code = fake + "sys.modules['kerasurgeon'] = m\n" + _EXPORTS
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("TF_", "GLOG_"))}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr == ""


def test_importing_the_package_imports_no_tensorflow() -> None:
    root = Path(__file__).parents[2] / "kerasurgeon"
    code = (
        f"import sys, types; m = types.ModuleType('kerasurgeon'); m.__path__ = [{str(root)!r}]\n"
        "sys.modules['kerasurgeon'] = m\n"
        "import kerasurgeon.exporting, kerasurgeon.quiet\n"
        "assert not {'tensorflow', 'keras', 'onnx', 'tf2onnx'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_descriptors_are_silenced_and_restored(capfd: pytest.CaptureFixture[str]) -> None:
    os.write(1, b"before\n")
    with quiet() as captured:
        os.write(1, b"from C\n")
        sys.stderr.write("from Python\n")
        warnings.warn("from warnings", stacklevel=1)
        assert "from C" in captured.tail()
        assert "from Python" in captured.tail()
    assert "from C" in captured.tail()
    os.write(2, b"after\n")
    seen = capfd.readouterr()
    assert (seen.out, seen.err) == ("before\n", "after\n")


def _interrupted() -> None:
    with quiet() as outer:
        with quiet() as inner:
            assert inner is outer
        os.write(2, b"still quiet\n")
        raise KeyboardInterrupt


def test_nesting_and_exceptions(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt):
        _interrupted()
    os.write(2, b"heard\n")
    assert capfd.readouterr().err == "heard\n"


def test_many_times_leaks_no_descriptors() -> None:
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(50):
        with quiet():
            pass
    after = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    assert after == before


def test_log_levels_are_restored() -> None:
    logger = logging.getLogger("tf2onnx")
    logger.setLevel(logging.WARNING)
    with quiet():
        assert logger.level == logging.ERROR
    assert logger.level == logging.WARNING
