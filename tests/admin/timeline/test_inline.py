"""The timeline shows the stream of a task and cannot be edited."""

from datetime import timedelta

import pytest
from django.contrib.admin import ModelAdmin
from django.contrib.admin.sites import AdminSite, site

from django_simpletask3.admin import SimpleTaskAdmin, TaskEventInline
from django_simpletask3.admin.timeline.gantt import SHAPES, layout
from django_simpletask3.admin.timeline.inline import TimelineFormSet
from django_simpletask3.context import task_context
from django_simpletask3.exceptions import StaleTask
from django_simpletask3.ledger.fields import KIND
from django_simpletask3.ledger.task_row import task_reference
from django_simpletask3.states import EventKind, Status
from django_simpletask3.transitions.writer import apply
from tests.admin.pages import LISTED_MODELS, create_listed_task, text, url
from tests.steps import bring_to, kinds
from tests.testapp.models import Audited, Invoice


def shown(response) -> list[int]:
    """The numbers of the events on the page."""
    (formset,) = response.context["inline_admin_formsets"]
    return [form.instance.sequence for form in formset.formset.initial_forms]


@pytest.mark.parametrize("model", LISTED_MODELS)
def test_every_task_has_its_timeline(superuser, model) -> None:
    task = bring_to(create_listed_task(model), Status.SUCCESS)

    response = superuser.get(url(task))

    assert shown(response) == [1, 2, 3]
    words = text(response)
    assert words.index("enqueued") < words.index("started") < words.index("succeeded ack")


def test_the_timeline_tells_everything_about_an_event(superuser, pending_task) -> None:
    apply(pending_task, EventKind.START, worker="node-7:12")
    apply(pending_task, EventKind.NOTE, reason="half way", data={"done": 5})

    words = text(superuser.get(url(pending_task)))

    for word in ("node-7:12", "half way", "{&quot;done&quot;: 5}", "Waiting", "Running", "note"):
        assert word in words


def test_a_user_who_may_view_the_task_sees_its_timeline(staff, running_task) -> None:
    response = staff("view_invoice").get(url(running_task))

    assert shown(response) == [1, 2]


def test_a_new_task_has_no_timeline_yet(superuser) -> None:
    response = superuser.get(url(Invoice, "add"))

    assert response.context["inline_admin_formsets"] == []


@pytest.mark.parametrize("model", [Invoice, Audited])
def test_a_posted_formset_changes_no_event(superuser, model) -> None:
    task = bring_to(create_listed_task(model), Status.RUNNING)
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
    """Events are added while a user edits the form; the form is saved all the same."""
    response = superuser.post(url(running_task), {"priority": 2, "amount": 1, **data})

    assert response.status_code == 302


def test_no_user_may_add_change_or_delete_events(rf) -> None:
    inline = TaskEventInline(Invoice, site)

    assert inline.has_view_permission(rf.get("/"))
    assert not inline.has_add_permission(rf.get("/"))
    assert not inline.has_change_permission(rf.get("/"))
    assert not inline.has_delete_permission(rf.get("/"))


def test_a_long_stream_shows_its_newest_events_in_order(
    superuser, pending_task, monkeypatch
) -> None:
    monkeypatch.setattr(TimelineFormSet, "page_size", 3)
    for number in range(5):
        pending_task.note(f"note {number}")

    response = superuser.get(url(pending_task))

    assert shown(response) == [4, 5, 6]
    words = text(response)
    assert shown(superuser.get(url(pending_task) + "?events_before=4")) == [1, 2, 3]
    assert "3 older events are not shown." in words
    assert words.count("+") == 3


def test_a_long_stream_takes_as_many_queries_as_a_short_one(
    superuser, pending_task, django_assert_num_queries
) -> None:
    for number in range(250):
        pending_task.note(f"note {number}", more=number)
    superuser.get(url(pending_task))  # from here on Django remembers the content type

    # Session, user, task, children, what it waits for, events, the model it was saved as (twice);
    # for its explanation the event that changed its status and, in a savepoint, a pause of its
    # queue.
    with django_assert_num_queries(12):
        response = superuser.get(url(pending_task))

    assert shown(response) == list(range(52, 252))


