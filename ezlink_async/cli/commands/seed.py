"""``ezlink seed``: the number from which the pictures of a task were made."""

from __future__ import annotations

import asyncio
import json as json_text
from collections.abc import AsyncIterator, Sequence
from typing import Annotated

import attrs
from cyclopts import Parameter

from ezlink_async import AsyncEzlink
from ezlink_async.cli.connect import Connection, check_connection, connect
from ezlink_async.cli.display import Display, logs_shown_on
from ezlink_async.cli.follow_up import Parent
from ezlink_async.cli.job_options import SWITCH
from ezlink_async.errors import EzlinkError
from ezlink_async.report.escaping import shown

_AT_ONCE = 4  # each answer may take 30 s


def seed(
    *ids: Annotated[str, Parameter(name="ID", required=True)],
    base_url: str | None = None,
    json: Annotated[bool, SWITCH] = False,
) -> int:
    """
    Print the seed of each finished task; free.

    It works only where the operator of the server has set that up. Exit code 0: all
    are there; 1: some are not.

    Parameters
    ----------
    ids
        The tasks, by the files of their results or by their ids.
    base_url
        Address of the API. [env: EZLINK_BASE_URL]
    json
        Print one JSON object a line: task_id, seed, error.

    """
    connection = Connection(base_url=base_url)
    check_connection(connection)
    wanted = list(dict.fromkeys(Parent.of(given).task_id for given in ids))
    return asyncio.run(_print_all(wanted, connection, as_json=json))


@attrs.frozen
class _Line:
    """What is printed of one task: its *seed*, or the *error* in its place."""

    task_id: str
    seed: int | None = None
    error: str | None = None

    def print(self, display: Display, *, as_json: bool) -> None:
        """Print it to stdout; an error goes to stderr, if it is no JSON."""
        if as_json:
            display.result(json_text.dumps(attrs.asdict(self)))
        elif self.error is not None:
            display.note(shown(f"{self.task_id}: {self.error}"), "red")
        else:
            display.result(shown(f"{self.task_id} {self.seed}"))


async def _print_all(ids: list[str], connection: Connection, *, as_json: bool) -> int:
    good = True
    with Display() as display, logs_shown_on(display):
        async with connect(connection) as ez:
            async for line in _lines(ez, ids):
                line.print(display, as_json=as_json)
                good = good and line.error is None
    return int(not good)


async def _lines(ez: AsyncEzlink, ids: Sequence[str]) -> AsyncIterator[_Line]:
    slots = asyncio.Semaphore(_AT_ONCE)

    async def ask(task_id: str) -> _Line:
        async with slots:
            try:
                return _Line(task_id, seed=await ez.midjourney.image_seed(task_id))
            except EzlinkError as error:
                return _Line(task_id, error=f"{type(error).__name__}: {error}")

    for answered in asyncio.as_completed([ask(task_id) for task_id in ids]):
        yield await answered
