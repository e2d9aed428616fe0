"""The account's pages: balance, log and tasks, with their filters and lags."""

from __future__ import annotations

import gzip
import json

import attrs
import pytest

from ezlink_async.emulator import Emulator, faults, scripts, serving
from tests.support.emulator_requests import STOPPED, SWAP, RawApi, swap_body
from tests.support.wire import RawConnection, RawResponse

_TASKS = "/api/mj/self?page=1&pagesize=20"
_LOG = "/api/log/self"
_ACCOUNT = "/api/user/self"


async def _page(emu: Emulator, path: str, token: str) -> RawResponse:
    async with RawConnection(emu.base_url) as raw:
        return await raw.request("GET", path, [("Authorization", token)])


async def _entries(emu: Emulator, path: str) -> list[dict[str, object]]:
    data = (await _page(emu, path, emu.account_token)).fields()["data"]
    assert isinstance(data, dict)
    entries: list[dict[str, object]] = data["list"]
    assert data["total"] == len(entries)
    return entries


async def test_balance_is_gzipped_when_accepted(emu: Emulator, api: RawApi) -> None:
    """A key without limit shows the server's figure for that."""
    path = "/dashboard/billing/subscription"
    async with RawConnection(emu.base_url) as raw:
        unlimited = ("Authorization", f"Bearer {emu.control.add_key()}")
        asked = [unlimited, ("Accept-Encoding", "gzip")]
        packed = await raw.request("GET", path, asked)

    assert packed.header("Content-Encoding") == "gzip"
    shown = json.loads(gzip.decompress(packed.body))
    assert shown["hard_limit_usd"] == 100_000_000
    assert (await api.get(path)).fields()["hard_limit_usd"] == 2000


async def test_tasks_are_filtered_by_id_status_and_time(
    stopped: Emulator, stopped_api: RawApi
) -> None:
    """An unfinished task is before any end of a period."""
    ended = {"status": "FAILURE", "failReason": "broken", "finishTime": 2000}
    stopped.control.script_tasks(scripts.sequence(ended))
    first = await stopped_api.submit()
    stopped.control.beat()
    stopped.control.advance(1)
    second = await stopped_api.submit()
    new, old = await _entries(stopped, _TASKS)
    assert (new["mj_id"], old["mj_id"]) == (second, first)

    async def ids(query: str) -> list[object]:
        return [row["mj_id"] for row in await _entries(stopped, _TASKS + query)]

    assert await ids(f"&mj_id={first}") == [first]
    assert await ids("&status=FAILURE") == [first]
    assert await ids(f"&start_timestamp={new['submit_time']}") == [second]
    assert await ids("&end_timestamp=1999") == [second]
    assert await ids("&end_timestamp=2000&type=fast") == [second, first]
    assert await ids("&type=turbo") == []


async def test_log_is_filtered_by_time_type_model_and_key(
    stopped: Emulator, stopped_api: RawApi
) -> None:
    """Type 0 and an empty filter let every entry pass."""
    for _ in range(2):
        await stopped_api.submit()
        stopped.control.advance(100)
    new, old = await _entries(stopped, _LOG)

    async def ids(query: str) -> list[object]:
        return [entry["id"] for entry in await _entries(stopped, f"{_LOG}?{query}")]

    both = [new["id"], old["id"]]
    assert await ids(f"start_timestamp={new['created_at']}") == both[:1]
    assert await ids(f"end_timestamp={old['created_at']}") == both[1:]
    assert await ids("type=0&model_name=&token_name=n") == both
    assert await ids("type=2&model_name=swap_face") == both
    assert await ids("type=1") == await ids("model_name=other") == []


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (faults.banned_word(), "可能包含敏感词"),
        (faults.queue_full(), "提交失败，队列已满，请稍后重试"),
        (faults.Upstream(broken="reset"), "do_request_failed"),
        (faults.Upstream(broken="half"), "read_response_body_failed"),
        (faults.Upstream(body=""), "empty_response_body"),
        (faults.Upstream(body="<html>"), "unmarshal_response_body_failed"),
        (faults.Trouble("user_quota_lookup"), "Failed to get user quota Error"),
    ],
)
async def test_refused_submit_is_logged_as_free(
    stopped: Emulator, stopped_api: RawApi, fault: faults.Fault, text: str
) -> None:
    """One entry of type 2 without a price, under the submit's request id."""
    stopped.control.script("submit", fault)

    await stopped_api.post(SWAP, swap_body(), ("X-Request-ID", "lost"))

    (entry,) = await _entries(stopped, f"{_LOG}?x_request_id=lost")
    shown = {name: entry[name] for name in ("type", "quota", "content", "model_name")}
    assert shown == {"type": 2, "quota": 0, "content": text, "model_name": "swap_face"}
    (refusal,) = stopped.control.refusals
    assert (refusal.request_id, refusal.text) == ("lost", text)
    assert stopped.control.charges == []
    stopped.control.reset()
    assert await _entries(stopped, _LOG) == []


