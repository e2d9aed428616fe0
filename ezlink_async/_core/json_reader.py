"""
JSON that a stranger wrote, read as far as it can be.

An answer may hold the id of a paid task, so one byte that is wrong must not hide
the others.
"""

from __future__ import annotations

import json

_CONTROL = "".join(map(chr, range(0x20)))


def parse_json(body: bytes) -> object:
    """
    Return the JSON of *body*, whatever its content type; ``None`` if none.

    Bytes that are not UTF-8 become U+FFFD, control characters in texts stay, and
    those around the value are dropped. GB 18030, the other encoding of Chinese
    servers, is tried when that fails: half of one of its characters may be a
    backslash, which hides the end of a text.
    """
    for encoding in ("utf-8-sig", "gb18030"):
        text = body.decode(encoding, "replace")
        try:
            return json.loads(text.strip(_CONTROL), strict=False)
        except (ValueError, RecursionError):
            if "\ufffd" not in text:
                break  # the bytes were read as they were meant
    return None
