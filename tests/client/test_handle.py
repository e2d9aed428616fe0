"""The handle: who waits on it, what ends it, what it says."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import threading
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezlink_async import errors
from ezlink_async._client.handle import (
    FORMAT,
    SavedHandle,
    TaskHandle,
    error_of,
    is_same_state,
)
from ezlink_async._core.messages import HttpRequest, HttpResponse
from ezlink_async.errors import ConfigurationError
from ezlink_async.models import Button, TaskProperties, TaskRecord, TaskStatus
from ezlink_async.services.midjourney import MIDJOURNEY
from tests.support.scripted_transport import (
    BASE,
    PollerHarness,
    poller_harness,
    reply,
    row,
)

PLAIN: dict[str, object] = {
    "origin": "https://h:443",
    "family": "midjourney",
    "task_id": "7",
}

FINITE = st.floats(allow_nan=False, allow_infinity=False)

TIMES = st.none() | st.datetimes(timezones=st.just(dt.UTC))

BUTTONS = st.builds(
    Button,
    custom_id=st.none() | st.text(),
    label=st.none() | st.text(),
    type=st.none() | st.integers(),
)

RECORDS = st.builds(
    TaskRecord,
    task_id=st.text(),
    status=st.sampled_from(TaskStatus) | st.builds(TaskStatus, st.text()),
    progress=st.none() | FINITE,
    image_url=st.none() | st.text(),
    fail_reason=st.text(),
    submit_time=TIMES,
    start_time=TIMES,
    finish_time=TIMES,
    buttons=st.lists(BUTTONS, max_size=3).map(tuple),
    properties=st.none() | st.builds(TaskProperties, final_prompt=st.text()),
)

SAVED = st.builds(
    SavedHandle,
    origin=st.text(),
    family=st.text(),
    task_id=st.text(),
    record=st.none() | RECORDS,
)


@given(SAVED)
def test_a_handle_is_the_same_after_json(saved: SavedHandle) -> None:
    """Written to a file and read back, it is equal, its unknown word included."""
    back = SavedHandle.from_dict(json.loads(json.dumps(saved.to_dict())))
    assert back == saved
    if saved.record and back.record:
        assert str(back.record.status) == str(saved.record.status)


def test_a_saved_handle_is_plain() -> None:
    """It names server, kind, id and format, and no picture and no key."""
    assert SavedHandle(**PLAIN).to_dict() == {  # type: ignore[arg-type]  # all strings
        **PLAIN,
        "record": None,
        "format": FORMAT,
    }


def test_a_handle_without_a_record_may_be_written_by_hand() -> None:
    """Server, kind and id are enough."""
    assert SavedHandle.from_dict(PLAIN).record is None


@pytest.mark.parametrize("name", sorted(PLAIN))
@pytest.mark.parametrize("value", [None, 7, ["x"]])
def test_a_missing_or_odd_word_is_refused(name: str, value: object) -> None:
    """An id that is null is no id, and is not taken for the word None."""
    for saved in (
        {**PLAIN, name: value},
        {key: word for key, word in PLAIN.items() if key != name},
    ):
        with pytest.raises(ConfigurationError, match="this is no saved handle"):
            SavedHandle.from_dict(saved)


@pytest.mark.parametrize(
    "record",
    [
        7,
        {},
        {"task_id": "7", "status": 7},
        {"task_id": "7", "submit_time": "soon"},
        {"task_id": "7", "submit_time": 7},
        {"task_id": "7", "submit_time": "2026-01-01T12:00:00"},
        {"task_id": "7", "finish_time": "2026-01-01"},
        {"task_id": "7", "progress": float("nan")},
        {"task_id": "7", "progress": float("inf")},
        {"task_id": "7", "progress": 10**400},
        {"task_id": "7", "buttons": 7},
        {"task_id": "7", "progress": "full"},
    ],
)
def test_a_broken_record_is_refused(record: object) -> None:
    """Half a record is not taken up: the id is asked for again by hand."""
    with pytest.raises(ConfigurationError, match="this is no saved handle"):
        SavedHandle.from_dict({**PLAIN, "record": record})


@pytest.mark.parametrize("saved", [None, 7, "x", [], ["origin"]])
def test_what_is_no_object_is_refused(saved: object) -> None:
    """Any other JSON is an error that says so."""
    with pytest.raises(ConfigurationError, match="this is no saved handle"):
        SavedHandle.from_dict(saved)


@pytest.mark.parametrize("number", [None, float("inf"), [], "x"])
def test_an_odd_format_is_refused(number: object) -> None:
    """A format that is no number is no format."""
    with pytest.raises(ConfigurationError, match="this is no saved handle"):
        SavedHandle.from_dict({**PLAIN, "format": number})


def test_a_later_format_is_refused_by_its_number() -> None:
    """A handle from a newer version says which format it has."""
    with pytest.raises(ConfigurationError, match="format 2, not 1"):
        SavedHandle.from_dict({**PLAIN, "format": 2})


JPEG = b"\xff\xd8\xff\xe0\x00\x04ab" + b"\xff\xda\x00\x04ab" + b"picture" + b"\xff\xd9"

DONE = TaskRecord(
    task_id="7", status=TaskStatus.SUCCESS, image_url=f"{BASE}/mj/image/7"
)


def _quiet(_: HttpRequest) -> HttpResponse:
    return reply(row("7", "IN_PROGRESS"))


def _loose(here: PollerHarness) -> TaskHandle:
    """Return a handle nobody polls."""
    return TaskHandle("7", MIDJOURNEY, here)


async def _turn() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_many_awaiters_one_cancelled() -> None:
    """Cancelling one waiter leaves the others waiting, and the task followed."""
    async with poller_harness(_quiet) as here:
        handle = here.follow("7")
        waiters = [asyncio.create_task(handle.result()) for _ in range(3)]
        await _turn()
        waiters[1].cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiters[1]
        assert not handle.done()
        assert here.poller.pending() == (handle,)
        handle.receive(DONE)
        assert [await waiters[0], await waiters[2]] == [DONE, DONE]


async def test_each_awaiter_gets_an_exception_of_its_own() -> None:
    """Two awaiters of a failure never share one exception object."""
    async with poller_harness(_quiet) as here:
        handle = _loose(here)
        handle.receive(TaskRecord(task_id="7", status=TaskStatus.FAILURE))
        first, second = await asyncio.gather(
            handle.result(), handle.result(), return_exceptions=True
        )
        assert isinstance(first, errors.TaskFailedError)
        assert isinstance(second, errors.TaskFailedError)
        assert first is not second
        assert first.record == second.record == handle.record


@pytest.mark.parametrize(
    ("record", "error", "words"),
    [
        (
            TaskRecord(
                task_id="7",
                status=TaskStatus.FAILURE,
                progress=100.0,
                fail_reason="文件上传失败",
                image_url="http://x.example/1",
            ),
            errors.TaskFailedError,
            "the upload to the engine failed",
        ),
        (
            TaskRecord(task_id="7", status=TaskStatus.CANCEL),
            errors.TaskCancelledError,
            "cancelled",
        ),
    ],
)
async def test_e28_e53_the_status_decides(
    record: TaskRecord, error: type[errors.TaskError], words: str
) -> None:
    """A failure at 100%, with a picture even, is a failure; it carries the record."""
    async with poller_harness(_quiet) as here:
        handle = _loose(here)
        handle.receive(record)
        with pytest.raises(error, match=words) as caught:
            await handle
        assert (caught.value.task_id, caught.value.record) == ("7", record)


async def test_the_first_terminal_record_wins() -> None:
    """A late record changes nothing, pushed or polled."""
    async with poller_harness(_quiet) as here:
        handle = _loose(here)
        handle.receive(DONE)
        handle.receive(TaskRecord(task_id="7", status=TaskStatus.FAILURE))
        handle.end(errors.ClientClosedError())
        assert await handle == DONE


async def test_result_with_a_timeout_bounds_this_waiter_alone() -> None:
    """``result(timeout)`` gives up alone: the handle lives on and can be awaited."""
    async with poller_harness(_quiet) as here:
        handle = here.follow("7")
        with pytest.raises(errors.TaskTimeoutError, match="take it up again") as caught:
            await handle.result(timeout=0)
        assert isinstance(caught.value, TimeoutError)
        assert caught.value.task_id == "7"
        assert not handle.done()
        handle.receive(DONE)
        assert await handle.result(timeout=0) == DONE


async def test_a_failure_nobody_awaits_is_silent() -> None:
    """Nothing is logged of a failure that nobody asked for."""
    heard: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: heard.append(context))
    async with poller_harness(_quiet) as here:
        handle = here.follow("7")
        handle.receive(TaskRecord(task_id="7", status=TaskStatus.FAILURE))
        del handle
        await _turn()
    assert heard == []


async def test_updates_begin_with_the_latest_and_end_with_the_last() -> None:
    """Only changes are yielded, a slow reader gets the newest, the last ends it."""
    async with poller_harness(_quiet) as here:
        handle = _loose(here)
        handle.receive(TaskRecord(task_id="7", status=TaskStatus.SUBMITTED))
        seen: list[str] = []
        async for record in handle.updates():
            seen.append(str(record.status))
            if len(seen) == 1:
                # The same again, then two changes while we are not looking.
                handle.receive(TaskRecord(task_id="7", status=TaskStatus.SUBMITTED))
                handle.receive(TaskRecord(task_id="7", status=TaskStatus.IN_PROGRESS))
                handle.receive(DONE)
        assert seen == ["SUBMITTED", "SUCCESS"]


async def test_updates_wait_for_what_comes() -> None:
    """A reader that is ahead waits; a failure is yielded, not raised."""
    async with poller_harness(_quiet) as here:
        handle = _loose(here)
        failed = TaskRecord(task_id="7", status=TaskStatus.FAILURE)
        here.loop.call_soon(handle.receive, failed)
        assert [record async for record in handle.updates()] == [failed]


async def test_updates_raise_what_else_ends_the_handle() -> None:
    """An end that is no record is raised from the iteration."""
    async with poller_harness(_quiet) as here:
        handle = _loose(here)
        here.loop.call_soon(handle.end, errors.ClientClosedError(task_ids=["7"]))
        with pytest.raises(errors.ClientClosedError):
            assert [record async for record in handle.updates()] == []


async def test_updates_raise_what_ends_a_success_without_a_picture() -> None:
    """It is not believed the first time, so it is no end: what comes then is."""
    async with poller_harness(_quiet) as here:
        handle = _loose(here)
        bare = TaskRecord(task_id="7", status=TaskStatus.SUCCESS)
        handle.receive(bare)
        here.loop.call_soon(handle.expire, 900.0)
        seen: list[TaskRecord] = []
        with pytest.raises(errors.TaskTimeoutError):
            await _read(handle, seen)
        assert seen == [bare]


async def _read(handle: TaskHandle, seen: list[TaskRecord]) -> None:
    async for record in handle.updates():
        seen.append(record)  # noqa: PERF401 - what came before an error is kept


async def test_e33_e52_a_new_rand_or_clock_is_no_change() -> None:
    """A preview's new address and a corrected submit time wake nobody."""
    async with poller_harness(_quiet) as here:
        handle = _loose(here)
        one, two = (
            TaskRecord(
                task_id="7",
                status=TaskStatus.IN_PROGRESS,
                image_url=f"{BASE}/mj/image/7?rand={n}",
            )
            for n in (1, 2)
        )
        handle.receive(one)
        handle.receive(two)
        assert handle.record is one


