"""
Faults for a test to inject: drops, delays, strange answers, trouble in the relay.

``control.script("submit", faults.proxy(504, job=True), faults.Drop(job=True))``
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol, TypedDict

from attrs import evolve, field, frozen, validators

from ezlink_async.emulator.http import go_json
from ezlink_async.emulator.http.exchange import Exchange
from ezlink_async.emulator.http.replies import HTML, Reply
from ezlink_async.emulator.scripts import Script

__all__ = [
    "Answer",
    "Cut",
    "Delay",
    "Drop",
    "Fault",
    "Garbage",
    "Life",
    "Mixture",
    "Picture",
    "Recorded",
    "Rows",
    "Stall",
    "Trouble",
    "Upstream",
    "banned_word",
    "limiter",
    "proxy",
    "queue_full",
    "queue_full_23",
    "recorded",
    "saturated",
]

# Headers of a recorded answer that the emulator sends as they are true for its own.
_MADE_ANEW = {
    *("connection", "content-length", "content-type", "date", "transfer-encoding"),
}

Proceed = Callable[[], Awaitable[Reply]]

_STATUS = [validators.instance_of(int), validators.ge(100), validators.le(999)]
_BROKEN = ("refused", "reset", "half", "slow")
_TROUBLES = (
    *("token_verification", "user_lookup", "no_channel", "user_quota_lookup"),
    *("insert_failed", "panic", "tasks_unreadable", "queued"),
    *("channel_disabled", "channel_deleted", "storage_down"),
)


class Fault(Protocol):
    """Something that goes wrong with one request."""

    async def apply(self, exchange: Exchange, proceed: Proceed) -> Reply:
        """Return the answer to send; *proceed* handles the request and returns its."""
        ...


def check_fault(value: object) -> None:
    """Raise TypeError unless *value* is a fault."""
    if isinstance(value, type) or not callable(getattr(value, "apply", None)):
        raise TypeError(
            f"{value!r} is no fault: make one of ezlink_async.emulator.faults, such as "
            "faults.Answer(500)"
        )


@frozen
class Answer:
    """
    Answer with these very bytes.

    With *job* the server handles the request first, and charges. With *early* it
    does not read the body first: an unread long body then closes the connection.
    *close* sends ``Connection: close``.
    """

    status: int = field(validator=_STATUS)
    body: str = field(default="", validator=validators.instance_of(str))
    content_type: str | None = HTML
    job: bool = False
    early: bool = False
    close: bool = False
    headers: tuple[tuple[str, str], ...] = ()

    async def apply(self, exchange: Exchange, proceed: Proceed) -> Reply:
        """Handle the request or not, then answer."""
        if self.job:
            await proceed()
        elif not self.early:
            await exchange.read()
        body, close = self.body.encode(), self.close
        kind, named = self.content_type, self.headers
        return Reply(self.status, body, kind, named, bare=True, close=close)


@frozen
class Recorded:
    """
    Answer as another server once did; *job* as in Answer.

    *headers* are sent as they are, and in *body* the recorded request id is replaced
    by that of the request. *complete*: the answer did not break off.
    """

    status: int = field(validator=_STATUS)
    headers: tuple[tuple[str, str], ...]
    body: bytes
    complete: bool = True
    job: bool = False

    async def apply(self, exchange: Exchange, proceed: Proceed) -> Reply:
        """Handle the request or not, then answer."""
        await (proceed() if self.job else exchange.read())
        given = {name.lower(): text for name, text in self.headers}
        number, body = exchange.request_id, self.body
        if old := given.get("x-request-id"):
            body = body.replace(old.encode(), number.encode())
        named = tuple(
            (name, number if name.lower() == "x-request-id" else text)
            for name, text in self.headers
            if name.lower() not in _MADE_ANEW
        )
        return Reply(
            self.status,
            body if self.complete else body + b"\0",  # announced, and never sent
            given.get("content-type"),
            named,
            sniffed=[*given][-1:] == ["content-type"],
            bare=True,
            close=given.get("connection") == "close",
            keep=None if self.complete else len(body),
        )


@frozen
class Drop:
    """
    Close the connection without an answer, with a RST when *reset*.

    With *job* the server first handles the request (it makes and charges the task);
    without, it first reads *after_bytes* of the body, or all of it.
    """

    job: bool = False
    after_bytes: int | None = None
    reset: bool = False

    async def apply(self, exchange: Exchange, proceed: Proceed) -> Reply:
        """Read or handle the request, then hang up."""
        await (proceed() if self.job else exchange.read(self.after_bytes))
        exchange.drop(reset=self.reset)


@frozen
class Stall:
    """Send nothing until the client leaves; *job* and *after_bytes* as in Drop."""

    job: bool = False
    after_bytes: int | None = None

    async def apply(self, exchange: Exchange, proceed: Proceed) -> Reply:
        """Read or handle the request, then fall silent."""
        await (proceed() if self.job else exchange.read(self.after_bytes))
        await exchange.stall()


@frozen
class Delay:
    """Answer as usual, *seconds* of real time later; with *job* the work is first."""

    seconds: float = field(validator=validators.ge(0))
    job: bool = False

    async def apply(self, exchange: Exchange, proceed: Proceed) -> Reply:
        """Wait before or after the handling."""
        if not self.job:
            await exchange.pause(self.seconds)
        reply = await proceed()
        if self.job:
            await exchange.pause(self.seconds)
        return reply


@frozen
class Garbage:
    """Send *content*, which is not HTTP, and hang up; *job* as in Drop."""

    content: str = "SSH-2.0-OpenSSH_9.6\r\n"
    job: bool = False

    async def apply(self, exchange: Exchange, proceed: Proceed) -> Reply:
        """Read or handle the request, then send the content."""
        await (proceed() if self.job else exchange.read())
        await exchange.send_raw(self.content.encode())


@frozen
class Cut:
    """Announce the whole answer, send *keep* bytes of it, and hang up."""

    keep: int = field(validator=validators.ge(0))

    async def apply(self, _exchange: Exchange, proceed: Proceed) -> Reply:
        """Cut the normal answer."""
        return evolve(await proceed(), keep=self.keep)


@frozen
class Upstream:
    """
    The upstream's answer to the relay, for a submit, a seed or a query of a video.

    No job is run. *body* is sent as JSON unless it is text. *broken* says how the
    relay's own call fails: ``refused``, ``reset`` (no answer), ``half`` (the answer
    breaks off) or ``slow`` (none within the relay's own limit).
    """

    status: int = field(default=200, validator=_STATUS)
    body: object = None
    broken: str = field(default="", validator=validators.in_(("", *_BROKEN)))

    @property
    def content(self) -> bytes:
        """The bytes of the body."""
        if isinstance(self.body, str):
            return self.body.encode()
        return go_json.dumps(self.body)

    async def apply(self, exchange: Exchange, proceed: Proceed) -> Reply:
        """Handle the request with this answer from the upstream."""
        exchange.overrides.upstream = self
        return await proceed()


@frozen
class Trouble:
    """
    Something is wrong inside the relay.

    Words: ``token_verification``, ``user_lookup``, ``no_channel``,
    ``user_quota_lookup``, ``insert_failed`` (charged, no row), ``panic`` (empty 500,
    nothing done), ``tasks_unreadable`` (fetch: unknown id; list: empty), ``queued``
    (accepted with code 22 even if the queue is empty: a swap is not charged),
    ``channel_disabled``, ``channel_deleted`` (of the task that an action, a modal or
    a seed goes on from, while another channel serves the call; the second also of a
    video that is asked for), ``storage_down`` (the relay cannot keep a Veo video, and
    shows its bytes).
    """

    word: str = field(validator=validators.in_(_TROUBLES))

    async def apply(self, exchange: Exchange, proceed: Proceed) -> Reply:
        """Handle the request under this trouble."""
        exchange.overrides.trouble |= {self.word}
        return await proceed()


@frozen
class Picture:
    """
    The answer of the picture's own server to the relay.

    *content* replaces the result (None: the result itself). *content_type* replaces
    its media type (empty: the true one; None: none is sent). *keep* truncates the
    content with a clean end. The relay passes on any *status* but 200, with the
    content as its text. *broken*: the server cannot be reached. *drip*: seconds
    between blocks of *block* bytes.
    """

    status: int = field(default=200, validator=_STATUS)
    content: str | bytes | None = None
    content_type: str | None = ""
    keep: int | None = None
    broken: bool = False
    drip: float = 0.0
    block: int = 65_536

    async def apply(self, exchange: Exchange, proceed: Proceed) -> Reply:
        """Handle the request with this answer from the picture's server."""
        exchange.overrides.picture = self
        return await proceed()


@frozen
class Life:
    """Let the task that this submit makes live by *script*."""

    script: Script = field(validator=validators.instance_of(Script))

    async def apply(self, exchange: Exchange, proceed: Proceed) -> Reply:
        """Handle the request with this life for its task."""
        exchange.overrides.life = self.script
        return await proceed()


def _check_shares(
    _mixture: object, _field: object, shares: tuple[tuple[float, Fault], ...]
) -> None:
    for _, fault in shares:
        check_fault(fault)
    rates = [rate for rate, _ in shares]
    if min(rates, default=0) < 0 or sum(rates) > 1:
        raise ValueError(f"rates are at least 0, and together at most 1, not {rates}")


@frozen
class Mixture:
    """One fault or none, at random: each of *shares* is a rate, and what strikes."""

    shares: tuple[tuple[float, Fault], ...] = field(validator=_check_shares)

    async def apply(self, exchange: Exchange, proceed: Proceed) -> Reply:
        """Apply one fault, or handle the request."""
        point = random.random()  # noqa: S311 - no secret
        for rate, fault in self.shares:
            if point < rate:
                return await fault.apply(exchange, proceed)
            point -= rate
        return await proceed()


@frozen
class Rows:
    """
    Falsify the rows of one fetch or list.

    *omit* leaves out these ids (an empty tuple: all of them), *repeat* shows each row
    twice, *backwards* reverses the order, *change* overwrites fields by their wire
    name.
    """

    omit: tuple[str, ...] | None = None
    repeat: bool = False
    backwards: bool = False
    change: dict[str, object] | None = None

    async def apply(self, exchange: Exchange, proceed: Proceed) -> Reply:
        """Handle the request, showing other rows."""
        exchange.overrides.rows = self
        return await proceed()


_NGINX = (
    "<html>\r\n<head><title>{0}</title></head>\r\n<body>\r\n<center><h1>{0}</h1>"
    "</center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)

_REASONS = {
    413: "413 Request Entity Too Large",
    502: "502 Bad Gateway",
    503: "503 Service Temporarily Unavailable",
    504: "504 Gateway Time-out",
}


def proxy(status: int, *, job: bool = False) -> Answer:
    """Return nginx's page for *status*; with *job* the server behind did its work."""
    early = status == 413  # noqa: PLR2004 - nginx refuses by the announced length
    body = _NGINX.format(_REASONS.get(status, str(status)))
    return Answer(status, body, "text/html", job=job, early=early, close=early)


def limiter(*, html: bool = False) -> Answer:
    """Return a proxy's 429 with an empty body, or as a page."""
    body = _NGINX.format("429 Too Many Requests") if html else ""
    return Answer(429, body, "text/html" if html else None)


def queue_full() -> Upstream:
    """Return the upstream's code 9 about its queue."""
    return Upstream(body={"code": 9, "description": "提交失败，队列已满，请稍后重试"})


def queue_full_23() -> Upstream:
    """Return the upstream's code 23."""
    number = "14001929738841620"
    body = {"code": 23, "description": "队列已满，请稍后尝试", "result": number}
    return Upstream(body=body)


def saturated() -> Upstream:
    """Return the upstream's code 30, which the relay turns into 429."""
    return Upstream(body={"code": 30, "description": "busy"})


def banned_word() -> Upstream:
    """Return the upstream's code 24."""
    return Upstream(body={"code": 24, "description": "可能包含敏感词"})


def recorded(name: str, *files: str | Path, job: bool = False) -> Fault:
    """
    Return the recorded exchange *name* of these files as a fault.

    Each line of a file is one exchange as JSON, with ``name`` and ``response``. An
    exchange without a response closes the connection. KeyError for an unknown name.
    """
    for file in files:
        for line in Path(file).read_text(encoding="utf-8").splitlines():
            if f'"{name}"' in line and (sample := json.loads(line))["name"] == name:
                return _played(sample["response"], job=job)
    raise KeyError(f"no exchange {name} in {', '.join(map(str, files))}")


class _Body(TypedDict, total=False):
    text: str
    base64: str
    bytes: int


class _Response(TypedDict):
    status: int
    headers: list[tuple[str, str]]
    body: _Body
    complete: bool


def _played(response: _Response, *, job: bool) -> Fault:
    if not response["status"]:
        return Drop(job=job)
    body = response["body"]
    content = body.get("text", " " * body.get("bytes", 0)).encode()
    if "base64" in body:
        content = base64.b64decode(body["base64"])
    headers = tuple((name, text) for name, text in response["headers"])
    return Recorded(response["status"], headers, content, response["complete"], job)
