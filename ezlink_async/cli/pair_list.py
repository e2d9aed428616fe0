"""
All pairs of a run, known before it begins, and kept out of memory.

So their number can be told, what was named twice is done once, and no result
replaces a picture that is still to be swapped.
"""

from __future__ import annotations

import functools
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs

from ezlink_async.batch.journal.store import decode_path, encode_path
from ezlink_async.batch.outcomes import BatchOutcome
from ezlink_async.batch.pairs.folders import TWICE, FileId, LeftOut, file_ids
from ezlink_async.batch.pairs.matching import Pair

_PAGE = 256

_TABLES = """
CREATE TABLE pairs (
    id INTEGER PRIMARY KEY, name NOT NULL, face NOT NULL, source NOT NULL,
    target NOT NULL, wished NOT NULL, problem TEXT, UNIQUE (name, face)
);
CREATE TABLE given (device TEXT, inode TEXT, PRIMARY KEY (device, inode))
WITHOUT ROWID;
"""


class PairList(Iterable[Pair]):
    """
    The pairs, in their order; iterate over it as often as you like.

    What comes twice is counted in *left_out*.
    """

    def __init__(self, pairs: Iterable[Pair], left_out: LeftOut) -> None:
        # Without a name it is a file of its own that is gone when it is closed.
        self._sql = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._turn = threading.Lock()  # threads ask for pairs, and about marks
        self._last_folder = functools.lru_cache(maxsize=8)(os.path.realpath)
        self.total = 0
        try:
            self._take(pairs, left_out)
        except BaseException:
            self.close()
            raise

    def _take(self, pairs: Iterable[Pair], left_out: LeftOut) -> None:
        self._sql.executescript(_TABLES)
        self._sql.execute("BEGIN")
        for pair in pairs:
            if self._add(pair):
                self.total += 1
            else:
                left_out[TWICE] += 1
        self._sql.execute("COMMIT")

    def _add(self, pair: Pair) -> bool:
        for device, inode in file_ids([pair.source, pair.target]):
            self._sql.execute(
                "INSERT OR IGNORE INTO given VALUES (?, ?)", (str(device), str(inode))
            )
        names = self._names(pair.target, pair.source)
        cursor = self._sql.execute(
            "INSERT OR IGNORE INTO pairs (name, face, source, target, wished, problem) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (
                *names,
                encode_path(pair.source),
                encode_path(pair.target),
                encode_path(pair.wanted_path),
                pair.problem,
            ),
        )
        return bool(cursor.rowcount)

    def _names(self, *paths: Path) -> tuple[str | bytes, ...]:
        # One folder has many names, but a link to a picture is one of its own.
        return tuple(
            encode_path(os.path.join(self._last_folder(path.parent), path.name))  # noqa: PTH118 - half the time
            for path in paths
        )

    def __iter__(self) -> Iterator[Pair]:
        last = 0
        while page := self._page(last):
            for number, pair in page:
                last = number
                yield pair

    def _page(self, after: int) -> list[tuple[int, Pair]]:
        with self._turn:
            rows = self._sql.execute(
                "SELECT id, source, target, wished, problem FROM pairs "
                "WHERE id > ? ORDER BY id LIMIT ?",
                (after, _PAGE),
            ).fetchall()
        return [
            (
                number,
                Pair(
                    decode_path(source), decode_path(target), os.fsdecode(wished), says
                ),
            )
            for number, source, target, wished, says in rows
        ]

    def as_given(self, outcome: BatchOutcome) -> BatchOutcome:
        """Return *outcome* with its pictures named as they were in these pairs."""
        if not outcome.target.is_absolute():
            return outcome
        names = self._names(outcome.target, outcome.source)
        with self._turn:
            row = self._sql.execute(
                "SELECT source, target FROM pairs WHERE name = ? AND face = ?", names
            ).fetchone()
        if row is None:
            return outcome
        source, target = map(decode_path, row)
        return attrs.evolve(outcome, source=source, target=target)

    def is_given(self, mark: FileId) -> bool:
        """Return whether this file is one of the pictures."""
        with self._turn:
            found = self._sql.execute(
                "SELECT 1 FROM given WHERE device = ? AND inode = ?",
                tuple(map(str, mark)),
            ).fetchone()
        return found is not None

    def close(self) -> None:
        """Let go of the file."""
        self._sql.close()
