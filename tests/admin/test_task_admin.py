"""The pages of each task model answer, save own columns, and record who did it."""

import re
from datetime import timedelta

import pytest
from django.contrib.admin.sites import site
from django.db.models.fields.files import FieldFile
from django.forms import CharField, Form, ModelForm
from django.utils import timezone

from django_simpletask3.admin import SimpleTaskAdmin
from django_simpletask3.models.queryset import rows_of
from django_simpletask3.states import Status
from tests.admin.pages import LISTED_MODELS, create_listed_task, shown_messages, text, url
from tests.steps import bring_to, kinds
from tests.testapp.models import (
    Customer,
    ForeignInvoice,
    Invoice,
    Numbered,
    PaidInvoice,
    Reminder,
    TextKeyed,
    UuidKeyed,
)

each_model = pytest.mark.parametrize("model", LISTED_MODELS)


def filled_in(page) -> dict[str, object]:
    """What a browser posts if the user changes nothing."""
    form: Form = page.context["adminform"].form
    data = {form[name].html_name: form[name].value() for name in form.fields}
    for name, value in list(data.items()):
        if hasattr(value, "isoformat"):
            data |= {f"{name}_0": f"{value:%Y-%m-%d}", f"{name}_1": f"{value:%H:%M:%S}"}
    empty = (type(None), FieldFile)
    return {
        name: value
        for name, value in data.items()
        if value is not False and not isinstance(value, empty)
    }


@pytest.fixture
def customer(db: None) -> Customer:
    return Customer.objects.create(name="Ada")


@each_model
def test_the_list_shows_a_task_in_each_state(superuser, model) -> None:
    task = bring_to(create_listed_task(model), Status.SUCCESS)

    response = superuser.get(url(model))

    assert response.status_code == 200
    assert task in response.context["cl"].result_list
    assert "succeeded" in text(response)


@each_model
def test_a_task_can_be_added_and_is_queued(superuser, model, customer) -> None:
    page = superuser.get(url(model, "add"))
    required = {"id": "c/d é", "script": '{"do": "value"}', "customer": customer.pk, "hidden": ""}

    response = superuser.post(url(model, "add"), filled_in(page) | required)

    task = model._base_manager.get()
    assert (page.status_code, response.status_code) == (200, 302)
    assert kinds(task) == ["enqueue"]
    assert task.events.get().actor == "root"


@each_model
def test_a_task_can_be_looked_at_and_saved(superuser, model) -> None:
    task = bring_to(create_listed_task(model), Status.SUCCESS)
    page = superuser.get(url(task))

    response = superuser.post(url(task), filled_in(page) | {"script": '{"do": "value"}'})

    assert (page.status_code, response.status_code) == (200, 302)
    assert kinds(task) == ["enqueue", "start", "ack"]
    assert "Timeline" in text(page)


@each_model
def test_deleting_a_task_leaves_its_stream(superuser, model) -> None:
    task = create_listed_task(model)
    stream = task.event_model.objects.using(task._state.db).filter(task=task.pk)

    page = superuser.get(url(task, "delete"))
    response = superuser.post(url(task, "delete"), {"post": "yes"})

    assert (page.status_code, response.status_code) == (200, 302)
    assert not model._base_manager.exists()
    assert [event.kind for event in stream] == ["enqueue", "delete"]
    assert stream.last().actor == "root"


@each_model
def test_deleting_many_tasks_leaves_their_streams(superuser, model) -> None:
    task = create_listed_task(model)
    data = {"action": "delete_selected", "_selected_action": [task.pk], "post": "yes"}

    superuser.post(url(model), data)

    stream = task.event_model.objects.using(task._state.db)
    assert not model._base_manager.exists()
    assert [(event.kind, event.actor) for event in stream.filter(sequence=2)] == [
        ("delete", "root")
    ]


@each_model
def test_the_history_page_answers(superuser, model) -> None:
    assert superuser.get(url(create_listed_task(model), "history")).status_code == 200


def test_saving_a_finished_task_writes_own_columns_and_runs_nothing(superuser) -> None:
    task = bring_to(Invoice.objects.create(amount=1), Status.SUCCESS, result="OK")

    superuser.post(
        url(task), {"amount": 5, "priority": 0, "status": 0, "result_data": "", "worker": "x"}
    )

    task.refresh_from_db()
    assert (task.amount, task.status, task.result_data) == (5, Status.SUCCESS, "OK")
    assert kinds(task) == ["enqueue", "start", "ack"]


