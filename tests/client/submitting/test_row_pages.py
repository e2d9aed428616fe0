"""How long rows are searched for a lost submit of Flux, and what is concluded."""

from __future__ import annotations

import asyncio

import pytest

from ezlink_async import errors
from ezlink_async._client.submitting.evidence import Fate, Finding, Lost
from ezlink_async._client.submitting.known_submits import KnownSubmits
from ezlink_async.errors import TransportError
from ezlink_async.services import account
from ezlink_async.services.base import Accepted
from ezlink_async.services.flux import FLUX
from tests.support.account_pages import EPOCH, AccountPages
from tests.support.loop import now, on_virtual_clock

PAGE = "/api/image/self"


@pytest.fixture
def pages() -> AccountPages:
    """Script an account's pages; time runs on a virtual clock."""
    return AccountPages()


async def _lose(pages: AccountPages, *ids: str) -> Finding:
    """Search for a submit that began and was sent just now."""
    lost = Lost(state=None, request_ids=ids or ("r1",), since=None, traces=FLUX.traces)
    with pages.reconciler.in_progress(None, now()):
        return await pages.reconciler.reconcile(lost, begun=now(), sent=now())


def _add_witness(pages: AccountPages) -> None:
    """Have a submit of this client accepted, which has a row."""
    pages.reconciler.accepted(Accepted("fl-w", 0, ""), "w", FLUX.traces)
    pages.add_picture("w", "success", "fl-w")


@on_virtual_clock
async def test_task_is_found_as_soon_as_its_row_shows_it(pages: AccountPages) -> None:
    """A row that is at work is waited for; tasks and log are not asked."""
    pages.add_picture("r1", "pending")
    lost = asyncio.create_task(_lose(pages))
    await asyncio.sleep(200)
    assert not lost.done()
    pages.pictures[0].update(status="submitted", task_id="fl-1")
    finding = await lost
    assert (finding.fate, finding.task_id) == (Fate.FOUND, "fl-1")
    assert now() <= 211
    assert pages.requests(PAGE) > 10
    assert not pages.requests("/api/mj/self")
    assert not pages.requests("/api/log/self")


@on_virtual_clock
async def test_row_that_stays_at_work_is_given_up_at_the_deadline(
    pages: AccountPages,
) -> None:
    pages.add_picture("r1", "pending")
    finding = await _lose(pages)
    assert finding.fate is Fate.UNKNOWN
    assert "at work" in finding.reason
    assert 900 <= now() <= 911


@pytest.mark.parametrize(
    ("status", "reason", "fate", "may_run"),
    [
        ("failed", "HTTP 400: bad prompt", Fate.NOT_CREATED, False),
        ("failed", "request failed: EOF", Fate.NOT_CREATED, True),
        ("failed", "解析响应失败: x", Fate.NOT_CREATED, True),
        ("submitted", "", Fate.NOT_CREATED, True),
        ("failed", "HTTP 403: Content violates usage guidelines", Fate.CHARGED, False),
    ],
)
@on_virtual_clock
async def test_row_without_a_task_is_believed_the_second_time(
    *, status: str, reason: str, fate: Fate, may_run: bool, pages: AccountPages
) -> None:
    """The relay may call its provider again: the search ends ten seconds later."""
    pages.add_picture("r1", status, reason=reason)
    finding = await _lose(pages)
    assert (finding.fate, finding.may_run) == (fate, may_run)
    assert finding.charged is (fate is Fate.CHARGED)
    assert 10 <= now() <= 21


@on_virtual_clock
async def test_second_attempt_of_the_relay_is_waited_for(pages: AccountPages) -> None:
    pages.add_picture("r1", "failed", reason="HTTP 500: busy")
    lost = asyncio.create_task(_lose(pages))
    await asyncio.sleep(5)
    pages.add_picture("r1", "pending")
    await asyncio.sleep(60)
    pages.pictures[0].update(status="submitted", task_id="fl-2")
    assert (await lost).task_id == "fl-2"


@on_virtual_clock
async def test_fee_that_only_the_log_shows_is_a_charge(pages: AccountPages) -> None:
    pages.add_picture("r1", "failed", reason="HTTP 403: no")
    pages.charged.add("r1")
    assert (await _lose(pages)).charged is True


@on_virtual_clock
async def test_submit_without_a_row_is_not_created_after_the_wait(
    pages: AccountPages,
) -> None:
    """Another submit of this client has a row, so this one would have one."""
    _add_witness(pages)
    finding = await _lose(pages)
    assert (finding.fate, finding.may_run) == (Fate.NOT_CREATED, False)
    assert 75 <= now() < 76


