"""An instance is built without ``__init__`` where nothing could observe it, and nowhere else."""

from datetime import UTC
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connection, models
from django.db.models.functions import Now
from django.db.models.signals import post_init, pre_init
from django.test.utils import isolate_apps

from django_simpletask3.db.fast_instances import (
    build_without_init,
    builder_of_new,
    has_constant_default,
    may_skip_init,
)
from django_simpletask3.db.loading import load_instances
from tests.steps import create_task
from tests.testapp.models import Invoice, Odd


class Doubling(models.query_utils.DeferredAttribute):
    def __set__(self, instance: Any, value: Any) -> None:
        vars(instance)[self.field.attname] = value * 2


class Doubled(models.IntegerField):  # type: ignore[type-arg]
    descriptor_class = Doubling


def made(**body: Any) -> type[models.Model]:
    meta = type("Meta", (), {"app_label": "testapp"})
    with isolate_apps("tests.testapp"):
        return type("Made", (models.Model,), {"__module__": __name__, "Meta": meta, **body})


def constructed(self: Any, *args: Any, **kwargs: Any) -> None:
    models.Model.__init__(self, *args, **kwargs)


def called(cls: Any, *_: Any, **__: Any) -> Any:
    return object.__new__(cls)


def assigned(self: Any, name: str, value: Any) -> None:
    object.__setattr__(self, name, value)


def test_a_plain_model_may_skip_its_init() -> None:
    assert may_skip_init(made(number=models.IntegerField()))
    assert may_skip_init(made(owner=models.ForeignKey("self", models.CASCADE)))
    assert may_skip_init(Invoice)
    assert may_skip_init(Invoice.event_model)


@pytest.mark.parametrize(
    "body",
    [
        {"__init__": constructed},
        {"__new__": called},
        {"__setattr__": assigned},
        {"number": Doubled()},
    ],
    ids=["a constructor", "a maker", "assignments", "a column"],
)
def test_a_model_with_a_constructor_of_its_own_is_called(body: dict[str, Any]) -> None:
    assert not may_skip_init(made(**body))


@pytest.mark.parametrize("signal", [pre_init, post_init], ids=["pre_init", "post_init"])
def test_a_model_with_a_receiver_is_called(signal: Any, request: Any) -> None:
    listen = lambda **_: None  # noqa: E731
    signal.connect(listen, sender=Odd)
    request.addfinalizer(lambda: signal.disconnect(listen, sender=Odd))

    assert not may_skip_init(Odd)
    assert may_skip_init(Invoice)


def test_an_instance_built_without_init_is_as_its_class_makes_it() -> None:
    columns = {"id": 7, "task_biz_field": "x"}

    new, read = build_without_init(Invoice, columns), build_without_init(Invoice, columns, "other")

    assert (new._state.adding, new._state.db, new.pk) == (True, None, 7)
    assert (read._state.adding, read._state.db, read.task_biz_field) == (False, "other", "x")
    assert "amount" in read.get_deferred_fields()
    assert new == read == Invoice(**columns)


@pytest.mark.django_db
def test_a_model_that_does_something_when_it_is_read_is_read_by_django(monkeypatch: Any) -> None:
    plain = Invoice.from_db.__func__

    def from_db(cls: Any, *args: Any, **kwargs: Any) -> Any:
        task = plain(cls, *args, **kwargs)
        task.noticed = True
        return task

    monkeypatch.setattr(Invoice, "from_db", classmethod(from_db))

    [found] = load_instances(Invoice, "default", [create_task(Invoice).pk])

    assert found.noticed


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("zone", [UTC, ZoneInfo("Asia/Shanghai"), None], ids=str)
def test_moments_are_read_as_django_reads_them(zone: Any, settings: Any, request: Any) -> None:
    task = create_task(Invoice)
    _be_in(zone, settings)
    request.addfinalizer(lambda: _be_in(UTC, settings))

    [found] = load_instances(Invoice, "default", [task.pk])

    expected = Invoice.objects.get(pk=task.pk)
    assert (found.add_time, found.add_time.tzinfo) == (
        expected.add_time,
        expected.add_time.tzinfo,
    )


