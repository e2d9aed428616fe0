"""
The account's own pages: what it has, what it was charged, what tasks it has.

Opened by the account's access token, which the dashboard makes. Source:
``ye4293/one-api`` (``controller/user.go`` GetSelf, ``controller/log.go``,
``controller/midjourney.go`` GetUserMidjourney, ``middleware/auth.go``). Faults
come as 200 with ``"success": false``. The page of the account holds the token
in clear: nothing of it is kept in an error.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import urlencode

import attrs

from ezlink_async._core.error_mapping import (
    collapse_blanks,
    error_from,
    parse_json,
    server_time,
)
from ezlink_async._core.messages import Credential, HttpRequest, HttpResponse
from ezlink_async._core.records import identifier, read_record
from ezlink_async.errors import (
    ApiError,
    AuthenticationError,
    ProtocolError,
    ServerError,
)
from ezlink_async.models import TaskRecord

PAGE = 100
"""How many tasks are asked for at once."""

PAGES = 100
"""The most pages that are read."""
_UNITS = 500_000
_MOST = 2**63  # the server counts in int64
_NOT_AUTHORIZED = "Not authorized"


@attrs.frozen(kw_only=True)
class AccountBalance:
    """
    What an account has; *units* and *used* are units, 500,000 to the US dollar.

    *requests* counts all that was ever charged.
    """

    units: int
    used: int
    requests: int
    group: str

    @property
    def dollars(self) -> float:
        """What is left, in US dollars."""
        return self.units / _UNITS


@attrs.frozen(kw_only=True)
class Charge:
    """One entry of the account's log: what a request cost, in units, and when."""

    request_id: str
    units: int
    model: str
    time: dt.datetime | None


@attrs.frozen(kw_only=True)
class TaskPage:
    """Some of the account's tasks, newest first, and what the answer says of all."""

    records: tuple[TaskRecord, ...]
    rows: int
    total: int
    time: float | None
    """The server's clock, in seconds since 1970."""

    def is_last(self, page: int) -> bool:
        """Tell whether nothing comes after this *page*, counted from 1."""
        return (page - 1) * PAGE + self.rows >= self.total


def self_request() -> HttpRequest:
    """Ask for the account; its answer holds the token in clear."""
    return _request("/api/user/self")


def tasks_request(page: int) -> HttpRequest:
    """Ask for a *page* of tasks, counted from 1; without a page there are none."""
    return _request("/api/mj/self", page=str(page), pagesize=str(PAGE))


def log_request(request_id: str) -> HttpRequest:
    """Ask what was charged under *request_id*."""
    return _request("/api/log/self", x_request_id=request_id)


def _request(path: str, **query: str) -> HttpRequest:
    whole = f"{path}?{urlencode(query)}" if query else path
    return HttpRequest("GET", whole, repeatable=True, credential=Credential.ACCOUNT)


def read_balance(response: HttpResponse) -> AccountBalance:
    """Read the account, or raise what the answer means."""
    data = _data(response)
    units, used = _whole(data.get("quota")), _whole(data.get("used_quota"))
    if units is None or used is None:
        raise _unreadable(response, "the page of the account has no balance")
    requests, group = (
        _whole(data.get("request_count")) or 0,
        collapse_blanks(data.get("group")),
    )
    return AccountBalance(units=units, used=used, requests=requests, group=group)


def read_tasks(response: HttpResponse) -> TaskPage:
    """
    Read a page of tasks; a row that has no id is out of reach, and left out.

    One that cannot be read makes the page unreadable: it may be the one.
    """
    data = _data(response)
    rows, total = _rows(response, data), _whole(data.get("total"))
    if total is None:
        raise _unreadable(response, "the list of tasks does not say how many there are")
    records = [_record(row) for row in rows]
    return TaskPage(
        records=tuple(record for record in records if record is not None),
        rows=len(rows),
        total=total,
        time=server_time(response),
    )


