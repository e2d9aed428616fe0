"""
Bringing a result home: from which address, how often, and is it whole.

A server ends a broken stream cleanly, so nothing counts as a picture before
its content has been checked to the end. The key is never sent along.
"""

from __future__ import annotations

import asyncio
import io
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from ezlink_async._core import images
from ezlink_async._core.containers import verify_complete
from ezlink_async._core.error_mapping import (
    collapse_blanks,
    parse_json,
    with_translation,
)
from ezlink_async._core.policies import RetryPolicy
from ezlink_async._io.addresses import AddressRefusedError, ResultAddress
from ezlink_async._io.concurrency import INLINE_BYTES, Semaphore, run_in_thread
from ezlink_async._io.files import AtomicFile, GroupCommitter
from ezlink_async._io.responses import DownloadStream
from ezlink_async._io.transport import Sleep, Transport
from ezlink_async.errors import (
    ConfigurationError,
    DownloadError,
    EzlinkError,
    ImageError,
    TransportError,
)

_GONE = frozenset({403, 404, 410})
_AGAIN = frozenset({400, 408, 425, 429})  # 400: the row cannot be looked up now
_TOTAL = 30  # times the longest silence: a stream that drips ends too
_WRITE = 1024 * 1024
_AT_ONCE = 8
_HEAD = 2000
_OK = 200

_T = TypeVar("_T")


class Sink(Protocol):
    """Where a download goes: a file on its way, or memory."""

    def restart(self) -> object:
        """Forget what came so far."""
        ...

    def is_quick(self, length: int) -> bool:
        """Whether writing *length* bytes, and looking at them, touches no disk."""
        ...

    def write(self, blocks: list[bytes]) -> object:
        """Append some blocks."""
        ...

    def verify(self) -> str | None:
        """Return the media type of a whole picture, else raise."""
        ...


class MemorySink:
    """A result that is wanted as bytes."""

    def __init__(self) -> None:
        self._stream = io.BytesIO()

    @property
    def content(self) -> bytes:
        """What came so far; not copied, since 100 MiB would take long."""
        return self._stream.getvalue()

    def restart(self) -> None:
        """Forget what came so far."""
        self._stream = io.BytesIO()

    def is_quick(self, length: int) -> bool:
        """Whether writing *length* bytes, and looking at them, takes no time."""
        return self._stream.tell() + length <= INLINE_BYTES

    def write(self, blocks: list[bytes]) -> None:
        """Append some blocks."""
        self._stream.writelines(blocks)

    def verify(self) -> str | None:
        """Return the media type of a whole picture, else raise."""
        return verify_complete(self.content)


class _Failed(Exception):  # noqa: N818 - a turn of the loop below, nobody's error
    """One try that brought no picture."""

    def __init__(
        self,
        says: str,
        *,
        status: int | None = None,
        hint: float | None = None,
        final: bool = False,
        offline: bool = False,
    ) -> None:
        super().__init__(says)
        self.status = status
        self.hint = hint
        self.final = final
        self.offline = offline


