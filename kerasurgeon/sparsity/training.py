"""Zeros during training: made step by step, or kept. Keras callbacks that leave a plain model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from kerasurgeon.errors import OptionError
from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.name_patterns import where_refusal
from kerasurgeon.keras_io.layers import layer_from_keras
from kerasurgeon.rules.asking import affine_of
from kerasurgeon.rules.linear import Kernel
from kerasurgeon.sparsity.kernels import KernelChoice, KernelCriterion, check_criterion, importance, kernel_of
from kerasurgeon.sparsity.schedule import SparsitySchedule
from kerasurgeon.sparsity.structures import Structure, kept_masks

Array = np.ndarray[Any, Any]


class _Masking(keras.callbacks.Callback):
    """Multiplies kernels with masks after every batch."""

    def __init__(self) -> None:
        super().__init__()
        self._masks: list[tuple[Any, Any]] = []

    def _set(self, masks: Sequence[tuple[Any, Array]]) -> None:
        self._masks = [(variable, keras.ops.convert_to_tensor(mask, dtype=variable.dtype)) for variable, mask in masks]
        self._apply()

    def _apply(self) -> None:
        for variable, mask in self._masks:
            variable.assign(variable * mask)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Put the zeros back that the optimizer has filled."""
        self._apply()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """The same, where an optimizer averages weights at the end of an epoch."""
        self._apply()

    def on_train_end(self, logs: Any = None) -> None:
        """The same at the end, and let go of the masks."""
        self._apply()
        self._masks = []

    @property
    def _trained(self) -> Any:
        if not self.model.built:
            raise OptionError(
                f"{type(self).__name__} needs a model with weights.",
                hint="build the model, or call it once, before fit",
            )
        return self.model


class KeepZeros(_Masking):
    """A callback that keeps every kernel entry zero that is zero when training begins.

    Biases are kept zero where the whole output channel is zero, and shifts of a batch norm where its scale is: what
    ``Sparsify(structure="output_channel")`` zeroed then stays without effect.

    With ``steps_per_execution`` above 1 the zeros are put back after each execution.

    Args:
        where: Patterns of layer names; one with ``!`` before it leaves out what it names.
        channels: Keep such biases, scales and shifts as well; else kernels and embeddings only.

    Example:
        >>> model.fit(images, labels, callbacks=[KeepZeros()])
    """

    def __init__(self, where: str | Sequence[str] = (), *, channels: bool = True) -> None:
        super().__init__()
        self.choice = KernelChoice.of(where, (), True, True)
        self.channels = channels

    def on_train_begin(self, logs: Any = None) -> None:
        """Note what is zero."""
        masks = []
        for layer in _layers(self._trained):
            if where_refusal({layer.name}, self.choice.where):
                continue
            weights = {weight.path.rpartition("/")[2]: weight for weight in layer.weights if weight.trainable}
            zero = {name: keras.ops.convert_to_numpy(weight) == 0 for name, weight in weights.items()}
            if self.channels:
                _narrow(_definition(layer), zero)
            kept = {name for name in zero if name.endswith(("kernel", "embeddings"))}
            kept |= {"bias", "gamma", "beta"} & set(zero) if self.channels else set()
            masks += [(weights[name], ~zero[name]) for name in sorted(kept) if zero[name].any()]
        self._set(masks)


def _narrow(layer: Layer, zero: dict[str, Array]) -> None:
    """Of biases and shifts that are zero only those of channels that are zero altogether: others merely start there."""
    silent: Any = False
    affine, kernel = affine_of(layer), kernel_of(layer)
    if affine is not None:
        silent = zero.get(affine.scale_key, False)
    elif kernel is not None and kernel.key in zero:
        zeros = kernel.seen(zero[kernel.key])
        silent = zeros.all(axis=tuple(range(zeros.ndim - 1)))
    for name in ("bias", "beta"):
        if name in zero:
            fits = np.shape(silent) == zero[name].shape
            zero[name] = zero[name] & silent if fits else np.zeros_like(zero[name])


