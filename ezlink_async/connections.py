"""
How connections are made: pools, proxies, and who may be talked to.

No pool has a limit: waiting for a free connection would count as connecting.
"""

from __future__ import annotations

import ipaddress
import socket
import urllib.request
from contextlib import AsyncExitStack
from urllib.parse import urljoin, urlsplit

import aiohttp
import attrs
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import DefaultResolver

from ezlink_async.config import Settings, Timeouts, is_loopback
from ezlink_async.errors import ClientClosedError, ConfigurationError

SUBMIT_KEEPALIVE = 2.0
"""Seconds a connection may have been idle before a submit goes out on it."""

_KEEPALIVE = 15.0
_PRIVATE_NAMES = (".local", ".internal", ".lan", ".home.arpa")
_USUAL_PORTS = {"http": 80, "https": 443}


def is_public(host: str | None) -> bool:
    """
    Return whether *host* may be a server of the internet, judged by its text.

    Names are not resolved here; :class:`_PublicResolver` does that.
    """
    name = (host or "").strip("[]").rstrip(".").lower()
    if not name or is_loopback(name):
        return False
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        # What ends in a number is an address to the system's resolver,
        # however odd: 127.1, 0177.0.0.1, 0x7f.1.
        last = name.rpartition(".")[2]
        odd = last.isdigit() or last.startswith("0x")
        return "." in name and not odd and not name.endswith(_PRIVATE_NAMES)
    inner = isinstance(address, ipaddress.IPv6Address) and (
        address.ipv4_mapped or address.sixtofour
    )
    return (inner or address).is_global and not address.is_multicast


def origin(url: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port; :exc:`AddressRefusedError` if it has none."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise AddressRefusedError(f"{url} is no address") from None
    return parts.scheme, host, port or _USUAL_PORTS.get(parts.scheme)


def joined(url: str, target: str) -> str:
    """Return where a redirect from *url* leads."""
    try:
        return urljoin(url, target)
    except ValueError:
        raise AddressRefusedError(f"{target} is no address") from None


class AddressRefusedError(ConfigurationError):
    """An address nothing is fetched from."""


class _PublicResolver(AbstractResolver):
    """Resolves a name to its public addresses only, so none can be smuggled in."""

    def __init__(self) -> None:
        self._resolver = DefaultResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        public = [each for each in found if is_public(each["host"])]
        if not public:
            raise OSError(f"{host} has no public address")
        return public

    async def close(self) -> None:
        await self._resolver.close()


def request_timeout(
    timeouts: Timeouts, idle: float | None = None
) -> aiohttp.ClientTimeout:
    """Bound making a connection and, with *idle*, each silence of the answer."""
    return aiohttp.ClientTimeout(total=None, connect=timeouts.connect, sock_read=idle)


@attrs.frozen
class Way:
    """How a request gets where it is sent."""

    _session: aiohttp.ClientSession
    proxy: str | None = None
    given: bool = False

    def session(self) -> aiohttp.ClientSession:
        """Return the session to ask, which must be open."""
        if not self._session.closed:
            return self._session
        if self.given:
            raise ConfigurationError("the session given as http= was closed")
        raise ClientClosedError


class Pools:
    """
    The connections of one client, by what they are for.

    A caller's session is used for the API, and left open.
    """

    submits: Way
    fetches: Way
    _plain: aiohttp.ClientSession
    _public: aiohttp.ClientSession

    def __init__(self, settings: Settings, given: aiohttp.ClientSession | None) -> None:
        self._base_url = settings.base_url
        self._timeouts = settings.timeouts
        self._given = given
        self._stack = AsyncExitStack()

    async def open(self) -> None:
        """Make the pools; nothing is connected yet."""
        proxy = None
        if self._given is None:
            proxy = proxy_for(self._base_url)
        else:
            check_session(self._given)
        self._plain = await self._make(_KEEPALIVE)
        self._public = await self._make(_KEEPALIVE, _PublicResolver())
        if self._given is None:
            # A stale connection would make a submit unknown.
            self.submits = Way(await self._make(SUBMIT_KEEPALIVE), proxy)
            self.fetches = Way(self._plain, proxy)
        else:
            self.submits = self.fetches = Way(self._given, given=True)

    async def _make(
        self, keepalive: float, resolver: AbstractResolver | None = None
    ) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=0,
            keepalive_timeout=keepalive,
            resolver=resolver,
            use_dns_cache=resolver is None,
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

    def way_to(self, url: str, *, strict: bool) -> Way:
        """Return the way to a download, or :exc:`AddressRefusedError`."""
        if origin(url) == origin(self._base_url):
            return self.fetches
        scheme, host, _ = origin(url)
        _, home, _ = origin(self._base_url)
        if scheme in _USUAL_PORTS and is_public(host):
            proxy = proxy_for(url)
            # A proxy resolves names by itself, and may itself be private.
            return Way(self._plain if proxy else self._public, proxy)
        if scheme in _USUAL_PORTS and host and not strict and not is_public(home):
            return Way(self._plain, proxy_for(url))
        raise AddressRefusedError(
            f"{url} is no address of the public internet, and not the API's"
        )


def check_session(session: aiohttp.ClientSession) -> None:
    """Refuse a caller's session that would break every request."""
    if session.closed:
        raise ConfigurationError("the session given as http= is closed")
    if session.auth is not None:
        raise ConfigurationError(
            "the session given as http= has auth= of its own, which cannot go "
            "together with the API key: make one without"
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
    kind, found, _ = proxy.rpartition("://")
    if found and kind not in _USUAL_PORTS:
        raise ConfigurationError(
            f"the environment names a {kind} proxy for {scheme}://{host}, and only "
            "HTTP proxies can be used: set HTTPS_PROXY, or NO_PROXY to do without"
        )
    return proxy if found else f"http://{proxy}"
