"""How long the client searches for a lost submit, what it asks, what it concludes."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar

import attrs
import pytest

from ezlink_async import PollPolicy, RetryPolicy, Timeouts, errors
from ezlink_async._client.session import Session
from ezlink_async._client.submitting import evidence
from ezlink_async._client.submitting.evidence import Fate, Finding, Lost
from ezlink_async._client.submitting.known_submits import KnownSubmits
from ezlink_async._core.messages import HttpRequest, HttpResponse
from ezlink_async._core.settings import Settings
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
from ezlink_async.errors import EzlinkError, TransportError
from ezlink_async.services import account
from ezlink_async.services.base import Accepted
from ezlink_async.services.face_swap import FaceSwap
from tests.support.account_pages import EPOCH, PRICE, AccountPages
from tests.support.cancelling import cancel
from tests.support.client_harness import BOUND, EmulatedClient, emulated_client
from tests.support.loop import now, on_virtual_clock
from tests.support.pictures import jpeg

_T = TypeVar("_T")

POLL = PollPolicy(first=0.02, shortest=0.02, longest=0.1)

RETRY = RetryPolicy(first=0.01, longest=0.02, attempts=3, timeout=60)

TIMEOUTS = Timeouts(submit=20, reconcile=0.5, close=1)

ROOMY = EmulatorSettings(concurrency=64, queue=1000)

SOURCE = jpeg(20_000)


def client(
    settings: EmulatorSettings = ROOMY,
    *,
    poll: PollPolicy = POLL,
    timeouts: Timeouts = TIMEOUTS,
    retry: RetryPolicy = RETRY,
) -> AbstractAsyncContextManager[EmulatedClient]:
    """Enter a client with its account's token beside an emulator."""
    return emulated_client(
        settings,
        with_account=True,
        max_concurrency=32,
        poll=poll,
        retry=retry,
        timeouts=timeouts,
    )


@attrs.frozen
class LostAnswer:
    """The server handles the job with *trouble*, and its answer is lost."""

    trouble: str

    async def apply(self, exchange: Exchange, proceed: Proceed) -> Reply:
        """Handle the job, then hang up."""
        exchange.overrides.trouble |= {self.trouble}
        await proceed()
        exchange.drop()


@attrs.frozen
class LostRefusal:
    """The upstream refuses the job, and the answer is lost."""

    upstream: faults.Upstream

    async def apply(self, exchange: Exchange, proceed: Proceed) -> Reply:
        """Handle the job, then hang up."""
        exchange.overrides.upstream = self.upstream
        await proceed()
        exchange.drop()


CHARGED = faults.Drop(job=True)

QUEUED = LostAnswer("queued")  # code 22, which is never charged

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
class Counts:
    """What became of 200 swaps."""

    right: int = 0
    unknown: int = 0


async def _two_hundred(here: EmulatedClient) -> Counts:
    """Swap into 200 photos; each of them was made at most once."""
    here.server.control.script("submit", *_script())
    targets = [jpeg(10_000 + number) for number in range(200)]
    counts = Counts()
    async for swap in here.ez.swap_faces(SOURCE, targets):
        assert isinstance(swap.target, bytes)
        if swap.handle is None:
            assert isinstance(swap.error, errors.SubmitUnknownError), swap.error
            counts.unknown += 1
            continue
        hashes = read_hashes(await swap.handle.read())
        counts.right += hashes == (_hash(SOURCE), _hash(swap.target))
    made = [task.target_sha256 for task in here.server.control.tasks]
    assert len(set(made)) == len(made)
    assert set(made) <= set(map(_hash, targets))
    return counts


async def test_forty_lost_answers_of_two_hundred_are_all_resolved() -> None:
    """15 are charged, 15 queued, 10 never made; each swap is made exactly once."""
    # What is sent again may meet the next fault of the script.
    async with client(retry=attrs.evolve(RETRY, attempts=9)) as here:
        assert await _two_hundred(here) == Counts(right=200)
        assert here.tasks == 200
        assert here.charges == 200 - 15  # what was queued is never charged
        assert here.submits == 210


async def test_only_existing_tasks_are_found_when_the_log_is_off() -> None:
    """30 submits get their handle, 10 stay unknown, none is sent twice."""
    async with client() as here:
        here.server.control.account_side(log=False)
        assert await _two_hundred(here) == Counts(right=190, unknown=10)
        assert here.tasks == 190
        assert here.submits == 200


async def test_all_lost_submits_stay_unknown_when_the_account_is_down() -> None:
    """10 were never made, 30 were; none is sent twice."""
    async with client(retry=attrs.evolve(RETRY, timeout=2)) as here:
        here.server.control.standing("account", faults.Drop())
        assert await _two_hundred(here) == Counts(right=160, unknown=40)
        assert here.tasks == 190
        assert here.submits == 200


@pytest.mark.parametrize("fault", [CHARGED, QUEUED], ids=["charged", "queued"])
async def test_lost_answer_becomes_a_handle(fault: faults.Fault) -> None:
    """The task is found by its state, followed, and charged at most once."""
    async with client() as here:
        here.server.control.script("submit", fault)
        handle = await here.ez.swap_face(SOURCE, jpeg(10_000))
        record = await handle
        assert record.task_id == here.server.control.tasks[0].task_id
        assert record.state.startswith("ezlink-")
        assert here.tasks == 1
        assert here.ez.pending() == ()


async def test_lost_submit_is_found_by_the_callers_state() -> None:
    async with client() as here:
        here.server.control.script("submit", CHARGED)
        record = await (await here.ez.swap_face(SOURCE, jpeg(10_000), state="mine"))
        assert record.state == "mine"


