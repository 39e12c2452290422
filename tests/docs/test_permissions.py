"""The page about permissions names those that exist."""

from django.apps import apps

from django_simpletask3.models import TaskEvent, permissions
from tests.docs.pages import reference
from tests.project.sources import PACKAGE
from tests.testapp.models import Invoice


def documented() -> set[str]:
    return {name for name in reference("permissions").named() if "." in name}


def test_the_permissions_of_a_task_model_are_those_of_the_page() -> None:
    actions = [
        value
        for name, value in vars(permissions).items()
        if name.isupper() and not name.startswith("_")
    ]
    codenames = {permissions.codenames(action, Invoice)[0] for action in actions}

    expected = {name.replace("testapp.", "app.").replace("invoice", "task1") for name in codenames}
    assert {name for name in documented() if name.startswith("app.")} == expected


def test_the_permissions_of_the_package_are_those_of_the_page() -> None:
    expected = {
        f"{PACKAGE}.{action}_{model._meta.model_name}"
        for model in apps.get_app_config(PACKAGE).get_models()
        for action in model._meta.default_permissions
    }

    assert {name for name in documented() if name.startswith(f"{PACKAGE}.")} == expected


def test_an_event_can_only_be_viewed() -> None:
    assert TaskEvent._meta.default_permissions == ("view",)
