"""Of a traceback, the frames of the project are shown and those of libraries are folded."""

import sysconfig
import traceback

import pytest

from django_simpletask3.admin.html import tracebacks, values
from django_simpletask3.admin.html.tracebacks import frame_groups
from django_simpletask3.execution import call

STDLIB = sysconfig.get_path("stdlib")
LINES = f'''Traceback (most recent call last):
  File "/srv/shop/billing/first.py", line 1, in first
    1 / 0
    ~~^~~
ZeroDivisionError: division by zero

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "{call.__file__}", line 60, in call_function
    result = function(task, **arguments)
  File "/srv/shop/billing/tasks.py", line 48, in do_task
    self.invoice.deliver(
        to=self.to,
    )
  File "/srv/shop/.venv/lib/python3.11/site-packages/django/db/transaction.py", line 198, in inner
    return func()
  File "/srv/shop/.venv/lib/python3.11/site-packages/django/core/mail/message.py", line 3, in send
  File "<frozen importlib._bootstrap>", line 1027, in _find_and_load
  File "{STDLIB}/smtplib.py", line 908, in sendmail
    raise SMTPRecipientsRefused(senderrs)
    ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
smtplib.SMTPRecipientsRefused: refused
'''


@pytest.fixture(autouse=True)
def _project(settings) -> None:
    settings.BASE_DIR = "/srv/shop"


def test_frames_of_the_project_and_those_of_libraries_are_distinguished() -> None:
    groups = frame_groups(LINES)

    assert [(group.library, len(group.frames)) for group in groups] == [
        ("django_simpletask3", 1),
        ("", 1),
        ("django", 2),
        ("importlib", 1),
        ("smtplib", 1),
    ]
    own = groups[1].frames[0]
    assert (own.path, own.line, own.name) == ("billing/tasks.py", 48, "do_task")
    assert own.code == ["self.invoice.deliver(", "    to=self.to,", ")"]
    assert groups[2].frames[0].path == "django/db/transaction.py"
    assert groups[-1].frames[0].code == ["raise SMTPRecipientsRefused(senderrs)"]


def test_without_a_frame_of_the_project_the_last_three_are_shown(settings) -> None:
    settings.BASE_DIR = "/srv/other"
    groups = frame_groups(LINES)

    assert [group.library for group in groups] == [
        "django_simpletask3",
        "tasks",
        "django",
        "",
        "",
        "",
    ]


def test_a_project_without_a_base_dir_has_all_that_is_no_library(settings) -> None:
    del settings.BASE_DIR

    assert [group.library for group in frame_groups(LINES)].count("") == 1


def test_a_real_traceback_is_parsed(settings) -> None:
    settings.BASE_DIR = str(settings.BASE_DIR)
    try:
        frame_groups(None)  # type: ignore[arg-type]
    except AttributeError as error:
        text = "".join(traceback.format_exception(error))

    frames = [frame for group in frame_groups(text) for frame in group.frames]

    assert len(frames) == text.count('  File "')
    assert all(frame.name for frame in frames)


@pytest.mark.parametrize(
    "text",
    ["", "no traceback", '  File "', "\x00", '  File "x", line 99999999999999', "    code\n" * 9],
)
def test_what_is_no_traceback_has_no_frames(text) -> None:
    assert frame_groups(text) == []


def test_an_endless_recursion_is_bounded() -> None:
    frame = '  File "/srv/shop/a.py", line 1, in a\n    a()\n'

    shown = values.error({"type": "E", "message": "", "traceback": frame * 100_000})

    assert shown.count("<li>") <= 2 * tracebacks.MAX_FRAMES
    assert len(shown) < 200_000


def test_frames_are_escaped() -> None:
    text = '  File "/srv/shop/<b>.py", line 1, in <i>\n    <u>\n'

    shown = values.error({"type": "E", "message": "", "traceback": text})

    assert "<code>&lt;b&gt;.py, line 1, in &lt;i&gt;</code><pre>&lt;u&gt;</pre>" in shown
