"""Embeddings, masks, attention and recurrence.

A Keras mask is half implicit. The layer that makes it adds op nodes (``not_equal``) to the graph; a
consumer with one tensor operand records the result as ``mask=``, one with several reads it off its operands
when it runs. The cases tagged ``mask`` compute something else when it is lost.

Not here, because Keras 3.15 refuses it: ``Bidirectional`` with ``stateful=True`` around an RNN without a
fixed batch size.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from tests.zoo.registry import case, image, sequence, tokens, vector

# Masks


@case("Embedding(mask_zero=True) feeds an LSTM through a Dense layer that passes the mask on", "mask")
def masked_lstm() -> keras.Model:
    inputs = tokens()
    x = layers.Embedding(10, 4, mask_zero=True)(inputs)
    return keras.Model(inputs, layers.LSTM(3)(layers.Dense(4)(x)))


@case("Embedding(mask_zero=True) feeds a GRU; the mask is not used again after it", "mask")
def masked_gru() -> keras.Model:
    inputs = tokens(None)
    x = layers.Embedding(10, 4, mask_zero=True)(inputs)
    return keras.Model(inputs, layers.GlobalAveragePooling1D()(layers.GRU(3, return_sequences=True)(x)))


@case("Masking before a bidirectional GRU", "mask")
def masking_layer() -> keras.Model:
    inputs = sequence()
    x = layers.Masking(mask_value=0.0)(inputs)
    return keras.Model(inputs, layers.Bidirectional(layers.GRU(3))(x))


@case("a mask that ops destroy: an op between Embedding and LSTM", "mask")
def mask_lost_in_op() -> keras.Model:
    inputs = tokens()
    x = layers.Embedding(10, 4, mask_zero=True)(inputs)
    return keras.Model(inputs, [layers.LSTM(3)(ops.multiply(x, 1.0)), layers.LSTM(3)(x)])


@case("a mask made outside a nested model and used inside it", "mask", "nested")
def mask_into_nested() -> keras.Model:
    inner_in = sequence(name="inner_in")
    inner = keras.Model(inner_in, layers.LSTM(3)(layers.Dense(4)(inner_in)), name="inner")
    inputs = tokens()
    return keras.Model(inputs, inner(layers.Embedding(10, 4, mask_zero=True)(inputs)))


@case("a mask made inside a nested model and used outside it", "mask", "nested")
def mask_out_of_nested() -> keras.Model:
    inner_in = tokens(name="inner_in")
    inner = keras.Model(inner_in, layers.Embedding(10, 4, mask_zero=True)(inner_in), name="inner")
    inputs = tokens()
    return keras.Model(inputs, layers.LSTM(3)(inner(inputs)))


@case("masks made inside and outside a nested Sequential", "mask", "nested")
def mask_through_sequential() -> keras.Model:
    inputs = tokens()
    encoder = keras.Sequential([layers.Embedding(10, 4, mask_zero=True), layers.Dense(4)], name="encoder")
    decoder = keras.Sequential([layers.Dropout(0.2), layers.GRU(3)], name="decoder")
    return keras.Model(inputs, decoder(encoder(inputs)))


@case("a mask given as an operand: mask=embedding.compute_mask(tokens)", "mask")
def mask_as_operand() -> keras.Model:
    inputs = tokens()
    embedding = layers.Embedding(10, 4, mask_zero=True)
    x = ops.multiply(embedding(inputs), 0.5)  # the implicit mask ends here
    return keras.Model(inputs, layers.LSTM(3)(x, mask=embedding.compute_mask(inputs)))


@case("masks of several inputs: merged by Concatenate, used by attention", "mask")
def mask_in_attention() -> keras.Model:
    query, key = tokens(4, name="query"), tokens(name="key")
    embedding = layers.Embedding(10, 4, mask_zero=True)
    q, k = embedding(query), embedding(key)
    attended = layers.MultiHeadAttention(2, 3)(q, k)
    joined = layers.Concatenate(axis=1)([attended, k])
    return keras.Model([query, key], layers.LSTM(3)(joined))


@case("Attention layers with a list of operands and a list of masks")
def attention_list_masks() -> keras.Model:
    query, value = sequence(4, name="query"), sequence(name="value")
    keep = keras.Input((6,), dtype="bool", name="keep")
    x = layers.Attention(use_scale=True)([query, value], mask=[None, keep])
    y = layers.AdditiveAttention()([query, value, value], mask=[None, keep])
    return keras.Model([query, value, keep], layers.Dense(3)(layers.Add()([x, y])))


# Attention


@case("self-attention with its scores as a second output")
def attention_scores() -> keras.Model:
    inputs = sequence()
    attention = layers.MultiHeadAttention(2, 3, value_dim=5, name="attention")
    x, scores = attention(inputs, inputs, return_attention_scores=True)
    return keras.Model(inputs, {"x": layers.Dense(3)(x), "scores": scores})


@case("cross-attention, every operand by keyword, with an attention mask and another output size")
def attention_by_keyword() -> keras.Model:
    query, context = sequence(4, 6, name="query"), sequence(name="context")
    allowed = keras.Input((4, 6), dtype="bool", name="allowed")
    attention = layers.MultiHeadAttention(2, 3, output_shape=5, use_bias=False)
    x = attention(query=query, value=context, key=layers.Dense(4)(context), attention_mask=allowed)
    return keras.Model([query, context, allowed], x)


@case("causal self-attention: a Python flag as a call argument")
def attention_causal() -> keras.Model:
    inputs = sequence()
    return keras.Model(inputs, layers.MultiHeadAttention(2, 4, dropout=0.1)(inputs, inputs, use_causal_mask=True))


@case("grouped-query attention: fewer key and value heads than query heads")
def attention_grouped_query() -> keras.Model:
    inputs = sequence(6, 8)
    attention = layers.GroupQueryAttention(head_dim=4, num_query_heads=4, num_key_value_heads=2)
    return keras.Model(inputs, attention(inputs, inputs))


@case("one attention layer called with different operands", "shared")
def attention_shared() -> keras.Model:
    a, b = sequence(name="a"), sequence(5, name="b")
    attention = layers.MultiHeadAttention(2, 3, name="attention")
    return keras.Model([a, b], layers.Add()([attention(a, b), attention(a, a)]))


@case("attention over two axes of an image")
def attention_axes() -> keras.Model:
    inputs = image(4, 4)
    return keras.Model(inputs, layers.MultiHeadAttention(2, 3, attention_axes=(1, 2))(inputs, inputs))


@case("attention written out in ops: split heads, einsum, merge heads")
def attention_by_ops() -> keras.Model:
    inputs = sequence(6, 8)
    q, k, v = (ops.reshape(layers.Dense(8, name=name)(inputs), (-1, 6, 2, 4)) for name in ("q", "k", "v"))
    scores = ops.softmax(ops.einsum("bqhd,bkhd->bhqk", q, k) / 2.0, axis=-1)
    x = ops.reshape(ops.einsum("bhqk,bkhd->bqhd", scores, v), (-1, 6, 8))
    return keras.Model(inputs, layers.Dense(8, name="out")(x))


@case("position and token embeddings; positions are a constant")
def position_embedding() -> keras.Model:
    inputs = tokens()
    x = layers.Embedding(12, 4, name="token")(inputs)
    position = layers.Embedding(6, 4, name="position")(ops.arange(6))
    return keras.Model(inputs, layers.LayerNormalization()(x + position))


@case("ReversibleEmbedding called forwards and with reverse=True", "shared")
def reversible_embedding() -> keras.Model:
    inputs = tokens()
    embedding = layers.ReversibleEmbedding(10, 4, name="embedding")
    x = layers.Dense(4)(embedding(inputs))
    return keras.Model(inputs, embedding(x, reverse=True))


# Recurrence


@case("LSTM with its states as outputs, one of them unused")
def lstm_states() -> keras.Model:
    inputs = sequence()
    whole, _, cell = layers.LSTM(3, return_sequences=True, return_state=True)(inputs)
    return keras.Model(inputs, [whole, layers.Dense(2)(cell)])


@case("sequence to sequence: initial_state is a list of tensors in kwargs")
def initial_states() -> keras.Model:
    source, target = sequence(name="source"), sequence(4, name="target")
    _, *states = layers.LSTM(3, return_state=True, name="encoder")(source)
    x = layers.LSTM(3, return_sequences=True, name="decoder")(target, initial_state=states)
    return keras.Model([source, target], x)


@case("GRU with both kinds of reset, SimpleRNN backwards, no bias")
def recurrent_settings() -> keras.Model:
    inputs = sequence()
    x = layers.GRU(4, reset_after=False, return_sequences=True)(inputs)
    x = layers.GRU(4, use_bias=False, return_sequences=True)(x)
    return keras.Model(inputs, layers.SimpleRNN(3, go_backwards=True)(x))


@case("RNN over a list of cells: weights two levels down")
def stacked_cells() -> keras.Model:
    inputs = sequence()
    cells = [layers.LSTMCell(4, name="lower"), layers.GRUCell(3, name="upper"), layers.SimpleRNNCell(3)]
    return keras.Model(inputs, layers.RNN(cells, name="rnn")(inputs))


@case("bidirectional layers that concatenate, sum, and return a list with states")
def bidirectional() -> keras.Model:
    inputs = sequence()
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True), name="joined")(inputs)
    x = layers.Bidirectional(layers.GRU(4, return_sequences=True), merge_mode="sum", name="summed")(x)
    forward, backward, *states = layers.Bidirectional(layers.LSTM(2, return_state=True), merge_mode=None, name="apart")(
        x
    )
    return keras.Model(inputs, [forward, backward, states[1]])


@case("bidirectional with a backward layer of its own")
def bidirectional_unequal() -> keras.Model:
    inputs = sequence()
    backward = layers.GRU(3, go_backwards=True, activation="relu", name="other")
    return keras.Model(inputs, layers.Bidirectional(layers.LSTM(3), backward_layer=backward)(inputs))


@case("a stateful GRU: a fixed batch and state that inference changes", "stateful")
def stateful_rnn() -> keras.Model:
    inputs = keras.Input(batch_shape=(2, 6, 4), name="steps")
    return keras.Model(inputs, layers.GRU(3, stateful=True)(inputs))


@case("ConvLSTM2D over video")
def conv_lstm() -> keras.Model:
    inputs = keras.Input((3, 5, 5, 2), name="video")
    x = layers.ConvLSTM2D(3, 3, padding="same", return_sequences=True)(inputs)
    return keras.Model(inputs, layers.ConvLSTM2D(2, 2)(x))


@case("TimeDistributed over a conv and over a batch norm")
def time_distributed() -> keras.Model:
    x = inputs = keras.Input((3, 6, 6, 2), name="video")
    x = layers.TimeDistributed(layers.Conv2D(4, 3, name="conv"), name="each_frame")(x)
    x = layers.TimeDistributed(layers.BatchNormalization())(x)
    return keras.Model(inputs, layers.TimeDistributed(layers.GlobalAveragePooling2D())(x))


@case("TimeDistributed over a Functional model", "nested")
def time_distributed_model() -> keras.Model:
    frame = image(6, 2, name="frame")
    encoder = keras.Model(frame, layers.Flatten()(layers.Conv2D(3, 3)(frame)), name="encoder")
    inputs = keras.Input((3, 6, 6, 2), name="video")
    return keras.Model(inputs, layers.GRU(3)(layers.TimeDistributed(encoder)(inputs)))


@case("a recurrent layer called twice", "shared")
def shared_lstm() -> keras.Model:
    left, right = sequence(name="left"), sequence(4, name="right")
    encoder = layers.LSTM(3, name="encoder")
    return keras.Model([left, right], layers.Dot(axes=1)([encoder(left), encoder(right)]))


@case("two embeddings of one vocabulary, merged with a dense feature; integer and float inputs")
def mixed_inputs() -> keras.Model:
    inputs: dict[str, Any] = {
        "item": tokens(1, name="item"),
        "user": tokens(1, name="user"),
        "price": vector(2, "price"),
    }
    parts = [layers.Flatten()(layers.Embedding(10, 3, name=f"{key}_table")(inputs[key])) for key in ("item", "user")]
    return keras.Model(inputs, layers.Dense(2)(layers.Concatenate()([*parts, inputs["price"]])))
