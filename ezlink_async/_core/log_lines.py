"""The log of the package, in which one message is one line."""

from __future__ import annotations

import logging
import re

# Control characters, ends of lines, marks of direction, halves of surrogate pairs.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\xa0\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class OneLine(logging.Filter):
    """
    Writes characters that end a line or steer a terminal as escapes.

    Ids, names of files and words of servers stand in messages: a line break in
    one of them would let it write lines of its own. The lines of a traceback are
    indented for the same reason.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Escape the message of *record*; every record passes."""
        text = record.getMessage()
        safe = _UNSAFE.sub(_escape, text)
        if safe != text:
            record.msg, record.args = safe, ()
        if record.exc_info and not record.exc_text:
            traceback = logging.Formatter().formatException(record.exc_info)
            lines = (_UNSAFE.sub(_escape, line) for line in traceback.split("\n"))
            record.exc_text = "\n".join(f"  {line}" for line in lines)
        return True


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


def get_logger() -> logging.Logger:
    """Return the logger of the package, whose messages are one line each."""
    logger = logging.getLogger("ezlink_async")
    if not any(isinstance(each, OneLine) for each in logger.filters):
        logger.addFilter(OneLine())
    return logger