async def test_job_that_was_never_made_is_sent_again_when_the_log_has_a_witness() -> (
    None
):
    """The log shows a charged submit of this client, so it would show this one."""
    async with client() as here:
        await here.ez.swap_face(SOURCE, jpeg(9_000))
        here.server.control.script("submit", NOTHING)
        await here.ez.swap_face(SOURCE, jpeg(10_000))
        assert here.charges == here.tasks == 2
        assert here.submits == 3


@pytest.mark.parametrize("upstream", [faults.banned_word(), faults.Upstream(body="")])
async def test_refused_job_is_sent_again_before_the_search_is_over(
    upstream: faults.Upstream,
) -> None:
    """The log shows the refusal, also of a client's very first submit."""
    async with client(timeouts=attrs.evolve(TIMEOUTS, reconcile=9000)) as here:
        here.server.control.script("submit", LostRefusal(upstream))
        await (await here.ez.swap_face(SOURCE, jpeg(10_000)))
        assert (here.submits, here.charges, here.tasks) == (2, 1, 1)


@pytest.mark.parametrize("reconcile", [TIMEOUTS.reconcile, 9000.0])
@pytest.mark.parametrize(
    "upstream",
    [
        faults.Upstream(broken="reset"),
        faults.Upstream(broken="half"),
        faults.Upstream(body="<html>"),
    ],
)
async def test_job_that_the_upstream_may_run_is_not_sent_again(
    upstream: faults.Upstream, reconcile: float
) -> None:
    """Its error is that of an answer that arrives, however the refusal is proven."""
    async with client(timeouts=attrs.evolve(TIMEOUTS, reconcile=reconcile)) as here:
        await here.ez.swap_face(SOURCE, jpeg(10_000))  # the log shows its charge
        here.server.control.script("submit", LostRefusal(upstream))
        with pytest.raises(errors.ServerError, match="its upstream") as caught:
            await here.ez.swap_face(SOURCE, jpeg(11_000))
        assert (here.submits, here.charges, here.tasks) == (2, 1, 1)
        assert not caught.value.retry_safe
        assert not caught.value.maybe_charged
        assert caught.value.request_id


async def test_job_is_not_sent_again_when_the_log_has_no_witness() -> None:
    """The log may be off, and the first submit of a client cannot show it."""
    async with client() as here:
        here.server.control.script("submit", NOTHING)
        with pytest.raises(errors.SubmitUnknownError, match="no submit of this client"):
            await here.ez.swap_face(SOURCE, jpeg(10_000))
        assert here.submits == 1


@pytest.mark.parametrize(
    ("side", "reason"),
    [
        ("log off", "shows no submit of this client"),
        ("down", "the account's side could not be asked: no answer from"),
        ("page", "the account's side could not be asked: HTTP 503"),
        ("refused", "the account token is refused"),
    ],
)
async def test_submit_stays_unknown_when_the_account_gives_no_answer(
    side: str, reason: str
) -> None:
    """It is not sent twice; the error gives the reason, and no secret."""
    async with client(retry=attrs.evolve(RETRY, timeout=2)) as here:
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
            assert reason in str(error)
            assert error.maybe_charged
            assert error.charged is None
            assert error.request_id in {each.request_id for each in control.requests}
            assert here.server.account_token not in f"{error}{error!r}{vars(error)}"
        assert here.submits == 3


async def test_two_lost_submits_with_one_state_stay_unknown() -> None:
    """Both errors name the tasks that were made; neither submit is sent again."""
    async with client() as here:
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
        assert here.charges == here.tasks == 3


async def test_job_without_a_row_is_looked_up_in_the_log_once() -> None:
    """The server accepted it and could not write its row: there is no task."""
    async with client(timeouts=attrs.evolve(TIMEOUTS, reconcile=900)) as here:
        here.server.control.script("submit", faults.Trouble("insert_failed"))
        with pytest.raises(errors.SubmitUnknownError, match="out of reach") as caught:
            await here.ez.swap_face(SOURCE, jpeg(10_000))
        assert caught.value.charged
        here.server.control.account_side(log=False)
        here.server.control.script("submit", faults.Trouble("insert_failed"))
        with pytest.raises(errors.SubmitUnknownError) as caught:
            await here.ez.swap_face(SOURCE, jpeg(10_000))
        assert caught.value.charged is None
        assert sum(path.startswith("/api/log/self") for path in here.paths) == 2


async def test_charge_without_a_task_is_the_reason() -> None:
    async with client() as here:
        here.server.control.script("submit", LostAnswer("insert_failed"))
        with pytest.raises(errors.SubmitUnknownError, match="no task") as caught:
            await here.ez.swap_face(SOURCE, jpeg(10_000))
        assert caught.value.charged
        assert caught.value.target == jpeg(10_000)


@pytest.mark.parametrize("job", [True, False])
async def test_unreadable_answer_is_looked_up_too(*, job: bool) -> None:
    """An existing task is found; else the error stays, with a reason."""
    async with client() as here:
        garbled = faults.Answer(200, '{"code":1,"resu', job=job)
        here.server.control.script("submit", garbled)
        if job:
            handle = await here.ez.swap_face(SOURCE, jpeg(10_000))
            assert handle.task_id == here.server.control.tasks[0].task_id
            return
        with pytest.raises(errors.SubmitUnknownError, match="no submit of") as caught:
            await here.ez.swap_face(SOURCE, jpeg(10_000))
        assert caught.value.target == jpeg(10_000)
        assert b'{"code":1,"resu' in str(caught.value).encode()


async def test_acceptance_without_an_id_that_is_not_found_stays_paid() -> None:
    """The error of the unreadable answer is kept, with the reason behind it."""
    async with client() as here:
        nameless = faults.Answer(200, '{"code":1,"result":""}', job=False)
        here.server.control.script("submit", nameless)
        with pytest.raises(errors.ProtocolError, match="no submit of this") as caught:
            await here.ez.swap_face(SOURCE, jpeg(10_000))
        assert caught.value.maybe_charged
        assert caught.value.head == b'{"code":1,"result":""}'