def test_a_stale_form_cannot_undo_a_move(superuser) -> None:
    task = Invoice.objects.create(amount=1)
    data = filled_in(superuser.get(url(task)))
    bring_to(task, Status.SUCCESS)

    superuser.post(url(task), data | {"amount": 6})

    task.refresh_from_db()
    assert (task.amount, task.status) == (6, Status.SUCCESS)


def test_the_key_of_a_task_cannot_be_changed(superuser) -> None:
    task = TextKeyed.objects.create(id="first")

    superuser.post(url(task), {"id": "second", "priority": 3})

    assert [(row.pk, row.priority) for row in TextKeyed.objects.all()] == [("first", 3)]


def test_an_error_in_an_own_column_shows_the_form_again(superuser, pending_task) -> None:
    response = superuser.post(url(pending_task), {"amount": "seven", "priority": 0})

    assert response.status_code == 200
    assert "Enter a whole number" in text(response)
    assert "enqueue" in text(response)


@pytest.mark.parametrize("priority", [101, -101])
def test_a_priority_out_of_range_shows_the_form_again(superuser, pending_task, priority) -> None:
    response = superuser.post(url(pending_task), {"amount": 1, "priority": priority})

    assert response.status_code == 200
    assert "Ensure this value is" in text(response)


def test_save_as_new_makes_a_task_with_a_life_of_its_own(superuser, monkeypatch) -> None:
    monkeypatch.setattr(site.get_model_admin(Invoice), "save_as", True)
    task = bring_to(Invoice.objects.create(amount=1), Status.SUCCESS, result="OK")

    superuser.post(url(task), {"amount": 2, "priority": 0, "_saveasnew": "1"})

    copy = Invoice.objects.get(amount=2)
    assert (copy.status, kinds(copy)) == (Status.PENDING, ["enqueue"])


def test_a_task_edited_in_the_list_keeps_its_state(superuser, monkeypatch) -> None:
    monkeypatch.setattr(site.get_model_admin(Invoice), "list_editable", ["amount"])
    task = bring_to(Invoice.objects.create(amount=1), Status.SUCCESS, result="OK")
    form = {"form-TOTAL_FORMS": 1, "form-INITIAL_FORMS": 1, "form-0-id": task.pk, "_save": "Save"}

    superuser.post(url(Invoice), form | {"form-0-amount": 4})

    task.refresh_from_db()
    assert (task.amount, task.status, task.result_data) == (4, Status.SUCCESS, "OK")


@pytest.mark.parametrize("per_page", [1, 100], ids=["on another page", "on the page"])
def test_a_form_in_the_list_stays_with_its_task(superuser, monkeypatch, per_page) -> None:
    model_admin = site.get_model_admin(Invoice)
    monkeypatch.setattr(model_admin, "list_editable", ["amount"])
    monkeypatch.setattr(model_admin, "list_per_page", per_page)
    task = Invoice.objects.create(amount=1)
    form = {"form-TOTAL_FORMS": 1, "form-INITIAL_FORMS": 1, "form-0-id": task.pk, "_save": "Save"}
    Invoice.objects.create(amount=2)

    page = superuser.post(url(Invoice), form | {"form-0-amount": "odd"}).content.decode()

    assert re.findall(r'data-st3-key="(\d+)"', page) == [str(task.pk)]
    assert f'name="form-0-id" value="{task.pk}"' in page
    assert 'name="form-0-amount" value="odd"' in page


def test_columns_of_the_state_machine_are_no_inputs(superuser, running_task) -> None:
    page = superuser.get(url(running_task)).content.decode()

    inputs = set(re.findall(r'<(?:input|select|textarea)[^>]* name="(\w+)"', page))
    assert {"amount", "fails", "task_biz_field", "priority"} <= inputs
    assert not inputs & {"status", "attempt", "worker", "success", "result_data", "check_at"}


def test_the_add_form_asks_for_own_columns_and_the_schedule_only(superuser) -> None:
    page = superuser.get(url(Invoice, "add"))

    shown = [name for fieldset in page.context["adminform"] for name in fieldset.fields]
    assert shown == ["amount", "fails", "task_biz_field", ("run_after", "priority")]


def test_own_fieldsets_can_name_ours(superuser, pending_task, monkeypatch) -> None:
    own = ("Money", {"fields": ("amount",)})
    monkeypatch.setattr(
        site.get_model_admin(Invoice), "fieldsets", (own, SimpleTaskAdmin.task_fieldset)
    )

    page = superuser.get(url(pending_task))
    add = superuser.get(url(Invoice, "add"))

    assert [fieldset.name for fieldset in page.context["adminform"]] == ["Money", "Task"]
    assert add.status_code == 200


