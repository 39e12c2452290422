"""The templates for migrations, and a migration made from one."""

from __future__ import annotations

from pathlib import Path

from django.template import Context, Engine

from ..needs import History, Template

_PACKAGE = Path(__file__).parents[1]
#: In an installed package, and beside it in the repository.
_FOLDERS = (_PACKAGE / "migrations_templates", _PACKAGE.parent / "migrations_templates")


def rendered(found: History, template: Template, models: list[str], newest: str, until: str) -> str:
    """The text of a migration for ``models`` that follows ``newest``."""
    engine = Engine(dirs=[str(folder) for folder in _FOLDERS], autoescape=False)
    context = {
        "app_label": found.app_label,
        "models": [name.lower() for name in models],
        "newest": newest,
        "until": until,
    }
    return engine.get_template(f"{template}.py-tpl").render(Context(context, autoescape=False))
