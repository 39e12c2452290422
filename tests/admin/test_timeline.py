"""The timeline shows the stream of a task, and takes nothing from anybody."""

from datetime import timedelta

import pytest
from django.contrib.admin.sites import site

from django_simpletask3.admin import SimpleTaskAdmin, TimelineInline
from django_simpletask3.admin.timeline import TimelineFormSet
from django_simpletask3.states import EventKind, Status
from django_simpletask3.transitions import record
from tests.admin.lives import ZOO, kinds, make, step, text, url
from tests.zoo.models import Audited, Invoice


def shown(response) -> list[int]:
    """The numbers of the events on the page."""
    (formset,) = response.context["inline_admin_formsets"]
    return [form.instance.sequence for form in formset.formset.initial_forms]


@pytest.mark.parametrize("model", ZOO)
def test_every_task_has_its_timeline(superuser, model) -> None:
    task = step(make(model), Status.SUCCESS)

    response = superuser.get(url(task))

    assert shown(response) == [1, 2, 3]
    words = text(response)
    assert words.index("enqueued") < words.index("started") < words.index("succeeded ack")


def test_the_timeline_tells_everything_about_an_event(superuser, pending_task) -> None:
    record(pending_task, EventKind.START, worker="node-7:12")
    record(pending_task, EventKind.NOTE, reason="half way", data={"done": 5})

    words = text(superuser.get(url(pending_task)))

    for word in ("node-7:12", "half way", "{&quot;done&quot;: 5}", "Pending", "Running", "note"):
        assert word in words


def test_who_may_view_the_task_sees_its_timeline(staff, running_task) -> None:
    response = staff("view_invoice").get(url(running_task))

    assert shown(response) == [1, 2]


def test_a_new_task_has_no_timeline_yet(superuser) -> None:
    response = superuser.get(url(Invoice, "add"))

    assert response.context["inline_admin_formsets"] == []


@pytest.mark.parametrize("model", [Invoice, Audited])
def test_a_posted_formset_changes_no_event(superuser, model) -> None:
    task = step(make(model), Status.RUNNING)
    before = list(task.events.values())
    first, second = task.events.all()
    forged = {
        "events-TOTAL_FORMS": 3,
        "events-INITIAL_FORMS": 2,
        "events-0-id": first.pk,
        "events-0-task": task.pk,
        "events-0-DELETE": "on",
        "events-1-id": second.pk,
        "events-1-task": task.pk,
        "events-1-reason": "forged",
        "events-1-kind": "ack",
        "events-2-task": task.pk,
        "events-2-sequence": 3,
        "events-2-kind": "ack",
        "events-2-attempt": 1,
        "events-2-event_time_0": "2024-01-01",
        "events-2-event_time_1": "00:00:00",
    }

    response = superuser.post(url(task), {"priority": 1, "amount": 1, **forged})

    assert response.status_code == 302
    task.refresh_from_db()
    assert task.priority == 1
    assert list(task.events.values()) == before


@pytest.mark.parametrize("data", [{}, {"events-TOTAL_FORMS": "x"}], ids=["without", "nonsense"])
def test_a_task_is_saved_whatever_is_posted_for_the_timeline(superuser, running_task, data) -> None:
    """Events are added while somebody looks at the form; that must not stop its saving."""
    response = superuser.post(url(running_task), {"priority": 2, "amount": 1, **data})

    assert response.status_code == 302


def test_nobody_may_add_change_or_delete_events(rf) -> None:
    inline = TimelineInline(Invoice, site)

    assert inline.has_view_permission(rf.get("/"))
    assert not inline.has_add_permission(rf.get("/"))
    assert not inline.has_change_permission(rf.get("/"))
    assert not inline.has_delete_permission(rf.get("/"))


def test_of_a_long_stream_the_newest_events_are_shown_in_order(
    superuser, pending_task, monkeypatch
) -> None:
    monkeypatch.setattr(TimelineFormSet, "newest", 3)
    for number in range(5):
        pending_task.note(f"note {number}")

    response = superuser.get(url(pending_task))

    assert shown(response) == [4, 5, 6]
    words = text(response)
    assert "3 older events are not shown." in words
    assert words.count("+") == 3


def test_a_long_stream_takes_as_many_queries_as_a_short_one(
    superuser, pending_task, django_assert_num_queries
) -> None:
    for number in range(250):
        pending_task.note(f"note {number}", more=number)
    superuser.get(url(pending_task))  # from here on Django remembers the content type

    with django_assert_num_queries(4):  # session, user, task, events
        response = superuser.get(url(pending_task))

    assert shown(response) == list(range(52, 252))


def test_the_time_since_the_last_event_is_shown(superuser, pending_task, time_machine) -> None:
    time_machine.move_to(pending_task.add_time + timedelta(seconds=200))
    record(pending_task, EventKind.START, worker="node-1")

    assert "+3 min 20 s" in text(superuser.get(url(pending_task)))


def test_large_data_of_an_event_is_cut(superuser, finished_task) -> None:
    record(finished_task, EventKind.NOTE, data={"text": "x" * 500_000})

    response = superuser.get(url(finished_task))

    assert len(response.content) < 60_000


def test_an_event_of_a_version_to_come_is_shown_as_it_is(superuser, pending_task) -> None:
    model = pending_task.event_model
    event = model(
        task_id=pending_task.pk,
        sequence=2,
        kind="hibernate",
        from_status=77,
        to_status=78,
        attempt=0,
        event_time=pending_task.add_time,
        digest="x",
    )
    event.save()

    words = text(superuser.get(url(pending_task)))

    assert "hibernate" in words
    assert "77" in words


def test_an_admin_can_do_without_the_timeline(rf, admin_user) -> None:
    class Plain(SimpleTaskAdmin):
        timeline_inline = None

    request = rf.get("/")
    request.user = admin_user

    assert Plain(Invoice, site).get_inlines(request, Invoice()) == []


def test_an_admin_can_have_a_timeline_of_its_own(rf, admin_user) -> None:
    class Short(TimelineInline):
        fields = readonly_fields = ("number", "happened")

    class Own(SimpleTaskAdmin):
        timeline_inline = Short

    (inline,) = Own(Invoice, site).get_inlines(rf.get("/"), Invoice())

    assert issubclass(inline, Short)
    assert inline.model is Invoice.event_model


def test_the_stream_of_a_view_stays_as_it_is(superuser, finished_task) -> None:
    superuser.get(url(finished_task))

    assert kinds(finished_task) == ["enqueue", "start", "ack"]
