"""``ezlink upload``: files stored on the server, each at an address."""

from __future__ import annotations

import asyncio
import json as json_text
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Annotated

import attrs
from cyclopts import Parameter

from ezlink_async import AsyncEzlink
from ezlink_async.cli.connect import Connection, check_connection, connect
from ezlink_async.cli.display import Display, logs_shown_on
from ezlink_async.cli.job_options import SWITCH
from ezlink_async.errors import EzlinkError, ImageError
from ezlink_async.models import UploadedFile
from ezlink_async.report.escaping import shown

_AT_ONCE = 4  # each sends a whole file


def upload(
    *files: Annotated[Path, Parameter(name="FILE", required=True)],
    purpose: str | None = None,
    local: Annotated[bool, SWITCH] = False,
    base_url: str | None = None,
    json: Annotated[bool, SWITCH] = False,
) -> int:
    """
    Store files on the server, and print the address of each; free.

    The server refuses the first upload of each account. Exit code 0: all are stored;
    1: some are not.

    Parameters
    ----------
    files
        The files, of any kind. Each is stored under a name of its own.
    purpose
        What the files are for: any text, which is stored with them.
    local
        Use the built-in server: no key, no network, nothing is kept.
    base_url
        Address of the API. [env: EZLINK_BASE_URL]
    json
        Print one JSON object a line: file, id, name, url, size, purpose, created,
        error.

    """
    connection = Connection(base_url=base_url, local=local)
    check_connection(connection)
    wanted = list(dict.fromkeys(files))
    return asyncio.run(_print_all(wanted, purpose, connection, as_json=json))


@attrs.frozen
class _Line:
    """What is printed of one file: what was *stored*, or the *error* in its place."""

    file: Path
    stored: UploadedFile | None = None
    error: str | None = None

    def print(self, display: Display, *, as_json: bool) -> None:
        """Print it to stdout; an error goes to stderr, if it is no JSON."""
        if as_json:
            display.result(json_text.dumps(self._fields()))
        elif self.stored is None:
            display.note(shown(f"{self.file}: {self.error}"), "red")
        else:
            display.result(shown(self.stored.url))

    def _fields(self) -> dict[str, object]:
        stored = self.stored
        return {
            "file": str(self.file),
            "id": stored and stored.id,
            "name": stored and stored.name,
            "url": stored and stored.url,
            "size": stored and stored.size,
            "purpose": stored and stored.purpose,
            "created": stored and stored.created and stored.created.isoformat(),
            "error": self.error,
        }


async def _print_all(
    files: list[Path], purpose: str | None, connection: Connection, *, as_json: bool
) -> int:
    good = True
    with Display() as display, logs_shown_on(display):
        async with connect(connection) as ez:
            async for line in _lines(ez, files, purpose):
                line.print(display, as_json=as_json)
                good = good and line.error is None
    return int(not good)


async def _lines(
    ez: AsyncEzlink, files: Sequence[Path], purpose: str | None
) -> AsyncIterator[_Line]:
    slots = asyncio.Semaphore(_AT_ONCE)

    async def store(file: Path) -> _Line:
        async with slots:
            try:
                return _Line(file, await ez.files.upload(file, purpose=purpose))
            except ImageError as error:  # of the file itself, which need be no image
                return _Line(file, error=error.reason)
            except EzlinkError as error:
                return _Line(file, error=f"{type(error).__name__}: {error}")

    for ended in asyncio.as_completed([store(file) for file in files]):
        yield await ended
