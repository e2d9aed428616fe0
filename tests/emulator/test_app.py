"""What the recordings do not hold: odd bodies, switches, hooks, the ends."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest

from ezlink_async.emulator import (
    Emulator,
    EmulatorSettings,
    faults,
    in_thread,
    running,
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
from tests.support.wire import Wire

_SWAP = "/mj/insight-face/swap"
_FETCH = "/mj/task/1/fetch"


def _key(emu: Emulator) -> tuple[str, str]:
    return ("Authorization", f"Bearer {emu.api_key}")


def _swap_with(**changes: object) -> bytes:
    return json.dumps(json.loads(swap_body()) | changes).encode()


_BODIES = [
    # a general field of another type: refused by the distributor
    ("application/json", _swap_with(index=1.5), "Model name is required"),
    ("application/json", _swap_with(index=True), "Model name is required"),
    ("application/json", _swap_with(base64Array=[1]), "Model name is required"),
    ("application/json", _swap_with(base64Array="x"), "Model name is required"),
    ("application/json", _swap_with(NOTIFYHOOK=1), "Model name is required"),
    ("application/json", b'{"state":NaN}', "Model name is required"),
    ("multipart/form-data; boundary=x", swap_body(), "Model name is required"),
    # the same under a type that is no JSON type: the handler's own reading
    ("Application/JSON", _swap_with(state=1), '"code":1,'),
    ("text/plain", _swap_with(sourceBase64=1), "sour_base64_and"),
    ("text/plain", b"[1]", "sour_base64_and"),
    ("text/plain", b"{", "sour_base64_and"),
    # what Go lets pass
    ("application/json", _swap_with(index=None, base64Array=None), '"code":1,'),
    ("application/json", _swap_with(index=3, base64Array=["a", None]), '"code":1,'),
    ("application/json", _swap_with(accountFilter=7), '"code":1,'),
    ("application/json", _swap_with(SourceBase64=None), '"code":1,'),
    ("application/json", _swap_with(SOURCEBASE64=1), "bind_request_body_failed"),
]


@pytest.mark.parametrize(("kind", "body", "words"), _BODIES)
async def test_odd_bodies_meet_the_readings_of_the_relay(
    kind: str, body: bytes, words: str, emu: Emulator
) -> None:
    """Each body is refused where, and in the words, the relay refuses it."""
    async with Wire(emu.base_url) as wire:
        headers = [_key(emu), ("Content-Type", kind)]
        answered = await wire.ask("POST", _SWAP, headers, body)

    assert words in answered.body.decode()
    assert len(emu.control.charges) == int('"code":1,' in words)


async def test_a_gzipped_body_is_not_unpacked(emu: Emulator, ask: Ask) -> None:
    """The relay does not know the coding, and finds no JSON."""
    packed = gzip.compress(swap_body())
    answered = await ask("POST", _SWAP, packed, ("Content-Encoding", "gzip"))

    assert answered.status == 400
    assert b"Model name is required" in answered.body
    assert emu.control.charges == []


@pytest.mark.parametrize("body", [b"[]", b'{"ids":"1"}', b'{"ids":[1]}', b"7"])
async def test_a_list_of_something_else_is_refused(body: bytes, ask: Ask) -> None:
    """Whatever is no object with texts for ids is a 400, sent as text."""
    answered = await ask("POST", "/mj/task/list-by-condition", body)

    assert answered.status == 400
    assert answered.header("Content-Type") == "text/plain; charset=utf-8"


async def test_balances_are_packed_when_accepted(emu: Emulator, ask: Ask) -> None:
    """A limitless key shows the server's idea of no limit, gzipped when asked for."""
    path = "/dashboard/billing/subscription"
    free = asker(emu, emu.control.add_key())
    answered = await free("GET", path, b"", ("Accept-Encoding", "gzip"))
    plain = await ask("GET", path)

    assert answered.header("Content-Encoding") == "gzip"
    shown = json.loads(gzip.decompress(answered.body))
    assert shown["hard_limit_usd"] == 100_000_000
    value = plain.json()
    assert isinstance(value, dict)
    assert value["hard_limit_usd"] == 2000


async def _accounts_list(emu: Emulator, path: str) -> list[dict[str, object]]:
    async with Wire(emu.base_url) as wire:
        headers = [("Authorization", emu.account_token)]
        value = (await wire.ask("GET", path, headers)).json()
    assert isinstance(value, dict)
    entries: list[dict[str, object]] = value["data"]["list"]
    assert value["data"]["total"] == len(entries)
    return entries


