"""How long a lost submit is looked for, and what is asked meanwhile."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import attrs
import pytest

from ezlink_async import AsyncEzlink, PollPolicy, RetryPolicy, Timeouts, errors
from ezlink_async._client.submitting import evidence
from ezlink_async._client.submitting.evidence import Fate, Finding, Lost
from ezlink_async._client.submitting.pending_submit import NoObserver
from ezlink_async._client.submitting.reconciler import Reconciler
from ezlink_async._core.messages import HttpResponse
from ezlink_async._io.concurrency import BackgroundTasks
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
from ezlink_async.errors import TransportError
from ezlink_async.services import account
from ezlink_async.services.base import Accepted
from ezlink_async.services.face_swap import FaceSwapJob, SwapOptions
from tests.support.account_pages import EPOCH, Books, on
from tests.support.pictures import jpeg
from tests.support.scripted_transport import ScriptedTransport, offline

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

    async def apply(self, exchange: Exchange, proceed: Proceed) -> Reply:
        """Handle it as code 22, then hang up."""
        exchange.overrides.trouble |= {"queued"}
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
        async def apply(self, exchange: Exchange, proceed: Proceed) -> Reply:
            exchange.overrides.trouble |= {"insert_failed"}
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


STATE = evidence.new_state()

Work = Callable[[Books], Awaitable[None]]


def played(work: Work) -> Callable[[], None]:
    """Make a test of a coroutine that is given books; its clock jumps."""

    def test() -> None:
        on(Books, work)

    test.__doc__ = work.__doc__
    return test


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _lose(
    books: Books, state: str | None = STATE, *ids: str, ago: float = 0.0
) -> Finding:
    """Look for a submit that began just now, and was sent *ago* seconds before."""
    sent = _now() - ago
    begun = min(sent, _now())
    with books.reconciler.under_way(state, begun):
        return await books.reconciler.look_for(
            state, ids or ("r1",), begun=begun, sent=sent
        )


def _witness(books: Books, name: str = "w") -> None:
    """Let a submit of this client be charged, and its id be known."""
    books.reconciler.accepted(Accepted(f"id-{name}", 1, ""), name)
    books.charged.add(name)


@played
async def test_it_is_found_as_soon_as_its_state_shows(books: Books) -> None:
    """The task is asked for every few seconds; the log is not asked at all."""
    books.task("7")
    lost = asyncio.create_task(_lose(books))
    await asyncio.sleep(20)
    books.tasks[0]["state"] = STATE
    finding = await lost
    assert (finding.fate, finding.task_id) == (Fate.FOUND, "7")
    assert 20 <= _now() <= 31
    assert books.asked("/api/mj/self") in range(4, 10)
    assert books.asked("/api/log/self") == 0


@played
async def test_nothing_is_concluded_before_the_server_must_be_done(
    books: Books,
) -> None:
    """75 seconds after the last byte, one look settles that no task was made."""
    _witness(books)
    finding = await _lose(books, ago=0.0)
    assert finding.fate is Fate.NOT_CREATED
    assert 75 <= _now() < 76
    assert books.asked("/api/log/self") == 2  # the witness, and the lost one


@played
async def test_when_its_time_is_over_already_one_look_is_made(books: Books) -> None:
    """An answer that was waited for in vain for 90 seconds needs no 75 more."""
    await asyncio.sleep(90)
    _witness(books)
    finding = await _lose(books, ago=90.0)
    assert finding.fate is Fate.NOT_CREATED
    assert _now() == 90
    assert books.asked("/api/mj/self") == 1


def _short(base_url: str) -> Books:
    settings = attrs.evolve(
        Books().transport.settings, base_url=base_url, timeouts=Timeouts(reconcile=1)
    )
    return Books(settings)


@pytest.mark.parametrize(
    ("base_url", "fate"),
    [
        ("https://api.example", Fate.UNKNOWN),
        ("http://127.0.0.1:9", Fate.NOT_CREATED),
    ],
)
def test_a_short_bound_never_sends_again_what_the_server_may_be_at(
    base_url: str, fate: Fate
) -> None:
    """It ends the search, and proves nothing; but for a server of one's own."""

    async def work(books: Books) -> None:
        _witness(books)
        finding = await _lose(books)
        assert finding.fate is fate
        assert _now() == pytest.approx(1, abs=0.01)
        assert "at work" in finding.reason or fate is Fate.NOT_CREATED

    on(lambda: _short(base_url), work)


