"""The client as its user meets it: entering, leaving, and every corner between."""

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
    PollPolicy,
    RetryPolicy,
    SwapOutcome,
    TaskStatus,
    Timeouts,
    errors,
)
from ezlink_async._client.swap_stream import SwapPipeline
from ezlink_async.emulator import (
    Emulator,
    EmulatorSettings,
    faults,
    read_hashes,
    scripts,
    serving,
)
from tests.support.pictures import jpeg, png

POLL = PollPolicy(first=0.01, shortest=0.01, longest=0.05)
RETRY = RetryPolicy(first=0.01, longest=0.02, attempts=3, timeout=20)
SOURCE, TARGET = jpeg(20_000), jpeg(30_000)
LARGE = jpeg(9_000_000)


@asynccontextmanager
async def shop(
    *,
    slots: int = 3,
    poll: PollPolicy = POLL,
    timeouts: Timeouts | None = None,
    slot_timeout: float | None = None,
    settings: EmulatorSettings | None = None,
) -> AsyncIterator[tuple[AsyncEzlink, Emulator]]:
    """Open a client beside an emulator."""
    async with asyncio.timeout(60), serving(settings) as server:
        client = AsyncEzlink(
            server.api_key,
            base_url=server.base_url,
            max_concurrency=slots,
            poll=poll,
            retry=RETRY,
            timeouts=timeouts,
            slot_timeout=slot_timeout,
        )
        async with client as ez:
            yield ez, server


def _charges(server: Emulator) -> int:
    return len(server.control.charges)


async def _until(server: Emulator, place: str, count: int = 1) -> None:
    """Wait until *count* submits got past the door, or became tasks."""
    while len(getattr(server.control, place)) < count:
        await asyncio.sleep(0)


async def _collect(
    stream: AsyncIterable[SwapOutcome], outcomes: list[SwapOutcome]
) -> None:
    async for outcome in stream:
        outcomes.append(outcome)  # noqa: PERF401 - what came before an error is kept


async def test_every_field_of_the_endpoint_arrives() -> None:
    """State comes back in the record; mode, filter and hook do no harm."""
    async with shop() as (ez, server):
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
    """A wrong argument is a clear error; the server never hears of it."""
    async with shop() as (ez, server):
        with pytest.raises(error) as caught:
            await ez.swap_face(**{"source": SOURCE, "target": TARGET, **given})  # type: ignore[arg-type]
        assert caught.value.retry_safe
        assert server.control.requests == []


async def test_max_concurrency_is_reached_and_held() -> None:
    """Slots are held until the tasks end; handles nobody awaits give them back."""
    settings = EmulatorSettings(concurrency=9)
    async with shop(slots=3, settings=settings) as (ez, server):
        server.control.script_tasks(*[scripts.stuck()] * 3)
        handles = [await ez.swap_face(SOURCE, jpeg(20_001 + n)) for n in range(3)]
        waiting = asyncio.create_task(ez.swap_face(SOURCE, TARGET))
        for handle in handles:
            async for record in handle.updates():
                assert record.status is TaskStatus.IN_PROGRESS
                break
        assert not waiting.done()
        assert _charges(server) == 3
        handles[0].end(None)
        await (await waiting)
        assert _charges(server) == 4


async def test_un_awaited_handles_never_starve_later_submits() -> None:
    """Ten swaps through two slots, and nobody awaits a handle."""
    async with shop(slots=2) as (ez, server):
        for number in range(10):
            await ez.swap_face(SOURCE, jpeg(20_001 + number))
        assert _charges(server) == 10
        assert server.control.peak <= 2


async def test_slot_timeout_bounds_the_wait_for_a_slot() -> None:
    """With all slots taken, ``slot_timeout`` ends the wait; nothing was sent."""
    async with shop(slots=1, slot_timeout=0.05) as (ez, server):
        server.control.script_tasks(scripts.stuck())
        await ez.swap_face(SOURCE, TARGET)
        with pytest.raises(errors.SlotTimeoutError) as caught:
            await ez.swap_face(SOURCE, TARGET)
        assert caught.value.retry_safe
        assert _charges(server) == 1


async def test_cancelled_while_waiting_for_a_slot_sends_nothing() -> None:
    """A submit that waits for a slot leaves no trace when it is cancelled."""
    async with shop(slots=1) as (ez, server):
        server.control.script_tasks(scripts.stuck())
        await ez.swap_face(SOURCE, TARGET)
        waiting = asyncio.create_task(ez.swap_face(SOURCE, TARGET))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert _charges(server) == 1


