"""Give the tensors at the border of a TFLite file the names that the Keras model has.

TensorFlow's converter calls outputs ``Identity`` or ``StatefulPartitionedCall:0`` and, from a frozen
function, writes no signature at all, without which tools cannot address inputs by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kerasurgeon.errors import ExportError
from kerasurgeon.exporting.tflite_metadata import describe
from kerasurgeon.exporting.trace import input_name, output_name
from kerasurgeon.quiet import require

SIGNATURE = "serving_default"
_IDENTIFIER = b"TFL3"
# The TFLite schema asks for it (force_align: 16); the generated Python code does not do it.
_BUFFER_ALIGNMENT = 16


def name_tensors(
    data: bytes | memoryview, inputs: Sequence[str], outputs: Sequence[str], said: Mapping[str, str]
) -> memoryview:
    """Name a file's inputs and outputs, in its tensors and in its signature.

    Args:
        data: A TFLite file of a traced function (see `kerasurgeon.exporting.trace`).
        inputs: The inputs' names, in the traced order.
        outputs: The outputs' names, in the traced order.
        said: What is to be known of the model, texts by key.

    Returns:
        The file with the names.

    Raises:
        ExportError: The file does not have these inputs and outputs.
    """
    schema = require(
        "ai_edge_litert.schema_py_generated",
        package="ai-edge-litert",
        extra="tflite",
        needed_for="TFLite export",
    )
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    graph = model.subgraphs[0]
    found_inputs, found_outputs = _order(model, graph, len(inputs), len(outputs))
    signature = schema.SignatureDefT()
    signature.signatureKey = SIGNATURE.encode()
    signature.subgraphIndex = 0
    signature.inputs = [_map(schema, n, i) for n, i in zip(inputs, found_inputs, strict=True)]
    signature.outputs = [_map(schema, n, i) for n, i in zip(outputs, found_outputs, strict=True)]
    model.signatureDefs = [signature]
    # Inputs come last: where an output is an input passed through, the input's name stays.
    for name, index in zip([*outputs, *inputs], [*found_outputs, *found_inputs], strict=True):
        graph.tensors[index].name = name.encode()
    graph.inputs, graph.outputs = found_inputs, found_outputs
    describe(model, said)
    return packed(model)


def packed(model: Any) -> memoryview:
    """A model as a file, written once into memory that is large enough from the start.

    Args:
        model: The ``ModelT`` of a TFLite file.
    """
    weights = sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None)
    builder = _aligned_builder(weights + 2**20)
    builder.Finish(model.Pack(builder), file_identifier=_IDENTIFIER)
    return memoryview(builder.Bytes)[builder.Head() :]


def _order(model: Any, graph: Any, inputs: int, outputs: int) -> tuple[list[int], list[int]]:
    """The tensors of the traced inputs and outputs, in the traced order."""
    found_inputs, found_outputs = [int(i) for i in graph.inputs], [int(i) for i in graph.outputs]
    if model.signatureDefs:
        signature = model.signatureDefs[0]
        by_name = {m.name.decode(): int(m.tensorIndex) for m in [*signature.inputs, *signature.outputs]}
        found_inputs = [by_name.get(input_name(i), -1) for i in range(inputs)]
        found_outputs = [by_name.get(output_name(i), -1) for i in range(outputs)]
    if len(found_inputs) != inputs or len(found_outputs) != outputs or -1 in found_inputs + found_outputs:
        raise ExportError(
            "The converter lost inputs or outputs of the model.",
            expected=f"{inputs} inputs and {outputs} outputs",
            got=f"{len(found_inputs)} and {len(found_outputs)}",
            hint="remove inputs that no output depends on",
        )
    return found_inputs, found_outputs


def _map(schema: Any, name: str, index: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name.encode(), index
    return entry


def _aligned_builder(size: int) -> Any:
    flatbuffers = require("flatbuffers", package="flatbuffers", extra="tflite", needed_for="TFLite export")

    class AlignedBuilder(flatbuffers.Builder):  # type: ignore[name-defined]  # no types there
        def CreateNumpyVector(self, x: np.ndarray[Any, Any]) -> Any:  # noqa: N802 - overrides theirs
            if x.dtype != np.uint8:
                return super().CreateNumpyVector(x)
            self.StartVector(1, x.size, _BUFFER_ALIGNMENT)
            self.head = int(self.Head() - x.size)
            # Through a view, as a bytearray copies what it is given first.
            memoryview(self.Bytes)[self.Head() : self.Head() + x.size] = np.ascontiguousarray(x).data
            self.vectorNumElems = x.size
            return self.EndVector()

    return AlignedBuilder(size)
