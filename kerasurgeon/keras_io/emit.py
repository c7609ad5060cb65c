"""Emit a graph as a Keras model.

Layers are built with their weights as initial values and connected by the graph's own record of calls. Calls are not
traced again: the record was derived by Keras when the model was built or, after a change, by ``check_types``. That is
what makes emitting faster than ``clone_model``. Layers from outside Keras are called as a user would call them, since
their ``__call__`` may do more.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

from kerasurgeon.errors import EmitError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.node import Node, Scope
from kerasurgeon.ir.structure import leaves, map_leaves, values_in
from kerasurgeon.ir.text import neighbourhood
from kerasurgeon.ir.values import TensorSpec, Value, WeightRef
from kerasurgeon.keras_io.compile_state import compile_like
from kerasurgeon.keras_io.derive import built_layer, check_types, symbolic_operands
from kerasurgeon.keras_io.internals import KerasNode, has_functional_constructor
from kerasurgeon.keras_io.layers import construct, keyed_variables, symbolic
from kerasurgeon.keras_io.nesting import Level, canonical, nest

_LOG = logging.getLogger(__name__)


def emit(graph: Graph, *, compile: bool = True) -> keras.Model:
    """Turn a graph into a new Keras model. The graph is not changed.

    The names of layers, inputs and outputs, nesting, trainable flags and dtype policies are the graph's. The model is
    compiled as the lifted one was, with a fresh optimizer state.

    Args:
        graph: The graph.
        compile: Whether to carry the compile state over.

    Returns:
        A plain Keras model: Sequential if the lifted one was and the graph still is a chain, else Functional, or the
        lifted model's own class where that has the functional constructor.

    Raises:
        VerificationError: The graph was changed and does not hold together.
        EmitError: A layer cannot be rebuilt.
    """
    if graph.unchecked:
        check_types(graph)
    with _collector_paused():
        model = _Emitter(graph.copy()).run()
    if compile and graph.model.compile_config is not None:
        note = compile_like(model, graph.model.compile_config, graph.model.custom_objects)
        if note:
            _LOG.warning("%s: %s", graph.name, note)
    return model


class _Emitter:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.top, flattened = nest(graph)
        for path in flattened:
            _LOG.info("%s: nested model %r no longer forms a model; its layers are emitted flat", graph.name, path)
        self.names = _keras_names(graph, self.top)
        self.made: dict[str, Any] = {}
        self.models: dict[str, list[tuple[Any, Any]]] = {}

    def run(self) -> Any:
        graph, info = self.graph, self.graph.model
        env: dict[Value, Any] = {}
        if issubclass(info.cls, keras.Sequential) and info.cls is keras.Sequential:
            chain = _chain(graph, self.top, graph.outputs)
            if chain is not None:
                first = self._layer(graph[values_in(graph.inputs)[0].node])
                model = keras.Sequential([first, *(self._chain_item(item) for item in chain)], name=info.name)
                return _finish(model, info.trainable, info.dtype)
        self._connect(self.top, env)
        inputs = map_leaves(env.__getitem__, graph.inputs)
        outputs = map_leaves(env.__getitem__, graph.outputs)
        cls = info.cls if has_functional_constructor(info.cls) else keras.Model
        return _finish(cls(inputs=inputs, outputs=outputs, name=info.name), info.trainable, info.dtype)

    def _connect(self, level: Level, env: dict[Value, Any]) -> None:
        for item in level.items:
            if isinstance(item, Level):
                self._call_model(item, env)
            else:
                self._call(item, env)

    def _call(self, node: Node, env: dict[Value, Any]) -> None:
        layer = self._layer(node)
        if self.graph.kind(node) == "InputLayer":
            env[node.value] = layer.output
            return
        args, kwargs = self._operands(node.args, env), self._operands(dict(node.kwargs), env)
        if type(layer).__module__.startswith("keras."):
            outputs = _record_call(layer, args, kwargs, node.outputs)
        else:
            outputs = keras.tree.flatten(layer(*args, **kwargs))
            for spec, tensor in zip(node.outputs, outputs, strict=True):
                if tuple(tensor.shape) != spec.shape:
                    raise EmitError(
                        f"Layer {layer.name!r} gives another shape than the graph records.",
                        expected=str(spec),
                        got=str(tuple(tensor.shape)),
                        context=neighbourhood(self.graph, node.name),
                    )
        for index, tensor in enumerate(outputs):
            env[Value(node.name, index)] = tensor

    def _call_model(self, level: Level, env: dict[Value, Any]) -> None:
        scope = level.scope
        assert scope is not None
        model = self._model(level)
        args, kwargs = self._operands(scope.args, env), self._operands(dict(scope.kwargs), env)
        values = values_in(scope.outputs)
        outputs = _record_call(model, args, kwargs, [self.graph.spec(value) for value in values])
        env.update(zip(values, outputs, strict=True))

    def _model(self, level: Level) -> Any:
        """The nested model of a level; calls of one unchanged model share it."""
        scope = level.scope
        assert scope is not None
        form = canonical(self.graph, level)
        for known, model in self.models.setdefault(scope.model, []):
            if known == form:
                return model
        model = self._make_model(level, scope)
        self.models[scope.model].append((form, model))
        return model

    def _make_model(self, level: Level, scope: Scope) -> Any:
        inputs = []
        for definition, value in zip(scope.inputs, level.bound, strict=True):
            spec = self.graph.spec(value)
            shape = tuple(definition.config["batch_shape"])
            if not TensorSpec(shape, spec.dtype, spec.sparse).accepts(spec):
                shape = tuple(None if old is None else new for old, new in zip(shape, spec.shape, strict=True))
            inputs.append(construct(definition.with_config(batch_shape=shape)))
        name = self.names[scope.path]
        if scope.cls is keras.Sequential:
            chain = _chain(self.graph, level, scope.outputs)
            if chain is not None:
                model = keras.Sequential([*inputs, *(self._chain_item(item) for item in chain)], name=name)
                return _finish(model, scope.trainable, scope.dtype)
        env = {value: layer.output for value, layer in zip(level.bound, inputs, strict=True)}
        self._connect(level, env)
        structure = map_leaves(lambda index: inputs[index].output, scope.input_structure)
        outputs = map_leaves(env.__getitem__, scope.outputs)
        cls = scope.cls if has_functional_constructor(scope.cls) else keras.Model
        return _finish(cls(inputs=structure, outputs=outputs, name=name), scope.trainable, scope.dtype)

    def _chain_item(self, item: Node | Level) -> Any:
        return self._model(item) if isinstance(item, Level) else self._layer(item)

    def _layer(self, node: Node) -> Any:
        made = self.made.get(node.layer)
        if made is None:
            first = self.graph.calls(node.layer)[0]
            definition = self._named(self.graph.layers[node.layer], node.layer)
            made = self.made[node.layer] = built_layer(definition, *symbolic_operands(self.graph, first))
        return made

    def _named(self, layer: Layer, key: str) -> Layer:
        name = self.names.get(key, layer.name)
        return layer if name == layer.name else layer.with_name(name)

    def _operands(self, structure: Any, env: dict[Value, Any]) -> Any:
        def translate(leaf: Any) -> Any:
            if isinstance(leaf, Value):
                return env[leaf]
            if isinstance(leaf, WeightRef):
                owner = self._layer(self.graph.calls(leaf.layer)[0])
                return keyed_variables(owner, owner.weights)[leaf.key]
            return leaf

        return map_leaves(translate, structure)


def _record_call(layer: Any, args: Any, kwargs: Any, specs: Any) -> list[Any]:
    """Make the node that calling ``layer`` symbolically would make, with outputs that are already known."""
    outputs = [symbolic(spec) for spec in specs]
    KerasNode(layer, call_args=args, call_kwargs=kwargs, outputs=outputs)
    if isinstance(layer, keras.Layer):
        layer._called = True
    return outputs


def _chain(graph: Graph, level: Level, outputs: Any) -> list[Node | Level] | None:
    """The items of a level if they form a plain chain of layers, as Sequential needs; else ``None``."""
    items = [item for item in level.items if isinstance(item, Level) or graph.kind(item) != "InputLayer"]
    start = values_in(graph.inputs) if level.scope is None else tuple(level.bound)
    if len(start) != 1 or not items:
        return None
    current, seen = start[0], set()
    for item in items:
        if isinstance(item, Level):
            assert item.scope is not None
            structure, key = (item.scope.args, dict(item.scope.kwargs)), item.scope.model
            produced: list[Value] = list(values_in(item.scope.outputs))
        else:
            structure, key = (item.args, dict(item.kwargs)), item.layer
            produced = [Value(item.name, index) for index in range(len(item.outputs))]
            if not issubclass(graph.layer_of(item).cls, keras.Layer):
                return None
        tensors = [leaf for leaf in leaves(structure) if isinstance(leaf, (Value, WeightRef))]
        if tensors != [current] or structure[0] != (current,) or len(produced) != 1 or key in seen:
            return None
        seen.add(key)
        current = produced[0]
    return items if list(values_in(outputs)) == [current] else None


def _keras_names(graph: Graph, top: Level) -> dict[str, str]:
    """A Keras name for each layer key and scope path: names are unique within the model they end up in."""
    names: dict[str, str] = {}

    def settle(level: Level) -> None:
        taken: set[str] = set()
        for item in level.items:
            if isinstance(item, Level):
                assert item.scope is not None
                key, wanted, twin = item.scope.path, item.scope.name, item.scope.model
            else:
                key, wanted, twin = item.layer, graph.layers[item.layer].name, item.layer
            if names.get(twin, names.get(key)) is None:
                name, count = wanted, 0
                while name in taken:
                    count += 1
                    name = f"{wanted}_{count}" if "/" not in key or count > 1 else key.replace("/", "_").replace(":", "_")
                names[key] = names[twin] = name
            names.setdefault(key, names[twin])
            taken.add(names[key])
            if isinstance(item, Level):
                settle(item)

    settle(top)
    return names


def _finish(model: Any, trainable: bool, dtype: Any) -> Any:
    if model.trainable != trainable:
        model._trainable = trainable  # the setter would overwrite the flags of all layers
    if dtype is not None and keras.dtype_policies.serialize(model.dtype_policy) != dtype:
        model.dtype_policy = keras.dtype_policies.deserialize(dtype)
    return model


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Python's cycle collector walks all objects again and again while thousands are made; nothing here is garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
