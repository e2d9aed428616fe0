"""
One job of a batch, from what is known of it to its result at home.

Rules:

1. A job in progress holds room, whether this client has submitted it or
   follows it by an id of an earlier run. What is brought home holds another.
2. The state in the journal follows the error: with an id it is followed by the
   next run; what may be paid without one is unknown; what the server would not
   do has failed; all else surely was not created.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import itertools
import logging
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import attrs

from ezlink_async._client.client import AsyncEzlink
from ezlink_async._client.handle import TaskHandle
from ezlink_async._client.session import Session, SharedSource
from ezlink_async._client.submitting.evidence import new_state
from ezlink_async._core.images import SUFFIXES, Image
from ezlink_async._io.concurrency import run_in_thread
from ezlink_async.batch.journal.jobs import GONE, Step
from ezlink_async.batch.options import Manner
from ezlink_async.batch.outcomes import BatchOutcome, describe_error
from ezlink_async.batch.pairs.output_paths import Output, digest_of, is_whole
from ezlink_async.batch.preflight import Job
from ezlink_async.batch.recorder import (
    ENDED_BADLY,
    Ended,
    HaltedError,
    JournalObserver,
    RunControl,
)
from ezlink_async.errors import (
    BusyError,
    DownloadError,
    EzlinkError,
    JournalError,
    TaskTimeoutError,
    TransportError,
)
from ezlink_async.prepare import Prepared, needs_preparing, prepare_picture
from ezlink_async.services.face_swap import SwapOptions

_log = logging.getLogger("ezlink_async")


class ReplacedFileBackup:
    """
    Second names of the whole pictures at *place*, while they may be replaced.

    *link* gives a file another name, where the file system can.
    """

    def __init__(
        self, place: Path, link: Callable[[Path, Path], None] = os.link
    ) -> None:
        self._place = place
        self._link = link
        self._kept: dict[Path, Path] = {}

    def take(self) -> None:
        """Give each of them a second name; :exc:`OSError` when that cannot be."""
        for suffix in SUFFIXES.values():
            path = self._place.parent / f"{self._place.name}{suffix}"
            if is_whole(path):
                self._kept[path] = self._second(path)

    def let_go(self) -> None:
        """Take the second name from what is still there, or was the result itself."""
        for path, kept in self._kept.items():
            with contextlib.suppress(OSError):  # then it keeps the name
                if digest_of(path) == digest_of(kept):
                    kept.unlink()
                    continue
            _log.warning("%s was not the result; it is kept as %s", path, kept)
        self._kept.clear()

    def _second(self, path: Path) -> Path:
        is_named = functools.partial(self._is_named, path)
        return next(filter(is_named, map(_name_of(path), itertools.count(1))))

    def _is_named(self, path: Path, name: Path) -> bool:
        """Have *path* as *name*, too, and return whether that was free."""
        try:
            self._link(path, name)
        except FileExistsError:
            return False
        except OSError:
            with path.open("rb") as stream, name.open("xb") as copy:
                shutil.copyfileobj(stream, copy)
        return True


def _name_of(path: Path) -> Callable[[int], Path]:
    def name(number: int) -> Path:
        more = "" if number == 1 else f"-{number}"
        return path.with_name(f"{path.stem}-kept{more}{path.suffix}")

    return name


_SAVES_AT_ONCE = 8

_PREPARED_AT_ONCE = 2  # each takes a processor, and up to a GB for the largest

_GONE = frozenset({404, 410})

# The disk is full, or cannot be written any more: no other result could be saved.
_NO_DISK = frozenset(
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EIO", "ENODEV", "ESTALE")
    if hasattr(errno, name)
)

Pictures = tuple[Image, Image]


class JobRunner:
    """Does the jobs of one run, each in a task of its caller's."""

    def __init__(
        self, ez: AsyncEzlink, session: Session, desk: RunControl, manner: Manner
    ) -> None:
        self._ez = ez
        self._session = session
        self._desk = desk
        self._manner = manner
        self._room = asyncio.Semaphore(session.submitter.slots.limit)
        self._saves = asyncio.Semaphore(_SAVES_AT_ONCE)
        self._shared = SharedSource(session.background, session.transport.readers)
        self._preparing = asyncio.Semaphore(_PREPARED_AT_ONCE)
        self._faces = asyncio.Lock()
        self._face: tuple[Path, Image] | None = None
        self.in_progress = 0

    async def through(self, job: Job, book: JournalObserver) -> BatchOutcome:
        """Do *job* to its end, and return how it ended."""
        try:
            handle = await self._ended(job, book)
            output = await self._bring_home(job, handle)
        except EzlinkError as error:
            return await self._failed(job, book, error)
        good = attrs.evolve(job.outcome("succeeded"), task_id=handle.task_id)
        return attrs.evolve(good, output=output, request_id=book.request_id)

    async def _ended(self, job: Job, book: JournalObserver) -> TaskHandle:
        """Return the handle of the task of *job*, once that has ended well."""
        if job.step is Step.DOWNLOAD:
            # From now on it is open, whether this run gets to its end or not.
            self._desk.commits.note(lambda journal: journal.damaged(job.entry.id))
            return self._finished(job)
        async with contextlib.AsyncExitStack() as stack:
            pictures = None
            if job.step is Step.SUBMIT:
                pictures = await stack.enter_async_context(self._pictures(job))
            await stack.enter_async_context(self._in_progress())
            if pictures is None:
                handle = self._followed(job)
            else:
                handle = await self._submitted(job, await pictures, book)
            record = await handle
        now = self._desk.clock.now()
        self._desk.commits.note(
            lambda journal: journal.succeeded(job.entry.id, record.image_url, now)
        )
        return handle

    @contextlib.asynccontextmanager
    async def _in_progress(self) -> AsyncIterator[None]:
        """Hold room; it is given in the order in which it was asked for."""
        async with self._room:
            self.in_progress += 1
            try:
                yield
            finally:
                self.in_progress -= 1

    @contextlib.asynccontextmanager
    async def _pictures(self, job: Job) -> AsyncIterator[Awaitable[Pictures]]:
        """Have the pictures prepared while their job waits in line."""
        preparing = self._session.background.start(self._prepared_pair(job))
        preparing.add_done_callback(_seen)
        try:
            yield preparing
        finally:
            preparing.cancel()

    async def _prepared_pair(self, job: Job) -> Pictures:
        """Return the source and the target as they are sent."""
        self._desk.check()
        source, target = job.pair.source, job.pair.target
        async with self._faces:
            # One object for one picture: it is encoded once.
            if self._face is None or self._face[0] != source:
                self._face = source, (await self._prepared(source)).image
            face = self._face[1]
        prepared = await self._prepared(target)
        if prepared.changes:
            self._desk.commits.note(
                lambda journal: journal.prepared(job.entry.id, prepared.changes)
            )
        return face, prepared.image

    async def _prepared(self, path: Path) -> Prepared:
        strip = self._manner.strip_metadata
        if not strip and not await asyncio.to_thread(needs_preparing, path):
            return Prepared(Image.from_path(path))
        async with self._preparing:
            return await asyncio.to_thread(prepare_picture, path, strip_metadata=strip)

    async def _submitted(
        self, job: Job, pictures: Pictures, book: JournalObserver
    ) -> TaskHandle:
        """Return the handle of a new task, its id being on disk."""
        # A state of its own: by it the task is found when the answer is lost.
        known = job.entry.mark if job.unclear is not None else None
        options = SwapOptions(state=known or new_state(), mode=self._manner.mode)
        while True:
            try:
                with self._desk.in_line(book):
                    handle = await self._ez._swap(  # noqa: SLF001 - the door made for this
                        *pictures,
                        options,
                        shared=self._shared,
                        observer=book,
                    )
            except (TransportError, BusyError) as error:
                if not self._waits_on(error):
                    raise
                _log.warning("no way to the server: waiting for it (%s)", error)
                await asyncio.sleep(self._session.transport.settings.retry.first)
            else:
                await self._desk.commits.do(lambda _: None)
                return handle

    def _waits_on(self, error: TransportError | BusyError) -> bool:
        """Return whether *error* is an outage that a batch waits out."""
        if isinstance(error, BusyError):
            return not error.status  # no answer: it stood behind others
        gone = error.stage == "connect" and error.retry_safe
        return gone and self._session.transport.answered

    def _followed(self, job: Job) -> TaskHandle:
        # It was given to a client of ours, so "unknown" does not end it.
        return self._session.accepted(job.entry.task_id or "", lambda: None)

    def _finished(self, job: Job) -> TaskHandle:
        entry = job.entry
        return self._session.finished(entry.task_id or "", entry.image_url)

    async def _bring_home(self, job: Job, handle: TaskHandle) -> Path:
        async with self._saves, self._kept(job, handle):
            saved = await handle.save_fitting(job.place)
        output = Output(saved.path.relative_to(job.folder), saved.size, saved.digest)
        await self._desk.commits.do(lambda journal: journal.saved(job.entry.id, output))
        return saved.path

    @contextlib.asynccontextmanager
    async def _kept(self, job: Job, handle: TaskHandle) -> AsyncIterator[None]:
        """Keep a picture that is there, unless it is the very result."""
        if not self._manner.keeps:
            yield
            return
        kept = ReplacedFileBackup(job.place)
        try:
            await asyncio.to_thread(kept.take)
        except OSError as fault:
            says = f"the picture at {job.place} cannot be kept: {fault.strerror}"
            raise DownloadError(says, task_id=handle.task_id) from fault
        try:
            yield
        finally:
            await run_in_thread(kept.let_go)

    async def _failed(
        self, job: Job, book: JournalObserver, error: EzlinkError
    ) -> BatchOutcome:
        """Have the state follow *error*, and return what to tell."""
        if isinstance(error, HaltedError) and book.unclear == job.unclear:
            return job.left_over(str(error))
        task_id = error.task_id or book.task_id or job.task_id
        says = self._sentence(error, task_id)
        ended = book.weigh(error, task_id)
        this, now = job.entry.id, self._desk.clock.now()
        if ended is Ended.UNKNOWN:
            if error.maybe_charged:
                self._desk.commits.note(lambda journal: journal.unknown(this, says))
            else:  # an earlier submit; the journal knows why
                says = f"{book.unclear} (sent again: {error})"
        elif ended is Ended.BADLY:
            self._desk.commits.note(lambda journal: journal.failed(this, says, now))
        elif not isinstance(error, JournalError):
            self._desk.commits.note(lambda journal: journal.noted(this, says))
        self._halt_on(error)
        return attrs.evolve(
            job.outcome("unknown" if ended is Ended.UNKNOWN else "failed", says),
            task_id=task_id,
            request_id=error.request_id or book.request_id,
            fault=error,
            resumable=ended is Ended.NOT and not says.startswith(GONE),
        )

    def _sentence(self, error: EzlinkError, task_id: str | None) -> str:
        """Return what *error* says to somebody who has a journal."""
        if isinstance(error, DownloadError) and error.status in _GONE:
            return f"{GONE} ({error})"
        if task_id is None or isinstance(error, ENDED_BADLY):
            return describe_error(error)
        says = str(error)
        if isinstance(error, TaskTimeoutError):  # its own words are for programs
            word = str(error.record.status) if error.record else ""
            says = f"task {task_id} is not finished (last status: {word or 'none'})"
        return describe_error(error, f"{says}; the next run goes on with it")

    def _halt_on(self, error: EzlinkError) -> None:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in _NO_DISK:
            self._desk.halt(describe_error(error, f"nothing more is sent: {error}"))
        elif isinstance(error, JournalError):
            self._desk.halt(describe_error(error))


def _seen(task: asyncio.Task[Pictures]) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        task.exception()  # asyncio would report one that nobody waited for
