"""Measured latency of a factorised ResNet50 on TFLite and ONNX Runtime, next to the MACs: whole, and layer by layer.

    uv run --all-extras python benchmarks/factorise_latency.py [--write docs] [--rounds 25] [--seed 0]

ResNet50 at 224 x 224 with calibrated random weights is split at half of its MACs: as ``Factorise(macs=0.5)`` does it,
with ranks that suit the runtime (``round_to=``), and leaving whole what is slower in pieces (``latency_of=``). Models
take turns on one thread. Then each kind of layer by itself against its chain. ``--write`` writes factorise_latency.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras

import kerasurgeon as ks
from kerasurgeon.atomic import write_text
from kerasurgeon.exporting import latency
from kerasurgeon.factors import FactorPlan
from kerasurgeon.passes import ApplyFactors, Factorise

ROOT = Path(__file__).resolve().parent.parent
RUNTIMES = {"tflite": "TFLite", "onnx": "ONNX Runtime"}
ROUND_TO = {"tflite": "tflite", "onnx": "onnxruntime"}
MACS = 0.5


@dataclass
class Row:
    """A kind of layer, and what its chain costs of what it costs."""

    shape: str
    ranks: str
    macs: float
    layers: list[str] = field(default_factory=list)
    milliseconds: dict[str, float] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def measured(models: dict[str, keras.Model], runtime: str, rounds: int, folder: Path) -> tuple[Any, ...]:
    """Models on a runtime, in turns."""
    files = {}
    for number, (name, model) in enumerate(models.items()):
        files[name] = folder / f"{number}.{runtime}"
        ks.export(model, files[name], batch_size=1)
    return latency(files, rounds=rounds, threads=1).rows


def split(model: keras.Model, **options: Any) -> tuple[keras.Model, FactorPlan]:
    """The model at half its MACs."""
    result = ks.Pipeline([Factorise(macs=MACS, **options)]).run(model, verify="structure")
    return result.model, result.report.passes[0].plans[0]


def whole(model: keras.Model, rounds: int, folder: Path) -> tuple[list[str], FactorPlan]:
    """The rows of the whole model, and the plan of the plain split."""
    lines: list[str] = []
    macs = ks.cost(model).macs
    plain, plan = split(model)
    for runtime, title in RUNTIMES.items():
        rounded = {"round_to": ROUND_TO[runtime]}
        latencies = ks.latency_on(runtime, rounds=rounds)
        models, left = {"original": model, f"macs={MACS}": plain}, [0, 0]
        for options in (rounded, {"latency_of": latencies}, {"latency_of": latencies, **rounded}):
            say(f"{title}: {', '.join(options)}")
            named = ", ".join(
                f'{key}="{value}"' if isinstance(value, str) else f'{key}=latency_on("{runtime}")'
                for key, value in options.items()
            )
            made, kept = split(model, **options)
            models[f"macs={MACS}, {named}"] = made
            left.append(len(kept.layers))
        left[1] = len(plan.layers)
        say(f"{title}: whole models")
        for row, made, count in zip(measured(models, runtime, rounds, folder), models.values(), left, strict=True):
            lines.append(
                f"| {title} | {'' if row.name == 'original' else 'Factorise: '}`{row.name}` | {count} | "
                f"{100 * ks.cost(made).macs / macs:.1f} % | {row.median_ms:.1f} "
                f"({row.low_ms:.1f}-{row.high_ms:.1f}) | {row.ratio:.2f} |"
            )
            print(lines[-1], flush=True)
    return lines, plan


def by_layer(model: keras.Model, plan: FactorPlan, rounds: int, folder: Path) -> list[Row]:
    """Each kind of layer by itself against its chain; layers with equal shapes and ranks are measured once."""
    graph = ks.lift(model)
    rows: dict[tuple[Any, ...], Row] = {}
    for name, planned in plan.layers.items():
        node, factors = graph[name], planned.factors
        spec = graph.spec(node.inputs[0]).shape
        strides = graph.layer_of(node).config["strides"]
        key = (factors.shape, strides, spec, factors.ranks)
        if key not in rows:
            part = ks.emit(ks.extract(graph, node.inputs[0], node.value), compile=False)
            chain = ks.apply_passes(part, [ApplyFactors(FactorPlan({name: planned}))], verify="structure")
            size, channels = (
                "x".join(map(str, factors.shape.sizes)),
                f"{factors.shape.inputs} to {factors.shape.outputs}",
            )
            text = f"{size}, {channels}, stride {strides[0]}, from {spec[1]}x{spec[2]}"
            ranks = ", ".join("-" if rank is None else str(rank) for rank in factors.ranks)
            row = rows[key] = Row(text, f"{factors.method} {ranks}", ks.cost(chain).macs / ks.cost(part).macs)
            for runtime in RUNTIMES:
                before, after = measured({"layer": part, "chain": chain}, runtime, rounds, folder)
                row.milliseconds[runtime], row.ratios[runtime] = before.median_ms, after.ratio
            say(f"{row.shape}: {row.macs:.2f} {row.ratios}")
        rows[key].layers.append(name)
    return list(rows.values())


def main() -> None:
    """Split, measure, print, and write what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    from tests.applications import build_application

    model = build_application("ResNet50", seed=options.seed, full_size=True)
    with tempfile.TemporaryDirectory() as name:
        lines, plan = whole(model, options.rounds, Path(name))
        rows = by_layer(model, plan, options.rounds, Path(name))
    text = page(lines, rows, options)
    print(text)
    if options.write:
        write_text(options.write / "factorise_latency.md", text)


