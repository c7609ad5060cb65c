"""No two files import each other, not even by way of others, for type checkers only, or inside a function."""

from __future__ import annotations

import ast
from pathlib import Path

import networkx as nx

ROOT = Path(__file__).resolve().parent.parent


def modules() -> dict[str, Path]:
    """The files of the library and of its passes, by the name that they are imported by."""
    found = {}
    for path in [*(ROOT / "kerasurgeon").rglob("*.py"), *(ROOT / "passes").glob("*.py")]:
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[:2] == ("kerasurgeon", "passes"):  # a link to passes/
            continue
        name = ".".join(parts if parts[0] == "kerasurgeon" else ("kerasurgeon", *parts))
        found[name.removesuffix(".__init__")] = path
    return found


def imports(files: dict[str, Path]) -> nx.DiGraph:
    """An edge from every module to those that it imports, wherever in the file."""
    graph = nx.DiGraph()
    for name, path in files.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                targets = [f"{node.module}.{alias.name}" for alias in node.names]
                targets = [target if target in files else node.module for target in targets]
            elif isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            else:
                continue
            graph.add_edges_from((name, target) for target in targets if target in files)
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


def recursive_inside(source: str) -> list[str]:
    """Functions inside functions that call themselves."""
    found = []
    for function in ast.walk(ast.parse(source)):
        for inner in ast.walk(function) if isinstance(function, ast.FunctionDef) else ():
            if isinstance(inner, ast.FunctionDef) and inner is not function:
                names = [node.id for node in ast.walk(inner) if isinstance(node, ast.Name)]
                found += [inner.name] * (inner.name in names)
    return found


def test_no_inner_function_calls_itself() -> None:
    """Such a function holds itself and all that it closes over, a graph with its weights say, until gc.collect()."""
    assert recursive_inside("def f():\n    def g():\n        return g()\n    def h():\n        return f()") == ["g"]
    found = {name: recursive_inside(path.read_text(encoding="utf-8")) for name, path in modules().items()}
    assert {name: inner for name, inner in found.items() if inner} == {}
