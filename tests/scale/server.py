"""The server of a very large batch, in a process of its own."""

from __future__ import annotations

from multiprocessing.connection import Connection

from ezlink_async.emulator import EmulatorSettings, in_thread


def serve(pipe: Connection[object, object]) -> None:
    """Serve until it is told to end; tell how many swaps were charged when asked."""
    settings = EmulatorSettings(
        concurrency=64, queue=10**9, balance=10**12, key_quota=None, code_22=False
    )
    with in_thread(settings) as server:
        pipe.send((server.api_key, server.base_url))
        while pipe.recv() != "end":
            pipe.send(len(server.control.charges))