async def test_search_waits_for_a_task_that_has_no_state_yet() -> None:
    async with client() as here:
        here.server.control.account_side(state_delay=1.5)
        here.server.control.script("submit", CHARGED)
        await here.ez.swap_face(SOURCE, jpeg(10_000))
        assert here.charges == 1


async def test_task_that_never_gets_a_state_leaves_the_submit_unknown() -> None:
    """The search ends at the deadline; the error names the task that may be it."""
    async with client(poll=attrs.evolve(POLL, deadline=1.5)) as here:
        here.server.control.account_side(state_delay=float("inf"))
        here.server.control.script("submit", CHARGED)
        with pytest.raises(errors.SubmitUnknownError, match="may be task") as caught:
            await here.ez.swap_face(SOURCE, jpeg(10_000))
        assert here.server.control.tasks[0].task_id in str(caught.value)
        assert caught.value.charged


async def test_late_log_proves_nothing_until_it_shows_a_witness() -> None:
    """In the server's batch mode entries come some seconds after the charge."""
    async with client() as here:
        here.server.control.account_side(log_delay=3600)
        await here.ez.swap_face(SOURCE, jpeg(9_000))
        here.server.control.script("submit", NOTHING)
        with pytest.raises(errors.SubmitUnknownError, match="no submit of this client"):
            await here.ez.swap_face(SOURCE, jpeg(10_000))
        here.server.control.account_side()
        here.server.control.script("submit", NOTHING)
        await here.ez.swap_face(SOURCE, jpeg(11_000))


async def test_closing_ends_a_search_with_an_unknown_submit(
    caplog: pytest.LogCaptureFixture,
) -> None:
    late = attrs.evolve(TIMEOUTS, reconcile=900, close=0.2)
    async with client(timeouts=late) as here:
        here.server.control.account_side(state_delay=float("inf"))
        here.server.control.script("submit", CHARGED)
        swap = asyncio.create_task(here.ez.swap_face(SOURCE, jpeg(10_000)))
        while not _searches(here):
            await asyncio.sleep(0.01)
        await here.ez.aclose()
        with pytest.raises(errors.SubmitUnknownError):
            await swap
        assert caplog.messages == []


async def test_task_found_while_closing_is_in_the_error() -> None:
    """A closing client polls once more without delay."""
    late = attrs.evolve(TIMEOUTS, reconcile=900, close=30)
    slow = attrs.evolve(POLL, first=60, longest=60)
    async with client(timeouts=late, poll=slow) as here:
        here.server.control.account_side(state_delay=float("inf"))
        here.server.control.script("submit", CHARGED)
        swap = asyncio.create_task(here.ez.swap_face(SOURCE, jpeg(10_000)))
        while not _searches(here):
            await asyncio.sleep(0.01)
        here.server.control.account_side()
        await here.ez.aclose()
        with pytest.raises(errors.ClientClosedError) as caught:
            await swap
        assert caught.value.task_id == here.server.control.tasks[0].task_id


