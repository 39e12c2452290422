"""A test waits for a condition, never for a time."""

import ast

from tests.project.sources import ROOT, Source

THE_ONE_THAT_MAY = ROOT / "tests" / "eventually.py"


def sleeps(source: Source) -> list[int]:
    """Lines that name ``time.sleep``, called or handed on."""
    return [
        node.lineno
        for node in ast.walk(source.tree)
        if (isinstance(node, ast.Attribute) and ast.unparse(node) == "time.sleep")
        or (isinstance(node, ast.ImportFrom) and node.module == "time" and "sleep" in _names(node))
    ]


def _names(node: ast.ImportFrom) -> list[str]:
    return [alias.name for alias in node.names]


def test_only_eventually_sleeps() -> None:
    paths = [path for path in (ROOT / "tests").rglob("*.py") if path != THE_ONE_THAT_MAY]

    found = {str(path.relative_to(ROOT)): sleeps(Source(path)) for path in paths}

    assert {path: lines for path, lines in found.items() if lines} == {}
