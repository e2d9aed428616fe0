"""The errors: what each carries, and that it survives copying and travelling."""

from __future__ import annotations

import inspect
import pickle
from pathlib import Path

import pytest

from ezlink_async import errors
from ezlink_async.models import TaskRecord, TaskStatus

RECORD = TaskRecord(task_id="7", status=TaskStatus("PAUSED"))

TREE = {
    "EzlinkError": "Exception",
    "ConfigurationError": "EzlinkError ValueError",
    "ImageError": "EzlinkError ValueError",
    "ClientClosedError": "EzlinkError",
    "JournalError": "EzlinkError",
    "SlotTimeoutError": "EzlinkError TimeoutError",
    "TransportError": "EzlinkError",
    "ApiError": "EzlinkError",
    "AuthenticationError": "ApiError",
    "PermissionDeniedError": "ApiError",
    "QuotaError": "ApiError",
    "BusyError": "ApiError",
    "RejectedError": "ApiError",
    "ContentRefusedError": "RejectedError",
    "EndpointNotSupportedError": "ApiError",
    "ServerError": "ApiError",
    "SubmitUnknownError": "EzlinkError",
    "ProtocolError": "EzlinkError",
    "DownloadError": "EzlinkError",
    "TaskError": "EzlinkError",
    "TaskFailedError": "TaskError",
    "ModalNeededError": "TaskError",
    "TextLostError": "TaskError",
    "TaskCancelledError": "TaskError",
    "TaskNotFoundError": "TaskError",
    "TaskTimeoutError": "TaskError TimeoutError",
    "WebhookError": "EzlinkError",
    "WebhookTokenError": "WebhookError",
    "WebhookSizeError": "WebhookError",
    "WebhookSyntaxError": "WebhookError",
    "WebhookTaskError": "WebhookError",
    "WebhookDuplicateError": "WebhookError",
}

KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.EzlinkError)
]

FULL = [
    errors.ConfigurationError("no key"),
    errors.ImageError("too large", path=Path("a.jpg"), limit=10),
    errors.ClientClosedError(task_ids=["1", "2"]),
    errors.SlotTimeoutError("no slot"),
    errors.TransportError(
        "gone", stage="upload", request_id="r", retry_safe=True, maybe_charged=True
    ),
    errors.BusyError(
        "full",
        status=429,
        code=30,
        description="busy",
        request_id="r",
        task_id="7",
        retry_safe=True,
    ),
    errors.SubmitUnknownError("?", request_id="r", target="a.jpg", charged=True),
    errors.ProtocolError(
        "odd", head=b"x", status=200, task_id="7", request_id="r", maybe_charged=True
    ),
    errors.DownloadError("cut", task_id="7", status=403, path="a.unverified"),
    errors.DownloadError("some", gone=True, saved=[Path("a_1.png"), Path("a_3.png")]),
    errors.TaskFailedError("failed", task_id="7", request_id="r", record=RECORD),
    errors.TaskTimeoutError("late", task_id="7", record=RECORD),
]


def _name(error: errors.EzlinkError) -> str:
    return type(error).__name__


def test_names_and_parents_of_errors_are_the_documented_ones() -> None:
    """Users catch them by these names."""
    found = {
        kind.__name__: " ".join(base.__name__ for base in kind.__bases__)
        for kind in KINDS
    }
    assert found == TREE


@pytest.mark.parametrize("kind", KINDS)
def test_facts_of_an_error_are_empty_by_default(kind: type[errors.EzlinkError]) -> None:
    """An error before anything was sent is safe to retry."""
    error = kind()
    assert (error.task_id, error.request_id) == (None, None)
    never_sent = "ConfigurationError ImageError JournalError SlotTimeoutError"
    assert error.retry_safe is (kind.__name__ in never_sent.split())
    assert error.maybe_charged is (kind is errors.SubmitUnknownError)
    assert not getattr(error, "status", None)
    assert getattr(error, "charged", None) is None


@pytest.mark.parametrize("error", FULL, ids=_name)
def test_each_awaiter_gets_a_copy_with_its_own_traceback(
    error: errors.EzlinkError,
) -> None:
    error.__cause__ = OSError("below")
    twin = error.for_awaiter()
    assert type(twin) is type(error)
    assert twin is not error
    assert str(twin) == str(error)
    assert vars(twin) == vars(error)
    assert twin.__cause__ is error.__cause__
    with pytest.raises(type(twin)):
        raise twin
    assert error.__traceback__ is None


@pytest.mark.parametrize("error", FULL, ids=_name)
def test_error_survives_pickling(error: errors.EzlinkError) -> None:
    there = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(there) is type(error)
    assert (str(there), vars(there)) == (str(error), vars(error))


def test_image_error_begins_with_the_path() -> None:
    error = errors.ImageError("the picture is empty", path="photos/a.jpg")
    assert str(error) == "photos/a.jpg: the picture is empty"
    assert error.reason == "the picture is empty"


@pytest.mark.parametrize(
    ("ids", "one"), [((), None), (("7",), "7"), (("7", "8"), None)]
)
def test_client_closed_error_lists_the_running_tasks(
    ids: tuple[str, ...], one: str | None
) -> None:
    """A single one is the ``task_id`` too."""
    error = errors.ClientClosedError(task_ids=iter(ids))
    assert error.task_ids == ids
    assert error.task_id == one


def test_protocol_error_keeps_200_bytes_of_the_answer() -> None:
    error = errors.ProtocolError("odd", head=b"x" * 1000)
    assert error.head == b"x" * 200


def test_message_has_at_most_2000_characters_and_keeps_its_end() -> None:
    """A value in it may be as long as a picture."""
    error = errors.ConfigurationError(f"not {'x' * 100_000!r}: give a path")
    assert len(str(error)) < 2000
    assert str(error).startswith("not 'xxx")
    assert str(error).endswith("x': give a path")
    assert "characters left out" in str(error)
    exact = "y" * 1900
    assert str(errors.EzlinkError(exact)) == exact
