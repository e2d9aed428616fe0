"""The data of a report: each photo, and the facts of the whole batch."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Literal

import attrs

from ezlink_async.batch.pairs.output_paths import SUFFIXES
from ezlink_async.services.face_swap import FaceSwap

SWAP = FaceSwap.kind

Status = Literal["succeeded", "failed", "unknown", "skipped", "open"]

MEANINGS: dict[Status, str] = {
    "succeeded": "The result is saved, and was checked to be a whole picture.",
    "failed": "There is no result. Each photo says why, and what to do next.",
    "unknown": "The answer was lost: the swap may exist and may have been paid for, "
    "so it is not sent again by itself.",
    "skipped": "Nothing was sent for these photos this time, so nothing was paid.",
    "open": "Not finished yet: the same command resumes them.",
}
"""Each status, in the order of the page, with its line of explanation."""

GOOD: frozenset[Status] = frozenset({"succeeded", "skipped"})
"""The statuses that leave the user nothing to do."""


@attrs.frozen(kw_only=True)
class Photo:
    """
    One job, as the report shows it: a swap, or a job of another *kind*.

    A swap has a *source* and a *target*, every other job a *label* and its *inputs*.
    *output* is the first of the results *outputs*; *text* is that of a job that makes
    one.
    """

    source: Path = Path()
    target: Path = Path()
    status: Status
    output: Path | None = None
    kind: str = SWAP
    label: str = ""
    inputs: tuple[Path, ...] = ()
    outputs: tuple[Path, ...] = ()
    text: str = ""
    error: str | None = None
    next_step: str | None = None
    task_id: str | None = None
    request_id: str | None = None
    maybe_charged: bool = False
    seconds: float | None = None
    changes: tuple[str, ...] = ()
    """The changes made before it was sent, such as ``"converted from HEIC"``."""

    @property
    def is_swap(self) -> bool:
        """Whether it is a swap, which is shown by its target."""
        return self.kind == SWAP

    @property
    def name(self) -> str:
        """Its name for a person."""
        return self.target.name if self.is_swap else self.label

    @property
    def pictures(self) -> tuple[Path, ...]:
        """The results that are pictures."""
        return tuple(path for path in self.outputs if path.suffix.lower() in SUFFIXES)


@attrs.frozen(kw_only=True)
class LastRun:
    """When the last of several runs was, how long it took, what it was charged."""

    started: dt.datetime
    finished: dt.datetime
    seconds: float
    charged_note: str | None = None


@attrs.frozen(kw_only=True)
class Facts:
    """
    The facts of the whole batch, over all its *runs*.

    *started* and *finished* are aware, and shown in their own time zone. *seconds*
    is how long all runs took together, without the time between them. *command* is
    the shell command that resumes the batch, if something is left to do;
    *charged_note* says what the server charged. *last_run* is shown beside them;
    leave it out if there was only one.
    """

    title: str
    started: dt.datetime
    finished: dt.datetime
    seconds: float
    command: str | None = None
    charged_note: str | None = None
    notes: tuple[str, ...] = ()
    runs: int = 1
    last_run: LastRun | None = None


@attrs.frozen
class Thumbnail:
    """The stem of the two thumbnail files of a picture, or why there are none."""

    stem: str | None = None
    fault: str | None = None


@attrs.frozen
class Pictures:
    """
    The thumbnails of one photo.

    *given* are those of several inputs, *strip* those of several results.
    """

    source: Thumbnail
    before: Thumbnail
    after: Thumbnail | None
    given: tuple[Thumbnail, ...] = ()
    strip: tuple[Thumbnail, ...] = ()
