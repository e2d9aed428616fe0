"""What is to be done about a job, by what its journal says. Pure."""

from __future__ import annotations

import enum

import attrs

from ezlink_async.jobs import Entry, JobState

GONE = "DownloadError: the server no longer has the result"
"""How the error of a job begins whose picture is nowhere any more."""


class Step(enum.Enum):
    """The next step of a job."""

    SUBMIT = enum.auto()
    """Send it: it surely is not there, or it was asked for in so many words."""
    FOLLOW = enum.auto()
    """Wait for the end of its task, by id."""
    BRING = enum.auto()
    """Bring its result home."""
    REST = enum.auto()
    """Nothing: the result is at home."""
    LIST = enum.auto()
    """Say that it may be paid, and leave it alone."""
    GIVE_UP = enum.auto()
    """Say why the server would not do it, and leave it alone."""


@attrs.frozen(kw_only=True)
class Wishes:
    """What was asked for about jobs of earlier runs."""

    retry_failed: bool = False
    resubmit_unknown: bool = False


def next_step(entry: Entry, wishes: Wishes, *, intact: bool) -> Step:
    """
    Return what to do; *intact* says that the result is still what was saved.

    A job with an id is never sent again, unless its result is gone from the
    server too and *wishes* has failures tried again. One of a server that is
    gone itself has none.
    """
    match entry.state:
        case JobState.PLANNED:
            return Step.SUBMIT
        case JobState.SAVED if intact:
            return Step.REST
        case JobState.SAVED | JobState.SUCCEEDED:
            gone = (entry.error or "").startswith(GONE)
            again = entry.task_id is None or (gone and wishes.retry_failed)
            return Step.SUBMIT if again else Step.BRING
        case JobState.FAILED:
            return Step.SUBMIT if wishes.retry_failed else Step.GIVE_UP
        case _ if entry.task_id is not None:
            return Step.FOLLOW
        case _:
            return Step.SUBMIT if wishes.resubmit_unknown else Step.LIST
