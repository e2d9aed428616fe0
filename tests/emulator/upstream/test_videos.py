"""The lives of videos at their providers, worked out at each look."""

from __future__ import annotations

from collections import deque

import pytest

from ezlink_async.emulator import Clock, EmulatorSettings, scripts
from ezlink_async.emulator.scripts import Script, Step
from ezlink_async.emulator.upstream.videos import VideoJob, VideoProviders

_JOB = VideoJob(provider="kling", model="kling-v1", body={"prompt": "a cat"})


@pytest.fixture
def providers() -> VideoProviders:
    settings = EmulatorSettings(
        clock=Clock(ticking=False), start_seconds=1, submit_seconds=2, engine_seconds=3
    )
    return VideoProviders(settings, deque())


def _looks(providers: VideoProviders, life: Script, count: int = 4) -> list[object]:
    task_id = providers.submit(_JOB, life).task_id
    tasks = [
        providers.look(task_id) and _status(providers, task_id) for _ in range(count)
    ]
    return list(tasks)


def _status(providers: VideoProviders, task_id: str) -> object:
    return providers.tasks[task_id].life.view["status"]


def test_step_without_a_length_is_seen_once(providers: VideoProviders) -> None:
    """An end that another view follows is not waited for."""
    views = ({"status": "SUBMITTED"}, {"status": "FAILURE"}, {"status": "IN_PROGRESS"})

    assert _looks(providers, scripts.sequence(*views)) == [
        "SUBMITTED",
        *["IN_PROGRESS"] * 3,
    ]


def test_life_without_a_step_stays_as_it_began(providers: VideoProviders) -> None:
    assert _looks(providers, Script(swap=False)) == ["NOT_START"] * 4


def test_task_that_is_not_mentioned_is_unknown(providers: VideoProviders) -> None:
    assert _looks(providers, scripts.unmentioned()) == [None] * 4


def test_steps_with_a_length_follow_the_clock(providers: VideoProviders) -> None:
    """One look after all of them finds the end; none was skipped on the way."""
    steps = (Step({"status": "SUBMITTED"}, 5), Step({"status": "IN_PROGRESS"}, 5))
    task = providers.submit(_JOB, Script(steps))
    clock = providers.settings.clock
    seen = []
    for seconds in (0, 5, 4.9, 0.1, 1, 2, 3):
        clock.advance(seconds)
        seen.append(providers.status(task))

    assert seen == [
        *("SUBMITTED", "IN_PROGRESS", "IN_PROGRESS"),
        *("NOT_START", "SUBMITTED", "IN_PROGRESS", "SUCCESS"),
    ]


def test_looking_on_counts_as_no_poll(providers: VideoProviders) -> None:
    task = providers.submit(_JOB, scripts.sequence({"status": "SUBMITTED"}, {}))
    for _ in range(3):
        assert providers.status(task) == "SUBMITTED"

    assert task.asked == 0


def test_scripts_are_taken_in_their_order(providers: VideoProviders) -> None:
    """One given with the submit leaves the others where they are."""
    providers.scripts.extend([scripts.fails("a"), scripts.fails("b")])
    for life in (None, scripts.fails("own"), None):
        providers.submit(_JOB, life)

    reasons = []
    for task in providers.tasks.values():
        providers.look(task.task_id)
        reasons.append(task.life.view["failReason"])
    assert reasons == ["a", "own", "b"]
    assert not providers.scripts
