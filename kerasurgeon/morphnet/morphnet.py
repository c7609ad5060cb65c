"""MorphNet: a regulariser that makes the training of any model choose its widths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import keras
import numpy as np

from kerasurgeon.channels.analysis import analyse
from kerasurgeon.channels.api import cut_channels
from kerasurgeon.channels.named import Names
from kerasurgeon.channels.plan import ChannelPlan
from kerasurgeon.costs import Allowance, check_unreachable
from kerasurgeon.errors import OptionError, RoundError
from kerasurgeon.keras_io import emit, lift, lift_with_variables
from kerasurgeon.morphnet import alive as masks
from kerasurgeon.morphnet.attach import Attachment, retrace
from kerasurgeon.morphnet.callback import MorphNetCallback
from kerasurgeon.morphnet.collapse import disconnected
from kerasurgeon.morphnet.costs import UNITS, Costs, costs
from kerasurgeon.morphnet.gates import THRESHOLD, Openness, gate_terms
from kerasurgeon.morphnet.hardware import Hardware
from kerasurgeon.morphnet.penalty import Magnitudes, Penalty, Regulariser
from kerasurgeon.morphnet.twins import fold
from kerasurgeon.report import format_count
from kerasurgeon.rewrite.option_checks import check_choice, check_count, check_flag, is_number, wrong_option
from kerasurgeon.rules import Sizes

Array = np.ndarray[Any, Any]
ALGORITHMS = (*masks.ALGORITHMS, "gates")
_MUTE = {
    "group_lasso": "none of its weights is a kernel",
    "gamma": "no batch normalisation scales its channels",
    "gates": "it has no gate",
}


class MorphNet:
    """A regulariser on a model: training shrinks the channels that cost most and matter least.

    The model's outputs, its config and what it saves stay as they are; ``fit`` adds a loss. Works with any optimizer,
    input pipeline, dtype policy and distribution that ``fit`` works with.

    Channels that go together are regularised together: the largest of them counts, so that all shrink or none does.
    Channels that may not go (``kerasurgeon.groups`` names them) are left alone.

    Args:
        model: A functional or sequential model.
        algorithm: What is regularised. ``"group_lasso"``: root mean squares of the kernels that make a channel.
            ``"gamma"``: scales of the batch normalisations behind it (``with_scales`` gives a model that has them).
            ``"gates"``: probabilities of its gates (``with_gates`` gives a model that has them).
        target: What the network is to have less of: ``"macs"``; ``"size"``, parameters; ``"activation"``, channels;
            ``"latency"``, by a roofline model of ``hardware``.
        hardware: For latency: a name (``"V100"``, ``"T4"``, ... see ``known_hardware``), or a ``Hardware``, which
            ``measure_hardware`` makes for runtimes of this machine.
        threshold: Channels whose magnitude is up to this are dead; by default 0.01, and 0.5 for gates.
        strength: What the regulariser is multiplied with, as a multiple of one over the cost of the whole network: 1 is
            a fair start, and a search over powers of ten is usual. 0 only watches.
        l1_fraction: For group lasso: share of the mean magnitude beside the root mean square, in [0, 1].
        ignore: Patterns of names of layers whose channels are left alone; what they share channels with, too.
        floors: Fewest channels of a layer that stay alive: one number, or numbers by name pattern.
        keep_first_channel_alive: Keep the first channel of every layer of which else nothing would be left.
        exact_only: Leave channels alone that a layer normalises over, so that the result equals the masked model.
        batch_size: For latency: samples at once.
        sizes: Sizes of the inputs that MACs and latency are for, where the model leaves them open, as for
            ``kerasurgeon.cost``.

    Attributes:
        channels: The analysis of the model.
        costs: The cost by what is alive.
        regularised: For every unit of the analysis whether it is regularised.
        left: Layers that make channels which are not regularised, with the reason.
        initial_cost: The cost with everything alive, in MACs, parameters, channels or milliseconds.

    Raises:
        LiftError: The model has no graph.
        OptionError: An option has a value that it may not have, or there is nothing to regularise.
        BudgetError: The target is MACs or latency, and they are unknown for a part of the model (docs/budgets.md).

    Example:
        >>> morph = MorphNet(model, "gamma", target="macs", strength=1.0)
        >>> model.fit(images, labels, callbacks=[morph.callback()])
        >>> small = morph.shrink()

    Reference:
        Gordon et al., "MorphNet: Fast & Simple Resource-Constrained Structure Learning of Deep Networks", CVPR 2018,
        arXiv:1711.06798.
    """

    def __init__(
        self,
        model: keras.Model,
        algorithm: str = "group_lasso",
        target: str = "macs",
        *,
        hardware: str | Hardware | None = None,
        threshold: float | None = None,
        strength: float = 1.0,
        l1_fraction: float = 0.0,
        ignore: str | Sequence[str] = (),
        floors: int | Mapping[str, int] | None = None,
        keep_first_channel_alive: bool = False,
        exact_only: bool = False,
        batch_size: int = 1,
        sizes: Sizes | None = None,
    ) -> None:
        check_choice("MorphNet", "algorithm", algorithm, ALGORITHMS)
        if threshold is None:
            threshold = THRESHOLD if algorithm == "gates" else masks.THRESHOLD
        for option, value in (("threshold", threshold), ("strength", strength)):
            if not is_number(value) or value < 0:
                raise wrong_option("MorphNet", option, value, "a number from 0")
        if not is_number(l1_fraction) or not 0 <= l1_fraction <= 1:
            raise wrong_option("MorphNet", "l1_fraction", l1_fraction, "a number in [0, 1]")
        check_flag("MorphNet", "keep_first_channel_alive", keep_first_channel_alive)
        check_flag("MorphNet", "exact_only", exact_only)
        check_count("MorphNet", "batch_size", batch_size)
        self.model, self.algorithm, self.target = model, algorithm, target
        self.threshold, self.floors, self.keep_first = float(threshold), floors, keep_first_channel_alive
        graph, variables = lift_with_variables(model)
        self.channels = analyse(graph)
        self.costs: Costs = costs(self.channels, target, hardware, batch_size=batch_size, sizes=sizes)
        self.left: dict[str, str] = {}
        self.regularised = self._regularised(ignore, exact_only)
        masks.settle(self.channels, self.regularised, np.zeros(len(self.regularised)), floors=floors)  # checks them
        self.initial_cost = self.costs.of(np.ones(self.channels.units, bool))
        self._magnitudes: Magnitudes | Openness
        if algorithm == "gates":
            self._magnitudes = Openness(self.channels, variables, self.regularised)
        else:
            self._magnitudes = Magnitudes(self.channels, variables, algorithm, self.regularised, l1_fraction)
        self._regulariser = Regulariser(self.costs, self.regularised, self.threshold, self.initial_cost)
        self._strength = keras.Variable(float(strength), trainable=False, dtype="float32", name="morphnet_strength")
        penalty = Penalty(self._magnitudes, self._regulariser, self._strength)
        self._attachment = Attachment(model, penalty, self._magnitudes.variables)

    # What is looked at.

    def _regularised(self, ignore: str | Sequence[str], exact_only: bool) -> Array:
        channels = self.channels
        spoken = np.zeros(channels.units, bool)
        gates = self.algorithm == "gates"
        for term in gate_terms(channels) if gates else masks.terms(channels, self.algorithm):
            spoken[term.units] = True
        allowed = np.ones(channels.units, bool)
        allowed[list(channels.frozen)] = False
        ignored = np.zeros(channels.units, bool)
        names = Names(channels)
        for pattern in [ignore] if isinstance(ignore, str) else ignore:
            ignored |= names.units(pattern, "ignore=")
        inexact = np.zeros(channels.units, bool)
        inexact[list(channels.inexact)] = exact_only
        mute = []
        for name, source in channels.sources.items():
            units = channels.unit[source.ids.ravel()]
            if not allowed[units].any():
                reason, about = channels.frozen[int(units[0])]
                self.left[name] = f"{reason} ({about})" if about else str(reason)
            elif ignored[units].all():
                self.left[name] = "ignore= names it"
            elif inexact[units].all():
                self.left[name] = "exact_only: a layer normalises over its channels"
            elif not spoken[units[allowed[units]]].any():
                mute.append(name)
                self.left[name] = _MUTE[self.algorithm]
        result = spoken & allowed & ~ignored & ~inexact
        if not result.any():
            raise self._nothing(mute)
        return result

    def _nothing(self, mute: list[str]) -> OptionError:
        if mute and self.algorithm == "gates":
            return OptionError(
                "algorithm='gates' needs gates, of which this model has none.",
                hint="MorphNet(with_gates(model), 'gates'): a twin to train, of which shrink() folds the gates",
            )
        if mute:
            shown = ", ".join(mute[:12]) + (f" and {len(mute) - 12} more" if len(mute) > 12 else "")
            return OptionError(
                "algorithm='gamma' needs batch normalisations that scale (scale=True); no channel that may go has one.",
                where=shown,
                hint="MorphNet(with_scales(model), 'gamma'), a model that computes the same and has scales everywhere; "
                "or algorithm='group_lasso', which needs none",
            )
        reasons = "; ".join(f"{name}: {why}" for name, why in list(self.left.items())[:6])
        return OptionError("There is no channel to regularise.", got=reasons or "no layer that makes channels")

    # Strength.

    @property
    def strength(self) -> float:
        """What the regulariser is multiplied with, as a multiple of one over the initial cost."""
        return float(keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(self._strength)))

    def set_strength(self, strength: float) -> None:
        """Set the strength; also while the model is trained.

        Raises:
            OptionError: It is no number from 0.
        """
        if not is_number(strength) or strength < 0:
            raise wrong_option("MorphNet", "strength", strength, "a number from 0")
        if float(strength) == self.strength:
            return
        self._strength.assign(float(strength))
        # JAX has compiled the number into the training step; TensorFlow and torch read the variable.
        if keras.backend.backend() == "jax":
            retrace(self.model)

    # What has been learned.

    def magnitudes(self) -> Array:
        """How large every unit is, as a float32; NaN for those that are not regularised."""
        found = np.asarray(keras.ops.convert_to_numpy(self._magnitudes.tensor()), "float32")
        return np.where(self.regularised, found, np.float32(np.nan))

    def loss(self) -> float:
        """What the penalty adds to the loss at present."""
        regulariser, _ = self._regulariser.both(self._magnitudes.tensor())
        return self.strength * float(keras.ops.convert_to_numpy(regulariser))

    def alive(self) -> Array:
        """For every unit of ``channels`` whether it is alive; floors are kept."""
        sizes = self.magnitudes()
        alive = np.isnan(sizes) | (sizes > self.threshold)
        return masks.settle(self.channels, alive, sizes, keep_first=self.keep_first, floors=self.floors)

    def cost(self) -> float:
        """The cost of what is alive, in the unit of the target: see ``unit``."""
        return self.costs.of(self.alive())

    @property
    def unit(self) -> str:
        """In what costs are counted."""
        return UNITS[self.target]

    def widths(self) -> dict[str, int]:
        """Alive channels of every layer that makes channels, by name."""
        return masks.counts(self.channels, self.alive())

    def structure(self) -> dict[str, int]:
        """The same of convolutions only: what the Model Zoo writes to its structure files."""
        return masks.counts(self.channels, self.alive(), masks.is_convolution)

    def vanished(self) -> tuple[str, ...]:
        """Layers of which no channel is alive."""
        return masks.vanished(self.channels, self.alive())

    def collapsed(self) -> tuple[str, ...]:
        """Outputs of the model that no longer depend on any input, as nothing on the way is alive: none if all is well.

        It means that the strength is too high. ``floors`` and ``keep_first_channel_alive`` prevent it.
        """
        return disconnected(self.channels, self.alive())

    def plan(self, kept: float | None = None, *, unreachable: str = "refuse") -> ChannelPlan:
        """What stays, as a plan: for ``kerasurgeon.cut``, ``ApplyPlan``, or a file.

        Args:
            kept: A share of the initial cost, in (0, 1], that is not to be exceeded: the smallest channels go too, in
                the order of their magnitudes, where the threshold alone leaves more. ``None`` for the threshold alone.
            unreachable: What becomes of a share that cannot be reached: ``"refuse"``, or ``"nearest"``: all goes that
                may, and the plan's note says by how much the share was missed.

        Raises:
            OptionError: ``kept`` cannot be used.
            BudgetError: It cannot be reached.
            RoundError: Training has diverged: magnitudes are NaN or infinite.
        """
        sizes = self.magnitudes()[self.regularised]
        if not np.isfinite(sizes).all():
            raise RoundError(
                "The magnitudes of channels are NaN or infinite.",
                where=f"{int((~np.isfinite(sizes)).sum())} of {sizes.size} units",
                hint="training has diverged: take a lower learning rate, or a lower strength",
            )
        alive, missed = (self.alive(), "") if kept is None else self._down_to(kept, unreachable)
        note = f"MorphNet, {self.algorithm}, {self.target}, strength {self.strength:g}, threshold {self.threshold:g}"
        return masks.alive_plan(self.channels, alive, f"{note}; {missed}" if missed else note)

    def _down_to(self, kept: float, unreachable: str) -> tuple[Array, str]:
        """What stays for a share of the cost, and by how much that was missed."""
        if not is_number(kept) or not 0 < kept <= 1:
            raise wrong_option("MorphNet", "kept", kept, "a number in (0, 1]")
        check_unreachable("MorphNet", unreachable)
        allowance = Allowance("MorphNet", "kept", float(kept), self.initial_cost, unreachable, unit=self.unit)
        sizes = self.magnitudes()
        alive = self.alive()
        order = np.argsort(np.where(alive & self.regularised, sizes, np.inf), kind="stable")
        most = int((alive & self.regularised).sum())

        def without(number: int) -> Array:
            trial = alive.copy()
            trial[order[:number]] = False
            # The last channel of a layer is dropped by the threshold only, never for a budget.
            floors = 1 if self.floors is None else self.floors
            return masks.settle(self.channels, trial, sizes, keep_first=True, floors=floors) & (alive | trial)

        low, high = 0, most
        least = self.costs.of(without(high))
        limit = allowance.reachable(least, "ignore= and floors= hold channels back")
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.costs.of(without(middle)) <= limit else (middle + 1, high)
        return without(low), allowance.missed(least)

    def marginal(self, kept: float) -> float:
        """The magnitude of the largest channel that would have to be dead for a share of the cost to be kept.

        It is above the threshold as long as there is too much: how far tells how near training has come.
        """
        sizes = np.where(self.regularised, self.magnitudes(), np.inf)
        levels = np.unique(sizes[self.regularised])
        low, high = 0, len(levels) - 1
        while low < high:
            middle = (low + high) // 2
            fits = self.costs.of(sizes > levels[middle]) <= kept * self.initial_cost
            low, high = (low, middle) if fits else (middle + 1, high)
        return float(levels[low])

    def shrink(self, kept: float | None = None, *, unreachable: str = "refuse") -> keras.Model:
        """A new model without what is dead, with the weights of the rest; scales and gates of twins are folded.

        Args:
            kept: As for ``plan``.
            unreachable: As for ``plan``.

        Raises:
            BudgetError: ``kept`` cannot be reached.
            PlanError: Nothing would be left between an input and an output: see ``collapsed``.
        """
        graph = lift(self.model)
        cut_channels(graph, self.plan(kept, unreachable=unreachable))
        fold(graph)
        return emit(graph)

    def callback(
        self, folder: str | Path | None = None, *, tensorboard: bool = True, on_collapse: str = "stop"
    ) -> MorphNetCallback:
        """A callback for ``fit`` that reports, writes structure files, and notices a collapse: see its class."""
        return MorphNetCallback(self, folder, tensorboard=tensorboard, on_collapse=on_collapse)

    # On and off.

    def attach(self) -> None:
        """Hang the penalty on the model again; a callback does so before training, in case layers were frozen."""
        self._attachment.hang()

    def detach(self) -> None:
        """Take the penalty off. Nothing of it is left on the model."""
        self._attachment.take_off()

    def __enter__(self) -> MorphNet:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None) -> None:
        self.detach()

    def __repr__(self) -> str:
        kept = f"{self.cost() / self.initial_cost:.1%} of {format_count(self.initial_cost)} {self.unit} kept"
        return (
            f"MorphNet({self.model.name!r}, {self.algorithm!r}, {self.target!r}, strength={self.strength:g}: "
            f"{int(self.regularised.sum())} units regularised, {kept})"
        )
