"""Raw requests for videos of an emulator: submits, queries and files."""

from __future__ import annotations

import json

from ezlink_async.emulator import Emulator
from ezlink_async.emulator.relay.store import Account, Key
from ezlink_async.emulator.relay.video_rows import VideoRow
from tests.support.emulator_requests import RawApi
from tests.support.wire import RawConnection, RawResponse

SUBMIT = "/v1/video/generations"
RESULT = "/v1/video/generations/result"
OWN = "/doubao/api/v3/contents/generations/tasks"
"""Doubao's own path, whose queries ask for no key."""

KLING: dict[str, object] = {"model": "kling-v1", "prompt": "a cat", "duration": "5"}
DOUBAO: dict[str, object] = {
    "model": "doubao-seedance-1-0-lite",
    "content": [{"type": "text", "text": "a cat"}],
}
VEO: dict[str, object] = {
    "model": "veo-3.0-generate-001",
    "instances": [{"prompt": "a cat"}],
}
OMNI: dict[str, object] = {"model": "gemini-omni-flash-preview", "prompt": "a cat"}


class VideoApi:
    """The video routes of an emulator, every request on a connection of its own."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.raw = RawApi(emulator)

    async def send(self, body: dict[str, object], path: str = SUBMIT) -> RawResponse:
        """Send a submit."""
        return await self.raw.post(path, json.dumps(body).encode())

    async def submit(self, body: dict[str, object]) -> str:
        """Send a submit and return the id of its task."""
        return str((await self.send(body)).fields()["task_id"])

    async def refused(self, body: dict[str, object]) -> tuple[int, str, str]:
        """Send a submit that is refused; return status, code and message."""
        answer = await self.send(body)
        error = answer.fields()["error"]
        assert isinstance(error, dict)
        return answer.status, error["code"], error["message"]

    async def result(self, task_id: str, *, links: bool = True) -> dict[str, object]:
        """Ask for a video with the emulator's own key."""
        more = "&response_format=url" if links else ""
        return (await self.raw.get(f"{RESULT}?taskid={task_id}{more}")).fields()

    async def result_as(self, key: str, task_id: str) -> dict[str, object]:
        """Ask for a video with another key."""
        async with RawConnection(self.emulator.base_url) as raw:
            path = f"{RESULT}?taskid={task_id}&response_format=url"
            named = [("Authorization", f"Bearer {key}")]
            return (await raw.request("GET", path, named)).fields()

    async def keyless(self, task_id: str) -> RawResponse:
        """Ask at Doubao's own path, without a key."""
        async with RawConnection(self.emulator.base_url) as raw:
            return await raw.request("GET", f"{OWN}/{task_id}")

    async def file(self, address: str) -> RawResponse:
        """Load a video from its address, without a key."""
        assert address.startswith(self.emulator.base_url)
        async with RawConnection(self.emulator.base_url) as raw:
            path = address.removeprefix(self.emulator.base_url)
            return await raw.request("GET", path)


def addresses(shown: dict[str, object]) -> list[str]:
    """Return the addresses in the answer to a query."""
    found = shown["video_results"]
    assert isinstance(found, list)
    return [str(each["url"]) for each in found]


def settlements(emulator: Emulator) -> list[int]:
    """Return the units of all settlements, credits below 0."""
    return [
        charge.units
        for charge in emulator.control.charges
        if charge.action == "SETTLEMENT"
    ]


def video_row(provider: str, task_id: str = "t-1") -> VideoRow:
    """Return a row of a video of this provider, as a submit makes it."""
    account = Account(number=1, token="t", balance=0)
    return VideoRow(
        account=account,
        key=Key(text="sk-1", account=account, quota=None),
        task_id=task_id,
        provider=provider,
        model="m",
        path="/p/",
        quota=1,
        duration="5",
        request_id="r",
    )
