"""
Our grip on a task: the handle.

It ends once and for all by one of :meth:`TaskHandle.receive` (a record
came, polled or pushed) and :meth:`TaskHandle.end` (something else ended it).
"""

from __future__ import annotations

import asyncio
import datetime as dt
import math
from collections.abc import AsyncIterator, Generator
from pathlib import Path
from typing import Protocol

import attrs
import cattrs

from ezlink_async._core.error_mapping import with_translation
from ezlink_async._io.addresses import ResultAddress, candidate_addresses
from ezlink_async._io.concurrency import BackgroundTasks
from ezlink_async._io.download import Downloader
from ezlink_async._io.files import SavedFile, check_path
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

_NOT_SAVED = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError)


@attrs.frozen(kw_only=True)
class SavedHandle:
    """Server, kind and id of a task, with its latest record if there was one."""

    origin: str
    family: str
    task_id: str
    record: TaskRecord | None = None
    format: int = FORMAT

    def to_dict(self) -> dict[str, object]:
        """Return it as values that JSON can hold."""
        return dict(_converter.unstructure(self))

    @classmethod
    def from_dict(cls, saved: object) -> SavedHandle:
        """Read it back; :exc:`ConfigurationError` when it is no such thing."""
        try:
            found: SavedHandle = _converter.structure(saved, cls)
        except _NOT_SAVED as fault:
            raise ConfigurationError(f"this is no saved handle: {fault!r}") from None
        if found.format != FORMAT:
            raise ConfigurationError(
                f"this handle was saved in format {found.format}, not {FORMAT}"
            )
        return found


