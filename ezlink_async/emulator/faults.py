"""
Faults to be rehearsed: the kinds of ``playing``, and the usual ones by name.

``control.script("submit", faults.proxy(504, job=True), faults.Drop(job=True))``
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from attrs import evolve, frozen

from ezlink_async.emulator.http import go_json
from ezlink_async.emulator.http.exchange import Exchange
from ezlink_async.emulator.http.overrides import (
    PictureTrouble,
    RowTrouble,
    UpstreamAnswer,
)
from ezlink_async.emulator.http.replies import HTML, Reply

Proceed = Callable[[], Awaitable[Reply]]


class Fault(Protocol):
    """What plays around a request."""

    async def apply(self, exchange: Exchange, proceed: Proceed) -> Reply:
        """Return the answer, calling *proceed* for the normal one."""
        ...


@frozen
class Answer:
    """
    Answer with these very bytes. With *job* the request is handled first, and charged.

    With *early* the body is not read before: what is unread then closes the
    connection. *close* says so in a header.
    """

    status: int
    body: str = ""
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
class Drop:
    """
    Close the connection without an answer, with a RST when *reset*.

    With *job* after the request was handled (task made, charged); else after
    *after_bytes* of the body, or after all of it.
    """

    job: bool = False
    after_bytes: int | None = None
    reset: bool = False

    async def apply(self, exchange: Exchange, proceed: Proceed) -> Reply:
        """Hang up at the point asked for."""
        await _reach(self.after_bytes, exchange, proceed if self.job else None)
        exchange.drop(reset=self.reset)


@frozen
class Stall:
    """Say nothing until the client leaves; *job* and *after_bytes* as in Drop."""

    job: bool = False
    after_bytes: int | None = None

    async def apply(self, exchange: Exchange, proceed: Proceed) -> Reply:
        """Fall silent at the point asked for."""
        await _reach(self.after_bytes, exchange, proceed if self.job else None)
        await exchange.stall()


async def _reach(
    after_bytes: int | None, exchange: Exchange, proceed: Proceed | None
) -> None:
    if proceed is not None:
        await proceed()
    else:
        await exchange.read(after_bytes)


@frozen
class Delay:
    """Answer as usual, *seconds* of real time later; with *job* the work is first."""

    seconds: float
    job: bool = False

    async def apply(self, exchange: Exchange, proceed: Proceed) -> Reply:
        """Wait, before or after the handling."""
        before, after = (0.0, self.seconds) if self.job else (self.seconds, 0.0)
        await exchange.pause(before)
        reply = await proceed()
        await exchange.pause(after)
        return reply


@frozen
class Garbage:
    """Send something that is not HTTP, and hang up."""

    content: str = "SSH-2.0-OpenSSH_9.6\r\n"
    job: bool = False

    async def apply(self, exchange: Exchange, proceed: Proceed) -> Reply:
        """Handle the request or not, then send the words."""
        await _reach(None, exchange, proceed if self.job else None)
        await exchange.send_raw(self.content.encode())


@frozen
class Cut:
    """Announce the whole answer, send *keep* bytes of it, and hang up."""

    keep: int

    async def apply(self, _exchange: Exchange, proceed: Proceed) -> Reply:
        """Cut the normal answer."""
        return evolve(await proceed(), keep=self.keep)


@frozen
class Upstream:
    """
    What the upstream tells the relay, for a submit or a seed; no job is run.

    *body* is JSON when it is not text. *broken* is ``refused``, ``reset`` or
    ``half``: how the relay's own call fails.
    """

    status: int = 200
    body: object = None
    broken: str = ""

    async def apply(self, exchange: Exchange, proceed: Proceed) -> Reply:
        """Handle the request with this answer from the upstream."""
        text = self.body if isinstance(self.body, str) else None
        body = go_json.dumps(self.body) if text is None else text.encode()
        answer = UpstreamAnswer(self.status, body, self.broken)
        exchange.overrides.upstream = answer
        return await proceed()


@frozen
class Trouble:
    """
    Something is wrong inside the relay.

    Words: ``token_verification``, ``user_lookup``, ``no_channel``,
    ``user_quota_lookup``, ``insert_failed`` (charged, no row), ``panic`` (empty 500,
    nothing done), ``tasks_unreadable`` (fetch: unknown id; list: empty), ``queued``
    (accepted with code 22, whatever the queue: not charged).
    """

    word: str

    async def apply(self, exchange: Exchange, proceed: Proceed) -> Reply:
        """Handle the request under this trouble."""
        exchange.overrides.trouble |= {self.word}
        return await proceed()


@frozen
class Picture:
    """
    How the picture's own server answers the relay.

    Left out, *content* is the result and *content_type* what it is (None: none is
    named). *keep* truncates it with a clean end. Another *status* is passed on with
    the content as its text. *broken*: not reachable. *drip*: seconds between blocks
    of *block* bytes.
    """

    status: int = 200
    content: str | bytes | None = None
    content_type: str | None = ""
    keep: int | None = None
    broken: bool = False
    drip: float = 0.0
    block: int = 65_536

    async def apply(self, exchange: Exchange, proceed: Proceed) -> Reply:
        """Handle the request with this answer from the picture's server."""
        content = self.content
        if isinstance(content, str):
            content = content.encode()
        exchange.overrides.picture = PictureTrouble(
            status=self.status,
            content=content,
            content_type=self.content_type,
            keep=self.keep,
            broken=self.broken,
            drip=self.drip,
            block=self.block,
        )
        return await proceed()


@frozen
class Rows:
    """
    Falsify the rows of one fetch or list.

    *omit* leaves out these ids (an empty tuple: all of them), *repeat* shows each row
    twice, *backwards* turns the order, *change* overwrites fields by their wire name.
    """

    omit: tuple[str, ...] | None = None
    repeat: bool = False
    backwards: bool = False
    change: dict[str, object] | None = None

    async def apply(self, exchange: Exchange, proceed: Proceed) -> Reply:
        """Handle the request, showing other rows."""
        exchange.overrides.rows = RowTrouble(
            omit=self.omit,
            repeat=self.repeat,
            backwards=self.backwards,
            change=self.change,
        )
        return await proceed()


#: Faults by the word that names them on the control surface.
KINDS: dict[str, type] = {
    "answer": Answer,
    "cut": Cut,
    "delay": Delay,
    "drop": Drop,
    "garbage": Garbage,
    "picture": Picture,
    "rows": Rows,
    "stall": Stall,
    "trouble": Trouble,
    "upstream": Upstream,
}

__all__ = [
    "Answer",
    "Cut",
    "Delay",
    "Drop",
    "Fault",
    "Garbage",
    "Picture",
    "Rows",
    "Stall",
    "Trouble",
    "Upstream",
    "banned_word",
    "limiter",
    "proxy",
    "queue_full",
    "queue_full_23",
    "saturated",
]

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
    """Return nginx's page for *status*; with *job* the server did its work behind."""
    early = status == 413  # noqa: PLR2004 - nginx refuses by the length it is told
    body = _NGINX.format(_REASONS.get(status, str(status)))
    return Answer(status, body, "text/html", job=job, early=early, close=early)


def limiter(*, html: bool = False) -> Answer:
    """Return a proxy's 429 without a word, or as a page."""
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
