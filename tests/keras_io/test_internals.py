"""Keras' private attributes are read in keras_io alone; a Keras that lacks some is answered in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict

import keras
import pytest

from kerasurgeon.keras_io import calls_of, flatten_layers, input_structure, operations, output_structure, producer
from tests.sources import LIBRARY, PASSES, ROOT, Source, read, source

pytestmark = pytest.mark.plain

NOT_KERAS = {"_getframe", "_fields", "_replace", "_asdict"}  # of sys and of named tuples


def strangers(rooms: dict[str, list[Source]]) -> list[str]:
    """Private attributes that are read in a room and defined nowhere in it."""
    found = []
    for room, files in rooms.items():
        own = NOT_KERAS.union(*(file.own for file in files))
        found += [f"{room}:{line} {name}" for file in files for name, line in file.private if name not in own]
    return found


def test_private_attributes_outside_keras_io_are_the_rooms_own() -> None:
    rooms: dict[str, list[Source]] = defaultdict(list)
    for path in [*LIBRARY, *PASSES]:
        room = path.relative_to(ROOT / "kerasurgeon").parts[0] if path in LIBRARY else "passes"
        if room != "keras_io":
            rooms[room].append(source(path))
    assert strangers(rooms) == []


@pytest.mark.parametrize(
    "code",
    [
        "tensor._keras_history.operation",
        "[layer for layer in model._flatten_layers()]",
        "getattr(model, '_outputs_struct', None)",
        "class Loss(keras.Loss):\n    def get(self):\n        return self._fn_kwargs",
        "hasattr(layer, '_inbound_nodes')",
    ],
)
def test_what_the_test_above_finds(code: str) -> None:
    assert strangers({"room": [read(code)]})
    assert not strangers({"room": [read("self._own = 1\nself._own")]})


def test_the_public_functions_say_what_keras_holds() -> None:
    inputs = {"a": keras.Input((4,), name="a"), "b": keras.Input((4,), name="b")}
    shared = keras.layers.Dense(3, name="shared")
    inner = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="inside")], name="inner")
    joined = keras.ops.add(shared(inputs["a"]), shared(inputs["b"]))
    model = keras.Model(inputs, {"out": inner(joined)})
    names = [operation.name for operation in operations(model)]
    assert names.count("inside") == 1
    assert {"a", "b", "shared", "inner"} <= set(names)
    assert {layer.name for layer in flatten_layers(model)} >= {"shared", "inside", model.name}
    assert len(calls_of(shared)) == 2
    assert calls_of(shared)[1].input_tensors == [inputs["b"]]
    assert producer(joined).name == calls_of(inner)[-1].input_tensors[0]._keras_history.operation.name
    assert list(input_structure(model)) == ["a", "b"]
    assert list(output_structure(model)) == ["out"]


# An unknown Keras: parts are taken away before kerasurgeon is imported, each time in a process of its own. They branch
# off one that has imported Keras, which takes seconds.

NEWER = "keras.__version__ = '9.9.0'\n"
NOT_NEEDED = {
    "newer": NEWER,
    "no TrackedSet": "without('keras.src.utils.tracking', 'TrackedSet')",
    "no python_random": "without('keras.src.random.seed_generator', 'python_random')",
}
NEEDED = {
    "keras.src.ops.node.Node": "without('keras.src.ops.node', 'Node')",
    "keras.src.layers.layer.CallSpec": "without('keras.src.layers.layer', 'CallSpec')",
    "Layer._maybe_build": f"{NEWER}later = 'del keras.Layer._maybe_build'",
}
PROGRAM = """
import os
import sys
import types
import keras

def without(module, name):
    # A module as kerasurgeon will find it; Keras itself has all that it needs already.
    whole = __import__(module, fromlist=["*"])
    part = types.ModuleType(module)
    vars(part).update({key: value for key, value in vars(whole).items() if key != name})
    sys.modules[module] = part

def there_and_back(before):
    given = {"keras": keras, "without": without, "later": ""}
    exec(before, given)
    try:
        import kerasurgeon as ks
        from kerasurgeon.keras_io import emit, lift
        x = keras.Input((8, 8, 3))
        y = keras.layers.Conv2D(4, 3, name="conv")(x)
        y = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(y * 2.0))
        model = keras.Model(x, y)
        exec(given["later"])
        again = emit(lift(model))
        data = keras.random.normal((2, 8, 8, 3), seed=1)
        assert float(keras.ops.max(keras.ops.abs(model(data) - again(data)))) == 0.0
        print("SAME", flush=True)
    except ks.UnknownKerasError as error:
        print("TOLD", error, flush=True)

for before in sys.argv[1:]:
    child = os.fork()
    if not child:
        there_and_back(before)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, before
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes do not branch off here")
def test_an_unknown_keras() -> None:
    """What is not needed may be missing; what is needed and missing is named, with the releases that are known."""
    changes = [*NOT_NEEDED.values(), *NEEDED.values()]
    command = [sys.executable, "-c", PROGRAM, *changes]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.strip().splitlines()
    assert len(lines) == len(changes), done.stdout
    assert lines[: len(NOT_NEEDED)] == ["SAME"] * len(NOT_NEEDED)
    for missing, told in zip(NEEDED, lines[len(NOT_NEEDED) :], strict=True):
        assert told.startswith("TOLD kerasurgeon knows Keras 3.15"), told
        assert missing in told
        assert "install keras==" in told


def test_the_installed_keras_is_known() -> None:
    from kerasurgeon.keras_io.known_keras import is_known, require_known

    require_known()
    assert is_known(), keras.__version__
