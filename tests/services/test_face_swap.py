"""
The face swap on the wire: its request byte for byte, and its options.

Numbers such as E13 are this project's own list of edge cases.
"""

from __future__ import annotations

import base64
import json
import sqlite3
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezlink_async import errors
from ezlink_async._core.images import EncodedImage, Image
from ezlink_async._core.messages import Credential
from ezlink_async.services.face_swap import FaceSwap, FaceSwapJob, SwapOptions
from ezlink_async.services.midjourney import MIDJOURNEY, AccountFilter, Mode
from ezlink_async.services.midjourney.submits import inspected
from tests.support.jobs import inspected as _inspected
from tests.support.jobs import job_of
from tests.support.pictures import png, recorded_jpeg, webp
from tests.support.requests import render
from tests.support.samples import samples


def _encoded(content: bytes) -> EncodedImage:
    return EncodedImage(_inspected(content), base64.b64encode(content))


def _job_of(name: str, options: SwapOptions) -> FaceSwapJob:
    """Return the job that a recorded request was."""
    sent = json.loads(samples()[name].sent)
    source = Image.from_data_uri(sent["sourceBase64"]).content or b""
    target = Image.from_data_uri(sent["targetBase64"]).content or b""
    return FaceSwapJob(
        source=_inspected(source), target=_inspected(target), options=options
    )


ALL = SwapOptions(
    state="a<b",
    notify_hook="https://hook.example/x?t=1&u=2",
    account_filter=AccountFilter(instance_id="i"),
)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("swap-accepted", SwapOptions()),
        ("swap-queued", SwapOptions()),
        ("swap-all-fields", ALL),
        ("swap-mode-fast", SwapOptions(mode=Mode.FAST)),
    ],
)
def test_submit_equals_the_recorded_one(name: str, options: SwapOptions) -> None:
    """Path and parsed body are those that the server accepted; the length is exact."""
    sample = samples()[name]
    request = _job_of(name, options).request()
    body = render(request)
    expected = json.loads(sample.sent)
    expected.pop("unknown", None)  # a field that only the recording had
    assert json.loads(body) == expected
    assert request.content_length == len(body)
    assert (request.method, request.path) == (sample.method, sample.path)


@pytest.mark.parametrize("mode", list(Mode))
def test_mode_is_a_prefix_of_the_path(mode: Mode) -> None:
    """The mode changes the path of a submit and nothing of its body."""
    plain = _job_of("swap-accepted", SwapOptions()).request()
    request = _job_of("swap-accepted", SwapOptions(mode=mode)).request()
    assert request.path == f"/mj-{mode.value}{plain.path}"
    assert render(request) == render(plain)


@pytest.mark.parametrize(
    ("content", "media_type"),
    [(recorded_jpeg(), "image/jpeg"), (png(), "image/png"), (webp(), "image/webp")],
)
def test_picture_is_sent_as_a_data_uri(content: bytes, media_type: str) -> None:
    """The media type is that of the content, and decoding gives the same bytes."""
    job = FaceSwapJob(
        source=_inspected(content), target=_inspected(png()), options=SwapOptions()
    )
    uri = json.loads(render(job.request()))["sourceBase64"]
    assert uri.startswith(f"data:{media_type};base64,")
    assert base64.b64decode(uri.partition(",")[2], validate=True) == content


def test_shared_source_makes_the_same_body() -> None:
    target = _inspected(png())
    once = FaceSwapJob(source=_inspected(recorded_jpeg()), target=target, options=ALL)
    shared = FaceSwapJob(source=_encoded(recorded_jpeg()), target=target, options=ALL)
    assert render(shared.request()) == render(once.request())


@pytest.mark.parametrize("options", [SwapOptions(), ALL], ids=["bare", "full"])
def test_body_without_its_last_two_bytes_is_no_json(options: SwapOptions) -> None:
    """An upload that is cut off creates no job."""
    request = _job_of("swap-accepted", options).request()
    assert request.body[-1] == b'"}'
    with pytest.raises(json.JSONDecodeError):
        json.loads(render(request)[:-1])


def test_submit_is_not_repeatable_and_carries_the_key() -> None:
    request = _job_of("swap-accepted", SwapOptions()).request()
    assert (request.repeatable, request.credential) == (False, Credential.KEY)


