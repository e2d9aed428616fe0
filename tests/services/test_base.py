"""What a family and a job request have when they say nothing of their own."""

from __future__ import annotations

import pytest

from ezlink_async import TaskStatus
from ezlink_async.services.base import AnyRecord, JobRequest, TaskFamily
from tests.toy_family import TOY, Toy, ToyRecord

DONE = ToyRecord(task_id="7", status=TaskStatus.SUCCESS)


def test_family_without_further_calls_has_none_of_them() -> None:
    assert (TOY.list_limit, TOY.list_from) == (0, 3)
    assert TOY.keyless_request("7") is None
    assert TOY.renew(DONE) is None
    assert TOY.settling_request(DONE) is None
    assert TOY.caution == TOY.caution_at_end == ""
    assert not TOY.is_frozen(DONE)
    assert TOY.is_refunded(DONE) is None
    assert not TOY.traces.log


def test_call_that_a_family_does_not_have_names_the_family() -> None:
    with pytest.raises(NotImplementedError, match="'toy' have no list"):
        TOY.list_request(["7"])
    with pytest.raises(NotImplementedError, match="'toy' have no list"):
        TOY.read_list(None)  # type: ignore[arg-type]
    with pytest.raises(NotImplementedError, match="'toy' have no keyless picture"):
        TOY.found("7", None, "https://a.example")


def test_records_of_a_family_are_equal_when_their_fields_are() -> None:
    assert TOY.is_same(DONE, ToyRecord(task_id="7", status=TaskStatus.SUCCESS))
    assert TOY.load(TOY.dump(DONE)) == DONE


class _Bare(JobRequest[AnyRecord]):
    kind = "bare"


def test_request_needs_a_family_and_a_job() -> None:
    request = _Bare()
    with pytest.raises(NotImplementedError):
        _: TaskFamily[AnyRecord] = request.family
    with pytest.raises(NotImplementedError):
        request.job(())
    assert (request.label, request.price, request.once) == ("bare", 0, None)
    assert request.deadline is None
    assert not request.again


def test_identity_of_a_request_is_canonical_json() -> None:
    assert Toy("fox").identity([]) == '{"word":"fox"}'
