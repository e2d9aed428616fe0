"""Callbacks from the emulator to a client's receiver, over real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from ezlink_async import AsyncEzlink, PollPolicy
from ezlink_async.emulator import (
    Clock,
    Emulator,
    EmulatorSettings,
    HookFaults,
    scripts,
    serving,
)
from ezlink_async.errors import TaskFailedError
from ezlink_async.requests import FaceSwap, Flux, Imagine
from ezlink_async.webhook import WebhookReceiver
from tests.series.client import run_client
from tests.series.hostile_callbacks import hostile_callbacks
from tests.series.result import Environment
from tests.support.callbacks import SECRET, SERVERS, listening
from tests.support.client_harness import BOUND
from tests.support.emulator_requests import until
from tests.support.pictures import jpeg
from tests.support.programs import python

RARELY = PollPolicy(first=1000, shortest=0.01, longest=1000, deadline=10_000)
"""Polls so rarely that only a callback brings an end within a test."""

QUICK = EmulatorSettings(forward_hooks=True)


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> str:
    """Name each web server that may receive the callbacks."""
    return str(request.param)


@asynccontextmanager
async def _called_back(
    server: str, settings: EmulatorSettings, poll: PollPolicy = RARELY
) -> AsyncIterator[tuple[AsyncEzlink, Emulator]]:
    """Enter a client whose receiver stands behind a web server."""
    sock, url = listening()
    receiver = WebhookReceiver(f"{url}/hooks", secret=SECRET)
    async with (
        asyncio.timeout(BOUND),
        SERVERS[server](receiver, sock),
        serving(settings) as emulator,
        AsyncEzlink(
            emulator.api_key, base_url=emulator.base_url, poll=poll, webhook=receiver
        ) as ez,
    ):
        yield ez, emulator


def _asked(emulator: Emulator) -> int:
    return sum("/mj/task/" in each.path for each in emulator.control.requests)


async def test_end_is_known_by_its_callback(server: str) -> None:
    """No poll is due for a thousand seconds; each job has a hook of its own."""
    async with _called_back(server, QUICK) as (ez, emulator):
        states = set[str]()
        for one in range(8):
            record = await (await ez.submit(FaceSwap(jpeg(500), jpeg(600 + one))))
            assert str(record.status) == "SUCCESS"
            states.add(record.state)
        assert len(states) == len({sent.url for sent in emulator.control.hooks}) == 8


async def test_midjourney_job_is_called_back_too(server: str) -> None:
    async with _called_back(server, QUICK) as (ez, _):
        record = await (await ez.submit(Imagine("a red fox")))
        assert str(record.status) == "SUCCESS"


async def test_failure_is_known_by_its_callback(server: str) -> None:
    async with _called_back(server, QUICK) as (ez, emulator):
        emulator.control.script_tasks(scripts.fails("no face"))
        handle = await ez.submit(FaceSwap(jpeg(500), jpeg(600)))
        with pytest.raises(TaskFailedError, match="no face"):
            await handle


async def test_end_that_the_rows_show_later_is_polled_until_then(server: str) -> None:
    """The callback comes before the relay's next refresh."""
    settings = EmulatorSettings(forward_hooks=True, poll_interval=0.5)
    async with _called_back(server, settings) as (ez, emulator):
        await (await ez.submit(FaceSwap(jpeg(500), jpeg(600))))
        assert _asked(emulator) <= 30


async def test_given_hook_and_state_stay(server: str) -> None:
    hook = "http://127.0.0.1:9/mine"
    async with _called_back(server, QUICK) as (ez, emulator):
        await ez.submit(FaceSwap(jpeg(500), jpeg(600), notify_hook=hook))
        handle = await ez.submit(FaceSwap(jpeg(500), jpeg(700), state="mine"))
        assert (await handle).state == "mine"
        assert [task.state for task in emulator.control.tasks] == ["", "mine"]
        await until(lambda: hook in {sent.url for sent in emulator.control.hooks})


async def test_kind_without_the_field_has_no_hook(server: str) -> None:
    async with _called_back(server, QUICK) as (ez, emulator):
        await ez.submit(Flux("flux-2-pro", "a cat"))
        assert emulator.control.hooks == []


FAULTS = {
    "doubled": HookFaults(doubled=1.0),
    "reordered": HookFaults(reordered=1.0),
    "late": HookFaults(late=1.0, seconds=0.2),
    "forged": HookFaults(forged=1.0),
    "dropped": HookFaults(dropped=1.0),
    "all": HookFaults(dropped=0.3, doubled=0.5, late=0.5, seconds=0.2, forged=0.3),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_faulty_callbacks_neither_end_nor_lose_a_job(
    server: str, fault: str
) -> None:
    """Every record is the server's, and each job ends, with callbacks or without."""
    settings = EmulatorSettings(
        forward_hooks=True, poll_interval=0.1, hook_faults=FAULTS[fault]
    )
    poll = PollPolicy(first=0.02, shortest=0.02, longest=0.1)
    async with _called_back(server, settings, poll) as (ez, emulator):
        jobs = [ez.submit(FaceSwap(jpeg(500), jpeg(600 + one))) for one in range(12)]
        records = await asyncio.gather(*await asyncio.gather(*jobs))
        assert {str(record.status) for record in records} == {"SUCCESS"}
        assert len(emulator.control.tasks) == 12


# After a restart

_CHILD = """
import asyncio, json, sys
from ezlink_async import AsyncEzlink
from ezlink_async.requests import FaceSwap
from ezlink_async.webhook import WebhookReceiver
from tests.support.pictures import jpeg

async def main(key, base_url, hooks, secret):
    receiver = WebhookReceiver(hooks, secret=secret)
    async with AsyncEzlink(key, base_url=base_url, webhook=receiver) as ez:
        handle = await ez.submit(FaceSwap(jpeg(500), jpeg(600)))
        print(json.dumps(handle.to_dict()), flush=True)
        await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""

_WORK = 60.0  # seconds of the emulator's clock, which only the test moves


@pytest.mark.parametrize("by", ["handle", "id"])
async def test_callback_finds_a_task_of_a_killed_process(server: str, by: str) -> None:
    """A second process has the secret of the first one, and the id of its task."""
    settings = EmulatorSettings(
        forward_hooks=True, engine_seconds=_WORK, clock=Clock(ticking=False)
    )
    sock, url = listening()
    async with asyncio.timeout(BOUND), serving(settings) as emulator:
        access = emulator.api_key, emulator.base_url, f"{url}/hooks", SECRET
        async with python("-c", _CHILD, *access) as child:
            assert child.stdout is not None
            saved = json.loads(await child.stdout.readline())
            child.kill()
        receiver = WebhookReceiver(f"{url}/hooks", secret=SECRET)
        async with (
            SERVERS[server](receiver, sock),
            AsyncEzlink(
                *access[:1], base_url=access[1], poll=RARELY, webhook=receiver
            ) as ez,
        ):
            handle = ez.restore(saved) if by == "handle" else ez.task(saved["task_id"])
            assert str((await anext(aiter(handle.updates()))).status) != "SUCCESS"
            emulator.control.advance(_WORK)
            assert str((await handle).status) == "SUCCESS"
            assert len(emulator.control.charges) == 1


async def test_hostile_callbacks_are_answered_and_change_nothing() -> None:
    """A small edition; ``nox -s series`` sends 10,000."""
    result = await hostile_callbacks(Environment(None, run_client), count=240)
    assert not result.broken
