"""Products with kernels written to ONNX: dense layers, with adapters and quantised."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kerasurgeon.ir.layer import Layer
from kerasurgeon.layers.onnx_activations import write_activation
from kerasurgeon.layers.onnx_contracting import einsum
from kerasurgeon.layers.onnx_terms import Term, give, term
from kerasurgeon.rules.call import CannotTell
from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.onnx_parts import Array, Order, Tensor, channels_first, natural


def adapted(layer: Layer, key: str) -> Array:
    """A kernel with what a low-rank adapter adds to it.

    Raises:
        CannotTell: It has none, or computes with more.
    """
    array = layer.array(key)
    own = {key, "bias", f"lora_{key}_a", f"lora_{key}_b"}
    others = sorted(set(layer.weights) - own)
    if array is None or others:
        raise CannotTell(f"it computes with {', '.join(others)}" if others else f"it has no {key}")
    if array.dtype.kind in "iub":
        raise CannotTell(f"its {key} is quantised")
    first, second = layer.array(f"lora_{key}_a"), layer.array(f"lora_{key}_b")
    if first is None or second is None:
        return array
    scale = (layer.config.get("lora_alpha") or layer.config["lora_rank"]) / layer.config["lora_rank"]
    return np.asarray(array + (scale * np.matmul(first, second)).astype(array.dtype))


def unpacked(packed: Array, size: int) -> Array:
    """Numbers of four bits, two to a byte along the last axis, the lower ones first."""
    low, high = (packed.view(np.uint8) & 15).astype(np.int8), (packed.view(np.uint8) >> 4).astype(np.int8)
    both = np.stack([low, high], -1).reshape(*packed.shape[:-1], -1)[..., :size]
    return np.asarray((both ^ 8) - 8, np.int8)


def write_dense(call: OnnxCall, operand: Tensor, kernel: Array, key: str = "kernel") -> None:
    """Write a product with a matrix over the last axis, a bias and an activation.

    Args:
        call: The call.
        operand: What is multiplied.
        kernel: The matrix.
        key: What it is called.
    """
    rank = operand.rank

    def matrix(how: str, make: Callable[[Array], Array] = np.asarray) -> str:
        if kernel is call.layer.array(key):
            name = call.weight(key, how, make)
            assert name is not None
            return name
        return call.constant(np.ascontiguousarray(make(kernel)), called=key)

    if rank > 2 and operand.order == channels_first(rank):
        order = operand.order
        x = call.op(
            "Conv", call.read(operand, order), matrix(f"pointwise {rank}", _pointwise(rank)), call.weight("bias")
        )
    else:
        order = natural(rank)
        x, positions = call.as_it_lies(operand)
        if positions is None:
            name = matrix("")
        else:
            rows = positions
            name = matrix(f"rows {hash(rows.tobytes())}", lambda source: source[rows])
        if rank == 2:
            x = call.op("Gemm", x, name, call.weight("bias"))
        else:
            x = call.op("MatMul", x, name)
            bias = call.weight("bias")
            x = x if bias is None else call.op("Add", x, bias)
    call.give(write_activation(call, call.config.get("activation"), x, order), order)


def _pointwise(rank: int) -> Callable[[Array], Array]:
    return lambda kernel: kernel.T.reshape(*kernel.T.shape, *[1] * (rank - 2))


def _bits(config: Mapping[str, Any]) -> int:
    """How many bits the numbers of a quantised layer have.

    Raises:
        CannotTell: It is quantised in another way than Keras' int8 and int4.
    """
    policy = config.get("dtype")
    inside = policy.get("config", {}) if isinstance(policy, Mapping) else {}
    mode = str(inside.get("mode", "")).partition("/")[0]
    if mode not in ("int8", "int4"):
        raise CannotTell(f"it is quantised as {mode or policy!r}")
    return int(mode[3:])


def write_quantised_dense(call: OnnxCall) -> None:
    """Write a Dense of whole numbers: the operand is rounded as Keras rounds it, and the products are exact."""
    layer, config = call.layer, call.config
    scale, packed = layer.array("kernel_scale"), layer.array("kernel")
    known = {"kernel", "bias", "kernel_scale", "kernel_zero", "g_idx", "lora_kernel_a", "lora_kernel_b"}
    if scale is None or packed is None or not set(layer.weights) <= known:
        raise CannotTell("how its kernel is quantised is not known")
    units = int(config["units"])
    kernel = unpacked(packed, units) if _bits(config) == 4 else packed
    x = term(call, call.input, None, call.float)
    zero, groups = layer.array("kernel_zero"), layer.array("g_idx")
    if zero is not None and groups is not None:
        at = groups.astype(np.int64)
        made = x.matmul((kernel - zero[at].astype(scale.dtype)) * scale[at])
    else:
        rounded, own = _rounded(x, config)
        made = rounded.matmul(kernel.astype(np.float32))
        made = made / scale if own is None else made / (own * scale)
    first, second = layer.array("lora_kernel_a"), layer.array("lora_kernel_b")
    if first is not None and second is not None:
        factor = (config.get("lora_alpha") or config["lora_rank"]) / config["lora_rank"]
        made = made + x.matmul(first).matmul(second) * factor
    bias = layer.array("bias")
    made = made if bias is None else made + bias
    call.give(write_activation(call, config.get("activation"), made.name, natural(call.input.rank)))


def _rounded(x: Term, config: Any) -> tuple[Term, Term | None]:
    """An operand as whole numbers and what it was multiplied by; itself, where only kernels are rounded."""
    quantization = config.get("quantization_config")
    settings = quantization.get("config", {}) if isinstance(quantization, dict) else {}
    quantizer = settings.get("activation_quantizer", "usual") if quantization is not None else "usual"
    if quantizer is None:
        return x, None
    if quantizer != "usual":
        inside = quantizer.get("config", {}) if isinstance(quantizer, dict) else {}
        if tuple(inside.get("value_range", (-127, 127))) != (-127, 127) or inside.get("axis") not in (None, -1):
            raise CannotTell("its operand is quantised in another way than is usual")
    last = len(x.call.input.shape) - 1
    scale = 127.0 / (x.op("Abs").reduce("ReduceMax", [last]) + 1e-7)
    return (x * scale).op("Round").op("Max", -127.0).op("Min", 127.0), scale


def projected(
    x: Term, kept: int, kernel: Array, summed: int, made: Sequence[int], called: str, factor: float = 1.0
) -> Term:
    """The last axes of a tensor contracted with the first of a kernel, as one product of matrices.

    Args:
        x: The tensor.
        kept: How many axes it has in front of those.
        kernel: The kernel.
        summed: How many axes are contracted.
        made: The sizes of the kernel's other axes.
        called: What the kernel is called.
        factor: What the product is multiplied by.
    """
    rows = int(np.prod(kernel.shape[:summed]))
    matrix = x.made_of(kernel, f"{summed} rows, {factor}", lambda source: (source * factor).reshape(rows, -1), called)
    flat = x if summed == 1 else x.reshape([*[0] * kept, rows])
    result = flat.matmul(matrix)
    return result if len(made) == 1 else result.reshape([*[0] * kept, *made])


def write_einsum_dense(call: OnnxCall, terms: Sequence[str], result: str) -> None:
    """Write an EinsumDense: a MatMul where it contracts its operand's last axes, else an Einsum."""
    kernel = adapted(call.layer, "kernel")
    term_letters, own = terms
    summed = [letter for letter in own if letter not in result]
    kept = [letter for letter in term_letters if letter not in summed]
    made = [letter for letter in own if letter in result]
    x = term(call, call.input, None, call.float)
    count = len(summed)
    plain = (
        own == "".join([*summed, *made])
        and term_letters == "".join([*kept, *summed])
        and result == "".join([*kept, *made])
        and count > 0
        and made
    )
    if plain:
        y = projected(x, len(kept), kernel, count, kernel.shape[count:], "kernel")
    else:
        y = einsum(f"{term_letters},{own}->{result}", x, x.made_of(kernel, "", np.asarray, "kernel"))
    bias = call.layer.array("bias")
    if bias is not None:
        wide_axes = [axis - bias.ndim for axis, size in enumerate(bias.shape) if size > 1]
        shape = call.output.shape
        if (
            len(wide_axes) == 1
            and wide_axes != [-1]
            and bias.size in (shape[-1], shape[1])
            and wide_axes[0] != 1 - len(shape)
        ):
            raise CannotTell("with TensorFlow, Keras may add a bias of one axis, not the last, along another axis")
        y = y + bias
    order: Order = natural(len(call.output.shape))
    call.give(write_activation(call, call.config.get("activation"), y.name, order), order)


