"""
The values a user sees: open words, closed values.

Numbers such as E54 are this project's own list of edge cases.
"""

from __future__ import annotations

import copy
import pickle

import attrs
import pytest

from ezlink_async.errors import ConfigurationError
from ezlink_async.models import TaskRecord, TaskStatus
from ezlink_async.services.midjourney import AccountFilter, Mode

RUNNING = TaskRecord(task_id="7", status=TaskStatus.IN_PROGRESS)


@pytest.mark.parametrize("word", ["SUCCESS", "success", " Success\n"])
def test_a_known_word_is_read_in_any_case(word: str) -> None:
    """Blanks and case do not make a finished task unfinished."""
    assert TaskStatus(word) is TaskStatus.SUCCESS


def test_an_unknown_word_is_kept() -> None:
    """A word of tomorrow is UNKNOWN, says itself, and ends nothing."""
    status = TaskStatus("Paused")
    assert status == TaskStatus.UNKNOWN
    assert hash(status) == hash(TaskStatus.UNKNOWN)
    assert str(status) == "Paused"
    assert not status.is_terminal


def test_an_unknown_word_survives_a_copy() -> None:
    """The word goes along into another process."""
    status = TaskStatus("PAUSED")
    there = pickle.loads(pickle.dumps(status))  # noqa: S301 - our own bytes
    assert [str(there), str(copy.deepcopy(status))] == ["PAUSED", "PAUSED"]


@pytest.mark.parametrize("value", [None, 7, True, ["SUCCESS"]])
def test_a_status_is_a_word(value: object) -> None:
    """What is no string is no status."""
    with pytest.raises(ValueError, match="is not a valid TaskStatus"):
        TaskStatus(value)


def test_a_status_equals_statuses_only() -> None:
    """A status is no string: comparing with one is false, not an accident."""
    plain: object = "SUCCESS"
    assert plain != TaskStatus.SUCCESS
    assert TaskStatus.SUCCESS != TaskStatus.FAILURE


@pytest.mark.parametrize("status", list(TaskStatus))
def test_three_words_end_a_task(status: TaskStatus) -> None:
    """SUCCESS, FAILURE and CANCEL are the end; the empty first word is not."""
    ends = {TaskStatus.SUCCESS, TaskStatus.FAILURE, TaskStatus.CANCEL}
    assert status.is_terminal is (status in ends)
    assert attrs.evolve(RUNNING, status=status).is_terminal is (status in ends)


@pytest.mark.parametrize(
    ("progress", "reason", "frozen", "ended"),
    [
        (99.0, "", False, False),
        (99.0, "a warning", False, False),
        (None, "a warning", False, False),
        (100.0, "", True, False),
        (100.0, "a warning", True, True),
    ],
)
def test_e54_a_full_task_that_never_ended_is_frozen(
    progress: float | None, reason: str, *, frozen: bool, ended: bool
) -> None:
    """Full under a running status is not looked at again; a reason ends it."""
    record = attrs.evolve(RUNNING, progress=progress, fail_reason=reason)
    assert (record.is_frozen, record.is_terminal) == (frozen, ended)


def test_e28_a_full_failure_is_ended_and_not_frozen() -> None:
    """A failed task is full as well: the status decides."""
    record = attrs.evolve(RUNNING, status=TaskStatus.FAILURE, progress=100.0)
    assert (record.is_frozen, record.is_terminal) == (False, True)


@pytest.mark.parametrize(
    ("given", "mode"),
    [
        (None, None),
        ("fast", Mode.FAST),
        ("relax", Mode.RELAX),
        (Mode.TURBO, Mode.TURBO),
    ],
)
def test_a_mode_is_given_as_a_word_or_a_value(
    given: Mode | str | None, mode: Mode | None
) -> None:
    """Both spellings name the same queue; none is fine too."""
    assert Mode.parse(given) is mode


@pytest.mark.parametrize("given", ["ultra", "FAST", "", " fast"])
def test_an_unknown_mode_is_refused_before_anything_is_sent(given: str) -> None:
    """A fourth mode would be routed and fail later: it is an error at once."""
    with pytest.raises(ConfigurationError, match="mode is one of 'fast', 'turbo'"):
        Mode.parse(given)


def test_an_account_is_named_by_a_string() -> None:
    """The server would refuse the whole body for a number."""
    assert AccountFilter(instance_id="i").instance_id == "i"
    assert AccountFilter().instance_id is None
    with pytest.raises(ConfigurationError, match="instance_id is a string, not 7"):
        AccountFilter(instance_id=7)  # type: ignore[arg-type]  # the mistake itself


@pytest.mark.parametrize(
    ("value", "name"), [(RUNNING, "status"), (AccountFilter(), "instance_id")]
)
def test_a_value_cannot_be_changed(value: object, name: str) -> None:
    """Records are shared between awaiters, so nobody may write to them."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(value, name, "x")
