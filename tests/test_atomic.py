"""Files appear whole or not at all, never in the place of another unasked; killed processes leave nothing for long."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kerasurgeon.atomic import AsSeen, check_place, staged, staged_folder, staged_together, write_text
from kerasurgeon.errors import FileError, OptionError
from kerasurgeon.hidden import alone, hidden, is_empty, scratch, sweep


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def no_links(*_: Any) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


@pytest.fixture(params=[True, False], ids=["hard links", "no hard links"])
def links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """File systems have hard links, or have none."""
    if not request.param:
        monkeypatch.setattr(os, "link", no_links)


def test_text_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    write_text(path, "fünf\n")
    write_text(str(path), "two\n")
    assert path.read_bytes() == b"two\n"
    assert names(tmp_path) == ["plan.json"]
    assert path.stat().st_nlink == 1


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "plan.JSON"
    write_text(path, "before")
    seen: list[Path] = []

    def write_half() -> None:
        with staged(path) as temporary:
            temporary.write_text("half")
            seen.append(temporary)
            raise ValueError("halfway")

    with pytest.raises(ValueError, match="halfway"):
        write_half()
    assert seen[0].parent.parent == tmp_path
    assert seen[0].name == "plan.json", "libraries know suffixes in lower case"
    assert path.read_text() == "before"
    assert names(tmp_path) == ["plan.JSON"]


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="No such file"), staged(tmp_path / "plan.json"):
        pass
    assert names(tmp_path) == []


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    write_text(tmp_path / "link.json", "text")
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "real.json").read_text() == "text"


# Not in the place of another.


@pytest.mark.usefixtures("links")
def test_a_file_that_appears_meanwhile_stays(tmp_path: Path) -> None:
    path = tmp_path / "small.keras"

    def slow(text: str) -> None:
        with staged(path, overwrite=False) as temporary:
            temporary.write_text(text)
            path.write_text("the other's")

    for number, text in ((2, "mine"), (3, "mine too")):
        path.unlink(missing_ok=True)
        with pytest.raises(FileError) as caught:
            slow(text)
        assert str(tmp_path / f"small-{number}.keras") in str(caught.value), "it says where the work is"
        assert str(path) in str(caught.value)
        assert "overwrite=True" in str(caught.value)
        assert path.read_text() == "the other's"
        assert (tmp_path / f"small-{number}.keras").read_text() == text
    assert names(tmp_path) == ["small-2.keras", "small-3.keras", "small.keras"]
    with pytest.raises(FileError, match="exists already"):
        write_text(path, "more", overwrite=False)
    write_text(path, "more")
    assert path.read_text() == "more"


@pytest.mark.parametrize("before", [None, "old"])
@pytest.mark.parametrize("meanwhile", [None, "the other's"])
def test_what_was_seen_may_be_replaced_and_nothing_else(
    before: str | None, meanwhile: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "it.txt"
    if before is not None:
        path.write_text(before)
    seen = AsSeen.now(path)
    if meanwhile is None:
        write_text(path, "mine", overwrite=seen)
        assert names(tmp_path) == ["it.txt"]
        assert path.read_text() == "mine"
        return
    path.write_text(meanwhile)
    with pytest.raises(FileError, match=r"it-2\.txt"):
        write_text(path, "mine", overwrite=seen)
    assert path.read_text() == meanwhile


@pytest.mark.usefixtures("links")
def test_the_first_of_many_wins(tmp_path: Path) -> None:
    path, said = tmp_path / "it.txt", []
    start = threading.Barrier(8)

    def write(number: int) -> None:
        start.wait()
        try:
            write_text(path, str(number), overwrite=False)
        except FileError as error:
            said.append(str(error))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    texts = [item.read_text() for item in tmp_path.iterdir()]
    assert len(said) == 7
    assert len(set(texts)) == len(texts), "no work is there twice"
    assert path.read_text() not in [item.read_text() for item in tmp_path.iterdir() if item != path]


@pytest.mark.usefixtures("links")
@pytest.mark.parametrize("taken", ["plan.npz", "plan.json"])
def test_of_two_files_both_or_none(taken: str, tmp_path: Path) -> None:
    paths = [tmp_path / "plan.npz", tmp_path / "plan.json"]

    def write() -> None:
        with staged_together(paths, overwrite=False) as temporaries:
            for temporary in temporaries:
                temporary.write_text(f"my {temporary.name}")
            (tmp_path / taken).write_text("the other's")

    with pytest.raises(FileError, match="another process has put a file there"):
        write()
    assert names(tmp_path) == sorted(["plan-2.json", "plan-2.npz", taken])
    assert (tmp_path / taken).read_text() == "the other's"
    assert (tmp_path / "plan-2.json").read_text() == "my plan.json"


@pytest.mark.parametrize("before", [None, [], ["a"], ["b"], ["c"]], ids=str)
def test_a_folder(before: list[str] | None, tmp_path: Path) -> None:
    target = tmp_path / "demo"

    def write(**options: Any) -> None:
        with staged_folder(target, **options) as folder:
            (folder / "a").write_text("1")
            (folder / "b").write_text("2")

    if before is not None:
        target.mkdir()
        for name in before:
            (target / name).write_text("old")
    if before in (["a"], ["b"]):
        with pytest.raises(FileError, match=r"demo-2"):
            write()
        assert names(target) == before
        assert names(tmp_path / "demo-2") == ["a", "b"]
        write(overwrite=True)
    else:
        write()
    assert {name: (target / name).read_text() for name in ("a", "b")} == {"a": "1", "b": "2"}
    assert names(target) == sorted({"a", "b", *(before or [])})
    assert {name[0] for name in names(tmp_path)} == {"d"}, "nothing hidden is left"


# What the system refuses.


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class LibraryError(RuntimeError):
    pass


REFUSED: dict[str, tuple[Callable[[Path], Path], str, str]] = {
    "no folder": (lambda place: place / "none" / "it.txt", "does not exist", "mkdir -p "),
    "a file for a folder": (lambda place: place / "file" / "it.txt", "is a file", "another path"),
    "a folder": (lambda place: place / "folder", "is a directory", "file name"),
    "a long name": (lambda place: place / ("x" * 300), "File name too long", "shorter name"),
    "a long folder": (lambda place: place / ("x" * 300) / "it.txt", "File name too long", "shorter name"),
    "a zero byte": (lambda place: place / "a\0b", "Invalid argument", "another name"),
    "links in a circle": (lambda place: place / "circle" / "it.txt", "does not exist", "mkdir -p "),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_written_is_said_before_and_after(what: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    make, got, hint = REFUSED[what]
    path, before = make(tmp_path), names(tmp_path)
    for write in (partial(write_text, text="x", what="recipe"), partial(check_place, overwrite=True)):
        with pytest.raises(FileError) as caught:
            write(path)
        assert got in str(caught.value)
        assert hint in str(caught.value)
        assert str(path)[:200] in str(caught.value)
    assert names(tmp_path) == before


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        LibraryError("Can't write data (file write failed: time = x, errno = 28, error message = 'No space left')"),
        LibraryError("ResourceExhausted: it.txt; No space left on device"),
    ],
    ids=["the system's", "HDF5's", "TensorFlow's"],
)
def test_a_full_disk_is_named_whoever_says_it(error: Exception, tmp_path: Path) -> None:
    path = tmp_path / "it.txt"
    write_text(path, "before")

    def write() -> None:
        with staged(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(FileError) as caught:
        write()
    assert "No space left on device" in str(caught.value)
    assert str(path) in str(caught.value)
    assert "make room" in str(caught.value)
    assert path.read_text() == "before"
    assert names(tmp_path) == ["it.txt"]


def test_a_full_disk_at_the_last_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("replace", "fsync"):
        with monkeypatch.context() as patched:
            patched.setattr(os, name, full)
            with pytest.raises(FileError, match="No space left"):
                write_text(tmp_path / "it.txt", "x")
    assert names(tmp_path) == []
    monkeypatch.setattr(os, "mkdir", full)
    with pytest.raises(FileError, match="TMPDIR"), scratch():
        pass


# What is left.

STOP = """
import sys, time
from pathlib import Path
from kerasurgeon.hidden import hidden
with hidden(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("half")
    print("there", flush=True)
    time.sleep(600)
"""


def started(target: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", STOP, str(target)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "there\n"
    return process


def test_what_a_killed_process_left_is_swept_and_what_another_holds_is_not(tmp_path: Path) -> None:
    others = (".small-1234.keras", ".hidden", ".small-0123456789abcdef.keras", ".x-0123456789abcdef.kerasurgeon")
    for name in others:
        (tmp_path / name).write_text("not ours")
    killed, alive = started(tmp_path / "small.keras"), started(tmp_path / "small.keras")
    with hidden(tmp_path / "small.keras"):
        pass
    assert len(names(tmp_path)) == len(others) + 2
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    write_text(tmp_path / "other.txt", "x")
    left = [name for name in names(tmp_path) if name not in others]
    assert len(left) == 2
    assert (tmp_path / left[0] / "half").read_text() == "half"
    alive.kill()
    alive.wait()
    check_place(tmp_path / "small.keras", overwrite=True)
    assert names(tmp_path) == sorted([*others, "other.txt"])
    for process in (killed, alive):
        assert process.stdout is not None
        process.stdout.close()


def test_a_folder_that_was_never_locked_is_swept(tmp_path: Path) -> None:
    (tmp_path / ".small-0123456789abcdef.kerasurgeon").mkdir()
    sweep(tmp_path)
    sweep(tmp_path / "none")
    assert names(tmp_path) == []


def test_locks_of_killed_processes_are_swept(tmp_path: Path) -> None:
    (tmp_path / ".lock.kerasurgeon").touch()
    (tmp_path / ".log.lock.kerasurgeon").touch()
    with alone(tmp_path / "held.json"):
        write_text(tmp_path / "it.txt", "x")
        assert names(tmp_path) == [".held.lock.kerasurgeon", "it.txt"]
    assert names(tmp_path) == ["it.txt"]


def test_one_at_a_time(tmp_path: Path) -> None:
    with alone(tmp_path), alone(tmp_path / "log.json"), alone(tmp_path / "other.json"):
        for place in (tmp_path, tmp_path / "log.json"):
            with pytest.raises(OptionError, match=r"Another process is at work(.|\n)*wait until"), alone(place):
                pass
        assert is_empty(tmp_path), "but for what is there for a while"
        (tmp_path / "it").touch()
        assert not is_empty(tmp_path)
        (tmp_path / "it").unlink()
    assert names(tmp_path) == []
    with pytest.raises(FileError, match="cannot be written"), alone(tmp_path / "none" / "log.json"):
        pass


def test_many_wait_in_turn_for_a_folder(tmp_path: Path) -> None:
    """The file that is locked goes when its holder goes: nobody may hold one that is gone."""
    inside, most, done = [0], [0], []

    def work() -> None:
        while True:
            try:
                with alone(tmp_path):
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    inside[0] -= 1
                    done.append(1)
                    return
            except OptionError:
                continue

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(done), most[0]) == (8, 1)


def test_long_names_leave_room(tmp_path: Path) -> None:
    path = tmp_path / ("ü" * 120 + ".json")  # 245 bytes
    write_text(path, "x", overwrite=False)
    with alone(path):
        assert names(tmp_path)[0].startswith(".ü")
    assert names(tmp_path) == [path.name]
