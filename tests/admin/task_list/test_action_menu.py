"""Actions in groups by what they do."""

from django.db.models import BLANK_CHOICE_DASH

from django_simpletask3.admin.actions.definitions import ACTIONS
from django_simpletask3.admin.task_list.action_menu import group_choices


def test_every_action_of_the_package_has_a_group() -> None:
    choices = [(action.name, str(action.description)) for action in ACTIONS]

    groups = group_choices([("", "---"), *choices, ("delete_selected", "Delete")])

    (empty, *grouped, last) = groups
    names = [name for _title, members in grouped for name, _description in members]
    assert (empty[0], last[0]) == ("", "delete_selected")
    assert sorted(names) == sorted(name for name, _description in choices)


def test_a_group_without_actions_is_left_out() -> None:
    assert group_choices([("mine", "Mine")]) == [("mine", "Mine")]


def test_the_empty_choice_says_what_to_do() -> None:
    assert [str(text) for _name, text in group_choices(BLANK_CHOICE_DASH)] == ["choose…"]
    assert group_choices([("", "which one?")]) == [("", "which one?")]
