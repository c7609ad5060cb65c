"""Kinds without multiply-accumulates: see the convention in ``kerasurgeon.costs``."""

from __future__ import annotations


def names(text: str) -> tuple[str, ...]:
    """The words of a text."""
    return tuple(text.split())


def _with_ranks(text: str) -> tuple[str, ...]:
    return tuple(f"{name}{rank}D" for name in text.split() for rank in (1, 2, 3))


_STRUCTURE = names("""
    InputLayer Identity Masking ActivityRegularization Dropout AlphaDropout GaussianDropout GaussianNoise
    Activation ReLU LeakyReLU PReLU ELU Softmax
    Add Subtract Multiply Average Maximum Minimum
    Flatten Permute RepeatVector Reshape
""")

# Their scales and shifts are element-wise.
_NORMS = names("""
    BatchNormalization LayerNormalization GroupNormalization RMSNormalization UnitNormalization Normalization
    Rescaling
""")

_SPATIAL = _with_ranks("""
    SpatialDropout Cropping UpSampling ZeroPadding AdaptiveAveragePooling AdaptiveMaxPooling AveragePooling
    MaxPooling GlobalAveragePooling GlobalMaxPooling
""")

_LOOKUPS = names("""
    Embedding CategoryEncoding Discretization HashedCrossing Hashing IntegerLookup StringLookup
    TextVectorization
""")

# Interpolation and work per pixel; those that augment do nothing in inference.
_IMAGES = names("""
    AugMix AutoContrast CenterCrop ContrastLimitedAdaptiveHistogramEqualization CutMix Equalization MixUp
    RandAugment RandomBrightness RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop
    RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale RandomHue RandomInvert
    RandomPerspective RandomPosterization RandomRotation RandomSaturation RandomSharpness RandomShear
    RandomTranslation RandomZoom Resizing Solarization
""")

# Layers of keras.applications that keras.layers does not have: a scale, a dropout, a sum with a scaled branch.
_APPLICATIONS = (
    "custom:keras.src.applications.convnext.LayerScale",
    "custom:keras.src.applications.convnext.StochasticDepth",
    "custom:keras.src.applications.inception_resnet_v2.CustomScaleLayer",
)

FREE_LAYERS = (*_STRUCTURE, *_NORMS, *_SPATIAL, *_LOOKUPS, *_IMAGES, *_APPLICATIONS)

ELEMENTWISE_OPS = names("""
    abs absolute add angle arccos arccosh arcsin arcsinh arctan arctan2 arctanh bitwise_and bitwise_invert
    bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor cast cbrt ceil clip conj
    conjugate copy cos cosh deg2rad digitize divide divide_no_nan empty_like equal erf erfc erfinv exp exp2
    expm1 fabs floor floor_divide fmax fmin fmod full_like gcd greater greater_equal heaviside hypot i0 imag
    isclose isfinite isin isinf isnan isneginf isposinf isreal lcm ldexp left_shift less less_equal log
    log10 log1p log2 logaddexp logaddexp2 logical_and logical_not logical_or logical_xor maximum minimum mod multiply
    nan_to_num negative nextafter not_equal ones_like polar power rad2deg real reciprocal right_shift round
    rsqrt saturate_cast sign signbit sin sinc sinh sqrt square stop_gradient subtract tan tanh true_divide
    trunc where zeros_like
""")

ACTIVATION_OPS = names("""
    celu elu gelu glu hard_shrink hard_sigmoid hard_silu hard_tanh leaky_relu log_sigmoid log_softmax relu
    relu6 selu sigmoid silu soft_shrink softmax softplus softsign sparse_plus sparse_sigmoid sparsemax
    squareplus tanh_shrink threshold
""")

_NORM_AND_LOSS_OPS = names("""
    batch_norm binary_crossentropy categorical_crossentropy layer_norm moments normalize psnr rms_norm
    sparse_categorical_crossentropy
""")

# Along given axes: reductions, orders, cumulations.
_AXIS_OPS = names("""
    all allclose amax amin any argmax argmin argpartition argsort average count_nonzero cumprod cumsum
    in_top_k logsumexp max mean median min nanargmax nanargmin nancumprod nancumsum nanmax nanmean nanmedian
    nanmin nanpercentile nanprod nanquantile nanstd nansum nanvar norm percentile prod ptp quantile sort std
    sum top_k var
""")

_IMAGE_OPS = names("""
    adaptive_average_pool adaptive_max_pool affine_transform average_pool crop_images depth_to_space
    elastic_transform extract_patches hsv_to_rgb map_coordinates max_pool pad_images perspective_transform
    resize rgb_to_grayscale rgb_to_hsv scale_and_translate space_to_depth
""")

# Ops that leave the batch where it is.
FREE_BATCHWISE_OPS = (*ELEMENTWISE_OPS, *ACTIVATION_OPS, *_NORM_AND_LOSS_OPS, *_AXIS_OPS, *_IMAGE_OPS)

# Ops that may put something else where the batch was, or make it longer or shorter.
FREE_MOVING_OPS = names("""
    append arange array array_split bincount broadcast_to concatenate convert_to_tensor cross diag diagflat
    diagonal diff dsplit dstack expand_dims extract_sequences flip fliplr flipud fold full geomspace get_item
    histogram hsplit hstack kron linspace logspace meshgrid moveaxis multi_hot ndim nonzero one_hot outer
    pad ravel rearrange repeat reshape roll rot90 scatter scatter_update searchsorted segment_max segment_min
    segment_prod segment_sum select size slice slice_update split squeeze stack swapaxes take take_along_axis
    tile trace transpose trapezoid tril triu unfold unique unravel_index unstack vander view view_as_complex
    view_as_real vsplit vstack
""")
