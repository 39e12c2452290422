"""The page about tasks that wait for others: its blocks do what it says."""

from typing import Any

import pytest

from django_simpletask3.limits import Limit
from django_simpletask3.states import Status
from django_simpletask3.unique import Unique
from tests.dependencies.steps import fail, status, succeed
from tests.docs.test_how_to import defined_by, how_to
from tests.steps import apply_kinds
from tests.testapp.models import Bill, Invoice, Step

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = how_to("wait-for-other-tasks")
#: The models of the page, by those of the tests.
OURS = {
    "from app.models import Page, Summary": (
        "from tests.testapp.models import Invoice as Summary\n"
        "from tests.docs.test_dependencies_page import page as Page"
    )
}


def page(url: str) -> Step:
    return Step(script={"url": url})


def run_block(containing: str) -> dict[str, Any]:
    code = PAGE.block("python", containing)
    for theirs, ours in OURS.items():
        code = code.replace(theirs, ours)
    return defined_by(code)


def test_the_first_sentence_says_that_results_are_not_passed_on() -> None:
    first = PAGE.text.split("\n\n")[1]

    assert first.startswith("The results of tasks are not passed on")


def test_the_summary_runs_when_all_have_ended(redis_url: str) -> None:
    found = run_block("urls = [")
    first, second = found["pages"]
    fail(first)
    between = status(found["summary"])
    succeed(second)

    assert between is Status.BLOCKED
    assert status(found["summary"]) is Status.PENDING


def test_invoices_are_joined_limited_and_awaited_and_failed_ones_tried_again(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = PAGE.block("python", "class SendInvoice").replace("{invoice_id}", "{number}")
    declared = [line.strip() for line in model.splitlines() if "= " in line and "_simple" in line]
    for line in declared:
        name, _, value = line.replace("{customer_id}", "{amount}").partition(" = ")
        monkeypatch.setattr(Bill, name, eval(value, {"Unique": Unique, "Limit": Limit}))
    code = PAGE.block("python", "range(30)")
    for theirs, ours in {
        "import SendInvoice, Summary": "import Bill as SendInvoice, Invoice as Summary",
        "app.models": "tests.testapp.models",
        '"customer_id"': '"amount"',
        '"invoice_id"': '"number"',
    }.items():
        code = code.replace(theirs, ours)
    failed, waiting = Bill.objects.bulk_enqueue([{"number": n} for n in ("3", "4")])
    fail(failed)

    found = defined_by(code)

    assert len(declared) == 3
    assert Bill.objects.count() == 30
    assert (status(failed), status(waiting)) == (Status.PENDING, Status.PENDING)
    assert [event.kind for event in failed.events.all()][-2:] == ["reset", "note"]
    assert found["summary"].prerequisites.count() == 30
    assert status(found["summary"]) is Status.BLOCKED


def test_the_summary_reads_the_results(redis_url: str) -> None:
    found = run_block("urls = [")
    first, second = found["pages"]
    apply_kinds(first, "start")
    apply_kinds(first, "ack", result=3)
    fail(second)
    second.url = "x"
    names = {"self": found["summary"]}

    code = PAGE.block("python", "class Page").split("return {")[1].split("}")[0]
    code = code.replace("page.url", "page.pk")

    assert eval(f"{{{code}}}", names) == {"total": 3, "failed": [second.pk]}


def test_the_other_forms_wait(redis_url: str) -> None:
    found = run_block("import chain")

    assert [status(found[name]) for name in ("first", "second", "summary", "another")] == [
        Status.PENDING,
        *[Status.BLOCKED] * 3,
    ]
    assert Invoice.objects.blocked().count() == 2
