"""Rules of ops that select, split, extend, reduce and warp: merged into the table of all rules."""

from __future__ import annotations

from kerasurgeon.layers import depth_to_space as blocks
from kerasurgeon.layers import images, norm_ops, reducing, selecting, shapes, splitting
from kerasurgeon.layers import longer_axes as extending
from kerasurgeon.layers import pooling as spatial
from kerasurgeon.layers.free import names
from kerasurgeon.rules.rule import Rule

_STATISTICS = names("""
    all amax amin any count_nonzero logsumexp max mean median min nanmax nanmean nanmedian nanmin nanprod nanstd
    nanvar prod ptp std var
""")

_ALONG = names("argpartition argsort cumprod cumsum diff nancumprod nancumsum sort")

_POOLINGS = names("adaptive_average_pool adaptive_max_pool average_pool max_pool")

_IMAGE_OPS = names("affine_transform crop_images pad_images perspective_transform resize")

# In inference those that draw at random do nothing; in training they move pixels, the same for all channels.
_IMAGE_LAYERS = names("""
    CenterCrop RandomCrop RandomFlip RandomPerspective RandomRotation RandomShear RandomTranslation RandomZoom Resizing
""")


def structure_rules() -> dict[str, Rule]:
    """Kinds with their rules."""
    warping = images.ImagePerChannel()
    return {
        "ops.get_item": selecting.Item(),
        "ops.slice": selecting.Slice(),
        "ops.take": selecting.Take(),
        "ops.split": splitting.Split(),
        "ops.hsplit": splitting.Split(1),
        "ops.vsplit": splitting.Split(0),
        "ops.dsplit": splitting.Split(2),
        "ops.array_split": splitting.ArraySplit(),
        "ops.unstack": splitting.Unstack(),
        "ops.pad": extending.Pad(),
        "ops.tile": extending.Tile(),
        "ops.repeat": extending.Repeat(),
        "ops.flip": extending.Flip(),
        "ops.fliplr": extending.Flip(1),
        "ops.flipud": extending.Flip(0),
        "ops.roll": extending.Roll(),
        "ops.broadcast_to": extending.BroadcastTo(),
        "ops.append": extending.Joined(),
        "ops.hstack": extending.Joined(1),
        "ops.vstack": extending.Joined(0),
        "ops.dstack": extending.Joined(2),
        "ops.ravel": shapes.Ravel(),
        "ops.depth_to_space": blocks.DepthToSpace(),
        "ops.space_to_depth": blocks.SpaceToDepth(),
        "ops.extract_patches": blocks.SpaceToDepth(),
        **dict.fromkeys((f"ops.{name}" for name in _STATISTICS), reducing.Reduction()),
        "ops.average": reducing.Reduction(),
        "ops.sum": reducing.Reduction(exact=True),
        "ops.nansum": reducing.Reduction(exact=True),
        "ops.moments": reducing.Reduction(key="axes"),
        "ops.norm": reducing.Norm(),
        **dict.fromkeys((f"ops.{name}" for name in _ALONG), reducing.Along()),
        "ops.top_k": reducing.Along(-1),
        **dict.fromkeys(
            (f"ops.{name}" for name in names("argmax argmin nanargmax nanargmin")), reducing.Along(reduces=True)
        ),
        "ops.glu": reducing.GatedLinearUnit(),
        "ops.normalize": norm_ops.Normalize(),
        "ops.layer_norm": norm_ops.StatisticsOverAxesOp(),
        "ops.rms_norm": norm_ops.StatisticsOverAxesOp(),
        "ops.batch_norm": norm_ops.BatchNormalizationOp(),
        **dict.fromkeys((f"ops.{name}" for name in _POOLINGS), spatial.PerChannel()),
        **dict.fromkeys((f"ops.{name}" for name in _IMAGE_OPS), warping),
        **dict.fromkeys(_IMAGE_LAYERS, warping),
    }
