"""
The handle of a task: its latest record, and its end.

Users see a :class:`TaskHandle`, the client the same object as a
:class:`FollowedHandle`. It ends once, by :meth:`FollowedHandle.receive` (a terminal
record came, polled or pushed) or by :meth:`FollowedHandle.end` (another error).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from functools import partial
from pathlib import Path
from typing import Generic, Protocol, TypeVar
from urllib.parse import quote

import attrs

from ezlink_async._core.images import RESULT_SUFFIXES
from ezlink_async._core.log_lines import get_logger
from ezlink_async._core.messages import HttpRequest, HttpResponse
from ezlink_async._core.policies import is_number
from ezlink_async._core.records import SAVED
from ezlink_async._io import result_sets
from ezlink_async._io.addresses import Source, locate
from ezlink_async._io.concurrency import BackgroundTasks, run_in_any_thread
from ezlink_async._io.download import Downloader
from ezlink_async._io.files import SavedFile, as_path, check_path
from ezlink_async._io.spool import ResultStream
from ezlink_async.errors import (
    ClientClosedError,
    ConfigurationError,
    DownloadError,
    EzlinkError,
    QuotaError,
    TaskCancelledError,
    TaskFailedError,
    TaskNotFoundError,
    TaskTimeoutError,
    TextLostError,
)
from ezlink_async.models import TaskStatus
from ezlink_async.services.base import AnyRecord, R, TaskFamily
from ezlink_async.services.midjourney import MIDJOURNEY

FORMAT = 2

_log = get_logger()

_T = TypeVar("_T")

_SEPARATORS = tuple({"/", os.sep})

_SUFFIXES = {".jpeg", *RESULT_SUFFIXES.values()}

MALFORMED = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError)


@attrs.frozen(kw_only=True)
class SavedHandle:
    """
    Server, family and id of a task, with its latest record if there is one.

    *record* is as the family saves it. Format 1 knew one family, and saved the same.
    """

    origin: str
    family: str
    task_id: str
    record: dict[str, object] | None = None
    format: int = FORMAT

    def to_dict(self) -> dict[str, object]:
        """Return the same as values that JSON can hold."""
        return attrs.asdict(self)

    @classmethod
    def from_dict(cls, saved: object) -> SavedHandle:
        """Read a saved handle; :exc:`ConfigurationError` when *saved* is not one."""
        try:
            found = SAVED.structure(saved, cls)
        except MALFORMED as fault:
            raise ConfigurationError(f"this is not a saved handle: {fault!r}") from None
        if not 1 <= found.format <= FORMAT:
            raise ConfigurationError(
                f"this handle was saved in format {found.format}; this version of "
                f"the package reads up to {FORMAT}"
            )
        return found

    def read_record(self, family: TaskFamily[R]) -> R | None:
        """Read the record; :exc:`ConfigurationError` when *family* has no such one."""
        try:
            return None if self.record is None else family.load(self.record)
        except MALFORMED as fault:
            raise ConfigurationError(f"this is not a saved handle: {fault!r}") from None


class HandleOwner(Protocol):
    """What a handle needs of the client it belongs to."""

    loop: asyncio.AbstractEventLoop
    base_url: str
    origin: str
    downloads: Downloader
    background: BackgroundTasks

    def forget(self, handle: FollowedHandle[AnyRecord]) -> None:
        """Stop following *handle*, and give its slot back."""
        ...

    async def ask(
        self, request: HttpRequest, reader: Callable[[HttpResponse], _T]
    ) -> _T:
        """Send a free request until it is answered, and read the answer."""
        ...


_Waiters = set[asyncio.Future[None]]

Download = Callable[[list[Source]], Coroutine[object, object, _T]]
"""Downloads results from where they are."""


@attrs.define(eq=False)
class TaskHandle(Generic[R]):
    """
    A task the server has accepted; *R* is the class of its records.

    Await it for the finished record. Any number of waiters share one series
    of polls, and cancelling a waiter leaves the others waiting. Dropping the
    handle does not cancel the task: the server goes on, and the job is billed.

    Made by :meth:`AsyncEzlink.submit` and the calls that use it or, from a saved
    id, by :meth:`AsyncEzlink.task`.
    """

    task_id: str = attrs.field(on_setattr=attrs.setters.frozen)
    """The server's id. It opens the result without a key: keep it private."""
    _family: TaskFamily[R]
    _owner: HandleOwner
    _record: R | None = attrs.field(default=None, init=False)
    _error: EzlinkError | None = attrs.field(default=None, init=False)
    _done: bool = attrs.field(default=False, init=False)
    # Separate sets: each poll of many tasks brings changes, which wake few waiters.
    _awaiting_change: _Waiters | None = attrs.field(default=None, init=False)
    _awaiting_end: _Waiters | None = attrs.field(default=None, init=False)
    _was_awaited: bool = attrs.field(default=False, init=False)
    _is_paid: bool = attrs.field(default=False, init=False)
    _is_settling: bool = attrs.field(default=False, init=False)

    def __repr__(self) -> str:
        word = str(self._record.status if self._record else "") or "accepted"
        return f"<TaskHandle {self.task_id} {word}{' done' if self._done else ''}>"

    @property
    def family(self) -> str:
        """The family of the task; an id means nothing without it."""
        return self._family.name

    @property
    def record(self) -> R | None:
        """The latest record; ``None`` before the first poll."""
        return self._record

    @property
    def status(self) -> TaskStatus:
        """
        The latest status; ``SUBMITTED`` until a record says more.

        ``record.status`` keeps the server's word, which is empty at first.
        """
        word = self._record.status if self._record else TaskStatus.EMPTY
        return TaskStatus.SUBMITTED if word is TaskStatus.EMPTY else word

    def done(self) -> bool:
        """Whether the task has ended, well or not; true even if never awaited."""
        return self._done

    def __await__(self) -> Generator[object, None, R]:
        return self.result().__await__()

    async def result(self, timeout: float | None = None) -> R:
        """
        Wait for the end, at most *timeout* seconds, and return the record.

        Raises :exc:`TaskFailedError`, :exc:`TaskCancelledError`,
        :exc:`TaskNotFoundError`, or :exc:`TaskTimeoutError` when *timeout* or the
        task's deadline is over. *timeout* bounds this waiter alone: the task is
        polled on.
        """
        if timeout is not None and not is_number(timeout):
            says = "one so large" if type(timeout) is int else f"{timeout!r:.40}"
            raise ConfigurationError(
                f"timeout is a number of seconds or None, not {says}"
            )
        self._was_awaited = True
        return await self._wait(timeout)

    async def _wait(self, timeout: float | None = None) -> R:
        self._check_loop()
        try:
            if not self._done:
                async with asyncio.timeout(timeout):
                    await self._until_done()
        except TimeoutError:
            if not self._done:
                raise self._timeout(f"after {timeout:g} s of waiting") from None
        if self._error is not None:
            raise self._error.for_awaiter()
        if self._record is None:  # pragma: no cover - only a record ends it well
            raise AssertionError
        return self._record

    async def _until_done(self) -> None:
        while not self._done:
            self._awaiting_end = self._awaiting_end or set()
            await self._woken(self._awaiting_end)

    async def updates(self) -> AsyncIterator[R]:
        """
        Yield the latest record and then each change, up to the terminal one.

        A slow reader gets only the newest record. A failure or cancellation of the
        task is yielded, not raised; any other error that ends the handle is raised.
        """
        self._was_awaited = True
        self._check_loop()
        seen: R | None = None
        while True:
            if self._record is not None and self._record is not seen:
                seen = self._record
                yield seen
            elif self._done:
                break
            else:
                self._awaiting_change = self._awaiting_change or set()
                await self._woken(self._awaiting_change)
        # The terminal record of a failure has been yielded: it says the same.
        failed = isinstance(self._error, TaskFailedError | TaskCancelledError)
        if self._error is not None and not (failed and seen and seen.is_terminal):
            raise self._error.for_awaiter()

    async def read(self) -> bytes:
        """
        Wait for the only result and return it, verified to be whole.

        Raises the errors of :meth:`result`, or :exc:`DownloadError`;
        :exc:`ConfigurationError` for several results, which :meth:`read_all` gives,
        and :exc:`TextLostError` for a text that the server has lost.
        """
        downloads, task_id = self._owner.downloads, self.task_id
        return await self._download(lambda found: downloads.read(found[0], task_id))

    async def read_all(self) -> tuple[bytes, ...]:
        """Wait for the results and return each as :meth:`read` does, in their order."""
        downloads, task_id = self._owner.downloads, self.task_id
        return await self._download(
            lambda found: result_sets.read_all(downloads, found, task_id), several=True
        )

    async def open(self) -> ResultStream:
        """
        Wait for the only result and return it as a stream, verified to be whole.

        The stream has ``media_type`` and ``length``, as a web server needs them.
        Raises the errors of :meth:`read`.
        """
        downloads, task_id = self._owner.downloads, self.task_id
        return await self._download(lambda found: downloads.open(found[0], task_id))

    async def open_all(self) -> tuple[ResultStream, ...]:
        """Wait for the results and return each as :meth:`open` does, in their order."""
        downloads, task_id = self._owner.downloads, self.task_id
        return await self._download(
            lambda found: result_sets.open_all(downloads, found, task_id), several=True
        )

    async def save(self, path: str | Path) -> Path:
        """
        Wait for the only result and put it at *path*, whole or not at all.

        Returns the path. Makes missing folders, replaces an existing file, keeps the
        suffix as given; the log warns of a suffix that names another format. Where
        *path* is a folder, or a string that ends with ``/``, the file is named by the
        task's id there, with the suffix of its format. A text is UTF-8.
        Raises :exc:`ConfigurationError` at once when no file can have that name,
        the errors of :meth:`read`, or :exc:`DownloadError`; a format that cannot
        be verified is then kept as ``NAME.unverified``.
        """
        place = as_path(path)
        check_path(place)
        # A folder rarely has a name like a picture's: the system says so when the
        # file cannot be put there, and another download costs nothing.
        if not str(path).endswith(_SEPARATORS) and place.suffix.lower() in _SUFFIXES:
            try:
                return await self._save_as(place)
            except DownloadError:
                if not await self._names_folder(place):
                    raise
        fit_suffix = await self._names_folder(path)
        place = place / self._file_name() if fit_suffix else place
        return await self._save_as(place, fit_suffix=fit_suffix)

    async def _save_as(self, place: Path, *, fit_suffix: bool = False) -> Path:
        save, task_id = self._owner.downloads.save, self.task_id
        saved = await self._download(
            lambda found: save(found[0], task_id, place, fit_suffix=fit_suffix)
        )
        return saved.path

    async def save_all(self, place: str | Path) -> tuple[Path, ...]:
        """
        Wait for the results and save each; return their paths, in their order.

        The suffix of what came is appended to *place*: the only result becomes
        ``place.png``, several ``place_1.png``, ``place_2.mp4``. In a folder, or
        for a string that ends with ``/``, the name is the task's id. Each file is
        there whole or not at all; :exc:`DownloadError` says in ``saved`` which are
        there, and a second call brings only what is missing. Raises the other errors
        of :meth:`save`, too.
        """
        path = as_path(place)
        check_path(path)
        if await self._names_folder(place):
            path /= self._file_name()
        return tuple(file.path for file in await self._save_all(path))

    async def _save_all(self, place: Path) -> tuple[SavedFile, ...]:
        check_path(place)
        downloads, task_id = self._owner.downloads, self.task_id
        return await self._download(
            lambda found: result_sets.save_all(downloads, found, task_id, place),
            several=True,
        )

    @staticmethod
    async def _names_folder(path: str | Path) -> bool:
        if str(path).endswith(_SEPARATORS):
            return True
        return await run_in_any_thread(partial(_is_folder, as_path(path)))

    def _file_name(self) -> str:
        return quote(self.task_id, safe="")  # ids are opaque: one may hold a slash

    async def _download(self, download: Download[_T], *, several: bool = False) -> _T:
        """Wait for the results, and *download* them from where they are."""
        record, owner = await self.result(), self._owner
        if owner.background.closed:
            raise self._closed()
        try:
            downloading = self._from_fresh(record, download, several=several)
            return await owner.background.run(downloading, self._closed)
        except EzlinkError as error:
            self._note_charge(error)
            raise

    async def _from_fresh(
        self, record: R, download: Download[_T], *, several: bool
    ) -> _T:
        """Download what *record* names, or what is there now if its link is gone."""
        try:
            return await download(self._sources(record, several=several))
        except DownloadError as error:
            request = self._family.renew(record) if error.gone else None
            if request is None:
                raise
            fresh, gone = await self._renewed(request), error
        if fresh is None:
            raise DownloadError(
                f"the server no longer has the result of task {self.task_id}",
                task_id=self.task_id,
                status=gone.status,
                gone=True,
                saved=gone.saved,
            ) from gone
        return await download(self._sources(fresh, several=several))

    async def _renewed(self, request: HttpRequest) -> R | None:
        """Return a fresh record with results, ``None`` if there is none any more."""
        read = partial(self._family.read, task_id=self.task_id)
        with contextlib.suppress(TaskNotFoundError):
            fresh = await self._owner.ask(request, read)
            return fresh if self._family.results(fresh) else None
        return None

    def _sources(self, record: R, *, several: bool) -> list[Source]:
        """Return where the results of *record* are."""
        found, base_url = self._family.results(record), self._owner.base_url
        if not found:
            raise TextLostError(
                f"task {self.task_id} ended well, but the server has lost its text",
                task_id=self.task_id,
                record=record,
            )
        if len(found) == 1:
            keyless = self._family.keyless_request(self.task_id)
            rebuilt = base_url + keyless.path if keyless else None
            return [locate(*found, base_url, rebuilt)]
        if several:
            return [locate(each, base_url) for each in found]
        raise ConfigurationError(
            f"task {self.task_id} has {len(found)} results: use save_all() or "
            "read_all()"
        )

    def _note_charge(self, error: EzlinkError) -> None:
        """Say on *error* that the job was paid, unless the server gives that back."""
        error.maybe_charged |= self._is_paid and not self._family.is_refunded(
            self._record
        )

    def to_dict(self) -> dict[str, object]:
        """Return the values :meth:`AsyncEzlink.restore` needs, fit for JSON."""
        return SavedHandle(
            origin=self._owner.origin,
            family=self._family.name,
            task_id=self.task_id,
            record=None if self._record is None else self._family.dump(self._record),
        ).to_dict()

    @property
    def _resuming(self) -> str:
        """The call that resumes the task; an id alone is one of the usual family."""
        usual = self._family.name == MIDJOURNEY.name
        family = "" if usual else f", family={self._family.name!r}"
        return f"client.task({self.task_id!r}{family})"

    def _timeout(
        self, when: str, refusal: QuotaError | None = None
    ) -> TaskTimeoutError:
        word = str(self._record.status if self._record else "") or "not refreshed yet"
        fill = "" if refusal is None else "fill the key's quota, then "
        error = TaskTimeoutError(
            f"task {self.task_id} is not finished {when} (last status: {word}); "
            f"{fill}resume it with {self._resuming}",
            task_id=self.task_id,
            record=self._record,
        )
        error.__cause__ = refusal
        self._note_charge(error)
        return error

    def _closed(self) -> ClientClosedError:
        return ClientClosedError(
            f"the client was closed before the result of task {self.task_id} "
            f"was downloaded; resume it with {self._resuming}",
            task_ids=(self.task_id,),
        )

    def _check_loop(self) -> None:
        if asyncio.get_running_loop() is not self._owner.loop:
            raise ConfigurationError(
                "this handle belongs to another event loop: use it in the loop of "
                "its client, or restore it from to_dict() with a client of this loop"
            )

    async def _woken(self, waiters: _Waiters) -> None:
        waiter = self._owner.loop.create_future()
        waiters.add(waiter)
        try:
            await waiter
        finally:
            waiters.discard(waiter)


