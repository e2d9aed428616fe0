"""What a batch is told: where the results go, and how it is done."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import attrs

from ezlink_async.batch.journal.jobs import Wishes
from ezlink_async.batch.pairs.folders import FileId
from ezlink_async.errors import ConfigurationError
from ezlink_async.services.midjourney import Mode


@attrs.frozen(kw_only=True)
class Rules:
    """
    What a batch goes by.

    *folder* is where the results go, *server* what the journal calls the
    server; *is_given* tells files that are targets, which no result replaces.
    """

    folder: Path
    server: str
    existing: Literal["skip", "replace"] = "skip"
    wishes: Wishes = attrs.field(factory=Wishes)
    strip_metadata: bool = False
    is_given: Callable[[FileId], bool] = lambda _: False

    @property
    def options(self) -> str:
        """The options that change the result, as the journal has them."""
        chosen = {"strip_metadata": True} if self.strip_metadata else {}
        return json.dumps(chosen)


@attrs.frozen(kw_only=True)
class Manner:
    """
    How all jobs of a run are submitted.

    With *keeps* a picture that is not the job's own is set aside where a result
    comes home late, and not replaced.
    """

    mode: Mode | None = None
    strip_metadata: bool = False
    keeps: bool = True


LOCAL = "local"
"""What a journal calls the built-in server, whose tasks end with its process."""


@attrs.frozen(kw_only=True)
class BatchOptions:
    """
    How a batch is done; see :func:`batch.run_batch`.

    *local* says that the server ends with this process: what it has not
    finished is done again. *is_given* tells files that are targets.
    """

    output: Path
    journal: Path | None = None
    mode: Mode | None = None
    existing: Literal["skip", "replace"] = "skip"
    retry_failed: bool = False
    resubmit_unknown: bool = False
    max_failures: int | None = None
    budget: int | None = None
    strip_metadata: bool = False
    local: bool = False
    is_given: Callable[[FileId], bool] = lambda _: False
    command: str | None = None
    """What to type to go on, for the report."""
    clock: Callable[[], float] = time.time

    def __attrs_post_init__(self) -> None:
        if self.existing not in {"skip", "replace"}:
            raise ConfigurationError(
                f'existing is "skip" or "replace", not {self.existing!r}'
            )
        for name in ("budget", "max_failures"):
            limit = getattr(self, name)
            if limit is not None and (not isinstance(limit, int) or limit < 0):
                raise ConfigurationError(f"{name} is a number of swaps, not {limit!r}")

    @property
    def journal_path(self) -> Path:
        """Where the journal is."""
        return self.journal or journal_of(self.output)

    @property
    def manner(self) -> Manner:
        """How jobs are submitted."""
        return Manner(
            mode=self.mode,
            strip_metadata=self.strip_metadata,
            keeps=self.existing == "skip",
        )

    def rules(self, origin: str) -> Rules:
        """Return what pairs are screened by."""
        return Rules(
            folder=self.output,
            server=LOCAL if self.local else origin,
            existing=self.existing,
            wishes=Wishes(
                retry_failed=self.retry_failed, resubmit_unknown=self.resubmit_unknown
            ),
            strip_metadata=self.strip_metadata,
            is_given=self.is_given,
        )


def journal_of(folder: Path) -> Path:
    """Return where the journal of the results in *folder* is."""
    return folder / ".ezlink" / "journal.sqlite3"
