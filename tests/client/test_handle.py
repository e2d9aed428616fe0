"""The handle of a task: its waiters, its end, and how it is saved."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezlink_async import errors
from ezlink_async._client.handle import (
    FORMAT,
    FollowedHandle,
    SavedHandle,
)
from ezlink_async._core.messages import HttpRequest, HttpResponse
from ezlink_async.buttons import Button
from ezlink_async.errors import ConfigurationError, DownloadError
from ezlink_async.models import TaskProperties, TaskRecord, TaskStatus
from ezlink_async.services.base import error_of
from ezlink_async.services.midjourney import MIDJOURNEY
from tests.support.filesystems import names_in
from tests.support.scripted_transport import BASE, poller_harness, reply, row
from tests.support.threads import out_of_threads

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
    record=st.none() | RECORDS.map(MIDJOURNEY.dump),
)


JPEG = b"\xff\xd8\xff\xe0\x00\x04ab" + b"\xff\xda\x00\x04ab" + b"picture" + b"\xff\xd9"

SUBMITTED = TaskRecord(task_id="7", status=TaskStatus.SUBMITTED)

RUNNING = TaskRecord(
    task_id="7",
    status=TaskStatus.IN_PROGRESS,
    progress=37.0,
    image_url=f"{BASE}/mj/image/7?rand=1",
    submit_time=dt.datetime(2026, 11, 23, tzinfo=dt.UTC),
)

DONE = TaskRecord(
    task_id="7", status=TaskStatus.SUCCESS, image_url=f"{BASE}/mj/image/7"
)

BARE = attrs.evolve(DONE, image_url=None)

FAILED = TaskRecord(task_id="7", status=TaskStatus.FAILURE)

CANCELLED = TaskRecord(task_id="7", status=TaskStatus.CANCEL)


# Saved handles


@given(SAVED)
def test_saved_handle_survives_json(saved: SavedHandle) -> None:
    """A handle read back from JSON is equal, an unknown status word included."""
    back = SavedHandle.from_dict(json.loads(json.dumps(saved.to_dict())))
    assert back == saved


def test_saved_handle_names_server_kind_and_id_but_no_key() -> None:
    assert SavedHandle(**PLAIN).to_dict() == {  # type: ignore[arg-type]  # all strings
        **PLAIN,
        "record": None,
        "format": FORMAT,
    }
    assert SavedHandle.from_dict(PLAIN).record is None  # as written by hand


MALFORMED: list[object] = [
    *(None, 7, "x", list[object](), ["origin"]),
    *({**PLAIN, name: value} for name in PLAIN for value in (None, 7, ["x"])),
    *({key: PLAIN[key] for key in PLAIN if key != name} for name in PLAIN),
    *({**PLAIN, "format": value} for value in (None, float("inf"), (), "x")),
]

MALFORMED_RECORDS: list[object] = [
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
]


@pytest.mark.parametrize(
    "saved", [*MALFORMED, *({**PLAIN, "record": one} for one in MALFORMED_RECORDS)]
)
def test_malformed_saved_handle_is_refused(saved: object) -> None:
    """A null id is not the word None, and half a record is not restored."""
    with pytest.raises(ConfigurationError, match="this is not a saved handle"):
        SavedHandle.from_dict(saved).read_record(MIDJOURNEY)


@pytest.mark.parametrize("number", [0, FORMAT + 1])
def test_unknown_format_is_refused_by_its_number(number: int) -> None:
    with pytest.raises(ConfigurationError, match=f"format {number}; .* to {FORMAT}"):
        SavedHandle.from_dict({**PLAIN, "format": number})


def test_handle_of_the_first_format_is_read() -> None:
    saved = {**PLAIN, "format": 1, "record": {"task_id": "7", "status": "SUCCESS"}}
    record = SavedHandle.from_dict(saved).read_record(MIDJOURNEY)
    assert record == TaskRecord(task_id="7", status=TaskStatus.SUCCESS)


# Handles


def _still_running(_: HttpRequest) -> HttpResponse:
    return reply(row("7", "IN_PROGRESS"))


@asynccontextmanager
async def _unfollowed() -> AsyncIterator[FollowedHandle]:
    """Give a handle that no poller follows."""
    async with poller_harness(_still_running) as here:
        yield FollowedHandle("7", MIDJOURNEY, here)


async def _turn() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_cancelled_waiter_leaves_the_others_waiting() -> None:
    async with poller_harness(_still_running) as here:
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


async def test_each_waiter_gets_an_exception_of_its_own() -> None:
    async with _unfollowed() as handle:
        handle.receive(FAILED)
        first, second = await asyncio.gather(
            handle.result(), handle.result(), return_exceptions=True
        )
        assert isinstance(first, errors.TaskFailedError)
        assert isinstance(second, errors.TaskFailedError)
        assert first is not second
        assert first.record == second.record == handle.record


@pytest.mark.parametrize(
    ("record", "error"),
    [
        (
            attrs.evolve(FAILED, progress=100.0, image_url="http://x.example/1"),
            errors.TaskFailedError,
        ),
        (CANCELLED, errors.TaskCancelledError),
    ],
)
async def test_e28_e53_status_decides_how_a_task_ends(
    record: TaskRecord, error: type[errors.TaskError]
) -> None:
    """A failure at 100 % with a picture is a failure; the error has the record."""
    async with _unfollowed() as handle:
        handle.receive(record)
        with pytest.raises(error) as caught:
            await handle
        assert (caught.value.task_id, caught.value.record) == ("7", record)


async def test_first_terminal_record_wins() -> None:
    async with _unfollowed() as handle:
        handle.receive(DONE)
        handle.receive(FAILED)
        handle.end(errors.ClientClosedError())
        assert await handle == DONE


async def test_result_timeout_bounds_this_waiter_alone() -> None:
    async with poller_harness(_still_running) as here:
        handle = here.follow("7")
        with pytest.raises(errors.TaskTimeoutError, match="resume it with") as caught:
            await handle.result(timeout=0)
        assert isinstance(caught.value, TimeoutError)
        assert caught.value.task_id == "7"
        assert not handle.done()
        handle.receive(DONE)
        assert await handle.result(timeout=0) == DONE


async def test_record_that_comes_with_the_timeout_is_the_result() -> None:
    async with _unfollowed() as handle:
        waiting = asyncio.create_task(handle.result(timeout=0))
        await asyncio.sleep(0)
        handle.receive(DONE)
        assert await waiting == DONE


async def test_failure_that_is_never_awaited_is_not_logged() -> None:
    logged: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: logged.append(context))
    async with poller_harness(_still_running) as here:
        handle = here.follow("7")
        handle.receive(FAILED)
        del handle
        await _turn()
    assert logged == []


async def test_updates_skip_repetitions_and_what_a_slow_reader_missed() -> None:
    async with _unfollowed() as handle:
        handle.receive(SUBMITTED)
        seen: list[TaskRecord] = []
        async for record in handle.updates():
            seen.append(record)
            for later in (attrs.evolve(SUBMITTED), RUNNING, DONE):
                handle.receive(later)
        assert seen == [SUBMITTED, DONE]


@pytest.mark.parametrize("records", [[FAILED], [RUNNING, DONE]])
async def test_updates_wait_and_yield_the_newest_record(
    records: list[TaskRecord],
) -> None:
    """Of two records in one turn of the loop the newest is yielded, also a failure."""
    async with _unfollowed() as handle:
        for record in records:
            asyncio.get_running_loop().call_soon(handle.receive, record)
        assert [record async for record in handle.updates()] == records[-1:]


@pytest.mark.parametrize("records", [[], [BARE]])
async def test_updates_raise_an_end_that_no_record_shows(
    records: list[TaskRecord],
) -> None:
    """A first success without a picture is yielded, but is not the end."""
    async with _unfollowed() as handle:
        for record in records:
            handle.receive(record)
        asyncio.get_running_loop().call_soon(handle.expire, 900.0)
        seen: list[TaskRecord] = []
        with pytest.raises(errors.TaskTimeoutError):
            await _read(handle, seen)
        assert seen == records


async def _read(handle: FollowedHandle, seen: list[TaskRecord]) -> None:
    async for record in handle.updates():
        seen.append(record)  # noqa: PERF401 - records before an error are kept


async def test_e33_e52_repetition_keeps_the_first_record() -> None:
    async with _unfollowed() as handle:
        handle.receive(RUNNING)
        handle.receive(attrs.evolve(RUNNING, image_url=f"{BASE}/mj/image/7?rand=2"))
        assert handle.record is RUNNING


async def test_read_and_save_give_the_same_picture(tmp_path: Path) -> None:
    pictures = {f"{BASE}/mj/image/7": JPEG}
    async with poller_harness(
        lambda _: reply(row("7", "SUCCESS")), pictures=pictures
    ) as here:
        handle = here.follow("7")
        path = await handle.save(str(tmp_path / "new" / "folder" / "team.png"))
        assert path == tmp_path / "new" / "folder" / "team.png"
        assert path.read_bytes() == await handle.read() == JPEG
        (fitting,) = await handle.save_fitting(tmp_path / "team")
        assert fitting.path == tmp_path / "team.jpg"


async def test_save_needs_no_thread_to_know_a_folder_from_a_file(
    tmp_path: Path,
) -> None:
    pictures = {f"{BASE}/mj/image/7": JPEG}
    async with poller_harness(
        lambda _: reply(row("7", "SUCCESS")), pictures=pictures
    ) as here:
        handle = here.follow("7")
        with out_of_threads("asyncio"):
            assert await handle.save(tmp_path) == tmp_path / "7.jpg"
        with pytest.raises(DownloadError, match="name too long") as caught:
            await handle.save(tmp_path / ("a" * 300))
        assert caught.value.task_id == "7"


async def test_folder_with_the_name_of_a_picture_is_saved_into(tmp_path: Path) -> None:
    pictures = {f"{BASE}/mj/image/7": JPEG}
    async with poller_harness(
        lambda _: reply(row("7", "SUCCESS")), pictures=pictures
    ) as here:
        handle, folder = here.follow("7"), tmp_path / "album.JPEG"
        folder.mkdir()
        assert await handle.save(folder) == folder / "7.jpg"
        assert names_in(tmp_path) == ["album.JPEG"]
        with pytest.raises(DownloadError, match="Not a directory"):
            await handle.save(folder / "7.jpg" / "team.jpg")


@pytest.mark.parametrize("name", ["a\0b.png", "\ud800.png"])
async def test_impossible_file_name_is_refused_before_the_task_ends(
    name: str, tmp_path: Path
) -> None:
    async with _unfollowed() as handle:
        for save in (handle.save, handle.save_fitting):
            with pytest.raises(ConfigurationError, match="nothing can be saved"):
                await save(tmp_path / name)


async def test_closed_client_leaves_the_record_but_downloads_nothing(
    tmp_path: Path,
) -> None:
    async with poller_harness(lambda _: reply(row("7", "SUCCESS"))) as here:
        handle = here.follow("7")
        await handle
    assert (await handle).status is TaskStatus.SUCCESS
    with pytest.raises(errors.ClientClosedError) as caught:
        await handle.read()
    assert caught.value.task_ids == ("7",)
    with pytest.raises(errors.ClientClosedError):
        await handle.save(tmp_path / "x.jpg")


async def test_to_dict_is_json_and_reads_back_to_the_same_record() -> None:
    async with _unfollowed() as handle:
        assert json.loads(json.dumps(handle.to_dict()))["record"] is None
        handle.receive(DONE)
        saved = SavedHandle.from_dict(json.loads(json.dumps(handle.to_dict())))
        assert (saved.origin, saved.task_id) == (BASE, "7")
        assert saved.read_record(MIDJOURNEY) == DONE


async def test_handle_in_a_foreign_event_loop_is_refused() -> None:
    async with _unfollowed() as handle:

        async def use() -> None:
            with pytest.raises(ConfigurationError, match="another event loop"):
                await handle

        await asyncio.to_thread(asyncio.run, use())


async def test_repr_names_id_and_status() -> None:
    async with _unfollowed() as handle:
        assert repr(handle) == "<TaskHandle 7 accepted>"
        assert handle.record is None
        assert handle.family == "midjourney"
        handle.receive(DONE)
        assert repr(handle) == "<TaskHandle 7 SUCCESS done>"


async def test_status_is_submitted_until_a_record_says_more() -> None:
    """The record keeps the server's word, which is empty at first."""
    async with _unfollowed() as handle:
        assert handle.status is TaskStatus.SUBMITTED
        handle.receive(TaskRecord(task_id="7"))
        assert handle.record is not None
        assert (str(handle.record.status), str(handle.status)) == ("", "SUBMITTED")
        handle.receive(RUNNING)
        assert str(handle.status) == "IN_PROGRESS"


