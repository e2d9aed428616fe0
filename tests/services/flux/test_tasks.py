"""Tasks of native Flux: how they are asked for, read and judged."""

from __future__ import annotations

import json

import attrs
import pytest

from ezlink_async import errors
from ezlink_async._core.messages import HttpResponse
from ezlink_async.errors import ConfigurationError
from ezlink_async.models import FluxRecord, Result, TaskStatus
from ezlink_async.services.base import Accepted
from ezlink_async.services.flux import FLUX
from ezlink_async.services.flux.jobs import FluxJob
from tests.support.outcomes import Outcome, accepted, outcome_of, safe

READY = FluxRecord(task_id="t", status=TaskStatus.SUCCESS, url="https://a")
JOB = FluxJob(model="flux-2-pro", label="x", body=(b"{}",))


def _answer(**fields: object) -> HttpResponse:
    return HttpResponse(200, {}, json.dumps({"id": "t", **fields}).encode())


def test_each_third_poll_asks_the_provider() -> None:
    """Its own call to the relay may never come."""
    paths = [FLUX.fetch_request("t", polls).path for polls in range(6)]
    asked = [path.endswith("&from_source=true") for path in paths]
    assert asked == [False, False, True] * 2
    assert paths[0] == "/flux/v1/get_result?id=t"


def test_query_without_an_id_is_never_made() -> None:
    with pytest.raises(ConfigurationError, match="no task id"):
        FLUX.fetch_request("")


def test_finished_task_is_renewed_at_the_provider() -> None:
    path = FLUX.renew(READY).path
    assert path == "/flux/v1/get_result?id=t&from_source=true"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"id": "", "status": "Pending"}, "task ''"),
        ({"id": "o", "status": "Ready"}, "task 'o'"),
        ({"status": ""}, "no task"),
        ({"status": 7}, "no task"),
        ({}, "no task"),
    ],
)
def test_record_of_another_task_or_none_is_no_answer(
    fields: dict[str, object], says: str
) -> None:
    with pytest.raises(errors.ProtocolError, match=says):
        FLUX.read(_answer(**fields), "t")


def test_task_that_the_provider_does_not_know_yet_is_a_failed_poll() -> None:
    with pytest.raises(errors.TaskNotFoundError):
        FLUX.read(_answer(status="Task not found"), "t")


def test_page_of_a_proxy_is_no_unknown_task() -> None:
    with pytest.raises(errors.EndpointNotSupportedError):
        FLUX.read(HttpResponse(404, {}, b"<html>"), "t")


@pytest.mark.parametrize(
    ("fields", "reason", "reasons"),
    [
        ({"status": "Error"}, "Error", ()),
        ({"status": "Error", "error": "no gpu"}, "no gpu", ()),
        ({"status": "failed", "error": ""}, "", ()),
        ({"status": "failed", "error": "{broken"}, "{broken", ()),
        ({"status": "failed", "error": '{"status":"Error"}'}, "Error", ()),
        (
            {"status": "failed", "error": '{"status":"Error","error":"no gpu"}'},
            "no gpu",
            (),
        ),
        (
            {
                "status": "Content Moderated",
                "details": {"Moderation Reasons": ["Hate", 7, "Sex"]},
            },
            "Content Moderated: Hate, Sex",
            ("Hate", "Sex"),
        ),
        (
            {"status": "Content Moderated", "details": {"Moderation Reasons": 7}},
            "Content Moderated",
            (),
        ),
    ],
)
def test_reason_of_a_failure_is_read_wherever_it_stands(
    fields: dict[str, object], reason: str, reasons: tuple[str, ...]
) -> None:
    record = FLUX.read(_answer(**fields), "t")
    assert (record.status, record.fail_reason) == (TaskStatus.FAILURE, reason)
    assert record.moderation == reasons
    ending = FLUX.judge(record, None)
    assert ending is not None
    assert (reason or "no reason given") in str(ending.error)


def test_data_uri_is_the_picture_itself() -> None:
    result = {"sample": "data:image/png;base64,aGVsbG8="}
    record = FLUX.read(_answer(status="Ready", result=result), "t")
    assert (record.url, record.inline) == (None, Result(kind="image", content=b"hello"))
    ending = FLUX.judge(record, None)
    assert ending is not None
    assert ending.error is None
    again = FLUX.load(json.loads(json.dumps(FLUX.dump(record))))
    assert again.results == (Result(kind="image"),)  # to be asked for again
    assert FLUX.fetch_request("t").answer_limit >= 100 * 1024 * 1024 * 4 / 3


