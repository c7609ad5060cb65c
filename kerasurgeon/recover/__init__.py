"""Recovering what surgery cost: statistics from data, and training that keeps what surgery made."""

from kerasurgeon.recover.batch_norm import recalibrate_batch_norm, recalibrate_graph

__all__ = ["recalibrate_batch_norm", "recalibrate_graph"]
