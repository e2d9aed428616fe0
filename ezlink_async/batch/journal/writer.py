"""
The thread of a journal, and commits that many wait for at once.

A commit takes as long as the disk needs to be sure, so whatever came while it
was at work goes into the next one together. When the disk is full nothing new
is taken on, but what was begun can still be noted: room for that is kept in a
file of its own, and given up then.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import attrs

from ezlink_async._io.concurrency import run_in_thread
from ezlink_async.batch.journal.lock import FolderLock
from ezlink_async.batch.journal.store import Journal
from ezlink_async.errors import JournalError

_log = logging.getLogger("ezlink_async")
_T = TypeVar("_T")

# SQLite's log grows to 4 MiB before it is taken in and begun anew: with room for
# one, the end of whatever is in progress can be noted, however much it is.
_ROOM = 5 * 1024 * 1024
_GROUP = 256  # changes in one commit: more would keep the first ones waiting


@attrs.frozen(eq=False)
class _Change:
    """Something to do with the journal, and who is told when it is on disk."""

    work: Callable[[Journal], object]
    done: Callable[[object, BaseException | None], None]
    patient: bool = False
    """It is tried again with what comes later, until the end."""


_Told = tuple[_Change, object, BaseException | None]


class JournalWriter:
    """
    The owner of *journal*, in a thread of its own.

    :meth:`do` returns what a call gave once it is on disk, in the order of the
    calls; :meth:`note` does not wait. Both may be called from the loop only.
    """

    def __init__(self, journal: Journal, lock: FolderLock, reserve: Path) -> None:
        self._journal = journal
        self._lock = lock
        self._reserve = reserve
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[_Change | None] = queue.SimpleQueue()
        self._ended = asyncio.Event()
        self._thread = threading.Thread(
            target=self._work, name="ezlink-journal", daemon=True
        )
        self._closing = False
        self._late: list[_Change] = []
        self.fault: JournalError | None = None
        """Why nothing new may be taken on: the disk is full, or worse."""

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    async def do(self, work: Callable[[Journal], _T], *, new: bool = False) -> _T:
        """
        Return what *work* gives, as soon as what it changed is on disk.

        :exc:`JournalError` when it cannot be brought there, and for anything
        *new* after that has happened once. A cancellation does not undo it.
        *work* may be called again, after all it changed was undone.
        """
        if new and self.fault is not None:
            raise self.fault.for_awaiter()
        waiter: asyncio.Future[_T] = self._loop.create_future()

        def tell(result: object, fault: BaseException | None) -> None:
            if waiter.cancelled():
                return
            if fault is not None:
                waiter.set_exception(fault)
            else:
                waiter.set_result(result)  # type: ignore[arg-type]  # what work gave

        self._put(_Change(work, tell))
        return await waiter

    def note(self, work: Callable[[Journal], object]) -> None:
        """Have *work* done with the next commit; a failure goes into the log."""

        def tell(_: object, fault: BaseException | None) -> None:
            if fault is not None:
                _log.error("the journal lacks something: %s", fault)

        self._put(_Change(work, tell, patient=True))

    async def close(self) -> None:
        """Do what is left, and close the journal; twice is harmless."""
        if not self._closing:
            self._closing = True
            self._queue.put(None)
        await self._ended.wait()

    def _put(self, change: _Change) -> None:
        if self._closing:
            change.done(None, JournalError("the journal is closed"))
        else:
            self._queue.put(change)

    def _work(self) -> None:
        """Do everything, in groups; in the thread."""
        with contextlib.suppress(OSError):
            _fill(self._reserve)
        over = False
        while not over:
            group, over = self._next_group()
            told = self._through([*self._late, *group])
            self._on_loop(functools.partial(_tell_all, told))
        for change in self._late:
            self._on_loop(functools.partial(change.done, None, self._fault()))
        with contextlib.suppress(sqlite3.Error):
            self._journal.close()
        with contextlib.suppress(OSError):
            self._reserve.unlink(missing_ok=True)
        self._lock.close()
        self._on_loop(self._ended.set)

    def _next_group(self) -> tuple[list[_Change], bool]:
        """Wait for something to do; return all there is, and whether it is the end."""
        group: list[_Change] = []
        try:
            change = self._queue.get()
            while change is not None:
                group.append(change)
                if len(group) == _GROUP:
                    return group, False
                change = self._queue.get_nowait()
        except queue.Empty:
            return group, False
        return group, True

    def _through(self, group: list[_Change]) -> list[_Told]:
        """Do a group in one commit; where that fails, one by one."""
        self._late = []
        try:
            return [
                (change, result, None)
                for change, result in zip(group, self._commit(group), strict=True)
            ]
        except Exception:  # noqa: BLE001 - each is told its own
            return [told for change in group for told in self._alone(change)]

    def _alone(self, change: _Change) -> Iterator[_Told]:
        # Nothing overtakes what is late: a job's changes come in their order.
        for room in (False, True) if not self._late else ():
            if room and not self._give_up_reserve():
                break
            try:
                yield change, self._commit([change])[0], None
            except sqlite3.Error as fault:
                self.fault = JournalError(f"the journal cannot be written: {fault}")
            except Exception as fault:  # noqa: BLE001 - it is told
                yield change, None, fault
                return
            else:
                return
        if change.patient:
            self._late.append(change)
        else:
            yield change, None, self._fault()

    def _fault(self) -> JournalError | None:
        return self.fault and self.fault.for_awaiter()

    def _commit(self, group: list[_Change]) -> list[object]:
        self._journal.begin()
        try:
            results = [change.work(self._journal) for change in group]
            self._journal.commit()
        except BaseException:
            self._journal.rollback()
            raise
        return results

    def _give_up_reserve(self) -> bool:
        try:
            self._reserve.unlink()
        except OSError:
            return False
        return True

    def _on_loop(self, call: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # nobody is there any more
            self._loop.call_soon_threadsafe(call)


def _tell_all(told: list[_Told]) -> None:
    for change, result, fault in told:
        change.done(result, fault)


def _fill(reserve: Path) -> None:
    """Take *reserve* of the disk, really: a file of zeros may take none."""
    with reserve.open("wb") as stream:
        stream.write(os.urandom(_ROOM))


async def open_commits(path: Path) -> JournalWriter:
    """
    Open the journal at *path* for one run, and begin to work.

    Raises :exc:`ConfigurationError` when another run has it, or it cannot be
    used. Where the file system knows no locks, a line in the log says so.
    """
    opened: list[tuple[FolderLock, Journal]] = []
    try:
        await run_in_thread(lambda: opened.append(_opened(path)))
    except asyncio.CancelledError:
        for lock, journal in opened:
            journal.close()
            lock.close()
        raise
    lock, journal = opened[0]
    if not lock.is_real:
        _log.warning(
            "%s lies on a file system without locks: make sure that nobody else "
            "works in this folder",
            path.parent.parent,
        )
    # Called after the journal: it may lie among files of other people.
    commits = JournalWriter(journal, lock, path.with_name(f"{path.name}-reserve"))
    commits.start()
    return commits


def _opened(path: Path) -> tuple[FolderLock, Journal]:
    lock = FolderLock(path.with_name("lock"))
    try:
        return lock, Journal.open(path, locking=lock.is_real)
    except BaseException:
        lock.close()
        raise
