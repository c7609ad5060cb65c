"""What a file may do and may not: each line of docs/security.md is a test of the same name."""

from __future__ import annotations

import importlib
import json
import os
import pickle
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import layers

import kerasurgeon as ks
from kerasurgeon.array_files import load_arrays
from kerasurgeon.authoring import import_object
from kerasurgeon.blocks import BlockPlan
from kerasurgeon.blocks.networks import network_from_config
from kerasurgeon.keras_io.loading import load_model
from kerasurgeon.keras_io.model_config import check_config
from kerasurgeon.passes import Factorise, ReplaceWithShunt
from kerasurgeon.plan_files import PlanFile
from kerasurgeon.recover.progress import STATE
from kerasurgeon.rewrite.catalogue import catalogue
from kerasurgeon.rewrite.recipe import read_recipe
from kerasurgeon.workflows.procedure import RunFolder, read_procedure
from tests.cli.conftest import SCRIPT, invoke, small_model
from tests.hostile import (
    described,
    example,
    function_of,
    marking,
    png,
    put_layer,
    record,
    vector_model,
    written,
)
from tests.procedure import tiny

DOC = Path(__file__).resolve().parent.parent / "docs" / "security.md"
EVIL = "open('ran', 'w').close()\nfrom subprocess import run\nimport os\n\n\nclass Boom: ...\n"
"""A module that leaves a file where it is imported."""

PASS = """\
import functools
import os
from dataclasses import dataclass
from math import sqrt
from subprocess import run

import numpy

import kerasurgeon.atomic
from kerasurgeon.authoring import Pass


@dataclass(frozen=True)
class Mine(Pass):
    '''Does nothing.'''

    def run(self, graph, context):
        pass


def score(group, evidence):
    return numpy.arange(len(group.units))


shell = functools.partial(os.system)
"""


def lines() -> list[str]:
    """The rows of the tables of lines."""
    tables = re.findall(r"^\| line \|\n\|---\|\n((?:\|.+\|\n)+)", DOC.read_text(encoding="utf-8"), re.MULTILINE)
    return [row.strip("| ") for table in tables for row in table.splitlines()]


def test_every_line_has_its_test_and_every_test_its_line() -> None:
    wanted = {"test_" + re.sub(r"\W+", "_", line.lower()) for line in lines()}
    there = {name for name, item in globals().items() if name.startswith("test_") and callable(item)}
    assert len(lines()) > 30
    assert there - wanted == {"test_every_line_has_its_test_and_every_test_its_line"}
    assert wanted - there == set()


# Names that become imports


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, which is empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def evil(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], bool]]:
    """Modules in the current folder; whether the evil one has been imported."""
    (folder / "evil_module.py").write_text(EVIL)
    (folder / "my_passes.py").write_text(PASS)
    (folder / "evil.toml").write_text('[[pass]]\nname = "evil_module:Boom"\n')
    (folder / "model.keras").write_bytes(b"is not looked at")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    importlib.invalidate_caches()
    yield lambda: (folder / "ran").exists()
    for name in ("evil_module", "my_passes"):
        sys.modules.pop(name, None)


