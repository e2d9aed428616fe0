"""
Answers as values, in the envelopes of the real server.

``exchange`` sends them. Texts, with their odd blanks, are those of
ye4293/one-api ``controller/relay.go`` RelayMidjourney and ``middleware/auth.go``.
"""

from __future__ import annotations

import html
import ipaddress
import re
from collections.abc import Mapping

from attrs import evolve, frozen

from ezlink_async.emulator.http import go_json

JSON = "application/json"
JSON_UTF8 = "application/json; charset=utf-8"
TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"

_SATURATED = (
    "The current group load is saturated, please try again later,"
    " or upgrade your account to improve service quality."
)
_HOSTS = re.compile(
    r"(https?://)?([a-zA-Z0-9.-]+\.[a-zA-Z]{2,}|[0-9]{1,3}(?:\.[0-9]{1,3}){3})(:[0-9]+)?"
)


@frozen
class Reply:
    """
    An answer to be sent.

    *sniffed* puts the content type behind the other headers, where Go's server puts
    one that it detected itself. A *bare* answer skips all middleware: no request id,
    no CORS. *vary* is the number of ``Vary: Origin`` headers. *keep* breaks the
    connection after so many bytes of the body; *drip* is the pause in seconds
    between its blocks of *block* bytes. *flushed*: sent in chunks, however short. A
    header of *headers* with an empty text stands where the sender puts its own.
    """

    status: int
    body: bytes = b""
    content_type: str | None = JSON_UTF8
    headers: tuple[tuple[str, str], ...] = ()
    sniffed: bool = False
    bare: bool = False
    vary: int = 3
    close: bool = False
    keep: int | None = None
    drip: float = 0.0
    block: int = 65_536
    flushed: bool = False

    def names(self, header: str) -> bool:
        """Return whether the handler itself gives this header, and so its place."""
        return any(name == header for name, _ in self.headers)

    def packed_for(self, accept_encoding: str) -> Reply:
        """Return the answer, gzipped if accepted, as gin-contrib/gzip marks it."""
        if "gzip" not in accept_encoding:
            return self
        headers = (
            *self.headers,
            ("Content-Encoding", "gzip"),
            ("Vary", "Accept-Encoding"),
        )
        return evolve(self, headers=headers, vary=0)


def as_json(
    value: object, *, status: int = 200, content_type: str = JSON, vary: int = 3
) -> Reply:
    """Return *value* as a body of JSON."""
    return Reply(status, go_json.dumps(value), content_type, vary=vary)


def sniffed_json(status: int, value: object) -> Reply:
    """Return JSON that is sent as text, since its handler names no content type."""
    return Reply(status, go_json.dumps(value), TEXT, sniffed=True)


def api_error(status: int, message: str, request_id: str) -> Reply:
    """Return a refusal of the middleware in front of the handlers (envelope A)."""
    text = f"{message} (request id: {request_id})"
    body = {"error": {"message": text, "type": "api_error"}}
    return as_json(body, status=status, content_type=JSON_UTF8)


def upstream_error(code: int, description: str, result: str = "") -> Reply:
    """Return a refusal of the Midjourney handlers (envelope B), 400 or 429."""
    saturated = 30
    status = 429 if code == saturated else 400
    detail = _SATURATED if code == saturated else result
    text = without_hosts(f"{description} {detail}")
    body = {"code": code, "description": text, "type": "upstream_error"}
    return as_json(body, status=status, content_type=JSON_UTF8)


def image_error(status: int, text: str) -> Reply:
    """Return a refusal of the picture handler (envelope C)."""
    return as_json({"error": text}, status=status, content_type=JSON_UTF8)


def without_hosts(text: str) -> str:
    """Return *text* without names of hosts; addresses in digits become ``<host>``."""
    # relay/util/common.go ProcessString
    return _HOSTS.sub(_without_host, text)


def _without_host(found: re.Match[str]) -> str:
    try:
        ipaddress.ip_address(found[2])
    except ValueError:
        return ""
    return "<host>"


def redirect(method: str, location: str) -> Reply:
    """Return gin's answer to a path with a slash too many or too few at its end."""
    headers = (("Location", location),)
    if method != "GET":
        return Reply(307, b"", None, headers, bare=True)
    # net/http htmlEscape spells quotes otherwise than Python
    link = html.escape(location).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")
    body = f'<a href="{link}">Moved Permanently</a>.\n\n'.encode()
    return Reply(301, body, HTML, headers, bare=True)


def unknown_path(method: str, path: str) -> Reply:
    """Return the 404 of an unknown path: JSON below /v1 and /api, else HTML."""
    if not path.startswith(("/v1", "/api")):
        return Reply(404, b"", HTML, (("Cache-Control", "no-cache"),))
    error: Mapping[str, str] = {
        "message": f"Invalid URL ({method} {path})",
        "type": "invalid_request_error",
        "param": "",
        "code": "",
    }
    body = go_json.dumps({"error": error})
    return Reply(404, body, JSON_UTF8, (("Cache-Control", "max-age=604800"),))
