"""What an answer to the submit of a video means, beyond those that were recorded."""

from __future__ import annotations

import json

import attrs
import pytest

from ezlink_async import errors
from ezlink_async._core.messages import HttpResponse
from ezlink_async.requests import Video
from ezlink_async.services.video.requests import VideoRequest

JOB = Video("kling-v1", {"prompt": "a cat"}).job(())


def _refusal(
    status: int, code: object, text: str = "no", **fields: object
) -> HttpResponse:
    error = {"code": code, "message": text, "param": "", "type": "api_error", **fields}
    return HttpResponse(status, {}, json.dumps({"error": error}).encode())


def _error(response: HttpResponse) -> errors.EzlinkError:
    with pytest.raises(errors.EzlinkError) as caught:
        JOB.read(response)
    return caught.value


@pytest.mark.parametrize(
    ("response", "kind", "safe"),
    [
        (_refusal(402, "api_error"), errors.ServerError, True),
        (_refusal(401, None), errors.ServerError, True),  # Sora's, without a code
        (_refusal(422, "x"), errors.RejectedError, True),
        (_refusal(501, "x"), errors.RejectedError, True),
        (_refusal(500, "invalid_credentials"), errors.ServerError, True),
        (_refusal(500, "unmarshal_response_body_failed"), errors.ServerError, False),
        (_refusal(500, "read_response_error"), errors.ServerError, False),
        (_refusal(500, "do_request_failed"), errors.ServerError, False),
        (_refusal(500, "parse_ali_video_response_failed"), errors.ServerError, False),
        (
            _refusal(404, "", "Invalid URL (POST /v1/video/generations)"),
            errors.EndpointNotSupportedError,
            True,
        ),
        (_refusal(503, "api_error"), errors.SubmitUnknownError, False),
    ],
)
def test_refusal_by_the_handler_is_judged_by_its_code_and_status(
    response: HttpResponse, kind: type[errors.EzlinkError], *, safe: bool
) -> None:
    error = _error(response)
    assert (type(error), error.retry_safe) == (kind, safe)
    assert error.maybe_charged is (kind is errors.SubmitUnknownError)


@pytest.mark.parametrize(
    "body",
    [
        b'{"code":"gateway"}',
        b'{"error":{"code":"x"}}',
        b'{"error":{"code":"api_panic","param":"","type":"api_error"}}',
        b'{"error":{"code":"","param":"","type":"api_panic"}}',
        b"<html>",
        b"",
    ],
)
def test_fault_of_a_proxy_leaves_the_submit_unknown(body: bytes) -> None:
    """It may have passed the job on before it failed."""
    error = _error(HttpResponse(500, {}, body))
    assert isinstance(error, errors.SubmitUnknownError)


def test_answer_that_came_before_the_end_of_the_body_made_no_job() -> None:
    accepted = HttpResponse(200, {}, b'{"task_id":"7","task_status":"succeed"}')
    assert JOB.read(accepted).task_id == "7"
    error = _error(attrs.evolve(accepted, early=True))
    assert isinstance(error, errors.TransportError)
    assert (error.retry_safe, error.stage) == (True, "upload")
    early = attrs.evolve(_refusal(500, "request_error"), early=True)
    assert _error(early).retry_safe


def test_number_is_an_id_too_and_a_text_without_end_is_none() -> None:
    assert JOB.read(HttpResponse(200, {}, b'{"task_id":987}')).task_id == "987"
    long = json.dumps({"task_id": "7" * 3_000}).encode()
    assert _error(HttpResponse(200, {}, long)).maybe_charged


@pytest.mark.parametrize("nothing", ["null", '""'])
def test_empty_error_beside_an_id_is_an_acceptance(nothing: str) -> None:
    body = f'{{"task_id":"7","task_status":"succeed","error":{nothing}}}'
    assert JOB.read(HttpResponse(200, {}, body.encode())).task_id == "7"
    lost = _error(HttpResponse(200, {}, f'{{"error":{nothing}}}'.encode()))
    assert lost.maybe_charged


def test_request_without_a_provider_has_no_body() -> None:
    with pytest.raises(NotImplementedError):
        VideoRequest.wire(Video("x"), {})
