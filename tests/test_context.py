"""Who acts, and why: the block, the request, the thread."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpResponse
from django.test import AsyncRequestFactory, RequestFactory

from django_simpletask3.context import (
    CONTEXT_KEYS,
    EMPTY_CONTEXT,
    RESERVED_KEYS,
    TaskContext,
    current,
    current_user,
    lazy_context,
    request_context,
    task_context,
    task_context_middleware,
)
from tests.steps import create_task, stream_of
from tests.testapp.models import Invoice


def seen_by(user: Any, view: Callable[[Any], Any]) -> Any:
    """What ``view`` returns within a request of ``user``."""
    found = []
    middleware = task_context_middleware(
        lambda request: found.append(view(request)) or HttpResponse()
    )
    request = RequestFactory().post("/shop/pay/?secret=1")
    request.user = user
    middleware(request)
    return found[0]


def test_there_is_no_actor_outside_of_every_block() -> None:
    assert current() == EMPTY_CONTEXT == TaskContext("", "", {})


def test_a_block_says_who_and_why_and_what_else() -> None:
    with task_context(actor="ann", reason="end of month", ticket=7) as reported:
        inside = current()

    assert inside is reported
    assert inside == TaskContext("ann", "end of month", {"ticket": 7})
    assert current() == EMPTY_CONTEXT


def test_an_inner_block_keeps_what_it_does_not_say() -> None:
    with task_context(actor="ann", reason="month", ticket=7, shop=1):
        with task_context(reason="year", ticket=8):
            inside = current()
        after = current()

    assert inside == TaskContext("ann", "year", {"ticket": 8, "shop": 1})
    assert after == TaskContext("ann", "month", {"ticket": 7, "shop": 1})


def test_an_inner_block_may_take_the_actor_back() -> None:
    with task_context(actor="ann"), task_context(actor=""):
        assert current().actor == ""


@pytest.mark.parametrize("key", sorted(RESERVED_KEYS))
def test_a_block_has_no_key_that_the_package_writes(key: str) -> None:
    with pytest.raises(ValueError, match=f"writes {key} into events"), task_context(**{key: 1}):
        pass

    assert current() == EMPTY_CONTEXT


def test_a_block_takes_the_keys_of_a_request() -> None:
    with task_context(user="7", request="GET /", request_id="x", payload="y"):
        assert current().data.keys() == {*CONTEXT_KEYS, "payload"}


def test_an_error_ends_the_block() -> None:
    with pytest.raises(ZeroDivisionError), task_context(actor="ann"):
        _ = 1 / 0

    assert current() == EMPTY_CONTEXT


def test_another_thread_has_a_context_of_its_own() -> None:
    found: list[TaskContext] = []
    thread = threading.Thread(target=lambda: found.append(current()))

    with task_context(actor="ann"):
        thread.start()
        thread.join()

    assert found == [EMPTY_CONTEXT]


def test_a_lazy_context_is_loaded_once_and_only_when_needed() -> None:
    calls: list[int] = []

    def load() -> TaskContext:
        calls.append(1)
        return TaskContext("ann")

    with lazy_context(load):
        before = len(calls)
        found = [current(), current()]
    with lazy_context(load):
        pass

    assert before == 0
    assert found == [TaskContext("ann")] * 2
    assert len(calls) == 1
    assert current() == EMPTY_CONTEXT


def test_a_block_within_what_is_recalled_builds_on_it() -> None:
    with lazy_context(lambda: TaskContext("ann", "", {"shop": 1})):
        with task_context(reason="again"):
            assert current() == TaskContext("ann", "again", {"shop": 1})
        assert current() == TaskContext("ann", "", {"shop": 1})


def test_in_a_request_its_user_acts() -> None:
    found = seen_by(User(username="ann"), lambda request: current())

    assert found == TaskContext("ann", "", {"request": "POST /shop/pay/"})
    assert current() == EMPTY_CONTEXT


def test_no_more_of_a_path_is_kept_than_a_line() -> None:
    request = RequestFactory().get("/" + "x" * 5000)

    assert request_context(request).data == {"request": ("GET /" + "x" * 5000)[:200]}


def test_a_project_decides_what_of_a_path_is_kept() -> None:
    def share(request: Any) -> Any:
        request.django_simpletask3_path = "/share/***/"
        return current()

    assert seen_by(AnonymousUser(), share).data == {"request": "POST /share/***/"}


def test_a_request_without_login_has_no_actor() -> None:
    found = seen_by(AnonymousUser(), lambda request: current())

    assert found.actor == ""


def test_a_request_that_touches_no_task_never_asks_for_its_user() -> None:
    class Unasked:
        def __getattribute__(self, name: str) -> Any:
            raise AssertionError("a session was read for nothing")

    assert seen_by(Unasked(), lambda request: "page") == "page"


def test_the_id_of_a_request_and_the_key_of_its_user_are_kept(django_user_model: Any) -> None:
    found: list[TaskContext] = []
    middleware = task_context_middleware(lambda request: found.append(current()) or HttpResponse())
    request = RequestFactory().get("/", headers={"X-Request-ID": "abc-1" + "x" * 500})
    request.user = django_user_model(pk=7, username="ann")

    middleware(request)

    reported = found[0]
    assert reported.actor == "ann"
    assert (reported.data["user"], reported.data["request_id"]) == (
        "7",
        ("abc-1" + "x" * 500)[:200],
    )


@pytest.mark.django_db
def test_the_user_who_acts_can_be_asked_for(django_user_model: Any) -> None:
    ann = django_user_model.objects.create(username="ann")

    with task_context(actor=ann):
        assert current_user() == ann
    with task_context(user="no key"):
        assert current_user() is None
    assert current_user() is None


def test_before_authentication_there_is_no_user_to_act() -> None:
    found: list[TaskContext] = []
    middleware = task_context_middleware(lambda request: found.append(current()) or HttpResponse())

    middleware(RequestFactory().get("/"))

    assert found == [TaskContext("", "", {"request": "GET /"})]


def test_an_error_in_the_view_ends_the_context() -> None:
    with pytest.raises(ZeroDivisionError):
        seen_by(User(username="ann"), lambda request: 1 / 0)

    assert current() == EMPTY_CONTEXT


def test_in_asynchronous_requests_each_has_its_own_user() -> None:
    meeting = asyncio.Barrier(2)

    async def view(request: Any) -> TaskContext:
        await meeting.wait()
        return await sync_to_async(current)()

    async def ask(name: str) -> TaskContext:
        request = AsyncRequestFactory().get("/")
        request.user = User(username=name)
        return await task_context_middleware(view)(request)

    async def both() -> list[TaskContext]:
        return await asyncio.gather(ask("ann"), ask("bob"))

    assert [reported.actor for reported in asyncio.run(both())] == ["ann", "bob"]


@pytest.mark.django_db
def test_events_carry_the_context_and_a_reason_of_their_own_wins() -> None:
    with task_context(actor=User(username="ann"), reason="month", ticket=7):
        task = create_task(Invoice)
        task.note(step=2)
        task.cancel(reason="not needed")

    reported = [(event.actor, event.reason, event.data) for event in stream_of(task)]
    assert reported == [
        ("ann", "month", {"ticket": 7}),
        ("ann", "month", {"ticket": 7, "step": 2}),
        ("ann", "not needed", {"ticket": 7}),
    ]


@pytest.mark.django_db
def test_who_acted_is_known_after_the_user_is_gone() -> None:
    user = User.objects.create(username="ann")
    with task_context(actor=user):
        task = create_task(Invoice)

    user.delete()

    assert stream_of(task)[0].actor == "ann"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("text", "kept"),
    [("x" * 300, "x" * 255), ("a\x00b", "a\\x00b"), ("\ud800", "\\ud800"), ("\x00" * 255, None)],
    ids=["long", "NUL", "surrogate", "many NULs"],
)
def test_no_text_can_break_a_transition(text: str, kept: str | None) -> None:
    with task_context(actor=text):
        task = create_task(Invoice)
    task.cancel(reason=text)

    first_event, end = stream_of(task)
    assert first_event.actor == end.reason == (kept or ("\\x00" * 255)[:255])
    assert end.digest == end.expected_digest(first_event.digest)
