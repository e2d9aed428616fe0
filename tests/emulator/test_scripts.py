"""What is shown of a task: scripted lives, falsified rows, spoilt pictures."""

import asyncio
import json

import pytest

from ezlink_async.emulator import Emulator, faults, read_hashes, scripts
from tests.support.emulator_requests import Ask, fetch, fetch_end, picture, submit


async def test_rows_of_a_list_can_be_falsified(emu: Emulator, ask: Ask) -> None:
    """Rows are left out, repeated, turned round and overwritten, as told."""
    ids = [await submit(ask, "s", name) for name in "tu"]
    body = json.dumps({"ids": ids}).encode()
    emu.control.script(
        "list",
        faults.Rows(omit=()),
        faults.Rows(omit=(ids[0],)),
        faults.Rows(repeat=True),
        faults.Rows(backwards=True),
        faults.Rows(change={"status": "ODD", "startTime": 0}),
    )

    lists = []
    for _ in range(5):
        value = (await ask("POST", "/mj/task/list-by-condition", body)).json()
        assert isinstance(value, list)
        lists.append([(row["id"], row["status"] == "ODD") for row in value])

    first, second = [(one, False) for one in ids]
    assert lists[:4] == [[], [second], [first, first, second, second], [second, first]]
    assert lists[4] == [(ids[0], True), (ids[1], True)]


async def test_a_fetch_can_lose_its_row(emu: Emulator, ask: Ask) -> None:
    """A row left out of a fetch is an unknown id."""
    task_id = await submit(ask)
    emu.control.script("fetch", faults.Rows(omit=()))

    assert (await ask("GET", f"/mj/task/{task_id}/fetch")).status == 400
    assert (await ask("GET", f"/mj/task/{task_id}/fetch")).status == 200


async def test_a_picture_can_be_cut_with_a_clean_end(emu: Emulator, ask: Ask) -> None:
    """A truncated picture is a good answer with bytes missing."""
    task_id = await submit(ask)
    await fetch_end(ask, task_id)
    emu.control.script("image", faults.Picture(keep=100), faults.Cut(100))

    cut = await ask("GET", f"/mj/image/{task_id}")
    with pytest.raises(asyncio.IncompleteReadError):
        await ask("GET", f"/mj/image/{task_id}")
    whole = await ask("GET", f"/mj/image/{task_id}")

    assert (cut.status, len(cut.body)) == (200, 100)
    assert whole.body.startswith(cut.body)
    assert read_hashes(whole.body)[1] == emu.control.tasks[0].target_sha256


async def test_a_picture_can_drip(emu: Emulator, ask: Ask) -> None:
    """A slow picture arrives whole, in chunks."""
    task_id = await submit(ask)
    await fetch_end(ask, task_id)
    emu.control.script("image", faults.Picture(drip=0.001, block=100))

    answered = await ask("GET", f"/mj/image/{task_id}")

    assert answered.header("Transfer-Encoding") == "chunked"
    assert answered.body.endswith(picture("t")[-50:])


async def test_a_failed_task_has_no_picture(ask: Ask, emu: Emulator) -> None:
    """However well the picture's server is, there is no address to ask it at."""
    emu.control.script_tasks(scripts.fails())
    task_id = await submit(ask)
    await fetch_end(ask, task_id)
    emu.control.script(
        "image", faults.Picture(content="page", content_type="text/html")
    )

    assert (await ask("GET", f"/mj/image/{task_id}")).status == 500


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
async def test_a_task_ends_as_scripted(
    script: scripts.Script,
    status: str,
    reason: str,
    refunded: int,
    emu: Emulator,
    ask: Ask,
) -> None:
    """Status and reason are as told, at 100 %, and money comes back as the server's."""
    emu.control.script_tasks(script)
    record = await fetch(ask, await submit(ask))

    assert (record["status"], record["progress"]) == (status, "100%")
    assert (record["failReason"], record["imageUrl"]) == (reason, "")
    assert sum(charge.units for charge in emu.control.refunds) == refunded
    assert emu.control.balance == 1_000_000_000 - 9_000 + refunded


async def test_a_sequence_shows_each_state_once(emu: Emulator, ask: Ask) -> None:
    """Each look sees the next view, times may go back, and the swap comes last."""
    emu.control.script_tasks(
        scripts.sequence(
            {"status": "SUBMITTED", "progress": "0%", "startTime": 5},
            {"status": "NOT_START", "progress": None, "startTime": None},
            {"status": "PONDERING", "progress": "40%"},
            swap=True,
        )
    )
    task_id = await submit(ask)
    shown = [await fetch(ask, task_id) for _ in range(3)]

    states = [(row["status"], row["progress"], row["startTime"]) for row in shown]
    assert states == [
        ("SUBMITTED", "0%", 5),
        ("NOT_START", "", 0),
        ("PONDERING", "40%", 0),
    ]
    assert (await fetch_end(ask, task_id))["status"] == "SUCCESS"


async def test_a_stuck_task_never_changes(emu: Emulator, ask: Ask) -> None:
    """However often it is asked for, it is the same."""
    emu.control.script_tasks(scripts.stuck())
    task_id = await submit(ask)

    shown = [await fetch(ask, task_id) for _ in range(4)]

    assert all(row == shown[0] for row in shown)
    assert shown[0]["status"] == "IN_PROGRESS"
