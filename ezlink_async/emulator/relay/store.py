"""
Accounts, keys, money and the relay's rows of tasks.

Plain records and arithmetic: no sockets, no upstream. The rules are those of
ye4293/one-api ``model/token.go`` and ``model/midjourney.go``.
"""

import secrets
import string
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import count
from typing import Literal, Protocol

from attrs import Factory, define, frozen

_LETTERS = string.ascii_letters + string.digits
_FILES = "https://pub-files.r2.dev"


def new_key() -> str:
    """Return a key like the dashboard's: ``sk-`` and 48 letters and digits."""
    return "sk-" + "".join(secrets.choice(_LETTERS) for _ in range(48))


@define(kw_only=True)
class Account:
    """An account that pays. *token* opens the dashboard's calls, not the relay's."""

    number: int
    token: str
    balance: int
    used: int = 0
    requests: int = 0
    group: str = "Lv1"
    banned: bool = False


@define(kw_only=True)
class Key:
    """A key of an account. Refunds do not restore its *quota*; None is no limit."""

    text: str
    account: Account
    quota: int | None
    used: int = 0
    expires: int = 0
    status: str = "enabled"

    def charge(self, units: int) -> None:
        """Take *units*; the quota may go below zero, as on the real server."""
        self.used += units
        self.account.balance -= units
        self.account.used += units
        self.account.requests += 1
        if self.quota is not None:
            self.quota -= units

    def why_refused(self, seconds: int) -> str | None:
        """Return the reason to refuse the key at *seconds* since 1970, or None."""
        # model/token.go ValidateUserToken, in its order
        marked = {
            "exhausted": "The token quota has been exhausted",
            "expired": "The token has expired",
            "enabled": None,
        }.get(self.status, "The token status is not available")
        if marked:
            return marked
        if self.expires and self.expires < seconds:
            return "The token has expired"
        if self.quota is not None and self.quota <= 0:
            return "The token quota has been exhausted"
        return None


@frozen(kw_only=True)
class Charge:
    """
    One charge; *action* as in the row, ``SWAP_FACE``. A credit has *units* below 0.

    *entry*: the log shows it with its request id, without (``nameless``), or not at
    all (``none``).
    """

    request_id: str
    task_id: str
    units: int
    account: int
    key: str
    seconds: int
    model: str = "swap_face"
    action: str = "SWAP_FACE"
    entry: Literal["named", "nameless", "none"] = "named"


@frozen(kw_only=True)
class Refusal:
    """One entry of the consumption log for a refused submit: free, with the reason."""

    request_id: str
    text: str
    account: int
    key: str
    seconds: int
    model: str = "swap_face"


class Refundable(Protocol):
    """A row whose price can be given back."""

    account: Account
    task_id: str
    request_id: str
    quota: int


@define(kw_only=True)
class Row:
    """
    The relay's record of a task, as of the last refresh from the upstream.

    *quota* is what a failure gives back, also where nothing was charged. *mode* is
    the one that the price depends on.
    """

    number: int
    account: Account
    task_id: str
    code: int
    description: str
    quota: int
    submit_time: int
    start_time: int
    request_id: str
    action: str = "SWAP_FACE"
    prompt: str = "InsightFace"
    mode: str = "fast"
    finish_time: int = 0
    prompt_en: str = ""
    state: str = ""
    image_url: str = ""
    status: str = ""
    progress: str = "0%"
    fail_reason: str = ""
    buttons: object = None
    properties: object = None

    def shown(self, address: str, nanoseconds: int) -> dict[str, object]:
        """Return the row as a fetch shows it, keys in the order of the wire."""
        return {
            "id": self.task_id,
            "action": self.action,
            "customId": "",
            "botType": "",
            "prompt": self.prompt,
            "promptEn": self.prompt_en,
            "description": self.description,
            "state": self.state,
            "submitTime": self.submit_time,
            "startTime": self.start_time,
            "finishTime": self.finish_time,
            "imageUrl": self._address(address, nanoseconds),
            "status": self.status,
            "progress": self.progress,
            "failReason": self.fail_reason,
            "buttons": self.buttons,
            "maskBase64": "",
            "properties": self.properties,
        }

    def _address(self, address: str, nanoseconds: int) -> str:
        # relay/controller/midjourney.go coverMidjourneyTaskDto: a number behind the
        # address of an unfinished picture keeps caches from answering.
        if not self.image_url:
            return ""
        rand = "" if self.status == "SUCCESS" else f"?rand={nanoseconds}"
        return f"{address}/mj/image/{self.task_id}{rand}"


