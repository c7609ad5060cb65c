"""Which networks are opened, and what pruning makes of them: the table of docs/opening.md.

    python benchmarks/opening.py [NAME ...] [--of users] [--uses] [--write docs/opening.md]

Networks of keras-hub, of other packages (kimm, keras-tcn), or such as users write them. The packages must be
there, the library needs none of them. Tiny configurations, seeded random weights:

- closed: layers that stay closed, and whether the network of plain layers gives bitwise the same.
- groups: groups of channels without anything frozen, of all.
- MACs kept: by ``PruneChannels(ratio=0.3)`` as it is by default without data, but for inputs that are generated from
  batch norms, which take time; for the sizes given below; of closed layers with weights none are known.
- counted: the same, counted otherwise: from the operations of the TensorFlow graphs that Keras makes of both networks.
- twin: a random cut against the masked twin, the largest relative difference of outputs.
- ONNX, TFLite: the pruned network exported, the largest relative difference between the file and Keras.
- fails: which of the uses in ``opening_uses.py`` fail; with ``--uses``.

With ``--write`` the lines of these networks in the table under "Networks of ..." of the file are replaced, and the
number of networks that keep 70 % of their MACs or less.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from opening_uses import USES, halves
from tried import hub, packages, users

import kerasurgeon as ks
from kerasurgeon.atomic import write_text
from kerasurgeon.channels import analyse, groups
from kerasurgeon.ir.values import Value
from kerasurgeon.keras_io.samples import sample_inputs
from kerasurgeon.passes import PruneChannels
from kerasurgeon.rewrite.outputs import relative_difference, run_model

ROOT = Path(__file__).resolve().parent.parent
CELLS = ["nodes", "closed", "bitwise", "groups", "MACs kept", "counted", "twin", "ONNX", "TFLite"]
TABLES = {
    "keras-hub": (hub.networks, "auto"),
    "users": (users.networks, "all"),
    "other packages": (packages.networks, "all"),
}
"""What is tried, and which layers are opened."""

LENGTH = 8


def head(uses: bool) -> str:
    """The first two lines of a table."""
    cells = ["network", *CELLS, *(["fails"] if uses else [])]
    return f"| {' | '.join(cells)} |\n|{'---|' * len(cells)}\n"


def sizes_of(graph: ks.Graph) -> tuple[dict[str, tuple[int, ...]], list[tuple[int | None, ...]]]:
    """The sizes that a network is costed for, by input, and the shapes that it is run on."""
    length = 16 if any("mel" in str(leaf) or "encoder_features" in str(leaf) for leaf in _values(graph)) else LENGTH
    names, shapes = {}, []
    for value in _values(graph):
        shape = graph.spec(value).shape
        sizes = tuple((length if len(shape) == 3 else LENGTH) if size is None else size for size in shape[1:])
        names[value.node] = sizes
        shapes.append((None, *sizes))
    return names, shapes


def _values(graph: ks.Graph) -> list[Value]:
    return [leaf for leaf in keras.tree.flatten(graph.inputs) if isinstance(leaf, Value)]


def multiplications(model: keras.Model, shapes: list[tuple[int | None, ...]]) -> int:
    """The multiplications in the products and convolutions of the TensorFlow graph of a network, for one sample."""
    import tensorflow as tf

    given = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    specs = [
        tf.TensorSpec((1, *shape[1:]), tensor.dtype)
        for shape, tensor in zip(shapes, keras.tree.flatten(given), strict=True)
    ]
    function = tf.function(lambda *tensors: model(keras.tree.pack_sequence_as(given, tensors), training=False))
    return products(function.get_concrete_function(*specs).graph)


def products(graph: Any) -> int:
    """The multiplications in the products and convolutions of a TensorFlow graph.

    Raises:
        ValueError: It has a loop.
    """
    count = 0
    for operation in graph.get_operations():
        match operation.type:
            case "MatMul" | "BatchMatMulV2":
                first = operation.inputs[0].shape
                turned = operation.get_attr("transpose_a" if operation.type == "MatMul" else "adj_x")
                count += operation.outputs[0].shape.num_elements() * first[-2 if turned else -1]
            case "Einsum":
                sides = operation.get_attr("equation").decode().partition("->")[0].split(",")
                sizes: dict[str, int] = {}
                for side, tensor in zip(sides, operation.inputs, strict=True):
                    sizes |= dict(zip(side, tensor.shape, strict=True))
                single = any(tensor.shape.num_elements() == 1 for tensor in operation.inputs)  # a weight times one
                count += 0 if single or len(sides) < 2 else int(np.prod(list(sizes.values())))
            case "Conv2D" | "Conv3D":
                count += operation.outputs[0].shape.num_elements() * int(np.prod(operation.inputs[1].shape[:-1]))
            case "Conv2DBackpropInput":  # a transposed convolution: as the convolution that it is the transpose of
                count += operation.inputs[2].shape.num_elements() * int(np.prod(operation.inputs[1].shape[:-1]))
            case "FFT" | "FFT2D" | "RFFT" | "IRFFT" | "IFFT2D":  # half of the points times log2 complex products
                real = operation.type in ("RFFT", "IRFFT")
                tensor = operation.inputs[0] if operation.type != "IRFFT" else operation.outputs[0]
                lengths = tensor.shape[-2:] if operation.type.endswith("2D") else tensor.shape[-1:]
                count += tensor.shape.num_elements() * sum((size - 1).bit_length() for size in lengths) * (2 - real)
            case "DepthwiseConv2dNative":
                count += operation.outputs[0].shape.num_elements() * int(np.prod(operation.inputs[1].shape[:2]))
            case "PartitionedCall" | "StatefulPartitionedCall":
                count += products(graph._get_function(operation.get_attr("f").name).graph)
            case "While" | "StatelessWhile":
                raise ValueError("a loop")
    return count


def measure(build: Callable[[], keras.Model], *, opened: str, uses: bool) -> dict[str, str]:
    """One network: its cells."""
    from tests.channels.oracle import cut_and_masked, random_cut

    keras.utils.set_random_seed(0)
    model = build()
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if keras.backend.is_float_dtype(weight.dtype):
            weight.assign(weight + rng.normal(size=weight.shape, scale=0.1))
    graph = ks.lift(model, open=opened)
    kinds = {graph.layers[key].cls.__name__ for key in graph.model.closed if key in graph.layers}
    for path, why in graph.model.closed.items():
        print(f"    {path}: {why}"[:400], file=sys.stderr, flush=True)
    row = {"nodes": str(len(graph)), "closed": ", ".join(sorted(kinds)) or "none"}
    sizes, shapes = sizes_of(graph)
    data = sample_inputs(graph, seed=1, shapes=shapes)
    data = keras.tree.map_structure(lambda one: np.ones_like(one) if one.dtype == bool else one, data)

    def tell(cell: str, compute: Callable[[], Any]) -> bool:
        try:
            row[cell] = compute()
            return True
        except Exception as error:  # noqa: BLE001
            lines = str(error).strip().splitlines() or [type(error).__name__]
            row[cell] = lines[0][:90].replace("|", "/")
            print(f"    {cell}: {type(error).__name__}: {str(error)[:1500]}", file=sys.stderr, flush=True)
            return False

    def bitwise() -> str:
        pair = zip(run_model(model, data), run_model(ks.emit(graph, fold=False), data), strict=True)
        return "yes" if all(np.array_equal(one, other) for one, other in pair) else "no"

    def free() -> str:
        found = groups(channels)
        return f"{sum(not group.frozen for group in found)}/{len(found)}"

    def twin() -> str:
        gone = random_cut(channels, 0, 0.3)
        small, masked = cut_and_masked(model, gone, channels)
        return f"{relative_difference(run_model(ks.emit(masked), data), run_model(ks.emit(small), data)):.0e}"

    def kept() -> str:
        pruned.append(ks.apply_passes(model, [PruneChannels(ratio=0.3, generate_seconds=0)], verify="types"))
        before, after = (ks.cost(one, sizes=sizes) for one in (model, pruned[0]))
        left = before.left_out
        unknown = "" if not left.parameters else f" of those known, {left.how_much.partition(',')[0]} are not"
        return f"{100 * after.macs / before.macs:.0f} %{unknown}" if before.macs else "-"

    def counted() -> str:
        before, after = (multiplications(one, shapes) for one in (model, pruned[0]))
        return f"{100 * after / before:.0f} %"

    def exported(format: str) -> Callable[[], str]:
        def compute() -> str:
            with tempfile.TemporaryDirectory() as folder:
                report = ks.export(pruned[0], Path(folder) / f"model.{format}")
            return f"{max(item.relative_error for item in report.outputs):.0e}"

        return compute

    tell("bitwise", bitwise)
    channels = analyse(graph)
    tell("groups", free)
    tell("twin", twin)
    if opened == "all":
        model = ks.emit(graph, fold=False)
    pruned: list[keras.Model] = []
    tell("MACs kept", kept)
    if pruned:
        tell("counted", counted)
    for format in ("onnx", "tflite") if pruned else ():
        tell({"onnx": "ONNX", "tflite": "TFLite"}[format], exported(format))
    if uses and pruned:
        failed = [name for name, use in USES.items() if not tell(name, partial(use, model, pruned[0], data))]
        failed += [] if tell("mixed_float16", lambda: halves(build, data)) else ["mixed_float16"]
        row["fails"] = ", ".join(failed) or "none"
    return row


def main() -> None:
    """Measure and print, and write the tables if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--of", choices=list(TABLES), default="keras-hub")
    parser.add_argument("--uses", action="store_true")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    tried, opened = TABLES[options.of]
    networks = tried()
    columns = [cell.strip() for cell in head(options.uses).splitlines()[0].strip("|").split("|")][1:]
    for name, build in networks.items():
        if not options.names or name in options.names:
            print(f"--- {name}", file=sys.stderr, flush=True)
            try:
                row = measure(build, opened=opened, uses=options.uses)
            except Exception as error:  # noqa: BLE001
                row = {"closed": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:120]}"}
                print(f"    {name}: {error}"[:2000], file=sys.stderr)
            line = f"| {name} | " + " | ".join(row.get(column, "-") for column in columns) + " |"
            print(line, flush=True)
            if options.write:
                put(options.write, f"## Networks of {options.of}\n", head(options.uses), list(networks), line)


