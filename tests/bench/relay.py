"""
The relay in front of the machine, as lean as it can be.

Rows and refusals are the emulator's own. Its money, faults and hooks are left out, and
of the pictures only their SHA-256 is computed.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections import Counter

from attrs import Factory, define, frozen

from ezlink_async.emulator.http.replies import (
    JSON,
    Reply,
    api_error,
    as_json,
    image_error,
    sniffed_json,
    upstream_error,
)
from ezlink_async.emulator.relay.store import Account, Row
from ezlink_async.emulator.settings import DEFAULT_KEY
from tests.bench.machine import Job, Machine, ideal
from tests.bench.pictures import result_in_chunks
from tests.bench.plans import Plan

_FULL = "提交失败，队列已满，请稍后重试"
_MISSING = "sour_base64_and_target_base64_is_required"
_SECRET = DEFAULT_KEY.removeprefix("sk-")


@frozen
class Request:
    """A whole request; only the first *length* bytes of *body* belong to it."""

    method: str
    path: str
    key: str
    request_id: str
    address: str
    body: bytearray
    length: int


@frozen
class Picture:
    """A result in two parts: its own, and the one it shares with all others."""

    stamp: bytes
    rest: bytes


@frozen
class Swap:
    """A job with its row and the hashes of what was sent for it."""

    job: Job
    row: Row
    source: str
    target: str


def _value_spans(body: bytearray, length: int) -> dict[bytes, tuple[int, int]]:
    """Return the positions of the values of a flat JSON object of strings."""
    found: dict[bytes, tuple[int, int]] = {}
    end = 0
    while (start := body.find(b'"', end, length)) >= 0:
        colon = body.find(b'"', start + 1, length)
        first = body.find(b'"', colon + 1, length) + 1
        last = body.find(b'"', first, length)
        if colon < 0 or not first or last < 0:
            break
        found[bytes(body[start + 1 : colon])] = first, last
        end = last + 1
    return found


def _epoch(seconds: float) -> int:
    """Return an instant of the monotonic clock as the wire's milliseconds."""
    return int((time.time() - time.monotonic() + seconds) * 1000)


