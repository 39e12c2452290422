"""``run_tasks()`` of the kit for tests writes what a worker writes."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django_simpletask3.states import EventKind
from django_simpletask3.testing import run_tasks
from tests.steps import PAST, create_task, row_of, stream_of
from tests.testapp.models import (
    Bill,
    Errand,
    FlashOffer,
    ForeignInvoice,
    Invoice,
    Ledger,
    PaidInvoice,
    Scripted,
    Step,
)
from tests.worker.conftest import Start

MODELS = [Bill, Errand, FlashOffer, ForeignInvoice, Invoice, Ledger]
MODELS += [PaidInvoice, Scripted, Step]
#: Columns and data that differ from task to task, and from run to run.
OWN = {"id", "invoice_ptr_id", "digest", "unique_key", "customer", "number"}
OWN_DATA = {
    "claim",
    "seconds",
    "payload_salt",
    "unique",
    "parent",
    "cause",
    "traceback",
    "run_after",
}
OWN_DATA |= {"expires_at", "group", "retry_in", "snooze_in"}
#: The second attempt is not due while the test runs.
RETRY = {"do": "ask", "request": "Retry", "after": 600}


def make_tasks(number: str) -> list[Any]:
    """One task for each way that a task may go."""
    first, failing = create_task(Step), create_task(Step, script={"do": "raise"})
    after = [Invoice().after(first), Invoice().after(failing)]
    for task in after:
        task.save()
    scripts: list[Any] = [
        {"do": "value", "value": {"a": [1, None]}},
        {"do": "raise", "error": "OSError"},
        {"do": "raise undecodable"},
        {"do": "exit"},
        {"do": "ask", "request": "Cancel"},
        {"do": "ask", "request": "Snooze", "after": 600},
        {"do": "enqueue"},
    ]
    return [
        first,
        failing,
        *after,
        *(create_task(Scripted, script=script) for script in scripts),
        create_task(Invoice, amount=3),
        create_task(Invoice, fails=True),
        create_task(PaidInvoice),
        create_task(ForeignInvoice),
        create_task(Errand),
        create_task(Bill, number=number),
        create_task(Bill, number=f"{number} fails", script=RETRY),
        FlashOffer.objects.enqueue(expires=PAST),
        Invoice.objects.enqueue(blocked="approval"),
    ]


def shape(value: Any) -> Any:
    """``value``, of a time only that it is there."""
    return "a time" if isinstance(value, datetime) else value


def recorded(tasks: Iterable[Any]) -> list[Any]:
    """What the rows and the events of ``tasks`` say, without what is theirs alone."""
    found = []
    for task in tasks:
        row = row_of(task)
        names = [f.attname for f in row._meta.concrete_fields if f.attname not in OWN]
        columns = {name: shape(getattr(row, name)) for name in names}
        columns["worker"] = bool(columns["worker"])
        if columns["error_data"]:
            columns["error_data"] = columns["error_data"]["message"]
        found.append((columns, [event_shape(event) for event in stream_of(task)]))
    return found


def event_shape(event: Any) -> dict[str, Any]:
    data = {key: "..." if key in OWN_DATA else value for key, value in (event.data or {}).items()}
    if "error" in data:
        data["error"] = (data["error"]["type"], data["error"]["message"])
    names = ("sequence", "kind", "from_status", "to_status", "attempt", "reason")
    said = {name: getattr(event, name) for name in names}
    return {**said, "data": data, "worker": bool(event.worker), "actor": event.actor.split(" ")[0]}


def test_rows_and_events_are_those_of_a_worker(start_server: Start) -> None:
    by_worker = make_tasks("1")
    labels = ",".join(model._meta.label for model in MODELS)
    node = start_server("--burst", "--models", labels)
    output, _ = node.communicate(timeout=60)
    assert node.returncode == 0, output

    by_kit = make_tasks("2")
    result = run_tasks()

    for ours, theirs in zip(recorded(by_kit), recorded(by_worker), strict=True):
        assert ours == theirs
    kinds = {event["kind"] for _, events in recorded(by_kit) for event in events}
    assert kinds >= {
        *(EventKind.ACK, EventKind.FAIL, EventKind.RETRY, EventKind.SNOOZE, EventKind.CANCEL),
        *(EventKind.BLOCK, EventKind.UNBLOCK, EventKind.EXPIRE),
    }
    assert [type(task) for task in result.succeeded].count(Ledger) == 1
