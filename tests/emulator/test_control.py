"""The strings behind the emulator: from a test, and from another process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from ezlink_async import AsyncEzlink, PollPolicy, RetryPolicy, TaskStatus, errors
from ezlink_async.emulator import (
    DEFAULT_KEY,
    Emulator,
    EmulatorSettings,
    faults,
    in_thread,
    running,
    scripts,
    serving,
)
from tests.support.emulator_requests import Ask, fetch, submit
from tests.support.pictures import jpeg

POLL = PollPolicy(first=0.01, shortest=0.01, longest=0.05)


async def _order(ask: Ask, **order: object) -> tuple[int, object]:
    answered = await ask("POST", "/__emu/faults", json.dumps(order).encode())
    return answered.status, answered.json()


async def test_another_process_can_order_and_count(emu: Emulator, ask: Ask) -> None:
    """Faults and scripts by JSON, the state by GET, and a reset."""
    told = await _order(
        ask,
        on="submit",
        faults=[{"kind": "answer", "status": 503, "headers": [["A", "b"]]}],
        tasks=[
            {"kind": "stuck", "status": "SUBMITTED"},
            {"views": [{"status": "IN_PROGRESS"}], "swap": True},
        ],
    )
    assert told == (200, {"ok": True})
    refused = await ask("POST", "/mj/insight-face/swap", b"{}")
    assert refused.status == 503
    task_id = await submit(ask)
    assert (await fetch(ask, task_id))["status"] == "SUBMITTED"
    state = (await ask("GET", "/__emu/state")).json()
    assert isinstance(state, dict)
    assert state == json.loads(json.dumps(emu.control.state()))
    assert len(emu.control.charges) == 1
    assert (await ask("POST", "/__emu/reset")).json() == {"ok": True}
    assert emu.control.charges == []


async def test_a_standing_fault_stands_until_it_is_taken_away(ask: Ask) -> None:
    """``standing`` plays around every request, and ``null`` ends it."""
    drop = {"kind": "answer", "status": 418}
    assert (await _order(ask, on="fetch", standing=drop))[0] == 200
    for _ in range(2):
        assert (await ask("GET", "/mj/task/1/fetch")).status == 418
    assert (await _order(ask, on="fetch", standing=None))[0] == 200
    assert (await ask("GET", "/mj/task/1/fetch")).status == 400


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ([], "object"),
        ({"faults": [{"kind": "drop"}]}, "on must be"),
        ({"on": "submit", "faults": [{"kind": "dance"}]}, "kind must be"),
        ({"on": "submit", "faults": [{"kind": "drop", "x": 1}]}, "drop"),
        ({"on": "submit", "faults": "drop"}, "list of objects"),
        ({"tasks": [7]}, "list of objects"),
    ],
)
async def test_an_order_that_cannot_be_read_is_400(
    ask: Ask, order: object, words: str
) -> None:
    """The answer says what is wrong with it."""
    answered = await ask("POST", "/__emu/faults", json.dumps(order).encode())
    assert answered.status == 400
    assert words in str(answered.json())


async def test_orders_that_are_no_json_are_400(ask: Ask) -> None:
    """Bytes that are no JSON are refused like any other bad order."""
    assert (await ask("POST", "/__emu/faults", b"{")).status == 400


async def test_balances_accounts_and_keys(emu: Emulator) -> None:
    """Money can be given and taken, accounts opened, keys added and banned."""
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


def test_from_any_thread() -> None:
    """A server on a thread of its own; what goes wrong there is raised here."""
    with in_thread() as server:
        assert server.control.charges == []
        with pytest.raises(KeyError):
            server.control.set_key("sk-nobody", status="disabled")
    with (
        pytest.raises(ValueError, match="no such engine"),
        in_thread(EmulatorSettings(engine="magic")),
    ):
        pass


async def test_running_gives_an_address_and_knows_the_default_key() -> None:
    """``running`` is the short way: an address, and the documented key."""
    async with running(concurrency=1) as base_url:
        client = AsyncEzlink(DEFAULT_KEY, base_url=base_url, poll=POLL)
        async with client as ez:
            handle = await ez.swap_face(jpeg(20_000), jpeg(20_001))
            assert (await handle).status is TaskStatus.SUCCESS


async def test_realistic_settings_have_the_beat_of_the_service() -> None:
    """Rows are copied every ten seconds, and stages take their time."""
    settings = EmulatorSettings.realistic()
    assert settings.poll_interval == 10
    assert settings.engine_seconds > 0


async def test_it_may_listen_on_ipv6() -> None:
    """An address of another kind is put in brackets."""
    async with serving(EmulatorSettings(host="::1")) as server:
        assert server.base_url.startswith("http://[::1]:")


async def test_a_lost_channel_fails_what_runs(still: Emulator, ask_still: Ask) -> None:
    """E30: without its channel the relay gives every running task up."""
    still.control.script_tasks(scripts.stuck())
    task_id = await submit(ask_still)
    still.control.lose_channel(17)
    still.control.beat()
    record = await fetch(ask_still, task_id)
    assert (record["status"], record["progress"]) == ("FAILURE", "100%")
    assert "17" in str(record["failReason"])
    still.control.lose_channel(None)


@asynccontextmanager
async def _hooked(status: int) -> AsyncIterator[tuple[str, list[dict[str, object]]]]:
    """Receive notifications, and answer each with *status*."""
    heard: list[dict[str, object]] = []

    async def hear(request: web.Request) -> web.Response:
        heard.append(await request.json())
        return web.Response(status=status)

    app = web.Application()
    app.router.add_post("/hook", hear)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/hook", heard
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("twice", [False, True])
async def test_hooks_are_sent_in_order_and_never_again(*, twice: bool) -> None:
    """Each change once, the end perhaps twice, whatever the receiver answers."""
    async with asyncio.timeout(30), _hooked(500) as (url, heard):
        settings = EmulatorSettings(hook_twice=twice)
        async with serving(settings) as server:
            ask = await _asker(server)
            await submit(ask, notifyHook=url)
            ends = 1 + twice
            while sum(h["status"] == "SUCCESS" for h in heard) < ends:
                await asyncio.sleep(0)
            statuses = [str(each["status"]) for each in heard]
            assert statuses[-ends:] == ["SUCCESS"] * ends
            assert statuses == sorted(statuses, key=_ORDER.index)


_ORDER = ["NOT_START", "SUBMITTED", "IN_PROGRESS", "SUCCESS"]


async def _asker(server: Emulator) -> Ask:
    from tests.support.emulator_requests import asker

    return asker(server)


async def test_hooks_stay_on_this_machine_unless_told(emu: Emulator, ask: Ask) -> None:
    """A foreign or odd address is not called; a dead one is noted."""
    for url in ("http://10.0.0.1/x", "http://example.com/x", "http://[odd", ""):
        await submit(ask, notifyHook=url)
    assert emu.control.hooks == []
    await submit(ask, notifyHook="http://127.0.0.1:9/x")
    while not any(h.body["status"] == "SUCCESS" for h in emu.control.hooks):
        await asyncio.sleep(0)
    assert {hook.status for hook in emu.control.hooks} == {None}


async def test_the_account_side_shows_what_was_charged(emu: Emulator) -> None:
    """Log, tasks and account, for the account's token only."""
    async with asyncio.timeout(30), aiohttp.ClientSession(emu.base_url) as session:

        async def ask(path: str, token: str) -> dict[str, object]:
            headers = {"Authorization": token} if token else {}
            async with session.get(path, headers=headers) as answered:
                found: dict[str, object] = await answered.json(content_type=None)
                return found

        client = AsyncEzlink(emu.api_key, base_url=emu.base_url, poll=POLL)
        async with client as ez:
            await (await ez.swap_face(jpeg(20_000), jpeg(20_001), state="mine"))
        (request_id,) = emu.control.uploads
        token = emu.account_token
        log = await ask(f"/api/log/self?x_request_id={request_id}", f"Bearer {token}")
        assert str(log).count(request_id) == 1
        tasks = await ask("/api/mj/self?page=1&pagesize=20", token)
        assert "mine" in str(tasks)
        account = await ask("/api/user/self", token)
        assert "9000" in str(account)
        for path in ("/api/user/self", "/api/log/self", "/api/mj/self"):
            for wrong in ("", emu.api_key):
                assert (await ask(path, wrong))["success"] is False


