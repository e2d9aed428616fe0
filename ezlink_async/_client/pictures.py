"""The pictures of jobs on their way to the server: received, inspected, encoded."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from concurrent.futures import Executor

from ezlink_async._core.images import (
    MAX_BYTES,
    EncodedImage,
    Image,
    ImageLike,
    Upload,
)
from ezlink_async._io import image_reader, incoming
from ezlink_async._io.concurrency import BackgroundTasks, wait_until_done
from ezlink_async._io.transport import Transport
from ezlink_async.services.base import Job, JobRequest, LoadedImage, R


class SharedSource:
    """Encodes a source once for many swaps; keeps the latest one only."""

    def __init__(self, background: BackgroundTasks, pool: Executor) -> None:
        self._background = background
        self._pool = pool
        self._given: Image | None = None
        self._task: asyncio.Task[EncodedImage] | None = None

    async def encoded(self, source: Image) -> EncodedImage:
        """Return *source* with its base64 text."""
        if self._task is None or source != self._given:
            self._given = source
            self._task = self._background.start(self._encode(source))
            self._task.add_done_callback(_retrieve_exception)
        # Not shield(): it logs an error whose only awaiter was cancelled.
        task = self._task
        await wait_until_done(task)
        return task.result()

    async def _encode(self, source: Image) -> EncodedImage:
        return await image_reader.encode(image_reader.inspect(source), self._pool)


def _retrieve_exception(task: asyncio.Task[EncodedImage]) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        task.exception()  # else asyncio logs that it was never retrieved


class JobPictures:
    """
    The pictures of the jobs of one client.

    Uploads are received before a job waits for a slot. All are inspected once it has
    one.
    """

    def __init__(self, transport: Transport, background: BackgroundTasks) -> None:
        self._transport = transport
        self._background = background

    def shared_source(self) -> SharedSource:
        """Return a place for a source that many swaps share."""
        return SharedSource(self._background, self._transport.readers)

    async def receive(self, upload: Upload, limit: int = MAX_BYTES) -> Image:
        """Return the picture that *upload* brings; a cancellation ends its reading."""
        return await self._background.run(
            incoming.receive(
                upload,
                limit=limit,
                stall=self._transport.settings.timeouts.upload,
                pool=self._transport.writers,
            )
        )

    async def received(
        self, request: JobRequest[R], stack: contextlib.ExitStack
    ) -> list[Image]:
        """Return the pictures of *request*; *stack* releases those received here."""
        pictures = list(map(Image.of, request.pictures()))
        known = dict[int, Image]()  # one upload may be several pictures
        for number, picture in enumerate(pictures):
            if (upload := picture.upload) is None:
                continue
            if id(upload) not in known:
                known[id(upload)] = await self.receive(upload)
                stack.callback(incoming.release, known[id(upload)])
            pictures[number] = known[id(upload)]
        return pictures

    async def encode_shared(self, picture: ImageLike, shared: SharedSource) -> Image:
        """Have *shared* encode a source, and return it as each job sends it."""
        image = Image.of(picture)
        if image.upload is None:
            await shared.encoded(image)
            return image
        received = await self.receive(image.upload)
        try:
            await shared.encoded(received)
        finally:
            incoming.release(received)  # its text is in memory
        return received

    async def load(
        self,
        request: JobRequest[R],
        pictures: Iterable[Image],
        shared: SharedSource | None,
    ) -> Job[R]:
        """Return the job of *request*, with its *pictures* inspected."""
        loaded: list[LoadedImage] = []
        readers = self._transport.readers
        for number, picture in enumerate(pictures):
            if shared is not None and number < request.shared:
                loaded.append(await shared.encoded(picture))
            elif request.distinct and loaded:
                first = loaded[0]
                other = await image_reader.inspect_other(picture, first, readers)
                loaded.append(other)
            else:
                loaded.append(image_reader.inspect(picture))
        return request.job(tuple(loaded))
