"""What all submits below ``/mj`` have in common: fields, bodies, refusals."""

from __future__ import annotations

import json

import pytest

from ezlink_async import errors
from ezlink_async._core.images import EncodedImage
from ezlink_async._core.messages import HttpRequest, HttpResponse
from ezlink_async.services.midjourney import read_submission
from ezlink_async.services.midjourney.submits import (
    MOST_BYTES,
    SubmitOptions,
    json_body,
)
from tests.support.jobs import inspected
from tests.support.pictures import png, webp
from tests.support.requests import render
from tests.support.samples import family_samples

PNG, WEBP = inspected(png()), EncodedImage(inspected(webp()), b"AAAA")


@pytest.mark.parametrize("fields", [{}, {"prompt": 'a "cat"'}], ids=["bare", "full"])
def test_body_holds_fields_and_pictures(fields: dict[str, object]) -> None:
    """Pictures stand alone or in lists, inspected or encoded."""
    body = json_body(fields, {"one": WEBP, "many": (PNG, WEBP), "none": ()})
    request = HttpRequest("POST", "/x", body)
    found = json.loads(render(request))
    assert request.content_length == len(render(request))
    one = "data:image/webp;base64,AAAA"
    assert found["many"][0].startswith("data:image/png;base64,")
    assert found == {**fields, "one": one, "many": [found["many"][0], one], "none": []}


def test_body_without_pictures_is_the_fields_alone() -> None:
    assert json_body({"a": 1}, {}) == (b'{"a": 1}',)
    assert json_body({}, {}) == (b"{}",)


def test_two_of_the_largest_pictures_fit_into_a_body() -> None:
    assert MOST_BYTES > 2 * 4 * ((10 * 1024 * 1024 + 2) // 3) + 3_000


def test_absent_options_are_not_sent() -> None:
    assert SubmitOptions().fields() == {}
    assert SubmitOptions(state="").fields() == {"state": ""}


def test_action_that_the_server_does_not_know_is_refused_and_not_repeated() -> None:
    """It looks for an upstream of a model without a name; a wait would not help."""
    for name in ("action-other-variation", "change-no-action"):
        with pytest.raises(errors.RejectedError, match="no such action") as caught:
            read_submission(family_samples()[name].response)
        assert caught.value.retry_safe
    busy = family_samples()["action-channel-disabled"].response
    with pytest.raises(errors.ServerError, match="no upstream is free"):
        read_submission(busy)


def test_refusal_shows_no_secret_of_the_upstream() -> None:
    words = 'Post "/mj?token=UPSTREAM-KEY": refused'
    body = {"code": 4, "description": words, "type": "upstream_error"}
    answer = HttpResponse(400, {}, json.dumps(body).encode())
    with pytest.raises(errors.RejectedError) as caught:
        read_submission(answer)
    assert "UPSTREAM" not in str(caught.value)
    unreadable = HttpResponse(200, {}, b"Bearer UPSTREAM-KEY")
    with pytest.raises(errors.SubmitUnknownError) as lost:
        read_submission(unreadable)
    assert "UPSTREAM" not in f"{lost.value}{lost.value.__cause__}"
