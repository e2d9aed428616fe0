"""What each request of a video sends, and what it refuses before it is paid for."""

from __future__ import annotations

import base64
import math

import pytest

from ezlink_async import Image
from ezlink_async.errors import ConfigurationError, ImageError
from ezlink_async.requests import (
    Doubao,
    Grok,
    Kling,
    MiniMax,
    Runway,
    Veo,
    Wan,
)
from ezlink_async.services.video import VIDEO, VIDEO_DOUBAO
from ezlink_async.services.video.requests import VideoRequest
from tests.support.jobs import job_of, sent_by
from tests.support.pictures import jpeg, png
from tests.support.video_requests import ask

ONE, TWO = png(), jpeg(3_000)

TEXT = base64.b64encode(ONE).decode()

URI, URI_TWO = (
    f"data:image/png;base64,{TEXT}",
    f"data:image/jpeg;base64,{base64.b64encode(TWO).decode()}",
)

FAR = "https://a.example/cat.png"


def _body(request: VideoRequest) -> dict[str, object]:
    path, body = sent_by(request)
    assert path == "/v1/video/generations"
    return dict(body)


def test_veo_sends_instances_and_how_many_videos_it_wants() -> None:
    """A body without instances would be taken, and paid for."""
    assert _body(Veo("a cat", model="veo-3")) == {
        "model": "veo-3",
        "instances": [{"prompt": "a cat"}],
        "parameters": {"sampleCount": 1},
    }


def test_veo_sends_pictures_with_their_types_beside_them() -> None:
    request = Veo(
        "a cat",
        model="veo-3",
        image=ONE,
        last_frame=TWO,
        reference_images=[ONE],
        aspect_ratio="16:9",
        seconds=8,
        audio=False,
        negative_prompt="dogs",
        resolution="1080p",
        count=2,
        seed=0,
        extra={"parameters": {"personGeneration": "allow_adult"}, "labels": {"a": 1}},
    )
    first = {"bytesBase64Encoded": TEXT, "mimeType": "image/png"}
    last = {
        "bytesBase64Encoded": base64.b64encode(TWO).decode(),
        "mimeType": "image/jpeg",
    }
    assert _body(request) == {
        "model": "veo-3",
        "instances": [
            {
                "prompt": "a cat",
                "image": first,
                "lastFrame": last,
                "referenceImages": [{"image": first, "referenceType": "asset"}],
            }
        ],
        "parameters": {
            "aspectRatio": "16:9",
            "durationSeconds": 8,
            "generateAudio": False,
            "negativePrompt": "dogs",
            "resolution": "1080p",
            "sampleCount": 2,
            "seed": 0,
            "personGeneration": "allow_adult",
        },
        "labels": {"a": 1},
    }


def test_kling_takes_seconds_as_text_and_pictures_as_bare_base64() -> None:
    request = Kling(
        "a cat",
        model="kling-v1",
        image=ONE,
        image_tail=FAR,
        mode="pro",
        seconds=5,
        aspect_ratio="1:1",
        negative_prompt="dogs",
        cfg_scale=0.5,
    )
    assert _body(request) == {
        "model": "kling-v1",
        "prompt": "a cat",
        "image": TEXT,
        "image_tail": FAR,
        "mode": "pro",
        "duration": "5",
        "aspect_ratio": "1:1",
        "negative_prompt": "dogs",
        "cfg_scale": 0.5,
    }


def test_kling_sends_several_pictures_as_a_list() -> None:
    body = _body(Kling("a cat", model="kling-v1-6", images=[ONE, FAR]))
    assert body["image_list"] == [{"image": TEXT}, {"image": FAR}]
    assert "image" not in body


def test_doubao_sends_all_as_content() -> None:
    request = Doubao(
        "a cat --dur 5",
        model="doubao-seedance",
        images=[ONE, FAR],
        roles=["first_frame", "last_frame"],
        extra={"callback_url": "https://me.example"},
    )
    assert _body(request) == {
        "model": "doubao-seedance",
        "content": [
            {"type": "text", "text": "a cat --dur 5"},
            {"type": "image_url", "image_url": {"url": URI}, "role": "first_frame"},
            {"type": "image_url", "image_url": {"url": FAR}, "role": "last_frame"},
        ],
        "callback_url": "https://me.example",
    }
    alone = _body(Doubao(model="doubao-seedance", images=[TWO]))
    assert alone["content"] == [{"type": "image_url", "image_url": {"url": URI_TWO}}]


