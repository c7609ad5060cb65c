"""Run the ``call`` of a layer on symbolic tensors, so that the layers and ops in it become a graph.

Everything that stands replaced meanwhile is Keras' own and asks, by thread, whether a layer is being opened; within the
calls of inner layers nothing is. The layer's own code sees

* variables, of any layer, as the outputs of layers that hold them, so that they stay weights;
* unknown sizes as ``FreeSize``;
* ``training`` as something that may be handed on, not looked at;
* layers that are called on constants as called on tensors that depend on the input.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import ops

from kerasurgeon.ir.kinds import op_name
from kerasurgeon.ir.node import Slot
from kerasurgeon.ir.structure import leaves, map_leaves
from kerasurgeon.keras_io.foreign import is_foreign, line_of, said
from kerasurgeon.keras_io.internals import calls_of, flatten_layers, keras_mask, nodes_of, set_keras_mask
from kerasurgeon.keras_io.open_activations import ends_in, foreign_activation
from kerasurgeon.keras_io.open_branches import same_but_for_idle
from kerasurgeon.keras_io.open_clock import asks_the_clock
from kerasurgeon.keras_io.open_elsewhere import agrees
from kerasurgeon.keras_io.open_masks import take_away, with_masks
from kerasurgeon.keras_io.open_operands import (
    built_for_others,
    input_like,
    is_symbolic,
    operand_leaves,
    without_defaults,
    without_training,
)
from kerasurgeon.keras_io.open_redirects import CALL, NOW, REPLACED, SYMBOLIC, Done, Training
from kerasurgeon.keras_io.open_sizes import FreeSize, UntraceableError, has_free
from kerasurgeon.keras_io.open_undoing import Before
from kerasurgeon.keras_io.open_walking import Walked


@dataclass
class Traced:
    """One call of a layer as a graph.

    Attributes:
        function: From the tensors that the call reads to what it gives.
        bound: The tensors of the model that those stand for, masks included.
        operands: ``(args, kwargs)`` of the call, tensors as ``Slot``.
    """

    function: Any
    bound: list[Any]
    operands: Any


@dataclass
class Opener:
    """What the traces of one lift share.

    Attributes:
        holders: Layers made to hold variables, with the variables, by the id of the layer.
        made: Calls recorded at layers of the model, to be forgotten in the end.
        bare: Layers that end in a function from outside Keras, and whether that stands behind them, by their ids.
        only_opened: Layers that Keras cannot call on symbolic tensors: inside others they must be opened, and stay so.
        fixed: What all free sizes but the batch's are taken for; ``None`` for what they are.
    """

    holders: dict[int, tuple[Any, Any]] = field(default_factory=dict)
    made: list[Any] = field(default_factory=list)
    bare: dict[int, tuple[Any, bool]] = field(default_factory=dict)
    only_opened: dict[int, Any] = field(default_factory=dict)
    fixed: int | None = None
    _by_variable: dict[tuple[int, str], Any] = field(default_factory=dict)

    def trace(self, layer: Any, node: Any) -> Traced:
        """What a layer does in one call.

        Args:
            layer: The layer, built.
            node: The call, as Keras has recorded it.

        Raises:
            UntraceableError: Its code cannot be run so; the message says what it does, and where.
        """
        entered, training = self._entered(layer, node), Training()
        try:
            frame, traced = self._run(layer, node, entered, training)
        except UntraceableError:
            found = self._in_both(layer, node) if training.seen else None
            if found is None and entered[0].asked:
                found = self._elsewhere(layer, node)
            if found is None:
                raise
            frame, traced = found
        frame.name_anew(traced.function)
        return traced

    def _run(
        self, layer: Any, node: Any, entered: tuple[_Frame, Any, list[Any], Any], training: Training
    ) -> tuple[_Frame, Traced]:
        frame, operands, bound, recorded = entered
        frame.training = training
        function = self._function(layer, node, frame, operands)
        if function.constants or asks_the_clock(layer):
            again, others, *_ = self._entered(layer, node)
            again.training, again.elsewhere = training, frame.elsewhere
            if not function.computes_with(self._function(layer, node, again, others)):
                raise UntraceableError("it computes with numbers that are others in every call: random, or the time")
        return frame, Traced(function, bound, recorded)

    def _function(self, layer: Any, node: Any, frame: _Frame, operands: Any) -> Walked:
        outputs = frame.run(*operands)
        if frame.drew and not frame.new:  # a new layer may choose its seed
            raise UntraceableError("it draws random numbers")
        if id(layer) in self.only_opened:
            outputs = [leaf for leaf in leaves(outputs) if leaf is not None]
        outputs = map_leaves(lambda leaf: leaf if is_symbolic(leaf) else frame.constant(leaf), outputs)
        frame.check(outputs, node)
        return Walked(list(frame.inputs), outputs)

    def _in_both(self, layer: Any, node: Any) -> tuple[_Frame, Traced] | None:
        """What code that looks at ``training`` does in training, if otherwise it is that without what is idle then."""
        try:
            frame, traced = self._run(layer, node, self._entered(layer, node), Training(True))
            _, other = self._run(layer, node, self._entered(layer, node), Training(False))
        except UntraceableError:
            return None
        parts = frame.parts | set(self.holders)
        return (frame, traced) if same_but_for_idle(traced.function, other.function, parts) else None

    def _elsewhere(self, layer: Any, node: Any) -> tuple[_Frame, Traced] | None:
        """What code that asks for the backend does on another one, if that computes the same."""
        entered = self._entered(layer, node)
        entered[0].elsewhere = True
        try:
            frame, traced = self._run(layer, node, entered, Training())
        except UntraceableError:
            return None
        return (frame, traced) if agrees(layer, entered[1], traced.function, self.holders) else None

    def is_idle(self, layer: Any, node: Any) -> bool:
        """Whether a call of a layer, when the model does not train, returns the tensor that it is called on."""
        try:
            frame, (args, kwargs), _, _ = self._entered(layer, node)
            frame.training = False
            return frame.run(args, kwargs) is frame.inputs[0]
        except UntraceableError:
            return False

    def _entered(self, layer: Any, node: Any) -> tuple[_Frame, Any, list[Any], Any]:
        """The layer with fresh operands, which tensors those stand for, and how they are nested."""
        fresh: dict[int, Any] = {}
        bound: list[Any] = []

        def bind(tensor: Any) -> Any:
            if id(tensor) not in fresh:
                fresh[id(tensor)] = input_like(tensor, f"in_{len(bound)}", self.fixed)
                bound.append(tensor)
            return fresh[id(tensor)]

        def stand_in(tensor: Any) -> Any:
            one, mask = bind(tensor), keras_mask(tensor)
            if mask is not None:  # which has none itself
                set_keras_mask(one, bind(mask))
            return one

        operands = (node.arguments.args, without_training(layer, node.arguments.kwargs))
        if any(isinstance(leaf, keras.Variable) for leaf in leaves(operands)):
            raise UntraceableError("it is called on a variable")
        args, kwargs = map_leaves(lambda leaf: stand_in(leaf) if is_symbolic(leaf) else leaf, operands)
        if not bound:
            raise UntraceableError("it is called on no tensor")
        slots = {id(tensor): Slot(index) for index, tensor in enumerate(bound)}
        recorded = map_leaves(lambda leaf: slots[id(leaf)] if is_symbolic(leaf) else leaf, operands)
        return _Frame(self, layer, [fresh[id(tensor)] for tensor in bound]), (args, kwargs), bound, recorded

    def holder(self, variable: Any, layer: Any) -> Any:
        """The layer that holds a variable which the code of ``layer`` reads: the product of ones and the variable."""
        policy = layer.dtype_policy
        key = (id(variable), str(getattr(policy, "name", policy)))
        if key not in self._by_variable:
            shape = tuple(variable.shape) or (1,)
            letters = "".join(chr(ord("b") + axis) for axis in range(len(shape)))
            with keras.name_scope("opened"):
                made = keras.layers.EinsumDense(
                    f"a,{letters}->a{letters}",
                    shape,
                    name=str(variable.name).replace("/", "_"),
                    dtype=policy,
                    kernel_initializer="zeros",
                    kernel_regularizer=variable.regularizer,
                    kernel_constraint=variable.constraint,
                    trainable=bool(variable.trainable),
                )
            self._by_variable[key] = made
            self.holders[id(made)] = made, variable
        return self._by_variable[key]

    def forget(self) -> None:
        """Take the calls that were made for traces from the layers of the model."""
        mine = {id(node) for node in self.made}
        operations = {id(node.operation): node.operation for node in self.made}
        for operation in operations.values():  # a node finds its parents by their places among the calls
            uses = operation._outbound_nodes
            uses[:] = [each for each in uses if not any(id(parent) in mine for parent in each.parent_nodes)]
        for operation in operations.values():
            operation._inbound_nodes[:] = [each for each in operation._inbound_nodes if id(each) not in mine]
        self.made.clear()


class _Frame:
    """The layer that is being opened, and what its code has called so far."""

    def __init__(self, opener: Opener, layer: Any, inputs: list[Any]) -> None:
        self.opener, self.layer, self.inputs = opener, layer, inputs
        self.training: Any = Training()
        self.inside = True
        self.asked = self.elsewhere = self.drew = False
        self.calling: Any = None
        self.given: Any = None
        self.parts = {id(part) for part in flatten_layers(layer)}
        self.own = {id(variable) for variable in layer.variables}
        self.read: dict[int, Any] = {}
        self.new: list[Any] = []
        self._zero: Any = None

    def run(self, args: Any, kwargs: Any) -> Any:
        before = Before(self.layer)
        NOW.frame = self
        try:
            with contextlib.ExitStack() as stack:
                for replaced in REPLACED:
                    stack.enter_context(replaced)
                CALL.original(self.layer, *args, **kwargs)
        except Done as done:
            return done.outputs
        except UntraceableError as error:
            what = error.what.rpartition("\x1b[1m")[2].partition("\x1b[0m")[0]  # as Keras quotes it, in bold
            raise UntraceableError(what, where=line_of(error)) from error
        except Exception as error:
            raise UntraceableError(said(error), where=line_of(error)) from error
        finally:
            NOW.frame = None
            before.put_back()
            self.drew = before.has_drawn()
        raise UntraceableError("its call is not made by Keras")

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """While open, Keras is as it is."""
        before, self.inside = self.inside, True
        try:
            yield
        finally:
            self.inside = before

    def called(self, layer: Any, args: Any, kwargs: Any) -> Any:
        """The call of a layer by the code that is being opened."""
        if layer is self.layer:
            raise UntraceableError("it calls itself")
        if id(layer) not in self.parts and layer.weights:
            raise UntraceableError(
                f"it makes a layer with weights, {layer.name!r}, in its call, or calls one of another"
            )
        if has_free(tuple(leaves((args, kwargs)))):
            raise UntraceableError(f"it hands a free size to the layer {layer.name!r}")
        said = kwargs.get("training")
        if isinstance(said, bool) and said is not getattr(self.training, "answer", None):
            raise UntraceableError(f"it says training={kwargs['training']} to the layer {layer.name!r}")
        if isinstance(said, bool):
            kwargs = {name: value for name, value in kwargs.items() if name != "training"}
        args, kwargs = map_leaves(
            lambda leaf: None if isinstance(leaf, Training) else leaf, (args, without_defaults(layer, kwargs))
        )
        if not any(map(is_symbolic, leaves((args, kwargs)))):
            args, kwargs = map_leaves(self._symbolic, (args, kwargs))
        if built_for_others(layer, args) and not kwargs:
            for part in layer.layers:
                args = (self.called(part, args, {}),)
            return args[0]
        known = layer.built
        with self.aside():
            kwargs = with_masks(layer, args, kwargs)
            self.calling, self.given = layer, None
            outputs = CALL.original(layer, *args, **kwargs)
            self.calling = None
            take_away(layer, leaves((args, kwargs)))
        node = layer._inbound_nodes[-1] if layer._inbound_nodes else None
        if node is None or not any(out is one for out in leaves(outputs) for one in node.outputs):
            raise UntraceableError(f"the call of the layer {layer.name!r} is not recorded by Keras")
        if id(layer) in self.parts and (known or not layer.weights):
            self.opener.made.append(node)
        else:
            self.new.append(layer)
        return self._activated(layer, args, kwargs, outputs) if self.given is None else self.given

    def _activated(self, layer: Any, args: Any, kwargs: Any, outputs: Any) -> Any:
        """What a layer gives, where it ends in a function from outside Keras: what that makes of it."""
        function = foreign_activation(layer)
        if function is None or is_foreign(type(layer)) or id(layer) not in self.parts:
            return outputs
        if id(layer) not in self.opener.bare:
            made = {id(node) for node in self.opener.made}
            with self.aside():
                bare = all(id(node) in made for node in calls_of(layer)) and ends_in(layer, args, kwargs)
            self.opener.bare[id(layer)] = layer, bare
        return function(outputs) if self.opener.bare[id(layer)][1] else outputs

    def gives(self, layer: Any, args: Any, kwargs: Any) -> Any:
        """What a layer gives: where its class says that wrongly, what its code does; the tensors only."""
        try:
            outputs = SYMBOLIC.original(layer, *args, **kwargs)
        except Exception:
            if not is_foreign(type(layer)):
                raise
            outputs = keras.Operation.compute_output_spec(layer, *args, **kwargs)
            self.opener.only_opened[id(layer)] = layer
        tensors = [leaf for leaf in leaves(outputs) if leaf is not None]
        if len(tensors) < len(list(leaves(outputs))):
            self.given = outputs
            self.opener.only_opened[id(layer)] = layer
            return tensors
        return outputs

    def variable(self, variable: Any) -> Any:
        """A variable as a tensor."""
        if not keras.backend.is_float_dtype(variable.dtype):
            return variable  # a constant of the graph
        if id(variable) not in self.read:
            with self.aside():
                bound = not tuple(variable.shape) or isinstance(self.layer, keras.layers.Lambda)
                if bound and id(variable) not in self.own:
                    raise UntraceableError(f"it computes with the variable {variable.path!r} of another layer")
                holder = self.opener.holder(variable, self.layer)
                one = ops.reshape(ops.add(ops.cast(self.zero(), holder.compute_dtype), 1), (1,))
                held = CALL.original(holder, one)
                self.opener.made.append(holder._inbound_nodes[-1])
                self.read[id(variable)] = ops.reshape(held, tuple(variable.shape))
        return self.read[id(variable)]

    def constant(self, value: Any) -> Any:
        """A constant as a tensor that depends on the input."""
        if value is None or isinstance(value, (str, bool)):
            raise UntraceableError(f"it returns {value!r}, which is no tensor")
        with self.aside():
            array = np.asarray(ops.convert_to_numpy(value))
            dtype = keras.backend.standardize_dtype(array.dtype)
            zero = ops.cast(self.zero(), dtype)
            return ops.logical_or(zero, array) if dtype == "bool" else ops.add(zero, array)

    def zero(self) -> Any:
        """The number 0, from the shape of an operand."""
        if self._zero is None:
            self._zero = ops.sum(ops.zeros_like(self.inputs[0], dtype="int32"))
        return self._zero

    def _symbolic(self, leaf: Any) -> Any:
        return self.constant(leaf) if hasattr(leaf, "shape") and hasattr(leaf, "dtype") else leaf

    def reshaping(self, shape: Any) -> Any:
        """A layer that reshapes all axes behind the first."""
        made = keras.layers.Reshape(shape, dtype=self.layer.dtype_policy)
        self.new.append(made)
        return made

    def check(self, outputs: Any, node: Any) -> None:
        """Refuse what does not give what Keras has recorded of the call, where it has."""
        if node.outputs is None:
            return
        given = [(tuple(tensor.shape), str(tensor.dtype)) for tensor in leaves(outputs)]
        recorded = [(tuple(tensor.shape), str(tensor.dtype)) for tensor in node.outputs]
        same = len(given) == len(recorded) and all(
            one[1] == other[1]
            and len(one[0]) == len(other[0])
            and all(None in (a, b) or a == b for a, b in zip(one[0], other[0], strict=True))
            for one, other in zip(given, recorded, strict=True)
        )
        if not same:
            raise UntraceableError(f"it gives {given} when it is opened, {recorded} when it is not")

    def name_anew(self, function: Walked) -> None:
        """Give what the trace has made names that are the same in every process; refuse what is left in operands."""
        counts: dict[str, int] = {}
        new = {id(layer) for layer in self.new}
        for operation in function.operations:
            if isinstance(operation, keras.Layer) and id(operation) not in new:
                continue
            base = op_name(type(operation).__name__)
            count = counts.get(base, 0)
            counts[base] = count + 1
            operation.name = f"{base}_{count}" if count else base
        for node, _ in nodes_of(function):
            if any(isinstance(leaf, (FreeSize, Training)) for leaf in operand_leaves(node)):
                raise UntraceableError(f"it hands training or a free size to {node.operation.name!r}")