@given(st.text(max_size=255), st.none() | st.text(max_size=20))
def test_any_text_is_sent_unchanged(state: str, name: str | None) -> None:
    """Quotes, newlines and lone surrogates arrive as they were given."""
    options = SwapOptions(state=state, account_filter=AccountFilter(instance_id=name))
    body = render(_job_of("swap-accepted", options).request())
    parsed = json.loads(body)
    assert parsed["state"] == state
    assert parsed["accountFilter"] == ({} if name is None else {"instanceId": name})


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        (SwapOptions(), {}),
        (SwapOptions(state=""), {"state": ""}),
        (SwapOptions(account_filter=AccountFilter()), {"accountFilter": {}}),
        (SwapOptions(mode=Mode.FAST), {}),
    ],
)
def test_absent_fields_are_not_sent(
    options: SwapOptions, fields: dict[str, object]
) -> None:
    """``None`` is left out; an empty text is sent."""
    assert options.fields() == fields


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("state", 7, "state is a string, not 7"),
        ("state", "x" * 256, "state has at most 255 characters"),
        ("notify_hook", 7, "notify_hook is a string, not 7"),
        ("notify_hook", "https://" + "x" * 1993, "at most 2,000 characters"),
        ("notify_hook", "ftp://hook", "notify_hook is an http"),
        ("notify_hook", "", "notify_hook is an http"),
        ("account_filter", {"instance_id": "i"}, "is an AccountFilter"),
    ],
)
def test_e8_wrong_field_is_refused_before_anything_is_sent(
    field: str, value: object, message: str
) -> None:
    """The server would refuse the whole body, or cut the text off silently."""
    with pytest.raises(errors.ConfigurationError, match=message):
        SwapOptions(**{field: value})  # type: ignore[arg-type]  # the mistake itself


def test_longest_documented_texts_are_allowed() -> None:
    hook = "https://" + "x" * 1992
    options = SwapOptions(state="x" * 255, notify_hook=hook)
    assert options.fields() == {"state": "x" * 255, "notifyHook": hook}


def test_job_gives_its_state_label_and_family() -> None:
    """The label names the target and holds none of its bytes."""
    job = _job_of("swap-accepted", ALL)
    assert (job.state, job.family) == ("a<b", MIDJOURNEY)
    assert job.label == repr(inspected(job.target).image)
    assert job.lane == "swap"


# -- the job request -------------------------------------------------------


def _request(**more: object) -> FaceSwap:
    return FaceSwap(recorded_jpeg(), png(), **more)  # type: ignore[arg-type]  # any


def test_job_of_a_request_is_sent_as_the_job_of_its_parts() -> None:
    request = _request(
        state="a<b",
        notify_hook="https://h",
        account_filter=AccountFilter(),
        mode="fast",
    )
    options = SwapOptions(
        state="a<b",
        notify_hook="https://h",
        account_filter=AccountFilter(),
        mode=Mode.FAST,
    )
    expected = FaceSwapJob(
        source=_inspected(recorded_jpeg()), target=_inspected(png()), options=options
    )
    assert job_of(request) == expected
    assert job_of(request).label == request.label == f"Image(<{len(png())} bytes>)"


def test_request_names_its_kind_its_pictures_and_its_price() -> None:
    request = _request()
    assert (request.kind, request.price, request.family) == ("swap", 9_000, MIDJOURNEY)
    assert request.pictures() == (recorded_jpeg(), png())
    assert repr(png()) not in repr(request)
    assert (request.deadline, request.once) == (None, None)


def test_e8_wrong_request_is_refused_when_it_is_made() -> None:
    with pytest.raises(errors.ConfigurationError, match="mode is one of"):
        _request(mode="slow")
    with pytest.raises(errors.ConfigurationError, match="at most 255"):
        _request(state="x" * 256)
    with pytest.raises(errors.ImageError):
        FaceSwap(b"GIF89a", png())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, '{"options":{},"source":"ab","target":"cd"}'),
        (
            {"strip_metadata": True, "faces": "largest"},
            (
                '{"options":{"strip_metadata":true,"faces":"largest"},'
                '"source":"ab","target":"cd"}'
            ),
        ),
    ],
)
def test_identity_is_what_journals_have_always_held(
    options: dict[str, object], text: str
) -> None:
    """The text equals that of SQLite's ``json_object`` over a row of them."""
    request = _request(state="s", mode="relax", options=options)
    assert request.identity(["ab", "cd"]) == text
    with closing(sqlite3.connect(":memory:")) as base:
        row = base.execute(
            "SELECT json_object('options', json(?), 'source', ?, 'target', ?)",
            (json.dumps(options), "ab", "cd"),
        ).fetchone()
    assert row == (text,)


def test_state_of_its_own_is_kept_and_another_is_added() -> None:
    assert _request(state="s").with_state("t").state == "s"
    assert _request().with_state("t").state == "t"
    assert _request().with_state(None).state is None
