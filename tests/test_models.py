"""
The values users see: open enums, frozen records.

Numbers such as E54 are this project's own list of edge cases.
"""

from __future__ import annotations

import copy
import datetime as dt
import json
import pickle

import attrs
import pytest

from ezlink_async.buttons import Button
from ezlink_async.errors import ConfigurationError
from ezlink_async.models import TaskProperties, TaskRecord, TaskStatus
from ezlink_async.services.midjourney import AccountFilter, Mode

FINISHED = TaskRecord(
    task_id="7",
    status=TaskStatus("Paused"),
    progress=37.0,
    submit_time=dt.datetime(2026, 11, 23, tzinfo=dt.UTC),
    buttons=(Button(custom_id="b", type=2),),
    properties=TaskProperties(final_prompt="p"),
)
RUNNING = TaskRecord(task_id="7", status=TaskStatus.IN_PROGRESS)


@pytest.mark.parametrize("word", ["SUCCESS", "success", " Success\n"])
def test_known_status_is_read_in_any_case(word: str) -> None:
    assert TaskStatus(word) is TaskStatus.SUCCESS


def test_unknown_status_equals_unknown_and_keeps_its_text() -> None:
    status = TaskStatus("Paused")
    assert status == TaskStatus.UNKNOWN
    assert hash(status) == hash(TaskStatus.UNKNOWN)
    assert str(status) == "Paused"
    assert not status.is_terminal


def test_unknown_status_survives_copy_and_pickle() -> None:
    status = TaskStatus("PAUSED")
    there = pickle.loads(pickle.dumps(status))  # noqa: S301 - our own bytes
    assert [str(there), str(copy.deepcopy(status))] == ["PAUSED", "PAUSED"]


@pytest.mark.parametrize("value", [None, 7, True, ["SUCCESS"]])
def test_status_that_is_no_text_is_a_value_error(value: object) -> None:
    with pytest.raises(ValueError, match="is not a valid TaskStatus"):
        TaskStatus(value)


def test_status_does_not_equal_its_text() -> None:
    plain: object = "SUCCESS"
    assert plain != TaskStatus.SUCCESS
    assert TaskStatus.SUCCESS != TaskStatus.FAILURE


@pytest.mark.parametrize("status", list(TaskStatus))
def test_success_failure_and_cancel_end_a_task(status: TaskStatus) -> None:
    ends = {TaskStatus.SUCCESS, TaskStatus.FAILURE, TaskStatus.CANCEL}
    assert status.is_terminal is (status in ends)
    assert attrs.evolve(RUNNING, status=status).is_terminal is (status in ends)


@pytest.mark.parametrize(
    ("status", "progress", "reason", "frozen", "ended"),
    [
        ("IN_PROGRESS", 99.0, "", False, False),
        ("IN_PROGRESS", 99.0, "a warning", False, False),
        ("IN_PROGRESS", None, "a warning", False, False),
        ("IN_PROGRESS", 100.0, "", True, False),
        ("IN_PROGRESS", 100.0, "a warning", True, True),
        pytest.param("FAILURE", 100.0, "", False, True, id="e28"),
    ],
)
def test_e54_running_task_at_100_per_cent_is_frozen(
    status: str, progress: float | None, reason: str, *, frozen: bool, ended: bool
) -> None:
    """The server stops refreshing it; a reason ends it. A failure is at 100 too."""
    record = TaskRecord(
        task_id="7", status=TaskStatus(status), progress=progress, fail_reason=reason
    )
    assert (record.is_frozen, record.is_terminal) == (frozen, ended)


@pytest.mark.parametrize(
    ("given", "mode"),
    [
        (None, None),
        ("fast", Mode.FAST),
        ("relax", Mode.RELAX),
        (Mode.TURBO, Mode.TURBO),
    ],
)
def test_mode_is_given_as_text_or_as_a_value(
    given: Mode | str | None, mode: Mode | None
) -> None:
    assert Mode.parse(given) is mode


@pytest.mark.parametrize("given", ["ultra", "FAST", "", " fast"])
def test_unknown_mode_is_refused(given: str) -> None:
    """The server would route a fourth mode, and the job would fail later."""
    with pytest.raises(ConfigurationError, match="mode is one of 'fast', 'turbo'"):
        Mode.parse(given)


def test_instance_id_of_an_account_filter_is_a_string() -> None:
    """The server would refuse the whole body for a number."""
    assert AccountFilter(instance_id="i").instance_id == "i"
    assert AccountFilter().instance_id is None
    with pytest.raises(ConfigurationError, match="instance_id is a string, not 7"):
        AccountFilter(instance_id=7)  # type: ignore[arg-type]  # the mistake itself


@pytest.mark.parametrize(
    ("value", "name"), [(RUNNING, "status"), (AccountFilter(), "instance_id")]
)
def test_value_cannot_be_changed(value: object, name: str) -> None:
    """Records are shared between awaiters."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(value, name, "x")


def test_record_as_a_dict_is_json_with_the_words_of_the_server() -> None:
    fields = json.loads(json.dumps(FINISHED.to_dict()))
    assert fields["status"] == "Paused"
    assert fields["submit_time"] == "2026-11-23T00:00:00+00:00"
    assert (fields["finish_time"], fields["progress"]) == (None, 37.0)
    assert [button["custom_id"] for button in fields["buttons"]] == ["b"]
    assert fields["properties"] == {"final_prompt": "p", "final_zh_prompt": ""}
    assert set(fields) == {field.name for field in attrs.fields(TaskRecord)}


def test_dict_of_a_record_names_the_id_once() -> None:
    """The id opens the picture, so who passes a record on leaves it out."""
    record = attrs.evolve(FINISHED, buttons=(Button("MJ::x", task_id="secret"),))
    fields = record.to_dict()
    del fields["task_id"]
    assert "secret" not in str(fields)
