"""
Faults to be rehearsed: the kinds of ``playing``, and the usual ones by name.

``control.script("submit", faults.proxy(504, job=True), faults.Drop(job=True))``
"""

from ezlink_async.emulator.playing import (
    Answer,
    Cut,
    Delay,
    Drop,
    Fault,
    Garbage,
    Picture,
    Rows,
    Stall,
    Trouble,
    Upstream,
)

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