async def test_read_and_save_bring_the_result(tmp_path: Path) -> None:
    """``read`` and ``save`` wait for the record and give the same bytes."""
    pictures = {f"{BASE}/mj/image/7": JPEG}
    async with poller_harness(
        lambda _: reply(row("7", "SUCCESS")), pictures=pictures
    ) as here:
        handle = here.follow("7")
        path = await handle.save(str(tmp_path / "new" / "folder" / "team.png"))
        assert path == tmp_path / "new" / "folder" / "team.png"
        assert path.read_bytes() == await handle.read() == JPEG
        fitting = await handle._save(tmp_path / "team", fit_suffix=True)
        assert fitting == tmp_path / "team.jpg"


@pytest.mark.parametrize("name", ["a\0b.png", "\ud800.png"])
async def test_a_name_nothing_can_have_is_refused_at_once(
    name: str, tmp_path: Path
) -> None:
    """Before the task has ended, and before any download."""
    async with poller_harness(_quiet) as here:
        handle = _loose(here)
        with pytest.raises(errors.ConfigurationError, match="nothing can be saved"):
            await handle.save(tmp_path / name)
        with pytest.raises(errors.ConfigurationError, match="nothing can be saved"):
            await handle.save_fitting(tmp_path / name)


async def test_a_finished_handle_after_close(tmp_path: Path) -> None:
    """After close the record is still there; read and save say what is wrong."""
    async with poller_harness(lambda _: reply(row("7", "SUCCESS"))) as here:
        handle = here.follow("7")
        await handle
    assert (await handle).status is TaskStatus.SUCCESS
    with pytest.raises(errors.ClientClosedError) as caught:
        await handle.read()
    assert caught.value.task_ids == ("7",)
    with pytest.raises(errors.ClientClosedError):
        await handle.save(tmp_path / "x.jpg")


