"""A relay of videos as a script: its answers, and what it was asked."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Unpack

import attrs

from ezlink_async._core.settings import Options
from ezlink_async.emulator import EmulatorSettings
from ezlink_async.emulator.http.exchange import Exchange
from ezlink_async.emulator.http.replies import Reply
from ezlink_async.emulator.relay.routes import Route, with_key
from ezlink_async.emulator.relay.state import RelayState
from ezlink_async.emulator.relay.store import Charge, Key
from tests.support.client_harness import EmulatedClient, emulated_client
from tests.support.movies import mp4

PRICE = 70_000

CLIP = mp4()

_KEYLESS = "/doubao/api/v3/contents/generations/tasks/([^/]+)"


def record(task_id: str, word: str, *urls: str, **fields: object) -> dict[str, object]:
    """Return the answer to a general query, as the server spells it."""
    listed = [{"url": url} for url in urls]
    results = {"video_result": urls[0], "video_results": listed} if urls else {}
    return {
        "task_id": task_id,
        **results,
        "video_id": task_id,
        "task_status": word,
        "message": "",
        "duration": "5",
        **fields,
    }


def refused(status: int, code: str, message: str = "no") -> Reply:
    """Return a refusal by the handler."""
    error = {"code": code, "message": message, "param": "", "type": "api_error"}
    return Reply(status, json.dumps({"error": error}).encode())


class VideoRelay:
    """
    Answers about videos from a script; each may be a value or an answer as a whole.

    *on_submit* is called with the body and the number of the submit, *on_look* and
    *on_keyless* with the id and the number of the look at it. An address
    ``clip:NAME`` in an answer becomes one of this server, which serves the video as
    long as *clips* has the name.
    """

    def __init__(self) -> None:
        self.submits: list[dict[str, object]] = []
        self.looks: list[str] = []
        self.keyless: list[str] = []
        self.keys: list[str] = []  # the credentials that the keyless path was sent
        self.clips: dict[str, bytes] = {"a": CLIP}
        self.on_submit: Callable[[dict[str, object], int], object] = self._accepted
        self.on_look: Callable[[str, int], object] = self._done
        self.on_keyless: Callable[[str, int], object] = self._doubao_done
        self.routes = (
            Route("POST", "/v1/video/generations", "video", with_key(self._submit)),
            Route(
                "GET",
                "/v1/video/generations/result",
                "video_result",
                with_key(self._look),
            ),
            Route("GET", _KEYLESS, "doubao_result", self._look_keyless),
            Route("GET", "/clips/([^/]+)", "clip", self._clip),
        )

    @staticmethod
    def _accepted(_: dict[str, object], number: int) -> object:
        return {"task_id": f"v{number}", "task_status": "succeed", "message": ""}

    @staticmethod
    def _done(task_id: str, _: int) -> object:
        return record(task_id, "succeed", "clip:a")

    @staticmethod
    def _doubao_done(task_id: str, _: int) -> object:
        content = {"video_url": "clip:a"}
        return {"id": task_id, "status": "succeeded", "content": content}

    async def _submit(self, state: RelayState, exchange: Exchange, key: Key) -> Reply:
        body = json.loads(await exchange.read(10**9))
        self.submits.append(body)
        answer = self.on_submit(body, len(self.submits))
        if isinstance(answer, dict) and "task_id" in answer:
            charge = Charge(
                request_id="",  # an accepted video leaves none in the log
                task_id=str(answer["task_id"]),
                units=PRICE,
                account=key.account.number,
                key=key.text,
                seconds=state.seconds,
            )
            state.store.charge(key, charge)
        return self._reply(answer, exchange)

    async def _look(self, _: RelayState, exchange: Exchange, __: Key) -> Reply:
        task_id = exchange.request.query["taskid"]
        self.looks.append(task_id)
        answer = self.on_look(task_id, self.looks.count(task_id))
        return self._reply(answer, exchange)

    async def _look_keyless(self, _: RelayState, exchange: Exchange) -> Reply:
        self.keyless.append(exchange.task_id)
        self.keys.append(exchange.header("Authorization"))
        number = self.keyless.count(exchange.task_id)
        return self._reply(self.on_keyless(exchange.task_id, number), exchange)

    async def _clip(self, _: RelayState, exchange: Exchange) -> Reply:
        content = self.clips.get(exchange.task_id)
        return Reply(404) if content is None else Reply(200, content, "video/mp4")

    @staticmethod
    def _reply(answer: object, exchange: Exchange) -> Reply:
        if isinstance(answer, Reply):
            return answer
        text = json.dumps(answer)
        base = f"http://{exchange.header('Host')}/clips/"
        return Reply(200, text.replace("clip:", base).encode())


@attrs.frozen
class VideoClient(EmulatedClient):
    """A client, and the relay of its videos."""

    relay: VideoRelay


@asynccontextmanager
async def video_client(
    relay: VideoRelay | None = None,
    *,
    with_account: bool = False,
    **options: Unpack[Options],
) -> AsyncIterator[VideoClient]:
    """Enter a client beside a relay with this script, over real sockets."""
    relay = relay or VideoRelay()
    settings = EmulatorSettings(routes=relay.routes)
    async with emulated_client(settings, with_account=with_account, **options) as here:
        yield VideoClient(here.ez, here.server, relay)
