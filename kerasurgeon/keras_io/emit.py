"""Emit a graph as a Keras model.

Layers are built with their weights as initial values and connected by the graph's own record of calls. Calls are not
traced again: the record was derived by Keras when the model was built or, after a change, by ``check_types``. That is
what makes emitting faster than ``clone_model``. Calls that have changed since are made, and what they give is compared
with the record. Layers from outside Keras are called as a user would call them, since their ``__call__`` may do more.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

import keras

from kerasurgeon.errors import EmitError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.layer import Weight
from kerasurgeon.ir.node import Node, Scope
from kerasurgeon.ir.structure import leaves, map_leaves, values_in
from kerasurgeon.ir.text import neighbourhood
from kerasurgeon.ir.values import TensorSpec, Value, WeightRef
from kerasurgeon.keras_io.compile_state import compile_like
from kerasurgeon.keras_io.derive import built_layer, check_types, output_specs, symbolic_operands
from kerasurgeon.keras_io.foreign import foreign_in, is_foreign, remedy, said, told
from kerasurgeon.keras_io.injection import release, variables_made
from kerasurgeon.keras_io.internals import KerasNode, has_functional_constructor, set_keras_mask
from kerasurgeon.keras_io.known_keras import require_known
from kerasurgeon.keras_io.layers import aligned, keyed_variables, symbolic
from kerasurgeon.keras_io.nesting import Level, nest, twins
from kerasurgeon.keras_io.open_folding import Moved, folded
from kerasurgeon.keras_io.quick import quick_keras
from kerasurgeon.keras_io.recursion import room_for
from kerasurgeon.keras_io.ties import hold_once, tie

_LOG = logging.getLogger(__name__)


def emit(graph: Graph, *, compile: bool = True, fold: bool = True) -> keras.Model:
    """Turn a graph into a new Keras model. The graph is not changed.

    The names of layers, inputs and outputs, nesting, trainable flags and dtype policies are the graph's. The model is
    compiled as the lifted one was, with a fresh optimizer state.

    Keras walks models by recursion. Emitting makes room for it; to load or clone a model of some 900 layers in a row
    with Keras alone, raise ``sys.setrecursionlimit`` first.

    Args:
        graph: The graph.
        compile: Whether to carry the compile state over.
        fold: Whether opened layers in which nothing has changed are emitted as the layers that they were; else they
            come out as models of layers and ops, for which the package that they are from is not needed.

    Returns:
        A plain Keras model: Sequential if the lifted one was and the graph still is a chain, else Functional, or the
        lifted model's own class where that has the functional constructor.

    Raises:
        VerificationError: The graph was changed and does not hold together.
        EmitError: A layer cannot be rebuilt.
    """
    model = _emitted(graph, fold=fold)[0]
    if compile:
        _compile(model, graph)
    return model


@contextlib.contextmanager
def brief_model(graph: Graph) -> Iterator[keras.Model]:
    """A model of a graph, not compiled, that can be used within the ``with`` only.

    Its weights are given back at the end. Nobody who may keep it, a user's function above all, may be given it.
    """
    with variables_made() as made:
        model = emit(graph, compile=False)
    try:
        yield model
    finally:
        release(made)


def emit_with_variables(graph: Graph, *, compile: bool = False) -> tuple[keras.Model, dict[tuple[str, str], Any]]:
    """As ``emit``, with the variable of every weight by its layer and path; compiled only where asked for."""
    model, emitter = _emitted(graph)
    if compile:
        _compile(model, graph)
    return model, emitter.all_variables()


def emit_frozen(graph: Graph, frozen: Collection[str]) -> tuple[keras.Model, dict[tuple[str, str], Any]]:
    """As ``emit_with_variables``, with some layers, all that is inside them too, not trainable.

    Args:
        graph: The graph.
        frozen: Keys of those layers.
    """
    model, emitter = _emitted(graph, fold=False)
    for key in frozen:
        if isinstance(emitter.made.get(key), keras.Layer):
            emitter.made[key].trainable = False
    return model, emitter.all_variables()


def _compile(model: keras.Model, graph: Graph) -> None:
    if graph.model.compile_config is not None:
        note = compile_like(model, graph.model.compile_config, graph.model.custom_objects)
        if note:
            _LOG.warning("%s: %s", graph.name, note)


def _emitted(graph: Graph, *, fold: bool = True) -> tuple[keras.Model, _Emitter]:
    """The model, and what made it; opened layers that have not changed are closed again if ``fold`` says so."""
    require_known()
    unchecked = graph.unchecked
    if unchecked and (graph.scopes or graph.model.cls is keras.Sequential):
        check_types(graph)  # layers of nested models are called on the tensors of the model, not on these
        unchecked = frozenset()
    with quick_keras(), room_for(len(graph)):
        # Putting nested models together may drop scopes, which is for this emission only.
        try:
            closed, moved = folded(graph) if fold else (graph, {})
            try:
                emitter = _Emitter(closed.copy() if closed is graph and graph.scopes else closed, unchecked, moved)
                model = emitter.run()
            except EmitError:
                if closed is graph:
                    raise
                emitter = _Emitter(graph.copy(), unchecked, {})  # what is closed cannot be made again
                model = emitter.run()
        except Exception:
            check_types(graph)  # says better what is wrong, if this is it
            raise
    graph.mark_checked(*unchecked)
    return model, emitter


class _Emitter:
    def __init__(self, graph: Graph, unchecked: frozenset[str], moved: Moved) -> None:
        self.graph, self.moved = graph, moved
        self.unchecked = unchecked
        self.top, flattened = nest(graph)
        for path in flattened:
            _LOG.info("%s: nested model %r no longer forms a model; its layers are emitted flat", graph.name, path)
        self.twins = twins(graph, self.top)
        self.names = _keras_names(graph, self.top, self.twins)
        self.made: dict[str, Any] = {}
        self.variables: dict[str, dict[str, Any]] = {}  # of each layer with weights, by path
        self.tied: dict[int, Any] = {}  # variables
        self.first: dict[int, Weight] = {}  # of each tie
        self.models: dict[str, Any] = {}

    def run(self) -> Any:
        graph, info = self.graph, self.graph.model
        env: dict[Value, Any] = {}
        if info.cls is keras.Sequential:
            chain = _chain(graph, self.top, graph.outputs)
            if chain is not None:
                first = built_layer(graph.layer_of(values_in(graph.inputs)[0].node), (), {})
                return _finish(self._sequential([first], chain, info.name), info.trainable, info.dtype)
        self._connect(self.top, env, derive=False)
        inputs = map_leaves(env.__getitem__, graph.inputs)
        outputs = map_leaves(env.__getitem__, graph.outputs)
        cls = info.cls if has_functional_constructor(info.cls) else keras.Model
        return _finish(_model_of(cls, inputs, outputs, info.name), info.trainable, info.dtype)

    def _connect(self, level: Level, env: dict[Value, Any], *, derive: bool) -> None:
        for item in level.items:
            if isinstance(item, Level):
                self._call_model(item, env, derive=derive)
            else:
                self._call(item, env, derive=derive)

    def _call(self, node: Node, env: dict[Value, Any], *, derive: bool) -> None:
        args, kwargs = self._operands(node.args, env), self._operands(dict(node.kwargs), env)
        layer = self._layer(node.layer, args, kwargs)
        if isinstance(layer, keras.layers.InputLayer):
            env[node.value] = layer.output
            return
        definition = self.graph.layers[node.layer]
        if node.name in self.unchecked:
            with told(definition, "fails when it is called"):
                outputs = keras.tree.flatten(layer(*args, **kwargs))
            given = output_specs(layer, args, kwargs, outputs)
            # Not compared: sparse, which Keras claims of a product with a constant and passes on from there.
            if [(spec.shape, spec.dtype) for spec in given] != [(spec.shape, spec.dtype) for spec in node.outputs]:
                raise EmitError(f"Layer {layer.name!r} does not give what the graph records.")
        elif type(layer).__module__.startswith("keras.") and not derive:
            outputs = _record_call(layer, args, kwargs, node.outputs)
        else:
            with told(definition, "fails when it is called"):
                outputs = keras.tree.flatten(layer(*args, **kwargs))
            for spec, tensor in zip(node.outputs, outputs, strict=True):
                if not derive and not spec.accepts(replace(spec, shape=tuple(tensor.shape))):
                    raise EmitError(
                        f"Layer {layer.name!r} gives another shape than the graph records.",
                        expected=str(spec),
                        got=str(tuple(tensor.shape)),
                        where=foreign_in(definition),
                        hint=remedy(definition, "call infer(graph) after a change of shapes"),
                        context=neighbourhood(self.graph, node.name),
                    )
        for index, tensor in enumerate(outputs):
            env[Value(node.name, index)] = tensor

    def _call_model(self, level: Level, env: dict[Value, Any], *, derive: bool) -> None:
        scope = level.scope
        assert scope is not None
        model = self._model(level)
        args, kwargs = self._operands(scope.args, env), self._operands(dict(scope.kwargs), env)
        masks = list(leaves(kwargs.get("mask")))
        if masks != [None]:  # lifted as such only where the tensors carry these masks themselves
            for tensor, mask in zip(leaves(args[0] if args else kwargs["inputs"]), masks, strict=False):
                set_keras_mask(tensor, mask)
        values = values_in(scope.outputs)
        if derive:
            outputs = keras.tree.flatten(model(*args, **kwargs))
        else:
            outputs = _record_call(model, args, kwargs, [self.graph.spec(value) for value in values])
        env.update(zip(values, outputs, strict=True))

    def _model(self, level: Level) -> Any:
        """The nested model of a level; calls of one unchanged model share it."""
        scope = level.scope
        assert scope is not None
        twin = self.twins[scope.path]
        if twin not in self.models:
            self.models[twin] = self._make_model(level, scope)
        return self.models[twin]

    def _make_model(self, level: Level, scope: Scope) -> Any:
        inputs, derive = [], False
        for definition, value in zip(scope.inputs, level.bound, strict=True):
            spec = self.graph.spec(value)
            own = TensorSpec(tuple(definition.config["batch_shape"]), spec.dtype, spec.sparse)
            if not own.accepts(spec):
                # A pass changed the tensor that enters: the model's own input follows, where it was definite.
                shape = tuple(None if old is None else new for old, new in zip(own.shape, spec.shape, strict=True))
                own = TensorSpec(shape, spec.dtype, spec.sparse)
            # The graph knows the shapes of this call; those of the model itself may be more general.
            derive = derive or own != spec
            inputs.append(built_layer(definition.with_config(batch_shape=own.shape), (), {}))
        name = self.names[f"/scope/{self.twins[scope.path]}"]
        if scope.cls is keras.Sequential:
            chain = _chain(self.graph, level, scope.outputs)
            if chain is not None:
                return _finish(self._sequential(inputs, chain, name), scope.trainable, scope.dtype)
        env = {value: layer.output for value, layer in zip(level.bound, inputs, strict=True)}
        self._connect(level, env, derive=derive)
        structure = map_leaves(lambda index: inputs[index].output, scope.input_structure)
        outputs = map_leaves(env.__getitem__, scope.outputs)
        cls = scope.cls if has_functional_constructor(scope.cls) else keras.Model
        return _finish(_model_of(cls, structure, outputs, name), scope.trainable, scope.dtype)

    def _sequential(self, inputs: list[Any], chain: list[Node | Level], name: str) -> Any:
        """A Sequential model: it calls its layers itself, once they are built."""
        tensor = inputs[0].output
        items = []
        for item in chain:
            if isinstance(item, Level):
                items.append(self._model(item))
            else:
                # Built for the shape that the model itself will call it on, which is what compute_output_spec follows.
                kwargs = self._operands(dict(item.kwargs), {})
                items.append(self._layer(item.layer, (tensor,), kwargs))
            tensor = items[-1].compute_output_spec(tensor)
        return keras.Sequential([*inputs, *items], name=name)

    def _layer(self, key: str, args: Any, kwargs: Any) -> Any:
        """The Keras layer of a key, built for these operands if it is not there yet."""
        made = self.made.get(key)
        if made is None:
            definition = self.graph.layers[key]
            name = self.names.get(key, definition.name)
            if name != definition.name:
                definition = definition.with_name(name)
            held = {name: part for name, part in definition.parts.items() if part in self.graph.layers}
            parts = {name: self._early(part) for name, part in held.items()}
            hold_once(definition, self.first)
            made = built_layer(definition, args, kwargs, parts=parts)
            if definition.weights:
                keyed = self.variables[key] = aligned(definition, keyed_variables(made, made.weights))
                tie(definition, made, keyed, self.tied)
            self.made[key] = made
        return made

    def all_variables(self) -> dict[tuple[str, str], Any]:
        """The variable of every weight by its layer and path."""
        made = {(key, path): variable for key, keyed in self.variables.items() for path, variable in keyed.items()}
        return made | {place: made[closed] for place, closed in self.moved.items()}

    def _early(self, key: str) -> Any:
        """A layer that is needed before its first call."""
        return self._layer(key, *symbolic_operands(self.graph, self.graph.calls(key)[0]))

    def _operands(self, structure: Any, env: dict[Value, Any]) -> Any:
        def translate(leaf: Any) -> Any:
            if isinstance(leaf, Value):
                return env[leaf]
            if isinstance(leaf, WeightRef):
                self._early(leaf.layer)
                return self.variables[leaf.layer][leaf.key]
            return leaf

        return map_leaves(translate, structure)


def _model_of(cls: type[Any], inputs: Any, outputs: Any, name: str) -> Any:
    try:
        return cls(inputs=inputs, outputs=outputs, name=name)
    except Exception as error:
        if not is_foreign(cls):
            raise
        raise EmitError(
            f"Model {name!r} ({cls.__name__}) cannot be made from its inputs and outputs.",
            where=f"{cls.__qualname__} of {cls.__module__}",
            got=said(error),
            hint=f"this is the code of {cls.__name__}; lift keras.Model(model.inputs, model.outputs) in its place",
        ) from error


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


def _keras_names(graph: Graph, top: Level, twin_of: Mapping[str, str]) -> dict[str, str]:
    """A Keras name for each layer key and scope path: names are unique within the model they end up in."""
    names: dict[str, str] = {}
    _settle_names(names, graph, top, twin_of)
    return names


def _key_of(item: Node | Level, twin_of: Mapping[str, str]) -> str:
    if isinstance(item, Level):
        assert item.scope is not None
        return f"/scope/{twin_of[item.scope.path]}"
    return item.layer


def _settle_names(names: dict[str, str], graph: Graph, level: Level, twin_of: Mapping[str, str]) -> None:
    keys = {_key_of(item, twin_of): item for item in level.items}
    taken = {names[key] for key in keys if key in names}
    for key, item in keys.items():
        if key in names:
            continue
        if isinstance(item, Level):
            assert item.scope is not None
            path, wanted = item.scope.path, item.scope.name
        else:
            path, wanted = key, graph.layers[key].name
        name, count = wanted, 0
        while name in taken:
            count += 1
            name = f"{wanted}_{count}" if "/" not in path or count > 1 else re.sub("[/:]", "_", path)
        names[key] = name
        taken.add(name)
        if isinstance(item, Level):
            _settle_names(names, graph, item, twin_of)


def _finish(model: Any, trainable: bool, dtype: Any) -> Any:
    if model.trainable != trainable:
        model._trainable = trainable  # the setter would overwrite the flags of all layers
    if dtype is not None and keras.dtype_policies.serialize(model.dtype_policy) != dtype:
        model.dtype_policy = keras.dtype_policies.deserialize(dtype)
    return model
