"""Many models in several processes: what is found goes to a file, line by line, from which a run goes on."""

from __future__ import annotations

import json
import multiprocessing
import signal
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Record = dict[str, Any]

CHUNK = 20
"""Models that a process is given at once."""

SECONDS = 120
"""After which an oracle counts as hanging."""

LIVES = 10
"""Chunks after which a process makes room for a new one: TensorFlow keeps what it has compiled."""


def model_record(seed: int, only: str | None = None) -> Record:
    """All oracles of the model of a seed: what each found, and the model made smaller where one failed."""
    from tests.fuzz.case import Case
    from tests.fuzz.models import draw_model
    from tests.fuzz.oracles import ORACLES, oracles_of
    from tests.fuzz.shrinking import shrunk

    description, made = draw_model(seed)
    case = Case(description, seed, made)
    record: Record = {"seed": seed, "kinds": dict(Counter(description.kinds())), "policy": description.policy}
    found: dict[str, str] = {}
    for name in [only] if only else oracles_of(seed):
        try:
            with limited(SECONDS):
                found[name] = ORACLES[name](case)
        except Exception as error:  # noqa: BLE001 - every one is a finding
            found[name] = f"FAILED {type(error).__name__}: {error}"
            record.setdefault("failures", []).append(
                {
                    "oracle": name,
                    "error": "".join(traceback.format_exception(error, limit=-4)),
                    "shrunk": str(shrunk(description, seed, name)),
                }
            )
    return {**record, "oracles": found, "cut": case.cut}


def run_chunk(seeds: list[int], path: Path, module: str) -> int:
    """The records of some seeds, written one by one. Before each, a line that says that it has begun."""
    import faulthandler
    import importlib

    import tests.environment  # noqa: F401  before TensorFlow is imported

    # isort: split

    from kerasurgeon.keras_io.equal_calls import equal_calls

    faulthandler.enable()
    record_of = importlib.import_module(module).RECORD
    with equal_calls(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in seeds:
            _write(path, {"begun": seed})
            start = time.process_time()
            try:
                record = record_of(seed)
            except Exception as error:  # noqa: BLE001 - a fault of the generator
                record = _failed(seed, "draw", "".join(traceback.format_exception(error, limit=-4)))
            _write(path, {**record, "seconds": round(time.process_time() - start, 3)})
    return len(seeds)


def _failed(seed: int, oracle: str, error: str) -> Record:
    return {"seed": seed, "oracles": {oracle: "FAILED"}, "failures": [{"oracle": oracle, "error": error}]}


def _write(path: Path, record: Record) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def records(path: Path) -> Iterator[Record]:
    """What a file holds, the lines that say that something has begun too."""
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                yield json.loads(line)
            except json.JSONDecodeError:  # the last line of a process that was killed
                continue


def run(seeds: Iterable[int], path: Path, module: str, processes: int, say: Any = print) -> list[Record]:
    """Run what is not in the file yet; a process that dies on a model is replaced, and the model is a failure."""
    wanted = list(seeds)
    while True:
        done = {record["seed"] for record in records(path) if "seed" in record}
        left = [seed for seed in wanted if seed not in done]
        if not left:
            break
        chunks = [left[first : first + CHUNK] for first in range(0, len(left), CHUNK)][: LIVES * processes]
        try:
            with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
                for future in as_completed([pool.submit(run_chunk, chunk, path, module) for chunk in chunks]):
                    future.result()
                    _progress(path, wanted, say)
        except BrokenProcessPool:
            _note_deaths(path, set(left))
    return [record for record in records(path) if record.get("seed") in set(wanted)]


def _note_deaths(path: Path, left: set[int]) -> None:
    begun = {record["begun"] for record in records(path) if "begun" in record}
    ended = {record["seed"] for record in records(path) if "seed" in record}
    for seed in sorted((begun - ended) & left):
        _write(path, _failed(seed, "process", "the process died"))


def _progress(path: Path, wanted: list[int], say: Any) -> None:
    finished = [record for record in records(path) if "seed" in record]
    failed = sum(1 for record in finished if record.get("failures"))
    say(f"{len(finished)} of {len(wanted)} done, {failed} failed", flush=True)


def table(found: list[Record]) -> str:
    """What was run, by oracle and outcome, and how often each kind was in a model and was cut."""
    outcomes: Counter[tuple[str, str]] = Counter()
    kinds: Counter[str] = Counter()
    cut: Counter[str] = Counter()
    for record in found:
        for oracle, outcome in record["oracles"].items():
            outcomes[oracle, outcome if not outcome.startswith("FAILED") else "FAILED"] += 1
        kinds.update(record.get("kinds", {}))
        cut.update(record.get("cut", {}))
    lines = [f"{len(found)} run, {sum(record.get('seconds', 0) for record in found):.0f} s of processor time", ""]
    lines += [f"{oracle:14} {outcome:40} {count:7}" for (oracle, outcome), count in sorted(outcomes.items())]
    lines += ["", f"{'kind':44} {'calls':>7} {'channels cut':>13}"] * bool(kinds)
    lines += [f"{kind:44} {count:7} {cut.get(kind, 0) or '':>13}" for kind, count in sorted(kinds.items())]
    for record in found:
        for failure in record.get("failures", []):
            lines += ["", f"seed {record['seed']}, {failure['oracle']}:", failure["error"].rstrip()]
            lines += [failure["shrunk"]] * ("shrunk" in failure)
    return "\n".join(lines)


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """An error after so many seconds."""

    def late(*_: Any) -> None:
        raise TimeoutError(f"still running after {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


RECORD = model_record
