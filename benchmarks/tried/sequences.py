"""Text, audio, time series."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops


def lstm_attention() -> keras.Model:
    """Additive attention over the steps of a bidirectional LSTM, by small layers."""
    inputs = keras.Input((12,), dtype="int32")
    x = layers.Embedding(40, 32, mask_zero=False)(inputs)
    x = layers.SpatialDropout1D(0.2)(x)
    x = layers.Bidirectional(layers.LSTM(32, return_sequences=True))(x)
    e = layers.Dense(1, activation="tanh")(x)
    e = layers.Flatten()(e)
    a = layers.Activation("softmax")(e)
    a = layers.Permute([2, 1])(layers.RepeatVector(64)(a))
    x = layers.Multiply()([x, a])
    x = layers.Lambda(lambda t: keras.ops.sum(t, axis=1), output_shape=(64,))(x)
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(layers.Dense(32, activation="relu")(x)))


def masked_gru() -> keras.Model:
    inputs = keras.Input((None,), dtype="int32")
    x = layers.Embedding(40, 32, mask_zero=True)(inputs)
    x = layers.GRU(48, return_sequences=True)(x)
    x = layers.LSTM(32)(x)
    return keras.Model(inputs, layers.Dense(1, activation="sigmoid")(layers.Dense(32, activation="relu")(x)))


def seq2seq() -> keras.Model:
    """Encoder and decoder with dot-product attention and states handed over."""
    source, target = keras.Input((10,), dtype="int32", name="source"), keras.Input((7,), dtype="int32", name="target")
    encoded, h, c = layers.LSTM(48, return_sequences=True, return_state=True)(layers.Embedding(30, 32)(source))
    decoded, _, _ = layers.LSTM(48, return_sequences=True, return_state=True)(
        layers.Embedding(30, 32)(target), initial_state=[h, c]
    )
    attention = layers.Softmax()(layers.Dot(axes=[2, 2])([decoded, encoded]))
    context = layers.Dot(axes=[2, 1])([attention, encoded])
    x = layers.TimeDistributed(layers.Dense(48, activation="tanh"))(layers.Concatenate()([context, decoded]))
    return keras.Model([source, target], layers.Dense(30, activation="softmax")(x))


def time_series_transformer() -> keras.Model:
    def encoder(x: Any, head_size: int, heads: int, ff: int) -> Any:
        y = layers.MultiHeadAttention(key_dim=head_size, num_heads=heads, dropout=0.1)(x, x)
        y = layers.LayerNormalization(epsilon=1e-6)(layers.Dropout(0.1)(y))
        res = y + x
        y = layers.Conv1D(filters=ff, kernel_size=1, activation="relu")(res)
        y = layers.Conv1D(filters=x.shape[-1], kernel_size=1)(layers.Dropout(0.1)(y))
        return layers.LayerNormalization(epsilon=1e-6)(y) + res

    inputs = keras.Input((24, 4))
    x = layers.Dense(32)(inputs)
    for _ in range(2):
        x = encoder(x, 16, 4, 64)
    x = layers.GlobalAveragePooling1D(data_format="channels_first")(x)
    x = layers.Dropout(0.2)(layers.Dense(64, activation="relu")(x))
    return keras.Model(inputs, layers.Dense(2, activation="softmax")(x))


def wavenet() -> keras.Model:
    inputs = keras.Input((64, 1))
    x, skips = layers.Conv1D(32, 2, padding="causal")(inputs), []
    for rate in (1, 2, 4, 8):
        f = layers.Conv1D(32, 2, padding="causal", dilation_rate=rate, activation="tanh")(x)
        g = layers.Conv1D(32, 2, padding="causal", dilation_rate=rate, activation="sigmoid")(x)
        z = f * g
        skips.append(layers.Conv1D(48, 1)(z))
        x = layers.Conv1D(32, 1)(z) + x
    x = layers.Activation("relu")(layers.Add()(skips))
    return keras.Model(inputs, layers.Conv1D(1, 1)(layers.Conv1D(48, 1, activation="relu")(x)))


def crnn() -> keras.Model:
    """Convolutions, columns as steps, recurrent layers, and one class more for CTC."""
    inputs = keras.Input((32, 64, 1), name="image")
    x = inputs
    for filters in (32, 64):
        x = layers.Conv2D(filters, 3, activation="relu", padding="same")(x)
        x = layers.MaxPooling2D((2, 2))(x)
    x = layers.Permute((2, 1, 3))(x)
    x = layers.Reshape(target_shape=(16, 8 * 64))(x)
    x = layers.Dropout(0.2)(layers.Dense(64, activation="relu")(x))
    x = layers.Bidirectional(layers.LSTM(32, return_sequences=True, dropout=0.25))(x)
    x = layers.Bidirectional(layers.GRU(32, return_sequences=True), merge_mode="sum")(x)
    return keras.Model(inputs, layers.Dense(20 + 1, activation="softmax")(x))


def text_cnn() -> keras.Model:
    inputs = keras.Input((20,), dtype="int32")
    x = layers.Reshape((20, 32, 1))(layers.Embedding(50, 32)(inputs))
    pooled = []
    for size in (3, 4, 5):
        y = layers.Conv2D(32, (size, 32), activation="relu")(x)
        pooled.append(layers.MaxPool2D((20 - size + 1, 1), strides=1)(y))
    x = layers.Dropout(0.5)(layers.Flatten()(layers.Concatenate(axis=1)(pooled)))
    return keras.Model(inputs, layers.Dense(2, activation="softmax")(layers.Dense(32, activation="relu")(x)))


def audio_cnn() -> keras.Model:
    """Raw audio to residual blocks of Conv1D, as in Keras' example of speakers."""

    def block(x: Any, filters: int, convs: int = 2) -> Any:
        s = layers.Conv1D(filters, 1, padding="same")(x)
        for _ in range(convs - 1):
            x = layers.Activation("relu")(layers.Conv1D(filters, 3, padding="same")(x))
        x = layers.Conv1D(filters, 3, padding="same")(x)
        x = layers.Activation("relu")(layers.Add()([x, s]))
        return layers.MaxPool1D(pool_size=2, strides=2)(x)

    inputs = keras.Input((128, 1))
    x = block(block(block(inputs, 16), 32), 64, 3)
    x = layers.Flatten()(layers.AveragePooling1D(pool_size=3, strides=3)(x))
    x = layers.Dense(32, activation="relu")(layers.Dense(64, activation="relu")(x))
    return keras.Model(inputs, layers.Dense(5, activation="softmax")(x))