def _be_in(zone: Any, settings: Any) -> None:
    """Let the database tell the time in ``zone``; None: naively."""
    connection.close()
    settings.USE_TZ = zone is not None
    connection.settings_dict["TIME_ZONE"] = str(zone) if isinstance(zone, ZoneInfo) else None
    for name in ("timezone", "timezone_name"):
        vars(connection).pop(name, None)


def form() -> type[Any]:
    """A model with a default of each kind, and a property that can be assigned."""
    columns = {
        "title": models.CharField(max_length=8),
        "note": models.CharField(max_length=8, null=True),
        "size": models.IntegerField(default=3),
        "labels": models.JSONField(default=dict),
        "number": models.IntegerField(default=count().__next__),
        "began": models.DateTimeField(db_default=Now()),
        "owner": models.ForeignKey("self", models.CASCADE, null=True),
        "half": property(
            lambda self: self.size / 2, lambda self, to: setattr(self, "size", 2 * to)
        ),
    }
    return made(**columns)


def attributes(instance: Any) -> dict[str, Any]:
    left_out = {"_state": None, "number": None, "began": type(vars(instance).get("began"))}
    state = instance._state
    return {**vars(instance), **left_out, "": (state.adding, state.db, state.fields_cache)}


@pytest.mark.parametrize(
    "columns",
    [
        *({}, {"title": "a", "size": None}, {"id": 7}, {"pk": 7}, {"owner_id": 4}, {"half": 4}),
        *({"owner": None}, {"began": None}, {"labels": models.F("x")}, {"size": models.DEFERRED}),
    ],
    ids=str,
)
def test_a_new_instance_is_as_the_class_makes_it(columns: Any) -> None:
    model = form()

    built = builder_of_new(model)(columns)

    assert type(built) is model
    assert attributes(built) == attributes(model(**columns))


def test_a_related_instance_is_kept() -> None:
    model = form()
    owner = model(pk=3)

    built = builder_of_new(model)({"owner": owner})

    assert (built.owner is owner, built.owner_id) == (True, 3)


def test_each_new_instance_has_defaults_of_its_own() -> None:
    build = builder_of_new(form())

    first, second = build({}), build({})

    assert first.labels is not second.labels
    assert (second.number - first.number, build({"number": 9}).number) == (1, 9)
    assert build({}).number - second.number == 1  # no default is computed for a given value


def test_columns_that_may_be_alike_have_one_default() -> None:
    build = builder_of_new(Invoice, alike=("check_at",))

    first, second, third = build({}), build({}), build({"check_at": None})

    assert first.check_at is second.check_at
    assert third.check_at is None
    assert first.add_time is not second.add_time  # by which tasks are ordered
    assert builder_of_new(Invoice)({}).check_at is not first.check_at


def test_a_constructor_that_is_called_again_sets_new_defaults() -> None:
    task = Invoice()
    before = task.add_time

    task.__init__()  # type: ignore[misc]

    assert task.add_time is not before


def test_what_every_new_instance_has_is_a_constant_default() -> None:
    model = form()
    constant = {f.name for f in model._meta.concrete_fields if has_constant_default(f)}

    assert constant == {"id", "title", "note", "size", "owner"}
    by_instance = models.ForeignKey(model, models.CASCADE, default=model(pk=3))
    assert not has_constant_default(by_instance)  # its key may be another one later


def test_a_name_that_is_no_column_is_refused() -> None:
    with pytest.raises(TypeError, match="colour"):
        builder_of_new(form())({"colour": "red"})


def test_a_constructor_of_the_model_is_called() -> None:
    def construct(self: Any, *args: Any, **kwargs: Any) -> None:
        models.Model.__init__(self, *args, **kwargs)
        self.is_constructed = True

    model: Any = made(__init__=construct, number=models.IntegerField())

    assert builder_of_new(model)({"number": 1}).is_constructed
