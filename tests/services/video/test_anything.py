"""A video of any model: in shared words, or in those of its provider."""

from __future__ import annotations

import base64

import pytest

from ezlink_async import Image
from ezlink_async.errors import ConfigurationError
from ezlink_async.requests import (
    Base64,
    Doubao,
    Grok,
    Kling,
    MiniMax,
    Runway,
    Veo,
    Video,
    Wan,
)
from ezlink_async.services.video import VIDEO_DOUBAO
from ezlink_async.services.video.requests import VideoRequest
from tests.support.jobs import job_of, sent_by
from tests.support.pictures import jpeg, png
from tests.support.video_requests import ask

ONE, TWO = png(), jpeg(3_000)

TEXT = base64.b64encode(ONE).decode()

FAR = "https://a.example/cat.png"

SAME: dict[str, tuple[Video, VideoRequest]] = {
    "veo": (
        Video("veo-3", prompt="x", image=ONE, last_image=TWO, seconds=8, aspect="16:9"),
        Veo(
            "x",
            model="veo-3",
            image=ONE,
            last_frame=TWO,
            seconds=8,
            aspect_ratio="16:9",
        ),
    ),
    "kling": (
        Video(
            "kling-v1",
            {"mode": "pro"},
            prompt="x",
            image=ONE,
            last_image=FAR,
            seconds=5,
            aspect="1:1",
        ),
        Kling(
            "x",
            model="kling-v1",
            image=ONE,
            image_tail=FAR,
            seconds=5,
            aspect_ratio="1:1",
            mode="pro",
        ),
    ),
    "doubao": (
        Video("doubao-1", prompt="x", image=ONE, last_image=TWO),
        Doubao(
            "x",
            model="doubao-1",
            images=[ONE, TWO],
            roles=["first_frame", "last_frame"],
        ),
    ),
    "minimax": (
        Video("I2V-01", prompt="x", image=ONE, last_image=TWO, seconds=10),
        MiniMax("x", model="I2V-01", first_frame=ONE, last_frame=TWO, seconds=10),
    ),
    "runway": (
        Video("gen3a_turbo", prompt="x", image=ONE, seconds=10, aspect="1280:768"),
        Runway("x", image=ONE, seconds=10, ratio="1280:768"),
    ),
    "runway without a length": (
        Video("gen3a_turbo", image=ONE),
        Runway(image=ONE, seconds=5),
    ),
    "wan": (
        Video("wan2.5", {"parameters": {"size": "1*1"}}, image=ONE, seconds=5),
        Wan(model="wan2.5", image=ONE, seconds=5, size="1*1"),
    ),
    "grok": (
        Video("grok-imagine-video", prompt="x", image=ONE, seconds=5),
        Grok("x", model="grok-imagine-video", image=ONE, seconds=5),
    ),
}


@pytest.mark.parametrize("provider", SAME)
def test_shared_words_become_those_of_the_provider(provider: str) -> None:
    general, own = SAME[provider]
    assert sent_by(general) == sent_by(own)
    assert general.family is own.family


def test_body_is_handed_on_with_its_pictures() -> None:
    body = {
        "keyframes": {"frame0": {"type": "image", "url": Image(content=ONE)}},
        "raw": [Base64(Image(content=ONE)), FAR, None, True],
    }
    request = Video("luma-ray2", body, prompt="a cat", aspect="9:16")
    _, sent = sent_by(request)
    assert sent == {
        "model": "luma-ray2",
        "prompt": "a cat",
        "aspect_ratio": "9:16",
        "keyframes": {
            "frame0": {"type": "image", "url": f"data:image/png;base64,{TEXT}"}
        },
        "raw": [TEXT, FAR, None, True],
    }
    assert request.named_pictures() == (("body", Image(content=ONE)),) * 2
    other = request.with_pictures([Image(content=TWO), Image(content=ONE)])
    assert other.body["raw"] == [Base64(Image(content=ONE)), FAR, None, True]
    assert request.identity(["a", "b"]) == (
        '{"aspect":"9:16","body":{"keyframes":{"frame0":{"type":"image","url":"a"}},'
        '"raw":["b","https://a.example/cat.png",null,true]},"model":"luma-ray2",'
        '"prompt":"a cat"}'
    )