async def test_the_account_may_filter_its_tasks(
    still: Emulator, ask_still: Ask
) -> None:
    """By id, status and time; what has not finished is before any end."""
    path = "/api/mj/self?page=1&pagesize=20"
    ended = {"status": "FAILURE", "failReason": "broken", "finishTime": 2000}
    still.control.script_tasks(scripts.sequence(ended))
    first = await submit(ask_still)
    still.control.beat()
    still.control.advance(1)
    second = await submit(ask_still)
    new, old = await _accounts_list(still, path)
    assert (new["mj_id"], old["mj_id"]) == (second, first)

    async def ids(query: str) -> list[object]:
        return [row["mj_id"] for row in await _accounts_list(still, path + query)]

    assert await ids(f"&mj_id={first}") == [first]
    assert await ids("&status=FAILURE") == [first]
    assert await ids(f"&start_timestamp={new['submit_time']}") == [second]
    assert await ids("&end_timestamp=1999") == [second]
    assert await ids("&end_timestamp=2000&type=fast") == [second, first]
    assert await ids("&type=turbo") == []


async def test_the_account_may_filter_its_log(still: Emulator, ask_still: Ask) -> None:
    """By time, type, model and key; type 0 and an empty filter are every one."""
    for _ in range(2):
        await submit(ask_still)
        still.control.advance(100)
    new, old = await _accounts_list(still, "/api/log/self")

    async def ids(query: str) -> list[object]:
        entries = await _accounts_list(still, f"/api/log/self?{query}")
        return [entry["id"] for entry in entries]

    both = [new["id"], old["id"]]
    assert await ids(f"start_timestamp={new['created_at']}") == both[:1]
    assert await ids(f"end_timestamp={old['created_at']}") == both[1:]
    assert await ids("type=0&model_name=&token_name=n") == both
    assert await ids("type=2&model_name=swap_face") == both
    assert await ids("type=1") == await ids("model_name=other") == []


async def test_the_accounts_pages_may_lag_behind(
    still: Emulator, ask_still: Ask
) -> None:
    """The log off or late, a state late or never; the charge is there all the same."""
    tasks = "/api/mj/self?page=1&pagesize=20"
    task_id = await submit(ask_still, state="mine")
    still.control.beat()

    async def shown() -> tuple[int, object, bool]:
        entries = await _accounts_list(still, "/api/log/self")
        rows = await _accounts_list(still, tasks)
        assert [row["mj_id"] for row in rows] == [task_id]
        return len(entries), rows[0]["state"], bool(rows[0]["status"])

    assert await shown() == (1, "mine", True)
    still.control.account_side(log=False)
    assert await shown() == (0, "mine", True)
    still.control.account_side(log_delay=5, state_delay=10)
    assert await shown() == (0, "", False)
    still.control.advance(6)
    assert await shown() == (1, "", False)
    still.control.advance(6)
    assert await shown() == (1, "mine", True)
    still.control.account_side(state_delay=float("inf"))
    assert await shown() == (1, "", False)
    assert len(still.control.charges) == 1


async def test_a_queued_job_is_not_charged(emu: Emulator, ask: Ask) -> None:
    """Code 22 by order, whatever the queue; a refusal stays one."""
    emu.control.standing("submit", faults.Trouble("queued"))
    answered = await ask("POST", _SWAP, swap_body())
    assert b'"code":22' in answered.body
    assert emu.control.charges == []
    assert len(emu.control.tasks) == 1
    refused = await ask("POST", _SWAP, swap_body("s", "s"))
    assert b'"code":4' in refused.body


async def test_a_redirect_keeps_the_query(ask: Ask) -> None:
    """A slash too many is taken away and nothing else."""
    answered = await ask("GET", f"{_FETCH}/?a=1")

    assert answered.header("Location") == f"{_FETCH}?a=1"


async def test_a_preflight_may_ask_for_no_headers(emu: Emulator) -> None:
    """Without names of headers there is no header about them."""
    asked = [("Origin", "https://a.example"), ("Access-Control-Request-Method", "GET")]
    async with Wire(emu.base_url) as wire:
        answered = await wire.ask("OPTIONS", "/anything", asked)

    assert answered.status == 200
    assert answered.header("Access-Control-Allow-Headers") is None


async def test_a_plain_switch_says_json() -> None:
    """With text/plain switched off an acceptance is called JSON."""
    async with serving(EmulatorSettings(plain_text=False)) as emu:
        answered = await asker(emu)("POST", _SWAP, swap_body())

    assert answered.header("Content-Type") == "application/json"


