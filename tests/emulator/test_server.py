"""Running an emulator: on the caller's loop, on a thread, at an address."""

from __future__ import annotations

import asyncio

import pytest

from ezlink_async import TaskStatus
from ezlink_async.emulator import (
    Clock,
    Emulator,
    EmulatorSettings,
    in_thread,
    running,
    scripts,
    serving,
)
from tests.support.client_harness import emulated_client
from tests.support.emulator_requests import RawApi
from tests.support.pictures import jpeg


def test_control_of_a_thread_may_be_used_from_another() -> None:
    """An error on the emulator's thread is raised in the caller's."""
    with in_thread() as server:
        assert server.control.charges == []
        with pytest.raises(KeyError):
            server.control.set_key("sk-unknown", status="disabled")


def test_unknown_engine_is_a_value_error() -> None:
    """The error of a start on another thread is raised in the caller's."""
    with (
        pytest.raises(ValueError, match="no such engine"),
        in_thread(EmulatorSettings(engine="magic")),
    ):
        pass


def test_control_may_be_read_after_the_end() -> None:
    with in_thread() as emu:
        emu.control.balance = 7

    assert emu.control.balance == 7
    assert emu.control.requests == []


async def test_leaving_ends_every_task(emu: Emulator) -> None:
    """Stuck jobs, the refresh and notifications all end with the block."""
    before = asyncio.all_tasks()
    async with serving(EmulatorSettings(poll_interval=1, forward_hooks=True)) as other:
        other.control.script_tasks(scripts.stuck(), scripts.slow(99))
        for name in "tu":
            hook = f"{emu.base_url}/hook"
            await RawApi(other).submit("s", name, notifyHook=hook)

    assert asyncio.all_tasks() == before


def test_settings_serve_in_two_event_loops() -> None:
    """Each emulator has a clock of its own, which wakes the refresh of its rows."""
    settings = EmulatorSettings(poll_interval=0.01)

    async def swap() -> TaskStatus:
        async with emulated_client(settings) as here:
            return (await (await here.ez.swap_face(jpeg(2_000), jpeg(3_000)))).status

    assert [asyncio.run(swap()) for _ in range(2)] == [TaskStatus.SUCCESS] * 2


def test_emulators_share_no_clock_but_one_that_is_given() -> None:
    settings = EmulatorSettings()
    assert settings.with_clock().clock is not settings.with_clock().clock
    given = EmulatorSettings(clock=Clock(ticking=False))
    assert given.with_clock().clock is given.clock


async def test_ipv6_address_is_in_brackets() -> None:
    async with serving(EmulatorSettings(host="::1")) as server:
        assert server.base_url.startswith("http://[::1]:")


def test_realistic_settings_have_the_pace_of_the_service() -> None:
    """Rows are refreshed every ten seconds, and stages take their time."""
    settings = EmulatorSettings.realistic()
    assert settings.poll_interval == 10
    assert settings.engine_seconds > 0


@pytest.mark.local
async def test_opencv_engine_starts_by_its_name() -> None:
    pytest.importorskip("cv2")
    async with running(engine="opencv") as base_url:
        assert base_url.startswith("http://")


def test_unknown_choice_of_faces_is_refused() -> None:
    with pytest.raises(ValueError, match="faces"):
        EmulatorSettings(faces="two")  # type: ignore[arg-type]
