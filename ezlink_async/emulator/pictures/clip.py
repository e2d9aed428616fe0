"""
The stand-in for every video: a real MP4 that says that it is no generated video.

``clip.mp4`` has two seconds of H.264, 320 x 180 pixels, in 4.5 kB; the script beside
it says how it was made. Each copy carries its request in a last box, of the type
``uuid``, which players skip: so files of different requests differ. Short for a
module: ``sketch`` draws pictures, and nothing else of the emulator knows videos.
"""

from __future__ import annotations

import struct
from functools import cache
from importlib import resources

#: Marks the box as the emulator's, as ISO/IEC 14496-12 has it for private boxes.
BOX_ID = bytes.fromhex("8f1d3c52a64b4f0e9b7a2f60c1d4e835")

SECONDS = 2
"""The length of every video, also of one that was asked for with another."""


def clip_of(request: bytes) -> bytes:
    """Return the video with *request* in its last box."""
    head = struct.pack(">I4s", 8 + len(BOX_ID) + len(request), b"uuid")
    return _stand_in() + head + BOX_ID + request


@cache
def _stand_in() -> bytes:
    file = resources.files("ezlink_async.emulator.pictures") / "clip.mp4"
    return file.read_bytes()
