"""The message of a task is the same whether its parts are those of its model or its own."""

from collections.abc import Callable
from types import MethodType
from typing import Any
from uuid import UUID

import pytest

from django_simpletask3.dispatch import task_message
from django_simpletask3.dispatch.task_message import MessageBuilder, TaskMessage
from tests.steps import TASK_MODELS, label_of, make_task
from tests.testapp.models import Elsewhere, Invoice, UuidKeyed
from tests.testapp.routers import ElsewhereRouter

KEYS: list[Any] = [0, 7, -3, 2**63 - 1, 2**70, UUID(int=5), "a", 'q"\\é\n', "x" * 2000, True, None]
TEMPLATES = [
    "django-simpletask3:{app_label}.{model_name}:{id}",
    *(
        "{id}",
        "{id}/{model_name}",
        "{id}{id}",
        "{id:>5}",
        "{id!r}:{app_label}",
        "{{id}}:{model_name}",
    ),
    *('"{id}', "ü{id}", "\\{id}\x7f", "{id}\U0001f600", "y" * 4090 + "{id}"),
]


def built(task: Any, **options: Any) -> TaskMessage:
    return MessageBuilder().build(task, **options)


def outcome(task: Any, **options: Any) -> Any:
    """What the message says, its texts as they are sent; or why there is none."""
    try:
        message = built(task, **options)
    except Exception as error:
        return repr(error)
    texts = [text.encode() if isinstance(text, str) else text for text in message.encoded]
    return {**message._asdict(), "encoded": texts}


@pytest.fixture
def one_by_one(monkeypatch: Any) -> Callable[[], None]:
    """Have each message built by the methods of its task."""
    return lambda: monkeypatch.setattr(task_message, "_form_of", lambda model: None)


@pytest.mark.parametrize("model", TASK_MODELS, ids=label_of)
@pytest.mark.parametrize("using", [None, "default", "other"])
@pytest.mark.parametrize("has_routers", [True, False], ids=["routers", "no router"])
def test_every_model_has_one_form(
    model: type[Any],
    using: str | None,
    has_routers: bool,
    settings: Any,
    one_by_one: Callable[[], None],
) -> None:
    task = make_task(model, priority=5)
    task.pk = UUID(int=7) if model is UuidKeyed else task.pk or 7
    task._state.db = using
    if not has_routers:
        settings.DATABASE_ROUTERS = []
    found = outcome(task, takes_over=True)
    one_by_one()

    assert isinstance(found, dict)
    assert found == outcome(task, takes_over=True)


@pytest.mark.parametrize("key", KEYS, ids=lambda key: ascii(key)[:20])
@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: ascii(template)[:20])
def test_every_key_has_its_place(
    key: Any, template: str, monkeypatch: Any, one_by_one: Callable[[], None]
) -> None:
    monkeypatch.setattr(Invoice, "django_simpletask3_task_id_template", template)
    task = Invoice(pk=key, priority=300)
    found = outcome(task, urgent=True)
    one_by_one()

    assert found == outcome(task, urgent=True)


def test_a_method_of_the_model_is_called_for_each_task(monkeypatch: Any) -> None:
    monkeypatch.setattr(Invoice, "get_task_id", lambda self: f"own {self.amount}", raising=False)
    build = MessageBuilder().build

    assert [build(Invoice(pk=1, amount=n)).id for n in (1, 2)] == ["own 1", "own 2"]


def test_a_method_of_one_task_is_called(monkeypatch: Any) -> None:
    first, second, third = Invoice(pk=1), Invoice(pk=2), Invoice(pk=3)
    vars(first)["get_task_id"] = lambda: "own"
    vars(second)["get_task_data"] = MethodType(lambda self: {"id": self.pk, "own": True}, second)
    vars(third)["django_simpletask3_task_id_template"] = "third {id}"
    build = MessageBuilder().build

    messages = [build(task) for task in (first, second, third)]

    assert [message.id for message in messages] == ["own", second.get_task_id(), "third 3"]
    assert messages[1].encoded.body == '{"id": 2, "own": true}'


def test_a_channel_of_the_model_s_own_is_asked_for(monkeypatch: Any) -> None:
    channels = iter("ab")
    monkeypatch.setattr(Invoice, "get_event_channel", classmethod(lambda cls: next(channels)))
    build = MessageBuilder().build

    assert [build(Invoice(pk=n)).channel for n in (1, 2)] == ["a", "b"]


def test_tasks_of_a_model_are_not_asked_for_their_messages(monkeypatch: Any) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(task_message, "encode_message", lambda *parts: asked.append(parts))
    build = MessageBuilder().build

    for model, key in ((Invoice, 1), (UuidKeyed, UUID(int=1)), (Elsewhere, 1)):
        build(model(pk=key))

    assert asked == []


def test_a_message_is_built_by_the_settings_of_the_moment(settings: Any, monkeypatch: Any) -> None:
    build = MessageBuilder().build
    ids = [build(Invoice(pk=1)).id]

    settings.DJANGO_SIMPLETASK3_TASK_ID_TEMPLATE = "{app_label}/{model_name}/{id}"
    settings.DJANGO_SIMPLETASK3_EVENT_QUEUE_CHANNEL_TEMPLATE = "{app_label}/{model_name}"
    message = build(Invoice(pk=1))
    ids.append(message.id)
    monkeypatch.setattr(Invoice, "django_simpletask3_task_id_template", "own {id}")
    monkeypatch.setattr(Invoice, "django_simpletask3_event_queue_channel_template", "own")
    own = built(Invoice(pk=1))

    assert ids == ["django-simpletask3:testapp.invoice:1", "testapp/invoice/1"]
    assert message.channel == "testapp/invoice"
    assert (own.id, own.channel) == ("own 1", "own")


def test_the_router_is_asked_for_each_task(settings: Any, monkeypatch: Any) -> None:
    first, second = Invoice(pk=1), Invoice(pk=2)
    monkeypatch.setattr(
        ElsewhereRouter,
        "db_for_write",
        lambda self, model, instance=None: "other" if instance is second else "default",
    )
    settings.DATABASE_ROUTERS = ["tests.testapp.routers.ElsewhereRouter"]
    build = MessageBuilder().build

    messages = [build(task) for task in (first, second)]

    assert [message.using for message in messages] == ["default", "other"]
    assert messages[1].id.endswith(":2@other")