async def test_a_saved_handle_names_its_server_and_is_json() -> None:
    """``to_dict`` is JSON, and reads back to the same record."""
    async with poller_harness(_quiet) as here:
        handle = _loose(here)
        assert json.loads(json.dumps(handle.to_dict()))["record"] is None
        handle.receive(DONE)
        saved = SavedHandle.from_dict(json.loads(json.dumps(handle.to_dict())))
        assert (saved.origin, saved.task_id, saved.record) == (BASE, "7", DONE)


async def test_a_handle_in_another_loop_says_so() -> None:
    """Awaiting a handle in a foreign event loop is a clear error, not a hang."""
    async with poller_harness(_quiet) as here:
        handle = _loose(here)
        caught: list[BaseException] = []

        async def use() -> None:
            try:
                await handle
            except errors.ConfigurationError as error:
                caught.append(error)

        thread = threading.Thread(target=lambda: asyncio.run(use()))
        thread.start()
        await asyncio.to_thread(thread.join)
        assert "another event loop" in str(caught[0])


async def test_what_a_handle_looks_like() -> None:
    """Its repr names id and status; before the first look there is no record."""
    async with poller_harness(_quiet) as here:
        handle = _loose(here)
        assert repr(handle) == "<TaskHandle 7 accepted>"
        assert handle.record is None
        assert handle.status is TaskStatus.EMPTY
        assert handle.family is MIDJOURNEY
        handle.receive(DONE)
        assert repr(handle) == "<TaskHandle 7 SUCCESS done>"


