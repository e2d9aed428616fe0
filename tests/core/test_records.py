"""
One task object of the server into a record; odd values are no errors.

Numbers such as E26 are this project's own list of edge cases.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezlink_async._core.messages import identifier
from ezlink_async._core.records import progress_order, read_record
from ezlink_async.buttons import Button
from ezlink_async.models import TaskProperties, TaskRecord, TaskStatus

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
    """Times are aware and exact to the millisecond."""
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
        buttons=(
            Button(
                custom_id="c", label="l", type=2, style=1, task_id="1733213213123456"
            ),
        ),
        properties=TaskProperties(final_prompt="p", final_zh_prompt="z"),
    )


def test_unknown_keys_are_ignored() -> None:
    """A field that a later server adds changes nothing."""
    assert read_record({**FULL, "videoUrl": "x", "displays": {}}) == read_record(FULL)


def test_only_id_and_status_are_required() -> None:
    assert read_record({"id": "7", "status": ""}) == TaskRecord(task_id="7")


@pytest.mark.parametrize("key", [key for key in FULL if key not in {"id", "status"}])
def test_null_reads_like_a_missing_field(key: str) -> None:
    missing = {name: value for name, value in FULL.items() if name != key}
    assert read_record({**FULL, key: None}) == read_record(missing)


def test_e26_first_answer_has_an_empty_status() -> None:
    """Right after the submit the row exists, without any progress."""
    row = {**FULL, "status": "", "progress": "0%", "buttons": None, "properties": None}
    record = read_record(row)
    assert record.status is TaskStatus.EMPTY
    assert not record.is_terminal
    assert (record.progress, record.buttons, record.properties) == (0.0, (), None)


def test_e27_task_that_waits_again_has_no_start() -> None:
    """The server may take a start back."""
    row = {**FULL, "status": "NOT_START", "progress": "", "startTime": 0}
    record = read_record(row)
    assert record.status is TaskStatus.NOT_START
    assert (record.progress, record.start_time) == (None, None)


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("http://localhost:3000/mj/image/7", id="e32"),
        pytest.param("https://h/mj/image/7?rand=1733213213123456789", id="e33"),
    ],
)
def test_address_of_the_picture_is_kept_as_it_came(url: str) -> None:
    """The download decides what to make of an odd address."""
    assert read_record({**FULL, "imageUrl": url}).image_url == url


def test_e53_late_success_is_a_failure_with_a_picture() -> None:
    """The status decides; the address is kept."""
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
def test_progress_is_a_number_or_none(progress: object, number: float | None) -> None:
    assert read_record({**FULL, "progress": progress}).progress == number


NO_TIMES: list[object] = [0, -1, "", "soon", True, 10**30, 1e300]
NO_TIMES += [float("nan"), float("inf")]


@pytest.mark.parametrize(
    ("field", "name", "read", "values"),
    [
        ("imageUrl", "image_url", None, ["", 7.5j, []]),
        ("finishTime", "finish_time", None, NO_TIMES),
        ("buttons", "buttons", (), [{}, "x", [None, 7, []]]),
        ("properties", "properties", None, [[], "x", 7]),
        ("status", "status", TaskStatus.EMPTY, [None]),
        ("id", "task_id", "7", [7, " 7 "]),
    ],
)
def test_odd_value_is_read_as_what_it_can_be(
    field: str, name: str, read: object, values: list[object]
) -> None:
    """Zero is a time that is not known yet; other builds write ids as numbers."""
    for value in values:
        assert getattr(read_record({**FULL, field: value}), name) == read


@pytest.mark.parametrize(
    ("field", "name", "most"),
    [
        ("failReason", "fail_reason", 2_000),
        ("prompt", "prompt", 2_000),
        ("status", "status", 2_000),
        ("imageUrl", "image_url", 8_000),
    ],
)
def test_long_text_is_cut_off_where_it_is_kept(
    field: str, name: str, most: int
) -> None:
    """Journals, JSON lines and reports keep records; a signed address may be long."""
    text = str(getattr(read_record({**FULL, field: "x" * most}), name))
    assert text == "x" * most
    text = str(getattr(read_record({**FULL, field: "x" * 5_000_000}), name))
    assert text == "x" * (most - 1) + "…"


def test_texts_of_buttons_are_cut_off_but_never_what_is_sent_back() -> None:
    """A part of a custom id would press another button."""
    row = {**FULL, "buttons": [{"customId": "x" * 3_000, "label": "x" * 3_000}]}
    (button,) = read_record(row).buttons
    assert (button.custom_id, button.label) == (None, "x" * 1_999 + "…")


def test_milliseconds_may_come_as_text() -> None:
    assert read_record({**FULL, "submitTime": "1733213213123"}) == read_record(FULL)


def test_odd_fields_of_a_button_are_none() -> None:
    """The server passes on what its upstream sent."""
    odd: dict[str, object] = {
        "customId": None,
        "emoji": 7,
        "label": [],
        "type": "2",
        "style": True,
    }
    (button,) = read_record({**FULL, "buttons": [odd]}).buttons
    assert button == Button(emoji="7", task_id="1733213213123456")


@pytest.mark.parametrize(
    ("value", "text"),
    [("7", "7"), (" 7 ", "7"), (7, "7"), (True, ""), (7.0, ""), ("7" * 2_001, "")],
)
def test_identifier_is_text_or_a_whole_number(value: object, text: str) -> None:
    assert identifier(value) == text


@pytest.mark.parametrize("row", [{"status": ""}, {"id": None, "status": ""}])
def test_row_without_an_id_gets_the_one_asked_for(row: dict[str, object]) -> None:
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
def test_row_without_id_or_status_is_a_value_error(row: object) -> None:
    with pytest.raises(
        ValueError, match=r"neither id nor status|not an object|TaskStatus"
    ):
        read_record(row)


@given(st.dictionaries(st.sampled_from(sorted(FULL)), JSON))
def test_any_values_in_other_fields_are_read(odd: dict[str, object]) -> None:
    record = read_record({**odd, "id": "7", "status": "SUCCESS"})
    assert record.task_id == "7"
    assert record.is_terminal


@given(JSON)
def test_any_json_is_a_task_or_a_value_error(row: object) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(read_record(row, "7"), TaskRecord)


def test_rows_are_ordered_by_progress() -> None:
    """Ended rows beat running ones, a picture beats none, then progress counts."""
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
