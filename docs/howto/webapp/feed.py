"""Tells open pages what changes in their album."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from store import Photo


@dataclass(frozen=True)
class View:
    """What a page knows of a photo: no id of a task, which opens the result."""

    id: str
    name: str
    state: str
    progress: float | None
    error: str


def view_of(photo: Photo, progress: float | None = None) -> View:
    """Return what a page may know of *photo*; *progress* is in per cent."""
    return View(
        id=photo.id,
        name=photo.name,
        state=photo.state,
        progress=progress,
        error=photo.error,
    )


class Watcher:
    """The changes that one page has not been sent: the latest of each photo."""

    def __init__(self) -> None:
        self._changes: dict[str, View] = {}
        self._wake = asyncio.Event()

    def put(self, view: View) -> None:
        """Note a change, in place of an earlier one of the same photo."""
        self._changes[view.id] = view
        self._wake.set()

    async def changes(self, seconds: float) -> list[View]:
        """Return the changes since the last call; wait so long for one."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        self._wake.clear()
        changes, self._changes = self._changes, {}
        return list(changes.values())


class Feed:
    """The pages that watch an album, and the latest progress of what is in work."""

    def __init__(self) -> None:
        self._watchers: dict[str, set[Watcher]] = {}
        self._progress: dict[str, float] = {}

    def publish(self, photo: Photo, progress: float | None = None) -> None:
        """Show a change to all pages that watch the album."""
        self._progress.pop(photo.id, None)
        if photo.state == "working" and progress is not None:
            self._progress[photo.id] = progress
        for watcher in self._watchers.get(photo.album, ()):
            watcher.put(view_of(photo, progress))

    def forget(self, photo: Photo) -> None:
        """Forget the progress of a photo that is followed no more."""
        self._progress.pop(photo.id, None)

    def view(self, photo: Photo) -> View:
        """Return what a page may know of *photo* now."""
        return view_of(photo, self._progress.get(photo.id))

    @contextlib.contextmanager
    def watching(self, album: str) -> Iterator[Watcher]:
        """Collect the changes in *album* for the length of the block."""
        watcher = Watcher()
        self._watchers.setdefault(album, set()).add(watcher)
        try:
            yield watcher
        finally:
            self._watchers[album].discard(watcher)
            if not self._watchers[album]:
                del self._watchers[album]
