"""The timeline shows the stream of a task and cannot be edited."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.contrib.admin import ModelAdmin
from django.contrib.admin.sites import AdminSite, site
from django.utils import timezone

from django_simpletask3.admin import TaskEventInline
from django_simpletask3.admin.task_page.events import reading
from django_simpletask3.admin.task_page.events.attempts import MARKED, read_attempts
from django_simpletask3.admin.task_page.lanes import SHAPES, Picture, draw
from django_simpletask3.context import task_context
from django_simpletask3.exceptions import StaleTask
from django_simpletask3.ledger.fields import KIND
from django_simpletask3.ledger.task_row import task_reference
from django_simpletask3.states import EventKind, Status
from django_simpletask3.transitions.writer import apply
from tests.admin.pages import LISTED_MODELS, RESET, create_listed_task, text, url
from tests.steps import bring_to, kinds
from tests.testapp.models import Audited, Invoice


def shown(response) -> list[int]:
    """The numbers of the events on the page."""
    return [event.sequence for event in response.context["task_page"].timeline.events.listed]


def picture(task, now=None) -> Picture:
    drawn = draw(read_attempts(list(task.events.all()), task, now), is_open=now is not None)
    assert drawn is not None
    return drawn


def legend(page: str) -> str:
    return page.partition('class="st3-legend"')[2].partition("</p>")[0]


@pytest.mark.parametrize("model", LISTED_MODELS)
def test_every_task_has_its_timeline(superuser, model) -> None:
    task = bring_to(create_listed_task(model), Status.SUCCESS)

    response = superuser.get(url(task))

    assert shown(response) == [1, 2, 3]
    page = response.content.decode()
    assert re.findall(r'"st3-what">(\w+)<', page) == ["enqueued", "started", "succeeded"]


def test_the_timeline_tells_everything_about_an_event(superuser, pending_task) -> None:
    apply(pending_task, EventKind.START, worker="node-7:12:x")
    apply(pending_task, EventKind.NOTE, reason="half way", data={"done": 5})

    words = text(superuser.get(url(pending_task)))

    for word in ("node-7 › 12", "“half way”", "&quot;done&quot;: 5", "waiting", "running", "note"):
        assert word in words


def test_a_user_who_may_view_the_task_sees_its_timeline(staff, running_task) -> None:
    response = staff("view_invoice").get(url(running_task))

    assert shown(response) == [1, 2]


def test_a_new_task_has_no_timeline_yet(superuser) -> None:
    response = superuser.get(url(Invoice, "add"))

    assert response.context["inline_admin_formsets"] == []
    assert "task_page" not in response.context


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
    monkeypatch.setattr(reading, "PAGE_SIZE", 3)
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

    # Session, user, task, children, what it waits for, events; of a long stream its first event and
    # its legal holds; for its explanation the model it was saved as, the event that changed its
    # status and, in a savepoint, a pause of its queue.
    with django_assert_num_queries(13):
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


def test_an_admin_can_do_without_parts_of_the_page(superuser, finished_task, monkeypatch) -> None:
    monkeypatch.setattr(site.get_model_admin(Invoice), "task_parts", ("events",))

    page = superuser.get(url(finished_task)).content.decode()

    assert ">Events</h2>" in page
    assert ">Timeline</h2>" not in page
    assert ">Result</h2>" not in page


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
    assert b'class="st3-lanes"' in response.content
    assert response.content.count(b"data-st3-event") == 3
    assert response.content.count(b'id="st3-icon-waiting"') == 1
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

    drawn = picture(pending_task, begin + timedelta(seconds=210))

    bars = [[(bar.css_class, round(bar.width)) for bar in lane.bars] for lane in drawn.lanes]
    assert [lane.number for lane in drawn.lanes] == [1, 2, 3]
    assert [[css for css, _ in lane] for lane in bars] == [
        ["st3-span-waiting", "st3-span st3-lost"],
        ["st3-span-waiting", "st3-span st3-succeeded"],
        ["st3-span-waiting"],
    ]
    assert bars[1][1][1] == round(60 / 210 * 100)
    (mark,) = drawn.lanes[0].marks
    assert mark.title == "recovered · its worker process ended · by recovery"
    assert [lane.attempt.outcome for lane in drawn.lanes] == [
        "worker lost after 20.0 s",
        "succeeded after 1 min",
        "waiting, 10.0 s",
    ]


def test_the_picture_tells_a_blocked_task_from_one_that_waits_for_a_worker(
    superuser, pending_task, time_machine
) -> None:
    begin = pending_task.add_time
    for seconds, kind in [(10, EventKind.BLOCK), (60, EventKind.UNBLOCK), (90, EventKind.START)]:
        time_machine.move_to(begin + timedelta(seconds=seconds))
        apply(pending_task, kind, worker="node-1")

    drawn = picture(pending_task, begin + timedelta(seconds=100))
    page = superuser.get(url(pending_task)).content.decode()

    (lane,) = drawn.lanes
    assert [bar.title for bar in lane.bars] == [
        "waiting: 10.0 s",
        "blocked: 50.0 s",
        "waiting: 30.0 s",
        "running: 10.0 s · node-1",
    ]
    assert "</svg>blocked</span>" in legend(page)


def test_a_task_canceled_while_it_waits_ends_the_attempt_that_it_waited_for(
    pending_task, time_machine
) -> None:
    begin = pending_task.add_time
    for seconds, kind in [(10, EventKind.START), (30, EventKind.RETRY), (35, EventKind.CANCEL)]:
        time_machine.move_to(begin + timedelta(seconds=seconds), tick=False)
        apply(pending_task, kind, worker="node-1")

    first, second = picture(pending_task).lanes

    assert (first.attempt.outcome, second.attempt.outcome) == (
        "failed after 20.0 s",
        "canceled after 5.0 s",
    )
    assert [[mark.name for mark in lane.marks] for lane in (first, second)] == [
        ["failed, retries"],
        ["canceled"],
    ]


def test_the_legend_names_blocked_tasks_only_where_there_are_some(superuser, running_task) -> None:
    assert "blocked" not in legend(superuser.get(url(running_task)).content.decode())


def test_a_refused_event_is_marked_at_the_attempt_that_it_comes_from(
    superuser, running_task
) -> None:
    stalled = Invoice.objects.get(pk=running_task.pk)
    apply(running_task, EventKind.RECOVER)
    apply(running_task, EventKind.START, worker="node-2")
    with pytest.raises(StaleTask):
        apply(stalled, EventKind.ACK, worker="w1")

    drawn = superuser.get(url(running_task)).context["task_page"].timeline.picture
    lanes = {lane.number: lane for lane in drawn.lanes}

    assert [mark.name for mark in lanes[1].marks] == ["recovered", "late result refused"]
    assert lanes[1].bars[-1].css_class == "st3-span-late"
    assert lanes[2].marks == []
    assert lanes[2].worker == "node-2"


def test_each_kind_of_mark_has_its_own_shape_and_stands_in_the_legend(
    superuser, running_task
) -> None:
    apply(running_task, EventKind.RECOVER)
    running_task.cancel()

    content = superuser.get(url(running_task)).content.decode()

    assert len(set(SHAPES.values())) == len(SHAPES)
    for kind in (EventKind.RECOVER, EventKind.CANCEL):
        assert content.count(f'd="{SHAPES[kind]}"') == 2
        assert f"</svg>{dict(KIND)[kind]}" in legend(content)
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
    assert (kind in SHAPES) != (kind in SPAN_KINDS), "see SHAPES in admin/task_page/lanes"
    assert (kind in SHAPES) == (kind in MARKED), "see MARKED in admin/task_page/events/attempts"


def test_a_running_task_names_its_worker(pending_task, time_machine) -> None:
    begin = pending_task.add_time
    name = "node-1:4711:140"
    for seconds, kind in [(1, EventKind.START), (50, EventKind.RECOVER), (51, EventKind.START)]:
        time_machine.move_to(begin + timedelta(seconds=seconds))
        apply(pending_task, kind, worker=name)

    drawn = picture(pending_task, begin + timedelta(seconds=52))

    runs = [bar for lane in drawn.lanes for bar in lane.bars if "waiting" not in bar.css_class]
    assert [bar.title.endswith(" · node-1 › 4711") for bar in runs] == [True, True]
    assert [lane.worker for lane in drawn.lanes] == ["node-1 › 4711"] * 2


def test_a_task_without_events_has_no_picture(pending_task) -> None:
    assert draw(read_attempts([], pending_task, None), is_open=True) is None


def test_progress_is_shown_while_the_task_runs(superuser, running_task) -> None:
    running_task.note("page 3 of 10", progress=0.3)
    during = superuser.get(url(running_task)).content.decode()
    apply(running_task, EventKind.ACK, worker="w1")

    after = superuser.get(url(running_task)).content.decode()

    assert '<progress class="st3-progress" max="100" value="30"' in during
    assert "page 3 of 10" in during
    assert "<progress" not in after


@pytest.mark.parametrize(
    ("progress", "shown"),
    [
        (
            {"done": 3, "total": 10},
            ["max", 'value="30"', "<strong>30 %</strong>", "3 of 10", "<strong>page</strong>"],
        ),
        ({"done": 12}, ['<progress class="st3-progress" aria-label="Progress">', "12 done"]),
        ({"done": 11, "total": 10}, ["<strong>100 %</strong>", "11 of 10"]),
        ({"done": 0, "total": 0}, ["<strong>100 %</strong>", "0 of 0"]),
        ({"done": 3, "total": 10**400}, ["3 done"]),
        (Decimal("0.3"), ["<strong>30 %</strong>"]),
    ],
    ids=["total", "no total", "more", "nothing", "too large", "decimal"],
)
def test_progress_that_a_task_function_reports_is_shown(
    superuser, running_task, progress, shown
) -> None:
    apply(running_task, EventKind.NOTE, reason="page", data={"progress": progress})

    head = superuser.get(url(running_task)).content.decode().partition("st3-stats")[0]
    assert all(part in head for part in shown)


def test_the_progress_of_an_earlier_attempt_is_not_shown(superuser, running_task) -> None:
    running_task.note("nearly done", progress=0.9)
    apply(running_task, EventKind.RECOVER)
    apply(running_task, EventKind.START, worker="node-2")

    assert "<progress" not in superuser.get(url(running_task)).content.decode()


FAR = datetime(2100, 1, 1, tzinfo=UTC)
TOO_LARGE = [
    {"done": float("inf"), "total": float("inf")},
    {"done": 10**400, "total": 3},
    {"done": 2**53, "total": 2**54},
    Decimal("Infinity"),
    Decimal("sNaN"),
]


@pytest.mark.parametrize(
    "odd", [-1, 2, True, "half", None, [0.5], float("nan"), {"done": "x"}, *TOO_LARGE]
)
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

    assert (
        '<progress class="st3-progress" max="100" value="40"'
        in superuser.get(url(running_task)).content.decode()
    )


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
    assert f'data-st3-live="{where}" data-st3-state="running"' in running.content.decode()
    assert 'data-st3-event="2"' in running.content.decode()
    assert "data-st3-live" not in finished.content.decode()


def test_what_is_new_is_reported_in_json(superuser, running_task) -> None:
    before = live(superuser, running_task).json()
    apply(running_task, EventKind.ACK, worker="w1", result="<script>x</script>")

    after = live(superuser, running_task).json()

    assert (before["final"], after["final"]) == (False, True)
    assert (before["sequence"], after["sequence"]) == (2, 3)
    assert (before["state"], after["state"]) == ("running", "succeeded")
    assert "</svg>succeeded</span>" in after["parts"]["head"]
    assert "&lt;script&gt;" in after["parts"]["outcome"]
    assert "succeeded" in after["parts"]["events"]
    assert "<script>" not in str(after)


def test_events_that_the_page_has_are_not_reported_again(superuser, running_task) -> None:
    address, seen = url(running_task, "timeline"), {"X-St3-Sequence": "2"}
    before = superuser.get(address, headers=seen).json()
    running_task.note("half way")

    after = superuser.get(address, headers=seen).json()

    assert [*before["parts"]] == ["head", "timeline", "outcome"]
    assert "half way" in after["parts"]["events"]


def poll(client, task, page):
    """What the script asks for that has got ``page``."""
    version = page.context["task_page"].version
    return client.get(url(task, "timeline"), headers={"X-St3-Version": version})


def test_the_page_of_a_waiting_task_gets_the_time_only_in_one_statement(
    superuser, pending_task, time_machine, django_assert_num_queries
) -> None:
    time_machine.move_to(pending_task.add_time + timedelta(seconds=40), tick=False)
    page = superuser.get(url(pending_task))

    with django_assert_num_queries(3):  # the session and the user, too
        same = poll(superuser, pending_task, page).json()
    time_machine.shift(30)
    later = poll(superuser, pending_task, page).json()

    assert {*same} == {"final", "interval", "live", "stopped"}
    assert re.fullmatch(r"live, \d\d:\d\d:\d\d", same["live"])
    assert "head" in later["parts"]


def test_the_page_of_a_waiting_task_gets_what_is_new(superuser, pending_task) -> None:
    scheduled = Invoice.objects.create(run_after=pending_task.add_time + timedelta(days=1))
    pages = {task: superuser.get(url(task)) for task in (pending_task, scheduled)}
    pending_task.note("half way")
    Invoice.objects.filter(pk=scheduled.pk).update(run_after=pending_task.add_time)

    answers = [poll(superuser, task, page).json() for task, page in pages.items()]

    assert "half way" in answers[0]["parts"]["events"]
    assert answers[1]["state"] == "waiting"


def test_the_page_of_a_running_task_gets_all_of_it(superuser, running_task) -> None:
    page = superuser.get(url(running_task))

    assert "head" in poll(superuser, running_task, page).json()["parts"]


def test_a_task_that_the_admin_refuses_to_show_is_not_polled(
    superuser, pending_task, monkeypatch
) -> None:
    page, model_admin = superuser.get(url(pending_task)), site.get_model_admin(Invoice)
    for name in ("view", "change"):
        monkeypatch.setattr(
            model_admin, f"has_{name}_permission", lambda request, obj=None: not obj
        )

    assert poll(superuser, pending_task, page).status_code == 403


@pytest.mark.parametrize(
    ("status", "due", "interval"),
    [
        (Status.RUNNING, 0, 1),
        (Status.PENDING, 0, 5),
        (Status.PENDING, 20, 20),
        (Status.PENDING, 90, 30),
        (Status.BLOCKED, 0, 30),
    ],
)
def test_the_server_says_when_the_page_asks_again(
    superuser, time_machine, status, due, interval
) -> None:
    time_machine.move_to(timezone.now(), tick=False)
    run_after = timezone.now() + timedelta(seconds=due) if due else None
    task = bring_to(Invoice.objects.create(run_after=run_after), status)

    page = superuser.get(url(task))

    assert f'data-st3-interval="{interval}"' in page.content.decode()
    assert poll(superuser, task, page).json()["interval"] == interval


def test_what_the_page_does_not_show_is_not_reported(superuser, running_task, monkeypatch) -> None:
    apply(running_task, EventKind.ACK, worker="w1", result="hush-hush")
    model_admin = site.get_model_admin(Invoice)
    monkeypatch.setattr(model_admin, "fieldsets", [(None, {"fields": ["amount", "status_badge"]})])
    monkeypatch.setattr(model_admin, "task_parts", ("timeline",))

    answer = live(superuser, running_task)

    assert [*answer.json()["fields"]] == ["status_badge"]
    assert [*answer.json()["parts"]] == ["head", "timeline"]
    assert "hush-hush" not in answer.content.decode()


SECRET = {"type": "KeyError", "message": "hush-hush", "traceback": "hush-hush"}
OUTCOMES = [
    (EventKind.ACK, {"result": "hush-hush"}),
    (EventKind.FAIL, {"error_data": SECRET}),
    (EventKind.FAIL, {"error_data": {**SECRET, "traceback": "hush-hush" * 500}}),
    (EventKind.DROP, {"error_data": SECRET}),
    (EventKind.RETRY, {"error_data": SECRET, "values": {"run_after": FAR}}),
]


@pytest.mark.parametrize(
    ("kind", "outcome"), OUTCOMES, ids=["result", "error", "long", "given up", "retry"]
)
def test_without_the_outcome_no_page_has_it(
    superuser, running_task, monkeypatch, kind, outcome
) -> None:
    apply(running_task, kind, worker="w1", **outcome)
    model_admin = site.get_model_admin(Invoice)
    monkeypatch.setattr(model_admin, "fieldsets", [(None, {"fields": ["amount"]})])
    monkeypatch.setattr(model_admin, "list_display", ["activity_label"])

    def pages() -> list[str]:
        chosen = {"action": RESET, "_selected_action": running_task.pk}
        responses = [
            superuser.get(url(running_task)),
            live(superuser, running_task),
            superuser.get(url(Invoice)),
            superuser.post(url(Invoice, "live"), {"key": running_task.pk}),
            superuser.post(url(Invoice), chosen),
        ]
        return [response.content.decode() for response in responses]

    assert all("hush-hush" in page for page in pages())
    monkeypatch.setattr(model_admin, "task_parts", ("timeline", "events"))
    assert not any("hush-hush" in page for page in pages())


def test_a_user_who_may_not_view_the_task_sees_nothing(staff, client, running_task) -> None:
    assert live(staff(), running_task).status_code == 403
    assert live(client, running_task).status_code == 302


def test_a_task_that_does_not_exist_is_not_found(superuser, pending_task) -> None:
    where = url(pending_task, "timeline")
    pending_task.delete()

    assert superuser.get(where).status_code == 404


def test_looking_takes_few_queries(superuser, running_task, django_assert_num_queries) -> None:
    live(superuser, running_task)

    # Session, user, task, children, what it waits for, events.
    with django_assert_num_queries(6):
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
