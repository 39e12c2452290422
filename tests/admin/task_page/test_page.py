"""The page of one task."""

from tests.admin.pages import text, url
from tests.testapp.models import Invoice


def test_the_name_of_a_task_is_shown_as_it_is(superuser, pending_task, monkeypatch) -> None:
    monkeypatch.setattr(Invoice, "__str__", lambda task: "orders.csv")

    page = superuser.get(url(pending_task))

    assert "orders.csv" in text(page)
    assert "Orders.csv" not in text(page)


def test_a_task_without_a_name_is_called_by_its_model(superuser, pending_task) -> None:
    page = superuser.get(url(pending_task))

    assert f"Invoice {pending_task.pk}" in text(page)
