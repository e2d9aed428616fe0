"""
Tasks behind ``/mj``: requests byte for byte, and how answers are read.

Numbers such as E13 are this project's own list of edge cases.
"""

from __future__ import annotations

import datetime as dt
import json

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ezlink_async import errors
from ezlink_async._core.messages import Credential, HttpResponse
from ezlink_async.buttons import Button
from ezlink_async.models import TaskRecord, TaskStatus
from ezlink_async.services import base, endings, midjourney, traces
from ezlink_async.services.base import TaskFamily
from ezlink_async.services.midjourney import (
    FAMILIES,
    MIDJOURNEY,
    MIDJOURNEY_MODAL,
    read_submission,
)
from tests.support.requests import render
from tests.support.samples import samples


def test_saved_name_leads_back_to_its_family() -> None:
    """Names in saved handles never change: each finds the same family again."""
    assert FAMILIES == {
        "midjourney": MIDJOURNEY,
        "midjourney-modal": MIDJOURNEY_MODAL,
    }
    assert [family.name for family in FAMILIES.values()] == list(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_requests_about_tasks_are_repeatable(family: TaskFamily[TaskRecord]) -> None:
    asked = [family.fetch_request("7"), family.list_request(["7", "8"])]
    picture = family.keyless_request("7")
    assert picture is not None
    assert all(request.repeatable for request in (*asked, picture))
    assert {request.credential for request in asked} == {Credential.KEY}
    assert picture.credential is Credential.NONE  # the id alone opens it
    assert family.list_limit == midjourney.LIST_LIMIT == 100


@pytest.mark.parametrize(
    ("task_id", "path"),
    [
        ("1733213213123456", "1733213213123456"),
        ("a/../b?c#d", "a%2F..%2Fb%3Fc%23d"),
        ("ä 7", "%C3%A4%207"),
        (".7", ".7"),
    ],
)
def test_id_stays_one_segment_of_every_path(task_id: str, path: str) -> None:
    assert MIDJOURNEY.fetch_request(task_id).path == f"/mj/task/{path}/fetch"
    assert MIDJOURNEY.keyless_request(task_id).path == f"/mj/image/{path}"


@pytest.mark.parametrize("task_id", ["", ".", "..", "\ud800"])
def test_id_that_cannot_be_a_segment_is_refused(task_id: str) -> None:
    """An id that would change the path, or cannot be encoded, is an error."""
    with pytest.raises(errors.ConfigurationError, match="is no task id"):
        MIDJOURNEY.fetch_request(task_id)


@pytest.mark.parametrize("name", ["list-unknown", "list-twice", "list-mixed"])
def test_list_request_equals_the_recorded_one(name: str) -> None:
    """Path and parsed body are those that the server answered; ids are strings."""
    sample = samples()[name]
    expected = json.loads(sample.sent)
    request = MIDJOURNEY.list_request(expected["ids"])
    assert json.loads(render(request)) == expected
    assert request.content_length == len(render(request))
    assert (request.method, request.path) == (sample.method, sample.path)


# -- reading answers -------------------------------------------------------


def _answer(body: object, status: int = 200, **more: str) -> HttpResponse:
    plain = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"x-request-id": "r-1", **more}
    return HttpResponse(status, headers, plain, url="https://h/mj/insight-face/swap")


STATUS_WORDS = sorted({str(word) for word in TaskStatus} - {"", "UNKNOWN"})


def _task(task_id: object, status: str = "", **more: object) -> dict[str, object]:
    return {"id": task_id, "status": status, **more}


@pytest.mark.parametrize(
    ("code", "more"),
    [
        pytest.param(22, {"properties": {"numberOfQueues": 3}}, id="e13"),
        pytest.param(21, {"properties": {"status": "SUCCESS"}}, id="e14"),
        pytest.param(1, {"properties": None}, id="e15"),
        pytest.param(1, {}, id="bare"),
    ],
)
def test_three_codes_mean_accepted(code: int, more: dict[str, object]) -> None:
    """Codes 1, 21 (there already) and 22 (queued) each come with the id."""
    body = {"code": code, "description": " 已 提交 ", "result": "7", **more}
    accepted = read_submission(_answer(body))
    assert accepted == base.Accepted("7", code, "已 提交")


@pytest.mark.parametrize("status", [200, 201, 400, 500, 502])
def test_e58_an_acceptance_counts_under_any_status(status: int) -> None:
    """The body counts before the status: the server was seen to accept under 500."""
    body = {"code": 1, "description": "ok", "properties": {}, "result": "500500"}
    assert read_submission(_answer(body, status)).task_id == "500500"


