"""The recorded pages of the log about one video each, after that very video."""

from __future__ import annotations

import json

import pytest

from ezlink_async.emulator import serving
from tests.emulator import video_stages
from tests.emulator.recorded import SAMPLES, body_of
from tests.emulator.stage import Stage
from tests.emulator.stages import settings_of
from tests.support.wire import RawConnection

_BEGIN = "account-log-"
#: The exchange before each page, by the name of the page.
_BEFORE = {
    **{
        name: name.removeprefix(_BEGIN)
        for name in SAMPLES
        if name.startswith(_BEGIN) and name.removeprefix(_BEGIN) in SAMPLES
        if "-video-" in name
    },
    "account-log-all-video-kling": "video-kling-rid-accepted",
    "account-log-all-video-doubao": "video-doubao-rid-accepted",
    "account-log-all-video-refunded": "video-kling-refund-log",
    "account-log-video-doubao-settled": "video-doubao-settled-1",
}
_OWN = ("id", "user_id", "created_at", "username", "channel")  # of an account


async def _send(stage: Stage, name: str, credential: str) -> bytes:
    """Send a recorded request, with its own request id."""
    request = SAMPLES[name]["request"]
    number = dict(request["headers"]).get("X-Request-ID")
    named = [("Authorization", credential), ("Content-Type", "application/json")]
    named += [("X-Request-ID", number)] if number else []
    body = request["body"].get("text", "").encode()
    async with RawConnection(stage.emu.base_url) as raw:
        return (await raw.request(request["method"], request["path"], named, body)).body


def _entries(page: bytes) -> list[list[tuple[str, object]]]:
    """Return the entries, keys in their order, without what is an account's own."""
    shown = json.loads(page)["data"]
    assert shown["total"] == len(shown["list"])
    return [
        [(name, value) for name, value in entry.items() if name not in _OWN]
        for entry in shown["list"]
    ]


@pytest.mark.parametrize("name", _BEFORE)
async def test_log_shows_what_the_recorded_server_showed(name: str) -> None:
    """Content, price, tokens, and the request id where there was one."""
    before = _BEFORE[name]
    async with serving(settings_of(before)) as emulator:
        stage = Stage(emulator)
        await video_stages.prepare(before, stage)
        await _send(stage, before, f"Bearer {stage.key}")
        page = await _send(stage, name, stage.control.account_token())

    assert _entries(page) == _entries(body_of(name))


def test_all_pages_about_one_video_are_compared() -> None:
    """But for one whose caller had left, which is empty."""
    pages = [name for name in SAMPLES if name.startswith(_BEGIN) and "-video-" in name]

    assert set(pages) - set(_BEFORE) == {"account-log-video-kling-rid-left"}
    assert len(_BEFORE) == 15
