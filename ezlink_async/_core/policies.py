"""
When to try again, and when to look again.

Pure: knows neither the clock nor the event loop. The caller sleeps.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator

import attrs
import backoff

from ezlink_async.errors import ConfigurationError

_TABLE = 64  # more doublings than any wait can need


def is_duration(value: object) -> bool:
    """Tell whether *value* is a number of seconds: finite, above zero."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and value > 0


def _seconds(_: object, field: attrs.Attribute[float], value: float) -> None:
    if not is_duration(value):
        raise ConfigurationError(
            f"{field.name} is a number of seconds above 0, not {value!r}"
        )


def seconds(default: float) -> float:
    """Declare a field of seconds: finite, above zero."""
    return attrs.field(default=float(default), validator=_seconds)


def _attempts(_: object, __: object, value: object) -> None:
    if type(value) is not int or value < 1:
        raise ConfigurationError(f"attempts is a whole number from 1, not {value!r}")


def _switch(_: object, field: attrs.Attribute[bool], value: object) -> None:
    if not isinstance(value, bool):
        raise ConfigurationError(f"{field.name} is true or false, not {value!r}")


def _steps(first: float, longest: float) -> Iterator[float]:
    waits = backoff.expo(base=2, factor=first, max_value=longest)
    next(waits)  # the generators of backoff yield an empty value first
    return waits


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """
    How often a request is sent again, and how long between; seconds.

    *attempts* counts faults. A busy server is no fault: waiting for it is
    bounded by *timeout* alone, which also ends the waits of one submit, from
    its first fault on. What a server asks to wait is heeded up to half of it.
    *resubmit_unknown* sends a submit again whose outcome is not known: it may
    be paid twice.
    """

    first: float = seconds(0.5)
    longest: float = seconds(30)
    attempts: int = attrs.field(default=6, validator=_attempts)
    timeout: float = seconds(900)
    resubmit_unknown: bool = attrs.field(default=False, validator=_switch)

    def waits(self) -> Iterator[float]:
        """Yield one wait before each attempt after the first, jittered."""
        steps = _steps(self.first, self.longest)
        for step in itertools.islice(steps, self.attempts - 1):
            yield backoff.full_jitter(step)

    def capped_hint(self, hint: float | None) -> float:
        """Return how much of a server's hint to heed: one tries before time is up."""
        return min(hint or 0.0, self.timeout / 2)

    def busy_pause(self, strikes: int, hint: float | None = None) -> float:
        """
        Return the pause after the *strikes*-th busy answer in a row, from 1.

        It grows, and jitter only lengthens it: nobody comes before the hint, but
        when that is longer than :meth:`capped_hint` allows.
        """
        grown = self.first * 2.0 ** min(strikes - 1, _TABLE)
        least = max(min(self.longest, grown), self.capped_hint(hint))
        return least * random.uniform(1.0, 1.5)  # noqa: S311 - jitter, no secret


@attrs.frozen(kw_only=True)
class PollPolicy:
    """
    When to look at a task, and for how long; seconds.

    While nothing is known, the first look comes *first* after acceptance and
    later ones after growing steps up to *longest*; what the client has learned
    of the server moves them, and of many tasks, which one request can ask for,
    they come closer together. None comes sooner than *shortest* after the one
    before. *deadline* is counted from acceptance.
    """

    first: float = seconds(2)
    shortest: float = seconds(1)
    longest: float = seconds(10)
    deadline: float = seconds(900)

    def step(self, looks: int) -> float:
        """Return the wait before the next look after *looks* of them."""
        grown = self.first * 2.0 ** min(looks, _TABLE)
        return max(self.shortest, min(self.longest, grown))

    def jittered(self, looks: int) -> float:
        """Return :meth:`step` less a random part of up to half of it."""
        step = self.step(looks)
        return max(self.shortest, step - backoff.full_jitter(step / 2))

    def delays(self) -> Iterator[float]:
        """
        Yield the waits of one task, without jitter, until the deadline.

        They never shrink but for the last, which is cut to fit: together
        they are *deadline* seconds.
        """
        looks, left = 0, self.deadline
        while (delay := min(self.step(looks), left)) > 0:
            yield delay
            looks, left = looks + 1, left - delay


@attrs.frozen(kw_only=True)
class Timeouts:
    """
    How long each stage of a request may take; seconds.

    *connect* bounds making a connection, *upload* the longest time in which
    no byte of a body moves, *submit* the wait for the answer after the last
    byte, *fetch* a whole status request, *image* the longest silence of a
    download, *close* how long closing waits for answers to submits,
    *reconcile* how long after its last byte a lost submit is looked up; it
    needs an account token.

    The server itself may take 60 s to answer a submit: a shorter *submit*
    makes submits unknown, and a *reconcile* below 65 s leaves unknown what
    was never created.
    """

    connect: float = seconds(10)
    upload: float = seconds(30)
    submit: float = seconds(90)
    fetch: float = seconds(30)
    image: float = seconds(30)
    close: float = seconds(5)
    reconcile: float = seconds(75)
