"""``ezlink models``: the server's catalogue of models."""

from __future__ import annotations

import asyncio
import json as json_text
from typing import Annotated

from cyclopts import Parameter

from ezlink_async.cli.connect import Connection, check_connection, connect
from ezlink_async.cli.display import Display, logs_shown_on
from ezlink_async.cli.job_options import SWITCH
from ezlink_async.models import ModelInfo
from ezlink_async.report.escaping import shown


def models(
    word: Annotated[str | None, Parameter(name="WORD")] = None,
    /,
    *,
    local: Annotated[bool, SWITCH] = False,
    base_url: str | None = None,
    json: Annotated[bool, SWITCH] = False,
) -> int:
    """
    Print the server's catalogue of models, each once; free.

    The catalogue is the same for every key, and says nothing about what a key may use.
    Exit code 0: there are some; 1: no model has this word in it.

    Parameters
    ----------
    word
        Print only the models with this word in their name, in any case.
    local
        Use the built-in server: no key, no network.
    base_url
        Address of the API. [env: EZLINK_BASE_URL]
    json
        Print one JSON object a line: id, owner, created.

    """
    connection = Connection(base_url=base_url, local=local)
    check_connection(connection)
    return asyncio.run(_print_all(word, connection, as_json=json))


async def _print_all(word: str | None, connection: Connection, *, as_json: bool) -> int:
    with Display() as display, logs_shown_on(display):
        async with connect(connection) as ez:
            found = await ez.models(word)
        for model in found:
            display.result(_json(model) if as_json else shown(_text(model)))
        if not found:
            display.note(shown(f"the catalogue has no model with {word!r} in it"))
    return int(not found)


def _text(model: ModelInfo) -> str:
    return f"{model.id} ({model.owner})" if model.owner else model.id


def _json(model: ModelInfo) -> str:
    created = model.created and model.created.isoformat()
    row = {"id": model.id, "owner": model.owner, "created": created}
    return json_text.dumps(row)
