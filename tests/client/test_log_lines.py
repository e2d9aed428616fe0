"""The log of a client: a line for each fact, and no secret in any of them."""

from __future__ import annotations

import base64
import gc
import logging
import re
from pathlib import Path

import attrs
import pytest

from ezlink_async import AsyncEzlink, errors
from ezlink_async.emulator import faults, scripts
from tests.support.client_harness import RETRY, beside_emulator, emulated_client
from tests.support.pictures import jpeg

SOURCE = jpeg(20_000)
TARGET = jpeg(30_000)
NO_CHANNEL = faults.Trouble("no_channel")


def lines(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    """Return the messages of *level*, with times and request ids left out."""
    messages = [r.getMessage() for r in caplog.records if r.levelno == level]
    return [
        re.sub(r"[0-9a-f]{32}", "R", re.sub(r"\d+\.\d+ s", "T", each))
        for each in messages
    ]


async def test_life_of_a_swap_is_logged_with_ids_and_times(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with beside_emulator() as (ez, _):
        handle = await ez.swap_face(SOURCE, TARGET)
        task_id, path = handle.task_id, await handle.save(tmp_path / "a.jpg")
    size = len(path.read_bytes())
    label = "Image(<30000 bytes>)"
    assert lines(caplog, logging.INFO) == [
        f"submitted {label} in T (request R)",
        f"task {task_id} accepted after T: {label} (request R)",
        f"task {task_id} ended after T: SUCCESS",
        f"task {task_id}: saved {path} ({size} bytes) in T",
    ]


async def test_failures_that_pass_are_logged_where_they_are_waited_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    # A missing channel is waited for half of the bound.
    async with beside_emulator(retry=attrs.evolve(RETRY, timeout=3)) as (ez, server):
        server.control.script("submit", faults.limiter(), NO_CHANNEL)
        server.control.script("image", faults.Picture(status=503, content="busy"))
        handle = await ez.swap_face(SOURCE, TARGET)
        await handle.save(tmp_path / "a.jpg")
        server.control.script("fetch", faults.Answer(502, "<html>"))
        await ez.fetch_task(handle.task_id)
    found = "\n".join(lines(caplog, logging.INFO))
    assert "new submits wait T: the server is full" in found
    assert "submitting Image(<30000 bytes>) again in T (request R): " in found
    assert f"retrying GET /mj/task/{handle.task_id}/fetch in T" in found
    assert f"retrying the download of task {handle.task_id} in T: HTTP 503" in found


async def test_failed_task_is_logged_with_its_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with beside_emulator() as (ez, server):
        server.control.script_tasks(scripts.fails("no face"))
        handle = await ez.swap_face(SOURCE, TARGET)
        with pytest.raises(errors.TaskFailedError):
            await handle
    found = lines(caplog, logging.INFO)[-1]
    assert found.startswith(f"task {handle.task_id} ended after T: TaskFailedError: ")


async def test_requests_are_logged_at_debug_without_secrets(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "ezlink_async")
    async with emulated_client(with_account=True) as here:
        await (await here.ez.swap_face(SOURCE, TARGET)).read()
        await here.ez.account.balance()
        with pytest.raises(errors.DownloadError):
            await here.ez.fetch_image(f"{here.server.base_url}/x.jpg?token=s3cret")
    found = lines(caplog, logging.DEBUG)
    base = here.server.base_url
    assert f"POST {base}/mj/insight-face/swap -> 200 in T (request R)" in found
    assert any(line.startswith(f"GET {base}/x.jpg -> 404 in T") for line in found)
    pictures = [base64.b64encode(each).decode()[:60] for each in (SOURCE, TARGET)]
    for secret in (here.server.api_key, here.server.account_token, "s3cret", *pictures):
        assert secret not in caplog.text


async def test_request_without_an_answer_is_logged_with_its_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "ezlink_async")
    async with beside_emulator() as (ez, server):
        server.control.script("fetch", *[faults.Drop()] * 2)
        with pytest.raises(errors.TaskNotFoundError):
            await ez.fetch_task("7")
    assert any(
        f"GET {server.base_url}/mj/task/7/fetch -> Server" in line
        for line in lines(caplog, logging.DEBUG)
    )


async def test_client_dropped_without_being_closed_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with beside_emulator() as (_, server):
        ez = AsyncEzlink(server.api_key, base_url=server.base_url)
        await ez.__aenter__()
        close = ez._session
        del ez
        gc.collect()
        assert close is not None
        await close.close()
    [line] = lines(caplog, logging.WARNING)
    assert line.startswith("a client was dropped without being closed: use it with")


async def test_closed_client_and_one_never_entered_say_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with beside_emulator():
        pass
    AsyncEzlink("sk-any")
    gc.collect()
    assert lines(caplog, logging.WARNING) == []
