"""
Pytest fixtures for tests of code that uses this package: servers and a client.

No fixture is a coroutine, so all work with any async plugin or none. The rest of the
package is imported when a fixture runs. Short for a module: pytest loads it in every
run of every project that has the package installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ezlink_async import AsyncEzlink
    from ezlink_async.emulator import Emulator, EmulatorSettings


@pytest.fixture
def ezlink_emulator_settings() -> EmulatorSettings:
    """Give the settings of :func:`ezlink_emulator`; override it to change them."""
    from ezlink_async.emulator import EmulatorSettings

    return EmulatorSettings()


@pytest.fixture
def ezlink_emulator(ezlink_emulator_settings: EmulatorSettings) -> Iterator[Emulator]:
    """
    Give a running emulator, whose ``control`` scripts faults and counts charges.

    A fault or a script of a task that was never played fails the test at its end.
    """
    from ezlink_async.emulator import in_thread

    with in_thread(ezlink_emulator_settings) as emulator:
        yield emulator
        emulator.control.assert_all_played()


@pytest.fixture(scope="session")
def ezlink_session_emulator_settings() -> EmulatorSettings:
    """Give the settings of the emulator of the session; override it to change them."""
    from ezlink_async.emulator import EmulatorSettings

    return EmulatorSettings()


@pytest.fixture(scope="session")
def ezlink_session_emulator(
    ezlink_session_emulator_settings: EmulatorSettings,
) -> Iterator[Emulator]:
    """
    Give one running emulator for the whole session.

    Tests share its charges, tasks and faults: ``control.reset()`` deletes the counts
    and the faults. What was never played fails the session at its end.
    """
    from ezlink_async.emulator import in_thread

    with in_thread(ezlink_session_emulator_settings) as emulator:
        yield emulator
        emulator.control.assert_all_played()


@pytest.fixture
def ezlink_environment(
    ezlink_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> Emulator:
    """
    Let the environment name the emulator, for code that makes its own client.

    ``AsyncEzlink()`` and the command line then use it, with short waits between polls.
    """
    for name, value in (
        ("EZLINK_API_KEY", ezlink_emulator.api_key),
        ("EZLINK_BASE_URL", ezlink_emulator.base_url),
        ("EZLINK_ACCOUNT_TOKEN", ezlink_emulator.account_token),
        ("EZLINK_POLL_FIRST", "0.01"),
        ("EZLINK_POLL_SHORTEST", "0.01"),
        ("EZLINK_POLL_LONGEST", "0.1"),
    ):
        monkeypatch.setenv(name, value)
    return ezlink_emulator


@pytest.fixture
def ezlink_client(ezlink_emulator: Emulator) -> AsyncEzlink:
    """Give a client of that emulator; enter it with ``async with ezlink_client``."""
    from ezlink_async import AsyncEzlink, PollPolicy

    return AsyncEzlink(
        api_key=ezlink_emulator.api_key,
        base_url=ezlink_emulator.base_url,
        poll=PollPolicy(first=0.01, shortest=0.01, longest=0.1, deadline=30),
    )
