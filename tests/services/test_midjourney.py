"""
The wire of swaps and tasks: what is sent, byte for byte, and what is read.

Numbers such as E13 are this project's own list of edge cases.
"""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ezlink_async import errors
from ezlink_async._core.messages import Credential, HttpResponse
from ezlink_async.errors import ProtocolError
from ezlink_async.models import TaskStatus
from ezlink_async.services import base, midjourney
from ezlink_async.services.base import TaskFamily
from ezlink_async.services.midjourney import FAMILIES, MIDJOURNEY
from tests.support.requests import render
from tests.support.samples import samples


def test_a_saved_name_leads_back_to_its_family() -> None:
    """Names in saved handles are for ever: they find the same kind again."""
    assert FAMILIES == {"midjourney": MIDJOURNEY}
    assert [family.name for family in FAMILIES.values()] == list(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_a_family_asks_without_changing_anything(family: TaskFamily) -> None:
    """Following a task costs nothing, so each of its questions is repeatable."""
    asked = [
        family.fetch_request("7"),
        family.list_request(["7", "8"]),
        family.result_request("7"),
    ]
    assert all(request.repeatable for request in asked)
    assert family.list_limit == midjourney.LIST_LIMIT == 100


def test_swaps_are_asked_for_and_read_by_the_protocol() -> None:
    """A family is a name for wire functions, and adds nothing to them."""
    assert MIDJOURNEY.fetch_request("7") == midjourney.fetch_request("7")
    assert MIDJOURNEY.list_request(["7"]) == midjourney.list_request(["7"])
    assert MIDJOURNEY.result_request("7") == midjourney.image_request("7")
    one = samples()["fetch-success"].response
    task_id = samples()["fetch-success"].path.split("/")[-2]
    assert MIDJOURNEY.read(one, task_id) == midjourney.read_task(one, task_id)
    many = samples()["list-mixed"].response
    assert MIDJOURNEY.read_list(many) == midjourney.read_tasks(many)


def test_a_family_raises_what_an_answer_means() -> None:
    """An answer nobody can read is an error of ours from both readers."""
    with pytest.raises(ProtocolError):
        MIDJOURNEY.read(HttpResponse(200), "7")
    with pytest.raises(ProtocolError):
        MIDJOURNEY.read_list(HttpResponse(200))


@pytest.mark.parametrize(
    ("task_id", "path"),
    [
        ("1733213213123456", "1733213213123456"),
        ("a/../b?c#d", "a%2F..%2Fb%3Fc%23d"),
        ("ä 7", "%C3%A4%207"),
        (".7", ".7"),
    ],
)
def test_an_id_is_opaque_in_every_path(task_id: str, path: str) -> None:
    """Whatever an id holds, it stays one segment of the path."""
    assert midjourney.fetch_request(task_id).path == f"/mj/task/{path}/fetch"
    assert midjourney.image_request(task_id).path == f"/mj/image/{path}"


@pytest.mark.parametrize("task_id", ["", ".", "..", "\ud800"])
def test_what_cannot_be_a_segment_is_no_id(task_id: str) -> None:
    """An id that would change the path, or cannot be written, is refused."""
    with pytest.raises(errors.ConfigurationError, match="is no task id"):
        midjourney.task_path(task_id)


def test_questions_are_free_and_repeatable() -> None:
    """Fetch, list and the key's probe may be sent again; they carry the key."""
    asked = [
        midjourney.fetch_request("7"),
        midjourney.list_request(["7"]),
        midjourney.probe_key_request(),
    ]
    assert all(request.repeatable for request in asked)
    assert {request.credential for request in asked} == {Credential.KEY}


def test_a_picture_is_asked_for_without_the_key() -> None:
    """The id alone opens it, so the key stays at home."""
    request = midjourney.image_request("7")
    assert request.repeatable
    assert request.credential is Credential.NONE


@pytest.mark.parametrize("name", ["list-unknown", "list-twice", "list-mixed"])
def test_a_list_is_what_the_server_was_seen_to_answer(name: str) -> None:
    """Path and parsed body equal the recorded ones, ids being strings."""
    sample = samples()[name]
    expected = json.loads(sample.sent)
    request = midjourney.list_request(iter(expected["ids"]))
    assert json.loads(render(request)) == expected
    assert request.content_length == len(render(request))
    assert (request.method, request.path) == (sample.method, sample.path)


# -- what is read ---------------------------------------------------------


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
def test_three_codes_are_an_acceptance(code: int, more: dict[str, object]) -> None:
    """Accepted, there already or queued: the id is what counts."""
    body = {"code": code, "description": " 已 提交 ", "result": "7", **more}
    accepted = midjourney.read_submission(_answer(body))
    assert accepted == base.Accepted("7", code, "已 提交")


@pytest.mark.parametrize("status", [200, 201, 400, 500, 502])
def test_e58_an_acceptance_counts_under_any_status(status: int) -> None:
    """The body is looked at first: the server was seen to accept under 500."""
    body = {"code": 1, "description": "ok", "properties": {}, "result": "500500"}
    assert midjourney.read_submission(_answer(body, status)).task_id == "500500"


def test_an_id_may_be_a_number() -> None:
    """Other builds of the server write ids as whole numbers."""
    assert (
        midjourney.read_submission(_answer({"code": 1, "result": 17})).task_id == "17"
    )


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("result", ["", "  ", None, [], 1.5, True])
def test_e12_an_acceptance_without_an_id_is_paid_and_lost(
    status: int, result: object
) -> None:
    """Nobody can reach the job, and nobody may send it again."""
    answer = _answer({"code": 1, "result": result}, status)
    with pytest.raises(errors.ProtocolError, match="paid, and out of reach") as caught:
        midjourney.read_submission(answer)
    assert (caught.value.maybe_charged, caught.value.retry_safe) == (True, False)
    assert caught.value.request_id == "r-1"
    assert caught.value.status == status


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b'{"code":1,"resu', {"code": "1", "result": "7"}, {"code": 0}, []],
)
def test_a_success_nobody_can_read_may_be_a_paid_job(body: object) -> None:
    """A 2xx that is cut off or strange is never safe to repeat."""
    with pytest.raises(errors.ProtocolError, match="may mean a paid job") as caught:
        midjourney.read_submission(_answer(body))
    assert (caught.value.maybe_charged, caught.value.retry_safe) == (True, False)
    if isinstance(body, bytes):
        assert caught.value.head == body


