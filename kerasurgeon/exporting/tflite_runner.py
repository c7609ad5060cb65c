"""Run TFLite files."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from kerasurgeon.errors import ModelFileError, missing_extra
from kerasurgeon.exporting.runners import Runner, dequantise, on_runtime, quantise, unreadable
from kerasurgeon.exporting.tensors import Feeds, TensorInfo, unique_names
from kerasurgeon.exporting.tflite_metadata import description
from kerasurgeon.quiet import import_quietly, quiet


class TfliteRunner(Runner):
    """A TFLite file in its interpreter.

    Args:
        path: The file.
        threads: How many threads to use; None leaves it to the interpreter.
        optimise: Whether it may hand operators to its XNNPACK delegate.

    Raises:
        ModelFileError: The file cannot be read, or needs ops that the interpreter does not have.
        MissingExtraError: No interpreter is installed.
    """

    kind: ClassVar[str] = "tflite"

    def __init__(self, path: Path, *, threads: int | None = None, optimise: bool = True) -> None:
        self.source = str(path)
        interpreter_class, resolvers = _interpreter_classes()
        kind = resolvers.AUTO if optimise else resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        _check_identifier(path)
        try:
            with quiet():
                self._interpreter = interpreter_class(
                    model_path=str(path), num_threads=threads, experimental_op_resolver_type=kind
                )
                inputs, outputs = _border(self._interpreter)
                if all(-1 not in detail["shape_signature"] for _, detail in inputs):
                    self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise unreadable(path, "a TFLite file", error) from error
        self.inputs = tuple(_info(name, detail) for name, detail in inputs)
        self.outputs = tuple(_info(name, detail) for name, detail in outputs)
        self._input_index = {name: int(detail["index"]) for name, detail in inputs}
        self._output_index = {name: int(detail["index"]) for name, detail in outputs}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._spoken = False

    @property
    def metadata(self) -> Mapping[str, str]:
        """What kerasurgeon wrote into the file; see `Runner.metadata`."""
        with open(self.source, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            try:
                return description(content)
            except (ValueError, AttributeError, ImportError, TypeError):  # another's metadata by our name
                return {}

    def run_batch(self, feeds: Feeds) -> Feeds:
        """Run once; see `Runner.run_batch`."""
        with on_runtime(self.source, "TFLite"):
            self._put(feeds)
            if self._spoken:
                self._interpreter.invoke()
            else:
                # The first run is when XNNPACK introduces itself.
                with quiet():
                    self._interpreter.invoke()
                self._spoken = True
        return {
            info.name: dequantise(self._interpreter.get_tensor(self._output_index[info.name]), info)
            for info in self.outputs
        }

    def prepare(self, feeds: Feeds) -> Callable[[], object]:
        """The interpreter's ``invoke``, with the inputs in place; see `Runner.prepare`."""
        self._put(feeds)
        invoke: Callable[[], object] = self._interpreter.invoke
        return invoke

    def _put(self, feeds: Feeds) -> None:
        shapes = {name: array.shape for name, array in feeds.items()}
        if shapes != self._shapes:
            with quiet():
                for info in self.inputs:
                    if None in info.shape:
                        self._interpreter.resize_tensor_input(self._input_index[info.name], shapes[info.name])
                self._interpreter.allocate_tensors()
            self._shapes = shapes
        for info in self.inputs:
            array = quantise(feeds[info.name], info)
            self._interpreter.set_tensor(self._input_index[info.name], np.ascontiguousarray(array))


def _interpreter_classes() -> tuple[Any, Any]:
    """The interpreter, and the kinds of kernels that it can be made with."""
    try:
        found = import_quietly("ai_edge_litert.interpreter")
        return found.Interpreter, found.OpResolverType
    except ModuleNotFoundError:
        pass
    try:
        lite = import_quietly("tensorflow").lite
        return lite.Interpreter, lite.experimental.OpResolverType
    except ModuleNotFoundError as error:
        raise missing_extra("ai-edge-litert", "tflite", "Running TFLite files") from error


def _check_identifier(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(8)
    if head[4:8] != b"TFL3":
        raise ModelFileError(
            "The file is no TFLite file.",
            where=str(path),
            expected="the identifier TFL3 in bytes 4 to 7",
            got=repr(head[4:8]),
        )


def _border(interpreter: Any) -> tuple[list[tuple[str, Any]], list[tuple[str, Any]]]:
    """Names and details of inputs and outputs: by the signature where there is one, else by the tensors."""
    signatures = interpreter.get_signature_list()
    if signatures:
        key = "serving_default" if "serving_default" in signatures else next(iter(signatures))
        runner = interpreter.get_signature_runner(key)
        ins, outs = runner.get_input_details(), runner.get_output_details()
        # A signature lists its names sorted; the tensors are in the model's order.
        return (
            _in_order(ins, [d["index"] for d in interpreter.get_input_details()]),
            _in_order(outs, [d["index"] for d in interpreter.get_output_details()]),
        )
    return _named(interpreter.get_input_details()), _named(interpreter.get_output_details())


def _in_order(details: dict[str, Any], order: list[int]) -> list[tuple[str, Any]]:
    return sorted(details.items(), key=lambda item: order.index(item[1]["index"]))


def _named(details: list[Any]) -> list[tuple[str, Any]]:
    names = [str(d["name"]).removeprefix("serving_default_").removesuffix(":0") for d in details]
    return list(zip(unique_names(names), details, strict=True))


def _info(name: str, detail: Any) -> TensorInfo:
    shape = tuple(None if size < 0 else int(size) for size in detail["shape_signature"])
    if not shape:
        shape = tuple(int(size) for size in detail["shape"])
    scale, zero = detail["quantization"]
    return TensorInfo(
        name,
        shape,
        np.dtype(detail["dtype"]).name,
        quantization=(float(scale), int(zero)) if scale else None,
    )
