"""An account's pages as a script: what it has, what was charged, how it fails."""

from __future__ import annotations

import asyncio
import email.utils
import json
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs, urlsplit

import attrs

from ezlink_async._client.submitting.reconciler import Reconciler
from ezlink_async._core.messages import HttpRequest, HttpResponse
from ezlink_async._core.policies import PollPolicy, Timeouts
from ezlink_async._core.settings import Settings
from ezlink_async._io.concurrency import BackgroundTasks
from ezlink_async.errors import TransportError
from tests.support.scripted_transport import ScriptedTransport

EPOCH = 1_800_000_000
"""The server's clock when the loop's shows 0."""

TOKEN = "the-accounts-own-token"


def envelope(data: object) -> bytes:
    """Return *data* as the account's pages wrap it."""
    return json.dumps({"data": data, "message": "", "success": True}).encode()


class Books:
    """An account's tasks and log, shown on a loop whose clock jumps."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.transport = ScriptedTransport(self._answer)
        self.transport.settings = settings or attrs.evolve(
            self.transport.settings,
            base_url="https://api.example",
            account_token=TOKEN,
            poll=PollPolicy(),
            timeouts=Timeouts(),
        )
        self.background = BackgroundTasks()
        self.followed: set[str] = set()
        self.reconciler = Reconciler(
            self.transport, self.background, self.followed.__contains__
        )
        self.tasks: list[dict[str, object]] = []
        self.charged: set[str] = set()
        self.trouble: HttpResponse | TransportError | Exception | None = None
        self.log_trouble: HttpResponse | TransportError | None = None
        self.unreadable = ""  # the request id that the log cannot be asked for
        self.dated = True
        self.shown: int | None = None  # rows of a page that shows too few
        self.silent = False

    def task(self, name: str, state: str = "", *, at: float | None = None) -> None:
        """Make a task *at* a second of the loop, by default now."""
        second = self._now if at is None else EPOCH + at
        row = {"mj_id": name, "state": state, "submit_time": int(second * 1000)}
        self.tasks.insert(0, {"status": "", **row})

    @property
    def _now(self) -> float:
        return EPOCH + asyncio.get_running_loop().time()

    def asked(self, path: str) -> int:
        """Count the requests for *path*."""
        return sum(each.startswith(path) for each in self.transport.paths())

    def _answer(self, request: HttpRequest) -> HttpResponse | Awaitable[HttpResponse]:
        if self.silent:
            return self._late()
        split = urlsplit(request.path)
        query = {name: texts[0] for name, texts in parse_qs(split.query).items()}
        log = split.path == "/api/log/self"
        trouble = self.log_trouble if log else self.trouble
        if log and query["x_request_id"] == self.unreadable:
            raise TransportError("no answer about this one")
        if isinstance(trouble, Exception):
            raise trouble
        if trouble is not None:
            return trouble
        data = self._log(query["x_request_id"]) if log else self._page(query)
        headers = {"date": email.utils.formatdate(self._now, usegmt=True)}
        return HttpResponse(200, headers if self.dated else {}, envelope(data))

    async def _late(self) -> HttpResponse:
        await asyncio.sleep(self.transport.settings.timeouts.fetch)
        raise TransportError("no answer", stage="silence")

    def _log(self, request_id: str) -> dict[str, object]:
        row = {"x_request_id": request_id, "quota": 9000, "created_at": EPOCH}
        rows = [row] if request_id in self.charged else []
        return {"list": rows, "total": len(rows)}

    def _page(self, query: dict[str, str]) -> dict[str, object]:
        page, size = int(query["page"]), int(query["pagesize"])
        rows = self.tasks[(page - 1) * size : page * size][: self.shown]
        return {"list": rows, "total": len(self.tasks), "currentPage": page}


def on(books: Callable[[], Books], work: Callable[[Books], Awaitable[None]]) -> None:
    """Run *work* with new books on a loop whose clock jumps."""
    from tests.support import virtual_clock as virtual

    async def play() -> None:
        here = books()
        try:
            await work(here)
        finally:
            await here.background.close()

    virtual.run(play())
