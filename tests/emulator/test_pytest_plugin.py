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
"""


def test_fixtures_work_in_a_project_without_an_async_plugin(tmp_path: Path) -> None:
    (tmp_path / "test_project.py").write_text(_PROJECT, "utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n", "utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:asyncio", str(tmp_path)]

    # A child of a test is no child of the coverage run of its parent.
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=env)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "3 passed" in ran.stdout


def test_fixtures_work_beside_an_async_plugin(
    ezlink_emulator: object, ezlink_client: object
) -> None:
    """The installed entry point provides both by name, in this suite too."""
    assert type(ezlink_emulator).__name__ == "Emulator"
    assert type(ezlink_client).__name__ == "AsyncEzlink"