def test_a_model_with_an_order_of_its_own_keeps_it(superuser) -> None:
    tasks = [Reminder.objects.create() for _ in range(3)]

    listed = list(superuser.get(url(Reminder)).context["cl"].result_list)

    assert listed == tasks[::-1]


@pytest.mark.parametrize("model", [Invoice, Numbered, UuidKeyed, ForeignInvoice])
def test_the_newest_task_comes_first(superuser, model) -> None:
    tasks = [model.objects.create() for _ in range(5)]

    listed = list(superuser.get(url(model)).context["cl"].result_list)

    assert listed == tasks[::-1]


@pytest.mark.parametrize("model", [PaidInvoice, ForeignInvoice])
def test_a_task_stands_in_the_list_of_its_root(superuser, model) -> None:
    task = model.objects.create(amount=3)

    listed = superuser.get(url(Invoice)).context["cl"].result_list

    assert [row.pk for row in listed] == [task.pk]


def test_the_lists_filters_work(superuser, running_task, finished_task) -> None:
    response = superuser.get(url(Invoice), {"status__exact": "20"})

    assert list(response.context["cl"].result_list) == [finished_task]


def test_a_task_is_listed_by_its_str_or_its_key(superuser, pending_task, monkeypatch) -> None:
    before = text(superuser.get(url(Invoice)))
    monkeypatch.setattr(Invoice, "__str__", lambda self: f"invoice of {self.amount}")

    after = text(superuser.get(url(Invoice)))

    assert "invoice of 3" in after
    assert "invoice of 3" not in before


def test_the_outcome_of_an_action_is_reported(superuser, pending_task) -> None:
    response = superuser.post(url(pending_task), {"amount": 1, "priority": 0}, follow=True)

    assert "changed successfully" in shown_messages(response)[0]


@pytest.mark.parametrize("before", [None, timedelta(days=1)], ids=["at once", "tomorrow"])
def test_recovery_looks_for_a_postponed_task_when_it_is_due(superuser, before) -> None:
    due = timezone.now().replace(microsecond=0) + timedelta(hours=2)
    task = Invoice.objects.create(run_after=before and timezone.now() + before)
    schedule = {"run_after_0": f"{due:%Y-%m-%d}", "run_after_1": f"{due:%H:%M:%S}"}

    superuser.post(url(task), {"amount": 1, "priority": 0, **schedule})

    task.refresh_from_db()
    assert (task.run_after, task.check_at) == (due, due)


@pytest.fixture
def task_fieldset(monkeypatch) -> None:
    """The form of an invoice shows what the package's own fieldset has."""
    fieldsets = (SimpleTaskAdmin.task_fieldset,)
    monkeypatch.setattr(site.get_model_admin(Invoice), "fieldsets", fieldsets)


def explanation_of(task, client) -> str:
    answer = client.get(url(task, "timeline")).json()
    (sentence,) = re.findall(r"</span><p>(.*?)</p></div>", answer["parts"]["head"])
    assert answer["fields"].get("explanation_view", sentence) == sentence
    return sentence


def test_the_page_says_why_a_task_does_not_run(superuser) -> None:
    task = Invoice.objects.enqueue(blocked="waits for <finance>\u202e")

    assert "(waits for &lt;finance&gt;\\u202e), until it is unblocked." in text(
        superuser.get(url(task))
    )
    assert "(waits for &lt;finance&gt;\\u202e), until" in explanation_of(task, superuser)


def test_the_page_answers_while_redis_does_not(superuser, pending_task, settings) -> None:
    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = "redis://127.0.0.1:1/0"

    explanation = explanation_of(pending_task, superuser)

    assert explanation == "Redis does not answer: the task starts when it does."


def test_own_fieldsets_need_not_show_the_explanation(superuser, pending_task, monkeypatch) -> None:
    monkeypatch.setattr(site.get_model_admin(Invoice), "fields", ("amount",))

    fields = superuser.get(url(pending_task, "timeline")).json()["fields"]

    assert fields == {}


@pytest.mark.usefixtures("task_fieldset")
def test_the_page_says_when_recovery_examines_a_blocked_task_that_can_expire(superuser) -> None:
    task = Invoice.objects.enqueue(blocked=True)
    expiry = timezone.now() + timedelta(hours=2)
    rows_of(Invoice, "default").filter(pk=task.pk).update_managed(check_at=expiry)

    fields = superuser.get(url(task, "timeline")).json()["fields"]

    assert f"{timezone.localtime(expiry):%Y-%m-%d %H:%M}" in fields["checked_again_at"]


