"""Route Atlas to the database ``other`` and the rest of the migrated_app to ``default``."""

from typing import Any

from django.db import models

MOVED = {"atlas", "atlasevent"}


class MigratedAppRouter:
    def db_for_read(self, model: type[models.Model], **hints: Any) -> str | None:
        is_moved = model._meta.app_label == "migrated_app" and model._meta.model_name in MOVED
        return "other" if is_moved else None

    db_for_write = db_for_read

    def allow_migrate(
        self, db: str, app_label: str, model_name: str | None = None, **hints: Any
    ) -> bool | None:
        if app_label != "migrated_app":
            return None
        return (model_name in MOVED) == (db == "other")