@on_virtual_clock
async def test_submit_without_a_row_stays_unknown_without_a_witness(
    pages: AccountPages,
) -> None:
    """A proxy may change the ids."""
    pages.add_picture("somebody else's", "success", "fl-9")
    finding = await _lose(pages)
    assert finding.fate is Fate.UNKNOWN
    assert "no submit of this client" in finding.reason


@on_virtual_clock
async def test_attempt_without_a_row_is_judged_after_the_wait_of_any(
    pages: AccountPages,
) -> None:
    """The other attempt was refused, so nothing is at work."""
    _add_witness(pages)
    pages.add_picture("r1", "failed", reason="HTTP 400: bad prompt")
    assert (await _lose(pages, "r1", "r2")).fate is Fate.NOT_CREATED
    assert 75 <= now() < 76


@on_virtual_clock
async def test_log_that_fails_about_one_submit_delays_no_other(
    pages: AccountPages,
) -> None:
    for each in ("r1", "r2"):
        pages.add_picture(each, "failed", reason="HTTP 400: bad prompt")
    pages.unreadable = "r1"
    one = asyncio.create_task(_lose(pages, "r1"))
    assert (await _lose(pages, "r2")).fate is Fate.NOT_CREATED
    assert now() <= 21
    finding = await one
    assert (finding.fate, finding.charged) == (Fate.UNKNOWN, None)


@on_virtual_clock
async def test_found_submit_is_a_witness_for_the_next(pages: AccountPages) -> None:
    pages.add_picture("r1", "submitted", "fl-1")
    assert (await _lose(pages)).fate is Fate.FOUND
    assert (await _lose(pages, "r2")).fate is Fate.NOT_CREATED


@on_virtual_clock
async def test_page_is_read_back_to_before_the_submit(pages: AccountPages) -> None:
    """Older rows are on later pages, which need not be read."""
    old = {
        "request_id": "",
        "status": "failed",
        "task_id": "",
        "created_at": EPOCH - 99,
    }
    pages.pictures = [dict(old) for _ in range(1_000)]
    _add_witness(pages)
    assert (await _lose(pages)).fate is Fate.NOT_CREATED
    assert not [path for path in pages.transport.paths() if "page=2" in path]


@on_virtual_clock
async def test_page_with_gaps_proves_no_absence(pages: AccountPages) -> None:
    """So many rows are newer than the submit that the oldest are not reached."""
    new = {"request_id": "", "status": "failed", "task_id": "", "created_at": EPOCH}
    pages.pictures = [dict(new) for _ in range(account.PAGE * account.PAGES + 1)]
    _add_witness(pages)
    finding = await _lose(pages)
    assert finding.fate is Fate.UNKNOWN
    assert "far enough" in finding.reason


@on_virtual_clock
async def test_trouble_of_one_page_delays_no_search_on_the_other(
    pages: AccountPages,
) -> None:
    """Swaps are searched for among the tasks, Flux among the pictures."""
    pages.add_picture("r1", "submitted", "fl-1")
    pages.tasks_trouble = TransportError("no tasks")
    swap = asyncio.create_task(
        pages.reconciler.reconcile(
            Lost(state="s", request_ids=("r0",), since=None), begun=now(), sent=now()
        )
    )
    assert (await _lose(pages)).fate is Fate.FOUND
    assert now() <= 11
    finding = await swap
    assert "could not be asked: no tasks" in finding.reason


@on_virtual_clock
async def test_submit_of_an_earlier_process_is_found_by_its_row(
    pages: AccountPages,
) -> None:
    """Submits of that process are witnesses for those without a row."""
    pages.add_picture("w", "success", "fl-w")
    pages.add_picture("r1", "submitted", "fl-1")
    lost = [
        Lost(state="", request_ids=(each,), since=EPOCH + 0.0, traces=FLUX.traces)
        for each in ("r1", "r2")
    ]
    found, absent = await pages.reconciler.resume(lost, with_rows=["w"])
    assert (found.fate, found.task_id) == (Fate.FOUND, "fl-1")
    assert absent.fate is Fate.NOT_CREATED


def test_accepted_flux_crowds_out_no_witness_of_the_log() -> None:
    """Flux is charged later, so the log may show nothing of it."""
    known = KnownSubmits(lambda _: False)
    known.add_charged(["w"])
    known.add_rows(map(str, range(100)))
    assert known.witnesses == ("w",)
    assert known.with_rows == tuple(map(str, range(92, 100)))


@on_virtual_clock
async def test_refused_token_ends_the_search_for_rows(pages: AccountPages) -> None:
    pages.trouble = errors.AuthenticationError("no")
    finding = await _lose(pages)
    assert finding.fate is Fate.UNKNOWN
    assert "could not be asked" in finding.reason
