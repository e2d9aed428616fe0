"""
Text and file names of strangers, made safe to stand in a page.

Three kinds of places, three functions: what is read, what is data in a script
element, and what is an address. Nothing reaches the page by another way.
"""

from __future__ import annotations

import html
import itertools
import json
import os
import unicodedata
from pathlib import Path, PurePath
from urllib.parse import quote

# They hide, reorder or break the text around them.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})

# Joined emoji and several scripts cannot be written without these two.
_JOINERS = "\u200c\u200d"

# Inside a script element only these could end it, or begin a comment.
_IN_SCRIPT = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})

# What a byte of a name that is no text looks like to Python.
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
    Make visible what would hide, reorder or not encode; keep the rest.

    Line breaks are such, too, unless the text may have *lines*.
    """
    text = str(text)
    if text.isprintable():
        return text
    kept = _JOINERS + ("\n" if lines else "")
    return "".join(_visible(character, kept) for character in text)


def markup(text: str, *, lines: bool = False) -> str:
    """Return *text*, as it is :func:`shown`, for an element or an attribute."""
    return html.escape(shown(text, lines=lines))


def script_json(row: object) -> str:
    """Return *row* as JSON of ASCII only that no script element ends at."""
    text = json.dumps(row, separators=(",", ":"))
    return text.translate(_IN_SCRIPT)


def absolute(path: Path) -> Path:
    """Return *path* from the top, with its links as they are."""
    # Not `resolve`: a browser does not follow links when it reads `..`.
    return Path(os.path.abspath(path))  # noqa: PTH100


def _quoted(part: str) -> str:
    return quote(os.fsencode(part), safe="")


def address(path: PurePath, folder: PurePath) -> str:
    """
    Return the URL of *path* for a page in *folder*; both are absolute.

    Relative, so that both can be moved together, and so that the page does not
    tell where they are. Only another drive of Windows needs all of it.
    """
    kind = type(path)  # knows whether its names have one case only
    if kind(path.anchor) != kind(folder.anchor):
        return _from_the_top(path)
    ours, theirs = path.parts, folder.parts
    steps = zip(ours, theirs, strict=False)
    equal = (kind(one) == kind(other) for one, other in steps)
    same = sum(itertools.takewhile(bool, equal))
    return "/".join([*[".."] * (len(theirs) - same), *map(_quoted, ours[same:])])


def _from_the_top(path: PurePath) -> str:
    text = quote(os.fsencode(path.as_posix()), safe="/:")
    return f"file:{text}" if text.startswith("//") else f"file:///{text}"
