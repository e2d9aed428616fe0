"""
Runs one job of a batch, from its next step to the saved result.

Rules:

1. A job in progress holds a slot, whether this client has submitted it or follows
   it by an id of an earlier run. Downloads have slots of their own.
2. The error decides the state in the journal: a job with an id is followed by the
   next run; one that may be paid without an id is unknown; one that the server
   refused has failed; every other job was surely not created.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import json
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

import attrs

from ezlink_async._client.handle import FollowedHandle
from ezlink_async._client.session import Session
from ezlink_async._client.submitting.evidence import new_state
from ezlink_async._core.error_mapping import is_about_picture
from ezlink_async._core.images import SUFFIXES, Image
from ezlink_async._core.log_lines import get_logger
from ezlink_async._io import result_sets
from ezlink_async._io.concurrency import (
    OutOfThreadsError,
    run_in_any_thread,
    run_in_thread,
)
from ezlink_async.batch.journal.jobs import (
    JobRecord,
    JobState,
    Problem,
    Reason,
    Step,
)
from ezlink_async.batch.options import BatchOptions
from ezlink_async.batch.outcomes import INTERRUPTED, BatchOutcome, describe_error
from ezlink_async.batch.pairs.orders import BY_PATHS, AnyRequest
from ezlink_async.batch.pairs.output_paths import (
    Output,
    digest_of,
    is_whole,
    numbered,
)
from ezlink_async.batch.pairs.pictures import Picture, as_given, is_ready, prepared
from ezlink_async.batch.preflight import BatchJob, read_task
from ezlink_async.batch.recorder import (
    FAILED_TASK_ERRORS,
    HaltedError,
    JournalObserver,
    RunControl,
    Stage,
)
from ezlink_async.errors import (
    BusyError,
    DownloadError,
    EndpointNotSupportedError,
    EzlinkError,
    ImageError,
    JournalError,
    ModalNeededError,
    QuotaError,
    RejectedError,
    TaskTimeoutError,
    TextLostError,
    TransportError,
)
from ezlink_async.prepare import Prepared
from ezlink_async.services.base import NO_TASK, Accepted, AnyRecord, TaskFamily
from ezlink_async.services.registry import family_of

_log = get_logger()


class ReplacedFileBackup:
    """
    Backups of the whole pictures at *output_path*, which *count* results may replace.

    A backup is a second name for the file. *link* makes one, or raises
    :exc:`OSError` where the file system cannot; then the file is copied.
    """

    def __init__(
        self,
        output_path: Path,
        link: Callable[[Path, Path], None] = os.link,
        *,
        count: int = 1,
    ) -> None:
        self._places = result_sets.numbered(output_path, count)
        self._link = link
        self._backups: dict[Path, Path] = {}

    def create(self) -> None:
        """Back up each picture; raises :exc:`OSError` if that fails."""
        for place, suffix in itertools.product(self._places, SUFFIXES.values()):
            path = place.parent / f"{place.name}{suffix}"
            if is_whole(path):
                stems = numbered(f"{path.stem}-kept")
                names = (path.with_stem(stem) for stem in stems)
                self._backups[path] = next(
                    name for name in names if self._is_created(path, name)
                )

    def release(self) -> None:
        """Delete the backups of pictures that are still there, unchanged."""
        for path, backup in self._backups.items():
            with contextlib.suppress(OSError):  # the backup stays
                if digest_of(path) == digest_of(backup):
                    backup.unlink()
                    continue
            _log.warning("%s was not the result; it is kept as %s", path, backup)
        self._backups.clear()

    def _is_created(self, path: Path, name: Path) -> bool:
        """Back up *path* as *name*, and return whether that was free."""
        try:
            self._link(path, name)
        except FileExistsError:
            return False
        except OSError:
            with path.open("rb") as stream, name.open("xb") as copy:
                shutil.copyfileobj(stream, copy)
        return True


_CONCURRENT_DOWNLOADS = 8

_CONCURRENT_PREPARATIONS = 2  # each needs a processor, and up to a GB of memory

_RESULT_GONE = "DownloadError: the server no longer has the result"
_FINAL_REASONS = frozenset({Reason.RESULT_GONE, Reason.UNUSABLE, Reason.STORAGE})
_GONE_STATUSES = frozenset({404, 410})

# The disk is full, or cannot be written any more: no other result could be saved.
_STORAGE_ERRORS = frozenset(
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EIO", "ENODEV", "ESTALE")
    if hasattr(errno, name)
)

AnyHandle = FollowedHandle[AnyRecord]


class JobRunner:
    """Runs the jobs of one run; each caller is a task of its own."""

    def __init__(
        self,
        session: Session,
        control: RunControl,
        options: BatchOptions,
    ) -> None:
        self._session = session
        self._control = control
        self._options = options
        self._slots = asyncio.Semaphore(session.concurrency)
        self._downloads = asyncio.Semaphore(_CONCURRENT_DOWNLOADS)
        self._shared = session.shared_source()
        self._preparations = asyncio.Semaphore(_CONCURRENT_PREPARATIONS)
        self._source_lock = asyncio.Lock()
        self._sources: dict[int, tuple[bytes, Image]] = {}  # with their SHA-256

    async def run(self, job: BatchJob, observer: JournalObserver) -> BatchOutcome:
        """Run *job* to its end, and return its outcome."""
        try:
            handle = await self._finish(job, observer)
            outputs = await self._download(job, handle)
        except EzlinkError as error:
            return self._failed(job, observer, error)
        return attrs.evolve(
            job.outcome("succeeded"),
            task_id=handle.task_id,
            output=outputs[0],
            outputs=outputs,
            text="" if handle.record is None else handle.record.text,
            request_id=observer.request_id,
        )

    async def _finish(self, job: BatchJob, observer: JournalObserver) -> AnyHandle:
        """Return the handle of the job's task, once that has succeeded."""
        record, writer = job.record, self._control.writer
        if job.step is Step.DOWNLOAD and (known := self._known(record)) is not None:
            observer.stage = Stage.SAVING
            # From now on the job is open, even if this run ends early.
            writer.execute_soon(lambda journal: journal.damaged(record.id))
            return self._session.finished(known, family_of(record.family))
        async with self._prepared(job) as pictures, self._slots:
            if pictures is None:
                observer.follows()
                handle = self._followed(job)
            else:
                handle = await self._submit(job, await pictures, observer)
            with self._keeping_end(record.id, handle):
                if pictures is not None:
                    await writer.execute(lambda _: None)  # its id is on disk
                task = await handle
        observer.stage = Stage.SAVING
        observer.task_record = json.dumps(handle.task_family.dump(task))
        await self._write_record(record.id, observer.task_record)
        if not handle.task_family.results(task):
            raise TextLostError(
                f"task {handle.task_id} has ended well, but the server has lost its "
                "text; it is paid, and another look brings none",
                task_id=handle.task_id,
                record=task,
            )
        return handle

    def _followed(self, job: BatchJob) -> AnyHandle:
        """Return the handle of a task that an earlier run has submitted."""
        record = job.record
        # The id was given to this account, so "no such task" is no end.
        accepted = Accepted(
            record.task_id or "",
            0,
            "",
            has_previews=record.key.kind not in BY_PATHS,
        )
        family = family_of(record.family)
        request = job.order.request
        deadline = None if request is None else request.deadline
        return self._session.accepted(accepted, family, lambda: None, deadline)

    @contextlib.contextmanager
    def _keeping_end(self, job: int, handle: AnyHandle) -> Iterator[None]:
        """Write the record of an end also if the run is left before it is seen."""
        try:
            yield
        except asyncio.CancelledError:
            if handle.has_ended_well:  # another look might settle its price once more
                record = json.dumps(handle.task_family.dump(handle.record))
                now, writer = self._control.clock.now(), self._control.writer
                writer.execute_soon(lambda journal: journal.succeeded(job, record, now))
            raise

    async def _write_record(self, job: int, record: str) -> None:
        """Have the record of a task on disk before anything is downloaded."""
        now, writer = self._control.clock.now(), self._control.writer
        writer.execute_soon(lambda journal: journal.succeeded(job, record, now))
        with contextlib.suppress(JournalError):  # a result can be saved all the same
            await writer.execute(lambda _: None)

    def _known(self, record: JobRecord) -> AnyRecord | None:
        """Return what is known of a task that has succeeded; else it is asked for."""
        known, family = read_task(record), family_of(record.family)
        request = family.keyless_request(record.task_id or "")
        if known is not None or request is None or record.key.kind not in BY_PATHS:
            return known
        # An earlier version did not always store where the result of a swap is.
        place = self._session.base_url + request.path
        return family.found(record.task_id or "", None, place)

    @contextlib.asynccontextmanager
    async def _prepared(
        self, job: BatchJob
    ) -> AsyncIterator[Awaitable[AnyRequest] | None]:
        """Prepare the pictures of a submit while its job waits for a slot."""
        if job.step is not Step.SUBMIT:
            yield None
            return
        preparing = self._session.background.start(self._prepare_all(job))
        preparing.add_done_callback(_retrieve_exception)
        try:
            yield preparing
        finally:
            preparing.cancel()

    async def _prepare_all(self, job: BatchJob) -> AnyRequest:
        """Return the request of a job, with its pictures as they are sent."""
        self._control.check()
        order, shared = job.order, job.order.shared
        images = []
        async with self._source_lock:
            for number, picture in enumerate(order.pictures[:shared]):
                images.append(await self._source(number, picture, job.digests[number]))
        changes: list[str] = []
        for picture in order.pictures[shared:]:
            found = await self._prepare(picture)
            images.append(found.image)
            changes += (each for each in found.changes if each not in changes)
        if changes:
            self._control.writer.execute_soon(
                lambda journal: journal.prepared(job.record.id, changes)
            )
        return order.prepared(images)

    async def _source(self, number: int, picture: Picture, content: bytes) -> Image:
        """Return a shared picture: one object for one, so it is encoded once."""
        known = self._sources.get(number)
        if known is None or known[0] != content:
            known = content, (await self._prepare(picture)).image
            self._sources[number] = known
        return known[1]

    async def _prepare(self, picture: Picture) -> Prepared:
        strip = self._options.strip_metadata
        if await run_in_any_thread(partial(is_ready, picture, strip_metadata=strip)):
            return Prepared(as_given(picture))
        async with self._preparations:
            return await run_in_any_thread(
                partial(prepared, picture, strip_metadata=strip)
            )

    async def _submit(
        self, job: BatchJob, request: AnyRequest, observer: JournalObserver
    ) -> AnyHandle:
        """Return the handle of a new task."""
        # Each job has a state of its own: it finds the task of a lost answer.
        known = job.record.state_tag if job.unclear is not None else None
        request = request.with_state(known or new_state())
        while True:
            try:
                with self._control.queued(observer):
                    return await self._session.submit(
                        request, shared=self._shared, observer=observer
                    )
            except (TransportError, BusyError) as error:
                if not self._is_outage(error):
                    raise
                _log.warning("no connection to the server: waiting for it (%s)", error)
                await asyncio.sleep(self._session.retry_pause)

    def _is_outage(self, error: TransportError | BusyError) -> bool:
        """Return whether *error* is an outage that a batch waits out."""
        if isinstance(error, BusyError):
            return not error.status  # no answer: it was queued behind others
        no_connection = error.stage == "connect" and error.retry_safe
        return no_connection and self._session.has_answered

    async def _download(self, job: BatchJob, handle: AnyHandle) -> tuple[Path, ...]:
        """Save the results, and return their paths once the journal has them."""
        async with self._downloads, self._backed_up(job, handle):
            saved = await handle.save_fitting(job.output_path)
        outputs = [
            Output(each.path.relative_to(job.folder), each.size, each.digest)
            for each in saved
        ]
        await self._control.writer.execute(
            lambda journal: journal.saved(job.record.id, outputs)
        )
        return tuple(job.folder / each.path for each in outputs)

    @contextlib.asynccontextmanager
    async def _backed_up(self, job: BatchJob, handle: AnyHandle) -> AsyncIterator[None]:
        """Keep a picture that is at the output path, unless it is the result."""
        if not self._options.keeps_existing:
            yield
            return
        results = handle.task_family.results(handle.record)
        backup = ReplacedFileBackup(job.output_path, count=len(results))
        try:
            await run_in_any_thread(backup.create)
        except OSError as fault:
            says = f"the picture at {job.output_path} cannot be kept: {fault.strerror}"
            raise DownloadError(says, task_id=handle.task_id) from fault
        try:
            yield
        finally:
            try:
                await run_in_thread(backup.release)
            except OutOfThreadsError:
                backup.release()

    def _failed(
        self, job: BatchJob, observer: JournalObserver, error: EzlinkError
    ) -> BatchOutcome:
        """Write the state that *error* leads to, and return the outcome."""
        if isinstance(error, HaltedError) and observer.unclear == job.unclear:
            return job.left_over(self._control.halted or INTERRUPTED)
        task_id = error.task_id or observer.task_id or job.task_id
        state = observer.state_after(error, task_id)
        unwritten = observer.unwritten(task_id) if state is None else None
        family = family_of(job.record.family)
        problem = unwritten or _problem(error, task_id, family)
        if state is JobState.UNKNOWN and not error.maybe_charged:
            # An earlier submit is unknown, and the journal has its error.
            problem = Problem(f"{observer.unclear} (sent again: {error})")
        elif state is not None or not isinstance(error, JournalError):
            self._write(job, state, problem)
        self._halt_on(error)
        return attrs.evolve(
            job.outcome("unknown" if state is JobState.UNKNOWN else "failed", problem),
            task_id=task_id,
            request_id=error.request_id or observer.request_id,
            fault=error,
            maybe_charged=state is JobState.UNKNOWN or unwritten is not None,
            resumable=state is None and _goes_on(error, problem),
        )

    def _write(self, job: BatchJob, state: JobState | None, problem: Problem) -> None:
        this, sentence = job.record.id, problem.sentence
        now, writer = self._control.clock.now(), self._control.writer
        if state is JobState.UNKNOWN:
            writer.execute_soon(lambda journal: journal.unknown(this, sentence))
        elif state is JobState.FAILED:
            writer.execute_soon(lambda journal: journal.failed(this, problem, now))
        else:
            writer.execute_soon(lambda journal: journal.note_problem(this, problem))

    def _halt_on(self, error: EzlinkError) -> None:
        """Halt the run if nothing can be written any more."""
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in _STORAGE_ERRORS:
            sentence = describe_error(error, f"nothing more is sent: {error}")
        elif isinstance(error, JournalError):
            sentence = describe_error(error)
        else:
            return
        self._control.halt(Problem(sentence, Reason.STORAGE))


