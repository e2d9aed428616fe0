"""
When a server renews the records it shows, learned from observed changes.

The relay in front of the upstream service copies all its rows at once, every ten
seconds or so: a poll right after that sees everything there is to see. The server
announces no refresh, but its records show the cycle: tasks change together, and
between two refreshes none does. Rules:

1. A change between two polls puts a refresh into the interval between them.
   Intervals that overlap are one refresh, and narrow each other.
2. A period is believed once the intervals that fit it are too unlikely to be
   chance. Changes that fit no refresh end the belief, and the next one needs more
   evidence: several server processes have several cycles.
3. The next refresh is expected where a straight line through all intervals may
   lead. Real refreshes drift, so older intervals count as wider, and more so after
   a refresh that did not come when expected.

Pure: times are seconds of any one clock.
"""

from __future__ import annotations

import collections
import itertools
import math
from collections.abc import Iterator, Mapping

import attrs

_REMEMBERED = 8  # refreshes

_COUNTED = 3  # changes at one refresh beyond this prove no more

_NARROW = 3  # parts of a period: a change that is not placed better proves nothing

_LITTLE = 0.1  # of a wide interval: a change that shares no more was at no refresh

_DEMAND = math.log(1000)

_UNSEEN = 8  # refreshes: a cycle that was not seen for longer may have stopped

_VAGUE = 0.6  # of a period: a wider interval is no prediction

_STRIKES = 3.0

_FORGIVEN = 0.25  # of a strike, by each answer that found the refresh when expected

_SLACK = 0.002  # of a period, for each refresh that has passed since

_MOST_SLACK = 0.125  # of a period: further off is another refresh, or none


@attrs.frozen
class Interval:
    """A span of time that holds a refresh: after *lo*, and not after *hi*."""

    lo: float
    hi: float

    @property
    def middle(self) -> float:
        """The best estimate of the moment itself."""
        return (self.lo + self.hi) / 2

    @property
    def width(self) -> float:
        """The uncertainty in seconds."""
        return self.hi - self.lo

    def shared(self, other: Interval) -> float:
        """Return the seconds that are in both; below 0, those between them."""
        return min(self.hi, other.hi) - max(self.lo, other.lo)

    def narrowed(self, other: Interval) -> Interval:
        """Return the overlap with *other*; the span of both when there is none."""
        if self.shared(other) > 0.0:
            return Interval(max(self.lo, other.lo), min(self.hi, other.hi))
        return Interval(min(self.lo, other.lo), max(self.hi, other.hi))


@attrs.define
class _Refresh:
    """One observed refresh: its number, its interval, the narrowest proofs of it."""

    interval: Interval
    number: int = 0
    widths: list[float] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.widths = [self.interval.width]

    def narrow(self, interval: Interval) -> None:
        """Take another change as one at this refresh."""
        self.interval = self.interval.narrowed(interval)
        self.widths = sorted([*self.widths, interval.width])[:_COUNTED]


