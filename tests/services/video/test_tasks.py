"""Tasks that make videos: what is asked, when they end, and what that costs."""

from __future__ import annotations

import base64
import json

import pytest

from ezlink_async import errors
from ezlink_async._core.messages import Credential, HttpResponse
from ezlink_async._core.policies import PollPolicy, Timeouts
from ezlink_async.models import Result, TaskStatus, VideoRecord
from ezlink_async.services.base import NO_TASK
from ezlink_async.services.video import VIDEO, VIDEO_DOUBAO
from tests.support.movies import mp4

URL = "https://cdn.example/a.mp4"

MIB = 1024 * 1024


def _answer(**fields: object) -> HttpResponse:
    return HttpResponse(200, {}, json.dumps({"task_id": "7", **fields}).encode())


def _record(word: str = "succeed", **fields: object) -> VideoRecord:
    return VIDEO.read(_answer(task_status=word, **fields), "7")


DONE = _record(video_result=URL)

FAILED = _record("failed", message="blocked")


# --- requests


def test_general_query_always_asks_for_addresses_and_for_no_empty_id() -> None:
    request = VIDEO.fetch_request("a/b c&d=é")
    assert request.path == (
        "/v1/video/generations/result?taskid=a%2Fb%20c%26d%3D%C3%A9&response_format=url"
    )
    assert (request.credential, request.repeatable) == (Credential.KEY, False)
    assert request.answer_limit == 192 * MIB
    for nothing in ("", ".", "..", "\ud800"):
        with pytest.raises(errors.ConfigurationError, match="is no task id"):
            VIDEO.fetch_request(nothing)
        with pytest.raises(errors.ConfigurationError, match="is no task id"):
            VIDEO_DOUBAO.fetch_request(nothing)


def test_doubao_is_asked_without_the_key() -> None:
    request = VIDEO_DOUBAO.fetch_request("cgt-1/2")
    assert request.path == "/doubao/api/v3/contents/generations/tasks/cgt-1%2F2"
    assert (request.credential, request.repeatable) == (Credential.NONE, True)


def test_price_of_a_finished_task_of_doubao_is_settled_by_the_general_query() -> None:
    done = _record("succeeded", video_result=URL)
    assert VIDEO_DOUBAO.settling_request(done) == VIDEO.fetch_request("7")
    for record in (FAILED, DONE, _record("processing")):
        assert VIDEO_DOUBAO.settling_request(record) is None
    assert VIDEO.settling_request(done) is None  # each of its queries has done it


def test_fresh_addresses_are_asked_for_only_where_that_is_free() -> None:
    again = VIDEO.renew(DONE)
    assert again is not None
    assert (again.path, again.repeatable) == (VIDEO.fetch_request("7").path, True)
    for family in (VIDEO, VIDEO_DOUBAO):
        fresh = family.renew(_record("succeeded", video_result=URL))
        assert fresh == VIDEO_DOUBAO.fetch_request("7")
        assert family.renew(FAILED) is None


def test_timing_leaves_ten_seconds_between_two_looks() -> None:
    """A failure counts at the second look, and the first may be a failed query."""
    policy = VIDEO.timing.policy(PollPolicy())
    assert (policy.first, policy.shortest, policy.longest) == (10, 10, 10)
    assert policy.deadline == 3_600
    assert VIDEO.timing.submit_timeout(Timeouts()) == 330
    assert VIDEO.timing.query_timeout(Timeouts()) == 360
    assert VIDEO.timing.new_connection
    assert VIDEO_DOUBAO.timing == VIDEO.timing


def test_account_never_proves_that_a_video_was_not_created() -> None:
    for family in (VIDEO, VIDEO_DOUBAO):
        assert family.traces.log
        assert not family.traces.state
        assert not family.traces.proves_absence


def test_only_a_bare_id_may_cost_something() -> None:
    assert "settled once more" in VIDEO.caution
    assert VIDEO_DOUBAO.caution == ""
    assert "settled when its end is seen" in VIDEO_DOUBAO.caution_at_end
    assert "taskid=0&" in VIDEO.fetch_request(NO_TASK).path


