"""
How connections are made: pools, proxies, and who may be talked to.

No pool has a limit: waiting for a free connection would count as connecting.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import re
from urllib.parse import urljoin

import attrs
import yarl

from ezlink_async._core.settings import is_loopback
from ezlink_async.errors import ConfigurationError

_PRIVATE_NAMES = (".local", ".internal", ".lan", ".home.arpa")

_USUAL_PORTS = {"http": 80, "https": 443}

_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)+")

_ROUTED = ipaddress.ip_network("2000::/3")  # all of IPv6 that is given out

_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")  # IPv4 in its last 32 bits


def is_public(host: str | None) -> bool:
    """
    Return whether *host* may be a server of the internet, judged by its text.

    Names are not resolved here; :func:`_public_socket` looks at what they are.
    """
    name = (host or "").strip("[]").rstrip(".").lower()
    if is_loopback(name) or "%" in name:  # a zone: of this machine's networks
        return False
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        # What ends in a number is an address to the system's resolver,
        # however odd: 127.1, 0177.0.0.1, 0x7f.1.
        last = name.rpartition(".")[2]
        odd = last.isdigit() or last.startswith("0x")
        named = _NAME.fullmatch(name) is not None
        return named and not odd and not name.endswith(_PRIVATE_NAMES)
    inner = _inner(address)
    known = inner.version == 4 or inner in _ROUTED  # noqa: PLR2004 - IPv4
    return known and inner.is_global and not inner.is_multicast


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _inner(address: _Address) -> _Address:
    """Return the IPv4 address that an IPv6 one leads to, else *address*."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _TRANSLATED:
        return ipaddress.IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour or address


@functools.lru_cache(512)
def parse_url(url: str) -> yarl.URL:
    """Return *url* as it is asked for, or :exc:`AddressRefusedError`."""
    with contextlib.suppress(ValueError):
        # Signed addresses break when they are quoted anew.
        address = yarl.URL(url, encoded=url.isascii())
        if address.raw_host and address.port is not None:
            return address
    raise AddressRefusedError(f"{url} is no address")


def origin(url: str) -> tuple[str, str, int | None]:
    """
    Return scheme, host and port; :exc:`AddressRefusedError` if it has none.

    They are those that are connected to: other readers of addresses see other
    hosts in odd digits and slashes.
    """
    address = parse_url(url)
    return address.scheme, (address.raw_host or "").lower(), address.port


def resolve_redirect(url: str, target: str) -> str:
    """Return where a redirect from *url* leads."""
    try:
        return urljoin(url, target)
    except ValueError:
        raise AddressRefusedError(f"{target} is no address") from None


class AddressRefusedError(ConfigurationError):
    """An address nothing is fetched from."""


MAX_BYTES = 100 * 1024 * 1024
"""The most bytes of one result."""


@attrs.frozen
class ResultAddress:
    """
    Where a result may lie.

    A *foreign* one is tried once. A *strict* one comes from a caller's own
    input and may lead to the public internet only, or to the API. *limit* is
    the most bytes that are taken.
    """

    url: str
    foreign: bool = False
    strict: bool = False
    limit: int = MAX_BYTES


def candidate_addresses(
    given: str | None, rebuilt: str, base_url: str
) -> list[ResultAddress]:
    """
    Return where to look, in order: as given when it can be right, then rebuilt.

    The server builds ``imageUrl`` from a setting whose default is
    ``http://localhost:3000``, so private hosts are not believed unless the
    API is on such a host itself.
    """
    home = ResultAddress(rebuilt)
    if not given or given.split("?")[0] == rebuilt:
        return [home]
    try:
        _, host, _ = origin(given)
    except AddressRefusedError:
        return [home]
    _, known, _ = origin(base_url)
    believed = host == known or not is_public(known)
    if host and (believed or is_public(host)):
        return [ResultAddress(given, foreign=True), home]
    return [home]