@pytest.fixture
def installed(evil: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The folder as that of installed packages, with one that publishes a pass."""
    info = folder / "mine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[kerasurgeon.passes]\nMine = my_passes:Mine\n")
    (info / "RECORD").write_text("my_passes.py,,\nmy_other.py,,\n")
    (folder / "my_other.py").write_text("def score(group, evidence):\n    return 0\n")
    monkeypatch.syspath_prepend(folder)
    catalogue.cache_clear()
    yield
    sys.modules.pop("my_other", None)
    catalogue.cache_clear()


def refused(path: str, match: str = "may not be imported") -> None:
    with pytest.raises(ks.RecipeError, match=match):
        import_object(path)


def test_a_recipe_may_name_what_kerasurgeon_has_for_it() -> None:
    recipe = {
        "pass": [
            {"name": "Simplify"},
            {"name": "kerasurgeon.passes:FoldBatchNorm"},
            {
                "name": "ReplaceLayers",
                "pattern": "Activation",
                "function": "kerasurgeon.replacing.replacements:swish_to_relu",
            },
        ]
    }
    assert len(ks.Pipeline.from_recipe(recipe).passes) == 3
    for path in (
        "kerasurgeon.workflows.data:shapes",
        "kerasurgeon.workflows.networks:lraspp",
        "kerasurgeon.channels.importance_weights:Magnitude",
        "kerasurgeon.passes.simplify:Simplify",
    ):
        assert callable(import_object(path))


def test_a_recipe_may_name_what_an_installed_package_of_passes_defines(installed: None) -> None:
    for name in ("Mine", "my_passes:Mine"):
        (made,) = ks.Pipeline.from_recipe({"pass": [{"name": name}]}).passes
        assert made.name == "Mine"
    assert import_object("my_passes:score")
    assert import_object("my_other:score")  # of the same distribution
    refused("evil_module:Boom")


def test_a_recipe_may_name_nothing_else(evil: Any, folder: Path) -> None:
    for path in ("os:system", "subprocess:run", "keras.saving:load_model", "builtins:exec", "evil_module:Boom"):
        refused(path)
    for content in (
        {"pass": [{"name": "evil_module:Boom"}]},
        {"pass": [{"name": "InsertBlock", "at": "first", "block": "evil_module:Boom"}]},
        {"pass": [{"name": "ReplaceLayers", "pattern": "evil_module:Boom", "function": "evil_module:Boom"}]},
        {"pass": [{"name": "ReplaceWithShunt", "region": "a..b", "arch": "evil_module:Boom"}]},
        {"pass": [{"name": "PruneChannels", "ratio": 0.5, "importance": "evil_module:Boom"}]},
        {"pass": [{"name": "PruneChannels", "ratio": 0.5, "callback": "evil_module:Boom"}]},
    ):
        with pytest.raises((ks.RecipeError, ks.PassError), match="may not be imported"):
            ks.Pipeline.from_recipe(content).run(small_model())
    for table in (
        {"data": {"name": "os:system", "command": "touch ran"}},
        {"original": {"network": "evil_module:Boom"}},
        {"train_final": {"function": "evil_module:Boom"}},
        {"shunt": {"regions": ["a..b"], "arch": {"*": "evil_module:Boom"}}},
    ):
        with pytest.raises(ks.RecipeError, match="may not be imported"):
            ks.Procedure.from_recipe({"shunt": {"regions": ["a..b"]}, **table})
    (folder / "shunt.toml").write_text('[data]\nname = "evil_module:Boom"\n[shunt]\nregions = ["a..b"]\n')
    for command in ("compress model.keras -r evil.toml -o out.keras", "shunt -r shunt.toml -o RUN"):
        done = invoke(*command.split())
        assert done.code == 2
        assert "--allow-import evil_module" in done.err
    assert not evil()
    assert not (folder / "RUN").exists()


def test_a_package_that_is_allowed_may_be_named(evil: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(folder)
    recipe = {"pass": [{"name": "my_passes:Mine"}]}
    for allow in ("my_passes", ["my_passes"], ("my_passes:Mine",)):
        pipeline = ks.Pipeline.from_recipe(recipe, allow=allow)
        result = pipeline.run(small_model())
        assert ks.Pipeline.from_recipe(result.recipe).passes == pipeline.passes
    with pytest.raises(ks.RecipeError):
        ks.Pipeline.from_recipe(result.recipe.to_dict())  # what is written allows nothing
    with ks.allow_imports("my_passes"):
        assert import_object("my_passes:score")
    refused("my_passes:score")
    for wrong in ("my passes", "", "a:", 3):
        with pytest.raises(ks.OptionError, match="takes names"):
            ks.Pipeline.from_recipe(recipe, allow=[wrong])  # type: ignore[list-item]
    with pytest.raises(ks.RecipeError):
        ks.Pipeline.from_recipe(recipe, allow="my_pass")  # the beginning of a name is another name
    (folder / "config" / "kerasurgeon").mkdir(parents=True)
    (folder / "config" / "kerasurgeon" / "config.toml").write_text('allow_imports = ["my_passes"]\n')
    assert ks.Pipeline.from_recipe(recipe).passes == pipeline.passes
    refused("evil_module:Boom")
    assert not evil()


def test_what_an_allowed_module_has_only_imported_stays_out_of_reach(installed: None) -> None:
    for path in (
        "my_passes:os.system",
        "my_passes:run",
        "my_passes:sqrt",
        "my_passes:shell",
        "my_passes:Mine.__init__.__globals__",
        "my_passes:Mine.mro.__self__",
        "my_passes:score.__globals__",
        "my_passes:kerasurgeon.atomic.write_text",
        "kerasurgeon.cli:os.system",
        "kerasurgeon.cli:sys",
        "kerasurgeon.passes.apply_plan:Path",
        "kerasurgeon.rewrite.recipe:json.loads",
        "kerasurgeon.rewrite.recipe:keras",
    ):
        refused(path)


def test_a_function_of_kerasurgeon_that_writes_files_cannot_be_named(tmp_path: Path) -> None:
    for path in (
        "kerasurgeon.atomic:write_text",
        "kerasurgeon.workflows.data:write_records",
        "kerasurgeon.quiet:import_quietly",
        "kerasurgeon.cli:main",
        "kerasurgeon:export",
        "kerasurgeon.trust:import_object",
    ):
        refused(path, "may not be imported(.|\n)*not made to be named")
    target = tmp_path / "written"
    table = {"name": "kerasurgeon.atomic:write_text", "path": str(target), "text": "x"}
    with pytest.raises(ks.RecipeError):
        ks.Procedure.from_recipe({"data": table, "shunt": {"regions": ["a..b"]}}).run(tmp_path / "run")
    assert not target.exists()


def test_a_name_on_the_command_line_is_allowed_and_nothing_beside_it(
    evil: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(folder)
    small_model().save("in.keras")
    typed = ["--pass", "PruneChannels", "--set", "ratio=0.5", "--set", "importance=my_passes:score"]
    assert invoke("compress", "in.keras", *typed, "-o", "out.keras").code == 0
    assert invoke("explain", "in.keras", "--pass", "my_passes:Mine").code == 0
    (folder / "recipe.toml").write_text('[data]\nname = "evil_module:Boom"\n[shunt]\nregions = ["a..b"]\n')
    done = invoke("shunt", "-r", "recipe.toml", "--set", "original.network=my_passes:score")
    assert done.code == 2
    assert "data.name: 'evil_module:Boom' may not be imported" in done.err
    assert not evil()


def test_checking_a_recipe_imports_nothing(evil: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(folder)  # found, if it were looked for
    (folder / "mixed.toml").write_text(
        '[[pass]]\nname = "Simplify"\n[[pass]]\nname = "evil_module:Boom"\nanything = 3\n'
        '[[pass]]\nname = "PruneChannels"\nratio = 0.5\nimportance = "evil_module:Boom"\ncallback = "evil_module:run"\n'
        '[[pass]]\nname = "ReplaceLayers"\npattern = "evil_module:Boom"\nfunction = "evil_module:f"\n'
    )
    done = invoke("recipe", "check", "mixed.toml", "--json")
    assert done.code == 0, done.err
    assert {item["name"] for item in done.json["passes"]} == {"Simplify", "PruneChannels", "ReplaceLayers"}
    assert {"evil_module:Boom", "evil_module:f"} <= set(done.json["not_checked"])
    shown = invoke("recipe", "check", "mixed.toml")
    assert "as far as it was checked" in shown.out
    assert "not checked: evil_module:Boom" in shown.out
    read_recipe("mixed.toml", allow="evil_module").check()  # not even what may be
    wrong = (folder / "mixed.toml").read_text().replace("ratio = 0.5", "ratio = 7")
    (folder / "mixed.toml").write_text(wrong)
    assert invoke("recipe", "check", "mixed.toml").code == 2
    read_procedure({"data": {"name": "evil_module:Boom"}, "shunt": {"regions": ["a..b"]}}, allow="evil_module")
    assert not evil()


def test_the_current_folder_is_no_import_path(evil: Any, folder: Path) -> None:
    for command in (
        "passes evil_module:Boom",
        "recipe new evil_module:Boom",
        "compress model.keras --pass evil_module:Boom -o out.keras",
        "explain model.keras --pass evil_module:Boom",
    ):
        assert invoke(*command.split()).code == 2
    assert str(folder) not in sys.path
    (folder / "typer.py").write_text(EVIL)
    (folder / "rich.py").write_text(EVIL)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONSAFEPATH"}
    for start in ([str(SCRIPT)], [sys.executable, "-m", "kerasurgeon"]):
        done = subprocess.run([*start, "--help"], cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "Usage" in done.stdout
    assert not evil()


def test_a_module_of_the_current_folder_is_imported_if_it_is_named_as_such(evil: Any, folder: Path) -> None:
    (folder / "mine.toml").write_text('[[pass]]\nname = "my_passes:Mine"\n')
    (folder / "a_package").mkdir()
    (folder / "a_package" / "__init__.py").touch()
    (folder / "a_package" / "inner.py").write_text(PASS)
    small_model().save("in.keras")
    finders = list(sys.meta_path)
    try:
        for allow, name in (
            ("my_passes", "my_passes:Mine"),
            ("my_passes.py", "my_passes:Mine"),
            (str(folder / "my_passes.py"), "my_passes:Mine"),
            ("a_package", "a_package.inner:Mine"),
        ):
            done = invoke("recipe", "new", name, "--allow-import", allow)
            assert done.code == 0, done.err
            assert "Does nothing." in done.out
            for loaded in ("my_passes", "a_package", "a_package.inner"):
                sys.modules.pop(loaded, None)
        done = invoke("compress", "in.keras", "-r", "mine.toml", "-o", "out.keras", "--allow-import", "my_passes.py")
        assert done.code == 0, done.err
    finally:
        for loaded in ("a_package", "a_package.inner"):
            sys.modules.pop(loaded, None)
    assert sys.meta_path == finders
    (folder / "json.py").write_text(EVIL)
    for name, said in (("nowhere.py", "names no module"), ("json.py", "rename it"), ("not a name", "takes names")):
        done = invoke("compress", "in.keras", "-r", "mine.toml", "-o", "new.keras", "--allow-import", name)
        assert done.code == 2
        assert said in done.err
    assert not evil()


def test_a_configuration_file_is_read_from_the_home_of_the_user_only(
    evil: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(folder)
    for home, base, place in (("a", None, "a/.config"), ("b", "c", "b/.config"), ("d", str(folder / "e"), "e")):
        monkeypatch.setattr(Path, "home", lambda home=home: folder / home)
        monkeypatch.delenv("XDG_CONFIG_HOME") if base is None else monkeypatch.setenv("XDG_CONFIG_HOME", base)
        (folder / str(base) / "kerasurgeon").mkdir(parents=True, exist_ok=True)
        (folder / str(base) / "kerasurgeon" / "config.toml").write_text('allow_imports = ["evil_module"]\n')
        if base == "c":  # a relative path is one of the current folder
            refused("evil_module:Boom")
        file = folder / place / "kerasurgeon" / "config.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text('allow_imports = ["my_passes"]\n')
        assert import_object("my_passes:score")
        refused("evil_module:Boom")
    assert not evil()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("allow_imports = ", "cannot be read"),
        ("allow_import = []", "did you mean 'allow_imports'"),
        ('allow_imports = "os"', "is a list"),
        ("allow_imports = [3]", "takes names"),
    ],
)
def test_a_configuration_file_that_cannot_be_read_is_an_error(evil: Any, folder: Path, text: str, said: str) -> None:
    file = folder / "config" / "kerasurgeon" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    with pytest.raises(ks.OptionError, match=said) as caught:
        import_object("my_passes:score")
    assert "config.toml" in str(caught.value)


# Recipes


def test_a_recipe_chooses_which_files_are_read(tmp_path: Path) -> None:
    ks.ChannelPlan({"first": 4}).save(tmp_path / "elsewhere.json")
    recipe = {"pass": [{"name": "ApplyPlan", "plan": str(tmp_path / "elsewhere.json")}]}
    result = ks.Pipeline.from_recipe(recipe).run(small_model())
    assert result.model.get_layer("first").filters == 4


def test_a_recipe_replaces_no_file_that_is_not_its_own(tmp_path: Path) -> None:
    mine = tmp_path / ".profile"
    mine.write_text("alias ll='ls -l'\n")
    recipe = {"pass": [{"name": "Factorise", "max_accuracy_loss": 0.5, "search_log": str(mine)}]}
    pipeline = ks.Pipeline.from_recipe(recipe)
    assert pipeline.passes == (Factorise(max_accuracy_loss=0.5, search_log=str(mine)),)
    with pytest.raises(ks.PassError, match="search log"):
        pipeline.run(small_model(), evaluate=lambda model: 1.0)
    assert mine.read_text() == "alias ll='ls -l'\n"
    assert os.listdir(tmp_path) == [".profile"]


# Model files


def test_a_model_file_runs_no_python_code(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    model = marking(mark)
    files = [tmp_path / "code.keras", tmp_path / "code.h5"]
    for path in files:
        model.save(path)
        mark.unlink(missing_ok=True)
        with pytest.raises(ks.ModelFileError, match="Python code of its own"):
            load_model(path)
        for command in ("inspect", "explain --pass Simplify"):
            done = invoke(command.split()[0], path, *command.split()[1:])
            assert done.code == 1
            assert "--unsafe" in done.err
    with pytest.raises(ks.ModelFileError, match="safe_mode=False"):
        ks.open_runner(files[0])
    done = invoke("morphnet", "--base-model", files[0], "-o", "learned")
    assert "--unsafe" in done.err
    assert not mark.exists()


def test_a_model_file_imports_no_module(evil: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(folder)
    for change in (
        put_layer("Boom", {}, module="evil_module"),
        put_layer("run", {}, module="evil_module"),
        function_of("evil_module", "run"),
        function_of("os", "system"),
    ):
        with pytest.raises(ks.ModelFileError):
            load_model(described(folder / "other.keras", change))
    assert not evil()


def test_a_model_file_loads_no_program_of_tensorflow(tmp_path: Path) -> None:
    settings = {"filepath": str(tmp_path), "call_endpoint": "serve", "call_training_endpoint": None}
    path = described(tmp_path / "program.keras", put_layer("TFSMLayer", settings))
    with pytest.raises(ks.ModelFileError, match="reads other files or programs"):
        load_model(path)


def test_a_model_file_calls_no_function_that_is_no_part_of_a_model(tmp_path: Path) -> None:
    picture = str(tmp_path / "picture.png")
    harmful = [
        ("keras.visualization", "plot_image_gallery", {"path": picture}),
        ("keras.datasets.mnist", "load_data", {}),
        ("keras.config", "set_floatx", {}),
        ("keras.applications", "ResNet50", {"weights": "imagenet"}),
        ("keras.utils", "get_file", {"origin": "http://localhost"}),
        ("keras.layers", "deserialize", {}),
        ("keras._legacy.backend", "set_value", {}),
    ]
    for module, name, arguments in harmful:
        with pytest.raises(ks.ModelFileError, match=re.escape(f"'{module}.{name}', which is no part of a model")):
            load_model(described(tmp_path / "calls.keras", function_of(module, name, **arguments)))
        with pytest.raises(ks.ModelFileError, match="no part of a model"):
            check_config({"optimizer": {"module": module, "class_name": name, "config": {}}})
    assert not Path(picture).exists()
    for module, name in (("keras.activations", "relu"), ("keras.ops", "softmax"), ("keras.ops.image", "rgb_to_hsv")):
        check_config({"module": module, "class_name": "function", "config": name})
    loaded = load_model(described(tmp_path / "calls.keras", function_of("keras.ops", "relu")))
    assert loaded.output_shape == (None, 2)


def test_a_model_file_reads_no_other_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("a\nb\n")
    settings = {"vocabulary": str(secret), "output_mode": "int"}
    with pytest.raises(ks.ModelFileError):
        load_model(described(tmp_path / "words.keras", put_layer("StringLookup", settings)))
    # Weights that lie in another file.
    vector_model().save(tmp_path / "other.h5")
    vector_model().save(tmp_path / "links.h5")
    with h5py.File(tmp_path / "links.h5", "r+") as file:
        names = [name for name in find_datasets(file) if name.endswith("kernel")]
        del file[names[0]]
        file[names[0]] = h5py.ExternalLink(str(tmp_path / "other.h5"), names[0])
    with pytest.raises(ks.ModelFileError, match="ExternalLink"):
        load_model(tmp_path / "links.h5")


def find_datasets(file: Any) -> list[str]:
    found: list[str] = []
    file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    return found


def test_a_model_file_uses_no_class_of_yours_unless_you_name_or_register_it(tmp_path: Path) -> None:
    class Own(layers.Layer):
        def call(self, x: Any) -> Any:
            return x * 2

    vector = keras.Input((4,), name="vector")
    keras.Model(vector, Own(name="own")(vector)).save(tmp_path / "own.keras")
    with pytest.raises(ks.ModelFileError, match="not known here"):
        load_model(tmp_path / "own.keras")
    loaded = load_model(tmp_path / "own.keras", custom_objects={"Own": Own})
    np.testing.assert_array_equal(loaded(np.ones((1, 4), np.float32)), np.full((1, 4), 2))


def test_a_model_file_whose_description_is_absurdly_long_or_deep_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "deep.keras"
    monkeypatch.setattr("kerasurgeon.keras_io.loading._MOST_BYTES", 200_000)
    for text, said in ((b"[" * 100_000, "nested too deeply"), (b" " * 200_001, "absurdly long")):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr("config.json", text)
        with pytest.raises(ks.ModelFileError, match=said):
            load_model(path)
    with h5py.File(tmp_path / "deep.h5", "w") as file:
        file.attrs["model_config"] = "[" * 50_000
    with pytest.raises(ks.ModelFileError, match="nested too deeply"):
        load_model(tmp_path / "deep.h5")


def test_a_model_file_that_asks_for_more_memory_than_there_can_be_is_refused(tmp_path: Path) -> None:
    for units in (10**11, 10**30):
        with pytest.raises(ks.ModelFileError, match="more memory than is free"):
            load_model(described(tmp_path / "huge.keras", put_layer("Dense", {"units": units})))


def test_a_model_file_that_is_trusted_may_run_python_code(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    marking(mark).save(tmp_path / "code.keras")
    assert invoke("inspect", tmp_path / "code.keras", "--unsafe").code == 0
    mark.unlink(missing_ok=True)
    load_model(tmp_path / "code.keras", unsafe=True)(np.ones((1, 4), np.float32))
    assert mark.exists()
    described(tmp_path / "calls.keras", function_of("keras.config", "set_epsilon"))
    load_model(tmp_path / "calls.keras", unsafe=True)


# Plans


def plan_of_blocks(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A plan in files, with a network in it."""
    image = keras.Input((8, 8, 4), name="image")
    x = layers.Conv2D(4, 3, padding="same", name="one")(image)
    model = keras.Model(image, layers.Conv2D(4, 3, padding="same", name="two")(layers.ReLU(name="act")(x)))
    (plan,) = ks.Pipeline([ReplaceWithShunt("one..act", "1")]).run(model).report.passes[0].plans
    plan.save(tmp_path / "plan.json")
    return tmp_path / "plan.json", json.loads((tmp_path / "plan.json").read_text())


def test_a_plan_runs_no_python_code(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    path, data = plan_of_blocks(tmp_path)
    data["steps"][0]["network"] = json.loads(marking(mark).to_json())
    mark.unlink(missing_ok=True)
    path.write_text(json.dumps(data))
    with pytest.raises(ks.PlanError, match="network cannot be made"):
        BlockPlan.load(path)
    assert not mark.exists()


def test_a_plan_calls_no_function_that_is_no_part_of_a_model() -> None:
    config = json.loads(vector_model().to_json())
    function_of("keras.datasets.mnist", "load_data")(config)
    with pytest.raises(ks.PlanError, match="no part of a model"):
        network_from_config(config)


def test_a_plan_names_no_function_that_is_called(evil: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(folder)
    path, data = plan_of_blocks(folder)
    data["steps"][0]["options"]["arch"] = "evil_module:Boom"
    path.write_text(json.dumps(data))
    assert BlockPlan.load(path).steps[0].options["arch"] == "evil_module:Boom"
    assert not evil()


def test_a_plan_that_is_absurdly_long_or_deep_or_no_file_is_refused(tmp_path: Path) -> None:
    format = PlanFile("blocks", "plan of blocks", {}).format
    for text in (
        '{"format": ' + "[" * 100_000,
        '{"format": ' + "9" * 10_000 + "}",
        f'{{"format": "{format}", "steps": 3}}',
    ):
        (tmp_path / "plan.json").write_text(text)
        with pytest.raises(ks.PlanError):
            BlockPlan.load(tmp_path / "plan.json")
    with (tmp_path / "plan.json").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(ks.PlanError, match="1,073,741,824 bytes"):
        BlockPlan.load(tmp_path / "plan.json")
    with pytest.raises(ks.PlanError, match="a device"):
        ks.ChannelPlan.load("/dev/zero")
    with pytest.raises(ks.RecipeError, match="a device"):
        read_recipe("/dev/zero")
    (tmp_path / "deep.toml").write_text("seed = " + "[" * 10_000)
    with pytest.raises(ks.RecipeError):
        read_recipe(tmp_path / "deep.toml")


def test_a_plan_that_asks_for_more_memory_than_there_can_be_is_refused() -> None:
    for units in (10**11, 10**30):
        config = json.loads(vector_model().to_json())
        put_layer("Dense", {"units": units})(config)
        with pytest.raises(ks.PlanError, match="more memory than is free"):
            network_from_config(config)


# Arrays


def test_a_file_of_arrays_makes_no_python_object(tmp_path: Path) -> None:
    class Shell:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "made"),)

    np.save(tmp_path / "object.npy", np.array([Shell()], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "object.npz", data=np.array([Shell()], dtype=object))
    (tmp_path / "pickle.npy").write_bytes(pickle.dumps(Shell()))
    small_model().save(tmp_path / "in.keras")
    for name in ("object.npy", "object.npz", "pickle.npy"):
        with pytest.raises(ValueError, match="pickle"):
            load_arrays(tmp_path / name)
        done = invoke("compress", tmp_path / "in.keras", "-p", "Simplify", "-o", "o.keras", "--data", tmp_path / name)
        assert done.code == 2
    done = invoke("morphnet", "--records", tmp_path / "object.npz", "-o", "learned")
    assert done.code == 2
    assert not (tmp_path / "made").exists()


def test_a_file_of_arrays_that_claims_to_hold_more_than_it_does_is_refused(tmp_path: Path) -> None:
    for shape in ((10**9,), (10**6, 10**6, 10**6), (2, 10**18)):
        (tmp_path / "claims.npy").write_bytes(written(shape))
        with pytest.raises(ValueError, match="the file holds"):
            load_arrays(tmp_path / "claims.npy")
        with zipfile.ZipFile(tmp_path / "claims.npz", "w") as archive:
            archive.writestr("data.npy", written(shape))
        with pytest.raises(ValueError, match="the file holds"):
            load_arrays(tmp_path / "claims.npz")


def test_a_file_of_arrays_that_takes_more_memory_than_is_free_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "zeros.npz", a=np.zeros(2**21, np.float32), b=np.zeros(2**21, np.float32))
    np.save(tmp_path / "zeros.npy", np.zeros(2**22, np.float32))
    assert (tmp_path / "zeros.npz").stat().st_size < 2**16
    assert set(load_arrays(tmp_path / "zeros.npz")) == {"a", "b"}
    monkeypatch.setattr("kerasurgeon.array_files.free_memory", lambda: 15 << 20)
    for name in ("zeros.npz", "zeros.npy"):
        with pytest.raises(ValueError, match="16 MiB, and 15 MiB of memory are free"):
            load_arrays(tmp_path / name)


def test_a_file_of_arrays_that_is_damaged_is_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "whole.npz", a=np.arange(1000), b=np.arange(1000.0))
    np.save(tmp_path / "whole.npy", np.arange(1000))
    rng = np.random.default_rng(0)
    for name in ("whole.npz", "whole.npy"):
        content = (tmp_path / name).read_bytes()
        for _ in range(40):
            place, length = int(rng.integers(len(content))), int(rng.integers(1, 60))
            changed = content[:place] + rng.bytes(length) + content[place + length :]
            (tmp_path / "part").write_bytes(changed if rng.random() < 0.7 else content[:place])
            try:
                found = load_arrays(tmp_path / "part")
            except ValueError:
                continue
            assert isinstance(found, (np.ndarray, dict))  # a change that leaves numbers
    path, _ = plan_of_blocks(tmp_path)
    path.with_suffix(".npz").write_bytes(b"PK")
    with pytest.raises(ks.PlanError, match="not those that the plan was saved with"):
        BlockPlan.load(path)


