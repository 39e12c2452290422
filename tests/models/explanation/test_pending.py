"""Why a task that waits for a worker does not start."""

from datetime import timedelta
from typing import Any

import pytest
import redis
from django.db import OperationalError, ProgrammingError, connection, connections, transaction

from django_simpletask3 import control
from django_simpletask3.context import task_context
from django_simpletask3.db import clock
from django_simpletask3.ledger.task_row import table_model
from django_simpletask3.models.explanation.causes import explain, explain_row
from django_simpletask3.models.explanation.pending import explain_pending
from django_simpletask3.models.explanation.sentences import Cause
from django_simpletask3.models.explanation.status_change import StatusChange, models_of
from django_simpletask3.models.explanation.surroundings import MAX_PLACE, Surroundings
from django_simpletask3.models.queryset import rows_of
from django_simpletask3.models.registry import task_models
from django_simpletask3.queue import get_queue
from django_simpletask3.queue.transport import Transport
from django_simpletask3.states import EventKind, Status
from tests.models.explanation.test_causes import at
from tests.queue.test_rights import grant
from tests.redis_servers import RedisServer
from tests.steps import PAST, TASK_MODELS, apply_kinds, bring_to, create_task, label_of
from tests.testapp.models import Elsewhere, ForeignInvoice, Invoice, Offer, PaidInvoice

pytestmark = pytest.mark.django_db(transaction=True)

NOWHERE = "redis://127.0.0.1:1/0"
LATER = timedelta(hours=2, minutes=5, seconds=30)


@pytest.fixture
def a_worker_reports(redis_url: str) -> None:
    """A worker that runs every model."""
    models = {model._meta.label: {"threads": 1, "held": 0} for model in task_models()}
    get_queue().report("node:1:token", {"models": models})


