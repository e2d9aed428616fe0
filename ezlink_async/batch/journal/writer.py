"""
The thread that writes a journal, and commits that many callers share.

A commit takes as long as the disk needs, so the changes that arrive meanwhile go
into the next commit together. When the disk is full, no new submit is allowed,
but changes about submits that have begun are still written: a reserve file keeps
room for them, and is deleted then.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import attrs

from ezlink_async._core.log_lines import get_logger
from ezlink_async._io.concurrency import (
    OutOfThreadsError,
    run_in_thread,
)
from ezlink_async._io.files import make_private
from ezlink_async.batch.journal.lock import FolderLock
from ezlink_async.batch.journal.store import Journal
from ezlink_async.errors import JournalError

_log = get_logger()
_T = TypeVar("_T")

# SQLite's log grows to 4 MiB before it is merged and begun anew: with room for one
# log, any number of running jobs can be noted as ended.
_RESERVE_BYTES = 5 * 1024 * 1024
_GROUP = 256  # changes in one commit: more would keep the first callers waiting


@attrs.define(eq=False)
class _Change:
    """
    A change to the journal, its result or its error, and the callback for them.

    A *patient* change is tried again with later ones, until the writer is closed.
    """

    work: Callable[[Journal], object]
    done: Callable[[object, BaseException | None], None]
    patient: bool = False
    result: object = None
    fault: BaseException | None = None


class JournalWriter:
    """
    The owner of *journal*, in a thread of its own.

    Changes are made in the order of the calls. Call it from the event loop only.
    *fault* says why no new submit is allowed: the disk is full, or worse. *on_loss*
    is called on the loop when a change that nothing waits for is given up.
    """

    def __init__(self, journal: Journal, lock: FolderLock, reserve: Path) -> None:
        self._journal = journal
        self._lock = lock
        self._reserve = reserve
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[_Change | None] = queue.SimpleQueue()
        self._ended = asyncio.Event()
        self._closing = False
        self._late: list[_Change] = []
        self.fault: JournalError | None = None
        self.on_loss: Callable[[JournalError], object] = lambda _: None
        self._thread = threading.Thread(
            target=self._run, name="ezlink-journal", daemon=True
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    async def execute(self, work: Callable[[Journal], _T], *, new: bool = False) -> _T:
        """
        Call *work*, and return its result once its changes are on disk.

        Raises :exc:`JournalError` if they cannot be written, and at once for a
        *new* submit after that has happened. A cancellation does not undo the
        changes. *work* may be called again after its changes were undone.
        """
        if new and self.fault is not None:
            raise self.fault.for_awaiter()
        waiter: asyncio.Future[_T] = self._loop.create_future()

        def done(result: object, fault: BaseException | None) -> None:
            if waiter.cancelled():
                return
            if fault is not None:
                waiter.set_exception(fault)
            else:
                waiter.set_result(result)  # type: ignore[arg-type]  # what work gave

        self._put(_Change(work, done))
        return await waiter

    def execute_soon(
        self,
        work: Callable[[Journal], object],
        written: Callable[[], object] = lambda: None,
    ) -> None:
        """
        Call *work* with the next commit, and *written* once its changes are on disk.

        If they cannot be written the journal has a gap: *on_loss* is called.
        """

        def done(_: object, fault: BaseException | None) -> None:
            if fault is None:
                written()
                return
            _log.error("a change is missing from the journal: %s", fault)
            self.on_loss(fault if isinstance(fault, JournalError) else _loss(fault))

        self._put(_Change(work, done, patient=True))

    async def close(self) -> None:
        """Write the remaining changes, and close the journal; twice is harmless."""
        self.stop()
        await self._ended.wait()

    def stop(self) -> None:
        """Accept no more changes; the thread ends once the queue is empty."""
        if not self._closing:
            self._closing = True
            self._queue.put(None)

    def _put(self, change: _Change) -> None:
        if self._closing:
            change.done(None, JournalError("the journal is closed"))
        else:
            self._queue.put(change)

    def _run(self) -> None:
        """Make all changes in groups; the thread's main function."""
        with contextlib.suppress(OSError):
            # A new file: one that is there may be a link to another.
            self._reserve.unlink(missing_ok=True)
            make_private(self._reserve)
            with self._reserve.open("r+b") as reserve:
                # Random bytes: a file of zeros may take no room on the disk.
                reserve.write(os.urandom(_RESERVE_BYTES))
        is_last = False
        while not is_last:
            group, is_last = self._next_group()
            self._on_loop(functools.partial(_report, self._write(group)))
        for change in self._late:
            change.fault = self._new_fault()
        self._on_loop(functools.partial(_report, self._late))
        with contextlib.suppress(sqlite3.Error):
            self._journal.close()
        with contextlib.suppress(OSError):
            self._reserve.unlink(missing_ok=True)
        self._lock.close()
        self._on_loop(self._ended.set)

    def _next_group(self) -> tuple[list[_Change], bool]:
        """Wait for a change; return all there are, and whether they are the last."""
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

    def _write(self, changes: list[_Change]) -> list[_Change]:
        """Write late and new *changes*, in one commit if possible; return the done."""
        group, self._late = [*self._late, *changes], []
        try:
            self._commit(group)
        except Exception:  # noqa: BLE001 - each change gets its own error below
            return [change for change in group if self._is_done(change)]
        return group

    def _is_done(self, change: _Change) -> bool:
        """Write one change, and return whether it has its result or its error."""
        # No change overtakes a late one: a job's changes keep their order.
        for needs_room in (False, True) if not self._late else ():
            if needs_room and not self._delete_reserve():
                break
            try:
                self._commit([change])
            except sqlite3.Error as fault:
                self.fault = JournalError(f"the journal cannot be written: {fault}")
            except Exception as fault:  # noqa: BLE001 - its caller gets it
                change.fault = fault
                if change.patient:
                    self.fault = _loss(fault)
                return True
            else:
                return True
        if change.patient:
            self._late.append(change)
            return False
        change.fault = self._new_fault()
        return True

    def _new_fault(self) -> JournalError | None:
        return self.fault and self.fault.for_awaiter()

    def _commit(self, group: list[_Change]) -> None:
        self._journal.begin()
        try:
            for change in group:
                change.result = change.work(self._journal)
            self._journal.commit()
        except BaseException:
            self._journal.rollback()
            raise

    def _delete_reserve(self) -> bool:
        try:
            self._reserve.unlink()
        except OSError:
            return False
        return True

    def _on_loop(self, call: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # the event loop is closed
            self._loop.call_soon_threadsafe(call)


def _loss(fault: BaseException) -> JournalError:
    says = f"{type(fault).__name__}: {fault}"
    return JournalError(f"a change cannot be written to the journal ({says})")


def _report(changes: list[_Change]) -> None:
    for change in changes:
        change.done(change.result, change.fault)


async def open_writer(path: Path) -> JournalWriter:
    """
    Open the journal at *path* for one run, and start its writer.

    Raises :exc:`ConfigurationError` if another run has it, or the file cannot be
    used. A warning is logged if the file system knows no locks.
    """
    opened: list[tuple[FolderLock, Journal]] = []
    try:
        await run_in_thread(lambda: opened.append(_open(path)))
    except asyncio.CancelledError:
        for lock, journal in opened:
            journal.close()
            lock.close()
        raise
    lock, journal = opened[0]
    if not lock.is_real:
        _log.warning(
            "%s is on a file system without locks: make sure that no other run works "
            "in this folder",
            path.parent.parent,
        )
    # Named after the journal, which may be in a folder with files of other programs.
    writer = JournalWriter(journal, lock, path.with_name(f"{path.name}-reserve"))
    try:
        writer.start()
    except RuntimeError as fault:
        journal.close()
        lock.close()
        raise OutOfThreadsError from fault
    return writer


def _open(path: Path) -> tuple[FolderLock, Journal]:
    lock = FolderLock(path.with_name("lock"))
    try:
        return lock, Journal.open(path, locking=lock.is_real)
    except BaseException:
        lock.close()
        raise
