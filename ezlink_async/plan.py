"""
All pairs of a run, known before it begins, and kept out of memory.

So their number can be told, what was named twice is done once, and no result
replaces a picture that is still to be swapped.
"""

from __future__ import annotations

import functools
import os
import sqlite3
from collections.abc import Iterable, Iterator

from ezlink_async.pairs import Pair
from ezlink_async.schema import kept, path_of
from ezlink_async.targets import TWICE, LeftOut, Mark, marks_of

_TABLES = """
CREATE TABLE pairs (
    id INTEGER PRIMARY KEY, name NOT NULL, face NOT NULL, source NOT NULL,
    target NOT NULL, wished NOT NULL, problem TEXT, UNIQUE (name, face)
);
CREATE TABLE given (device TEXT, inode TEXT, PRIMARY KEY (device, inode))
WITHOUT ROWID;
"""


class Plan(Iterable[Pair]):
    """
    The pairs, in their order; iterate over it as often as you like.

    Not for two threads at once. What comes twice is counted in *left_out*.
    """

    def __init__(self, pairs: Iterable[Pair], left_out: LeftOut) -> None:
        # Without a name it is a file of its own that is gone when it is closed.
        self._sql = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._sql.executescript(_TABLES)
        self._sql.execute("BEGIN")
        self._last_folder = functools.lru_cache(maxsize=8)(os.path.realpath)
        self.total = 0
        for pair in pairs:
            if self._add(pair):
                self.total += 1
            else:
                left_out[TWICE] += 1
        self._sql.execute("COMMIT")

    def _add(self, pair: Pair) -> bool:
        for device, inode in marks_of([pair.source, pair.target]):
            self._sql.execute(
                "INSERT OR IGNORE INTO given VALUES (?, ?)", (str(device), str(inode))
            )
        # One folder has many names, but a link to a picture is one of its own.
        names = [
            kept(os.path.join(self._last_folder(path.parent), path.name))  # noqa: PTH118 - half the time
            for path in (pair.target, pair.source)
        ]
        cursor = self._sql.execute(
            "INSERT OR IGNORE INTO pairs (name, face, source, target, wished, problem) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (
                *names,
                kept(pair.source),
                kept(pair.target),
                kept(pair.wished),
                pair.problem,
            ),
        )
        return bool(cursor.rowcount)

    def __iter__(self) -> Iterator[Pair]:
        for source, target, wished, problem in self._sql.execute(
            "SELECT source, target, wished, problem FROM pairs ORDER BY id"
        ):
            yield Pair(path_of(source), path_of(target), os.fsdecode(wished), problem)

    def is_given(self, mark: Mark) -> bool:
        """Return whether this file is one of the pictures."""
        found = self._sql.execute(
            "SELECT 1 FROM given WHERE device = ? AND inode = ?", tuple(map(str, mark))
        )
        return found.fetchone() is not None

    def close(self) -> None:
        """Let go of the file."""
        self._sql.close()