async def test_insert_failure_is_charged_and_then_logged_as_refused(
    stopped: Emulator, stopped_api: RawApi
) -> None:
    """Only the quota tells that the job was paid; its entry is the older one."""
    stopped.control.script("submit", faults.Trouble("insert_failed"))

    await stopped_api.post(SWAP, swap_body(), ("X-Request-ID", "lost"))

    entries = await _entries(stopped, f"{_LOG}?x_request_id=lost")
    assert [entry["quota"] for entry in entries] == [0, 9000]
    assert entries[0]["content"] == "insert_midjourney_task_failed"


@pytest.mark.parametrize(
    "fault",
    [
        faults.Trouble("no_channel"),
        faults.Trouble("token_verification"),
        faults.Trouble("panic"),
        faults.Trouble("queued"),
        None,
    ],
)
async def test_submit_refused_before_its_handler_is_not_logged(
    stopped: Emulator, stopped_api: RawApi, fault: faults.Fault | None
) -> None:
    """Nor is an accepted one that is free; None is a body that is not JSON."""
    if fault is not None:
        stopped.control.script("submit", fault)

    await stopped_api.post(SWAP, b"{" if fault is None else swap_body())

    assert await _entries(stopped, _LOG) == []


async def test_pages_lag_behind_as_ordered(
    stopped: Emulator, stopped_api: RawApi
) -> None:
    """Log entries and states come late or never; the charge is made all the same."""
    task_id = await stopped_api.submit(state="mine")
    stopped.control.beat()

    async def shown() -> tuple[int, object, bool]:
        entries, rows = await _entries(stopped, _LOG), await _entries(stopped, _TASKS)
        assert [row["mj_id"] for row in rows] == [task_id]
        return len(entries), rows[0]["state"], bool(rows[0]["status"])

    assert await shown() == (1, "mine", True)
    stopped.control.account_side(log=False)
    assert await shown() == (0, "mine", True)
    stopped.control.account_side(log_delay=5, state_delay=10)
    assert await shown() == (0, "", False)
    stopped.control.advance(6)
    assert await shown() == (1, "", False)
    stopped.control.advance(6)
    assert await shown() == (1, "mine", True)
    stopped.control.account_side(state_delay=float("inf"))
    assert await shown() == (1, "", False)
    assert len(stopped.control.charges) == 1


async def test_pages_show_a_charged_task_to_its_token_only(
    emu: Emulator, api: RawApi
) -> None:
    """Log, tasks and account show a submit; without the token all are refused."""
    await api.post(SWAP, swap_body(state="mine"), ("X-Request-ID", "one"))
    await api.post(SWAP, swap_body(), ("X-Request-ID", "two"))

    (entry,) = await _entries(emu, f"{_LOG}?x_request_id=one")
    assert entry["x_request_id"] == "one"
    assert (await _entries(emu, _TASKS))[1]["state"] == "mine"
    account = (await _page(emu, _ACCOUNT, f"Bearer {emu.account_token}")).fields()
    assert isinstance(account["data"], dict)
    assert account["data"]["used_quota"] == 18_000
    for path in (_ACCOUNT, _LOG, _TASKS):
        for wrong in ("", emu.api_key):
            assert (await _page(emu, path, wrong)).fields()["success"] is False