@pytest.mark.parametrize("text", [b"\xff", b"\x00", b"\n", "运行".encode("gbk")])
def test_one_odd_byte_hides_neither_an_id_nor_the_end_of_a_task(text: bytes) -> None:
    """The task is paid: its id and its status count, its words may be broken."""
    body = b'{"code":1,"description":"' + text + b'","result":"7"}'
    assert read_submission(_answer(body)).task_id == "7"
    body = b'{"id":"7","status":"SUCCESS","failReason":"' + text + b'"}'
    assert MIDJOURNEY.read(_answer(body), "7").status is TaskStatus.SUCCESS
    assert list(MIDJOURNEY.read_list(_answer(b"[" + body + b"]"))) == ["7"]


def test_answer_of_too_much_is_an_error_that_says_so() -> None:
    """It is not parsed; the job of such an answer to a submit may be paid."""
    body = b"[" + b"[]," * 6000 + b"1]"
    says = "it has more than 5,000 brackets"
    with pytest.raises(errors.ProtocolError, match=says):
        MIDJOURNEY.read(_answer(body), "7")
    with pytest.raises(errors.ProtocolError, match=says):
        MIDJOURNEY.read_list(_answer(body))
    with pytest.raises(errors.EzlinkError, match=says) as caught:
        read_submission(_answer(body))
    assert caught.value.maybe_charged


def test_list_request_says_how_many_tasks_its_answer_is_about() -> None:
    """A list may be larger than one task."""
    assert MIDJOURNEY.list_request(["7", "8"]).tasks == 2
    assert MIDJOURNEY.fetch_request("7").tasks == 1


def test_numeric_id_becomes_a_string() -> None:
    """Other builds of the server write ids as whole numbers."""
    assert read_submission(_answer({"code": 1, "result": 17})).task_id == "17"


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("result", ["", "  ", None, [], 1.5, True])
def test_e12_acceptance_without_an_id_is_maybe_charged(
    status: int, result: object
) -> None:
    """The job cannot be found, and must not be sent again."""
    answer = _answer({"code": 1, "result": result}, status)
    with pytest.raises(
        errors.ProtocolError, match="it is paid, and cannot be found"
    ) as caught:
        read_submission(answer)
    assert (caught.value.maybe_charged, caught.value.retry_safe) == (True, False)
    assert caught.value.request_id == "r-1"
    assert caught.value.status == status


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b'{"code":1,"resu', {"code": "1", "result": "7"}, {"code": 0}, []],
)
def test_unreadable_2xx_is_maybe_charged(body: object) -> None:
    """A 2xx that is cut off or strange is never safe to repeat."""
    with pytest.raises(errors.SubmitUnknownError, match="may be paid") as caught:
        read_submission(_answer(body))
    assert (caught.value.maybe_charged, caught.value.retry_safe) == (True, False)
    assert caught.value.request_ids == ("r-1",)
    cause = caught.value.__cause__
    assert isinstance(cause, errors.ProtocolError)
    if isinstance(body, bytes):
        assert cause.head == body


@pytest.mark.parametrize(
    "body", [b"<html>", {"code": 1, "result": "7"}, {"code": 21, "result": ""}]
)
def test_answer_before_the_end_of_the_body_is_no_acceptance(body: object) -> None:
    """It may be another request's, left on the connection, or a login page's."""
    early = attrs.evolve(_answer(body), early=True)
    with pytest.raises(errors.TransportError, match="there is no job") as caught:
        read_submission(early)
    assert (caught.value.maybe_charged, caught.value.retry_safe) == (False, True)
    assert caught.value.stage == "upload"


@pytest.mark.parametrize("code", [True, 1.0, "1", None, 2, [1]])
def test_only_an_integer_is_a_code(code: object) -> None:
    """A value that only looks like 1 is no acceptance; then the status decides."""
    with pytest.raises(errors.RejectedError):
        read_submission(_answer({"code": code, "result": "7"}, 400))


def test_e5_refused_submit_raises_its_error() -> None:
    body = {"error": {"message": "Token not provided (request id: 1)"}}
    body["error"]["type"] = "api_error"
    with pytest.raises(errors.AuthenticationError) as caught:
        read_submission(_answer(body, 401))
    assert caught.value.retry_safe


