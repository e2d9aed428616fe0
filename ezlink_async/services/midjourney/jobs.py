"""The submits of Midjourney, ready to be sent, and how their answers are read."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from ezlink_async._core.messages import (
    HttpRequest,
    HttpResponse,
    Part,
    collapse_blanks,
)
from ezlink_async._core.records import read_record
from ezlink_async.buttons import DIALOGS
from ezlink_async.errors import ApiError
from ezlink_async.models import TaskRecord
from ezlink_async.services.base import Accepted, Job, TaskFamily
from ezlink_async.services.midjourney.submits import read_submission
from ezlink_async.services.midjourney.tasks import (
    MIDJOURNEY,
    MIDJOURNEY_MODAL,
    count_modals,
)
from ezlink_async.services.traces import RowCount

_WINDOW = "window confirm"

_DIALOG_CODE = 21

_NOT_SUCCESS = "task_status_not_success"

_BEATS = 3  # that a row of a modal may be behind
_BEAT = 10.0


@attrs.frozen(kw_only=True)
class MidjourneyJob(Job[TaskRecord]):
    """One submit below ``/mj/submit``."""

    path: str
    label: str
    state: str | None
    body: tuple[Part, ...]

    @property
    def family(self) -> TaskFamily[TaskRecord]:
        """A submit becomes a task behind ``/mj/task/``."""
        return MIDJOURNEY

    @property
    def lane(self) -> str:
        """All but swaps wait in one queue of the upstream, modals too."""
        return MIDJOURNEY.name

    def request(self) -> HttpRequest:
        """Describe the submit."""
        return HttpRequest("POST", self.path, self.body)

    def read(self, response: HttpResponse) -> Accepted:
        """Read the answer to the submit, or raise the error it stands for."""
        return attrs.evolve(read_submission(response), has_previews=True)


@attrs.frozen(kw_only=True)
class ActionJob(MidjourneyJob):
    """
    A button that is pressed.

    *leads_to* is the action of the new task. The *parent_succeeded* as far as this
    client knows: then a server that says otherwise is behind.
    """

    leads_to: str | None
    parent_succeeded: bool

    @property
    def is_free(self) -> bool:
        """Whether the button opens a dialog: those cost nothing."""
        return self.leads_to in DIALOGS

    def read(self, response: HttpResponse) -> Accepted:
        """Read the answer; a dialog that it announces is in the record."""
        accepted = super().read(response)
        body = response.document
        if isinstance(body, Mapping) and self._opens_dialog(accepted, body):
            return attrs.evolve(accepted, record=self._waiting(accepted, body))
        return accepted

    def _opens_dialog(self, accepted: Accepted, body: Mapping[str, object]) -> bool:
        # Code 21 means "there already" for all others, and a dialog for these.
        is_dialog = self.is_free and accepted.code == _DIALOG_CODE
        properties = body.get("properties")
        remix = isinstance(properties, Mapping) and properties.get("remix") is True
        return is_dialog or remix or _WINDOW in accepted.description.lower()

    def _waiting(self, accepted: Accepted, body: Mapping[str, object]) -> TaskRecord:
        return read_record(
            {
                "action": self.leads_to or "",
                "status": "MODAL",
                "state": self.state,
                "description": collapse_blanks(accepted.description),
                "properties": body.get("properties"),
            },
            accepted.task_id,
        )

    def pause_after(self, refusal: ApiError, refusals: int) -> float | None:
        """Return a pause while the server does not know yet that the parent is done."""
        behind = _NOT_SUCCESS in refusal.description and self.parent_succeeded
        return _BEAT if behind and refusals <= _BEATS else None


@attrs.frozen(kw_only=True)
class ModalJob(MidjourneyJob):
    """The input of a dialog."""

    task_id: str

    @property
    def family(self) -> TaskFamily[TaskRecord]:
        """The task's own row shows the dialog until the modal's is done."""
        return MIDJOURNEY_MODAL

    @property
    def row_count(self) -> RowCount:
        """The rows of this id: each accepted modal adds one."""
        return ModalRows(self.task_id)


@attrs.frozen
class ModalRows(RowCount):
    """How many modals the server has taken for one task."""

    task_id: str

    def request(self) -> HttpRequest:
        """List the rows of the id."""
        return MIDJOURNEY_MODAL.list_request((self.task_id,))

    def count(self, response: HttpResponse) -> int:
        """Count the rows of action ``MODAL``; an :exc:`EzlinkError` without a list."""
        return count_modals(response, self.task_id)
