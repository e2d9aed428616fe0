"""The client through its public face: entering, swapping, cancelling, closing."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import re
import threading
import weakref
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import attrs
import pytest

from ezlink_async import (
    AccountFilter,
    AsyncEzlink,
    Image,
    Mode,
    SwapOutcome,
    TaskStatus,
    Timeouts,
    errors,
)
from ezlink_async._client.client import session_of
from ezlink_async._client.job_stream import AnyPipeline, JobPipeline
from ezlink_async.emulator import (
    Emulator,
    EmulatorSettings,
    faults,
    read_hashes,
    scripts,
    serving,
)
from ezlink_async.services.face_swap import FaceSwap
from tests.support.cancelling import cancel
from tests.support.client_harness import (
    POLL,
    RETRY,
    beside_emulator,
    charges,
    emulated_client,
    until,
)
from tests.support.pictures import jpeg, png

SOURCE, TARGET = jpeg(20_000), jpeg(30_000)
LARGE = jpeg(9_000_000)


def _pipelines() -> list[AnyPipeline]:
    gc.collect()
    return [each for each in gc.get_objects() if isinstance(each, JobPipeline)]


async def _collect(
    stream: AsyncIterable[SwapOutcome], outcomes: list[SwapOutcome]
) -> None:
    async for outcome in stream:
        outcomes.append(outcome)  # noqa: PERF401 - what came before an error is kept


async def test_all_fields_of_a_swap_reach_the_server() -> None:
    async with beside_emulator() as (ez, server):
        handle = await ez.swap_face(
            Image.from_bytes(SOURCE),
            png(),
            state="a<b",
            notify_hook=f"{server.base_url}/nowhere",
            account_filter=AccountFilter(instance_id="7"),
            mode="turbo",
        )
        assert (await handle).state == "a<b"
        assert "/mj-turbo/mj/insight-face/swap" in [
            seen.path for seen in server.control.requests
        ]
        await ez.swap_face(SOURCE, TARGET, mode=Mode.RELAX)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"mode": "ultra"}, errors.ConfigurationError),
        ({"state": 7}, errors.ConfigurationError),
        ({"target": "no-such-file.jpg"}, errors.ImageError),
        ({"target": "https://example.com/a.jpg"}, errors.ImageError),
        ({"target": "data:image/png;base64,AAAA"}, errors.ImageError),
        ({"target": b"no picture"}, errors.ImageError),
        ({"target": SOURCE}, errors.ImageError),
        ({"target": 7}, errors.ImageError),
    ],
)
async def test_bad_input_is_refused_before_anything_is_sent(
    given: dict[str, object], error: type[errors.EzlinkError]
) -> None:
    async with beside_emulator() as (ez, server):
        with pytest.raises(error) as caught:
            await ez.swap_face(**{"source": SOURCE, "target": TARGET, **given})  # type: ignore[arg-type]
        assert caught.value.retry_safe
        assert server.control.requests == []


async def test_slots_are_held_until_tasks_end() -> None:
    settings = EmulatorSettings(concurrency=9)
    async with beside_emulator(settings, max_concurrency=3) as (ez, server):
        server.control.script_tasks(*[scripts.stuck()] * 3)
        handles = [await ez.swap_face(SOURCE, jpeg(20_001 + n)) for n in range(3)]
        waiting = asyncio.create_task(ez.swap_face(SOURCE, TARGET))
        for handle in handles:
            async for record in handle.updates():
                assert record.status is TaskStatus.IN_PROGRESS
                break
        assert not waiting.done()
        assert charges(server) == 3
        session_of(ez).poller.pending()[0].end(None)
        await (await waiting)
        assert charges(server) == 4


async def test_handles_that_are_not_awaited_release_their_slots() -> None:
    async with beside_emulator(max_concurrency=2) as (ez, server):
        for number in range(10):
            await ez.swap_face(SOURCE, jpeg(20_001 + number))
        assert charges(server) == 10
        assert server.control.peak <= 2


async def test_slot_timeout_ends_the_wait_for_a_slot_and_sends_nothing() -> None:
    async with beside_emulator(max_concurrency=1, slot_timeout=0.05) as (ez, server):
        server.control.script_tasks(scripts.stuck())
        await ez.swap_face(SOURCE, TARGET)
        with pytest.raises(errors.SlotTimeoutError) as caught:
            await ez.swap_face(SOURCE, TARGET)
        assert caught.value.retry_safe
        assert charges(server) == 1


async def test_submit_cancelled_while_waiting_for_a_slot_sends_nothing() -> None:
    async with beside_emulator(max_concurrency=1) as (ez, server):
        server.control.script_tasks(scripts.stuck())
        await ez.swap_face(SOURCE, TARGET)
        waiting = asyncio.create_task(ez.swap_face(SOURCE, TARGET))
        await asyncio.sleep(0)
        await cancel(waiting)
        assert charges(server) == 1


async def test_submit_cancelled_while_uploading_creates_no_job() -> None:
    """The connection is dropped, and the slot is free again."""
    async with beside_emulator(max_concurrency=1) as (ez, server):
        server.control.script("submit", faults.Stall(after_bytes=100_000))
        task = asyncio.create_task(ez.swap_face(SOURCE, LARGE))
        await until(server, "requests")
        await cancel(task)
        assert server.control.uploads == {}
        await (await ez.swap_face(SOURCE, TARGET))
        assert charges(server) == 1


async def test_submit_cancelled_after_its_last_byte_appears_in_pending(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The caller is released at once, and the paid task is followed to its end."""
    async with beside_emulator(max_concurrency=1) as (ez, server):
        server.control.script("submit", faults.Delay(0.2, job=True))
        server.control.script_tasks(scripts.slow(0.3))
        task = asyncio.create_task(ez.swap_face(SOURCE, TARGET))
        await until(server, "charges")
        await cancel(task)
        with caplog.at_level(logging.WARNING, logger="ezlink_async"):
            while not caplog.records:
                await asyncio.sleep(0)
        (handle,) = ez.pending()
        assert handle.task_id in caplog.text
        assert await handle.read()
        await (await ez.swap_face(SOURCE, TARGET))  # the slot came back


