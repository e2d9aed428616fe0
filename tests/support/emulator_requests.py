"""Raw requests to an emulator: submits, fetches, and any other."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable

from ezlink_async.emulator import Emulator, EmulatorSettings
from tests.support.wire import RawConnection, RawResponse

SWAP = "/mj/insight-face/swap"
LIST = "/mj/task/list-by-condition"
FETCH = "/mj/task/1/fetch"
"""A fetch of an unknown id."""

#: Rows wait for a refresh; each user makes its own clock that stands still.
STOPPED = EmulatorSettings(
    poll_interval=10,
    server_address="https://relay.example",
    origins=("https://app.example",),
)

# A JPEG by its magic bytes; the filling between makes each another.
_JPEG = b"\xff\xd8\xff\xe0%b\xff\xd9"
# Seconds; reached only by a failure.
_BOUND = 300


def headers(emulator: Emulator, *more: tuple[str, str]) -> list[tuple[str, str]]:
    """Return the headers of a submit with the emulator's own key, and *more*."""
    key = ("Authorization", f"Bearer {emulator.api_key}")
    return [key, ("Content-Type", "application/json"), *more]


async def until(condition: Callable[[], object]) -> None:
    """Yield to the event loop until *condition* holds."""
    async with asyncio.timeout(_BOUND):
        while not condition():
            await asyncio.sleep(0)


def picture(filling: str, size: int = 200) -> bytes:
    """Return bytes that pass for a JPEG."""
    return _JPEG % (filling.encode() * size)


def data_uri(content: bytes) -> str:
    """Return *content* as a submit sends a picture."""
    return "data:image/jpeg;base64," + base64.b64encode(content).decode()


def swap_body(source: str = "s", target: str = "t", **more: object) -> bytes:
    """Return the body of a submit for two such pictures."""
    uris = [data_uri(picture(name)) for name in (source, target)]
    fields = {"sourceBase64": uris[0], "targetBase64": uris[1], **more}
    return json.dumps(fields).encode()


def _buttons(task: dict[str, object]) -> list[dict[str, object]]:
    buttons = task["buttons"]
    assert isinstance(buttons, list)
    return buttons


class RawApi:
    """The API of an emulator, every request on a connection of its own."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    async def get(self, path: str, *more: tuple[str, str]) -> RawResponse:
        """Send a GET with the emulator's own key and *more* headers."""
        async with RawConnection(self._emulator.base_url) as raw:
            return await raw.request("GET", path, headers(self._emulator, *more))

    async def post(
        self, path: str, body: bytes = b"", *more: tuple[str, str]
    ) -> RawResponse:
        """Send a POST with the emulator's own key and *more* headers."""
        async with RawConnection(self._emulator.base_url) as raw:
            named = headers(self._emulator, *more)
            return await raw.request("POST", path, named, body)

    async def control(self, name: str, body: bytes | None = None) -> RawResponse:
        """Send *body* to the control API, or read there without one."""
        secret = ("X-Emulator-Secret", self._emulator.control_secret)
        path = f"/__emu/{name}"
        if body is None:
            return await self.get(path, secret)
        return await self.post(path, body, secret)

    async def rows(self, *task_ids: str) -> list[dict[str, object]]:
        """Return the rows of a list by ids."""
        body = json.dumps({"ids": task_ids}).encode()
        return (await self.post(LIST, body)).rows()

    async def image(self, task_id: str) -> RawResponse:
        """Return the answer to a request for a task's picture."""
        return await self.get(f"/mj/image/{task_id}")

    async def submit(
        self, source: str = "s", target: str = "t", **fields: object
    ) -> str:
        """Submit a swap and return its id."""
        body = swap_body(source, target, **fields)
        return str((await self.post(SWAP, body)).fields()["result"])

    async def call(self, name: str, **fields: object) -> RawResponse:
        """Send one of Midjourney's submits, such as ``imagine``."""
        return await self.post(f"/mj/submit/{name}", json.dumps(fields).encode())

    async def draw(self, name: str, **fields: object) -> dict[str, object]:
        """Send such a submit, fetch until its task has ended, and return the task."""
        answer = (await self.call(name, **fields)).fields()
        return await self.fetch_end(str(answer["result"]))

    async def press(self, task: dict[str, object], label: str) -> dict[str, object]:
        """Press a button of a task by its label or emoji; return the new task."""
        (custom_id,) = (
            button["customId"]
            for button in _buttons(task)
            if label in {button["label"], button["emoji"]}
        )
        return await self.draw("action", taskId=task["id"], customId=custom_id)

    async def fetch(self, task_id: str) -> dict[str, object]:
        """Return the task as a fetch shows it."""
        return (await self.get(f"/mj/task/{task_id}/fetch")).fields()

    async def fetch_end(self, task_id: str) -> dict[str, object]:
        """Fetch until the task has ended, and return it."""
        async with asyncio.timeout(_BOUND):
            while True:
                task = await self.fetch(task_id)
                if task["status"] in {"SUCCESS", "FAILURE"}:
                    return task

    async def swapped(self, source: str = "s", target: str = "t") -> str:
        """Submit a swap, fetch until it has ended, and return its id."""
        task_id = await self.submit(source, target)
        await self.fetch_end(task_id)
        return task_id
