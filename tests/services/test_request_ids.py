"""
Every error that a recorded answer becomes has the request id of that answer.

Each reader of the client reads each recorded answer, also those of other calls: an
answer that is none of its own is an error, too.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

from ezlink_async._core.error_mapping import error_from
from ezlink_async._core.messages import HttpResponse
from ezlink_async.errors import EzlinkError
from ezlink_async.requests import (
    Action,
    AsyncImage,
    Change,
    FaceSwap,
    Flux,
    Imagine,
    JobRequest,
    Modal,
    Shorten,
    Video,
)
from ezlink_async.services import account, billing, catalogue, files
from ezlink_async.services.base import AnyRecord, TaskFamily
from ezlink_async.services.flux.rows import FluxRows
from ezlink_async.services.midjourney.seeds import read_seed
from ezlink_async.services.registry import FAMILIES
from ezlink_async.services.stability import StabilityRequest, endpoint_of
from tests.support.jobs import job_of
from tests.support.pictures import jpeg
from tests.support.samples import Sample, family_samples, samples

Reader = Callable[[HttpResponse], object]

REQUESTS: list[JobRequest[AnyRecord]] = [
    FaceSwap(jpeg(2_000), jpeg(3_000)),
    Imagine("a fox"),
    Shorten("a red fox"),
    Action("MJ::JOB::upsample::1::x", "7"),
    Modal("7", prompt="a fox"),
    Change("7", "upscale", 1),
    Video("kling-v1", {"prompt": "a cat"}),
    AsyncImage("flux-pro-1.1", "a fox"),
    Flux("flux-pro", "a fox"),
    StabilityRequest.of(endpoint_of("core"), {"prompt": "a fox"}),
]


def _of_family(family: TaskFamily[AnyRecord]) -> dict[str, Reader]:
    found: dict[str, Reader] = {
        f"{family.name} fetch": lambda answer: family.read(answer, "7")
    }
    if family.list_limit:
        found[f"{family.name} list"] = family.read_list
    return found


def _of_job(request: JobRequest[AnyRecord]) -> Reader:
    return job_of(request).read


# Other tests of the same process may have registered families of plugins.
OUR_FAMILIES = [
    family
    for family in FAMILIES.values()
    if type(family).__module__.partition(".")[0] == "ezlink_async"
]

READERS: dict[str, Reader] = {
    **{f"submit {request.kind}": _of_job(request) for request in REQUESTS},
    **{
        name: read
        for family in OUR_FAMILIES
        for name, read in _of_family(family).items()
    },
    "seed": lambda answer: read_seed(answer, "7"),
    "balance": account.read_balance,
    "tasks of the account": account.read_tasks,
    "charge": lambda answer: account.read_charge(answer, "1"),
    "evidence": lambda answer: account.read_evidence(answer, "1"),
    "limit": billing.read_limit,
    "used": billing.read_used,
    "models": catalogue.read_models,
    "upload": files.read_upload,
    "rows of Flux": lambda answer: FluxRows().read(answer, 1),
    "any": error_from,
    "any submit": lambda answer: error_from(answer, submit=True),
}


def _answers() -> list[Sample]:
    every = [*samples().values(), *family_samples().values()]
    return [each for each in every if each.response.headers.get("x-request-id")]


def _error(read: Reader, response: HttpResponse) -> EzlinkError | None:
    try:
        found = read(response)
    except EzlinkError as error:
        return error
    return found if isinstance(found, EzlinkError) else None


@pytest.mark.parametrize("name", READERS)
def test_error_of_a_recorded_answer_has_its_request_id(name: str) -> None:
    found = 0
    for sample in _answers():
        answered_id = sample.response.headers["x-request-id"]
        error = _error(READERS[name], sample.response)
        if error is not None:
            found += 1
            assert error.request_id == answered_id, (sample.name, error)
    assert found > 10


@pytest.mark.parametrize("name", READERS)
def test_error_of_an_answer_without_an_id_has_the_one_that_was_sent(name: str) -> None:
    for sample in _answers():
        response = attrs.evolve(sample.response, headers={}, sent_id="mine")
        error = _error(READERS[name], response)
        assert error is None or error.request_id == "mine", (sample.name, error)
