"""Tasks of async images: how they are asked for, read and judged."""

from __future__ import annotations

import json

import attrs
import pytest

from ezlink_async._core.messages import HttpResponse
from ezlink_async.errors import ConfigurationError, ProtocolError, TaskFailedError
from ezlink_async.models import ImagesRecord, Result, TaskStatus
from ezlink_async.services.image_generation import IMAGES
from ezlink_async.services.image_generation.tasks import ImagesFamily, Provider


def _answer(**fields: object) -> HttpResponse:
    body = {"task_id": "t", "task_status": "processing", "message": "", **fields}
    return HttpResponse(200, {}, json.dumps(body).encode())


EMPTY = ImagesRecord(task_id="t", status=TaskStatus.SUCCESS)


@pytest.mark.parametrize("task_id", ["", " ", "\ud800"])
def test_query_without_an_id_is_never_made(task_id: str) -> None:
    """The server would show the record of a stranger."""
    with pytest.raises(ConfigurationError, match="no task id"):
        IMAGES.fetch_request(task_id)


def test_id_is_quoted_in_the_query() -> None:
    path = IMAGES.fetch_request("a/../b&id=c").path
    assert path == "/v1/async/images/result?taskid=a%2F..%2Fb%26id%3Dc"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"task_id": "other"}, "the answer is task 'other'"),
        ({"task_id": ""}, "the answer is task ''"),
    ],
)
def test_record_of_another_task_is_no_answer(
    fields: dict[str, object], says: str
) -> None:
    with pytest.raises(ProtocolError, match=says):
        IMAGES.read(_answer(**fields), "t")


@pytest.mark.parametrize("body", [b"[]", b"{}", b"<html>", b""])
def test_answer_that_is_no_task_cannot_be_read(body: bytes) -> None:
    with pytest.raises(ProtocolError, match="no task"):
        IMAGES.read(HttpResponse(200, {}, body), "t")


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("submitted", TaskStatus.SUBMITTED),
        ("Processing", TaskStatus.IN_PROGRESS),
        ("success", TaskStatus.UNKNOWN),
        ("CANCEL", TaskStatus.UNKNOWN),
        (None, TaskStatus.UNKNOWN),
    ],
)
def test_word_of_no_list_is_no_end(word: object, status: TaskStatus) -> None:
    record = IMAGES.read(_answer(task_status=word), "t")
    assert record.status is status
    assert IMAGES.judge(record, None) is None
    assert record.raw_status == (word or "")


def test_addresses_are_taken_once_and_without_empty_ones() -> None:
    urls = ["https://a", "", 7, "https://b", "https://a"]
    record = IMAGES.read(_answer(task_status="succeed", image_urls=urls), "t")
    assert record.urls == ("https://a", "https://b")
    assert [each.kind for each in record.results] == ["image", "image"]


def test_data_uri_is_the_picture_itself() -> None:
    urls = ["https://a", "data:image/png;base64,", "DATA:;base64,aGVsbG8="]
    record = IMAGES.read(_answer(task_status="succeed", image_urls=urls), "t")
    assert record.urls == ("https://a",)
    assert [each.content for each in record.results] == [None, b"hello"]
    assert "hello" not in repr(record)
    alone = IMAGES.read(_answer(task_status="succeed", image_urls=urls[2:]), "t")
    ending = IMAGES.judge(alone, None)
    assert ending is not None
    assert ending.error is None


def test_saved_record_of_a_data_uri_has_a_result_to_be_asked_for_again() -> None:
    picture = Result(kind="image", content=b"x")
    saved = IMAGES.dump(attrs.evolve(EMPTY, inline=(picture,)))
    again = IMAGES.load(json.loads(json.dumps(saved)))
    assert again.results == (Result(kind="image"),)


@pytest.mark.parametrize("text", ["aGVsbG8", "aGV*bG8=", "aGVsbG8=aGVs"])
def test_broken_data_uri_is_a_failed_look(text: str) -> None:
    urls = [f"data:image/png;base64,{text}"]
    with pytest.raises(ProtocolError, match="picture in the answer is broken"):
        IMAGES.read(_answer(task_status="succeed", image_urls=urls), "t")


def test_answer_may_hold_pictures_of_a_hundred_mebibytes() -> None:
    most = IMAGES.fetch_request("t").answer_limit
    assert most >= 100 * 1024 * 1024 * 4 / 3


def test_success_without_addresses_fails_the_fourth_time() -> None:
    """Each task has a count of its own, and starts again once it has ended."""
    family = ImagesFamily()
    before, other = attrs.evolve(EMPTY), attrs.evolve(EMPTY, task_id="o")
    assert family.judge(EMPTY, None) is None
    assert [family.judge(EMPTY, before) for _ in range(2)] == [None] * 2
    assert family.judge(other, None) is None
    ending = family.judge(EMPTY, before)
    assert ending is not None
    assert isinstance(ending.error, TaskFailedError)
    done = family.judge(attrs.evolve(other, urls=("https://a",)), None)
    assert done is not None
    assert done.error is None
    assert family.judge(other, None) is None


def test_restored_handle_counts_its_own_polls() -> None:
    """It takes its record twice, and no other handle's answers for its own."""
    family, polled = ImagesFamily(), attrs.evolve(EMPTY)
    for _ in range(2):
        assert family.judge(EMPTY, None) is None
        assert family.judge(EMPTY, EMPTY) is None
    assert [family.judge(polled, EMPTY) for _ in range(2)] == [None] * 2
    assert family.judge(polled, EMPTY) is not None


def test_counts_of_polls_are_bounded() -> None:
    family = ImagesFamily(Provider.WAN)
    for number in range(10_001):
        family.judge(attrs.evolve(EMPTY, task_id=str(number)), None)
    assert len(family._empty) == 10_000


def test_finished_task_is_renewed_by_its_query() -> None:
    assert IMAGES.renew(EMPTY) == IMAGES.fetch_request("t")


def test_nothing_is_refunded_of_a_task_that_has_not_failed() -> None:
    assert IMAGES.is_refunded(None) is False
    assert IMAGES.is_refunded(EMPTY) is False


def test_record_is_saved_and_read_again() -> None:
    record = attrs.evolve(EMPTY, urls=("https://a",), raw_status="succeed")
    assert IMAGES.load(json.loads(json.dumps(IMAGES.dump(record)))) == record
