"""The page about approvals: blocked until a person or a webhook agrees."""

import hmac
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.sites import site
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.core.exceptions import PermissionDenied
from django.test import RequestFactory

from django_simpletask3.states import Status
from tests.admin.conftest import client_for
from tests.admin.pages import RESET, UNBLOCK, post_action, shown_messages
from tests.docs.test_how_to import defined_by, how_to
from tests.steps import has_message, kinds, status_of
from tests.testapp.models import Invoice

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = how_to("wait-for-an-approval")


def run_block(containing: str, **names: Any) -> dict[str, Any]:
    """What a block of the page defines; its Payment is an Invoice."""
    code = PAGE.block("python", containing)
    for theirs, ours in {
        "from app.models import Payment": "from tests.testapp.models import Invoice as Payment",
        "@admin.register(Payment)": "",
        "requested_by": "task_biz_field",
        "app.django_simpletask3_unblock_payment": "testapp.django_simpletask3_unblock_invoice",
    }.items():
        code = code.replace(theirs, ours)
    return defined_by(code, **names)


def user_who_may(name: str, *actions: str) -> User:
    user = User.objects.create_user(name, is_staff=True)
    codenames = [f"django_simpletask3_{action}_invoice" for action in actions]
    granted = Permission.objects.filter(codename__in=["view_invoice", *codenames])
    user.user_permissions.set(granted)
    assert len(granted) == len(actions) + 1
    return user


@pytest.fixture
def payment(redis_url: str) -> Any:
    return run_block("blocked=")["payment"]


def approve(user: Any, payment: Any) -> Any:
    request = RequestFactory().post("/", {"reason": "invoice checked"})
    request.user = user
    return run_block("def approve")["approve"](request, payment.pk)


def test_a_payment_waits_without_a_message(payment: Any) -> None:
    assert status_of(payment) is Status.BLOCKED
    assert not has_message(payment)
    assert payment.events.last().reason == "waits for the approval of finance"


def test_a_person_with_the_permission_approves(payment: Any) -> None:
    answer = approve(user_who_may("ada", "unblock"), payment)

    event = payment.events.last()
    assert (answer.status_code, event.kind) == (200, "unblock")
    assert (event.actor, event.reason) == ("ada", "approved: invoice checked")
    assert has_message(payment)


def test_a_payment_is_approved_once(payment: Any) -> None:
    ada = user_who_may("ada", "unblock")

    answers = [approve(ada, payment).status_code for _ in range(2)]

    assert answers == [200, 409]
    assert kinds(payment) == ["enqueue", "block", "unblock"]


@pytest.mark.parametrize("may", [(), ("reset", "execute", "retry", "cancel")])
def test_a_person_without_the_permission_does_not_approve(payment: Any, may: Any) -> None:
    with pytest.raises(PermissionDenied):
        approve(user_who_may("eve", *may), payment)
    with pytest.raises(PermissionDenied):
        approve(AnonymousUser(), payment)

    assert status_of(payment) is Status.BLOCKED


@pytest.mark.parametrize(("action", "said"), [
    (UNBLOCK, "1 task was unblocked and will run."),
    (RESET, "1 task was reset and waits to run again."),
])  # fmt: skip
def test_a_second_person_is_required(
    payment: Any, action: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin_class = run_block("class PaymentAdmin")["PaymentAdmin"]
    monkeypatch.setattr(site.get_model_admin(Invoice), "__class__", admin_class)
    mia, ada = user_who_may("mia", "unblock"), user_who_may("ada", "unblock")

    refused = post_action(client_for(mia), action, payment)
    status = status_of(payment)
    approved = post_action(client_for(ada), action, payment)

    assert shown_messages(refused) == ["1 task was left alone: you have no permission for it."]
    assert status is Status.BLOCKED
    assert shown_messages(approved) == [said]
    assert status_of(payment) is Status.PENDING


@pytest.fixture
def notify(settings: Any) -> Callable[..., int]:
    """Sends a webhook of the bank, signed with a key; its answer."""
    settings.BANK_WEBHOOK_KEY = "known to the bank"
    return _notify


def _notify(payment: Any, key: str = "known to the bank") -> int:
    body = json.dumps({"payment": payment.pk, "check": "no sanctions"})
    signature = hmac.digest(key.encode(), body.encode(), "sha256").hex()
    headers = {"X-Signature": signature}
    request = RequestFactory().post("/", body, "application/json", headers=headers)
    return int(run_block("def bank_has_checked")["bank_has_checked"](request).status_code)


def test_a_webhook_approves_however_often_it_is_delivered(payment: Any, notify: Any) -> None:
    answers = [notify(payment) for _ in range(2)]

    assert answers == [200, 200]
    assert kinds(payment) == ["enqueue", "block", "unblock"]
    assert payment.events.last().reason == "checked: no sanctions"
    assert payment.events.last().actor == "bank"


def test_a_forged_webhook_approves_nothing(payment: Any, notify: Any) -> None:
    assert notify(payment, key="guessed") == 403
    assert status_of(payment) is Status.BLOCKED


def test_a_refused_payment_stays_canceled(payment: Any, notify: Any) -> None:
    run_block("payment.cancel", payment=payment)

    notify(payment)

    assert status_of(payment) is Status.CANCELED
    assert kinds(payment) == ["enqueue", "block", "cancel"]


def test_what_waits_for_days_is_found(payment: Any, time_machine: Any) -> None:
    before = list(run_block("forgotten =")["forgotten"])

    time_machine.move_to(payment.mod_time + timedelta(days=4))

    assert before == []
    assert list(run_block("forgotten =")["forgotten"]) == [payment]
