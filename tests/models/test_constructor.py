"""A task is made as Django makes an instance, in a third of the time."""

from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from unittest import mock

import django.db.models.base
import pytest
from django.db import models
from django.db.models import F, Value
from django.db.models.functions import Now
from django.db.models.signals import post_init, pre_init
from django.test.utils import isolate_apps
from django.utils import timezone

from django_simpletask3.models import SimpleTask
from django_simpletask3.testing.clock import task_clock
from tests.steps import TASK_MODELS, label_of
from tests.testapp.models import Errand, Invoice, Letter, Odd, PaidInvoice, UuidKeyed

START = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


@pytest.fixture(autouse=True)
def still_time(monkeypatch: Any) -> Any:
    monkeypatch.setattr(timezone, "now", lambda: START)
    with task_clock(START):
        yield


def by_django(model: type[Any], *args: Any, **columns: Any) -> Any:
    """A new instance, made by Django's constructor."""
    instance = model.__new__(model)
    models.Model.__init__(instance, *args, **columns)
    return instance


def outcome(make: Any, *args: Any, **columns: Any) -> Any:
    """What the new instance holds; or why there is none."""
    try:
        instance = make(*args, **columns)
    except Exception as error:
        return repr(error)
    state = vars(instance).pop("_state")
    held = {name: repr(value) for name, value in vars(instance).items()}
    # The moment at which it was made, and defaults that are random.
    random = {Errand: "customer", UuidKeyed: "id"}.get(type(instance), "check_at")
    for name in {"check_at", random} - columns.keys() - ({"id"} if "pk" in columns else set()):
        held[name] = repr(type(vars(instance).get(name)))
    return held, type(state), vars(state), dict(state.fields_cache)


@pytest.mark.parametrize("model", TASK_MODELS, ids=label_of)
@pytest.mark.parametrize(
    "columns",
    [
        *({}, {"pk": 7}, {"id": 7}, {"priority": 5, "run_after": None}, {"status": 10}),
        *({"run_after": Now()}, {"add_time": None}, {"worker": models.DEFERRED}, {"pages": 2}),
        *({"colour": "red"}, {"stop_reason": 1}, {"_state": 1}, {"priority": F("attempt")}),
        {"amount": Value(1), "customer": None},
    ],
    ids=str,
)
def test_a_new_task_is_as_django_makes_it(model: type[Any], columns: dict[str, Any]) -> None:
    found = outcome(model, **columns)

    assert found == outcome(lambda **given: by_django(model, **given), **columns)


def test_a_task_of_positional_arguments_is_as_django_makes_it() -> None:
    values = [None] * len(Invoice._meta.concrete_fields)

    assert outcome(Invoice, *values) == outcome(lambda *given: by_django(Invoice, *given), *values)


def test_a_related_instance_is_kept() -> None:
    customer = Letter._meta.get_field("customer").related_model(pk=3)

    letter = Letter(customer=customer)

    assert (letter.customer is customer, letter.customer_id) == (True, 3)


@pytest.fixture
def entered(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], int]:
    """How often Django's constructor is entered: it begins with this signal."""
    # Not a profiler of Python: CPython 3.11 entered one function again and again with it.
    sent: list[type] = []
    sender = SimpleNamespace(send=lambda sender, **_: sent.append(sender))
    monkeypatch.setattr(django.db.models.base, "pre_init", sender)

    def count(make: Callable[[], Any]) -> int:
        sent.clear()
        make()
        return len(sent)

    return count


def test_django_s_constructor_is_called_for_what_only_it_knows(
    entered: Callable[[Callable[[], Any]], int],
) -> None:
    assert entered(Invoice) == 0
    assert entered(lambda: PaidInvoice(amount=3)) == 0
    assert entered(lambda: Letter(customer=None)) == 1
    assert entered(lambda: Invoice(amount=models.DEFERRED)) == 1


def made(name: str, *bases: type, **body: Any) -> type[Any]:
    """A model of a test's own."""
    meta = type("Meta", (), {"app_label": "testapp", "abstract": body.pop("abstract", False)})
    with isolate_apps("tests.testapp"):
        return type(name, bases, {"__module__": __name__, "Meta": meta, **body})


def counting(called: list[str], name: str) -> Any:
    def __init__(self: Any, *args: Any, **columns: Any) -> None:  # noqa: N807
        called.append(name)
        super(owners[name], self).__init__(*args, **columns)

    owners: dict[str, Any] = {}
    return __init__, owners


@pytest.mark.parametrize("place", ["own", "before", "between", "after"])
def test_every_other_constructor_is_called(place: str) -> None:
    called: list[str] = []
    constructor, owners = counting(called, place)
    if place == "own":
        model = owners[place] = made("Own", SimpleTask, __init__=constructor)
    elif place == "between":  # an abstract model beside SimpleTask: before Django's constructor
        mixin = made("Mixin", models.Model, __init__=constructor, abstract=True)
        owners[place], model = mixin, made("Task", SimpleTask, mixin)
    else:
        mixin = owners[place] = type("Mixin", (), {"__init__": constructor})
        bases = (mixin, SimpleTask) if place == "before" else (SimpleTask, mixin)
        model = made("Task", *bases)

    task = model(priority=3)

    assert called == [place]
    assert (task.priority, task.status) == (3, 0)


def test_receivers_of_a_new_instance_are_called(request: Any) -> None:
    seen: list[Any] = []
    for signal in (pre_init, post_init):
        receiver = lambda signal, **_: seen.append(signal)  # noqa: E731
        signal.connect(receiver, sender=Odd, weak=False)
        request.addfinalizer(lambda s=signal, r=receiver: s.disconnect(r, sender=Odd))

    Odd()

    assert seen == [pre_init, post_init]


def test_an_abstract_task_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="Abstract models cannot be instantiated"):
        SimpleTask()


def test_a_default_that_a_test_replaces_counts() -> None:
    Invoice()

    with mock.patch.object(Invoice._meta.get_field("amount"), "default", 7):
        assert Invoice().amount == 7
    assert Invoice().amount != 7


def test_a_constructor_of_django_that_a_test_replaces_is_called() -> None:
    Invoice()

    with mock.patch.object(models.Model, "__init__", autospec=True) as constructor:
        Invoice()

    assert constructor.called


class ListField(models.JSONField):  # type: ignore[type-arg]
    """Has another default for each instance, by a property of its class."""

    @property
    def _get_default(self) -> Any:
        return list


def test_no_two_tasks_share_a_default_that_is_made_anew() -> None:
    with isolate_apps("tests.testapp"):

        class Tagged(SimpleTask):
            tags: Any = ListField()

            class Meta:
                app_label = "testapp"

    assert Tagged().tags is not Tagged().tags


def test_a_column_that_was_added_later_is_filled() -> None:
    with isolate_apps("tests.testapp"):

        class Growing(SimpleTask):
            class Meta:
                app_label = "testapp"

        Growing()
        Growing.add_to_class("extra", models.IntegerField(default=3))

    assert vars(Growing())["extra"] == 3