def spectrogram() -> keras.Model:
    """Frames, a Fourier transform by Keras' layer, and a network of images over it."""
    inputs = keras.Input((512, 1))
    x = layers.STFTSpectrogram(mode="log", frame_length=64, frame_step=32, fft_length=64, trainable=False)(inputs)
    x = layers.Normalization(mean=0.0, variance=2.0)(layers.Reshape((15, 33, 1))(x))
    for filters in (16, 32, 32):
        x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(filters, 3, 1, "same")(x)))
    x = ops.max(ops.mean(x, axis=1), axis=1)
    return keras.Model(inputs, layers.Dense(8)(x))


def conv_lstm() -> keras.Model:
    """Frames of a video: TimeDistributed convolutions, a recurrent convolution, a mean."""
    inputs = keras.Input((4, 16, 16, 1))
    x = layers.TimeDistributed(layers.Conv2D(16, 3, padding="same", activation="relu"))(inputs)
    x = layers.TimeDistributed(layers.MaxPooling2D())(x)
    x = layers.ConvLSTM2D(16, 3, padding="same", return_sequences=True)(x)
    x = layers.BatchNormalization()(x)
    x = layers.Conv3D(16, (3, 3, 3), activation="relu", padding="same")(x)
    x = layers.GlobalAveragePooling3D()(x)
    return keras.Model(inputs, layers.Dense(4)(x))


NETWORKS = {
    "LSTM with attention": lstm_attention,
    "masked GRU": masked_gru,
    "seq2seq": seq2seq,
    "time-series transformer": time_series_transformer,
    "WaveNet": wavenet,
    "CRNN": crnn,
    "text CNN": text_cnn,
    "audio CNN": audio_cnn,
    "spectrogram": spectrogram,
    "ConvLSTM": conv_lstm,
}
