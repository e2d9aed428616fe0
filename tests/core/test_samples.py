"""
The value or the error that the client reads from each recorded exchange.

Each outcome is written by hand beside the name of its sample. ``safe`` means
that the job surely was not created, ``paid`` that it may have been paid for.
"""

from __future__ import annotations

import pytest

from ezlink_async import errors
from ezlink_async._core import containers, error_mapping
from ezlink_async.models import TaskRecord
from ezlink_async.services import base, midjourney
from ezlink_async.services.midjourney import MIDJOURNEY
from tests.support.outcomes import Outcome, accepted_as, safe
from tests.support.samples import Sample, samples

GROUPS = ("auth", "swap", "fetch", "list", "image", "route")


def _record(status: str, ended: str = "") -> Outcome:
    """Expect a record; *ended* is ``ended``, ``frozen`` or nothing."""
    return Outcome("record", (status, ended))


def _records(**rows: str) -> Outcome:
    return Outcome("records", {name[1:]: status for name, status in rows.items()})


_PICTURE = Outcome("picture", "image/jpeg")
_KEY = Outcome(errors.AuthenticationError)
_UNKNOWN_ID = Outcome(errors.TaskNotFoundError)
_NO_CALL = Outcome(errors.EndpointNotSupportedError)
_LOST = Outcome(errors.ServerError, 5)

