"""Layers and ops over images."""

from __future__ import annotations

import keras

from kerasurgeon.ir.layer import Layer
from kerasurgeon.layers.only_in_training import DOES_SOMETHING
from kerasurgeon.layers.onnx_preprocessing import write_border
from kerasurgeon.layers.onnx_resizing import images_first, write_resized
from kerasurgeon.layers.onnx_terms import give, term
from kerasurgeon.layers.others import Preprocessing
from kerasurgeon.layers.words import words
from kerasurgeon.rules.answers import Moved
from kerasurgeon.rules.call import Call, CannotTell
from kerasurgeon.rules.channel_call import ChannelCall
from kerasurgeon.rules.labels import Labels
from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.positions import Positions, Resized
from kerasurgeon.rules.reasons import Reason
from kerasurgeon.rules.registry import register_rule
from kerasurgeon.rules.rule import Free


class ImagePerChannel(Free):
    """Resizing, cropping, padding and warping of images: rows and columns move, channels stay apart."""

    def channels(self, call: ChannelCall) -> Labels:
        """Labels of channels pass."""
        labels, *others = call.inputs
        if labels.rank not in (3, 4):
            raise CannotTell("its operand is no image or batch of images")
        for other in others:
            for factor in other.factors:
                call.freeze(factor.ids, Reason.MIXED)
        first = (call.config.get("data_format") or keras.config.image_data_format()) == "channels_first"
        kept = call.only(labels, labels.rank - 3 if first else labels.rank - 1)
        return Labels(call.shape, kept.factors, labels.why)


class CenterCrop(ImagePerChannel):
    """CenterCrop."""

    def onnx(self, call: OnnxCall) -> None:
        """A Slice; of images that are too small, a part of them is resized."""
        size = (call.config["height"], call.config["width"])
        order, operand = images_first(call.config, call.input.rank), call.input
        have = [operand.shape[axis] for axis in order[-2:]]
        if None in have:
            raise CannotTell("what it crops depends on sizes that are unknown")
        more = [int(one or 0) - int(two) for one, two in zip(have, size, strict=True)]
        if min(more) < 0:
            return write_resized(call, size, "bilinear", crops=True)
        x = term(call, operand, operand.order, call.output.dtype)
        for axis, apart, wanted in zip(order[-2:], more, size, strict=True):
            x = x.slice(operand.order.index(axis), apart // 2, apart // 2 + wanted) if apart else x
        return give(call, x, operand.order)

    def movement(self, layer: Layer, rank: int) -> Moved:
        """The middle is taken."""
        return Moved()


class Resizing(ImagePerChannel):
    """Resizing, ``ops.resize``."""

    def onnx(self, call: OnnxCall) -> None:
        """Resize, or products with matrices where ONNX interpolates otherwise."""
        config = call.config
        size = config["size"] if "size" in config else (config["height"], config["width"])
        write_resized(
            call,
            size,
            config.get("interpolation", "bilinear"),
            antialias=bool(config.get("antialias")),
            crops=bool(config.get("crop_to_aspect_ratio")),
            pads=bool(config.get("pad_to_aspect_ratio")),
            filling=float(config.get("fill_value", 0.0)),
            rounds="size" not in config,
        )


class RandomCrop(ImagePerChannel):
    """RandomCrop, which in inference returns images of whatever size."""

    def onnx(self, call: OnnxCall) -> None:
        """Nothing, for images of the size that Keras says."""
        if call.input.shape != call.output.shape:
            raise CannotTell("in inference it returns images in another size than Keras says")
        order = call.input.order
        call.give(call.read(call.input, order, call.output.dtype), order)

    def positions(self, layer: Layer, rank: int) -> Positions:
        """A grid of its own."""
        return Resized()


class _Augmentation(Free):
    def only_in_training(self, layer: Layer) -> bool:
        """Always."""
        return True

    def onnx(self, call: OnnxCall) -> None:
        """Nothing."""
        order = call.input.order
        call.give(call.read(call.input, order, call.output.dtype), order)

    def identity(self, call: Call) -> str:
        """Never in training."""
        raise CannotTell(DOES_SOMETHING)


class Augmentation(_Augmentation):
    """Layers that change images at random in training, and return them as they are in inference."""


class WarpingAugmentation(_Augmentation, ImagePerChannel):
    """Those that move pixels, the same way in all channels."""


class Border(ImagePerChannel):
    """``ops.image.crop_images``, ``ops.image.pad_images``."""

    def onnx(self, call: OnnxCall) -> None:
        """A Slice, or a Pad."""
        write_border(call)


class Sampled(ImagePerChannel):
    """``ops.image.affine_transform``, ``ops.image.perspective_transform``."""

    def onnx(self, call: OnnxCall) -> None:
        """Not as Keras has it.

        Raises:
            CannotTell: Always.
        """
        raise CannotTell("ONNX samples at given places, but fills what lies outside otherwise than Keras")


class Equalization(Free):
    """Equalization, which does nothing in inference."""

    def onnx(self, call: OnnxCall) -> None:
        """Nothing."""
        order = call.input.order
        call.give(call.read(call.input, order, call.output.dtype), order)


# In inference RandomCrop resizes.
register_rule("RandomCrop", RandomCrop())
register_rule("CenterCrop", CenterCrop())
register_rule(("ops.crop_images", "ops.pad_images"), Border())
register_rule(("ops.affine_transform", "ops.perspective_transform"), Sampled())
register_rule(("Resizing", "ops.resize"), Resizing())
register_rule(
    words("RandomFlip RandomPerspective RandomRotation RandomShear RandomTranslation RandomZoom"), WarpingAugmentation()
)
register_rule(
    words("""
        AugMix CutMix MixUp RandAugment RandomBrightness RandomColorDegeneration RandomColorJitter RandomContrast
        RandomElasticTransform RandomErasing RandomGaussianBlur RandomGrayscale RandomHue RandomInvert
        RandomPosterization RandomSaturation RandomSharpness Solarization
    """),
    Augmentation(),
)
register_rule(("AutoContrast", "ContrastLimitedAdaptiveHistogramEqualization"), Preprocessing())
register_rule("Equalization", Equalization())
