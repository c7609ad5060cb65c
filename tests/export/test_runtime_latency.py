"""Latency on a runtime, as a function of the model. Nothing here depends on how fast the machine is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.errors import ExportError, OptionError
from kerasurgeon.exporting import runtime_latency
from kerasurgeon.exporting.benchmark import Latency, LatencyTable
from kerasurgeon.passes import PruneChannels

layers = keras.layers


def net(width: int, name: str = "net") -> keras.Model:
    inputs = x = keras.Input((32, 32, 3))
    for place in range(3):
        x = layers.Conv2D(width, 3, padding="same", activation="relu", name=f"conv{place}")(x)
    return keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)), name=name)


@pytest.mark.parametrize("runtime", ["tflite", "onnx", "keras"])
def test_more_work_takes_longer_and_files_are_removed(
    runtime: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    measure = ks.latency_on(runtime, rounds=3)
    small = measure(net(8))
    large = measure(net(80))  # almost a hundred times the work
    assert 0 < small < large
    assert not list(tmp_path.iterdir())


def test_a_slower_machine_is_not_a_slower_model(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def slower_each_time(models: dict[str, Any], **options: Any) -> LatencyTable:
        asked.append((dict(models), options))
        times = [10.0 * len(asked), 4.0 * len(asked)][: len(models)]
        rows = tuple(Latency(name, "keras", ms, ms, ms, 1.0) for name, ms in zip(models, times, strict=True))
        return LatencyTable(rows, 1, 1, 1)

    monkeypatch.setattr(runtime_latency, "latency", slower_each_time)
    measure = ks.latency_on("keras", threads=2, rounds=7)
    first, second = net(4), net(2)
    assert measure(first) == 10.0
    assert [measure(second), measure(second)] == [4.0, 4.0]
    assert asked[2][0] == {"first": first, "this": second}
    assert asked[2][1] == {"rounds": 7, "warmup": 3, "threads": 2, "batch_size": 1, "inputs": None, "seed": 0}


def test_what_is_measured_can_be_quantised() -> None:
    images = np.random.default_rng(0).normal(size=(8, 32, 32, 3)).astype("float32")
    assert ks.latency_on("tflite", rounds=1, quantize="int8", calibration=images)(net(4)) > 0


def test_pruning_to_a_measured_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that goes with the work, as a busy machine's does not."""
    timed: list[keras.Model] = []

    def by_macs(models: dict[str, keras.Model], **_: Any) -> LatencyTable:
        timed.extend(models.values())
        times = [ks.cost(model).macs / 1e6 for model in models.values()]
        rows = tuple(Latency(name, "keras", ms, ms, ms, 1.0) for name, ms in zip(models, times, strict=True))
        return LatencyTable(rows, 1, 1, 1)

    monkeypatch.setattr(runtime_latency, "latency", by_macs)
    measure = ks.latency_on("keras", rounds=1)
    result = ks.Pipeline([PruneChannels(latency=0.5, latency_of=measure)]).run(net(96), verify="types")
    assert len(timed) > 2
    assert result.model.get_layer("conv1").filters < 96
    assert 0.4 < ks.cost(result.model).macs / ks.cost(net(96)).macs <= 0.5
    assert "target: latency" in str(result.report.passes[0].changed)


def test_mistakes() -> None:
    with pytest.raises(OptionError, match=r"(?s)no such runtime.*did you mean 'tflite'"):
        ks.latency_on("tflit")
    with pytest.raises(OptionError, match="not quantised here"):
        ks.latency_on("keras", quantize="int8")
    with pytest.raises(OptionError, match="Nothing to measure"):
        ks.latency_on("keras", rounds=0)(net(4))
    broken = net(4)
    broken.get_layer("conv0").bias.assign(np.full(4, np.nan))
    with pytest.raises(ExportError, match="finite"):
        ks.latency_on("tflite")(broken)
