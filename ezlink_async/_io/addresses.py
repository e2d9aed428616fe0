"""Addresses: which hosts may be asked, and where a result is."""

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
from ezlink_async.models import Result

_PRIVATE_NAMES = (".local", ".internal", ".lan", ".home.arpa")

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)+")

_ALLOCATED = ipaddress.ip_network("2000::/3")  # the part of IPv6 that is in use

_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")  # IPv4 in its last 32 bits


def is_public(host: str | None) -> bool:
    """
    Return whether *host* may be a server of the internet, judged by its text.

    Names are not resolved here; the sockets of :mod:`~ezlink_async._io.pools`
    check the address that a name resolves to.
    """
    name = (host or "").strip("[]").rstrip(".").lower()
    if is_loopback(name) or "%" in name:  # a zone names a network of this machine
        return False
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        # The system's resolver takes every name that ends in a number for an
        # address: 127.1, 0177.0.0.1, 0x7f.1.
        last = name.rpartition(".")[2]
        numeric = last.isdigit() or last.startswith("0x")
        valid = _NAME.fullmatch(name) is not None
        return valid and not numeric and not name.endswith(_PRIVATE_NAMES)
    inner = _inner(address)
    usable = inner.version == 4 or inner in _ALLOCATED  # noqa: PLR2004 - IPv4
    return usable and inner.is_global and not inner.is_multicast


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _inner(address: _Address) -> _Address:
    """Return the IPv4 address that an IPv6 address embeds, else *address*."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _TRANSLATED:
        return ipaddress.IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour or address


@functools.lru_cache(512)
def parse_url(url: str) -> yarl.URL:
    """Return *url* as it is requested, or raise :exc:`AddressRefusedError`."""
    text = url.strip(" ")
    # A line break in a request would end its first line.
    if not _CONTROL.search(text):
        with contextlib.suppress(ValueError):
            # Quoting a signed address anew would break its signature, so only the
            # blank is quoted, which cannot stand in a request line.
            quoted = text.replace(" ", "%20")
            address = yarl.URL(quoted, encoded=quoted.isascii())
            host = address.raw_host
            if host and "%20" not in host and address.port is not None:
                return address
    raise AddressRefusedError(f"{url!r} is no address")


def without_secrets(url: str) -> str:
    """Return *url* as it may be logged: without user, password and query."""
    address = parse_url(url)
    return f"{address.origin()}{address.raw_path}"


def origin(url: str) -> tuple[str, str, int | None]:
    """
    Return scheme, host and port; :exc:`AddressRefusedError` for no address.

    They are those that aiohttp connects to: other parsers read other hosts out of
    odd digits and slashes.
    """
    address = parse_url(url)
    return address.scheme, (address.raw_host or "").lower(), address.port


def resolve_redirect(url: str, target: str) -> str:
    """Return the address that a redirect from *url* to *target* leads to."""
    try:
        return urljoin(url, target)
    except ValueError:
        raise AddressRefusedError(f"{target!r} is no address") from None


class AddressRefusedError(ConfigurationError):
    """An address from which nothing is downloaded."""


MAX_BYTES = 100 * 1024 * 1024
"""The most bytes of one picture."""

VIDEO_BYTES = 2 * 1024 * 1024 * 1024
"""The most bytes of one video."""


@attrs.frozen
class ResultAddress:
    """
    An address at which a result may be.

    A *foreign* one comes from a record, and is tried once. A *strict* one comes
    from the caller, and may lead to the public internet or to the API only.
    *limit* is the most bytes that are read.
    """

    url: str
    foreign: bool = False
    strict: bool = False
    limit: int = MAX_BYTES


@attrs.frozen
class InlineResult:
    """A result that came with the record of its task: its bytes, and what they are."""

    content: bytes = attrs.field(repr=False)
    is_text: bool = False


Source = list[ResultAddress] | InlineResult
"""Where one result is: the addresses to try, in order, or its bytes."""


def locate(result: Result | None, base_url: str, rebuilt: str | None = None) -> Source:
    """
    Return where *result* is, for :class:`~.download.Downloader`.

    ``None`` is a picture of which the record says nothing.

    *rebuilt* is the address that the API itself has for the only result of a task,
    where it has one. A text has line feeds alone between its lines. Without address
    and content the source is an empty list, from which a download is
    :exc:`DownloadError` with ``gone``.
    """
    result = result or Result(kind="image")
    content = result.content
    if content is not None and result.kind == "text":
        lines = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return InlineResult(lines, is_text=True)
    if content is not None:
        return InlineResult(content)
    limit = VIDEO_BYTES if result.kind == "video" else MAX_BYTES
    found = candidate_addresses(result.url, rebuilt, base_url)
    if limit == MAX_BYTES:
        return found
    return [attrs.evolve(address, limit=limit) for address in found]


def candidate_addresses(
    given: str | None, rebuilt: str | None, base_url: str
) -> list[ResultAddress]:
    """
    Return the addresses to try, in order: *given* if plausible, then *rebuilt*.

    Where *given* is the only one, it is tried like one of the API's own, several times.

    The server builds ``imageUrl`` from a setting whose default is
    ``http://localhost:3000``, so a private host is plausible only if the API is
    on a private host itself.
    """
    if rebuilt is None:
        return [ResultAddress(given)] if given else []
    own = ResultAddress(rebuilt)
    if given and given.split("?")[0] != rebuilt:
        with contextlib.suppress(AddressRefusedError):
            _, host, _ = origin(given)
            _, api_host, _ = origin(base_url)
            if host == api_host or is_public(host) or not is_public(api_host):
                return [ResultAddress(given, foreign=True), own]
    return [own]