OUTCOMES = {
    # The key: judged before anything else, with the text of a missing one.
    "auth-missing": _KEY,
    "auth-unknown": _KEY,
    "auth-lowercase-scheme": _KEY,
    "auth-scheme-only": _KEY,
    "auth-two-blanks": _KEY,
    "auth-x-key-on-mj": _KEY,
    "auth-expired": _KEY,
    "auth-disabled": _KEY,
    "auth-raw-key": _UNKNOWN_ID,
    "auth-raw-sk-key": _UNKNOWN_ID,
    "auth-secret-header": _UNKNOWN_ID,
    "auth-secret-with-marker": _UNKNOWN_ID,
    "auth-dash": Outcome(errors.PermissionDeniedError),
    "auth-banned": Outcome(errors.PermissionDeniedError),
    "auth-exhausted": Outcome(errors.QuotaError),
    "auth-exhausted-marked": Outcome(errors.QuotaError),
    "auth-backend-down": Outcome(errors.ServerError),
    "auth-user-lookup-failed": Outcome(errors.ServerError),
    # Submits that were accepted, under whatever status.
    "swap-accepted": accepted_as("1795415787550772"),
    "swap-queued": accepted_as("1795415787551589", 22),
    "swap-existing": accepted_as("0741798445574458", 21),
    "swap-existing-again": accepted_as("0741798445574458", 21),
    "swap-properties-null": accepted_as("1795415787554670"),
    "swap-properties-missing": accepted_as("1795415787555505"),
    "swap-201": accepted_as("201201"),
    "swap-upstream-500-code-1": accepted_as("500500"),
    "swap-state-null": accepted_as("1795415787559573"),
    "swap-untyped": accepted_as("1795415787560090"),
    "swap-typed-with-charset": accepted_as("1795415787561552"),
    "swap-typed-capital": accepted_as("1795415787562873"),
    "swap-all-fields": accepted_as("1795415787563386"),
    "swap-key-case": accepted_as("1795415787564397"),
    "swap-last-money": accepted_as("1795415787565753"),
    "swap-key-quota-last": accepted_as("1795415787566190"),
    "swap-key-quota-short": accepted_as("1795415787567030"),
    "swap-mode-fast": accepted_as("1795415787569075"),
    "swap-mode-turbo-32": accepted_as("1795415787570103"),
    "swap-mode-unknown": accepted_as("1795415787571434"),
    # Paid, or perhaps, and out of reach.
    "swap-result-null": Outcome(errors.ProtocolError, paid=True),
    "swap-result-empty": Outcome(errors.ProtocolError, paid=True),
    "swap-insert-failed": Outcome(errors.SubmitUnknownError, paid=True),
    # Not paid, but perhaps at work behind the server.
    "swap-result-number": _LOST,
    "swap-upstream-text-401": _LOST,
    "swap-upstream-html-502": _LOST,
    "swap-upstream-array": _LOST,
    "swap-upstream-reset": _LOST,
    "swap-upstream-half": _LOST,
    "swap-upstream-refused": _LOST,
    # Surely not created: worth another try, later.
    "swap-queue-full-9": safe(errors.BusyError, 9),
    "swap-queue-full-23": safe(errors.BusyError, 23),
    "swap-saturated": safe(errors.BusyError, 30),
    "swap-upstream-empty-404": safe(errors.ServerError, 5),
    "swap-upstream-empty-200": safe(errors.ServerError, 5),
    "swap-no-channel": safe(errors.ServerError),
    "swap-channel-disabled": safe(errors.ServerError),
    "swap-channel-lookup-failed": safe(errors.ServerError),
    # Surely not created: the job or the account has to change.
    "swap-banned-word": safe(errors.RejectedError, 24),
    "swap-upstream-4": safe(errors.RejectedError, 4),
    "swap-upstream-3": safe(errors.RejectedError, 3),
    "swap-upstream-minus-1": safe(errors.RejectedError, -1),
    "swap-upstream-no-code": safe(errors.RejectedError, 0),
    "swap-upstream-null": safe(errors.RejectedError, 0),
    "swap-upstream-hosts": safe(errors.RejectedError, 4),
    "swap-missing-target": safe(errors.RejectedError, 4),
    "swap-empty-source": safe(errors.RejectedError, 4),
    "swap-null-body": safe(errors.RejectedError, 4),
    "swap-number": safe(errors.RejectedError, 4),
    "swap-malformed-untyped": safe(errors.RejectedError, 4),
    "swap-state-number": safe(errors.RejectedError),
    "swap-malformed": safe(errors.RejectedError),
    "swap-empty-body": safe(errors.RejectedError),
    "swap-array-body": safe(errors.RejectedError),
    "swap-form-typed": safe(errors.RejectedError),
    "swap-trailing-bytes": safe(errors.RejectedError),
    "swap-poor": safe(errors.QuotaError, 4),
    "swap-no-money-left": safe(errors.QuotaError, 4),
    "swap-key-quota-below-zero": safe(errors.QuotaError),
    # One task.
    "fetch-first": _record(""),
    "fetch-existing": _record(""),
    "fetch-mode": _record(""),
    "fetch-not-mentioned": _record(""),
    "fetch-status-null": _record(""),
    "fetch-not-start": _record("NOT_START"),
    "fetch-submitted": _record("SUBMITTED"),
    "fetch-in-progress": _record("IN_PROGRESS"),
    "fetch-in-progress-preview": _record("IN_PROGRESS"),
    "fetch-submit-time-null": _record("IN_PROGRESS"),
    "fetch-modal": _record("MODAL"),
    "fetch-running-at-100": _record("IN_PROGRESS", "frozen"),
    "fetch-running-with-reason": _record("IN_PROGRESS", "ended"),
    "fetch-success": _record("SUCCESS", "ended"),
    "fetch-success-no-image": _record("SUCCESS", "ended"),
    "fetch-success-no-buttons": _record("SUCCESS", "ended"),
    "fetch-status-lower": _record("SUCCESS", "ended"),
    "fetch-extra-keys": _record("SUCCESS", "ended"),
    "fetch-channel-disabled": _record("SUCCESS", "ended"),
    "fetch-failure": _record("FAILURE", "ended"),
    "fetch-failure-progress-null": _record("FAILURE", "ended"),
    "fetch-failure-at-100": _record("FAILURE", "ended"),
    "fetch-failure-no-reason": _record("FAILURE", "ended"),
    "fetch-old": _record("FAILURE", "ended"),
    "fetch-late-success": _record("FAILURE", "ended"),
    "fetch-channel-gone": _record("FAILURE", "ended"),
    "fetch-cancel": _record("CANCEL", "ended"),
    "fetch-cancel-with-reason": _record("CANCEL", "ended"),
    "fetch-key-exhausted": Outcome(errors.QuotaError),
    "fetch-key-exhausted-again": Outcome(errors.QuotaError),
    "fetch-database-down": _UNKNOWN_ID,
    "fetch-unknown": _UNKNOWN_ID,
    "fetch-foreign": _UNKNOWN_ID,
    # Many tasks; the underscore before an id is Python's.
    "list-first": _records(_1795415787550772=""),
    "list-existing": _records(_0741798445574458=""),
    "list-twice": _records(_1795415787550772=""),
    "list-trailing": _records(_1795415787550772=""),
    "list-untyped": _records(_1795415787550772=""),
    "list-mixed": _records(
        _1795415787574744="IN_PROGRESS",
        _1795415787577823="SUCCESS",
        _1795415787580350="FAILURE",
    ),
    "list-empty": _records(),
    "list-null": _records(),
    "list-missing": _records(),
    "list-body-null": _records(),
    "list-unknown": _records(),
    "list-foreign": _records(),
    "list-database-down": _records(),
    "list-numbers": Outcome(errors.RejectedError, 4),
    "list-malformed": Outcome(errors.RejectedError, 4),
    "list-no-body": Outcome(errors.RejectedError, 4),
    # Pictures: the content decides, whatever its type is said to be.
    "image-ok": _PICTURE,
    "image-big": _PICTURE,
    "image-notype": _PICTURE,
    "image-octet": _PICTURE,
    "image-etag": _PICTURE,
    "image-redirect": _PICTURE,
    "image-preview": _PICTURE,
    "image-late": _PICTURE,
    "image-rand": _PICTURE,
    "image-range": _PICTURE,
    "image-wrong-key": _PICTURE,
    "image-cut": safe(errors.ImageError),
    "image-cut-small": safe(errors.ImageError),
    "image-empty": safe(errors.ImageError),
    "image-garbage": Outcome(errors.ServerError),
    "image-dead": Outcome(errors.ServerError),
    "image-not-ready": Outcome(errors.ServerError),
    "image-of-failure": Outcome(errors.ServerError),
    "image-503": Outcome(errors.ServerError),
    "image-gone": Outcome(errors.ProtocolError),
    "image-missing": _NO_CALL,
    "image-unknown": Outcome(errors.RejectedError),
    "image-head": _NO_CALL,
    # Addresses that are not served.
    "route-trailing-slash-post": safe(errors.EndpointNotSupportedError),
    "route-wrong-method": safe(errors.EndpointNotSupportedError),
    "route-preflight": Outcome(errors.SubmitUnknownError, paid=True),
    "route-trailing-slash-get": _NO_CALL,
    "route-head": _NO_CALL,
    "route-unknown-mj": _NO_CALL,
    "route-unknown-gzip": _NO_CALL,
    "route-unknown-v1": _NO_CALL,
    "route-stability": _NO_CALL,
    "route-origin": _UNKNOWN_ID,
    "route-gzip": _record(""),
}


