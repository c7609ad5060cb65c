"""Layers and ops over images."""

from __future__ import annotations

import keras

from kerasurgeon.ir.layer import Layer
from kerasurgeon.layers.only_in_training import DOES_SOMETHING
from kerasurgeon.layers.words import words
from kerasurgeon.rules.answers import Moved
from kerasurgeon.rules.call import Call, CannotTell
from kerasurgeon.rules.channel_call import ChannelCall
from kerasurgeon.rules.labels import Labels
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

    def movement(self, layer: Layer, rank: int) -> Moved:
        """The middle is taken."""
        return Moved()


class Resizing(ImagePerChannel):
    """Resizing, ``ops.resize``."""

    def positions(self, layer: Layer, rank: int) -> Positions:
        """A grid of its own."""
        return Resized()


class _Augmentation(Free):
    def only_in_training(self, layer: Layer) -> bool:
        """Always."""
        return True

    def identity(self, call: Call) -> str:
        """Never in training."""
        raise CannotTell(DOES_SOMETHING)


class Augmentation(_Augmentation):
    """Layers that change images at random in training, and return them as they are in inference."""


class WarpingAugmentation(_Augmentation, ImagePerChannel):
    """Those that move pixels, the same way in all channels."""


# In inference RandomCrop resizes.
register_rule("RandomCrop", ImagePerChannel())
register_rule("CenterCrop", CenterCrop())
register_rule(words("affine_transform crop_images pad_images", "ops."), ImagePerChannel())
register_rule("ops.perspective_transform", ImagePerChannel())
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
register_rule(("AutoContrast", "ContrastLimitedAdaptiveHistogramEqualization", "Equalization"), Free())
