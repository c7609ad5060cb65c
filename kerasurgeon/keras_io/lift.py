"""Lift a Keras model into a graph."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

import keras

from kerasurgeon.errors import LiftError, OptionError
from kerasurgeon.ir.graph import Graph, ModelInfo
from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.node import Scope
from kerasurgeon.ir.structure import leaves, map_leaves, values_in
from kerasurgeon.ir.values import Value, WeightRef
from kerasurgeon.keras_io.compile_state import compile_state
from kerasurgeon.keras_io.derive import infer
from kerasurgeon.keras_io.foreign import is_foreign
from kerasurgeon.keras_io.inlining import has_plain_constructor, inlinable, ordered, own_dtype
from kerasurgeon.keras_io.internals import functional_graph, has_functional_constructor, nodes_of
from kerasurgeon.keras_io.known_keras import require_known
from kerasurgeon.keras_io.layers import capture, specs_of
from kerasurgeon.keras_io.nesting import call_operand
from kerasurgeon.keras_io.open_folding import recorded
from kerasurgeon.keras_io.open_lifting import LOCK, Openings, reason
from kerasurgeon.keras_io.open_masks import Lost, MustStayClosedError, carry_masks
from kerasurgeon.keras_io.open_root import functional_of, root_graph
from kerasurgeon.keras_io.open_sizes import UntraceableError
from kerasurgeon.keras_io.open_walking import Walked
from kerasurgeon.keras_io.quick import quick_keras
from kerasurgeon.keras_io.ties import noted_ties, reached_by


def lift(model: keras.Model, *, open: Any = "auto", inputs: Any = None) -> Graph:
    """Lift a Keras model into a graph that carries its weights. The model is only read.

    Nested Functional and Sequential models are inlined: their nodes keep the nested model's name as scope
    (``backbone/conv1``). So are composite layers, whose ``call`` is Python around other layers and ``keras.ops``: it is
    run on symbolic tensors, and what it calls becomes nodes. Unchanged ones are emitted as the layers that they were
    (docs/opening.md).

    Args:
        model: A built model. Of a subclassed one its ``call`` is run on symbolic tensors; it is emitted as
            ``keras.Model``.
        inputs: Inputs of a subclassed model (a batch, or ``keras.Input`` tensors), nested as it takes them, where what
            it was built with does not say them or is not what is wanted. The batch size stays free, others are as here.
        open: Which layers from outside Keras are opened: ``"auto"`` for those that hold other layers and that no rule
            knows, ``"all"`` for all, ``"none"``, or names or paths of layers. Why one stayed closed stands in
            ``graph.model.closed``.

    Returns:
        The graph. ``emit(lift(model))`` computes what ``model`` computes.

    Raises:
        LiftError: There is no functional graph (a subclassed or unbuilt model), or a layer cannot say how it was made.
        OptionError: ``open`` is none of these, or names a layer that is not there.
    """
    return _lifted(model, open, inputs).graph


def _lifted(model: Any, option: Any, inputs: Any = None) -> _Lifter:
    require_known()
    functional = functional_of(model)
    if functional is not None and inputs is not None:
        raise OptionError("inputs= is for subclassed models only; this one has inputs of its own.", got=model.name)
    kept: dict[str, str] = {}
    with LOCK, quick_keras():
        while True:
            openings = Openings(option, kept, inside=is_foreign(type(model)))
            try:
                root = root_graph(model, inputs, openings) if functional is None else functional
                lifter = _Lifter(model, openings)
                lifter.run(root)
                return lifter
            except MustStayClosedError as error:
                why = f"Keras hands a mask that it gives on to {error.why}, which layers and ops would not"
                kept |= {lifter.graph.scopes[path].model: why for path in error.scopes}
            finally:
                openings.opener.forget()


def lift_with_variables(model: keras.Model) -> tuple[Graph, dict[tuple[str, str], Any]]:
    """As ``lift``, with the model's own variable of every weight by its layer and path."""
    lifter = _lifted(model, "auto")
    variables = {
        (lifter.keys[id(operation)], path): variable
        for operation in lifter.objects
        if isinstance(operation, keras.Layer) and id(operation) in lifter.keys
        for path, variable in zip(
            lifter.graph.layers[lifter.keys[id(operation)]].weights,
            lifter.openings.variables_of(operation),
            strict=True,
        )
    }
    return lifter.graph, variables


