"""A server for the examples that use the account of the environment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ezlink_async import emulator


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Set up a user with a key, in a folder of their own with the sample pictures."""
    (tmp_path / "docs").mkdir()
    samples = Path(__file__).parent / "samples"
    (tmp_path / "docs" / "samples").symlink_to(samples, target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    with emulator.in_thread() as server:
        monkeypatch.setenv("EZLINK_API_KEY", server.api_key)
        monkeypatch.setenv("EZLINK_BASE_URL", server.base_url)
        monkeypatch.setenv("EZLINK_POLL_FIRST", "0.05")
        monkeypatch.setenv("EZLINK_POLL_SHORTEST", "0.05")
        yield
