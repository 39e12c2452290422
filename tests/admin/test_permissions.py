"""Who may do what: each action is refused where it is offered, posted, and called."""

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.core.exceptions import PermissionDenied
from django.db.migrations.state import ProjectState
from django.test import RequestFactory

from django_simpletask3 import permissions
from django_simpletask3.admin import actions
from tests.admin.lives import CANCEL, EXECUTE, RESET, ZOO, kinds, post_action, url
from tests.zoo.models import Invoice

EVERYBODY = {
    "view": (["view_invoice"], set()),
    "change": (["view_invoice", "change_invoice"], set()),
    "delete": (["view_invoice", "delete_invoice"], set()),
    "execute": (["view_invoice", "django_simpletask3_execute_invoice"], {EXECUTE}),
    "reset": (["view_invoice", "django_simpletask3_reset_invoice"], {RESET, CANCEL}),
    "another model": (["view_invoice", "django_simpletask3_execute_reminder"], set()),
}
EVENT_OF = {EXECUTE: "note", RESET: "reset", CANCEL: "cancel"}
matrix = pytest.mark.parametrize(("codenames", "allowed"), EVERYBODY.values(), ids=EVERYBODY)
each_action = pytest.mark.parametrize("action", [EXECUTE, RESET, CANCEL])


@matrix
def test_the_list_offers_what_may_be_done(staff, pending_task, codenames, allowed) -> None:
    response = staff(*codenames).get(url(Invoice))

    form = response.context["action_form"]
    offered = {name for name, _ in form.fields["action"].choices if name} if form else set()
    assert offered - {"delete_selected"} == allowed


@matrix
@each_action
def test_a_hand_made_post_moves_nothing_without_permission(
    staff, pending_task, action, codenames, allowed
) -> None:
    post_action(staff(*codenames), action, pending_task)

    assert kinds(pending_task)[1:] == ([EVENT_OF[action]] if action in allowed else [])


@matrix
@each_action
def test_the_action_itself_asks_again(staff, pending_task, action, codenames, allowed) -> None:
    staff(*codenames)
    request = RequestFactory().post(url(Invoice))
    request.user = User.objects.get(username="mia")
    if action in allowed:
        return

    with pytest.raises(PermissionDenied):
        getattr(actions, action)(
            admin.site.get_model_admin(Invoice), request, Invoice.objects.all()
        )

    assert kinds(pending_task) == ["enqueue"]


@each_action
def test_a_superuser_may_do_everything(superuser, pending_task, action) -> None:
    response = post_action(superuser, action, pending_task)

    assert response.status_code == 200
    assert len(kinds(pending_task)) == 2


@each_action
def test_who_is_not_logged_in_is_asked_to(client, pending_task, action) -> None:
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

    offered = client.get(url(Invoice)).context["action_form"].fields["action"].choices

    assert f"{action}_for_selected" in dict(offered)


@pytest.mark.parametrize("model", ZOO)
@pytest.mark.parametrize("action", [permissions.EXECUTE, permissions.RESET])
@pytest.mark.django_db
def test_every_task_model_has_its_permissions(model, action) -> None:
    named = permissions.codenames(action, model)[0].partition(".")[2]

    found = Permission.objects.get(content_type__app_label="zoo", codename=named)

    assert found.content_type.model == model._meta.model_name


@pytest.mark.django_db
def test_making_the_permissions_again_makes_none() -> None:
    before = Permission.objects.count()

    permissions.create_permissions(apps.get_app_config("zoo"), using="default")

    assert Permission.objects.count() == before


@pytest.mark.django_db
def test_without_the_tables_of_auth_no_permission_is_made() -> None:
    Permission.objects.filter(codename__startswith="django_simpletask3").delete()

    permissions.create_permissions(apps.get_app_config("zoo"), "default", apps=ProjectState().apps)

    assert not Permission.objects.filter(codename__startswith="django_simpletask3").exists()


def test_a_view_only_user_cannot_change_a_task(staff, pending_task) -> None:
    client = staff("view_invoice")

    page = client.get(url(pending_task))
    response = client.post(url(pending_task), {"amount": 99})

    assert page.status_code == 200
    assert response.status_code == 403
    pending_task.refresh_from_db()
    assert pending_task.amount == 7


def test_a_user_without_permissions_sees_nothing(staff, pending_task) -> None:
    client = staff()

    assert client.get(url(Invoice)).status_code == 403
    assert client.get(url(pending_task)).status_code == 403
