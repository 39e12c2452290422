"""``check`` names unique keys that cannot be computed, or are not kept."""

from datetime import date
from typing import Any

import pytest
from django.core import checks
from django.db import connections, models
from django.test.utils import isolate_apps

from django_simpletask3 import checks as own_checks
from django_simpletask3.checks.limits import check_limits
from django_simpletask3.checks.unique import check_unique
from django_simpletask3.limits import Limit
from django_simpletask3.models import UniqueTask
from django_simpletask3.unique import Unique
from tests.checks.test_checks import messages_of_package
from tests.columns import plain_columns
from tests.testapp.models import Bill, ForeignBill, Invoice, PaidBill

pytestmark = [pytest.mark.django_db, pytest.mark.thorough]


@pytest.mark.parametrize("bad", ["{number}", ("{number}", "started"), 1], ids=str)
def test_what_declares_nothing_is_an_error(bad: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bill, "django_simpletask3_unique", bad)

    (error,) = messages_of_package()

    assert (error.level, error.id, error.obj) == (checks.ERROR, own_checks.UNIQUE_ID, Bill)
    assert error.msg == f"django_simpletask3_unique is {bad!r}; expected a Unique."


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("nothing", "which is no column"),
        ("objects", "which is no column"),
        ("foreignbill", "which is no column of the table of testapp.Bill"),
        ("status", "which is a column of this package"),
        ("run_after", "which is a column of this package"),
        ("unique_key", "which is a column of this package"),
        ("id", "which has its value only when the task is saved"),
    ],
)
def test_a_key_of_what_is_no_column_of_the_users_is_an_error(
    name: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Bill, "django_simpletask3_unique", Unique(f"{{number}} {{{name}}}"))

    (error,) = messages_of_package()

    assert (error.id, error.obj) == (own_checks.UNIQUE_ID, Bill)
    assert error.msg == f"The unique key '{{number}} {{{name}}}' names {name}, {fault}."


def test_the_name_of_a_column_without_braces_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bill, "django_simpletask3_unique", Unique("number"))

    (error,) = messages_of_package()

    assert (error.id, error.hint) == (
        own_checks.UNIQUE_ID,
        'Write the column in braces: "{number}".',
    )


def unique_task(**columns: Any) -> type[UniqueTask]:
    """A task model with these columns, all of which its key names."""
    template = " ".join(f"{{{name}}}" for name in columns)
    body = {
        "__module__": __name__,
        "django_simpletask3_unique": Unique(template),
        "Meta": type("Meta", (), {"app_label": "testapp"}),
    }
    return type("Dated", (UniqueTask,), {**body, **columns})


def test_a_key_may_name_columns_of_every_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    with isolate_apps("tests.testapp"):
        model = unique_task(
            **plain_columns(),
            day=models.DateField(default=date.today),
            later=models.TimeField(null=True),
            counted=models.IntegerField(db_default=1),
            customer=models.ForeignKey("testapp.Customer", models.CASCADE),
        )
    monkeypatch.setattr("django_simpletask3.checks.unique.task_models", lambda: [model])
    monkeypatch.setattr("django_simpletask3.checks.limits.task_models", lambda: [model])
    limit = Limit(1, key=model.django_simpletask3_unique.template, fair_by="{day}")
    monkeypatch.setattr(model, "django_simpletask3_limit", limit, raising=False)

    assert [*check_unique(), *check_limits()] == []


@pytest.mark.parametrize(
    ("column", "way_out"),
    [
        *(
            (field(**{option: True}), "Give day a default in the place of " + option)
            for field in (models.DateField, models.TimeField, models.DateTimeField)
            for option in ("auto_now", "auto_now_add")
        ),
        (models.FileField(), "The storage gives day its name: name a column of your own"),
        (models.ImageField(), "The storage gives day its name: name a column of your own"),
        (
            models.GeneratedField(
                expression=models.F("priority") * 2,
                output_field=models.IntegerField(),
                db_persist=True,
            ),
            "The database computes day: name the columns that it is computed from",
        ),
        (models.AutoField(primary_key=True), "The database numbers the rows: name other columns"),
    ],
    ids=lambda value: value.split()[-1] if isinstance(value, str) else type(value).__name__,
)
def test_a_key_of_what_is_computed_when_it_is_saved_is_an_error(
    column: Any, way_out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with isolate_apps("tests.testapp"):
        model = unique_task(day=column)
    monkeypatch.setattr("django_simpletask3.checks.unique.task_models", lambda: [model])

    (error,) = check_unique()

    assert error.msg == (
        "The unique key '{day}' names day, which has its value only when the task is saved."
    )
    assert str(error.hint).startswith(way_out)


@pytest.mark.parametrize("way", ["unset", "none", "on a parent"])
@isolate_apps("tests.testapp")
def test_a_unique_task_without_a_key_is_a_warning(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = {"on a parent": Unique("{number}"), "none": None}
    body = {} if way == "unset" else {"django_simpletask3_unique": key[way]}
    meta = type("Meta", (), {"abstract": True, "app_label": "testapp"})
    columns = {"__module__": __name__, "number": models.IntegerField(), "Meta": meta}
    parent: Any = type("Numbered", (UniqueTask,), {**columns, **body})

    class Numbered(parent):
        class Meta:
            app_label = "testapp"

    class Proxy(Numbered):
        class Meta:
            app_label = "testapp"
            proxy = True

    tables = lambda: [Numbered, Proxy]  # noqa: E731
    monkeypatch.setattr("django_simpletask3.checks.unique.task_models", tables)

    found = [(message.level, message.id, message.obj) for message in check_unique()]

    warning = (checks.WARNING, own_checks.UNSET_ID, Numbered)
    assert found == ([warning] if way == "unset" else [])


@pytest.mark.parametrize("model", [PaidBill, ForeignBill])
def test_the_models_of_a_table_cannot_differ(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "django_simpletask3_unique", Unique("{amount}"))

    (error,) = messages_of_package()

    assert (error.id, error.obj) == (own_checks.UNIQUE_ID, model)
    assert "differs from that of testapp.Bill" in error.msg


def test_a_model_without_the_column_has_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Invoice, "django_simpletask3_unique", Unique("{amount}"))

    errors = [error for error in messages_of_package() if error.obj is Invoice]

    assert [error.id for error in errors] == [own_checks.UNIQUE_ID]
    assert errors[0].msg == "Tasks in the table of testapp.Invoice have no unique keys."
    assert "Derive Invoice from UniqueTask" in str(errors[0].hint)


@isolate_apps("tests.testapp")
def test_the_column_must_be_in_the_table_of_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    class LateChild(Invoice, UniqueTask):
        class Meta:
            app_label = "testapp"

    monkeypatch.setattr("django_simpletask3.checks.unique.task_models", lambda: [LateChild])

    (error,) = check_unique()

    assert (error.id, error.obj) == (own_checks.UNIQUE_ID, LateChild)


@pytest.mark.parametrize("level", ["repeatable read", "serializable", None, "read committed"])
def test_mariadb_should_read_what_is_committed(
    level: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connections["default"].settings_dict, "OPTIONS", {"isolation_level": level})

    of_bills = [message for message in check_unique() if message.obj is Bill]
    messages = [message for message in of_bills if "'default'" in message.msg]

    is_warned = connections["default"].vendor == "mysql" and level != "read committed"
    assert [message.id for message in messages] == [own_checks.ISOLATION_ID] * is_warned
