"""Replace fields of django_safe_fields in migrations of 0.1.x by plain text fields."""

from __future__ import annotations

import ast
from collections.abc import Iterator

_IMPORT = "import django_safe_fields.fields\n"
_FIELD = "django_safe_fields.fields.SafeTextField"
_PLAIN_FIELD = "models.TextField"
_COLUMNS = frozenset({"result_data", "error_data"})


def replace_safe_fields(text: str) -> str:
    """Replace the encrypted columns of 0.1.x in the ``text`` of a migration by TextField.

    In the database both are text columns. Other encrypted columns of the project do not change;
    then the import stays, too.
    """
    lines = text.encode().splitlines(keepends=True)
    for node in sorted(_field_nodes(ast.parse(text)), key=_position, reverse=True):
        line = lines[node.lineno - 1]
        before, after = line[: node.col_offset], line[node.end_col_offset :]
        lines[node.lineno - 1] = before + _PLAIN_FIELD.encode() + after
    changed = b"".join(lines).decode()
    return changed.replace(_IMPORT, "") if "django_safe_fields.fields." not in changed else changed


def _field_nodes(tree: ast.Module) -> Iterator[ast.expr]:
    """Yield the syntax nodes that name the field class of an encrypted column of 0.1.x."""
    for node in ast.walk(tree):
        match node:
            case ast.Tuple(elts=[ast.Constant(value=str(column)), ast.Call(func=field_class)]):
                pass
            case ast.Call(keywords=keywords):
                arguments = {keyword.arg: keyword.value for keyword in keywords}
                match arguments.get("name"), arguments.get("field"):
                    case ast.Constant(value=str(column)), ast.Call(func=field_class):
                        pass
                    case _:
                        continue
            case _:
                continue
        if column in _COLUMNS and ast.unparse(field_class) == _FIELD:
            yield field_class


def _position(node: ast.expr) -> tuple[int, int]:
    return node.lineno, node.col_offset
