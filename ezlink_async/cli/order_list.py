"""
All orders of a run, found before it begins, and kept out of memory.

So their number is known, an order that is given twice is done once, and no
result replaces a picture that is still to be sent.
"""

from __future__ import annotations

import functools
import os
import pickle
import re
import sqlite3
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs

from ezlink_async._core.json_reader import storable
from ezlink_async.batch.journal.columns import encode_path
from ezlink_async.batch.outcomes import BatchOutcome
from ezlink_async.batch.pairs.folders import TWICE, FileId, LeftOut, file_ids
from ezlink_async.batch.pairs.orders import BY_PATHS, Order
from ezlink_async.batch.pairs.pictures import Input
from ezlink_async.errors import ConfigurationError
from ezlink_async.services.balance_bars import BalanceBar

_PAGE = 256

_TABLES = """
PRAGMA cache_size = -256;
CREATE TABLE orders (
    id INTEGER PRIMARY KEY, key BLOB NOT NULL, wished NOT NULL, content BLOB NOT NULL,
    paid INTEGER NOT NULL, price INTEGER NOT NULL, bar INTEGER, barred TEXT,
    expected TEXT, UNIQUE (key, wished)
);
CREATE TABLE pictures (device TEXT, inode TEXT, PRIMARY KEY (device, inode))
WITHOUT ROWID;
"""


# What a button costs by its name: upscale and zoom, and all others.
_CHEAP, _DEAR = 9_000, 18_000
_CHEAP_BUTTON = re.compile(
    r"U[1-4]$|Upscale|Zoom|MJ::(JOB::upsample|Outpaint)", re.IGNORECASE
)

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


def price_of(order: Order) -> int:
    """
    Return the server's default price of an order, in units.

    The button of a task that is not made yet is judged by its name.
    """
    if order.request is not None:
        return order.request.price
    button = order.label.rpartition(": ")[2]
    return _CHEAP if _CHEAP_BUTTON.match(button) else _DEAR


