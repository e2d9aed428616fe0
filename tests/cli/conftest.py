"""A user at a terminal: a folder of photos, a server, and a key for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ezlink_async.cli import run
from ezlink_async.emulator import Emulator, EmulatorSettings, in_thread
from tests.support.command_line import Ezlink, Said, home


@pytest.fixture
def server() -> Iterator[Emulator]:
    """Run an emulator with room for everything."""
    with in_thread(EmulatorSettings(concurrency=50, queue=50)) as emulator:
        yield emulator


@pytest.fixture
def user(server: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Emulator:
    """Be somebody with a key, in a folder of their own."""
    home(monkeypatch, tmp_path)
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
