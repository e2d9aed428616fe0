"""Receivers of callbacks behind real servers, and what an upstream posts to them."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from aiohttp import web

from ezlink_async.webhook import WebhookReceiver
from tests.support.asgi_server import serving_asgi

SECRET = "a secret of the application"


class Serving(Protocol):
    """Serves a receiver on a new socket, or on one that listens already."""

    def __call__(
        self, receiver: WebhookReceiver, listening: socket.socket | None = None
    ) -> AbstractAsyncContextManager[str]:
        """Serve for the length of the block, and give the server's address."""
        ...


def listening() -> tuple[socket.socket, str]:
    """Return a socket that listens, and the address of a server on it."""
    found = socket.create_server(("127.0.0.1", 0))
    return found, f"http://127.0.0.1:{found.getsockname()[1]}"


def body(task_id: str = "7", status: str = "SUCCESS", **fields: object) -> bytes:
    """Return a task as the upstream posts it; its state is that of the id."""
    task = {
        "id": task_id,
        "action": "SWAP_FACE",
        "prompt": None,
        "state": f"state of {task_id}",
        "submitTime": 1_733_213_213_123,
        "startTime": None,
        "finishTime": None,
        "imageUrl": None,
        "status": status,
        "progress": "100%" if status == "SUCCESS" else None,
        "failReason": None,
        "buttons": [],
        "properties": {"notifyHook": "http://127.0.0.1:9/", "nonce": 7},
        "instanceId": "only the upstream knows",
        **fields,
    }
    return json.dumps(task).encode()


def token_of(receiver: WebhookReceiver, task_id: str = "7") -> str:
    """Return the token of the task whose body :func:`body` makes."""
    return receiver.hook_url(f"state of {task_id}").rpartition("/")[2]


@asynccontextmanager
async def behind_aiohttp(
    receiver: WebhookReceiver, listening: socket.socket | None = None
) -> AsyncIterator[str]:
    """Serve *receiver* by aiohttp, and give the server's address."""
    app = web.Application()
    app.add_routes(receiver.aiohttp_routes())
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        listening = listening or socket.create_server(("127.0.0.1", 0))
        await web.SockSite(runner, listening).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def behind_asgi(
    receiver: WebhookReceiver, listening: socket.socket | None = None
) -> AsyncIterator[str]:
    """Serve *receiver* as an ASGI application, and give the server's address."""
    async with serving_asgi(receiver.asgi, listening) as url:
        yield url


SERVERS: dict[str, Serving] = {"aiohttp": behind_aiohttp, "asgi": behind_asgi}
