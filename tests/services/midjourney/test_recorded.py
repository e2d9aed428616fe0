"""
What the client reads from each recorded exchange of Midjourney's calls.

Each outcome is written by hand beside the name of its sample. ``safe`` means that
the job surely was not created, ``paid`` that it may have been paid for.
"""

from __future__ import annotations

import json

import pytest

from ezlink_async import errors
from ezlink_async.models import TaskRecord
from ezlink_async.services.base import Accepted, Job
from ezlink_async.services.midjourney import (
    MIDJOURNEY,
    MIDJOURNEY_MODAL,
    Action,
    Change,
    Modal,
    read_submission,
)
from ezlink_async.services.midjourney.seeds import read_seed
from tests.support.outcomes import Outcome, accepted_as, safe
from tests.support.samples import Sample, family_samples, samples

SUBMITS = ("imagine", "blend", "describe", "shorten", "action", "change", "modal")

GROUPS = (*SUBMITS, "simple", "seed")


def _samples() -> dict[str, Sample]:
    """Return the exchanges: those of fetch and list only from the file of families."""
    old = {n: s for n, s in samples().items() if n.split("-")[0] in GROUPS}
    groups = (*GROUPS, "fetch", "list")
    new = {n: s for n, s in family_samples().items() if n.split("-")[0] in groups}
    return {**old, **new}


def _dialog(task_id: str, code: int = 21) -> Outcome:
    return Outcome("dialog", (task_id, code))


def _record(status: str, text: str = "") -> Outcome:
    return Outcome("record", (status, text))


def _modals(**rows: str) -> Outcome:
    """Expect what the modals' family reads: the id, the action and the status."""
    return Outcome("records", {name[1:]: words for name, words in rows.items()})


_LOST = Outcome(errors.ServerError, 5)
_UNKNOWN = Outcome(errors.SubmitUnknownError, paid=True)
_NO_ID = Outcome(errors.ProtocolError, paid=True)
_NOT_FOUND = safe(errors.RejectedError, 4)
_BANNED = safe(errors.RejectedError, 24)
_NO_UPSTREAM = safe(errors.ServerError)