async def test_a_full_queue_is_waited_for() -> None:
    """Three running, two queued, the rest refused: every swap is done in the end."""
    settings = EmulatorSettings(concurrency=3, queue=2, engine_seconds=0.02)
    async with asyncio.timeout(60), serving(settings) as server:
        client = AsyncEzlink(
            server.api_key,
            base_url=server.base_url,
            max_concurrency=24,
            poll=POLL,
            retry=RetryPolicy(first=0.01, longest=0.05),
        )
        targets = [jpeg(20_001 + number) for number in range(60)]
        async with client as ez:
            outcomes = [o async for o in ez.swap_faces(jpeg(20_000), targets)]
        assert [o.error for o in outcomes if o.error] == []
        assert len(server.control.charges) + _queued(server) == 60
        assert server.control.peak <= 5


def _queued(server: Emulator) -> int:
    """Return how many were accepted as queued: those are not charged."""
    return len(server.control.tasks) - len(server.control.charges)


async def test_an_hour_without_network_in_small() -> None:
    """A server that is gone for a while, in the middle of a batch, fails nothing."""
    async with asyncio.timeout(60), serving() as server:
        client = AsyncEzlink(
            server.api_key,
            base_url=server.base_url,
            max_concurrency=2,
            poll=POLL,
            retry=RetryPolicy(first=0.01, longest=0.02, attempts=2),
        )
        async with client as ez:
            await (await ez.swap_face(jpeg(20_000), jpeg(20_001)))
            server.control.script("fetch", *[faults.Drop(reset=True)] * 9)
            await (await ez.swap_face(jpeg(20_000), jpeg(20_002)))
        with pytest.raises(errors.ClientClosedError):
            await ez.fetch_task("1")
