"""Widths learned in training, against uniform widths of the same cost and against the whole network.

uv run --all-extras python examples/morphnet.py [--seeds 3] [--epochs 40] [--kept 0.5 0.1] [--expand] [--write docs]

A residual network for digits is trained in three ways, each for the same number of epochs: whole; with MorphNet for
half of them, then cut and trained on; and with all its widths scaled down to the same MACs. ``--expand`` also grows
what MorphNet made to the MACs of the whole network, and trains that on for half the epochs. ``--write`` writes
morphnet_digits.md.
"""

import argparse
import textwrap
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

import kerasurgeon as ks
from kerasurgeon.atomic import write_text
from kerasurgeon.morphnet import MorphNet, SteerStrength
from kerasurgeon.passes import Expand
from kerasurgeon.workflows.data import load_digits

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--seeds", type=int, default=1)
parser.add_argument("--epochs", type=int, default=12)
parser.add_argument("--kept", type=float, nargs="*", default=[0.5])
parser.add_argument("--expand", action="store_true")
parser.add_argument("--write", type=Path, metavar="FOLDER")
options = parser.parse_args()
RATE, BATCH = 5e-3, 32


def network(width: float = 1.0) -> keras.Model:
    """A stem and three residual blocks, of 32 and 64 channels times a width."""
    narrow, wide = max(round(32 * width), 1), max(round(64 * width), 1)
    image = keras.Input((8, 8, 1), name="image")
    x = block(conv(image, narrow, "stem"), narrow, "one")
    x = block(conv(x, wide, "down", strides=2), wide, "two")
    x = layers.GlobalAveragePooling2D()(block(x, wide, "three"))
    return keras.Model(image, layers.Dense(10, name="digit")(x), name="digits")


def conv(x: Any, filters: int, name: str, *, strides: int = 1, activate: bool = True) -> Any:
    """A convolution with its norm."""
    x = layers.Conv2D(filters, 3, strides, padding="same", use_bias=False, name=name)(x)
    x = layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x) if activate else x


def block(x: Any, filters: int, name: str) -> Any:
    """Two convolutions beside a shortcut."""
    y = conv(conv(x, filters, f"{name}_a"), filters, f"{name}_b", activate=False)
    return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, y]))


def train(model: keras.Model, data: Any, epochs: int, *, falling: bool = True, callbacks: Any = ()) -> keras.Model:
    """Train a model in place, with a rate that falls or stays."""
    steps = -(-len(data.train) // BATCH) * epochs
    rate = keras.optimizers.schedules.CosineDecay(RATE, steps) if falling else RATE
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss)
    inputs = data.train.images, data.train.labels
    model.fit(*inputs, batch_size=BATCH, epochs=epochs, verbose=0, callbacks=list(callbacks))
    return model


def accuracy(model: keras.Model, part: Any) -> float:
    """Share of a part's images that a model gets right."""
    logits = keras.ops.convert_to_numpy(model(part.images, training=False))
    return float((logits.argmax(-1) == part.labels).mean())


def macs(model: keras.Model) -> int:
    """Its multiply-accumulates."""
    return ks.cost(model).macs


def uniform(share: float, whole: int) -> keras.Model:
    """The network whose widths are all scaled alike that comes nearest to a share of the whole's MACs."""
    widths = np.arange(1, 65) / 64
    return network(min(widths, key=lambda width: abs(macs(network(width)) - share * whole)))


def morphed(data: Any, kept: float) -> keras.Model:
    """A network that has learned its widths, cut to a share of its MACs and trained on."""
    model, half = network(), options.epochs // 2
    with MorphNet(model, "gamma", target="macs", strength=0.1) as morph:
        callbacks = [SteerStrength(morph, kept, until=0.9), morph.callback()]
        train(model, data, half, falling=False, callbacks=callbacks)
        small = morph.shrink(kept)
    return train(small, data, options.epochs - half)


def expanded(small: keras.Model, data: Any, whole: int) -> keras.Model:
    """A network grown to a number of MACs with its weights, and trained on."""
    # One multiplier for all widths, as in the paper.
    grown: keras.Model = ks.apply_passes(small, [Expand(macs=float(whole), round_to=1)])
    return train(grown, data, options.epochs // 2)


def seeded(make: Callable[[], keras.Model], seed: int) -> keras.Model:
    """What a function makes from a seed."""
    keras.utils.set_random_seed(seed)
    return make()


def compared(seed: int) -> dict[str, keras.Model]:
    """All ways from one seed."""
    digits = load_digits(seed)
    whole = seeded(lambda: train(network(), digits, options.epochs), seed)
    rows = {"whole": whole}
    for kept in options.kept:
        rows[f"MorphNet, at most {kept:.0%}"] = small = seeded(partial(morphed, digits, kept), seed)
        if options.expand:
            rows[f"expanded from MorphNet's {kept:.0%}"] = seeded(partial(expanded, small, digits, macs(whole)), seed)
        start = partial(uniform, macs(small) / macs(whole), macs(whole))
        even = seeded(lambda start=start: train(start(), digits, options.epochs), seed)  # type: ignore[misc]
        rows[f"uniform, as MorphNet's {kept:.0%}"] = even
    return rows


found: dict[str, list[tuple[float, float]]] = {}
for seed in range(options.seeds):
    rows = compared(seed)
    for name, model in rows.items():
        point = macs(model) / macs(rows["whole"]), accuracy(model, load_digits(seed).test)
        found.setdefault(name, []).append(point)
        print(f"seed {seed}, {name}: {point[0]:.1%} of the MACs, accuracy {point[1]:.1%}", flush=True)
        if name.startswith("MorphNet"):
            convs = [layer for layer in model.layers if isinstance(layer, layers.Conv2D)]
            print("   " + ", ".join(f"{layer.name} {layer.filters}" for layer in convs))

if options.write:
    kept = " ".join(f"{kept:g}" for kept in options.kept)
    command = f"python examples/morphnet.py --seeds {options.seeds} --epochs {options.epochs} --kept {kept}"
    text = (
        f"Made by `{command}{' --expand' * options.expand} --write docs`: a residual network of 32 and 64 channels on "
        f"scikit-learn's digits, {options.epochs} epochs for each way: whole; MorphNet (gamma, steered) for half of "
        "them, then cut to the target and trained on; all widths scaled alike to the MACs that MorphNet came to, or "
        "nearest, trained from the start. *Expanded*: what MorphNet made, grown with its weights to the MACs of the "
        f"whole network and trained on for {options.epochs // 2} epochs. Accuracy on 300 test images: mean, and each "
        "seed."
    )
    lines = ["# MorphNet on digits", "", *textwrap.wrap(text, 118, break_on_hyphens=False), ""]
    lines += ["| network | MACs kept | accuracy | each seed |", "|---|---|---|---|"]
    for name, points in found.items():
        share, right = np.mean(points, axis=0)
        each = ", ".join(f"{100 * point[1]:.1f}" for point in points)
        lines.append(f"| {name} | {100 * share:.1f} % | {100 * right:.1f} | {each} |")
    write_text(options.write / "morphnet_digits.md", "\n".join(lines) + "\n")