@pytest.mark.usefixtures("task_fieldset")
@pytest.mark.parametrize(
    ("status", "field"),
    [
        (Status.PENDING, "checked_again_at"),
        (Status.BLOCKED, None),
        (Status.RUNNING, "held_until"),
        (Status.SUCCESS, None),
        (Status.FAILED, None),
        (Status.CANCELED, None),
    ],
)
def test_the_check_time_is_named_by_status_and_empty_when_final(superuser, status, field) -> None:
    task = bring_to(Invoice.objects.create(), status)

    fields = superuser.get(url(task, "timeline")).json()["fields"]

    check_times = {name: fields[name] for name in ("checked_again_at", "held_until")}
    assert [name for name, html in check_times.items() if html] == ([field] if field else [])


def test_the_form_of_a_finished_task_is_folded_and_has_no_time_to_run(
    superuser, pending_task, finished_task
) -> None:
    rows_of(Invoice, "default").update_managed(run_after=timezone.now())
    waiting, finished = (
        superuser.get(url(task)).content.decode() for task in (pending_task, finished_task)
    )

    assert 'name="run_after_0"' in waiting
    assert "st3-fold" not in waiting
    assert "run_after" not in finished.partition("st3-fold")[2]
    assert finished.index('<details class="st3-fold') < finished.index('name="amount"')


def test_the_form_of_a_running_task_has_nothing_that_is_without_effect(
    superuser, pending_task, running_task
) -> None:
    waiting, running = (
        superuser.get(url(task)).content.decode() for task in (pending_task, running_task)
    )

    assert 'name="run_after_0"' in waiting
    assert 'name="_addanother"' in waiting
    assert 'name="priority"' in running
    assert 'name="run_after_0"' not in running
    assert 'name="_addanother"' not in running


def test_the_page_begins_with_the_state_and_ends_with_the_form(superuser, running_task) -> None:
    page = superuser.get(url(running_task)).content.decode()

    parts = ['class="st3-head', ">Timeline</h2>", ">Events</h2>", ">Fields</h2>", 'name="amount"']
    places = [page.index(part) for part in parts]
    assert places == sorted(places)
    assert page.count("<h1") == 1


class WithComment(ModelForm):
    """A form with a field that the model has not."""

    own_comment = CharField(required=False)


def test_the_folded_form_names_its_fields(superuser, finished_task, monkeypatch) -> None:
    monkeypatch.setattr(site.get_model_admin(Invoice), "form", WithComment)
    monkeypatch.setattr(site.get_model_admin(Invoice), "fields", ["amount", "own_comment"])

    page = superuser.get(url(finished_task)).content.decode()

    assert '<span class="st3-quiet">amount, own comment</span></summary>' in page


def test_an_error_in_the_folded_form_unfolds_it(superuser, finished_task) -> None:
    page = superuser.post(url(finished_task), {"amount": "seven", "priority": 0}).content.decode()

    assert '<details class="st3-fold st3-fields" open>' in page


@pytest.fixture
def templates(settings, tmp_path):
    """A folder of templates of the project, which come first."""
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [tmp_path]}]
    return tmp_path / "admin" / "testapp" / "invoice"


def test_a_template_of_the_project_can_extend_the_page(superuser, running_task, templates) -> None:
    templates.mkdir(parents=True)
    (templates / "change_form.html").write_text(
        '{% extends "admin/django_simpletask3/change_form.html" %}'
        "{% block object-tools-items %}<li>own tool</li>{% endblock %}"
        "{% block task_timeline %}no timeline{% endblock %}"
    )

    page = superuser.get(url(running_task)).content.decode()

    assert '<ul class="object-tools"><li>own tool</li></ul>' in page
    assert "no timeline" in page
    assert "st3-lanes" not in page
    assert ">Events</h2>" in page


def test_templates_of_the_project_ask_before_a_deletion(superuser, running_task, templates) -> None:
    templates.mkdir(parents=True)
    for name in ("delete_confirmation.html", "delete_selected_confirmation.html"):
        (templates / name).write_text(f"own {name}")
    chosen = {"action": "delete_selected", "_selected_action": [running_task.pk]}

    one = superuser.get(url(running_task, "delete"))
    selection = superuser.post(url(Invoice), chosen)

    assert one.content.decode() == "own delete_confirmation.html"
    assert selection.content.decode() == "own delete_selected_confirmation.html"


def test_a_template_of_the_project_can_replace_the_page(superuser, running_task, templates) -> None:
    templates.mkdir(parents=True)
    (templates / "change_form.html").write_text('{% extends "admin/change_form.html" %}')

    page = superuser.get(url(running_task)).content.decode()

    assert 'name="amount"' in page
    assert "st3-head" not in page
