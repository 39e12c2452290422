"""Who may do what: each action is refused where it is offered, posted, and called."""

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.core.exceptions import PermissionDenied
from django.db.migrations.state import ProjectState
from django.test import RequestFactory

from django_simpletask3.admin.actions import actions, definitions
from django_simpletask3.admin.actions.definitions import ACTIONS
from django_simpletask3.models import permissions
from tests.admin.pages import (
    CANCEL,
    EXECUTE,
    EXECUTE_HERE,
    EXPORT,
    FORCE_CANCEL,
    HOLD,
    LIFT,
    RESET,
    RETRY,
    UNBLOCK,
    offered_actions,
    post_action,
    ready,
    shown_messages,
    url,
)
from tests.steps import TASK_MODELS, create_task, kinds
from tests.testapp.models import Invoice

EVERYBODY = {
    "view": (["view_invoice"], set()),
    "change": (["view_invoice", "change_invoice"], set()),
    "delete": (["view_invoice", "delete_invoice"], set()),
    **{
        name: (["view_invoice", f"django_simpletask3_{name}_invoice"], allowed)
        for name, allowed in {
            "execute": {EXECUTE},
            "execute_here": {EXECUTE_HERE},
            "reset": {RESET},
            "retry": {RETRY},
            "cancel": {CANCEL},
            "force_cancel": {FORCE_CANCEL},
            "unblock": {UNBLOCK},
            "hold": {HOLD, LIFT},
            "export": {EXPORT},
        }.items()
    },
    "another model": (["view_invoice", "django_simpletask3_execute_reminder"], set()),
}
EVENTS_OF = {
    EXECUTE: ["note"],
    EXECUTE_HERE: ["start", "ack"],
    RESET: ["reset"],
    RETRY: [],
    CANCEL: ["cancel"],
    FORCE_CANCEL: ["cancel"],
    UNBLOCK: ["unblock"],
    HOLD: ["hold"],
    LIFT: ["lift"],
    EXPORT: ["note"],
}
matrix = pytest.mark.parametrize(("codenames", "allowed"), EVERYBODY.values(), ids=EVERYBODY)
each_action = pytest.mark.parametrize("action", EVENTS_OF)


@matrix
def test_the_list_offers_what_may_be_done(staff, pending_task, codenames, allowed) -> None:
    response = staff(*codenames).get(url(Invoice))

    assert offered_actions(response) - {"delete_selected"} == allowed


@matrix
def test_a_hand_made_post_moves_nothing_without_permission(staff, codenames, allowed) -> None:
    client = staff(*codenames)
    tasks = {action: ready(create_task(Invoice), action) for action in EVENTS_OF}
    before = {action: len(kinds(task)) for action, task in tasks.items()}

    answers = {a: post_action(client, a, task).status_code for a, task in tasks.items()}

    assert answers == {a: 200 if a in allowed else 403 for a in EVENTS_OF}
    assert {a: kinds(task)[before[a] :] for a, task in tasks.items()} == {
        a: events if a in allowed else [] for a, events in EVENTS_OF.items()
    }


@pytest.mark.parametrize("further", [{}, {"index": 0}, {"index": 7}, {"select_across": 1}], ids=str)
def test_an_action_that_is_only_asked_for_is_refused_as_well(staff, pending_task, further) -> None:
    client = staff("view_invoice")
    asked = {"_selected_action": [pending_task.pk], **further}

    answers = {
        action: client.post(url(Invoice), {"action": action, **asked}).status_code
        for action in EVENTS_OF
    }

    assert answers == dict.fromkeys(EVENTS_OF, 403)
    assert kinds(pending_task) == ["enqueue"]


def test_an_unknown_action_is_left_to_django(staff, pending_task) -> None:
    asked = {"action": "drop_tables", "index": 0, "_selected_action": [pending_task.pk]}

    response = staff("view_invoice").post(url(Invoice), asked)

    assert response.status_code in (200, 302)


@matrix
def test_the_action_itself_asks_again(staff, pending_task, codenames, allowed) -> None:
    staff(*codenames)
    request = RequestFactory().post(url(Invoice))
    request.user = User.objects.get(username="mia")
    model_admin = admin.site.get_model_admin(Invoice)

    for action in EVENTS_OF.keys() - allowed:
        with pytest.raises(PermissionDenied):
            getattr(actions, action)(model_admin, request, Invoice.objects.all())

    assert kinds(pending_task) == ["enqueue"]


@each_action
def test_a_superuser_may_do_everything(superuser, pending_task, action) -> None:
    before = len(kinds(ready(pending_task, action)))

    response = post_action(superuser, action, pending_task)

    assert response.status_code == 200
    assert kinds(pending_task)[before:] == EVENTS_OF[action]


