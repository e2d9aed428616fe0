"""
What the client reads from each recorded exchange about videos.

Each outcome is written by hand beside the name of its sample.
"""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from ezlink_async import errors
from ezlink_async.models import VideoRecord
from ezlink_async.services.base import Accepted
from ezlink_async.services.video import VIDEO, VIDEO_DOUBAO, Video
from tests.support.outcomes import Outcome, accepted, record, safe
from tests.support.samples import Sample, family_samples, samples

GROUPS = ("video-", "alias-doubao2-", "doubao-keyless-")

JOB = Video("kling-v1", {"prompt": "a cat"}).job(())


def _samples() -> dict[str, Sample]:
    every = {**samples(), **family_samples()}
    return {name: each for name, each in every.items() if name.startswith(GROUPS)}


def _cdn(letter: str) -> str:
    return f"https://cdn.example/{letter}.mp4"


def _done(url: str) -> Outcome:
    return record("SUCCESS", "succeed", url)


def _doubao_done(url: str) -> Outcome:
    return record("SUCCESS", "succeeded", url)


_PROCESSING = record("IN_PROGRESS", "processing")
_RUNNING = record("IN_PROGRESS", "running")
_FAILED = record("FAILURE", "failed")
_WAITS = record("UNKNOWN", "unknown")
_NO_ADDRESS = record("IN_PROGRESS", "succeed")

_REJECTED = safe(errors.RejectedError)
_BUSY = safe(errors.BusyError)
_OPERATOR = safe(errors.ServerError)  # its provider refuses the server, not the key
_POOR = safe(errors.QuotaError)
_MAY_RUN = Outcome(errors.ServerError)  # the provider may run it, for nothing
_NO_ID = Outcome(errors.ProtocolError, paid=True)
_NO_LOOK = Outcome(errors.ProtocolError)  # a query that failed
_FAULT = Outcome(errors.ServerError)
_NOT_FOUND = Outcome(errors.TaskNotFoundError)

_INLINE = "<{} bytes>"