@attrs.define(eq=False, repr=False)
class FollowedHandle(TaskHandle[R]):
    """A handle as its client sees it, with the ways in which it ends."""

    def __dir__(self) -> list[str]:
        # Prompts complete what users are given, not what the client does with it.
        return [name for name in dir(TaskHandle) if name not in vars(FollowedHandle)]

    @property
    def task_family(self) -> TaskFamily[R]:
        """How the task is fetched, read and judged."""
        return self._family

    @property
    def was_awaited(self) -> bool:
        """Whether a user has waited for the end, so that its error is not lost."""
        return self._was_awaited

    @property
    def end_reason(self) -> str:
        """How the handle has ended, in a few words: the status or the error."""
        if self._error is not None:
            return f"{type(self._error).__name__}: {self._error}"
        return str(self.status)

    async def wait(self, timeout: float | None = None) -> R:
        """Do as :meth:`result`, without marking the handle as awaited by a user."""
        return await self._wait(timeout)

    async def save_fitting(self, place: Path) -> tuple[SavedFile, ...]:
        """Do as :meth:`save_all`, where *place* is no folder; return the files."""
        return await self._save_all(place)

    @property
    def is_paid(self) -> bool:
        """Whether a submit was accepted as this task, so that its id once existed."""
        return self._is_paid

    def mark_paid(self) -> None:
        """Note that a submit was accepted as this task, which charges for it."""
        self._is_paid = True

    @property
    def is_settling(self) -> bool:
        """Whether the task has ended, and the price of it is being settled."""
        return self._is_settling and not self._done

    def settle(self, record: R) -> bool:
        """
        Take the *record* of an end whose price is to be settled by another request.

        Returns whether that may be sent: only once, since each is paid. Whatever ends
        the handle before the answer, a success with results stays one.
        """
        if self._done or self._is_settling:
            return False
        self._record, self._is_settling = record, True
        return True

    def receive(self, record: R) -> None:
        """Take a record, polled or pushed; its family says whether it is the end."""
        if self._done:
            return
        before = self._record
        ending = self._family.judge(record, before)
        changed = before is None or not self._family.is_same(before, record)
        if changed:
            self._record = record
        if ending is not None:
            if ending.error is None and not self._family.results(record):
                says = "task %s ended well, but the server has lost its text"
                _log.warning(says, self.task_id)
            self.end(ending.error)
        elif changed:
            _wake(self._awaiting_change)

    def end(self, error: EzlinkError | None) -> None:
        """
        End the handle with *error*, or with its record when that is ``None``.

        A success that is being settled is no less one for that *error*.
        """
        if self._done:
            return
        known = self._record if self._is_settling else None
        if known is not None and self._family.results(known):
            error = None
        if error is not None:
            self._note_charge(error)
        self._done, self._error = True, error
        self._owner.forget(self)
        _wake(self._awaiting_change)
        _wake(self._awaiting_end)

    def expire(self, deadline: float, refusal: QuotaError | None = None) -> None:
        """
        End the handle because *deadline* seconds are over.

        *refusal* is what the latest poll met where the key is used up.
        """
        self.end(self._timeout(f"{deadline:g} s after acceptance", refusal))


AnyHandle = FollowedHandle[AnyRecord]
"""A handle where those of all families are handled alike."""


def _is_folder(path: Path) -> bool:
    with contextlib.suppress(OSError):  # saving there says what is wrong with it
        return path.is_dir()
    return False


def _wake(waiters: _Waiters | None) -> None:
    for waiter in waiters or ():
        if not waiter.done():
            waiter.set_result(None)
