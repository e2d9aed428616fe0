"""A lost submit is found by one row more, and by nothing else."""

from __future__ import annotations

import asyncio

import attrs
import pytest

from ezlink_async import PollPolicy
from ezlink_async._client.submitting.row_search import RowSearch
from ezlink_async._core.messages import HttpRequest, HttpResponse
from tests.support.loop import now, on_virtual_clock
from tests.support.scripted_transport import ScriptedTransport, offline, reply

EVERY_SECOND = PollPolicy(first=1, shortest=1, longest=1)


@attrs.frozen
class _Rows:
    task_id: str = "7"

    def request(self) -> HttpRequest:
        return HttpRequest("GET", "/rows", repeatable=True)

    def count(self, response: HttpResponse) -> int:
        rows = response.document
        assert isinstance(rows, list)
        return len(rows)


def _search(*counts: int | None) -> RowSearch:
    """Search with a server that shows so many rows, or cannot be reached."""
    left = list(counts)

    def answer(request: HttpRequest) -> HttpResponse:
        count = left.pop(0) if len(left) > 1 else left[0]
        return offline(request) if count is None else reply([None] * count)

    return RowSearch(ScriptedTransport(answer), _Rows(), asyncio.sleep)


@pytest.mark.parametrize(
    ("counts", "found"),
    [
        ([1, 1, 2], True),
        ([0, None, 1], True),
        ([1, 3], True),
        ([1, 1], False),
        ([2, 1], False),
        ([None, 5], False),
        ([1, None], False),
    ],
)
@on_virtual_clock
async def test_row_more_than_before_is_the_acceptance(
    counts: list[int | None], *, found: bool
) -> None:
    search = _search(*counts)
    await search.begin()
    assert await search.is_accepted(EVERY_SECOND, 10) is found


@on_virtual_clock
async def test_search_ends_with_its_time() -> None:
    search = _search(1, 1)
    await search.begin()
    began = now()
    assert not await search.is_accepted(EVERY_SECOND, 10)
    assert 9 <= now() - began <= 10


@on_virtual_clock
async def test_list_that_hangs_delays_a_submit_by_5_seconds() -> None:
    async def answer(_: HttpRequest) -> HttpResponse:
        await asyncio.sleep(30)
        return reply([None])

    search = RowSearch(ScriptedTransport(answer), _Rows(), asyncio.sleep)
    began = now()
    await search.begin()
    assert now() - began == 5
    assert not await search.is_accepted(EVERY_SECOND, 10)


async def test_search_that_could_not_count_before_asks_no_more() -> None:
    search = _search(None, 5)
    await search.begin()
    assert not await search.is_accepted(EVERY_SECOND, 10)
