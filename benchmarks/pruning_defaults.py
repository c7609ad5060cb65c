"""Accuracy of pruned networks without fine-tuning: what one line gives, with data and without.

    uv run --all-extras python benchmarks/pruning_defaults.py [--write docs/pruning_defaults.md] [--seeds 3]

Networks like ResNet, MobileNetV2 and VGG are trained on scikit-learn's digits at 16x16, pruned to several shares of
their MACs, and evaluated as they are. ``--folder`` keeps trained networks for the next time.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers

import kerasurgeon as ks
from kerasurgeon.atomic import write_text
from kerasurgeon.passes import Compress, Factorise, PruneChannels
from kerasurgeon.workflows.data import DataSet, digits

KEPT = (0.75, 0.5, 0.35, 0.25)
SIZE = 16
IMAGES = 512
EPOCHS = 20
RANGE = (0.0, 1.0)
# What is compared: options of PruneChannels, and what the run is given beside the model.
WAYS: dict[str, tuple[dict[str, Any], str]] = {
    "no compensation": ({"importance": "l2", "scope": "local", "compensate": "none"}, ""),
    "no compensation, chosen by 512 images": ({"compensate": "none"}, "images"),
    "batch-norm means": ({"importance": "l2", "scope": "local", "compensate": "batch_norm"}, ""),
    "means from data": ({"importance": "l2", "scope": "local", "compensate": "data"}, "images"),
    "default without data": ({}, ""),
    "default without data, input_range given": ({"input_range": RANGE}, ""),
    "default with 512 images": ({}, "images"),
    "default with 512 images and labels": ({}, "labels"),
}
# One budget for pruning and factorising, and each alone: the MACs kept, with images or without.
JOINT = ((0.2, True), (0.5, False), (0.25, False))
TOGETHER: dict[str, Callable[[float], Any]] = {
    "pruning alone": lambda kept: PruneChannels(macs=kept),
    "factorising alone": lambda kept: Factorise(macs=kept),
    "Compress": lambda kept: Compress(macs=kept),
}


def resnet_like() -> keras.Model:
    """Three stages of residual blocks with batch norms."""
    image = keras.Input((SIZE, SIZE, 1), name="image")
    x = _conv(image, 16, 3, 1, "stem")
    for stage, width in enumerate((16, 32, 64)):
        for block in range(2):
            strides = 2 if stage and not block else 1
            name = f"stage{stage}_{block}"
            y = _conv(x, width, 3, strides, f"{name}_a")
            y = _conv(y, width, 3, 1, f"{name}_b", activation=None)
            if strides > 1:
                x = _conv(x, width, 1, strides, f"{name}_short", activation=None)
            x = layers.Activation("relu", name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, y]))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, layers.Dense(10, name="digit")(x), name="resnet_like")


def mobilenet_like() -> keras.Model:
    """Inverted residuals with depthwise convolutions, batch norms and relu6."""
    image = keras.Input((SIZE, SIZE, 1), name="image")
    x = _conv(image, 16, 3, 1, "stem", activation="relu6")
    for place, (width, strides) in enumerate(((16, 1), (24, 2), (24, 1), (48, 2), (48, 1), (48, 1))):
        name, before = f"block{place}", x.shape[-1]
        y = _conv(x, 4 * before, 1, 1, f"{name}_expand", activation="relu6")
        y = layers.DepthwiseConv2D(3, strides, padding="same", use_bias=False, name=f"{name}_depthwise")(y)
        y = layers.BatchNormalization(momentum=0.9, name=f"{name}_depthwise_bn")(y)
        y = layers.Activation("relu6", name=f"{name}_depthwise_relu")(y)
        y = _conv(y, width, 1, 1, f"{name}_project", activation=None)
        x = layers.Add(name=f"{name}_add")([x, y]) if strides == 1 and before == width else y
    x = _conv(x, 96, 1, 1, "head", activation="relu6")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, layers.Dense(10, name="digit")(x), name="mobilenet_like")


def vgg_like() -> keras.Model:
    """Plain convolutions with biases, without batch norms."""
    x = image = keras.Input((SIZE, SIZE, 1), name="image")
    for stage, width in enumerate((16, 32, 64)):
        for block in range(2):
            name = f"conv{stage}_{block}"
            x = layers.Conv2D(width, 3, padding="same", activation="relu", name=name)(x)
        x = layers.MaxPooling2D(name=f"pool{stage}")(x)
    x = layers.Flatten(name="flat")(x)
    x = layers.Dense(64, activation="relu", name="hidden")(x)
    return keras.Model(image, layers.Dense(10, name="digit")(x), name="vgg_like")


def _conv(x: Any, filters: int, size: int, strides: int, name: str, *, activation: str | None = "relu") -> Any:
    x = layers.Conv2D(filters, size, strides, padding="same", use_bias=False, name=name)(x)
    x = layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
    return layers.Activation(activation, name=f"{name}_{activation}")(x) if activation else x


NETWORKS: dict[str, Callable[[], keras.Model]] = {
    "ResNet": resnet_like, "MobileNet": mobilenet_like, "VGG": vgg_like,
}  # fmt: skip


def trained(kind: str, seed: int, data: DataSet, folder: Path) -> keras.Model:
    """A network of a kind, from the folder where it is there."""
    path = folder / f"{kind}_{seed}.keras"
    if path.exists():
        return keras.saving.load_model(path, compile=False)
    keras.utils.set_random_seed(seed)
    model = NETWORKS[kind]()
    steps = -(-len(data.train.images) // 64) * EPOCHS
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(2e-3, steps)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.fit(data.train.images, data.train.labels, batch_size=64, epochs=EPOCHS, verbose=0)
    model.save(path)
    return keras.saving.load_model(path, compile=False)


def accuracy(model: keras.Model, split: Any) -> float:
    """The share of a split's digits that a model gets right."""
    logits = np.asarray(model(split.images, training=False))
    return float((logits.argmax(axis=-1) == split.labels).mean())