@each_action
def test_an_anonymous_user_is_sent_to_the_login(client, pending_task, action) -> None:
    response = post_action(client, action, pending_task)

    assert "/login/" in response.redirect_chain[0][0]
    assert kinds(pending_task) == ["enqueue"]


def test_an_anonymous_user_may_nothing() -> None:
    assert not permissions.may(AnonymousUser(), permissions.EXECUTE, Invoice)


@pytest.mark.parametrize("action", [permissions.EXECUTE, permissions.RESET])
def test_a_permission_declared_for_the_whole_app_counts(staff, pending_task, action) -> None:
    client = staff("view_invoice")
    content_type = Permission.objects.get(codename="view_invoice").content_type
    mia = User.objects.get(username="mia")
    mia.user_permissions.create(codename=action, content_type=content_type, name="of the project")

    offered = offered_actions(client.get(url(Invoice)))

    assert f"{action}_for_selected" in offered


@pytest.mark.django_db
def test_every_task_model_has_its_permissions() -> None:
    expected = {
        permissions.codenames(action, model)[0].partition(".")[2]: model._meta.model_name
        for action in {task_action.permission for task_action in ACTIONS}
        for model in TASK_MODELS
    }

    found = Permission.objects.filter(content_type__app_label="testapp", codename__in=expected)

    assert sorted(found.values_list("codename", "content_type__model")) == sorted(expected.items())


@pytest.mark.django_db
def test_making_the_permissions_again_makes_none() -> None:
    before = Permission.objects.count()

    permissions.create_permissions(apps.get_app_config("testapp"), using="default")

    assert Permission.objects.count() == before


@pytest.mark.django_db
def test_without_the_tables_of_auth_no_permission_is_made() -> None:
    Permission.objects.filter(codename__startswith="django_simpletask3").delete()

    permissions.create_permissions(
        apps.get_app_config("testapp"), "default", apps=ProjectState().apps
    )

    assert not Permission.objects.filter(codename__startswith="django_simpletask3").exists()


def test_a_view_only_user_cannot_change_a_task(staff, pending_task) -> None:
    client = staff("view_invoice")

    page = client.get(url(pending_task))
    response = client.post(url(pending_task), {"amount": 99})

    assert page.status_code == 200
    assert response.status_code == 403
    pending_task.refresh_from_db()
    assert pending_task.amount == 3


def test_a_user_without_permissions_sees_nothing(staff, pending_task) -> None:
    client = staff()

    assert client.get(url(Invoice)).status_code == 403
    assert client.get(url(pending_task)).status_code == 403


@each_action
def test_an_admin_may_refuse_some_of_the_tasks(superuser, monkeypatch, action) -> None:
    mine, theirs = Invoice.objects.create(amount=1), Invoice.objects.create(amount=2)
    task_action = next(task_action for task_action in ACTIONS if task_action.name == action)
    model_admin = admin.site.get_model_admin(Invoice)
    name = f"has_{task_action.permission}_permission"
    monkeypatch.setattr(model_admin, name, lambda request, obj=None: not obj or obj.amount == 1)
    before = [len(kinds(ready(task, action))) for task in (mine, theirs)]

    response = post_action(superuser, action, mine, theirs)

    assert kinds(mine)[before[0] :] == EVENTS_OF[action]
    assert kinds(theirs)[before[1] :] == []
    if task_action is not definitions.EXPORT:
        assert "1 task was left alone: you have no permission for it." in shown_messages(response)


class OnlyMine:
    """A backend that gives permissions of objects."""

    def authenticate(self, request: object, **credentials: object) -> None:
        return None

    def has_perm(self, user_obj: User, perm: str, obj: object = None) -> bool:
        named = perm == "testapp.django_simpletask3_reset_invoice"
        return named and isinstance(obj, Invoice) and obj.amount == 1


def test_permissions_of_objects_count(staff, settings) -> None:
    client = staff("view_invoice")
    mia = User.objects.get(username="mia")
    settings.AUTHENTICATION_BACKENDS = [
        *settings.AUTHENTICATION_BACKENDS,
        f"{__name__}.{OnlyMine.__qualname__}",
    ]
    mine, theirs = Invoice.objects.create(amount=1), Invoice.objects.create(amount=2)

    allowed = [permissions.may(mia, permissions.RESET, Invoice, task) for task in (mine, theirs)]

    assert client.get(url(mine)).status_code == 200
    assert allowed == [True, False]
    assert not permissions.may(mia, permissions.RESET, Invoice)
