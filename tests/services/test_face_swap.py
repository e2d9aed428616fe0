"""
The wire of swaps and tasks: what is sent, byte for byte, and what is read.

Numbers such as E13 are this project's own list of edge cases.
"""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezlink_async import errors
from ezlink_async._core import images
from ezlink_async._core.images import EncodedImage, Image, InspectedImage
from ezlink_async._core.messages import Credential
from ezlink_async.services import face_swap
from ezlink_async.services.face_swap import FaceSwapJob, SwapOptions
from ezlink_async.services.midjourney import AccountFilter, Mode
from tests.support.pictures import png, recorded_jpeg, webp
from tests.support.requests import render
from tests.support.samples import samples

# -- what is sent ---------------------------------------------------------


def _prepared(content: bytes) -> InspectedImage:
    image = Image.from_bytes(content)
    return InspectedImage(
        image, images.check_acceptable(content, len(content)), len(content)
    )


def _kept(content: bytes) -> EncodedImage:
    return EncodedImage(_prepared(content), base64.b64encode(content))


def _job_of(name: str, options: SwapOptions) -> FaceSwapJob:
    """Return the job that a recorded request was."""
    sent = json.loads(samples()[name].sent)
    source = Image.from_data_uri(sent["sourceBase64"]).content or b""
    target = Image.from_data_uri(sent["targetBase64"]).content or b""
    return FaceSwapJob(
        source=_prepared(source), target=_prepared(target), options=options
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
def test_a_submit_is_what_the_server_was_seen_to_accept(
    name: str, options: SwapOptions
) -> None:
    """Path and parsed body equal the recorded ones; the length is exact."""
    sample = samples()[name]
    request = face_swap.submit_request(_job_of(name, options))
    body = render(request)
    expected = json.loads(sample.sent)
    expected.pop("unknown", None)  # a field that only the recording had
    assert json.loads(body) == expected
    assert request.content_length == len(body)
    assert (request.method, request.path) == (sample.method, sample.path)


@pytest.mark.parametrize("mode", list(Mode))
def test_a_mode_is_a_prefix_of_the_path(mode: Mode) -> None:
    """The mode changes where a job goes and nothing of what it says."""
    plain = face_swap.submit_request(_job_of("swap-accepted", SwapOptions()))
    request = face_swap.submit_request(_job_of("swap-accepted", SwapOptions(mode=mode)))
    assert request.path == f"/mj-{mode.value}{plain.path}"
    assert render(request) == render(plain)


@pytest.mark.parametrize(
    ("content", "media_type"),
    [(recorded_jpeg(), "image/jpeg"), (png(), "image/png"), (webp(), "image/webp")],
)
def test_a_picture_is_sent_as_a_data_uri(content: bytes, media_type: str) -> None:
    """The media type is that of the content, and the bytes come out again."""
    job = FaceSwapJob(
        source=_prepared(content), target=_prepared(png()), options=SwapOptions()
    )
    uri = json.loads(render(face_swap.submit_request(job)))["sourceBase64"]
    assert uri.startswith(f"data:{media_type};base64,")
    assert base64.b64decode(uri.partition(",")[2], validate=True) == content


def test_a_shared_source_is_sent_like_any_other() -> None:
    """A source whose text is kept for a whole batch makes the same bytes."""
    target = _prepared(png())
    once = FaceSwapJob(source=_prepared(recorded_jpeg()), target=target, options=ALL)
    kept = FaceSwapJob(source=_kept(recorded_jpeg()), target=target, options=ALL)
    assert render(face_swap.submit_request(kept)) == render(
        face_swap.submit_request(once)
    )


@pytest.mark.parametrize("options", [SwapOptions(), ALL], ids=["bare", "full"])
def test_the_last_two_bytes_make_a_submit_whole(options: SwapOptions) -> None:
    """Without them the body is no JSON, so a cut upload creates no job."""
    request = face_swap.submit_request(_job_of("swap-accepted", options))
    assert request.body[-1] == b'"}'
    with pytest.raises(json.JSONDecodeError):
        json.loads(render(request)[:-1])


def test_a_submit_is_not_repeatable_and_carries_the_key() -> None:
    """A second one would be paid a second time."""
    request = face_swap.submit_request(_job_of("swap-accepted", SwapOptions()))
    assert (request.repeatable, request.credential) == (False, Credential.KEY)


@given(st.text(max_size=255), st.none() | st.text(max_size=20))
def test_any_text_is_sent_as_it_is(state: str, name: str | None) -> None:
    """Quotes, newlines and half characters neither break the body nor get lost."""
    options = SwapOptions(state=state, account_filter=AccountFilter(instance_id=name))
    body = render(face_swap.submit_request(_job_of("swap-accepted", options)))
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
    """None is left out; an empty text was asked for and is sent."""
    assert options.fields() == fields


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("state", 7, "state is a string, not 7"),
        ("state", "x" * 256, "state has at most 255 characters"),
        ("notify_hook", 7, "notify_hook is a string, not 7"),
        ("notify_hook", "https://" + "x" * 1993, "at most 2000 characters"),
        ("notify_hook", "ftp://hook", "notify_hook is an http"),
        ("notify_hook", "", "notify_hook is an http"),
        ("account_filter", {"instance_id": "i"}, "is an AccountFilter"),
    ],
)
def test_e8_a_wrong_field_is_found_before_anything_is_sent(
    field: str, value: object, told: str
) -> None:
    """The server would refuse the whole body, or cut it off silently."""
    with pytest.raises(errors.ConfigurationError, match=told):
        SwapOptions(**{field: value})  # type: ignore[arg-type]  # the mistake itself


def test_the_limits_of_the_fields_are_allowed() -> None:
    """The longest values that the API documents pass."""
    hook = "https://" + "x" * 1992
    options = SwapOptions(state="x" * 255, notify_hook=hook)
    assert options.fields() == {"state": "x" * 255, "notifyHook": hook}
