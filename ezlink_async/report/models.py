"""What the report is told: the photos one by one, and the facts of the whole."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Literal

import attrs

Status = Literal["succeeded", "failed", "unknown", "skipped", "open"]

MEANINGS: dict[Status, str] = {
    "succeeded": "The result is saved, and was checked to be a whole picture.",
    "failed": "There is no result. Each photo says why, and what to do next.",
    "unknown": "The answer was lost: the swap may exist and may have been paid for, "
    "so it is not sent again by itself.",
    "skipped": "Nothing was sent for these photos this time, so nothing was paid.",
    "open": "Not finished yet: the same command takes them up where they stand.",
}
"""Every status in the order it is shown, with its line of explanation."""

GOOD: frozenset[Status] = frozenset({"succeeded", "skipped"})
"""The ones that leave nothing to do."""


@attrs.frozen(kw_only=True)
class Photo:
    """One job, as the report shows it."""

    source: Path
    target: Path
    status: Status
    output: Path | None = None
    error: str | None = None
    next_step: str | None = None
    task_id: str | None = None
    request_id: str | None = None
    maybe_charged: bool = False
    seconds: float | None = None
    changes: tuple[str, ...] = ()
    """How the picture was prepared, such as ``"converted from HEIC"``."""


@attrs.frozen(kw_only=True)
class Facts:
    """
    What is true of the whole batch.

    *started* and *finished* are aware, and shown in the time zone they have.
    *command* is what to type to go on, word for word, if there is anything to
    go on with; *charged_note* says what the server took.
    """

    title: str
    started: dt.datetime
    finished: dt.datetime
    seconds: float
    command: str | None = None
    charged_note: str | None = None
    notes: tuple[str, ...] = ()


@attrs.frozen
class Thumbnail:
    """What to show of a picture: the stem of two files, or why there are none."""

    stem: str | None = None
    fault: str | None = None


@attrs.frozen
class Pictures:
    """The thumbnails of one photo."""

    source: Thumbnail
    before: Thumbnail
    after: Thumbnail | None
