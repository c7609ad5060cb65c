"""What every test gets: quiet CPU-only TensorFlow, fixed seeds, Keras settings put back. See ``conftest.py``."""

from __future__ import annotations

import functools
import gc
import os
import platform
import random
import sys
import typing
from collections.abc import Iterator

import keras
import pytest
import tensorflow as tf
from tensorflow.python.eager import context

from kerasurgeon.generating import TooLittleTime, standing_in
from kerasurgeon.keras_io.equal_calls import equal_calls
from kerasurgeon.keras_io.kernels import describe
from kerasurgeon.keras_io.quick import less_bookkeeping
from kerasurgeon.trust import allow_imports
from tests.applications import ARCHITECTURES, COMPUTED
from tests.quick_draws import QUICK_DRAWS
from tests.spread import number


def pytest_configure() -> None:
    _keep_kernels()
    if sys.version_info < (3, 12):
        # As later versions do: TensorFlow asks for the same few protocols with every tensor that it is given.
        typing._get_protocol_attrs = functools.cache(typing._get_protocol_attrs)  # type: ignore[attr-defined]


def _keep_kernels() -> None:
    """Let TensorFlow keep its kernels when it is seeded, as it is before each test.

    It forgets them for those with random numbers of their own, which Keras does not call: its random numbers follow
    from what is given. To make a kernel takes as long as to run it a few times, and most tests run each just so often.
    """

    def seed(self: context.Context, number: int) -> None:
        self._seed, self._rng = number, random.Random(number)

    context.Context._set_global_seed = seed


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Say once what the machine can run; ``-q`` leaves out pytest's own header."""
    config = session.config
    worker = getattr(config, "workerinput", {"workerid": ""})["workerid"]
    if worker not in ("", "gw0"):
        return
    line = (
        f"{platform.machine()}, TF_ENABLE_ONEDNN_OPTS={os.environ.get('TF_ENABLE_ONEDNN_OPTS', 'unset')}: {describe()}"
    )
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if worker:
        config.workeroutput["machine"] = line  # type: ignore[attr-defined]  # for the process that writes
    elif reporter is not None:
        reporter.write_line(line)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "application" in metafunc.fixturenames:
        if metafunc.config.getoption("--all-architectures"):
            names = [pytest.param(name, marks=pytest.mark.sweep) for name in ARCHITECTURES]
        else:
            names = [pytest.param(COMPUTED[number(metafunc.definition.nodeid) % len(COMPUTED)])]
        metafunc.parametrize("application", names)


@pytest.fixture(autouse=True)
def kernels(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever the machine lacks is run by equal calls, but for tests marked ``bare``."""
    if request.node.get_closest_marker("bare"):
        yield
        return
    with equal_calls():
        yield


@pytest.fixture(autouse=True)
def layers_made_quickly(request: pytest.FixtureRequest) -> Iterator[None]:
    """Keras makes layers with less bookkeeping, but for tests marked ``plain`` and in the sweep."""
    if request.node.get_closest_marker("plain") or request.config.getoption("--all-architectures"):
        yield
        return
    with less_bookkeeping(), QUICK_DRAWS:
        yield


@pytest.fixture(autouse=True)
def no_generated_inputs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Passes generate inputs in tests marked ``generates`` alone."""

    def refuse(*args: object, **options: object) -> None:
        raise TooLittleTime("tests do not wait")

    if not request.node.get_closest_marker("generates"):
        monkeypatch.setattr(standing_in, "made_inputs", refuse)


@pytest.fixture
def untraced() -> Iterator[None]:
    """Trainings of a few steps run without being traced, which would take most of their time."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def own_names() -> Iterator[None]:
    """Names of tests, and of Keras, may be imported where options and recipes name them."""
    with allow_imports("tests", "keras", "math"):
        yield


@pytest.fixture(autouse=True)
def keras_defaults(request: pytest.FixtureRequest) -> Iterator[None]:
    """Seed 0 before each test; dtype policy, float type and image layout as they were after it."""
    policy = keras.config.dtype_policy()
    floatx, layout = keras.config.floatx(), keras.config.image_data_format()
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy(policy)
    keras.config.set_floatx(floatx)
    keras.config.set_image_data_format(layout)
    if "application" in request.fixturenames:
        gc.collect()  # models are reference cycles, the largest of 1.4 GB
