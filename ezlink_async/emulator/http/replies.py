"""
Answers as values, in the envelopes of the real server.

Nothing here sends: see ``exchange``. Texts and their blanks are those of
ye4293/one-api ``controller/relay.go`` RelayMidjourney and ``middleware/auth.go``.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping

from attrs import evolve, frozen

from ezlink_async.emulator.http import go_json

__all__ = [
    "HTML",
    "JSON",
    "JSON_UTF8",
    "TEXT",
    "Reply",
    "api_error",
    "as_json",
    "image_error",
    "redirect",
    "sniffed_json",
    "unknown_path",
    "upstream_error",
]

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

    *sniffed* puts the content type behind the other headers, where Go's server
    puts one it found out itself. *bare* answers skipped all middleware: no request
    id, no CORS. *vary* is how often ``Vary: Origin`` is sent. *keep* cuts the body
    after so many bytes, *clean* or by a broken connection; *drip* is the pause
    between its blocks of *block* bytes.
    """

    status: int
    body: bytes = b""
    content_type: str | None = JSON_UTF8
    headers: tuple[tuple[str, str], ...] = ()
    reason: str | None = None
    sniffed: bool = False
    bare: bool = False
    vary: int = 3
    close: bool = False
    keep: int | None = None
    drip: float = 0.0
    block: int = 65_536

    def packed(self) -> Reply:
        """Return the same answer gzipped, as gin-contrib/gzip marks it."""
        headers = (
            *self.headers,
            ("Content-Encoding", "gzip"),
            ("Vary", "Accept-Encoding"),
        )
        return evolve(self, headers=headers, vary=0)


def as_json(value: object, *, status: int = 200, content_type: str = JSON) -> Reply:
    """Return *value* as a body of JSON."""
    return Reply(status, go_json.dumps(value), content_type)


def sniffed_json(status: int, value: object) -> Reply:
    """Return JSON whose handler named no content type, so that Go calls it text."""
    return Reply(status, go_json.dumps(value), TEXT, sniffed=True)


def api_error(status: int, message: str, request_id: str) -> Reply:
    """Return a refusal from in front of the handlers (envelope A)."""
    text = f"{message} (request id: {request_id})"
    body = {"error": {"message": text, "type": "api_error"}}
    return as_json(body, status=status, content_type=JSON_UTF8)


def upstream_error(code: int, description: str, result: str = "") -> Reply:
    """Return a refusal of the Midjourney handlers (envelope B), 400 or 429."""
    saturated = 30
    status = 429 if code == saturated else 400
    told = _SATURATED if code == saturated else result
    text = _without_hosts(f"{description} {told}")
    body = {"code": code, "description": text, "type": "upstream_error"}
    return as_json(body, status=status, content_type=JSON_UTF8)


def image_error(status: int, text: str) -> Reply:
    """Return a refusal of the picture handler (envelope C)."""
    return as_json({"error": text}, status=status, content_type=JSON_UTF8)


def _without_hosts(text: str) -> str:
    # relay/util/common.go ProcessString: names go, addresses become "<host>".
    return _HOSTS.sub(_hidden, text)


def _hidden(found: re.Match[str]) -> str:
    try:
        ipaddress.ip_address(found[2])
    except ValueError:
        return ""
    return "<host>"


def redirect(method: str, location: str) -> Reply:
    """Return what gin answers when a slash too many, or too few, was asked for."""
    headers = (("Location", location),)
    if method != "GET":
        return Reply(307, b"", None, headers, bare=True)
    body = f'<a href="{location}">Moved Permanently</a>.\n\n'.encode()
    return Reply(301, body, HTML, headers, bare=True)


def unknown_path(method: str, path: str) -> Reply:
    """Return the 404 of a path nobody serves: JSON below /v1 and /api, else HTML."""
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
