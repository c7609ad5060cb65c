"""Random commands, half of them in every run; ``python -m tests.fuzz --commands N`` runs more of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.commands import MAKERS, Command, draw_command, model_folder, run_command

COMMANDS, CHUNK = 120, 12
# The sweep has these dozens: they take no branch of the library that nothing else in every run takes.
SWEPT = {12, 24, 36, 60, 96, 108}


@pytest.mark.parametrize(
    "first",
    [pytest.param(first, marks=[pytest.mark.sweep] * (first in SWEPT)) for first in range(0, COMMANDS, CHUNK)],
)
def test_random_commands(first: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    for seed in range(first, first + CHUNK):
        command = draw_command(seed)
        folder = tmp_path / str(seed)
        folder.mkdir()
        try:
            run_command(command, model_folder(), folder)
        except AssertionError as error:
            pytest.fail(f"seed {seed}: {error}\n{command}")


def test_right_and_wrong_ones_are_drawn() -> None:
    drawn = [draw_command(seed) for seed in range(10 * len(MAKERS))]
    assert 20 < sum(command.right for command in drawn) < 70


def test_a_right_command_that_fails_is_seen(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="is right, but status 2"):
        run_command(Command(["recipe", "check", "none.toml"]), model_folder(), tmp_path)
