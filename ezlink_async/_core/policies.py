"""
How long to wait: before a retry, before the next poll, for each stage.

No clock and no event loop: the caller sleeps.
"""

from __future__ import annotations

import itertools
import math
import random
import sys
from collections.abc import Callable, Iterator
from typing import TypeGuard, TypeVar

import attrs
import backoff

from ezlink_async.errors import ConfigurationError

_Value = TypeVar("_Value")

TASK_DEADLINE = 900.0
"""Seconds from acceptance to the deadline of a task of most families."""

_MOST_DOUBLINGS = 64  # more than any wait needs, and no overflow


def is_number(value: object) -> TypeGuard[float]:
    """Return whether *value* fits a float and is no NaN; a boolean is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return not math.isnan(value)
    except OverflowError:
        return False


def is_duration(value: object) -> TypeGuard[float]:
    """Return whether *value* is a number of seconds: finite, above zero."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 < value <= sys.float_info.max


def check_seconds(value: object, where: str) -> float:
    """Return *value* if it is a number of seconds, else raise what it must be."""
    if is_duration(value):
        return value
    raise ConfigurationError(
        f"{where} is a number of seconds above 0, not {value!r:.40}"
    )


def check_count(value: object, where: str) -> int:
    """Return *value* if it is a whole number from 1, else raise what it must be."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise ConfigurationError(f"{where} is a whole number from 1, not {value!r:.40}")


def check_boolean(value: object, where: str) -> bool:
    """Return *value* if it is a boolean, else raise what it must be."""
    if isinstance(value, bool):
        return value
    raise ConfigurationError(f"{where} is true or false, not {value!r:.40}")


def _field(default: _Value, check: Callable[[object, str], _Value]) -> _Value:
    return attrs.field(
        default=default, validator=lambda _, field, value: check(value, field.name)
    )


def _seconds(default: float) -> float:
    return _field(float(default), check_seconds)


def _check_deadline(value: object, where: str) -> float | None:
    return None if value is None else check_seconds(value, where)


def _grown(first: float, doublings: int) -> float:
    return first * 2.0 ** min(doublings, _MOST_DOUBLINGS)


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """
    How often a request is sent again, and how long between; seconds.

    *attempts* counts faults. A busy server is not a fault: waiting for it is
    bounded by *timeout* alone, which also ends the waits of one submit, counted
    from its first fault. The client obeys a ``Retry-After`` of up to half of it.
    *resubmit_unknown* sends a submit again whose outcome is not known: the job
    may be paid twice.
    """

    first: float = _seconds(0.5)
    longest: float = _seconds(30)
    attempts: int = _field(6, check_count)
    timeout: float = _seconds(900)
    resubmit_unknown: bool = _field(default=False, check=check_boolean)

    def waits(self) -> Iterator[float]:
        """Yield one wait before each attempt after the first, with full jitter."""
        steps = backoff.expo(base=2, factor=self.first, max_value=self.longest)
        next(steps)  # the generators of backoff yield an empty value first
        for step in itertools.islice(steps, self.attempts - 1):
            yield backoff.full_jitter(step)

    def capped_hint(self, hint: float | None) -> float:
        """Return *hint*, at most half the timeout, so that one retry fits in."""
        return min(hint or 0.0, self.timeout / 2)

    def busy_pause(self, strikes: int, hint: float | None = None) -> float:
        """
        Return the pause after the *strikes*-th busy answer in a row, from 1.

        The pause grows with the strikes and is never shorter than
        :meth:`capped_hint`: jitter makes it longer, by up to a half.
        """
        grown = min(self.longest, _grown(self.first, strikes - 1))
        least = max(grown, self.capped_hint(hint))
        return least * random.uniform(1.0, 1.5)  # noqa: S311 - jitter, no secret


class RetryWaits:
    """The waits between the attempts of one request, bounded as a whole."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._waits = policy.waits()
        self._end: float | None = None

    def next(self, now: float, hint: float | None = None) -> float | None:
        """
        Return the seconds before the next attempt; ``None`` when there is none.

        *hint* is the wait that the server asks for. The next attempt begins before
        the policy's timeout is over, counted from the first call, on the clock of
        *now*.
        """
        wait = next(self._waits, None)
        if wait is None:
            return None
        if self._end is None:
            self._end = now + self._policy.timeout
        wait = max(wait, self._policy.capped_hint(hint))
        return wait if now + wait < self._end else None


@attrs.frozen(kw_only=True)
class PollPolicy:
    """
    When to poll a task, and for how long; seconds.

    A client that knows nothing of the server polls *first* after acceptance,
    then in growing steps up to *longest*. What it learns of the server moves
    the polls, and with many tasks, which one list request covers, they come
    closer together. Two polls are never closer than *shortest*; only an id of
    :meth:`AsyncEzlink.task` that the server does not know is polled twice as
    often, up to five times. *deadline* is counted from acceptance; ``None`` is the
    family's own, 900 s for a swap, and a number holds for all families.

    The figures are those of swaps and of other tasks behind ``/mj``. A family whose
    tasks are slower is polled more rarely: a policy scales its pace alike.
    """

    first: float = _seconds(2)
    shortest: float = _seconds(1)
    longest: float = _seconds(10)
    deadline: float | None = _field(None, _check_deadline)

    def step(self, polls: int) -> float:
        """Return the wait before the next poll after *polls* of them."""
        return max(self.shortest, min(self.longest, _grown(self.first, polls)))

    def jittered(self, polls: int) -> float:
        """Return :meth:`step` less a random part of up to half of it."""
        step = self.step(polls)
        return max(self.shortest, step - backoff.full_jitter(step / 2))


@attrs.frozen(kw_only=True)
class Timeouts:
    """
    How long each stage of a request may take; seconds.

    *connect* bounds making a connection, *upload* the longest time in which
    no byte of a body moves, *submit* the wait for the answer after the last
    byte, *fetch* a whole status request, *image* the longest silence of a
    download, *close* how long closing waits for answers to submits,
    *reconcile* how long after its last byte a lost submit is looked up; that
    needs an account token. While the account's pages give no answer, the look-up
    goes on, for up to ``RetryPolicy.timeout``.

    The server itself may take 60 s to answer a submit: a shorter *submit*
    makes submits unknown, and a *reconcile* below 65 s leaves unknown what
    was never created.
    """

    connect: float = _seconds(10)
    upload: float = _seconds(30)
    submit: float = _seconds(90)
    fetch: float = _seconds(30)
    image: float = _seconds(30)
    close: float = _seconds(5)
    reconcile: float = _seconds(75)
