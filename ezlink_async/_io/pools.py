"""
How connections are made: pools, proxies, and who may be talked to.

No pool has a limit: waiting for a free connection would count as connecting.
"""

from __future__ import annotations

import errno
import socket
import urllib.request
from contextlib import AsyncExitStack

import aiohttp
import attrs

from ezlink_async._core.policies import Timeouts
from ezlink_async._core.settings import Settings, is_loopback
from ezlink_async._io.addresses import (
    _USUAL_PORTS,
    AddressRefusedError,
    is_public,
    origin,
    parse_url,
)
from ezlink_async.errors import ClientClosedError, ConfigurationError

SUBMIT_KEEPALIVE = 2.0
"""Seconds a connection may have been idle before a submit goes out on it."""

_KEEPALIVE = 15.0


def _public_socket(found: aiohttp.AddrInfoType) -> socket.socket:
    """Make a socket to a public address only: nothing can be smuggled in."""
    family, kind, number, _, place = found
    if not is_public(str(place[0])):
        raise OSError(errno.EACCES, f"{place[0]} is no public address")
    return socket.socket(family, kind, number)


def with_key(key: str) -> aiohttp.ClientMiddlewareType:
    """
    Return what puts *key* into a request, whatever else is in its place.

    As a plain header aiohttp refuses it beside an entry in ``.netrc``.
    """

    async def put(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        request.headers["Authorization"] = f"Bearer {key}"
        return await handler(request)

    return put


def request_timeout(
    timeouts: Timeouts, idle: float | None = None
) -> aiohttp.ClientTimeout:
    """Bound making a connection and, with *idle*, each silence of the answer."""
    return aiohttp.ClientTimeout(total=None, connect=timeouts.connect, sock_read=idle)


@attrs.frozen
class Route:
    """How a request gets where it is sent."""

    _session: aiohttp.ClientSession
    proxy: str | None = None
    given: bool = False

    def session(self) -> aiohttp.ClientSession:
        """Return the session to ask, which must be open and as it should be."""
        if self.given:
            check_session(self._session)
        elif self._session.closed:
            raise ClientClosedError
        return self._session

    def sign(
        self, headers: dict[str, str], key: str
    ) -> tuple[aiohttp.ClientMiddlewareType, ...]:
        """Put *key* into *headers*, or return what will, for a session given."""
        if self.given:
            return (with_key(key),)
        headers["Authorization"] = f"Bearer {key}"
        return ()


class ConnectionPools:
    """
    The connections of one client, by what they are for.

    A caller's session is used for the API, and left open.
    """

    submits: Route
    fetches: Route
    _plain: aiohttp.ClientSession
    _public: aiohttp.ClientSession

    def __init__(self, settings: Settings, given: aiohttp.ClientSession | None) -> None:
        self._base_url = settings.base_url
        self._home = f"{settings.base_url}/"  # of no other host: it ends there
        self._timeouts = settings.timeouts
        self._given = given
        self._stack = AsyncExitStack()

    async def open(self) -> None:
        """Make the pools; nothing is connected yet."""
        proxy = None
        parse_url(self._base_url)
        if self._given is None:
            proxy = proxy_for(self._base_url)
        else:
            check_session(self._given)
        self._plain = await self._make(_KEEPALIVE)
        self._public = await self._make(_KEEPALIVE, _public_socket)
        if self._given is None:
            # A stale connection would make a submit unknown.
            self.submits = Route(await self._make(SUBMIT_KEEPALIVE), proxy)
            self.fetches = Route(self._plain, proxy)
        else:
            self.submits = self.fetches = Route(self._given, given=True)

    async def _make(
        self, keepalive: float, socket_factory: aiohttp.SocketFactoryType | None = None
    ) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=0, keepalive_timeout=keepalive, socket_factory=socket_factory
        )
        session = aiohttp.ClientSession(
            connector=connector,
            # The server sets none; a proxy's would only mix the requests up.
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=request_timeout(self._timeouts),
        )
        return await self._stack.enter_async_context(session)

    async def close(self) -> None:
        """Close what was made here; the second time does nothing."""
        await self._stack.aclose()

    def way_to(self, url: str, *, strict: bool) -> Route:
        """Return the way to a download, or :exc:`AddressRefusedError`."""
        if url.startswith(self._home) or origin(url) == origin(self._base_url):
            return self.fetches
        scheme, host, _ = origin(url)
        _, home, _ = origin(self._base_url)
        if scheme in _USUAL_PORTS and is_public(host):
            proxy = proxy_for(url)
            # A proxy resolves names by itself, and may itself be private.
            return Route(self._plain if proxy else self._public, proxy)
        if scheme in _USUAL_PORTS and host and not strict and not is_public(home):
            return Route(self._plain, proxy_for(url))
        raise AddressRefusedError(
            f"{url} is no address of the public internet, and not the API's"
        )


_NOT_THEIRS = ("Expect", "Content-Length", "Content-Encoding", "Transfer-Encoding")


def check_session(session: aiohttp.ClientSession) -> None:
    """Refuse a caller's session that would break every request."""
    if session.closed:
        raise ConfigurationError("the session given as http= is closed")
    if session.auth is not None:
        raise ConfigurationError(
            "the session given as http= has auth= of its own, which cannot go "
            "together with the API key: make one without"
        )
    for name in _NOT_THEIRS:
        if name in session.headers:
            raise ConfigurationError(
                f"the session given as http= sends {name} with each request, which "
                "says how its body comes: make one without"
            )


def proxy_for(url: str) -> str | None:
    """
    Return the proxy the environment names for *url*, honouring ``NO_PROXY``.

    Read once per client: aiohttp's own ``trust_env`` reads it for each request.
    """
    scheme, host, port = origin(url)
    if is_loopback(host):
        return None
    proxies = urllib.request.getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    if not proxy or urllib.request.proxy_bypass(f"{host}:{port}"):
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    try:
        kind = parse_url(proxy).scheme
    except AddressRefusedError:
        kind = ""
    if kind in _USUAL_PORTS:
        return proxy
    # Of what is no address any part may be a password.
    found = f"a {kind} proxy" if kind else "a proxy without an address"
    raise ConfigurationError(
        f"the environment names {found} for {scheme}://{host}, and only HTTP proxies "
        "can be used: set HTTPS_PROXY, or NO_PROXY to do without"
    )
