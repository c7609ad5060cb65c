"""Files appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from kerasurgeon.atomic import beside, staged, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_text_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    write_text(path, "fünf\n")
    write_text(str(path), "two\n")
    assert path.read_bytes() == b"two\n"
    assert names(tmp_path) == ["plan.json"]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    write_text(path, "before")
    seen: list[Path] = []

    def write_half() -> None:
        with staged(path) as temporary:
            temporary.write_text("half")
            seen.append(temporary)
            raise ValueError("halfway")

    with pytest.raises(ValueError, match="halfway"):
        write_half()
    assert seen[0].parent == tmp_path
    assert seen[0].suffix == ".json"
    assert path.read_text() == "before"
    assert names(tmp_path) == ["plan.json"]


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), staged(tmp_path / "plan.json"):
        pass
    with pytest.raises(FileNotFoundError):
        write_text(tmp_path / "missing" / "plan.json", "text")
    assert names(tmp_path) == []


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    write_text(tmp_path / "link.json", "text")
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "real.json").read_text() == "text"


def test_names_beside_are_short_enough(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 250 + ".json")
    assert len(beside(path).name) < 100
    assert beside(path) != beside(path)
