"""What else is done with a network that is opened: each use is tried, and says nothing or raises."""

from __future__ import annotations

import json
import re
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

import kerasurgeon as ks
from kerasurgeon.passes import DropBlock, Factorise, PruneChannels
from kerasurgeon.rewrite.outputs import relative_difference, run_model


def saved(model: keras.Model, small: keras.Model, data: Any) -> None:
    """The plain network, saved, names nothing from outside Keras and loads to the same."""
    plain = ks.emit(ks.lift(small), fold=False)
    before = [np.array(one) for one in run_model(plain, data)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plain.keras"
        plain.save(path)
        text = zipfile.ZipFile(path).read("config.json").decode()
        foreign = {one for one in re.findall(r'"module": "([^"]+)"', text) if one.partition(".")[0] != "keras"}
        if foreign - {"builtins"}:
            raise AssertionError(f"the file names {sorted(foreign)}")
        json.loads(text)
        loaded = keras.saving.load_model(path, safe_mode=False)
    assert relative_difference(before, run_model(loaded, data)) < 1e-6 or drawn(model)


def trained(model: keras.Model, small: keras.Model, data: Any) -> None:
    """A step of training moves every weight that it should, and gives numbers."""
    fresh = ks.emit(ks.lift(small), fold=False)
    target = keras.tree.map_structure(np.zeros_like, fresh.predict(data, verbose=0))
    fresh.compile("sgd", keras.tree.map_structure(lambda _: "mse", target))
    before = [np.array(weight) for weight in fresh.trainable_weights]
    fresh.fit(data, target, epochs=1, verbose=0)
    after = [np.array(weight) for weight in fresh.trainable_weights]
    assert all(np.isfinite(one).all() for one in after)
    assert not before or any(not np.array_equal(one, other) for one, other in zip(before, after, strict=True))


def factorised(model: keras.Model, small: keras.Model, data: Any) -> None:
    """Factors at full rank compute the same."""
    full = ks.apply_passes(model, [Factorise(ratio=1.0, only_if_cheaper=False)])
    assert relative_difference(run_model(model, data), run_model(full, data)) < 1e-3 or drawn(model)
    ks.apply_passes(model, [Factorise(ratio=0.5)])


def dropped(model: keras.Model, small: keras.Model, data: Any) -> None:
    """The first region that keeps its shape is left out."""
    graph = ks.lift(model)
    for region in ks.regions(graph):
        if region.entry != region.exit and graph.spec(region.entry) == graph.spec(region.exit):
            run_model(ks.apply_passes(model, [DropBlock(region)]), data)
            return


def halved(model: keras.Model, small: keras.Model, data: Any) -> None:
    """Half of the MACs, within 3 %."""
    sizes = {value.node: tuple(array.shape[1:]) for value, array in operands(model, data)}
    half = ks.apply_passes(model, [PruneChannels(macs=0.5, compensate="none")], sizes=sizes)
    before, after = (ks.cost(one, sizes=sizes).macs for one in (model, half))
    assert after <= 0.53 * before, f"{after / before:.2f}"
    run_model(half, data)


def integers(model: keras.Model, small: keras.Model, data: Any) -> None:
    """Computed in int8."""
    rng = np.random.default_rng(3)
    many = keras.tree.map_structure(
        lambda one: np.concatenate([one[rng.permutation(len(one))] for _ in range(8)]), data
    )
    with tempfile.TemporaryDirectory() as folder:
        ks.export(small, Path(folder) / "int8.tflite", quantize="int8", calibration=many, accept=10.0)


def operands(model: keras.Model, data: Any) -> list[tuple[Any, Any]]:
    """The inputs of the graph, and the arrays for them."""
    graph = ks.lift(model)
    return list(zip(keras.tree.flatten(graph.inputs), keras.tree.flatten(data), strict=True))


def drawn(model: keras.Model) -> bool:
    """Whether a network draws numbers when it does not train."""
    return any("sampling" in layer.name for layer in model._flatten_layers())


def halves(build: Callable[[], keras.Model], data: Any) -> None:
    """Built in mixed precision, the plain network computes the same, and prunes."""
    keras.config.set_dtype_policy("mixed_float16")
    try:
        keras.utils.set_random_seed(0)
        model = build()
        plain = ks.emit(ks.lift(model), fold=False)
        pair = zip(run_model(model, data), run_model(plain, data), strict=True)
        assert all(np.array_equal(one, other, equal_nan=True) for one, other in pair), "not the same bits"
        small = ks.apply_passes(model, [PruneChannels(ratio=0.3, compensate="none")], verify="types")
        run_model(small, data)
    finally:
        keras.config.set_dtype_policy("float32")


USES = {
    "saved": saved,
    "trained": trained,
    "factorised": factorised,
    "block dropped": dropped,
    "half of the MACs": halved,
    "int8": integers,
}
