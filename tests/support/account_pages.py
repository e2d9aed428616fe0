"""An account's pages as a script: its tasks, its charges, and how they fail."""

from __future__ import annotations

import asyncio
import email.utils
import json
from collections.abc import Awaitable
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

PRICE = "模型固定价格 0.02，分组倍率 1.00，操作 SWAP_FACE"
"""The text of a charge."""

TOKEN = "the-accounts-own-token"


def envelope(data: object) -> bytes:
    """Return *data* as the account's pages wrap it."""
    return json.dumps({"data": data, "message": "", "success": True}).encode()


class AccountPages:
    """An account's tasks and log, and a reconciler that asks for them."""

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
        self.pictures: list[dict[str, object]] = []
        self.charged: set[str] = set()
        self.free: dict[str, str] = {}  # the text of an entry without a charge, by id
        self.trouble: HttpResponse | TransportError | Exception | None = None
        self.tasks_trouble: TransportError | None = None
        self.log_trouble: HttpResponse | TransportError | None = None
        self.unreadable = ""  # a request id for which the log has no answer
        self.dated = True
        self.rows: int | None = None  # of a page, when it has too few
        self.delay = 0.0  # seconds before each answer
        self.log_delay = 0.0  # seconds before each answer of the log

    def add_task(self, name: str, state: str = "", *, at: float | None = None) -> None:
        """Add a task made *at* a second of the loop, by default now."""
        second = self._now if at is None else EPOCH + at
        row = {"mj_id": name, "state": state, "submit_time": int(second * 1000)}
        self.tasks.insert(0, {"status": "", **row})

    def add_picture(
        self, request_id: str, status: str, task_id: str = "", reason: str = ""
    ) -> None:
        """Add a row to the page of pictures, made now."""
        row = {"request_id": request_id, "status": status, "task_id": task_id}
        made = {"created_at": int(self._now), "fail_reason": reason}
        self.pictures.insert(0, {**row, **made})

    @property
    def _now(self) -> float:
        return EPOCH + asyncio.get_running_loop().time()

    def requests(self, path: str) -> int:
        """Count the requests for *path*."""
        return sum(each.startswith(path) for each in self.transport.paths())

    def _answer(self, request: HttpRequest) -> HttpResponse | Awaitable[HttpResponse]:
        is_log = request.path.startswith("/api/log/self")
        delay = max(self.delay, self.log_delay if is_log else 0.0)
        return self._delayed(request, delay) if delay else self._respond(request)

    async def _delayed(self, request: HttpRequest, delay: float) -> HttpResponse:
        await asyncio.sleep(delay)
        return self._respond(request)

    def _respond(self, request: HttpRequest) -> HttpResponse:
        split = urlsplit(request.path)
        query = {name: texts[0] for name, texts in parse_qs(split.query).items()}
        log = split.path == "/api/log/self"
        trouble = self.log_trouble if log else self.trouble
        if log and query["x_request_id"] == self.unreadable:
            raise TransportError("no answer about this one")
        if split.path == "/api/mj/self" and self.tasks_trouble is not None:
            raise self.tasks_trouble
        if isinstance(trouble, Exception):
            raise trouble
        if trouble is not None:
            return trouble
        shown = self.pictures if split.path == "/api/image/self" else self.tasks
        data = self._log(query["x_request_id"]) if log else self._page(shown, query)
        headers = {"date": email.utils.formatdate(self._now, usegmt=True)}
        return HttpResponse(200, headers if self.dated else {}, envelope(data))

    def _log(self, request_id: str) -> dict[str, object]:
        plain = {"x_request_id": request_id, "created_at": EPOCH, "type": 2}
        rows: list[dict[str, object]] = []
        if request_id in self.free:
            rows += [{**plain, "quota": 0, "content": self.free[request_id]}]
        if request_id in self.charged:
            rows += [{**plain, "quota": 9000, "content": PRICE}]
        return {"list": rows, "total": len(rows)}

    def _page(
        self, shown: list[dict[str, object]], query: dict[str, str]
    ) -> dict[str, object]:
        page, size = int(query["page"]), int(query["pagesize"])
        rows = shown[(page - 1) * size : page * size][: self.rows]
        return {"list": rows, "total": len(shown), "currentPage": page}
