"""Browsers of users with some permissions."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

ENGLISH = {"accept-language": "en"}


def client_for(user: User) -> Client:
    """A browser that is logged in as ``user`` and reads English."""
    client = Client(headers=ENGLISH)
    client.force_login(user)
    return client


@pytest.fixture
def staff(db: None) -> Callable[..., Client]:
    """Makes browsers: of a member of the staff who has just the permissions named."""

    def made(*codenames: str) -> Client:
        user = User.objects.create_user("mia", is_staff=True)
        found = Permission.objects.filter(
            content_type__app_label="testapp", codename__in=[name.lower() for name in codenames]
        )
        assert len(found) == len(codenames)
        user.user_permissions.set(found)
        return client_for(user)

    return made


@pytest.fixture
def watcher(staff: Callable[..., Client]) -> Callable[..., Client]:
    """Makes browsers: of a user who sees the dashboard, and has the permissions named."""

    def made(*codenames: str) -> Client:
        client = staff(*codenames)
        seen = Permission.objects.get(codename="view_dashboard")
        User.objects.get(username="mia").user_permissions.add(seen)
        return client

    return made


@pytest.fixture
def superuser(db: None) -> Client:
    """The browser of ``root``, who may do everything."""
    return client_for(User.objects.create_superuser("root"))