@pytest.fixture
def redis_commands(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Grows with each command that is sent to Redis."""
    sent: list[object] = []
    ask = Transport._ask

    def counting(queue: Transport, *args: Any, **kwargs: Any) -> Any:
        sent.append(args)
        return ask(queue, *args, **kwargs)

    monkeypatch.setattr(Transport, "_ask", counting)
    return sent


def waits_until(task: Any, kind: EventKind, **details: Any) -> Any:
    """``task``, running, back to PENDING by ``kind``, and due later."""
    run_after = clock.now("default") + LATER
    apply_kinds(task, kind, values={"run_after": run_after}, **details)
    return run_after


def test_a_task_that_is_not_due_says_when_it_is(db: None) -> None:
    task = Invoice.objects.create(run_after=LATER)

    assert task.explain() == f"It is due in 2 h 5 min, at {at(task.run_after)}."


def test_a_retried_task_says_how_it_failed(running_task: Any) -> None:
    error = {"type": "TimeoutError", "message": "no answer", "traceback": "..."}

    due = waits_until(running_task, EventKind.RETRY, error_data=error)

    assert running_task.explain() == (
        f"It failed (TimeoutError: no answer) and is tried again in 2 h 5 min, at {at(due)}."
    )


def test_a_snoozed_task_says_why(running_task: Any) -> None:
    due = waits_until(running_task, EventKind.SNOOZE, reason="the bank is closed")

    assert running_task.explain() == (
        f"Its function asked to be called again in 2 h 5 min, at {at(due)} (the bank is closed)."
    )


def test_a_snoozed_task_without_a_reason_names_none(running_task: Any) -> None:
    due = waits_until(running_task, EventKind.SNOOZE)

    assert running_task.explain() == (
        f"Its function asked to be called again in 2 h 5 min, at {at(due)}."
    )


def test_a_recovered_task_says_that_its_worker_was_lost(running_task: Any) -> None:
    due = waits_until(running_task, EventKind.RECOVER, reason="worker_died")

    assert running_task.explain() == (
        f"Its worker was lost (worker_died), and it starts again in 2 h 5 min, at {at(due)}."
    )


def test_a_task_that_was_reset_is_just_due_later(running_task: Any) -> None:
    due = waits_until(running_task, EventKind.RESET, reason="once more")

    assert running_task.explain() == f"It is due in 2 h 5 min, at {at(due)}."


@pytest.mark.parametrize(
    ("actor", "reason", "details"), [("", "", ""), ("ada", "stocktaking", " (ada: stocktaking)")]
)
@pytest.mark.usefixtures("a_worker_reports")
def test_a_task_of_a_paused_queue_says_who_paused_it(actor: str, reason: str, details: str) -> None:
    task = Invoice.objects.create()
    with task_context(actor=actor):
        control.pause(Invoice, reason)
    [command] = control.current_commands()

    paused = task.explain()
    control.resume(Invoice)

    when = at(command.time)
    assert paused == f"The queue of testapp.Invoice has been paused since {when}{details}."
    assert explain(task).cause is Cause.QUEUED


@pytest.mark.parametrize("model", [PaidInvoice, ForeignInvoice])
@pytest.mark.usefixtures("a_worker_reports")
def test_the_queue_is_that_of_the_model_that_was_saved(model: type[Any]) -> None:
    task = Invoice.objects.get(pk=model.objects.create().pk)
    other = Invoice.objects.create()
    control.pause(model)

    causes = [explain(one).cause for one in (task, other)]

    assert causes == [Cause.PAUSED, Cause.QUEUED]


def test_without_workers_a_task_waits_for_one(redis_url: str) -> None:
    task = Invoice.objects.create()

    assert task.explain().startswith("No worker reports. Start one: ")


@pytest.mark.parametrize("models", [{"testapp.Ledger": {}}, {}, [], "text", None, 3])
def test_a_task_that_no_worker_runs_waits_for_one_that_does(redis_url: str, models: Any) -> None:
    task = Invoice.objects.create()
    get_queue().report("node:1:token", {"models": models})

    assert task.explain() == "No worker that reports runs testapp.Invoice."


@pytest.mark.usefixtures("a_worker_reports")
def test_a_task_says_how_many_are_before_it() -> None:
    tasks = [Invoice.objects.create() for _ in range(3)]

    assert [task.explain() for task in tasks] == [
        "It is the next task of its queue, and waits for a free thread.",
        "It waits behind 1 other task of its queue.",
        "It waits behind 2 other tasks of its queue.",
    ]


@pytest.mark.usefixtures("a_worker_reports")
def test_a_task_at_the_end_of_a_long_queue_is_not_searched_for(redis_commands: Any) -> None:
    channel = Invoice.get_event_channel()
    get_queue().push(channel, [(f"m{number}", number) for number in range(MAX_PLACE + 1)])
    task = Invoice.objects.create()
    del redis_commands[:]

    assert task.explain() == f"It waits behind more than {MAX_PLACE} other tasks of its queue."
    assert len(redis_commands) <= 5


@pytest.mark.usefixtures("a_worker_reports")
def test_a_task_whose_message_was_claimed_is_about_to_start() -> None:
    task = Invoice.objects.create()
    get_queue().claim(Invoice.get_event_channel(), worker="w", lease=60)

    assert task.explain() == "A worker has claimed its message and is about to start it."


@pytest.mark.usefixtures("a_worker_reports")
def test_a_task_without_a_message_says_when_recovery_looks_for_it(redis_client: Any) -> None:
    task = Invoice.objects.create()
    redis_client.delete(*redis_client.keys("*:mq:*"), *redis_client.keys("*:item:*"))

    assert task.explain() == (
        f"Its message is missing in Redis: recovery looks for it at {at(task.check_at)}."
    )


@pytest.mark.usefixtures("a_worker_reports")
def test_a_message_is_looked_for_now_if_its_time_has_passed(redis_client: Any) -> None:
    task = Invoice.objects.create()
    redis_client.delete(*redis_client.keys("*:mq:*"), *redis_client.keys("*:item:*"))
    long_ago = clock.now("default") - timedelta(days=1)
    rows_of(Invoice, "default").update_managed(check_at=long_ago)

    assert at(long_ago) not in task.explain()


def test_a_task_says_that_redis_is_away(settings: Any) -> None:
    task = Invoice.objects.create()
    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = NOWHERE

    assert task.explain() == "Redis does not answer: the task starts when it does."


def test_a_wrong_url_of_redis_is_no_obstacle(settings: Any) -> None:
    task = Invoice.objects.create()
    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = "nonsense://"

    assert explain(task).cause is Cause.REDIS_UNAVAILABLE


@pytest.mark.once
def test_a_redis_that_refuses_is_not_away(own_redis_server: RedisServer, settings: Any) -> None:
    task = Invoice.objects.create()

    with redis.Redis.from_url(own_redis_server.url) as client:
        grant(client, settings.DJANGO_SIMPLETASK3_SIMQ_PREFIX, "evalsha", "eval")
        url = own_redis_server.url.replace("unix://", "unix://limited:hush-hush@")
        settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = url

        assert task.explain() == "Redis refuses a command."


@pytest.mark.usefixtures("a_worker_reports")
def test_a_task_that_can_expire_says_when() -> None:
    task = Offer.objects.enqueue(expires=LATER)

    sentence = task.explain()

    assert sentence.startswith("It is the next task of its queue, and waits for a free thread. ")
    assert sentence.endswith(f"It expires at {at(task.expires_at)}.")


def test_a_blocked_task_that_can_expire_says_when(redis_url: str) -> None:
    task = Offer.objects.enqueue(expires=LATER, blocked=True)

    sentence = task.explain()

    assert "until it is unblocked." in sentence
    assert sentence.endswith(f"It expires at {at(task.expires_at)}.")


@pytest.mark.usefixtures("a_worker_reports")
def test_a_column_that_is_only_called_like_that_is_no_expiry(pending_task: Any) -> None:
    vars(pending_task)["expires_at"] = clock.now("default")  # as a column of the user's own

    sentence = explain_row(pending_task).translate()

    assert sentence == "It is the next task of its queue, and waits for a free thread."


@pytest.mark.parametrize("run_after", [None, LATER])
def test_a_task_that_has_expired_will_be_canceled(db: None, run_after: Any) -> None:
    task = Offer.objects.enqueue(run_after=run_after, expires=PAST)

    sentence = task.explain()

    assert sentence == f"It expired at {at(task.expires_at)}, and recovery cancels it."


def test_redis_may_go_away_at_any_command(settings: Any, pending_task: Any) -> None:
    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = NOWHERE
    known = Surroundings({}, frozenset({"testapp.Invoice"}), has_workers=True)

    found = explain_pending(pending_task, StatusChange("", None), Invoice, known)

    assert found.cause is Cause.REDIS_UNAVAILABLE


@pytest.mark.usefixtures("a_worker_reports", "other_is_away")
def test_the_database_of_commands_may_be_away(monkeypatch: pytest.MonkeyPatch) -> None:
    task = Invoice.objects.create()
    monkeypatch.setattr(control, "command_database", lambda: "other")

    with pytest.raises(OperationalError):
        control.pause_of(Invoice)
    assert explain(task).cause is Cause.QUEUED


@pytest.mark.usefixtures("a_worker_reports")
def test_a_query_that_fails_does_not_spoil_the_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    def query_a_missing_table(model: type[Any]) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT * FROM a_table_that_is_missing")

    task = Invoice.objects.create()
    monkeypatch.setattr(control, "pause_of", query_a_missing_table)

    with pytest.raises((OperationalError, ProgrammingError)):
        control.pause_of(Invoice)
    with transaction.atomic():
        assert explain(task).cause is Cause.QUEUED
        assert Invoice.objects.count() == 1


@pytest.mark.parametrize("model", TASK_MODELS, ids=label_of)
@pytest.mark.usefixtures("a_worker_reports")
def test_tasks_of_every_model_explain_themselves_by_few_queries_and_commands(
    model: type[Any], redis_commands: Any, django_assert_max_num_queries: Any
) -> None:
    task = create_task(model)
    for number in range(5):
        task.note(str(number))
    models = models_of(table_model(model))
    del redis_commands[:]

    with django_assert_max_num_queries(4, connection=connections[task._state.db]) as seen:
        sentence = task.explain()

    assert sentence.startswith("It is the next task of its queue, and waits for a free thread.")
    assert len(redis_commands) <= 5
    assert len(models) > 1 or len(seen) <= 3


def test_a_task_of_another_database_is_explained_there(redis_url: str) -> None:
    task = bring_to(Elsewhere.objects.create(), Status.BLOCKED)

    assert task.explain().startswith("It is blocked since")


def test_without_redis_a_task_waits_for_the_next_look_at_its_table(settings: Any) -> None:
    task = Invoice.objects.create()
    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = "none://"

    assert explain(task).cause is Cause.QUEUED
    assert "polls the table" in task.explain()