async def test_cancelled_caller_does_not_end_the_search(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The task that is found afterwards is in ``pending`` and in the log."""
    settings = EmulatorSettings(engine_seconds=60)
    async with client(settings) as here:
        here.server.control.account_side(state_delay=float("inf"))
        here.server.control.script("submit", CHARGED)
        swap = asyncio.create_task(here.ez.swap_face(SOURCE, jpeg(10_000)))
        while not _searches(here):
            await asyncio.sleep(0.01)
        await cancel(swap)
        here.server.control.account_side()
        while not here.ez.pending():
            await asyncio.sleep(0.01)
        with caplog.at_level(logging.WARNING):
            while not caplog.messages:
                await asyncio.sleep(0.01)
        assert "accepted after its caller was cancelled" in caplog.messages[0]


def _searches(here: EmulatedClient) -> bool:
    """Return whether the client has asked for the account's list."""
    return any(path.startswith("/api/mj/self") for path in here.paths)


@attrs.define
class JournalEntry:
    """What a batch would need of one submit after a crash."""

    since: float
    lost: list[Lost] = attrs.field(factory=list)
    task_id: str = ""

    async def before_submit(self, request_id: str, state: str | None) -> None:
        """Record an attempt, before its first byte."""
        self.lost = [Lost(state=state, request_ids=(request_id,), since=self.since)]

    def accepted(self, task_id: str) -> None:
        """Record an id."""
        self.task_id = task_id

    def refused(self, error: EzlinkError) -> None:
        """Record nothing."""

    def unknown(self, error: EzlinkError) -> None:
        """Record nothing."""


@asynccontextmanager
async def entered_session(
    server: Emulator, timeouts: Timeouts
) -> AsyncIterator[Session]:
    """Open a session beside *server*, as a process of its own would."""
    settings = Settings(
        api_key=server.api_key,
        base_url=server.base_url,
        account_token=server.account_token,
        poll=POLL,
        retry=RETRY,
        timeouts=timeouts,
    )
    session = Session(settings, None)
    await session.open()
    try:
        yield session
    finally:
        await session.close()


async def test_next_process_resolves_submits_that_a_crash_interrupted() -> None:
    """The journal has their states and request ids; one search resolves all."""
    script = (FINE, faults.Stall(job=True), faults.Stall(), faults.Stall(job=True))
    async with asyncio.timeout(BOUND), serving(ROOMY) as server:
        server.control.script("submit", *script)
        brief = attrs.evolve(TIMEOUTS, close=0.1)
        async with entered_session(server, brief) as session:
            since = await session.reconciler.server_time()
            assert since is not None
            entries = [JournalEntry(since) for _ in script]
            swaps = []
            for number, entry in enumerate(entries):
                request = FaceSwap(SOURCE, jpeg(10_000 + number))
                swap = session.submit(request, observer=entry)
                swaps.append(asyncio.create_task(swap))
                while len(server.control.requests) <= number + 1:
                    await asyncio.sleep(0.01)
            await swaps[0]
            while len(server.control.uploads) < 3:
                await asyncio.sleep(0.01)
        await asyncio.gather(*swaps, return_exceptions=True)
        first, *lost = entries
        async with entered_session(server, TIMEOUTS) as session:
            assert session.reconciler.can_search
            findings = await session.reconciler.resume(
                [entry.lost[0] for entry in lost],
                known=[first.task_id],
                witnesses=first.lost[0].request_ids,
            )
        ids = {task.request_id: task.task_id for task in server.control.tasks}
        assert [finding.task_id for finding in findings] == [
            ids.get(entry.lost[0].request_ids[0]) for entry in lost
        ]
        fates = [finding.fate for finding in findings]
        assert fates == [Fate.FOUND, Fate.NOT_CREATED, Fate.FOUND]


async def test_account_is_never_asked_without_a_token() -> None:
    """No state is made up, and a lost answer is unknown at once."""
    async with emulated_client() as here:
        here.server.control.script("submit", CHARGED)
        with pytest.raises(errors.SubmitUnknownError) as caught:
            await here.ez.swap_face(SOURCE, jpeg(10_000))
        assert caught.value.charged is None
        assert here.server.control.tasks[0].state == ""
        assert not [path for path in here.paths if "/api/" in path]


async def test_token_goes_to_the_accounts_pages_only() -> None:
    """The key goes to all other pages; no request carries both."""
    async with client() as here:
        here.server.control.script("submit", CHARGED)
        await (await here.ez.swap_face(SOURCE, jpeg(10_000)))
        await here.ez.account.balance()
        for seen in here.server.control.requests:
            sent = dict(seen.headers).get("Authorization", "")
            of_account = seen.path.startswith("/api/")
            assert (here.server.account_token in sent) is of_account
            assert (here.server.api_key in sent) is not of_account


STATE = evidence.new_state()


@pytest.fixture
def pages() -> AccountPages:
    """Script an account's pages; time runs on a virtual clock."""
    return AccountPages()


async def lose(
    pages: AccountPages, state: str | None = STATE, *ids: str, ago: float = 0.0
) -> Finding:
    """Search for a submit that began just now, and was sent *ago* seconds before."""
    sent = now() - ago
    begun = min(sent, now())
    lost = Lost(state=state, request_ids=ids or ("r1",), since=None)
    with pages.reconciler.in_progress(state, begun):
        return await pages.reconciler.reconcile(lost, begun=begun, sent=sent)


def add_witness(pages: AccountPages) -> None:
    """Have a submit of this client charged, and its id known."""
    pages.reconciler.accepted(Accepted("id-w", 1, ""), "w")
    pages.charged.add("w")


@on_virtual_clock
async def test_task_is_found_as_soon_as_its_state_shows(pages: AccountPages) -> None:
    """The list is polled every few seconds; the log is asked ever more rarely."""
    pages.add_task("7")
    lost = asyncio.create_task(lose(pages))
    await asyncio.sleep(20)
    pages.tasks[0]["state"] = STATE
    finding = await lost
    assert (finding.fate, finding.task_id) == (Fate.FOUND, "7")
    assert 20 <= now() <= 31
    assert pages.requests("/api/mj/self") in range(4, 10)
    assert pages.requests("/api/log/self") <= 3


@pytest.mark.parametrize(("ago", "end"), [(0.0, 75), (90.0, 90)])
@on_virtual_clock
async def test_submit_is_not_created_75_seconds_after_its_last_byte(
    ago: float, end: float, pages: AccountPages
) -> None:
    """After a wait of 90 seconds for the answer one poll is enough."""
    await asyncio.sleep(ago)
    add_witness(pages)
    finding = await lose(pages, ago=ago)
    assert finding.fate is Fate.NOT_CREATED
    assert end <= now() < end + 1
    # The witness and the lost one, and that a few times before.
    assert pages.requests("/api/log/self") in ([2] if ago else range(4, 8))
    assert pages.requests("/api/mj/self") == 1 or not ago


@pytest.mark.parametrize(
    ("base_url", "fate"),
    [
        ("https://api.example", Fate.UNKNOWN),
        ("http://127.0.0.1:9", Fate.NOT_CREATED),
    ],
)
@on_virtual_clock
async def test_short_search_proves_nothing_while_the_server_may_work(
    base_url: str, fate: Fate
) -> None:
    """``Timeouts.reconcile`` only ends it, except with a server on this machine."""
    pages = AccountPages(
        attrs.evolve(
            AccountPages().transport.settings,
            base_url=base_url,
            timeouts=Timeouts(reconcile=1),
        )
    )
    add_witness(pages)
    finding = await lose(pages)
    assert finding.fate is fate
    assert now() == pytest.approx(1, abs=0.01)
    assert "at work" in finding.reason or fate is Fate.NOT_CREATED


@on_virtual_clock
async def test_task_without_a_state_keeps_the_search_open_until_the_deadline(
    pages: AccountPages,
) -> None:
    """After fifteen minutes the submit stays unknown; the log is asked rarely."""
    add_witness(pages)
    pages.add_task("8")
    finding = await lose(pages)
    assert finding.fate is Fate.UNKNOWN
    assert finding.reason.endswith("; it may be task 8")
    assert 900 <= now() <= 911
    assert pages.requests("/api/log/self") <= 10


@on_virtual_clock
async def test_tasks_of_known_jobs_keep_no_search_open(pages: AccountPages) -> None:
    """Known are accepted jobs, and tasks that are followed by their id."""
    add_witness(pages)
    pages.add_task("id-w")
    pages.add_task("followed")
    pages.followed.add("followed")
    assert (await lose(pages)).fate is Fate.NOT_CREATED


@on_virtual_clock
async def test_task_that_gets_another_state_keeps_no_search_open(
    pages: AccountPages,
) -> None:
    add_witness(pages)
    pages.add_task("8")
    lost = asyncio.create_task(lose(pages))
    await asyncio.sleep(100)
    pages.tasks[0]["state"] = "theirs"
    assert (await lost).fate is Fate.NOT_CREATED
    assert now() <= 111


BANNED = "可能包含敏感词"

LOST_ROW = "insert_midjourney_task_failed "


@on_virtual_clock
async def test_refusal_in_the_log_ends_the_search_without_a_witness(
    pages: AccountPages,
) -> None:
    """It is believed when the log still shows it ten seconds later."""
    pages.free["r1"] = BANNED
    finding = await lose(pages)
    assert (finding.fate, finding.charged) == (Fate.NOT_CREATED, False)
    assert "refused" in finding.reason
    assert 10 <= now() <= 21


@on_virtual_clock
async def test_refusal_that_comes_late_ends_the_search_too(pages: AccountPages) -> None:
    """The server may take a minute to refuse."""
    lost = asyncio.create_task(lose(pages))
    await asyncio.sleep(15)
    pages.free["r1"] = "do_request_failed "
    finding = await lost
    assert (finding.fate, finding.may_run) == (Fate.NOT_CREATED, True)
    assert now() <= 15 + 10 + 20 + 20


@pytest.mark.parametrize("late", [0.0, 5.0])
@on_virtual_clock
async def test_charge_beside_a_free_entry_counts(
    late: float, pages: AccountPages
) -> None:
    """An insert failure leaves both, and its charge may come some seconds late."""
    pages.free["r1"] = BANNED
    lost = asyncio.create_task(lose(pages))
    await asyncio.sleep(late)
    pages.charged.add("r1")
    finding = await lost
    assert (finding.fate, finding.charged) == (Fate.CHARGED, True)
    assert now() >= 75


@pytest.mark.parametrize("text", [LOST_ROW, "Insert midjourneyTask failed", PRICE, ""])
@on_virtual_clock
async def test_free_entry_of_an_accepted_job_proves_nothing(
    text: str, pages: AccountPages
) -> None:
    """Its row is lost, or its price is 0."""
    pages.free["r1"] = text
    finding = await lose(pages)
    assert (finding.fate, finding.charged) == (Fate.UNKNOWN, None)
    assert now() >= 75


@pytest.mark.parametrize(("ids", "fate"), [(1, Fate.UNKNOWN), (2, Fate.NOT_CREATED)])
@on_virtual_clock
async def test_each_attempt_must_have_been_refused(
    ids: int, fate: Fate, pages: AccountPages
) -> None:
    pages.free.update({f"r{number}": BANNED for number in range(ids)})
    finding = await lose(pages, STATE, "r0", "r1")
    assert finding.fate is fate
    assert (now() >= 75) is (fate is Fate.UNKNOWN)


@on_virtual_clock
async def test_one_attempt_that_the_upstream_may_run_counts_for_all(
    pages: AccountPages,
) -> None:
    pages.free.update({"r0": "do_request_failed ", "r1": BANNED})
    finding = await lose(pages, STATE, "r0", "r1")
    assert (finding.fate, finding.may_run) == (Fate.NOT_CREATED, True)
    assert now() < 75


@on_virtual_clock
async def test_refusal_that_vanishes_from_the_log_proves_nothing(
    pages: AccountPages,
) -> None:
    pages.free["r1"] = BANNED
    lost = asyncio.create_task(lose(pages))
    await asyncio.sleep(5)
    del pages.free["r1"]
    assert (await lost).fate is Fate.UNKNOWN


@on_virtual_clock
async def test_refusal_first_seen_when_a_conclusion_is_due_proves_nothing(
    pages: AccountPages,
) -> None:
    lost = asyncio.create_task(lose(pages))
    await asyncio.sleep(74.9)
    pages.free["r1"] = BANNED
    assert (await lost).fate is Fate.UNKNOWN


@on_virtual_clock
async def test_task_that_may_be_that_of_a_refused_submit_keeps_the_search_open(
    pages: AccountPages,
) -> None:
    """A proxy may have sent the submit twice, though none should."""
    pages.free["r1"] = BANNED
    pages.add_task("7")
    lost = asyncio.create_task(lose(pages))
    await asyncio.sleep(40)
    assert not lost.done()
    pages.tasks[0]["state"] = STATE
    assert (await lost).task_id == "7"


@pytest.mark.parametrize("doubt", ["shared", "gap"])
@on_virtual_clock
async def test_refusal_does_not_settle_a_submit_whose_task_could_not_be_seen(
    doubt: str, pages: AccountPages
) -> None:
    pages.free["r1"] = BANNED
    pages.dated = doubt != "gap"
    for number in range(300):
        pages.add_task(str(number), "x", at=0)
    pages.rows = 50 if doubt == "gap" else None
    with pages.reconciler.in_progress(STATE if doubt == "shared" else "other", now()):
        finding = await lose(pages)
    assert finding.fate is Fate.UNKNOWN
    assert finding.charged is False
    assert now() >= 75


@on_virtual_clock
async def test_log_is_asked_about_32_of_many_lost_submits_in_a_poll(
    pages: AccountPages,
) -> None:
    ids = [f"r{number}" for number in range(100)]
    pages.free.update(dict.fromkeys(ids, BANNED))
    lost = [
        asyncio.create_task(lose(pages, evidence.new_state(), each)) for each in ids
    ]
    await asyncio.sleep(0.9)
    assert pages.requests("/api/mj/self") == 1
    assert pages.requests("/api/log/self") == 32
    findings = await asyncio.gather(*lost)
    assert {each.fate for each in findings} == {Fate.NOT_CREATED}
    assert pages.requests("/api/log/self") < 300
    assert now() < 75


@on_virtual_clock
async def test_slow_log_delays_the_search_by_one_timeout_of_a_fetch(
    pages: AccountPages,
) -> None:
    pages.log_delay = 300
    states = [evidence.new_state() for _ in range(20)]
    lost = [asyncio.create_task(lose(pages, state, f"r-{state}")) for state in states]
    await asyncio.sleep(5)
    for number, state in enumerate(states):
        pages.add_task(str(number), state)
    findings = await asyncio.gather(*lost)
    assert {each.fate for each in findings} == {Fate.FOUND}
    assert now() <= 30 + 11


@on_virtual_clock
async def test_early_look_into_a_log_that_fails_ends_no_search(
    pages: AccountPages,
) -> None:
    pages.log_trouble = GONE
    pages.free["r1"] = BANNED
    lost = asyncio.create_task(lose(pages))
    await asyncio.sleep(15)  # so that two more looks surely fit in
    pages.log_trouble = None
    assert (await lost).fate is Fate.NOT_CREATED


REFUSED = HttpResponse(
    401, {}, b'{"message":"Not authorized to do this","success":false}'
)

GONE = TransportError("no connection", stage="connect")


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (GONE, "no connection"),
        (HttpResponse(503, {}, b"<html>"), "HTTP 503"),
        (HttpResponse(200, {}, b"{}"), "no page of the account"),
        (REFUSED, "the account token is refused"),
    ],
)
@pytest.mark.parametrize("page", ["list", "log"])
@on_virtual_clock
async def test_account_that_cannot_be_asked_leaves_the_submit_unknown(
    trouble: HttpResponse | TransportError, reason: str, page: str, pages: AccountPages
) -> None:
    """It is asked for ``RetryPolicy.timeout``; three times if the token is refused."""
    add_witness(pages)
    if page == "log":
        pages.log_trouble = trouble
    else:
        pages.trouble = trouble
    finding = await lose(pages)
    assert (finding.fate, finding.charged) == (Fate.UNKNOWN, None)
    assert reason in finding.reason
    if trouble is not REFUSED:
        # The log is asked once a conclusion is allowed.
        assert 900 <= now() - 75 * (page == "log") <= 911
    else:
        assert now() <= 12 if page == "list" else 75 <= now() <= 110


