"""
Downloads of results: from which address, how often, and complete or not at all.

A server ends a broken stream like a complete one, so bytes count as a picture
only after their content was verified to the end. The key is never sent along.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import attrs

from ezlink_async._core import images
from ezlink_async._core.containers import verify_complete
from ezlink_async._core.error_mapping import with_translation
from ezlink_async._core.json_reader import parse_json
from ezlink_async._core.log_lines import get_logger
from ezlink_async._core.messages import collapse_blanks
from ezlink_async._core.policies import RetryPolicy, RetryWaits
from ezlink_async._io.addresses import (
    AddressRefusedError,
    ResultAddress,
    without_secrets,
)
from ezlink_async._io.concurrency import (
    INLINE_BYTES,
    OutOfThreadsError,
    Semaphore,
    Slot,
    run_in_thread,
)
from ezlink_async._io.files import AtomicFile, GroupCommitter, SavedFile
from ezlink_async._io.responses import DownloadStream
from ezlink_async._io.spool import ResultStream, Spool
from ezlink_async._io.transport import Sleep, Transport
from ezlink_async.errors import (
    ConfigurationError,
    DownloadError,
    EzlinkError,
    ImageError,
    TransportError,
)

_GONE = frozenset({403, 404, 410})
_RETRYABLE = frozenset({400, 408, 425, 429})  # 400: its row cannot be read right now
_MOST_SILENCES = 30  # bounds a download that brings a byte now and then
_WRITE_BYTES = 1024 * 1024  # that are written to disk at once
_DOWNLOADS_AT_ONCE = 8
_SLOW_DOWNLOADS = 8  # besides, which share the link with the others
_LEAST_RATE = 512  # bytes a second; a link of 8 KiB/s has it for all of them
_SLOW_RATE = 16 * 1024  # bytes a second
_QUICK_VERIFY = 16 * 1024  # bytes; at most 4,096 parts of a hostile picture
_REFUSAL_BYTES = 2000  # of a refusal, which are searched for its reason
_OK = 200

_CLAIMED = {
    **{suffix: media_type for media_type, suffix in images.SUFFIXES.items()},
    ".jpeg": "image/jpeg",
    **{f".{name}": f"image/{name}" for name in ("gif", "bmp", "tiff", "heic", "avif")},
}
"""The media type that a suffix promises."""

_log = get_logger()

_T = TypeVar("_T")


class MemorySink:
    """A download that is wanted as bytes."""

    def __init__(self) -> None:
        self._stream = io.BytesIO()

    @property
    def content(self) -> bytes:
        """The bytes so far; not copied, since copying 100 MiB would take long."""
        return self._stream.getvalue()

    def restart(self) -> None:
        """Drop everything written so far."""
        self._stream = io.BytesIO()

    def is_quick(self, length: int) -> bool:
        """Return whether *length* more bytes can be written at once."""
        return self._stream.tell() + length <= INLINE_BYTES

    def write(self, blocks: list[bytes]) -> None:
        """Append *blocks*."""
        self._stream.writelines(blocks)

    def verify(self) -> str | None:
        """Return the media type; see :func:`~.containers.verify_complete`."""
        return verify_complete(self.content)


Sink = AtomicFile | MemorySink | Spool

Addresses = list[ResultAddress]


@attrs.define
class _AttemptError(Exception):
    """One attempt that brought no picture. *final*: another would bring none either."""

    says: str
    status: int | None = None
    hint: float | None = None
    final: bool = False
    offline: bool = False


class _RetrySchedule:
    """The waits between the attempts of one download; an outage costs no attempt."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._waits = RetryWaits(policy)
        self._offline_attempts = 0
        self._offline_since = 0.0

    def after(self, failed: _AttemptError) -> float | None:
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


class _Pace:
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
            raise _AttemptError(f"only {rate:.0f} bytes a second")
        if rate < _SLOW_RATE:
            self._turn.trade(self._slow)