@pytest.mark.parametrize("code", [True, 1.0, "1", None, 2, [1]])
def test_only_a_whole_number_is_a_code(code: object) -> None:
    """What merely looks like 1 is no acceptance: the status decides then."""
    with pytest.raises(errors.RejectedError):
        midjourney.read_submission(_answer({"code": code, "result": "7"}, 400))


def test_e5_a_refused_submit_raises_what_it_means() -> None:
    """What is no acceptance goes through the refusals, as a submit."""
    body = {"error": {"message": "Token not provided (request id: 1)"}}
    body["error"]["type"] = "api_error"
    with pytest.raises(errors.AuthenticationError) as caught:
        midjourney.read_submission(_answer(body, 401))
    assert caught.value.retry_safe


def test_e25_an_unknown_id_names_task_and_request() -> None:
    """One such answer proves nothing, so the message says both readings."""
    body = {"code": 4, "description": "Get mj id failed Error"}
    body["type"] = "upstream_error"
    with pytest.raises(errors.TaskNotFoundError, match="task 7, or cannot") as caught:
        midjourney.read_task(_answer(body, 400), "7")
    assert (caught.value.task_id, caught.value.request_id) == ("7", "r-1")


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{", {}, {"status": 404}])
def test_a_success_that_is_no_task_is_a_protocol_error(body: object) -> None:
    """An empty answer or another server's page is not taken for a task."""
    with pytest.raises(errors.ProtocolError, match="the answer is no task") as caught:
        midjourney.read_task(_answer(body), "7")
    assert (caught.value.task_id, caught.value.maybe_charged) == ("7", False)


def test_another_tasks_record_is_no_record_of_this_one() -> None:
    """A mixed-up answer must not end a task with another one's picture."""
    body = json.dumps(_task("8", "SUCCESS", imageUrl="https://h/mj/image/8")).encode()
    with pytest.raises(errors.ProtocolError, match="task '8', not 7") as caught:
        midjourney.read_task(_answer(body), "7")
    assert (caught.value.task_id, caught.value.request_id) == ("7", "r-1")
    assert caught.value.head == body


@pytest.mark.parametrize("task_id", ["7", 7, " 7 ", None, ""])
def test_an_id_is_the_same_in_every_spelling(task_id: object) -> None:
    """A number, blanks around it or none at all: it is the task that was asked for."""
    assert midjourney.read_task(_answer(_task(task_id)), "7").task_id == "7"
    assert midjourney.read_task(_answer(_task(task_id)), " 7").task_id.strip() == "7"


def test_a_fault_while_fetching_carries_the_id() -> None:
    """A page of a proxy is a fault of the server's side, with the task named."""
    with pytest.raises(errors.ServerError) as caught:
        midjourney.read_task(_answer(b"<html>", 502), "7")
    assert caught.value.task_id == "7"


def test_e35_missing_ids_are_missing() -> None:
    """A list holds what the server has; nothing is made up for the rest."""
    found = midjourney.read_tasks(_answer([_task("7", "SUCCESS")]))
    assert list(found) == ["7"]
    assert midjourney.read_tasks(_answer([])) == {}


@pytest.mark.parametrize("turn", [1, -1])
def test_e35_of_two_rows_the_most_advanced_counts(turn: int) -> None:
    """Only one row of an id is refreshed, and it may come first or last."""
    rows = [_task("7"), _task("7", "IN_PROGRESS"), _task("7", "SUCCESS"), _task("8")]
    found = midjourney.read_tasks(_answer(rows[::turn]))
    assert found["7"].status is TaskStatus.SUCCESS
    assert found["8"].status is TaskStatus.EMPTY


@pytest.mark.parametrize("turn", [1, -1])
def test_e31_a_row_without_the_picture_does_not_hide_one_with_it(turn: int) -> None:
    """Of two successes the one that can be brought home is the task's."""
    bare = _task("7", "SUCCESS", imageUrl="", progress="100%")
    whole = _task("7", "SUCCESS", imageUrl="https://h/mj/image/7")
    found = midjourney.read_tasks(_answer([bare, whole][::turn]))
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
def test_the_order_of_the_rows_does_not_matter(
    orders: tuple[list[dict[str, str]], list[dict[str, str]]],
) -> None:
    """The server gives none, so a task is the same whichever row comes first."""
    one, other = (midjourney.read_tasks(_answer(rows)) for rows in orders)
    assert one == other
    for task_id, record in one.items():
        rows = [row for row in orders[0] if row["id"] == task_id]
        ends = [row["imageUrl"] for row in rows if row["status"] == "SUCCESS"]
        assert (record.status is TaskStatus.SUCCESS) == bool(ends)
        assert bool(record.image_url) or not any(ends)


@pytest.mark.parametrize("row", [None, 7, [], {}, {"id": "8"}, _task("", "SUCCESS")])
def test_one_odd_row_does_not_hide_the_others(row: object) -> None:
    """A row nobody can read is left out like an unknown id."""
    found = midjourney.read_tasks(_answer([row, _task("7", "SUCCESS")]))
    assert list(found) == ["7"]


@pytest.mark.parametrize("body", [b"", b"null", {}, "x"])
def test_a_list_that_is_none_is_a_protocol_error(body: object) -> None:
    """Only an empty list means that the server knows none of the ids."""
    with pytest.raises(errors.ProtocolError, match="no list of tasks"):
        midjourney.read_tasks(_answer(body))


def test_e36_a_refused_list_raises_what_it_means() -> None:
    """A body the server could not read is our fault and is said so."""
    body = {"code": 4, "description": "Bind json failed Error"}
    body["type"] = "upstream_error"
    with pytest.raises(errors.RejectedError, match="Bind json failed"):
        midjourney.read_tasks(_answer(body, 400))


# -- whatever comes -------------------------------------------------------

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
def test_any_answer_to_a_submit_is_an_acceptance_or_ours(
    body: bytes, status: int
) -> None:
    """Under 2xx an id or a ProtocolError, elsewhere an id or an EzlinkError."""
    kind = errors.ProtocolError if status < 300 else errors.EzlinkError
    try:
        accepted = midjourney.read_submission(_answer(body, status))
    except kind as error:
        said = str(error)
    else:
        said = accepted.task_id
    assert said


@given(BODIES, STATUSES)
@example(DEEP, 200)
@example(b'{"status":"SUCCESS","buttons":' + DEEP + b"}", 200)
def test_any_answer_about_a_task_is_a_record_or_ours(body: bytes, status: int) -> None:
    """Under 2xx a record or a ProtocolError, elsewhere an EzlinkError with the id."""
    kind = errors.ProtocolError if status < 300 else errors.EzlinkError
    try:
        record = midjourney.read_task(_answer(body, status), "7")
    except kind as error:
        named = error.task_id == "7"
    else:
        named = record.task_id == "7" and status < 300
    assert named


@given(BODIES, STATUSES)
@example(b"[" + DEEP + b"]", 200)
def test_any_answer_to_a_list_is_records_or_ours(body: bytes, status: int) -> None:
    """Under 2xx a dict by id or a ProtocolError, elsewhere an EzlinkError."""
    kind = errors.ProtocolError if status < 300 else errors.EzlinkError
    try:
        records = midjourney.read_tasks(_answer(body, status))
    except kind:
        return
    assert status < 300
    assert all(record.task_id == task_id for task_id, record in records.items())