PLAIN: dict[str, tuple[Video, dict[str, object]]] = {
    "sora's seconds are text": (
        Video("sora-2", prompt="x", seconds=4),
        {"prompt": "x", "seconds": "4"},
    ),
    "sora's own words": (
        Video("sora-2", {"prompt": "x", "seconds": "8"}),
        {"prompt": "x", "seconds": "8"},
    ),
    "omni's picture": (
        Video("gemini-omni-flash", prompt="x", image=ONE),
        {"prompt": "x", "image_url": f"data:image/png;base64,{TEXT}"},
    ),
    "omni's address": (
        Video("gemini-omni-flash", image=FAR),
        {"image_url": FAR},
    ),
    "pixverse": (
        Video("v3.5", {"quality": "540p"}, prompt="x", seconds=5, aspect="16:9"),
        {"prompt": "x", "duration": 5, "aspect_ratio": "16:9", "quality": "540p"},
    ),
    "a model that is not known here": (
        Video("new-1", {"steps": 7}, prompt="x"),
        {"prompt": "x", "steps": 7},
    ),
    "the body of a known provider": (
        Video("kling-v1", {"prompt": "x", "duration": "5"}),
        {"prompt": "x", "duration": "5"},
    ),
    "the body of Runway with a length": (
        Video("gen3a_turbo", {"promptImage": FAR, "duration": 5}),
        {"promptImage": FAR, "duration": 5},
    ),
    "the body of Veo with instances": (
        Video("veo-3", {"instances": [{"prompt": "x"}]}),
        {"instances": [{"prompt": "x"}]},
    ),
}


@pytest.mark.parametrize("what", PLAIN)
def test_other_models_take_their_own_words(what: str) -> None:
    request, body = PLAIN[what]
    _, sent = sent_by(request)
    assert sent == {"model": request.model, **body}


REFUSED = {
    "a body of Veo without instances": lambda: ask(Video, "veo-3", {"prompt": "x"}),
    "Runway's ten seconds": lambda: ask(Video, "gen3a_turbo", {"promptImage": FAR}),
    "a number for Sora": lambda: ask(Video, "sora-2", {"seconds": 4}),
    "what Omni's server drops": lambda: ask(Video, "gemini-omni-1", {"seed": 1}),
    "Omni's seconds": lambda: ask(Video, "gemini-omni-1", prompt="x", seconds=4),
    "MiniMax's false": lambda: ask(Video, "T2V-01", {"prompt_optimizer": False}),
    "a prompt that is no text": lambda: ask(Video, "new-1", {"prompt": 5}),
    "an address that is no text": lambda: ask(Video, "new-1", {"image_url": {"a": 1}}),
    "a model in the body": lambda: ask(Video, "new-1", {"model": "x"}),
    "a prompt twice": lambda: ask(Video, "new-1", {"prompt": "x"}, prompt="y"),
    "a length for Doubao": lambda: ask(Video, "doubao-1", prompt="x", seconds=5),
    "a shape for Doubao": lambda: ask(Video, "doubao-1", prompt="x", aspect="1:1"),
    "a last picture for Runway": lambda: ask(Video, "gen3a_turbo", last_image=ONE),
    "a shape for Wan": lambda: ask(Video, "wan2.5", prompt="x", aspect="1:1"),
    "a picture for an unknown model": lambda: ask(Video, "new-1", image=ONE),
    "a length that is no number": lambda: ask(Video, "sora-2", prompt="x", seconds="4"),
    "a shape that is no text": lambda: ask(Video, "v3.5", prompt="x", aspect=1),
    "what the provider's own request refuses": lambda: ask(
        Video, "kling-v1", seconds=5
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_request_that_would_be_misread_is_refused(what: str) -> None:
    with pytest.raises(ConfigurationError):
        REFUSED[what]()


def test_body_that_goes_round_in_circles_is_refused() -> None:
    circle: dict[str, object] = {}
    circle["again"] = circle
    with pytest.raises(ConfigurationError, match="cannot be sent as JSON"):
        Video("new-1", circle)


def test_bodies_of_doubao_are_followed_without_the_key_too() -> None:
    request = Video("doubao-1", {"content": [{"type": "text", "text": "x"}]})
    assert request.family is VIDEO_DOUBAO
    assert job_of(request).family is VIDEO_DOUBAO
    assert request.label == "doubao-1"
