"""
One task object into a record: lenient in everything nobody decides by.

Numbers such as E26 are this project's own list of edge cases.
"""

from __future__ import annotations

import datetime as dt
import itertools

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezlink_async._core.records import identifier, progress_order, read_record
from ezlink_async.models import Button, TaskProperties, TaskRecord, TaskStatus

FULL = {
    "id": "1733213213123456",
    "action": "SWAP_FACE",
    "customId": "",
    "botType": "",
    "prompt": "InsightFace",
    "promptEn": "",
    "description": "提交成功",
    "state": "my-state",
    "submitTime": 1733213213123,
    "startTime": 1733213215900,
    "finishTime": 1733213231400,
    "imageUrl": "https://api.ezlinkai.com/mj/image/1733213213123456",
    "status": "SUCCESS",
    "progress": "100%",
    "failReason": "",
    "buttons": [{"customId": "c", "emoji": "", "label": "l", "type": 2, "style": 1}],
    "maskBase64": "",
    "properties": {"finalPrompt": "p", "finalZhPrompt": "z"},
}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


def _utc(milliseconds: int) -> dt.datetime:
    start = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    return start + dt.timedelta(milliseconds=milliseconds)


def test_every_field_of_a_task_is_read() -> None:
    """The wire's names become ours; times are aware and exact to the millisecond."""
    assert read_record(FULL) == TaskRecord(
        task_id="1733213213123456",
        action="SWAP_FACE",
        status=TaskStatus.SUCCESS,
        progress=100.0,
        image_url="https://api.ezlinkai.com/mj/image/1733213213123456",
        fail_reason="",
        state="my-state",
        description="提交成功",
        submit_time=_utc(1733213213123),
        start_time=_utc(1733213215900),
        finish_time=_utc(1733213231400),
        prompt="InsightFace",
        buttons=(Button(custom_id="c", label="l", type=2, style=1),),
        properties=TaskProperties(final_prompt="p", final_zh_prompt="z"),
    )


def test_keys_of_tomorrow_are_ignored() -> None:
    """A field the server adds changes nothing."""
    assert read_record({**FULL, "videoUrl": "x", "displays": {}}) == read_record(FULL)


def test_a_task_of_two_fields_is_a_task() -> None:
    """Only the id and the status are demanded; the rest has defaults."""
    assert read_record({"id": "7", "status": ""}) == TaskRecord(task_id="7")


@pytest.mark.parametrize("key", [key for key in FULL if key not in {"id", "status"}])
def test_null_is_accepted_for_every_field(key: str) -> None:
    """A null reads like a missing field, whichever it is."""
    missing = {name: value for name, value in FULL.items() if name != key}
    assert read_record({**FULL, key: None}) == read_record(missing)


def test_e26_the_first_answer_has_an_empty_status() -> None:
    """Right after the submit there is a row and nothing in it."""
    row = {**FULL, "status": "", "progress": "0%", "buttons": None, "properties": None}
    record = read_record(row)
    assert record.status is TaskStatus.EMPTY
    assert not record.is_terminal
    assert (record.progress, record.buttons, record.properties) == (0.0, (), None)


def test_a_null_status_is_the_empty_one() -> None:
    """Null is how another build writes that nothing is known yet."""
    assert read_record({**FULL, "status": None}).status is TaskStatus.EMPTY


def test_e27_a_start_may_be_taken_back() -> None:
    """A task that waits again has no progress and no start, and is a task."""
    row = {**FULL, "status": "NOT_START", "progress": "", "startTime": 0}
    record = read_record(row)
    assert record.status is TaskStatus.NOT_START
    assert (record.progress, record.start_time) == (None, None)


@pytest.mark.parametrize("url", ["", None, 7.5j, []])
def test_e31_no_address_is_none(url: object) -> None:
    """An empty address is no address."""
    assert read_record({**FULL, "imageUrl": url}).image_url is None


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("http://localhost:3000/mj/image/7", id="e32"),
        pytest.param("https://h/mj/image/7?rand=1733213213123456789", id="e33"),
    ],
)
def test_an_address_is_kept_as_it_came(url: str) -> None:
    """What to make of an odd address is decided where it is used."""
    assert read_record({**FULL, "imageUrl": url}).image_url == url


def test_e53_a_late_success_is_a_failure_with_a_picture() -> None:
    """The status decides; the address is offered all the same."""
    record = read_record({**FULL, "status": "FAILURE", "failReason": "上游任务超时"})
    assert record.status is TaskStatus.FAILURE
    assert record.image_url is not None


