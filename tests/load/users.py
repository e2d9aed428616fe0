"""The users: each has an album, adds one photo after another, and looks at results."""

from __future__ import annotations

import asyncio
import collections
import hashlib
import io
import itertools
import random
import time
import zipfile

import attrs

from ezlink_async.emulator import read_hashes
from tests.support.pictures import jpeg
from tests.support.webapp import Reply, User, new_id

_PHOTOS_OF_A_ROUND = 3

_LENGTHS = (20_000, 200_000)  # bytes, the shortest and the longest photo

_ROUNDS_OF_A_ZIP = 4

_HOSTILE_SHARE = 0.05  # of uploads, which are no pictures

_FULL = {429, 503}


@attrs.define
class Tally:
    """What all users together have met."""

    accepted: int = 0
    done: int = 0
    refused: int = 0
    full: int = 0
    zips: int = 0
    answers: collections.Counter[int] = attrs.field(factory=collections.Counter)
    errors: list[str] = attrs.field(factory=list)

    def note(self, what: str, reply: Reply, *wanted: int) -> bool:
        """Count an answer; note an error unless it is *wanted*, or clearly full."""
        self.answers[reply.status] += 1
        if reply.status in wanted:
            return True
        if reply.status in _FULL and "retry-after" in reply.headers and reply.error:
            self.full += 1
        else:
            self.errors.append(f"{what}: {reply.status} {reply.content[:200]!r}")
        return False


@attrs.define(eq=False)
class Visitor:
    """One user of the application; *number* makes the photos like no others."""

    user: User
    number: int
    tally: Tally
    end: float
    """When no further round begins, on the monotonic clock."""
    album: str = ""
    ended: dict[str, asyncio.Event] = attrs.field(factory=dict)

    async def visit(self) -> None:
        """Add photos, round by round, for as long as the load lasts."""
        face = jpeg(20_000 + self.number)
        self.album = await self.user.create(face)
        watching = asyncio.create_task(self._watch())
        try:
            for turn in itertools.count():
                if time.monotonic() >= self.end:
                    break
                await self._round(turn)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _watch(self) -> None:
        """Read one stream of events after the other, as a browser does."""
        while True:
            async for view in self.user.events(self.album):
                if view["state"] in {"done", "failed", "unknown"}:
                    self.ended.setdefault(view["id"], asyncio.Event()).set()

    async def _round(self, turn: int) -> None:
        photos = [
            self._photo(turn * _PHOTOS_OF_A_ROUND + each)
            for each in range(_PHOTOS_OF_A_ROUND)
        ]
        await asyncio.gather(*photos)
        if not turn % _ROUNDS_OF_A_ZIP:
            await self._zip()

    async def _photo(self, which: int) -> None:
        luck = random.Random(f"{self.number} {which}")  # noqa: S311 - no secret
        content = jpeg(luck.randint(*_LENGTHS))
        # Bytes behind the end of a picture stay with it, and make it like no other.
        content += f"{self.number} {which}".encode()
        photo = new_id()
        if luck.random() < _HOSTILE_SHARE:
            reply = await self.user.add(self.album, photo, b"no picture", "a.txt")
            self.tally.refused += self.tally.note("no picture", reply, 422)
            return
        ended = self.ended.setdefault(photo, asyncio.Event())
        while True:
            reply = await self.user.add(self.album, photo, content, f"{which}.jpg")
            if self.tally.note("photo", reply, 202):
                break
            if reply.status not in _FULL:
                return
            await asyncio.sleep(float(reply.headers["retry-after"]))
        self.tally.accepted += 1
        await ended.wait()
        await self._result(photo, content)

    async def _result(self, photo: str, content: bytes) -> None:
        path = f"{self.album}/photos/{photo}/after"
        reply = await self.user.send("GET", path)
        if not self.tally.note("result", reply, 200):
            return
        if read_hashes(reply.content)[1] == hashlib.sha256(content).hexdigest():
            self.tally.done += 1
        else:
            self.tally.errors.append(f"result of another photo: {path}")

    async def _zip(self) -> None:
        reply = await self.user.send("GET", f"{self.album}/all.zip")
        if self.tally.note("zip", reply, 200):
            self.tally.zips += 1
            with zipfile.ZipFile(io.BytesIO(reply.content)) as archive:
                if (bad := archive.testzip()) is not None:
                    self.tally.errors.append(f"broken in the ZIP: {bad}")
