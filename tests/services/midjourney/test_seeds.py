"""The answers to the question for a seed."""

from __future__ import annotations

import json

import pytest

from ezlink_async import errors
from ezlink_async._core.messages import HttpResponse
from ezlink_async.services.midjourney.seeds import read_seed, seed_request


def _answer(body: object, status: int = 200) -> HttpResponse:
    return HttpResponse(status, {"x-request-id": "r"}, json.dumps(body).encode())


def test_answer_is_waited_for_longer_than_the_server_itself_waits() -> None:
    request, task_id = seed_request("7")
    assert (request.wait, task_id) == (60.0, "7")


def test_number_is_read_from_text_or_number() -> None:
    assert read_seed(_answer({"code": 1, "result": "42"}), "7") == 42
    assert read_seed(_answer({"code": 1, "result": 42}), "7") == 42


@pytest.mark.parametrize(
    "body", [{}, [], None, {"code": 1, "result": ""}, {"code": 1, "result": "x"}]
)
def test_answer_without_a_seed_is_a_protocol_error(body: object) -> None:
    with pytest.raises(errors.ProtocolError, match="no seed") as caught:
        read_seed(_answer(body), "7")
    assert caught.value.task_id == "7"


def test_refused_key_is_an_authentication_error() -> None:
    body = {"error": {"message": "无效 (request id: r)", "type": "api_error"}}
    with pytest.raises(errors.AuthenticationError) as caught:
        read_seed(_answer(body, 401), "7")
    assert caught.value.task_id == "7"


def test_secrets_of_the_upstream_are_not_shown() -> None:
    body = {"code": 4, "description": "bad Bearer abc and sk-def", "result": ""}
    with pytest.raises(errors.RejectedError) as caught:
        read_seed(_answer(body), "7")
    assert caught.value.description == "bad Bearer ... and sk-..."