def test_minimax_sends_the_length_and_the_size_that_the_server_would_add() -> None:
    request = MiniMax("a cat", model="I2V-01", first_frame=ONE, last_frame=FAR)
    assert _body(request) == {
        "model": "I2V-01",
        "prompt": "a cat",
        "first_frame_image": URI,
        "last_frame_image": FAR,
        "duration": 6,
        "resolution": "768P",
    }
    assert _body(MiniMax("x", model="T2V-01", prompt_optimizer=True)) == {
        "model": "T2V-01",
        "prompt": "x",
        "duration": 6,
        "resolution": "768P",
        "prompt_optimizer": True,
    }


def test_runway_always_sends_the_length() -> None:
    """The server's default of ten seconds costs twice as much."""
    assert _body(Runway("go", image=FAR)) == {
        "model": "gen3a_turbo",
        "promptImage": FAR,
        "promptText": "go",
        "duration": 5,
    }
    whole = _body(Runway(image=ONE, seconds=10, ratio="1280:768", seed=7))
    assert whole == {
        "model": "gen3a_turbo",
        "promptImage": URI,
        "duration": 10,
        "ratio": "1280:768",
        "seed": 7,
    }


def test_wan_sends_what_and_how_in_objects_of_their_own() -> None:
    request = Wan(
        "a cat",
        model="wan2.5-i2v",
        image=ONE,
        seconds=5,
        size="1280*720",
        resolution="720P",
        extra={"parameters": {"seed": 7}},
    )
    assert _body(request) == {
        "model": "wan2.5-i2v",
        "input": {"prompt": "a cat", "img_url": URI},
        "parameters": {
            "duration": 5,
            "size": "1280*720",
            "resolution": "720P",
            "seed": 7,
        },
    }
    assert _body(Wan("a cat", model="wan2.5")) == {
        "model": "wan2.5",
        "input": {"prompt": "a cat"},
    }


def test_grok_makes_edits_or_continues() -> None:
    plain = Grok("a cat", model="grok-imagine-video", image=ONE, seconds=5)
    assert _body(plain) == {
        "model": "grok-imagine-video",
        "prompt": "a cat",
        "image": {"url": URI},
        "duration": 5,
    }
    edit = Grok("night", model="grok-imagine-video", video_url=FAR)
    assert _body(edit) == {
        "model": "grok-imagine-video",
        "prompt": "night",
        "video": {"url": FAR},
    }
    more = Grok("on", model="grok-imagine-video-extensions", video_url=FAR, seconds=2.5)
    assert _body(more)["duration"] == 2.5


K = {"model": "kling-v1"}
G = {"model": "grok-imagine-video"}
D = {"model": "doubao-1"}