def _read(sample: Sample) -> object:
    """Read as the client does, which knows what it has asked for."""
    path, response = sample.path, sample.response
    if "/insight-face/swap" in path:
        return midjourney.read_submission(response)
    if "/fetch" in path:
        return MIDJOURNEY.read(response, path.split("/")[-2])
    if path.endswith("/list-by-condition"):
        return MIDJOURNEY.read_list(response)
    if "/mj/image/" in path and response.ok:
        return containers.verify_complete(response.body)
    raise error_mapping.error_from(response)


def _ended(record: TaskRecord) -> str:
    if record.is_terminal:
        return "ended"
    return "frozen" if record.is_frozen else ""


def _result(sample: Sample) -> object:
    try:
        return _read(sample)
    except errors.EzlinkError as error:
        return error


def _outcome(sample: Sample) -> Outcome:
    found = _result(sample)
    if isinstance(found, errors.EzlinkError):
        return Outcome.of_error(found, getattr(found, "code", None))
    if isinstance(found, base.Accepted):
        return accepted_as(found.task_id, found.code)
    if isinstance(found, TaskRecord):
        return _record(str(found.status), _ended(found))
    if isinstance(found, dict):
        statuses = {name: str(record.status) for name, record in found.items()}
        return Outcome("records", statuses)
    return Outcome("picture", found)


@pytest.mark.parametrize("name", OUTCOMES)
def test_recorded_answer_becomes_the_outcome_beside_its_name(name: str) -> None:
    assert _outcome(samples()[name]) == OUTCOMES[name]


def test_every_recorded_answer_has_an_outcome() -> None:
    names = {name for name in samples() if name.split("-")[0] in GROUPS}
    assert names == set(OUTCOMES)


@pytest.mark.parametrize("name", [n for n in OUTCOMES if n.startswith("swap-")])
def test_charged_submit_is_never_safe_to_repeat(name: str) -> None:
    """A submit that was charged is accepted, or an error that may be paid."""
    outcome = OUTCOMES[name]
    if samples()[name].charged:
        assert outcome.what == "accepted" or outcome.paid
        assert not outcome.safe


@pytest.mark.parametrize("name", [n for n in OUTCOMES if n.startswith("fetch-")])
def test_record_or_error_of_a_fetch_carries_the_task_id(name: str) -> None:
    """An error names the request too."""
    sample = samples()[name]
    found = _result(sample)
    assert isinstance(found, TaskRecord | errors.EzlinkError)
    assert found.task_id == sample.path.split("/")[-2]
    if isinstance(found, errors.EzlinkError):
        assert found.request_id == sample.response.headers["x-request-id"]
