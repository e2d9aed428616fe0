"""Native Flux over a socket: records, the provider's call, money, and the page."""

from __future__ import annotations

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
from tests.support.emulator_requests import RawApi
from tests.support.wire import RawConnection

RESULT = "/flux/v1/get_result?id="
SOURCE = "&from_source=true"

QUIET = EmulatorSettings(flux_calls_back=False)


async def _submit(api: RawApi, model: str = "flux-2-pro", **fields: object) -> str:
    body = json.dumps({"prompt": "a fox", **fields}).encode()
    answer = (await api.post(f"/flux/v1/{model}", body)).fields()
    return str(answer["id"])


async def _ready(api: RawApi, task_id: str, query: str = "") -> dict[str, object]:
    """Ask until the picture is there."""
    while True:
        shown = (await api.get(f"{RESULT}{task_id}{query}")).fields()
        if shown["status"] == "Ready":
            return shown


async def _pictures(emu: Emulator, query: str = "") -> list[dict[str, object]]:
    async with RawConnection(emu.base_url) as raw:
        token = ("Authorization", emu.account_token)
        path = f"/api/image/self?page=1&pagesize=20{query}"
        data = (await raw.request("GET", path, [token])).fields()["data"]
    assert isinstance(data, dict)
    rows: list[dict[str, object]] = data["list"]
    return rows


async def test_providers_call_brings_the_record_and_charges_the_account_alone(
    emu: Emulator, api: RawApi
) -> None:
    balance = emu.control.balance
    task_id = await _submit(api, width=320, height=200, seed=7)
    shown = await _ready(api, task_id)
    result = shown["result"]
    assert isinstance(result, dict)
    assert (result["seed"], result["prompt"]) == (7, "a fox")
    assert "?se=" in str(result["sample"])
    (charge,) = emu.control.charges
    assert (charge.units, charge.task_id) == (15_000, task_id)
    assert emu.control.balance == balance - 15_000
    usage = (await api.get("/dashboard/billing/usage")).fields()
    assert usage["total_usage"] == 0  # the key has spent nothing


async def test_record_without_that_call_waits_for_a_query_of_the_source() -> None:
    """The first success is charged, with any key that asks, and no later one."""
    async with serving(QUIET) as emu:
        api = RawApi(emu)
        task_id = await _submit(api)
        await _ready(api, task_id, SOURCE)
        for _ in range(3):
            await _ready(api, task_id, SOURCE)
        assert (await _ready(api, task_id))["id"] == task_id
        assert [charge.units for charge in emu.control.charges] == [15_000]


async def test_other_spellings_of_from_source_show_the_record() -> None:
    async with serving(QUIET) as emu:
        api = RawApi(emu)
        task_id = await _submit(api)
        await _ready(api, task_id, "&from_source=1")
        other = await _submit(api)
        shown = (await api.get(f"{RESULT}{other}&from_source=TRUE")).fields()
        assert shown["status"] == "submitted"


@pytest.mark.parametrize("settings", [EmulatorSettings(), QUIET])
async def test_failure_is_the_providers_whole_answer_and_costs_nothing(
    settings: EmulatorSettings,
) -> None:
    async with serving(settings) as emu:
        api = RawApi(emu)
        emu.control.script_tasks(scripts.fails("no gpu"))
        task_id = await _submit(api)
        shown: dict[str, object] = {"status": ""}
        while shown["status"] != "failed":
            await api.get(f"{RESULT}{task_id}{SOURCE}")
            shown = (await api.get(f"{RESULT}{task_id}")).fields()
        assert json.loads(str(shown["error"]))["error"] == "no gpu"
        assert not emu.control.charges
        source = (await api.get(f"{RESULT}{task_id}{SOURCE}")).fields()
        assert source["status"] == "Error"


async def test_moderated_task_names_its_reasons(emu: Emulator, api: RawApi) -> None:
    moderated = {"status": "Content Moderated", "failReason": ""}
    emu.control.script_tasks(scripts.sequence(moderated))
    task_id = await _submit(api)
    shown = (await api.get(f"{RESULT}{task_id}{SOURCE}")).fields()
    while shown["status"] == "Pending":
        shown = (await api.get(f"{RESULT}{task_id}{SOURCE}")).fields()
    assert shown["details"] == {"Moderation Reasons": ["Safety Filter"]}


async def test_key_opens_it_in_either_header(emu: Emulator) -> None:
    async with RawConnection(emu.base_url) as raw:
        body = b'{"prompt":"x"}'
        path = "/flux/v1/flux-2-pro"
        by_x_key = await raw.request("POST", path, [("x-key", emu.api_key)], body)
    async with RawConnection(emu.base_url) as raw:
        wrong = await raw.request("POST", path, [("x-key", "sk-wrong")], body)
    assert (by_x_key.status, wrong.status) == (200, 401)


async def test_model_in_the_body_is_removed(emu: Emulator, api: RawApi) -> None:
    await _submit(api, model="flux-dev")
    await api.post("/flux/v1/flux-2-pro", b'{"model":"x","prompt":"y"}')
    first, second = emu.control.forwarded
    assert (first.path, second.path) == ("/v1/flux-dev", "/v1/flux-2-pro")
    assert second.body == {"prompt": "y"}


