"""Make the variables of TensorFlow that hold Keras' weights, as TensorFlow makes them, but for a third of the time.

``tf.Variable`` opens half a dozen scopes for each, describes it anew, and makes a kernel for every name that it sees.
None of that is of use to a variable that is made outside of graphs, strategies and scopes of creators; any other is
left to TensorFlow. ``tests/keras_io/test_quick.py`` compares variables made either way.
"""

from __future__ import annotations

import functools
import weakref
from typing import Any

import tensorflow as tf
from keras.src.backend.tensorflow import core
from tensorflow.python.eager import context
from tensorflow.python.framework import ops
from tensorflow.python.ops import gen_resource_variable_ops, handle_data_util, resource_variable_ops

from kerasurgeon.keras_io.replaced import Replaced


def _initialize(self: Any, value: Any) -> None:
    """``Variable._initialize`` of Keras."""
    graph = ops.get_default_graph()
    if isinstance(value, tf.Variable) or not context.executing_eagerly() or graph._variable_creator_stack:
        INITIALIZE.original(self, value)
        return
    with tf.init_scope():  # tapes do not see how a variable came to its value
        tensor = value() if callable(value) else value
        if not isinstance(tensor, ops.EagerTensor) or tensor.dtype.name != self._dtype:
            tensor = tf.convert_to_tensor(tensor, dtype=self._dtype)
        if isinstance(tensor, ops.EagerTensor) and tensor.dtype != tf.variant:
            self._value = _made(self, tensor, graph._container or "")
            return
    INITIALIZE.original(self, tensor)


def _made(keras_variable: Any, tensor: Any, container: str) -> Any:
    """``ResourceVariable._init_from_args``. Python knows the variable by its name; TensorFlow's C++ code does not."""
    name = f"{context.context().scope_name or ''}{keras_variable.name}"
    unique = f"{name}_{ops.uid()}"
    variable = resource_variable_ops.ResourceVariable.__new__(resource_variable_ops.ResourceVariable)
    handle = gen_resource_variable_ops.var_handle_op(
        shape=tensor.shape, dtype=tensor.dtype, shared_name=context.anonymous_name(), container=container
    )
    handle._handle_data = _handle_data(tuple(tensor.shape), tensor.dtype)
    handle._parent_trackable = weakref.ref(variable)
    handle._name, handle._unique_id = f"{name}:0", unique
    gen_resource_variable_ops.assign_variable_op(handle, tensor)
    resource_variable_ops.BaseResourceVariable.__init__(
        variable,
        trainable=keras_variable.trainable,
        shape=tensor.shape,
        dtype=tensor.dtype,
        handle=handle,
        synchronization=keras_variable._map_synchronization(keras_variable.synchronization),
        aggregation=keras_variable._map_aggregation(keras_variable.aggregation),
        unique_id=unique,
        handle_name=name,
        in_graph_mode=False,
    )
    return variable


@functools.lru_cache(maxsize=1024)
def _handle_data(shape: tuple[int, ...], dtype: Any) -> Any:
    """What a handle says of its variable; nobody changes it but for variants."""
    return handle_data_util.create_handle_data(tf.TensorShape(shape), dtype)


INITIALIZE = Replaced(core.Variable, "_initialize", _initialize)

__all__ = ["INITIALIZE"]
