"""
The account's own pages: what it has, what it was charged, which tasks it has.

The account's access token opens them; the dashboard makes it. Source:
``ye4293/one-api`` (``controller/user.go`` GetSelf, ``controller/log.go``,
``controller/midjourney.go`` GetUserMidjourney, ``middleware/auth.go``). Faults
come as 200 with ``"success": false``. The page of the account holds the token
in clear, so no error keeps any of it.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar
from urllib.parse import urlencode

import attrs

from ezlink_async._core.error_mapping import (
    error_from,
    names_broken_call,
    names_insert_failure,
    server_time,
)
from ezlink_async._core.json_reader import is_light, parse_json
from ezlink_async._core.messages import (
    Credential,
    HttpRequest,
    HttpResponse,
    collapse_blanks,
    identifier,
)
from ezlink_async._core.records import read_record, utc_time
from ezlink_async.errors import (
    ApiError,
    AuthenticationError,
    ConfigurationError,
    ProtocolError,
    ServerError,
)
from ezlink_async.models import TaskRecord

PAGE = 100
"""How many tasks one page has."""

PAGES = 100
"""The most pages that are read."""

_T = TypeVar("_T")

_UNITS_PER_DOLLAR = 500_000
_MOST = 2**63  # the server counts in int64
_CONSUMPTION = 2  # the type of an entry
_OF_A_CHARGE = ("价格", "倍率")  # price and ratio: in the text of each charge


@attrs.frozen(kw_only=True)
class AccountBalance:
    """
    What an account has left and has *used*, in units: 500,000 to the US dollar.

    *requests* counts all that were ever charged.
    """

    units: int
    used: int
    requests: int
    group: str

    @property
    def dollars(self) -> float:
        """What is left, in US dollars."""
        return self.units / _UNITS_PER_DOLLAR


@attrs.frozen(kw_only=True)
class Charge:
    """One entry of the account's log: what a request cost, in units, and when."""

    request_id: str
    units: int
    model: str
    time: dt.datetime | None


class LogEvidence(enum.Enum):
    """
    What the account's log shows about one submit.

    A refused submit has an entry, too, with a quota of 0 and the error as its text.
    An insert failure has one behind its charge; so only entries that are all of this
    kind, and name neither an insert failure nor a price, are those of a refusal.
    Where one of them names a broken call to the upstream, the upstream *may run* the
    job all the same.
    """

    NOTHING = "nothing"
    CHARGED = "charged"
    REFUSED = "refused"
    MAY_RUN = "may run"

    @property
    def is_refusal(self) -> bool:
        """Whether all entries are those of a refusal."""
        return self in {LogEvidence.REFUSED, LogEvidence.MAY_RUN}


@attrs.frozen(kw_only=True)
class TaskPage:
    """
    One page of the account's tasks, newest first.

    *rows* counts the page with its unreadable rows, *total* all pages. *time*
    is the server's clock, in seconds since 1970.
    """

    records: tuple[TaskRecord, ...]
    rows: int
    total: int
    time: float | None

    def is_last(self, page: int) -> bool:
        """Return whether no page follows this one, number *page* from 1."""
        return (page - 1) * PAGE + self.rows >= self.total


def self_request() -> HttpRequest:
    """Ask for the account; the answer holds the token in clear."""
    return _request("/api/user/self")


def tasks_request(page: int) -> HttpRequest:
    """Ask for a *page* of tasks, from 1; without a page the server lists none."""
    return _request("/api/mj/self", page=str(page), pagesize=str(PAGE))


def log_request(request_id: str) -> HttpRequest:
    """Ask what was charged under *request_id*."""
    return _request("/api/log/self", x_request_id=request_id)


def _request(path: str, **query: str) -> HttpRequest:
    whole = f"{path}?{urlencode(query)}" if query else path
    return HttpRequest(
        "GET", whole, repeatable=True, credential=Credential.ACCOUNT, tasks=PAGE
    )


def read_balance(response: HttpResponse) -> AccountBalance:
    """Read the account, or raise the error that the answer means."""
    data = _data(response)
    units, used = _integer(data.get("quota")), _integer(data.get("used_quota"))
    if units is None or used is None:
        raise _unreadable(response, "the page of the account has no balance")
    return AccountBalance(
        units=units,
        used=used,
        requests=_integer(data.get("request_count")) or 0,
        group=collapse_blanks(data.get("group")),
    )


def read_tasks(response: HttpResponse) -> TaskPage:
    """
    Read a page of tasks, without the rows that have no id.

    A row with an id that cannot be read makes the whole page unreadable: it
    may be the task that is looked for.
    """
    rows, total = page_of(response)
    return TaskPage(
        records=tuple(_record(row) for row in rows if identifier(row.get("mj_id"))),
        rows=len(rows),
        total=total,
        time=server_time(response),
    )


def page_of(response: HttpResponse) -> tuple[list[Mapping[str, object]], int]:
    """Return the rows of a page, and how many all pages have, or raise its error."""
    data = _data(response)
    rows, total = _rows(response, data), _integer(data.get("total"))
    if total is None:
        raise _unreadable(response, "the list of tasks does not say how many there are")
    return rows, total


