"""Embeddings: look-ups in a table with one row per id."""

from __future__ import annotations

from kerasurgeon.ir.layer import Layer
from kerasurgeon.layers.onnx_dense import write_embedding, write_reversed
from kerasurgeon.rules.answers import Mixing
from kerasurgeon.rules.call import Call, CannotTell, elements
from kerasurgeon.rules.channel_call import ChannelCall
from kerasurgeon.rules.labels import Factor, Ids, Labels
from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.reasons import Reason
from kerasurgeon.rules.registry import register_rule
from kerasurgeon.rules.rule import Rule


class Embedding(Rule):
    """Embedding: a row of features for every id."""

    def macs(self, call: Call) -> int:
        """None: a look-up."""
        return 0

    def mixing(self, layer: Layer) -> Mixing | None:
        """Rows of the table, as they are."""
        return Mixing({}, makes=True) if set(layer.weights) == {"embeddings"} else None

    def keeps_batch(self, layer: Layer) -> bool:
        """Always."""
        return True

    def onnx(self, call: OnnxCall) -> None:
        """Gather."""
        write_embedding(call)

    def channels(self, call: ChannelCall) -> Labels:
        """New channels along a new last axis; the ids stay."""
        return self._looked_up(call, call.fresh(call.config["output_dim"]))

    def _looked_up(self, call: ChannelCall, makes: Ids) -> Labels:
        call.weight("embeddings", {1: makes})
        call.count(output_dim=makes)
        labels = call.input
        return Labels(call.shape, (*labels.factors, Factor((labels.rank,), makes)), labels.why)


class ReversibleEmbedding(Embedding):
    """ReversibleEmbedding: a look-up one way, a dense layer the other way."""

    def onnx(self, call: OnnxCall) -> None:
        """Gather, or MatMul."""
        if call.operand(1, "reverse", False):
            return write_reversed(call)
        if call.config.get("mask_zero"):
            raise CannotTell("it gives its tensor a mask that is not in the graph")
        return write_embedding(call)

    def macs(self, call: Call) -> int:
        """None for the look-up; output elements x features in reverse."""
        return elements(call.output.shape) * elements(call.input.shape[-1:]) if call.operand(1, "reverse") else 0

    def mixing(self, layer: Layer) -> Mixing | None:
        """Rows of the table one way, products with rows the other way; a soft limit on those is behind the sums."""
        known = {"embeddings", "reverse_embeddings"}
        return Mixing(dict.fromkeys(known, ""), makes=True) if known >= set(layer.weights) else None

    def channels(self, call: ChannelCall) -> Labels:
        """The features that it makes are those that it reads in reverse; the ids stay."""
        makes = call.fresh(call.config["output_dim"])
        call.weight("reverse_embeddings", {0: makes}, contracts=0)
        if not call.operand(1, "reverse", False):
            return self._looked_up(call, makes)
        call.tie(makes, call.along_or_fixed(call.input, -1))
        call.weight("embeddings", {1: makes}, contracts=1)
        call.count(output_dim=makes)
        last = call.input.rank - 1
        passing = tuple(factor for factor in call.input.factors if last not in factor.axes)
        return Labels(call.shape, passing, (Reason.FIXED_AXIS, call.name))


register_rule("Embedding", Embedding())
register_rule("ReversibleEmbedding", ReversibleEmbedding())
