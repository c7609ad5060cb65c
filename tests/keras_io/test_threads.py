"""Two threads at once: what is swapped for a while is put back by the last, and neither draws the other's numbers."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.factors.kernels.linear_algebra import one_blas_thread
from kerasurgeon.keras_io import equal_calls as equal_module
from kerasurgeon.keras_io.equal_calls import equal_calls
from kerasurgeon.keras_io.recursion import room_for
from kerasurgeon.keras_io.seeding import keras_seeded, python_seeded

pytestmark = pytest.mark.plain


def in_turns(*several: Callable[[Callable[[], None]], Any]) -> list[Any]:
    """Run functions in threads; each calls ``turn()`` where the other is to go on until its own next turn."""
    found: list[Any] = [None] * len(several)
    go = [threading.Event() for _ in several]
    ended = [False] * len(several)

    def hand_on(index: int) -> None:
        other = (index + 1) % len(several)
        go[index].clear()
        go[other].set()
        if not ended[other]:
            assert go[index].wait(60)

    def run(index: int) -> None:
        assert go[index].wait(60)
        try:
            found[index] = several[index](lambda: hand_on(index))
        except BaseException as error:  # noqa: BLE001 - raised below, in the test's own thread
            found[index] = error
        ended[index] = True
        go[(index + 1) % len(several)].set()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(several))]
    for thread in threads:
        thread.start()
    go[0].set()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    for each in found:
        if isinstance(each, BaseException):
            raise each
    return found


def kernels(seed: int, turn: Callable[[], None]) -> list[Any]:
    """What Keras draws for four layers, with a turn of the other thread between each two."""
    drawn = []
    with python_seeded(seed):
        for _ in range(4):
            layer = keras.layers.Dense(3)
            layer.build((None, 2))
            drawn.append(np.asarray(layer.kernel).tolist())
            turn()
    return drawn


@pytest.mark.parametrize("order", [(1, 2), (2, 1), (1, 1)])
def test_each_thread_draws_what_it_would_alone(order: tuple[int, int]) -> None:
    random.seed(11)
    before = random.getstate()
    alone = {seed: kernels(seed, lambda: None) for seed in set(order)}
    found = in_turns(*(lambda turn, seed=seed: kernels(seed, turn) for seed in order))
    assert found == [alone[seed] for seed in order]
    assert random.getstate() == before


def test_a_thread_that_ends_first_leaves_the_other_its_generator() -> None:
    """Code that asks Python's generator directly: the first thread in is seeded, and gets its state back."""
    random.seed(11)
    before = random.getstate()

    def long(turn: Callable[[], None]) -> list[float]:
        with python_seeded(5):
            drawn = [random.random()]
            turn()
            return [*drawn, random.random()]

    def short(turn: Callable[[], None]) -> None:
        with python_seeded(6):
            turn()

    found = in_turns(long, short)[0]
    generator = random.Random(5)
    assert found == [generator.random(), generator.random()]
    assert random.getstate() == before


def test_a_seed_set_inside_is_the_threads_own() -> None:
    def seeded(turn: Callable[[], None]) -> int:
        with python_seeded(5):
            keras.utils.set_random_seed(3)
            turn()
            return int(keras.random.SeedGenerator().state.numpy()[0])

    def other(turn: Callable[[], None]) -> int:
        with python_seeded(7):
            turn()
            return int(keras.random.SeedGenerator().state.numpy()[0])

    assert in_turns(seeded, other) == [random.Random(3).randint(1, 10**9), random.Random(7).randint(1, 10**9)]


def test_trainings_with_a_seed_wait_for_each_other() -> None:
    inside: list[str] = []

    def train(name: str) -> None:
        with keras_seeded(1):
            inside.append(name)
            assert np.random.rand() == pytest.approx(np.random.RandomState(1).rand())  # noqa: NPY002
            inside.append(name)

    np.random.seed(4)  # noqa: NPY002
    expected = np.random.RandomState(4).rand()
    threads = [threading.Thread(target=train, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [inside[i] == inside[i + 1] for i in (0, 2, 4)] == [True] * 3
    assert np.random.rand() == expected  # noqa: NPY002


def test_room_is_added_and_taken_away_in_any_order() -> None:
    before = sys.getrecursionlimit()
    during: list[int] = []

    def small(turn: Callable[[], None]) -> None:
        with room_for(1000):
            turn()

    def large(turn: Callable[[], None]) -> None:
        with room_for(5000):
            turn()
            during.append(sys.getrecursionlimit())

    in_turns(small, large)
    assert during[0] >= before + 2 * 5000
    assert sys.getrecursionlimit() == before


def test_a_limit_that_was_set_inside_survives() -> None:
    before = sys.getrecursionlimit()
    try:
        with room_for(50_000):
            sys.setrecursionlimit(before + 7)
        assert sys.getrecursionlimit() == before + 7
    finally:
        sys.setrecursionlimit(before)


def test_blas_gets_its_threads_back_from_the_last_block() -> None:
    threadpoolctl = pytest.importorskip("threadpoolctl")

    def threads() -> set[int]:
        return {pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}

    before = threads()
    one, other = one_blas_thread(), one_blas_thread()
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    assert threads() == {1}, "the other block is still open"
    other.__exit__(None, None, None)
    assert threads() == before


def test_what_one_thread_ran_by_equal_calls_is_not_said_of_the_other() -> None:
    with ExitStack() as stack:
        mine = stack.enter_context(equal_calls())
        theirs: list[set[str]] = []

        def other() -> None:
            with equal_calls() as used:
                equal_module._tell("a kind")
                theirs.append(set(used))

        thread = threading.Thread(target=other)
        thread.start()
        thread.join(60)
        assert theirs == [{"a kind"}]
        assert mine == set()
        helper = threading.Thread(target=equal_module._tell, args=("a helper's",))
        helper.start()
        helper.join(60)
        assert mine == {"a helper's"}, "a thread without a block of its own works for somebody"


def network() -> keras.Model:
    inputs = keras.Input((12, 12, 3))
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="one")(inputs)
    x = keras.layers.Conv2D(8, 3, padding="same", name="two")(keras.layers.BatchNormalization()(x))
    return keras.Model(inputs, keras.layers.Dense(3, name="last")(keras.layers.GlobalAveragePooling2D()(x)))


def test_two_pipelines_at_once_give_what_each_gives_alone() -> None:
    from kerasurgeon.passes import Expand, PruneChannels

    model = network()
    pipelines = [ks.Pipeline([Expand(width=2.0)]), ks.Pipeline([PruneChannels(ratio=0.5), Expand(width=1.5)])]

    def weights(index: int) -> list[bytes]:
        run = pipelines[index % 2].run(model, seed=index)
        return [np.asarray(weight).tobytes() for weight in run.model.weights]

    alone = [weights(index) for index in range(2)]
    limit = sys.getrecursionlimit()
    found: dict[int, list[bytes]] = {}
    for _ in range(2):
        threads = [threading.Thread(target=lambda i=i: found.update({i: weights(i)})) for i in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(300)
        assert [found.pop(index) for index in range(2)] == alone
    assert sys.getrecursionlimit() == limit
