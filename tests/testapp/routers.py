"""Route one task model and its events to the database ``other``; allow another one in both."""

from typing import Any

from django.db import models

MOVED = {"elsewhere", "elsewhereevent"}
EVERYWHERE = {
    *("reminder", "reminderevent", "everywhere", "everywhereevent"),
    *("bill", "billevent", "foreignbill"),
}
PACKAGE = "django_simpletask3"


class ElsewhereRouter:
    """``Elsewhere`` is in ``other``, the rest in ``default``; some may be in both."""

    def db_for_read(self, model: type[models.Model], **hints: Any) -> str | None:
        return "other" if _is_moved(model._meta.app_label, model._meta.model_name) else None

    db_for_write = db_for_read

    def allow_migrate(
        self, db: str, app_label: str, model_name: str | None = None, **hints: Any
    ) -> bool | None:
        if app_label == PACKAGE or (app_label == "testapp" and model_name in EVERYWHERE):
            return True
        return _is_moved(app_label, model_name) == (db == "other")


def _is_moved(app_label: str, model_name: str | None) -> bool:
    return app_label == "testapp" and model_name in MOVED
