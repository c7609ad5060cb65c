"""Search for a smaller transfer model: which part of a trained backbone to cut out, which head, which learning rate.

uv run --all-extras python examples/auto_compress.py [FOLDER] [--full] [--write DOCS_FOLDER]

Without --full the trainings are short: to see that it runs. A search goes on from FOLDER where it was stopped. --write
puts the figures into DOCS_FOLDER/auto_compress_digits.md.
"""

import argparse
import tempfile
import time
from pathlib import Path

import keras
import keras_tuner

import kerasurgeon as ks
from kerasurgeon.atomic import write_text
from kerasurgeon.passes import FoldBatchNorm
from kerasurgeon.workflows.data import digits
from kerasurgeon.workflows.networks import inverted_bottlenecks
from kerasurgeon.workflows.tuner import AutoCompress, Cuts, best_model, trials

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", nargs="?", type=Path)
parser.add_argument("--full", action="store_true")
parser.add_argument("--write", type=Path, metavar="DOCS_FOLDER")
options = parser.parse_args()
folder = options.folder or Path(tempfile.mkdtemp(prefix="kerasurgeon_"))
folder.mkdir(parents=True, exist_ok=True)
full = options.full or options.write is not None
started = time.perf_counter()

# A MobileNetV2-style network, trained on digits enlarged to 24 x 24. All but its classifier is the backbone.
keras.utils.set_random_seed(0)
data = digits(0, size=24 if full else 16)
train, validation, test = data.train, data.validation, data.test
trained_file = folder / "trained.keras"
if trained_file.exists():
    network = keras.models.load_model(trained_file)
else:
    network = inverted_bottlenecks(
        train.images.shape[1:],
        stages=((1, 16, 1, 1), (6, 24, 2, 2), (6, 40, 3, 2), (6, 64, 3, 1)),
        stem_stride=2,
        last=128,
        activation="softmax",
        momentum=0.9,
    )
    network.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    network.fit(train.images, train.labels, batch_size=32, epochs=12 if full else 1, verbose=0)
    network.save(trained_file)
backbone = keras.Model(network.input, network.get_layer("last_relu").output, name="backbone")


def measure(what: str, model: keras.Model) -> tuple[str, float, int, int]:
    """What a model costs, and its accuracy on the test images."""
    accuracy = float((model.predict(test.images, verbose=0).argmax(-1) == test.labels).mean())
    cost = ks.cost(model)
    print(f"{what}: accuracy {accuracy:.1%}, {cost.parameters:,} parameters, {cost.macs:,} MACs")
    return what, accuracy, cost.parameters, cost.macs


rows = [measure("network", network)]

# Every cut between two blocks that saves something; translators begin where least squares puts them.
hypermodel = AutoCompress(
    backbone,
    data.classes,
    tau=0.8,
    cuts=Cuts(least_saved=0.1, most_saved=0.95, most=24),
    units=(8, 32, 8),
    lr=(1e-3, 3e-2),
    fit_translators=train.images[:256],
)
print(f"{len(hypermodel.choices) - 1} cuts, such as {hypermodel.choices[1]!r}")
tuner = keras_tuner.RandomSearch(
    hypermodel,
    objective=hypermodel.objective,
    max_trials=10 if full else 2,
    seed=0,
    directory=folder,
    project_name="search",
)
tuner.search(
    train.images,
    train.labels,
    validation_data=(validation.images, validation.labels),
    epochs=8 if full else 1,
    batch_size=32,
    verbose=0,
)
found = trials(tuner)
print(found)

best = best_model(tuner)
rows.append(measure("best trial", best))

# The backbone was frozen in the search; a short training of the whole makes up for some of what is lost.
best.trainable = True
for layer in best.layers:
    layer.trainable = True
best.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
best.fit(train.images, train.labels, batch_size=32, epochs=6 if full else 1, verbose=0)
rows.append(measure("trained on", best))
best.save(folder / "best.keras")
print(ks.export(ks.apply_passes(best, [FoldBatchNorm()]), folder / "best.tflite"))
seconds = time.perf_counter() - started
print(f"{seconds:.0f} s; written to {folder}")

if options.write is not None:
    lines = [
        f"| {what} | {right:.1%} | {size:,} | {1 - size / rows[0][2]:.1%} | {macs:,} | {1 - macs / rows[0][3]:.1%} |"
        for what, right, size, macs in rows
    ]
    cuts = len(hypermodel.choices) - 1
    text = f"""# A search for a compressed transfer model, on digits

Written by `uv run --all-extras python examples/auto_compress.py --write docs`, in {seconds / 60:.0f} minutes.

Handwritten digits, enlarged to 24 x 24: 1197 to train on, 300 to choose by, 300 to test. The backbone is a network of
inverted bottlenecks that was trained on the same digits. {cuts} cuts between its blocks were taken of those found, and
`RandomSearch` made {len(found)} trials of 8 epochs, with `tau=0.8`. In each the backbone is frozen: the translator,
which least squares put where it began, and the head are trained.

## The trials

Accuracy on the 300 images to choose by. *saved*: of the parameters of the backbone with its widest head.

{found.to_markdown()}

## The best of them

Accuracy on the 300 images to test, which nothing was chosen by: one image is 0.33 points. *trained on*: six epochs with
the backbone no longer frozen. *network*: what the backbone was taken from, after its 12 epochs; it is not trained on,
so that part of what the others gain is training.

| | accuracy | parameters | saved | MACs | saved |
| --- | ---: | ---: | ---: | ---: | ---: |
{chr(10).join(lines)}
"""
    write_text(options.write / "auto_compress_digits.md", text)
    print(f"written: {options.write / 'auto_compress_digits.md'}")