# TFRecord files


def read_records(path: Path) -> Any:
    from kerasurgeon.workflows.data import read_records

    return list(read_records(path))


def test_a_record_that_claims_to_be_longer_than_its_file_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    good = record(example(png(8, 8), png(8, 8)))
    for length in (10**4, 10**12, 2**63):
        (tmp_path / "long.tfrecord").write_bytes(good + record(b"short", length))
        with pytest.raises(ks.OptionError, match="cut off"):
            read_records(tmp_path / "long.tfrecord")


def test_a_record_of_something_else_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    for content in (b"", b"not an example", pickle.dumps(os.getcwd), example(b"no picture", b"none")):
        (tmp_path / "other.tfrecord").write_bytes(record(content))
        with pytest.raises(ks.OptionError):
            read_records(tmp_path / "other.tfrecord")


def test_a_picture_of_absurdly_many_pixels_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    path = tmp_path / "large.tfrecord"
    for image, labels in (
        (png(1 << 20, 1 << 20), png(8, 8)),
        (png(8, 8), png(70_000, 1000)),
        (b"GIF89a" * 9, png(8, 8)),
    ):
        path.write_bytes(record(example(image, labels)))
        with pytest.raises(ks.OptionError, match="67,108,864 pixels"):
            read_records(path)


# Folders of runs