def write_embedding(call: OnnxCall) -> None:
    """Write a look-up: rows of a table, of whole numbers with a scale for each, or with an adapter."""
    layer, config = call.layer, call.config
    ids = call.read(call.input, dtype="int64" if call.input.dtype == "int64" else "int32")
    table, scale = layer.array("embeddings"), layer.array("embeddings_scale")
    if scale is None:
        kernel = (
            adapted(layer, "embeddings") if set(layer.weights) - {"reverse_embeddings"} != {"embeddings"} else table
        )
        name = call.weight("embeddings") if kernel is table else call.constant(kernel, called="embeddings")
        return call.give(call.op("Gather", name, ids, axis=0))
    known = {"embeddings", "embeddings_scale", "embeddings_zero", "g_idx"}
    if table is None or not set(layer.weights) <= known:
        raise CannotTell("how its table is quantised is not known")
    width = int(config["output_dim"])
    table = unpacked(table, width) if _bits(config) == 4 else table
    zero, groups = layer.array("embeddings_zero"), layer.array("g_idx")
    if zero is not None and groups is not None:
        at = groups.astype(np.int64)
        numbers = (table - zero[:, at].astype(scale.dtype)) * scale[:, at]
        return call.give(call.op("Gather", call.constant(numbers, called="embeddings"), ids, axis=0))
    rows = call.cast(call.op("Gather", call.constant(table, "int8", "embeddings"), ids, axis=0), call.float)
    scales = call.op("Gather", call.constant(scale.reshape(-1, 1), called="embeddings_scale"), ids, axis=0)
    return call.give(call.op("Div", rows, scales))


def write_reversed(call: OnnxCall) -> None:
    """Write ReversibleEmbedding the other way: a product with the table, which logits may be capped after."""
    layer, config = call.layer, call.config
    table, own = layer.array("embeddings"), layer.array("reverse_embeddings")
    if table is None or not set(layer.weights) <= {"embeddings", "reverse_embeddings"} or table.dtype.kind in "iu":
        raise CannotTell("it computes with more than a table")
    dtype = config.get("reverse_dtype") or call.float
    x = term(call, call.input, None, call.float).to(dtype)
    made = x.matmul(table.T if own is None else own)
    cap = config.get("logit_soft_cap")
    give(call, made if cap is None else (made / cap).op("Tanh") * cap)