def test_e25_unknown_id_names_task_and_request() -> None:
    """One such answer proves nothing, so the message gives both readings."""
    body = {"code": 4, "description": "Get mj id failed Error"}
    body["type"] = "upstream_error"
    with pytest.raises(errors.TaskNotFoundError, match="task 7, or cannot") as caught:
        MIDJOURNEY.read(_answer(body, 400), "7")
    assert (caught.value.task_id, caught.value.request_id) == ("7", "r-1")


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{", {}, {"status": 404}])
def test_2xx_without_a_task_is_a_protocol_error(body: object) -> None:
    """An empty answer or another server's page is not read as a task."""
    with pytest.raises(errors.ProtocolError, match="the answer is no task") as caught:
        MIDJOURNEY.read(_answer(body), "7")
    assert (caught.value.task_id, caught.value.maybe_charged) == ("7", False)


def test_record_of_another_task_is_a_protocol_error() -> None:
    """A mixed-up answer must not end a task with the picture of another one."""
    body = json.dumps(_task("8", "SUCCESS", imageUrl="https://h/mj/image/8")).encode()
    with pytest.raises(errors.ProtocolError, match="task '8', not 7") as caught:
        MIDJOURNEY.read(_answer(body), "7")
    assert (caught.value.task_id, caught.value.request_id) == ("7", "r-1")
    assert caught.value.head == body


@pytest.mark.parametrize("task_id", ["7", 7, " 7 ", None, ""])
def test_record_is_read_whatever_the_spelling_of_its_id(task_id: object) -> None:
    """A number, blanks around the id and no id at all name the requested task."""
    assert MIDJOURNEY.read(_answer(_task(task_id)), "7").task_id == "7"
    assert MIDJOURNEY.read(_answer(_task(task_id)), " 7").task_id.strip() == "7"


def test_fault_while_fetching_names_the_task() -> None:
    with pytest.raises(errors.ServerError) as caught:
        MIDJOURNEY.read(_answer(b"<html>", 502), "7")
    assert caught.value.task_id == "7"


def test_e35_ids_that_the_server_leaves_out_are_missing() -> None:
    found = MIDJOURNEY.read_list(_answer([_task("7", "SUCCESS")]))
    assert list(found) == ["7"]
    assert MIDJOURNEY.read_list(_answer([])) == {}


@pytest.mark.parametrize("turn", [1, -1])
def test_e35_most_advanced_of_two_rows_counts(turn: int) -> None:
    """The server refreshes only one row of an id, which may come first or last."""
    rows = [_task("7"), _task("7", "IN_PROGRESS"), _task("7", "SUCCESS"), _task("8")]
    found = MIDJOURNEY.read_list(_answer(rows[::turn]))
    assert found["7"].status is TaskStatus.SUCCESS
    assert found["8"].status is TaskStatus.EMPTY


@pytest.mark.parametrize("turn", [1, -1])
def test_e31_row_with_a_picture_wins_over_one_without(turn: int) -> None:
    """Of two successes the one whose picture can be downloaded counts."""
    bare = _task("7", "SUCCESS", imageUrl="", progress="100%")
    whole = _task("7", "SUCCESS", imageUrl="https://h/mj/image/7")
    found = MIDJOURNEY.read_list(_answer([bare, whole][::turn]))
    assert found["7"].image_url == "https://h/mj/image/7"


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.sampled_from(["7", "8"]),
            "status": st.sampled_from(["", "PAUSED", "HELD", *STATUS_WORDS]),
            "imageUrl": st.sampled_from(["", "https://h/1", "https://h/2"]),
            "progress": st.sampled_from(["", "0%", "37%", "100%"]),
            "failReason": st.sampled_from(["", "one", "another"]),
            "state": st.sampled_from(["", "s"]),
        }
    ),
    max_size=6,
)


@given(ROWS.flatmap(lambda rows: st.tuples(st.just(rows), st.permutations(rows))))
def test_order_of_rows_does_not_matter(
    orders: tuple[list[dict[str, str]], list[dict[str, str]]],
) -> None:
    """The server promises no order, so any order of rows gives the same records."""
    one, other = (MIDJOURNEY.read_list(_answer(rows)) for rows in orders)
    assert one == other
    for task_id, record in one.items():
        rows = [row for row in orders[0] if row["id"] == task_id]
        ends = [row["imageUrl"] for row in rows if row["status"] == "SUCCESS"]
        assert (record.status is TaskStatus.SUCCESS) == bool(ends)
        assert bool(record.image_url) or not any(ends)


@pytest.mark.parametrize("row", [None, 7, [], {}, {"id": "8"}, _task("", "SUCCESS")])
def test_unreadable_row_does_not_hide_the_others(row: object) -> None:
    found = MIDJOURNEY.read_list(_answer([row, _task("7", "SUCCESS")]))
    assert list(found) == ["7"]