async def test_completion_offers_what_is_for_users() -> None:
    async with _unfollowed() as handle:
        public = {name for name in dir(handle) if not name.startswith("_")}
        assert public == {
            *("task_id", "family", "record", "status", "done", "result", "updates"),
            *("read", "read_all", "open", "open_all", "save", "save_all", "to_dict"),
        }


# How a record ends a task


def test_success_with_a_picture_is_no_error() -> None:
    assert error_of(DONE) is None


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        pytest.param("", "no reason given", id="silent"),
        pytest.param(
            "文件上传失败", "文件上传失败 (the upload to the engine failed)", id="e28"
        ),
        pytest.param(
            "上游任务超时",
            "上游任务超时 (the task took more than an hour)",
            id="e29-e53",
        ),
        pytest.param(
            "获取渠道信息失败，17",
            "获取渠道信息失败，17 (the server's upstream is gone)",
            id="e30",
        ),
    ],
)
def test_error_translates_the_reason_of_a_failure(reason: str, words: str) -> None:
    record = attrs.evolve(FAILED, fail_reason=reason)
    assert str(error_of(record)) == f"task 7 failed: {words}"


@pytest.mark.parametrize(
    ("record", "kind", "words"),
    [
        pytest.param(
            BARE,
            errors.TaskFailedError,
            "task 7 succeeded, but without a result",
            id="e31",
        ),
        pytest.param(
            attrs.evolve(RUNNING, progress=100.0, fail_reason="no"),
            errors.TaskFailedError,
            "task 7 failed: no",
            id="e54",
        ),
        pytest.param(
            CANCELLED,
            errors.TaskCancelledError,
            "task 7 was cancelled on the server: no reason given",
            id="cancelled",
        ),
    ],
)
def test_end_without_a_picture_is_an_error_with_the_record(
    record: TaskRecord, kind: type[errors.TaskError], words: str
) -> None:
    ending = MIDJOURNEY.judge(record, record)
    assert ending is not None
    error = ending.error
    assert type(error) is kind
    assert (str(error), error.task_id) == (words, "7")
    assert error.record is record


