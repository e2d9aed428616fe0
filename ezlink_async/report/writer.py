"""Goes through the photos once, and then replaces the page in one step."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ezlink_async._io.files import AtomicFile, check_own
from ezlink_async.errors import ConfigurationError
from ezlink_async.report.escaping import absolute, script_json
from ezlink_async.report.models import GOOD, Facts, Photo, Pictures
from ezlink_async.report.page import ASSETS, page
from ezlink_async.report.rows import Counts, failure_line, row

if TYPE_CHECKING:
    from ezlink_async.report.thumbnails import Thumbnails

_AHEAD = 4  # photos for each thread, so that no thread waits for another's
_BLOCK = 64 * 1024  # characters


def _thumbnails(folder: Path) -> Thumbnails:
    try:
        from ezlink_async.report.thumbnails import Thumbnails
    except ImportError:
        raise ConfigurationError(
            "the report needs Pillow: pip install 'ezlink-async[cli]'"
        ) from None
    return Thumbnails(folder)


def write_report(
    folder: Path,
    photos: Iterable[Photo],
    facts: Facts,
    *,
    workers: int = 2,
    progress: Callable[[int], None] = lambda _: None,
) -> Path:
    """
    Write ``report.html`` in *folder*, and return its path.

    Blocks about a tenth of a second for each photo whose thumbnails are new, so
    call it in a thread. *photos* is iterated once, a few photos ahead of the
    *workers* threads. *progress* is called after each photo with the number done,
    and an exception it raises ends the work. The previous page stays until the new
    one is complete. Only the owner may read the page and its thumbnails: they show
    photos, and task ids that open pictures without a key.

    Raises :exc:`ConfigurationError` if Pillow is missing, or the folder of the
    thumbnails is a link, and :exc:`OSError` if the
    page cannot be written. A picture that cannot be shown is named in the page.
    """
    page_path = absolute(folder) / "report.html"
    with contextlib.ExitStack() as stack:
        check_own(page_path.parent / ASSETS)
        thumbnails = _thumbnails(page_path.parent / ASSETS)
        stack.callback(thumbnails.close)
        rows, troubles = (
            stack.enter_context(_spool(thumbnails.folder)) for _ in range(2)
        )
        began = os.fstat(rows.fileno()).st_mtime_ns
        counts = Counts()
        with contextlib.closing(_pictured(photos, thumbnails, workers)) as pictured:
            for photo, pictures in pictured:
                comma = ",\n" if counts.total else ""
                rows.write(comma + script_json(row(photo, pictures, page_path.parent)))
                if photo.status not in GOOD:
                    troubles.write(failure_line(photo))
                counts.add(photo, pictures)
                progress(counts.total)
        with AtomicFile(page_path, private=True) as part:
            for piece in page(facts, counts, _blocks(troubles), _blocks(rows)):
                part.write([piece.encode()])
            part.commit(page_path)
    thumbnails.delete_unused_since(began)
    return page_path


def _spool(folder: Path) -> IO[str]:
    """Open a temporary file: the counts of the page stand above its rows."""
    return tempfile.TemporaryFile("w+", dir=folder, encoding="utf-8", newline="")


def _blocks(spool: IO[str]) -> Iterator[str]:
    spool.seek(0)
    return iter(lambda: spool.read(_BLOCK), "")


def _pictured(
    photos: Iterable[Photo], thumbnails: Thumbnails, workers: int
) -> Generator[tuple[Photo, Pictures]]:
    """Yield the photos in their order, with the thumbnails that threads made."""
    ahead: deque[tuple[Photo, Future[Pictures]]] = deque()
    pool = ThreadPoolExecutor(workers, "ezlink-report")
    try:
        for photo in photos:
            ahead.append((photo, pool.submit(thumbnails.pictures, photo)))
            if len(ahead) >= _AHEAD * workers:
                done, made = ahead.popleft()
                yield done, made.result()
        for done, made in ahead:
            yield done, made.result()
    finally:
        pool.shutdown(cancel_futures=True)