def row(model: keras.Model, data: DataSet, options: dict[str, Any], given: str) -> list[tuple[float, float]]:
    """Accuracy, and the MACs that were kept, for each budget."""
    images, labels = data.train.images[:IMAGES], data.train.labels[:IMAGES]
    what: Any = {"": None, "images": images, "labels": (images, labels)}[given]
    full = ks.cost(model).macs
    found = []
    for kept in KEPT:
        small = ks.apply_passes(model, [PruneChannels(macs=kept, **options)], data=what, verify="structure")
        found.append((accuracy(small, data.test), ks.cost(small).macs / full))
    return found


def joint(model: keras.Model, data: DataSet) -> dict[tuple[float, bool], dict[str, float]]:
    """Accuracy at each budget, with 512 images and without: each way alone, and the budget shared."""
    found: dict[tuple[float, bool], dict[str, float]] = {}
    for kept, given in JOINT:
        images = data.train.images[:IMAGES] if given else None
        found[kept, given] = {
            name: accuracy(ks.apply_passes(model, [make(kept)], data=images, verify="structure"), data.test)
            for name, make in TOGETHER.items()
        }
    return found


def main() -> None:
    """Train, prune, print, and write what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--joint", action="store_true", help="only what shares a budget between passes")
    parser.add_argument("--write", type=Path, metavar="FILE")
    options = parser.parse_args()
    rows: dict[tuple[str, str], list[list[tuple[float, float]]]] = {}
    full: dict[str, list[float]] = {}
    shared: dict[str, list[dict[tuple[float, bool], dict[str, float]]]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for seed in range(options.seeds):
            data = digits(seed, size=SIZE)
            for kind in NETWORKS:
                model = trained(kind, seed, data, options.folder or Path(temporary))
                full.setdefault(kind, []).append(accuracy(model, data.test))
                print(f"{kind}, seed {seed}: {full[kind][-1]:.1%}, {ks.cost(model).macs / 1e6:.1f} MMACs", flush=True)
                shared.setdefault(kind, []).append(joint(model, data))
                for (kept, images), together in shared[kind][-1].items():
                    said = ", ".join(f"{name} {100 * one:.1f}" for name, one in together.items())
                    print(f"  at {kept:.0%} {'with images' if images else 'without data'}: {said}", flush=True)
                for way, (settings, given) in WAYS.items() if not options.joint else ():
                    started = time.perf_counter()
                    found = row(model, data, settings, given)
                    rows.setdefault((way, kind), []).append(found)
                    shown = " ".join(f"{100 * one:.1f}" for one, _ in found)
                    print(f"  {way}: {shown} ({time.perf_counter() - started:.0f} s)", flush=True)
    if options.joint:
        print("\n".join(joint_table(shared)))
        return
    text = table(rows, full, shared, options.seeds)
    print(text)
    if options.write:
        write_text(options.write, text)


def table(
    rows: dict[tuple[str, str], list[list[tuple[float, float]]]],
    full: dict[str, list[float]],
    shared: dict[str, list[dict[tuple[float, bool], dict[str, float]]]],
    seeds: int,
) -> str:
    """The means over seeds as a page."""
    whole = ", ".join(f"{kind} {100 * float(np.mean(found)):.1f}" for kind, found in full.items())
    lines = [
        "# What one line gives: pruned networks without fine-tuning",
        "",
        f"Made by `python benchmarks/pruning_defaults.py --seeds {seeds} --write docs/pruning_defaults.md`:",
        "networks like ResNet, MobileNetV2 and VGG (without batch norm) on scikit-learn's digits at 16x16, pruned by",
        "`PruneChannels(macs=...)` to 75 / 50 / 35 / 25 % of their MACs and not trained again. Accuracy in %, means",
        f"over {seeds} seed{'s' * (seeds > 1)}; before: {whole}.",
        "",
        "| | " + " | ".join(NETWORKS) + " |",
        "|---|" + "---|" * len(NETWORKS),
    ]
    for way in WAYS:
        cells = [
            " / ".join(f"{100 * value:.0f}" for value in np.mean(np.asarray(rows[way, kind])[..., 0], axis=0))
            for kind in NETWORKS
        ]
        lines.append(f"| {way} | " + " | ".join(cells) + " |")
    reached = np.abs(np.asarray([found for several in rows.values() for found in several])[..., 1] - np.asarray(KEPT))
    lines += ["", *joint_table(shared)]
    lines += ["", f"The MACs kept are within {100 * reached.max():.1f} % of what there was of those asked for."]
    return "\n".join(lines) + "\n"


def joint_table(shared: dict[str, list[dict[tuple[float, bool], dict[str, float]]]]) -> list[str]:
    """Accuracy of budgets that are shared, and of each pass alone: seed by seed."""
    lines = ["| | of MACs | " + " | ".join(TOGETHER) + " |", "|---|---|" + "---|" * len(TOGETHER)]
    for kind, found in shared.items():
        for kept, images in JOINT:
            cells = [" ".join(f"{100 * one[kept, images][way]:.1f}" for one in found) for way in TOGETHER]
            what = f"{IMAGES} images" if images else "no data"
            lines.append(f"| {kind}, {what} | {kept:.0%} | " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    main()