@on_virtual_clock
async def test_submit_is_settled_after_an_outage_of_the_account(
    pages: AccountPages,
) -> None:
    add_witness(pages)
    pages.trouble = GONE
    lost = asyncio.create_task(lose(pages))
    other = asyncio.create_task(lose(pages, evidence.new_state(), "r2"))
    await asyncio.sleep(800)
    pages.trouble = None
    for finding in await asyncio.gather(lost, other):
        assert finding.fate is Fate.NOT_CREATED
    assert now() <= 811
    assert pages.requests("/api/mj/self") < 200


@pytest.mark.parametrize(("timeout", "end"), [(30.0, 75), (200.0, 200)])
@on_virtual_clock
async def test_account_that_is_down_is_asked_for_the_timeout_of_retries(
    timeout: float, end: float
) -> None:
    """But not for less than ``Timeouts.reconcile`` after the last byte."""
    settings = AccountPages().transport.settings
    pages = AccountPages(attrs.evolve(settings, retry=RetryPolicy(timeout=timeout)))
    pages.trouble = GONE
    assert (await lose(pages)).fate is Fate.UNKNOWN
    assert end <= now() <= end + 11


@on_virtual_clock
async def test_end_of_patience_holds_for_submits_that_have_begun_by_then(
    pages: AccountPages,
) -> None:
    """Their answer may be lost later; one that begins later has the whole time."""
    pages.trouble = GONE
    searched = asyncio.create_task(lose(pages))
    await asyncio.sleep(100)
    begun = now()
    pages.reconciler.end_patience()
    await asyncio.sleep(60)
    assert searched.done()
    lost = Lost(state=evidence.new_state(), request_ids=("r2",), since=None)
    await pages.reconciler.reconcile(lost, begun=begun, sent=now())
    assert 75 <= now() - begun - 60 <= 86
    again = now()
    await lose(pages, evidence.new_state(), "r3")
    assert now() - again >= 900


