"""Models drawn at random over all layers and ops, written to both formats and run: no file may compute something else.

hypothesis makes every choice of the generator that the hunt for faults draws its models with, so that what fails is
made smaller. The oracle is Keras; the files are run by their runtimes, optimised and as they are.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from kerasurgeon.exporting.graph_writing import CannotWrite
from kerasurgeon.exporting.signature import input_infos, output_infos
from tests.export.single_layers import written as onnx_written
from tests.export.test_onnx_writer import run as run_onnx
from tests.export.test_tflite_writer import run as run_tflite
from tests.export.test_tflite_writer import written as tflite_written
from tests.fuzz.case import Arrays, Case
from tests.fuzz.case import difference as largest_difference
from tests.fuzz.models import KINDS, draw_model

PARTS, MODELS = 100, 3
ROUNDING = 2e-4
"""How far a file may be off, by the largest number of an output; where rounding moves the model itself, further."""


class Chosen(random.Random):
    """Random numbers that hypothesis chooses."""

    draw: st.DrawFn

    def random(self) -> float:
        return self.draw(st.integers(0, 999)) / 1000

    def _randbelow(self, n: int) -> int:
        return self.draw(st.integers(0, n - 1))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    chosen = Chosen()
    chosen.draw = draw
    number = draw(st.integers(0, len(KINDS)))
    return Case(*_drawn(number, chosen))


def _drawn(number: int, chosen: random.Random) -> tuple[Any, int, Any]:
    description, made = draw_model(number, "float32", chosen)
    return description, number, made


def given_to(case: Case) -> Arrays:
    """The inputs in the order of the model's."""
    return [case.feeds[info.name] for info in input_infos(case.model)]


def onnx_runs(case: Case) -> list[Arrays]:
    proto = onnx_written(case.model)
    return [run_onnx(proto, *given_to(case), optimised=optimised) for optimised in (True, False)]


def tflite_runs(case: Case) -> list[Arrays]:
    data = tflite_written(case.model, batch_size=None if case.seed % 2 else len(case.inputs[0]))
    return [run_tflite(data, *given_to(case), plain=plain) for plain in (False, True)]


WAYS: dict[str, Callable[[Case], list[Arrays]]] = {"ONNX": onnx_runs, "TFLite": tflite_runs}


def wrong(case: Case) -> str | None:
    """What is wrong with the files of a model; ``None`` if nothing is."""
    said_types = [info.dtype for info in output_infos(case.model)]  # Keras may give another than it says
    wanted = [each.astype(dtype) for each, dtype in zip(case.outputs, said_types, strict=True)]
    for name, runs in WAYS.items():
        try:
            found = runs(case)
        except CannotWrite:
            continue
        for way, outputs in zip(("optimised", "plain"), found, strict=True):
            for place, (one, other) in enumerate(zip(wanted, outputs, strict=True)):
                said = f"{name}, {way}, output {place}"
                if one.shape != other.shape or one.dtype != other.dtype:
                    return f"{said}: {other.dtype} {other.shape} instead of {one.dtype} {one.shape}"
                apart = largest_difference([one], [other])
                if apart > ROUNDING and apart > (allowed := 200 * case.noise()):
                    return f"{said}: {apart:.2g} apart, and rounding explains {allowed:.2g}"
    return None


@pytest.mark.spread(PARTS)
@pytest.mark.parametrize("part", range(PARTS))
def test_random_models_as_files(part: int) -> None:
    @seed(part)
    @settings(max_examples=MODELS, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(cases())
    def each(case: Case) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = wrong(case)
        assert found is None, f"{found}\n{case.description}"

    each()


def test_a_wrong_file_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(*_drawn(3, random.Random(3)))
    assert wrong(case) is None
    monkeypatch.setitem(WAYS, "TFLite", lambda case: [[np.asarray(each + 1, each.dtype) for each in case.outputs]] * 2)
    assert "TFLite, optimised, output 0" in str(wrong(case))
