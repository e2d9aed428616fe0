"""What the system tells of a connection."""

from __future__ import annotations

import asyncio

from ezlink_async._io import upload
from tests.servers import Line, serving


async def _listen(line: Line) -> None:
    await line.until_gone()


async def test_an_open_connection_is_open_and_nothing_is_on_its_way() -> None:
    """Before anything was written everything has arrived."""
    async with serving(_listen) as server:
        _, stream = await asyncio.open_connection("localhost", server.port)
        assert upload.is_open(stream.transport)
        assert not upload.under_way(stream.transport)
        assert not upload.has_news(stream.transport)
        stream.close()


async def test_of_a_closed_connection_nothing_is_expected() -> None:
    """It is not open, and nothing is waited for."""
    async with serving(_listen) as server:
        _, stream = await asyncio.open_connection("localhost", server.port)
        stream.close()
        assert not upload.is_open(stream.transport)
        assert not upload.under_way(stream.transport)
        await stream.wait_closed()
        assert not upload.has_news(stream.transport)


class _Odd(asyncio.WriteTransport):
    """A connection that is no socket."""

    def is_closing(self) -> bool:
        """Stay open."""
        return False


def test_where_nothing_is_told_nothing_is_changed() -> None:
    """Without a socket to ask, it counts as open, empty, and without news."""
    assert upload.is_open(_Odd())
    assert not upload.under_way(_Odd())
    assert not upload.has_news(_Odd())
    upload.keep_little_unsent(_Odd())
