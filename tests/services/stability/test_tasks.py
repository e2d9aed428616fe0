"""Stability's tasks: how each is asked for, read, judged, saved and renewed."""

from __future__ import annotations

import base64
import json

import attrs
import pytest

from ezlink_async import errors
from ezlink_async._core.messages import HttpResponse
from ezlink_async._core.policies import PollPolicy, Timeouts
from ezlink_async.models import Result, StabilityRecord, TaskStatus
from ezlink_async.services.registry import family_of
from ezlink_async.services.stability import STABILITY, STABILITY_UPSCALE
from tests.support.movies import mp4
from tests.support.pictures import png

DONE = StabilityRecord(
    task_id="ab", status=TaskStatus.SUCCESS, content=png(), media_type="image/png"
)

FAILED = StabilityRecord(task_id="ab", status=TaskStatus.FAILURE, fail_reason="no")

RUNNING = StabilityRecord(task_id="ab", status=TaskStatus.IN_PROGRESS)


def _answer(status: int, body: object) -> HttpResponse:
    return HttpResponse(status, {}, json.dumps(body).encode())


def test_each_task_is_asked_for_behind_its_own_call() -> None:
    """The id does not tell a video from a picture, so the family does."""
    paths = [each.fetch_request("a/b").path for each in (STABILITY, STABILITY_UPSCALE)]
    assert paths == [
        "/v2beta/image-to-video/result/a%2Fb",
        "/v2beta/stable-image/upscale/creative/result/a%2Fb",
    ]
    assert STABILITY.fetch_request("ab").accept == "application/json"
    assert STABILITY.fetch_request("ab").repeatable


@pytest.mark.parametrize("task_id", ["", ".", "..", "\udc00"])
def test_id_that_cannot_stand_in_an_address_is_refused(task_id: str) -> None:
    with pytest.raises(errors.ConfigurationError, match="is no task id"):
        STABILITY.fetch_request(task_id)


def test_task_is_polled_every_ten_seconds() -> None:
    timing = STABILITY.timing
    policy = timing.policy(PollPolicy())
    steps = [policy.jittered(polls) for polls in range(20)]
    assert (policy.first, steps) == (10.0, [10.0] * 20)
    assert policy.deadline == 1_800
    waits = timing.submit_timeout(Timeouts()), timing.query_timeout(Timeouts())
    assert waits == (90.0, 60.0)


def test_both_families_are_known_by_name() -> None:
    assert family_of("stability") is STABILITY
    assert family_of("stability-upscale") is STABILITY_UPSCALE


def test_running_task_is_in_progress() -> None:
    body = {"id": "ab", "status": "in-progress"}
    record = STABILITY.read(_answer(202, body), "ab")
    assert record == attrs.evolve(RUNNING, kind="video")
    assert (record.results, record.is_terminal, record.text) == ((), False, "")
    assert STABILITY.judge(record, None) is None


@pytest.mark.parametrize("name", ["video", "result"])
def test_finished_video_is_in_the_answer(name: str) -> None:
    movie = mp4()
    body = {name: base64.b64encode(movie).decode(), "seed": 7, "finish_reason": "X"}
    record = STABILITY.read(_answer(200, body), "ab")
    assert record.results == (Result(kind="video", content=movie),)
    assert (record.media_type, record.seed, record.finish_reason) == (
        "video/mp4",
        7,
        "X",
    )
    ending = STABILITY.judge(record, None)
    assert ending is not None
    assert ending.error is None


@pytest.mark.parametrize("content", [mp4()[:-1], b"", b"text"])
def test_result_that_is_not_whole_is_asked_for_again(content: bytes) -> None:
    body = {"video": base64.b64encode(content).decode()}
    with pytest.raises(errors.ProtocolError) as caught:
        STABILITY.read(_answer(200, body), "ab")
    assert (caught.value.task_id, caught.value.maybe_charged) == ("ab", False)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, {"errors": ["none"], "id": "x", "name": "not_found"}),
        (404, {"hello": 1}),
        (400, {"error": "get_channel_id_failed"}),
    ],
)
def test_unknown_id_is_not_found(status: int, body: object) -> None:
    with pytest.raises(errors.TaskNotFoundError, match="does not know task ab"):
        STABILITY.read(_answer(status, body), "ab")


@pytest.mark.parametrize(
    "answer",
    [
        HttpResponse(404, {}, b""),
        HttpResponse(404, {}, b"<html>"),
        _answer(404, {"error": {"message": "Invalid URL (GET /v2beta)", "code": ""}}),
    ],
)
def test_404_of_a_server_without_the_route_says_nothing_about_the_id(
    answer: HttpResponse,
) -> None:
    with pytest.raises(errors.EndpointNotSupportedError) as caught:
        STABILITY.read(answer, "ab")
    assert (caught.value.task_id, caught.value.retry_safe) == ("ab", False)


@pytest.mark.parametrize(
    ("status", "kind"), [(500, errors.ServerError), (429, errors.BusyError)]
)
def test_other_answers_are_failed_polls(
    status: int, kind: type[errors.ApiError]
) -> None:
    body = {"errors": ["oops"], "id": "x", "name": "internal"}
    with pytest.raises(kind, match="oops"):
        STABILITY.read(_answer(status, body), "ab")


@pytest.mark.parametrize("status", [400, 403, 422])
def test_refusal_of_the_provider_fails_the_task_the_second_time(status: int) -> None:
    """The first may be a query that failed."""
    body = {"errors": ["flagged"], "id": "x", "name": "content_moderation"}
    record = STABILITY.read(_answer(status, body), "ab")
    assert record.fail_reason == "content_moderation: flagged"
    assert record.is_terminal
    for before in (None, RUNNING, DONE):
        assert STABILITY.judge(record, before) is None
    assert STABILITY.judge(record, record) is None
    ending = STABILITY.judge(record, attrs.evolve(record))
    assert ending is not None
    assert isinstance(ending.error, errors.TaskFailedError)
    assert "flagged" in str(ending.error)


def test_nothing_is_given_back() -> None:
    assert STABILITY.is_refunded(FAILED) is False


def test_saved_record_lacks_its_content_which_is_asked_for_again() -> None:
    saved = json.loads(json.dumps(STABILITY.dump(attrs.evolve(DONE, seed=7))))
    restored = STABILITY.load(saved)
    assert restored == attrs.evolve(DONE, seed=7, content=None)
    assert restored.results == (Result(kind="image"),)
    request = STABILITY.renew(restored)
    fetch = STABILITY.fetch_request("ab")
    assert request == attrs.evolve(fetch, wait=60)


def test_content_is_not_shown() -> None:
    assert "PNG" not in repr(DONE)
