"""
Answers that are lost, with the account's token: what becomes of the submits.

End to end against the emulator. What was made and paid is read from it, and
never from the client.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest

from ezlink_async import AsyncEzlink, PollPolicy, RetryPolicy, Timeouts, errors
from ezlink_async._client.submitting.evidence import Fate, Lost
from ezlink_async._client.submitting.pending_submit import NoObserver
from ezlink_async.emulator import (
    Emulator,
    EmulatorSettings,
    faults,
    read_hashes,
    serving,
)
from ezlink_async.emulator.faults import Proceed
from ezlink_async.emulator.http.exchange import Exchange
from ezlink_async.emulator.http.replies import Reply
from ezlink_async.services.face_swap import FaceSwapJob, SwapOptions
from tests.fakes import jpeg

POLL = PollPolicy(first=0.02, shortest=0.02, longest=0.1)
RETRY = RetryPolicy(first=0.01, longest=0.02, attempts=3, timeout=60)
TIMEOUTS = Timeouts(submit=20, reconcile=0.5, close=1)
SOURCE = jpeg(20_000)


@attrs.frozen
class Shop:
    """A client with its account's token, and the server it pays."""

    ez: AsyncEzlink
    server: Emulator

    @property
    def made(self) -> list[str]:
        """The hash of each target that a task was made of."""
        return [task.target_sha256 for task in self.server.control.tasks]

    @property
    def charges(self) -> int:
        """How many swaps were paid."""
        return len(self.server.control.charges)

    @property
    def sent(self) -> int:
        """How many submits arrived, made or not."""
        seen = self.server.control.requests
        return sum(each.path.endswith("/insight-face/swap") for each in seen)


@asynccontextmanager
async def shop(
    *,
    settings: EmulatorSettings | None = None,
    poll: PollPolicy = POLL,
    timeouts: Timeouts = TIMEOUTS,
    retry: RetryPolicy = RETRY,
    concurrency: int = 32,
) -> AsyncIterator[Shop]:
    """Open a client beside an emulator."""
    chosen = settings or EmulatorSettings(concurrency=64, queue=1000)
    async with asyncio.timeout(120), serving(chosen) as server:
        client = AsyncEzlink(
            server.api_key,
            base_url=server.base_url,
            account_token=server.account_token,
            max_concurrency=concurrency,
            poll=poll,
            retry=retry,
            timeouts=timeouts,
        )
        async with client as ez:
            yield Shop(ez, server)


@attrs.frozen
class LostInTheQueue:
    """The upstream queues the job, which costs nothing, and the answer is lost."""

    async def play(self, exchange: Exchange, proceed: Proceed) -> Reply:
        """Handle it as code 22, then hang up."""
        exchange.circumstances.trouble |= {"queued"}
        await proceed()
        exchange.drop()


CHARGED = faults.Drop(job=True)
QUEUED = LostInTheQueue()
NOTHING = faults.Drop()
FINE = faults.Delay(0)


def _hash(picture: bytes) -> str:
    return hashlib.sha256(picture).hexdigest()


def _script() -> list[faults.Fault]:
    """Lose 30 answers of 200, half charged, half queued, and 10 jobs before."""
    script: list[faults.Fault] = [FINE] * 200
    for number in range(15):
        script[20 + 10 * number] = CHARGED
        script[25 + 10 * number] = QUEUED
    for number in range(10):
        script[22 + 15 * number] = NOTHING
    return script


@attrs.define
class Tally:
    """What became of 200 swaps."""

    right: int = 0
    unknown: int = 0


async def _two_hundred(here: Shop) -> Tally:
    """Swap into 200 photos; each of them was made at most once."""
    here.server.control.script("submit", *_script())
    targets = [jpeg(10_000 + number) for number in range(200)]
    tally = Tally()
    async for swap in here.ez.swap_faces(SOURCE, targets):
        assert isinstance(swap.target, bytes)
        if swap.handle is None:
            assert isinstance(swap.error, errors.SubmitUnknownError), swap.error
            tally.unknown += 1
            continue
        hashes = read_hashes(await swap.handle.read())
        tally.right += hashes == (_hash(SOURCE), _hash(swap.target))
    assert len(set(here.made)) == len(here.made)
    assert set(here.made) <= set(map(_hash, targets))
    return tally


async def test_thirty_answers_of_two_hundred_are_lost_and_nobody_notices() -> None:
    """Half of them charged, half queued, ten more never made: 200 right, once each."""
    # What is sent again may meet the next fault of the script.
    async with shop(retry=attrs.evolve(RETRY, attempts=9)) as here:
        assert await _two_hundred(here) == Tally(right=200)
        assert len(here.made) == 200
        assert here.charges == 200 - 15  # what was queued is never charged
        assert here.sent == 210