async def test_closing_aborts_an_upload_and_creates_no_job() -> None:
    async with beside_emulator() as (ez, server):
        server.control.script("submit", faults.Stall(after_bytes=100_000))
        task = asyncio.create_task(ez.swap_face(SOURCE, LARGE))
        await until(server, "requests")
        await ez.aclose()
        with pytest.raises(errors.ClientClosedError) as caught:
            await task
        assert caught.value.retry_safe
        assert server.control.uploads == {}


async def test_closing_waits_for_an_answer_and_gives_its_id() -> None:
    async with beside_emulator() as (ez, server):
        server.control.script("submit", faults.Delay(0.1, job=True))
        task = asyncio.create_task(ez.swap_face(SOURCE, TARGET))
        await until(server, "charges")
        await ez.aclose()
        with pytest.raises(errors.ClientClosedError) as caught:
            await task
        assert caught.value.task_ids == (server.control.tasks[0].task_id,)


async def test_closing_without_an_answer_leaves_the_submit_unknown() -> None:
    async with beside_emulator(timeouts=Timeouts(close=0.05)) as (ez, server):
        server.control.script("submit", faults.Stall(job=True))
        task = asyncio.create_task(ez.swap_face(SOURCE, TARGET))
        await until(server, "charges")
        await ez.aclose()
        with pytest.raises(errors.SubmitUnknownError) as caught:
            await task
        assert caught.value.request_id in server.control.uploads
        assert caught.value.target == TARGET


async def test_closing_ends_every_awaited_handle_with_its_id() -> None:
    """No asyncio task is left running."""
    before = asyncio.all_tasks()
    async with beside_emulator() as (ez, server):
        server.control.script_tasks(*[scripts.stuck()] * 2)
        handles = [await ez.swap_face(SOURCE, jpeg(20_001 + n)) for n in range(2)]
        waiters = [asyncio.create_task(handle.result()) for handle in handles]
        await asyncio.sleep(0)
        await ez.aclose()
        await ez.aclose()
        found = await asyncio.gather(*waiters, return_exceptions=True)
        assert [type(each) for each in found] == [errors.ClientClosedError] * 2
        assert [each.task_id for each in found] == [h.task_id for h in handles]  # type: ignore[union-attr]
        assert all(handle.done() for handle in handles)
        assert repr(ez).endswith("closed>")
    assert asyncio.all_tasks() == before


async def test_submit_that_has_not_started_when_the_client_closes_sends_nothing() -> (
    None
):
    async with beside_emulator(max_concurrency=1) as (ez, server):
        submits = [asyncio.create_task(ez.swap_face(SOURCE, TARGET)) for _ in range(2)]
        await ez.aclose()
        for submit in submits:
            with pytest.raises(errors.ClientClosedError) as caught:
                await submit
            assert caught.value.retry_safe
        assert server.control.requests == []


async def test_session_of_a_closed_client_submits_nothing() -> None:
    async with beside_emulator() as (ez, server):
        session = session_of(ez)
        await ez.aclose()
        with pytest.raises(errors.ClientClosedError):
            await session.submit(FaceSwap(SOURCE, TARGET))
        assert server.control.requests == []


