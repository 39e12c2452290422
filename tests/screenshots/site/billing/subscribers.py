"""Who has to learn of the outcomes of the accounts."""

from typing import Any

from django_simpletask3.states import EventKind
from django_simpletask3.subscriptions import subscribe

from .models import InvoiceMail, Payout

#: Whether the server of the customers answers.
is_crm_up = True


@subscribe("billing.ledger", [InvoiceMail, Payout], kinds=[EventKind.ACK])
def enter_in_ledger(task: Any, event: Any) -> None:
    """Enter what was sent and paid."""


@subscribe("crm.webhook", InvoiceMail, kinds=[EventKind.FAIL])
def call_webhook(task: Any, event: Any) -> None:
    """Tell the customers' server of a mail that could not be delivered."""
    if not is_crm_up:
        raise ConnectionError("crm.shop.example did not answer")
