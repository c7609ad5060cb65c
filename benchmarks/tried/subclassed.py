"""Models and layers with a ``call`` of their own, from tutorials' ways of writing them."""

# mypy: disallow-untyped-decorators=False

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops


class Sampling(layers.Layer):
    """Uses (z_mean, z_log_var) to sample z."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator(1337)

    def call(self, inputs: Any) -> Any:
        z_mean, z_log_var = inputs
        batch, dim = ops.shape(z_mean)[0], ops.shape(z_mean)[1]
        epsilon = keras.random.normal(shape=(batch, dim), seed=self.seed_generator)
        return z_mean + ops.exp(0.5 * z_log_var) * epsilon


class KLDivergence(layers.Layer):
    """Hands its inputs on and adds their loss."""

    def call(self, inputs: Any) -> Any:
        mean, log_var = inputs
        self.add_loss(-0.5 * ops.mean(1 + log_var - ops.square(mean) - ops.exp(log_var)))
        return inputs


def vae() -> keras.Model:
    """Encoder and decoder as models, a sampling layer, a layer that adds a loss."""
    image = keras.Input((28, 28, 1))
    x = layers.Conv2D(32, 3, activation="relu", strides=2, padding="same")(image)
    x = layers.Conv2D(64, 3, activation="relu", strides=2, padding="same")(x)
    x = layers.Dense(32, activation="relu")(layers.Flatten()(x))
    z_mean, z_log_var = layers.Dense(4, name="z_mean")(x), layers.Dense(4, name="z_log_var")(x)
    z_mean, z_log_var = KLDivergence()([z_mean, z_log_var])
    z = Sampling()([z_mean, z_log_var])
    encoder = keras.Model(image, [z_mean, z_log_var, z], name="encoder")
    latent = keras.Input((4,))
    x = layers.Dense(7 * 7 * 64, activation="relu")(latent)
    x = layers.Reshape((7, 7, 64))(x)
    x = layers.Conv2DTranspose(64, 3, activation="relu", strides=2, padding="same")(x)
    x = layers.Conv2DTranspose(32, 3, activation="relu", strides=2, padding="same")(x)
    decoder = keras.Model(latent, layers.Conv2DTranspose(1, 3, activation="sigmoid", padding="same")(x), name="decoder")
    _, _, code = encoder(image)
    return keras.Model(image, decoder(code))


class Patches(layers.Layer):
    def __init__(self, patch_size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.patch_size = patch_size

    def call(self, images: Any) -> Any:
        batch, height, width, channels = ops.shape(images)
        rows, columns = height // self.patch_size, width // self.patch_size
        patches = ops.image.extract_patches(images, size=self.patch_size)
        return ops.reshape(patches, (batch, rows * columns, self.patch_size * self.patch_size * channels))


class PatchEncoder(layers.Layer):
    def __init__(self, num_patches: int, projection_dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_patches = num_patches
        self.projection = layers.Dense(units=projection_dim)
        self.position_embedding = layers.Embedding(input_dim=num_patches + 1, output_dim=projection_dim)
        self.class_token = self.add_weight(shape=(1, 1, projection_dim), initializer="zeros", name="cls")

    def call(self, patch: Any) -> Any:
        positions = ops.expand_dims(ops.arange(start=0, stop=self.num_patches + 1, step=1), axis=0)
        projected = self.projection(patch)
        token = ops.repeat(self.class_token, ops.shape(patch)[0], axis=0)
        return ops.concatenate([token, projected], axis=1) + self.position_embedding(positions)


def vit() -> keras.Model:
    """As in Keras' example: patches by a layer, a class token, Keras' attention."""
    inputs = keras.Input((32, 32, 3))
    x = PatchEncoder(16, 48)(Patches(8)(inputs))
    for _ in range(2):
        x1 = layers.LayerNormalization(epsilon=1e-6)(x)
        attention = layers.MultiHeadAttention(num_heads=4, key_dim=16, dropout=0.1)(x1, x1)
        x2 = layers.Add()([attention, x])
        x3 = layers.LayerNormalization(epsilon=1e-6)(x2)
        for units in (96, 48):
            x3 = layers.Dropout(0.1)(layers.Dense(units, activation=keras.activations.gelu)(x3))
        x = layers.Add()([x3, x2])
    x = layers.LayerNormalization(epsilon=1e-6)(x)
    return keras.Model(inputs, layers.Dense(10)(x[:, 0]))


class ResBlock(keras.Model):
    """A block that is a model, with the parts made in a loop."""

    def __init__(self, filters: int, downsample: bool = False) -> None:
        super().__init__()
        strides = 2 if downsample else 1
        self.convs = [layers.Conv2D(filters, 3, strides=s, padding="same", use_bias=False) for s in (strides, 1)]
        self.norms = [layers.BatchNormalization() for _ in range(2)]
        self.shortcut = (
            keras.Sequential([layers.Conv2D(filters, 1, strides=strides, use_bias=False), layers.BatchNormalization()])
            if downsample
            else None
        )

    def call(self, x: Any, training: Any = None) -> Any:
        y = x
        for index, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            y = norm(conv(y), training=training)
            if index == 0:
                y = keras.activations.relu(y)
        if self.shortcut is not None:
            x = self.shortcut(x, training=training)
        return ops.relu(x + y)


class SubclassedResNet(keras.Model):
    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.stem = keras.Sequential([layers.Conv2D(32, 3, padding="same"), layers.BatchNormalization(), layers.ReLU()])
        self.blocks = [ResBlock(32), ResBlock(64, downsample=True), ResBlock(64)]
        self.pool = layers.GlobalAveragePooling2D()
        self.drop = layers.Dropout(0.2)
        self.classifier = layers.Dense(num_classes)

    def call(self, inputs: Any, training: bool = False) -> Any:
        x = self.stem(inputs, training=training)
        for block in self.blocks:
            x = block(x, training=training)
        x = self.pool(x)
        if training:
            x = self.drop(x, training=training)
        return self.classifier(x)


def subclassed_resnet() -> keras.Model:
    """A subclassed model of subclassed models, built by a call."""
    model = SubclassedResNet()
    model(np.zeros((1, 32, 32, 3), "float32"))
    return model


class TransformerBlock(layers.Layer):
    """Keras' example of text classification."""

    def __init__(self, embed_dim: int, num_heads: int, ff_dim: int, rate: float = 0.1) -> None:
        super().__init__()
        self.att = layers.MultiHeadAttention(num_heads=num_heads, key_dim=embed_dim)
        self.ffn = keras.Sequential([layers.Dense(ff_dim, activation="relu"), layers.Dense(embed_dim)])
        self.layernorm1 = layers.LayerNormalization(epsilon=1e-6)
        self.layernorm2 = layers.LayerNormalization(epsilon=1e-6)
        self.dropout1 = layers.Dropout(rate)
        self.dropout2 = layers.Dropout(rate)

    def call(self, inputs: Any) -> Any:
        attn_output = self.dropout1(self.att(inputs, inputs))
        out1 = self.layernorm1(inputs + attn_output)
        return self.layernorm2(out1 + self.dropout2(self.ffn(out1)))


