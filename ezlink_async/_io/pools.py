"""
Connection pools, proxies, and the route of each request.

No pool has a limit: waiting for a free connection would count as connecting.
"""

from __future__ import annotations

import errno
import socket
import urllib.request
from contextlib import AsyncExitStack, suppress

import aiohttp
import attrs

from ezlink_async._core.secret_text import SecretText
from ezlink_async._core.settings import Settings, is_loopback
from ezlink_async._io.addresses import (
    AddressRefusedError,
    is_public,
    origin,
    parse_url,
)
from ezlink_async.errors import ClientClosedError, ConfigurationError

SUBMIT_KEEPALIVE = 2.0
"""Seconds a connection may have been idle before a submit goes out on it."""

_KEEPALIVE = 15.0

_SCHEMES = ("http", "https")


def public_socket(found: aiohttp.AddrInfoType) -> socket.socket:
    """Create a socket for a public address only, whatever its name was."""
    family, kind, protocol, _, address = found
    if not is_public(str(address[0])):
        raise OSError(errno.EACCES, f"{address[0]} is no public address")
    return socket.socket(family, kind, protocol)


def with_key(key: str) -> aiohttp.ClientMiddlewareType:
    """
    Return a middleware that sends *key*, and replaces any other authorization.

    aiohttp refuses a plain header when a caller's session finds an entry for the
    host in ``.netrc``.
    """

    async def add_key(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        request.headers["Authorization"] = SecretText(f"Bearer {key}")
        return await handler(request)

    return add_key


@attrs.frozen
class Route:
    """The session and the proxy that a request takes."""

    _session: aiohttp.ClientSession
    proxy: str | None = attrs.field(default=None, repr=False)  # holds a password
    given: bool = False

    def session(self) -> aiohttp.ClientSession:
        """Return the session, or raise if it was closed or made unusable."""
        if self.given:
            check_session(self._session)
        elif self._session.closed:
            raise ClientClosedError
        return self._session


class ConnectionPools:
    """
    The connections of one client, by purpose.

    A session of the caller serves the requests to the API, and is left open.
    """

    submits: Route
    fetches: Route
    single: Route
    """Each request on a connection of its own."""
    _plain: aiohttp.ClientSession
    _public: aiohttp.ClientSession

    def __init__(self, settings: Settings, given: aiohttp.ClientSession | None) -> None:
        self._base_url = settings.base_url
        self._prefix = f"{settings.base_url}/"  # the slash ends the host
        self._given = given
        self._stack = AsyncExitStack()

    async def open(self) -> None:
        """Create the pools; nothing is connected yet."""
        parse_url(self._base_url)
        proxy = None
        if self._given is None:
            proxy = proxy_for(self._base_url)
        else:
            check_session(self._given)
        self._plain = await self._create(_KEEPALIVE)
        self._public = await self._create(_KEEPALIVE, public_socket)
        if self._given is None:
            # A connection that the server has just closed makes a submit unknown.
            self.submits = Route(await self._create(SUBMIT_KEEPALIVE), proxy)
            self.fetches = Route(self._plain, proxy)
            self.single = Route(await self._create(None), proxy)
        else:
            self.submits = self.fetches = Route(self._given, given=True)
            self.single = self.fetches

    async def _create(
        self,
        keepalive: float | None,
        socket_factory: aiohttp.SocketFactoryType | None = None,
    ) -> aiohttp.ClientSession:
        """Create a pool; without *keepalive* each request has a new connection."""
        connector = aiohttp.TCPConnector(
            limit=0,
            keepalive_timeout=keepalive,
            force_close=keepalive is None,
            socket_factory=socket_factory,
        )
        session = aiohttp.ClientSession(
            connector=connector,
            # The server sets no cookies; those of a proxy would link the requests.
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return await self._stack.enter_async_context(session)

    async def close(self) -> None:
        """Close the pools that were created here; a second call does nothing."""
        await self._stack.aclose()

    def route_to(self, url: str, *, strict: bool) -> Route:
        """Return the route of a download, or raise :exc:`AddressRefusedError`."""
        if url.startswith(self._prefix) or origin(url) == origin(self._base_url):
            return self.fetches
        scheme, host, _ = origin(url)
        _, api_host, _ = origin(self._base_url)
        if scheme in _SCHEMES and is_public(host):
            proxy = proxy_for(url)
            # A proxy resolves names itself, and may be on a private host.
            return Route(self._plain if proxy else self._public, proxy)
        if scheme in _SCHEMES and host and not strict and not is_public(api_host):
            return Route(self._plain, proxy_for(url))
        raise AddressRefusedError(
            f"{url!r} is no address of the public internet, and not the API's"
        )


_OWN_HEADERS = ("Expect", "Content-Length", "Content-Encoding", "Transfer-Encoding")


def check_session(session: aiohttp.ClientSession) -> None:
    """Raise :exc:`ConfigurationError` for a session that would break each request."""
    given: object = session
    if not isinstance(given, aiohttp.ClientSession):
        raise ConfigurationError(
            f"http= is an aiohttp.ClientSession, not {type(given).__name__}"
        )
    if session.closed:
        raise ConfigurationError("the session given as http= is closed")
    if session.auth is not None:
        raise ConfigurationError(
            "the session given as http= has auth= of its own, which cannot go "
            "together with the API key: make one without"
        )
    for name in _OWN_HEADERS:
        if name in session.headers:
            raise ConfigurationError(
                f"the session given as http= sends {name} with each request, which "
                "says how its body comes: make one without"
            )


def proxy_for(url: str) -> str | None:
    """
    Return the proxy that the environment names for *url*, honouring ``NO_PROXY``.

    A client reads it once; aiohttp's own ``trust_env`` reads it for each request.
    :exc:`ConfigurationError` for a proxy that cannot be used.
    """
    scheme, host, port = origin(url)
    if is_loopback(host):
        return None
    if urllib.request.proxy_bypass(f"{host}:{port}"):
        return None
    proxy = _named_proxy(scheme)
    kind = _scheme(proxy)
    if proxy is None or kind in _SCHEMES:
        return proxy
    # Any part of an unreadable address may be a password.
    found = f"a {kind} proxy" if kind else "a proxy without an address"
    raise ConfigurationError(
        f"the environment names {found} for {scheme}://{host}, and only HTTP proxies "
        "can be used: set HTTPS_PROXY, or NO_PROXY to do without"
    )


def _named_proxy(scheme: str) -> SecretText | None:
    proxies = urllib.request.getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    if not proxy:
        return None
    return SecretText(proxy if "://" in proxy else f"http://{proxy}")


def _scheme(proxy: str | None) -> str:
    """Return the scheme of a proxy's address; empty if it is none."""
    with suppress(AddressRefusedError):
        return parse_url(str(proxy)).scheme
    return ""
