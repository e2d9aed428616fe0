"""Notifications to the ``notifyHook`` of a job."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from ezlink_async.emulator import EmulatorSettings, HookFaults, scripts, serving
from tests.support.emulator_requests import RawApi, until


@pytest.fixture
async def receiver() -> AsyncIterator[tuple[str, list[dict[str, object]]]]:
    """Receive notifications, and answer each with a 500."""
    received: list[dict[str, object]] = []

    async def receive(request: web.Request) -> web.Response:
        received.append(await request.json())
        return web.Response(status=500)

    app = web.Application()
    app.router.add_post("/hook", receive)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/hook", received
    await runner.cleanup()


@pytest.mark.parametrize("twice", [False, True])
async def test_states_are_posted_once_and_in_order(
    receiver: tuple[str, list[dict[str, object]]], *, twice: bool
) -> None:
    """A refused post is not repeated; with *hook_twice* the end is posted twice."""
    url, received = receiver
    words = ["NOT_START", "SUBMITTED", "IN_PROGRESS", "SUCCESS", "SUCCESS"][: 4 + twice]
    async with serving(EmulatorSettings(forward_hooks=True, hook_twice=twice)) as emu:
        task_id = await RawApi(emu).submit(notifyHook=url)
        await until(lambda: len(emu.control.hooks) >= len(words))
        sent = emu.control.hooks

    assert [each["status"] for each in received] == words
    assert [(each.body["status"], each.status) for each in sent] == [
        (word, 500) for word in words
    ]
    assert {each["id"] for each in received} == {task_id}


async def test_hooks_are_called_on_loopback_only() -> None:
    """A foreign or malformed address is not called; a dead one is recorded."""
    async with serving(EmulatorSettings(forward_hooks=True)) as emu:
        api, control = RawApi(emu), emu.control
        for url in ("http://10.0.0.1/x", "http://example.com/x", "http://[odd", ""):
            await api.submit(notifyHook=url)
        assert control.hooks == []
        await api.submit(notifyHook="http://127.0.0.1:9/x")
        await until(lambda: any(h.body["status"] == "SUCCESS" for h in control.hooks))
        assert {hook.status for hook in control.hooks} == {None}


@pytest.mark.parametrize("anywhere", [True, False])
async def test_foreign_hook_is_called_with_hooks_anywhere(*, anywhere: bool) -> None:
    settings = EmulatorSettings(forward_hooks=True, hooks_anywhere=anywhere)
    async with serving(settings) as emu:
        emu.control.script_tasks(
            scripts.sequence({"status": "SUBMITTED"}, {"status": "SUBMITTED"})
        )
        api = RawApi(emu)
        # this machine, but not by a loopback address; no server listens there
        hook = "http://0.0.0.0:9/x"
        task_id = await api.submit(notifyHook=hook)
        for _ in range(3):
            await api.fetch(task_id)
        await until(lambda: emu.control.hooks or not anywhere)

        assert [sent.url for sent in emu.control.hooks] == [hook] * anywhere


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_share_of_faulty_notifications_is_from_0_to_1(share: float) -> None:
    with pytest.raises(ValueError, match="dropped is a share from 0 to 1"):
        HookFaults(dropped=share)
