"""Gates by lane: a busy answer is about one of them, a dead network about all."""

from __future__ import annotations

from ezlink_async import RetryPolicy
from ezlink_async._client.submitting.gate import Gate
from ezlink_async._client.submitting.lanes import Lanes
from tests.support.loop import on_virtual_clock


async def _lanes() -> tuple[Lanes, Gate, Gate]:
    lanes = Lanes(RetryPolicy())
    return lanes, lanes.gate("swap"), lanes.gate("video")


async def test_lane_keeps_its_gate() -> None:
    lanes, swap, video = await _lanes()
    assert lanes.gate("swap") is swap
    assert swap is not video


@on_virtual_clock
async def test_busy_answer_closes_its_own_lane_alone() -> None:
    _, swap, video = await _lanes()
    swap.close(await swap.admit(), full=True)
    assert (swap.is_open, video.is_open) == (False, True)


@on_virtual_clock
async def test_dead_network_closes_every_lane_and_keeps_their_limits() -> None:
    lanes, swap, video = await _lanes()
    lanes.close_all(swap, await swap.admit())
    assert (swap.is_open, video.is_open) == (False, False)
    assert video.limit == swap.limit == float("inf")
    probe = await video.admit()
    assert probe.is_probe
    video.answered(probe)
    assert video.is_open


@on_virtual_clock
async def test_outage_does_not_lengthen_the_pause_of_a_lane_that_waits_already() -> (
    None
):
    lanes, swap, video = await _lanes()
    video.close(await video.admit(), full=True)
    pause = video.pause
    lanes.close_all(swap, await swap.admit())
    assert video.pause == pause
