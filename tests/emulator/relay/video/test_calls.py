"""What the relay asks a provider for, by the body of a submit."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ezlink_async.emulator.faults import Upstream
from ezlink_async.emulator.http import go_json
from ezlink_async.emulator.relay.video.answers import (
    FailedQueryError,
    RefusedVideoError,
)
from ezlink_async.emulator.relay.video.calls import VideoCall, read_call
from ezlink_async.emulator.relay.video.providers import (
    Look,
    Submitted,
    read_look,
    read_submit,
)
from tests.emulator.recorded_video import SUBMITS
from tests.support.emulator_videos import video_row

T = TypeVar("T")

_BASE = "http://127.0.0.1:9"
_NAMES = (
    *("model", "prompt", "content", "text", "duration", "parameters", "instances"),
    *("durationSeconds", "sampleCount", "image", "image_list", "video", "url", "input"),
    *("data", "task_status", "task_result", "videos", "status", "usage", "output"),
    *("total_tokens", "base_resp", "status_code", "file_id", "done", "response"),
    *("error", "message", "code", "outputs", "raiMediaFilteredCount", "resolution"),
)
_WORDS = st.sampled_from(["succeed", "succeeded", "SUCCEEDED", "FAILED", "completed"])
_NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
_LEAVES = st.none() | st.booleans() | _NUMBERS | st.text(max_size=9) | _WORDS
_KEYS = st.sampled_from(_NAMES)
_JSON = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_KEYS, inner),
    max_leaves=6,
)
_BODIES = st.dictionaries(_KEYS, _JSON, max_size=6)
_PROVIDERS = st.sampled_from(list(SUBMITS))


def _outcome(call: Callable[[], T]) -> T | RefusedVideoError | FailedQueryError:
    try:
        return call()
    except (RefusedVideoError, FailedQueryError) as exc:
        return exc


@settings(deadline=None, max_examples=60)
@given(provider=_PROVIDERS, body=_BODIES)
def test_any_body_is_read_or_refused(provider: str, body: dict[str, object]) -> None:
    """What is accepted has a price that is none below 0, and one to four videos."""
    model = str(SUBMITS[provider]["model"])
    found = _outcome(lambda: read_call(provider, model, {**body, "model": model}))

    if isinstance(found, VideoCall):
        assert found.price >= 0
        assert 1 <= found.count <= 4
        assert go_json.dumps(found.body)
    else:
        assert found.reply.status == 400


@settings(deadline=None, max_examples=60)
@given(provider=_PROVIDERS, body=_BODIES)
def test_any_answer_to_a_submit_is_an_id_or_a_refusal(
    provider: str, body: dict[str, object]
) -> None:
    call = read_call(provider, str(SUBMITS[provider]["model"]), SUBMITS[provider])
    found = _outcome(lambda: read_submit(call, Upstream(body=body), _BASE))

    if isinstance(found, Submitted):
        assert go_json.dumps([found.task_id, found.message])
    else:
        assert found.reply.status >= 400


@settings(deadline=None, max_examples=60)
@given(provider=_PROVIDERS, body=_BODIES)
def test_any_answer_to_a_query_can_be_shown(
    provider: str, body: dict[str, object]
) -> None:
    """Its keys come in the order of the wire."""
    row = video_row(provider)
    found = _outcome(lambda: read_look(row, Upstream(body=body), _BASE))

    assert isinstance(found, Look)
    shown = found.shown()
    order = ("task_id", "video_result", "video_results", "video_id", "task_status")
    assert [*shown][-1] in {"duration", "usage"}
    assert [name for name in shown if name in order] == [
        name for name in order if name in shown
    ]


@pytest.mark.parametrize(
    "value", [1e400, -(10**400), "9" * 5000, -3, 0, 0.5, "x", "-3", [], True, None]
)
def test_odd_lengths_are_taken_for_none(value: object) -> None:
    """Grok's price never falls below that of its usual six seconds."""
    if isinstance(value, int | None) and not isinstance(value, bool):
        call = read_call("grok", "grok-imagine-video", {"duration": value})
        assert (call.price, call.duration) == (150_000, "6")
    assert read_call("minimax", "T2V-01", {"duration": value}).price == 50_000
    assert read_call("veo", "veo-3", {"parameters": {"sampleCount": value}}).count == 1
