"""
What shows whether the server has taken a submit whose answer was lost.

The pages of the account, or a free question, which each family names.
"""

from __future__ import annotations

import enum
from typing import Protocol

import attrs

from ezlink_async._core.messages import HttpRequest, HttpResponse


class RowState(enum.Enum):
    """What the row of a submit says; see :class:`SubmitRow`."""

    AT_WORK = "at work"
    ACCEPTED = "accepted"
    OUT_OF_REACH = "out of reach"
    """Accepted without an id, and not charged: nothing can be fetched."""
    REFUSED = "refused"
    MAY_RUN = "may run"
    """The call to the upstream broke: nothing is charged, and it may be at work."""
    FEE = "fee"
    """Refused, and a fee was charged for that."""


@attrs.frozen(kw_only=True)
class SubmitRow:
    """
    What a page of the account has on one attempt of a submit.

    *request_id* is the ``X-Request-ID`` of the submit; several rows may have it.
    *task_id* is empty unless the *state* is ``ACCEPTED``. *time* is when the row was
    made, in the server's seconds since 1970.
    """

    request_id: str
    state: RowState
    time: float
    task_id: str = ""


@attrs.frozen(kw_only=True)
class RowPage:
    """One page of rows, newest first; *is_last* when no page follows."""

    rows: tuple[SubmitRow, ...]
    is_last: bool


class SubmitRows(Protocol):
    """
    A page of the account with a row for each submit, under its request id.

    The server writes the row before it asks its upstream.
    """

    def request(self, page: int) -> HttpRequest:
        """Ask for a *page*, from 1."""
        ...

    def read(self, response: HttpResponse, page: int) -> RowPage:
        """Read the answer about this *page*, or raise the error it stands for."""
        ...


@attrs.frozen(kw_only=True)
class Traces:
    """
    What the account's pages show of a submit whose answer was lost.

    *state*: the tasks of the account carry the submit's ``state``. *rows*: a page has
    a row for it, under its request id. *log*: the log shows what was charged under
    its request id. *proves_absence*: where none of them shows it, it was surely not
    created.
    """

    state: bool = False
    rows: SubmitRows | None = None
    log: bool = False
    proves_absence: bool = False


ALL_TRACES = Traces(state=True, log=True, proves_absence=True)


class RowCount(Protocol):
    """
    A free question by which a lost submit of one job is found.

    It is asked before the submit and, when the answer was lost, again: a higher
    count then is the acceptance.
    """

    def request(self) -> HttpRequest:
        """Describe the question."""
        ...

    def count(self, response: HttpResponse) -> int:
        """Read how many rows there are."""
        ...

    @property
    def task_id(self) -> str:
        """The id of the task that the submit makes."""
        ...
