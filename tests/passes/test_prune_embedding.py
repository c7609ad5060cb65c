"""PruneEmbedding: with new ids for old ones, the network gives what it gave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.passes import PruneEmbedding
from tests.passes.checking import changed, model_of, run

layers = keras.layers
KEEP = (0, 7, 3, 11)


def ids(*shape: int) -> Any:
    """New ids, and the old ones that they stand for, by hand."""
    new = np.random.default_rng(0).integers(0, len(KEEP), shape)
    return new.astype("int32"), np.array(KEEP)[new].astype("int32")


def reader(head: bool = False, mask: bool = False) -> keras.Model:
    inputs = keras.Input((6,), dtype="int32", name="ids")
    x = layers.LSTM(5, return_sequences=head)(layers.Embedding(12, 4, mask_zero=mask, name="words")(inputs))
    return model_of(inputs, layers.Dense(12 if head else 3, name="out")(x))


@pytest.mark.parametrize("mask", [False, True])
def test_new_ids_give_what_old_ones_gave(mask: bool) -> None:
    model = reader(mask=mask)
    small, kept = ks.prune_vocabulary(model, KEEP)
    new, old = ids(5, 6)
    np.testing.assert_allclose(np.asarray(small(new)), np.asarray(model(old)), rtol=1e-5, atol=1e-6)
    assert small.get_layer("words").input_dim == 4
    np.testing.assert_array_equal(kept.new_ids(old), new)
    assert kept.new_ids([1, 7], unknown=2).tolist() == [2, 1]
    with pytest.raises(ks.PlanError, match=r"was not kept(.|\n)*unknown="):
        kept.new_ids([1])


@pytest.mark.parametrize("tied", [True, False])
def test_a_tied_head_follows(tied: bool) -> None:
    inputs = keras.Input((6,), dtype="int32")
    table = layers.ReversibleEmbedding(12, 4, tie_weights=tied, name="table")
    x = layers.Dense(4, activation="tanh")(table(inputs))
    model = model_of(inputs, layers.Softmax()(table(x, reverse=True)))
    small, _ = ks.prune_vocabulary(model, KEEP)
    new, old = ids(5, 6)
    wanted = np.asarray(model(old))[..., list(KEEP)]
    np.testing.assert_allclose(np.asarray(small(new)), wanted / wanted.sum(-1, keepdims=True), rtol=2e-5, atol=1e-6)


def test_a_head_of_its_own_is_cut_if_asked_for(tmp_path: Path) -> None:
    model = reader(head=True)
    new, old = ids(5, 6)
    result = run(PruneEmbedding(KEEP), model)
    np.testing.assert_allclose(np.asarray(result.model(new)), np.asarray(model(old)), rtol=1e-5, atol=1e-6)
    assert changed(result)["out"] == "still gives 12 values: head='cut' cuts it too"
    np.save(tmp_path / "used.npy", np.array(KEEP))
    both = run(PruneEmbedding(tmp_path / "used.npy", head="cut", save=tmp_path / "ids.json"), model)
    wanted = np.asarray(model(old))[..., list(KEEP)]
    np.testing.assert_allclose(np.asarray(both.model(new)), wanted, rtol=1e-5, atol=1e-6)
    assert ks.KeptIds.load(tmp_path / "ids.json") == both.report.passes[0].plans[0] == ks.KeptIds("words", 12, KEEP)
    with pytest.raises(ks.KerasurgeonError, match="exists"):
        run(PruneEmbedding(KEEP, save=tmp_path / "ids.json"), model)


def test_one_of_two_embeddings() -> None:
    first, second = keras.Input((6,), dtype="int32"), keras.Input((6,), dtype="int32")
    parts = [layers.Embedding(12, 4, name="words")(first), layers.Embedding(12, 4, name="tags")(second)]
    model = model_of([first, second], layers.GlobalAveragePooling1D()(layers.Add()(parts)))
    with pytest.raises(ks.PlaceError, match=r"2 embedding(.|\n)*'words'"):
        ks.prune_vocabulary(model, KEEP)
    new, old = ids(5, 6)
    small, _ = ks.prune_vocabulary(model, KEEP, layer="tags")
    np.testing.assert_allclose(np.asarray(small([old, new])), np.asarray(model([old, old])), rtol=1e-5, atol=1e-6)


def test_what_cannot_be_kept_is_refused() -> None:
    with pytest.raises(ks.OptionError, match="0 to 11"):
        ks.prune_vocabulary(reader(), (0, 12))
    with pytest.raises(ks.OptionError, match="2, 1 of them different"):
        ks.prune_vocabulary(reader(), (3, 3))
    with pytest.raises(ks.OptionError, match="begin keep with 0"):
        ks.prune_vocabulary(reader(mask=True), (3, 0))
    with pytest.raises(ks.PlaceError, match="no embedding"):
        ks.prune_vocabulary(model_of(x := keras.Input((3,)), layers.Dense(2)(x)), (0,))