OUTCOMES = {
    # Submits.
    "video-no-model": _REJECTED,
    "video-no-channel": _OPERATOR,
    "video-unsupported-model": _REJECTED,
    "video-malformed": _REJECTED,
    "video-prompt-number": _REJECTED,
    "video-poor": _POOR,
    "video-veo-poor": _POOR,
    "video-rid-poor": _POOR,
    "video-rid-no-channel": _OPERATOR,
    "video-rid-down": _MAY_RUN,
    "video-rid-retried-refused": _OPERATOR,
    "video-overdraw": accepted("kl-pp"),
    "video-key-overdraw": accepted("kq-2"),
    "video-kling-accepted": accepted("kl-1"),
    "video-kling-slow-130": accepted("slow-k"),
    "video-kling-rid-accepted": accepted("kling-log-1"),
    "video-kling-rid-no-id": _NO_ID,
    "video-kling-rid-refused": _REJECTED,
    "video-kling-refused-200": _NO_ID,
    "video-kling-refused-400": _REJECTED,
    "video-kling-refused-401": _OPERATOR,
    "video-kling-refused-429": _BUSY,
    "video-kling-refused-500": _OPERATOR,
    "video-kling-refused-html": _MAY_RUN,
    "video-kling-200-html": _MAY_RUN,
    "video-kling-upstream-down": _MAY_RUN,
    "video-kling-upstream-reset": _MAY_RUN,
    "video-doubao-accepted": accepted("cgt-1"),
    "video-doubao-rid-accepted": accepted("doubao-log-1"),
    "video-doubao-rid-no-id": _NO_ID,
    "video-doubao-rid-refused": _REJECTED,
    "video-doubao-refused-400": _REJECTED,
    "video-doubao-no-content": _REJECTED,
    "video-minimax-accepted": accepted("mm-1"),
    "video-minimax-rid-accepted": accepted("minimax-log-1"),
    "video-minimax-rid-no-id": _NO_ID,
    "video-minimax-rid-refused": _REJECTED,
    "video-minimax-refused-500": _NO_ID,
    "video-minimax-refused-1002": _BUSY,
    "video-minimax-refused-1004": _OPERATOR,
    "video-minimax-refused-1026": _REJECTED,
    "video-minimax-refused-2013": _OPERATOR,
    "video-luma-accepted": accepted("lu-1"),
    "video-luma-200": _MAY_RUN,
    "video-runway-accepted": accepted("rw-1"),
    "video-runway-rid-accepted": accepted("runway-log-1"),
    "video-runway-refused-401": _OPERATOR,
    "video-grok-accepted": accepted("gr-1"),
    "video-grok-rid-accepted": accepted("grok-log-1"),
    "video-grok-refused-403": _OPERATOR,
    "video-grok-slow-75": _MAY_RUN,
    "video-wan-accepted": accepted("wa-1"),
    "video-wan-rid-accepted": accepted("wan-log-1"),
    "video-wan-refused-429": _REJECTED,
    "video-sora-accepted": accepted("video_1"),
    "video-sora-refused-400": _REJECTED,
    "video-sora-refused-429": _BUSY,
    "video-sora-seconds-number": _REJECTED,
    "video-veo-accepted": accepted("ve-1"),
    "video-veo-refused-400": _REJECTED,
    "video-veo-refused-429": _BUSY,
    "video-omni-accepted": accepted("go-1"),
    "video-omni-down": _MAY_RUN,
    "video-pixverse-accepted": accepted("987654"),
    "video-pixverse-refused": _OPERATOR,
    "video-cogvideox-accepted": accepted("cg-1"),
    # Submits at Doubao's own path, which this package does not make.
    "alias-doubao2-accepted": _NO_ID,
    "alias-doubao2-429": _BUSY,
    # Queries.
    "video-result-unknown": _NOT_FOUND,
    "video-result-no-taskid": _NO_LOOK,
    "video-result-no-taskid-clean": _NOT_FOUND,
    "video-key-exhausted": Outcome(errors.QuotaError),
    "video-channel-deleted": _FAULT,
    "video-kling-submitted": _PROCESSING,
    "video-kling-processing": _PROCESSING,
    "video-kling-other-user": _PROCESSING,
    "video-kling-result-slow-130": _PROCESSING,
    "video-kling-succeed": _done("https://cdn.example/a.mp4?x=1&y=2"),
    "video-kling-succeed-no-video": _NO_ADDRESS,
    "video-kling-failed": _FAILED,
    "video-kling-failed-again": _FAILED,
    "video-kling-failed-refund-twice": _FAILED,
    "video-kling-failed-seen-by-other": _FAILED,
    "video-kling-refund-log": _FAILED,
    "video-kling-result-upstream-500": _NO_LOOK,
    "video-kling-result-upstream-html": _FAULT,
    "video-kling-result-upstream-reset": _FAULT,
    "video-doubao-running": _PROCESSING,
    "video-doubao-succeeded": _doubao_done(_cdn("b")),
    "video-doubao-succeeded-again": _doubao_done(_cdn("b")),
    "video-doubao-succeeded-by-other": _doubao_done(_cdn("b")),
    "video-doubao-succeeded-after-poller": _doubao_done(_cdn("b")),
    "video-doubao-cheap": _doubao_done(_cdn("b")),
    "video-doubao-cheap-2": _doubao_done(_cdn("b")),
    "video-doubao-settled-1": _doubao_done(_cdn("1")),
    "video-doubao-settled-2": _doubao_done(_cdn("2")),
    "video-doubao-settled-3": _doubao_done(_cdn("3")),
    "video-doubao-after-cut": _doubao_done(_cdn("1")),
    "video-doubao-no-usage": _doubao_done(_cdn("n")),
    "video-doubao-failed": _FAILED,
    "video-doubao-failed-after-poller": _FAILED,
    "video-doubao-general-failed-after": _FAILED,
    "video-doubao-cancelled": _WAITS,
    "video-doubao-general-cancelled": _WAITS,
    "video-doubao-general-cancelled-after": _WAITS,
    "video-doubao-general-cancelled-second": _WAITS,
    "video-doubao-general-expired": _WAITS,
    "video-doubao-general-expired-after": _WAITS,
    "video-doubao-general-expired-second": _WAITS,
    "video-doubao-result-404": _NO_LOOK,
    "video-minimax-queueing": _WAITS,
    "video-minimax-preparing": _PROCESSING,
    "video-minimax-success": _done(_cdn("m")),
    "video-minimax-success-no-url": _NO_ADDRESS,
    "video-minimax-fail": _FAILED,
    "video-luma-completed": _done(_cdn("l")),
    "video-luma-result-404": _PROCESSING,
    "video-runway-pending": _PROCESSING,
    "video-runway-running": _WAITS,
    "video-runway-succeeded": _done(_cdn("r")),
    "video-runway-failed": record("FAILURE", "unknown"),
    "video-grok-pending": _PROCESSING,
    "video-grok-result-429": _FAILED,
    "video-grok-done": _done(_cdn("g")),
    "video-grok-cached": _done(_cdn("g")),
    "video-wan-result-throttled": _FAILED,
    "video-sora-in-progress": _PROCESSING,
    "video-sora-completed-not-ready": _PROCESSING,
    "video-sora-completed": _done(
        "https://upstream.example/s3/ezlinkai-file/37_1795416506_d6f953a1c40c7937.mp4"
    ),
    "video-sora-failed": _FAILED,
    "video-sora-result-404": _FAULT,
    "video-sora-result-429": Outcome(errors.BusyError),
    "video-veo-running": _PROCESSING,
    "video-veo-result-404": _PROCESSING,
    "video-veo-done-url": _done(
        "https://files.example/2_1795416692_966afdee1975770c.mp4"
    ),
    "video-veo-cached": _done(
        "https://files.example/2_1795416692_966afdee1975770c.mp4"
    ),
    "video-veo-done-data": _done(_INLINE.format(42)),
    "video-veo-data-stays": _done(_INLINE.format(42)),
    "video-veo-two": record(
        "SUCCESS",
        "succeed",
        "https://storage.googleapis.com/bucket/a/0.mp4",
        "https://storage.googleapis.com/bucket/a/1.mp4",
    ),
    "video-veo-two-cached": record(
        "SUCCESS",
        "succeed",
        "https://storage.googleapis.com/bucket/a/0.mp4",
        "https://storage.googleapis.com/bucket/a/1.mp4",
    ),
    "video-veo-filtered": _FAILED,
    "video-veo-partly-filtered": _FAILED,
    "video-omni-succeed": _done(_cdn("o")),
    "video-omni-again": _done(_cdn("o")),
    "video-omni-result-429": _FAULT,
    "video-pixverse-generating": _NO_ADDRESS,
    "video-pixverse-done": _done(_cdn("p")),
    "video-pixverse-error": _FAILED,
    # Queries at Doubao's own path.
    "alias-doubao2-result-no-key": _RUNNING,
    "alias-doubao2-succeeded": _doubao_done(_cdn("b")),
    "alias-doubao2-cached": _doubao_done(_cdn("b")),
    "alias-doubao2-general-task": _doubao_done(_cdn("b")),
    "alias-doubao2-unknown": _NOT_FOUND,
    "doubao-keyless-running": _RUNNING,
    "doubao-keyless-after-success": _doubao_done(_cdn("2")),
    "doubao-keyless-cached": _doubao_done(_cdn("2")),
    "doubao-keyless-fresh-again": _doubao_done(_cdn("3")),
    "doubao-keyless-with-key": _doubao_done(_cdn("3")),
    "doubao-keyless-only-1": _doubao_done(_cdn("1")),
    "doubao-keyless-only-3": _doubao_done(_cdn("1")),
    "doubao-keyless-failed-after": _FAILED,
    "doubao-keyless-cancelled-after": record("CANCEL", "cancelled"),
    "doubao-keyless-cancelled-first": record("CANCEL", "cancelled"),
    "doubao-keyless-expired-after": record("FAILURE", "expired"),
    "doubao-keyless-expired-first": record("FAILURE", "expired"),
}