# --- answers


def test_list_of_addresses_counts_before_the_single_one() -> None:
    listed = [{"url": ""}, {"url": URL}, {"url": URL}, {}, "x", {"url": 7}]
    record = _record(video_results=listed, video_result="https://other.example/b.mp4")
    assert [each.url for each in record.results] == [URL]


def test_single_address_counts_where_the_list_has_none() -> None:
    for listed in (None, [], [{"url": " "}], "x", {"url": URL}):
        record = _record(video_results=listed, video_result=f" {URL}\n")
        assert [each.url for each in record.results] == [URL]


def test_single_text_may_be_a_list() -> None:
    inner = json.dumps([URL, "", 7, [URL], {"url": URL}, "https://b.example/b.mp4"])
    record = _record(video_result=inner)
    assert [each.url for each in record.results] == [URL, "https://b.example/b.mp4"]
    for nothing in ("[", "[]", '{"a": 1}[', json.dumps([[URL]]), 7, None):
        wrong = _record(video_result=nothing)
        assert wrong.status is not TaskStatus.SUCCESS or nothing == '{"a": 1}['
    many = _record(video_result=json.dumps([f"{URL}?{n}" for n in range(10_000)]))
    assert len(many.results) == 10_000


def test_video_in_the_answer_becomes_its_bytes() -> None:
    content = mp4() + bytes(2 * MIB)
    uri = f"data:video/mp4;base64,{base64.b64encode(content).decode()}"
    for fields in ({"video_result": uri}, {"video_results": [{"url": uri}]}):
        record = _record(**fields)
        assert record.results == (Result(kind="video", content=content),)
        assert "content" not in repr(record)
        saved = VIDEO.dump(record)
        assert len(json.dumps(saved)) < 1000
        assert VIDEO.load(saved).results == (Result(kind="video"),)


def test_two_videos_in_the_answer_that_begin_alike_are_two() -> None:
    """Only the begin of a long text is compared, so both are kept."""
    ends = [bytes(2 * MIB) + end for end in (b"aaa", b"bbb")]
    uris = [f"data:video/mp4;base64,{base64.b64encode(x).decode()}" for x in ends]
    record = _record(video_results=[{"url": uri} for uri in uris])
    assert [each.content for each in record.results] == ends


BROKEN = {
    "base64 that breaks off": "data:video/mp4;base64,AAA",
    "an address without end": "https://a.example/" + "a" * 9_000,
    "an address of megabytes": "https://a.example/" + "a" * 2 * MIB,
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_address_is_a_failed_look(what: str) -> None:
    with pytest.raises(errors.ProtocolError, match="a video in the answer is broken"):
        _record(video_result=BROKEN[what])


def test_numbers_are_read_as_far_as_they_are_numbers() -> None:
    for odd in ("", "x", "nan", "1e999", True, None, [5], -1):
        assert _record("processing", duration=odd).seconds is None
    assert _record("processing", duration="5", video_duration=7.5).seconds == 7.5
    assert _record("processing", duration=10**400).seconds is None
    assert _record("processing", usage={"a": 1, "b": [2], "c": "3"}).usage == {
        "a": 1,
        "c": 3,
    }


def test_empty_error_beside_a_status_is_none() -> None:
    assert _record("processing", error=None).status is TaskStatus.IN_PROGRESS


def test_answer_about_another_task_is_a_failed_look() -> None:
    for other in ("8", "", None, 8):
        with pytest.raises(errors.ProtocolError, match="the answer is about"):
            VIDEO.read(_answer(task_status="failed", task_id=other), "7")
    assert VIDEO.read(_answer(task_status="failed", task_id=7), "7").task_id == "7"


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b'{"error": "x"}'])
def test_answer_that_is_no_task_is_a_failed_look(body: bytes) -> None:
    with pytest.raises(errors.ProtocolError) as caught:
        VIDEO.read(HttpResponse(200, {}, body), "7")
    assert caught.value.task_id == "7"


