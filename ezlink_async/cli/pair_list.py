"""
All pairs of a run, found before it begins, and kept out of memory.

So their number is known, a pair that is named twice is swapped once, and no
result replaces a picture that is still to be swapped.
"""

from __future__ import annotations

import functools
import os
import re
import sqlite3
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs

from ezlink_async.batch.journal.store import decode_path, encode_path
from ezlink_async.batch.outcomes import BatchOutcome
from ezlink_async.batch.pairs.folders import TWICE, FileId, LeftOut, file_ids
from ezlink_async.batch.pairs.matching import Pair
from ezlink_async.errors import ConfigurationError

_PAGE = 256

_TABLES = """
CREATE TABLE pairs (
    id INTEGER PRIMARY KEY, target_name NOT NULL, source_name NOT NULL,
    source NOT NULL, target NOT NULL, wished NOT NULL, problem TEXT, expected TEXT,
    UNIQUE (target_name, source_name)
);
CREATE TABLE pictures (device TEXT, inode TEXT, PRIMARY KEY (device, inode))
WITHOUT ROWID;
"""


_ADDRESS = re.compile(r"(https?|data):", re.IGNORECASE)


def check_no_address(picture: Path) -> None:
    """Raise :exc:`ConfigurationError` if *picture* is a URL and not a file."""
    name = str(picture)
    if _ADDRESS.match(name) and not os.path.lexists(picture):
        raise ConfigurationError(
            f"{name:.200} is an address, and pictures are files here: download it "
            "first, with curl -O for instance"
        )


def piped_paths() -> list[Path]:
    """
    Return the paths on stdin, separated by NUL or, where there is none, by lines.

    Raises :exc:`ConfigurationError` if stdin is a terminal, which would wait.
    """
    if sys.stdin.isatty():
        raise ConfigurationError(
            "- reads the targets from a pipe, as in: find photos -name '*.jpg' "
            "-print0 | ezlink swap me.jpg - --output swapped"
        )
    names = sys.stdin.buffer.read()
    found = names.split(b"\0") if b"\0" in names else names.splitlines()
    return [Path(os.fsdecode(name)) for name in found if name]


class PairList(Iterable[Pair]):
    """
    The pairs, in their order, without repetitions. Any thread may use it.

    It can be iterated over any number of times, also at the same time. The
    repetitions are counted in *left_out*.
    """

    def __init__(self, pairs: Iterable[Pair], left_out: LeftOut) -> None:
        # An empty name makes a temporary file, which is deleted when it is closed.
        self._sql = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._lock = threading.Lock()
        self._real_folder = functools.lru_cache(maxsize=8)(os.path.realpath)
        self.total: int = 0
        try:
            self._sql.executescript(_TABLES)
            self._sql.execute("BEGIN")
            for pair in pairs:
                if self._add(pair):
                    self.total += 1
                else:
                    left_out[TWICE] += 1
            self._sql.execute("COMMIT")
        except BaseException:
            self.close()
            raise

    def _add(self, pair: Pair) -> bool:
        ids = [tuple(map(str, found)) for found in file_ids([pair.source, pair.target])]
        self._sql.executemany("INSERT OR IGNORE INTO pictures VALUES (?, ?)", ids)
        paths = (
            encode_path(path) for path in (pair.source, pair.target, pair.wanted_path)
        )
        cursor = self._sql.execute(
            "INSERT OR IGNORE INTO pairs VALUES (NULL, ?, ?, ?, ?, ?, ?, NULL)",
            (*self._names(pair.target, pair.source), *paths, pair.problem),
        )
        return bool(cursor.rowcount)

    def _names(self, *paths: Path) -> tuple[str | bytes, ...]:
        # One folder has many names, but a link to a picture is a picture of its own.
        return tuple(
            encode_path(os.path.join(self._real_folder(path.parent), path.name))  # noqa: PTH118 - half the time
            for path in paths
        )

    def __iter__(self) -> Iterator[Pair]:
        return self._pairs("TRUE")

    def _pairs(self, condition: str) -> Iterator[Pair]:
        last = 0
        while rows := self._rows(last, condition):
            last = rows[-1][0]
            for _, source, target, wished, problem in rows:
                paths = decode_path(source), decode_path(target)
                yield Pair(*paths, os.fsdecode(wished), problem)

    def _rows(
        self, after: int, condition: str
    ) -> list[tuple[int, str, str, str, str | None]]:
        with self._lock:
            return self._sql.execute(
                "SELECT id, source, target, wished, problem FROM pairs "  # noqa: S608 - our own words
                f"WHERE id > ? AND {condition} ORDER BY id LIMIT ?",
                (after, _PAGE),
            ).fetchall()

    def as_given(self, outcome: BatchOutcome) -> BatchOutcome | None:
        """
        Return *outcome* with its pictures named as they are in these pairs.

        ``None`` if it belongs to none of them, but to a job of an earlier run.
        """
        names = self._names(outcome.target, outcome.source)
        with self._lock:
            row = self._sql.execute(
                "SELECT source, target FROM pairs "
                "WHERE target_name = ? AND source_name = ?",
                names,
            ).fetchone()
        if row is None:
            return None
        source, target = map(decode_path, row)
        return attrs.evolve(outcome, source=source, target=target)

    def expect(self, source: Path, target: Path, what: str) -> bool:
        """Note *what* is expected of a pair; return whether there is such a pair."""
        names = self._names(target, source)
        with self._lock:
            cursor = self._sql.execute(
                "UPDATE pairs SET expected = ? WHERE target_name = ? "
                "AND source_name = ?",
                (what, *names),
            )
        return bool(cursor.rowcount)

    def expected(self, what: str) -> int:
        """Return the number of pairs of which *what* is expected."""
        with self._lock:
            query = "SELECT count(*) FROM pairs WHERE expected = ?"
            return int(self._sql.execute(query, (what,)).fetchone()[0])

    def unexpected(self) -> Iterator[Pair]:
        """Yield the pairs of which nothing is expected yet."""
        return self._pairs("expected IS NULL")

    def is_given(self, file_id: FileId) -> bool:
        """Return whether this file is the source or the target of a pair."""
        with self._lock:
            found = self._sql.execute(
                "SELECT 1 FROM pictures WHERE device = ? AND inode = ?",
                tuple(map(str, file_id)),
            ).fetchone()
        return found is not None

    def close(self) -> None:
        """Delete the temporary file."""
        self._sql.close()
