"""
Albums: one face and many photos, each of which is sent, followed, and saved.

A photo is sent once. The browser names it, so an upload whose answer was lost can be
repeated: it finds the first one. A job belongs to the application and not to the
request that brought it, so a closed browser stops nothing; and the handle of an
accepted job is in the database before the browser is answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
import shutil
import sqlite3
from collections.abc import AsyncIterable, AsyncIterator, Coroutine
from dataclasses import asdict, replace
from http import HTTPStatus
from pathlib import Path

from ezlink_async import AsyncEzlink, TaskHandle
from ezlink_async.errors import (
    ClientClosedError,
    ConfigurationError,
    DownloadError,
    EzlinkError,
    TaskTimeoutError,
)
from feed import Feed
from refusals import RefusedError, reason_of, refusal_of
from store import Photo, Store
from uploads import receive

MOST_PHOTOS = 200
"""The photos of one album."""

STREAM_SECONDS = 10.0
"""
How long one stream of events lasts. The browser opens the next by itself.

A server that is stopped waits for open streams, and so never for long.
"""

_SECONDS_BEFORE_ANOTHER_TRY = 30.0

_UNKNOWN = (
    "The application was stopped, or lost its connection, while this photo was sent. "
    "It may have been charged, so it is not sent again by itself."
)

_ELSEWHERE = "This photo was sent to another server than the present one."

_LATE = "This takes unusually long. Its result is still waited for."

_NOT_FETCHED = "The result is ready but could not be fetched. It is tried again."

_log = logging.getLogger("webapp")


class Albums:
    """The albums of the application; use :meth:`running` around its whole life."""

    def __init__(self, ez: AsyncEzlink, store: Store, folder: Path) -> None:
        self.feed = Feed()
        self.store = store
        self._ez = ez
        self._folder = folder
        self._accepted: dict[str, asyncio.Future[Photo]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Albums]:
        """
        Follow what an earlier run has left; at the end, keep what is unfinished.

        Closing the client ends every job: one that waits is not sent, the answer to
        one that was sent is awaited, and its id is kept. So nothing is lost, and the
        next start sends nothing twice.
        """
        for photo in await self.store.unfinished():
            await self._resume(photo)
        try:
            yield self
        finally:
            self._closing.set()
            await self._ez.aclose()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def create(self, face: AsyncIterable[bytes]) -> str:
        """Make an album for *face*, an upload; return its unguessable id."""
        album = secrets.token_urlsafe(16)
        folder = self._folder / album
        folder.mkdir(mode=0o700)
        try:
            await self.store.add_album(album, await receive(face, folder))
        except BaseException:
            shutil.rmtree(folder)
            raise
        return album

    async def add(
        self, album: str, photo_id: str, name: str, content: AsyncIterable[bytes]
    ) -> Photo:
        """
        Send a photo of *album*; return once the server has accepted its swap.

        A photo that was added before is not sent again. A cancellation stops neither
        the job nor another request for the same photo. Raises :exc:`RefusedError`.
        """
        if known := await self.store.photo(album, photo_id):
            waiting = self._accepted.get(photo_id)
            return await asyncio.shield(waiting) if waiting else known
        photos = await self.store.photos(album)
        if len(photos) >= MOST_PHOTOS:
            raise RefusedError(422, f"An album has at most {MOST_PHOTOS} photos.")
        photo = Photo(photo_id, album, name)
        try:
            file = await receive(content, self._folder / album)
        except RefusedError as error:
            failed = replace(photo, state="failed", error=str(error))
            if await self.store.add_photo(failed):
                self.feed.publish(failed)
            raise
        return await self._send_once(replace(photo, file=file))

    async def _send_once(self, photo: Photo) -> Photo:
        accepted = self._accepted.get(photo.id)
        if accepted is not None:  # the same photo, uploaded twice at the same time
            await asyncio.to_thread(self._path(photo, photo.file).unlink)
        else:
            accepted = asyncio.get_running_loop().create_future()
            # asyncio would log the error of a request that was cancelled.
            accepted.add_done_callback(lambda ended: ended.exception())
            self._accepted[photo.id] = accepted
            self._start(self._send_and_follow(photo, accepted))
        return await asyncio.shield(accepted)

    def _start(self, job: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send_and_follow(
        self, photo: Photo, accepted: asyncio.Future[Photo]
    ) -> None:
        try:
            sent = await self._send(photo)
            accepted.set_result(sent[0])
        except RefusedError as error:
            accepted.set_exception(error)
            return
        except Exception as bug:  # noqa: BLE001 - raised in the request
            _log.exception("photo %s of album %s", photo.id, photo.album)
            accepted.set_exception(bug)
            return
        finally:
            self._accepted.pop(photo.id, None)
        photo, handle = sent
        if handle is not None:
            await self._follow(photo, handle)

    async def _send(self, photo: Photo) -> tuple[Photo, TaskHandle | None]:
        """Submit the swap of a new photo; return its handle if it was accepted."""
        if not await self.store.add_photo(photo):
            await asyncio.to_thread(self._path(photo, photo.file).unlink)
            known = await self.store.photo(photo.album, photo.id)
            if known is None:
                raise RefusedError(409, "This photo belongs to another album.")
            return known, None
        self.feed.publish(photo)
        face = await self.store.face(photo.album) or ""
        try:
            handle = await self._ez.swap_face(
                self._path(photo, face), self._path(photo, photo.file)
            )
        except EzlinkError as error:
            if error.maybe_charged:
                photo = replace(photo, state="unknown", error=_UNKNOWN)
                return await self._keep(photo), None
            await self._not_followed(photo, error)
            raise refusal_of(error) from error
        saved = json.dumps(handle.to_dict())
        photo = replace(photo, state="working", handle=saved, task_id=handle.task_id)
        return await self._keep(photo), handle

    async def _not_followed(self, photo: Photo, error: EzlinkError) -> None:
        """Keep what *error* says about a photo that was not accepted, or too late."""
        refusal = refusal_of(error)
        if isinstance(error, ClientClosedError) and error.task_ids:
            # Accepted while the application stops: the next start follows it.
            working = replace(photo, state="working", task_id=error.task_ids[0])
            await self._keep(working)
        elif refusal.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            await self._keep(replace(photo, state="failed", error=str(refusal)))
        else:  # nothing was sent, and the browser may try again
            await self.store.remove(photo)
            self.feed.publish(replace(photo, state="removed"))
            await asyncio.to_thread(self._path(photo, photo.file).unlink)

    async def _resume(self, photo: Photo) -> None:
        """Follow the task of an accepted photo, which is not sent again."""
        if photo.state == "sending":  # the process died, so the answer is not known
            await self._keep(replace(photo, state="unknown", error=_UNKNOWN))
            return
        try:
            saved = json.loads(photo.handle or "null")
            handle = self._ez.restore(saved) if saved else self._ez.task(photo.task_id)
        except ConfigurationError:
            await self._keep(replace(photo, state="failed", error=_ELSEWHERE))
            return
        self._start(self._follow(photo, handle))

    async def _follow(self, photo: Photo, handle: TaskHandle) -> None:
        """Show the progress of a task and save its result, as often as it takes."""
        try:
            while not await self._saved(photo, handle):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_SECONDS_BEFORE_ANOTHER_TRY):
                        await self._closing.wait()
                handle = self._ez.restore(handle.to_dict())
        except ClientClosedError:
            pass  # the next start goes on
        except EzlinkError as error:
            await self._keep(replace(photo, state="failed", error=reason_of(error)))
        except Exception:  # noqa: BLE001 - no caller would see it
            _log.exception("photo %s of album %s", photo.id, photo.album)
        finally:
            self.feed.forget(photo)

    async def _saved(self, photo: Photo, handle: TaskHandle) -> bool:
        """Return whether the result was saved; no result yet is no failure."""
        try:
            async for record in handle.updates():
                self.feed.publish(photo, record.progress)
            # A path that ends with a slash is a folder: the file's name is the id of
            # the task, with the suffix of its format.
            result = await handle.save(f"{self._folder / photo.album}/")
        except (TaskTimeoutError, DownloadError) as error:
            if isinstance(error, DownloadError) and error.gone:
                raise
            late = isinstance(error, TaskTimeoutError)
            self.feed.publish(replace(photo, error=_LATE if late else _NOT_FETCHED))
            return False
        await self._keep(replace(photo, state="done", result=result.name))
        return True

    async def _keep(self, photo: Photo) -> Photo:
        try:
            await self.store.update(photo)
        except sqlite3.Error:  # a full disk: the id of a paid job is in the log then
            _log.exception("photo %s is task %r", photo.id, photo.task_id)
            raise
        self.feed.publish(photo)
        return photo

    def _path(self, photo: Photo, name: str) -> Path:
        return self._folder / photo.album / name

    async def face(self, album: str) -> Path:
        """Return the file of the face; :exc:`RefusedError` for an unknown album."""
        name = await self.store.face(album)
        if name is None:
            raise RefusedError(404, "There is no such album, or it has been deleted.")
        return self._folder / album / name

    async def events(self, album: str) -> AsyncIterator[str]:
        """Yield server-sent events: all photos of the album, and then each change."""
        clock = asyncio.get_running_loop().time
        end = clock() + STREAM_SECONDS
        with self.feed.watching(album) as watcher:  # before the list is read
            yield "retry: 500\n\n"
            views = [self.feed.view(each) for each in await self.store.photos(album)]
            while True:
                for view in views:
                    yield f"data: {json.dumps(asdict(view))}\n\n"
                if clock() >= end:
                    return
                views = await watcher.changes(end - clock())

    async def pictures(self, album: str, photo_id: str) -> tuple[Path, Path | None]:
        """Return the files of a photo and of its result, if it is there."""
        photo = await self.store.photo(album, photo_id)
        if photo is None or not photo.file:
            raise RefusedError(404, "There is no such photo.")
        result = self._path(photo, photo.result) if photo.result else None
        return self._path(photo, photo.file), result

    async def results(self, album: str) -> list[tuple[str, Path]]:
        """Return a name and the file of each result that is there."""
        photos = [photo for photo in await self.store.photos(album) if photo.result]
        return [(photo.name, self._path(photo, photo.result)) for photo in photos]

    async def delete_older(self, seconds: float) -> None:
        """Delete albums that are so old, with all their pictures."""
        for album in await self.store.drop_albums(seconds):
            await asyncio.to_thread(
                shutil.rmtree, self._folder / album, ignore_errors=True
            )