@pytest.mark.parametrize(("trouble", "seconds"), [(GONE, 600.0), (REFUSED, 9.0)])
@on_virtual_clock
async def test_failures_of_the_account_do_not_add_up(
    trouble: HttpResponse | TransportError, seconds: float, pages: AccountPages
) -> None:
    """An answer between two outages gives the second one the whole time again."""
    pages.add_task("7")
    lost = asyncio.create_task(lose(pages))
    await asyncio.sleep(40)
    for _ in range(2 if trouble is GONE else 4):
        pages.trouble = None
        await asyncio.sleep(11)
        pages.trouble = trouble
        await asyncio.sleep(seconds)
    pages.tasks[0]["state"] = STATE
    pages.trouble = None
    assert (await lost).fate is Fate.FOUND


@on_virtual_clock
async def test_witness_alone_does_not_prove_that_a_job_was_not_created(
    pages: AccountPages,
) -> None:
    add_witness(pages)
    pages.unreadable = "r1"
    finding = await lose(pages)
    assert "could not be asked: no answer about this one" in finding.reason
    assert 975 <= now() <= 986


@on_virtual_clock
async def test_unreadable_log_of_one_submit_delays_no_other(
    pages: AccountPages,
) -> None:
    add_witness(pages)
    pages.unreadable = "r1"
    lost = asyncio.create_task(lose(pages))
    other = await lose(pages, evidence.new_state(), "r2")
    assert other.fate is Fate.NOT_CREATED
    assert 75 <= now() <= 76
    assert (await lost).fate is Fate.UNKNOWN


