"""Layers that call another layer, and models inside that could not be inlined."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from kerasurgeon.errors import KerasurgeonError
from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.values import TensorSpec
from kerasurgeon.keras_io import lift
from kerasurgeon.keras_io.layers import construct
from kerasurgeon.rules.call import Call, CannotTell, call_of
from kerasurgeon.rules.inner import inner_layer
from kerasurgeon.rules.rule import Rule, RuleFor
from kerasurgeon.rules.sizes import resolve


class _Wrapper(Rule):
    def __init__(self, rule_for: RuleFor) -> None:
        self.rule_for = rule_for

    def keeps_batch(self, layer: Layer) -> bool:
        """Always."""
        return True


class SpectralNormalization(_Wrapper):
    """SpectralNormalization: in inference, the layer inside with a scaled kernel."""

    def macs(self, call: Call) -> int:
        """What the layer inside costs."""
        layer = inner_layer(call.layer, call.config["layer"])
        return self.rule_for(layer.kind).macs(replace(call, name=layer.name, layer=layer, node=None))


class TimeDistributed(_Wrapper):
    """TimeDistributed: the layer inside on every step, as if steps were further samples."""

    def macs(self, call: Call) -> int:
        """What the layer inside costs for batch x steps samples."""
        layer = inner_layer(call.layer, call.config["layer"])
        inner = Call(layer.name, layer, (_merged(call.input),), outputs=tuple(map(_merged, call.outputs)))
        return self.rule_for(layer.kind).macs(inner)


class NestedModel(_Wrapper):
    """A Functional or Sequential model that stayed whole: one inside a wrapper, say."""

    def macs(self, call: Call) -> int:
        """The sum over its layers.

        Raises:
            CannotTell: The model cannot be rebuilt from its config, or a layer in it cannot be told.
        """
        try:
            graph = lift(construct(_buildable(call)))
            names = [node.name for node in graph.input_nodes()]
            shapes = dict(zip(names, (spec.shape for spec in call.inputs), strict=True))
            specs = resolve(graph, self.rule_for, shapes=shapes)
        except (KerasurgeonError, ValueError) as error:
            raise CannotTell(f"the model inside cannot be taken apart: {str(error).splitlines()[0]}") from error
        return sum(self.rule_for(graph.kind(node)).macs(call_of(graph, node, specs)) for node in graph.nodes())


def _merged(spec: TensorSpec) -> TensorSpec:
    batch, steps, *rest = spec.shape
    return replace(spec, shape=(None if batch is None or steps is None else batch * steps, *rest))


def _buildable(call: Call) -> Layer:
    config: Mapping[str, object] = call.config
    if call.kind != "Sequential" or config.get("build_input_shape"):
        return call.layer
    return call.layer.with_config(build_input_shape=call.input.shape)
