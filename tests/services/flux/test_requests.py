"""Requests of native Flux: what is checked, and what is sent."""

from __future__ import annotations

import base64
import json

import pytest

from ezlink_async.errors import ConfigurationError
from ezlink_async.requests import Flux
from ezlink_async.services.flux import FLUX, FluxCalls
from tests.support.jobs import inspected
from tests.support.pictures import png
from tests.support.requests import render
from tests.support.samples import family_samples


def _sent(request: Flux) -> tuple[str, dict[str, object]]:
    picture = request.input_image
    loaded = () if picture is None else (inspected(picture.content or b""),)
    described = request.job(loaded).request()
    return described.path, json.loads(render(described))


def test_submit_equals_the_recorded_one() -> None:
    """The model is in the path alone, and no count is ever sent."""
    sample = family_samples()["flux-accepted"]
    request = Flux("flux-2-pro", "a cat", width=1024, height=1024)
    assert _sent(request) == (sample.path, json.loads(sample.sent))


def test_every_field_is_sent_under_its_name() -> None:
    request = Flux(
        "flux-kontext-pro",
        "a cat",
        aspect_ratio="16:9",
        seed=0,
        input_image=png(),
        output_format="png",
        safety_tolerance=0,
        extra={"prompt_upsampling": True},
    )
    assert _sent(request) == (
        "/flux/v1/flux-kontext-pro",
        {
            "prompt": "a cat",
            "aspect_ratio": "16:9",
            "seed": 0,
            "input_image": base64.b64encode(png()).decode(),
            "output_format": "png",
            "safety_tolerance": 0,
            "prompt_upsampling": True,
        },
    )


@pytest.mark.parametrize(
    "model", ["", "get_result", "a/b", "..", "a b", "flux?x", "flüx", 7, None]
)
def test_model_that_is_no_segment_of_a_path_is_refused(model: object) -> None:
    with pytest.raises(ConfigurationError, match="the model"):
        Flux(model, "a cat")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"prompt": ""}, "prompt is a text"),
        ({"width": 0}, "width is a whole number from 1 on"),
        ({"height": 1.5}, "height is a whole number"),
        ({"width": True}, "width is a whole number"),
        ({"seed": -1}, "seed is a whole number from 0 on"),
        ({"safety_tolerance": "2"}, "safety_tolerance is a whole number"),
        ({"aspect_ratio": " "}, "aspect_ratio is a text"),
        ({"output_format": 7}, "output_format is a text"),
        ({"extra": {"seed": 1}}, "extra has no field 'seed'"),
        ({"extra": {"model": "x"}}, "extra has no field 'model'"),
        ({"extra": {"webhook_url": "x"}}, "extra has no field 'webhook_url'"),
        ({"extra": None}, "extra is a mapping"),
    ],
)
def test_wrong_field_is_refused_when_the_request_is_made(
    fields: dict[str, object], says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        Flux("flux-2-pro", **fields)  # type: ignore[arg-type]


def test_label_price_and_identity() -> None:
    request = Flux("flux-2-pro", "a cat", extra={"b": 1, "a": 2})
    assert (request.label, request.price, request.family) == ("a cat", 15_000, FLUX)
    assert Flux("flux-dev").label == "flux-dev"
    assert Flux("flux-pro-1.1").price == 20_000
    assert request.identity(()) == (
        '{"extra":{"a":2,"b":1},"model":"flux-2-pro","prompt":"a cat"}'
    )
    assert request.job(()).lane == "flux"


async def test_call_makes_the_request() -> None:
    async def submit(request: object) -> object:
        return request

    made = await FluxCalls(submit).generate("flux-2-pro", "a cat", seed=3)
    assert made == Flux("flux-2-pro", "a cat", seed=3)
