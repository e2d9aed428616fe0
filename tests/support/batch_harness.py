"""A folder of photos, a server that swaps them, and the batches run there."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import sqlite3
from pathlib import Path

import attrs

from ezlink_async import AsyncEzlink, PollPolicy, RetryPolicy, Timeouts
from ezlink_async.batch.journal.lock import FolderLock
from ezlink_async.batch.options import BatchOptions
from ezlink_async.batch.outcomes import BatchOutcome, BatchSummary
from ezlink_async.batch.pairs.reader import OrderReader, pairs_of
from ezlink_async.batch.run import BatchRun
from ezlink_async.emulator import Emulator
from ezlink_async.emulator.control import Control
from ezlink_async.errors import ConfigurationError, EzlinkError
from tests.support.pictures import jpeg

POLL = PollPolicy(first=0.01, shortest=0.01, longest=0.05)

RETRY = RetryPolicy(first=0.01, longest=0.02, attempts=2, timeout=60)

TIMEOUTS = Timeouts(submit=20, reconcile=0.5, close=0.2)


@attrs.frozen
class Ended:
    """The outcomes of a batch, and the error it raised at its end."""

    outcomes: list[BatchOutcome]
    summary: BatchSummary
    error: Exception | None = None

    @property
    def counts(self) -> dict[str, int]:
        """The number of outcomes by status."""
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
class BatchHarness:
    """
    The photos, the server, and the files a run leaves.

    Jobs and charges are counted at the server, never by the client. With *account*
    the clients get an account token.
    """

    folder: Path
    server: Emulator
    account: bool = False

    def __attrs_post_init__(self) -> None:
        (self.folder / "photos").mkdir()
        self.face.write_bytes(jpeg(3_000))

    @property
    def control(self) -> Control:
        """The server's control: faults, scripts, and counts."""
        return self.server.control

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
        """The path of the journal."""
        return self.output / ".ezlink" / "journal.sqlite3"

    def photos(self, many: int) -> list[Path]:
        """Make photos and return them: ``0.jpg``, ``1.jpg`` ..."""
        return [self.photo(f"{number}.jpg", 4_000 + number) for number in range(many)]

    def photo(self, name: str, length: int) -> Path:
        """Make one more photo."""
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
        """Return a client that polls and retries quickly."""
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
        pairs = pairs_of(self.face, targets, self.output)
        return BatchRun(ez, OrderReader.of_pairs(pairs), options or self.options())

    def options(self, **changes: object) -> BatchOptions:
        """Return the default options with *changes*."""
        plain = BatchOptions(output=self.output)
        return attrs.evolve(plain, **changes)  # type: ignore[arg-type]

    async def done(
        self, targets: object, ez: AsyncEzlink | None = None, **options: object
    ) -> Ended:
        """Run a batch to its end, in a client of its own unless *ez* is given."""
        async with contextlib.AsyncExitStack() as stack:
            if ez is None:
                ez = await stack.enter_async_context(self.client())
            run = self.run(ez, targets, self.options(**options))
            return await read(await stack.enter_async_context(run))

    async def journal_closed(self) -> None:
        """Wait until no run holds the output folder."""
        while True:
            try:
                FolderLock(self.journal.with_name("lock")).close()
            except ConfigurationError:
                await asyncio.sleep(0)
            else:
                return

    @property
    def charges(self) -> int:
        """The number of swaps the server charged."""
        return len(self.control.charges)

    @property
    def sent(self) -> int:
        """The number of submits that arrived whole, refused ones included."""
        return sum(self.control.uploads.values())

    def names(self) -> list[str]:
        """Return the names in the output folder."""
        return sorted(path.name for path in self.output.iterdir())

    def states(self) -> dict[str, int]:
        """Return the number of jobs in the journal by state."""
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
            outcomes.append(each)  # noqa: PERF401 - those before an error count
    except (EzlinkError, LookupError) as raised:
        error = raised
    return Ended(outcomes, run.summary, error)