class TokenAndPositionEmbedding(layers.Layer):
    def __init__(self, maxlen: int, vocab_size: int, embed_dim: int) -> None:
        super().__init__()
        self.token_emb = layers.Embedding(input_dim=vocab_size, output_dim=embed_dim)
        self.pos_emb = layers.Embedding(input_dim=maxlen, output_dim=embed_dim)

    def call(self, x: Any) -> Any:
        maxlen = ops.shape(x)[-1]
        positions = ops.arange(start=0, stop=maxlen, step=1)
        return self.token_emb(x) + self.pos_emb(positions)


def text_transformer() -> keras.Model:
    inputs = keras.Input((20,))
    x = TransformerBlock(32, 2, 64)(TokenAndPositionEmbedding(20, 50, 32)(inputs))
    x = layers.Dropout(0.1)(layers.GlobalAveragePooling1D()(x))
    x = layers.Dropout(0.1)(layers.Dense(32, activation="relu")(x))
    return keras.Model(inputs, layers.Dense(2, activation="softmax")(x))


class CausalSelfAttention(layers.Layer):
    """Written by hand: one Dense for query, key and value, a mask from a buffer."""

    def __init__(self, width: int, heads: int, length: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.heads, self.width = heads, width
        self.c_attn = layers.Dense(3 * width, name="c_attn")
        self.c_proj = layers.Dense(width, name="c_proj")
        self.attn_dropout = layers.Dropout(0.1)
        self.bias = np.tril(np.ones((1, 1, length, length), "float32"))

    def call(self, x: Any, training: Any = None) -> Any:
        B, T, C = ops.shape(x)[0], x.shape[1], x.shape[2]  # noqa: N806
        q, k, v = ops.split(self.c_attn(x), 3, axis=-1)
        q, k, v = (ops.transpose(ops.reshape(t, (B, T, self.heads, C // self.heads)), (0, 2, 1, 3)) for t in (q, k, v))
        att = (q @ ops.transpose(k, (0, 1, 3, 2))) * (1.0 / (C // self.heads) ** 0.5)
        att = ops.where(self.bias[:, :, :T, :T] == 0, -1e9, att)
        att = self.attn_dropout(ops.softmax(att, axis=-1), training=training)
        y = ops.reshape(ops.transpose(att @ v, (0, 2, 1, 3)), (B, T, C))
        return self.c_proj(y)


class MiniGPT(keras.Model):
    """A subclassed language model with tied output weights."""

    def __init__(self, words: int = 40, length: int = 16, width: int = 48, heads: int = 3) -> None:
        super().__init__()
        self.wte = layers.Embedding(words, width)
        self.wpe = layers.Embedding(length, width)
        self.attention = [CausalSelfAttention(width, heads, length) for _ in range(2)]
        self.norms = [[layers.LayerNormalization() for _ in range(2)] for _ in range(2)]
        self.mlps = [[layers.Dense(4 * width, activation="gelu"), layers.Dense(width)] for _ in range(2)]
        self.ln_f = layers.LayerNormalization()

    def call(self, idx: Any, training: Any = None) -> Any:
        x = self.wte(idx) + self.wpe(ops.arange(idx.shape[1]))
        for attention, norms, (inner, outer) in zip(self.attention, self.norms, self.mlps, strict=True):
            x = x + attention(norms[0](x), training=training)
            x = x + outer(inner(norms[1](x)))
        return ops.matmul(self.ln_f(x), ops.transpose(self.wte.embeddings))


def mini_gpt() -> keras.Model:
    model = MiniGPT()
    model(np.zeros((1, 16), "int32"))
    return model


class TiedDense(layers.Layer):
    """The transpose of another layer's kernel."""

    def __init__(self, tied_to: layers.Dense, activation: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tied_to = tied_to
        self.activation = keras.activations.get(activation)

    def build(self, input_shape: Any) -> None:
        self.bias = self.add_weight(shape=(self.tied_to.kernel.shape[0],), initializer="zeros", name="bias")

    def call(self, x: Any) -> Any:
        return self.activation(ops.matmul(x, ops.transpose(self.tied_to.kernel)) + self.bias)


class TiedAutoencoder(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.encoder_1, self.encoder_2 = layers.Dense(64, activation="relu"), layers.Dense(16, activation="relu")
        self.decoder_1, self.decoder_2 = TiedDense(self.encoder_2, "relu"), TiedDense(self.encoder_1, "sigmoid")

    def call(self, x: Any) -> Any:
        return self.decoder_2(self.decoder_1(self.encoder_2(self.encoder_1(x))))


def tied_autoencoder() -> keras.Model:
    model = TiedAutoencoder()
    model(np.zeros((1, 48), "float32"))
    return model


NETWORKS = {
    "VAE": vae,
    "ViT": vit,
    "subclassed ResNet": subclassed_resnet,
    "text transformer": text_transformer,
    "MiniGPT": mini_gpt,
    "tied autoencoder": tied_autoencoder,
}