async def test_with_the_log_off_only_what_was_made_is_found() -> None:
    """Thirty handles, ten unknowns; nothing is sent twice."""
    async with shop() as here:
        here.server.control.account_side(log=False)
        assert await _two_hundred(here) == Tally(right=190, unknown=10)
        assert len(here.made) == 190
        assert here.sent == 200


async def test_with_the_account_side_down_forty_stay_unknown() -> None:
    """Ten were never made, thirty were; nothing is sent twice."""
    async with shop() as here:
        here.server.control.standing("account", faults.Drop())
        assert await _two_hundred(here) == Tally(right=160, unknown=40)
        assert len(here.made) == 190
        assert here.sent == 200


@pytest.mark.parametrize("fault", [CHARGED, QUEUED], ids=["charged", "queued"])
async def test_a_lost_answer_becomes_a_handle(fault: faults.Fault) -> None:
    """The task is found by its state, followed, and charged at most once."""
    async with shop() as here:
        here.server.control.script("submit", fault)
        handle = await here.ez.swap_face(SOURCE, jpeg(10_000))
        record = await handle
        assert record.task_id == here.server.control.tasks[0].task_id
        assert record.state.startswith("ezlink-")
        assert len(here.made) == 1
        assert here.ez.pending() == ()


async def test_a_callers_state_is_sent_as_it_is() -> None:
    """It finds its task as well, and is what the records show."""
    async with shop() as here:
        here.server.control.script("submit", CHARGED)
        record = await (await here.ez.swap_face(SOURCE, jpeg(10_000), state="mine"))
        assert record.state == "mine"


async def test_what_was_never_made_is_sent_again_once_the_log_can_be_trusted() -> None:
    """A charged submit of this client is in the log, so what is not there is not."""
    async with shop() as here:
        await here.ez.swap_face(SOURCE, jpeg(9_000))
        here.server.control.script("submit", NOTHING)
        await here.ez.swap_face(SOURCE, jpeg(10_000))
        assert here.charges == len(here.made) == 2
        assert here.sent == 3


async def test_without_a_witness_nothing_is_sent_again() -> None:
    """The log may be off: the first submit of a client proves nothing."""
    async with shop() as here:
        here.server.control.script("submit", NOTHING)
        with pytest.raises(errors.SubmitUnknownError, match="no submit of this client"):
            await here.ez.swap_face(SOURCE, jpeg(10_000))
        assert here.sent == 1


@pytest.mark.parametrize(
    ("side", "told"),
    [
        ("log off", "shows no submit of this client"),
        ("down", "the account's side could not be asked: no answer from"),
        ("page", "the account's side could not be asked: HTTP 503"),
        ("refused", "the account token is refused"),
    ],
)
async def test_when_the_account_cannot_tell_it_stays_unknown(
    side: str, told: str
) -> None:
    """Nothing is sent twice, the reason is told, and no secret with it."""
    async with shop() as here:
        control = here.server.control
        await here.ez.swap_face(SOURCE, jpeg(9_000))
        refusal = '{"message":"Not authorized to perform","success":false}'
        standing: dict[str, faults.Fault] = {
            "down": faults.Drop(),
            "page": faults.proxy(503),
            "refused": faults.Answer(401, refusal, "application/json"),
        }
        control.account_side(log=side != "log off")
        control.standing("account", standing.get(side))
        control.script("submit", NOTHING, NOTHING)
        swaps = [here.ez.swap_face(SOURCE, jpeg(10_000 + each)) for each in range(2)]
        for error in await asyncio.gather(*swaps, return_exceptions=True):
            assert isinstance(error, errors.SubmitUnknownError)
            assert told in str(error)
            assert error.maybe_charged
            assert error.charged is None
            assert error.request_id in {each.request_id for each in control.requests}
            assert here.server.account_token not in f"{error}{error!r}{vars(error)}"
        assert here.sent == 3


async def test_a_state_that_two_lost_submits_share_is_ambiguous_for_both() -> None:
    """Both errors name the tasks that were made; nothing is taken or sent again."""
    async with shop() as here:
        await here.ez.swap_face(SOURCE, jpeg(9_000))
        here.server.control.script("submit", CHARGED, CHARGED)
        swaps = [
            here.ez.swap_face(SOURCE, jpeg(10_000 + each), state="same")
            for each in range(2)
        ]
        found = await asyncio.gather(*swaps, return_exceptions=True)
        ids = [task.task_id for task in here.server.control.tasks[1:]]
        for error in found:
            assert isinstance(error, errors.SubmitUnknownError)
            assert all(task_id in str(error) for task_id in ids)
            assert error.charged
        assert here.charges == len(here.made) == 3


