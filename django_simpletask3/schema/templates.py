"""Render migrations from the migration templates."""

from __future__ import annotations

from pathlib import Path

from django.template import Context, Engine

from .missing_migrations import Template

_PACKAGE = Path(__file__).parents[1]
#: Inside the installed package, or beside it in the repository.
_FOLDERS = (_PACKAGE / "migrations_templates", _PACKAGE.parent / "migrations_templates")


def render(
    template: Template, models: list[str], dependencies: list[tuple[str, str]], until: str
) -> str:
    """Render the migration for ``models``; ``until`` is the last month of partitions."""
    engine = Engine(dirs=[str(folder) for folder in _FOLDERS], autoescape=False)
    context = {"models": [n.lower() for n in models], "dependencies": dependencies, "until": until}
    return engine.get_template(f"{template}.py-tpl").render(Context(context, autoescape=False))
