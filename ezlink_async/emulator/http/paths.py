"""
Paths as Go's server reads and writes them.

Short for a module: three facts about ``net/url`` and ``net/http``, which need nothing
of a request but its path.
"""

import posixpath
import re
from urllib.parse import quote

#: What net/http sends, before any handler, to a path that it cannot decode.
BAD_REQUEST = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Connection: close\r\n\r\n400 Bad Request"
)

_BAD_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")
# net/url shouldEscape: what may stand in a path beside letters and digits
_PLAIN = "$&+,/:;=@-_.~"


def is_well_escaped(text: str) -> bool:
    """Tell whether each ``%`` begins an escape of two hexadecimal digits."""
    return _BAD_ESCAPE.search(text) is None


def cleaned(path: str) -> str:
    """Return a decoded *path* as http.Redirect writes it; a slash at its end stays."""
    short = posixpath.normpath(f"/{path.lstrip('/')}")
    slash = "/" if path.endswith("/") and short != "/" else ""
    return quote(short, safe=_PLAIN) + slash
