"""Which tests are run, and the rules of all. What each gets is in ``fixtures.py``: seeds, Keras' settings put back.

It is imported where tests are run alone: the process that gives others their tests would keep them waiting.

The rule for processors: on x86 with AVX-512, oneDNN is switched on, unless ``TF_ENABLE_ONEDNN_OPTS`` says otherwise,
so that TensorFlow has kernels for channels-first layers and their like. Where it has none (oneDNN off, ARM), tests run
such layers by the library's equal calls, which ``keras_io/test_equal_calls.py`` compares with another compiler. A test
marked ``bare`` gets no such help: it is about what the library itself does on such a machine.

The rule for pruning without data: tests do not wait for inputs to be generated, batch-norm means take their place as
where the time is too short. A test that is about generated inputs is marked ``generates``.

The rule for layers: what tests build is made with less bookkeeping, as the library makes it, which is a sixth of their
time. ``keras_io/test_quick.py`` shows that these are the layers that Keras makes. Keras' own way go tests marked
``plain``, all processes that tests start, and the sweep.

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
from collections import Counter
from typing import Any

import pytest

import tests.environment  # noqa: F401  before TensorFlow is imported, by whatever imports it first
from tests.spread import number

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
    if config.getoption("dist", "no") == "no" or config.getoption("collectonly"):
        config.pluginmanager.import_plugin("tests.fixtures")


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Write what the first worker says of the machine."""
    machine = getattr(node, "workeroutput", {}).get("machine")
    if machine:
        node.config.pluginmanager.get_plugin("terminalreporter").write_line(f"\n{machine}")


def _leave_cases_to_the_sweep(items: list[pytest.Item]) -> None:
    """Mark what ``spread`` leaves out of the usual run. Where it begins to count follows from the file's name.

    So the tests of a file take the same networks, which are built once, and those of other files take others.
    """
    seen: Counter[str] = Counter()
    for item in items:
        spread = item.get_closest_marker("spread")
        if spread is not None:
            test = item.nodeid.split("[")[0]
            if (number(test.split("::")[0]) + seen[test]) % spread.args[0]:
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
    unasked = [mark for mark, asked in asked_for.items() if not asked]
    left_out = [any(item.get_closest_marker(mark) for mark in unasked) for item in items]
    if any(left_out):
        config.hook.pytest_deselected(items=[item for item, out in zip(items, left_out, strict=True) if out])
        items[:] = [item for item, out in zip(items, left_out, strict=True) if not out]


def pytest_collection_finish() -> None:
    """Leave what is there now, TensorFlow and all tests, out of later collections: each would take half a second.

    Models are cycles of many thousand objects: to look through them with every 700 takes a twentieth of the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