class GradualSparsity(_Masking):
    """A callback that makes kernels sparse while they are trained: a little more every ``frequency`` steps.

    At each such step the least important entries are masked, those masked before among them; after every batch the
    masks are put on again. Steps are those of the optimizer. The model stays as it is: when training ends, the zeros
    are in its kernels, and ``KeepZeros`` keeps them in a later training.

    Args:
        final_sparsity: Share of zeros at ``end_step`` and after, in [0, 1).
        initial_sparsity: Share at ``begin_step``.
        begin_step: First step at which entries are masked, counted from the start of this training.
        end_step: Step from which the final share holds.
        frequency: Masks are made anew every this many steps.
        schedule: ``"polynomial"``, or ``"constant"``: the final share from ``begin_step`` on.
        power: Exponent of the polynomial.
        structure: As for ``Sparsify``; with ``n:m`` the pattern is put on at ``begin_step``.
        block_size: Likewise.
        scope: Likewise, ``"layer"`` or ``"global"``.
        criterion: Likewise.
        where: Likewise.
        kinds: Likewise.
        pointwise: Likewise.
        depthwise: Likewise.

    Attributes:
        sparsity: The share of zeros of each kernel, by layer name, as of the last masks.

    Raises:
        OptionError: An option has a value that it may not have; from ``fit``, if there is no kernel to mask.

    Reference:
        Zhu and Gupta, arXiv:1710.01878.

    Example:
        >>> model.fit(images, labels, epochs=5, callbacks=[GradualSparsity(0.8, end_step=1000)])
    """

    def __init__(
        self,
        final_sparsity: float = 0.5,
        *,
        initial_sparsity: float = 0.0,
        begin_step: int = 0,
        end_step: int = 1000,
        frequency: int = 100,
        schedule: str = "polynomial",
        power: float = 3.0,
        structure: str = "unstructured",
        block_size: tuple[int, int] | None = None,
        scope: str = "layer",
        criterion: str | KernelCriterion = "l1",
        where: str | Sequence[str] = (),
        kinds: str | Sequence[str] = (),
        pointwise: bool = False,
        depthwise: bool = False,
    ) -> None:
        super().__init__()
        self.schedule = SparsitySchedule(
            final_sparsity, initial_sparsity, begin_step, end_step, frequency, schedule, power
        )
        self.structure = Structure.parse(structure, block_size)
        self.choice = KernelChoice.of(where, kinds, pointwise, depthwise)
        check_criterion(criterion)
        if scope not in ("layer", "global"):
            raise OptionError("option 'scope' cannot be used.", expected="'layer' or 'global'", got=repr(scope))
        self.criterion, self.scope = criterion, scope
        self.sparsity: dict[str, float] = {}
        self._kernels: list[tuple[str, Kernel, Any]] = []
        self._first = 0
        self._last: int | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        """Find the kernels."""
        self._kernels, refused = [], []
        for layer in _layers(self._trained):
            definition = _definition(layer)
            kernel = kernel_of(definition)
            if kernel is None:
                continue
            # With an adapter, the public attribute is what both give together.
            variable = getattr(layer, f"_{kernel.key}", None)
            if variable is None:
                variable = getattr(layer, kernel.key)
            shape = kernel.seen(np.empty(tuple(variable.shape), np.int8)).shape
            refusal = self.choice.refusal(definition, {layer.name}) or self.structure.refusal(shape)
            if refusal:
                refused.append(f"{layer.name}: {refusal}")
            else:
                self._kernels.append((layer.name, kernel, variable))
        if not self._kernels:
            raise OptionError(
                "GradualSparsity finds no kernel to mask.", got="; ".join(refused[:4]) or "no layer with a kernel"
            )
        self._first, self._last = self._step(), None
        self._update()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Make new masks where they are due, and put them on."""
        self._update()
        self._apply()

    def _step(self) -> int:
        return int(self.model.optimizer.iterations)

    def _update(self) -> None:
        step = self._step() - self._first
        if not self.schedule.due(step, self._last):
            return
        self._last = step
        kernels = [kernel.seen(keras.ops.convert_to_numpy(variable)) for _, kernel, variable in self._kernels]
        ranked = [
            importance(self.criterion, name, kernel)
            for (name, _, _), kernel in zip(self._kernels, kernels, strict=True)
        ]
        for scores, kernel in zip(ranked, kernels, strict=True):
            scores[kernel == 0] = min(float(scores.min()), 0.0)  # what is masked stays masked, whatever the criterion
        kept = kept_masks(ranked, self.structure, self.schedule.at(step), together=self.scope == "global")
        self.sparsity = {name: 1.0 - float(mask.mean()) for (name, _, _), mask in zip(self._kernels, kept, strict=True)}
        self._set([(variable, own.seen(mask)) for (_, own, variable), mask in zip(self._kernels, kept, strict=True)])


def _definition(layer: Any) -> Layer:
    """A layer of a model in training as rules see it, adapters left out: they train beside the kernel."""
    definition = layer_from_keras(layer)
    own = {key: weight for key, weight in definition.weights.items() if not key.startswith("lora_")}
    return replace(definition, weights=own)


def _layers(model: Any) -> Iterator[Any]:
    """The layers of a model, those of models inside it too, each once."""
    seen_layers: set[int] = set()
    waiting = list(model.layers)
    while waiting:
        layer = waiting.pop(0)
        if id(layer) in seen_layers:
            continue
        seen_layers.add(id(layer))
        if isinstance(layer, keras.Model):
            waiting = [*layer.layers, *waiting]
        else:
            yield layer
