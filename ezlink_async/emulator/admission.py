"""
Who may call: names of the server, origins of pages, the secret of the control API.

The emulator holds private pictures, on an address that each page in a browser of the
same machine can reach. Without the check of ``Host``, a page whose name is pointed at
this machine would be of the same origin; without the secret, any page could change the
emulator's state by a simple form.
"""

from __future__ import annotations

import hmac
from http import HTTPStatus
from urllib.parse import unquote

from attrs import evolve

from ezlink_async.emulator.http.exchange import Exchange
from ezlink_async.emulator.http.replies import TEXT, Reply, as_json
from ezlink_async.emulator.settings import EmulatorSettings

#: The header that carries the secret of a run.
SECRET_HEADER = "X-Emulator-Secret"  # noqa: S105 - a name, not the secret
#: The beginning of the emulator's own paths.
OWN_PATHS = "/__emu/"
# The relay's CORS middleware lets these pass without a header of its own.
_NOT_SHARED = {"HEAD", "PATCH"}


def is_called_by_its_name(exchange: Exchange, settings: EmulatorSettings) -> bool:
    """Tell whether ``Host`` is an address or a name of this server, on any port."""
    # No page can have the name localhost: browsers look it up in no network.
    known = {"localhost", exchange.local_address, settings.host, *settings.hosts}
    return exchange.host in map(str.lower, known)


def wrong_host(exchange: Exchange) -> Reply:
    """Return the refusal of a request that names another server."""
    text = (
        f"this emulator is not {exchange.header('Host') or 'without a name'}: call it "
        "by the address it listens on, or add the name to its setting hosts\n"
    )
    return Reply(HTTPStatus.MISDIRECTED_REQUEST, text.encode(), TEXT, bare=True)


def allowed_origin(exchange: Exchange, settings: EmulatorSettings) -> str:
    """Return the origin whose pages may read the answer, or an empty text."""
    origin = exchange.header("Origin")
    if exchange.method in _NOT_SHARED:
        return ""
    own = unquote(exchange.path).startswith(OWN_PATHS)  # as the routes read it
    if own or origin not in settings.origins:
        return ""
    return origin


def is_preflight(exchange: Exchange) -> bool:
    """Tell whether a browser asks if a page may send a request."""
    asked = exchange.header("Access-Control-Request-Method")
    return exchange.method == "OPTIONS" and bool(asked)


def preflight(exchange: Exchange) -> Reply:
    """Return the answer that lets the page send what it asked for."""
    asked = exchange.header("Access-Control-Request-Headers")
    names = ", ".join(name.strip().title() for name in asked.split(",") if name)
    method = exchange.header("Access-Control-Request-Method")
    vary = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
    headers = (
        *([("Access-Control-Allow-Headers", names)] if names else ()),
        ("Access-Control-Allow-Methods", method),
        ("Vary", vary),
    )
    return Reply(HTTPStatus.OK, b"", None, headers, vary=0)


def control_refusal(exchange: Exchange, secret: str) -> Reply | None:
    """Return the refusal of a call to the control API, None if it is allowed."""
    given = exchange.header(SECRET_HEADER).encode("utf-8", "surrogateescape")
    if not hmac.compare_digest(given, secret.encode()):
        return _refused(HTTPStatus.FORBIDDEN, f"{SECRET_HEADER} is missing or wrong")
    kind = exchange.header("Content-Type").partition(";")[0].strip().lower()
    if exchange.method == "POST" and kind != "application/json":
        text = "the Content-Type must be application/json"
        return _refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, text)
    return None


def _refused(status: HTTPStatus, text: str) -> Reply:
    return evolve(as_json({"error": text}, status=status), bare=True)
