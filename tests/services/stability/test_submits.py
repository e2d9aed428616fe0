"""Stability's submits: the form that is sent, and what each answer means."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import pytest

from ezlink_async import errors
from ezlink_async._core.images import EncodedImage, Image
from ezlink_async._core.messages import HttpResponse
from ezlink_async.errors import EzlinkError
from ezlink_async.models import StabilityRecord, TaskStatus
from ezlink_async.services.base import Job
from ezlink_async.services.stability import (
    STABILITY,
    STABILITY_UPSCALE,
    StabilityRequest,
    endpoint_of,
)
from tests.support.jobs import inspected
from tests.support.pictures import BMP, png, recorded_jpeg
from tests.support.requests import render


def _request(name: str = "core", **fields: object) -> StabilityRequest:
    return StabilityRequest.of(endpoint_of(name), {"prompt": "a fox", **fields})


def _job(name: str = "core", **fields: object) -> Job[StabilityRecord]:
    request = _request(name, **fields)
    given = (Image.of(each).content or b"" for each in request.pictures())
    return request.job(tuple(map(inspected, given)))


def _answer(status: int, body: object, **facts: object) -> HttpResponse:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpResponse(status, {}, content, sent_id="r1", **facts)  # type: ignore[arg-type]


def _result(content: bytes = png(), **fields: object) -> dict[str, object]:
    return {"image": base64.b64encode(content).decode(), **fields}


def test_form_has_the_fields_and_then_the_pictures() -> None:
    job = _job("inpaint", image=png(), mask=recorded_jpeg(), seed=7)
    request = job.request()
    body = render(request)
    assert (request.method, request.path) == (
        "POST",
        "/v2beta/stable-image/edit/inpaint",
    )
    assert request.accept == "application/json"
    assert request.content_length == len(body)
    boundary = request.content_type.removeprefix("multipart/form-data; boundary=")
    parts = body.split(f"--{boundary}".encode())
    assert parts[-1] == b"--\r\n"
    names = [re.findall(rb'name="([^"]*)"', part) for part in parts[1:-1]]
    assert names == [
        [b"prompt"],
        [b"seed"],
        [b"image", b"image.png"],
        [b"mask", b"mask.jpeg"],
    ]
    assert parts[3].endswith(b"\r\n\r\n" + png() + b"\r\n")
    assert b"Content-Type: image/jpeg" in parts[4]


def test_name_of_a_file_on_the_disk_is_not_sent(tmp_path: Path) -> None:
    path = tmp_path / "my secret.png"
    path.write_bytes(png())
    request = StabilityRequest.of(endpoint_of("erase"), {"image": path})
    job = request.job((inspected(png()),))
    assert b"secret" not in render(job.request())
    assert "secret" not in job.label


def test_encoded_picture_is_sent_as_its_bytes() -> None:
    request = StabilityRequest.of(endpoint_of("erase"), {"image": png()})
    encoded = EncodedImage(inspected(png()), base64.b64encode(png()))
    assert png() in render(request.job((encoded,)).request())


def test_each_call_has_its_lane_family_and_label() -> None:
    core, creative = _job("core"), _job("creative", image=png())
    assert (core.lane, core.label) == ("stability:core", "core a fox")
    assert core.family not in {STABILITY, STABILITY_UPSCALE}
    assert creative.family == STABILITY_UPSCALE
    video = StabilityRequest.of(endpoint_of("image-to-video"), {"image": png()})
    assert (video.family, video.label) == (STABILITY, "image-to-video")


def test_task_is_accepted_under_its_id() -> None:
    accepted = _job("creative", image=png()).read(_answer(200, {"id": "ab12"}))
    assert (accepted.task_id, accepted.record) == ("ab12", None)


def test_picture_comes_with_the_answer() -> None:
    body = _result(seed=343940597, finish_reason="SUCCESS")
    accepted = _job().read(_answer(200, body))
    assert accepted.record == StabilityRecord(
        task_id="r1",
        status=TaskStatus.SUCCESS,
        content=png(),
        media_type="image/png",
        seed=343940597,
        finish_reason="SUCCESS",
    )


def test_picture_as_it_is_comes_with_seed_and_reason_in_headers() -> None:
    """A server that does not heed what is accepted loses no paid picture."""
    headers = {"seed": "7", "finish-reason": "CONTENT_FILTERED"}
    answer = HttpResponse(200, headers, png(), sent_id="r1")
    record = _job().read(answer).record
    assert isinstance(record, StabilityRecord)
    assert (record.content, record.seed) == (png(), 7)
    assert record.finish_reason == "CONTENT_FILTERED"


@pytest.mark.parametrize("seed", ["x", "-1", None, 1.5, "", "²"])
def test_odd_seed_is_none(seed: object) -> None:
    record = _job().read(_answer(200, _result(seed=seed))).record
    assert isinstance(record, StabilityRecord)
    assert record.seed is None


def test_picture_that_cannot_be_verified_is_kept() -> None:
    record = _job().read(_answer(200, _result(BMP))).record
    assert isinstance(record, StabilityRecord)
    assert (record.content, record.media_type) == (BMP, None)


@pytest.mark.parametrize(
    "answer",
    [
        _answer(200, b"<html>"),
        _answer(200, b""),
        _answer(200, {}),
        _answer(200, {"image": ""}),
        _answer(200, {"image": 7}),
        _answer(200, {"image": "AA=A"}),
        _answer(200, {"image": "\udc00"}),
        _answer(200, _result(png()[:-1])),
        _answer(200, _result(b"no picture")),
        _answer(200, _result(), whole=False),
        _answer(200, b"", whole=False, oversized=100),
        _answer(201, [1]),
    ],
)
def test_unreadable_picture_is_an_unknown_outcome(answer: HttpResponse) -> None:
    """The call is paid, and nothing finds its picture again."""
    with pytest.raises(errors.SubmitUnknownError) as caught:
        _job().read(answer)
    assert (caught.value.maybe_charged, caught.value.retry_safe) == (True, False)
    assert caught.value.request_id == "r1"


def _task_error(answer: HttpResponse) -> EzlinkError:
    with pytest.raises(EzlinkError) as caught:
        _job("creative", image=png()).read(answer)
    return caught.value


def test_task_without_an_id_is_paid_and_out_of_reach() -> None:
    error = _task_error(_answer(200, {"id": ""}))
    assert isinstance(error, errors.ProtocolError)
    assert (error.maybe_charged, error.retry_safe) == (True, False)


def test_task_whose_acceptance_cannot_be_read_is_unknown() -> None:
    assert isinstance(_task_error(_answer(200, b"<")), errors.SubmitUnknownError)


@pytest.mark.parametrize("name", ["core", "creative"])
def test_answer_before_the_end_of_the_form_is_no_acceptance(name: str) -> None:
    pictures = {"image": png()} if name == "creative" else {}
    with pytest.raises(errors.TransportError) as caught:
        _job(name, **pictures).read(_answer(200, {"id": "ab"}, early=True))
    assert (caught.value.stage, caught.value.retry_safe) == ("upload", True)


def _native(name: str, *said: str) -> dict[str, object]:
    return {"errors": said, "id": "x", "name": name}


_WRONG_PATH = {"error": {"message": "Invalid URL (POST /v2beta)", "type": "x"}}


_SAFE, _PAID, _NEITHER = (True, False), (False, True), (False, False)


@pytest.mark.parametrize(
    ("status", "body", "kind", "flags"),
    [
        (404, b"", errors.EndpointNotSupportedError, _SAFE),
        (404, b"<html>", errors.EndpointNotSupportedError, _SAFE),
        (404, _WRONG_PATH, errors.EndpointNotSupportedError, _SAFE),
        (301, b"", errors.EndpointNotSupportedError, _SAFE),
        (400, _native("bad_request", "seed: is odd"), errors.RejectedError, _SAFE),
        (403, _native("content_moderation", "flagged"), errors.RejectedError, _SAFE),
        (413, _native("payload_too_large"), errors.RejectedError, _SAFE),
        (429, _native("rate_limit_exceeded", "wait"), errors.BusyError, _SAFE),
        (401, _native("unauthorized", "key"), errors.ServerError, _SAFE),
        (402, _native("payment_required", "money"), errors.ServerError, _SAFE),
        (403, _native("forbidden", "no"), errors.ServerError, _SAFE),
        (500, _native("internal_error", "oops"), errors.SubmitUnknownError, _PAID),
        (500, b"", errors.SubmitUnknownError, _PAID),
        (502, b"<html>", errors.SubmitUnknownError, _PAID),
        (400, {"error": "User balance is not enough"}, errors.QuotaError, _SAFE),
        (400, {"error": "Failed to get userQuota"}, errors.ServerError, _SAFE),
        (400, {"error": "Failed to bind request"}, errors.RejectedError, _SAFE),
        (400, {"error": "failed to get response"}, errors.ServerError, _NEITHER),
        (400, {"error": "failed to Insert sdTask"}, errors.SubmitUnknownError, _PAID),
        (400, {"error": "Failed to show response"}, errors.SubmitUnknownError, _PAID),
    ],
)
def test_refusal_says_whether_the_call_was_made(
    status: int, body: object, kind: type[EzlinkError], flags: tuple[bool, bool]
) -> None:
    with pytest.raises(EzlinkError) as caught:
        _job().read(_answer(status, body))
    error = caught.value
    assert type(error) is kind
    assert (error.retry_safe, error.maybe_charged) == flags


def test_refusal_of_the_key_is_one() -> None:
    """The API says it in front of every handler, with the id of the request."""
    text = "Token not provided (request id: 7)"
    body = {"error": {"message": text, "type": "api_error"}}
    with pytest.raises(errors.AuthenticationError):
        _job().read(_answer(401, body))


def test_sentences_of_the_provider_are_in_the_error() -> None:
    body = _native("bad_request", "seed: is odd", "prompt: is\nlong")
    with pytest.raises(errors.RejectedError, match="seed: is odd; prompt: is long"):
        _job().read(_answer(400, body))


@pytest.mark.parametrize("said", [[], [7, None]])
def test_refusal_without_sentences_is_called_by_its_name(said: list[object]) -> None:
    body = {"errors": said, "name": "bad_request"}
    with pytest.raises(errors.RejectedError, match="bad_request"):
        _job().read(_answer(400, body))
