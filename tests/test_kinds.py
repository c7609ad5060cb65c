"""What is known of a layer stands in kerasurgeon/layers/: no other module lists kinds of layers and ops."""

from __future__ import annotations

import pkgutil
from pathlib import Path

import keras

from tests.sources import LIBRARY, PASSES, ROOT, read, source

MODULES = [path for path in [*LIBRARY, *PASSES] if "layers" not in path.relative_to(ROOT).parts[:2]]
# Found by looking into Keras, not by asking the rules.
KINDS = frozenset(name for name in dir(keras.layers) if isinstance(getattr(keras.layers, name), type)) | frozenset(
    f"ops.{name}" for name in dir(keras.ops) if not name.startswith("_")
)
APPLICATIONS = frozenset(module.name for module in pkgutil.iter_modules(keras.applications.__path__)) | frozenset(
    name for name in dir(keras.applications) if not name.startswith("_")
)


def kinds_in(path: Path) -> set[str]:
    """Kinds that a module names, one string each or many in one."""
    found = set()
    for text, _ in source(path).strings:
        words = text.split()
        if words and set(words) <= KINDS:
            found |= set(words)
    # What a Layer or a Dense is called as a class of this library is no kind: "Layer" is in __all__ of the root.
    return found - {"Layer"}


def test_no_module_lists_kinds() -> None:
    found = {str(path.relative_to(ROOT)): sorted(kinds_in(path)) for path in MODULES}
    listed = {name: kinds for name, kinds in found.items() if len(kinds) > 2}
    assert listed == {}, "ask the rules instead (rules/asking.py)"


def test_none_branches_on_the_name_of_an_application() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} {text}"
        for path in MODULES
        for text, line in source(path).compared
        if "keras.src.applications" in text or text in APPLICATIONS
    ]
    assert wrong == []


def test_the_layers_room_does_list_them() -> None:
    """The tests above see what they look for."""
    families = sorted((ROOT / "kerasurgeon" / "layers").glob("*.py"))
    listed = {path.stem: len(kinds_in(path)) for path in families}
    assert listed["convolution"] == 14
    assert sum(listed.values()) > 150
    branch = 'if name in {"ResNet50"} or name == "MobileNet": pass'
    assert sorted(text for text, _ in read(branch).compared) == ["MobileNet", "ResNet50"]
    assert {"MobileNet", "ResNet50"} <= APPLICATIONS