def test_broken_data_uri_is_a_failed_look() -> None:
    result = {"sample": "data:image/png;base64,aGVsbG8"}
    with pytest.raises(errors.ProtocolError, match="broken"):
        FLUX.read(_answer(status="Ready", result=result), "t")


@pytest.mark.parametrize(
    ("text", "content"), [("aGVsbG8=", b"hello"), ("aGVsbG8", None)]
)
def test_picture_in_the_answer_to_a_submit_is_taken_if_it_is_whole(
    text: str, content: bytes | None
) -> None:
    """The id counts in any case, and the queries bring the picture, too."""
    url = f"data:image/png;base64,{text}"
    found = JOB.read(_answer(status="Ready", polling_url=url))
    assert found.task_id == "t"
    results = found.record.results if found.record else ()
    assert [each.content for each in results] == ([content] if content else [])
    assert JOB.request().answer_limit >= 100 * 1024 * 1024 * 4 / 3


def test_odd_values_of_a_result_are_left_out() -> None:
    result = {"sample": 7, "seed": "x", "prompt": 7}
    record = FLUX.read(_answer(status="Ready", result=result), "t")
    assert (record.url, record.seed, record.prompt) == (None, None, "")


def test_success_without_an_address_counts_the_second_time() -> None:
    record = attrs.evolve(READY, url=None)
    assert FLUX.judge(record, None) is None
    ending = FLUX.judge(record, record)
    assert ending is not None
    assert isinstance(ending.error, errors.TaskFailedError)


def test_running_task_goes_on_whatever_its_word() -> None:
    record = FLUX.read(_answer(status="Warming up"), "t")
    assert (record.status, record.raw_status) == (TaskStatus.UNKNOWN, "Warming up")
    assert FLUX.judge(record, None) is None
    assert not record.is_terminal
    assert record.results == ()


def test_only_a_failure_costs_nothing() -> None:
    assert not FLUX.is_refunded(None)
    assert not FLUX.is_refunded(READY)
    assert FLUX.is_refunded(attrs.evolve(READY, status=TaskStatus.FAILURE))


def test_record_is_saved_and_read_again() -> None:
    record = attrs.evolve(READY, seed=7, moderation=("x",))
    assert FLUX.load(json.loads(json.dumps(FLUX.dump(record)))) == record


@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        (_answer(status="Ready", polling_url="https://p"), accepted("t", "https://p")),
        # An address of the provider is never followed: it takes another key.
        (_answer(status="Pending", polling_url="https://p"), accepted("t")),
        (_answer(status="Ready", polling_url=7), accepted("t")),
        (
            HttpResponse(200, {}, b"<html>"),
            Outcome(errors.SubmitUnknownError, paid=True),
        ),
        (
            HttpResponse(200, {}, b'{"id":"t"}', early=True),
            safe(errors.TransportError),
        ),
        (HttpResponse(502, {}, b""), Outcome(errors.SubmitUnknownError, paid=True)),
        (
            HttpResponse(403, {}, b'{"error":"violates usage guidelines"}'),
            Outcome(errors.SubmitUnknownError, paid=True),
        ),
    ],
)
def test_answer_to_a_submit(response: HttpResponse, outcome: Outcome) -> None:
    def read() -> Accepted:
        return JOB.read(response)

    assert outcome_of(read) == outcome


@pytest.mark.parametrize("words", ["violates usage guidelines", "safety_check_type x"])
@pytest.mark.parametrize(("status", "fee"), [(403, 25_000), (400, 0)])
def test_fee_is_that_of_a_403_with_the_words(words: str, status: int, fee: int) -> None:
    error = {"code": None, "message": words, "param": "", "type": "api_error"}
    response = HttpResponse(status, {}, json.dumps({"error": error}).encode())
    outcome = outcome_of(lambda: JOB.read(response))
    kind = errors.ContentRefusedError if fee else errors.RejectedError
    assert outcome == Outcome(kind, safe=not fee, fee=fee)