class _RetrySchedule:
    """How long one download waits before another try; an outage is no fault."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._waits = policy.waits()
        self._strikes = 0
        self._since = 0.0

    def after(self, failed: _Failed) -> float | None:
        """Return the seconds to wait after *failed*, ``None`` for no other try."""
        if not failed.offline:
            self._strikes = 0
            wait = next(self._waits, None)
            return None if wait is None else max(wait, self._policy.heed(failed.hint))
        now = asyncio.get_running_loop().time()
        if not self._strikes:
            self._since = now
        self._strikes += 1
        over = now - self._since >= self._policy.timeout
        return None if over else self._policy.pause(self._strikes)


class Downloader:
    """
    Downloads of one client.

    Each *places* is a row of addresses as :func:`places.addresses` returns it.
    """

    def __init__(self, transport: Transport, sleep: Sleep = asyncio.sleep) -> None:
        self._transport = transport
        self._sleep = sleep
        self._turns = Semaphore(_AT_ONCE)
        self._landing = GroupCommitter(transport.writers)

    async def read(
        self, places: list[ResultAddress], task_id: str | None = None
    ) -> bytes:
        """Return a verified picture as bytes."""
        sink = MemorySink()
        if await self._retrieve(places, task_id, sink) is None:
            raise DownloadError(
                "the result is in a format that cannot be verified; save it instead",
                task_id=task_id,
            )
        return sink.content

    async def is_there(self, place: ResultAddress) -> bool:
        """Try once whether there is a whole picture."""
        try:
            async with self._turns.slot():
                return await self._try(place, MemorySink()) is not None
        except (_Failed, EzlinkError):
            return False

    async def save(
        self, places: list[ResultAddress], task_id: str, path: Path, *, fit_suffix: bool
    ) -> Path:
        """
        Put a verified picture at *path*, whole or not at all.

        With *fit_suffix* the suffix becomes that of what really came. A
        format that cannot be verified goes to ``NAME.unverified``.
        """
        try:
            with AtomicFile(path) as part:
                media_type = await self._retrieve(places, task_id, part)
                place = _placed(path, media_type, fit_suffix=fit_suffix)
                await self._landing.commit(part, place)
        except OSError as fault:
            raise DownloadError(
                f"{path} cannot be written: {fault.strerror or fault}",
                task_id=task_id,
            ) from fault
        if media_type is None:
            raise DownloadError(
                f"the result is in a format that cannot be verified; kept as {place}",
                task_id=task_id,
                path=place,
            )
        return place

    async def _retrieve(
        self, places: list[ResultAddress], task_id: str | None, sink: Sink
    ) -> str | None:
        """Try until a picture is there; 403, 404 and 410 end it the second time."""
        patience = _RetrySchedule(self._transport.settings.retry)
        gone = 0
        order = itertools.chain(places, itertools.repeat(places[-1]))
        while True:
            place = next(order)
            try:
                async with self._turns.slot():
                    return await self._try(place, sink)
            except _Failed as failed:
                gone += failed.status in _GONE
                if place.foreign:
                    continue  # whatever it was, the API has the picture too
                wait = patience.after(failed)
                if failed.final or gone > 1 or wait is None:
                    raise DownloadError(
                        f"no picture from {place.url}: {failed}",
                        task_id=task_id,
                        status=failed.status,
                    ) from None
            await self._sleep(wait)

    async def _try(self, place: ResultAddress, sink: Sink) -> str | None:
        silence = self._transport.settings.timeouts.image
        await self._unless_quick(sink, 0, sink.restart)
        try:
            async with (
                asyncio.timeout(silence * _TOTAL),
                await self._transport.stream(place.url, strict=place.strict) as stream,
            ):
                if stream.status != _OK:
                    raise await _refused(stream)
                await self._pour(stream, sink, place.limit)
        except ConfigurationError as fault:
            if not isinstance(fault, AddressRefusedError) and not place.foreign:
                raise
            raise _Failed(str(fault), final=True) from None
        except TransportError as fault:
            raise self._broken(fault, place) from None
        except TimeoutError:
            raise _Failed(f"not whole after {silence * _TOTAL:g} s") from None
        try:
            return await self._unless_quick(sink, 0, sink.verify)
        except ImageError as fault:
            raise _Failed(fault.reason, status=_OK, final=place.strict) from None

    def _broken(self, fault: TransportError, place: ResultAddress) -> _Failed:
        # A host that never answered may be mistyped: there attempts count.
        ours = not (place.foreign or place.strict)
        offline = ours and fault.stage == "connect" and self._transport.answered
        return _Failed(str(fault), final=fault.stage == "tls", offline=offline)

    async def _pour(self, stream: DownloadStream, sink: Sink, limit: int) -> None:
        blocks, kept, length = list[bytes](), 0, 0
        while block := await stream.block():
            blocks.append(block)
            kept += len(block)
            length += len(block)
            if length > limit:
                raise _Failed(f"more than {limit} bytes", status=_OK, final=True)
            if kept >= _WRITE:
                await self._put(sink, blocks, kept)
                blocks, kept = [], 0
        await self._put(sink, blocks, kept)

    async def _put(self, sink: Sink, blocks: list[bytes], length: int) -> None:
        await self._unless_quick(sink, length, lambda: sink.write(blocks))

    async def _unless_quick(self, sink: Sink, more: int, call: Callable[[], _T]) -> _T:
        """Run *call* here if it touches no disk, else in a thread."""
        if sink.is_quick(more):
            return call()
        return await run_in_thread(call, self._transport.writers)


async def _refused(stream: DownloadStream) -> _Failed:
    """Return what an answer other than 200 says."""
    try:
        body = parse_json((await stream.block())[:_HEAD])
    except TransportError:
        body = None  # the status is enough
    words = body.get("error") if isinstance(body, dict) else None
    text = with_translation(collapse_blanks(words)) if isinstance(words, str) else ""
    status = stream.status
    final = 400 <= status < 500 and status not in _GONE | _AGAIN  # noqa: PLR2004 - 4xx
    says = f"HTTP {status}" + (f", {text}" if text else "")
    return _Failed(says, status=status, hint=stream.retry_after, final=final)


def _placed(path: Path, media_type: str | None, *, fit_suffix: bool) -> Path:
    if media_type is None:
        return path.parent / f"{path.name}.unverified"
    if fit_suffix:
        return path.parent / (path.name + images.SUFFIXES[media_type])
    return path
