"""
Swap faces between arrays, on the CPU, without a network.

Knows BGR arrays only: no event loop, no picture files, nothing of the server
around it. The one thing read from disk is its own weights.
"""

from ezlink_async.emulator.engine.swap import NoFaceError, Source, Swapper

__all__ = ["NoFaceError", "Source", "Swapper"]
