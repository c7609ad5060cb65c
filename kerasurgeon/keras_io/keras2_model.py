"""A model from the config that Keras 2 wrote: its layers made and called as the file says.

Nothing is left to Keras' own reader of old configs, which loads some of them as networks that compute something else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras

from kerasurgeon.errors import KerasurgeonError, ModelFileError
from kerasurgeon.keras_io.foreign import said
from kerasurgeon.keras_io.internals import SafeModeScope
from kerasurgeon.keras_io.keras2_changed import CHANGED, GATES, INSTEAD, SCALE
from kerasurgeon.keras_io.keras2_ops import apply_function
from kerasurgeon.keras_io.keras2_options import layer_options
from kerasurgeon.keras_io.model_config import check_config

_CONSTANT = "_CONSTANT_VALUE"


@dataclass
class Reader:
    """What one file is read with, and what is found in it.

    Attributes:
        custom_objects: Classes and functions by name; functions also by the name of the Lambda layer that they are for.
        unsafe: Whether code in the file may run.
        how: How the user says so, for errors.
        where: The file, for errors.
        changes: What is not as the file says, one phrase each.
        cudnn: Layers that were cuDNN's, by name, with the number of their gates.
    """

    custom_objects: Mapping[str, Any]
    unsafe: bool
    how: str
    where: str
    changes: list[str] = field(default_factory=list)
    cudnn: dict[str, int] = field(default_factory=dict)

    def model(self, data: Mapping[str, Any]) -> Any:
        """The model of a config, with initial weights.

        Raises:
            ModelFileError: It cannot be made; the layer is named.
        """
        config = data["config"]
        layers = config if isinstance(config, list) else config.get("layers")  # before 2.2.3, a list for a stack
        if not isinstance(layers, list):
            raise self._error("The file does not describe a network of layers.", got=repr(data.get("class_name")))
        name = None if isinstance(config, list) else config.get("name")
        if isinstance(config, Mapping) and "input_layers" in config:
            model = self._network(config, name)
        else:
            model = self._stack(layers, name)
        if isinstance(config, Mapping) and config.get("trainable") is False:
            model.trainable = False
        return model

    def _stack(self, layers: list[Any], name: str | None) -> Any:
        made = [layer for data in layers for layer in self._layers(data)]
        shape = _input_shape(layers[0]) if layers else None
        if shape is not None and not isinstance(made[0], keras.layers.InputLayer):
            dtype = layers[0]["config"].get("dtype") if hasattr(made[0], "embeddings_initializer") else None
            made.insert(0, keras.Input(batch_shape=shape, dtype=dtype if isinstance(dtype, str) else None))
        stack = keras.Sequential(name=name)
        for layer in made:
            with self._told(getattr(layer, "name", "input")):
                stack.add(layer)
        return stack

    def _network(self, config: Mapping[str, Any], name: str | None) -> Any:
        layers = config["layers"]
        made_of = {data["name"]: self._layers(data) for data in layers}
        first = {
            data["name"]: _first_index(data, [each["inbound_nodes"] for each in layers], config["output_layers"])
            for data in layers
        }
        calls: dict[str, list[list[Any]]] = {}
        for data in layers:
            made = made_of[data["name"]]
            if made and isinstance(made[0], keras.layers.InputLayer):
                calls[data["name"]] = [[made[0].output]]

        def tensor(reference: list[Any]) -> Any:
            layer, node, index = reference[:3]
            return calls[layer][node - first[layer]][index]

        waiting = [(data, list(data["inbound_nodes"])) for data in layers if data["name"] not in calls]
        while waiting:
            left, count = [], sum(len(nodes) for _, nodes in waiting)
            for data, nodes in waiting:
                done = calls.setdefault(data["name"], [])
                while nodes:
                    try:
                        args, options = _operands(nodes[0], tensor)
                    except (IndexError, KeyError):
                        break  # not yet
                    done.append(self._called(data, made_of[data["name"]], args, options))
                    nodes.pop(0)
                if nodes:
                    left.append((data, nodes))
            if count == sum(len(nodes) for _, nodes in left):
                names = ", ".join(repr(data["name"]) for data, _ in left[:5])
                raise self._error("The layers of the file cannot be put in an order.", got=f"unresolved: {names}")
            waiting = left
        structure = [_mapped(config[key], tensor) for key in ("input_layers", "output_layers")]
        inputs, outputs = (each[0] if isinstance(each, list) and len(each) == 1 else each for each in structure)
        return keras.Model(inputs, outputs, name=name)

    def _called(self, data: Mapping[str, Any], made: list[Any], args: Any, options: dict[str, Any]) -> list[Any]:
        """What the call of a layer gives, flat."""
        name, config = data["name"], data["config"]
        with self._told(name):
            if not made:  # a function of TensorFlow
                function = "__operators__.getitem" if "Slicing" in data["class_name"] else config["function"]
                try:
                    result = apply_function(function, args, options)
                except (LookupError, TypeError) as error:
                    raise self._error(
                        f"Layer {name!r} calls a function of TensorFlow that is not translated here.",
                        got=f"tf.{function}({', '.join(options)})" if isinstance(error, LookupError) else said(error),
                        hint="make the model again with a layer in its place",
                    ) from error
                return list(keras.tree.flatten(result))
            for layer in made[:-1]:
                args = layer(args)
            result = made[-1](*_split_states(made[-1], args), **options)
        return list(keras.tree.flatten(result))

    def _layers(self, data: Mapping[str, Any]) -> list[Any]:
        """The layers of one entry: mostly one; none for a function; two where Keras 3 needs help."""
        kind, config = data["class_name"], data["config"]
        if kind in ("TFOpLambda", "SlicingOpLambda"):
            return []
        if isinstance(config, list) or ("layers" in config and kind not in self.custom_objects):
            return [self.model(data)]
        layer = self._layer(data)
        if type(layer) is keras.layers.Activation and layer.activation is keras.activations.hard_sigmoid:
            self.changes.append(f"layer {layer.name!r}: a scale of {SCALE} before it, {CHANGED}")
            return [keras.layers.Rescaling(SCALE, name=f"{layer.name}_scale"), layer]
        return [layer]

    def _layer(self, data: Mapping[str, Any]) -> Any:
        kind, config = data["class_name"], dict(data["config"])
        name = config.get("name", kind)
        cls = self._class(kind, data.get("registered_name"))
        if cls is None:
            raise self._error(
                f"Layer {name!r} is of a class that is not known here.",
                got=repr(kind),
                hint="import the module that registers it, or name it: custom_objects={'Name': Class}",
            )
        if cls is keras.layers.Lambda:
            return self._function(config)
        if kind in INSTEAD and cls is INSTEAD[kind][0]:
            config |= INSTEAD[kind][1]
            self.changes.append(f"layer {name!r}: {cls.__name__} in place of {kind}")
            if kind in GATES:
                self.cudnn[name] = GATES[kind]
        if cls is keras.layers.InputLayer:
            config = config | {"batch_shape": _input_shape({"config": config})}
        shape = config.pop("batch_shape", None)
        config = layer_options(cls, config, self.where, self.changes)
        if cls is keras.layers.InputLayer:
            config["batch_shape"] = shape
        parts = {key: self._part(value) for key, value in config.items() if _is_layer(value)}
        with self._told(name), keras.saving.custom_object_scope(dict(self.custom_objects)):
            if not self.unsafe:
                check_config(config, self.where, self.how)
            with SafeModeScope(not self.unsafe):
                return cls(**{**config, **parts}) if parts else cls.from_config(config)

    def _part(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._part(each) for each in value]
        config = value["config"]
        if isinstance(config, list) or "layers" in config:
            return self.model(value)
        return self._layer(value)

    def _class(self, kind: str, registered: Any) -> Any:
        own = self.custom_objects
        found = own.get(kind) or own.get(kind.rpartition(">")[2]) or keras.saving.get_registered_object(kind)
        if found is None and isinstance(registered, str):
            found = keras.saving.get_registered_object(registered)
        found = found or (INSTEAD[kind][0] if kind in INSTEAD else getattr(keras.layers, kind, None))
        return found if isinstance(found, type) and issubclass(found, keras.Layer) else None

    def _function(self, config: dict[str, Any]) -> Any:
        """A Lambda layer: of the function that the user gives for it, or of code in the file if that is trusted."""
        name, function = config["name"], config.get("function")
        given = self.custom_objects.get(name)
        if given is None and isinstance(function, str):
            given = self.custom_objects.get(function)
        kept = {key: config[key] for key in ("name", "trainable", "arguments") if config.get(key) is not None}
        if given is not None:
            return keras.layers.Lambda(given, **kept)
        if not self.unsafe or not isinstance(function, (list, Mapping)):
            raise self._error(
                f"Layer {name!r} has Python code of its own (a Lambda layer), which loading it would run here.",
                hint=f"give its function: custom_objects={{{name!r}: function}}; or, if you trust the file and it was "
                f"saved by this version of Python, load it with {self.how}",
            )
        if isinstance(function, list):
            code, defaults, closure = function
            function = {"class_name": "__lambda__", "config": {"code": code, "defaults": defaults, "closure": closure}}
        with SafeModeScope(False), self._told(name):
            return keras.layers.Lambda.from_config({**kept, "function": function})

    def _told(self, name: str) -> Any:
        return _Told(self, name)

    def _error(self, what: str, *, got: str | None = None, hint: str | None = None) -> ModelFileError:
        return ModelFileError(what, where=self.where, got=got, hint=hint)


@dataclass
class _Told:
    """What Keras raises within the block is told of a layer."""

    reader: Reader
    name: str

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if isinstance(error, Exception) and not isinstance(error, KerasurgeonError):
            raise ModelFileError(
                f"Layer {self.name!r} cannot be made as the file says.", where=self.reader.where, got=said(error)
            ) from error


def _is_layer(value: Any) -> bool:
    """Whether an entry of a config describes a layer, or several."""
    if isinstance(value, list):
        return bool(value) and all(map(_is_layer, value))
    if not isinstance(value, Mapping) or not isinstance(value.get("config"), (dict, list)):
        return False
    found = getattr(keras.layers, str(value.get("class_name")), None) or getattr(
        keras, str(value.get("class_name")), None
    )
    config = value["config"]
    return (isinstance(found, type) and issubclass(found, keras.Layer)) or "layers" in config or "trainable" in config


def _input_shape(data: Mapping[str, Any]) -> Any:
    config = data["config"]
    if isinstance(config, list):
        return _input_shape(config[0]) if config else None
    if "layers" in config:
        return _input_shape(config["layers"][0]) if config["layers"] and "input_layers" not in config else None
    for key in ("batch_input_shape", "batch_shape"):
        shape = config.get(key)
        if isinstance(shape, Mapping):
            shape = shape.get("items")
        if shape is not None:
            return tuple(shape)
    return None


def _references(nodes: Any) -> Iterator[list[Any]]:
    """All mentions of tensors in the entries of calls."""
    if _is_reference(nodes):
        yield nodes
        yield from _references(nodes[3:])
    elif isinstance(nodes, list):
        for each in nodes:
            yield from _references(each)
    elif isinstance(nodes, Mapping):
        for each in nodes.values():
            yield from _references(each)


def _is_reference(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) in (3, 4)
        and isinstance(value[0], str)
        and all(isinstance(each, int) for each in value[1:3])
    )


def _first_index(data: Mapping[str, Any], *mentions: Any) -> int:
    """What a file calls the first call of a layer: 0, or 1 of a model inside, whose making counted as a call."""
    config = data["config"]
    if not isinstance(config, list) and "layers" not in config:
        return 0
    used = {each[1] for each in _references(list(mentions)) if each[0] == data["name"]}
    return 1 if used and 0 not in used else 0


def _operands(node: Any, tensor: Callable[[list[Any]], Any]) -> tuple[Any, dict[str, Any]]:
    """What a layer is called on, and with, in one of its calls."""
    options: dict[str, Any] = {}
    args = _first(node, tensor, options)
    if isinstance(args, list) and len(args) == 1 and not _is_reference(node):
        args = args[0]
    return args, {key: _mapped(value, tensor) for key, value in options.items() if value is not None}


def _first(part: Any, tensor: Callable[[list[Any]], Any], options: dict[str, Any]) -> Any:
    """The first operand of a call; the others, which stand beside its parts, go into ``options``."""
    if isinstance(part, list) and len(part) == 4 and part[0] == _CONSTANT:
        options.update(part[3])
        return part[2]
    if _is_reference(part):
        options.update(part[3] if len(part) == 4 else {})
        return tensor(part)
    if isinstance(part, Mapping):
        return {key: _first(each, tensor, options) for key, each in part.items()}
    return [_first(each, tensor, options) for each in part]


def _mapped(value: Any, tensor: Callable[[list[Any]], Any]) -> Any:
    if _is_reference(value):
        return tensor(value)
    if isinstance(value, list):
        return [_mapped(each, tensor) for each in value]
    return {key: _mapped(each, tensor) for key, each in value.items()} if isinstance(value, Mapping) else value


def _split_states(layer: Any, args: Any) -> tuple[Any, ...]:
    """What a recurrent layer is called on: Keras 2 put its initial states behind its inputs, in one list."""
    inner = getattr(layer, "forward_layer", layer)
    if isinstance(args, list) and len(args) > 1 and isinstance(inner, keras.layers.RNN):
        return (args[0], list(args[1:]))
    return (args,)


__all__ = ["Reader"]
