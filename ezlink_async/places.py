"""Where a result may lie, and in which order to look. Pure."""

from __future__ import annotations

import attrs

from ezlink_async.connections import AddressRefusedError, is_public, origin

MAX_BYTES = 100 * 1024 * 1024
"""The most bytes of one result."""


@attrs.frozen
class Address:
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


def addresses(given: str | None, rebuilt: str, base_url: str) -> list[Address]:
    """
    Return where to look, in order: as given when it can be right, then rebuilt.

    The server builds ``imageUrl`` from a setting whose default is
    ``http://localhost:3000``, so private hosts are not believed unless the
    API is on such a host itself.
    """
    home = Address(rebuilt)
    if not given or given.split("?")[0] == rebuilt:
        return [home]
    try:
        _, host, _ = origin(given)
    except AddressRefusedError:
        return [home]
    _, known, _ = origin(base_url)
    believed = host == known or not is_public(known)
    if host and (believed or is_public(host)):
        return [Address(given, foreign=True), home]
    return [home]
