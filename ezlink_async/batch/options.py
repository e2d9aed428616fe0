"""
The options of a batch: the one value that every part of a run reads.

A short module of its own, since it is below all others but the pairs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import attrs

from ezlink_async._io.files import OWN_FOLDER, as_path, check_path
from ezlink_async.batch.pairs.folders import FileId
from ezlink_async.errors import ConfigurationError

LOCAL = "local"
"""The journal's name for the built-in server, whose tasks end with its process."""


def _folder(output: str | os.PathLike[str]) -> Path:
    """Return the output folder; :exc:`ConfigurationError` if no path is one."""
    folder = as_path(output)
    check_path(folder)
    return folder


def _journal(path: str | os.PathLike[str]) -> Path:
    return as_path(path, "a journal is a file at a path")


@attrs.frozen(kw_only=True)
class BatchOptions:
    """
    The options of a batch; :func:`batch.run_batch` explains those it takes.

    *local* says that the server ends with this process: jobs it has not finished
    are sent again; *faces* are those of a target that it swaps. *is_given* says
    whether a file is a source or a target, which no result may replace. *command* is
    what to type to continue, for the report.
    """

    output: Path = attrs.field(converter=_folder)
    journal: Path | None = attrs.field(
        default=None, converter=attrs.converters.optional(_journal)
    )
    existing: Literal["skip", "replace"] = "skip"
    retry_failed: bool = False
    resubmit_unknown: bool = False
    max_failures: int | None = None
    budget: int | None = None
    strip_metadata: bool = False
    local: bool = False
    faces: Literal["largest", "all"] = "all"
    is_given: Callable[[FileId], bool] = lambda _: False
    command: str | None = None
    clock: Callable[[], float] = time.time

    def __attrs_post_init__(self) -> None:
        if self.existing not in ("skip", "replace"):
            raise ConfigurationError(
                f'existing is "skip" or "replace", not {self.existing!r}'
            )
        for name in ("budget", "max_failures"):
            limit = getattr(self, name)
            if limit is not None and (not isinstance(limit, int) or limit < 0):
                raise ConfigurationError(f"{name} is a number of swaps, not {limit!r}")

    @property
    def journal_path(self) -> Path:
        """The path of the journal."""
        return self.journal or journal_of(self.output)

    @property
    def keeps_existing(self) -> bool:
        """Whether a picture that is not the job's own result stays."""
        return self.existing == "skip"

    @property
    def job_options(self) -> dict[str, object]:
        """The options that change a result, as the journal stores them."""
        options: dict[str, object] = {}
        if self.strip_metadata:
            options["strip_metadata"] = True
        if self.faces != "all":
            options["faces"] = self.faces
        return options

    def server_name(self, origin: str) -> str:
        """Return the journal's name for the server at *origin*."""
        return LOCAL if self.local else origin


def journal_of(folder: Path) -> Path:
    """Return the path of the journal of the results in *folder*."""
    return folder / OWN_FOLDER / "journal.sqlite3"