SUBMITS = [name for name in OUTCOMES if _samples()[name].method == "POST"]

QUERIES = [name for name in OUTCOMES if name not in SUBMITS]


def _id(sample: Sample) -> str:
    split = urlsplit(sample.path)
    if "/doubao/" in split.path:
        return split.path.rpartition("/")[2]
    return parse_qs(split.query).get("taskid", [""])[0]


def _outcome(sample: Sample) -> Outcome:
    found: Accepted | VideoRecord
    try:
        if sample.method == "POST":
            found = JOB.read(sample.response)
        else:
            found = VIDEO.read(sample.response, _id(sample))
    except errors.EzlinkError as error:
        return Outcome.of_error(error)
    if isinstance(found, Accepted):
        return accepted(found.task_id)
    urls = [
        each.url or _INLINE.format(len(each.content or b"")) for each in found.results
    ]
    assert all(each.kind == "video" for each in found.results)
    return record(str(found.status), found.raw_status, *urls)


@pytest.mark.parametrize("name", OUTCOMES)
def test_recorded_answer_becomes_the_outcome_beside_its_name(name: str) -> None:
    assert _outcome(_samples()[name]) == OUTCOMES[name]


def test_every_recorded_answer_has_an_outcome() -> None:
    assert set(_samples()) == set(OUTCOMES)


