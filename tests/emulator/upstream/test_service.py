"""The machine behind the relay, and the beat that copies it."""

import json

import pytest

from ezlink_async.emulator import (
    Clock,
    Emulator,
    EmulatorSettings,
    faults,
    scripts,
    serving,
)
from tests.support.emulator_requests import (
    Ask,
    asker,
    fetch,
    fetch_end,
    submit,
    swap_body,
)

_SWAP = "/mj/insight-face/swap"


async def _codes(ask: Ask, count: int) -> list[tuple[object, object]]:
    told = []
    for number in range(count):
        answered = await ask("POST", _SWAP, swap_body("s", f"t{number}"))
        value = answered.json()
        assert isinstance(value, dict)
        told.append((value["code"], value.get("properties")))
    return told


async def test_a_queue_fills_up() -> None:
    """Running and first waiting are code 1, later ones 22 with their place, then 9."""
    settings = EmulatorSettings(concurrency=2, queue=3)
    async with serving(settings) as emu:
        emu.control.script_tasks(*(scripts.stuck() for _ in range(5)))

        told = await _codes(asker(emu), 6)

        assert [code for code, _ in told] == [1, 1, 1, 22, 22, 9]
        assert told[3:5] == [
            (22, {"numberOfQueues": 1}),
            (22, {"numberOfQueues": 2}),
        ]
        assert len(emu.control.charges) == 3
        assert (emu.control.peak, emu.control.peak_running) == (5, 2)
        emu.control.reset()
        assert (emu.control.peak, emu.control.peak_running) == (5, 2)


async def test_a_queue_can_do_without_code_22() -> None:
    """With the switch off, whoever waits is told code 1, and charged."""
    settings = EmulatorSettings(concurrency=1, queue=3, code_22=False)
    async with serving(settings) as emu:
        emu.control.script_tasks(*(scripts.stuck() for _ in range(3)))

        assert await _codes(asker(emu), 3) == [(1, {})] * 3


async def test_stages_take_their_time() -> None:
    """A task goes through every stage, as its clock goes on, and no faster."""
    settings = EmulatorSettings(
        clock=Clock(ticking=False), start_seconds=1, submit_seconds=2, engine_seconds=15
    )
    async with serving(settings) as emu:
        ask = asker(emu)
        task_id = await submit(ask, state="mine")
        shown = [await fetch(ask, task_id)]
        for seconds in (1, 2):
            emu.control.advance(seconds)
            await fetch(ask, task_id)
            shown.append(await fetch(ask, task_id))
        emu.control.advance(15)
        shown.append(await fetch_end(ask, task_id))

        words = [row["status"] for row in shown]
        assert words == ["NOT_START", "SUBMITTED", "IN_PROGRESS", "SUCCESS"]
        assert [row["startTime"] == 0 for row in shown] == [True, False, False, False]
        assert shown[3]["state"] == "mine"


async def test_rows_wait_for_the_beat() -> None:
    """The relay knows nothing new until its interval has passed."""
    settings = EmulatorSettings(clock=Clock(ticking=False), poll_interval=10)
    async with serving(settings) as emu:
        ask = asker(emu)
        emu.control.script_tasks(scripts.fails())
        task_id = await submit(ask)
        before = await fetch(ask, task_id)
        emu.control.advance(10)
        after = await fetch_end(ask, task_id)

        assert (before["status"], after["status"]) == ("", "FAILURE")


async def test_an_hour_is_the_end(still: Emulator, ask_still: Ask) -> None:
    """What is not at 100 % an hour after its submit fails, and is paid back."""
    still.control.script_tasks(
        scripts.stuck(), scripts.cancelled(), scripts.unmentioned()
    )
    ids = [await submit(ask_still, "s", name) for name in "tuv"]
    still.control.advance(3_601)
    still.control.beat()

    records = [await fetch(ask_still, one) for one in ids]

    late = ("FAILURE", "上游任务超时（超过1小时）")
    told = [(row["status"], row["failReason"]) for row in records]
    assert told == [late, late, ("", "")]
    assert [one.task_id for one in still.control.refunds] == ids[:2]


