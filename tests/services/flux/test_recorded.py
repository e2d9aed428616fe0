"""What the client reads from each recorded exchange of native Flux."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from ezlink_async import errors
from ezlink_async.models import FluxRecord, ImagesRecord
from ezlink_async.services.base import Accepted
from ezlink_async.services.flux import FLUX
from ezlink_async.services.flux.jobs import FluxJob
from ezlink_async.services.image_generation import IMAGES
from tests.support.outcomes import Outcome, accepted, outcome_of, record, safe
from tests.support.samples import Sample, family_samples, samples

_MAY_RUN = Outcome(errors.ServerError)
_NO_ID = Outcome(errors.ProtocolError)
_UNKNOWN_ID = Outcome(errors.TaskNotFoundError)
_FEE = Outcome(errors.ContentRefusedError, fee=25_000)
_CALL = Outcome("call of the provider")  # no client sends or reads it
_S = "https://delivery.example/s.jpeg?se=1&sig=2"
_P = "https://delivery.example/p.jpeg"

OUTCOMES = {
    "flux-accepted": accepted("fx-1"),
    "flux-accepted-202": accepted("fx-2"),
    "flux-rid-accepted": accepted("fl-cb"),
    "flux-rid-header-1": accepted("fl-h"),
    "flux-rid-header-2": accepted("fl-h"),
    "flux-rid-header-3": accepted("fl-h"),
    "flux-rid-retried": accepted("fl-second"),
    "flux-replicate-starting": accepted("rp-1"),
    "flux-replicate-canceled-at-once": accepted("rp-5"),
    "flux-replicate-ready": accepted("rp-2", "https://replicate.delivery/y.png"),
    "flux-replicate-rid-ready": accepted("rp-log-1", "https://cdn.example/r.png"),
    # Accepted for nothing, and out of reach.
    "flux-200-no-id": _NO_ID,
    "flux-rid-no-id": _NO_ID,
    # A fee for content that breaks the guidelines.
    "flux-refused-403-guidelines": _FEE,
    "flux-rid-guidelines": _FEE,
    # Refused.
    "flux-malformed": safe(errors.RejectedError),
    "flux-rid-malformed": safe(errors.RejectedError),
    "flux-rid-refused": safe(errors.RejectedError),
    "flux-refused-422": safe(errors.RejectedError),
    "flux-refused-200": safe(errors.RejectedError),
    "flux-replicate-failed-at-once": safe(errors.RejectedError),
    "flux-replicate-unsupported": safe(errors.RejectedError),
    "flux-poor": safe(errors.QuotaError),
    "flux-rid-poor": safe(errors.QuotaError),
    "flux-refused-429": safe(errors.BusyError),
    "flux-refused-401": safe(errors.ServerError),
    "flux-refused-403": safe(errors.ServerError),
    "flux-refused-500": safe(errors.ServerError),
    "flux-rid-no-channel": safe(errors.ServerError),
    # Not charged, but the provider may be at work.
    "flux-down": _MAY_RUN,
    "flux-slow-330": _MAY_RUN,
    "flux-rid-upstream-reset": _MAY_RUN,
    "flux-rid-unreadable": _MAY_RUN,
    # The record.
    "flux-record-submitted": record("SUBMITTED"),
    "flux-record-task-not-found": record("SUBMITTED"),
    "flux-record-ready": record("SUCCESS", "", _S),
    "flux-record-ready-by-callback": record(
        "SUCCESS", "", "https://delivery.example/t.jpeg"
    ),
    "flux-record-ready-by-reconciler": record("SUCCESS", "", _P),
    "flux-record-ready-by-reconciler-replicate": record(
        "SUCCESS", "", "https://replicate.delivery/z.png"
    ),
    "flux-record-request-moderated": record(
        "FAILURE", "Request Moderated: Safety Filter"
    ),
    "flux-record-expired": record("FAILURE", "任务超时"),
    "flux-expired-after": record("FAILURE", "任务超时"),
    "flux-record-failed-by-reconciler-replicate": record("FAILURE", "NSFW"),
    "flux-replicate-record-failed": record("FAILURE", "NSFW content detected"),
    # The provider.
    "flux-source-pending": record("SUBMITTED"),
    "flux-source-ready-by-other": record("SUCCESS", "", _S),
    "flux-source-ready-again": record("SUCCESS", "", _S),
    "flux-rid-source-ready": record("SUCCESS", "", "https://cdn.example/fl-src.png"),
    "flux-expired-source-ready": record("SUCCESS", "", _P),
    "flux-source-request-moderated": record(
        "FAILURE", "Request Moderated: Safety Filter"
    ),
    "flux-rid-moderated": record("FAILURE", "Request Moderated"),
    "flux-replicate-source-processing": record("IN_PROGRESS"),
    "flux-replicate-source-ready": record(
        "SUCCESS", "", "https://replicate.delivery/x.png"
    ),
    "flux-replicate-source-failed": record("FAILURE", "NSFW content detected"),
    # Polls that failed, which say nothing of the task.
    "flux-source-task-not-found": _UNKNOWN_ID,
    "flux-replicate-source-404": _UNKNOWN_ID,
    "flux-unknown": _UNKNOWN_ID,
    "flux-replicate-source-unknown": Outcome(errors.ProtocolError),
    "flux-replicate-source-401": Outcome(errors.ProtocolError),
    "flux-source-429": Outcome(errors.BusyError),
    "flux-source-reset": Outcome(errors.ServerError),
    "flux-channel-deleted": Outcome(errors.ServerError),
    "flux-no-id": Outcome(errors.RejectedError),
    # What no client of this family sends.
    "flux-callback": _CALL,
    "flux-callback-ready": _CALL,
    "flux-async-result-unpaid": record("SUCCESS", "", _S),
}


def _samples() -> dict[str, Sample]:
    every = {**samples(), **family_samples()}
    return {name: each for name, each in every.items() if name.startswith("flux-")}


def _read(sample: Sample) -> Accepted | FluxRecord | ImagesRecord:
    split = urlsplit(sample.path)
    query = parse_qs(split.query)
    if sample.method == "POST":
        model = split.path.rpartition("/")[2]
        return FluxJob(model=model, label="x", body=(b"{}",)).read(sample.response)
    if "taskid" in query:
        return IMAGES.read(sample.response, query["taskid"][0])
    return FLUX.read(sample.response, query.get("id", ["ours"])[0])


def _outcome(sample: Sample) -> Outcome:
    if sample.path == "/flux/internal/callback":
        return _CALL
    return outcome_of(lambda: _read(sample))


@pytest.mark.parametrize("name", OUTCOMES)
def test_recorded_answer_becomes_the_outcome_beside_its_name(name: str) -> None:
    assert _outcome(_samples()[name]) == OUTCOMES[name]


def test_every_recorded_answer_has_an_outcome() -> None:
    assert set(_samples()) == set(OUTCOMES)


@pytest.mark.parametrize("name", OUTCOMES)
def test_charged_submit_is_accepted_or_has_a_fee(name: str) -> None:
    """A fee is no unknown job: the refusal is known, and never sent again."""
    outcome, sample = OUTCOMES[name], _samples()[name]
    if sample.charged and sample.method == "POST" and outcome != _CALL:
        assert outcome.what == "accepted" or outcome.fee
        assert not outcome.safe


def test_seed_prompt_and_reasons_are_in_the_record() -> None:
    """A failed record has the provider's whole answer as the text of its error."""
    ready, moderated = (
        FLUX.read(_samples()[name].response, task_id)
        for name, task_id in (
            ("flux-record-ready", "fx-1"),
            ("flux-record-request-moderated", "fx-2"),
        )
    )
    assert (ready.seed, ready.prompt, ready.raw_status) == (7, "a cat", "Ready")
    assert moderated.moderation == ("Safety Filter",)
    assert moderated.raw_status == "failed"


def test_failure_costs_nothing() -> None:
    found = FLUX.read(_samples()["flux-record-expired"].response, "bfl-old")
    ending = FLUX.judge(found, None)
    assert ending is not None
    assert isinstance(ending.error, errors.TaskFailedError)
    assert ending.error.refunded is True