def _word(value: object, _: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no string")
    return value


def _number(value: object, _: object) -> float:
    number = float(value)  # type: ignore[arg-type]  # TypeError is as good an answer
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is no number")
    return number


def _time(text: object, _: object) -> dt.datetime:
    time = dt.datetime.fromisoformat(_word(text, _))
    if time.utcoffset() is None:
        raise ValueError(f"{text!r} is a time without its zone")
    return time


_converter = cattrs.Converter(detailed_validation=False)

_converter.register_structure_hook(str, _word)

_converter.register_unstructure_hook(dt.datetime, dt.datetime.isoformat)

_converter.register_structure_hook(float, _number)

_converter.register_structure_hook(dt.datetime, _time)

_converter.register_structure_hook(TaskStatus, lambda word, _: TaskStatus(word))


def error_of(record: TaskRecord) -> TaskError | None:
    """Return the error a terminal *record* is, or ``None`` for a success."""
    told = with_translation(record.fail_reason) or "without a reason"
    if record.status is TaskStatus.SUCCESS:
        if record.image_url:
            return None
        says, kind = "ended well, but without a picture", TaskFailedError
    elif record.status is TaskStatus.CANCEL:
        return TaskCancelledError(
            f"task {record.task_id} was cancelled on the server: {told}",
            task_id=record.task_id,
            record=record,
        )
    else:
        says, kind = f"failed: {told}", TaskFailedError
    return kind(f"task {record.task_id} {says}", task_id=record.task_id, record=record)


def is_same_state(one: TaskRecord | None, other: TaskRecord) -> bool:
    """Tell whether nothing changed that a reader would call a change."""
    if one is None or str(one.status) != str(other.status):
        return False  # two words nobody knows are equal, but not the same
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

    def ended(self, handle: TaskHandle) -> None:
        """Stop following *handle*, and give its slot back."""
        ...


class TaskHandle:
    """
    A task the server has accepted.

    Await it for the finished record. Any number of waiters share one series
    of polls, and cancelling a waiter leaves the others waiting. Dropping the
    handle does not cancel the task: the server goes on, and the job is billed.

    Made by :meth:`AsyncEzlink.swap_face` or, from a saved id, by
    :meth:`AsyncEzlink.task`.
    """

    __slots__ = (
        "__weakref__",
        "_done",
        "_ends",
        "_error",
        "_family",
        "_home",
        "_record",
        "_task_id",
        "_waiters",
        "asked",
    )

    def __init__(self, task_id: str, family: TaskFamily, home: HandleOwner) -> None:
        self._task_id = task_id
        self._family = family
        self._home = home
        self._record: TaskRecord | None = None
        self._error: EzlinkError | None = None
        self._done = False
        self._waiters: set[asyncio.Future[None]] | None = None
        self._ends: set[asyncio.Future[None]] | None = None
        self.asked = False  # whether anybody wanted to know how it ends

    def __repr__(self) -> str:
        word = str(self.status) or "accepted"
        return f"<TaskHandle {self._task_id} {word}{' done' if self._done else ''}>"

    @property
    def task_id(self) -> str:
        """The server's id. Whoever knows it can open the result, without a key."""
        return self._task_id

    @property
    def record(self) -> TaskRecord | None:
        """The latest record; ``None`` before the first look."""
        return self._record

    @property
    def status(self) -> TaskStatus:
        """The latest status; ``TaskStatus.EMPTY`` before the first look."""
        return self._record.status if self._record else TaskStatus.EMPTY

    @property
    def family(self) -> TaskFamily:
        """How tasks of this kind are fetched and read."""
        return self._family

    def done(self) -> bool:
        """Whether it has ended, however; it turns by itself, awaited or not."""
        return self._done

    def __await__(self) -> Generator[object, None, TaskRecord]:
        return self.result().__await__()

    async def result(self, timeout: float | None = None) -> TaskRecord:
        """
        Wait for the end, at most *timeout* seconds, and return the record.

        Raises :exc:`TaskFailedError`, :exc:`TaskCancelledError`,
        :exc:`TaskNotFoundError`, or :exc:`TaskTimeoutError` when this wait or
        the task's deadline is over. The first bounds this waiter alone: the
        handle lives on.
        """
        self.asked = True
        return await self.ended(timeout)

    async def ended(self, timeout: float | None = None) -> TaskRecord:
        """Do as :meth:`result` does, for whoever only passes it on."""
        self._check_loop()
        try:
            async with asyncio.timeout(timeout):
                while not self._done:
                    # Apart: of many tasks each look at one is news to somebody.
                    self._ends = self._ends or set()
                    await self._woken(self._ends)
        except TimeoutError:
            if not self._done:
                raise self._timeout(f"still after {timeout:g} s of waiting") from None
        return self._outcome()

    async def updates(self) -> AsyncIterator[TaskRecord]:
        """
        Yield the latest record and then each change, up to the terminal one.

        A slow reader gets the newest only. Raises whatever else ends the
        handle.
        """
        self.asked = True
        self._check_loop()
        seen: TaskRecord | None = None
        while True:
            if self._record is not None and self._record is not seen:
                seen = self._record
                yield seen
            elif not self._done:
                await self._change()
            else:
                break
        # A failure has been yielded: that record is what it is raised from.
        told = isinstance(self._error, TaskFailedError | TaskCancelledError)
        if self._error is not None and not (told and seen and seen.is_terminal):
            raise self._error.for_awaiter()

    async def read(self) -> bytes:
        """
        Wait for the result and return it, verified to be a whole picture.

        Raises what :meth:`result` raises, or :exc:`DownloadError`.
        """
        record = await self._finished()
        return await self._home.background.run(
            self._home.downloads.read(self._places(record), self._task_id),
            self._closed,
        )

    async def save(self, path: str | Path) -> Path:
        """
        Wait for the result and put it at *path*, whole or not at all.

        Makes missing folders, replaces what is there, keeps the suffix as
        given. Raises :exc:`ConfigurationError` at once when nothing can have
        that name, what :meth:`result` raises, or :exc:`DownloadError`; a format
        that cannot be verified is then kept as ``NAME.unverified``.
        """
        return (await self._save(Path(path), fit_suffix=False)).path

    async def save_fitting(self, path: Path) -> SavedFile:
        """Save it at *path*, with the suffix of the format that came appended."""
        return await self._save(path, fit_suffix=True)

    async def _save(self, path: Path, *, fit_suffix: bool) -> SavedFile:
        check_path(path)
        record = await self._finished()
        return await self._home.background.run(
            self._home.downloads.save(
                self._places(record), self._task_id, path, fit_suffix=fit_suffix
            ),
            self._closed,
        )

    def to_dict(self) -> dict[str, object]:
        """Return what :meth:`AsyncEzlink.restore` needs, fit for JSON."""
        saved = SavedHandle(
            origin=self._home.origin,
            family=self._family.name,
            task_id=self._task_id,
            record=self._record,
        )
        return saved.to_dict()

    def receive(self, record: TaskRecord) -> None:
        """
        Take a record, polled or pushed; the first terminal one ends it.

        A success without a picture is believed the second time.
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
            _wake(self._waiters)

    def end(self, error: EzlinkError | None) -> None:
        """End it: with *error*, or ``None`` when the record says it all."""
        if self._done:
            return
        self._done, self._error = True, error
        self._home.ended(self)
        _wake(self._waiters)
        _wake(self._ends)

    def expire(self, deadline: float) -> None:
        """End it because *deadline* seconds are over."""
        self.end(self._timeout(f"not finished {deadline:g} s after acceptance"))

    def _timeout(self, says: str) -> TaskTimeoutError:
        word = str(self.status) or "not refreshed yet"
        return TaskTimeoutError(
            f"task {self._task_id} is {says} (last status: {word}); "
            f"take it up again with client.task({self._task_id!r})",
            task_id=self._task_id,
            record=self._record,
        )

    def _outcome(self) -> TaskRecord:
        if self._error is not None:
            raise self._error.for_awaiter()
        if self._record is None:  # pragma: no cover - only a record ends it well
            raise AssertionError
        return self._record

    async def _finished(self) -> TaskRecord:
        record = await self.result()
        if self._home.background.closed:
            raise self._closed()
        return record

    def _closed(self) -> ClientClosedError:
        return ClientClosedError(
            f"the client was closed before the result of task {self._task_id} "
            "was brought home",
            task_ids=(self._task_id,),
        )

    def _places(self, record: TaskRecord) -> list[ResultAddress]:
        base_url = self._home.base_url
        path = self._family.result_request(self._task_id).path
        return candidate_addresses(record.image_url, base_url + path, base_url)

    def _check_loop(self) -> None:
        if asyncio.get_running_loop() is not self._home.loop:
            raise ConfigurationError(
                "this handle belongs to another event loop: use it where its "
                "client was entered, or restore it there from to_dict()"
            )

    async def _change(self) -> None:
        self._waiters = self._waiters or set()
        await self._woken(self._waiters)

    async def _woken(self, waiters: set[asyncio.Future[None]]) -> None:
        waiter = self._home.loop.create_future()
        waiters.add(waiter)
        try:
            await waiter
        finally:
            waiters.discard(waiter)


def _wake(waiters: set[asyncio.Future[None]] | None) -> None:
    for waiter in waiters or ():
        if not waiter.done():
            waiter.set_result(None)
