"""
A family of tasks as a plugin adds one: it draws two pictures for a word.

Request, job, family and the server's routes, in one file; nothing else of the package
knows it. ``ezlink run --plugin tests.toy_family`` does, too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import ClassVar

import attrs

from ezlink_async import Result, TaskNotFoundError, TaskStatus
from ezlink_async._core.error_mapping import error_from
from ezlink_async._core.messages import HttpRequest, HttpResponse
from ezlink_async.emulator.http.exchange import Exchange
from ezlink_async.emulator.http.replies import Reply, as_json
from ezlink_async.emulator.relay.routes import Route, with_key
from ezlink_async.emulator.relay.state import RelayState
from ezlink_async.emulator.relay.store import Charge, Key
from ezlink_async.services.base import Accepted, Job, JobRequest, TaskFamily
from ezlink_async.services.registry import register
from tests.support.pictures import png, recorded_jpeg

PICTURES = (png(), recorded_jpeg())


@attrs.frozen(kw_only=True)
class ToyRecord:
    """What the server says of one drawing."""

    task_id: str
    status: TaskStatus = TaskStatus.EMPTY
    progress: float | None = None
    fail_reason: str = ""
    urls: tuple[str, ...] = ()
    text: str = ""

    @property
    def results(self) -> tuple[Result, ...]:
        """The two pictures."""
        return tuple(Result(kind="image", url=url) for url in self.urls)

    @property
    def is_terminal(self) -> bool:
        """Whether the drawing is done, or has failed."""
        return self.status.is_terminal


class ToyFamily(TaskFamily[ToyRecord]):
    """Drawings are fetched one by one."""

    name = "toy"
    record_type = ToyRecord

    def fetch_request(self, task_id: str, polls: int = 0) -> HttpRequest:  # noqa: ARG002
        """Ask for one drawing."""
        return HttpRequest("GET", f"/toy/{task_id}", repeatable=True)

    def read(self, response: HttpResponse, task_id: str) -> ToyRecord:
        """Read one drawing."""
        body = response.document
        if not response.ok or not isinstance(body, Mapping):
            raise error_from(response)
        if "urls" not in body:
            raise TaskNotFoundError("there is no such drawing", task_id=task_id)
        status = TaskStatus(str(body["status"]))
        return ToyRecord(task_id=task_id, status=status, urls=tuple(body["urls"]))


TOY = ToyFamily()


@attrs.frozen
class ToyJob(Job[ToyRecord]):
    """One drawing, ready to be sent."""

    label: str
    family: ToyFamily = TOY

    def request(self) -> HttpRequest:
        """Describe the submit."""
        return HttpRequest("POST", "/toy", (json.dumps({"word": self.label}).encode(),))

    def read(self, response: HttpResponse) -> Accepted:
        """Read the acceptance."""
        body = response.document
        if not response.ok or not isinstance(body, Mapping):
            raise error_from(response, submit=True)
        return Accepted(str(body["id"]), 1, "")


@attrs.frozen
class Toy(JobRequest[ToyRecord]):
    """Draw *word*."""

    kind: ClassVar[str] = "toy"
    word: str

    family = TOY
    price = 5

    @property
    def label(self) -> str:
        """The word."""
        return self.word

    def job(self, _: object) -> ToyJob:
        """Return the job."""
        return ToyJob(self.word)


register(TOY, Toy)


class ToyServer:
    """The server's side: each drawing is done at the second look, for five units."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.looks: dict[str, int] = {}
        self.is_held = False
        self.routes = (
            Route("POST", "/toy", "toy", with_key(self._accept)),
            Route("GET", "/toy/picture/([01])", "toy_picture", self._picture),
            Route("GET", "/toy/([^/]+)", "toy_fetch", with_key(self._show)),
        )

    async def _accept(self, state: RelayState, exchange: Exchange, key: Key) -> Reply:
        self.words.append(json.loads(await exchange.read(1000))["word"])
        charge = Charge(
            request_id=exchange.request_id,
            task_id=f"t{len(self.words)}",
            units=5,
            account=key.account.number,
            key=key.text,
            seconds=state.seconds,
        )
        state.store.charge(key, charge)
        return as_json({"id": charge.task_id})

    async def _show(self, _: RelayState, exchange: Exchange, __: Key) -> Reply:
        name = exchange.task_id
        if not name.startswith("t"):
            return as_json({"status": "unknown"})
        self.looks[name] = self.looks.get(name, 0) + 1
        base = f"http://{exchange.header('Host')}/toy/picture"
        done = self.looks[name] > 1 and not self.is_held
        urls = [f"{base}/0", f"{base}/1"] if done else []
        return as_json({"status": "SUCCESS" if done else "IN_PROGRESS", "urls": urls})

    async def _picture(self, _: RelayState, exchange: Exchange) -> Reply:
        return Reply(200, PICTURES[int(exchange.task_id)])
