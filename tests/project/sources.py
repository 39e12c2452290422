"""The project's own files, as the tests about the project read them."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "django_simpletask3"


@dataclass(frozen=True)
class Source:
    """One module; ``name`` is its dotted name below the package, empty for the package itself."""

    path: Path
    root: Path = ROOT

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.path.read_text(encoding="utf-8"), str(self.path))

    @cached_property
    def name(self) -> str:
        parts = self.path.relative_to(self.root / PACKAGE).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @cached_property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    def imports(self) -> Iterator[tuple[int, str]]:
        """Line and absolute name of every import, also those in functions and for type checkers."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = self._absolute(node)
                yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        here = [PACKAGE, *filter(None, self.name.split("."))]
        up = node.level - 1 if self.is_package else node.level
        return ".".join([*here[: len(here) - up], *filter(None, [node.module])])


def package_sources() -> list[Source]:
    """Every module of the package, sorted."""
    return [Source(path) for path in sorted((ROOT / PACKAGE).rglob("*.py"))]


def name_of(source: Source) -> str:
    """For the ids of parametrized tests."""
    return source.name or PACKAGE
