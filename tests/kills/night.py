"""One folder of photos, swapped by a command that is killed at random points."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import attrs

from ezlink_async.emulator import Emulator, read_hashes
from ezlink_async.emulator.faults import Proceed
from ezlink_async.emulator.http.exchange import Exchange
from ezlink_async.emulator.http.replies import Reply
from tests.support.pictures import jpeg

_PLACES = ("submit", "list", "fetch", "image")
_WAIT = 0.02  # between two looks whether a command has ended by itself
_QUICK = {
    "EZLINK_POLL_FIRST": "0.02",
    "EZLINK_POLL_SHORTEST": "0.02",
    "EZLINK_POLL_LONGEST": "0.1",
    "EZLINK_RETRY_FIRST": "0.02",
    "EZLINK_RETRY_LONGEST": "0.2",
}


@attrs.define(eq=False)
class Countdown:
    """
    A fault that lets requests through, and says when so many have come.

    *early*, it says so before the last of them is answered.
    """

    left: int
    early: bool = False
    reached: threading.Event = attrs.field(factory=threading.Event)

    async def apply(self, exchange: Exchange, proceed: Proceed) -> Reply:
        """Handle the request."""
        await exchange.read()
        self.left -= 1
        if self.left <= 0 and self.early:
            self.reached.set()
        reply = await proceed()
        if self.left <= 0:
            self.reached.set()
        return reply


@attrs.define
class Night:
    """
    Photos, a server, and a command that is run until nothing is open.

    *more* are options of the command, *environ* what is set beside the key.
    """

    folder: Path
    server: Emulator
    photos: int
    chance: random.Random
    more: tuple[str, ...] = ()
    environ: dict[str, str] = attrs.field(factory=dict)
    kills: int = 0

    def __attrs_post_init__(self) -> None:
        (self.folder / "photos").mkdir(parents=True)
        (self.folder / "me.jpg").write_bytes(jpeg(9_000))
        for number in range(self.photos):
            folder = self.folder / "photos" / f"day {number % 7}"
            folder.mkdir(exist_ok=True)
            (folder / f"{number:04}.jpg").write_bytes(jpeg(10_000 + number))

    def with_account(self) -> None:
        """Set the account's token, and look no longer than a loopback needs."""
        self.environ["EZLINK_ACCOUNT_TOKEN"] = self.server.account_token
        self.environ["EZLINK_TIMEOUTS_RECONCILE"] = "1"
        self.environ["EZLINK_POLL_DEADLINE"] = "20"

    @property
    def output(self) -> Path:
        """Where the results go."""
        return self.folder / "out"

    @property
    def journal(self) -> Path:
        """What the runs know of each other."""
        return self.output / ".ezlink" / "journal.sqlite3"

    @contextlib.contextmanager
    def run(self, *more: str) -> Iterator[subprocess.Popen[str]]:
        """Run the command, and wait for it."""
        server = {
            "EZLINK_API_KEY": self.server.api_key,
            "EZLINK_BASE_URL": self.server.base_url,
            "EZLINK_ACCOUNT_TOKEN": "",
            "HOME": str(self.folder),
        }
        words = ("swap", "me.jpg", "photos", "--output", "out", "--json")
        with subprocess.Popen(
            [sys.executable, "-m", "ezlink_async", *words, *self.more, *more],
            cwd=self.folder,
            env={**os.environ, **_QUICK, **server, **self.environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            except BaseException:
                process.kill()
                raise

    def kill_somewhere(self) -> bool:
        """
        Kill a run at a random point; return whether it came to that.

        The point is one of its first requests, before or after it is answered.
        """
        with self.run() as process:
            if not self.comes_to_a_point(process):
                return False
            process.kill()
            process.communicate()
        self.kills += 1
        return True

    def comes_to_a_point(self, process: subprocess.Popen[str]) -> bool:
        """Wait for a random point of a run; false when it ends before."""
        control = self.server.control
        point = Countdown(self.chance.randrange(1, 10), self.chance.random() < 0.5)
        for place in _PLACES:
            control.standing(place, point)
        try:
            while not point.reached.wait(_WAIT):
                if process.poll() is not None:
                    return False
        finally:
            for place in _PLACES:
                control.standing(place, None)
        return True

    def finish(self, *more: str) -> dict[str, int]:
        """Run the command to its end, and return the sum it tells."""
        with self.run(*more) as process:
            out, err = process.communicate(timeout=600)
        if process.returncode not in {0, 1}:
            raise RuntimeError(f"exit {process.returncode}: {err[-2000:]}")
        summary: dict[str, int] = json.loads(out.splitlines()[-1])["summary"]
        return summary

    def right(self) -> int:
        """How many results are at home, and made of their own photo."""
        source = _digest((self.folder / "me.jpg").read_bytes())
        count = 0
        for photo in (self.folder / "photos").rglob("*.jpg"):
            result = self.output / photo.relative_to(self.folder / "photos")
            if result.exists():
                made_of = read_hashes(result.read_bytes())
                count += made_of == (source, _digest(photo.read_bytes()))
        return count

    def states(self) -> dict[str, int]:
        """How many jobs are in which state; the journal is whole."""
        with contextlib.closing(sqlite3.connect(self.journal)) as journal:
            (check,) = journal.execute("PRAGMA integrity_check").fetchone()
            if check != "ok":
                raise RuntimeError(f"the journal is damaged: {check}")
            rows = journal.execute("SELECT state, count(*) FROM jobs GROUP BY state")
            return dict(rows.fetchall())


def _digest(picture: bytes) -> str:
    return hashlib.sha256(picture).hexdigest()