async def test_an_end_at_the_last_moment_counts() -> None:
    """A record that comes together with the time-out is the result."""
    async with poller_harness(_quiet) as here:
        handle = _loose(here)
        waiting = asyncio.create_task(handle.result(timeout=0))
        await asyncio.sleep(0)
        handle.receive(DONE)
        assert await waiting == DONE


async def test_two_changes_at_once_wake_a_reader_once() -> None:
    """Changes that come in one turn of the loop are seen as the newest."""
    async with poller_harness(_quiet) as here:
        handle = _loose(here)
        running = TaskRecord(task_id="7", status=TaskStatus.IN_PROGRESS)
        here.loop.call_soon(handle.receive, running)
        here.loop.call_soon(handle.receive, DONE)
        assert [record async for record in handle.updates()] == [DONE]


DONE_verdicts = TaskRecord(
    task_id="7", status=TaskStatus.SUCCESS, image_url="https://h/7"
)

RUNNING = TaskRecord(
    task_id="7",
    status=TaskStatus.IN_PROGRESS,
    progress=37.0,
    image_url="https://h/7?rand=1",
    submit_time=dt.datetime(2026, 11, 23, tzinfo=dt.UTC),
)


def test_a_picture_is_a_success() -> None:
    """SUCCESS with an address is no error."""
    assert error_of(DONE_verdicts) is None