@pytest.mark.parametrize("name", SUBMITS)
def test_charged_submit_is_never_safe_to_repeat(name: str) -> None:
    """A submit that was charged is accepted, or an error that may be paid."""
    outcome = OUTCOMES[name]
    if _samples()[name].charged:
        assert outcome.what == "accepted" or outcome.paid
        assert not outcome.safe


@pytest.mark.parametrize("name", SUBMITS)
def test_refusal_of_a_provider_never_seems_to_be_about_the_key(name: str) -> None:
    """A batch would stop, although every other model may work."""
    fatal = (errors.AuthenticationError, errors.PermissionDeniedError)
    assert OUTCOMES[name].what not in fatal


@pytest.mark.parametrize("name", OUTCOMES)
def test_no_error_shows_a_key_of_the_servers_provider(name: str) -> None:
    sample = _samples()[name]
    try:
        found: object = JOB.read(sample.response)
    except errors.EzlinkError as error:
        found = error.args, vars(error)
    try:
        seen: object = VIDEO.read(sample.response, _id(sample))
    except errors.EzlinkError as error:
        seen = error.args, vars(error)
    assert "UPSTREAM-KEY" not in repr((found, seen))


@pytest.mark.parametrize("name", QUERIES)
def test_both_families_read_alike(name: str) -> None:
    sample = _samples()[name]
    if isinstance(OUTCOMES[name].what, str):
        read = VIDEO_DOUBAO.read(sample.response, _id(sample))
        assert read == VIDEO.read(sample.response, _id(sample))


def test_record_has_what_the_provider_says_of_the_video() -> None:
    def read(name: str) -> VideoRecord:
        return VIDEO.read(_samples()[name].response, _id(_samples()[name]))

    kling, grok = read("video-kling-succeed"), read("video-grok-done")
    assert (kling.video_id, kling.seconds, kling.usage) == ("v-77", 5.1, {})
    assert (grok.seconds, grok.usage) == (5.0, {"cost_in_usd": 0.25})
    assert read("video-doubao-running").seconds is None
    omni = read("video-omni-succeed").usage
    assert omni == {
        "total_tokens": 60_000,
        "total_input_tokens": 1_000,
        "total_output_tokens": 59_000,
    }
    assert read("video-kling-failed").fail_reason == "content risk"
    assert read("video-grok-done").fail_reason == ""
    assert read("doubao-keyless-failed-after").fail_reason == "no"
    assert read("doubao-keyless-expired-first").fail_reason == "expired"
