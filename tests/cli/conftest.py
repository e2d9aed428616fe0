"""A user at a terminal: a folder of photos, a server, and a key for it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from ezlink_async.cli import run
from ezlink_async.emulator import Emulator, EmulatorSettings, in_thread
from tests.support.command_line import Ezlink, Said, enter_home


@pytest.fixture
def server() -> Iterator[Emulator]:
    """Run an emulator with room for everything."""
    with in_thread(EmulatorSettings(concurrency=50, queue=50)) as emulator:
        yield emulator


@pytest.fixture
def stranger(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Be a user without a key, in a folder of their own."""
    enter_home(monkeypatch, tmp_path)


@pytest.fixture
def user(server: Emulator, monkeypatch: pytest.MonkeyPatch, stranger: None) -> Emulator:
    """Be a user with a key, in a folder of their own."""
    del stranger
    monkeypatch.setenv("EZLINK_API_KEY", server.api_key)
    monkeypatch.setenv("EZLINK_BASE_URL", server.base_url)
    return server


@pytest.fixture
def ezlink(capfd: pytest.CaptureFixture[str]) -> Ezlink:
    """Run a command in this process."""

    def call(*arguments: object) -> Said:
        code = run([str(argument) for argument in arguments])
        said = capfd.readouterr()
        return Said(code, said.out, said.err)

    return call


@pytest.fixture
def one(photos: Path) -> tuple[object, ...]:
    """Return the command that swaps one photo."""
    return "swap", photos / "me.jpg", photos / "a.jpg", "--output", "out"


@pytest.fixture
def three(photos: Path) -> tuple[object, ...]:
    """Return the command that swaps the three photos of the folder."""
    return "swap", photos / "me.jpg", photos, "--output", "out"


@pytest.fixture
def hangups(request: pytest.FixtureRequest) -> Iterator[None]:
    """Have SIGHUP handled as given or by default, whether or not ``nohup`` runs us."""
    if os.name == "nt":
        yield
        return
    handler = getattr(request, "param", signal.SIG_DFL)
    before = signal.signal(signal.SIGHUP, handler)
    yield
    signal.signal(signal.SIGHUP, before)
