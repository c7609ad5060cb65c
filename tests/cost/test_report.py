"""Tables, comparisons, numbers as text; and that counting is quick."""

from __future__ import annotations

import json
from io import StringIO
from typing import cast

import keras
import pytest
from keras import layers
from rich.console import Console
from rich.table import Table

from kerasurgeon.costs import (
    Cost,
    compare_costs,
    cost,
)
from kerasurgeon.ir import Graph
from kerasurgeon.keras_io import lift
from kerasurgeon.report import format_bytes, format_count, format_kept, format_ratio, format_shape


def small(units: int = 1000, name: str = "small") -> keras.Model:
    inputs = keras.Input((20,), name="in")
    x = layers.Lambda(lambda y: y * keras.random.uniform(()), name="odd <layer>")(inputs)
    x = layers.ReLU(name="relu")(layers.Dense(units, name="wide")(x))
    return keras.Model(inputs, layers.Dense(3, name="last")(x), name=name)


@pytest.fixture
def found() -> Cost:
    return cost(small())


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00 k"),
        (1234, "1.23 k"),
        (12345, "12.3 k"),
        (123456, "123 k"),
        (999_499, "999 k"),
        (999_500, "1.00 M"),
        (3_538_984, "3.54 M"),
        (300_774_272, "301 M"),
        (2e15, "2.00 P"),
        (5e20, "500000 P"),
        (-1500, "-1.50 k"),
        (0.5, "0.5"),
    ],
)
def test_counts(number: float, text: str) -> None:
    assert format_count(number) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (3_565_158, "3.40 MiB"), (1.5 * 2**30, "1.50 GiB")],
)
def test_bytes(size: float, text: str) -> None:
    assert format_bytes(size) == text


def test_ratios_and_shapes() -> None:
    assert (format_ratio(0.25), format_ratio(None)) == ("25.0 %", "-")
    assert [format_kept(ratio) for ratio in (0.25, 1.0, 1.0004, 1.091, None)] == [
        "25.0 %",
        "100.0 %",
        "100.0 %",
        "9.1 % more",
        "-",
    ]
    assert (format_shape((1, None, 3)), format_shape(())) == ("1 x ? x 3", "scalar")


def test_text_shows_rows_totals_and_what_is_unknown(found: Cost) -> None:
    lines = str(found).splitlines()
    (wide,) = [line for line in lines if "wide" in line]
    assert [cell.strip() for cell in wide.split("│")[1:-1]] == [
        *("wide", "Dense", "1 x 1000", "20.0 k", "21.0 k", "82.0 KiB", "3.91 KiB", "3.98 KiB")
    ]
    assert any("odd <layer>" in line and " ? " in line for line in lines)
    assert any(line.startswith("│ total") and "23.0 k + ?" in line for line in lines)
    assert "there is no rule for Lambda" in str(found)
    assert not any(line.startswith("│ relu") for line in lines)
    assert "calls without MACs and weights, not shown: 2" in str(found)


def test_open_sizes_are_shown_as_unknown_and_explained_once() -> None:
    inputs = x = keras.Input((None, 4), name="steps")
    for index in range(6):
        x = layers.Conv1D(4, 1, name=f"conv{index}")(x)
    found = cost(keras.Model(inputs, layers.GlobalMaxPooling1D()(x)))
    lines = str(found).splitlines()
    assert "? macs of 'conv0', 'conv1', 'conv2' and 3 more: a size is unknown" in str(found)
    (first,) = [line for line in lines if line.startswith("│ conv0")]
    assert [cell.strip() for cell in first.split("│")[3:-1]] == ["1 x ? x 4", "?", "20", "80 B", "?", "0 B"]
    assert any("peak 16 B + ?" in line for line in lines)


def test_table_of_every_row(found: Cost) -> None:
    console = Console(width=160, record=True, file=StringIO())
    console.print(found.table(every=True))
    assert "relu" in console.export_text()


def test_rich_and_notebooks_show_the_table(found: Cost) -> None:
    assert cast(Table, found.__rich__()).row_count == 4
    page = found._repr_html_()
    assert "<table>" in page
    assert "odd &lt;layer&gt;" in page
    assert page.count("<tr>") == 2 + 3


def test_names_like_markup_are_shown_as_they_are() -> None:
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(3, name="[bold]x[_bold]")(inputs), name="[red]m")
    assert "[bold]x[_bold]" in str(cost(model))
    assert "[red]m" in str(cost(model))


def test_summary(found: Cost) -> None:
    assert found.summary() == (
        "small: 23.0 k + ? MACs, 24.0 k parameters, weights 93.8 KiB, peak activations 7.81 KiB, ?: unknown for 1 call"
    )


def test_dict_survives_json(found: Cost) -> None:
    data = json.loads(json.dumps(found.to_dict()))
    assert data["macs"] == sum(row["macs"] or 0 for row in data["rows"]) == 23_000
    assert data["rows"][1]["macs"] is None
    assert data["unknown"][0]["what"] == "macs"
    assert data["peak_at"] == "relu"


def test_comparison(found: Cost) -> None:
    after = cost(small(250, "smaller"))
    both = compare_costs(found, after)
    assert both.macs_kept == both.kept("macs") == 0.25
    assert both.parameters_kept == after.parameters / found.parameters
    assert both.weight_bytes_kept == both.parameters_kept
    assert both.peak_activation_bytes_kept == 0.25
    assert "25.0 %" in str(both)
    assert "unknown, left out: 1 before, 1 after" in str(both)
    assert json.loads(json.dumps(both.to_dict()))["macs"] == {"before": 23_000, "after": 5_750, "kept": 0.25}


def test_comparison_with_nothing() -> None:
    inputs = keras.Input((4,))
    nothing = cost(keras.Model(inputs, layers.ReLU()(inputs)))
    both = compare_costs(nothing, nothing)
    assert (both.macs_kept, both.parameters_kept, both.peak_activation_bytes_kept) == (None, None, 1.0)
    assert "-" in str(both)


def blocks_of_four(count: int) -> Graph:
    """Residual blocks, written as a graph: Keras takes seconds for as many."""
    inputs = keras.Input((8, 8, 4))
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(layers.Conv2D(4, 1, name="conv")(inputs)))
    graph = lift(keras.Model(inputs, layers.Add(name="add")([inputs, x])))
    last = graph["add"]
    for index in range(1, count):
        node, spec = last, last.outputs
        for name in ("conv", "norm", "relu", "add"):
            layer = graph.layers[name].with_name(f"{name}_{index}")
            args = ([last.value, node.value],) if name == "add" else (node.value,)
            node = graph.add_node(graph.add_layer(layer), args, outputs=spec)
        last = node
    graph.set_signature(outputs=last.value)
    return graph


def test_a_thousand_nodes_are_counted() -> None:
    assert len(cost(blocks_of_four(250)).rows) == 1001
