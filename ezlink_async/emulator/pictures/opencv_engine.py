"""
The local engine as the emulator uses it: bytes in, bytes out.

Synchronous, and safe to call from several threads at once; the server runs it in an
executor. The only part of the emulator that needs the `local` extra.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable

try:
    import cv2

    from ezlink_async.emulator.engine.swap import Source, Swapper
    from ezlink_async.emulator.pictures.codec import (
        MAX_PIXELS,
        Picture,
        decode,
        encode,
    )
except ImportError as _missing:
    raise ImportError(
        "the local engine needs numpy and OpenCV: pip install 'ezlink-async[local]' "
        f"({_missing})"
    ) from _missing

_KEPT_SOURCES = 8


class AnalysedSources:
    """The last sources used. Each is analysed once, even if threads ask together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()

    def get(self, data: bytes, analyse: Callable[[bytes], Source]) -> Source:
        """Return the source in *data*, from memory or by *analyse*."""
        key = hashlib.sha256(data).digest()
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
            if len(self._entries) > _KEPT_SOURCES:
                self._entries.popitem(last=False)
        return entry.get(data, analyse)


class _Entry:
    """One source. A failed analysis is not kept: the next thread tries again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._source: Source | None = None

    def get(self, data: bytes, analyse: Callable[[bytes], Source]) -> Source:
        with self._lock:
            if self._source is None:
                self._source = analyse(data)
            return self._source


class OpenCVEngine:
    """
    Puts the face of one picture into all faces of another, or the largest only.

    Each calling thread gets networks of its own, about 3 MB and 10 ms the first
    time; threads share analysed sources. *max_pixels* is the limit of both pictures.
    """

    name = "opencv"

    def __init__(
        self, *, max_pixels: int = MAX_PIXELS, largest_only: bool = False
    ) -> None:
        # A setting of the whole process: several photos at once use the cores
        # better than several threads inside one photo.
        cv2.setNumThreads(1)
        self._max_pixels = max_pixels
        self._largest_only = largest_only
        self._sources = AnalysedSources()
        self._thread = threading.local()

    def swap(self, source: bytes, target: bytes) -> bytes:
        """
        Return *target* with the face of *source*, in the same format and size.

        The metadata of the result says that it is synthetic. Raises ``FaceError``,
        whose *which* names the picture, or ``PictureError`` for unusable bytes.
        """
        picture = self._decode(target)
        known = self._sources.get(source, self._analyse)
        pixels = self._swapper().swap(
            known, picture.pixels, largest_only=self._largest_only
        )
        return encode(Picture(pixels, picture.alpha, picture.header))

    def check_source(self, source: bytes) -> None:
        """
        Raise the error by which :meth:`swap` would refuse *source* for any target.

        It is kept, so that the swaps that follow need not analyse it again.
        """
        self._sources.get(source, self._analyse)

    def _analyse(self, data: bytes) -> Source:
        return self._swapper().analyse(self._decode(data).pixels)

    def _decode(self, data: bytes) -> Picture:
        return decode(data, max_pixels=self._max_pixels)

    def _swapper(self) -> Swapper:
        swapper: Swapper | None = getattr(self._thread, "swapper", None)
        if swapper is None:
            swapper = self._thread.swapper = Swapper()
        return swapper


def load_engine(*, largest_only: bool = False) -> OpenCVEngine:
    """
    Return the local engine.

    Importing this module raises ImportError, with the command to install the `local`
    extra, when that is missing.
    """
    return OpenCVEngine(largest_only=largest_only)