class RefreshCycle:
    """
    The refresh cycle of one server, as far as it is known.

    *shortest* and *longest* bound the periods that are looked for.
    """

    def __init__(self, shortest: float, longest: float) -> None:
        self._shortest = shortest
        self._longest = longest
        self._refreshes: collections.deque[_Refresh] = collections.deque(
            maxlen=_REMEMBERED
        )
        self._slack = _SLACK
        self._demand = _DEMAND
        self._strikes = 0.0
        self._judged_at = -math.inf
        self._late: Interval | None = None
        self._predictions: dict[int, Interval] = {}  # by refreshes from the latest
        self.period: float | None = None
        """Seconds between two refreshes; ``None`` while no cycle is known."""

    def observe_changes(self, before: Mapping[float, int], after: float) -> None:
        """Learn that so many tasks, by when they were unchanged, changed at *after*."""
        for unchanged_at, count in before.items():
            for _ in range(min(count, _COUNTED)):
                self.observe_change(unchanged_at, after)

    def observe_change(self, before: float, after: float) -> None:
        """Learn that a task was unchanged at *before*, and changed at *after*."""
        interval = Interval(before, after)
        if self.period is None:
            self._collect(interval)
        # A task that was not polled for a whole period changes in any case.
        elif interval.width < self.period:
            self._check(interval, self.period)

    def observe_no_change(
        self, at: float, until: float, *, surely: bool = True
    ) -> None:
        """
        Learn that polls *at* the end of an expected interval found no change.

        The refresh may be late: it is expected *until* then, once. Unless a task
        would *surely* have changed, the refresh may have come when expected.
        """
        if self.period is None or (self._late and self._late.hi > at - self.period / 2):
            return
        if surely:
            self._slack = min(_MOST_SLACK, self._slack * 2)
            self._predictions.clear()
        self._late = Interval(at, until)

    def next(self, after: float) -> Interval | None:
        """Return the first expected interval that ends later than *after*."""
        if self.period is None:
            return None
        if self._late is not None and self._late.hi > after:
            return self._late
        latest = self._refreshes[-1].interval.hi
        number = max(1, math.floor((after - latest) / self.period))
        if number > _UNSEEN:
            self._forget()
            return None
        while (interval := self._predicted(number)).hi <= after:
            number += 1
        if interval.width > _VAGUE * self.period:
            self._forget()
            return None
        return interval

    def _forget(self) -> None:
        """Drop a cycle that was not seen for long, or could be anywhere."""
        self.period, self._late = None, None
        self._refreshes.clear()

    def _predicted(self, number: int) -> Interval:
        """Return the interval of the refresh *number* refreshes after the latest."""
        if number not in self._predictions:
            self._predictions[number] = self._extrapolated(number)
        return self._predictions[number]

    def _extrapolated(self, number: int) -> Interval:
        """Return where straight lines through all known intervals may lead."""
        target = self._refreshes[-1].number + number
        highs, lows = [], []
        for (i, early), (j, late) in itertools.combinations(self._widened(), 2):
            on = (target - j) / (j - i)
            highs.append(late.hi + (late.hi - early.lo) * on)
            lows.append(late.lo + (late.lo - early.hi) * on)
        lo, hi = max(lows), min(highs)
        if lo > hi:  # the refreshes drift more than was thought
            lo = hi = (lo + hi) / 2
        slack = self._slack * (self.period or 0.0)
        return Interval(lo - slack, hi + slack)

    def _widened(self) -> Iterator[tuple[int, Interval]]:
        """Yield number and interval of each refresh, wider the older it is."""
        latest, slack = self._refreshes[-1].number, self._slack * (self.period or 0.0)
        for refresh in self._refreshes:
            known, more = refresh.interval, slack * (latest - refresh.number)
            yield refresh.number, Interval(known.lo - more, known.hi + more)

    # While no period is known

    def _collect(self, interval: Interval) -> None:
        last = self._refreshes[-1] if self._refreshes else None
        if last is None or interval.lo >= last.interval.hi:
            self._refreshes.append(_Refresh(interval))
        elif last.interval.shared(interval) > 0.0:
            last.narrow(interval)
        self._find_period()

    def _find_period(self) -> None:
        """Believe in a period when the observed refreshes can hardly be chance."""
        gaps = [
            Interval(late.lo - early.hi, late.hi - early.lo)
            for early, late in itertools.pairwise(r.interval for r in self._refreshes)
        ]
        base = min((gap.middle for gap in gaps), default=0.0)
        if not self._shortest <= base <= self._longest:
            return
        counts = [max(1, round(gap.middle / base)) for gap in gaps]
        lo = max(gap.lo / count for gap, count in zip(gaps, counts, strict=True))
        hi = min(gap.hi / count for gap, count in zip(gaps, counts, strict=True))
        period = (lo + hi) / 2
        if lo >= hi:
            self._refreshes.popleft()  # the oldest may have been something else
        elif (
            self._shortest <= period <= self._longest
            and self._evidence(period) >= self._demand
        ):
            numbers = itertools.accumulate(counts, initial=0)
            for refresh, number in zip(self._refreshes, numbers, strict=True):
                refresh.number = number
            self._strikes, self._slack = 0.0, _SLACK
            self._measure()

    def _evidence(self, period: float) -> float:
        """
        Return how unlikely it is that all changes fit the period by chance.

        Two of them determine period and phase, and so prove nothing; of many,
        some two always suit the rest.
        """
        weights = sorted(
            math.log(period / width)
            for refresh in self._refreshes
            for width in refresh.widths
            if 0.0 < width <= period / _NARROW
        )
        return sum(weights[:-2]) - math.log(math.comb(len(self._refreshes), 2))

    # With a known period

    def _check(self, interval: Interval, period: float) -> None:
        """Compare a change with the prediction."""
        self._predictions.clear()
        latest = self._refreshes[-1].interval
        number = round((interval.middle - latest.middle) / period)
        if number < 0:
            return  # the answer is older than the latest refresh
        expected = self._predicted(number) if number else latest
        shared, is_narrow = expected.shared(interval), interval.width < period / _NARROW
        wide = min(interval.width, expected.width)
        if shared <= (-_MOST_SLACK * period if is_narrow else _LITTLE * wide):
            self._strike(interval)
            return
        self._confirm(number, interval, expected)
        if interval.hi > self._judged_at:
            self._judged_at = interval.hi
            self._strikes -= min(self._strikes, _FORGIVEN) if is_narrow else 0.0
            factor = 0.9 if shared > 0.0 else 2.0
            self._slack = min(_MOST_SLACK, max(_SLACK, self._slack * factor))

    def _confirm(self, number: int, interval: Interval, expected: Interval) -> None:
        latest = self._refreshes[-1]
        if number == 0:
            latest.narrow(interval)
            return
        found = _Refresh(interval, latest.number + number)
        if expected.shared(interval) > 0.0:  # it came on time
            found.interval = interval.narrowed(expected)
        self._refreshes.append(found)
        self._late = None
        self._measure()

    def _measure(self) -> None:
        """Take the period from the remembered refreshes."""
        self._predictions.clear()
        first, latest = self._refreshes[0], self._refreshes[-1]
        span = latest.interval.middle - first.interval.middle
        self.period = span / (latest.number - first.number)

    def _strike(self, interval: Interval) -> None:
        if interval.hi <= self._judged_at:
            return  # one answer counts once, however many changes it brought
        self._judged_at = interval.hi
        self._strikes += 1.0
        if self._strikes >= _STRIKES:
            self._forget()
            self._demand *= 2
            self._refreshes.append(_Refresh(interval))


