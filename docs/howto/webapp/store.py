"""What the application keeps between two runs, in SQLite: albums, photos, handles."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA foreign_keys = ON;
CREATE TABLE IF NOT EXISTS albums (
  id TEXT PRIMARY KEY, face TEXT NOT NULL, made REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS photos (
  id TEXT PRIMARY KEY,
  album TEXT NOT NULL REFERENCES albums ON DELETE CASCADE,
  name TEXT NOT NULL, state TEXT NOT NULL, file TEXT NOT NULL,
  handle TEXT NOT NULL, task_id TEXT NOT NULL,
  result TEXT NOT NULL, error TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS photos_of_album ON photos (album);
"""

_COLUMNS = "id, album, name, state, file, handle, task_id, result, error"

_ADD = f"""
INSERT INTO photos ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO NOTHING RETURNING id
"""  # noqa: S608 - a constant

# An update keeps the row's place, so an album stays in the order of its uploads.
_UPDATE = """
UPDATE photos SET state = ?, file = ?, handle = ?, task_id = ?, result = ?, error = ?
WHERE id = ?
"""

_T = TypeVar("_T")

_Value = str | float


def data_folder() -> Path:
    """Return the folder of database and pictures, which other users cannot enter."""
    folder = Path(os.environ.get("WEBAPP_DATA", "webapp-data"))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


@dataclass(frozen=True)
class Photo:
    """
    A photo of an album, and what became of its swap.

    *state* is ``sending`` until the server has accepted the job, then ``working``,
    and at the end ``done``, ``failed`` or ``unknown``: the job may exist and may be
    paid. *handle* is ``handle.to_dict()`` as JSON. *file* and *result* are names in
    the album's folder, empty where there is none.
    """

    id: str
    album: str
    name: str
    state: str = "sending"
    file: str = ""
    handle: str = ""
    task_id: str = ""
    result: str = ""
    error: str = ""


class Store:
    """
    The database of one process. Its calls run in one thread, in their order.

    A call that has returned is on the disk.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, "store")

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[Store]:
        """Keep the database open for the length of the block."""
        await self._call(self._open)
        try:
            yield self
        finally:
            await self._call(self._db.close)
            self._thread.shutdown()

    def _open(self) -> None:
        self._db = sqlite3.connect(self._path, isolation_level=None)
        self._db.executescript(_SCHEMA)

    async def _call(self, call: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    def _execute(self, sql: str, *values: _Value) -> list[tuple[str, ...]]:
        return self._db.execute(sql, values).fetchall()

    async def _run(self, sql: str, *values: _Value) -> list[tuple[str, ...]]:
        return await self._call(partial(self._execute, sql, *values))

    async def _photos(self, where: str, *values: _Value) -> list[Photo]:
        sql = f"SELECT {_COLUMNS} FROM photos WHERE {where} ORDER BY rowid"  # noqa: S608
        return [Photo(*row) for row in await self._run(sql, *values)]

    async def add_album(self, album: str, face: str) -> None:
        """Keep a new album; *face* is the name of its file."""
        await self._run("INSERT INTO albums VALUES (?, ?, ?)", album, face, time.time())

    async def face(self, album: str) -> str | None:
        """Return the name of the face's file, ``None`` for an unknown album."""
        rows = await self._run("SELECT face FROM albums WHERE id = ?", album)
        return rows[0][0] if rows else None

    async def add_photo(self, photo: Photo) -> bool:
        """Keep a new photo; return whether it is new, in one step with that."""
        return bool(await self._run(_ADD, *astuple(photo)))

    async def update(self, photo: Photo) -> None:
        """Keep what became of a photo."""
        photo_id, _, _, *values = astuple(photo)
        await self._run(_UPDATE, *values, photo_id)

    async def remove(self, photo: Photo) -> None:
        """Drop a photo that was not sent."""
        await self._run("DELETE FROM photos WHERE id = ?", photo.id)

    async def photo(self, album: str, photo_id: str) -> Photo | None:
        """Return one photo."""
        found = await self._photos("album = ? AND id = ?", album, photo_id)
        return found[0] if found else None

    async def photos(self, album: str) -> list[Photo]:
        """Return the photos of *album*, in the order of their uploads."""
        return await self._photos("album = ?", album)

    async def unfinished(self) -> list[Photo]:
        """Return the photos that an earlier run has left ``sending`` or ``working``."""
        return await self._photos("state IN ('sending', 'working')")

    async def drop_albums(self, seconds: float) -> list[str]:
        """Drop albums that are older, and in which nothing is in progress."""
        rows = await self._run(
            "DELETE FROM albums WHERE made < ? AND id NOT IN (SELECT album FROM photos "
            "WHERE state IN ('sending', 'working')) RETURNING id",
            time.time() - seconds,
        )
        return [row[0] for row in rows]
