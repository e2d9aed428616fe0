"""A handle between two processes: what is kept, and what is refused."""

from __future__ import annotations

import datetime as dt
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezlink_async._client.handle import FORMAT, SavedHandle
from ezlink_async.errors import ConfigurationError
from ezlink_async.models import Button, TaskProperties, TaskRecord, TaskStatus

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
