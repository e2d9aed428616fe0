"""``-v``, ``-vv`` and ``--log FILE`` of every command."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from ezlink_async.emulator import Emulator
from tests.support.command_line import Ezlink


def test_without_the_option_no_step_is_shown(
    ezlink: Ezlink, user: Emulator, one: tuple[object, ...]
) -> None:
    assert user.api_key
    assert "accepted after" not in ezlink(*one).err


def test_steps_are_shown_with_ids(
    ezlink: Ezlink, user: Emulator, one: tuple[object, ...]
) -> None:
    said = ezlink(*one, "-v")
    [task] = user.control.tasks
    assert said.code == 0
    for words in ("accepted after", "ended after", ": saved "):
        assert [task.task_id in line for line in said.err.splitlines() if words in line]
    assert "-> 200 in" not in said.err
    assert "accepted after" not in said.out


def test_requests_are_shown_when_asked_for_twice(
    ezlink: Ezlink, user: Emulator
) -> None:
    said = ezlink("-vv", "doctor")
    assert f"POST {user.base_url}/mj/insight-face/swap -> 400 in" in said.err
    assert user.api_key not in said.err
    assert logging.getLogger("ezlink_async").level == logging.NOTSET


def test_log_file_has_every_line_of_each_run_and_no_key(
    ezlink: Ezlink, user: Emulator, one: tuple[object, ...], tmp_path: Path
) -> None:
    log = tmp_path / "ezlink.log"
    assert "-> 200 in" not in ezlink(*one, "--log", log).err
    first = log.read_text(encoding="utf-8")
    assert ezlink("task", user.control.tasks[0].task_id, "--log", log).code == 0
    both = log.read_text(encoding="utf-8")
    assert both.startswith(first)
    assert len(both) > len(first)
    assert " INFO    task " in first
    assert " DEBUG   POST " in first
    assert user.api_key not in both


@pytest.mark.skipif(os.name == "nt", reason="rights of another kind")
def test_new_log_file_is_private_and_one_that_is_there_keeps_its_rights(
    ezlink: Ezlink, user: Emulator, one: tuple[object, ...], tmp_path: Path
) -> None:
    """Each id in it opens a picture without a key."""
    new, old = tmp_path / "new.log", tmp_path / "old.log"
    old.touch()
    old.chmod(0o640)
    before = os.umask(0)
    try:
        for log in (new, old):
            assert ezlink(*one, "--log", log).code == 0
    finally:
        os.umask(before)
    assert user.control.tasks
    assert new.stat().st_mode & 0o777 == 0o600
    assert old.stat().st_mode & 0o777 == 0o640


def test_line_feed_in_a_name_is_no_line_of_the_log(
    ezlink: Ezlink, user: Emulator, photos: Path, tmp_path: Path
) -> None:
    odd = photos / "a\nINFO forged.jpg"
    odd.write_bytes((photos / "a.jpg").read_bytes())
    log = tmp_path / "ezlink.log"
    ezlink("swap", photos / "me.jpg", odd, "--output", "out", "--log", log)
    assert len(user.control.tasks) == 1
    lines = log.read_text(encoding="utf-8").splitlines()
    assert any("forged" in line for line in lines)
    assert [line for line in lines if line.startswith("INFO")] == []


def test_log_that_cannot_be_written_ends_the_command_before_it_begins(
    ezlink: Ezlink, user: Emulator, one: tuple[object, ...], tmp_path: Path
) -> None:
    said = ezlink(*one, "--log", tmp_path)
    assert said.code == 2
    assert "the log cannot be written to" in said.err
    assert user.control.requests == []


@pytest.mark.parametrize("command", ["swap", "task", "doctor"])
def test_help_of_a_command_has_the_options(ezlink: Ezlink, command: str) -> None:
    out = ezlink(command, "--help").out
    assert "--verbose" in out
    assert "--log" in out
