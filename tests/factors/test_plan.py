"""Saved factors: what is read is what was written, and files that are damaged say so."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerasurgeon.errors import FileError, PlanError
from kerasurgeon.factors import METHODS, FactorPlan, Shape, with_residual
from kerasurgeon.sparsity.structures import Structure
from tests.factors.kernels import measured, patches, white

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def kernels() -> dict[str, Array]:
    shapes = {
        "conv": Shape((3, 3), 8, 6),
        "body/block.1/conv": Shape((3,), 4, 4, groups=2),
        "body/conv": Shape((2, 3, 2), 4, 6, transposed=True),
        "dense": Shape((), 10, 7),
        "depthwise": Shape((3, 3), 6, 5),
    }
    return {name: white(shape, dtype="float32") for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def plan(kernels: dict[str, Array]) -> FactorPlan:
    def shape_of(name: str, **options: Any) -> Shape:
        groups, *sizes, inputs, outputs = kernels[name].shape
        return Shape(tuple(sizes), inputs, outputs, groups, **options)

    tucker = METHODS["tucker"]
    grouped, dense = shape_of("body/block.1/conv"), shape_of("dense")
    inputs = measured(dense, patches(dense))
    structure = Structure.parse("channel")
    made = {
        "conv": tucker.prepare(kernels["conv"], shape_of("conv")).factors(tuple(np.array([4, 3]))),
        "body/block.1/conv": with_residual(
            tucker, kernels["body/block.1/conv"], grouped, (2, 3), sparsity=0.2, structure=structure
        ),
        "body/conv": tucker.prepare(kernels["body/conv"], shape_of("body/conv", transposed=True)).factors((2, None)),
        "dense": METHODS["svd"].prepare(kernels["dense"], dense, inputs).factors((3,)),
        "depthwise": METHODS["separable"].prepare(kernels["depthwise"], shape_of("depthwise")).factors((2,)),
    }
    return FactorPlan.of("net", {name: (kernels[name], factors) for name, factors in made.items()}, "first try")


def test_what_is_loaded_is_what_was_saved(plan: FactorPlan, kernels: dict[str, Array], tmp_path: Path) -> None:
    plan.save(tmp_path / "factors.v2")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["factors.v2.json", "factors.v2.npz"]
    for name in ("factors.v2", "factors.v2.json", "factors.v2.npz"):
        found = FactorPlan.load(tmp_path / name)
        assert found == plan
        assert (found.model, found.note) == ("net", "first try")
    for name, kernel in kernels.items():
        one, other = plan.layers[name], found.layers[name]
        assert other.factors.shape == one.factors.shape
        assert other.factors.ranks == one.factors.ranks
        np.testing.assert_array_equal(other.factors.reconstruct(), one.factors.reconstruct())
        assert other.factors.reconstruct().dtype == np.float32
        error = np.linalg.norm(kernel - one.factors.reconstruct()) / np.linalg.norm(kernel)
        assert other.error == pytest.approx(error, rel=1e-5)
        assert found.misfit(name, kernel) == ""
    assert found.layers["dense"].factors.bias is not None
    np.testing.assert_array_equal(found.layers["dense"].factors.bias, plan.layers["dense"].factors.bias)
    assert found.layers["body/block.1/conv"].factors.kept > 0


def test_saving_twice_gives_the_same_bytes(plan: FactorPlan, tmp_path: Path) -> None:
    for name in ("one", "two"):
        plan.save(tmp_path / name)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


def test_a_kernel_with_other_values_or_shape_does_not_fit(plan: FactorPlan, kernels: dict[str, Array]) -> None:
    other = kernels["conv"].copy()
    other[0, 1, 1, 0, 0] = np.nextafter(other[0, 1, 1, 0, 0], np.float32(9))
    assert "other values" in plan.misfit("conv", other)
    assert "shape" in plan.misfit("conv", other[:, :2])
    assert "other values" in plan.misfit("conv", kernels["conv"].astype("float64"))


def test_plans_are_equal_by_what_they_hold(plan: FactorPlan) -> None:
    assert plan == replace(plan, note="another")
    fewer = {name: planned for name, planned in plan.layers.items() if name != "conv"}
    assert plan != FactorPlan(fewer, "net")
    factors = plan.layers["conv"].factors
    first, *rest = factors.kernels
    changed = replace(plan.layers["conv"], factors=replace(factors, kernels=(first + 1, *rest)))
    assert plan != FactorPlan({**plan.layers, "conv": changed}, "net")
    assert plan != "plan"


def test_the_table_and_the_json_tell_ranks_and_sizes(plan: FactorPlan, tmp_path: Path) -> None:
    text = str(plan)
    assert "body/block.1/conv" in text
    row = next(line for line in text.splitlines() if "body/conv" in line)
    assert "2, -" in row
    plan.save(tmp_path / "plan")
    entry = json.loads((tmp_path / "plan.json").read_text())["layers"]["conv"]
    assert (entry["method"], entry["ranks"], entry["sparsity"]) == ("tucker", [4, 3], 0)
    assert (entry["params_before"], entry["params"]) == (9 * 8 * 6, 8 * 4 + 9 * 4 * 3 + 3 * 6)
    assert json.loads(plan.to_json())["layers"]["conv"] == entry


def test_layers_may_be_deleted_from_the_json(plan: FactorPlan, tmp_path: Path) -> None:
    plan.save(tmp_path / "plan")
    data = json.loads((tmp_path / "plan.json").read_text())
    del data["layers"]["conv"]
    (tmp_path / "plan.json").write_text(json.dumps(data))
    assert set(FactorPlan.load(tmp_path / "plan").layers) == set(plan.layers) - {"conv"}


def test_a_plan_of_nothing(tmp_path: Path) -> None:
    FactorPlan().save(tmp_path / "none")
    assert FactorPlan.load(tmp_path / "none") == FactorPlan()


def edited(path: Path, **changes: Any) -> None:
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, **changes}))


def test_files_that_cannot_be_used_say_why(plan: FactorPlan, tmp_path: Path) -> None:
    path = tmp_path / "plan"
    text, packed = tmp_path / "plan.json", tmp_path / "plan.npz"

    def refused(match: str) -> None:
        with pytest.raises(PlanError, match=match):
            FactorPlan.load(path)
        plan.save(path)

    refused("cannot be read")
    packed.unlink()
    refused("arrays cannot be read")
    packed.write_bytes(packed.read_bytes()[:-100])
    refused("damaged or of another plan")
    FactorPlan().save(tmp_path / "other")
    (tmp_path / "other.npz").replace(packed)
    refused("damaged or of another plan")
    text.write_text(text.read_text()[:-100])
    refused("not valid JSON")
    text.write_text("[]")
    refused("unknown format")
    edited(text, format="kerasurgeon.factors/9")
    refused("unknown format")
    edited(text, layers=3)
    refused("form of a plan")
    edited(text, layers={"unknown": json.loads(plan.to_json())["layers"]["conv"]})
    refused("layer 'unknown'")
    edited(text, layers={"conv": json.loads(plan.to_json())["layers"]["depthwise"]})
    refused("layer 'conv'")
    data = json.loads(plan.to_json())["layers"]
    data["dense"]["stages"][0]["outputs"] = 4
    edited(text, layers=data)
    refused(r"layer 'dense'")


def test_a_crash_in_the_middle_leaves_the_old_plan_or_says_so(
    plan: FactorPlan, tmp_path: Path, monkeypatch: Any
) -> None:
    path = tmp_path / "plan"
    plan.save(path)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(np, "savez", fail)
        with pytest.raises(FileError, match="no space left"):
            FactorPlan().save(path)
    assert FactorPlan.load(path) == plan
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(FileError, match="cannot be written"):
        plan.save(tmp_path / "missing" / "plan")


def test_objects_are_not_unpickled(plan: FactorPlan, tmp_path: Path) -> None:
    path = tmp_path / "plan"
    plan.save(path)
    np.savez(tmp_path / "plan.npz", **{"conv/in": np.array([{}], object)})  # type: ignore[arg-type]
    data = json.loads((tmp_path / "plan.json").read_text())
    data["arrays"]["sha256"] = hashlib.sha256((tmp_path / "plan.npz").read_bytes()).hexdigest()
    (tmp_path / "plan.json").write_text(json.dumps(data))
    with pytest.raises(PlanError, match="arrays cannot be read"):
        FactorPlan.load(path)
