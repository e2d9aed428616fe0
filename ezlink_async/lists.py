"""Whether a server's list call can be used just now. Pure."""

from __future__ import annotations

import math

from ezlink_async.services.base import TaskFamily

_NO_SUCH_CALL = frozenset({404, 405, 501})
_LONGEST_PAUSE = 64  # times the longest step of the policy


class Lists:
    """
    Which kinds of tasks may be asked for by list, and from when on.

    What refuses a list once may be a proxy in passing, or mean one id among
    many: so it is tried again after a while, the longer the more often.
    """

    def __init__(self, pause: float) -> None:
        self._pause = pause
        self._refused: dict[str, int] = {}
        self._from: dict[str, float] = {}

    def serve(self, family: TaskFamily, now: float) -> bool:
        """Whether tasks of *family* may be asked for by list now."""
        return bool(family.list_limit) and now >= self._from.get(family.name, 0.0)

    def refused(self, kind: str, now: float, status: int) -> None:
        """Do without for a while, or for good when there is no such call."""
        if status in _NO_SUCH_CALL:
            self._from[kind] = math.inf
        elif now >= self._from.get(kind, 0.0):  # of several at once, one counts
            times = self._refused.get(kind, 0)
            self._refused[kind] = times + 1
            self._from[kind] = now + self._pause * min(2**times, _LONGEST_PAUSE)

    def worked(self, kind: str) -> None:
        """Forget earlier refusals."""
        self._refused.pop(kind, None)
