"""Which networks of keras-hub are opened, and what pruning makes of them: the table of docs/opening.md.

    python benchmarks/opening.py [NAME ...] [--write docs/opening.md]

Needs keras-hub, which the library does not. Tiny configurations, seeded random weights:

- closed: layers that stay closed, and whether the network of plain layers gives bitwise the same.
- groups: groups of channels without anything frozen, of all.
- MACs kept: by ``PruneChannels(ratio=0.3)``, for the sizes given below; of closed layers with weights none are known.
- counted: the same, counted otherwise: from the operations of the TensorFlow graphs that Keras makes of both networks.
- twin: a random cut against the masked twin, the largest relative difference of outputs.
- ONNX, TFLite: the pruned network exported, the largest relative difference between the file and Keras.

With ``--write`` the lines of these networks in the file's table are replaced.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import keras
import numpy as np

import kerasurgeon as ks
from kerasurgeon.atomic import write_text
from kerasurgeon.channels import analyse, groups
from kerasurgeon.ir.values import Value
from kerasurgeon.keras_io.samples import sample_inputs
from kerasurgeon.passes import PruneChannels
from kerasurgeon.rewrite.outputs import relative_difference, run_model

ROOT = Path(__file__).resolve().parent.parent
HEAD = """| network | nodes | closed | bitwise | groups | MACs kept | counted | twin | ONNX | TFLite |
|---|---|---|---|---|---|---|---|---|---|
"""
TEXT = {"vocabulary_size": 50, "num_layers": 2, "hidden_dim": 16, "intermediate_dim": 32}
LENGTH, LONGEST = 8, 128


def networks() -> dict[str, Callable[[], keras.Model]]:
    """What is tried."""
    from keras_hub import models

    grouped = {"num_query_heads": 4, "num_key_value_heads": 2}
    plain = {**TEXT, "num_heads": 2}
    short = {**plain, "max_sequence_length": LONGEST}
    image = (32, 32, 3)
    return {
        "GPT2": lambda: models.GPT2Backbone(**TEXT, num_heads=2, max_sequence_length=LONGEST),
        "BERT": lambda: models.BertBackbone(**TEXT, num_heads=2, max_sequence_length=LONGEST),
        "RoBERTa": lambda: models.RobertaBackbone(**TEXT, num_heads=2, max_sequence_length=LONGEST),
        "DistilBERT": lambda: models.DistilBertBackbone(**TEXT, num_heads=2, max_sequence_length=LONGEST),
        "T5": lambda: models.T5Backbone(**TEXT, num_heads=2),
        "Llama": lambda: models.LlamaBackbone(**TEXT, **grouped),
        "Mistral": lambda: models.MistralBackbone(**TEXT, **grouped, sliding_window=4),
        "Whisper": lambda: models.WhisperBackbone(
            **TEXT, num_heads=2, max_encoder_sequence_length=LONGEST, max_decoder_sequence_length=LONGEST
        ),
        "ViT": lambda: models.ViTBackbone(
            image_shape=(16, 16, 3), patch_size=4, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32
        ),
        "ResNetV2": lambda: models.ResNetBackbone(
            input_conv_filters=[64],
            input_conv_kernel_sizes=[3],
            stackwise_num_filters=[64, 64],
            stackwise_num_blocks=[2, 2],
            stackwise_num_strides=[1, 2],
            block_type="basic_block",
            use_pre_activation=True,
            image_shape=(16, 16, 3),
        ),
        "Swin": lambda: models.SwinTransformerBackbone(
            image_shape=(32, 32, 3), embed_dim=8, depths=(2, 2), num_heads=(2, 2), window_size=4
        ),
        "Gemma": lambda: models.GemmaBackbone(**TEXT, **grouped, head_dim=4),
        "Bloom": lambda: models.BloomBackbone(**plain),
        "OPT": lambda: models.OPTBackbone(**short),
        "Albert": lambda: models.AlbertBackbone(**short, embedding_dim=8),
        "Electra": lambda: models.ElectraBackbone(
            vocab_size=50,
            num_layers=2,
            num_heads=2,
            hidden_dim=16,
            embedding_dim=8,
            intermediate_dim=32,
            max_sequence_length=LONGEST,
        ),
        "DeBERTaV3": lambda: models.DebertaV3Backbone(**short, bucket_size=8),
        "Bart": lambda: models.BartBackbone(**short),
        "Phi3": lambda: models.Phi3Backbone(**TEXT, **grouped),
        "Qwen": lambda: models.QwenBackbone(**TEXT, **grouped),
        "Qwen3": lambda: models.Qwen3Backbone(**TEXT, **grouped, head_dim=4),
        "GPTNeoX": lambda: models.GPTNeoXBackbone(**short),
        "Falcon": lambda: models.FalconBackbone(
            vocabulary_size=50, num_layers=2, num_attention_heads=2, hidden_dim=16, intermediate_dim=32
        ),
        "FNet": lambda: models.FNetBackbone(**TEXT, max_sequence_length=LONGEST),
        "XLM-RoBERTa": lambda: models.XLMRobertaBackbone(**short),
        "DeiT": lambda: models.DeiTBackbone(image, 8, 2, 2, 16, 32),
        "DINOV2": lambda: models.DINOV2Backbone(
            8, 2, 16, 2, 32, image_shape=image, position_embedding_shape=image, use_mask_token=False
        ),
        "MiT": lambda: models.MiTBackbone(
            layerwise_depths=[1, 1],
            num_layers=2,
            layerwise_num_heads=[1, 2],
            layerwise_sr_ratios=[2, 1],
            max_drop_path_rate=0.1,
            layerwise_patch_sizes=[7, 3],
            layerwise_strides=[4, 2],
            image_shape=image,
            hidden_dims=[8, 16],
        ),
        "DenseNet": lambda: models.DenseNetBackbone([2, 2], image_shape=image, growth_rate=8),
        "VGG": lambda: models.VGGBackbone([1, 2], [8, 16], image_shape=image),
        "Xception": lambda: models.XceptionBackbone([[8, 8], [16, 16]], [True, False], image_shape=image),
        "EfficientNet": lambda: models.EfficientNetBackbone(
            stackwise_kernel_sizes=[3, 3],
            stackwise_num_repeats=[1, 2],
            stackwise_input_filters=[8, 8],
            stackwise_output_filters=[8, 16],
            stackwise_expansion_ratios=[1, 4],
            stackwise_strides=[1, 2],
            stackwise_squeeze_and_excite_ratios=[0.25, 0.25],
            stackwise_width_coefficients=[1.0, 1.0],
            stackwise_depth_coefficients=[1.0, 1.0],
            stackwise_block_types=["v1", "v1"],
            stackwise_force_input_filters=[0, 0],
            stackwise_nores_option=[False, False],
            input_shape=image,
            num_features=32,
        ),
        "CSPDarkNet": lambda: models.CSPNetBackbone(
            stem_filters=8,
            stem_kernel_size=3,
            stem_strides=1,
            stackwise_depth=[1, 1],
            stackwise_strides=[1, 2],
            stackwise_num_filters=[16, 32],
            block_type="dark_block",
            stage_type="dark",
            image_shape=image,
        ),
    }


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

    specs = [
        tf.TensorSpec((1, *shape[1:]), tensor.dtype)
        for shape, tensor in zip(shapes, keras.tree.flatten(model.input), strict=True)
    ]
    function = tf.function(lambda *tensors: model(keras.tree.pack_sequence_as(model.input, tensors), training=False))
    count = 0
    for operation in function.get_concrete_function(*specs).graph.get_operations():
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
            case "DepthwiseConv2dNative":
                count += operation.outputs[0].shape.num_elements() * int(np.prod(operation.inputs[1].shape[:2]))
            case "While" | "StatelessWhile" | "PartitionedCall" | "StatefulPartitionedCall":
                raise ValueError(f"the graph calls a function in {operation.name}")
    return count


def measure(build: Callable[[], keras.Model]) -> dict[str, str]:
    """One network: its cells."""
    from tests.channels.oracle import cut_and_masked, random_cut

    keras.utils.set_random_seed(0)
    model = build()
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if keras.backend.is_float_dtype(weight.dtype):
            weight.assign(weight + rng.normal(size=weight.shape, scale=0.1))
    graph = ks.lift(model)
    kinds = {graph.layers[key].cls.__name__ for key in graph.model.closed if key in graph.layers}
    for path, why in graph.model.closed.items():
        print(f"    {path}: {why}"[:400], file=sys.stderr, flush=True)
    row = {"nodes": str(len(graph)), "closed": ", ".join(sorted(kinds)) or "none"}
    sizes, shapes = sizes_of(graph)
    data = sample_inputs(graph, seed=1, shapes=shapes)
    data = keras.tree.map_structure(lambda one: np.ones_like(one) if one.dtype == bool else one, data)

    def tell(cell: str, compute: Callable[[], str]) -> None:
        try:
            row[cell] = compute()
        except Exception as error:  # noqa: BLE001
            lines = str(error).strip().splitlines() or [type(error).__name__]
            row[cell] = lines[0][:90].replace("|", "/")
            print(f"    {cell}: {type(error).__name__}: {str(error)[:1500]}", file=sys.stderr, flush=True)

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
        pruned.append(ks.apply_passes(model, [PruneChannels(ratio=0.3, compensate="none")], verify="types"))
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
    pruned: list[keras.Model] = []
    tell("MACs kept", kept)
    if pruned:
        tell("counted", counted)
    for format in ("onnx", "tflite") if pruned else ():
        tell({"onnx": "ONNX", "tflite": "TFLite"}[format], exported(format))
    return row


def main() -> None:
    """Measure and print, and write the table if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    columns = [cell.strip() for cell in HEAD.splitlines()[0].strip("|").split("|")][1:]
    for name, build in networks().items():
        if not options.names or name in options.names:
            try:
                row = measure(build)
            except Exception as error:  # noqa: BLE001
                row = {"closed": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:120]}"}
                print(f"    {name}: {error}"[:2000], file=sys.stderr)
            line = f"| {name} | " + " | ".join(row.get(column, "-") for column in columns) + " |"
            print(line, flush=True)
            if options.write:
                put(options.write, name, line, HEAD, networks())


def put(path: Path, name: str, line: str, head: str, names: Iterable[str]) -> None:
    """Put the line of a network into the table of a file, in place of the one that was there."""
    text = path.read_text(encoding="utf-8")
    start = text.index(head) + len(head)
    end = text.find("\n\n", start - 1)
    table, rest = (text[start:end], text[end:]) if end >= 0 else (text[start:].rstrip("\n"), "\n")
    rows = {row.split("|")[1].strip(): row for row in table.splitlines()} | {name: line}
    order = [key for key in names if key in rows]
    write_text(path, text[:start] + "\n".join(rows[key] for key in order) + rest)


if __name__ == "__main__":
    main()
