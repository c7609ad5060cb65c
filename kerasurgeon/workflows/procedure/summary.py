"""What a procedure comes to: what was saved, and how good the network was after each step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

STAGES = (
    ("train_original", "original"),
    ("shunt", "shunts inserted, untrained"),
    ("train_shunt", "after training the shunts"),
    ("train_final", "after training the whole"),
)


def summarise(
    found: Mapping[str, Mapping[str, Any]], metric: str, name: str, runs: Callable[[str], bool]
) -> dict[str, Any]:
    """What the steps found, in one place.

    Args:
        found: Facts by step.
        metric: What networks are measured by.
        name: Of the procedure.
        runs: Whether a step is done: of a network that was not trained there is no stage after training.
    """
    stages = [(step, text) for step, text in STAGES if text == "original" or runs(step)]
    rows = [{"stage": text, metric: found[step][metric], **_sizes(found[step])} for step, text in stages]
    first, last = rows[0], rows[-1]
    latency = {key: value for key, value in found.get("latency", {}).items() if key != "seconds"}
    times = {
        row["name"]: row["median_ms"]
        for row in latency.get("rows", ())
        if isinstance(row, Mapping) and {"name", "median_ms"} <= row.keys()  # a user's own step may give others
    }
    return {
        "name": name,
        "metric": metric,
        "rows": rows,
        "macs_saved": 1 - last["macs"] / max(first["macs"], 1),
        "parameters_saved": 1 - last["parameters"] / first["parameters"],
        "lost": first[metric] - last[metric],
        "shunts": [[item["entry"], item["exit"]] for item in found["shunt"]["bridges"]],
        "latency_ms": times,
        **({"latency": latency} if latency and not times else {}),
        "warnings": [facts["warning"] for facts in found.values() if facts.get("warning")],
        "seconds": sum(facts.get("seconds", 0.0) for facts in found.values()),
    }


def _sizes(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {key: facts[key] for key in ("macs", "parameters", "macs_unknown") if key in facts}
