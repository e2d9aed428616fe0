"""
Text and file names of strangers, made safe for a page and for a terminal.

A page takes text from :func:`markup`, data for its script from
:func:`script_json`, and URLs from :func:`address`, and nothing else. A terminal
takes text from :func:`shown`.
"""

from __future__ import annotations

import html
import itertools
import json
import os
import unicodedata
from pathlib import Path, PurePath
from urllib.parse import quote

# Control, format and surrogate characters and separators of lines: they hide,
# reorder or break the text around them.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})

# Joined emoji and several scripts cannot be written without these two.
_JOINERS = "\u200c\u200d"

# Inside a script element only these could end it, or begin a comment.
_IN_SCRIPT = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})

# Python's surrogates for the bytes of a file name that cannot be decoded.
_BYTES = range(0xDC80, 0xDD00)


def _visible(character: str, kept: str) -> str:
    if character in kept or unicodedata.category(character) not in _UNSEEN:
        return character
    number = ord(character)
    if number in _BYTES:
        return f"\\x{number - 0xDC00:02x}"
    return f"⟨U+{number:04X}⟩"


def shown(text: object, *, lines: bool = False) -> str:
    """
    Return *text* with its invisible and unencodable characters spelled out.

    Line breaks are spelled out too, unless *lines* allows them.
    """
    text = str(text)
    if text.isprintable():
        return text
    kept = _JOINERS + ("\n" if lines else "")
    return "".join(_visible(character, kept) for character in text)


def markup(text: str, *, lines: bool = False) -> str:
    """Return *text* as :func:`shown`, escaped for an element or an attribute."""
    return html.escape(shown(text, lines=lines))


def script_json(row: object) -> str:
    """Return *row* as ASCII JSON that cannot end the script element around it."""
    text = json.dumps(row, separators=(",", ":"))
    return text.translate(_IN_SCRIPT)


def absolute(path: Path) -> Path:
    """Return the absolute path, without following links."""
    # Not `resolve`: a browser reads `..` without following links.
    return Path(os.path.abspath(path))  # noqa: PTH100


def _quoted(part: str) -> str:
    return quote(os.fsencode(part), safe="")


def address(path: PurePath, folder: PurePath) -> str:
    """
    Return the URL of *path* for a page in *folder*; both are absolute.

    The URL is relative, so that both can be moved together and the page does not
    reveal where they are. Only a path on another drive of Windows needs more.
    """
    kind = type(path)  # compares names as its system does, perhaps without case
    if kind(path.anchor) != kind(folder.anchor):
        text = quote(os.fsencode(path.as_posix()), safe="/:")
        return f"file:{text}" if text.startswith("//") else f"file:///{text}"
    ours, theirs = path.parts, folder.parts
    steps = zip(ours, theirs, strict=False)
    equal = (kind(one) == kind(other) for one, other in steps)
    same = sum(itertools.takewhile(bool, equal))
    return "/".join([*[".."] * (len(theirs) - same), *map(_quoted, ours[same:])])
