"""A folder of photos, and a command on it that is killed at random points."""

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

from ezlink_async.emulator import Emulator, EmulatorSettings, in_thread, read_hashes
from ezlink_async.emulator.faults import Proceed
from ezlink_async.emulator.http.exchange import Exchange
from ezlink_async.emulator.http.replies import Reply
from tests.support.pictures import jpeg

_REQUESTS = (
    *("submit", "imagine", "action", "describe", "shorten"),
    *("list", "fetch", "image", "video", "video_result", "video_keyless"),
    *("images", "images_result", "flux", "flux_result"),
)
_SWAP = ("-m", "ezlink_async", "swap", "me.jpg", "photos", "-o", "out", "--json")
_INTERVAL = 0.02  # between two checks whether a command has ended by itself
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
    A fault that passes requests on, and sets *reached* at the last of them.

    With *early* it does so before that request is answered.
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


@contextlib.contextmanager
def emulator() -> Iterator[Emulator]:
    """Run an emulator whose tasks take a moment."""
    settings = EmulatorSettings(
        concurrency=4, queue=10_000, engine_seconds=0.02, code_22=False
    )
    with in_thread(settings) as server:
        yield server


@attrs.define
class SwapCommand:
    """
    Photos, a server, and the command that swaps them, run as often as needed.

    *program* is what Python is started with, *options* are options of the command,
    *environ* what is set beside the key.
    *kills* counts how often a run was killed.
    """

    folder: Path
    server: Emulator
    photos: int
    random: random.Random
    program: tuple[str, ...] = _SWAP
    options: tuple[str, ...] = ()
    environ: dict[str, str] = attrs.field(factory=dict)
    kills: int = 0

    def __attrs_post_init__(self) -> None:
        (self.folder / "me.jpg").write_bytes(jpeg(9_000))
        for number in range(self.photos):
            folder = self.folder / "photos" / f"day {number % 7}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number:04}.jpg").write_bytes(jpeg(10_000 + number))

    def use_account(self) -> None:
        """Set the account's token, and search no longer than a loopback needs."""
        self.environ["EZLINK_ACCOUNT_TOKEN"] = self.server.account_token
        self.environ["EZLINK_TIMEOUTS_RECONCILE"] = "2"
        self.environ["EZLINK_POLL_DEADLINE"] = "60"

    @contextlib.contextmanager
    def run(self, *options: str) -> Iterator[subprocess.Popen[str]]:
        """Run the command, and wait for it."""
        server = {
            "EZLINK_API_KEY": self.server.api_key,
            "EZLINK_BASE_URL": self.server.base_url,
            "EZLINK_ACCOUNT_TOKEN": "",
            "HOME": str(self.folder),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),  # the code at hand
        }
        with subprocess.Popen(
            [sys.executable, *self.program, *self.options, *options],
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

    def run_killed(self) -> bool:
        """
        Kill a run at a random point; return False if it ended before.

        The point is one of its first requests, before or after it is answered.
        """
        with self.run() as process:
            if not self.reaches_random_point(process):
                return False
            process.kill()
            process.communicate()
        self.kills += 1
        return True

    def reaches_random_point(self, process: subprocess.Popen[str]) -> bool:
        """Wait for a random point of a run; return False if it ends before."""
        control = self.server.control
        point = Countdown(self.random.randrange(1, 10), self.random.random() < 0.5)
        for kind in _REQUESTS:
            control.standing(kind, point)
        try:
            while not point.reached.wait(_INTERVAL):
                if process.poll() is not None:
                    return False
        finally:
            for kind in _REQUESTS:
                control.standing(kind, None)
        return True

    def run_to_end(self, *options: str) -> dict[str, int]:
        """Run the command to its end, and return its summary."""
        with self.run(*options) as process:
            out, err = process.communicate(timeout=600)
        if process.returncode not in {0, 1} or not out:
            raise RuntimeError(f"exit {process.returncode}: {err[-2000:]}")
        summary: dict[str, int] = json.loads(out.splitlines()[-1])["summary"]
        return summary

    def right(self) -> int:
        """Return how many results are saved, each made of its own photo."""
        source = _digest(self.folder / "me.jpg")
        photos, output = self.folder / "photos", self.folder / "out"
        results = ((p, output / p.relative_to(photos)) for p in photos.rglob("*.jpg"))
        return sum(
            read_hashes(result.read_bytes()) == (source, _digest(photo))
            for photo, result in results
            if result.exists()
        )

    def states(self) -> dict[str, int]:
        """Return how many jobs of the journal, which is whole, are in which state."""
        path = self.folder / "out" / ".ezlink" / "journal.sqlite3"
        with contextlib.closing(sqlite3.connect(path)) as journal:
            (check,) = journal.execute("PRAGMA integrity_check").fetchone()
            if check != "ok":
                raise RuntimeError(f"the journal is damaged: {check}")
            rows = journal.execute("SELECT state, count(*) FROM jobs GROUP BY state")
            return dict(rows.fetchall())


def _digest(picture: Path) -> str:
    return hashlib.sha256(picture.read_bytes()).hexdigest()
