"""Requests of async images: what is checked, and what is sent."""

from __future__ import annotations

import base64
import json

import pytest

from ezlink_async.errors import ConfigurationError, ImageError
from ezlink_async.requests import AsyncImage
from ezlink_async.services.image_generation import IMAGES
from ezlink_async.services.image_generation.tasks import FAMILIES, Provider
from tests.support.jobs import inspected
from tests.support.pictures import png, recorded_jpeg
from tests.support.requests import render
from tests.support.samples import Sample, family_samples

WAN = "wan2.5-i2i-preview"


def _sent(request: AsyncImage) -> dict[str, object]:
    pictures = (picture.content or b"" for picture in request.images)
    described = request.job(tuple(map(inspected, pictures))).request()
    body = render(described)
    assert described.path == "/v1/async/images/generations"
    assert described.content_length == len(body)
    sent: dict[str, object] = json.loads(body)
    return sent


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        (
            AsyncImage("flux-pro-1.1", "a cat", body={"width": 1024, "height": 768}),
            "async-flux-accepted",
        ),
        (AsyncImage("kling-v2", "a cat", n=2), "async-kling-accepted"),
        (
            AsyncImage(WAN, "x", body={"input": {"ratio": 1}}),
            "async-wan-rid-accepted",
        ),
    ],
)
def test_submit_equals_the_recorded_one(request_: AsyncImage, name: str) -> None:
    """So does the price, which was charged."""
    sample: Sample = family_samples()[name]
    expected, sent = json.loads(sample.sent), _sent(request_)
    if request_.provider is Provider.WAN:  # recorded with an address of a picture
        expected["input"] = {"prompt": "x", "ratio": 1}
    assert sent == expected
    charges = {"flux": 20_000, "kling": 100_000, "wan": 100_000}
    assert request_.price == charges[request_.provider.value]


def test_pictures_are_sent_as_each_provider_takes_them() -> None:
    """Bare base64 under fields of their own, or data URIs in a list."""
    one, two = png(), recorded_jpeg()
    bare = [base64.b64encode(each).decode() for each in (one, two)]
    flux = _sent(AsyncImage("flux-kontext-pro", "x", images=[one, two]))
    assert (flux["input_image"], flux["input_image_2"]) == tuple(bare)
    assert _sent(AsyncImage("kling-v2", images=[one]))["image"] == bare[0]
    assert _sent(AsyncImage(WAN, images=[one, two]))["input"] == {
        "images": [
            f"data:image/png;base64,{bare[0]}",
            f"data:image/jpeg;base64,{bare[1]}",
        ]
    }


def test_fields_of_wan_go_where_it_looks_for_them() -> None:
    body = {"parameters": {"size": "1*1"}, "input": {"function": "f"}, "more": 1}
    assert _sent(AsyncImage(WAN, "x", n=3, body=body)) == {
        "model": WAN,
        "more": 1,
        "input": {"prompt": "x", "function": "f"},
        "parameters": {"n": 3, "size": "1*1"},
    }


@pytest.mark.parametrize(
    ("model", "fields", "says"),
    [
        ("dall-e-3", {}, "none of flux"),
        (7, {}, "none of flux"),
        ("flux\0", {}, "none of flux"),
        ("kling-v2", {"prompt": " "}, "prompt is a text"),
        ("kling-v2", {"prompt": "a\0"}, "prompt is a text"),
        ("kling-v2", {"prompt": 7}, "prompt is a text"),
        ("kling-v2", {"n": 0}, "n is 1 to 10"),
        ("kling-v2", {"n": True}, "n is 1 to 10"),
        ("kling-v2", {"n": None}, "n is 1 to 10"),
        ("kling-v2", {"n": 11}, "n is 1 to 10"),
        ("flux-pro-1.1", {"n": 2}, "a Flux job makes one picture"),
        ("kling-v2", {"images": "a.png"}, "images is a list"),
        ("kling-v2", {"images": 7}, "images is a list"),
        ("kling-v2", {"images": ["a.png", "b.png"]}, "at most 1 pictures, not 2"),
        ("kling-v2", {"body": {"n": 4}}, "body has no field 'n'"),
        ("kling-v2", {"body": {"model_name": "x"}}, "no field 'model_name'"),
        ("kling-v2", {"body": {"prompt": "x"}}, "no field 'prompt'"),
        ("kling-v2", {"body": [1]}, "body is a mapping"),
        ("kling-v2", {"body": {1: 2}}, "body is a mapping"),
        ("kling-v2", {"body": {"a": {1, 2}}}, "cannot be sent as JSON"),
        ("kling-v2", {"body": {"a": float("nan")}}, "cannot be sent as JSON"),
        (WAN, {"body": {"parameters": {"n": 4}}}, "no field 'n'"),
        (WAN, {"body": {"input": {"prompt": "x"}}}, "no field 'prompt'"),
        (WAN, {"body": {"input": 7}}, "is a mapping of fields"),
        (
            "flux-kontext-pro",
            {"images": ["a.png"], "body": {"input_image": "x"}},
            "are the same picture",
        ),
    ],
)
def test_wrong_field_is_refused_when_the_request_is_made(
    model: object, fields: dict[str, object], says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        AsyncImage(model, **fields)  # type: ignore[arg-type]


def test_address_of_a_picture_is_refused() -> None:
    with pytest.raises(ImageError, match="fetch_image"):
        AsyncImage(WAN, images=["https://x.example/a.png"])


def test_request_keeps_no_reference_to_the_body_it_was_given() -> None:
    """Its identity would change with it."""
    body: dict[str, object] = {"seed": 1}
    request = AsyncImage("kling-v2", "x", body=body)
    body["seed"] = 2
    assert request.identity(()) == (
        '{"body":{"seed":1},"model":"kling-v2","n":1,"prompt":"x"}'
    )
    assert request == AsyncImage("kling-v2", "x", body={"seed": 1})
    assert len({request, AsyncImage("kling-v2", "x", body={"seed": 1})}) == 1


def test_label_is_the_prompt_or_the_model() -> None:
    assert AsyncImage("kling-v2", "a " * 100).label == ("a " * 100)[:59] + "…"
    assert AsyncImage("kling-v2").label == "kling-v2"


def test_family_knows_the_provider_and_all_have_one_name() -> None:
    request = AsyncImage("wanx", "x")
    assert request.family is FAMILIES[Provider.WAN]
    assert request.job(()).family is request.family
    assert {each.name for each in (*FAMILIES.values(), IMAGES)} == {"images"}
    assert request.job(()).lane == "images:wanx"