OUTCOMES = {
    "imagine-accepted": accepted_as("1795415787610378"),
    "imagine-queued": accepted_as("555"),
    "imagine-queued-spaced": accepted_as("556", 22),
    "imagine-turbo": accepted_as("1795416619667772"),
    "imagine-relax": accepted_as("1795416619668589"),
    "imagine-prefix-turbo": accepted_as("1795416619674177"),
    "imagine-prefix-relax-prompt-turbo": accepted_as("1795416619675832"),
    "imagine-prefix-turbo-32": accepted_as("1795416619677090"),
    "imagine-all-fields": accepted_as("1795416619679873"),
    "imagine-201": accepted_as("771"),
    "imagine-existing": accepted_as("0741798445574459"),
    "imagine-rid-accepted": accepted_as("1795898386453772"),
    "imagine-rid-turbo": accepted_as("1795898386454589"),
    "imagine-rid-code-21": accepted_as("1795898386464552"),
    "imagine-rid-code-22": accepted_as("1795898386469190"),
    "imagine-mode-1": accepted_as("1795898386502743"),
    "imagine-mode-2": accepted_as("1795898386503488"),
    "imagine-mode-3": accepted_as("1795898386504603"),
    "imagine-mode-4": accepted_as("1795898386505116"),
    "imagine-no-result": _NO_ID,
    "imagine-rid-no-result": _NO_ID,
    "imagine-insert-failed": _UNKNOWN,
    "imagine-rid-insert-failed": _UNKNOWN,
    "imagine-number": _LOST,
    "imagine-rid-code-5": _LOST,
    "imagine-rid-reset": _LOST,
    "imagine-rid-empty-404": safe(errors.ServerError, 5),
    "imagine-full": safe(errors.BusyError, 23),
    "imagine-queue-full": safe(errors.BusyError, 23),
    "imagine-no-prompt": safe(errors.RejectedError, 4),
    "imagine-banned-word": _BANNED,
    "imagine-rid-refused": _BANNED,
    "imagine-rid-retried-refused": _BANNED,
    "imagine-poor": safe(errors.QuotaError, 4),
    "blend-accepted": accepted_as("1795415787611906"),
    "blend-none": accepted_as("1795416619682753"),
    "blend-rid-accepted": accepted_as("1795898386456987"),
    "blend-rid-code-21": accepted_as("1795898386466386"),
    "blend-rid-code-22": accepted_as("1795898386471670"),
    "blend-rid-refused": _BANNED,
    "describe-accepted": accepted_as("1795415787612596"),
    "describe-none": accepted_as("1795416619683190"),
    "describe-rid-accepted": accepted_as("1795898386455919"),
    "describe-rid-code-21": accepted_as("1795898386467397"),
    "describe-rid-code-22": accepted_as("1795898386472075"),
    "describe-rid-refused": _BANNED,
    "shorten-accepted": accepted_as("1795415787613667"),
    "shorten-relax": accepted_as("1795416619687103"),
    "shorten-rid-accepted": accepted_as("1795898386457670"),
    "action-accepted": accepted_as("1795415787615429"),
    "action-inpaint": accepted_as("1795415787616402"),
    "action-button-round-trip": accepted_as("1795416619697350"),
    "action-existing": accepted_as("1795416619697350"),
    "action-reroll": accepted_as("1795416619702971"),
    "action-custom-zoom": accepted_as("1795416619705278"),
    "action-outpaint": accepted_as("1795416619704776"),
    "action-no-task": accepted_as("1795416619713200"),
    "action-inpaint-no-money": accepted_as("1795416619718603"),
    "action-rid-upscale": accepted_as("1795898386458505"),
    "action-rid-inpaint": accepted_as("1795898386459163"),
    "action-rid-code-21": accepted_as("1795898386465873"),
    "action-rid-code-22": accepted_as("1795898386470030"),
    "action-inpaint-21": _dialog("880001"),
    "action-rid-inpaint-insert-failed": _UNKNOWN,
    "action-malformed-custom-id": _UNKNOWN,
    "action-upsample-only": _UNKNOWN,
    "action-not-success": safe(errors.RejectedError, 4),
    "action-unknown-task": _NOT_FOUND,
    "action-rid-not-found": _NOT_FOUND,
    "action-no-custom-id": safe(errors.RejectedError, 4),
    "action-unknown-verb": safe(errors.RejectedError, 4),
    "action-pic-reader": safe(errors.RejectedError, 4),
    "action-animate": safe(errors.RejectedError, 4),
    "action-index-zero": safe(errors.RejectedError, 4),
    "action-index-word": safe(errors.RejectedError, 4),
    "action-other-variation": safe(errors.RejectedError),
    "action-rid-refused": _BANNED,
    "action-channel-disabled": _NO_UPSTREAM,
    "action-channel-disabled-second": safe(errors.RejectedError, 4),
    "action-channel-deleted": safe(errors.RejectedError, 4),
    "change-upscale": accepted_as("1795416619720751"),
    "change-no-task": accepted_as("1795416619724419"),
    "change-no-index": safe(errors.RejectedError, 4),
    "change-no-action": safe(errors.RejectedError),
    "change-upstream-404": safe(errors.ServerError, 5),
    "simple-change": safe(errors.RejectedError),
    "modal-accepted": accepted_as("1795415787614901"),
    "modal-no-task": accepted_as("1795416619729596"),
    "modal-turbo-parent": accepted_as("1795416619732429"),
    "modal-inpaint": accepted_as("1795416619706051"),
    "modal-rid-accepted": accepted_as("1795898386460177"),
    "modal-rid-code-21": accepted_as("1795898386468753"),
    "modal-rid-code-22": accepted_as("1795898386473103"),
    "modal-beats-submit": accepted_as("1795898255029589"),
    "modal-new-id-submit": accepted_as("1795898255033505"),
    "modal-unknown-task": _NOT_FOUND,
    "modal-rid-refused": _BANNED,
    "modal-rid-insert-failed": _UNKNOWN,
    # The steps of a modal; in its group are the action before it and the looks at it.
    "modal-beats-action": _dialog("1795898255029589"),
    "modal-beats-fetch-waiting": _record("MODAL"),
    "modal-beats-list-end": _modals(_1795898255029589="MODAL SUCCESS"),
    "modal-failed-list": _modals(_1795898255030919="MODAL FAILURE"),
    "modal-lost-list-before": _modals(_1795898255031987="INPAINT MODAL"),
    "modal-lost-list-running": _modals(_1795898255031987="INPAINT MODAL"),
    "modal-lost-list-found": _modals(_1795898255031987="MODAL "),
    "modal-lost-fetch": _record("MODAL"),
    "modal-lost-list-beat": _modals(_1795898255031987="MODAL IN_PROGRESS"),
    "modal-new-id-list": _modals(
        _1795898255032670="INPAINT MODAL", _1795898255033505="MODAL IN_PROGRESS"
    ),
    "list-inpaint-after-modal": _modals(_1795416619706051="MODAL "),
    "fetch-imagine-success": _record("SUCCESS"),
    "fetch-imagine-failure": _record("FAILURE"),
    "fetch-existing-success": _record("SUCCESS"),
    "fetch-upscale": _record("SUCCESS"),
    "fetch-custom-zoom-failed": _record("FAILURE"),
    "fetch-inpaint-modal": _record("MODAL"),
    "fetch-inpaint-after-modal": _record("MODAL"),
    "fetch-inpaint-finished": _record("SUCCESS"),
    "fetch-describe": _record(
        "SUCCESS", "1️⃣ a red cat\n\n2️⃣ a blue cat\n\n3️⃣ a dog\n\n4️⃣ <b> & c"
    ),
    "fetch-describe-lost": _record("SUCCESS"),
    "fetch-shorten": _record("SUCCESS", "1️⃣ long cat\n\n2️⃣ cat"),
    "seed-ok": Outcome("seed", 103541234),
    "seed-prefix": Outcome("seed", 103541234),
    "seed-refused": Outcome(errors.RejectedError, 4),
    "seed-refused-404": Outcome(errors.TaskNotFoundError),
    "seed-unknown": Outcome(errors.TaskNotFoundError),
    "seed-empty": Outcome(errors.ServerError, 5),
    "seed-html": Outcome(errors.ServerError, 5),
    "seed-number": Outcome(errors.ServerError, 5),
    "seed-slow": Outcome(errors.ServerError, 5),
    "seed-channel-disabled": Outcome(errors.RejectedError, 4),
    "seed-channel-deleted": Outcome(errors.RejectedError, 4),
}


