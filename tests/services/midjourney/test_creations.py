"""Imagine, shorten, blend, describe: what is checked, and what is sent."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezlink_async._core.images import EncodedImage, Image, InspectedImage
from ezlink_async.errors import ConfigurationError, ImageError
from ezlink_async.services.midjourney import (
    MIDJOURNEY,
    AccountFilter,
    Blend,
    Describe,
    Imagine,
    Mode,
    Shorten,
)
from ezlink_async.services.midjourney.requests import MidjourneyRequest
from tests.support.jobs import inspected, job_of, sent_by
from tests.support.pictures import png, recorded_jpeg
from tests.support.requests import render
from tests.support.samples import family_samples, samples


def _uri(kind: str, content: bytes) -> str:
    encoded = EncodedImage(inspected(content), b"").inspected
    assert encoded.media_type == f"image/{kind}"
    return render(job_of(Describe(content)).request()).decode().split('"')[3]


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        (Imagine("a cat"), "imagine-accepted"),
        (Imagine("a cat", mode="turbo"), "imagine-turbo"),
        (Imagine("a cat --relax", mode="relax"), "imagine-relax"),
        (Shorten("a long cat"), "shorten-accepted"),
        (Shorten("a long cat", mode="relax"), "shorten-relax"),
    ],
)
def test_submit_equals_the_recorded_one(request_: Imagine | Shorten, name: str) -> None:
    """Path and body are those that the server accepted, and so is the price."""
    sample = {**samples(), **family_samples()}[name]
    assert sent_by(request_) == (sample.path, json.loads(sample.sent))
    assert request_.price == {"turbo": 40_000, "relax": 6_000}.get(
        name.split("-")[1], 18_000
    )


@pytest.mark.parametrize("name", ["blend-accepted", "blend-rid-accepted"])
def test_blend_equals_the_recorded_one(name: str) -> None:
    """Pictures are data URIs in a list, in their order."""
    sample = {**samples(), **family_samples()}[name]
    expected = json.loads(sample.sent)
    pictures = [Image.from_data_uri(uri) for uri in expected["base64Array"]]
    request = Blend(pictures)
    if "dimensions" in expected:
        request = attrs.evolve(request, dimensions="square")
    assert sent_by(request) == (sample.path, expected)


def test_describe_equals_the_recorded_one() -> None:
    sample = samples()["describe-accepted"]
    expected = json.loads(sample.sent)
    request = Describe(Image.from_data_uri(expected["base64"]))
    assert sent_by(request) == (sample.path, expected)


def test_all_optional_fields_are_sent_and_absent_ones_are_not() -> None:
    request = Imagine(
        "a <cat> & 'dog'",
        images=[png(), recorded_jpeg()],
        bot="niji",
        state="s",
        notify_hook="https://hook.example/x?t=1&u=2",
        account_filter=AccountFilter(instance_id="i"),
    )
    path, body = sent_by(request)
    assert path == "/mj/submit/imagine"
    assert body == {
        "prompt": "a <cat> & 'dog'",
        "botType": "NIJI_JOURNEY",
        "state": "s",
        "notifyHook": "https://hook.example/x?t=1&u=2",
        "accountFilter": {"instanceId": "i"},
        "base64Array": [_uri("png", png()), _uri("jpeg", recorded_jpeg())],
    }


@pytest.mark.parametrize(
    ("request_", "path"),
    [
        (Blend([png(), png()], mode="relax"), "/mj-relax/mj/submit/blend"),
        (Describe(png(), mode=Mode.TURBO), "/mj-turbo/mj/submit/describe"),
        (Imagine("a cat", mode="relax"), "/mj/submit/imagine"),
        (Shorten("a cat", mode="relax"), "/mj/submit/shorten"),
    ],
)
def test_mode_is_a_prefix_only_where_no_prompt_has_it(
    request_: Blend | Describe | Imagine | Shorten, path: str
) -> None:
    """With a prefix the server charges a mode that its upstream may not see."""
    assert sent_by(request_)[0] == path


@pytest.mark.parametrize(
    "make",
    [
        lambda: Imagine(""),
        lambda: Imagine(" \n"),
        lambda: Imagine("a\0cat"),
        lambda: Imagine(7),  # type: ignore[arg-type]  # the mistake itself
        lambda: Shorten(" "),
        lambda: Imagine("a cat --turbo", mode="relax"),
        lambda: Imagine("a cat --turbo --relax"),
        lambda: Shorten("a cat --turbo", mode="fast"),
        lambda: Imagine("a cat", mode="slow"),
        lambda: Imagine("a cat", bot="dall-e"),  # type: ignore[arg-type]  # the mistake
        lambda: Imagine("a cat", images="cat.png"),
        lambda: Imagine("a cat", images=7),  # type: ignore[arg-type]  # the mistake
        lambda: Imagine("a cat", bot=[]),  # type: ignore[arg-type]  # the mistake
        lambda: Imagine("a cat", state="x" * 256),
        lambda: Imagine("a cat", notify_hook="ftp://hook"),
        lambda: Blend([]),
        lambda: Blend([png()]),
        lambda: Blend([png()] * 6),
        lambda: Blend([png()] * 2, dimensions="wide"),  # type: ignore[arg-type]  # so
    ],
)
def test_wrong_job_is_refused_when_it_is_made(make: Callable[[], object]) -> None:
    """The server would charge most of them."""
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert caught.value.retry_safe


@pytest.mark.parametrize(
    "make",
    [
        lambda: Describe(b""),
        lambda: Describe("https://example.com/cat.png"),
        lambda: Imagine("a cat", images=[b"GIF89a"]),
        lambda: Blend([png(), 7]),  # type: ignore[list-item]  # the mistake itself
    ],
)
def test_wrong_picture_is_refused_when_the_job_is_made(
    make: Callable[[], object],
) -> None:
    with pytest.raises(ImageError):
        make()


def test_pictures_that_are_too_large_together_are_refused_before_they_are_sent() -> (
    None
):
    large = InspectedImage(Image(path=Path("large.png")), "image/png", 10_485_760)
    request = Blend(["large.png"] * 3)
    with pytest.raises(ImageError, match="28,000,000") as caught:
        request.job((large, large, large))
    assert caught.value.limit == 28_000_000
    fits = Blend(["large.png"] * 2).job((large, large)).request()
    assert fits.content_length < 28_000_000


@pytest.mark.parametrize("count", [0, 1, 2])
def test_body_without_its_last_bytes_is_no_json(count: int) -> None:
    """An upload that is cut off makes no job."""
    body = render(job_of(Imagine("a cat", images=[png()] * count)).request())
    assert len(json.loads(body).get("base64Array", ())) == count
    for left in (1, 2):
        with pytest.raises(json.JSONDecodeError):
            json.loads(body[:-left])


@given(
    st.text().filter(
        lambda text: text.strip() and "\0" not in text and "--" not in text
    )
)
def test_any_prompt_is_sent_unchanged(prompt: str) -> None:
    """Quotes, line breaks and halves of characters arrive as they were given."""
    assert sent_by(Imagine(prompt))[1]["prompt"] == prompt


def test_relax_mode_has_a_later_deadline() -> None:
    assert (
        Imagine("a cat --relax").deadline == Blend([png()] * 2, mode="relax").deadline
    )
    assert Imagine("a cat --relax").deadline == 3_900.0
    assert Imagine("a cat").deadline is None


def test_job_whose_mode_is_not_known_has_the_deadline_of_its_family() -> None:
    assert MidjourneyRequest().deadline is None


def test_price_is_by_mode_for_prompts_and_one_for_pictures() -> None:
    assert [Imagine("a", mode=mode).price for mode in Mode] == [18_000, 40_000, 6_000]
    assert {Blend([png()] * 2, mode=mode).price for mode in Mode} == {18_000}
    assert {Describe(png(), mode=mode).price for mode in Mode} == {9_000}


def test_identity_has_all_that_changes_the_result_and_nothing_else() -> None:
    same = Imagine("a cat", images=[png()], mode="relax", state="s", bot="niji")
    assert same.identity(["ab"]) == ('{"bot":"niji","images":["ab"],"prompt":"a cat"}')
    other = attrs.evolve(same, mode="fast", notify_hook="https://h", state="t")
    assert other.identity(["ab"]) == same.identity(["ab"])
    assert Blend([png(), png()], dimensions="square").identity(["a", "b"]) == (
        '{"dimensions":"square","images":["a","b"]}'
    )
    assert Describe(png()).identity(["a"]) == '{"image":"a"}'


def test_label_names_the_job_and_shows_no_bytes() -> None:
    assert Imagine("a cat").label == "a cat"
    assert Shorten("x" * 200).label == "x" * 59 + "…"
    assert Describe(png()).label == f"Image(<{len(png())} bytes>)"
    assert Blend(["a.png", "b.png"]).label == "Image('a.png'), Image('b.png')"


def test_job_has_the_state_the_label_and_the_family_of_its_request() -> None:
    job = job_of(Imagine("a cat", state="s"))
    assert (job.state, job.label, job.family) == ("s", "a cat", MIDJOURNEY)
    assert job.family is Imagine("a cat").family
    assert (job.is_free, job.row_count, job.lane) == (False, None, "midjourney")


def test_lookalike_of_a_flag_is_warned_of_once_when_the_job_is_made(
    caplog: pytest.LogCaptureFixture,
) -> None:
    request = Imagine("a cat --TURBO").with_state("s")
    assert not caplog.records
    with caplog.at_level(logging.WARNING, "ezlink_async"):
        job_of(request)
    assert len(caplog.records) == 1
