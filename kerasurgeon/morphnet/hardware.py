"""What hardware can do, as two numbers: how fast it computes, and how fast it reads and writes memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kerasurgeon.errors import OptionError, did_you_mean
from kerasurgeon.rewrite.option_checks import is_number


@dataclass(frozen=True, slots=True)
class Hardware:
    """A roofline: an operation takes as long as the slower of its arithmetic and its memory traffic.

    Attributes:
        name: What it is called.
        gflops: Peak floating-point operations per second, in 1e9; a multiply-accumulate is two. Infinite where only
            memory counts.
        gbps: Memory bandwidth, in 1e9 bytes per second. Infinite where only arithmetic counts.

    Raises:
        OptionError: A number is not above 0.
    """

    name: str
    gflops: float
    gbps: float

    def __post_init__(self) -> None:
        for what in ("gflops", "gbps"):
            value = getattr(self, what)
            if not (value == float("inf") or (is_number(value) and value > 0)):
                raise OptionError(
                    f"Hardware {self.name!r}: {what} cannot be used.", expected="above 0", got=repr(value)
                )
        if self.gflops == self.gbps == float("inf"):
            raise OptionError(f"Hardware {self.name!r} takes no time for anything.", hint="give gflops or gbps")

    def milliseconds(self, flops: float, traffic: float) -> float:
        """How long an operation takes, given its floating-point operations and the bytes that it moves."""
        return max(flops / (self.gflops * 1e6), traffic / (self.gbps * 1e6))


_TABLE = {
    name: Hardware(name, gflops, gbps)
    for name, gflops, gbps in (
        ("K80", 8740, 480),
        ("P4", 5500, 192),
        ("T4", 8100, 300),
        ("P100", 9300, 732),
        ("V100", 125000, 900),
        ("TPUv2", 22500, 300),
        # Float32 and HBM figures of the vendor's data sheets, tensor cores with dense TF32 where there are any.
        ("A100", 156000, 1555),
        ("H100", 494500, 3350),
        ("compute", 1000, float("inf")),
        ("memory", float("inf"), 100),
    )
}
_REGISTERED: dict[str, Hardware] = {}


def known_hardware() -> tuple[str, ...]:
    """Names that ``hardware=`` may have: those of the table, then those registered."""
    return tuple(dict.fromkeys((*_TABLE, *_REGISTERED)))


def register_hardware(hardware: Hardware) -> None:
    """Let ``hardware=name`` mean this one, in place of any there was."""
    _REGISTERED[hardware.name] = hardware


def hardware_for(hardware: str | Hardware | None) -> Hardware:
    """The hardware of a name.

    Raises:
        OptionError: There is none of this name.
    """
    if isinstance(hardware, Hardware):
        return hardware
    known = {**_TABLE, **_REGISTERED}
    if hardware is None:
        raise OptionError(
            "target='latency' needs to know the hardware.",
            expected=f"hardware= one of {', '.join(known)}, or a Hardware",
            got="None",
        )
    if not isinstance(hardware, str):
        raise OptionError("hardware= cannot be used.", expected="a name or a Hardware", got=repr(hardware))
    by_case = {name.lower(): item for name, item in known.items()}
    if hardware.lower() not in by_case:
        raise OptionError(
            f"There is no hardware {hardware!r} in the table (hardware=).",
            hint=f"{did_you_mean(hardware, known)}; or give Hardware(name, gflops, gbps), or measure_hardware(...)",
        )
    return by_case[hardware.lower()]


def measure_hardware(
    latency_of: Callable[[Any], float],
    name: str = "measured",
    *,
    size: int = 32,
    widths: Sequence[int] = (64, 128, 256),
) -> Hardware:
    """What a runtime does on this machine: the rates at which two kinds of probes run, beside an empty model.

    One kind computes much per byte (3x3 convolutions of many channels), the other moves much per operation (sums of a
    tensor with itself after a 1x1 depthwise convolution). The best rate of each kind counts.

    Args:
        latency_of: Gives the milliseconds that a Keras model takes: ``kerasurgeon.latency_on("tflite")`` or ``"onnx"``.
        name: What the result is called.
        size: Height and width of the probes' images.
        widths: Channels of the probes.

    Returns:
        The hardware, which can be given as ``hardware=`` or registered.

    Raises:
        OptionError: The latencies are no times.
    """
    rates = np.array([_probe(latency_of, size, width) for width in widths])
    flops, traffic = rates.max(axis=0)
    if not np.isfinite((flops, traffic)).all() or min(flops, traffic) <= 0:
        raise OptionError("latency_of= gives no latencies to tell rates from.", got=f"{flops:.3g}, {traffic:.3g}")
    return Hardware(name, float(flops), float(traffic))


def _probe(latency_of: Callable[[Any], float], size: int, width: int) -> tuple[float, float]:
    """GFLOP/s of convolutions, and GB/s of copies, from the time that a model takes longer with two more of them."""
    import keras

    def model(count: int, make: Callable[[int], Any]) -> Any:
        inputs = keras.Input((size, size, width), batch_size=1)
        x = inputs
        for index in range(count):
            x = make(index)(x)
        return keras.Model(inputs, x)

    def longer(make: Callable[[int], Any]) -> float:
        times = [min(float(latency_of(model(count, make))) for _ in range(2)) for count in (1, 5)]
        return max((times[1] - times[0]) / 4, 1e-6)

    dense = longer(lambda index: keras.layers.Conv2D(width, 3, padding="same", name=f"conv{index}"))
    light = longer(lambda index: keras.layers.DepthwiseConv2D(1, name=f"scale{index}"))
    elements = size * size * width
    return 2 * 9 * width * elements / (dense * 1e6), 2 * 4 * elements / (light * 1e6)