def read_charge(response: HttpResponse, request_id: str) -> Charge | None:
    """
    Read what was charged under *request_id*, ``None`` for nothing.

    A server that answers with other entries too does not know the filter.
    """
    rows = _entries(response, request_id)
    charges = [row for row in rows if _integer(row.get("quota"))]
    if not charges:
        return None
    return Charge(
        request_id=request_id,
        units=sum(_integer(row.get("quota")) or 0 for row in charges),
        model=collapse_blanks(charges[0].get("model_name")),
        time=utc_time(_integer(charges[0].get("created_at")) or 0),
    )


def read_evidence(response: HttpResponse, request_id: str) -> LogEvidence:
    """Read what the log shows about the submit with this *request_id*."""
    if read_charge(response, request_id) is not None:
        return LogEvidence.CHARGED
    rows = _entries(response, request_id)
    # Entries on another page may be charges.
    whole = _integer(_data(response).get("total")) == len(rows)
    if not (rows and whole and all(map(_is_refusal, rows))):
        return LogEvidence.NOTHING
    may_run = any(names_broken_call(collapse_blanks(row["content"])) for row in rows)
    return LogEvidence.MAY_RUN if may_run else LogEvidence.REFUSED


def _entries(response: HttpResponse, request_id: str) -> list[Mapping[str, object]]:
    rows = _rows(response, _data(response))
    if any(row.get("x_request_id") != request_id for row in rows):
        raise _unreadable(response, "the log cannot be asked for one request")
    return rows


def _is_refusal(row: Mapping[str, object]) -> bool:
    """Return whether an entry of the log is surely the refusal of a call."""
    text = collapse_blanks(row.get("content"))
    free = _integer(row.get("quota")) == 0 and row.get("type") == _CONSUMPTION
    of_accepted = names_insert_failure(text) or any(w in text for w in _OF_A_CHARGE)
    return free and bool(text) and not of_accepted


def _record(row: Mapping[str, object]) -> TaskRecord:
    status, image = row.get("status"), row.get("image_url")
    return read_record(
        {
            **row,
            "id": row.get("mj_id"),
            "status": status if isinstance(status, str) else "",
            # The page has an address for every task, with a picture or without.
            "imageUrl": image if status == "SUCCESS" else None,
            "failReason": row.get("fail_reason"),
            "submitTime": row.get("submit_time"),
            "startTime": row.get("start_time"),
            "finishTime": row.get("finish_time"),
            "buttons": _nested_json(row.get("buttons")),
            "properties": _nested_json(row.get("properties")),
        }
    )


def _nested_json(text: object) -> object:
    body = str(text).encode(errors="replace")
    # The limits of an answer count no brackets that a text holds as escapes.
    return parse_json(body) if is_light(body) else None


def _data(response: HttpResponse) -> Mapping[str, object]:
    body = response.document
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
    unauthorized = "Not authorized" in words
    kind = AuthenticationError if unauthorized else ServerError
    says = "token is refused" if unauthorized else "page cannot be read"
    return kind(
        f"the account {says}: {words}",
        status=response.status,
        description=words,
        request_id=response.request_id,
    )


def _unreadable(response: HttpResponse, says: str) -> ProtocolError:
    # Without its first bytes: the page of the account shows the token.
    return ProtocolError(
        f"{says}; {response.obstacle or 'check base_url'}",
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


def _integer(value: object) -> int | None:
    return value if type(value) is int and abs(value) < _MOST else None


class Asking(Protocol):
    """How :class:`Account` sends a request and has its answer read."""

    async def __call__(
        self, request: HttpRequest, reader: Callable[[HttpResponse], _T], /
    ) -> _T:
        """Return what *reader* makes of the answer to *request*."""
        ...


class Account:
    """
    The account behind the key; get it as ``client.account``.

    Every method needs the account's access token, which the dashboard makes:
    ``EZLINK_ACCOUNT_TOKEN`` or ``account_token=``. Without a token a method
    raises :exc:`ConfigurationError`, with a refused one
    :exc:`AuthenticationError`.
    """

    def __init__(self, ask: Asking) -> None:
        self._ask = ask

    async def balance(self) -> AccountBalance:
        """Return what the account has left and has used."""
        return await self._ask(self_request(), read_balance)

    async def charged(self, request_id: str) -> Charge | None:
        """
        Return what the request with this ``X-Request-ID`` cost.

        ``None`` if the log has no charge for it: nothing was charged, or the
        operator has switched the log off, or the entry is a few seconds late.
        A job that was accepted with code 22 is not charged. A value that is no
        such id is a :exc:`ConfigurationError`.
        """
        given: object = request_id
        is_text = isinstance(given, str) and given.isprintable()
        if not is_text or not request_id.strip():
            raise ConfigurationError(
                f"give the X-Request-ID of a submit, not {request_id!r:.80}"
            )
        return await self._ask(
            log_request(request_id),
            lambda response: read_charge(response, request_id),
        )

    async def find(self, *, state: str) -> tuple[TaskRecord, ...]:
        """
        Return the tasks with this *state*, newest first, of the latest 10,000.

        A task shows its state only after the server's next refresh, some ten
        seconds after it was made. Resume one with ``client.task(id)``.
        """
        found: dict[str, TaskRecord] = {}
        for number in range(1, PAGES + 1):
            page = await self._ask(tasks_request(number), read_tasks)
            for record in page.records:
                if record.state == state:  # twice, if a newer task moved it down
                    found.setdefault(record.task_id, record)
            if page.is_last(number) or not page.rows:
                break
        return tuple(found.values())
