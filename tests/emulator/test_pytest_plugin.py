"""The pytest fixtures, in a user's project and beside an async plugin."""

import os
import subprocess
import sys
from pathlib import Path

_PROJECT = """
import asyncio
import sys


def test_nothing_is_imported_early():
    assert "ezlink_async.emulator" not in sys.modules
    assert "aiohttp" not in sys.modules


def test_the_emulator_answers(ezlink_emulator):
    assert ezlink_emulator.base_url.startswith("http://127.0.0.1:")
    ezlink_emulator.control.balance = 5
    assert ezlink_emulator.control.balance == 5


def test_the_client_swaps(ezlink_emulator, ezlink_client):
    head, end = b"\\xff\\xd8\\xff\\xe0\\x00\\x02", b"\\xff\\xd9"
    source, target = (head + letter * 40 + end for letter in (b"s", b"t"))

    async def swap():
        async with ezlink_client as ez:
            handle = await ez.swap_face(source=source, target=target)
            return await handle

    record = asyncio.run(swap())
    assert str(record.status) == "SUCCESS"
    assert len(ezlink_emulator.control.charges) == 1


def test_the_environment_names_the_emulator(ezlink_environment):
    from ezlink_async import AsyncEzlink

    async def balance():
        async with AsyncEzlink() as ez:
            return await ez.account.balance()

    asyncio.run(balance())
    assert ezlink_environment.control.requests


def test_the_session_has_one_emulator(ezlink_session_emulator, ezlink_emulator):
    assert ezlink_session_emulator.base_url != ezlink_emulator.base_url
"""

_UNPLAYED = """
import pytest


@pytest.fixture
def ezlink_emulator_settings():
    from ezlink_async.emulator import EmulatorSettings

    return EmulatorSettings(price=7, api_key="sk-mine")


def test_settings_are_the_projects_own(ezlink_emulator):
    assert ezlink_emulator.api_key == "sk-mine"


def test_something_is_left(ezlink_emulator):
    from ezlink_async.emulator import faults, scripts

    ezlink_emulator.control.script("submit", faults.Drop())
    ezlink_emulator.control.script_tasks(scripts.stuck())
"""


def _run(tmp_path: Path) -> subprocess.CompletedProcess[str]:
    (tmp_path / "test_project.py").write_text(_PROJECT, "utf-8")
    (tmp_path / "test_unplayed.py").write_text(_UNPLAYED, "utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n", "utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:asyncio", "-p"]
    command += ["no:hypothesispytest", str(tmp_path)]

    # A child of a test is no child of the coverage run of its parent.
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env)


def test_fixtures_work_in_a_project_without_an_async_plugin(tmp_path: Path) -> None:
    """And a fault that was never played fails its test at the end."""
    ran = _run(tmp_path)

    assert "7 passed, 1 error" in ran.stdout, ran.stdout + ran.stderr
    assert "ERROR at teardown of test_something_is_left" in ran.stdout
    assert "scripted and never played" in ran.stdout
    assert "submit: Drop(" in ran.stdout
    assert "task: Script(" in ran.stdout


def test_fixtures_work_beside_an_async_plugin(
    ezlink_emulator: object, ezlink_client: object
) -> None:
    """The installed entry point provides both by name, in this suite too."""
    assert type(ezlink_emulator).__name__ == "Emulator"
    assert type(ezlink_client).__name__ == "AsyncEzlink"
