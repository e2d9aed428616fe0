"""What one client has sent and received, in numbers that only grow."""

from __future__ import annotations

import attrs


@attrs.define
class Traffic:
    """
    The requests and bytes of one client.

    *requests* counts each attempt, *retries* those that repeat another one. Bytes
    are those of the bodies, as they are after decompression.
    """

    requests: int = 0
    retries: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