def test_the_time_since_the_last_event_is_shown(superuser, pending_task, time_machine) -> None:
    time_machine.move_to(pending_task.add_time + timedelta(seconds=200))
    apply(pending_task, EventKind.START, worker="w1")

    assert "+3 min 20 s" in text(superuser.get(url(pending_task)))


def test_large_data_of_an_event_is_cut(superuser, finished_task) -> None:
    apply(finished_task, EventKind.NOTE, data={"text": "x" * 500_000})

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
    class Short(TaskEventInline):
        fields = readonly_fields = ("number", "kind_label")

    class Own(SimpleTaskAdmin):
        timeline_inline = Short

    (inline,) = Own(Invoice, site).get_inlines(rf.get("/"), Invoice())

    assert inline is Short
    assert inline(Invoice, site).model is Invoice.event_model


def test_the_stream_of_a_view_stays_as_it_is(superuser, finished_task) -> None:
    superuser.get(url(finished_task))

    assert kinds(finished_task) == ["enqueue", "start", "ack"]


class PlainAdmin(ModelAdmin):
    """An admin that knows nothing of tasks but the inline."""

    inlines = (TaskEventInline,)


def test_the_inline_works_in_any_admin(rf, admin_user, finished_task) -> None:
    request = rf.get("/")
    request.user = admin_user
    plain = PlainAdmin(Invoice, AdminSite())

    response = plain.change_view(request, str(finished_task.pk)).render()

    assert plain.check() == []
    assert b"st3-picture" in response.content
    assert b"data-st3-live" not in response.content


def test_the_picture_has_a_lane_for_each_attempt(superuser, pending_task, time_machine) -> None:
    begin = pending_task.add_time
    steps = [
        (10, EventKind.START, {"worker": "node-1"}),
        (30, EventKind.RECOVER, {"reason": "worker_died", "actor": "recovery"}),
        (40, EventKind.START, {"worker": "node-2"}),
        (100, EventKind.ACK, {"worker": "node-2"}),
        (200, EventKind.RESET, {"reason": "once more"}),
    ]
    for seconds, kind, details in steps:
        time_machine.move_to(begin + timedelta(seconds=seconds))
        with task_context(actor=details.pop("actor", "")):
            apply(pending_task, kind, **details)
    time_machine.move_to(begin + timedelta(seconds=210))

    picture = layout(list(pending_task.events.all()), begin + timedelta(seconds=210))

    spans = [[(span.state, round(span.width)) for span in lane.spans] for lane in picture.lanes]
    whole = 864 / 210
    assert [lane.attempt for lane in picture.lanes] == [1, 2, 3]
    assert [[state for state, _ in lane] for lane in spans] == [
        ["waiting", "running"],
        ["waiting", "running", "idle"],
        ["waiting"],
    ]
    assert abs(spans[1][1][1] - 60 * whole) <= 2
    (mark,) = picture.lanes[0].marks
    assert mark.tooltip == "recovered · worker_died · recovery"


def test_the_picture_tells_a_blocked_task_from_one_that_waits_for_a_worker(
    superuser, pending_task, time_machine
) -> None:
    begin = pending_task.add_time
    for seconds, kind in [(10, EventKind.BLOCK), (60, EventKind.UNBLOCK), (90, EventKind.START)]:
        time_machine.move_to(begin + timedelta(seconds=seconds))
        apply(pending_task, kind, worker="node-1")

    picture = layout(list(pending_task.events.all()), begin + timedelta(seconds=100))
    legend = superuser.get(url(pending_task)).content.decode().partition("<figcaption>")[2]

    (lane,) = picture.lanes
    assert [span.tooltip for span in lane.spans] == [
        "waiting: 10.0 s",
        "blocked: 50.0 s",
        "waiting: 30.0 s",
        "running: 10.0 s · node-1",
    ]
    assert 'st3-key-blocked">blocked</span>' in legend


def test_the_legend_names_blocked_tasks_only_where_there_are_some(superuser, running_task) -> None:
    assert "st3-key-blocked" not in superuser.get(url(running_task)).content.decode()


