"""
The relay's table of pictures: those of async images and of native Flux.

One table is behind both, as was seen on the running server (ye4293/one-api): an id of
one family is found by the queries of the other. Plain records: no sockets, no upstream.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import Factory, define

from ezlink_async.emulator.http import go_json
from ezlink_async.emulator.relay.store import Account

UNITS_PER_CENT = 5_000


@define(kw_only=True, eq=False)
class PictureRow:
    """
    One submit of a picture; native Flux writes it before the provider is asked.

    *status* is pending, submitted, success or failed. *quota* is what it costs, in
    units, and what a refund gives back. *detail* is the acceptance, *result* the
    latest answer that was kept. Only native rows have a *request_id* that is shown.
    """

    number: int
    account: Account
    key: str
    provider: str
    model: str
    request_id: str
    created_at: int
    native: bool
    task_id: str = ""
    status: str = "pending"
    fail_reason: str = ""
    store_url: str = ""
    updated_at: int = 0
    mode: str = ""
    n: int = 0
    quota: int = 0
    detail: str = ""
    result: str = ""

    @property
    def is_open(self) -> bool:
        """Whether the row has neither succeeded nor failed."""
        return self.status in {"pending", "submitted"}

    def fail(self, reason: str, seconds: int) -> None:
        """Note a failure and its *reason*."""
        self.status, self.fail_reason, self.updated_at = "failed", reason, seconds

    def accept(self, task_id: str, quota: int, answer: Mapping[str, object]) -> None:
        """Note the provider's acceptance, which may lack an id."""
        self.task_id, self.quota, self.status = task_id, quota, "submitted"
        self.detail = self.result = go_json.dumps(go_json.ordered(answer)).decode()

    def succeed(self, answer: Mapping[str, object], seconds: int) -> None:
        """Note a success; of the provider's *answer* the known keys are kept."""
        kept = _kept(answer)
        self.result = go_json.dumps(kept).decode()
        found = kept.get("result")
        address = found.get("sample") if isinstance(found, Mapping) else ""
        self.store_url, self.status = str(address or ""), "success"
        self.updated_at = seconds

    def shown(self) -> dict[str, object]:
        """Return the row as the account's page shows it, in the order of the wire."""
        return {
            "id": self.number,
            "task_id": self.task_id,
            "username": "n" if self.native else f"user{self.account.number}",
            "channel_id": 1,
            "key_index": 0,
            "user_id": self.account.number,
            "model": self.model,
            "status": self.status,
            "fail_reason": self.fail_reason,
            "image_id": "",
            "store_url": self.store_url,
            "provider": self.provider,
            "request_id": self.request_id if self.native else "",
            "created_at": self.created_at,
            "updated_at": self.updated_at or self.created_at,
            "mode": self.mode,
            "n": self.n,
            "quota": self.quota,
            "detail": self.detail,
            "total_duration": 0,
            "result": self.result,
        }


@define
class PictureTable:
    """All rows, oldest first; ids are not those of one account."""

    rows: list[PictureRow] = Factory(list)

    def add(self, row: PictureRow) -> None:
        """Add *row*."""
        self.rows.append(row)

    def find(self, task_id: str) -> PictureRow | None:
        """Return the oldest row with this id; an empty one is found, too."""
        return next((row for row in self.rows if row.task_id == task_id), None)


_RESULT_KEYS = ("sample", "prompt", "seed", "start_time")


def _kept(answer: Mapping[str, object]) -> dict[str, object]:
    """Return the keys of a provider's answer that the relay's record has."""
    kept: dict[str, object] = {"id": answer.get("id") or ""}
    if "task_id" in answer:
        kept["task_id"] = answer["task_id"]
    kept["status"] = answer.get("status")
    result = answer.get("result")
    if isinstance(result, Mapping):
        kept["result"] = {
            name: result[name] for name in _RESULT_KEYS if result.get(name) is not None
        }
    return kept
