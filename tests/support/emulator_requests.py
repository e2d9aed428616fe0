"""Raw requests to an emulator: submit, fetch, and any other."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Protocol

from ezlink_async.emulator import Emulator, EmulatorSettings
from tests.support.wire import RawConnection, RawResponse

SWAP = "/mj/insight-face/swap"
LIST = "/mj/task/list-by-condition"
FETCH = "/mj/task/1/fetch"
"""A fetch of an unknown id."""

#: Rows wait for a refresh; each user makes its own clock that stands still.
STOPPED = EmulatorSettings(poll_interval=10, server_address="https://relay.example")

# A JPEG by its magic bytes; the filling between makes each another.
_JPEG = b"\xff\xd8\xff\xe0%b\xff\xd9"
# Seconds; reached only by a failure.
_BOUND = 300


class Send(Protocol):
    """Sends one request on a connection of its own."""

    async def __call__(
        self, method: str, path: str, body: bytes = b"", *more: tuple[str, str]
    ) -> RawResponse:
        """Return the response; *more* are headers."""
        ...


def headers(emulator: Emulator, *more: tuple[str, str]) -> list[tuple[str, str]]:
    """Return the headers of a submit with the emulator's own key, and *more*."""
    key = ("Authorization", f"Bearer {emulator.api_key}")
    return [key, ("Content-Type", "application/json"), *more]


def sender(emulator: Emulator, key: str | None = None) -> Send:
    """Return a coroutine function that sends one request with *key*."""

    async def send(
        method: str, path: str, body: bytes = b"", *more: tuple[str, str]
    ) -> RawResponse:
        named = headers(emulator, *more)
        if key is not None:
            named[0] = ("Authorization", f"Bearer {key}")
        async with RawConnection(emulator.base_url) as raw:
            return await raw.request(method, path, named, body)

    return send


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


async def submit(
    send: Send, source: str = "s", target: str = "t", **fields: object
) -> str:
    """Submit a swap and return its id."""
    response = await send("POST", SWAP, swap_body(source, target, **fields))
    return str(response.fields()["result"])


async def fetch(send: Send, task_id: str) -> dict[str, object]:
    """Return the task as a fetch shows it."""
    return (await send("GET", f"/mj/task/{task_id}/fetch")).fields()


async def fetch_end(send: Send, task_id: str) -> dict[str, object]:
    """Fetch until the task has ended, and return it."""
    async with asyncio.timeout(_BOUND):
        while True:
            task = await fetch(send, task_id)
            if task["status"] in {"SUCCESS", "FAILURE"}:
                return task


async def swapped(send: Send, source: str = "s", target: str = "t") -> str:
    """Submit a swap, fetch until it has ended, and return its id."""
    task_id = await submit(send, source, target)
    await fetch_end(send, task_id)
    return task_id