def put(path: Path, title: str, head: str, order: list[str], line: str) -> None:
    """Put the line of a network into the table under a title of a file, in place of the one that was there."""
    text = path.read_text(encoding="utf-8")
    start = text.index(head, text.index(title)) + len(head)
    end = text.find("\n\n", start - 1)
    table, rest = (text[start:end], text[end:]) if end >= 0 else (text[start:].rstrip("\n"), "\n")
    rows = {row.split("|")[1].strip(): row for row in [*table.splitlines(), line]}
    text = text[:start] + "\n".join(rows[key] for key in order if key in rows) + rest
    write_text(path, re.sub(r"\*\*\d+ of \d+\*\* networks", "**{} of {}** networks".format(*reached(text)), text))


def reached(text: str) -> tuple[int, int]:
    """How many networks of all tables keep 70 % of their MACs or less by both counts, and how many there are."""
    tables = text.split(head(False))[1:]
    rows = [row for table in tables for row in table.partition("\n\n")[0].splitlines()]
    places = [2 + CELLS.index(name) for name in ("MACs kept", "counted")]
    pairs = [[row.split("|")[place].strip() for place in places] for row in rows]
    kept = [[int(cell[:-2]) for cell in pair if re.fullmatch(r"\d+ %", cell)] for pair in pairs]
    told = [
        max(shares) for pair, shares in zip(pairs, kept, strict=True) if shares and pair[0].endswith(f"{shares[0]} %")
    ]
    return sum(share <= 70 for share in told), len(rows)


if __name__ == "__main__":
    main()
