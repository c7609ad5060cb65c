"""Layers made with less bookkeeping are the layers that Keras makes: in every attribute, also in the private ones."""

from __future__ import annotations

import gc
import inspect
import re
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from keras.src.utils import naming

from kerasurgeon.keras_io import emit, lift, quick, shortcuts
from kerasurgeon.keras_io.quick import quick_keras
from kerasurgeon.keras_io.quick_variables import INITIALIZE
from kerasurgeon.keras_io.replaced import Replaced
from tests.keras_io.facts import SAME, bitwise_equal, values
from tests.quick_draws import QUICK_DRAWS
from tests.zoo import build

pytestmark = pytest.mark.plain

PLAIN = (str, bytes, int, float, bool, complex, type(None), type, np.dtype, np.generic, inspect.Signature)
# Counted over the whole process, or the place of an object in memory: differs between any two that Keras makes.
ACCIDENTAL = {
    "_unique_id",
    "stored_ids",
    "_handle",
    "_handle_name",
    "_parent_trackable",
    "_id",
    "_uid",
    "keras_api_names",
}


def anatomy(thing: Any) -> Iterator[tuple[str, Any]]:
    """Everything that can be reached from an object: where it is, and its type or, of plain values, the value."""
    seen: dict[int, int] = {}
    kept = []
    waiting: list[tuple[str, Any]] = [("", thing)]
    while waiting:
        path, item = waiting.pop()
        if isinstance(item, PLAIN):
            yield path, item
            continue
        if id(item) in seen:  # the same object here as there
            yield path, seen[id(item)]
            continue
        kept.append(item)
        if not isinstance(item, tuple):  # which of two equal tuples it is makes no difference
            seen[id(item)] = len(seen)
        if isinstance(item, keras.Variable):
            yield path, (item.path, item.dtype, tuple(item.shape), item.trainable, item.numpy().tobytes())
            waiting += [(f"{path}.{name}", part) for name, part in _attributes(item) if name != "_value"]
        elif inspect.isroutine(item):
            yield path, ("function", item.__qualname__)
            owner = getattr(item, "__self__", None)
            if isinstance(owner, keras.Layer):
                waiting.append((f"{path}.__self__", owner))
        else:
            yield path, type(item)
            if isinstance(item, (list, tuple)):
                waiting += [(f"{path}[{index}]", part) for index, part in enumerate(item)]
            elif isinstance(item, dict):
                waiting += [(f"{path}[{_key(key)}]", part) for key, part in item.items()]
                yield f"{path} keys", len(item)
            elif isinstance(item, (set, frozenset)):
                yield f"{path} members", sorted(map(_key, item))
            waiting += [(f"{path}.{name}", part) for name, part in _attributes(item)]


def _attributes(item: Any) -> list[tuple[str, Any]]:
    if not type(item).__module__.startswith(("keras.", "tests.", "tensorflow.python.trackable")):
        return []
    slots = [name for cls in type(item).__mro__ for name in getattr(cls, "__slots__", ()) if hasattr(item, name)]
    found = {**{name: getattr(item, name) for name in slots}, **getattr(item, "__dict__", {})}
    return [(name, part) for name, part in sorted(found.items()) if name not in ACCIDENTAL]


def _key(key: Any) -> str:
    if isinstance(key, str):
        return re.sub(r"^\d{9,}", "id", key)  # how Keras names a node
    return f"{key}" if isinstance(key, int) and key < 1000 else f"{type(key).__name__}{len(str(key))}"