async def test_the_seed_of_a_swap_is_refused(emu: Emulator, ask: Ask) -> None:
    """The upstream has no seed for a swap; a broken call to it is code 5."""
    task_id = await submit(ask)
    emu.control.script("seed", faults.Upstream(broken="refused"))
    path = f"/mj/task/{task_id}/image-seed"

    broken, refused = await ask("GET", path), await ask("GET", path)

    assert b"do_request_failed " in broken.body
    assert (refused.status, b'"code":4' in refused.body) == (200, True)


async def test_a_result_is_at_the_address_of_the_upstream(
    ask: Ask,
) -> None:
    """What notifications name as the picture's address is served."""
    task_id = await submit(ask)
    await fetch_end(ask, task_id)

    assert (await ask("GET", f"/__emu/cdn/{task_id}")).status == 200
    assert (await ask("GET", "/__emu/cdn/1")).status == 404


async def test_a_slow_task_takes_its_time(still: Emulator, ask_still: Ask) -> None:
    """It runs until the clock has gone on, and then is swapped."""
    still.control.script_tasks(scripts.slow(90))
    task_id = await submit(ask_still)
    still.control.beat()
    before = await fetch(ask_still, task_id)
    still.control.advance(90)
    after = await fetch(ask_still, task_id)
    while after["status"] != "SUCCESS":
        still.control.beat()
        after = await fetch(ask_still, task_id)

    assert before["status"] == "IN_PROGRESS"


async def test_two_tasks_of_one_moment_have_two_ids(
    still: Emulator, ask_still: Ask
) -> None:
    """Though the clock stands still no id is given twice."""
    still.control.script_tasks(*(scripts.fails() for _ in range(60)))
    ids = set()
    for number in range(60):
        ids.add(await submit(ask_still, "s", f"t{number}"))
        still.control.beat()

    assert len(ids - {""}) == 60


@pytest.mark.parametrize("anywhere", [True, False])
async def test_hooks_may_be_let_out(*, anywhere: bool) -> None:
    """With the setting a foreign address is called, without it nothing is."""
    settings = EmulatorSettings(hooks_anywhere=anywhere)
    async with serving(settings) as emu:
        emu.control.script_tasks(
            scripts.sequence({"status": "SUBMITTED"}, {"status": "SUBMITTED"}),
            scripts.fails(),
        )
        ask = asker(emu)
        # this machine, but not by a loopback address; nobody listens there
        hook = "http://0.0.0.0:9/x"
        task_id = await submit(ask, notifyHook=hook)
        for _ in range(3):
            await fetch(ask, task_id)
        while anywhere and not emu.control.hooks:
            await asyncio.sleep(0)

        assert [sent.url for sent in emu.control.hooks] == [hook] * anywhere


async def test_every_notification_is_noted_with_its_answer(
    emu: Emulator, ask: Ask
) -> None:
    """Status by status, with what the receiver said; nothing is sent twice."""
    url = f"{emu.base_url}/hook"
    task_id = await submit(ask, notifyHook=url)
    while len(emu.control.hooks) < 4:
        await asyncio.sleep(0)

    told = [(sent.body["status"], sent.status) for sent in emu.control.hooks]
    words = ("NOT_START", "SUBMITTED", "IN_PROGRESS", "SUCCESS")
    assert told == [(word, 404) for word in words]
    assert {sent.body["id"] for sent in emu.control.hooks} == {task_id}


async def test_forwarding_can_be_switched_off(emu: Emulator) -> None:
    """A relay that strips the hook sends nothing."""
    async with serving(EmulatorSettings(forward_hooks=False)) as deaf:
        ask = asker(deaf)
        await fetch_end(ask, await submit(ask, notifyHook=f"{emu.base_url}/hook"))

        assert deaf.control.hooks == []
    assert emu.control.requests == []


def test_a_thread_gives_its_ledger_after_its_end() -> None:
    """What was counted can be read when the server is gone."""
    with in_thread() as emu:
        emu.control.balance = 7

    assert emu.control.balance == 7
    assert emu.control.requests == []


async def test_leaving_takes_every_task_along() -> None:
    """Stuck jobs, beats and hooks all end with the block."""
    before = asyncio.all_tasks()
    async with serving(EmulatorSettings(poll_interval=1)) as emu:
        emu.control.script_tasks(scripts.stuck(), scripts.slow(99))
        for name in "tu":
            await submit(asker(emu), "s", name, notifyHook=f"{emu.base_url}/hook")

    assert asyncio.all_tasks() == before


@pytest.mark.local
async def test_the_real_engine_is_a_word_away() -> None:
    """``engine="opencv"`` starts with the extra installed."""
    pytest.importorskip("cv2")
    async with running(engine="opencv") as base_url:
        assert base_url.startswith("http://")
