"""No two files import each other, not even by way of others, for type checkers only, or inside a function."""

from __future__ import annotations

from pathlib import Path

import networkx as nx

from tests.sources import LIBRARY, PASSES, ROOT, read, source


def modules() -> dict[str, Path]:
    """The files of the library and of its passes, by the name that they are imported by."""
    found = {}
    for path in [*LIBRARY, *PASSES]:
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts if parts[0] == "kerasurgeon" else ("kerasurgeon", *parts))
        found[name.removesuffix(".__init__")] = path
    return found


def imports(files: dict[str, Path]) -> nx.DiGraph:
    """An edge from every module to those that it imports, wherever in the file."""
    graph = nx.DiGraph()
    for name, path in files.items():
        for each in source(path).imports:
            target = f"{each.module}.{each.name}"
            target = target if target in files else each.module
            graph.add_edges_from([(name, target)] * (target in files))
    return graph


def test_no_circles() -> None:
    graph = imports(modules())
    assert graph.number_of_edges() > 1000, "the imports are found"
    circles = [sorted(group) for group in nx.strongly_connected_components(graph) if len(group) > 1]
    assert not circles, "\n".join(", ".join(group) for group in circles)
    assert not list(nx.selfloop_edges(graph))


def test_a_circle_is_found(tmp_path: Path) -> None:
    texts = {"a": "from x import b", "b": "def f():\n    import x.c", "c": "if TYPE_CHECKING:\n    from x.a import g"}
    files = {f"x.{name}": tmp_path / f"{name}.py" for name in texts}
    for name, text in texts.items():
        files[f"x.{name}"].write_text(text)
    assert list(nx.strongly_connected_components(imports(files))) == [{"x.a", "x.b", "x.c"}]


def test_no_inner_function_calls_itself() -> None:
    """Such a function holds itself and all that it closes over, a graph with its weights say, until gc.collect()."""
    assert read("def f():\n    def g():\n        return g()\n    def h():\n        return f()").recursive == ["g"]
    found = {name: source(path).recursive for name, path in modules().items()}
    assert {name: inner for name, inner in found.items() if inner} == {}