@define(eq=False)
class Relay:
    """The server of one run: answers requests by its plan, and counts them."""

    plan: Plan
    counts: Counter[str] = Factory(Counter)
    _machine: Machine = Factory(lambda self: Machine(self.plan), takes_self=True)
    _swaps: dict[str, Swap] = Factory(dict)
    _account: Account = Factory(lambda: Account(number=1, token="", balance=0))
    _first_id: int = Factory(lambda: time.time_ns() // 1000)
    _known: tuple[bytes, str] = (b"", "")

    def answer(self, request: Request) -> Reply | Picture:
        """Answer *request*."""
        if request.path.startswith("/mj/image/"):
            return self._image(request.path.removeprefix("/mj/image/"))
        if request.key.removeprefix("sk-") != _SECRET:
            return api_error(401, "Token not provided", request.request_id)
        kind = request.path.rpartition("/")[2]
        routes = {
            "swap": self._swap,
            "list-by-condition": self._list,
            "fetch": self._fetch,
        }
        if kind not in routes:
            return as_json({"error": request.path}, status=404)
        return routes[kind](request)

    def _swap(self, request: Request) -> Reply:
        self.counts["submit"] += 1
        spans = _value_spans(request.body, request.length)
        if not {b"sourceBase64", b"targetBase64"} <= spans.keys():
            return upstream_error(4, _MISSING)
        source = self._source(request.body, *spans[b"sourceBase64"])
        target = _digest(request.body, *spans[b"targetBase64"])
        accepted = self._machine.submit(time.monotonic())
        if accepted is None:
            self.counts["refused"] += 1
            return upstream_error(9, _FULL)
        job, ahead = accepted
        code, description, properties = 1, "提交成功", {}
        if ahead:
            code, description = 22, f"排队中，前面还有{ahead}个任务"
            properties = {"numberOfQueues": ahead}
        # The service charges nothing for jobs that it queues.
        self.counts["queued" if ahead else "charges"] += 1
        row = self._row(request, job, code, description)
        self._swaps[row.task_id] = Swap(job, row, source, target)
        answer = {"code": code, "description": description, "properties": properties}
        return sniffed_json(200, answer | {"result": row.task_id})

    def _source(self, body: bytearray, first: int, last: int) -> str:
        # Most jobs of a run have one source: comparing it is cheaper than hashing.
        text, digest = self._known
        if not (last - first == len(text) and body.startswith(text, first)):
            digest = _digest(body, first, last)
            self._known = bytes(body[first:last]), digest
        return digest

    def _row(self, request: Request, job: Job, code: int, description: str) -> Row:
        now = _epoch(job.accepted)
        return Row(
            number=job.number,
            account=self._account,
            task_id=str(self._first_id + job.number),
            code=code,
            description=description,
            quota=0,
            submit_time=now,
            start_time=now,
            request_id=request.request_id,
        )

    def _fetch(self, request: Request) -> Reply:
        self.counts["fetch"] += 1
        shown = self._shown([request.path.split("/")[-2]], request.address)
        if not shown:
            return upstream_error(4, "Get mj id failed", "Error")
        return _compact(shown[0])

    def _list(self, request: Request) -> Reply:
        self.counts["list"] += 1
        ids = json.loads(request.body[: request.length])["ids"]
        return _compact(self._shown(ids, request.address))

    def _shown(self, ids: list[str], address: str) -> list[dict[str, object]]:
        now = time.monotonic()
        self._machine.advance(now)
        swaps = [self._swaps[task_id] for task_id in ids if task_id in self._swaps]
        for swap in swaps:
            self._refresh(swap, self._machine.shown_at(now))
        return [swap.row.shown(address, time.time_ns()) for swap in swaps]

    def _refresh(self, swap: Swap, at: float) -> None:
        """Copy into the row what the upstream reported at the instant *at*."""
        job, row = swap.job, swap.row
        if at < job.accepted or row.status == "SUCCESS":
            return
        row.buttons, row.properties = [], {"finalPrompt": "", "finalZhPrompt": ""}
        if at < job.begun:
            row.status, row.progress, row.start_time = "NOT_START", "", 0
            return
        row.start_time = _epoch(job.begun)
        if at < job.finished:
            share = job.progress(at) if self.plan.progress else 0
            row.status, row.progress = "IN_PROGRESS", f"{share}%"
            return
        row.finish_time = _epoch(job.finished)
        row.status, row.progress, row.image_url = "SUCCESS", "100%", "there"

    def _image(self, task_id: str) -> Reply | Picture:
        self.counts["image"] += 1
        if not self._shown([task_id], ""):
            return image_error(400, "midjourney_task_not_found")
        swap = self._swaps[task_id]
        if not swap.row.image_url:
            return image_error(500, "http_get_image_failed")
        length = self.plan.result
        return Picture(*result_in_chunks(swap.source, swap.target, length))

    def report(self) -> dict[str, object]:
        """Return what was done, and when, on the machine's clock."""
        self._machine.advance(math.inf)
        jobs = [
            {
                "task_id": task_id,
                "seconds": swap.job.seconds,
                "visible": self._machine.visible(swap.job),
                "source": swap.source,
                "target": swap.target,
            }
            for task_id, swap in self._swaps.items()
        ]
        counts, least = dict(self.counts), ideal(self.plan, len(jobs))
        return {"jobs": jobs, "counts": counts, "ideal": least}


def _digest(body: bytearray, first: int, last: int) -> str:
    # The picture follows the comma of the data URI, which is in its first bytes.
    first = body.find(b",", first, min(first + 64, last)) + 1 or first
    with memoryview(body) as whole:
        return hashlib.sha256(whole[first:last]).hexdigest()


def _compact(value: object) -> Reply:
    # The emulator writes JSON as Go does, which is slow and does not matter here.
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Reply(200, text.encode(), JSON)