class Downloader:
    """
    The downloads of one client.

    *addresses* are tried in the order of :func:`~.addresses.candidate_addresses`.
    """

    def __init__(self, transport: Transport, sleep: Sleep = asyncio.sleep) -> None:
        self._transport = transport
        self._sleep = sleep
        self._slots = Semaphore(_DOWNLOADS_AT_ONCE)
        self._slow = Semaphore(_SLOW_DOWNLOADS)
        self._committer = GroupCommitter(transport.writers)

    async def read(self, addresses: Addresses, task_id: str | None = None) -> bytes:
        """Return a verified picture as bytes, or raise :exc:`DownloadError`."""
        sink = MemorySink()
        with _needs_threads(task_id):
            media_type = await self._retrieve(addresses, task_id, sink)
        if media_type is None:
            raise _unverified(task_id)
        return sink.content

    async def open(
        self, addresses: Addresses, task_id: str | None = None
    ) -> ResultStream:
        """Return a verified picture as a stream, or raise :exc:`DownloadError`."""
        spool = Spool()
        place = "the folder for temporary files"
        with (
            _needs_threads(task_id),
            _disk_errors(place, task_id),
            contextlib.ExitStack() as undo,
        ):
            undo.callback(spool.close)
            media_type = await self._retrieve(addresses, task_id, spool)
            if media_type is None:
                raise _unverified(task_id)
            undo.pop_all()
        return ResultStream(spool, media_type)

    async def is_there(self, address: ResultAddress) -> bool:
        """Return whether a complete picture is at *address*, by one attempt."""
        try:
            async with self._slots.slot() as turn:
                return await self._attempt(address, MemorySink(), turn) is not None
        except (_AttemptError, EzlinkError):
            return False

    async def save(
        self, addresses: Addresses, task_id: str, path: Path, *, fit_suffix: bool
    ) -> SavedFile:
        """
        Save a verified picture as *path*, complete or not at all.

        With *fit_suffix* the suffix of the format that came is appended; without
        it, a suffix of another format is kept, and logged as a warning. A format
        that cannot be verified is saved as ``NAME.unverified``, and that is a
        :exc:`DownloadError`, too.
        """
        loop = asyncio.get_running_loop()
        start = loop.time()
        with (
            _needs_threads(task_id),
            _disk_errors(path, task_id),
            AtomicFile(path) as part,
        ):
            media_type = await self._retrieve(addresses, task_id, part)
            final_path = _final_path(path, media_type, fit_suffix=fit_suffix)
            saved = await self._committer.commit(part, final_path)
        if media_type is None:
            raise DownloadError(
                "the result is in a format that cannot be verified; "
                f"kept as {saved.path}",
                task_id=task_id,
                path=saved.path,
            )
        _log.info(
            "task %s: saved %s (%d bytes) in %.1f s",
            task_id,
            saved.path,
            saved.size,
            loop.time() - start,
        )
        if not fit_suffix:
            _check_suffix(saved.path, media_type, task_id)
        return saved

    async def _retrieve(
        self, addresses: Addresses, task_id: str | None, sink: Sink
    ) -> str | None:
        """Try until a picture is there; the second 403, 404 or 410 is final."""
        schedule = _RetrySchedule(self._transport.settings.retry)
        gone = 0
        order = itertools.chain(addresses, itertools.repeat(addresses[-1]))
        while True:
            address = next(order)
            try:
                async with self._slots.slot() as turn:
                    return await self._attempt(address, sink, turn)
            except _AttemptError as failed:
                gone += failed.status in _GONE
                if address.foreign:
                    continue  # whatever went wrong, the API has the picture, too
                wait = schedule.after(failed)
                if failed.final or gone > 1 or wait is None:
                    raise DownloadError(
                        f"no picture from {address.url}: {failed.says}",
                        task_id=task_id,
                        status=failed.status,
                    ) from None
                says = failed.says.replace(address.url, without_secrets(address.url))
                _log.info(
                    "retrying the download of task %s in %.1f s: %s",
                    task_id,
                    wait,
                    says,
                )
                self._transport.server_waits.begin(failed.hint, wait)
            await self._sleep(wait)

    async def _attempt(
        self, address: ResultAddress, sink: Sink, turn: Slot
    ) -> str | None:
        """Download once, and return the media type of the complete picture."""
        silence = self._transport.settings.timeouts.image
        pace = _Pace(silence, turn, self._slow)
        longest = _MOST_SILENCES * silence
        await self._run(sink, 0, sink.restart)
        try:
            async with (
                asyncio.timeout(longest),
                await self._transport.stream(
                    address.url, strict=address.strict
                ) as stream,
            ):
                if stream.status != _OK:
                    raise await _refusal(stream)
                length = await self._copy(stream, pace, sink, address.limit)
        except ConfigurationError as fault:
            refused = isinstance(fault, AddressRefusedError) or address.foreign
            if isinstance(fault, OutOfThreadsError) or not refused:
                raise
            raise _AttemptError(str(fault), final=True) from None
        except TransportError as fault:
            raise self._transport_failure(fault, address) from None
        except TimeoutError:
            raise _AttemptError(f"not whole after {longest:g} s") from None
        return await self._verified(sink, length, address)

    async def _verified(
        self, sink: Sink, length: int, address: ResultAddress
    ) -> str | None:
        try:
            if length <= _QUICK_VERIFY:
                return sink.verify()
            return await run_in_thread(sink.verify, self._transport.writers)
        except ImageError as fault:
            raise _AttemptError(
                fault.reason, status=_OK, final=address.strict
            ) from None

    def _transport_failure(
        self, fault: TransportError, address: ResultAddress
    ) -> _AttemptError:
        # A host that never answered may be mistyped: there each attempt counts.
        own = not (address.foreign or address.strict)
        offline = own and fault.stage == "connect" and self._transport.answered
        return _AttemptError(str(fault), final=fault.stage == "tls", offline=offline)

    async def _copy(
        self, stream: DownloadStream, pace: _Pace, sink: Sink, limit: int
    ) -> int:
        """Write the whole download to *sink*, and return its length."""
        blocks, kept, length = list[bytes](), 0, 0
        while block := await pace.block(stream):
            blocks.append(block)
            kept += len(block)
            length += len(block)
            if length > limit:
                raise _AttemptError(f"more than {limit} bytes", status=_OK, final=True)
            if kept >= _WRITE_BYTES:
                await self._run(sink, kept, partial(sink.write, blocks))
                blocks, kept = [], 0
        await self._run(sink, kept, partial(sink.write, blocks))
        return length

    async def _run(self, sink: Sink, length: int, call: Callable[[], _T]) -> _T:
        """Run *call*, which adds *length* bytes, in a thread unless it is quick."""
        if sink.is_quick(length):
            return call()
        return await run_in_thread(call, self._transport.writers)


