"""
What the client reads from each recorded exchange of Stability's calls.

Each outcome is written by hand beside the name of its sample.
"""

from __future__ import annotations

import pytest

from ezlink_async import errors
from ezlink_async.services.stability import (
    STABILITY,
    StabilityRequest,
    endpoint_of,
)
from tests.support.jobs import inspected
from tests.support.pictures import png
from tests.support.samples import Sample, family_samples

SAYS = "this server has removed its Stability routes (January 2026)"

#: What is raised, and whether the call was surely not made.
OUTCOMES = {
    "stability-1": (errors.EndpointNotSupportedError, True),
    "stability-3": (errors.EndpointNotSupportedError, False),
    "stability-4": (errors.EndpointNotSupportedError, True),
}


def _samples() -> dict[str, Sample]:
    return {n: s for n, s in family_samples().items() if n.startswith("stability-")}


def _read(sample: Sample) -> object:
    """Read as the client does, which knows what it has asked for."""
    last = sample.path.split("/")[-1]
    if sample.method == "GET":
        return STABILITY.read(sample.response, last)
    if last == "image-to-video":
        request = StabilityRequest.of(endpoint_of(last), {"image": png()})
        return request.job((inspected(png()),)).read(sample.response)
    request = StabilityRequest.of(endpoint_of(last), {"prompt": "a fox"})
    return request.job(()).read(sample.response)


@pytest.mark.parametrize("name", OUTCOMES)
def test_recorded_answer_becomes_the_outcome_beside_its_name(name: str) -> None:
    kind, is_safe = OUTCOMES[name]
    with pytest.raises(kind) as caught:
        _read(_samples()[name])
    error = caught.value
    assert str(error) == SAYS
    assert (error.retry_safe, error.maybe_charged) == (is_safe, False)
    assert error.request_id


def test_every_recorded_answer_has_an_outcome() -> None:
    assert set(_samples()) == set(OUTCOMES)