def read_charge(response: HttpResponse, request_id: str) -> Charge | None:
    """
    Read what was charged under *request_id*, ``None`` for nothing.

    A server that shows other entries too does not know the question.
    """
    rows = _rows(response, _data(response))
    if any(row.get("x_request_id") != request_id for row in rows):
        raise _unreadable(response, "the log cannot be asked for one request")
    charges = [row for row in rows if _whole(row.get("quota"))]
    if not charges:
        return None
    made = _whole(charges[0].get("created_at"))
    return Charge(
        request_id=request_id,
        units=sum(_whole(row.get("quota")) or 0 for row in charges),
        model=collapse_blanks(charges[0].get("model_name")),
        time=dt.datetime.fromtimestamp(made, dt.UTC) if made else None,
    )


def _record(row: Mapping[str, object]) -> TaskRecord | None:
    task_id = identifier(row.get("mj_id"))
    if not task_id:
        return None
    status, image = row.get("status"), row.get("image_url")
    return read_record(
        {
            **row,
            "id": task_id,
            "status": status if isinstance(status, str) else "",
            # The page shows an address for every task, with a picture or without.
            "imageUrl": image if status == "SUCCESS" else None,
            "failReason": row.get("fail_reason"),
            "submitTime": row.get("submit_time"),
            "startTime": row.get("start_time"),
            "finishTime": row.get("finish_time"),
            # JSON inside of strings.
            "buttons": parse_json(str(row.get("buttons")).encode(errors="replace")),
            "properties": parse_json(
                str(row.get("properties")).encode(errors="replace")
            ),
        }
    )


def _data(response: HttpResponse) -> Mapping[str, object]:
    body = parse_json(response.body)
    envelope = body if isinstance(body, Mapping) else {}
    if envelope.get("success") is False:
        raise _refused(response, collapse_blanks(envelope.get("message")))
    data = envelope.get("data")
    if response.ok and isinstance(data, Mapping):
        return data
    error = None if response.ok else error_from(response)
    if isinstance(error, ApiError):
        raise error
    raise _unreadable(response, f"HTTP {response.status}: no page of the account")


def _refused(response: HttpResponse, words: str) -> ApiError:
    kind: type[ApiError] = ServerError
    says = f"the account's page cannot be shown: {words}"
    if _NOT_AUTHORIZED in words:
        kind, says = AuthenticationError, f"the account token is refused: {words}"
    return kind(
        says,
        status=response.status,
        description=words,
        request_id=response.request_id,
    )


def _unreadable(response: HttpResponse, says: str) -> ProtocolError:
    # Without its first bytes: they may be the account's, token and all.
    return ProtocolError(
        f"{says}; check base_url",
        status=response.status,
        request_id=response.request_id,
    )


def _rows(
    response: HttpResponse, data: Mapping[str, object]
) -> list[Mapping[str, object]]:
    rows = data.get("list") or []
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise _unreadable(response, "the answer is no list of the account's")
    return rows


def _whole(value: object) -> int | None:
    return value if type(value) is int and abs(value) < _MOST else None


class Account:
    """
    The account behind the key; get it as ``client.account``.

    Every call needs the account's access token, which the dashboard makes:
    ``EZLINK_ACCOUNT_TOKEN`` or ``account_token=``. Without it they raise
    :exc:`ConfigurationError`, with one that is refused
    :exc:`AuthenticationError`.
    """

    def __init__(self, send: Callable[[HttpRequest], Awaitable[HttpResponse]]) -> None:
        self._send = send

    async def balance(self) -> AccountBalance:
        """Ask what the account has and has used."""
        return read_balance(await self._send(self_request()))

    async def charged(self, request_id: str) -> Charge | None:
        """
        Ask what the request with this ``X-Request-ID`` cost.

        ``None`` says that the log has nothing under it: nothing was charged,
        or the operator has the log off, or the entry is a few seconds late.
        A job that was accepted with code 22 is not charged.
        """
        return read_charge(await self._send(log_request(request_id)), request_id)

    async def find(self, *, state: str) -> tuple[TaskRecord, ...]:
        """
        Find the tasks that carry *state*, newest first, among the latest 10,000.

        A task shows its state only after the server's next refresh, some ten
        seconds after it was made. Take one up with ``client.task(id)``.
        """
        found: dict[str, TaskRecord] = {}
        for number in range(1, PAGES + 1):
            page = read_tasks(await self._send(tasks_request(number)))
            for record in page.records:
                if record.state == state:  # again, when one made meanwhile moved it
                    found.setdefault(record.task_id, record)
            if page.is_last(number) or not page.rows:
                break
        return tuple(found.values())