@on_virtual_clock
async def test_passing_trouble_does_no_harm(pages: AccountPages) -> None:
    """Only refusals of the token in a row count, and other failures by their time."""
    add_witness(pages)
    pages.trouble = GONE
    lost = asyncio.create_task(lose(pages))
    await asyncio.sleep(60)
    pages.trouble = REFUSED
    await asyncio.sleep(9)
    pages.trouble = None
    assert (await lost).fate is Fate.NOT_CREATED
    assert (await lose(pages, evidence.new_state())).fate is Fate.NOT_CREATED


@on_virtual_clock
async def test_silent_account_ends_the_search(pages: AccountPages) -> None:
    """Each request is bounded, and so is their number."""
    pages.trouble, pages.delay = TransportError("no answer", stage="silence"), 30
    finding = await lose(pages)
    assert finding.fate is Fate.UNKNOWN
    assert "could not be asked" in finding.reason
    assert 900 <= now() <= 900 + 2 * 41


@on_virtual_clock
async def test_slow_list_ends_the_search(pages: AccountPages) -> None:
    """Many pages that all come slowly are not read to the end."""
    pages.tasks = [{"mj_id": str(each), "state": "x"} for each in range(1000)]
    pages.delay = 25
    assert "takes too long" in (await lose(pages)).reason


@on_virtual_clock
async def test_lost_submits_share_the_polls(pages: AccountPages) -> None:
    """For 200 submits the list is read as often as for one."""
    states = [evidence.new_state() for _ in range(200)]
    lost = [asyncio.create_task(lose(pages, state, f"r-{state}")) for state in states]
    await asyncio.sleep(5)
    polls = pages.requests("/api/mj/self")
    assert polls in range(1, 6)
    for number, state in enumerate(states):
        pages.add_task(str(number), state)
    findings = await asyncio.gather(*lost)
    assert [each.task_id for each in findings] == [str(each) for each in range(200)]
    assert pages.requests("/api/mj/self") <= polls + 4


@on_virtual_clock
async def test_submit_that_was_found_is_a_witness(pages: AccountPages) -> None:
    """Its charge in the log shows that the log can be trusted."""
    pages.add_task("7", STATE)
    pages.charged.add("r1")
    assert (await lose(pages)).fate is Fate.FOUND
    other = await lose(pages, evidence.new_state(), "r2")
    assert other.fate is Fate.NOT_CREATED


@on_virtual_clock
async def test_queued_acceptance_is_no_witness(pages: AccountPages) -> None:
    """A job accepted with code 22 is not in the log."""
    pages.reconciler.accepted(Accepted("1", 22, ""), "w")
    pages.charged.add("w")
    finding = await lose(pages)
    assert (finding.fate, finding.charged) == (Fate.UNKNOWN, None)


@on_virtual_clock
async def test_search_waits_for_another_submit_with_the_same_state(
    pages: AccountPages,
) -> None:
    """The task may belong to that one; once it is accepted, its task is known."""
    with pages.reconciler.in_progress("same", now()):
        lost = asyncio.create_task(lose(pages, "same"))
        await asyncio.sleep(1)
        pages.add_task("7", "same")
        await asyncio.sleep(30)
        assert not lost.done()
        pages.reconciler.accepted(Accepted("7", 1, ""), "r7")
    pages.add_task("8", "same")
    assert (await lost).task_id == "8"


@on_virtual_clock
async def test_state_of_another_submit_that_never_ends_stays_unknown(
    pages: AccountPages,
) -> None:
    """The finding names the task that may be the one."""
    with pages.reconciler.in_progress("same", now()):
        pages.add_task("7", "same")
        finding = await lose(pages, "same")
    assert finding.fate is Fate.UNKNOWN
    assert finding.reason.endswith("; it may be task 7")


@on_virtual_clock
async def test_lost_submits_with_one_state_stay_unknown(pages: AccountPages) -> None:
    """So does a later one, and it does not matter that only one task exists."""
    first = asyncio.create_task(lose(pages, "same", "r1"))
    await asyncio.sleep(1)
    second = asyncio.create_task(lose(pages, "same", "r2"))
    await asyncio.sleep(1)
    pages.add_task("7", "same")
    for finding in await asyncio.gather(first, second):
        assert finding.fate is Fate.UNKNOWN
        assert finding.reason.endswith("; it may be task 7")
    third = await lose(pages, "same", "r3")
    assert third.fate is Fate.UNKNOWN
    assert "share the state" in third.reason


@on_virtual_clock
async def test_list_is_read_back_to_before_the_submit(pages: AccountPages) -> None:
    """It is read page by page, and no further."""
    for number in range(1000):
        pages.add_task(f"old-{number}", "x", at=number - 5000)
    add_witness(pages)
    await asyncio.sleep(10)
    lost = asyncio.create_task(lose(pages))
    await asyncio.sleep(1)
    pages.add_task("mine")
    for number in range(250):
        pages.add_task(f"new-{number}", "x")
    before = pages.requests("/api/mj/self")
    await asyncio.sleep(80)
    assert not lost.done()  # the task below all the others has no state yet
    assert {path.split("&")[0] for path in pages.transport.paths()[before:]} >= {
        f"/api/mj/self?page={number}" for number in (1, 2, 3, 4)
    }
    assert "/api/mj/self?page=5&pagesize=100" not in pages.transport.paths()
    assert pages.requests("/api/mj/self") - before > 20
    pages.tasks[250]["state"] = STATE
    assert (await lost).task_id == "mine"


