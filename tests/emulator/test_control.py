"""The control of an emulator: from its test, and as JSON from another process."""

from __future__ import annotations

import json

import pytest

from ezlink_async.emulator import Emulator
from tests.support.emulator_requests import FETCH, SWAP, RawApi


async def test_control_changes_balances_accounts_and_keys(emu: Emulator) -> None:
    control = emu.control
    control.balance = 9000
    assert control.balance == 9000
    poor = control.add_account(balance=0)
    extra = control.add_key(of=poor, quota=1)
    assert control.account_token(extra) == control.account_token(poor)
    assert control.account_token() != control.account_token(poor)
    assert control.charged == 0
    assert control.peak_running == 0
    assert control.refunds == []


async def _instruct(api: RawApi, instruction: object) -> tuple[int, object]:
    response = await api.control("faults", json.dumps(instruction).encode())
    return response.status, response.fields()


async def test_api_scripts_faults_and_tasks_and_shows_the_state(
    emu: Emulator, api: RawApi
) -> None:
    """A POST scripts, a GET shows what the control counts, and a reset deletes it."""
    instruction = {
        "on": "submit",
        "faults": [{"kind": "answer", "status": 503, "headers": [["A", "b"]]}],
        "tasks": [
            {"kind": "stuck", "status": "SUBMITTED"},
            {"views": [{"status": "IN_PROGRESS"}], "swap": True},
        ],
    }
    assert await _instruct(api, instruction) == (200, {"ok": True})
    assert (await api.post(SWAP, b"{}")).status == 503
    assert (await api.fetch(await api.submit()))["status"] == "SUBMITTED"
    second = await api.submit()
    assert (await api.fetch(second))["status"] == "IN_PROGRESS"
    state = (await api.control("state")).fields()
    assert state == json.loads(json.dumps(emu.control.state()))
    assert len(emu.control.charges) == 2
    assert (await api.control("reset", b"{}")).fields() == {"ok": True}
    assert emu.control.charges == []


async def test_api_ends_a_standing_fault_with_null(api: RawApi) -> None:
    fault = {"kind": "answer", "status": 418}
    assert (await _instruct(api, {"on": "fetch", "standing": fault}))[0] == 200
    for _ in range(2):
        assert (await api.get(FETCH)).status == 418
    assert (await _instruct(api, {"on": "fetch", "standing": None}))[0] == 200
    assert (await api.get(FETCH)).status == 400


@pytest.mark.parametrize(
    ("instruction", "words"),
    [
        ([], "object"),
        ({"faults": [{"kind": "drop"}]}, "on must be"),
        ({"on": "submit", "faults": [{"kind": "dance"}]}, "kind must be"),
        ({"on": "submit", "faults": [{"kind": "drop", "x": 1}]}, "drop"),
        ({"on": "submit", "faults": "drop"}, "list of objects"),
        ({"on": "submit", "standing": "drop"}, "list of objects"),
        ({"tasks": [7]}, "list of objects"),
        ({"tasks": [{"kind": "dance"}]}, "kind must be"),
    ],
)
async def test_api_refuses_a_bad_instruction_and_says_why(
    api: RawApi, instruction: object, words: str
) -> None:
    status, answer = await _instruct(api, instruction)
    assert status == 400
    assert words in str(answer)


async def test_api_refuses_a_body_that_is_not_json(api: RawApi) -> None:
    assert (await api.control("faults", b"{")).status == 400
