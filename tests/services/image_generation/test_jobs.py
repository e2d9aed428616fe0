"""Answers to a submit of async images that no exchange has recorded."""

from __future__ import annotations

import json

import pytest

from ezlink_async import errors
from ezlink_async._core.messages import HttpResponse
from ezlink_async.errors import ConfigurationError
from ezlink_async.requests import AsyncImage, Imagine
from ezlink_async.services.image_generation import Images
from tests.support.outcomes import Outcome, outcome_of, safe

JOB = AsyncImage("kling-v2", "x").job(())


def _handler(code: object, message: str = "x") -> bytes:
    error = {"code": code, "message": message, "param": "", "type": "api_error"}
    return json.dumps({"error": error}).encode()


_FRONT = b'{"error":{"message":"no (request id: 1)","type":"api_error"}}'
_UNKNOWN = Outcome(errors.SubmitUnknownError, paid=True)
_MAY_RUN = Outcome(errors.ServerError)


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        # What the API says in front of the handlers is about our key.
        (401, _FRONT, safe(errors.AuthenticationError)),
        (403, _FRONT, safe(errors.PermissionDeniedError)),
        (429, _FRONT, safe(errors.BusyError)),
        # What a handler says is not.
        (401, _handler("x"), safe(errors.ServerError)),
        (402, _handler("x"), safe(errors.ServerError)),
        (403, _handler("x"), safe(errors.ServerError)),
        (404, _handler("x"), safe(errors.ServerError)),
        (501, _handler("x"), safe(errors.RejectedError)),
        (500, _handler("get_channel_failed"), safe(errors.ServerError)),
        (500, _handler("request_error"), _MAY_RUN),
        (500, _handler("image_parse_error"), _MAY_RUN),
        (500, _handler("read_response_error"), _MAY_RUN),
        (500, _handler("api_panic"), _UNKNOWN),
        # A proxy's answer proves nothing.
        (500, b"", _UNKNOWN),
        (502, b"<html>", _UNKNOWN),
        (503, _handler("x"), _UNKNOWN),
        (524, b"", _UNKNOWN),
        (401, b"<html>", _UNKNOWN),
        (403, b'{"error":"forbidden"}', _UNKNOWN),
        (404, b"<html>", safe(errors.EndpointNotSupportedError)),
        # A success that cannot be read may be paid.
        (200, b"", _UNKNOWN),
        (200, b"<html>", _UNKNOWN),
        (200, b"[]", _UNKNOWN),
        (200, b"{}", Outcome(errors.ProtocolError, paid=True)),
        (200, b'{"error":{}}', _MAY_RUN),
        (
            200,
            b'{"task_id":"","task_status":"failed"}',
            safe(errors.RejectedError),
        ),
    ],
)
def test_answer_becomes_an_error_with_its_flags(
    status: int, body: bytes, outcome: Outcome
) -> None:
    response = HttpResponse(status, {}, body, "https://x.example/v1")
    assert outcome_of(lambda: JOB.read(response)) == outcome


@pytest.mark.parametrize("nothing", ["null", '""'])
def test_empty_error_beside_an_id_is_an_acceptance(nothing: str) -> None:
    body = f'{{"task_id":"t","task_status":"succeed","error":{nothing}}}'.encode()
    assert JOB.read(HttpResponse(200, {}, body)).task_id == "t"


def test_answer_before_the_end_of_the_body_is_no_acceptance() -> None:
    body = b'{"task_id":"t","task_status":"succeed"}'
    response = HttpResponse(200, {}, body, early=True)
    assert outcome_of(lambda: JOB.read(response)) == safe(errors.TransportError)


async def test_only_its_own_request_is_submitted() -> None:
    async def submit(request: object) -> object:
        return request

    images = Images(submit)
    request = AsyncImage("kling-v2", "x")
    assert await images.generate_async(request) is request
    with pytest.raises(ConfigurationError, match="no AsyncImage"):
        await images.generate_async(Imagine("x"))  # type: ignore[arg-type]