def test_a_refused_event_is_marked_at_the_attempt_that_it_comes_from(
    superuser, running_task
) -> None:
    stalled = Invoice.objects.get(pk=running_task.pk)
    apply(running_task, EventKind.RECOVER)
    apply(running_task, EventKind.START, worker="node-2")
    with pytest.raises(StaleTask):
        apply(stalled, EventKind.ACK, worker="w1")

    (formset,) = superuser.get(url(running_task)).context["inline_admin_formsets"]
    lanes = {lane.attempt: lane for lane in formset.formset.picture.lanes}

    assert [mark.kind for mark in lanes[1].marks] == ["recover", "reject"]
    assert lanes[2].marks == []
    assert lanes[2].spans[-1].worker == "node-2"


def test_each_kind_of_mark_has_its_own_shape_and_stands_in_the_legend(
    superuser, running_task
) -> None:
    apply(running_task, EventKind.RECOVER)
    running_task.cancel()

    content = superuser.get(url(running_task)).content.decode()

    legend = content.partition("<figcaption>")[2].partition("</figcaption>")[0]
    assert len(set(SHAPES.values())) == len(SHAPES)
    for kind in (EventKind.RECOVER, EventKind.CANCEL):
        assert content.count(f'd="{SHAPES[kind]}"') == 2
        assert f"</svg>{dict(KIND)[kind]}" in legend
    assert SHAPES[EventKind.DROP] not in content


#: Drawn as the begin, the end or the text of a span.
SPAN_KINDS = {
    EventKind.ENQUEUE,
    EventKind.START,
    EventKind.ACK,
    EventKind.FAIL,
    EventKind.NOTE,
    EventKind.CHECKPOINT,
}


@pytest.mark.parametrize("kind", EventKind)
def test_every_kind_is_drawn_as_a_mark_or_in_a_span(kind: EventKind) -> None:
    assert (kind in SHAPES) != (kind in SPAN_KINDS), "see SHAPES in admin/timeline/gantt"


def test_a_running_task_names_its_worker(pending_task, time_machine) -> None:
    begin = pending_task.add_time
    name = "django-simpletask3-server:testapp.invoice:0:node-1:4711:140"
    for seconds, kind in [(1, EventKind.START), (50, EventKind.RECOVER), (51, EventKind.START)]:
        time_machine.move_to(begin + timedelta(seconds=seconds))
        apply(pending_task, kind, worker=name)

    picture = layout(list(pending_task.events.all()), begin + timedelta(seconds=52))

    spans = [span for lane in picture.lanes for span in lane.spans if span.state == "running"]
    assert [span.tooltip.endswith(f" · {name}") for span in spans] == [True, True]
    assert (spans[0].label, spans[1].label) == (name, "")


def test_a_task_that_has_only_been_deleted_has_no_picture() -> None:
    assert layout([], None) is None


def test_progress_is_shown_while_the_task_runs(superuser, running_task) -> None:
    running_task.note("page 3 of 10", progress=0.3)
    during = superuser.get(url(running_task)).content.decode()
    apply(running_task, EventKind.ACK, worker="w1")

    after = superuser.get(url(running_task)).content.decode()

    assert '<progress max="100" value="30"' in during
    assert "page 3 of 10" in during
    assert "<progress" not in after


@pytest.mark.parametrize(
    ("progress", "shown"),
    [
        (
            {"done": 3, "total": 10},
            '<progress max="100" value="30" aria-label="Progress"></progress> 30 % 3 of 10 page',
        ),
        ({"done": 12}, '<progress aria-label="Progress"></progress> 12 done page'),
        ({"done": 11, "total": 10}, "100 % 11 of 10 page"),
        ({"done": 0, "total": 0}, "100 % 0 of 0 page"),
    ],
    ids=["total", "no total", "more", "nothing"],
)
def test_progress_that_a_task_function_reports_is_shown(
    superuser, running_task, progress, shown
) -> None:
    apply(running_task, EventKind.NOTE, reason="page", data={"progress": progress})

    assert shown in superuser.get(url(running_task)).content.decode()


def test_the_progress_of_an_earlier_attempt_is_not_shown(superuser, running_task) -> None:
    running_task.note("nearly done", progress=0.9)
    apply(running_task, EventKind.RECOVER)
    apply(running_task, EventKind.START, worker="node-2")

    assert "<progress" not in superuser.get(url(running_task)).content.decode()


