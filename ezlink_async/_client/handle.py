"""
The handle of a task: its latest record, and its end.

Users see a :class:`TaskHandle`, the client the same object as a
:class:`FollowedHandle`. It ends once, by :meth:`FollowedHandle.receive` (a terminal
record came, polled or pushed) or by :meth:`FollowedHandle.end` (another error).
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import math
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar
from urllib.parse import quote

import attrs
import cattrs

from ezlink_async._core.error_mapping import with_translation
from ezlink_async._core.policies import is_number
from ezlink_async._core.records import is_refunded
from ezlink_async._io.addresses import ResultAddress, candidate_addresses
from ezlink_async._io.concurrency import BackgroundTasks, run_in_any_thread
from ezlink_async._io.download import Downloader
from ezlink_async._io.files import SavedFile, as_path, check_path
from ezlink_async._io.spool import ResultStream
from ezlink_async.errors import (
    ClientClosedError,
    ConfigurationError,
    EzlinkError,
    TaskCancelledError,
    TaskError,
    TaskFailedError,
    TaskTimeoutError,
)
from ezlink_async.models import TaskRecord, TaskStatus
from ezlink_async.services.base import TaskFamily

FORMAT = 1

_T = TypeVar("_T")

_SEPARATORS = tuple({"/", os.sep})

_MALFORMED = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError)


@attrs.frozen(kw_only=True)
class SavedHandle:
    """Server, kind and id of a task, with its latest record if there is one."""

    origin: str
    family: str
    task_id: str
    record: TaskRecord | None = None
    format: int = FORMAT

    def to_dict(self) -> dict[str, object]:
        """Return the same as values that JSON can hold."""
        return dict(_converter.unstructure(self))

    @classmethod
    def from_dict(cls, saved: object) -> SavedHandle:
        """Read a saved handle; :exc:`ConfigurationError` when *saved* is not one."""
        try:
            found: SavedHandle = _converter.structure(saved, cls)
        except _MALFORMED as fault:
            raise ConfigurationError(f"this is not a saved handle: {fault!r}") from None
        if found.format != FORMAT:
            raise ConfigurationError(
                f"this handle was saved in format {found.format}, not {FORMAT}"
            )
        return found


def _string(value: object, _: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a string")
    return value


def _number(value: object, _: object) -> float:
    number = float(value)  # type: ignore[arg-type]  # TypeError is as good an answer
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is not a finite number")
    return number


def _time(text: object, _: object) -> dt.datetime:
    time = dt.datetime.fromisoformat(_string(text, _))
    if time.utcoffset() is None:
        raise ValueError(f"{text!r} is a time without its zone")
    return time


_converter = cattrs.Converter(detailed_validation=False)

_converter.register_structure_hook(str, _string)

_converter.register_structure_hook(float, _number)

_converter.register_structure_hook(dt.datetime, _time)

_converter.register_structure_hook(TaskStatus, lambda word, _: TaskStatus(word))

_converter.register_unstructure_hook(dt.datetime, dt.datetime.isoformat)


def error_of(record: TaskRecord) -> TaskError | None:
    """Return the error of a terminal *record*; ``None`` for a success."""
    reason = with_translation(record.fail_reason) or "no reason given"
    kind: type[TaskError] = TaskFailedError
    if record.status is TaskStatus.CANCEL:
        kind, says = TaskCancelledError, f"was cancelled on the server: {reason}"
    elif record.status is not TaskStatus.SUCCESS:
        says = f"failed: {reason}"
    elif record.image_url:
        return None
    else:
        says = "succeeded, but without a picture"
    return kind(f"task {record.task_id} {says}", task_id=record.task_id, record=record)


def is_same_state(one: TaskRecord | None, other: TaskRecord) -> bool:
    """Return whether *other* is no change from *one* to a reader of updates."""
    if one is None or str(one.status) != str(other.status):
        return False  # all unknown words are equal, but they are different states
    if one.progress != other.progress:
        return False
    if one == other:
        return True
    # The server's clocks differ, and the address of a preview is new each time.
    plain = attrs.evolve(other, submit_time=one.submit_time)
    if one.image_url and other.image_url and not other.is_terminal:
        plain = attrs.evolve(plain, image_url=one.image_url)
    return plain == one


class HandleOwner(Protocol):
    """What a handle needs of the client it belongs to."""

    loop: asyncio.AbstractEventLoop
    base_url: str
    origin: str
    downloads: Downloader
    background: BackgroundTasks

    def forget(self, handle: FollowedHandle) -> None:
        """Stop following *handle*, and give its slot back."""
        ...


_Waiters = set[asyncio.Future[None]]


@attrs.define(eq=False)
class TaskHandle:
    """
    A task the server has accepted.

    Await it for the finished record. Any number of waiters share one series
    of polls, and cancelling a waiter leaves the others waiting. Dropping the
    handle does not cancel the task: the server goes on, and the job is billed.

    Made by :meth:`AsyncEzlink.swap_face` or, from a saved id, by
    :meth:`AsyncEzlink.task`.
    """

    task_id: str = attrs.field(on_setattr=attrs.setters.frozen)
    """The server's id. It opens the result without a key: keep it private."""
    family: TaskFamily
    """How tasks of this kind are fetched and read."""
    _owner: HandleOwner
    _record: TaskRecord | None = attrs.field(default=None, init=False)
    _error: EzlinkError | None = attrs.field(default=None, init=False)
    _done: bool = attrs.field(default=False, init=False)
    # Separate sets: each poll of many tasks brings changes, which wake few waiters.
    _awaiting_change: _Waiters | None = attrs.field(default=None, init=False)
    _awaiting_end: _Waiters | None = attrs.field(default=None, init=False)
    _was_awaited: bool = attrs.field(default=False, init=False)
    _is_paid: bool = attrs.field(default=False, init=False)

    def __repr__(self) -> str:
        word = str(self._record.status if self._record else "") or "accepted"
        return f"<TaskHandle {self.task_id} {word}{' done' if self._done else ''}>"

    @property
    def record(self) -> TaskRecord | None:
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

    def __await__(self) -> Generator[object, None, TaskRecord]:
        return self.result().__await__()

    async def result(self, timeout: float | None = None) -> TaskRecord:
        """
        Wait for the end, at most *timeout* seconds, and return the record.

        Raises :exc:`TaskFailedError`, :exc:`TaskCancelledError`,
        :exc:`TaskNotFoundError`, or :exc:`TaskTimeoutError` when *timeout* or the
        task's deadline is over. *timeout* bounds this waiter alone: the task is
        polled on.
        """
        if timeout is not None and not is_number(timeout):
            raise ConfigurationError(
                f"timeout is a number of seconds or None, not {timeout!r:.40}"
            )
        self._was_awaited = True
        return await self._wait(timeout)

    async def _wait(self, timeout: float | None = None) -> TaskRecord:
        self._check_loop()
        try:
            async with asyncio.timeout(timeout):
                while not self._done:
                    self._awaiting_end = self._awaiting_end or set()
                    await self._woken(self._awaiting_end)
        except TimeoutError:
            if not self._done:
                raise self._timeout(f"after {timeout:g} s of waiting") from None
        if self._error is not None:
            raise self._error.for_awaiter()
        if self._record is None:  # pragma: no cover - only a record ends it well
            raise AssertionError
        return self._record

    async def updates(self) -> AsyncIterator[TaskRecord]:
        """
        Yield the latest record and then each change, up to the terminal one.

        A slow reader gets only the newest record. A failure or cancellation of the
        task is yielded, not raised; any other error that ends the handle is raised.
        """
        self._was_awaited = True
        self._check_loop()
        seen: TaskRecord | None = None
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
        Wait for the result and return it, verified to be a whole picture.

        Raises the errors of :meth:`result`, or :exc:`DownloadError`.
        """
        downloads, task_id = self._owner.downloads, self.task_id
        return await self._download(lambda found: downloads.read(found, task_id))

    async def open(self) -> ResultStream:
        """
        Wait for the result and return it as a stream, verified to be a whole picture.

        The stream has ``media_type`` and ``length``, as a web server needs them.
        Raises the errors of :meth:`result`, or :exc:`DownloadError`.
        """
        downloads, task_id = self._owner.downloads, self.task_id
        return await self._download(lambda found: downloads.open(found, task_id))

    async def save(self, path: str | Path) -> Path:
        """
        Wait for the result and put it at *path*, whole or not at all; return its path.

        Makes missing folders, replaces an existing file, keeps the suffix as given;
        the log warns of a suffix that names another format. Where *path* is a folder,
        or a string that ends with ``/``, the file is named by the task's id there,
        with the suffix of its format.
        Raises :exc:`ConfigurationError` at once when no file can have that name,
        the errors of :meth:`result`, or :exc:`DownloadError`; a format that cannot
        be verified is then kept as ``NAME.unverified``.
        """
        place = as_path(path)
        check_path(place)
        names_folder = str(path).endswith(_SEPARATORS)
        if names_folder or await run_in_any_thread(partial(_is_folder, place)):
            name = quote(self.task_id, safe="")  # ids are opaque: one may hold a slash
            return (await self._save(place / name, fit_suffix=True)).path
        return (await self._save(place, fit_suffix=False)).path

    async def _save(self, path: Path, *, fit_suffix: bool) -> SavedFile:
        check_path(path)
        save, task_id = self._owner.downloads.save, self.task_id
        return await self._download(
            lambda found: save(found, task_id, path, fit_suffix=fit_suffix)
        )

    async def _download(
        self, download: Callable[[list[ResultAddress]], Coroutine[object, object, _T]]
    ) -> _T:
        """Wait for the result and *download* it from the first address that has it."""
        record, owner = await self.result(), self._owner
        if owner.background.closed:
            raise self._closed()
        rebuilt = owner.base_url + self.family.result_request(self.task_id).path
        addresses = candidate_addresses(record.image_url, rebuilt, owner.base_url)
        try:
            return await owner.background.run(download(addresses), self._closed)
        except EzlinkError as error:
            self._note_charge(error)
            raise

    def _note_charge(self, error: EzlinkError) -> None:
        """Say on *error* that the job was paid, unless the server gives that back."""
        error.maybe_charged |= self._is_paid and not is_refunded(self._record)

    def to_dict(self) -> dict[str, object]:
        """Return the values :meth:`AsyncEzlink.restore` needs, fit for JSON."""
        return SavedHandle(
            origin=self._owner.origin,
            family=self.family.name,
            task_id=self.task_id,
            record=self._record,
        ).to_dict()

    def _timeout(self, when: str) -> TaskTimeoutError:
        word = str(self._record.status if self._record else "") or "not refreshed yet"
        error = TaskTimeoutError(
            f"task {self.task_id} is not finished {when} (last status: {word}); "
            f"resume it with client.task({self.task_id!r})",
            task_id=self.task_id,
            record=self._record,
        )
        self._note_charge(error)
        return error

    def _closed(self) -> ClientClosedError:
        return ClientClosedError(
            f"the client was closed before the result of task {self.task_id} "
            f"was downloaded; resume it with client.task({self.task_id!r})",
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
class FollowedHandle(TaskHandle):
    """A handle as its client sees it, with the ways in which it ends."""

    def __dir__(self) -> list[str]:
        # Prompts complete what users are given, not what the client does with it.
        return [name for name in dir(TaskHandle) if name not in vars(FollowedHandle)]

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

    async def wait(self, timeout: float | None = None) -> TaskRecord:
        """Do as :meth:`result`, without marking the handle as awaited by a user."""
        return await self._wait(timeout)

    async def save_fitting(self, path: Path) -> SavedFile:
        """Save the result at *path* with the suffix of its real format appended."""
        return await self._save(path, fit_suffix=True)

    @property
    def is_paid(self) -> bool:
        """Whether a submit was accepted as this task, so that its id once existed."""
        return self._is_paid

    def mark_paid(self) -> None:
        """Note that a submit was accepted as this task, which charges for it."""
        self._is_paid = True

    def receive(self, record: TaskRecord) -> None:
        """
        Take a record, polled or pushed; the first terminal one ends the handle.

        A success without a picture is believed only the second time.
        """
        if self._done:
            return
        bare = record.status is TaskStatus.SUCCESS and not record.image_url
        again = bare and self.status is TaskStatus.SUCCESS
        changed = not is_same_state(self._record, record)
        if changed:
            self._record = record
        if record.is_terminal and (again or not bare):
            self.end(error_of(record))
        elif changed:
            _wake(self._awaiting_change)

    def end(self, error: EzlinkError | None) -> None:
        """End the handle with *error*, or with its record when that is ``None``."""
        if self._done:
            return
        if error is not None:
            self._note_charge(error)
        self._done, self._error = True, error
        self._owner.forget(self)
        _wake(self._awaiting_change)
        _wake(self._awaiting_end)

    def expire(self, deadline: float) -> None:
        """End the handle because *deadline* seconds are over."""
        self.end(self._timeout(f"{deadline:g} s after acceptance"))


def _is_folder(path: Path) -> bool:
    with contextlib.suppress(OSError):  # saving there says what is wrong with it
        return path.is_dir()
    return False


def _wake(waiters: _Waiters | None) -> None:
    for waiter in waiters or ():
        if not waiter.done():
            waiter.set_result(None)
