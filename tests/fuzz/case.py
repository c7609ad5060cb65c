"""One model under test: its description, what it was built into, its inputs and outputs."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import keras
import numpy as np

from tests.fuzz.building import Construction, build, sample
from tests.fuzz.description import Description

Arrays = list[np.ndarray[Any, Any]]

EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "mixed_float16": 2.0**-10, "float16": 2.0**-10}


class Case:
    """A model, built when it is first asked for.

    Args:
        description: What it is built from.
        seed: What its inputs, and the choices of the oracles, follow from.
        made: Its steps, where they have been built already.
    """

    def __init__(self, description: Description, seed: int, made: Construction | None = None) -> None:
        self.description, self.seed = description, seed
        if made is not None:
            self.made = made
        self.rng = np.random.default_rng(seed)
        self.result: Any = None
        """What a pass has made of the model."""
        self.cut: dict[str, int] = {}
        """How many channels of each kind an oracle has cut."""

    @cached_property
    def made(self) -> Construction:
        return build(self.description)

    @cached_property
    def model(self) -> Any:
        return self.made.model(self.description)

    def twin(self) -> Any:
        """The same model once more."""
        return build(self.description).model(self.description)

    @cached_property
    def inputs(self) -> Arrays:
        return sample(self.description, self.seed)

    @cached_property
    def outputs(self) -> Arrays:
        return self.run(self.model)

    @property
    def eps(self) -> float:
        """The distance of one and the next number."""
        return EPS.get(self.description.policy, 2.0**-7)

    @property
    def tolerance(self) -> float:
        """What rounding may do to outputs: so much for each step that rounds, of the largest magnitude.

        Keras masks scores by adding -1e9, of which float64 rounds to 1e-7.
        """
        attends = any("ttention" in kind for kind in self.description.kinds())
        return max(64 * self.eps * (4 + len(self.description.steps)), 1e-6 if attends else 0.0)

    @property
    def feeds(self) -> dict[str, np.ndarray[Any, Any]]:
        """The inputs by name."""
        return {f"in{number}": array for number, array in zip(self.description.inputs, self.inputs, strict=True)}

    def given(self, model: Any) -> Any:
        """The inputs in a model's own structure."""
        if self.description.dict_inputs:
            return self.feeds
        structure = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
        return keras.tree.pack_sequence_as(structure, self.inputs)

    def run(self, model: Any) -> Arrays:
        """The outputs of a model, flat."""
        return arrays(model(self.given(model), training=False))

    def noise(self) -> float:
        """How far the outputs move when every weight and input moves by its last bit: what no tolerance is below."""
        twin, rng = self.twin(), np.random.default_rng(1)

        def nudged(array: Any) -> Any:
            if array.dtype.kind != "f" and "float" not in str(array.dtype):
                return array
            moved = array.astype("float64") * (1 + rng.uniform(-self.eps, self.eps, array.shape))
            return moved.astype(array.dtype)

        twin.set_weights([nudged(weight) for weight in twin.get_weights()])
        inputs = keras.tree.map_structure(nudged, self.given(twin))
        return difference(self.outputs, arrays(twin(inputs, training=False)))

    def assert_close(self, expected: Arrays, got: Arrays, what: str) -> None:
        """Equal but for rounding."""
        assert len(expected) == len(got), f"{what}: {len(got)} outputs instead of {len(expected)}"
        for one, two in zip(expected, got, strict=True):
            assert one.shape == two.shape, f"{what}: shape {two.shape} instead of {one.shape}"
        found = difference(expected, got)
        if found > self.tolerance:
            allowed = max(self.tolerance, 200 * self.noise())
            assert found <= allowed, f"{what}: outputs differ by {found:.2g}, allowed are {allowed:.2g}"


def arrays(outputs: Any) -> Arrays:
    """Flat outputs as arrays."""
    return [np.asarray(keras.ops.convert_to_numpy(leaf)) for leaf in keras.tree.flatten(outputs)]


def difference(one: Arrays, other: Arrays) -> float:
    """The largest difference, by the largest magnitude of each output, which counts as at least a hundredth."""
    worst = 0.0
    for a, b in zip(one, other, strict=True):
        a, b = (each.astype("complex128" if each.dtype.kind == "c" else "float64") for each in (a, b))
        unlike = np.where(np.isnan(a) & np.isnan(b), 0.0, np.abs(a - b))
        if not np.isfinite(unlike).all():
            return float("inf")
        worst = max(worst, float(unlike.max(initial=0.0) / max(np.abs(np.nan_to_num(a)).max(initial=0.0), 1e-2)))
    return worst
