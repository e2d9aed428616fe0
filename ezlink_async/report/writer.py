"""Goes through the photos once, and puts the page in its place in one step."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ezlink_async._io.files import AtomicFile
from ezlink_async.errors import ConfigurationError
from ezlink_async.report.escaping import absolute, script_json
from ezlink_async.report.models import GOOD, Facts, Photo, Pictures
from ezlink_async.report.page import ASSETS, page
from ezlink_async.report.rows import Counts, failure_line, row

if TYPE_CHECKING:
    from ezlink_async.report.thumbnails import Thumbnails

_AHEAD = 4  # photos taken for each thread, so that none waits for another
_BLOCK = 64 * 1024  # characters


def _thumbnails(folder: Path) -> Thumbnails:
    try:
        from ezlink_async.report.thumbnails import Thumbnails
    except ImportError:
        raise ConfigurationError(
            "the report needs Pillow: pip install 'ezlink-async[cli]'"
        ) from None
    return Thumbnails.within(folder)


def write_report(
    folder: Path,
    photos: Iterable[Photo],
    facts: Facts,
    *,
    workers: int = 2,
    progress: Callable[[int], None] = lambda _: None,
) -> Path:
    """
    Write ``report.html`` in *folder*, and return where it is.

    Blocks, for about a tenth of a second a photo whose thumbnails are new: call
    it in a thread. *photos* is iterated once, here, a few ahead of what *workers*
    threads do; *progress* is told after each how many are done, and whatever it
    raises ends the work. A page that was there stays until the new one is whole.

    :exc:`ConfigurationError` without Pillow, :exc:`OSError` where the disk
    refuses the page; a picture that cannot be shown is told in the page.
    """
    place = absolute(folder) / "report.html"
    thumbnails = _thumbnails(place.parent / ASSETS)
    with _spool(thumbnails.folder) as rows, _spool(thumbnails.folder) as troubles:
        began = os.fstat(rows.fileno()).st_mtime_ns
        tally = Counts()
        with contextlib.closing(_pictured(photos, thumbnails, workers)) as pictured:
            for photo, pictures in pictured:
                comma = ",\n" if tally.total else ""
                rows.write(comma + script_json(row(photo, pictures, place.parent)))
                if photo.status not in GOOD:
                    troubles.write(failure_line(photo))
                tally.add(photo, pictures)
                progress(tally.total)
        _put(place, page(facts, tally, _blocks(troubles), _blocks(rows)))
    thumbnails.forget_before(began)
    return place


def _spool(folder: Path) -> IO[str]:
    """Open a file that nobody sees: how many there are stands above what they are."""
    return tempfile.TemporaryFile("w+", dir=folder, encoding="utf-8", newline="")


def _blocks(spool: IO[str]) -> Iterator[str]:
    spool.seek(0)
    return iter(lambda: spool.read(_BLOCK), "")


def _pictured(
    photos: Iterable[Photo], thumbnails: Thumbnails, workers: int
) -> Generator[tuple[Photo, Pictures]]:
    """Give the photos in their order, with pictures that the threads made."""
    ahead: deque[tuple[Photo, Future[Pictures]]] = deque()
    pool = ThreadPoolExecutor(workers, "ezlink-report")
    try:
        for photo in photos:
            ahead.append((photo, pool.submit(thumbnails.pictures, photo)))
            if len(ahead) >= _AHEAD * workers:
                yield _finished(*ahead.popleft())
        while ahead:
            yield _finished(*ahead.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _finished(photo: Photo, made: Future[Pictures]) -> tuple[Photo, Pictures]:
    return photo, made.result()


def _put(place: Path, pieces: Iterator[str]) -> None:
    with AtomicFile(place) as part:
        for piece in pieces:
            part.write([piece.encode()])
        part.commit(place)