_BILLING = "/v1/dashboard/billing/usage"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        *((path, 200) for path in (_ACCOUNT, _LOG, _TASKS, _BILLING)),
        *((path, 401) for path in (_ACCOUNT, _LOG, _TASKS, _BILLING)),
        (_BILLING, 403),
    ],
)
async def test_pages_and_their_refusals_are_gzipped_when_accepted(
    emu: Emulator, path: str, status: int
) -> None:
    emu.control.ban(banned=status == 403)
    right = emu.api_key if path == _BILLING else emu.account_token
    asked = [("Authorization", "x" if status == 401 else right)]
    async with RawConnection(emu.base_url) as raw:
        plain = await raw.request("GET", path, asked)
        packed = await raw.request("GET", path, [*asked, ("Accept-Encoding", "gzip")])

    assert plain.status == packed.status == status
    assert plain.header("Content-Encoding") is None
    assert [packed.header(name) for name in ("Content-Encoding", "Vary")] == [
        *("gzip", "Accept-Encoding")
    ]
    shown = json.loads(gzip.decompress(packed.body))
    assert shown.keys() == plain.fields().keys()


async def _paging(emu: Emulator, path: str) -> tuple[object, object, int]:
    data = (await _page(emu, path, emu.account_token)).fields()["data"]
    assert isinstance(data, dict)
    return data["currentPage"], data["pageSize"], len(data["list"])


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("", (1, 10, 3)),
        ("?page=2&pagesize=2", (2, 2, 1)),
        ("?page=0&pagesize=0", (1, 10, 3)),
        ("?page=-1&pagesize=-5", (1, 10, 3)),
        ("?page=99999999999999999999&pagesize=99999999999999999999", (1, 10, 3)),
        ("?page=%C2%B2&pagesize=x", (1, 10, 3)),
        ("?type=charges", (1, 10, 3)),
    ],
)
async def test_log_without_usable_numbers_shows_its_first_ten(
    emu: Emulator, api: RawApi, query: str, shown: object
) -> None:
    for name in "abc":
        await api.submit("s", name)

    assert await _paging(emu, f"{_LOG}{query}") == shown


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("", (0, 0, 0)),
        ("?page=1", (1, 0, 0)),
        ("?pagesize=2", (0, 2, 2)),
        ("?page=2&pagesize=2", (2, 2, 1)),
        ("?page=9&pagesize=2", (9, 2, 0)),
    ],
)
async def test_page_of_tasks_needs_a_size(
    emu: Emulator, api: RawApi, query: str, shown: object
) -> None:
    """Without a number the page is the first one."""
    for name in "abc":
        await api.submit("s", name)

    assert await _paging(emu, f"/api/mj/self{query}") == shown


@pytest.mark.parametrize("address", ["https://relay.example", "http://localhost:3000"])
async def test_stored_picture_address_is_shown_by_a_local_relay_only(
    address: str,
) -> None:
    """Elsewhere the relay's own address stands there, also before the picture."""
    stored = "https://cdn.example/x.jpg"
    view = {"status": "SUCCESS", "progress": "100%", "imageUrl": stored}
    settings = attrs.evolve(STOPPED, server_address=address)
    async with serving(settings) as emu:
        emu.control.script_tasks(scripts.sequence(view))
        task_id = await RawApi(emu).submit()
        before = (await _entries(emu, _TASKS))[0]["image_url"]
        emu.control.beat()
        after = (await _entries(emu, _TASKS))[0]["image_url"]

    relayed = f"{address}/mj/image/{task_id}"
    local = "localhost" in address
    assert (before, after) == (("", stored) if local else (relayed, relayed))
