"""How long a lost submit is looked for, and what is asked meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import attrs
import pytest

from ezlink_async._client.submitting import evidence
from ezlink_async._client.submitting.evidence import Fate, Finding, Lost
from ezlink_async._client.submitting.reconciler import Reconciler
from ezlink_async._core.messages import HttpResponse
from ezlink_async._core.policies import Timeouts
from ezlink_async._io.concurrency import Nursery
from ezlink_async.errors import TransportError
from ezlink_async.services import account
from ezlink_async.services.base import Submission
from tests.books import EPOCH, Books, on
from tests.scripted import ScriptedTransport, offline

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
    books.reconciler.accepted(Submission(f"id-{name}", 1, ""), name)
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
    books.reconciler.accepted(Submission("1", 22, ""), "w")
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
        books.reconciler.accepted(Submission("7", 1, ""), "r7")
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
        books.reconciler.accepted(Submission(str(number), 1, ""), "r")
        await asyncio.sleep(10)
    assert len(memory._ids) <= 5
    with books.reconciler.under_way("s", _now()):
        for number in range(100, 200):
            books.reconciler.accepted(Submission(str(number), 1, ""), "r")
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
    await books.nursery.close()
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
    (record,) = await account.Account(books.transport.repeat).find(state="mine")
    assert record.task_id == "1"
    assert books.asked("/api/mj/self") == account.PAGES


async def test_without_a_token_nothing_is_asked() -> None:
    """Nor is anything noted."""
    transport = ScriptedTransport(offline)
    here = Reconciler(transport, Nursery())
    here.accepted(Submission("7", 1, ""), "r")
    assert not here._memory.knows("7")
    with here.under_way("s", 0.0):
        (finding,) = await here.resume([_lost(1)])
    assert "no account token" in finding.reason
    assert await here.server_time() is None
    assert await here.was_charged("r") is None
    assert transport.seen == []
