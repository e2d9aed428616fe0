"""
How connections are made: pools, proxies, and who may be talked to.

No pool has a limit: waiting for a free connection would count as connecting.
"""

from __future__ import annotations

import ipaddress
import socket
import urllib.request
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import DefaultResolver

from ezlink_async.config import Timeouts, is_loopback
from ezlink_async.errors import ConfigurationError

SUBMIT_KEEPALIVE = 2.0
"""Seconds a connection may have been idle before a submit goes out on it."""

_KEEPALIVE = 15.0
_PRIVATE_NAMES = (".local", ".internal", ".lan", ".home.arpa")


def is_public(host: str | None) -> bool:
    """
    Return whether *host* may be a server of the internet, judged by its text.

    Names are not resolved here; :func:`public_session` does that.
    """
    if not host or is_loopback(host):
        return False
    try:
        return ipaddress.ip_address(host.strip("[]")).is_global
    except ValueError:
        return "." in host and not host.lower().endswith(_PRIVATE_NAMES)


def origin(url: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port of *url*."""
    parts = urlsplit(url)
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or usual


def same_origin(one: str, other: str) -> bool:
    """Tell whether two addresses lead to the same server."""
    return origin(one) == origin(other)


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


def _session(
    connector: aiohttp.TCPConnector, timeouts: Timeouts
) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        # The server sets none; a proxy's would only mix the requests up.
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=request_timeout(timeouts),
    )


def request_timeout(
    timeouts: Timeouts, idle: float | None = None
) -> aiohttp.ClientTimeout:
    """Bound making a connection and, with *idle*, each silence of the answer."""
    return aiohttp.ClientTimeout(total=None, connect=timeouts.connect, sock_read=idle)


def submit_session(timeouts: Timeouts) -> aiohttp.ClientSession:
    """Make the pool of submits: a stale connection would make them unknown."""
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=SUBMIT_KEEPALIVE)
    return _session(connector, timeouts)


def fetch_session(timeouts: Timeouts) -> aiohttp.ClientSession:
    """Make the pool of everything else that goes to the API."""
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE)
    return _session(connector, timeouts)


def public_session(timeouts: Timeouts) -> aiohttp.ClientSession:
    """Make the pool of downloads from elsewhere: public addresses only."""
    connector = aiohttp.TCPConnector(
        limit=0,
        keepalive_timeout=_KEEPALIVE,
        resolver=_PublicResolver(),
        use_dns_cache=False,
    )
    return _session(connector, timeouts)


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
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback(host):
        return None
    proxies = urllib.request.getproxies()
    if urllib.request.proxy_bypass(host):
        return None
    return proxies.get(parts.scheme) or proxies.get("all")