def _job(sample: Sample) -> Job[TaskRecord] | None:
    """Return the job that the recorded submit was, if a user can make it."""
    sent, call = json.loads(sample.sent), sample.path.split("/")[-1]
    try:
        if call == "action":
            return Action(sent["customId"], sent["taskId"]).job(())
        if call == "modal":
            return Modal(sent["taskId"], prompt=sent["prompt"]).job(())
        if call == "change":
            what = sent["action"].lower()
            return Change(sent["taskId"], what, sent["index"]).job(())
    except (KeyError, errors.ConfigurationError):
        pass
    return None


def _read(sample: Sample) -> object:
    """Read as the client does, which knows what it has asked for."""
    path, response = sample.path, sample.response
    if "/submit/" in path:
        job = _job(sample)
        return job.read(response) if job else read_submission(response)
    if path.endswith("/list-by-condition"):
        return MIDJOURNEY_MODAL.read_list(response)
    if "/image-seed" in path:
        return read_seed(response, path.split("/")[-2])
    return MIDJOURNEY.read(response, path.split("/")[-2])


def _outcome(sample: Sample) -> Outcome:
    try:
        found = _read(sample)
    except errors.EzlinkError as error:
        return Outcome.of_error(error, getattr(error, "code", None))
    if isinstance(found, Accepted):
        kind = _dialog if found.record else accepted_as
        return kind(found.task_id, found.code)
    if isinstance(found, TaskRecord):
        return _record(str(found.status), found.text)
    if isinstance(found, dict):
        rows = {name: f"{row.action} {row.status}" for name, row in found.items()}
        return Outcome("records", rows)
    return Outcome("seed", found)


@pytest.mark.parametrize("name", OUTCOMES)
def test_recorded_answer_becomes_the_outcome_beside_its_name(name: str) -> None:
    assert _outcome(_samples()[name]) == OUTCOMES[name]


def test_every_recorded_answer_has_an_outcome() -> None:
    assert set(_samples()) == set(OUTCOMES)


@pytest.mark.parametrize("name", [n for n in OUTCOMES if n.split("-")[0] in SUBMITS])
def test_charged_submit_is_never_safe_to_repeat(name: str) -> None:
    """A submit that was charged is accepted, or an error that may be paid."""
    outcome = OUTCOMES[name]
    if _samples()[name].charged:
        assert outcome.what in {"accepted", "dialog"} or outcome.paid
        assert not outcome.safe


@pytest.mark.parametrize("name", [n for n in OUTCOMES if n.startswith("fetch-")])
def test_end_of_a_recorded_task_is_judged_by_what_its_action_promises(
    name: str,
) -> None:
    """A text that the server has lost is no failure; a dialog waits for a person."""
    record = MIDJOURNEY.read(
        _samples()[name].response, _samples()[name].path.split("/")[-2]
    )
    ending = MIDJOURNEY.judge(record, None)
    assert ending is not None
    expected = {
        "SUCCESS": type(None),
        "FAILURE": errors.TaskFailedError,
        "MODAL": errors.ModalNeededError,
    }
    assert type(ending.error) is expected[str(record.status)]


def test_result_of_a_describe_is_its_text() -> None:
    """It has a picture, too, which is the one that was described."""
    for name, results in (("fetch-describe", 1), ("fetch-describe-lost", 0)):
        sample = _samples()[name]
        record = MIDJOURNEY.read(sample.response, sample.path.split("/")[-2])
        assert record.image_url
        texts = [each.content for each in MIDJOURNEY.results(record)]
        assert texts == [record.text.encode()] * results