# Which records are changes


@pytest.mark.parametrize(
    "again",
    [
        pytest.param(attrs.evolve(RUNNING), id="e34"),
        pytest.param(attrs.evolve(RUNNING, image_url="https://h/7?rand=2"), id="e33"),
        pytest.param(attrs.evolve(RUNNING, submit_time=None), id="e52"),
    ],
)
def test_new_preview_address_or_clock_is_no_change(again: TaskRecord) -> None:
    assert MIDJOURNEY.is_same(RUNNING, again)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (RUNNING, attrs.evolve(RUNNING, status=TaskStatus.SUCCESS)),
        (RUNNING, attrs.evolve(RUNNING, status=TaskStatus("PAUSED"))),
        (RUNNING, attrs.evolve(RUNNING, progress=38.0)),
        (RUNNING, attrs.evolve(RUNNING, image_url=None)),
        (attrs.evolve(RUNNING, image_url=None), RUNNING),
        (RUNNING, attrs.evolve(RUNNING, fail_reason="x")),
        (RUNNING, attrs.evolve(RUNNING, state="x")),
        (RUNNING, attrs.evolve(RUNNING, start_time=RUNNING.submit_time)),
        (RUNNING, attrs.evolve(RUNNING, buttons=(Button(),))),
        (DONE, attrs.evolve(DONE, image_url="https://h/8")),
        (
            attrs.evolve(RUNNING, status=TaskStatus("PAUSED")),
            attrs.evolve(RUNNING, status=TaskStatus("QUEUED")),
        ),
    ],
)
def test_every_other_difference_is_a_change(
    before: TaskRecord, after: TaskRecord
) -> None:
    """Two unknown status words are equal for deciding, but a change to a reader."""
    assert not MIDJOURNEY.is_same(before, after)


@pytest.mark.parametrize("path", [5, None, b"a.jpg"])
async def test_result_is_not_saved_at_what_is_no_path(path: object) -> None:
    async with poller_harness(lambda _: reply(row("7"))) as here:
        with pytest.raises(ConfigurationError, match="is saved at a path"):
            await here.follow("7").save(path)  # type: ignore[arg-type]  # the mistake itself


def _type_name(value: object) -> str:
    return type(value).__name__


@pytest.mark.parametrize(
    "timeout", ["x", True, float("nan"), b"1", 10**400, -(10**5000)], ids=_type_name
)
async def test_timeout_that_is_no_number_is_refused(timeout: object) -> None:
    async with poller_harness(lambda _: reply(row("7"))) as here:
        with pytest.raises(ConfigurationError, match="timeout is a number of seconds"):
            await here.follow("7").result(timeout)  # type: ignore[arg-type]  # the mistake itself
