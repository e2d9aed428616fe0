"""The scripted lives of tasks, as fetches show them."""

from collections.abc import Callable

import pytest

from ezlink_async.emulator import Emulator, scripts
from tests.support.emulator_requests import RawApi


@pytest.mark.parametrize(
    ("script", "status", "reason", "refunded"),
    [
        (scripts.fails("why"), "FAILURE", "why", 9_000),
        (scripts.fails_at_100("why"), "FAILURE", "why", 0),
        (scripts.cancelled("why"), "CANCEL", "why", 9_000),
        (scripts.frozen_at_100(), "IN_PROGRESS", "", 0),
        (scripts.frozen_at_100(reason="why"), "IN_PROGRESS", "why", 0),
        (scripts.succeeds_without_image(), "SUCCESS", "", 0),
    ],
)
async def test_task_ends_as_scripted(
    script: scripts.Script,
    status: str,
    reason: str,
    refunded: int,
    emu: Emulator,
    api: RawApi,
) -> None:
    """Status and reason are the script's, at 100 %; refunds are the server's."""
    emu.control.script_tasks(script)
    record = await api.fetch(await api.submit())

    assert (record["status"], record["progress"]) == (status, "100%")
    assert (record["failReason"], record["imageUrl"]) == (reason, "")
    assert sum(charge.units for charge in emu.control.refunds) == refunded
    assert emu.control.balance == 1_000_000_000 - 9_000 + refunded


async def test_sequence_shows_each_view_to_one_poll(emu: Emulator, api: RawApi) -> None:
    """Times may go back from one view to the next, and the swap comes last."""
    emu.control.script_tasks(
        scripts.sequence(
            {"status": "SUBMITTED", "progress": "0%", "startTime": 5},
            {"status": "NOT_START", "progress": None, "startTime": None},
            {"status": "PONDERING", "progress": "40%"},
            swap=True,
        )
    )
    task_id = await api.submit()
    shown = [await api.fetch(task_id) for _ in range(3)]

    states = [(row["status"], row["progress"], row["startTime"]) for row in shown]
    assert states == [
        ("SUBMITTED", "0%", 5),
        ("NOT_START", "", 0),
        ("PONDERING", "40%", 0),
    ]
    assert (await api.fetch_end(task_id))["status"] == "SUCCESS"


async def test_stuck_task_never_changes(emu: Emulator, api: RawApi) -> None:
    emu.control.script_tasks(scripts.stuck())
    task_id = await api.submit()

    shown = [await api.fetch(task_id) for _ in range(4)]

    assert all(row == shown[0] for row in shown)
    assert shown[0]["status"] == "IN_PROGRESS"


async def test_slow_task_runs_until_the_clock_has_advanced(
    stopped: Emulator, stopped_api: RawApi
) -> None:
    stopped.control.script_tasks(scripts.slow(90))
    task_id = await stopped_api.submit()
    stopped.control.beat()
    before = await stopped_api.fetch(task_id)
    stopped.control.advance(90)
    while (await stopped_api.fetch(task_id))["status"] != "SUCCESS":
        stopped.control.beat()

    assert before["status"] == "IN_PROGRESS"


@pytest.mark.parametrize("wrong", ["fail", scripts.fails, 500])
def test_what_is_no_script_is_refused_at_once(
    ezlink_emulator: Emulator, wrong: scripts.Script
) -> None:
    """A name, a function that was not called, a number."""
    with pytest.raises(TypeError, match="is no script of a task"):
        ezlink_emulator.control.script_tasks(scripts.stuck(), wrong)
    ezlink_emulator.control.assert_all_played()


@pytest.mark.parametrize(
    "make",
    [
        lambda: scripts.Script((5,)),  # type: ignore[arg-type]
        lambda: scripts.Step("SUCCESS"),  # type: ignore[arg-type]
        lambda: scripts.slow("soon"),  # type: ignore[arg-type]
        lambda: scripts.slow(-1),
    ],
)
def test_script_with_a_wrong_step_is_refused_at_once(
    make: Callable[[], object],
) -> None:
    with pytest.raises((TypeError, ValueError)):
        make()
