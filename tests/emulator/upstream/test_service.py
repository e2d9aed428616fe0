"""The upstream: its queue, the stages of a task, its results, and its engine."""

import pytest
from attrs import define

from ezlink_async.emulator import Clock, Emulator, EmulatorSettings, scripts, serving
from tests.support.emulator_requests import SWAP, RawApi, swap_body


async def _codes(api: RawApi, count: int) -> list[tuple[object, object]]:
    codes = []
    for number in range(count):
        fields = (await api.post(SWAP, swap_body("s", f"t{number}"))).fields()
        codes.append((fields["code"], fields.get("properties")))
    return codes


async def test_waiting_tasks_are_code_22_and_a_full_queue_is_code_9() -> None:
    """Running and first waiting tasks are code 1, later ones 22 with their place."""
    async with serving(EmulatorSettings(concurrency=2, queue=3)) as emu:
        emu.control.script_tasks(*(scripts.stuck() for _ in range(5)))

        codes = await _codes(RawApi(emu), 6)

        assert [code for code, _ in codes] == [1, 1, 1, 22, 22, 9]
        assert [properties for _, properties in codes[3:5]] == [
            {"numberOfQueues": 1},
            {"numberOfQueues": 2},
        ]
        assert len(emu.control.charges) == 3
        assert (emu.control.peak, emu.control.peak_running) == (5, 2)
        emu.control.reset()
        assert (emu.control.peak, emu.control.peak_running) == (5, 2)


async def test_waiting_tasks_are_code_1_without_code_22() -> None:
    settings = EmulatorSettings(concurrency=1, queue=3, code_22=False)
    async with serving(settings) as emu:
        emu.control.script_tasks(*(scripts.stuck() for _ in range(3)))

        assert await _codes(RawApi(emu), 3) == [(1, {})] * 3


async def test_stages_take_their_time() -> None:
    """A task passes every stage as the clock advances, and no faster."""
    settings = EmulatorSettings(
        clock=Clock(ticking=False), start_seconds=1, submit_seconds=2, engine_seconds=15
    )
    async with serving(settings) as emu:
        api = RawApi(emu)
        task_id = await api.submit(state="mine")
        shown = [await api.fetch(task_id)]
        for seconds in (1, 2):
            emu.control.advance(seconds)
            await api.fetch(task_id)
            shown.append(await api.fetch(task_id))
        emu.control.advance(15)
        shown.append(await api.fetch_end(task_id))

    words = [row["status"] for row in shown]
    assert words == ["NOT_START", "SUBMITTED", "IN_PROGRESS", "SUCCESS"]
    assert [row["startTime"] == 0 for row in shown] == [True, False, False, False]
    assert shown[3]["state"] == "mine"


async def test_tasks_of_one_moment_have_different_ids(
    stopped: Emulator, stopped_api: RawApi
) -> None:
    """Though the clock stands still, the upstream gives no id twice."""
    stopped.control.script_tasks(*(scripts.fails() for _ in range(60)))
    ids = set()
    for number in range(60):
        ids.add(await stopped_api.submit("s", f"t{number}"))
        stopped.control.beat()

    assert len(ids - {""}) == 60


async def test_oldest_picture_expires_when_results_exceed_kept_bytes() -> None:
    async with serving(EmulatorSettings(kept_bytes=500)) as emu:
        api = RawApi(emu)
        ids = [await api.swapped("s", name) for name in "tu"]

        statuses = [(await api.image(one)).status for one in ids]

    assert statuses == [404, 200]


@define
class _Broken:
    """An engine that raises."""

    error: Exception
    name: str = "broken"

    def swap(self, source: bytes, target: bytes) -> bytes:
        """Raise."""
        assert source != target
        raise self.error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("no face in these bytes"), "no face in these bytes"),
        (RuntimeError("a bug"), "RuntimeError('a bug')"),
    ],
)
async def test_engine_that_raises_fails_the_task(error: Exception, reason: str) -> None:
    """The text of a ValueError is the reason; the account is refunded."""
    async with serving(EmulatorSettings(engine=_Broken(error))) as emu:
        api = RawApi(emu)
        record = await api.fetch_end(await api.submit())

        assert (record["status"], record["failReason"]) == ("FAILURE", reason)
        assert sum(one.units for one in emu.control.refunds) == 9_000