async def test_each_submit_leaves_a_row_and_a_refused_one_an_entry(
    emu: Emulator, api: RawApi
) -> None:
    emu.control.script("flux", faults.Upstream(400, {"message": "bad"}))
    await api.post("/flux/v1/flux-2-pro", b"{}", ("X-Request-ID", "r1"))
    emu.control.script("flux", faults.Upstream(500, {"error": "worse"}))
    await api.post("/flux/v1/flux-2-pro", b"{}", ("X-Request-ID", "r2"))
    emu.control.script("flux", faults.Upstream(422, {"detail": [{"msg": "m"}]}))
    await api.post("/flux/v1/flux-2-pro", b"{}", ("X-Request-ID", "r3"))
    rows = await _pictures(emu)
    assert [(row["request_id"], row["status"], row["fail_reason"]) for row in rows] == [
        ("r3", "failed", "HTTP 422: m"),
        ("r2", "failed", "HTTP 500: worse"),
        ("r1", "failed", "HTTP 400: bad"),
    ]
    assert [refusal.kind for refusal in emu.control.refusals] == [5, 5, 5]


async def test_fee_is_taken_from_account_and_key_and_is_the_only_entry(
    emu: Emulator, api: RawApi
) -> None:
    words = {"detail": "Content violates usage guidelines"}
    emu.control.script("flux", faults.Upstream(403, words))
    response = await api.post("/flux/v1/flux-2-pro", b"{}")
    assert response.status == 403
    assert [charge.units for charge in emu.control.charges] == [25_000]
    assert not emu.control.refusals
    usage = (await api.get("/dashboard/billing/usage")).fields()
    assert usage["total_usage"] == 5  # cents


async def test_page_of_pictures_is_filtered_and_paged(
    emu: Emulator, api: RawApi
) -> None:
    """The name of a user filters by model; a request id and a page of 0 do nothing."""
    flux = await _submit(api)
    await _ready(api, flux)
    image = b'{"model":"kling-v2","prompt":"x"}'
    kling = (await api.post("/v1/async/images/generations", image)).fields()["task_id"]

    async def ids(query: str) -> list[object]:
        return [row["task_id"] for row in await _pictures(emu, query)]

    assert await ids("") == [kling, flux]
    assert await ids(f"&taskid={flux}") == [flux]
    assert await ids("&provider=kling") == [kling]
    assert await ids("&username=flux-2-pro") == [flux]
    assert await ids("&request_id=x&task_id=x&model_name=x") == [kling, flux]
    assert await ids("&start_timestamp=99999999999") == []
    async with RawConnection(emu.base_url) as raw:
        token = ("Authorization", emu.account_token)
        data = (await raw.request("GET", "/api/image/self", [token])).fields()["data"]
    assert isinstance(data, dict)
    assert (data["currentPage"], data["pageSize"], len(data["list"])) == (0, 0, 2)
    first, last = await _pictures(emu)
    assert (last["status"], last["username"]) == ("success", "n")
    assert str(last["store_url"]).startswith(emu.base_url)
    assert (first["request_id"], first["n"]) == ("", 1)


async def test_old_record_fails_where_the_relay_reconciles() -> None:
    """The provider's picture is shown all the same, and never charged."""
    settings = EmulatorSettings(
        flux_calls_back=False, flux_reconciler=True, clock=Clock(ticking=False)
    )
    async with serving(settings) as emu:
        api = RawApi(emu)
        task_id = await _submit(api)
        emu.control.advance(901)
        shown = (await api.get(f"{RESULT}{task_id}")).fields()
        assert (shown["status"], shown["error"]) == ("failed", "任务超时")
        await _ready(api, task_id, SOURCE)
        assert (await api.get(f"{RESULT}{task_id}")).fields()["status"] == "failed"
        assert not emu.control.charges


async def test_call_about_an_unknown_task_is_refused(
    emu: Emulator, api: RawApi
) -> None:
    for body, status in ((b'{"id":"x"}', 404), (b"<html>", 400)):
        response = await api.post("/flux/internal/callback", body)
        assert response.status == status
    assert not emu.control.charges


async def test_call_without_a_result_is_a_success_without_a_picture(
    emu: Emulator, api: RawApi
) -> None:
    emu.control.script("flux", faults.Upstream(body={"id": "fx"}))
    await _submit(api)
    await api.post("/flux/internal/callback", b'{"id":"fx","status":"Ready"}')
    shown = (await api.get(f"{RESULT}fx")).fields()
    assert shown == {"id": "fx", "status": "Ready"}


async def test_call_that_says_nothing_changes_nothing(
    emu: Emulator, api: RawApi
) -> None:
    emu.control.script("flux", faults.Upstream(body={"id": "fx"}))
    assert await _submit(api) == "fx"
    await api.post("/flux/internal/callback", b'{"id":"fx","status":"Pending"}')
    assert (await api.get(f"{RESULT}fx")).fields()["status"] == "submitted"
    emu.control.script("flux_result", faults.Upstream(body="<html>"))
    assert (await api.get(f"{RESULT}fx{SOURCE}")).body == b"<html>"
    assert (await api.get(f"{RESULT}fx{SOURCE}")).status == 404  # the provider's own


async def test_troubles_of_the_relay_leave_no_row(emu: Emulator, api: RawApi) -> None:
    for word, status in (("panic", 500), ("no_channel", 503)):
        emu.control.script("flux", faults.Trouble(word))
        assert (await api.post("/flux/v1/flux-2-pro", b"{}")).status == status
    assert emu.control.state()["rows"] == 0