async def test_cancelled_while_uploading_creates_nothing() -> None:
    """The connection is dropped, no job exists, and the slot comes back."""
    async with shop(slots=1) as (ez, server):
        server.control.script("submit", faults.Stall(after_bytes=100_000))
        task = asyncio.create_task(ez.swap_face(SOURCE, LARGE))
        await _until(server, "requests")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert server.control.uploads == {}
        await (await ez.swap_face(SOURCE, TARGET))
        assert _charges(server) == 1


async def test_cancelled_after_the_last_byte_turns_up_in_pending(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The caller is let go at once; the paid task is followed to its end."""
    async with shop(slots=1) as (ez, server):
        server.control.script("submit", faults.Delay(0.2, job=True))
        server.control.script_tasks(scripts.slow(0.3))
        task = asyncio.create_task(ez.swap_face(SOURCE, TARGET))
        await _until(server, "charges")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with caplog.at_level(logging.WARNING, logger="ezlink_async"):
            while not caplog.records:
                await asyncio.sleep(0)
        (handle,) = ez.pending()
        assert handle.task_id in caplog.text
        assert await handle.read()
        await (await ez.swap_face(SOURCE, TARGET))  # the slot came back


async def test_closed_while_uploading_creates_nothing() -> None:
    """Leaving cuts an upload off; its caller is told that nothing was created."""
    async with shop() as (ez, server):
        server.control.script("submit", faults.Stall(after_bytes=100_000))
        task = asyncio.create_task(ez.swap_face(SOURCE, LARGE))
        await _until(server, "requests")
        await ez.aclose()
        with pytest.raises(errors.ClientClosedError) as caught:
            await task
        assert caught.value.retry_safe
        assert server.control.uploads == {}


async def test_closed_before_the_answer_gets_the_id_when_it_comes() -> None:
    """An answer within ``timeouts.close`` brings the id to the caller."""
    async with shop() as (ez, server):
        server.control.script("submit", faults.Delay(0.1, job=True))
        task = asyncio.create_task(ez.swap_face(SOURCE, TARGET))
        await _until(server, "charges")
        await ez.aclose()
        with pytest.raises(errors.ClientClosedError) as caught:
            await task
        assert caught.value.task_ids == (server.control.tasks[0].task_id,)


async def test_closed_before_the_answer_is_unknown_when_none_comes() -> None:
    """Without an answer in time the outcome is unknown, with the request's id."""
    async with shop(timeouts=Timeouts(close=0.05)) as (ez, server):
        server.control.script("submit", faults.Stall(job=True))
        task = asyncio.create_task(ez.swap_face(SOURCE, TARGET))
        await _until(server, "charges")
        await ez.aclose()
        with pytest.raises(errors.SubmitUnknownError) as caught:
            await task
        assert caught.value.request_id in server.control.uploads
        assert caught.value.target == TARGET


async def test_closed_while_others_wait() -> None:
    """Every waiter is woken with the id of its task; nothing is left running."""
    before = asyncio.all_tasks()
    async with shop() as (ez, server):
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


async def test_closed_before_a_submit_took_its_first_step() -> None:
    """A caller nobody cancelled is told that the client closed, and sent nothing."""
    async with shop(slots=1) as (ez, server):
        submits = [asyncio.create_task(ez.swap_face(SOURCE, TARGET)) for _ in range(2)]
        await ez.aclose()
        for submit in submits:
            with pytest.raises(errors.ClientClosedError) as caught:
                await submit
            assert caught.value.retry_safe
        assert server.control.requests == []


async def test_leaving_because_of_an_error_is_orderly_too() -> None:
    """An exception in the block closes the client and comes out as it is."""
    before = asyncio.all_tasks()

    async def fail() -> None:
        async with shop() as (ez, server):
            server.control.script_tasks(scripts.stuck())
            await ez.swap_face(SOURCE, TARGET)
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    assert asyncio.all_tasks() == before


async def test_closing_many_handles_leaves_others_their_turns() -> None:
    """A web app has other users than the one who leaves."""
    ended_at_each_turn: list[int] = []
    async with AsyncEzlink("sk-x", base_url="http://127.0.0.1:9") as ez:
        handles = [ez.task(str(number)) for number in range(2500)]
        closing = asyncio.create_task(ez.aclose())
        while not closing.done():
            await asyncio.sleep(0)
            ended_at_each_turn.append(sum(handle.done() for handle in handles))
    assert ended_at_each_turn[-1] == 2500
    assert {999, 1999} <= set(ended_at_each_turn)


async def test_closing_that_is_cancelled_still_closes() -> None:
    """A cancellation of ``aclose`` is raised once everything has ended."""
    async with shop(timeouts=Timeouts(close=0.1)) as (ez, server):
        server.control.script("submit", faults.Stall(job=True))
        task = asyncio.create_task(ez.swap_face(SOURCE, TARGET))
        await _until(server, "charges")
        closing = asyncio.create_task(ez.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        with pytest.raises(errors.SubmitUnknownError):
            await task


@pytest.mark.parametrize("after", [0, 1, 4])
async def test_targets_may_close_the_client_they_feed(after: int) -> None:
    """It does not wait for itself, and what is yielded then is not begun."""
    before = asyncio.all_tasks()
    said: list[str] = []
    async with shop(slots=after + 1) as (ez, server):
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
        assert _charges(server) == after
    assert asyncio.all_tasks() == before


async def test_targets_that_close_the_client_on_their_way_out() -> None:
    """A close that waits for them is not waited for by them."""
    async with shop() as (ez, _):

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


async def test_targets_that_swallow_a_cancellation_keep_nobody_from_closing() -> None:
    """Code that takes it for a time-out is cancelled again."""
    before = asyncio.all_tasks()
    async with shop() as (ez, _):

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
    async with asyncio.timeout(60), serving() as server:
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
async def test_a_trace_may_close_the_client_it_traces(path: str, event: str) -> None:
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


async def test_a_submit_whose_trace_closes_the_client_brings_its_id() -> None:
    """The answer has begun to come: what it says is not lost."""
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


async def test_used_outside_or_after_says_so() -> None:
    """Not entered, entered twice, closed: each is an error that says what to do."""
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


async def test_in_a_second_event_loop_says_so() -> None:
    """The same client in another loop, or in none, is a clear error, not a hang."""
    async with shop() as (ez, _):
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
    """The constructor stores; entering says what is wrong, and with what."""
    monkeypatch.delenv("EZLINK_API_KEY", raising=False)
    client = AsyncEzlink(**options)  # type: ignore[arg-type]
    with pytest.raises(errors.ConfigurationError, match=words):
        await client.__aenter__()


async def test_from_profile_reads_the_named_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The profile is read by ``from_profile`` only, and must be there if named."""
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


async def test_a_mistake_in_a_named_profile_names_that_file(tmp_path: Path) -> None:
    """The sentence says which of several files to open."""
    path = tmp_path / "config.toml"
    path.write_text("max_concurrency = 0\n")
    with pytest.raises(
        errors.ConfigurationError, match=r"in the profile .*config"
    ) as e:
        await AsyncEzlink.from_profile(path, api_key="sk-1").__aenter__()
    assert str(path) in str(e.value)


async def test_the_same_handle_for_the_same_id() -> None:
    """``task``, ``restore`` and ``pending`` give the one handle there is."""
    async with shop() as (ez, server):
        server.control.script_tasks(scripts.stuck())
        handle = await ez.swap_face(SOURCE, TARGET)
        assert ez.task(handle.task_id) is handle
        assert ez.restore(handle.to_dict()) is handle
        assert ez.pending() == (handle,)


async def test_restored_in_another_client() -> None:
    """A saved handle goes on elsewhere; a finished one asks nobody."""
    async with shop() as (ez, server):
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


async def test_a_finished_handle_of_a_followed_task_ends_that_one() -> None:
    """Whoever awaits it has the record; its slot comes back, and it is one handle."""
    async with shop(slots=1) as (ez, server):
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


async def test_an_id_that_no_address_can_hold_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The job is paid and out of reach: the handle ends with the id, at once."""
    async with shop(slots=1) as (ez, server):
        answer = '{"code":1,"description":"x","result":".."}'
        server.control.script("submit", faults.Answer(200, answer, "application/json"))
        handle = await ez.swap_face(SOURCE, TARGET)
        with pytest.raises(errors.ProtocolError, match="no address") as caught:
            await handle
        assert (caught.value.task_id, caught.value.maybe_charged) == ("..", True)
        assert ez.pending() == ()
        await (await ez.swap_face(SOURCE, TARGET))  # the slot came back
    assert caplog.records == []


async def test_a_handle_of_another_server_is_refused() -> None:
    """An id means nothing elsewhere: ``restore`` compares the origin."""
    async with shop() as (ez, _):
        handle = await ez.swap_face(SOURCE, TARGET)
        saved = {**handle.to_dict(), "origin": "https://api.ezlinkai.com:443"}
        with pytest.raises(errors.ConfigurationError, match="belongs to"):
            ez.restore(saved)
        with pytest.raises(errors.ConfigurationError, match="kind of task"):
            ez.restore({**handle.to_dict(), "family": "video"})
        with pytest.raises(errors.ConfigurationError, match="not a saved handle"):
            ez.restore({"id": 7})
        with pytest.raises(errors.ConfigurationError, match="no task id"):
            ez.task("..")


async def test_restored_failures_are_failures() -> None:
    """A saved handle that had failed, or had no picture, raises as before."""
    async with shop() as (ez, server):
        server.control.script_tasks(scripts.fails("文件上传失败"))
        handle = await ez.swap_face(SOURCE, TARGET)
        with pytest.raises(errors.TaskFailedError):
            await handle
        with pytest.raises(errors.TaskFailedError, match="engine failed"):
            await ez.restore(handle.to_dict())


async def test_fetching_without_following() -> None:
    """``fetch_task`` and ``fetch_tasks`` ask once; unknown ids are left out."""
    async with shop(settings=EmulatorSettings(concurrency=9)) as (ez, server):
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


@pytest.mark.parametrize("status", [401, 403, 407, 511])
async def test_a_page_of_a_firewall_ends_no_task(status: int) -> None:
    """Whoever else says 401 or 403 for a while is waited out, one by one or by list."""
    page = faults.Answer(status, "<html>Just a moment...</html>", "text/html")
    async with shop(settings=EmulatorSettings(concurrency=9)) as (ez, server):
        server.control.script_tasks(*[scripts.slow(0.2)] * 3)
        server.control.script("list", page, page)
        server.control.script("fetch", page, page, page)
        handles = [await ez.swap_face(SOURCE, jpeg(20_001 + n)) for n in range(3)]
        for handle in handles:
            assert (await handle).status is TaskStatus.SUCCESS


async def test_a_page_of_a_firewall_is_called_what_it_is() -> None:
    """``fetch_task`` asks again, and at last says that it was not the API."""
    page = faults.Answer(403, "<html>Access denied</html>", "text/html")
    async with shop() as (ez, server):
        server.control.standing("fetch", page)
        with pytest.raises(errors.ProtocolError, match="proxy, a firewall") as caught:
            await ez.fetch_task("1")
        assert (caught.value.task_id, caught.value.status) == ("1", 403)
        assert b"Access denied" in caught.value.head
        assert len(server.control.requests) == RETRY.attempts


async def test_code_21_for_a_followed_id_is_the_same_handle() -> None:
    """A job that is there already gives its handle, and its second slot back."""
    async with shop(slots=2) as (ez, server):
        server.control.script_tasks(scripts.stuck())
        handle = await ez.swap_face(SOURCE, TARGET)
        body = {"code": 21, "description": "任务已存在", "result": handle.task_id}
        server.control.script("submit", *[faults.Upstream(body=body)] * 3)
        for _ in range(3):
            assert await ez.swap_face(SOURCE, TARGET) is handle
        await (await ez.swap_face(SOURCE, TARGET))


async def test_result_with_a_timeout_and_the_deadline() -> None:
    """The one gives up alone; the other ends the handle and frees the slot."""
    poll = attrs.evolve(POLL, deadline=0.3)
    async with shop(slots=1, poll=poll) as (ez, server):
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


async def test_swap_faces_brings_every_outcome() -> None:
    """Right results for right targets, one bad photo among them."""
    targets = [jpeg(20_001 + n) for n in range(12)]
    async with shop(slots=3) as (ez, server):
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
        assert _charges(server) == 12
        assert server.control.peak <= 3


async def test_swap_faces_tells_of_pictures_that_cannot_be_used(
    tmp_path: Path,
) -> None:
    """A path in bytes, or a disk that fails, is an outcome, and costs no other."""
    (tmp_path / "a.jpg").write_bytes(TARGET)
    entries = list(os.scandir(os.fsencode(tmp_path)))
    targets = [*entries, "/proc/self/mem", 7, tmp_path / "a.jpg"]
    async with shop() as (ez, _):
        stream = ez.swap_faces(SOURCE, targets)  # type: ignore[arg-type]
        found = {str(swap.target): swap.error async for swap in stream}
        assert found.pop(str(tmp_path / "a.jpg")) is None
        assert [type(error) for error in found.values()] == [errors.ImageError] * 3


async def test_swap_faces_takes_pairs() -> None:
    """Without a source, pairs say both; each source is used for its own."""
    pairs = [(jpeg(20_100 + n // 2), jpeg(20_001 + n)) for n in range(4)]
    async with shop() as (ez, _):
        hashes = set()
        async for swap in ez.swap_faces(None, pairs):
            assert swap.handle is not None
            hashes.add(read_hashes(await swap.handle.read()))
        assert len({source for source, _ in hashes}) == 2
        assert len(hashes) == 4


async def test_swap_faces_stops_at_what_dooms_the_rest() -> None:
    """A refused key is raised after the outcomes of what was taken."""
    async with shop(slots=2) as (ez, server):
        server.control.set_key(server.api_key, status="disabled")
        outcomes: list[SwapOutcome] = []
        with pytest.raises(errors.AuthenticationError):
            await _collect(ez.swap_faces(SOURCE, [TARGET] * 50), outcomes)
        assert 1 <= len(outcomes) <= 2
        assert {type(swap.error) for swap in outcomes} == {errors.AuthenticationError}


async def test_swap_faces_with_a_source_that_cannot_be_used() -> None:
    """A missing source is raised before any target is taken."""
    taken: list[int] = []

    def targets() -> object:
        for number in range(9):
            taken.append(number)
            yield TARGET

    async with shop() as (ez, _):
        with pytest.raises(errors.ImageError, match="no such file"):
            await anext(ez.swap_faces("no-such.jpg", targets()))  # type: ignore[arg-type]
        assert taken == []


async def test_leaving_swap_faces_keeps_what_was_accepted() -> None:
    """``break`` inside ``async with`` stops the intake; accepted tasks live on."""
    async with shop(slots=3) as (ez, server):
        server.control.script_tasks(
            scripts.sequence({}, swap=True), *[scripts.stuck()] * 9
        )
        async with ez.swap_faces(SOURCE, [jpeg(20_001 + n) for n in range(9)]) as swaps:
            async for _ in swaps:
                break
        paid = _charges(server)
        assert paid <= 4
        assert {h.task_id for h in ez.pending()} == {
            task.task_id for task in server.control.tasks[1:]
        }


async def test_a_consumer_that_fails_loses_no_id(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Tasks that run on, unread, are named in one line with their targets."""

    async def consume() -> None:
        async with (
            shop(slots=4) as (ez, server),
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


async def test_a_plain_loop_that_fails_loses_no_id_either(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without ``async with`` around the swaps, closing the client names them."""

    async def consume() -> None:
        async with shop(slots=2) as (ez, server):
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


async def test_a_stream_that_is_given_up_keeps_no_source() -> None:
    """After ``return`` out of a loop the intake is gone, with all that it held."""
    async with shop(slots=2) as (ez, server):
        server.control.script_tasks(
            scripts.sequence({}, swap=True), *[scripts.stuck()] * 9
        )

        async def first() -> weakref.ref[SwapPipeline]:
            stream = ez.swap_faces(SOURCE, [TARGET] * 50)
            async for swap in stream:
                assert swap.record
                return weakref.ref(stream._intake)
            raise AssertionError

        intake = await first()
        while intake() is not None:
            await asyncio.sleep(0)
            gc.collect()
        assert _charges(server) <= 1 + 2


async def test_a_plain_break_takes_no_more_than_the_window() -> None:
    """After a plain ``break`` at most ``max_concurrency`` more may go out."""
    async with shop(slots=2) as (ez, server):
        swaps = ez.swap_faces(SOURCE, [jpeg(20_001 + n) for n in range(50)])
        async for _ in swaps:
            break
        for _ in range(200):
            await asyncio.sleep(0)
        assert _charges(server) <= 1 + 2


async def test_closing_wakes_the_reader_of_a_stream() -> None:
    """Each target taken has its outcome; then the client's end is raised."""
    async with shop(slots=2) as (ez, server):
        server.control.script_tasks(*[scripts.stuck()] * 9)
        outcomes: list[SwapOutcome] = []
        stream = ez.swap_faces(SOURCE, [jpeg(20_001 + n) for n in range(9)])
        reader = asyncio.create_task(_collect(stream, outcomes))
        await _until(server, "charges", 2)
        while len(ez.pending()) < 2:
            await asyncio.sleep(0)
        await ez.aclose()
        with pytest.raises(errors.ClientClosedError):
            await reader
        assert {type(swap.error) for swap in outcomes} == {errors.ClientClosedError}
        assert all(swap.handle for swap in outcomes)


async def test_fetch_image_from_the_api_itself() -> None:
    """A picture of the API's own can be swapped with; other hosts are checked."""
    async with shop() as (ez, server):
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


async def test_no_key_in_anything_that_is_shown() -> None:
    """Neither client, handle, outcome nor any error shows the key."""
    async with shop() as (ez, server):
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
