"""What the log says of the server as a whole: no connection, and waits it asks for."""

from __future__ import annotations

import datetime as dt
import math
import time
from collections.abc import Callable

from ezlink_async._core.log_lines import get_logger
from ezlink_async.errors import EzlinkError, TransportError

_LONG_WAIT = 15.0  # seconds; a shorter wait is no news
_SAME_WAIT = 5.0  # seconds between the ends of two waits that count as one
_MINUTE = 60.0
_HOUR = 60 * _MINUTE

_log = get_logger()


class OutageLog:
    """Logs once that a connection is lost, and once that it is back."""

    def __init__(self) -> None:
        self._offline = False

    def failed(self, error: EzlinkError) -> None:
        """Take note of a request that failed."""
        lost = isinstance(error, TransportError) and error.stage == "connect"
        if lost and not self._offline:
            self._offline = True
            _log.warning("%s; requests wait until the connection is back", error)

    def answered(self) -> None:
        """Take note of an answer."""
        if self._offline:
            self._offline = False
            _log.warning("the connection is back")


class ServerWaitLog:
    """
    Logs once that the server makes the client wait, and what happens when.

    *clock* returns the time in seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._until = 0.0
        self._says = ""
        self._is_stall = False

    @property
    def says(self) -> str:
        """What ends the longest wait of now, and when; empty if there is none."""
        return self._says if self._clock() < self._until else ""

    def begin(
        self, asked: float | None, seconds: float, most: float = math.inf
    ) -> None:
        """
        Note that the server asks to wait *asked* seconds, which takes *seconds*.

        After *most* seconds the client gives up.
        """
        asked, until = asked or 0.0, self._clock() + min(seconds, most)
        is_known = not self._is_stall and until < self._until + _SAME_WAIT
        if asked < _LONG_WAIT or is_known:
            return  # short, or the same wait met by another request
        end = self._clock_time(until, exact=asked < 2 * _MINUTE)
        self._until, self._is_stall = until, False
        self._says = f"{'going on' if seconds <= most else 'giving up'} at {end}"
        _log.warning("the server asks to wait %s; %s", _in_words(asked), self._says)

    def stall(self, why: str, most: float, *, by_time: bool) -> None:
        """
        Note that no submit gets through, and *why*.

        The client tries for *most* seconds; unless it does so *by_time* alone, the
        number of attempts may end that earlier.
        """
        if self.says:
            return
        self._until, self._is_stall = self._clock() + most, True
        self._says = "trying again"
        bound = f" for up to {_in_words(most)}" if by_time else ""
        _log.warning("%s; trying again%s", why, bound)

    def end(self) -> None:
        """Note that a submit got through."""
        self._until = 0.0

    def _clock_time(self, when: float, *, exact: bool) -> str:
        now, local = map(_local_time, (self._clock(), when))
        if local.date() != now.date():
            return f"{local:%Y-%m-%d %H:%M}"
        return f"{local:%H:%M:%S}" if exact else f"{local:%H:%M}"


def _local_time(when: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(when, dt.UTC).astimezone()


def _in_words(seconds: float) -> str:
    if seconds >= 2 * _HOUR:
        return f"{seconds / _HOUR:.0f} h"
    if seconds >= 2 * _MINUTE:
        return f"{seconds / _MINUTE:.0f} min"
    return f"{seconds:.0f} s"