@pytest.mark.parametrize(
    ("progress", "number"),
    [
        ("37%", 37.0),
        (" 37 % ", 37.0),
        ("37", 37.0),
        (37, 37.0),
        (99.5, 99.5),
        ("", None),
        ("waiting", None),
        ("nan%", None),
        ("inf", None),
        (True, None),
        ([], None),
        ("9" * 400, None),
    ],
)
def test_progress_is_a_number_or_nothing(
    progress: object, number: float | None
) -> None:
    """Nobody decides by progress, so no form of it is an error."""
    assert read_record({**FULL, "progress": progress}).progress == number


@pytest.mark.parametrize(
    "time", [0, -1, "", "soon", None, True, 10**30, 1e300, float("nan"), float("inf")]
)
def test_an_odd_time_is_no_time(time: object) -> None:
    """Zero means not yet, and a time out of any calendar means nothing."""
    assert read_record({**FULL, "finishTime": time}).finish_time is None


def test_a_time_may_come_as_text() -> None:
    """Milliseconds in a string are milliseconds."""
    assert read_record({**FULL, "submitTime": "1733213213123"}) == read_record(FULL)


@pytest.mark.parametrize("buttons", [None, {}, "x", [None, 7, []]])
def test_odd_buttons_are_left_out(buttons: object) -> None:
    """Only objects in a list are buttons."""
    assert read_record({**FULL, "buttons": buttons}).buttons == ()


def test_a_button_may_be_of_any_type() -> None:
    """The server hands through whatever upstream sent; numbers stay whole."""
    odd: dict[str, object] = {
        "customId": None,
        "emoji": 7,
        "label": [],
        "type": "2",
        "style": True,
    }
    (button,) = read_record({**FULL, "buttons": [odd]}).buttons
    assert button == Button(emoji="7")


@pytest.mark.parametrize("properties", [None, [], "x", 7])
def test_odd_properties_are_none(properties: object) -> None:
    """What is no object holds no prompts."""
    assert read_record({**FULL, "properties": properties}).properties is None


@pytest.mark.parametrize(
    ("value", "text"), [("7", "7"), (" 7 ", "7"), (7, "7"), (True, ""), (7.0, "")]
)
def test_an_id_is_a_string_or_a_whole_number(value: object, text: str) -> None:
    """Both spellings of an id are met; anything else is none."""
    assert identifier(value) == text


def test_a_number_as_an_id_is_read() -> None:
    """A whole number in the task's own field is its id too."""
    assert read_record({**FULL, "id": 7}).task_id == "7"


@pytest.mark.parametrize("row", [{"status": ""}, {"id": None, "status": ""}])
def test_the_id_that_was_asked_for_stands_in(row: dict[str, object]) -> None:
    """A task without an id is the one that was asked for."""
    assert read_record(row, "7").task_id == "7"


@pytest.mark.parametrize(
    "row",
    [
        None,
        [],
        "x",
        {},
        {"status": "SUCCESS"},
        {"id": "7"},
        {"id": "7", "status": 200},
        {"id": "7", "status": False},
        {"id": [], "status": "SUCCESS"},
    ],
)
def test_what_is_no_task_is_an_error(row: object) -> None:
    """Without an id, without a status or with a number for one it is no task."""
    with pytest.raises(
        ValueError, match=r"neither id nor status|not an object|TaskStatus"
    ):
        read_record(row)


@given(st.dictionaries(st.sampled_from(sorted(FULL)), JSON))
def test_any_values_in_a_tasks_fields_are_read(odd: dict[str, object]) -> None:
    """With an id and a word for a status, no other value is an error."""
    record = read_record({**odd, "id": "7", "status": "SUCCESS"})
    assert record.task_id == "7"
    assert record.is_terminal


@given(JSON)
def test_any_json_is_a_task_or_a_value_error(row: object) -> None:
    """Nothing but :exc:`ValueError` says that something is no task."""
    try:
        assert isinstance(read_record(row, "7"), TaskRecord)
    except ValueError as error:
        told = str(error)
    else:
        told = "read"
    assert told


def test_rows_are_ordered_by_how_far_they_came() -> None:
    """What has ended beats what runs, a picture none, and then progress counts."""
    words = ["", "PAUSED", "NOT_START", "SUBMITTED", "IN_PROGRESS", "MODAL"]
    running = [TaskRecord(task_id="7", status=TaskStatus(word)) for word in words]
    words = ["CANCEL", "FAILURE", "SUCCESS"]
    ended = [TaskRecord(task_id="7", status=TaskStatus(word)) for word in words]
    frozen = TaskRecord(
        task_id="7", status=TaskStatus.SUBMITTED, progress=100.0, fail_reason="x"
    )
    order = [*running, frozen, *ended]
    order.append(attrs.evolve(ended[-1], image_url="https://h/7"))
    order.append(attrs.evolve(order[-1], progress=99.0))
    order.append(attrs.evolve(order[-1], progress=100.0))
    ranks = [progress_order(record) for record in order]
    assert all(lower < higher for lower, higher in itertools.pairwise(ranks))