_MOST_PROBES = 16


class Probes:
    """
    Polls before the end of an expected interval, one refresh after the other.

    They place each refresh more exactly. *shortest* is that of the policy.
    """

    def __init__(self, shortest: float) -> None:
        self._shortest = shortest
        self._interval: Interval | None = None
        self._wanted = 0
        self._sent = 0

    def due(
        self, interval: Interval, earliest: float, period: float, followed: int
    ) -> float:
        """Return when to poll the next of so many *followed* tasks."""
        half = interval.hi - period / 2
        if earliest <= half:
            return half  # between two refreshes nothing changes: that is evidence too
        return self.within(interval, earliest, followed)

    def within(self, interval: Interval, earliest: float, followed: int) -> float:
        """Return when to poll the next of *followed* tasks at the refresh itself."""
        if self._interval is None or self._interval.shared(interval) <= 0.0:
            self._wanted, self._sent = self._best_number(interval, followed), 0
        self._interval = interval
        if self._sent < self._wanted:
            self._sent += 1
            share = self._sent / (self._wanted + 1)
            return max(interval.lo + interval.width * share, earliest)
        return max(interval.hi, earliest)

    def _best_number(self, interval: Interval, followed: int) -> int:
        """
        Return the number of probes that delays all tasks together the least.

        Of *n* probes, half come before the refresh and lose *shortest* each; the
        other tasks wait a part *n* + 1 of the interval.
        """
        best = math.sqrt(followed * interval.width / self._shortest) - 0.5
        return min(_MOST_PROBES, max(0, round(best)))
