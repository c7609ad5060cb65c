"""What a model costs: multiply-accumulates, parameters, bytes of weights, bytes of activations.

What is counted:

* **MACs** are the multiply-accumulates of linear maps and contractions in inference, for one sample:
  convolutions, dense and attention layers, recurrent cells, matrix products. FLOPs are twice that. Biases,
  activations, norms, pooling, element-wise arithmetic, interpolation and data movement count as 0, and so
  does work on weights alone. A convolution counts the whole kernel at every output position, where it reaches
  into padding too; a transposed one the whole kernel at every input position. Attention counts every score,
  masked or not. A product of tensors without an index to sum over (an outer product) is element-wise. A fast
  Fourier transform of n points counts ``2 n log2(n)``, of real numbers half of that. A layer called twice is
  counted twice.
* **Parameters** are the elements of all weights, moving statistics included, as ``model.count_params()``
  counts: a layer called twice is counted once. Seeds of random generators and constants among operands are no
  weights.
* **Weight bytes** are the bytes of the same weights in the dtype they are stored in.
* **Activation bytes** are those of the outputs of a call; their **peak** is the most that is alive at once
  when the calls run in the order of ``graph.nodes()``: see ``liveness.live_bytes``. No call works in place,
  reshapes count as new tensors, and what a call keeps only for itself (attention scores, states of a
  recurrent layer) is not seen.

What cannot be told is never guessed: it is listed in ``Cost.unknown`` with the reason, shown as ``?``, and
left out of the totals. A rule for a custom layer (``kerasurgeon.rules.register_rule``) makes it known; ``sizes=``
makes sizes known that a model leaves open. ``Cost.left_out`` says how much is missing, as far as that can be said.
What a budget of these costs means is written in ``kerasurgeon.costs.budgets``.
"""

from kerasurgeon.costs.analysis import cost
from kerasurgeon.costs.budgets import UNITS, UNREACHABLE, Allowance, check_unreachable, require_counted
from kerasurgeon.costs.compare import CostComparison, compare_costs
from kerasurgeon.costs.left_out import LeftOut
from kerasurgeon.costs.result import Cost, CostRow, Unknown

__all__ = [
    "UNITS",
    "UNREACHABLE",
    "Allowance",
    "Cost",
    "CostComparison",
    "CostRow",
    "LeftOut",
    "Unknown",
    "check_unreachable",
    "compare_costs",
    "cost",
    "require_counted",
]
