"""
Reads the rows of an account's page, back to before the oldest lost submit.

Apart from the reconciler, which says when, and from what the rows prove.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from functools import partial

from ezlink_async._client.submitting.account_rows import AccountRows
from ezlink_async._core.messages import HttpRequest, HttpResponse
from ezlink_async._io.transport import Transport
from ezlink_async.services import account
from ezlink_async.services.traces import SubmitRow, SubmitRows

Ask = Callable[[HttpRequest], Awaitable[HttpResponse]]


async def read_rows(
    transport: Transport, ask: Ask, rows: SubmitRows, oldest: Callable[[], float | None]
) -> AccountRows:
    """
    Return the rows that were made since *oldest*, in the server's seconds since 1970.

    That may be known only once the server has answered; ``None`` reads all pages.
    Raises what *ask* and the reader raise.
    """
    found: list[SubmitRow] = []
    for number in range(1, account.PAGES + 1):
        response = await ask(rows.request(number))
        page = await transport.read(response, partial(rows.read, page=number))
        found += page.rows
        if page.is_last:
            return AccountRows(found, -math.inf)
        floor = oldest()
        if floor is not None and page.rows[-1].time < floor:
            return AccountRows(found, floor)
    return AccountRows(found, None)
