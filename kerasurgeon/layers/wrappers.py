"""Layers that call another layer, and models inside that could not be inlined."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kerasurgeon.errors import KerasurgeonError
from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.values import TensorSpec
from kerasurgeon.keras_io import lift
from kerasurgeon.keras_io.layers import construct
from kerasurgeon.layers.attention import freeze_masks
from kerasurgeon.layers.onnx_wrapped import inner_call, write_each_step, write_model
from kerasurgeon.layers.recurrent import with_steps, without_steps
from kerasurgeon.rules.call import Call, CannotTell, call_of
from kerasurgeon.rules.channel_call import ChannelCall
from kerasurgeon.rules.inner import inner_layer
from kerasurgeon.rules.labels import Labels
from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.registry import register_rule, rule_for
from kerasurgeon.rules.rule import Rule
from kerasurgeon.rules.sizes import resolve


class _Wrapper(Rule):
    def keeps_batch(self, layer: Layer) -> bool:
        """Always."""
        return True


class SpectralNormalization(_Wrapper):
    """SpectralNormalization: in inference, the layer inside with a scaled kernel."""

    def onnx(self, call: OnnxCall) -> None:
        """As the layer inside, with the kernel that it has."""
        layer = inner_layer(call.layer, call.config["layer"])
        call.given[0] = inner_call(call, layer, call.args, {}, call.outputs)[0]

    def macs(self, call: Call) -> int:
        """What the layer inside costs."""
        layer = inner_layer(call.layer, call.config["layer"])
        return rule_for(layer.kind).macs(replace(call, name=layer.name, layer=layer, node=None))

    def channels(self, call: ChannelCall) -> Labels | tuple[Labels, ...]:
        """As the layer inside; the vector that training multiplies follows the last axis of its kernel."""
        layer = inner_layer(call.layer, call.config["layer"])
        inner = call.inner(layer, ("layer", "config"), call.args, call.outputs)
        found = rule_for(layer.kind).channels(inner)
        freeze_masks(call, (call.input,))
        for key in ("kernel", "embeddings"):
            weight = layer.weights.get(key)
            if weight is not None:
                last = (weight.array.ndim - 1,)
                owned = [held.ids for held in call.held if held.owner == f"{layer.name}/{key}" and held.axes == last]
                call.weight("vector_u", {1: owned[0] if owned else None})
        return found


class TimeDistributed(_Wrapper):
    """TimeDistributed: the layer inside on every step, as if steps were further samples."""

    def onnx(self, call: OnnxCall) -> None:
        """As the layer inside, the steps among the samples."""
        layer = inner_layer(call.layer, call.config["layer"])
        if len(layer.weights) < len(call.weights):  # those of a Functional model do not have its name
            layer = replace(layer, weights=call.weights)
        write_each_step(call, layer)

    def macs(self, call: Call) -> int:
        """What the layer inside costs for batch x steps samples."""
        layer = inner_layer(call.layer, call.config["layer"])
        inner = Call(layer.name, layer, (_merged(call.input),), outputs=tuple(map(_merged, call.outputs)))
        return rule_for(layer.kind).macs(inner)

    def channels(self, call: ChannelCall) -> tuple[Labels, ...]:
        """As the layer inside, on every step."""
        layer = inner_layer(call.layer, call.config["layer"])
        outputs = tuple(replace(spec, shape=(spec.shape[0], *spec.shape[2:])) for spec in call.outputs)
        inner = call.inner(layer, ("layer", "config"), (without_steps(call, call.input),), outputs)
        found = rule_for(layer.kind).channels(inner)
        freeze_masks(call, (call.input,))
        several = found if isinstance(found, tuple) else (found,)
        return tuple(with_steps(labels, spec.shape[1]) for labels, spec in zip(several, call.outputs, strict=True))


class NestedModel(_Wrapper):
    """A Functional or Sequential model that stayed whole: one inside a wrapper, say."""

    def onnx(self, call: OnnxCall) -> None:
        """As its layers.

        Raises:
            CannotTell: The model cannot be rebuilt, or a layer in it cannot be written.
        """
        write_model(call, _model_inside(call))

    def macs(self, call: Call) -> int:
        """The sum over its layers.

        Raises:
            CannotTell: The model cannot be rebuilt from its config, or a layer in it cannot be told.
        """
        try:
            graph = lift(construct(_buildable(call)))
            names = [node.name for node in graph.input_nodes()]
            shapes = dict(zip(names, (spec.shape for spec in call.inputs), strict=True))
            specs = resolve(graph, shapes=shapes)
        except (KerasurgeonError, ValueError) as error:
            raise CannotTell(f"the model inside cannot be taken apart: {str(error).splitlines()[0]}") from error
        return sum(rule_for(graph.kind(node)).macs(call_of(graph, node, specs)) for node in graph.nodes())


def _merged(spec: TensorSpec) -> TensorSpec:
    batch, steps, *rest = spec.shape
    return replace(spec, shape=(None if batch is None or steps is None else batch * steps, *rest))


def _model_inside(call: OnnxCall) -> Any:
    """A model that is a layer, with the weights that it has.

    Raises:
        CannotTell: The model cannot be rebuilt from its config.
    """
    try:
        model = construct(_buildable(call))
        model.set_weights([weight.array for weight in call.weights.values()])
    except (KerasurgeonError, ValueError) as error:
        raise CannotTell(f"the model inside cannot be taken apart: {str(error).splitlines()[0]}") from error
    return model


def _buildable(call: Call | OnnxCall) -> Layer:
    config: Mapping[str, object] = call.config
    if call.kind != "Sequential" or config.get("build_input_shape"):
        return call.layer
    return call.layer.with_config(build_input_shape=call.input.shape)


register_rule("TimeDistributed", TimeDistributed())
register_rule("SpectralNormalization", SpectralNormalization())
register_rule(("Functional", "Sequential"), NestedModel())