async def test_exception_in_the_block_closes_the_client_and_is_raised() -> None:
    before = asyncio.all_tasks()

    async def fail() -> None:
        async with beside_emulator() as (ez, server):
            server.control.script_tasks(scripts.stuck())
            await ez.swap_face(SOURCE, TARGET)
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    assert asyncio.all_tasks() == before


async def test_closing_many_handles_yields_to_other_tasks() -> None:
    ended_at_each_turn: list[int] = []
    async with AsyncEzlink("sk-x", base_url="http://127.0.0.1:9") as ez:
        handles = [ez.task(str(number)) for number in range(2500)]
        closing = asyncio.create_task(ez.aclose())
        while not closing.done():
            await asyncio.sleep(0)
            ended_at_each_turn.append(sum(handle.done() for handle in handles))
    assert ended_at_each_turn[-1] == 2500
    assert {999, 1999} <= set(ended_at_each_turn)


async def test_cancelled_aclose_closes_everything_and_then_raises() -> None:
    async with beside_emulator(timeouts=Timeouts(close=0.1)) as (ez, server):
        server.control.script("submit", faults.Stall(job=True))
        task = asyncio.create_task(ez.swap_face(SOURCE, TARGET))
        await until(server, "charges")
        closing = asyncio.create_task(ez.aclose())
        await asyncio.sleep(0)
        await cancel(closing)
        with pytest.raises(errors.SubmitUnknownError):
            await task


@pytest.mark.parametrize("after", [0, 1, 4])
async def test_targets_iterator_may_close_its_client(after: int) -> None:
    """The close does not wait for itself, and a later target is not submitted."""
    before = asyncio.all_tasks()
    said: list[str] = []
    async with beside_emulator(max_concurrency=after + 1) as (ez, server):
        server.control.script_tasks(*[scripts.stuck()] * after)

        async def targets() -> AsyncIterator[bytes]:
            for number in range(after):
                yield jpeg(20_001 + number)
            while len(ez.pending()) < after:
                await asyncio.sleep(0)
            await ez.aclose()
            said.append("closed")
            with pytest.raises(errors.ClientClosedError):
                await ez.swap_face(SOURCE, TARGET)
            yield TARGET

        outcomes: list[SwapOutcome] = []
        with pytest.raises(errors.ClientClosedError):
            await _collect(ez.swap_faces(SOURCE, targets()), outcomes)
        while not said:
            await asyncio.sleep(0)
        assert [type(o.error) for o in outcomes] == [errors.ClientClosedError] * after
        assert charges(server) == after
    assert asyncio.all_tasks() == before


async def test_targets_iterator_may_close_its_client_when_it_is_cancelled() -> None:
    async with beside_emulator() as (ez, _):

        async def targets() -> AsyncIterator[bytes]:
            try:
                yield TARGET
                await asyncio.Event().wait()
            finally:
                await ez.aclose()

        stream = ez.swap_faces(SOURCE, targets())
        assert (await anext(stream)).record
        await ez.aclose()
        with pytest.raises(errors.ClientClosedError):
            await anext(stream)


async def test_targets_iterator_that_ignores_a_cancellation_is_cancelled_again() -> (
    None
):
    before = asyncio.all_tasks()
    async with beside_emulator() as (ez, _):

        async def targets() -> AsyncIterator[bytes]:
            yield TARGET
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            await asyncio.Event().wait()

        await anext(ez.swap_faces(SOURCE, targets()))
    assert asyncio.all_tasks() == before


@asynccontextmanager
async def traced(
    trace: aiohttp.TraceConfig,
) -> AsyncIterator[tuple[AsyncEzlink, Emulator]]:
    """Open a client with a session whose requests are traced."""
    async with asyncio.timeout(300), serving() as server:
        async with (
            aiohttp.ClientSession(trace_configs=[trace]) as http,
            AsyncEzlink(
                server.api_key, base_url=server.base_url, poll=POLL, http=http
            ) as ez,
        ):
            yield ez, server
        for _ in range(20):  # connections are closed in the turns to come
            await asyncio.sleep(0)