@played
async def test_a_task_without_a_state_keeps_it_open_until_the_deadline(
    books: Books,
) -> None:
    """Fifteen minutes, and then it stays unknown; the log is asked once."""
    _witness(books)
    books.task("8")
    finding = await _lose(books)
    assert (finding.fate, finding.candidates) == (Fate.UNKNOWN, ("8",))
    assert 900 <= _now() <= 911
    assert books.asked("/api/log/self") == 2


@played
async def test_a_task_of_a_known_job_keeps_nothing_open(books: Books) -> None:
    """Neither one that was accepted here, nor one that is followed by its id."""
    _witness(books)
    books.task("id-w")
    books.task("followed")
    books.followed.add("followed")
    assert (await _lose(books)).fate is Fate.NOT_CREATED


@played
async def test_a_task_that_shows_another_state_closes_the_question(
    books: Books,
) -> None:
    """It was somebody else's after all: then there is none of ours."""
    _witness(books)
    books.task("8")
    lost = asyncio.create_task(_lose(books))
    await asyncio.sleep(100)
    books.tasks[0]["state"] = "theirs"
    assert (await lost).fate is Fate.NOT_CREATED
    assert _now() <= 111


REFUSED = HttpResponse(
    401, {}, b'{"message":"Not authorized to do this","success":false}'
)

GONE = TransportError("no connection", stage="connect")


@pytest.mark.parametrize(
    ("trouble", "told", "least", "most"),
    [
        (GONE, "no connection", 75, 110),
        (HttpResponse(503, {}, b"<html>"), "HTTP 503", 75, 110),
        (HttpResponse(200, {}, b"{}"), "no page of the account", 75, 110),
        (REFUSED, "the account token is refused", 0, 12),
    ],
)
@pytest.mark.parametrize("of_log", [False, True])
def test_an_account_that_cannot_be_asked_leaves_it_unknown(
    trouble: HttpResponse | TransportError,
    told: str,
    least: float,
    most: float,
    *,
    of_log: bool,
) -> None:
    """After some looks in vain, with the reason; a refused token at once."""

    async def work(books: Books) -> None:
        _witness(books)
        if of_log:
            books.log_trouble = trouble
        else:
            books.trouble = trouble
        finding = await _lose(books)
        assert finding.fate is Fate.UNKNOWN
        assert finding.charged is None
        assert told in finding.reason
        assert (75 if of_log else least) <= _now() <= (110 if of_log else most)

    on(Books, work)


@played
async def test_a_log_that_cannot_be_asked_for_it_leaves_it_unknown(
    books: Books,
) -> None:
    """The witness alone proves nothing; after some looks it is given up."""
    _witness(books)
    books.unreadable = "r1"
    finding = await _lose(books)
    assert "could not be asked: no answer about this one" in finding.reason
    assert 75 <= _now() <= 110


@played
async def test_trouble_that_passes_does_no_harm(books: Books) -> None:
    """Only looks in a row count, and before the time is up none does."""
    _witness(books)
    books.trouble = GONE
    lost = asyncio.create_task(_lose(books))
    await asyncio.sleep(60)
    books.trouble = REFUSED
    await asyncio.sleep(9)
    books.trouble = None
    assert (await lost).fate is Fate.NOT_CREATED
    assert (await _lose(books, evidence.new_state())).fate is Fate.NOT_CREATED


@played
async def test_an_account_side_that_is_silent_is_given_up(books: Books) -> None:
    """Each question is bounded, and so is their number."""
    books.silent = True
    finding = await _lose(books)
    assert finding.fate is Fate.UNKNOWN
    assert "could not be asked" in finding.reason
    assert _now() <= 75 + 4 * 41


@played
async def test_a_list_that_takes_too_long_is_given_up(books: Books) -> None:
    """Many pages that all come slowly are not read to the end."""
    books.tasks = [{"mj_id": str(each), "state": "x"} for each in range(1000)]
    answer = books.transport._answer

    async def slowly(response: HttpResponse) -> HttpResponse:
        await asyncio.sleep(25)
        return response

    books.transport._answer = lambda request: slowly(answer(request))  # type: ignore[arg-type]
    finding = await _lose(books)
    assert "takes too long" in finding.reason


@played
async def test_two_hundred_lost_ones_share_the_looks(books: Books) -> None:
    """The list is read as often as for one; all are found, whoever is theirs."""
    states = [evidence.new_state() for _ in range(200)]
    lost = [asyncio.create_task(_lose(books, state, f"r-{state}")) for state in states]
    await asyncio.sleep(5)
    looks = books.asked("/api/mj/self")
    assert looks in range(1, 6)
    for number, state in enumerate(states):
        books.task(str(number), state)
    findings = await asyncio.gather(*lost)
    assert [each.task_id for each in findings] == [str(each) for each in range(200)]
    assert books.asked("/api/mj/self") <= looks + 4


