"""The event of each HTTP request: how it ended, and what it does not show."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ezlink_async import DownloadError, RequestFinished, TransportError
from ezlink_async.emulator import faults
from tests.support.client_harness import emulated_client
from tests.support.event_log import EventLog
from tests.support.pictures import jpeg

SOURCE = jpeg(20_000)
TARGET = jpeg(30_000)


async def test_each_request_is_an_event_with_its_status_and_the_servers_id(
    tmp_path: Path,
) -> None:
    log = EventLog()
    async with emulated_client(on_event=log) as here:
        handle = await here.ez.swap_face(SOURCE, TARGET)
        await handle.save(tmp_path / "a.jpg")
        base = here.server.base_url
        arrived = [
            (each.method, base + each.path, each.request_id)
            for each in here.server.control.requests
        ]
    found = log.of(RequestFinished)
    assert [(each.method, each.url, each.request_id) for each in found] == arrived
    assert {(each.status, each.error) for each in found} == {(200, None)}
    assert all(each.seconds >= 0 for each in found)
    assert {each.job for each in found} == {1}
    assert (found[0].task_id, found[-1].task_id) == (None, handle.task_id)


async def test_request_without_an_answer_names_its_error_and_the_id_that_was_sent() -> (
    None
):
    log = EventLog()
    async with emulated_client(on_event=log) as here:
        here.server.control.script("fetch", *[faults.Drop(reset=True)] * 20)
        with pytest.raises(TransportError) as caught:
            await here.ez.fetch_task("7")
    last = log.of(RequestFinished)[-1]
    assert (last.status, last.error, last.job) == (None, "TransportError", 0)
    assert last.request_id == caught.value.request_id


async def test_cancelled_request_is_an_event() -> None:
    log = EventLog()
    async with emulated_client(on_event=log) as here:
        here.server.control.script("fetch", faults.Stall())
        asking = asyncio.create_task(here.ez.fetch_task("7"))
        while not here.server.control.requests:
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking])
    [event] = log.of(RequestFinished)
    assert (event.status, event.error) == (None, "CancelledError")


async def test_no_event_shows_a_key_a_password_or_a_query() -> None:
    log = EventLog()
    async with emulated_client(on_event=log, with_account=True) as here:
        await here.ez.account.balance()
        with pytest.raises(DownloadError):
            await here.ez.fetch_image(f"{here.server.base_url}/x.jpg?token=s3cret")
        secrets = (here.server.api_key, here.server.account_token, "s3cret")
    shown = repr(log.events)
    assert f"{here.server.base_url}/x.jpg'" in shown
    assert not [secret for secret in secrets if secret in shown]
