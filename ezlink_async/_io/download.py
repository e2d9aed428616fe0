"""
Downloads of results: from which address, how often, and complete or not at all.

A server ends a broken stream like a complete one, so bytes count as a picture or a
video only after their content was verified to the end. The key is never sent along.
A result that came with its record is treated alike, without a download.
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

from ezlink_async._core import images
from ezlink_async._core.containers import verify_complete
from ezlink_async._core.log_lines import get_logger
from ezlink_async._core.messages import redact
from ezlink_async._io.addresses import (
    MAX_BYTES,
    AddressRefusedError,
    InlineResult,
    ResultAddress,
    Source,
    without_secrets,
)
from ezlink_async._io.attempts import (
    GONE,
    AttemptError,
    Pace,
    RetrySchedule,
    refusal_of,
)
from ezlink_async._io.concurrency import (
    INLINE_BYTES,
    OutOfThreadsError,
    Semaphore,
    Slot,
    run_in_thread,
)
from ezlink_async._io.files import (
    AtomicFile,
    GroupCommitter,
    KnownFiles,
    SavedFile,
)
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

_MOST_SILENCES = 30  # for 100 MiB; bounds a download that brings a byte now and then
_WRITE_BYTES = 1024 * 1024  # that are written to disk at once
_DOWNLOADS_AT_ONCE = 8
_SLOW_DOWNLOADS = 8  # besides, which share the link with the others
_QUICK_VERIFY = 16 * 1024  # bytes; at most 4,096 parts of a hostile picture
_OK = 200

_CLAIMED = {
    **{suffix: media_type for media_type, suffix in images.RESULT_SUFFIXES.items()},
    ".jpeg": "image/jpeg",
    ".m4v": "video/mp4",
    ".webm": "video/webm",
    **{f".{name}": f"image/{name}" for name in ("bmp", "tiff", "heic", "avif")},
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


class Downloader:
    """
    The downloads of one client.

    A *source* comes from :func:`~.addresses.locate`: its addresses are tried in their
    order, and of one that came with the record the bytes are verified like those of a
    download. The error of a link that is gone has ``gone``: a caller that can renew
    the link does so, and tries again. All results of a task that has several are the
    business of :mod:`~.result_sets`.
    """

    def __init__(self, transport: Transport, sleep: Sleep = asyncio.sleep) -> None:
        self._transport = transport
        self._sleep = sleep
        self._slots = Semaphore(_DOWNLOADS_AT_ONCE)
        self._slow = Semaphore(_SLOW_DOWNLOADS)
        self.known: KnownFiles = KnownFiles()
        self._committer = GroupCommitter(transport.writers)

    async def read(self, source: Source, task_id: str | None = None) -> bytes:
        """Return a verified result as bytes, or raise :exc:`DownloadError`."""
        sink = MemorySink()
        with _needs_threads(task_id):
            media_type = await self._retrieve(source, task_id, sink)
        if media_type is None:
            raise _unverified(task_id)
        return sink.content

    async def open(self, source: Source, task_id: str | None = None) -> ResultStream:
        """Return a verified result as a stream, or raise :exc:`DownloadError`."""
        spool = Spool()
        place = "the folder for temporary files"
        with (
            _needs_threads(task_id),
            _disk_errors(place, task_id),
            contextlib.ExitStack() as undo,
        ):
            undo.callback(spool.close)
            media_type = await self._retrieve(source, task_id, spool)
            if media_type is None:
                raise _unverified(task_id)
            undo.pop_all()
        return ResultStream(spool, media_type)

    async def is_there(self, address: ResultAddress) -> bool:
        """Return whether a complete result is at *address*, by one attempt."""
        try:
            async with self._slots.slot() as turn:
                return await self._attempt(address, MemorySink(), turn) is not None
        except (AttemptError, EzlinkError):
            return False

    async def save(
        self, source: Source, task_id: str, path: Path, *, fit_suffix: bool
    ) -> SavedFile:
        """
        Save a verified result as *path*, complete or not at all.

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
            media_type = await self._retrieve(source, task_id, part)
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
        self, source: Source, task_id: str | None, sink: Sink
    ) -> str | None:
        """Put a result into *sink*, and return its media type."""
        if isinstance(source, InlineResult):
            return await self._take(source, task_id, sink)
        if not source:
            raise DownloadError(
                f"the result of task {task_id} came with its record, and was not kept",
                task_id=task_id,
                gone=True,
            )
        return await self._download(source, task_id, sink)

    async def _take(
        self, source: InlineResult, task_id: str | None, sink: Sink
    ) -> str | None:
        """Put a result that came with its record into *sink*."""
        content = source.content
        await self._run(sink, 0, sink.restart)
        for start in range(0, len(content), _WRITE_BYTES):
            block = content[start : start + _WRITE_BYTES]
            await self._run(sink, len(block), partial(sink.write, [block]))
        if source.is_text:
            return "text/plain"
        try:
            return await self._verify(sink, len(content))
        except ImageError as fault:
            raise DownloadError(
                f"the result that came with the record of task {task_id} is none: "
                f"{fault.reason}",
                task_id=task_id,
            ) from None

    async def _download(
        self, addresses: list[ResultAddress], task_id: str | None, sink: Sink
    ) -> str | None:
        """Try until a result is there; the second 403, 404 or 410 is final."""
        schedule = RetrySchedule(self._transport.settings.retry)
        gone = 0
        order = itertools.chain(addresses, itertools.repeat(addresses[-1]))
        while True:
            address = next(order)
            try:
                async with self._slots.slot() as turn:
                    return await self._attempt(address, sink, turn)
            except AttemptError as failed:
                gone += failed.status in GONE
                if address.foreign:
                    continue  # however it failed, the API has the result, too
                wait = schedule.after(failed)
                if failed.final or gone > 1 or wait is None:
                    raise _failure(address, failed, task_id) from None
                says = failed.says.replace(address.url, without_secrets(address.url))
                says = redact(says)
                _log.info(
                    "retrying the download of task %s in %.1f s: %s",
                    task_id,
                    wait,
                    says,
                )
                self._transport.server_waits.begin(failed.hint, wait)
            await self._sleep(wait)
            self._transport.traffic.retries += 1

    async def _attempt(
        self, address: ResultAddress, sink: Sink, turn: Slot
    ) -> str | None:
        """Download once, and return the media type of the complete picture."""
        silence = self._transport.settings.timeouts.image
        pace = Pace(silence, turn, self._slow)
        longest = _MOST_SILENCES * silence * max(1.0, address.limit / MAX_BYTES)
        await self._run(sink, 0, sink.restart)
        try:
            async with (
                asyncio.timeout(longest),
                await self._transport.stream(
                    address.url, strict=address.strict
                ) as stream,
            ):
                if stream.status != _OK:
                    raise await refusal_of(stream)
                if (stream.announced or 0) > address.limit:
                    raise _too_long(address.limit)
                length = await self._copy(stream, pace, sink, address.limit)
        except ConfigurationError as fault:
            refused = isinstance(fault, AddressRefusedError) or address.foreign
            if isinstance(fault, OutOfThreadsError) or not refused:
                raise
            raise AttemptError(str(fault), final=True) from None
        except TransportError as fault:
            raise self._transport_failure(fault, address) from None
        except TimeoutError:
            raise AttemptError(f"not whole after {longest:g} s") from None
        return await self._verified(sink, length, address)

    async def _verified(
        self, sink: Sink, length: int, address: ResultAddress
    ) -> str | None:
        try:
            return await self._verify(sink, length)
        except ImageError as fault:
            raise AttemptError(fault.reason, status=_OK, final=address.strict) from None

    async def _verify(self, sink: Sink, length: int) -> str | None:
        if length <= _QUICK_VERIFY:
            return sink.verify()
        return await run_in_thread(sink.verify, self._transport.writers)

    def _transport_failure(
        self, fault: TransportError, address: ResultAddress
    ) -> AttemptError:
        # A host that never answered may be mistyped: there each attempt counts.
        own = not (address.foreign or address.strict)
        offline = own and fault.stage == "connect" and self._transport.answered
        return AttemptError(str(fault), final=fault.stage == "tls", offline=offline)

    async def _copy(
        self, stream: DownloadStream, pace: Pace, sink: Sink, limit: int
    ) -> int:
        """Write the whole download to *sink*, and return its length."""
        blocks, kept, length = list[bytes](), 0, 0
        while block := await pace.block(stream):
            blocks.append(block)
            self._transport.traffic.bytes_received += len(block)
            kept += len(block)
            length += len(block)
            if length > limit:
                raise _too_long(limit)
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


def _too_long(limit: int) -> AttemptError:
    return AttemptError(f"more than {limit} bytes", status=_OK, final=True)


def _failure(
    address: ResultAddress, failed: AttemptError, task_id: str | None
) -> DownloadError:
    gone = failed.status in GONE
    end = "; the link is gone" if gone else ""
    return DownloadError(
        f"no result from {redact(address.url)}: {redact(failed.says)}{end}",
        task_id=task_id,
        status=failed.status,
        gone=gone,
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
        return path.parent / (path.name + images.RESULT_SUFFIXES[media_type])
    return path