@played
async def test_what_was_found_is_a_witness_too(books: Books) -> None:
    """A lost submit that was charged shows that the log can be trusted."""
    books.task("7", STATE)
    books.charged.add("r1")
    assert (await _lose(books)).fate is Fate.FOUND
    other = await _lose(books, evidence.new_state(), "r2")
    assert other.fate is Fate.NOT_CREATED


@played
async def test_only_what_is_charged_is_a_witness(books: Books) -> None:
    """An acceptance with code 22 is not in the log, and proves nothing of it."""
    books.reconciler.accepted(Accepted("1", 22, ""), "w")
    books.charged.add("w")
    finding = await _lose(books)
    assert (finding.fate, finding.charged) == (Fate.UNKNOWN, None)


@played
async def test_the_same_state_of_another_submit_under_way_is_waited_for(
    books: Books,
) -> None:
    """The task that is there may be its own; when it was accepted, it is known."""
    with books.reconciler.under_way("same", _now()):
        lost = asyncio.create_task(_lose(books, "same"))
        await asyncio.sleep(1)
        books.task("7", "same")
        await asyncio.sleep(30)
        assert not lost.done()
        books.reconciler.accepted(Accepted("7", 1, ""), "r7")
    books.task("8", "same")
    assert (await lost).task_id == "8"


@played
async def test_the_same_state_of_another_that_never_ends_is_ambiguous(
    books: Books,
) -> None:
    """When the time is up the error names what may be the task."""
    with books.reconciler.under_way("same", _now()):
        books.task("7", "same")
        finding = await _lose(books, "same")
    assert (finding.fate, finding.candidates) == (Fate.UNKNOWN, ("7",))


@played
async def test_two_lost_ones_with_one_state_are_ambiguous(books: Books) -> None:
    """Both, also when only one task comes in, and who comes after them."""
    first = asyncio.create_task(_lose(books, "same", "r1"))
    await asyncio.sleep(1)
    second = asyncio.create_task(_lose(books, "same", "r2"))
    await asyncio.sleep(1)
    books.task("7", "same")
    for finding in await asyncio.gather(first, second):
        assert (finding.fate, finding.candidates) == (Fate.UNKNOWN, ("7",))
    third = await _lose(books, "same", "r3")
    assert third.fate is Fate.UNKNOWN
    assert "share the state" in third.reason


@played
async def test_the_whole_window_is_read(books: Books) -> None:
    """Page after page, back to before the submit began, and no further."""
    for number in range(1000):
        books.task(f"old-{number}", "x", at=number - 5000)
    _witness(books)
    await asyncio.sleep(10)
    lost = asyncio.create_task(_lose(books))
    await asyncio.sleep(1)
    books.task("mine")
    for number in range(250):
        books.task(f"new-{number}", "x")
    before = books.asked("/api/mj/self")
    await asyncio.sleep(80)
    pages = books.asked("/api/mj/self") - before
    assert not lost.done()  # the task below all the others has no state yet
    assert {path.split("&")[0] for path in books.transport.paths()[before:]} >= {
        f"/api/mj/self?page={number}" for number in (1, 2, 3, 4)
    }
    assert "/api/mj/self?page=5&pagesize=100" not in books.transport.paths()
    assert pages > 20
    books.tasks[250]["state"] = STATE
    assert (await lost).task_id == "mine"


@pytest.mark.parametrize("gap", ["short pages", "too many", "no date"])
def test_a_list_with_gaps_proves_nothing(gap: str) -> None:
    """What is not seen cannot be called missing."""

    async def work(books: Books) -> None:
        _witness(books)
        count = 100 * account.PAGES + 1 if gap == "too many" else 300
        for number in range(count):
            books.task(str(number), "x", at=0)
        books.dated = gap != "no date"
        books.shown = 50 if gap == "short pages" else None
        await asyncio.sleep(90)
        finding = await _lose(books, ago=90.0)
        assert (finding.fate, finding.charged) == (Fate.UNKNOWN, False)
        assert "far enough back" in finding.reason

    on(Books, work)


@played
async def test_ids_are_kept_only_while_they_can_be_mistaken(books: Books) -> None:
    """Thousands of jobs later the client remembers those of its open submits."""
    memory = books.reconciler._memory
    for number in range(100):
        books.reconciler.accepted(Accepted(str(number), 1, ""), "r")
        await asyncio.sleep(10)
    assert len(memory._ids) <= 5
    with books.reconciler.under_way("s", _now()):
        for number in range(100, 200):
            books.reconciler.accepted(Accepted(str(number), 1, ""), "r")
            await asyncio.sleep(10)
        assert all(memory.knows(str(number)) for number in range(100, 200))


