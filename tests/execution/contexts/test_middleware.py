"""Middleware is around every task function, in order, whatever either is: a coroutine or not."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from django_simpletask3.context import current_task
from django_simpletask3.exceptions import TaskStopped, TimeLimitExceeded
from django_simpletask3.execution.finish import finish
from django_simpletask3.execution.interrupt import Interruptible
from django_simpletask3.execution.perform import perform
from django_simpletask3.execution.run import Run
from django_simpletask3.states import EventKind, Status
from tests.eventually import eventually
from tests.steps import bring_to, create_task, kinds, row_of, status_of
from tests.testapp import middleware
from tests.testapp.models import ByPath, Hurried, Invoice
from tests.worker.conftest import Start, drain, start_server  # noqa: F401 - fixtures

pytestmark = pytest.mark.django_db

Make = Callable[..., Run]
WAYS = ["plain", "coroutine", "returned coroutine"]
LAYERS = {
    "plain": ["plain"],
    "asynchronous": ["asynchronous"],
    "plain first": ["plain", "asynchronous"],
    "asynchronous first": ["asynchronous", "plain"],
    "mixed": ["plain", "asynchronous", "plain", "asynchronous", "plain"],
    "both": ["both"],
    "both within": ["asynchronous", "both"],
}
#: Errors of each kind of function in each kind of middleware; no coroutine can raise StopIteration.
ERRORS = [
    (error, way, names)
    for error in (ValueError, SystemExit, KeyboardInterrupt, StopAsyncIteration, StopIteration)
    for way in WAYS
    for names in ((), ("plain",), ("asynchronous",), ("Swallowing",))
    if error is not StopIteration or (way == "plain" and "asynchronous" not in names)
]


@pytest.fixture(autouse=True)
def empty_journal() -> None:
    middleware.JOURNAL.clear()
    middleware.SEEN.clear()


def path_of(name: str) -> str:
    return f"tests.testapp.middleware.{'Both' if name == 'both' else name}"


@pytest.fixture
def make_run(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Make:
    """The run of a task with this function and middleware."""

    def made(function: Any, *names: str) -> Run:
        settings.DJANGO_SIMPLETASK3_MIDDLEWARE = [path_of(name) for name in names]
        monkeypatch.setattr(Invoice, "do_task", function)
        return Run(bring_to(create_task(Invoice), Status.RUNNING), "w1")

    return made


@pytest.fixture
def performed(make_run: Make) -> Make:
    """The same, performed."""

    def made(function: Any, *names: str) -> Run:
        run = make_run(function, *names)
        perform(run)
        return run

    return made


def as_way(function: Callable[[Any], Any], way: str) -> Callable[[Any], Any]:
    """``function`` as a task function of this kind."""

    async def coroutine(self: Any) -> Any:
        return function(self)

    def returned(self: Any) -> Any:
        return coroutine(self)

    return {
        "plain": function,
        "coroutine": coroutine,
        "returned coroutine": returned,
    }[way]


def is_on_loop(name: str, way: str) -> bool:
    return {
        "plain": False,
        "asynchronous": True,
        "both": way == "coroutine",
        "function": way != "plain",
    }[name]


def error_of(run: Run) -> tuple[str, str]:
    assert run.transition is not None
    assert run.transition.kind is EventKind.FAIL
    error = run.transition.error_data or {}
    return str(error["type"]), str(error["message"])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("layers", LAYERS)
def test_it_is_entered_in_order_around_every_kind_of_function(
    performed: Make, layers: str, way: str
) -> None:
    # Those that are on an event loop are within the others.
    names = sorted(LAYERS[layers], key=lambda name: is_on_loop(name, way))

    def function(self: Any) -> str:
        middleware.note("function", "call")
        return middleware.VALUE.get()

    run = performed(as_way(function, way), *LAYERS[layers])

    assert run.transition is not None
    assert run.transition.error_data is None
    assert [(name, event) for name, event, _, _ in middleware.JOURNAL] == [
        *[(name, "enter") for name in names],
        ("function", "call"),
        *[(name, "exit") for name in reversed(names)],
    ]
    # What a layer puts into a context variable is there in the function.
    assert run.transition.result == "".join(name[0] for name in names if name != "both")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("layers", LAYERS)
def test_what_is_synchronous_runs_in_the_thread_of_the_task(
    performed: Make, layers: str, way: str
) -> None:
    performed(as_way(lambda self: middleware.note("function", "call"), way), *LAYERS[layers])

    for name, _, has_loop, thread in middleware.JOURNAL:
        assert (name, has_loop) == (name, is_on_loop(name, way))
        assert (thread == threading.get_ident()) is not has_loop


@pytest.mark.parametrize(("error", "way", "names"), ERRORS)
def test_the_error_of_the_function_is_recorded_as_without_middleware(
    performed: Make, error: type[BaseException], way: str, names: tuple[str, ...]
) -> None:
    def function(self: Any) -> None:
        raise error("here")

    run = performed(as_way(function, way), *names)

    assert error_of(run)[1] == "here"
    assert error_of(run)[0].endswith(error.__name__)
    seen = [error] if names and names[0] in ("plain", "asynchronous") else []
    assert [type(one) for one in middleware.SEEN] == seen


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "names",
    [
        ["refusing"],
        ["refusing_async"],
        ["plain", "refusing_async"],
        ["asynchronous", "refusing_async"],
    ],
)
def test_an_error_on_enter_fails_the_task(performed: Make, names: list[str], way: str) -> None:
    run = performed(as_way(lambda self: middleware.note("function", "call"), way), *names)

    assert error_of(run) == ("PermissionError", f"not {run.pk}")
    assert [name for name, *_ in middleware.JOURNAL] == names[:-1] * 2


@pytest.mark.parametrize(
    "names", [["Swallowing", "refusing"], ["SwallowingAsync", "refusing_async"]]
)
def test_no_outer_layer_hides_that(performed: Make, names: list[str]) -> None:
    run = performed(lambda self: "OK", *names)

    assert error_of(run)[0] == "PermissionError"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["Swallowing", "SwallowingAsync"])
def test_no_layer_hides_the_error_of_the_function(performed: Make, name: str, way: str) -> None:
    run = performed(as_way(lambda self: 1 / 0, way), name)

    assert error_of(run)[0] == "ZeroDivisionError"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["replacing", "replacing_async"])
def test_a_layer_may_replace_the_error(performed: Make, name: str, way: str) -> None:
    run = performed(as_way(lambda self: 1 / 0, way), "plain", name)

    assert error_of(run) == ("LookupError", "replaced")
    assert [type(seen) for seen in middleware.SEEN] == [LookupError]
    assert "ZeroDivisionError" in str((run.transition.error_data or {})["traceback"])


@pytest.mark.parametrize(
    "names",
    [[], ["replacing"], ["replacing_async"], ["Swallowing"], ["SwallowingAsync"]],
    ids=lambda names: "".join(names) or "none",
)
@pytest.mark.parametrize("way", ["plain", "coroutine"])
def test_a_time_limit_passes_through(make_run: Make, names: list[str], way: str) -> None:
    begun = threading.Event()

    def function(self: Any) -> None:
        begun.set()
        eventually(lambda: False, timeout=60)

    async def coroutine(self: Any) -> None:
        begun.set()
        await asyncio.sleep(60)

    run = make_run(function if way == "plain" else coroutine, "plain", *names)
    interrupter = threading.Thread(target=lambda: interrupt_after(begun, run))

    interrupter.start()
    perform(run)
    interrupter.join()

    assert error_of(run)[0] == "django_simpletask3.exceptions.TimeLimitExceeded"
    assert [type(error) for error in middleware.SEEN] == [TimeLimitExceeded]
    assert run.seconds < 30
    if "replacing" in "".join(names):
        note = f"Meanwhile tests.testapp.middleware.{names[0]} raised replaced"
        assert note in str((run.transition.error_data or {})["traceback"])  # type: ignore[union-attr]


@pytest.mark.parametrize("way", ["plain", "coroutine"])
@pytest.mark.parametrize("name", ["replacing", "replacing_async", "Swallowing", "SwallowingAsync"])
@pytest.mark.parametrize(
    "error",
    [TaskStopped(), TimeLimitExceeded("here"), BaseExceptionGroup("", [TaskStopped()])],
    ids=lambda error: type(error).__name__,
)
def test_what_ends_a_function_from_outside_is_not_replaced(
    performed: Make, error: BaseException, name: str, way: str
) -> None:
    def function(self: Any) -> None:
        raise error

    run = performed(as_way(function, way), name)

    assert run.error is error


def interrupt_after(begun: threading.Event, run: Run) -> None:
    """Interrupt ``run`` once: a function in a thread is not given a second chance."""
    begun.wait(60)
    run.function_call.interrupt(TimeLimitExceeded)


def test_columns_that_it_assigns_are_saved(performed: Make) -> None:
    run = performed(lambda self: self.amount, "assigning")

    finish([run])

    task = row_of(run.task)
    assert (task.status, task.result_data, task.amount) == (Status.SUCCESS, 41, 42)


def test_the_task_is_current_in_it(performed: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Any] = []
    monkeypatch.setattr(
        middleware, "plain", lambda task: found.append(current_task()) or nullcontext()
    )

    run = performed(lambda self: "OK", "plain")

    assert found == [run.task]


@pytest.mark.parametrize("name", ["returning_nothing", "NoManager", "without_task", "missing"])
def test_what_is_no_context_manager_fails_the_task(performed: Make, name: str) -> None:
    run = performed(lambda self: "OK", name)

    kind, message = error_of(run)
    assert kind in ("TypeError", "django_simpletask3.exceptions.InvalidSetting")
    assert name in message


def test_none_is_needed(performed: Make) -> None:
    run = performed(lambda self: "OK")

    assert run.transition is not None
    assert run.transition.kind is EventKind.ACK


@pytest.mark.thorough
@pytest.mark.django_db(transaction=True)
def test_a_worker_enters_it_around_executors_and_methods(
    drain: Callable[..., str],  # noqa: F811
    tmp_path: Path,
) -> None:
    journal = tmp_path / "journal"
    tasks = [create_task(Invoice), create_task(ByPath)]

    drain(
        DJANGO_SIMPLETASK3_MIDDLEWARE="tests.testapp.middleware.writing, "
        "tests.testapp.middleware.asynchronous",
        MIDDLEWARE_JOURNAL=str(journal),
    )

    assert [status_of(task) for task in tasks] == [Status.SUCCESS] * 2
    lines = journal.read_text().splitlines()
    assert sorted(lines) == sorted(f"{event} {t.pk}" for t in tasks for event in ("enter", "exit"))


@pytest.mark.thorough
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", ["Swallowing", "SwallowingAsync"])
def test_a_worker_ends_a_function_within_it_that_runs_too_long(
    start_server: Start,  # noqa: F811
    name: str,
) -> None:
    task = create_task(Hurried, script={"do": "wait for ever"})
    start_server("--models", "testapp.Hurried", DJANGO_SIMPLETASK3_MIDDLEWARE=path_of(name))

    eventually(lambda: status_of(task) == Status.FAILED)

    assert kinds(task) == ["enqueue", "start", "fail"]
    assert task.error_data["type"] == "django_simpletask3.exceptions.TimeLimitExceeded"


def test_a_cancellation_is_known_as_ours_as_soon_as_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    interruptible, known, begun = Interruptible(), [], threading.Event()
    real = asyncio.BaseEventLoop.call_soon_threadsafe

    def call_soon(loop: Any, callback: Any, *args: Any, **kwargs: Any) -> Any:
        if getattr(callback, "__name__", "") == "cancel":
            known.append(interruptible.is_interrupted)
        return real(loop, callback, *args, **kwargs)

    async def function() -> None:
        begun.set()
        await asyncio.sleep(60)

    def interrupt() -> None:
        begun.wait(60)
        interruptible.interrupt(TimeLimitExceeded)

    monkeypatch.setattr(asyncio.BaseEventLoop, "call_soon_threadsafe", call_soon)
    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    with interruptible, pytest.raises(TimeLimitExceeded):
        interruptible.run(function())
    interrupter.join()

    assert known == [True]
