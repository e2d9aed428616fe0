"""
What the commands that go on from another task have in common.

The task is looked up first: its buttons, and the prompt that its dialog suggests, are
in its record. That costs nothing.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import attrs
from cyclopts import Parameter

from ezlink_async.cli.connect import check_connection, connect
from ezlink_async.cli.job_options import JobOptions
from ezlink_async.errors import ConfigurationError
from ezlink_async.models import TaskRecord


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class InputOptions:
    """
    What a dialog of the server asks for.

    Attributes
    ----------
    prompt
        What to draw. [default: for modal what the server suggests]
    mask
        A picture as large as the one to change: white where it may change, black
        elsewhere.

    """

    prompt: str | None = None
    mask: Path | None = None

    @property
    def is_given(self) -> bool:
        """Whether there is any input."""
        return self.prompt is not None or self.mask is not None


NO_INPUT = InputOptions()
"""No option is given."""


def check_follow_up(options: JobOptions) -> None:
    """Raise ConfigurationError for options that no job of another task can have."""
    if options.local:
        raise ConfigurationError(
            "the built-in server of --local ends with each command, and its tasks with "
            "it: press buttons by ezlink imagine --then, or run ezlink serve"
        )
    options.check()


def fetch_record(options: JobOptions, task_id: str) -> TaskRecord:
    """Return the record of a task; :exc:`TaskNotFoundError` for an unknown id."""
    check_connection(options)
    return asyncio.run(_fetch(options, task_id))


async def _fetch(options: JobOptions, task_id: str) -> TaskRecord:
    async with connect(options) as ez:
        return await ez.fetch_task(task_id)