def both_ways(make: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> tuple[list[Any], list[Any]]:
    """The anatomy of what ``make`` makes, quickly and by Keras alone."""
    before = standing()
    with quick_keras():
        assert standing() != before
        quickly = list(anatomy(make()))
    with monkeypatch.context() as patch:
        patch.setattr(quick, "REPLACED", ())
        with quick_keras():
            assert standing() == before
            return quickly, list(anatomy(make()))


def standing() -> list[Any]:
    """What stands now where ``quick_keras`` puts something else."""
    return [getattr(each.owner, each.name) for each in REPLACED]


REPLACED = (shortcuts._SET_ATTRIBUTE, shortcuts._IS_TENSOR, INITIALIZE, *shortcuts._INSPECTS)


@pytest.mark.spread(20)
@pytest.mark.parametrize("name", SAME)
def test_emitted_models_are_alike_inside(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = lift(build(name))

    def make() -> Any:
        naming.reset_uids()
        keras.utils.set_random_seed(0)  # initialisers draw seeds
        return emit(graph)

    quickly, plainly = both_ways(make, monkeypatch)
    assert len(quickly) > 50
    assert quickly == plainly


class Meddling(layers.Dense):
    """Sets attributes in its own way, before and after Keras."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "units":
            super().__setattr__("seen", [value])


class Between:
    """Stands between Layer and what Layer is made of."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value + 1 if name == "units" else value)


class Mixed(layers.Dense, Between):
    pass


class Last(keras.Layer):
    """All kinds of attributes, some before ``super().__init__()``, some that its class has too."""

    level = 3
    nothing = None

    def __init__(self, **kwargs: Any) -> None:
        self.early: Any = [1, {"a": (2,)}]
        super().__init__(**kwargs)
        self.level = 3
        self.nothing = None
        self.again = self.level
        self.level = 4
        self.collection = {"inner": layers.Dense(2, name="inner"), "plain": [1, "b"]}
        self.pair = (1, "b")
        self.layers_in_tuple = (layers.Dense(1, name="tupled"),)
        self.members = {1, 2}
        self.function = len
        self.policy = keras.DTypePolicy("float32")
        self.initializer = keras.initializers.RandomNormal(seed=1)
        self.seeds = keras.random.SeedGenerator(3, name="seeds")
        self.settled = "x"

    @property
    def settled(self) -> str:
        return self._settled

    @settled.setter
    def settled(self, value: str) -> None:
        self._settled = value * 2

    def build(self, input_shape: Any) -> None:
        self.scale = self.add_weight(shape=(input_shape[-1],), name="scale")
        self.listed = [self.scale, self.add_weight(shape=(), name="other", trainable=False)]
        for inner in (*self.layers_in_tuple, self.collection["inner"]):
            inner.build(input_shape)

    def call(self, inputs: Any) -> Any:
        return inputs * self.scale


WEIGHTS = {
    "a kernel": {"shape": (3, 4), "initializer": "ones"},
    "not trained": {"shape": (4,), "initializer": "zeros", "trainable": False},
    "half": {"shape": (2, 1), "initializer": "ones", "dtype": "bfloat16"},
    "counts": {"shape": (), "initializer": lambda shape, dtype: np.asarray(7, dtype), "dtype": "int64"},
    "flags": {"shape": (2,), "initializer": "zeros", "dtype": "bool"},
    "a part of each": {"shape": (2,), "initializer": "ones", "aggregation": "mean"},
    "nothing": {"shape": (0, 3), "initializer": "ones"},
}


@pytest.mark.parametrize("options", WEIGHTS.values(), ids=WEIGHTS.keys())
def test_variables_are_those_of_tensorflow(options: dict[str, Any]) -> None:
    def made() -> tuple[Any, dict[str, Any]]:
        layer = keras.layers.Layer(name="outer")
        with layer._open_name_scope():
            value = layer.add_weight(name="own", **options)._value
        said = {"": type(value), "name": value.name, "shared": value._shared_name.rsplit("_", 1)[0]}
        said |= {"value": value.numpy().tobytes(), "device": value.device}
        said |= {f"handle {name}": str(getattr(value.handle, name)) for name in ("_handle_data", "dtype", "_name")}
        assert value.handle._parent_trackable() is value
        assert value.handle._unique_id == value._unique_id
        return value, said

    theirs, expected = made()
    with quick.less_bookkeeping():
        ours, found = made()
    assert found == expected
    names = {name for name in vars(theirs) if name not in ACCIDENTAL}
    assert names | ACCIDENTAL >= vars(ours).keys() >= names
    assert {name: str(vars(ours)[name]) for name in names} == {name: str(vars(theirs)[name]) for name in names}


def test_variables_in_graphs_and_strategies_are_left_to_tensorflow() -> None:
    with quick.less_bookkeeping():
        with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
            spread = keras.Variable([1.0, 2.0])
        assert type(spread._value).__name__ == "MirroredVariable"
        with tf.Graph().as_default():
            held = keras.Variable(lambda shape, dtype: tf.zeros(shape, dtype), shape=(2,), dtype="float32")
            assert type(held._value.handle).__name__ == "SymbolicTensor"
        theirs = tf.Variable([3.0])
        assert keras.Variable(theirs)._value is theirs


def test_quick_variables_are_watched_saved_and_let_go(tmp_path: Path) -> None:
    with tf.GradientTape() as tape:
        source = tf.constant([1.0, 2.0])
        tape.watch(source)
        with quick.less_bookkeeping():
            variable = keras.Variable(source * 3.0, name="own")
            still = keras.Variable(source, trainable=False)
        total = tf.reduce_sum(variable.value**2 + still.value)
    slope, none, nor = tape.gradient(total, [variable.value, still.value, source])
    assert slope.numpy().tolist() == [6.0, 12.0]
    assert none is None  # not trained
    assert nor is None  # how a variable came to its value is no part of what it is used for
    module = tf.Module()
    module.own = variable
    tf.saved_model.save(module, str(tmp_path / "saved"))
    np.testing.assert_array_equal(tf.saved_model.load(str(tmp_path / "saved")).own, [3.0, 6.0])
    variable.assign([0.0, 1.0])
    assert source.numpy().tolist() == [1.0, 2.0]
    held = weakref.ref(variable._value)
    del variable, module, tape, total, slope
    gc.collect()
    assert held() is None


@pytest.mark.parametrize("cls", [Meddling, Mixed, Last])
def test_classes_that_set_attributes_in_their_own_way(cls: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def make() -> Any:
        keras.utils.set_random_seed(0)
        layer = cls(name="layer") if cls is Last else cls(3, name="layer")
        layer.build((None, 4))
        return layer

    quickly, plainly = both_ways(make, monkeypatch)
    assert quickly == plainly
    assert cls is not Mixed or (".units", 5) in plainly or (".units", 4) in plainly


def test_only_values_of_known_types_are_set_directly() -> None:
    """No type in the list is one that tracking reacts to, now or as the base of another."""
    import tensorflow as tf

    tracked = (keras.Variable, keras.Layer, keras.metrics.Metric, keras.random.SeedGenerator)
    for kind in shortcuts._UNTRACKED:
        assert not issubclass(kind, (*tracked, tuple, list, dict, set, tf.__internal__.tracking.Trackable)), kind
        assert not issubclass(kind, tf.__internal__.types.Tensor), kind


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 3, 2**31 - 2, 2**31, 2**32 - 1])
@pytest.mark.parametrize("make", [keras.initializers.GlorotUniform, keras.initializers.RandomUniform])
def test_initial_weights_of_tests_are_those_of_keras(make: Any, seed: int) -> None:
    for shape in ((), (0,), (7,), (3, 3, 16, 5)):
        plainly = make(seed=seed)(shape).numpy()
        with QUICK_DRAWS:
            assert plainly.tobytes() == make(seed=seed)(shape).numpy().tobytes()
            assert plainly.tobytes() == make(seed=seed)(shape, "float32").numpy().tobytes()
    assert len(np.unique(plainly)) > 200


LAYERS = [name for name, cls in vars(layers).items() if isinstance(cls, type) and issubclass(cls, keras.Layer)]


@pytest.mark.spread(3)
@pytest.mark.parametrize("name", LAYERS)
def test_signatures_are_those_of_inspect(name: str) -> None:
    cls = getattr(layers, name)
    shim = shortcuts._Inspect()
    functions = [cls.__init__, cls.call, cls.build, cls.compute_output_shape]
    try:
        layer = cls()
        functions += [layer.call, layer.build, layer.quantize]
    except Exception:  # noqa: BLE001 - it needs arguments; its functions are compared unbound
        pass
    for function in functions * 2:
        assert shim.signature(function) == inspect.signature(function)
        assert shim.getfullargspec(function) == inspect.getfullargspec(function)
    assert shim.isfunction is inspect.isfunction


def test_keras_is_as_before_afterwards() -> None:
    def now() -> list[Any]:
        return [*standing(), keras.Layer.add_weight, gc.isenabled()]

    before = now()
    with quick_keras():
        inside = now()
        with pytest.raises(RuntimeError), quick_keras():
            raise RuntimeError("no")
        assert now() == inside, "the inner one leaves it to the outer one"
    assert now() == before
    assert not any(one is other for one, other in zip(before[:-1], inside[:-1], strict=True))
    assert not inside[-1]
    assert not shortcuts._PLAIN_CLASSES


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with quick_keras():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_replaced_while_any_thread_is_inside() -> None:
    class Owner:
        value = 1

    replaced = Replaced(Owner, "value", 2)
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with replaced:
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait(10)
    with replaced:
        assert Owner.value == 2
    assert Owner.value == 2, "the other thread is still inside"
    leave.set()
    thread.join()
    assert Owner.value == 1


def test_threads_do_not_get_each_others_weights() -> None:
    """Layers of one name and shape, emitted in several threads while another makes layers of its own."""
    graphs = [lift(build("plain_chain", seed)) for seed in range(3)]
    wanted = [values(emit(graph).weights) for graph in graphs]
    wrong: list[str] = []
    done = threading.Event()

    def work(index: int) -> None:
        for _ in range(5):
            same = bitwise_equal(values(emit(graphs[index]).weights), wanted[index])
            wrong.extend([] if same else [f"graph {index}"])

    def make_others() -> None:
        names = [layer.name for layer in graphs[0].layers.values()]
        while not done.is_set():
            for name in names:
                layer = layers.Dense(3, name=name, kernel_initializer="ones")
                layer.build((None, 4))
                if not np.all(layer.kernel.numpy() == 1):
                    wrong.append(f"layer {name} of another thread")

    others = threading.Thread(target=make_others)
    threads = [threading.Thread(target=work, args=(index,)) for index in range(3)]
    others.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    others.join()
    assert not wrong