@frozen(kw_only=True)
class StoredFile:
    """The record of an upload; a later one of the same name overwrites its object."""

    number: int
    account: int
    name: str
    purpose: str
    size: int
    sha256: str
    content_type: str
    seconds: int

    @property
    def url(self) -> str:
        """Where the object is said to be: the name stands there as it is."""
        return f"{_FILES}/{self.account}{self.name}"

    def shown(self) -> dict[str, object]:
        """Return the record as the answer to an upload shows it."""
        return {
            "id": self.number,
            "user_id": self.account,
            "creat_time": self.seconds,
            "finish_time": self.seconds,
            "bytes": self.size,
            "store_url": self.url,
            "purpose": self.purpose,
            "file_name": self.name,
        }


@define
class Store:
    """
    The relay's database: accounts, keys, rows, and counts of submits.

    *log* holds charges and refusals of submits in their order.
    """

    accounts: list[Account] = Factory(list)
    keys: dict[str, Key] = Factory(dict)
    rows: list[Row] = Factory(list)
    log: list[Charge | Refusal] = Factory(list)
    refunds: list[Charge] = Factory(list)
    files: list[StoredFile] = Factory(list)
    uploads: Counter[str] = Factory(Counter)
    attempts: Counter[str] = Factory(Counter)
    _open: list[Row] = Factory(list)
    _by_id: dict[str, list[Row]] = Factory(dict)
    _numbers: Iterator[int] = Factory(lambda: count(1))

    @property
    def charges(self) -> list[Charge]:
        """The charges of the log, oldest first."""
        return [entry for entry in self.log if isinstance(entry, Charge)]

    @property
    def refusals(self) -> list[Refusal]:
        """The refusals of the log, oldest first."""
        return [entry for entry in self.log if isinstance(entry, Refusal)]

    def add_account(
        self, balance: int, *, token: str | None = None, group: str = "Lv1"
    ) -> Account:
        """Open an account with *balance* units."""
        number = next(self._numbers)
        token = token or secrets.token_hex(16)
        account = Account(number=number, token=token, balance=balance, group=group)
        self.accounts.append(account)
        return account

    def add_key(
        self, account: Account, quota: int | None, *, text: str | None = None
    ) -> Key:
        """Give *account* one more key; *quota* None is a key without limit."""
        key = Key(text=text or new_key(), account=account, quota=quota)
        self.keys[key.text.removeprefix("sk-")] = key
        return key

    def add_row(self, row: Row) -> None:
        """Add *row*; there may be older ones with the same id."""
        self.rows.append(row)
        self._open.append(row)
        self._by_id.setdefault(row.task_id, []).append(row)

    def unfinished(self) -> list[Row]:
        """Return the rows that are not at 100 %, oldest first."""
        self._open = [row for row in self._open if row.progress != "100%"]
        return self._open

    def next_number(self) -> int:
        """Return an unused number."""
        return next(self._numbers)

    def rows_of(self, task_id: str) -> list[Row]:
        """Return the rows of all accounts with this id, oldest first."""
        return self._by_id.get(task_id, [])

    def row_for(self, account: Account, task_id: str) -> Row | None:
        """Return the oldest row of *account* with this id."""
        mine = (row for row in self.rows_of(task_id) if row.account is account)
        return next(mine, None)

    def rows_for(self, account: Account, task_ids: Iterable[str]) -> list[Row]:
        """Return all rows of *account* with these ids, oldest first."""
        found = (row for task_id in set(task_ids) for row in self.rows_of(task_id))
        mine = [row for row in found if row.account is account]
        return sorted(mine, key=lambda row: row.number)

    def charge(self, key: Key, charge: Charge) -> None:
        """Charge key and account, and add *charge* to the log."""
        key.charge(charge.units)
        self.log.append(charge)

    def refund(self, row: Refundable, seconds: int) -> None:
        """Give the price of *row* back to the account; the key gets nothing."""
        row.account.balance += row.quota
        self.refunds.append(
            Charge(
                request_id=row.request_id,
                task_id=row.task_id,
                units=row.quota,
                account=row.account.number,
                key="",
                seconds=seconds,
            )
        )
