"""Chains of smaller layers in the place of large ones: to a budget, with data, as far as the accuracy allows.

uv run --all-extras python examples/factorise.py [OUT_FOLDER]
"""

import argparse
import tempfile
from pathlib import Path

import keras

import kerasurgeon as ks
from kerasurgeon.passes import ApplyFactors, Factorise, FoldBatchNorm, TuckerSplit
from kerasurgeon.workflows.data import load_digits
from kerasurgeon.workflows.demo.network import build_network, train

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", nargs="?", type=Path)
folder = parser.parse_args().folder or Path(tempfile.mkdtemp(prefix="kerasurgeon_"))
folder.mkdir(parents=True, exist_ok=True)

keras.utils.set_random_seed(0)
digits = load_digits(0)
model = build_network()
train(model, digits, epochs=3, rate=3e-3, tell=lambda *_: None)


def accuracy(candidate: keras.Model) -> float:
    """Share of the validation images that a model gets right."""
    logits = keras.ops.convert_to_numpy(candidate(digits.validation.images, training=False))
    return float((logits.argmax(-1) == digits.validation.labels).mean())


def tell(what: str, candidate: keras.Model) -> None:
    """One line: MACs and accuracy."""
    print(
        f"{what}: {ks.cost(candidate).macs / ks.cost(model).macs:.0%} of the MACs, accuracy {accuracy(candidate):.1%}"
    )


tell("trained", model)

# To a budget, from the kernels alone; then for the least error of each layer's output on a few hundred images. The stem
# reads one channel: there is nothing to split off.
print(ks.explain(Factorise(macs=0.3, where="!stem_*"), model))
tell("by the kernels", ks.apply_passes(model, [Factorise(macs=0.3, where="!stem_*")]))
aware = Factorise(macs=0.3, minimise="output", where="!stem_*")
result = ks.Pipeline([aware]).run(model, data=digits.train.images[:256])
tell("by the outputs", result.model)

# What was found is a plan: to look at, to keep, and to put into the same model again without finding it again.
(plan,) = result.report.passes[0].plans
print(plan)
plan.save(folder / "factors")
again = ks.apply_passes(model, [ApplyFactors(folder / "factors.npz"), FoldBatchNorm()])
tell("the same from files, batch norms folded", again)

# As cheap as a loss of one point allows, over the whole model. Run again, it goes on from its log.
search = Factorise(
    max_accuracy_loss=0.01, minimise="output", evaluations=25, search_log=str(folder / "search.json"), where="!stem_*"
)
found = ks.Pipeline([search]).run(model, data=digits.train.images[:256], evaluate=accuracy)
tell("as far as the accuracy allows", found.model)
print(found.report)

# A sparse convolution beside each chain keeps what the chain misses most. It is stored dense: for runtimes that skip
# zeros, not for these.
hybrid = ks.apply_passes(model, [TuckerSplit(ratio=0.25, sparsity=0.05, where="block*")])
tell("with residuals, zeros counted", hybrid)

# A short training makes up for most of what is lost.
small = ks.apply_passes(found.model, [])
train(small, digits, epochs=2, rate=1e-3, tell=lambda *_: None)
tell("trained on", small)
print(ks.export(ks.apply_passes(small, [FoldBatchNorm()]), folder / "small.tflite"))
print(f"written to {folder}")
