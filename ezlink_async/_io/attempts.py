"""The attempts of one download: how slow one may be, why it failed, and the next."""

from __future__ import annotations

import asyncio

import attrs

from ezlink_async._core.error_mapping import with_translation
from ezlink_async._core.json_reader import parse_json
from ezlink_async._core.messages import collapse_blanks
from ezlink_async._core.policies import RetryPolicy, RetryWaits
from ezlink_async._io.concurrency import Semaphore, Slot
from ezlink_async._io.responses import DownloadStream
from ezlink_async.errors import TransportError

GONE = frozenset({403, 404, 410})
"""What a server answers when a link leads nowhere, or not any more."""

_RETRYABLE = frozenset({400, 408, 425, 429})  # 400: its row cannot be read right now
_LEAST_RATE = 512  # bytes a second; a link of 8 KiB/s has it for all of them
_SLOW_RATE = 16 * 1024  # bytes a second
_REFUSAL_BYTES = 2000  # of a refusal, which are searched for its reason


@attrs.define
class AttemptError(Exception):
    """One attempt that brought no picture. *final*: another would bring none either."""

    says: str
    status: int | None = None
    hint: float | None = None
    final: bool = False
    offline: bool = False
    request_id: str | None = None


class RetrySchedule:
    """The waits between the attempts of one download; an outage costs no attempt."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._waits = RetryWaits(policy)
        self._offline_attempts = 0
        self._offline_since = 0.0

    def after(self, failed: AttemptError) -> float | None:
        """Return the seconds to wait after *failed*, ``None`` to give up."""
        now = asyncio.get_running_loop().time()
        if not failed.offline:
            self._offline_attempts = 0
            return self._waits.next(now, failed.hint)
        if not self._offline_attempts:
            self._offline_since = now
        self._offline_attempts += 1
        over = now - self._offline_since >= self._policy.timeout
        return None if over else self._policy.busy_pause(self._offline_attempts)


class Pace:
    """
    The speed of one download, judged in windows of so many seconds.

    Only the time spent waiting for bytes counts. A download that brings less than
    512 bytes a second ends. One below 16 KiB a second goes on without its *turn*,
    if others wait for one and *slow* has room.
    """

    def __init__(self, window: float, turn: Slot, slow: Semaphore) -> None:
        self._window = window
        self._turn = turn
        self._slow = slow
        self._waited = 0.0
        self._bytes = 0

    async def block(self, stream: DownloadStream) -> bytes:
        """Return the next bytes of *stream*, or none at its end."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        block = await stream.block()
        # A loop that was stopped for long has not waited for bytes all the time.
        self._waited += min(loop.time() - began, self._window)
        self._bytes += len(block)
        if block and self._waited >= self._window:
            self._judge()
        return block

    def _judge(self) -> None:
        rate = self._bytes / self._waited
        self._waited, self._bytes = 0.0, 0
        if rate < _LEAST_RATE:
            raise AttemptError(f"only {rate:.0f} bytes a second")
        if rate < _SLOW_RATE:
            self._turn.trade(self._slow)


async def refusal_of(stream: DownloadStream) -> AttemptError:
    """Return what an answer other than 200 means."""
    try:
        body = parse_json((await stream.block())[:_REFUSAL_BYTES])
    except TransportError:
        body = None  # the status is enough
    reason = body.get("error") if isinstance(body, dict) else None
    text = with_translation(collapse_blanks(reason))
    status = stream.status
    lasting = 400 <= status < 500  # noqa: PLR2004 - 4xx
    return AttemptError(
        f"HTTP {status}" + (f", {text}" if text else ""),
        status=status,
        hint=stream.retry_after,
        final=lasting and status not in GONE | _RETRYABLE,
    )
