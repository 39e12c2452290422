"""Migrations of 0.1.x name django_safe_fields; to a database its columns are plain text."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

_IMPORT = "import django_safe_fields.fields\n"
_FIELD = "django_safe_fields.fields.SafeTextField"
_PLAIN = "models.TextField"
_COLUMNS = frozenset({"result_data", "error_data"})


def replace_safe_fields(text: str) -> str:
    """``text`` of a migration, with plain text columns for those that 0.1.x encrypts.

    Encrypted columns of the project's own stay as they are, and then the import stays, too.
    """
    lines = text.encode().splitlines(keepends=True)
    for name in sorted(_names(ast.parse(text)), key=_place, reverse=True):
        line = lines[name.lineno - 1]
        before, after = line[: name.col_offset], line[name.end_col_offset :]
        lines[name.lineno - 1] = before + _PLAIN.encode() + after
    changed = b"".join(lines).decode()
    return changed.replace(_IMPORT, "") if "django_safe_fields.fields." not in changed else changed


def _names(tree: ast.Module) -> Iterator[Any]:
    """Where the class of an encrypted column of 0.1.x is named."""
    for node in ast.walk(tree):
        match node:
            case ast.Tuple(elts=[ast.Constant(value=str(column)), ast.Call(func=named)]):
                pass
            case ast.Call(keywords=keywords):
                told = {keyword.arg: keyword.value for keyword in keywords}
                match told.get("name"), told.get("field"):
                    case ast.Constant(value=str(column)), ast.Call(func=named):
                        pass
                    case _:
                        continue
            case _:
                continue
        if column in _COLUMNS and ast.unparse(named) == _FIELD:
            yield named


def _place(name: Any) -> tuple[int, int]:
    return name.lineno, name.col_offset
