"""What the client reads from each recorded exchange of async images."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from ezlink_async import errors
from ezlink_async.models import ImagesRecord
from ezlink_async.services.base import Accepted
from ezlink_async.services.flux import FLUX
from ezlink_async.services.image_generation import IMAGES
from ezlink_async.services.image_generation.jobs import ImagesJob
from ezlink_async.services.image_generation.tasks import FAMILIES, Provider
from tests.support.outcomes import Outcome, accepted, outcome_of, record, safe
from tests.support.samples import Sample, family_samples, samples

_MAY_RUN = Outcome(errors.ServerError)
_NO_ID = Outcome(errors.ProtocolError, paid=True)
_UNKNOWN_ID = Outcome(errors.TaskNotFoundError)
_FAULT = Outcome(errors.ServerError)
_SAMPLE = "https://delivery.example/s.jpeg?se=1&sig=2"

OUTCOMES = {
    "async-flux-accepted": accepted("af-1"),
    "async-flux-poor": accepted("af-p"),
    "async-flux-rid-accepted": accepted("af-log-1"),
    "async-kling-accepted": accepted("ak-1"),
    "async-kling-rid-accepted": accepted("ak-log-1"),
    "async-wan-accepted": accepted("aw-1"),
    "async-wan-rid-accepted": accepted("aw-log-1"),
    # Accepted and charged, and out of reach.
    "async-flux-200-no-id": _NO_ID,
    "async-flux-rid-no-id": _NO_ID,
    "async-kling-500-no-code": _NO_ID,
    "async-kling-rid-no-id": _NO_ID,
    # Refused by the provider, or by the relay.
    "async-unsupported": safe(errors.RejectedError),
    "async-flux-refused-422": safe(errors.RejectedError),
    "async-flux-rid-refused": safe(errors.RejectedError),
    "async-kling-refused": safe(errors.RejectedError),
    "async-kling-refused-429": safe(errors.BusyError),
    "async-kling-rid-refused": safe(errors.BusyError),
    "async-wan-refused-429": safe(errors.BusyError),
    "async-wan-rid-refused": safe(errors.BusyError),
    "async-flux-refused-429": safe(errors.BusyError),
    # The operator's own key, and content that costs no fee here.
    "async-flux-refused-401": safe(errors.ServerError),
    "async-flux-refused-403-guidelines": safe(errors.ServerError),
    "async-flux-rid-guidelines": safe(errors.ServerError),
    "async-flux-refused-500": safe(errors.ServerError),
    # Not charged, but the provider may be at work.
    "async-flux-refused-202": _MAY_RUN,
    "async-flux-200-html": _MAY_RUN,
    "async-flux-down": _MAY_RUN,
    "async-flux-slow-330": _MAY_RUN,
    # Queries.
    "async-flux-pending": record("IN_PROGRESS"),
    "async-flux-ready": record("SUCCESS", "", _SAMPLE),
    "async-flux-other-user": record("SUCCESS", "", _SAMPLE),
    "async-flux-ready-after-reconciler": record(
        "SUCCESS", "", "https://delivery.example/p.jpeg"
    ),
    "async-flux-ready-empty": record("SUCCESS"),
    "async-flux-moderated": record("FAILURE", "Request moderated: Copyright"),
    "async-flux-error": record("FAILURE", "Image generation failed"),
    "async-kling-processing": record("IN_PROGRESS"),
    "async-kling-failed": record("FAILURE"),
    "async-kling-succeed": record(
        "SUCCESS", "", "https://cdn.example/0.png", "https://cdn.example/1.png"
    ),
    "async-wan-failed": record("FAILURE", "inappropriate"),
    "async-wan-refund-log": record("FAILURE", "no"),
    "async-wan-partly": record("SUCCESS", "", "https://cdn.example/w.png"),
    "async-flux-not-found-404": _FAULT,
    "async-flux-result-429": Outcome(errors.BusyError),
    "async-kling-result-code": _FAULT,
    "async-channel-deleted": _FAULT,
    "async-image-unknown": _UNKNOWN_ID,
    # Without an id, which the client never sends: a stranger's, or none.
    "async-result-no-taskid": Outcome(errors.ProtocolError),
    "async-result-no-taskid-clean": _UNKNOWN_ID,
    # An id of this family at the other one, which the client never asks.
    "async-flux-at-native": record("SUBMITTED"),
    "async-flux-at-native-source": record(
        "SUCCESS", "", "https://delivery.example/s.jpeg"
    ),
}


def _samples() -> dict[str, Sample]:
    every = {**samples(), **family_samples()}
    return {name: each for name, each in every.items() if name.startswith("async-")}


def _read(sample: Sample) -> Accepted | ImagesRecord:
    split = urlsplit(sample.path)
    if sample.method == "POST":
        model = json.loads(sample.sent)["model"]
        provider = next(
            (p for p in Provider if model.startswith(p.value)), Provider.FLUX
        )
        job = ImagesJob(model=model, provider=provider, label="x", body=(b"{}",))
        return job.read(sample.response)
    query = parse_qs(split.query)
    return IMAGES.read(sample.response, query.get("taskid", ["ours"])[0])


def _outcome(sample: Sample) -> Outcome:
    if "/flux/" in sample.path:
        return outcome_of(lambda: FLUX.read(sample.response, "af-1"))
    return outcome_of(lambda: _read(sample))


@pytest.mark.parametrize("name", OUTCOMES)
def test_recorded_answer_becomes_the_outcome_beside_its_name(name: str) -> None:
    assert _outcome(_samples()[name]) == OUTCOMES[name]


def test_every_recorded_answer_has_an_outcome() -> None:
    assert set(_samples()) == set(OUTCOMES)


@pytest.mark.parametrize("name", OUTCOMES)
def test_charged_submit_is_never_safe_to_repeat(name: str) -> None:
    outcome, sample = OUTCOMES[name], _samples()[name]
    if sample.charged and sample.method == "POST":
        assert outcome.what == "accepted" or outcome.paid
        assert not outcome.safe


@pytest.mark.parametrize(
    ("name", "provider", "refunded"),
    [
        ("async-flux-moderated", Provider.FLUX, False),
        ("async-flux-error", Provider.FLUX, False),
        ("async-kling-failed", Provider.KLING, False),
        ("async-wan-failed", Provider.WAN, True),
        # Of a task that is known by its id alone, only the message may tell.
        ("async-flux-moderated", None, False),
        ("async-flux-error", None, False),
        ("async-kling-failed", None, False),
        ("async-wan-failed", None, None),
    ],
)
def test_failure_says_whether_it_is_given_back(
    *, name: str, provider: Provider | None, refunded: bool | None
) -> None:
    """Flux and Kling failures stay paid, as the recorded charges show."""
    family = IMAGES if provider is None else FAMILIES[provider]
    sample = _samples()[name]
    found = _read(sample)
    assert isinstance(found, ImagesRecord)
    ending = family.judge(found, None)
    assert ending is not None
    assert isinstance(ending.error, errors.TaskFailedError)
    assert ending.error.refunded is refunded
    assert ("stays paid" in str(ending.error)) is (refunded is False)