def test_refusal_by_a_provider_is_a_failed_look_and_says_nothing_of_the_key() -> None:
    for status in (401, 403, 404):
        with pytest.raises(errors.ServerError, match="provider refuses the query"):
            VIDEO.read(HttpResponse(status, {}, b'{"error": "no"}'), "7")
    words = b'{"error":{"message":"Invalid token (request id: 1)","type":"api_error"}}'
    with pytest.raises(errors.AuthenticationError):
        VIDEO.read(HttpResponse(401, {}, words), "7")


def test_word_that_is_not_known_is_no_end() -> None:
    record = _record("Preparing")
    assert (record.status, record.raw_status) == (TaskStatus.UNKNOWN, "preparing")
    assert VIDEO.judge(record, record) is None
    body = b'{"id": "7", "status": "thinking"}'
    assert VIDEO_DOUBAO.read(HttpResponse(200, {}, body), "7").raw_status == "thinking"


def test_odd_answers_at_doubaos_path_are_read_as_far_as_they_go() -> None:
    body = {"id": "7", "status": "succeeded", "content": "x", "error": "y"}
    record = VIDEO_DOUBAO.read(HttpResponse(200, {}, json.dumps(body).encode()), "7")
    assert (record.status, record.results) == (TaskStatus.SUCCESS, ())


# --- ends


def test_success_ends_at_once_and_one_without_an_address_goes_on() -> None:
    ending = VIDEO.judge(DONE, None)
    assert ending is not None
    assert ending.error is None
    waits = _record(video_results=[{"url": ""}])
    assert VIDEO.judge(waits, waits) is None


def test_word_of_doubao_ends_a_task_even_without_an_address() -> None:
    """Another query would settle it once more."""
    ending = VIDEO.judge(_record("succeeded"), None)
    assert ending is not None
    assert isinstance(ending.error, errors.TaskFailedError)
    assert ending.error.refunded is False


def test_failure_counts_when_two_looks_in_a_row_say_it() -> None:
    assert VIDEO.judge(FAILED, None) is None
    assert VIDEO.judge(FAILED, _record("processing")) is None
    assert VIDEO.judge(FAILED, FAILED) is None  # one record that came twice
    assert VIDEO.judge(_record("processing"), FAILED) is None
    again = _record("failed", message="blocked")
    ending = VIDEO.judge(again, FAILED)
    assert ending is not None
    assert isinstance(ending.error, errors.TaskFailedError)
    assert str(ending.error) == "task 7 failed: blocked"
    assert ending.error.refunded is True


def test_failure_of_runway_is_known_by_its_message_and_never_given_back() -> None:
    before = _record("unknown", message="Task failed")
    ending = VIDEO.judge(_record("unknown", message="Task failed"), before)
    assert ending is not None
    assert isinstance(ending.error, errors.TaskFailedError)
    assert ending.error.refunded is False
    assert "gives nothing of its price back" in str(ending.error)


def test_cancelled_task_of_doubao_is_given_back() -> None:
    body = json.dumps({"id": "7", "status": "cancelled"}).encode()
    looks = [VIDEO_DOUBAO.read(HttpResponse(200, {}, body), "7") for _ in "12"]
    ending = VIDEO_DOUBAO.judge(looks[1], looks[0])
    assert ending is not None
    assert isinstance(ending.error, errors.TaskCancelledError)
    assert VIDEO_DOUBAO.is_refunded(looks[0]) is True


def test_whether_the_price_comes_back_is_known_of_failures_alone() -> None:
    assert VIDEO.is_refunded(None) is None
    assert VIDEO.is_refunded(DONE) is None
    assert VIDEO.is_refunded(FAILED) is True


def test_record_is_what_every_record_is() -> None:
    assert (DONE.progress, DONE.text, DONE.is_terminal) == (None, "", True)
    assert not _record("processing").is_terminal
    assert hash(DONE) == hash(_record(video_result=URL))
    assert VIDEO.load(VIDEO.dump(DONE)) == DONE