class OrderList(Iterable[Order]):
    """
    The orders, in their order, without repetitions. Any thread may use it.

    It can be iterated over any number of times, also at the same time. The
    repetitions are counted in *left_out*.
    """

    def __init__(self, orders: Iterable[Order], left_out: LeftOut) -> None:
        # An empty name makes a temporary file, which is deleted when it is closed.
        self._sql = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._lock = threading.Lock()
        self._real_folder = functools.lru_cache(maxsize=8)(os.path.realpath)
        self.total: int = 0
        self.goes_on: bool = False  # an order names buttons to press
        self.kinds: set[str] = set()
        try:
            self._sql.executescript(_TABLES)
            self._sql.execute("BEGIN")
            for order in orders:
                if self._add(order):
                    self.total += 1
                else:
                    left_out[TWICE] += 1
            self._sql.execute("COMMIT")
        except BaseException:
            self.close()
            raise

    def _add(self, order: Order) -> bool:
        ids = [tuple(map(str, found)) for found in file_ids(order.files)]
        self._sql.executemany("INSERT OR IGNORE INTO pictures VALUES (?, ?)", ids)
        # Two orders for the same pictures differ by where their results go; but a
        # pair is swapped once.
        wished = "" if order.by_paths else encode_path(order.wanted_path)
        bar = None if order.request is None else order.request.bar
        cursor = self._sql.execute(
            "INSERT OR IGNORE INTO orders VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, NULL)",
            (
                self._key(order.request_key, order.inputs),
                wished,
                pickle.dumps(order),
                not order.is_free,
                price_of(order),
                *((None, None) if bar is None else attrs.astuple(bar)),
            ),
        )
        self.goes_on = self.goes_on or bool(order.then)
        self.kinds.add(order.kind)
        return bool(cursor.rowcount)

    def _key(self, request_key: str, inputs: Iterable[Input]) -> bytes:
        """Return a key under which pictures have one name each."""
        names = (self._real_name(str(each.path)) for each in inputs)
        return os.fsencode("\0".join((storable(request_key), *names)))

    def _real_name(self, path: str) -> str:
        # One folder has many names, but a link to a picture is a picture of its own.
        folder, _, name = path.rpartition(os.sep)
        return os.path.join(self._real_folder(folder or "."), name)  # noqa: PTH118 - a tenth of the time

    def __iter__(self) -> Iterator[Order]:
        return self._orders("TRUE")

    def _orders(self, condition: str) -> Iterator[Order]:
        last = 0
        while rows := self._rows(last, condition):
            last = rows[-1][0]
            for _, content in rows:
                order: Order = pickle.loads(content)  # noqa: S301 - our own, see _add
                yield order

    def _rows(self, after: int, condition: str) -> list[tuple[int, bytes]]:
        with self._lock:
            return self._sql.execute(
                "SELECT id, content FROM orders "  # noqa: S608 - our own words
                f"WHERE id > ? AND {condition} ORDER BY id LIMIT ?",
                (after, _PAGE),
            ).fetchall()

    def as_given(self, outcome: BatchOutcome) -> BatchOutcome | None:
        """
        Return *outcome* with its pictures named as they are in these orders.

        ``None`` if it belongs to no swap of them: to a job of an earlier run, or of
        another kind, whose label names it.
        """
        if outcome.kind not in BY_PATHS:
            return None
        if not outcome.target.is_absolute():
            return outcome  # the journal, which renames them, has absolute paths
        pair = Input("source", outcome.source), Input("target", outcome.target)
        with self._lock:
            row = self._sql.execute(
                "SELECT content FROM orders WHERE key = ?",
                (self._key(outcome.kind, pair),),
            ).fetchone()
        if row is None:
            return None
        order: Order = pickle.loads(row[0])  # noqa: S301 - our own, see _add
        source, target = (each.path for each in order.inputs)
        return attrs.evolve(outcome, source=source, target=target)

    def expect_for(self, order: Order, what: str) -> None:
        """Note *what* is expected of *order*."""
        self.expect(order.request_key, order.inputs, order.wanted_path, what)

    def is_expected(self, order: Order, what: str) -> bool:
        """Return whether *what* is expected of *order*."""
        key = self._key(order.request_key, order.inputs)
        wished = "" if order.by_paths else encode_path(order.wanted_path)
        with self._lock:
            found = self._sql.execute(
                "SELECT 1 FROM orders WHERE key = ? AND wished = ? AND expected = ?",
                (key, wished, what),
            ).fetchone()
        return found is not None

    def expect(
        self, request_key: str, inputs: Iterable[Input], wished: str, what: str
    ) -> bool:
        """
        Note *what* is expected of the order for these pictures that wants this path.

        Without one of that path it is another one for them. Returns whether there is
        any.
        """
        with self._lock:
            cursor = self._sql.execute(
                "UPDATE orders SET expected = ? WHERE id = (SELECT id FROM orders "
                "WHERE key = ? ORDER BY wished <> ?, expected IS NOT NULL, id LIMIT 1)",
                (what, self._key(request_key, inputs), encode_path(wished)),
            )
        return bool(cursor.rowcount)

    def expected(self, what: str) -> int:
        """Return the number of orders of which *what* is expected."""
        with self._lock:
            query = "SELECT count(*) FROM orders WHERE expected = ?"
            return int(self._sql.execute(query, (what,)).fetchone()[0])

    def prices(self, what: str, most: int | None) -> tuple[int, int]:
        """
        Return how many orders of which *what* is expected are paid, and their price.

        Of more than *most* the dearest count, and those before them whose price only
        the server knows. The price is in units, 500,000 to the dollar; 0 with such.
        """
        with self._lock:
            query = (
                "SELECT count(*), coalesce(sum(price) * (min(price) > 0), 0) FROM "
                "(SELECT price FROM orders WHERE expected = ? AND paid "
                "ORDER BY price = 0 DESC, price DESC LIMIT ?)"
            )
            limit = -1 if most is None else most
            many, price = self._sql.execute(query, (what, limit)).fetchone()
        return int(many), int(price)

    def bars(self, what: str) -> list[BalanceBar]:
        """Return the bars of the orders of which *what* is expected, lowest first."""
        query = (
            "SELECT DISTINCT bar, barred FROM orders WHERE expected = ? AND paid "
            "AND bar IS NOT NULL ORDER BY bar, barred"
        )
        with self._lock:
            return [BalanceBar(*row) for row in self._sql.execute(query, (what,))]

    def unexpected(self) -> Iterator[Order]:
        """Yield the orders of which nothing is expected yet."""
        return self._orders("expected IS NULL")

    def is_given(self, file_id: FileId) -> bool:
        """Return whether this file is a picture of an order."""
        with self._lock:
            found = self._sql.execute(
                "SELECT 1 FROM pictures WHERE device = ? AND inode = ?",
                tuple(map(str, file_id)),
            ).fetchone()
        return found is not None

    def close(self) -> None:
        """Delete the temporary file."""
        self._sql.close()