def _lost(number: int, **more: object) -> Lost:
    fields: dict[str, object] = {
        "state": f"ezlink-{number}",
        "request_ids": (f"r{number}",),
        "since": EPOCH - 3600.0,
        **more,
    }
    return Lost(**fields)  # type: ignore[arg-type]


@played
async def test_a_resume_asks_about_all_at_once(books: Books) -> None:
    """Each lost one of an earlier process gets its own answer, in order."""
    books.charged |= {"w", "r2"}
    books.task("7", "ezlink-1", at=-100)
    books.task("5", at=-50)
    books.task("10", "mine", at=-60)
    books.task("9", "mine", at=-50)
    lost = [
        _lost(1),
        _lost(2),
        _lost(3),
        _lost(4, state="mine", since=EPOCH - 58.0),
        _lost(5, state=""),
    ]
    findings = await books.reconciler.resume(lost, known=["5"], witnesses=["w"])
    assert [each.fate for each in findings] == [
        Fate.FOUND,
        Fate.CHARGED,
        Fate.NOT_CREATED,
        Fate.UNKNOWN,
        Fate.UNKNOWN,
    ]
    assert findings[0].task_id == "7"
    assert findings[3].candidates == ("9", "10")
    assert "without a state" in findings[4].reason
    assert 75 <= _now() < 76
    assert await books.reconciler.resume([]) == ()


@played
async def test_a_resume_ends_as_soon_as_all_are_found(books: Books) -> None:
    """Nobody waits a minute for what is there."""
    books.task("7", "ezlink-1", at=-100)
    (finding,) = await books.reconciler.resume([_lost(1)])
    assert finding.task_id == "7"
    assert _now() == 0


@played
async def test_a_resume_without_a_witness_sends_nothing_again(books: Books) -> None:
    """The journal knows of no charged submit, so the log proves nothing."""
    (finding,) = await books.reconciler.resume([_lost(1)])
    assert finding.fate is Fate.UNKNOWN


@played
async def test_closing_the_client_ends_the_search(books: Books) -> None:
    """After it nobody looks, and nobody waits."""
    await books.background.close()
    (finding,) = await books.reconciler.resume([_lost(1)])
    assert (finding.fate, finding.reason) == (Fate.UNKNOWN, "the client was closed")


@played
async def test_a_search_that_stops_by_a_bug_is_waited_for_with_a_bound(
    books: Books,
) -> None:
    """Nothing hangs, whatever it is."""
    books.trouble = ZeroDivisionError()
    finding = await _lose(books)
    assert "took too long" in finding.reason
    assert _now() < 2000


@played
async def test_the_servers_clock_is_learned_once(books: Books) -> None:
    """By one question; then it runs on with the loop's own."""
    assert await books.reconciler.server_time() == EPOCH
    await asyncio.sleep(100)
    assert await books.reconciler.server_time() == EPOCH + 100
    assert books.asked("/api/") == 1


@played
async def test_a_clock_that_is_not_told_is_none(books: Books) -> None:
    """A server without a date, or one that cannot be asked."""
    books.dated = False
    assert await books.reconciler.server_time() is None
    books.trouble = GONE
    assert await books.reconciler.server_time() is None


@played
async def test_one_look_into_the_log(books: Books) -> None:
    """It shows a charge, or nothing is known."""
    books.charged.add("r1")
    assert await books.reconciler.was_charged("r1") is True
    assert await books.reconciler.was_charged("r2") is None
    books.log_trouble = GONE
    assert await books.reconciler.was_charged("r1") is None


@played
async def test_a_search_reads_so_many_pages_and_no_more(books: Books) -> None:
    """``find`` looks at the latest ten thousand tasks."""
    for number in range(100 * account.PAGES + 1):
        books.task(str(number), "mine" if number < 2 else "x")
    (record,) = await account.Account(books.transport.send_with_retries).find(
        state="mine"
    )
    assert record.task_id == "1"
    assert books.asked("/api/mj/self") == account.PAGES


async def test_without_a_token_nothing_is_asked() -> None:
    """Nor is anything noted."""
    transport = ScriptedTransport(offline)
    here = Reconciler(transport, BackgroundTasks())
    here.accepted(Accepted("7", 1, ""), "r")
    assert not here._memory.knows("7")
    with here.under_way("s", 0.0):
        (finding,) = await here.resume([_lost(1)])
    assert "no account token" in finding.reason
    assert await here.server_time() is None
    assert await here.was_charged("r") is None
    assert transport.seen == []
