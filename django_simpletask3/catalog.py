"""The task models of this project, and the databases that hold their rows."""

from __future__ import annotations

from django.apps import apps
from django.db import connections, router

from .events import root_of
from .models import SimpleTask


def task_models() -> list[type[SimpleTask]]:
    """Every concrete task model, proxies and multi-table children among them, by label."""
    found = [model for model in apps.get_models() if issubclass(model, SimpleTask)]
    return sorted(found, key=lambda model: model._meta.label)


def roots(models: list[type[SimpleTask]] | None = None) -> list[type[SimpleTask]]:
    """The models that have a table of states, each once."""
    chosen = task_models() if models is None else models
    return sorted({root_of(model) for model in chosen}, key=lambda model: model._meta.label)


def variants(root: type[SimpleTask]) -> dict[str, type[SimpleTask]]:
    """The task models whose rows stand in the table of ``root``, by label; ``root`` is one."""
    return {model._meta.label: model for model in task_models() if root_of(model) is root}


def databases_of(model: type[SimpleTask]) -> list[str]:
    """The databases that have the table of ``model``: the router's first."""
    preferred = router.db_for_write(model)
    others = [
        alias
        for alias in connections
        if alias != preferred
        and router.allow_migrate_model(alias, model)
        and model._meta.db_table in connections[alias].introspection.table_names()
    ]
    return [preferred, *others]