def test_a_model_in_the_folder_of_a_run_runs_no_python_code(tmp_path: Path) -> None:
    mark, place = tmp_path / "mark", tmp_path / "run"
    (place / "models").mkdir(parents=True)
    marking(mark).save(place / "models" / "original.keras")
    (place / "recipe.toml").write_text('[data]\nname = "shapes"\n[shunt]\nregions = ["a..b"]\n')
    mark.unlink(missing_ok=True)
    with pytest.raises(ks.ModelFileError, match=r"Python code(.|\n)*unsafe=True"):
        RunFolder.open(place).load_model("original")
    PlanFile("procedure", "state of a run", {"steps": dict}).save(
        place / "state.json", {"steps": {"data": {}, "original": {}}}
    )
    done = invoke("shunt", "--folder", place)
    assert done.code == 1
    assert "--unsafe" in done.err
    assert not mark.exists()
    RunFolder.open(place, unsafe=True).load_model("original")(np.ones((1, 4), np.float32))
    assert mark.exists()


def test_a_recipe_in_the_folder_of_a_run_is_allowed_nothing_by_itself(tmp_path: Path) -> None:
    RunFolder.new(tmp_path / "run", read_procedure(tiny.RECIPE, allow="tests"))
    with pytest.raises(ks.RecipeError, match=r"data\.name: 'tests.procedure.tiny:blobs' may not be imported"):
        ks.Procedure.resume(tmp_path / "run")
    assert ks.Procedure.resume(tmp_path / "run", allow="tests").recipe["data"]["name"] == "tests.procedure.tiny:blobs"


def test_a_state_of_a_training_makes_no_python_object(tmp_path: Path) -> None:
    class Shell:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "made"),)

    (tmp_path / "training").mkdir()
    np.savez(tmp_path / "training" / STATE, meta=np.array([Shell()], dtype=object))
    data = (np.ones((4, 8, 8, 3), np.float32), np.zeros((4, 4), np.float32))
    with pytest.raises(ks.OptionError, match=r"state of a training cannot be read(.|\n)*pickle"):
        ks.fine_tune(small_model(), data, data, loss="mse", epochs=1, folder=tmp_path / "training")
    assert not (tmp_path / "made").exists()