REFUSED = {
    "Veo shows nothing": lambda: ask(Veo, model="veo-3"),
    "Veo takes no addresses": lambda: ask(Veo, model="veo-3", image=FAR),
    "Veo makes up to four": lambda: ask(Veo, "x", model="veo-3", count=5),
    "Veo makes one at least": lambda: ask(Veo, "x", model="veo-3", count=0),
    "Veo counts in whole numbers": lambda: ask(Veo, "x", model="veo-3", count=True),
    "Veo's seconds are a number": lambda: ask(Veo, "x", model="veo-3", seconds="8"),
    "Kling's calls exclude each other": lambda: ask(
        Kling, image=ONE, images=[TWO], **K
    ),
    "Kling's tail, too": lambda: ask(Kling, image_tail=ONE, images=[TWO], **K),
    "Kling has no model of Veo": lambda: ask(Kling, "x", model="Veo-3"),
    "Wan has no model of Kling": lambda: ask(Wan, "x", model="kling-v1"),
    "Kling shows nothing": lambda: ask(Kling, "  ", **K),
    "Kling's several pictures need words": lambda: ask(Kling, images=[ONE], **K),
    "Kling's seconds are above zero": lambda: ask(Kling, "x", seconds=0, **K),
    "Kling's seconds have an end": lambda: ask(Kling, "x", seconds=math.inf, **K),
    "Veo's seconds have an end": lambda: ask(Veo, "x", model="veo-3", seconds=math.inf),
    "Doubao shows nothing": lambda: ask(Doubao, **D),
    "Doubao's role is unknown": lambda: ask(Doubao, images=[ONE], roles=["first"], **D),
    "Doubao's roles are one each": lambda: ask(
        Doubao, images=[ONE], roles=["first_frame", "last_frame"], **D
    ),
    "Doubao's fields are dropped": lambda: ask(Doubao, "x", extra={"seed": 1}, **D),
    "MiniMax shows nothing": lambda: ask(MiniMax, model="T2V-01"),
    "MiniMax's false is dropped": lambda: ask(
        MiniMax, "x", model="T2V-01", prompt_optimizer=False
    ),
    "MiniMax's other false is dropped": lambda: ask(
        MiniMax, "x", model="T2V-01", extra={"fast_pretreatment": False}
    ),
    "MiniMax's resolution is text": lambda: ask(
        MiniMax, "x", model="T", resolution=768
    ),
    "Runway begins with a picture": lambda: ask(Runway, "go"),
    "Runway needs a length": lambda: ask(Runway, image=ONE, seconds=None),
    "Wan shows nothing": lambda: ask(Wan, model="wan2.5"),
    "Grok shows nothing": lambda: ask(Grok, **G),
    "Grok's video is an address": lambda: ask(Grok, "x", video_url="a.mp4", **G),
    "Grok edits or begins": lambda: ask(Grok, "x", video_url=FAR, image=ONE, **G),
    "Grok's edit keeps its length": lambda: ask(
        Grok, "x", video_url=FAR, seconds=5, **G
    ),
    "Grok continues a video": lambda: ask(
        Grok, "x", model="grok-imagine-video-extensions"
    ),
    "a model has a name": lambda: ask(Kling, "x", model=" "),
    "a model's name is no number": lambda: ask(Kling, "x", model=7),
    "a model's name has no blanks around it": lambda: ask(
        Kling, "x", model="kling-v1 "
    ),
    "a model's name is short": lambda: ask(Kling, "x", model="k" * 201),
    "a prompt is text": lambda: ask(Kling, 5, **K),
    "a prompt holds no NUL": lambda: ask(Kling, "a\0b", **K),
    "a field is given twice": lambda: ask(Kling, "x", extra={"prompt": "y"}, **K),
    "the model is given twice": lambda: ask(Kling, "x", extra={"model": "y"}, **K),
    "extra is an object": lambda: ask(Kling, "x", extra=["y"], **K),
    "extra has names": lambda: ask(Kling, "x", extra={1: 2}, **K),
    "extra is JSON": lambda: ask(Kling, "x", extra={"a": object()}, **K),
    "extra has only numbers of JSON": lambda: ask(
        Kling, "x", extra={"a": float("nan")}, **K
    ),
    "pictures are a list": lambda: ask(Kling, "x", images=ONE, **K),
    "pictures are not one path": lambda: ask(Kling, "x", images="a.png", **K),
    "pictures are not a number": lambda: ask(Kling, "x", images=7, **K),
}


@pytest.mark.parametrize("why", REFUSED)
def test_request_that_would_be_misread_is_refused(why: str) -> None:
    with pytest.raises(ConfigurationError):
        REFUSED[why]()


def test_picture_that_cannot_be_sent_is_refused_when_the_request_is_made() -> None:
    with pytest.raises(ImageError, match="this is an address"):
        Kling("x", image="http://a.example/cat.png", model="kling-v1")
    with pytest.raises(ImageError, match="GIF pictures are not taken"):
        Wan(model="wan2.5", image=b"GIF89a....")


def test_request_has_a_label_a_lane_and_a_family() -> None:
    cat = Kling("a cat " * 30, model="kling-v1")
    assert cat.label == ("a cat " * 30)[:59] + "…"
    assert Runway(image=ONE).label == "gen3a_turbo"
    assert cat.kind == "video"
    assert cat.family is VIDEO
    assert job_of(cat).lane == "video:kling-v1"
    assert job_of(cat).family is VIDEO
    doubao = Doubao("x", model="doubao-1")
    assert doubao.family is VIDEO_DOUBAO
    assert job_of(doubao).family is VIDEO_DOUBAO


def test_pictures_are_named_by_their_fields_and_replaced_in_their_order() -> None:
    request = Kling(
        image=Image(content=ONE), image_tail=FAR, extra={"a": [1]}, model="kling-v1"
    )
    assert request.named_pictures() == (("image", Image(content=ONE)),)
    other = request.with_pictures([Image(content=TWO)])
    assert (other.image, other.image_tail) == (Image(content=TWO), FAR)
    assert request.identity(["ab"]) == (
        '{"extra":{"a":[1]},"image":"ab","image_tail":"https://a.example/cat.png",'
        '"model":"kling-v1"}'
    )
