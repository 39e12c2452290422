"""The task functions of the how-to pages about checkpoints and progress."""

from typing import Any

import pytest

from django_simpletask3.states import EventKind
from tests.docs.test_how_to import defined_by, how_to
from tests.running.conftest import Perform, finished, perform_function  # noqa: F401
from tests.steps import apply_kinds, kinds, row_of
from tests.testapp.models import Customer, Invoice

pytestmark = pytest.mark.django_db(transaction=True)


class Reader:
    """Stands for the page's model: its rows are customers."""

    objects = Customer.objects


class Model:
    """Stands for SimpleTask where the class of a page is made."""


class Booking:
    """Stands for the page's model: its rows are customers."""

    class objects:  # noqa: N801
        @staticmethod
        def create(payment: str, amount: int) -> Customer:
            return Customer.objects.create(name=f"{payment}: {amount}")


def class_of_page(code: str, name: str, imports: list[str], **names: Any) -> Any:
    """The class ``name`` of ``code``, whose methods are given to Invoice."""
    for line in imports:
        assert line in code
        code = code.replace(line, "")
    code = code.replace("(SimpleTask)", "(Model)")
    return defined_by(code, Model=Model, **names)[name]


def test_a_renewal_charges_once_and_books_once(
    perform_function: Perform,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    charges: list[str] = []

    def charge(amount: int, key: str) -> str:
        charges.append(key)
        return f"payment {len(charges)}"

    renewal = class_of_page(
        how_to("run-a-step-once").block("python", "class Renewal"),
        "Renewal",
        ["from .bookings import Booking", "from .payments import charge"],
        charge=charge,
        Booking=Booking,
    )
    receipts = iter([ConnectionError("the printer is away"), None])

    def send_receipt(self: Any, payment: str) -> None:
        if error := next(receipts):
            raise error
        renewal.send_receipt(self, payment)

    monkeypatch.setattr(Invoice, "book", renewal.book, raising=False)
    monkeypatch.setattr(Invoice, "send_receipt", send_receipt, raising=False)
    task = Invoice.objects.create(amount=12)

    first = perform_function(renewal.do_task, task)
    assert isinstance(first.error, ConnectionError)
    apply_kinds(row_of(task), EventKind.RECOVER)
    task = finished(perform_function(renewal.do_task, task))

    assert charges == [task.idempotency_key("charge")]
    assert [customer.name for customer in Customer.objects.all()] == ["payment 1: 12"]
    assert capsys.readouterr().out == "receipt for payment 1\n"
    assert task.result_data == "payment 1"
    assert kinds(task) == [
        *("enqueue", "start", "checkpoint", "checkpoint"),
        *("recover", "start", "checkpoint", "ack"),
    ]


def test_a_newsletter_says_how_many_readers_have_it(
    perform_function: Perform,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[str] = []
    Customer.objects.bulk_create([Customer(name="Ada"), Customer(name="Eve")])
    monkeypatch.setattr(Customer, "email", property(lambda self: f"{self.name}@"), raising=False)
    monkeypatch.setattr(Invoice, "text", "Hello", raising=False)
    page = how_to("report-progress").block("python", "class Newsletter")
    newsletter = class_of_page(
        page.partition("class Reader")[0],
        "Newsletter",
        ["from .mail import send"],
        send=lambda email, text: sent.append(f"{email} {text}"),
        Reader=Reader,
    )

    task = finished(perform_function(newsletter.do_task, Invoice.objects.create()))

    assert sent == ["Ada@ Hello", "Eve@ Hello"]
    last = task.events.last().data["progress"]
    assert last == {"done": 2, "total": 2, "message": "sending"}
