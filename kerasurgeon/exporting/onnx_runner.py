"""Run ONNX files on ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from kerasurgeon.exporting.runners import Runner, on_runtime, unreadable
from kerasurgeon.exporting.tensors import Feeds, TensorInfo
from kerasurgeon.quiet import quiet, require

_DTYPES = {
    "float": "float32",
    "double": "float64",
    "float16": "float16",
    "bfloat16": "bfloat16",
    "bool": "bool",
    **{name: name for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")},
}
_ERRORS_ONLY = 4


class OnnxRunner(Runner):
    """An ONNX file in a session of ONNX Runtime on the CPU.

    Args:
        path: The file.
        threads: How many threads one operator may use; None leaves it to the runtime.
        optimise: Whether the runtime may rewrite the graph, or computes operator by operator as the file says.

    Raises:
        ModelFileError: The file cannot be read.
        MissingExtraError: ONNX Runtime is not installed.
    """

    kind: ClassVar[str] = "onnx"

    def __init__(self, path: Path, *, threads: int | None = None, optimise: bool = True) -> None:
        self.source = str(path)
        runtime = require("onnxruntime", package="onnxruntime", extra="onnx", needed_for="Running ONNX files")
        options = runtime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        if not optimise:
            options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        if threads is not None:
            options.intra_op_num_threads = threads
            options.inter_op_num_threads = 1
        try:
            with quiet():
                self._session = runtime.InferenceSession(
                    str(path), sess_options=options, providers=["CPUExecutionProvider"]
                )
        except Exception as error:
            raise unreadable(path, "an ONNX file", error) from error
        self.inputs = tuple(_info(argument) for argument in self._session.get_inputs())
        self.outputs = tuple(_info(argument) for argument in self._session.get_outputs())

    @property
    def metadata(self) -> Mapping[str, str]:
        """The model's properties; see `Runner.metadata`."""
        return dict(self._session.get_modelmeta().custom_metadata_map)

    def run_batch(self, feeds: Feeds) -> Feeds:
        """Run once; see `Runner.run_batch`."""
        with on_runtime(self.source, "ONNX"):
            values = self._session.run(None, feeds)
        return {info.name: value for info, value in zip(self.outputs, values, strict=True)}

    def prepare(self, feeds: Feeds) -> Callable[[], object]:
        """The session's ``run`` on these inputs; see `Runner.prepare`."""
        session = self._session
        return lambda: session.run(None, feeds)


def _info(argument: Any) -> TensorInfo:
    kind = str(argument.type).removeprefix("tensor(").removesuffix(")")
    shape = tuple(size if isinstance(size, int) else None for size in argument.shape)
    return TensorInfo(str(argument.name), shape, _DTYPES.get(kind, kind))
