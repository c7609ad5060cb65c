"""Networks of keras-hub, tiny."""

from __future__ import annotations

from collections.abc import Callable

import keras

import kerasurgeon as ks

TEXT = {"vocabulary_size": 50, "num_layers": 2, "hidden_dim": 16, "intermediate_dim": 32}
LONGEST = 128


def networks() -> dict[str, Callable[[], keras.Model]]:
    """What is tried."""
    from keras_hub import models

    grouped = {"num_query_heads": 4, "num_key_value_heads": 2}
    plain = {**TEXT, "num_heads": 2}
    short = {**plain, "max_sequence_length": LONGEST}
    image = (32, 32, 3)
    return {
        "GPT2": lambda: models.GPT2Backbone(**TEXT, num_heads=2, max_sequence_length=LONGEST),
        "BERT": lambda: models.BertBackbone(**TEXT, num_heads=2, max_sequence_length=LONGEST),
        "RoBERTa": lambda: models.RobertaBackbone(**TEXT, num_heads=2, max_sequence_length=LONGEST),
        "DistilBERT": lambda: models.DistilBertBackbone(**TEXT, num_heads=2, max_sequence_length=LONGEST),
        "T5": lambda: models.T5Backbone(**TEXT, num_heads=2),
        "Llama": lambda: models.LlamaBackbone(**TEXT, **grouped),
        "Mistral": lambda: models.MistralBackbone(**TEXT, **grouped, sliding_window=4),
        "Whisper": lambda: models.WhisperBackbone(
            **TEXT, num_heads=2, max_encoder_sequence_length=LONGEST, max_decoder_sequence_length=LONGEST
        ),
        "ViT": lambda: models.ViTBackbone(
            image_shape=(16, 16, 3), patch_size=4, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32
        ),
        "ResNetV2": lambda: models.ResNetBackbone(
            input_conv_filters=[64],
            input_conv_kernel_sizes=[3],
            stackwise_num_filters=[64, 64],
            stackwise_num_blocks=[2, 2],
            stackwise_num_strides=[1, 2],
            block_type="basic_block",
            use_pre_activation=True,
            image_shape=(16, 16, 3),
        ),
        "Swin": lambda: models.SwinTransformerBackbone(
            image_shape=(32, 32, 3), embed_dim=8, depths=(2, 2), num_heads=(2, 2), window_size=4
        ),
        "Gemma": lambda: models.GemmaBackbone(**TEXT, **grouped, head_dim=4),
        "Bloom": lambda: models.BloomBackbone(**plain),
        "OPT": lambda: models.OPTBackbone(**short),
        "Albert": lambda: models.AlbertBackbone(**short, embedding_dim=8),
        "Electra": lambda: models.ElectraBackbone(
            vocab_size=50,
            num_layers=2,
            num_heads=2,
            hidden_dim=16,
            embedding_dim=8,
            intermediate_dim=32,
            max_sequence_length=LONGEST,
        ),
        "DeBERTaV3": lambda: models.DebertaV3Backbone(**short, bucket_size=8),
        "Bart": lambda: models.BartBackbone(**short),
        "Phi3": lambda: models.Phi3Backbone(**TEXT, **grouped),
        "Qwen": lambda: models.QwenBackbone(**TEXT, **grouped),
        "Qwen3": lambda: models.Qwen3Backbone(**TEXT, **grouped, head_dim=4),
        "GPTNeoX": lambda: models.GPTNeoXBackbone(**short),
        "Falcon": lambda: models.FalconBackbone(
            vocabulary_size=50, num_layers=2, num_attention_heads=2, hidden_dim=16, intermediate_dim=32
        ),
        "FNet": lambda: models.FNetBackbone(**TEXT, max_sequence_length=LONGEST),
        "FNet, 8 tokens": lambda: ks.change_input(
            models.FNetBackbone(**TEXT, max_sequence_length=LONGEST), {"token_ids": (8,), "segment_ids": (8,)}
        ),
        "XLM-RoBERTa": lambda: models.XLMRobertaBackbone(**short),
        "DeiT": lambda: models.DeiTBackbone(image, 8, 2, 2, 16, 32),
        "DINOV2": lambda: models.DINOV2Backbone(
            8, 2, 16, 2, 32, image_shape=image, position_embedding_shape=image, use_mask_token=False
        ),
        "MiT": lambda: models.MiTBackbone(
            layerwise_depths=[1, 1],
            num_layers=2,
            layerwise_num_heads=[1, 2],
            layerwise_sr_ratios=[2, 1],
            max_drop_path_rate=0.1,
            layerwise_patch_sizes=[7, 3],
            layerwise_strides=[4, 2],
            image_shape=image,
            hidden_dims=[8, 16],
        ),
        "DenseNet": lambda: models.DenseNetBackbone([2, 2], image_shape=image, growth_rate=8),
        "VGG": lambda: models.VGGBackbone([1, 2], [8, 16], image_shape=image),
        "Xception": lambda: models.XceptionBackbone([[8, 8], [16, 16]], [True, False], image_shape=image),
        "EfficientNet": lambda: models.EfficientNetBackbone(
            stackwise_kernel_sizes=[3, 3],
            stackwise_num_repeats=[1, 2],
            stackwise_input_filters=[8, 8],
            stackwise_output_filters=[8, 16],
            stackwise_expansion_ratios=[1, 4],
            stackwise_strides=[1, 2],
            stackwise_squeeze_and_excite_ratios=[0.25, 0.25],
            stackwise_width_coefficients=[1.0, 1.0],
            stackwise_depth_coefficients=[1.0, 1.0],
            stackwise_block_types=["v1", "v1"],
            stackwise_force_input_filters=[0, 0],
            stackwise_nores_option=[False, False],
            input_shape=image,
            num_features=32,
        ),
        "CSPDarkNet": lambda: models.CSPNetBackbone(
            stem_filters=8,
            stem_kernel_size=3,
            stem_strides=1,
            stackwise_depth=[1, 1],
            stackwise_strides=[1, 2],
            stackwise_num_filters=[16, 32],
            block_type="dark_block",
            stage_type="dark",
            image_shape=image,
        ),
    }