def page(lines: list[str], rows: list[Row], options: argparse.Namespace) -> str:
    """The tables as a page."""
    counted = sum(len(row.layers) for row in rows)
    slower = []
    for runtime, title in RUNTIMES.items():
        count = sum(len(row.layers) for row in rows if row.ratios[runtime] >= 1)
        slower.append(f"{count} of {counted} layers on {title}")
    text = [
        "# Latency of a factorised ResNet50",
        "",
        "Made by `python benchmarks/factorise_latency.py --write docs`: ResNet50 at 224 x 224 with calibrated random",
        f"weights (seed {options.seed}), float32, one image, one thread, TFLite with XNNPACK; {os.cpu_count()} cores",
        f"({platform.machine()}) of a machine that others use too: medians of {options.rounds} rounds in turns,",
        "quartiles in brackets. Spectra of random kernels are flat: trained ones get other ranks for the same budget,",
        "and lose far less by it.",
        "",
        "## The whole model",
        "",
        "| runtime | model | layers split | MACs kept | ms | latency kept |",
        "|---|---|---|---|---|---|",
        *lines,
        "",
        "`latency_of=` chooses ranks by MACs, then times each layer and its chain by themselves and leaves whole what",
        "is not faster in pieces: more MACs are left than were asked for.",
        "",
        "## Layer by layer",
        "",
        "Each kind of layer of the plain split by itself against its chain, in turns. Slower in pieces (ratios near 1",
        f"are within the noise): {', '.join(slower)}.",
        "",
        "| layer | layers | ranks | MACs kept | "
        + " | ".join(f"{name}: ms, kept" for name in RUNTIMES.values())
        + " |",
        "|---|---|---|---|" + "---|" * len(RUNTIMES),
    ]
    for row in rows:
        cells = []
        for runtime in RUNTIMES:
            ratio = f"{row.ratios[runtime]:.2f}"
            cells.append(f"{row.milliseconds[runtime]:.3f}, {ratio if row.ratios[runtime] < 1 else f'**{ratio}**'}")
        text.append(f"| {row.shape} | {len(row.layers)} | {row.ranks} | {row.macs:.2f} | {' | '.join(cells)} |")
    return "\n".join(text) + "\n"


if __name__ == "__main__":
    main()
