"""The code in docs/ runs: each page's Python blocks in order, in one namespace, in a folder of its own.

Blocks marked ``sh`` hold commands, which run between them.
"""

from __future__ import annotations

import importlib
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import kerasurgeon as ks
from kerasurgeon import passes
from kerasurgeon.cli.app import app
from kerasurgeon.rewrite import catalogue as catalogue_module
from kerasurgeon.rewrite.pipeline import Pipeline

pytestmark = pytest.mark.plain

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [path for path in sorted((ROOT / "docs").rglob("*.md")) if "```python" in path.read_text(encoding="utf-8")]
# These train, search and measure for three seconds and more; CI runs them with the scripts of examples/.
LONG = {
    "auto_compress",
    "blocks",
    "choosing_blocks",
    "factorise",
    "morphnet",
    "opening",
    "procedure",
    "recover",
    "tour",
}
LONG |= {f"howto/{name}" for name in ("half", "latency", "segmentation", "transfer", "widths")}


def is_long(page: Path) -> bool:
    return name_of(page).removesuffix(".md") in LONG


def name_of(page: Path) -> str:
    return page.relative_to(ROOT / "docs").as_posix()


def run_page(page: Path, folder: Path) -> dict[str, Any]:
    """Write the page's files, run its Python blocks and commands, return the namespace of the blocks."""
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    for _, name, text in blocks:
        if name:
            (folder / name).write_text(text, encoding="utf-8")
    importlib.invalidate_caches()  # the files are newer than what the import system remembers of the folder
    namespace: dict[str, Any] = {"__name__": page.stem}
    for language, name, text in blocks:
        if language == "python" and not name:
            exec(compile(text, f"{page.name}", "exec"), namespace)  # the page is ours
        elif language == "sh":
            for line in text.splitlines():
                program, *arguments = shlex.split(line, comments=True)
                assert program == "kerasurgeon", line
                done = CliRunner().invoke(app, arguments, prog_name=program)
                assert done.exit_code == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return namespace


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=pytest.mark.example if is_long(page) else (), id=name_of(page)) for page in PAGES],
)
def test_the_code_of_a_page_runs(page: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_page(page, folder)


def test_the_pass_of_the_guide_is_short() -> None:
    text = (ROOT / "docs" / "writing_a_pass.md").read_text(encoding="utf-8")
    (body,) = [block for _, name, block in BLOCK.findall(text) if name == "fold_rescaling.py"]
    written = [line for line in body[body.index("@dataclass") :].splitlines() if line.strip()]
    assert len(written) <= 30


def test_the_pass_of_the_guide_works_as_an_entry_point(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    namespace = run_page(ROOT / "docs" / "writing_a_pass.md", folder)
    info = folder / "guide-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: guide\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(
        "[kerasurgeon.passes]\nFoldRescaling = fold_rescaling:FoldRescaling\n", encoding="utf-8"
    )
    catalogue_module.catalogue.cache_clear()
    try:
        pipeline = Pipeline.from_recipe({"pass": [{"name": "FoldRescaling"}]})
        result = pipeline.run(namespace["model"])
    finally:
        catalogue_module.catalogue.cache_clear()
    assert [layer.name for layer in result.model.layers] == ["features", "scores"]
    assert result.report.passes[0].name == "FoldRescaling"


def test_every_page_is_in_the_site() -> None:
    listed = set(re.findall(r"([\w/]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE))
    assert listed == {name_of(path) for path in (ROOT / "docs").rglob("*.md")}


def test_every_public_name_has_its_entry_in_the_reference() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "api").glob("*.md"))
    entries = [entry.rsplit(".", 1)[-1] for entry in re.findall(r"^::: (\S+)$", text, re.MULTILINE)]
    assert sorted(entries) == sorted({*ks.__all__, *passes.__all__} - {"recover", "__version__"})
