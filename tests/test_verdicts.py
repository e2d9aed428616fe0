"""
How a record ends a task, and whether it is news.

Numbers such as E29 are this project's own list of edge cases.
"""

from __future__ import annotations

import datetime as dt

import attrs
import pytest

from ezlink_async import errors
from ezlink_async._client.handle import failure, unchanged
from ezlink_async.models import Button, TaskRecord, TaskStatus

DONE = TaskRecord(task_id="7", status=TaskStatus.SUCCESS, image_url="https://h/7")
RUNNING = TaskRecord(
    task_id="7",
    status=TaskStatus.IN_PROGRESS,
    progress=37.0,
    image_url="https://h/7?rand=1",
    submit_time=dt.datetime(2026, 11, 23, tzinfo=dt.UTC),
)


def test_a_picture_is_a_success() -> None:
    """SUCCESS with an address is no error."""
    assert failure(DONE) is None


def _failed(reason: str) -> TaskRecord:
    return attrs.evolve(DONE, status=TaskStatus.FAILURE, fail_reason=reason)


@pytest.mark.parametrize(
    ("record", "told"),
    [
        pytest.param(
            attrs.evolve(DONE, image_url=None),
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
    error = failure(record)
    assert type(error) is errors.TaskFailedError
    assert str(error) == told
    assert error.task_id == "7"
    assert error.record is record


def test_a_cancelled_task_is_told_apart() -> None:
    """Somebody stopped it on the server; that is no failure of the swap."""
    record = attrs.evolve(DONE, status=TaskStatus.CANCEL)
    error = failure(record)
    assert type(error) is errors.TaskCancelledError
    assert str(error) == "task 7 was cancelled on the server: without a reason"
    assert (error.task_id, error.record) == ("7", record)


def test_the_first_record_is_news() -> None:
    """Whatever comes first is a change."""
    assert not unchanged(None, RUNNING)


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
    assert unchanged(RUNNING, again)


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
    assert not unchanged(RUNNING, changed)


def test_two_unknown_words_are_two_states() -> None:
    """Words of tomorrow are equal for deciding, but a change to a reader."""
    one = attrs.evolve(RUNNING, status=TaskStatus("PAUSED"))
    other = attrs.evolve(RUNNING, status=TaskStatus("QUEUED"))
    assert not unchanged(one, other)


def test_the_final_address_is_news() -> None:
    """The address of a finished picture counts, unlike a preview's."""
    assert not unchanged(DONE, attrs.evolve(DONE, image_url="https://h/8"))


def test_a_first_preview_is_news() -> None:
    """From no address to one is a change."""
    assert not unchanged(attrs.evolve(RUNNING, image_url=None), RUNNING)
