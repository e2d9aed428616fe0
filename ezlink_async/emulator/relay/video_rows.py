"""
The relay's rows of videos, and the money that their queries move.

Plain records and arithmetic, after ye4293/one-api ``model/video.go``. A row belongs
to the account that paid, but every key may ask for it by its id.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import Factory, define

from ezlink_async.emulator.relay.store import Account, Charge, Key, Store
from ezlink_async.emulator.upstream.tasks import ResultStore

_LISTED = {"kling-v1": 70_000, "kling-v2-master": 1_400_000}
#: Action of the charge for a video.
VIDEO = "VIDEO"
#: Action of a charge or credit for the true price of a Doubao video.
SETTLEMENT = "SETTLEMENT"


def listed_price(model: str) -> int:
    """
    Return the price of a model in the server's list, 50,000 units without one.

    The log names it even if another sum was charged: prices of some providers are
    worked out.
    """
    return _LISTED.get(model, 50_000)


@define(kw_only=True, eq=False)
class VideoRow:
    """
    The relay's record of a video.

    *status* is what the last query saw. *quota* is what was paid at the submit and
    is given back. *stored* are the addresses kept from a success, data URIs among
    them, and *usage* what it has used. *key* made the submit. *settled* and *tokens*
    are what the log shows in place of the quota once its true price is known.
    """

    account: Account
    key: Key
    task_id: str
    provider: str
    model: str
    path: str
    quota: int
    duration: str
    request_id: str
    status: str = "processing"
    stored: tuple[str, ...] = ()
    usage: Mapping[str, object] | None = None
    settled: int | None = None
    tokens: int = 0


@define
class VideoRows:
    """All rows of videos, oldest first, and *files*, the relay's own storage."""

    files: ResultStore
    rows: list[VideoRow] = Factory(list)
    _by_id: dict[str, VideoRow] = Factory(dict)

    def add(self, row: VideoRow) -> None:
        """Add *row*; of several with one id, or without one, the oldest is found."""
        self.rows.append(row)
        self._by_id.setdefault(row.task_id, row)

    def find(self, task_id: str) -> VideoRow | None:
        """Return the oldest row with this id, whichever account it belongs to."""
        return self._by_id.get(task_id)


def charge_of(
    row: VideoRow, key: Key, units: int, seconds: int, *, settles: bool = False
) -> Charge:
    """
    Return a charge for a video, for *key* to pay.

    That of a settlement is not in the log; that of a video with an id is there
    without the request id.
    """
    return Charge(
        request_id=row.request_id,
        task_id=row.task_id,
        units=units,
        account=key.account.number,
        key=key.text,
        seconds=seconds,
        model=row.model,
        action=SETTLEMENT if settles else VIDEO,
        entry="none" if settles else "nameless" if row.task_id else "named",
    )


def settle(
    store: Store, key: Key, row: VideoRow, price: int, tokens: int, seconds: int
) -> None:
    """
    Let *key* pay what *price* is above the row's quota, or get what it is below.

    The caller's key pays, also for the submit of another one, each time anew. The
    entry of the submit in the log then shows the price and the tokens.
    """
    row.settled, row.tokens = price, tokens
    units = price - row.quota
    store.charge(key, charge_of(row, key, units, seconds, settles=True))
