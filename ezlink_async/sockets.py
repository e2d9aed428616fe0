"""
What the system knows of a connection, beyond what asyncio tells.

How much may wait in it unsent, what has arrived, and what came unread. Where a
system does not tell, the answers are the ones that change nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import struct
import sys

from aiohttp.abc import AbstractStreamWriter

if sys.platform == "linux":  # pragma: no branch - the others have no such call
    import fcntl
    import termios

# What may wait in the kernel: by default that is megabytes, and a body would
# count as gone long before.
_UNSENT = 128 * 1024
_ESTABLISHED = 1  # of the states of TCP, as Linux counts them
_ACKNOWLEDGED = 120  # where Linux keeps tcpi_bytes_acked in struct tcp_info
_COUNTER = 8


def keep_little_unsent(transport: asyncio.WriteTransport) -> None:
    """Let the kernel take no more than it is about to send."""
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    with contextlib.suppress(AttributeError, TypeError, OSError):
        transport.get_extra_info("socket").setsockopt(
            socket.IPPROTO_TCP, option, _UNSENT
        )


def under_way(transport: asyncio.WriteTransport) -> bool:
    """Tell whether something was not acknowledged yet, sent or not."""
    if sys.platform != "linux":  # pragma: no cover - elsewhere nothing tells
        return False
    if transport.is_closing():
        return False
    with contextlib.suppress(AttributeError, OSError, ValueError):
        descriptor = transport.get_extra_info("socket").fileno()
        return any(fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))
    return False


def is_open(transport: asyncio.WriteTransport) -> bool:
    """Tell whether both sides hold the connection, as far as is known here."""
    if transport.is_closing():
        return False
    if sys.platform != "linux":  # pragma: no cover - elsewhere nothing tells
        return True
    with contextlib.suppress(AttributeError, OSError, ValueError):
        wire = transport.get_extra_info("socket")
        numbers = wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _COUNTER)
        return bool(numbers[0] == _ESTABLISHED)
    return True


def has_news(transport: asyncio.WriteTransport | None) -> bool:
    """Tell whether something came that asyncio has not read yet."""
    with contextlib.suppress(AttributeError, OSError, ValueError):
        poll = select.poll()
        poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)  # type: ignore[union-attr]
        return bool(poll.poll(0))
    return False


def progress(
    writer: AbstractStreamWriter, transport: asyncio.WriteTransport
) -> tuple[int, int]:
    """Return what changes with each byte that moves."""
    taken = writer.output_size - transport.get_write_buffer_size()
    # On a slow line a block is long under way, out of asyncio's sight.
    acknowledged = 0
    with contextlib.suppress(AttributeError, OSError, struct.error):
        numbers = transport.get_extra_info("socket").getsockopt(
            socket.IPPROTO_TCP, socket.TCP_INFO, _ACKNOWLEDGED + _COUNTER
        )
        (acknowledged,) = struct.unpack_from("=Q", numbers, _ACKNOWLEDGED)
    return taken, acknowledged
