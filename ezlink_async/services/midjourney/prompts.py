"""
The mode in a prompt: the server charges by it, and never changes the prompt.

The server splits a prompt at blanks and takes the first of ``--fast``, ``--turbo``
and ``--relax`` that is one of the words: not the first in the prompt. Source:
``ye4293/one-api`` (``relay/channel/midjourney``, ParsePrompts).
"""

from __future__ import annotations

import re

from ezlink_async._core.log_lines import get_logger
from ezlink_async.errors import ConfigurationError
from ezlink_async.services.midjourney.submits import Mode

_log = get_logger()

# The blanks of Go, in which the server is written; Python knows four more.
_BLANKS = re.compile(
    "[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+"
)

_MODES = {f"--{mode.value}": mode for mode in (Mode.FAST, Mode.TURBO, Mode.RELAX)}

_LOOKALIKE = re.compile(r"--(?:fast|turbo|relax)(?![a-z0-9])", re.IGNORECASE)


def mode_flags(prompt: str) -> tuple[str, ...]:
    """Return the flags that the server sees in *prompt*, the charged one first."""
    words = set(_BLANKS.split(prompt))
    return tuple(flag for flag in _MODES if flag in words)


def mode_of(prompt: str) -> Mode | None:
    """Return the mode by which the server charges *prompt*, ``None`` without a flag."""
    return next((_MODES[flag] for flag in mode_flags(prompt)), None)


def with_mode(prompt: str, mode: Mode | None) -> str:
    """
    Return *prompt* with the flag of *mode* as its last word.

    The same flag is left alone. :exc:`ConfigurationError` for two flags, or for
    another one: the server would charge one of them, and the upstream may use the
    other.
    """
    flags = list(mode_flags(prompt))
    wanted = f"--{mode.value}" if mode else None
    if wanted and wanted not in flags:
        flags.append(wanted)
    if len(flags) > 1:
        raise ConfigurationError(
            f"two modes at once: {' and '.join(flags)}; leave one of them"
        )
    unchanged = wanted is None or wanted in mode_flags(prompt)
    return prompt if unchanged else f"{prompt} {wanted}"


def warn_of_lookalikes(prompt: str) -> None:
    """Warn in the log of words that look like a flag, which the server passes over."""
    found = [
        word
        for word in _BLANKS.split(prompt)
        if word not in _MODES and _LOOKALIKE.search(word)
    ]
    if found:
        _log.warning(
            "%r is no mode to the server, which wants a separate lower-case word: "
            "the prompt is charged as %s",
            found[0],
            (mode_of(prompt) or Mode.FAST).value,
        )