@pytest.mark.parametrize("body", [b"", b"null", {}, "x"])
def test_list_answer_without_a_list_is_a_protocol_error(body: object) -> None:
    """Only an empty list says that the server knows none of the ids."""
    with pytest.raises(errors.ProtocolError, match="no list of tasks"):
        MIDJOURNEY.read_list(_answer(body))


def test_e36_refused_list_raises_its_error() -> None:
    body = {"code": 4, "description": "Bind json failed Error"}
    body["type"] = "upstream_error"
    with pytest.raises(errors.RejectedError, match="Bind json failed"):
        MIDJOURNEY.read_list(_answer(body, 400))


# -- any answer at all -----------------------------------------------------

WORDS = st.sampled_from(
    [
        "id",
        "status",
        "code",
        "result",
        "error",
        "message",
        "type",
        "description",
        "SUCCESS",
        "api_error",
        "upstream_error",
        "x (request id: 1)",
        "Get mj id failed Error",
    ]
)

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-2, 31)
    | st.integers()
    | st.floats()
    | WORDS
    | st.text(max_size=8)
)

VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(WORDS | st.text(max_size=8), inner, max_size=5)
    ),
    max_leaves=15,
)

BODIES = st.binary(max_size=80) | VALUES.map(lambda value: json.dumps(value).encode())

STATUSES = st.sampled_from([200, 201, 204, 299, 301, 400, 401, 403, 404, 429, 500, 503])

DEEP = b'{"status":' * 980 + b"0" + b"}" * 980


@given(BODIES, STATUSES)
@example(DEEP, 200)
@example(b'{"error":{"message":' + DEEP + b"}}", 400)
def test_any_answer_to_a_submit_is_an_acceptance_or_an_error(
    body: bytes, status: int
) -> None:
    """Under 2xx an id or an error of a job that may be paid."""
    try:
        answer = read_submission(_answer(body, status)).task_id
    except errors.EzlinkError as error:
        answer = "unknown" if error.maybe_charged else "refused"
    assert answer
    assert answer != "refused" or status >= 300


@given(BODIES, STATUSES)
@example(DEEP, 200)
@example(b'{"status":"SUCCESS","buttons":' + DEEP + b"}", 200)
def test_any_answer_about_a_task_is_a_record_or_an_error(
    body: bytes, status: int
) -> None:
    """Under 2xx a record or a ProtocolError, elsewhere an EzlinkError with the id."""
    kind = errors.ProtocolError if status < 300 else errors.EzlinkError
    try:
        record = MIDJOURNEY.read(_answer(body, status), "7")
    except kind as error:
        named = error.task_id == "7"
    else:
        named = record.task_id == "7" and status < 300
    assert named


@given(BODIES, STATUSES)
@example(b"[" + DEEP + b"]", 200)
def test_any_answer_to_a_list_is_records_or_an_error(body: bytes, status: int) -> None:
    """Under 2xx a dict by id or a ProtocolError, elsewhere an EzlinkError."""
    kind = errors.ProtocolError if status < 300 else errors.EzlinkError
    try:
        records = MIDJOURNEY.read_list(_answer(body, status))
    except kind:
        return
    assert status < 300
    assert all(record.task_id == task_id for task_id, record in records.items())


# -- how tasks end ---------------------------------------------------------


def _row(status: str, action: str = "IMAGINE", **more: object) -> TaskRecord:
    return TaskRecord(
        task_id="7",
        status=TaskStatus(status),
        action=action,
        **more,  # type: ignore[arg-type]  # any field
    )


PICTURE = "https://h/mj/image/7"


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_running_task_has_not_ended(family: TaskFamily[TaskRecord]) -> None:
    for word in ("", "NOT_START", "SUBMITTED", "IN_PROGRESS", "Paused"):
        assert family.judge(_row(word), None) is None


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_success_without_a_picture_is_believed_the_second_time(
    family: TaskFamily[TaskRecord],
) -> None:
    bare = _row("SUCCESS")
    assert family.judge(_row("SUCCESS", image_url=PICTURE), None) == endings.Ending()
    assert family.judge(bare, None) is None
    assert family.judge(bare, _row("IN_PROGRESS")) is None
    ending = family.judge(bare, bare)
    assert ending is not None
    assert isinstance(ending.error, errors.TaskFailedError)


@pytest.mark.parametrize("action", ["DESCRIBE", "SHORTEN"])
def test_lost_text_is_no_failure(action: str) -> None:
    """The task is done and paid; another look brings no text."""
    assert MIDJOURNEY.judge(_row("SUCCESS", action), None) == endings.Ending()