def _goes_on(error: EzlinkError, problem: Problem) -> bool:
    """Return whether the next run continues the job by itself."""
    waits_for_input = isinstance(error, ModalNeededError)
    return problem.reason not in _FINAL_REASONS and not waits_for_input


def _is_gone(error: EzlinkError, family: TaskFamily[AnyRecord]) -> bool:
    """
    Return whether the result of a task is gone for good.

    A link is refused for a while, too, where the API has an address of its own for it.
    """
    if not isinstance(error, DownloadError):
        return False
    is_only_link = family.keyless_request(NO_TASK) is None
    return error.status in _GONE_STATUSES or (error.gone and is_only_link)


def _problem(
    error: EzlinkError, task_id: str | None, family: TaskFamily[AnyRecord]
) -> Problem:
    """Return *error* with what the next run does about the job."""
    if _is_gone(error, family):
        return Problem(f"{_RESULT_GONE} ({error})", Reason.RESULT_GONE)
    if task_id is None or isinstance(error, FAILED_TASK_ERRORS):
        return Problem(describe_error(error), _reason(error))
    says = str(error)
    if isinstance(error, ModalNeededError):
        return Problem(describe_error(error), Reason.INPUT)  # it says what to do
    if isinstance(error, TaskTimeoutError):
        says = _unfinished(error, task_id)
    return Problem(describe_error(error, f"{says}; the next run goes on with it"))


def _unfinished(error: TaskTimeoutError, task_id: str) -> str:
    """Return what *error* says; its own sentence is for programs."""
    status = str(error.record.status) if error.record else ""
    says = f"task {task_id} is not finished (last status: {status or 'none'})"
    cause = error.__cause__
    if isinstance(cause, EndpointNotSupportedError):
        return f"{says}; {cause}"
    return f"{says}; fill the key's quota" if isinstance(cause, QuotaError) else says


def _reason(error: EzlinkError) -> Reason | None:
    """Return ``UNUSABLE`` if another picture helps, and nothing else does."""
    if isinstance(error, ImageError):
        return Reason.UNUSABLE
    words = ""
    if isinstance(error, RejectedError):
        words = error.description
    elif isinstance(error, FAILED_TASK_ERRORS) and error.record is not None:
        words = error.record.fail_reason or ""
    return Reason.UNUSABLE if is_about_picture(words) else None


def _retrieve_exception(task: asyncio.Task[AnyRequest]) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        task.exception()  # or asyncio logs that it was never retrieved