class _Lifter:
    """Carries what one lift collects: which layer object became which layer, which variable belongs where."""

    def __init__(self, model: Any, openings: Openings) -> None:
        self.model, self.openings = model, openings
        config, custom, notes = compile_state(model)
        if not isinstance(model, keras.Sequential) and not has_functional_constructor(type(model)):
            notes = (
                *notes,
                f"the model is emitted as keras.Model: {type(model).__name__} has a constructor of its own",
            )
        self.graph = Graph(
            ModelInfo(
                name=model.name,
                cls=type(model),
                trainable=bool(model.trainable),
                compile_config=config,
                custom_objects=custom,
                dtype=own_dtype(model),
                notes=notes,
            )
        )
        self.keys: dict[int, str] = {}
        self.models: dict[int, str] = {}
        self.variables: dict[int, WeightRef] = {}
        self.objects: list[Any] = []  # keeps the layer objects alive while their ids are keys
        self.within = 0  # layers that are being opened, one in the other
        self.calls: dict[str, int] = defaultdict(int)
        self.lost = Lost()

    def run(self, functional: Any) -> None:
        self._capture_layers(functional, "")
        self._find_parts()
        self._find_ties()
        values: dict[int, Value] = {}
        self._add_nodes(functional, "", values)
        to_value = values.__getitem__
        self.graph.inputs = map_leaves(lambda tensor: to_value(id(tensor)), functional._inputs_struct)
        self.graph.outputs = map_leaves(lambda tensor: to_value(id(tensor)), functional._outputs_struct)
        self.lost.refuse(functional.outputs, "the loss")
        self.graph.mark_checked(*self.graph.unchecked)
        self._refine()
        self._record_openings()
        self.graph.revision = 0

    def _find_ties(self) -> None:
        """Note which weights of several layers are one variable."""
        held = {
            self.keys[id(operation)]: self.openings.variables_of(operation)
            for operation in self.objects
            if isinstance(operation, keras.Layer) and id(operation) in self.keys
        }
        for key, layer in noted_ties(self.graph.layers, held).items():
            self.graph.update_layer(key, layer)

    def _refuse_hidden_ties(self, node: Any) -> None:
        """Refuse the call of a Python function that reaches for a weight of another layer by itself."""
        operation = node.operation
        functions = [leaf for leaf in leaves((node.arguments.args, node.arguments.kwargs)) if callable(leaf)]
        if isinstance(operation, keras.layers.Lambda) or not isinstance(operation, keras.Layer):
            functions += [value for value in vars(operation).values() if callable(value)]
        own = {id(variable) for variable in getattr(operation, "weights", ())}
        for variable in (variable for function in functions for variable in reached_by(function)):
            reference = self.variables.get(id(variable))
            if reference is not None and id(variable) not in own:
                raise LiftError(
                    f"Layer {operation.name!r} ({type(operation).__name__}) calls a Python function that computes with "
                    f"the weight {reference.key!r} of layer {reference.layer!r}; what is made of the model would go on "
                    "reading that of this one.",
                    expected="weights that are operands, or held by the layer that computes with them",
                    hint=f"call keras.ops on the weight instead: keras.ops.matmul(x, layer.{reference.key}), say",
                )

    def _find_parts(self) -> None:
        """Note which layers hold, as an attribute, a layer that the graph calls by itself."""
        for operation in self.objects:
            key = self.keys.get(id(operation))
            if key is None or not isinstance(operation, keras.Layer):
                continue
            parts = self._parts_of(operation)
            if parts:
                self.graph.update_layer(key, replace(self.graph.layers[key], parts=parts))

    def _parts_of(self, operation: Any) -> dict[str, str]:
        """The layers of the graph that a layer holds, by attribute."""
        if functional_graph(operation) is not None:
            return {}  # what a functional model calls is in its graph, whatever its attributes hold
        return {
            attribute: self.keys[id(value)]
            for attribute, value in vars(operation).items()
            if isinstance(value, keras.Layer) and id(value) in self.keys
        }

    def _refine(self) -> None:
        """Specs inside a nested model are those of its own inputs; a call may know more."""
        for scope in self.graph.scopes.values():
            for definition, value in zip(scope.inputs, values_in(call_operand(scope)), strict=True):
                if self.graph.spec(value).shape != tuple(definition.config["batch_shape"]):
                    self.graph.expect_change(value)
        infer(self.graph)

    def _capture_layers(self, functional: Any, scope: str, *, veiled: bool = False) -> None:
        """Give every layer object a key, before any operand can refer to its weights.

        Args:
            functional: The calls.
            scope: Where they stand.
            veiled: Whether masks may come in that the recorded calls do not show.
        """
        calls: dict[int, list[Any]] = defaultdict(list)
        for node, _ in nodes_of(functional):
            calls[id(node.operation)].append(node)
        for operation in functional.operations:
            if id(operation) in self.keys or id(operation) in self.models:
                continue
            self.objects.append(operation)
            path = f"{scope}/{operation.name}" if scope else operation.name
            inner = inlinable(operation, calls.get(id(operation), []), any_class=self.openings.mode != "none")
            if inner is not None:
                self.models[id(operation)] = path
                if not has_plain_constructor(operation):
                    self.openings.note(operation)
                masked = any(carry_masks(node.input_tensors) for node in calls[id(operation)])
                self._capture_layers(inner, path, veiled=veiled or masked)
                continue
            if scope and isinstance(operation, keras.layers.InputLayer):
                continue  # stands in the scope's record, see _scope
            if self.openings.wants(operation, path):
                if veiled:
                    self.openings.closed[path] = "it is in a model that is called on a tensor with a mask"
                elif self._open(operation, path, calls.get(id(operation), [])):
                    continue
            if id(operation) in self.openings.opener.only_opened:
                why = self.openings.closed.get(path, "it is not to be opened")
                raise UntraceableError(f"Keras cannot call its layer {operation.name!r} on symbolic tensors, and {why}")
            if self.within and path in self.openings.closed and (problem := self.openings.not_made_again(operation)):
                raise UntraceableError(
                    f"its layer {operation.name!r} stays closed ({self.openings.closed[path]}) and {problem}"
                )
            layer = self.openings.captured(operation, calls.get(id(operation), []))
            key = path if path not in self.graph.layers else self.graph.unique_name(path)
            self.keys[id(operation)] = self.graph.add_layer(layer, key)
            if isinstance(operation, keras.Layer):
                for variable, name in zip(self.openings.variables_of(operation), layer.weights, strict=True):
                    self.variables.setdefault(id(variable), WeightRef(key, name))

    def _open(self, operation: Any, path: str, nodes: list[Any]) -> bool:
        """Run the code of a layer on symbolic tensors and capture what is in it; whether that went well."""
        before = self.graph.copy(), dict(self.keys), dict(self.models), dict(self.variables), len(self.objects)
        self.models[id(operation)] = path
        self.within += 1
        try:
            for traced in self.openings.trace(operation, nodes):
                self._capture_layers(traced.function, path)
        except (UntraceableError, LiftError) as error:
            self.graph, self.keys, self.models, self.variables, count = before
            del self.objects[count:]
            self.openings.closed[path] = reason(error)
            return False
        finally:
            self.within -= 1
        return True

    def _record_openings(self) -> None:
        """Note what opened layers look like, so that unchanged ones can be told when the graph is emitted."""
        everywhere: dict[int, list[WeightRef]] = defaultdict(list)
        any_opened = any(scope.opened is not None for scope in self.graph.scopes.values())
        for operation in self.objects if any_opened else ():
            key = self.keys.get(id(operation))
            if key is not None and isinstance(operation, keras.Layer):
                names = self.graph.layers[key].weights
                for variable, name in zip(self.openings.variables_of(operation), names, strict=True):
                    everywhere[id(variable)].append(WeightRef(key, name))
        for scope in tuple(self.graph.scopes.values()):
            if scope.opened is not None:
                weights, (owner, keyed) = {}, self.openings.owner_of(scope.opened)
                inside = {node.layer for node in self.graph.nodes_in(scope.path)}
                for path, variable in keyed.items():
                    found = sorted(everywhere.get(id(variable), ()), key=lambda ref: ref.layer not in inside)
                    if found:
                        weights[path] = found[0]
                layer = replace(scope.opened.layer, parts=self._parts_of(owner))
                opened = recorded(self.graph, scope, replace(scope.opened, layer=layer, weights=weights))
                self.graph.set_scope(replace(scope, opened=opened))
        self.openings.refuse_unknown()
        self.graph.model = replace(self.graph.model, closed=self.openings.closed)

    def _add_nodes(self, functional: Any, scope: str, values: dict[int, Value]) -> None:
        for node in ordered(functional):
            operation = node.operation
            if id(operation) in self.models:
                self._inline(node, scope, values)
                continue
            if scope and node.is_input:
                continue  # bound to the caller's operands by _inline
            if all(id(tensor) in values for tensor in node.outputs):
                continue  # a mask that was needed earlier
            self._add_node(node, scope, values, traced=isinstance(functional, Walked))

    def _add_node(self, node: Any, scope: str, values: dict[int, Value], *, traced: bool = False) -> None:
        operation = node.operation
        key = self.keys[id(operation)]
        self._refuse_hidden_ties(node)
        told = self.lost.told(node, traced=traced)
        for leaf in leaves(told):
            if isinstance(leaf, keras.KerasTensor):
                self._add_mask(leaf, scope, values)
        args, kwargs = self._operands(node.arguments.args, told, values)
        count = self.calls[f"{scope}>{key}"]
        self.calls[f"{scope}>{key}"] += 1
        base = f"{scope}/{operation.name}" if scope else operation.name
        name = base if not count else f"{base}:{count}"
        if name in self.graph:
            name = self.graph.unique_name(name)
        operands = [self.graph.spec(value) for value in values_in((args, kwargs))]
        outputs = specs_of(operation, operands, node.outputs)
        self.graph.add_node(key, args, kwargs, outputs=outputs, name=name, scope=scope, origin=(name,))
        for index, tensor in enumerate(node.outputs):
            values[id(tensor)] = Value(name, index)

    def _add_mask(self, tensor: Any, scope: str, values: dict[int, Value]) -> Value:
        """The value of a mask that no call of the model reads, but code inside an opened layer."""
        if id(tensor) not in values:
            history = tensor._keras_history
            node, operation = history.operation._inbound_nodes[history.node_index], history.operation
            for source in node.input_tensors:
                self._add_mask(source, scope, values)
            if id(operation) not in self.keys:
                self.objects.append(operation)
                self.keys[id(operation)] = self.graph.add_layer(capture(operation))
            self._add_node(node, scope, values)
        return values[id(tensor)]

    def _inline(self, node: Any, scope: str, values: dict[int, Value]) -> None:
        model = node.operation
        traced = self.openings.traces.get(id(node))
        inner = functional_graph(model) if traced is None else traced.function
        assert inner is not None
        base = f"{scope}/{model.name}" if scope else model.name
        path, count = base, 0
        while path in self.graph.scopes:
            count += 1
            path = f"{base}:{count}"
        if traced is None:
            self.lost.refuse(node.input_tensors, f"model {model.name!r}")
            args, kwargs = self._operands(node.arguments.args, node.arguments.kwargs, values)
        else:
            self.lost.enter(traced.bound, inner.inputs)
            args, kwargs = ([self._add_mask(tensor, scope, values) for tensor in traced.bound],), {}
        bound = list(leaves(args[0] if args else kwargs.get("inputs")))
        inner_values = {id(tensor): value for tensor, value in zip(inner.inputs, bound, strict=True)}
        record = self._scope(model, inner, path, args, kwargs)
        if traced is not None:
            record = replace(record, cls=keras.Model, dtype=None, masked=carry_masks(traced.bound))
        opened = self.openings.opened(model, traced)
        if opened is not None:
            opened = replace(opened, needs=self.lost.of(node.input_tensors))
        self.graph.set_scope(replace(record, opened=opened))
        self._add_nodes(inner, path, inner_values)
        if traced is not None:
            self.lost.leave(path, node.outputs, inner.outputs)
        outputs = map_leaves(lambda tensor: inner_values[id(tensor)], inner._outputs_struct)
        self.graph.set_scope(replace(self.graph.scopes[path], outputs=outputs))
        for tensor, value in zip(node.outputs, values_in(outputs), strict=True):
            values[id(tensor)] = value

    def _scope(self, model: Any, inner: Any, path: str, args: Any, kwargs: Any) -> Scope:
        input_layers: list[Layer] = [capture(tensor._keras_history.operation) for tensor in inner.inputs]
        index = {id(tensor): position for position, tensor in enumerate(inner.inputs)}
        return Scope(
            path=path,
            model=self.models[id(model)],
            name=model.name,
            cls=type(model),
            trainable=bool(model.trainable),
            inputs=tuple(input_layers),
            input_structure=map_leaves(lambda tensor: index[id(tensor)], inner._inputs_struct),
            args=args,
            kwargs=kwargs,
            outputs=None,
            dtype=own_dtype(model),
        )

    def _operands(self, args: Any, kwargs: Any, values: dict[int, Value]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        def translate(leaf: Any) -> Any:
            if isinstance(leaf, keras.KerasTensor):
                return values[id(leaf)]
            if isinstance(leaf, keras.Variable):
                reference = self.variables.get(id(leaf))
                # A variable that no layer of the model owns is a constant, as it is for Keras.
                return keras.ops.convert_to_tensor(leaf) if reference is None else reference
            return leaf

        return map_leaves(translate, args), map_leaves(translate, kwargs)