@contextlib.contextmanager
def _needs_threads(task_id: str | None) -> Iterator[None]:
    """Turn a lack of threads into an error with the id, which leads to the result."""
    try:
        yield
    except OutOfThreadsError as fault:
        raise DownloadError(
            f"the result of task {task_id} was not downloaded: {fault}; "
            "it stays at the server",
            task_id=task_id,
        ) from fault


async def _refusal(stream: DownloadStream) -> _AttemptError:
    """Return what an answer other than 200 means."""
    try:
        body = parse_json((await stream.block())[:_REFUSAL_BYTES])
    except TransportError:
        body = None  # the status is enough
    reason = body.get("error") if isinstance(body, dict) else None
    text = with_translation(collapse_blanks(reason))
    status = stream.status
    lasting = 400 <= status < 500  # noqa: PLR2004 - 4xx
    return _AttemptError(
        f"HTTP {status}" + (f", {text}" if text else ""),
        status=status,
        hint=stream.retry_after,
        final=lasting and status not in _GONE | _RETRYABLE,
    )


@contextlib.contextmanager
def _disk_errors(place: object, task_id: str | None) -> Iterator[None]:
    """Raise an error of the disk at *place* as :exc:`DownloadError`."""
    try:
        yield
    except OSError as fault:
        raise DownloadError(
            f"{place} cannot be written: {fault.strerror or fault}", task_id=task_id
        ) from fault


def _unverified(task_id: str | None) -> DownloadError:
    return DownloadError(
        "the result is in a format that cannot be verified; save it instead",
        task_id=task_id,
    )


def _check_suffix(path: Path, media_type: str, task_id: str) -> None:
    """Log a warning if the suffix of *path* is that of another format."""
    claimed = _CLAIMED.get(path.suffix.lower(), media_type)
    if claimed != media_type:
        _log.warning(
            "task %s: %s holds %s, though its suffix says %s; save into a folder "
            "instead, and the file gets the right one",
            task_id,
            path,
            media_type,
            claimed,
        )


def _final_path(path: Path, media_type: str | None, *, fit_suffix: bool) -> Path:
    if media_type is None:
        return path.parent / f"{path.name}.unverified"
    if fit_suffix:
        return path.parent / (path.name + images.SUFFIXES[media_type])
    return path
