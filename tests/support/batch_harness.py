"""A folder of photos, a server that swaps them, and batches that are run there."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs

from ezlink_async import AsyncEzlink, PollPolicy, RetryPolicy, Timeouts
from ezlink_async.batch.options import BatchOptions
from ezlink_async.batch.outcomes import BatchOutcome, BatchSummary
from ezlink_async.batch.pairs.reader import Pairs, pairs_of
from ezlink_async.batch.run import BatchRun
from ezlink_async.emulator import Emulator, EmulatorSettings, serving
from ezlink_async.errors import EzlinkError
from tests.support.pictures import jpeg

POLL = PollPolicy(first=0.01, shortest=0.01, longest=0.05)

RETRY = RetryPolicy(first=0.01, longest=0.02, attempts=2, timeout=60)

TIMEOUTS = Timeouts(submit=20, reconcile=0.5, close=0.2)


@attrs.frozen
class Ended:
    """What a batch told, and what it raised at its end."""

    outcomes: list[BatchOutcome]
    summary: BatchSummary
    error: Exception | None = None

    @property
    def counts(self) -> dict[str, int]:
        """How many ended how."""
        return {str(name): many for name, many in self.summary.counts.items()}

    @property
    def only(self) -> BatchOutcome:
        """The outcome of the one pair there was."""
        (outcome,) = self.outcomes
        return outcome

    def of(self, name: str) -> BatchOutcome:
        """Return the one outcome of the target called *name*."""
        (found,) = [each for each in self.outcomes if each.target.name == name]
        return found


@attrs.define
class Studio:
    """
    The photos, the server, and what a run leaves behind.

    What was made and paid is read from the server, and never from the client.
    """

    folder: Path
    server: Emulator
    account: bool = False

    def __attrs_post_init__(self) -> None:
        (self.folder / "photos").mkdir()
        self.face.write_bytes(jpeg(3_000))

    @property
    def face(self) -> Path:
        """The picture the face is taken from."""
        return self.folder / "me.jpg"

    @property
    def output(self) -> Path:
        """Where the results go."""
        return self.folder / "out"

    @property
    def journal(self) -> Path:
        """What the runs know of each other."""
        return self.output / ".ezlink" / "journal.sqlite3"

    def photos(self, many: int) -> list[Path]:
        """Have so many photos: ``0.jpg``, ``1.jpg`` ..."""
        return [self.photo(f"{number}.jpg", 4_000 + number) for number in range(many)]

    def photo(self, name: str, length: int) -> Path:
        """Have one more."""
        path = self.folder / "photos" / name
        path.write_bytes(jpeg(length))
        return path

    def client(
        self,
        *,
        key: str | None = None,
        concurrency: int = 4,
        poll: PollPolicy = POLL,
        retry: RetryPolicy = RETRY,
        timeouts: Timeouts = TIMEOUTS,
        base_url: str | None = None,
    ) -> AsyncEzlink:
        """Return a client that knows no patience."""
        return AsyncEzlink(
            key or self.server.api_key,
            base_url=base_url or self.server.base_url,
            account_token=self.server.account_token if self.account else None,
            max_concurrency=concurrency,
            poll=poll,
            retry=retry,
            timeouts=timeouts,
        )

    def run(
        self, ez: AsyncEzlink, targets: object, options: BatchOptions | None = None
    ) -> BatchRun:
        """Return a run that swaps the face into *targets*."""
        chosen = options or self.options()
        pairs: Pairs = pairs_of(self.face, targets, self.output)
        return BatchRun(ez, pairs, chosen)

    def options(self) -> BatchOptions:
        """Return plain options."""
        return BatchOptions(output=self.output)

    async def done(
        self,
        targets: object,
        ez: AsyncEzlink | None = None,
        *,
        retry_failed: bool = False,
        resubmit_unknown: bool = False,
        budget: int | None = None,
        max_failures: int | None = None,
        replace: bool = False,
    ) -> Ended:
        """Run a batch to its end, in a client of its own unless *ez* is given."""
        options = attrs.evolve(
            self.options(),
            retry_failed=retry_failed,
            resubmit_unknown=resubmit_unknown,
            budget=budget,
            max_failures=max_failures,
            existing="replace" if replace else "skip",
        )
        async with contextlib.AsyncExitStack() as stack:
            if ez is None:
                ez = await stack.enter_async_context(self.client())
            run = await stack.enter_async_context(self.run(ez, targets, options))
            return await read(run)

    @property
    def charges(self) -> int:
        """How many swaps were paid."""
        return len(self.server.control.charges)

    @property
    def sent(self) -> int:
        """How many submits arrived whole, made or not."""
        return sum(self.server.control.uploads.values())

    def names(self) -> list[str]:
        """Return what is in the output folder."""
        return sorted(path.name for path in self.output.iterdir())

    def states(self) -> dict[str, int]:
        """How many jobs of the journal are in which state."""
        return dict(collections.Counter(str(row["state"]) for row in self.jobs()))

    def jobs(self) -> list[sqlite3.Row]:
        """Return the rows of the journal."""
        with contextlib.closing(sqlite3.connect(self.journal)) as journal:
            journal.row_factory = sqlite3.Row
            return journal.execute("SELECT * FROM jobs ORDER BY id").fetchall()


async def read(run: BatchRun) -> Ended:
    """Read a run to its end."""
    outcomes: list[BatchOutcome] = []
    error: Exception | None = None
    try:
        async for each in run:
            outcomes.append(each)  # noqa: PERF401 - what came before an error counts
    except (EzlinkError, LookupError) as raised:
        error = raised
    return Ended(outcomes, run.summary, error)


@asynccontextmanager
async def studio(folder: Path, *, account: bool = False) -> AsyncIterator[Studio]:
    """Open one beside an emulator with room for all, for a bounded time."""
    settings = EmulatorSettings(concurrency=64, queue=1000)
    async with asyncio.timeout(15), serving(settings) as server:
        yield Studio(folder, server, account)