@pytest.mark.parametrize("path", ["insight-face", "fetch"])
@pytest.mark.parametrize("event", ["on_request_start", "on_request_end"])
async def test_trace_of_a_request_may_close_its_client(path: str, event: str) -> None:
    """A session of the caller may run its code in the middle of a request."""
    before = asyncio.all_tasks()
    closed = asyncio.Event()

    async def close(_: object, __: object, request: object) -> None:
        url = request.url  # type: ignore[attr-defined]  # aiohttp's, of many classes
        if path in str(url) and not closed.is_set():
            closed.set()
            await ez.aclose()

    trace = aiohttp.TraceConfig()
    getattr(trace, event).append(close)
    async with traced(trace) as (ez, _):
        outcomes: list[SwapOutcome] = []
        with pytest.raises(errors.ClientClosedError):
            await _collect(ez.swap_faces(SOURCE, [TARGET]), outcomes)
        (swap,) = outcomes
        assert isinstance(
            swap.error, errors.ClientClosedError | errors.SubmitUnknownError
        )
    assert asyncio.all_tasks() == before


async def test_submit_whose_trace_closes_the_client_gives_its_id() -> None:
    closed = asyncio.Event()

    async def close(_: object, __: object, ___: object) -> None:
        closed.set()
        await ez.aclose()

    trace = aiohttp.TraceConfig()
    trace.on_request_end.append(close)
    async with traced(trace) as (ez, server):
        with pytest.raises(errors.ClientClosedError) as caught:
            await ez.swap_face(SOURCE, TARGET)
        assert closed.is_set()
        assert caught.value.task_ids == (server.control.tasks[0].task_id,)


async def test_client_used_before_entering_or_after_closing_raises() -> None:
    ez = AsyncEzlink("sk-x", base_url="http://127.0.0.1:9")
    assert repr(ez) == "<AsyncEzlink, not entered>"
    with pytest.raises(errors.ConfigurationError, match="async with"):
        ez.pending()
    await ez.aclose()
    async with ez:
        with pytest.raises(errors.ConfigurationError, match="once"):
            await ez.__aenter__()
    with pytest.raises(errors.ClientClosedError):
        await ez.swap_face(SOURCE, TARGET)
    with pytest.raises(errors.ClientClosedError):
        ez.swap_faces(SOURCE, [TARGET])