@pytest.mark.parametrize("gap", ["short pages", "too many", "no date"])
@on_virtual_clock
async def test_list_with_gaps_proves_nothing(gap: str, pages: AccountPages) -> None:
    add_witness(pages)
    count = 100 * account.PAGES + 1 if gap == "too many" else 300
    for number in range(count):
        pages.add_task(str(number), "x", at=0)
    pages.dated = gap != "no date"
    pages.rows = 50 if gap == "short pages" else None
    await asyncio.sleep(90)
    finding = await lose(pages, ago=90.0)
    assert (finding.fate, finding.charged) == (Fate.UNKNOWN, False)
    assert "far enough back" in finding.reason


def test_known_ids_are_dropped_once_no_open_submit_is_as_old() -> None:
    """After thousands of jobs the client remembers those of its open submits."""
    known = KnownSubmits(lambda _: False)
    ids = [str(number) for number in range(200)]
    for number in range(100):
        known.learn([ids[number]], 10.0 * number)
    assert sum(map(known.is_known, ids)) <= 5
    with known.in_progress("s", 1000.0):
        for number in range(100, 200):
            known.learn([ids[number]], 10.0 * number)
        assert all(map(known.is_known, ids[100:]))


def lost_earlier(
    number: int, state: str | None = None, since: float = EPOCH - 3600.0
) -> Lost:
    """Return a submit of an earlier process, with a state of its own."""
    own = f"ezlink-{number}" if state is None else state
    return Lost(state=own, request_ids=(f"r{number}",), since=since)


@on_virtual_clock
async def test_resume_resolves_all_submits_in_their_order(pages: AccountPages) -> None:
    pages.charged |= {"w", "r2"}
    pages.add_task("7", "ezlink-1", at=-100)
    pages.add_task("5", at=-50)
    pages.add_task("10", "mine", at=-60)
    pages.add_task("9", "mine", at=-50)
    lost = [
        lost_earlier(1),
        lost_earlier(2),
        lost_earlier(3),
        lost_earlier(4, "mine", EPOCH - 58.0),
        lost_earlier(5, ""),
    ]
    findings = await pages.reconciler.resume(lost, known=["5"], witnesses=["w"])
    assert [each.fate for each in findings] == [
        Fate.FOUND,
        Fate.CHARGED,
        Fate.NOT_CREATED,
        Fate.UNKNOWN,
        Fate.UNKNOWN,
    ]
    assert findings[0].task_id == "7"
    assert findings[3].reason.endswith("it may be task 9 or 10")
    assert "without a state" in findings[4].reason
    assert 75 <= now() < 76
    assert await pages.reconciler.resume([]) == ()


@on_virtual_clock
async def test_resume_ends_as_soon_as_all_are_found(pages: AccountPages) -> None:
    pages.add_task("7", "ezlink-1", at=-100)
    (finding,) = await pages.reconciler.resume([lost_earlier(1)])
    assert finding.task_id == "7"
    assert now() == 0


@on_virtual_clock
async def test_resume_without_a_witness_proves_nothing(pages: AccountPages) -> None:
    """The journal has no charged submit, so the log may be off."""
    (finding,) = await pages.reconciler.resume([lost_earlier(1)])
    assert finding.fate is Fate.UNKNOWN


@on_virtual_clock
async def test_closed_client_searches_no_more(pages: AccountPages) -> None:
    await pages.background.close()
    (finding,) = await pages.reconciler.resume([lost_earlier(1)])
    assert (finding.fate, finding.reason) == (Fate.UNKNOWN, "the client was closed")


@on_virtual_clock
async def test_search_that_a_bug_ends_is_bounded(pages: AccountPages) -> None:
    pages.trouble = ZeroDivisionError()
    finding = await lose(pages)
    assert "took too long" in finding.reason
    assert now() <= 2000


@on_virtual_clock
async def test_server_clock_is_asked_for_once(pages: AccountPages) -> None:
    """After that it runs on with the loop's clock."""
    assert await pages.reconciler.server_time() == EPOCH
    await asyncio.sleep(100)
    assert await pages.reconciler.server_time() == EPOCH + 100
    assert pages.requests("/api/") == 1


@on_virtual_clock
async def test_server_clock_is_none_without_a_date(pages: AccountPages) -> None:
    """The server sends no date, or cannot be asked."""
    pages.dated = False
    assert await pages.reconciler.server_time() is None
    pages.trouble = GONE
    assert await pages.reconciler.server_time() is None


@on_virtual_clock
async def test_job_out_of_reach_is_looked_up_in_the_log_once(
    pages: AccountPages,
) -> None:
    """A charge is proof; the silence of the log is none, since it may be late."""

    async def charged(request_id: str) -> bool | None:
        lost = Lost(state=STATE, request_ids=(request_id,), since=None)
        finding = await pages.reconciler.reconcile(
            lost, begun=0.0, sent=0.0, out_of_reach=True
        )
        return finding.charged

    pages.charged.add("r1")
    assert await charged("r1") is True
    assert await charged("r2") is None
    pages.log_trouble = GONE
    assert await charged("r1") is None
    assert pages.requests("/api/mj/self") == 0


@on_virtual_clock
async def test_account_find_reads_the_latest_ten_thousand_tasks(
    pages: AccountPages,
) -> None:
    for number in range(100 * account.PAGES + 1):
        pages.add_task(str(number), "mine" if number < 2 else "x")

    async def ask(request: HttpRequest, reader: Callable[[HttpResponse], _T]) -> _T:
        return reader(await pages.transport.send_with_retries(request))

    (record,) = await account.Account(ask, ask).find(state="mine")
    assert record.task_id == "1"
    assert pages.requests("/api/mj/self") == account.PAGES
