"""The table of a list, and the page without one."""

import re
from datetime import timedelta

import pytest
from django.contrib.admin import display
from django.contrib.admin.sites import site
from django.utils import timezone

from django_simpletask3.states import Status
from tests.admin.pages import text, url
from tests.steps import bring_to
from tests.testapp.models import Invoice, Reminder


def test_cells_keep_their_roles(superuser, pending_task) -> None:
    page = superuser.get(url(Invoice)).content.decode()
    table = page.partition('<table id="result_list"')[2].partition("</table>")[0]

    cells = re.findall(r"<t[dh] ([^>]*)>", table)
    assert cells
    assert not [attributes for attributes in cells if "role=" not in attributes]
    assert {*re.findall(r'role="(\w+)"', table)} == {
        "table",
        "rowgroup",
        "row",
        "columnheader",
        "rowheader",
        "cell",
    }
    assert table.count("<col") - table.count("<colgroup") == len(re.findall("<th scope", table))


@display(description="shout")
def shout(task: Invoice) -> str:
    return "<b>!</b>"


def test_own_columns_have_their_names_as_labels(superuser, pending_task, monkeypatch) -> None:
    columns = ("amount", shout, "status_label", "status")
    monkeypatch.setattr(site.get_model_admin(Invoice), "list_display", columns)

    page = superuser.get(url(Invoice)).content.decode()

    assert re.search(r'<td role="cell" data-label="shout" class="field-shout">&lt;b&gt;!', page)
    assert '<th role="rowheader" class="field-amount"><a href=' in page


def test_the_title_of_the_list_is_the_name_of_the_model(superuser, pending_task) -> None:
    assert "<h1>Invoices</h1>" in superuser.get(url(Invoice)).content.decode()


def test_an_empty_list_says_how_to_enqueue(superuser) -> None:
    page = superuser.get(url(Reminder))

    words = text(page)
    assert "No friendly reminder has been enqueued yet" in words
    assert "Reminder.objects.create(...)" in words
    assert "Add friendly reminder" in words
    assert "<table" not in page.content.decode().partition('id="changelist"')[2]


def test_a_state_without_tasks_leads_to_the_others(superuser, pending_task) -> None:
    page = superuser.get(url(Invoice), {"task-state": "failed"})

    assert "No task has failed Show all 1" in text(page)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (
            {"task-state": "failed", "task-error": "<b>"},
            "No failed task has “&lt;b&gt;” in its error2 failed for other reasons.",
        ),
        ({"q": "nothing"}, "Nothing fits the filter Clear all filters"),
        ({"q": "nothing", "task-state": "failed"}, "Nothing fits the filter Show the 2Clear"),
    ],
)
def test_an_empty_search_says_what_there_is(superuser, query, words) -> None:
    for _ in range(2):
        bring_to(Invoice.objects.create(), Status.FAILED)

    assert words in text(superuser.get(url(Invoice), query))


def test_a_task_of_next_year_is_scheduled(superuser) -> None:
    Invoice.objects.create(run_after=timezone.now() + timedelta(days=400))

    counts = superuser.get(url(Invoice)).context["cl"].state_links()

    assert {link["state"]: link["count"] for link in counts if link["count"] != "0"} == {
        None: "1",
        "scheduled": "1",
    }


def test_the_box_that_selects_all_has_words(superuser, pending_task) -> None:
    page = superuser.get(url(Invoice)).content.decode()

    assert '<label class="st3-all" for="action-toggle">Select all</label>' in page
    assert page.count("st3-all") == 1


@pytest.mark.parametrize("name", ["", " "])
def test_a_task_without_a_name_has_its_key(superuser, pending_task, monkeypatch, name) -> None:
    monkeypatch.setattr(Invoice, "__str__", lambda _task: name)

    listed = superuser.get(url(Invoice)).content.decode()
    page = superuser.get(url(pending_task)).content.decode()

    assert f'<span title="{pending_task.pk}">{pending_task.pk}</span>' in listed
    assert f"<h1>{pending_task.pk}</h1>" in page
