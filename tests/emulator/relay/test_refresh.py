"""The relay's refresh: what its rows take over from the upstream, and when."""

import json

import pytest

from ezlink_async.emulator import Emulator, faults, scripts
from tests.support.emulator_requests import LIST, Send, fetch, fetch_end, submit


async def test_rows_wait_for_the_interval(
    stopped: Emulator, send_stopped: Send
) -> None:
    """A fetch shows no change before *poll_interval* has passed."""
    stopped.control.script_tasks(scripts.fails())
    task_id = await submit(send_stopped)
    before = await fetch(send_stopped, task_id)
    stopped.control.advance(10)
    after = await fetch_end(send_stopped, task_id)

    assert (before["status"], after["status"]) == ("", "FAILURE")


async def test_unfinished_task_fails_after_an_hour(
    stopped: Emulator, send_stopped: Send
) -> None:
    """A row below 100 % is refunded; a task the upstream does not list stays."""
    stopped.control.script_tasks(
        scripts.stuck(), scripts.cancelled(), scripts.unmentioned()
    )
    ids = [await submit(send_stopped, "s", name) for name in "tuv"]
    stopped.control.advance(3_601)
    stopped.control.beat()

    records = [await fetch(send_stopped, one) for one in ids]

    late = ("FAILURE", "上游任务超时（超过1小时）")
    states = [(row["status"], row["failReason"]) for row in records]
    assert states == [late, late, ("", "")]
    assert [one.task_id for one in stopped.control.refunds] == ids[:2]


async def test_late_success_is_a_failure_with_a_picture(
    stopped: Emulator, send_stopped: Send
) -> None:
    """The row is failed and not refunded, and has the picture's address."""
    view = {"status": "SUCCESS", "progress": "100%", "imageUrl": "https://x.example/"}
    stopped.control.script_tasks(scripts.sequence(view))
    task_id = await submit(send_stopped)
    stopped.control.advance(3_601)
    stopped.control.beat()

    record = await fetch(send_stopped, task_id)

    assert (record["status"], record["progress"]) == ("FAILURE", "100%")
    assert f"/mj/image/{task_id}?rand=" in str(record["imageUrl"])
    assert stopped.control.refunds == []


async def test_newest_row_of_an_id_is_refreshed_first(
    stopped: Emulator, send_stopped: Send
) -> None:
    """With two rows of one id, the older one is one refresh behind."""
    task_id = await submit(send_stopped)
    again = faults.Upstream(200, {"code": 21, "description": "x", "result": task_id})
    stopped.control.script("submit", again)
    await submit(send_stopped)
    body = json.dumps({"ids": [task_id]}).encode()
    shown: list[list[object]] = []
    while len(shown) < 2 or shown[-1][0] != "SUCCESS":
        stopped.control.beat()
        rows = (await send_stopped("POST", LIST, body)).rows()
        shown.append([row["status"] for row in rows])

    assert shown[-2:] == [["", "SUCCESS"], ["SUCCESS", "SUCCESS"]]


_NO_BUTTON = dict.fromkeys(("customId", "emoji", "label", "type", "style"))


@pytest.mark.parametrize(
    ("buttons", "shown"),
    [
        ([], []),
        ("odd", None),
        ([1], None),
        ([{"label": "U1", "more": 1}], [{**_NO_BUTTON, "label": "U1"}]),
    ],
)
async def test_buttons_keep_five_keys(
    buttons: object, shown: object, emu: Emulator, send: Send
) -> None:
    """Each button has its five keys and no other; anything but a list is null."""
    emu.control.script_tasks(scripts.sequence({"status": "MODAL", "buttons": buttons}))

    assert (await fetch(send, await submit(send)))["buttons"] == shown


async def test_row_without_an_id_fails_at_the_next_refresh(
    stopped: Emulator, send_stopped: Send
) -> None:
    """An acceptance without an id is charged and not refunded."""
    answer = {"code": 1, "description": "x", "result": None}
    stopped.control.script("submit", faults.Upstream(200, answer))
    assert await submit(send_stopped) == ""
    stopped.control.beat()

    (row,) = (await send_stopped("POST", LIST, b'{"ids":[""]}')).rows()

    assert (row["status"], row["progress"]) == ("FAILURE", "100%")
    assert (len(stopped.control.charges), stopped.control.refunds) == (1, [])


async def test_lost_channel_fails_unfinished_tasks(
    stopped: Emulator, send_stopped: Send
) -> None:
    """Without its channel the relay fails every unfinished row, and names it."""
    stopped.control.script_tasks(scripts.stuck())
    task_id = await submit(send_stopped)
    stopped.control.lose_channel()
    stopped.control.beat()

    record = await fetch(send_stopped, task_id)
    assert (record["status"], record["progress"]) == ("FAILURE", "100%")
    assert "17" in str(record["failReason"])
    stopped.control.lose_channel(None)
    assert await submit(send_stopped)