@pytest.mark.parametrize("odd", [-1, 2, True, "half", None, [0.5], float("nan"), {"done": "x"}])
def test_progress_that_is_no_share_is_not_shown(superuser, running_task, odd) -> None:
    apply(running_task, EventKind.NOTE, data={"progress": odd})

    assert "<progress" not in superuser.get(url(running_task)).content.decode()


@pytest.mark.parametrize(
    "data",
    [
        {"progress": 0.4, "pages": "x" * 5000},
        {"pages": {"deep": ["x" * 5000]}, "progress": 0.4},
    ],
    ids=["first", "last"],
)
def test_progress_with_much_data_is_shown(superuser, running_task, data) -> None:
    running_task.note("on the way", **data)

    assert '<progress max="100" value="40"' in superuser.get(url(running_task)).content.decode()


def test_much_data_is_read_a_few_times_only(
    superuser, running_task, django_assert_max_num_queries
) -> None:
    for _ in range(20):
        running_task.note("on the way", pages="x" * 5000)
    superuser.get(url(running_task))

    with django_assert_max_num_queries(10):
        superuser.get(url(running_task))


def live(client, task):
    return client.get(url(task, "timeline"))


def test_a_running_tasks_page_asks_what_is_new(superuser, running_task, finished_task) -> None:
    running, finished = (superuser.get(url(task)) for task in (running_task, finished_task))

    where = url(running_task, "timeline")
    assert f'data-st3-live="{where}" data-st3-sequence="2"' in running.content.decode()
    assert 'data-st3-event="2"' in running.content.decode()
    assert "data-st3-live" not in finished.content.decode()


def test_what_is_new_is_reported_in_json(superuser, running_task) -> None:
    before = live(superuser, running_task).json()
    apply(running_task, EventKind.ACK, worker="w1", result="<script>x</script>")

    after = live(superuser, running_task).json()

    assert (before["final"], after["final"]) == (False, True)
    assert (before["sequence"], after["sequence"]) == (2, 3)
    assert "Succeeded" in after["fields"]["status_badge"]
    assert "&lt;script&gt;" in after["fields"]["result_view"]
    assert "succeeded" in after["timeline"]
    assert "<script>" not in str(after)


def test_what_the_page_does_not_show_is_not_reported(superuser, running_task, monkeypatch) -> None:
    apply(running_task, EventKind.ACK, worker="w1", result="hush-hush")
    model_admin = site.get_model_admin(Invoice)
    monkeypatch.setattr(model_admin, "fieldsets", [(None, {"fields": ["amount", "status_badge"]})])
    monkeypatch.setattr(model_admin, "timeline_inline", None)

    answer = live(superuser, running_task)

    assert [*answer.json()["fields"]] == ["status_badge"]
    assert answer.json()["timeline"] == ""
    assert "hush-hush" not in answer.content.decode()


def test_a_user_who_may_not_view_the_task_sees_nothing(staff, client, running_task) -> None:
    assert live(staff(), running_task).status_code == 403
    assert live(client, running_task).status_code == 302


def test_a_task_that_does_not_exist_is_not_found(superuser, pending_task) -> None:
    where = url(pending_task, "timeline")
    pending_task.delete()

    assert superuser.get(where).status_code == 404


def test_looking_takes_few_queries(superuser, running_task, django_assert_num_queries) -> None:
    live(superuser, running_task)

    # Session, user, task, the model it was saved as, children, what it waits for, events.
    with django_assert_num_queries(7):
        live(superuser, running_task)


def test_parents_and_children_are_a_click_away(superuser, running_task) -> None:
    child = Invoice.objects.create()
    Invoice.objects.filter(pk=child.pk).update_managed(parent=task_reference(running_task))
    child.refresh_from_db()

    of_child, of_parent = (superuser.get(url(task)) for task in (child, running_task))

    assert f'href="{url(running_task)}"' in of_child.content.decode()
    assert f'href="{url(child)}"' in of_parent.content.decode()


@pytest.mark.parametrize("name", ["testapp.Invoice#digest", "gone.Model:7", "", ":", "<b>:<i>"])
def test_a_parent_that_has_no_page_is_named(superuser, pending_task, name) -> None:
    Invoice.objects.filter(pk=pending_task.pk).update_managed(parent=name)

    response = superuser.get(url(pending_task))

    assert response.status_code == 200
    assert "<i>" not in response.content.decode()