async def test_a_row_that_could_not_be_written_needs_one_look() -> None:
    """The log shows the charge at once; there is no task to wait for."""
    async with shop(timeouts=attrs.evolve(TIMEOUTS, reconcile=900)) as here:
        here.server.control.script("submit", faults.Trouble("insert_failed"))
        with pytest.raises(errors.SubmitUnknownError, match="out of reach") as caught:
            await here.ez.swap_face(SOURCE, jpeg(10_000))
        assert caught.value.charged
        here.server.control.account_side(log=False)
        here.server.control.script("submit", faults.Trouble("insert_failed"))
        with pytest.raises(errors.SubmitUnknownError) as caught:
            await here.ez.swap_face(SOURCE, jpeg(10_000))
        assert caught.value.charged is None
        asked = [seen.path for seen in here.server.control.requests]
        assert sum(path.startswith("/api/log/self") for path in asked) == 2


async def test_a_charge_without_a_task_says_so() -> None:
    """The log has it, and no task of the account can be the one."""

    class Vanished:
        async def play(self, exchange: Exchange, proceed: Proceed) -> Reply:
            exchange.circumstances.trouble |= {"insert_failed"}
            await proceed()
            exchange.drop()

    async with shop() as here:
        here.server.control.script("submit", Vanished())
        with pytest.raises(errors.SubmitUnknownError, match="there is no task") as told:
            await here.ez.swap_face(SOURCE, jpeg(10_000))
        assert told.value.charged
        assert told.value.target == jpeg(10_000)


@pytest.mark.parametrize("job", [True, False])
async def test_an_answer_that_cannot_be_read_is_looked_up_too(*, job: bool) -> None:
    """It may mean a job: then it is found. Else it stays what it is, with a reason."""
    async with shop() as here:
        garbled = faults.Answer(200, '{"code":1,"resu', job=job)
        here.server.control.script("submit", garbled)
        if job:
            handle = await here.ez.swap_face(SOURCE, jpeg(10_000))
            assert handle.task_id == here.server.control.tasks[0].task_id
            return
        with pytest.raises(errors.ProtocolError, match="no submit of this") as caught:
            await here.ez.swap_face(SOURCE, jpeg(10_000))
        assert caught.value.maybe_charged
        assert caught.value.head == b'{"code":1,"resu'


async def test_a_state_that_comes_late_is_waited_for() -> None:
    """The row is there and says nothing yet: the question stays open."""
    async with shop() as here:
        here.server.control.account_side(state_delay=1.5)
        here.server.control.script("submit", CHARGED)
        await here.ez.swap_face(SOURCE, jpeg(10_000))
        assert here.charges == 1


async def test_a_state_that_never_comes_leaves_it_unknown() -> None:
    """At most until the deadline; the error names what may be the task."""
    async with shop(poll=attrs.evolve(POLL, deadline=1.5)) as here:
        here.server.control.account_side(state_delay=float("inf"))
        here.server.control.script("submit", CHARGED)
        with pytest.raises(errors.SubmitUnknownError, match="may be task") as caught:
            await here.ez.swap_face(SOURCE, jpeg(10_000))
        assert here.server.control.tasks[0].task_id in str(caught.value)
        assert caught.value.charged


async def test_the_log_may_be_late() -> None:
    """In the server's batch mode entries come some seconds after the charge."""
    async with shop() as here:
        here.server.control.account_side(log_delay=3600)
        await here.ez.swap_face(SOURCE, jpeg(9_000))
        here.server.control.script("submit", NOTHING)
        with pytest.raises(errors.SubmitUnknownError, match="no submit of this client"):
            await here.ez.swap_face(SOURCE, jpeg(10_000))
        here.server.control.account_side()
        here.server.control.script("submit", NOTHING)
        await here.ez.swap_face(SOURCE, jpeg(11_000))


async def test_closing_gives_it_some_time(caplog: pytest.LogCaptureFixture) -> None:
    """Then it is unknown; the error and the log tell of the request."""
    late = attrs.evolve(TIMEOUTS, reconcile=900, close=0.2)
    async with shop(timeouts=late) as here:
        here.server.control.account_side(state_delay=float("inf"))
        here.server.control.script("submit", CHARGED)
        swap = asyncio.create_task(here.ez.swap_face(SOURCE, jpeg(10_000)))
        while not _asked(here):
            await asyncio.sleep(0.01)
        await here.ez.aclose()
        with pytest.raises(errors.SubmitUnknownError):
            await swap
        assert caplog.messages == []


async def test_what_is_found_while_closing_is_told_with_its_id() -> None:
    """The last look may be the lucky one."""
    late = attrs.evolve(TIMEOUTS, reconcile=900, close=30)
    slow = attrs.evolve(POLL, first=60, longest=60)
    async with shop(timeouts=late, poll=slow) as here:
        here.server.control.account_side(state_delay=float("inf"))
        here.server.control.script("submit", CHARGED)
        swap = asyncio.create_task(here.ez.swap_face(SOURCE, jpeg(10_000)))
        while not _asked(here):
            await asyncio.sleep(0.01)
        here.server.control.account_side()
        await here.ez.aclose()
        with pytest.raises(errors.ClientClosedError) as caught:
            await swap
        assert caught.value.task_id == here.server.control.tasks[0].task_id