def _failed(reason: str) -> TaskRecord:
    return attrs.evolve(DONE_verdicts, status=TaskStatus.FAILURE, fail_reason=reason)


@pytest.mark.parametrize(
    ("record", "told"),
    [
        pytest.param(
            attrs.evolve(DONE_verdicts, image_url=None),
            "task 7 ended well, but without a picture",
            id="e31",
        ),
        pytest.param(
            _failed("文件上传失败"),
            "task 7 failed: 文件上传失败 (the upload to the engine failed)",
            id="e28",
        ),
        pytest.param(
            _failed("上游任务超时"),
            "task 7 failed: 上游任务超时 (the task took more than an hour)",
            id="e29-e53",
        ),
        pytest.param(
            _failed("获取渠道信息失败，17"),
            "task 7 failed: 获取渠道信息失败，17 (the server's upstream is gone)",
            id="e30",
        ),
        pytest.param(_failed(""), "task 7 failed: without a reason", id="silent"),
        pytest.param(
            attrs.evolve(RUNNING, progress=100.0, fail_reason="no"),
            "task 7 failed: no",
            id="e54",
        ),
    ],
)
def test_an_end_without_a_picture_is_a_failure(record: TaskRecord, told: str) -> None:
    """The error says why, names the task, and offers the record and its picture."""
    error = error_of(record)
    assert type(error) is errors.TaskFailedError
    assert str(error) == told
    assert error.task_id == "7"
    assert error.record is record


def test_a_cancelled_task_is_told_apart() -> None:
    """Somebody stopped it on the server; that is no failure of the swap."""
    record = attrs.evolve(DONE_verdicts, status=TaskStatus.CANCEL)
    error = error_of(record)
    assert type(error) is errors.TaskCancelledError
    assert str(error) == "task 7 was cancelled on the server: without a reason"
    assert (error.task_id, error.record) == ("7", record)


def test_the_first_record_is_news() -> None:
    """Whatever comes first is a change."""
    assert not is_same_state(None, RUNNING)


@pytest.mark.parametrize(
    "again",
    [
        pytest.param(attrs.evolve(RUNNING), id="e34"),
        pytest.param(attrs.evolve(RUNNING, image_url="https://h/7?rand=2"), id="e33"),
        pytest.param(attrs.evolve(RUNNING, submit_time=None), id="e52"),
    ],
)
def test_the_same_again_is_no_news(again: TaskRecord) -> None:
    """A new preview address or another clock is no change."""
    assert is_same_state(RUNNING, again)


@pytest.mark.parametrize(
    "changed",
    [
        attrs.evolve(RUNNING, status=TaskStatus.SUCCESS),
        attrs.evolve(RUNNING, status=TaskStatus("PAUSED")),
        attrs.evolve(RUNNING, progress=38.0),
        attrs.evolve(RUNNING, image_url=None),
        attrs.evolve(RUNNING, fail_reason="x"),
        attrs.evolve(RUNNING, state="x"),
        attrs.evolve(RUNNING, start_time=RUNNING.submit_time),
        attrs.evolve(RUNNING, buttons=(Button(),)),
    ],
)
def test_every_other_change_is_news(changed: TaskRecord) -> None:
    """A reader hears of anything else that changed."""
    assert not is_same_state(RUNNING, changed)


def test_two_unknown_words_are_two_states() -> None:
    """Words of tomorrow are equal for deciding, but a change to a reader."""
    one = attrs.evolve(RUNNING, status=TaskStatus("PAUSED"))
    other = attrs.evolve(RUNNING, status=TaskStatus("QUEUED"))
    assert not is_same_state(one, other)


def test_the_final_address_is_news() -> None:
    """The address of a finished picture counts, unlike a preview's."""
    assert not is_same_state(
        DONE_verdicts, attrs.evolve(DONE_verdicts, image_url="https://h/8")
    )


def test_a_first_preview_is_news() -> None:
    """From no address to one is a change."""
    assert not is_same_state(attrs.evolve(RUNNING, image_url=None), RUNNING)