async def test_a_late_success_is_a_failure_with_a_picture(
    still: Emulator, ask_still: Ask
) -> None:
    """The relay calls it failed and keeps the money; the picture is there."""
    view = {"status": "SUCCESS", "progress": "100%", "imageUrl": "https://x.example/"}
    still.control.script_tasks(scripts.sequence(view))
    task_id = await submit(ask_still)
    still.control.advance(3_601)
    still.control.beat()

    record = await fetch(ask_still, task_id)

    assert (record["status"], record["progress"]) == ("FAILURE", "100%")
    assert f"/mj/image/{task_id}?rand=" in str(record["imageUrl"])
    assert still.control.refunds == []


async def test_the_newest_row_of_an_id_is_refreshed_first(
    still: Emulator, ask_still: Ask
) -> None:
    """With two rows of one id, fetch lags a beat behind the list."""
    task_id = await submit(ask_still)
    again = faults.Upstream(200, {"code": 21, "description": "x", "result": task_id})
    still.control.script("submit", again)
    await submit(ask_still)
    body = json.dumps({"ids": [task_id]}).encode()
    beats: list[list[object]] = []
    while len(beats) < 2 or beats[-1][0] != "SUCCESS":
        still.control.beat()
        rows = (await ask_still("POST", "/mj/task/list-by-condition", body)).json()
        assert isinstance(rows, list)
        beats.append([row["status"] for row in rows])

    assert [*beats[-2]] == ["", "SUCCESS"]
    assert beats[-1] == ["SUCCESS", "SUCCESS"]


@pytest.mark.parametrize(
    ("buttons", "shown"),
    [
        ([], []),
        ("odd", None),
        ([1], None),
        (
            [{"label": "U1", "more": 1}],
            [
                {
                    "customId": None,
                    "emoji": None,
                    "label": "U1",
                    "type": None,
                    "style": None,
                }
            ],
        ),
    ],
)
async def test_buttons_keep_five_keys(
    buttons: object, shown: object, emu: Emulator, ask: Ask
) -> None:
    """Each button has its five keys and no other; what is no list of them is null."""
    emu.control.script_tasks(scripts.sequence({"status": "MODAL", "buttons": buttons}))

    assert (await fetch(ask, await submit(ask)))["buttons"] == shown


async def test_a_picture_of_an_evicted_result_is_gone() -> None:
    """When results outgrow their room the oldest link expires."""
    settings = EmulatorSettings(kept_bytes=500)
    async with serving(settings) as emu:
        ask = asker(emu)
        ids = [await submit(ask, "s", name) for name in "tu"]
        for task_id in ids:
            await fetch_end(ask, task_id)

        statuses = [(await ask("GET", f"/mj/image/{one}")).status for one in ids]

        assert sorted(statuses) == [200, 404]


class _Broken:
    """An engine that finds no face."""

    name = "broken"

    def swap(self, source: bytes, target: bytes) -> bytes:
        """Find nothing."""
        raise ValueError(f"no face in {len(source) + len(target)} bytes")


async def test_an_engine_that_finds_no_face_fails_the_task() -> None:
    """The engine's sentence is the reason, and the money goes back."""
    async with serving(EmulatorSettings(engine=_Broken())) as emu:
        ask = asker(emu)
        record = await fetch_end(ask, await submit(ask))

        assert "no face in" in str(record["failReason"])
        assert sum(one.units for one in emu.control.refunds) == 9_000


class _Crashing:
    """An engine with a bug."""

    name = "crashing"

    def swap(self, source: bytes, target: bytes) -> bytes:
        """Fall over."""
        raise RuntimeError(f"bug at {len(source) + len(target)}")


async def test_an_engine_with_a_bug_fails_the_task_too() -> None:
    """Any other exception of an engine ends the task instead of hanging it."""
    async with serving(EmulatorSettings(engine=_Crashing())) as emu:
        ask = asker(emu)
        record = await fetch_end(ask, await submit(ask))

        assert "RuntimeError" in str(record["failReason"])


async def test_a_row_without_an_id_is_given_up(still: Emulator, ask_still: Ask) -> None:
    """An acceptance without an id is paid for, and fails at the next beat."""
    answer = {"code": 1, "description": "x", "result": None}
    still.control.script("submit", faults.Upstream(200, answer))
    assert await submit(ask_still) == ""
    still.control.beat()

    body = b'{"ids":[""]}'
    rows = (await ask_still("POST", "/mj/task/list-by-condition", body)).json()

    assert isinstance(rows, list)
    assert [(row["status"], row["progress"]) for row in rows] == [("FAILURE", "100%")]
    assert (len(still.control.charges), still.control.refunds) == (1, [])
