"""Requests to an emulator, each on a connection of its own."""

from __future__ import annotations

import base64
import json
from typing import Protocol

from ezlink_async.emulator import Emulator, EmulatorSettings
from tests.support.wire import Answered, Wire

#: A JPEG as far as magic bytes go; what is between is told apart by its filling.
JPEG = b"\xff\xd8\xff\xe0%b\xff\xd9"


class Ask(Protocol):
    """One request on a connection of its own."""

    async def __call__(
        self, method: str, path: str, body: bytes = b"", *more: tuple[str, str]
    ) -> Answered:
        """Return the answer."""
        ...


def picture(filling: str, size: int = 200) -> bytes:
    """Return something that passes for a JPEG."""
    return JPEG % (filling.encode() * size)


def swap_body(source: str = "s", target: str = "t", **more: object) -> bytes:
    """Return the body of a submit for two such pictures."""
    texts = (base64.b64encode(picture(name)).decode() for name in (source, target))
    uris = [f"data:image/jpeg;base64,{text}" for text in texts]
    fields = {"sourceBase64": uris[0], "targetBase64": uris[1], **more}
    return json.dumps(fields).encode()


#: Rows wait for a beat; the clock that stands still is made where it is used.
STILL = EmulatorSettings(poll_interval=10, server_address="https://relay.example")


def asker(emulator: Emulator, key: str | None = None) -> Ask:
    """Return a coroutine that asks *emulator* once, on a connection of its own."""

    async def ask(
        method: str, path: str, body: bytes = b"", *more: tuple[str, str]
    ) -> Answered:
        headers = [("Authorization", f"Bearer {key or emulator.api_key}")]
        headers += [("Content-Type", "application/json"), *more]
        async with Wire(emulator.base_url) as wire:
            return await wire.ask(method, path, headers, body)

    return ask


async def submit(
    ask: Ask, source: str = "s", target: str = "t", **fields: object
) -> str:
    """Submit a swap and return its id."""
    body = swap_body(source, target, **fields)
    answered = await ask("POST", "/mj/insight-face/swap", body)
    value = answered.json()
    assert isinstance(value, dict)
    return str(value["result"])


async def fetch(ask: Ask, task_id: str) -> dict[str, object]:
    """Return the task as a fetch shows it."""
    value = (await ask("GET", f"/mj/task/{task_id}/fetch")).json()
    assert isinstance(value, dict)
    return value


async def fetch_end(ask: Ask, task_id: str) -> dict[str, object]:
    """Fetch until the task has ended."""
    while (value := await fetch(ask, task_id))["status"] not in {"SUCCESS", "FAILURE"}:
        continue
    return value
