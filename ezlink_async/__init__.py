"""
Asyncio-native client for the EZLINK AI API.

Its main job is swapping faces: submit many swaps in parallel, await each
through its :class:`TaskHandle`, bring every result home, verified.

Names load on first use, so that importing the package starts nothing.
"""

__version__ = "0.1.0"
