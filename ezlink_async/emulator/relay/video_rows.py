"""
The relay's rows of videos, and the money that their queries move.

Plain records and arithmetic, after ye4293/one-api ``model/video.go``. A row belongs
to the account that paid, but whoever has an id may ask for it.
"""

from __future__ import annotations

from attrs import Factory, define, evolve, field

from ezlink_async.emulator.relay.store import Account, Charge, Key, Store

#: Action of a charge or credit for the true price of a Doubao video.
SETTLEMENT = "SETTLEMENT"


@define(kw_only=True, eq=False)
class VideoRow:
    """
    The relay's record of a video.

    *status* is what the last query saw. *quota* is what was paid at the submit and
    is given back. *stored* are the addresses kept from a success; *inline* videos in
    them are data URIs.
    """

    account: Account
    task_id: str
    provider: str
    model: str
    path: str
    quota: int
    duration: str
    request_id: str
    status: str = "processing"
    stored: tuple[str, ...] = ()


@define
class VideoRows:
    """All rows of videos, oldest first, and the relay's own storage of them."""

    rows: list[VideoRow] = Factory(list)
    files: dict[str, bytes] = field(factory=dict, repr=False)
    _by_id: dict[str, VideoRow] = Factory(dict)

    def add(self, row: VideoRow) -> None:
        """Add *row*; of several with one id, or without one, the oldest is found."""
        self.rows.append(row)
        self._by_id.setdefault(row.task_id, row)

    def find(self, task_id: str) -> VideoRow | None:
        """Return the oldest row with this id, whichever account it belongs to."""
        return self._by_id.get(task_id)


def settle(store: Store, key: Key, row: VideoRow, price: int, tokens: int) -> None:
    """
    Let *key* pay what *price* is above the row's quota, or get what it is below.

    The caller's key pays, whoever paid the submit, and each time anew. The entry of
    the submit in the log then shows the price and the tokens.
    """
    charge = Charge(
        request_id=row.request_id,
        task_id=row.task_id,
        units=price - row.quota,
        account=key.account.number,
        key=key.text,
        seconds=0,
        model=row.model,
        action=SETTLEMENT,
        entry="none",
    )
    store.charge(key, charge)
    for number, entry in enumerate(store.log):
        submit = isinstance(entry, Charge) and entry.entry == "nameless"
        if submit and entry.task_id == row.task_id:
            store.log[number] = evolve(entry, shown_units=price, tokens=tokens)
