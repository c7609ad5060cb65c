"""Try choices on a model: kernels swapped in place, the evaluation run, the outcome remembered."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np

from kerasurgeon.factors.ledger import Choice, Ledger
from kerasurgeon.factors.options import FactoriseOptions
from kerasurgeon.factors.picks import Pick
from kerasurgeon.factors.search_log import SearchLog, Trial, fingerprint
from kerasurgeon.factors.stored_kernels import stored
from kerasurgeon.factors.workbench import Workbench
from kerasurgeon.ir.graph import Graph
from kerasurgeon.keras_io.emit import emit_with_variables
from kerasurgeon.rewrite.context import Context
from kerasurgeon.rewrite.evaluation_of import keeping
from kerasurgeon.rewrite.judging import judge_of

_MEMORY = 2**29
"""Bytes of kernels that are kept."""

# Options that decide which choices there are; the rest only decide how long the search goes on.
_DECIDING = (
    *("method", "cost", "minimise", "sparsity", "structure", "block_size", "sparsity_weight", "sweeps"),
    *("rescale", "round_to", "min_rank", "held_out"),
)


class Trials:
    """Evaluations of one model with changed kernels.

    Args:
        options: What is asked for.
        graph: The graph; it is only read.
        context: The run's.
        benches: The layers by key.
        ledger: What choices cost.
        data: The labelled data that choices are tried on; where there is none the user evaluates.

    Attributes:
        best: The cheapest choice that is; the model as it is to begin with.
        left: Evaluations that may still be made.
    """

    def __init__(
        self,
        options: FactoriseOptions,
        graph: Graph,
        context: Context,
        benches: Mapping[str, Workbench],
        ledger: Ledger,
        data: Any,
    ) -> None:
        self.options, self.graph, self.context, self.benches = options, graph, context, benches
        self.judge = judge_of(context, graph, options.name, "max_accuracy_loss", data)
        self.model, self.variables = emit_with_variables(graph, compile=True)
        self.log = SearchLog.open(options.search_log, options.cost, self._fingerprint())
        self.left = options.evaluations
        self.best = Choice({}, ledger.total, 0.0)
        self._in_place: dict[str, Pick] = {}
        self._made: OrderedDict[tuple[str, Pick], tuple[Any, Any]] = OrderedDict()

    def base(self) -> float:
        """The accuracy of the model as it is."""
        return self.accuracy(Choice({}, self.best.cost, 0.0), "base")

    def accuracy(self, choice: Choice, stage: str = "") -> float:
        """The accuracy of a choice; what was tried before is not tried again."""
        known = self.log.known(choice.picks)
        found = known.accuracy if known is not None else self._evaluated(choice, stage)
        if found >= self.log.floor and choice.cost < self.best.cost:
            self.best = choice
        return found

    def shares(self, choice: Choice, data: Any) -> Any:
        """Which samples of other labelled data a choice has right."""
        self._put(choice.picks)
        return self.judge.shares(data, self.model, f"what is kept aside, {_tried(choice)}")

    def _evaluated(self, choice: Choice, stage: str) -> float:
        self.left -= 1
        done = 1 - self.left / self.options.evaluations
        self.context.progress(min(0.9, 0.1 + 0.8 * done), f"{self.options.name}: evaluation {len(self.log.trials) + 1}")
        self._put(choice.picks)
        number = len(self.log.trials) + 1
        with keeping(self._kept):
            of = f"evaluation {number} of the search by {self.options.name}, {_tried(choice)}"
            found = self.judge(self.model, of, base=stage == "base")
        self.log.add(Trial(stage, dict(choice.picks), choice.cost, found))
        return found

    def _kept(self) -> tuple[SearchLog | None, str]:
        if not self.log.trials:
            return None, "nothing was found before it"
        best = self.log.best
        found = "nothing within the bound yet" if best is None else f"a choice that costs {best.cost:,.0f}"
        where = f"{self.log.path} keeps it" if self.log.path else "search_log=FILE keeps it"
        count = len(self.log.trials)
        made = "1 evaluation was" if count == 1 else f"{count} evaluations were"
        return self.log, f"{made} made and found {found}, see .found of this error; {where}, and the same call goes on"

    # Kernels in place.

    def _put(self, picks: Mapping[str, Pick]) -> None:
        for key in self._in_place.keys() | picks.keys():
            pick = picks.get(key)
            if self._in_place.get(key) != pick:
                self._assign(key, pick)
        self._in_place = dict(picks)

    def _assign(self, key: str, pick: Pick | None) -> None:
        layer = self.benches[key].site.layer
        kernel, moved = (None, None) if pick is None else self._kernel(key, pick)
        self.variables[key, "kernel"].assign(layer.weights["kernel"].array if kernel is None else kernel)
        # A layer without a bias gets one in its chain; here it does without, which the search then errs on the safe
        # side of: its trials are a little worse than the result.
        if "bias" in layer.weights and self.benches[key].inputs is not None:
            bias = layer.weights["bias"].array
            self.variables[key, "bias"].assign(bias if moved is None else bias + moved.reshape(bias.shape))

    def _kernel(self, key: str, pick: Pick) -> tuple[Any, Any]:
        """Kernel and change of the bias; the latest ones are kept, as most trials change a few layers only."""
        if (key, pick) in self._made:
            self._made.move_to_end((key, pick))
        else:
            bench = self.benches[key]
            factors = bench.make(pick)
            self._made[key, pick] = stored(factors.reconstruct(), transposed=bench.site.shape.transposed), factors.bias
            while len(self._made) > 1 and sum(kernel.nbytes for kernel, _ in self._made.values()) > _MEMORY:
                self._made.popitem(last=False)
        return self._made[key, pick]

    def _fingerprint(self) -> str:
        kernels = hashlib.sha256()
        for bench in self.benches.values():
            kernels.update(np.ascontiguousarray(bench.site.layer.weights["kernel"].array).tobytes())
        deciding = {name: getattr(self.options, name) for name in _DECIDING}
        deciding["sizes"] = self.context.sizes if self.options.cost == "macs" else None
        return fingerprint({**deciding, "layers": list(self.benches), "kernels": kernels.hexdigest()})


def _tried(choice: Choice) -> str:
    """Which layers a choice changes."""
    names = list(choice.picks)
    return "the model as it is" if not names else ", ".join(names[:3]) + " ..." * (len(names) > 3) + " changed"


__all__ = ["Trials"]
