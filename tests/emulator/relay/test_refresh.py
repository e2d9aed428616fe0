"""The relay's refresh: what its rows take over from the upstream, and when."""

import pytest

from ezlink_async.emulator import Emulator, faults, scripts
from tests.support.emulator_requests import RawApi


async def test_rows_wait_for_the_interval(
    stopped: Emulator, stopped_api: RawApi
) -> None:
    """A fetch shows no change before *poll_interval* has passed."""
    stopped.control.script_tasks(scripts.fails())
    task_id = await stopped_api.submit()
    before = await stopped_api.fetch(task_id)
    stopped.control.advance(10)
    after = await stopped_api.fetch_end(task_id)

    assert (before["status"], after["status"]) == ("", "FAILURE")


async def test_unfinished_task_fails_after_an_hour(
    stopped: Emulator, stopped_api: RawApi
) -> None:
    """A row below 100 % is refunded; a task the upstream does not list stays."""
    stopped.control.script_tasks(
        scripts.stuck(), scripts.cancelled(), scripts.unmentioned()
    )
    ids = [await stopped_api.submit("s", name) for name in "tuv"]
    stopped.control.advance(3_601)
    stopped.control.beat()

    records = [await stopped_api.fetch(one) for one in ids]

    late = ("FAILURE", "上游任务超时（超过1小时）")
    states = [(row["status"], row["failReason"]) for row in records]
    assert states == [late, late, ("", "")]
    assert [one.task_id for one in stopped.control.refunds] == ids[:2]


async def test_late_success_is_a_failure_with_a_picture(
    stopped: Emulator, stopped_api: RawApi
) -> None:
    """The row is failed and not refunded, and has the picture's address."""
    view = {"status": "SUCCESS", "progress": "100%", "imageUrl": "https://x.example/"}
    stopped.control.script_tasks(scripts.sequence(view))
    task_id = await stopped_api.submit()
    stopped.control.advance(3_601)
    stopped.control.beat()

    record = await stopped_api.fetch(task_id)

    assert (record["status"], record["progress"]) == ("FAILURE", "100%")
    assert f"/mj/image/{task_id}?rand=" in str(record["imageUrl"])
    assert stopped.control.refunds == []


async def test_newest_row_of_an_id_is_refreshed_first(
    stopped: Emulator, stopped_api: RawApi
) -> None:
    """With two rows of one id, the older one is one refresh behind."""
    task_id = await stopped_api.submit()
    again = faults.Upstream(200, {"code": 21, "description": "x", "result": task_id})
    stopped.control.script("submit", again)
    await stopped_api.submit()
    shown: list[list[object]] = []
    while len(shown) < 2 or shown[-1][0] != "SUCCESS":
        stopped.control.beat()
        shown.append([row["status"] for row in await stopped_api.rows(task_id)])

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
    buttons: object, shown: object, emu: Emulator, api: RawApi
) -> None:
    """Each button has its five keys and no other; anything but a list is null."""
    emu.control.script_tasks(scripts.sequence({"status": "MODAL", "buttons": buttons}))

    assert (await api.fetch(await api.submit()))["buttons"] == shown


async def test_row_without_an_id_fails_at_the_next_refresh(
    stopped: Emulator, stopped_api: RawApi
) -> None:
    """An acceptance without an id is charged and not refunded."""
    answer = {"code": 1, "description": "x", "result": None}
    stopped.control.script("submit", faults.Upstream(200, answer))
    assert await stopped_api.submit() == ""
    stopped.control.beat()

    (row,) = await stopped_api.rows("")

    assert (row["status"], row["progress"]) == ("FAILURE", "100%")
    assert (len(stopped.control.charges), stopped.control.refunds) == (1, [])


async def test_lost_channel_fails_unfinished_tasks(
    stopped: Emulator, stopped_api: RawApi
) -> None:
    """Without its channel the relay fails every unfinished row, and names it."""
    stopped.control.script_tasks(scripts.stuck())
    task_id = await stopped_api.submit()
    stopped.control.lose_channel()
    stopped.control.beat()

    record = await stopped_api.fetch(task_id)
    assert (record["status"], record["progress"]) == ("FAILURE", "100%")
    assert "17" in str(record["failReason"])
    stopped.control.lose_channel(None)
    assert await stopped_api.submit()