@pytest.mark.parametrize(
    ("reason", "progress", "refunded"),
    [("no", 99.0, True), ("", 99.0, False), ("渠道", 99.0, False)],
)
def test_failure_says_whether_the_server_gives_the_price_back(
    reason: str, progress: float, *, refunded: bool
) -> None:
    record = _row("FAILURE", fail_reason=reason, progress=progress)
    ending = MIDJOURNEY.judge(record, None)
    assert ending is not None
    assert isinstance(ending.error, errors.TaskFailedError)
    assert ending.error.refunded is MIDJOURNEY.is_refunded(record) is refunded


def test_cancelled_task_is_an_error_of_its_own() -> None:
    ending = MIDJOURNEY.judge(_row("CANCEL"), None)
    assert ending is not None
    assert isinstance(ending.error, errors.TaskCancelledError)


def test_task_that_waits_for_input_ends_its_handle_but_not_a_modal() -> None:
    """A modal's id shows the old status until the server has caught up."""
    waits = _row("MODAL", "INPAINT")
    ending = MIDJOURNEY.judge(waits, None)
    assert ending is not None
    assert isinstance(ending.error, errors.ModalNeededError)
    assert "midjourney.modal('7'" in str(ending.error)
    assert MIDJOURNEY_MODAL.judge(waits, None) is None


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([("INPAINT", "MODAL"), ("MODAL", "")], ("MODAL", "")),
        ([("INPAINT", "SUCCESS"), ("MODAL", "IN_PROGRESS")], ("MODAL", "IN_PROGRESS")),
        ([("MODAL", "FAILURE"), ("MODAL", "SUBMITTED")], ("MODAL", "SUBMITTED")),
        ([("MODAL", ""), ("INPAINT", "MODAL")], ("MODAL", "")),
        ([("INPAINT", "MODAL")], ("INPAINT", "MODAL")),
    ],
)
def test_last_row_of_a_modal_counts(
    rows: list[tuple[str, str]], expected: tuple[str, str]
) -> None:
    """Not the most advanced: that may be one of before the modal."""
    body = [_task("7", status, action=action) for action, status in rows]
    record = MIDJOURNEY_MODAL.read_list(_answer(body))["7"]
    assert (record.action, str(record.status)) == expected


def test_modal_is_listed_from_the_first_task_on() -> None:
    """A list is a beat ahead of a fetch, which shows the oldest row of an id."""
    assert (MIDJOURNEY_MODAL.list_from, MIDJOURNEY.list_from) == (1, 3)
    assert MIDJOURNEY_MODAL.fetch_request("7") == MIDJOURNEY.fetch_request("7")


def test_account_shows_all_of_a_submit_but_not_that_a_modal_is_absent() -> None:
    assert MIDJOURNEY.traces.proves_absence
    assert MIDJOURNEY_MODAL.traces == traces.Traces(state=True, log=True)


def test_picture_that_is_found_without_a_key_makes_a_success() -> None:
    known = _row("IN_PROGRESS", progress=40.0)
    found = MIDJOURNEY.found("7", known, PICTURE)
    assert (found.status, found.image_url) == (TaskStatus.SUCCESS, PICTURE)
    assert found.action == "IMAGINE"
    assert MIDJOURNEY.found("7", None, PICTURE).task_id == "7"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (_row("IN_PROGRESS"), _row("IN_PROGRESS"), True),
        (_row("Paused"), _row("Queued"), False),
        (_row("IN_PROGRESS", progress=1.0), _row("IN_PROGRESS", progress=2.0), False),
        (_row("IN_PROGRESS", image_url="a"), _row("IN_PROGRESS", image_url="b"), True),
        (_row("SUCCESS", image_url="a"), _row("SUCCESS", image_url="b"), False),
        (_row("IN_PROGRESS"), _row("IN_PROGRESS", prompt_en="x"), False),
    ],
)
def test_update_is_what_a_reader_can_see(
    one: TaskRecord, other: TaskRecord, *, same: bool
) -> None:
    """The address of a preview is new each time, and the clocks of servers differ."""
    later = attrs.evolve(other, submit_time=dt.datetime.now(dt.UTC))
    assert MIDJOURNEY.is_same(one, later) is same
    assert MIDJOURNEY.is_same(one, one)


def test_saved_record_is_the_same_again() -> None:
    record = _row("SUCCESS", buttons=(Button("MJ::x", task_id="7"),))
    saved = json.loads(json.dumps(MIDJOURNEY.dump(record)))
    assert MIDJOURNEY.load(saved) == record
    assert MIDJOURNEY.is_frozen(_row("IN_PROGRESS", progress=100.0))