async def test_who_leaves_is_let_go_and_the_task_is_followed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A cancelled caller waits for no look; what is found is in ``pending``."""
    settings = EmulatorSettings(engine_seconds=60)
    async with shop(settings=settings) as here:
        here.server.control.account_side(state_delay=float("inf"))
        here.server.control.script("submit", CHARGED)
        swap = asyncio.create_task(here.ez.swap_face(SOURCE, jpeg(10_000)))
        while not _asked(here):
            await asyncio.sleep(0.01)
        swap.cancel()
        with pytest.raises(asyncio.CancelledError):
            await swap
        here.server.control.account_side()
        while not here.ez.pending():
            await asyncio.sleep(0.01)
        with caplog.at_level(logging.WARNING):
            while not caplog.messages:
                await asyncio.sleep(0.01)
        assert "accepted after its caller had left" in caplog.messages[0]


def _asked(here: Shop) -> bool:
    """Tell whether the account's list was asked for."""
    seen = here.server.control.requests
    return any(each.path.startswith("/api/mj/self") for each in seen)


@attrs.define
class Journal(NoObserver):
    """Notes what a batch would need after a crash."""

    lost: list[Lost] = attrs.Factory(list)
    since: float = 0.0
    task_id: str = ""

    async def before_submit(
        self, job: FaceSwapJob, request_id: str, state: str | None
    ) -> None:
        """Note an attempt, before its first byte."""
        assert job.options.state == state
        self.lost = [Lost(state=state, request_ids=(request_id,), since=self.since)]

    def accepted(self, task_id: str) -> None:
        """Note an id."""
        self.task_id = task_id


async def test_another_process_finds_out_what_a_crash_left_behind() -> None:
    """Its journal tells what was being submitted; one search answers for all."""
    script = (FINE, faults.Stall(job=True), faults.Stall(), faults.Stall(job=True))
    brief = attrs.evolve(TIMEOUTS, close=0.1)
    async with shop(timeouts=brief) as here:
        reconciler = here.ez._inside().reconciler
        since = await reconciler.server_time()
        assert since is not None
        here.server.control.script("submit", *script)
        journals = [Journal(since=since) for _ in script]
        swaps = []
        for number, journal in enumerate(journals):
            target = jpeg(10_000 + number)
            swap = here.ez._swap(SOURCE, target, SwapOptions(), observer=journal)
            swaps.append(asyncio.create_task(swap))
            while here.sent <= number:
                await asyncio.sleep(0.01)
        await swaps[0]
        while len(here.server.control.uploads) < 3:
            await asyncio.sleep(0.01)
        await here.ez.aclose()
        await asyncio.gather(*swaps, return_exceptions=True)
        first, *lost = journals
        async with AsyncEzlink(
            here.server.api_key,
            base_url=here.server.base_url,
            account_token=here.server.account_token,
            poll=POLL,
            timeouts=TIMEOUTS,
        ) as ez:
            findings = await ez._inside().reconciler.resume(
                [journal.lost[0] for journal in lost],
                known=[first.task_id],
                witnesses=first.lost[0].request_ids,
            )
        ids = {task.request_id: task.task_id for task in here.server.control.tasks}
        assert [finding.task_id for finding in findings] == [
            ids.get(journal.lost[0].request_ids[0]) for journal in lost
        ]
        assert [finding.fate for finding in findings] == [
            Fate.FOUND,
            Fate.NOT_CREATED,
            Fate.FOUND,
        ]


async def test_without_a_token_the_account_is_never_asked() -> None:
    """No state is made up, and a lost answer is unknown at once."""
    async with asyncio.timeout(30), serving() as server:
        async with AsyncEzlink(server.api_key, base_url=server.base_url) as ez:
            server.control.script("submit", CHARGED)
            with pytest.raises(errors.SubmitUnknownError) as caught:
                await ez.swap_face(SOURCE, jpeg(10_000))
        assert caught.value.charged is None
        assert server.control.tasks[0].state == ""
        assert not [each for each in server.control.requests if "/api/" in each.path]


async def test_the_token_goes_to_the_accounts_pages_only() -> None:
    """And the key to all others; no request has both."""
    async with shop() as here:
        here.server.control.script("submit", CHARGED)
        await (await here.ez.swap_face(SOURCE, jpeg(10_000)))
        await here.ez.account.balance()
        for seen in here.server.control.requests:
            sent = dict(seen.headers).get("Authorization", "")
            of_account = seen.path.startswith("/api/")
            assert (here.server.account_token in sent) is of_account
            assert (here.server.api_key in sent) is not of_account
