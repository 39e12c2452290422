"""Build model instances without ``__init__``, if no receiver or override could notice."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

from django.db import models
from django.db.models.base import ModelBase, ModelState
from django.db.models.fields import NOT_PROVIDED
from django.db.models.fields.related_descriptors import ForeignKeyDeferredAttribute
from django.db.models.query_utils import DeferredAttribute
from django.db.models.signals import post_init, pre_init

C = TypeVar("C", bound=Callable[..., None])

#: Descriptors of columns that let an instance hold just what is assigned to it.
_PLAIN_DESCRIPTORS = (DeferredAttribute, ForeignKeyDeferredAttribute)


def method_of_django(name: str) -> Any:
    """The method of Django's Model as it is, whatever a test puts in its place later.

    If a tool has wrapped it already, an object that no class has as a method.
    """
    method = getattr(models.Model, name)
    is_wrapped = hasattr(method, "__wrapped__") or method.__module__ != models.Model.__module__
    return object() if is_wrapped else method


_DJANGOS_INIT = method_of_django("__init__")
#: Constructors that do nothing but fill the columns.
_PLAIN_CONSTRUCTORS: set[Any] = {_DJANGOS_INIT, object.__init__}
_DEFAULTS_OF_DJANGO = (models.Field.get_default, models.ForeignKey.get_default)
_GET_DEFAULT_OF_DJANGO = inspect.getattr_static(models.Field, "_get_default")


def plain_constructor(constructor: C) -> C:
    """Decorate a constructor that does the same as Django's."""
    _PLAIN_CONSTRUCTORS.add(constructor)
    return constructor


def may_skip_init(model: type[models.Model]) -> bool:
    """Whether instances of ``model`` can be built by ``build_without_init``.

    Not if the class has a constructor of its own, ``pre_init`` or ``post_init`` has receivers, or a
    column acts when it is assigned.
    """
    return (
        model.__new__ is models.Model.__new__
        and model.__init__ in _PLAIN_CONSTRUCTORS
        and models.Model.__init__ is _DJANGOS_INIT
        and model.__setattr__ is models.Model.__setattr__
        and has_plain_columns(model)
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


def builder_of_new(
    model: type[models.Model], alike: Collection[str] = ()
) -> Callable[[Mapping[str, Any]], Any]:
    """A function that returns what ``model(**columns)`` does, which takes three times as long.

    Those of the columns ``alike`` that are not given may be the same in all that it returns.
    """
    if not may_skip_init(model):
        return lambda columns: model(**columns)
    factories = _defaults_of_new(model).factories
    known = {name: default() for name, default in factories if name in alike}

    def build(columns: Mapping[str, Any]) -> Any:
        instance = model.__new__(model)
        return instance if _fill(instance, model, columns, known) else model(**columns)

    return build


def init_new(instance: models.Model, columns: Mapping[str, Any]) -> bool:
    """Do what ``Model.__init__`` does with ``columns``, which takes three times as long.

    Returns False, and does nothing, if only Django knows what that is.
    """
    model = type(instance)
    return may_skip_init(model) and _fill(instance, model, columns, {})


def _fill(
    instance: models.Model, model: Any, columns: Mapping[str, Any], known: Mapping[str, Any]
) -> bool:
    defaults = _defaults_of_new(model)
    if defaults.fields is not model._meta.concrete_fields:
        _defaults_of_new.cache_clear()  # a column was added
        defaults = _defaults_of_new(model)
    for name, value in columns.items():
        if name not in defaults.names or value is models.DEFERRED:
            return False  # related instances, properties, what is no column at all
    for field, default in defaults.explicit:
        if field.default is not default:
            return False  # a test has replaced it
    instance._state = ModelState()
    attributes = vars(instance)
    attributes.update(defaults.constants)
    attributes.update(known)
    attributes.update(columns)
    for name, default in defaults.factories:
        if name not in columns and name not in known:
            attributes[name] = default()
    return True


class _Defaults(NamedTuple):
    """The columns that can be given to a new instance, and what the others are."""

    fields: Any
    names: frozenset[str]
    constants: dict[str, Any]
    factories: list[tuple[str, Callable[[], Any]]]
    #: The fields of ``constants`` for which a default is declared, with that.
    explicit: list[tuple[Any, Any]]


@lru_cache(maxsize=1000)
def _defaults_of_new(model: Any) -> _Defaults:
    fields = [field for field in model._meta.concrete_fields if not field.generated]
    constant = [field for field in fields if has_constant_default(field)]
    return _Defaults(
        model._meta.concrete_fields,
        frozenset(field.attname for field in fields),
        {field.attname: field.get_default() for field in constant},
        [(field.attname, field.get_default) for field in fields if field not in constant],
        [(field, field.default) for field in constant if field.has_default()],
    )


def has_constant_default(field: Any) -> bool:
    """Whether every new instance has the same object as default of ``field``."""
    is_of_django = (
        type(field).get_default in _DEFAULTS_OF_DJANGO
        and inspect.getattr_static(type(field), "_get_default") is _GET_DEFAULT_OF_DJANGO
    )
    # A foreign key reads the key of an instance each time.
    is_computed = field.has_default() and (
        callable(field.default) or isinstance(field.default, models.Model)
    )
    has_db_default = getattr(field, "db_default", NOT_PROVIDED) is not NOT_PROVIDED
    return is_of_django and not is_computed and not has_db_default


@lru_cache(maxsize=10_000)
def has_plain_columns(model: Any) -> bool:
    """Whether an instance of ``model`` holds its columns as they are assigned, and nothing acts."""
    fields = model._meta.concrete_fields
    attributes = [inspect.getattr_static(model, field.attname) for field in fields]
    # All are called, one by the other.
    constructors = [vars(base)["__init__"] for base in model.__mro__ if "__init__" in vars(base)]
    # Django's own metaclass does nothing else when a class is called, and its constructor refuses
    # to make an instance of an abstract model.
    return (
        type(model).__call__ is ModelBase.__call__
        and not model._meta.abstract
        and _PLAIN_CONSTRUCTORS.issuperset(constructors)
        and all(type(attribute) in _PLAIN_DESCRIPTORS for attribute in attributes)
    )