async def test_client_used_in_a_second_event_loop_raises() -> None:
    async with beside_emulator() as (ez, _):
        found: list[str] = []

        async def use() -> None:
            for attempt in (ez.swap_face(SOURCE, TARGET), ez.aclose()):
                try:
                    await attempt
                except errors.ConfigurationError as error:
                    found.append(str(error))

        def elsewhere() -> None:
            asyncio.run(use())
            try:
                ez.task("7")
            except errors.ConfigurationError as error:
                found.append(str(error))

        thread = threading.Thread(target=elsewhere)
        thread.start()
        await asyncio.to_thread(thread.join)
        assert len(found) == 3
        assert all("event loop" in words for words in found)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"api_key": None}, "EZLINK_API_KEY"),
        ({"api_key": "sk-x", "base_url": "ftp://x"}, "base_url"),
        ({"api_key": "sk-x", "base_url": "http://example.com"}, "https"),
        ({"api_key": "sk-x", "max_concurrency": 0}, "max_concurrency"),
    ],
)
async def test_settings_are_checked_on_entering(
    options: dict[str, object], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EZLINK_API_KEY", raising=False)
    client = AsyncEzlink(**options)  # type: ignore[arg-type]
    with pytest.raises(errors.ConfigurationError, match=words):
        await client.__aenter__()


async def test_from_profile_reads_the_named_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only ``from_profile`` reads the profile, and a named file must exist."""
    monkeypatch.delenv("EZLINK_API_KEY", raising=False)
    async with serving() as server:
        path = tmp_path / "config.toml"
        path.write_text(
            f'api_key = "{server.api_key}"\nbase_url = "{server.base_url}"\n'
        )
        async with AsyncEzlink.from_profile(path) as ez:
            assert await ez.fetch_tasks(["1"]) == {}
        monkeypatch.setenv("EZLINK_CONFIG", str(path))
        async with AsyncEzlink.from_profile() as ez:
            assert server.base_url in repr(ez)
            assert server.api_key not in repr(ez)
        with pytest.raises(errors.ConfigurationError, match="no profile"):
            await AsyncEzlink.from_profile(tmp_path / "none.toml").__aenter__()


async def test_error_in_a_named_profile_names_its_file(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("max_concurrency = 0\n")
    with pytest.raises(
        errors.ConfigurationError, match=r"in the profile .*config"
    ) as e:
        await AsyncEzlink.from_profile(path, api_key="sk-1").__aenter__()
    assert str(path) in str(e.value)


async def test_one_id_has_one_handle() -> None:
    """``task``, ``restore`` and ``pending`` give the same object."""
    async with beside_emulator() as (ez, server):
        server.control.script_tasks(scripts.stuck())
        handle = await ez.swap_face(SOURCE, TARGET)
        assert ez.task(handle.task_id) is handle
        assert ez.restore(handle.to_dict()) is handle
        assert ez.pending() == (handle,)


async def test_handle_is_restored_in_another_client() -> None:
    """A finished one makes no request."""
    async with beside_emulator() as (ez, server):
        handle = await ez.swap_face(SOURCE, TARGET)
        early = json.dumps(handle.to_dict())
        record = await handle
        late = json.dumps(handle.to_dict())
        async with AsyncEzlink(
            server.api_key, base_url=server.base_url, poll=POLL
        ) as other:
            server.control.reset()
            done = other.restore(json.loads(late))
            assert (done.done(), await done) == (True, record)
            assert server.control.requests == []
            again = other.restore(json.loads(early))
            assert (await again).status is TaskStatus.SUCCESS
            assert read_hashes(await again.read()) == read_hashes(await done.read())


async def test_restoring_a_finished_handle_ends_the_followed_one() -> None:
    """Its awaiters get the record, and its slot is free again."""
    async with beside_emulator(max_concurrency=1) as (ez, server):
        server.control.script_tasks(scripts.stuck(), scripts.stuck())
        handle = await ez.swap_face(SOURCE, TARGET)
        waiter = asyncio.create_task(handle.result())
        await asyncio.sleep(0)
        saved = {
            **handle.to_dict(),
            "record": {
                "task_id": handle.task_id,
                "status": "SUCCESS",
                "image_url": f"{server.base_url}/mj/image/{handle.task_id}",
            },
        }
        assert ez.restore(saved) is handle
        assert (await waiter).status is TaskStatus.SUCCESS
        other = await ez.swap_face(SOURCE, jpeg(30_001))
        with pytest.raises(errors.ConfigurationError, match="has a record of"):
            ez.restore({**saved, "task_id": other.task_id})
        ez.restore({**saved, "record": None})
        assert handle.task_id in {each.task_id for each in ez.pending()}


async def test_id_that_cannot_stand_in_an_address_ends_the_handle(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The job is paid, so the error carries the id."""
    async with beside_emulator(max_concurrency=1) as (ez, server):
        answer = '{"code":1,"description":"x","result":".."}'
        server.control.script("submit", faults.Answer(200, answer, "application/json"))
        handle = await ez.swap_face(SOURCE, TARGET)
        with pytest.raises(
            errors.ProtocolError, match="cannot stand in an address"
        ) as caught:
            await handle
        assert (caught.value.task_id, caught.value.maybe_charged) == ("..", True)
        assert ez.pending() == ()
        await (await ez.swap_face(SOURCE, TARGET))  # the slot came back
    assert caplog.records == []


async def test_handle_of_another_server_or_family_is_refused() -> None:
    async with beside_emulator() as (ez, _):
        handle = await ez.swap_face(SOURCE, TARGET)
        saved = {**handle.to_dict(), "origin": "https://api.ezlinkai.com:443"}
        with pytest.raises(errors.ConfigurationError, match="belongs to"):
            ez.restore(saved)
        with pytest.raises(errors.ConfigurationError, match="no family of tasks"):
            ez.restore({**handle.to_dict(), "family": "nothing"})
        with pytest.raises(errors.ConfigurationError, match="not a saved handle"):
            ez.restore({"id": 7})
        with pytest.raises(errors.ConfigurationError, match="no task id"):
            ez.task("..")


async def test_restored_failure_raises_as_before() -> None:
    async with beside_emulator() as (ez, server):
        server.control.script_tasks(scripts.fails("文件上传失败"))
        handle = await ez.swap_face(SOURCE, TARGET)
        with pytest.raises(errors.TaskFailedError):
            await handle
        with pytest.raises(errors.TaskFailedError, match="engine failed"):
            await ez.restore(handle.to_dict())


async def test_restored_id_that_is_unknown_ends_at_its_deadline() -> None:
    """A fault of the server's database looks the same, and the task was paid for."""
    async with beside_emulator(poll=attrs.evolve(POLL, deadline=0.5)) as (ez, _):
        with pytest.raises(errors.TaskTimeoutError) as caught:
            await ez.restore(ez.task("7").to_dict())
        assert caught.value.maybe_charged


async def test_fetch_calls_make_one_request_and_leave_unknown_ids_out() -> None:
    async with beside_emulator(EmulatorSettings(concurrency=9)) as (ez, server):
        handles = [await ez.swap_face(SOURCE, jpeg(20_001 + n)) for n in range(3)]
        ids = [handle.task_id for handle in handles]
        for handle in handles:
            await handle
        assert (await ez.fetch_task(ids[0])).task_id == ids[0]
        found = await ez.fetch_tasks([*ids, "1", "..", ids[0]])
        assert list(found) == ids
        with pytest.raises(errors.TaskNotFoundError) as caught:
            await ez.fetch_task("1")
        assert caught.value.task_id == "1"
        server.control.standing("list", faults.Answer(404, "<html>"))
        assert list(await ez.fetch_tasks([*ids, "1", "..", "\ud800"])) == ids
        server.control.standing("list", faults.Answer(200, "[]," * 30_000))
        assert list(await ez.fetch_tasks(ids)) == ids


@pytest.mark.parametrize("status", [401, 403, 407, 511])
async def test_firewall_page_does_not_end_a_task(status: int) -> None:
    """The task is polled again, one by one or by list."""
    page = faults.Answer(status, "<html>Just a moment...</html>", "text/html")
    async with beside_emulator(EmulatorSettings(concurrency=9)) as (ez, server):
        server.control.script_tasks(*[scripts.slow(0.2)] * 3)
        server.control.script("list", page, page)
        server.control.script("fetch", page, page, page)
        handles = [await ez.swap_face(SOURCE, jpeg(20_001 + n)) for n in range(3)]
        for handle in handles:
            assert (await handle).status is TaskStatus.SUCCESS


async def test_fetch_task_names_a_firewall_page_after_its_retries() -> None:
    page = faults.Answer(403, "<html>Access denied</html>", "text/html")
    async with beside_emulator() as (ez, server):
        server.control.standing("fetch", page)
        with pytest.raises(errors.ProtocolError, match="proxy, a firewall") as caught:
            await ez.fetch_task("1")
        assert (caught.value.task_id, caught.value.status) == ("1", 403)
        assert b"Access denied" in caught.value.head
        assert len(server.control.requests) == RETRY.attempts


async def test_code_21_gives_the_followed_handle_and_frees_the_second_slot() -> None:
    async with beside_emulator(max_concurrency=2) as (ez, server):
        server.control.script_tasks(scripts.stuck())
        handle = await ez.swap_face(SOURCE, TARGET)
        body = {"code": 21, "description": "任务已存在", "result": handle.task_id}
        server.control.script("submit", *[faults.Upstream(body=body)] * 3)
        for _ in range(3):
            assert await ez.swap_face(SOURCE, TARGET) is handle
        await (await ez.swap_face(SOURCE, TARGET))


async def test_timeout_ends_one_wait_and_the_deadline_ends_the_handle() -> None:
    poll = attrs.evolve(POLL, deadline=0.3)
    async with beside_emulator(max_concurrency=1, poll=poll) as (ez, server):
        server.control.script_tasks(scripts.stuck())
        handle = await ez.swap_face(SOURCE, TARGET)
        with pytest.raises(errors.TaskTimeoutError):
            await handle.result(timeout=0)
        assert not handle.done()
        with pytest.raises(errors.TaskTimeoutError, match="IN_PROGRESS"):
            await handle
        assert handle.done()
        assert ez.pending() == ()
        await (await ez.swap_face(SOURCE, TARGET))
        assert not ez.task(handle.task_id).done()


async def test_swap_faces_gives_each_target_its_result() -> None:
    """One bad photo among them is an outcome with an error."""
    targets = [jpeg(20_001 + n) for n in range(12)]
    async with beside_emulator(max_concurrency=3) as (ez, server):
        found: dict[bytes, bytes] = {}
        bad = []
        async with ez.swap_faces(SOURCE, [*targets, b"no picture"]) as swaps:
            async for swap in swaps:
                if swap.error is not None:
                    bad.append(swap)
                    continue
                assert swap.handle is not None
                assert isinstance(swap.target, bytes)
                found[swap.target] = await swap.handle.read()
        assert set(found) == set(targets)
        assert all(content.endswith(t[2:]) for t, content in found.items())
        assert isinstance(bad[0].error, errors.ImageError)
        assert (bad[0].handle, bad[0].record) == (None, None)
        assert charges(server) == 12
        assert server.control.peak <= 3


async def test_unusable_targets_of_swap_faces_are_outcomes_with_errors(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.jpg").write_bytes(TARGET)
    entries = list(os.scandir(os.fsencode(tmp_path)))
    targets = [*entries, "/proc/self/mem", 7, tmp_path / "a.jpg"]
    async with beside_emulator() as (ez, _):
        stream = ez.swap_faces(SOURCE, targets)  # type: ignore[type-var]
        found = {str(swap.target): swap.error async for swap in stream}
        assert found.pop(str(tmp_path / "a.jpg")) is None
        assert [type(error) for error in found.values()] == [errors.ImageError] * 3


async def test_swap_faces_without_a_source_takes_pairs() -> None:
    pairs = [(jpeg(20_100 + n // 2), jpeg(20_001 + n)) for n in range(4)]
    async with beside_emulator() as (ez, _):
        hashes = set()
        async for swap in ez.swap_faces(None, pairs):
            assert swap.handle is not None
            hashes.add(read_hashes(await swap.handle.read()))
        assert len({source for source, _ in hashes}) == 2
        assert len(hashes) == 4


async def test_swap_faces_raises_a_refused_key_after_the_outcomes() -> None:
    async with beside_emulator(max_concurrency=2) as (ez, server):
        server.control.set_key(server.api_key, status="disabled")
        outcomes: list[SwapOutcome] = []
        with pytest.raises(errors.AuthenticationError):
            await _collect(ez.swap_faces(SOURCE, [TARGET] * 50), outcomes)
        assert 1 <= len(outcomes) <= 2
        assert {type(swap.error) for swap in outcomes} == {errors.AuthenticationError}


async def test_swap_faces_with_a_missing_source_takes_no_target() -> None:
    taken: list[int] = []

    def targets() -> object:
        for number in range(9):
            taken.append(number)
            yield TARGET

    async with beside_emulator() as (ez, _):
        with pytest.raises(errors.ImageError, match="no such file"):
            await anext(ez.swap_faces("no-such.jpg", targets()))  # type: ignore[call-overload]
        assert taken == []


async def test_leaving_swap_faces_stops_the_intake_and_keeps_accepted_tasks() -> None:
    async with beside_emulator(max_concurrency=3) as (ez, server):
        server.control.script_tasks(
            scripts.sequence({}, swap=True), *[scripts.stuck()] * 9
        )
        async with ez.swap_faces(SOURCE, [jpeg(20_001 + n) for n in range(9)]) as swaps:
            async for _ in swaps:
                break
        paid = charges(server)
        assert paid <= 4
        assert {h.task_id for h in ez.pending()} == {
            task.task_id for task in server.control.tasks[1:]
        }


async def test_failing_consumer_of_a_stream_has_its_paid_tasks_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:

    async def consume() -> None:
        async with (
            beside_emulator(max_concurrency=4) as (ez, server),
            ez.swap_faces(SOURCE, [jpeg(20_001 + n) for n in range(4)]) as swaps,
        ):
            server.control.script_tasks(
                scripts.sequence({}, swap=True), *[scripts.stuck()] * 3
            )
            async for swap in swaps:
                assert swap.handle is not None
                while len(ez.pending()) < 3:
                    await asyncio.sleep(0)
                tasks.update(handle.task_id for handle in ez.pending())
                raise LookupError

    tasks: set[str] = set()
    with pytest.raises(LookupError):
        await consume()
    (entry,) = caplog.records
    assert entry.levelno == logging.WARNING
    assert set(re.findall(r"task (\d+) \(target", entry.message)) == tasks
    assert "(target Image(<20003 bytes>))" in entry.message


async def test_failing_loop_without_async_with_has_its_paid_tasks_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:

    async def consume() -> None:
        async with beside_emulator(max_concurrency=2) as (ez, server):
            server.control.script_tasks(
                scripts.sequence({}, swap=True), scripts.stuck()
            )
            async for _ in ez.swap_faces(SOURCE, [TARGET, jpeg(20_001)]):
                while not ez.pending():
                    await asyncio.sleep(0)
                tasks.extend(handle.task_id for handle in ez.pending())
                raise LookupError

    tasks: list[str] = []
    with pytest.raises(LookupError):
        await consume()
    (entry,) = caplog.records
    assert f"task {tasks[0]} (target" in entry.message


async def test_stream_left_by_return_is_collected_with_its_pipeline() -> None:
    earlier = set(_pipelines())  # of other tests
    async with beside_emulator(max_concurrency=2) as (ez, server):
        server.control.script_tasks(
            scripts.sequence({}, swap=True), *[scripts.stuck()] * 9
        )

        async def first() -> weakref.ref[AnyPipeline]:
            async for swap in ez.swap_faces(SOURCE, [TARGET] * 50):
                assert swap.record
                (pipeline,) = set(_pipelines()) - earlier
                return weakref.ref(pipeline)
            raise AssertionError

        pipeline = await first()
        while pipeline() is not None:
            await asyncio.sleep(0)
            gc.collect()
        assert charges(server) <= 1 + 2


async def test_stream_left_by_break_submits_at_most_one_window_more() -> None:
    async with beside_emulator(max_concurrency=2) as (ez, server):
        swaps = ez.swap_faces(SOURCE, [jpeg(20_001 + n) for n in range(50)])
        async for _ in swaps:
            break
        for _ in range(200):
            await asyncio.sleep(0)
        assert charges(server) <= 1 + 2


async def test_closing_gives_the_reader_of_a_stream_every_outcome() -> None:
    """Then the stream raises ``ClientClosedError``."""
    async with beside_emulator(max_concurrency=2) as (ez, server):
        server.control.script_tasks(*[scripts.stuck()] * 9)
        outcomes: list[SwapOutcome] = []
        stream = ez.swap_faces(SOURCE, [jpeg(20_001 + n) for n in range(9)])
        reader = asyncio.create_task(_collect(stream, outcomes))
        await until(server, "charges", 2)
        while len(ez.pending()) < 2:
            await asyncio.sleep(0)
        await ez.aclose()
        with pytest.raises(errors.ClientClosedError):
            await reader
        assert {type(swap.error) for swap in outcomes} == {errors.ClientClosedError}
        assert all(swap.handle for swap in outcomes)


async def test_fetch_image_from_the_api_itself() -> None:
    """A picture of the API's own can be swapped with; other hosts are checked."""
    async with beside_emulator() as (ez, server):
        handle = await ez.swap_face(SOURCE, TARGET)
        record = await handle
        assert record.image_url is not None
        image = await ez.fetch_image(record.image_url)
        assert isinstance(image, Image)
        await (await ez.swap_face(image, SOURCE))
        for url in ("http://127.0.0.1:1/x.jpg", "http://10.0.0.1/x", "file:///etc/x"):
            with pytest.raises(errors.DownloadError, match="is no address"):
                await ez.fetch_image(url)
        keys = [s.headers for s in server.control.requests if "/mj/image/" in s.path]
        assert all("authorization" not in str(headers).lower() for headers in keys)


@pytest.mark.parametrize("url", [None, 5, b"https://a.example/x.jpg"])
async def test_picture_is_fetched_by_an_address_in_text_only(url: object) -> None:
    async with beside_emulator() as (ez, _):
        with pytest.raises(errors.ConfigurationError, match="url is a str, not"):
            await ez.fetch_image(url)  # type: ignore[arg-type]  # the mistake itself


async def test_no_key_in_anything_that_is_shown() -> None:
    """Neither client, handle, outcome nor any error shows the key."""
    async with beside_emulator() as (ez, server):
        handle = await ez.swap_face(SOURCE, TARGET)
        shown = [
            repr(ez),
            str(ez),
            repr(handle),
            str(handle.to_dict()),
            repr(vars(ez)["_session"]),
        ]
        server.control.script("submit", faults.Drop(job=True), faults.proxy(502))
        for _ in range(2):
            with pytest.raises(errors.SubmitUnknownError) as caught:
                await ez.swap_face(SOURCE, TARGET)
            shown += [repr(caught.value), str(vars(caught.value))]
        assert server.api_key not in "".join(shown)


async def test_a_closed_session_of_the_caller_is_refused() -> None:
    """``http=`` with a closed session is said on entering."""
    session = aiohttp.ClientSession()
    await session.close()
    with pytest.raises(errors.ConfigurationError, match="closed"):
        await AsyncEzlink("sk-x", http=session).__aenter__()


async def test_session_that_is_none_is_refused() -> None:
    with pytest.raises(errors.ConfigurationError, match="http= is an aiohttp"):
        await AsyncEzlink("sk-x", http=5).__aenter__()  # type: ignore[arg-type]


@pytest.mark.parametrize("path", [5, b"config.toml"])
def test_profile_that_is_named_by_no_path_is_refused(path: object) -> None:
    with pytest.raises(errors.ConfigurationError, match="profile is named by a path"):
        AsyncEzlink.from_profile(path)  # type: ignore[arg-type]


@pytest.mark.parametrize("ids", [None, 7, "1733213213123456", b"7"])
async def test_ids_that_are_no_list_are_refused(ids: object) -> None:
    """A text is one id, and no list of its characters."""
    async with beside_emulator() as (ez, server):
        with pytest.raises(errors.ConfigurationError, match="ids of tasks as a list"):
            await ez.fetch_tasks(ids)  # type: ignore[arg-type]
        assert server.control.requests == []


@pytest.mark.parametrize("request_id", ["\ud800", "", " ", "a\nb", None, 7])
async def test_request_id_that_is_none_is_refused(request_id: object) -> None:
    async with emulated_client(with_account=True) as here:
        with pytest.raises(errors.ConfigurationError, match="X-Request-ID of a submit"):
            await here.ez.account.charged(request_id)  # type: ignore[arg-type]
        assert here.paths == []
