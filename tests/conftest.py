"""What every test gets: quiet CPU-only TensorFlow, fixed seeds, Keras settings put back, the sweep switch.

The rule for processors: on x86 with AVX-512, oneDNN is switched on, unless ``TF_ENABLE_ONEDNN_OPTS`` says otherwise,
so that TensorFlow has kernels for channels-first layers and their like. Where it has none (oneDNN off, ARM), tests run
such layers by the library's equal calls, which ``keras_io/test_equal_calls.py`` compares with another compiler. A test
marked ``bare`` gets no such help: it is about what the library itself does on such a machine.

The rule for pruning without data: tests do not wait for inputs to be generated, batch-norm means take their place as
where the time is too short. A test that is about generated inputs is marked ``generates``.

The rule for sweeps: a test that takes ``application`` runs on one of ``COMPUTED``, as part of every run; which one
follows from its name. With ``--all-architectures`` it runs over all of keras.applications instead and is marked
``sweep``. Of the cases of a test marked ``spread(n)`` every n-th is part of every run, and the others are marked
``sweep``: with all of them, what is built and computed again and again takes an hour. So
``pytest -m sweep --all-architectures`` runs every architecture and all cases that the usual run leaves out. A test that
is itself marked ``sweep`` runs only with that option or with a ``-m`` expression that names sweep; one marked
``example`` only with a ``-m`` expression that names example. Cases that are named one by one are run.
"""

from __future__ import annotations

import gc
import os
import platform
import random
import zlib
from collections import Counter
from collections.abc import Iterator

import tests.environment  # noqa: F401  before TensorFlow is imported, by whatever imports it first

# isort: split

import keras
import pytest
import tensorflow as tf
from tensorflow.python.eager import context

from kerasurgeon.channels import defaults
from kerasurgeon.generating import TooLittleTime
from kerasurgeon.keras_io.equal_calls import equal_calls
from kerasurgeon.keras_io.kernels import describe
from kerasurgeon.trust import allow_imports
from tests.applications import ARCHITECTURES, COMPUTED

# Warnings that a zoo model is bound to cause; a test cannot do anything about them.
EXPECTED_WARNINGS = (
    # Masks do reach nested models; Keras says that they end there.
    r"ignore:Layer '.*' \(of type (Functional|Sequential)\) was passed an input with a mask:UserWarning",
    # `custom_without_build` is about this; Keras loads it well all the same.
    r"ignore:`build\(\)` was called on layer 'block':UserWarning",
    # Of TensorFlow, where functions are not traced.
    r"ignore:Even though the `tf.config:UserWarning",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all-architectures",
        action="store_true",
        help="run the tests marked sweep: every keras.applications architecture and every case, not the spread alone",
    )


def pytest_configure(config: pytest.Config) -> None:
    for line in EXPECTED_WARNINGS:
        config.addinivalue_line("filterwarnings", line)
    _keep_kernels()


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
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and not hasattr(session.config, "workerinput"):
        onednn = os.environ.get("TF_ENABLE_ONEDNN_OPTS", "unset")
        reporter.write_line(f"{platform.machine()}, TF_ENABLE_ONEDNN_OPTS={onednn}: {describe()}")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "application" in metafunc.fixturenames:
        if metafunc.config.getoption("--all-architectures"):
            names = [pytest.param(name, marks=pytest.mark.sweep) for name in ARCHITECTURES]
        else:
            names = [pytest.param(COMPUTED[_number(metafunc.definition.nodeid) % len(COMPUTED)])]
        metafunc.parametrize("application", names)


def _number(name: str) -> int:
    """One that follows from a name, on every machine."""
    return zlib.crc32(name.encode())


def _leave_cases_to_the_sweep(items: list[pytest.Item]) -> None:
    """Mark what ``spread`` leaves out of the usual run. Where it begins to count follows from the file's name.

    So the tests of a file take the same networks, which are built once, and those of other files take others.
    """
    seen: Counter[str] = Counter()
    for item in items:
        spread = item.get_closest_marker("spread")
        if spread is not None:
            test = item.nodeid.split("[")[0]
            if (_number(test.split("::")[0]) + seen[test]) % spread.args[0]:
                item.add_marker("sweep")
            seen[test] += 1


@pytest.hookimpl(tryfirst=True)  # before pytest looks at `-m`
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not any("[" in name for name in config.args):
        _leave_cases_to_the_sweep(items)
    expression = config.getoption("-m")
    asked_for = {
        "sweep": config.getoption("--all-architectures") or "sweep" in expression,
        "example": "example" in expression,
    }
    left_out = [
        item for item in items if any(item.get_closest_marker(mark) for mark, asked in asked_for.items() if not asked)
    ]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_collection_finish() -> None:
    """Leave what is there now, TensorFlow and all tests, out of later collections: each would take half a second.

    Models are cycles of many thousand objects: to look through them with every 700 takes a twentieth of the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@pytest.fixture(autouse=True)
def kernels(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever the machine lacks is run by equal calls, but for tests marked ``bare``."""
    if request.node.get_closest_marker("bare"):
        yield
        return
    with equal_calls():
        yield


@pytest.fixture(autouse=True)
def no_generated_inputs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Passes generate inputs in tests marked ``generates`` alone."""

    def refuse(*args: object, **options: object) -> None:
        raise TooLittleTime("tests do not wait")

    if not request.node.get_closest_marker("generates"):
        monkeypatch.setattr(defaults, "made_inputs", refuse)
        monkeypatch.setattr("kerasurgeon.passes.compress.made_inputs", refuse)


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
