"""
The results of a task that has several: each in a file of its own, or all in memory.

Which files of an earlier call count as there is decided without a file of notes: those
that this client has saved of the same task at the same place, and that have had the
same size and the same time of change since. Any other file is brought again. It may be
that of another task, which was saved at this place before; that its size is the same,
and that it is whole, proves nothing, since pictures of one kind may be equally long.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from ezlink_async._io.addresses import Source
from ezlink_async._io.download import Downloader
from ezlink_async._io.files import SavedFile
from ezlink_async._io.spool import ResultStream
from ezlink_async.errors import DownloadError, EzlinkError

_T = TypeVar("_T")


def numbered(place: Path, count: int) -> list[Path]:
    """Return the places of *count* results, without suffixes: one, or with numbers."""
    if count == 1:
        return [place]
    return [place.parent / f"{place.name}_{number + 1}" for number in range(count)]


async def save_all(
    downloads: Downloader, sources: Sequence[Source], task_id: str, place: Path
) -> tuple[SavedFile, ...]:
    """
    Save each result of a task, complete or not at all; return the files in order.

    The suffix of what came is appended to *place*: ``NAME.png`` for the only result,
    ``NAME_1.png``, ``NAME_2.mp4`` for several. All of them, or :exc:`DownloadError`
    after each was tried: ``saved`` are the files that are there, ``gone`` is true if
    the link of another one is gone. A second call brings only what is missing. An
    error that is not about a result, such as a closed client, is raised as it is. A
    cancellation leaves each file whole or not there.
    """
    places, known = numbered(place, len(sources)), downloads.known
    there = await known.unchanged(task_id, places)

    async def save(source: Source, path: Path) -> SavedFile:
        if path in there:
            return there[path]
        saved = await downloads.save(source, task_id, path, fit_suffix=True)
        known.note(task_id, path, saved)
        return saved

    outcomes = await _each(map(save, sources, places))
    saved = [each for each in outcomes if isinstance(each, SavedFile)]
    errors = [each for each in outcomes if isinstance(each, EzlinkError)]
    if errors:
        raise _incomplete(task_id, errors, [each.path for each in saved])
    return tuple(saved)


async def read_all(
    downloads: Downloader, sources: Sequence[Source], task_id: str
) -> tuple[bytes, ...]:
    """Return each result of a task as verified bytes, in order; or raise an error."""
    outcomes = await _each(downloads.read(source, task_id) for source in sources)
    contents = [each for each in outcomes if isinstance(each, bytes)]
    errors = [each for each in outcomes if isinstance(each, EzlinkError)]
    if errors:
        raise errors[0]
    return tuple(contents)


async def open_all(
    downloads: Downloader, sources: Sequence[Source], task_id: str
) -> tuple[ResultStream, ...]:
    """
    Return each result of a task as a verified stream, in order; or raise an error.

    An error, or a cancellation, frees those that are there already.
    """
    streams = list[ResultStream]()

    async def opened(source: Source) -> ResultStream:
        streams.append(await downloads.open(source, task_id))
        return streams[-1]

    async with contextlib.AsyncExitStack() as undo:

        @undo.push_async_callback
        async def close_all() -> None:
            for stream in streams:
                await stream.aclose()

        outcomes = await _each(map(opened, sources))
        for outcome in outcomes:
            if isinstance(outcome, EzlinkError):
                raise outcome
        undo.pop_all()
    return tuple(each for each in outcomes if isinstance(each, ResultStream))


async def _each(calls: Iterable[Awaitable[_T]]) -> list[_T | EzlinkError]:
    """Wait for all of *calls*, and return the result or the error of each."""

    async def outcome(call: Awaitable[_T]) -> _T | EzlinkError:
        try:
            return await call
        except EzlinkError as error:
            return error

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(outcome(call)) for call in calls]
    return [task.result() for task in tasks]


def _incomplete(
    task_id: str, errors: Sequence[EzlinkError], saved: Sequence[Path]
) -> EzlinkError:
    """Return the error of a task of whose results only some were *saved*."""
    failed = [error for error in errors if isinstance(error, DownloadError)]
    others = [error for error in errors if not isinstance(error, DownloadError)]
    if others or len(errors) + len(saved) == 1:
        return [*others, *failed][0]  # about the client, or there is one result only
    count, first = len(errors) + len(saved), failed[0]
    there = f"; saved: {', '.join(map(str, saved))}" if saved else ""
    error = DownloadError(
        f"{len(errors)} of the {count} results of task {task_id} were not saved: "
        f"{first}{there}",
        task_id=task_id,
        status=first.status,
        path=first.path,
        gone=any(each.gone for each in failed),
        saved=saved,
    )
    error.__cause__ = first
    return error
