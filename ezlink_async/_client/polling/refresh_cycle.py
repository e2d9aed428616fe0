"""
The moments at which a server renews what it shows, learned from changes.

The relay in front of the upstream copies all its rows at once, every ten
seconds or so: whoever asks right after that sees everything there is to see.
Nothing announces the beat, but it shows: tasks change together, and between
two beats none does. Rules:

1. A change seen between two looks puts a beat between them: a *window*.
   Windows that overlap are one beat, and narrow each other.
2. A period is believed once the windows that fit it would be too much of a
   coincidence. What changes off the beat takes the belief away, and makes the
   next one harder to get: several server processes have several beats.
3. The next beat is where a straight line through all windows may lead. The
   real one drifts, so old windows count as wider, and more so after a miss.

Pure: times are seconds of any one clock.
"""

from __future__ import annotations

import collections
import itertools
import math
from collections.abc import Iterator

import attrs

_WINDOWS = 8  # how many beats are remembered

_COUNTED = 3  # changes in one window beyond this prove no more

_NARROW = 3  # parts of a period: a change that is not placed better proves nothing

_LITTLE = 0.1  # of a wide window: what shares no more with a beat was off it

_APART = 0.5  # of the shortest period: the least between two windows of a beat

_DEMAND = math.log(1000)

_UNSEEN = 8  # beats: what was not seen for longer may have stopped

_VAGUE = 0.6  # of a period: a wider window is no prediction

_STRIKES = 3.0

_FORGIVEN = 0.25  # of a strike, by each look that found the beat where it should be

_SLACK = 0.002  # of a period, for each beat that has passed since

_MOST_SLACK = 0.125  # of a period: further off is another beat, or none


@attrs.frozen
class Interval:
    """A span of time in which there is a beat, after *lo* and up to *hi*."""

    lo: float
    hi: float

    @property
    def middle(self) -> float:
        """The best guess at the moment itself."""
        return (self.lo + self.hi) / 2

    @property
    def width(self) -> float:
        """How little is known."""
        return self.hi - self.lo

    def shared(self, other: Interval) -> float:
        """Return the seconds that are in both; below 0, those between them."""
        return min(self.hi, other.hi) - max(self.lo, other.lo)

    def narrowed(self, other: Interval) -> Interval:
        """Return what is in both; both together when nothing is."""
        if self.shared(other) > 0.0:
            return Interval(max(self.lo, other.lo), min(self.hi, other.hi))
        return Interval(min(self.lo, other.lo), max(self.hi, other.hi))


@attrs.define
class _Seen:
    """One beat that was seen: its number, where it was, how narrow the proofs."""

    number: int
    window: Interval
    widths: list[float]

    def knows(self, window: Interval) -> bool:
        """Tell whether one that overlaps it would change nothing."""
        known, widths = self.window, self.widths
        inside = window.lo <= known.lo and window.hi >= known.hi
        return inside and len(widths) == _COUNTED and window.width >= widths[-1]

    def narrow(self, window: Interval) -> None:
        """Take another change as one at this beat."""
        self.window = self.window.narrowed(window)
        self.widths = sorted([*self.widths, window.width])[:_COUNTED]


class RefreshCycle:
    """
    The refresh beat of one server, as far as it is known.

    *shortest* and *longest* are the periods that are looked for.
    """

    def __init__(self, shortest: float, longest: float) -> None:
        self._shortest = shortest
        self._longest = longest
        self._seen: collections.deque[_Seen] = collections.deque(maxlen=_WINDOWS)
        self._slack = _SLACK
        self._demand = _DEMAND
        self._strikes = 0.0
        self._judged_at = -math.inf
        self._tried = False  # to lock on just what was seen
        self._late: Interval | None = None
        self._ahead: dict[int, Interval] = {}  # what was predicted already
        self.hopeful = True
        """Whether all changes so far came at moments that may have been beats."""
        self.period: float | None = None
        """Seconds between two beats; ``None`` when there is no known one."""

    def saw(self, before: float, after: float) -> None:
        """Take note that a task was unchanged at *before*, and changed at *after*."""
        window = Interval(before, after)
        if self.period is None:
            self._collect(window)
        # A task not looked at for a whole period changes in any case.
        elif window.width < self.period:
            self._check(window, self.period)

    def next(self, after: float) -> Interval | None:
        """Return the first window to come that ends later than *after*."""
        if self.period is None:
            return None
        if self._late is not None and self._late.hi > after:
            return self._late
        beats = max(1, math.floor((after - self._seen[-1].window.hi) / self.period))
        if beats > _UNSEEN:
            self._forget()
            return None
        while (window := self._predicted(beats)).hi <= after:
            beats += 1
        if window.width > _VAGUE * self.period:
            self._forget()
            return None
        return window

    def _forget(self) -> None:
        """Believe in nothing: it was not seen for long, or could be anywhere."""
        self.period, self._late = None, None
        self._seen.clear()

    def missed(self, at: float, again: float, *, surely: bool = True) -> None:
        """
        Take note that a look *at* the end of a window found no change.

        The beat may be late: it is expected until *again*, once. Unless something
        would *surely* have changed at it, it may have come where it should.
        """
        if self.period is None or (self._late and self._late.hi > at - self.period / 2):
            return
        if surely:
            self._slack = min(_MOST_SLACK, self._slack * 2)
            self._ahead.clear()
        self._late = Interval(at, again)

    def _predicted(self, beats: int) -> Interval:
        """Return where lines through all windows may lead, *beats* from the last."""
        if beats not in self._ahead:
            self._ahead[beats] = self._lines(beats)
        return self._ahead[beats]

    def _lines(self, beats: int) -> Interval:
        last = self._seen[-1]
        known = list(self._widened())
        highs, lows = [], []
        for (i, early), (j, late) in itertools.combinations(known, 2):
            on = (last.number + beats - j) / (j - i)
            highs.append(late.hi + (late.hi - early.lo) * on)
            lows.append(late.lo + (late.lo - early.hi) * on)
        lo, hi = max(lows), min(highs)
        if lo > hi:  # it drifts more than was thought
            lo, hi = (lo + hi) / 2, (lo + hi) / 2
        slack = self._slack * (self.period or 0.0)
        return Interval(lo - slack, hi + slack)

    def _widened(self) -> Iterator[tuple[int, Interval]]:
        """Yield number and window of each beat, wider the older it is."""
        newest, slack = self._seen[-1].number, self._slack * (self.period or 0.0)
        for seen in self._seen:
            more = slack * (newest - seen.number)
            yield seen.number, Interval(seen.window.lo - more, seen.window.hi + more)

    # Before a period is known

    def _collect(self, window: Interval) -> None:
        last = self._seen[-1] if self._seen else None
        if last is not None and last.window.shared(window) > 0.0:
            if last.knows(window) and self._tried:
                return  # most changes of one answer: all that follows is known too
            last.narrow(window)
        elif last is None or window.lo >= last.window.hi:
            if last is not None:
                self._doubt(last, window.lo - last.window.hi)
            self._seen.append(_Seen(0, window, [window.width]))
        self._try_to_lock()

    def _doubt(self, before: _Seen, apart: float) -> None:
        """Hope no more when few change at a time, or others again at once."""
        if len(before.widths) < _COUNTED or apart < _APART * self._shortest:
            self.hopeful = False

    def _try_to_lock(self) -> None:
        """Believe in a period when what was seen can hardly be chance."""
        self._tried = True
        gaps = [
            Interval(late.window.lo - early.window.hi, late.window.hi - early.window.lo)
            for early, late in itertools.pairwise(self._seen)
        ]
        base = min((gap.middle for gap in gaps), default=0.0)
        if not self._is_looked_for(base):
            return
        beats = [max(1, round(gap.middle / base)) for gap in gaps]
        lo = max(gap.lo / count for gap, count in zip(gaps, beats, strict=True))
        hi = min(gap.hi / count for gap, count in zip(gaps, beats, strict=True))
        if lo >= hi:
            self._seen.popleft()  # what was before may have been something else
            self._tried = False
            return
        period = (lo + hi) / 2
        if self._is_looked_for(period) and self._evidence(period) >= self._demand:
            for seen, number in zip(
                self._seen, itertools.accumulate(beats, initial=0), strict=True
            ):
                seen.number = number
            self._strikes, self._slack = 0.0, _SLACK
            self._measure()

    def _is_looked_for(self, period: float) -> bool:
        return self._shortest <= period <= self._longest

    def _evidence(self, period: float) -> float:
        """
        Return how unlikely it is that all changes met the beat by chance.

        Two of them say where it is and how long, and so prove nothing; of many,
        some two will always suit the rest.
        """
        weights = sorted(
            math.log(period / width)
            for seen in self._seen
            for width in seen.widths
            if 0.0 < width <= period / _NARROW
        )
        return sum(weights[:-2]) - math.log(math.comb(len(self._seen), 2))

    # With a period

    def _check(self, window: Interval, period: float) -> None:
        """Compare a change with what was predicted."""
        self._ahead.clear()
        last = self._seen[-1]
        beats = round((window.middle - last.window.middle) / period)
        if beats < 0:
            return  # older than what is known by now
        expected = self._predicted(beats) if beats else last.window
        near = window.width < period / _NARROW
        wide = min(window.width, expected.width)
        least = -_MOST_SLACK * period if near else _LITTLE * wide
        if expected.shared(window) > least:
            self._hit(beats, window, expected)
        else:
            self._strike(window)
            return
        if window.hi > self._judged_at:
            self._judged_at = window.hi
            self._strikes -= min(self._strikes, _FORGIVEN) if near else 0.0
            factor = 0.9 if expected.shared(window) > 0.0 else 2.0
            self._slack = min(_MOST_SLACK, max(_SLACK, self._slack * factor))

    def _hit(self, beats: int, window: Interval, expected: Interval) -> None:
        last = self._seen[-1]
        if beats == 0:
            last.narrow(window)
            return
        on_time = expected.shared(window) > 0.0
        found = window.narrowed(expected) if on_time else window
        self._seen.append(_Seen(last.number + beats, found, [window.width]))
        self._late = None
        self._measure()

    def _measure(self) -> None:
        """Take the period from the beats that are remembered."""
        self._ahead.clear()
        first, last = self._seen[0], self._seen[-1]
        span = last.window.middle - first.window.middle
        self.period = span / (last.number - first.number)

    def _strike(self, window: Interval) -> None:
        if window.hi <= self._judged_at:
            return  # one look counts once, whatever it brought
        self._judged_at = window.hi
        self._strikes += 1.0
        if self._strikes >= _STRIKES:
            self._forget()
            self.hopeful = False
            self._demand *= 2
            self._seen.append(_Seen(0, window, [window.width]))


_MOST = 16


class Probes:
    """The looks at one beat after the other; *shortest* is the policy's."""

    def __init__(self, shortest: float) -> None:
        self._shortest = shortest
        self._window: Interval | None = None
        self._wanted = 0
        self._sent = 0

    def due(
        self, window: Interval, earliest: float, period: float, followed: int
    ) -> float:
        """Return when the next of so many *followed* tasks is to be looked at."""
        half = window.hi - period / 2
        if earliest <= half:
            return half  # between two beats nothing changes, if it is one
        if self._window is None or self._window.shared(window) <= 0.0:
            self._wanted, self._sent = self._worth(window, followed), 0
        self._window = window
        if self._sent < self._wanted:
            self._sent += 1
            place = self._sent / (self._wanted + 1)
            return max(window.lo + window.width * place, earliest)
        return max(window.hi, earliest)

    def _worth(self, window: Interval, followed: int) -> int:
        """
        Return how many scouts delay all together the least.

        Of *n*, half come before the beat and lose *shortest* each; the others
        wait a part *n* + 1 of the window.
        """
        best = math.sqrt(followed * window.width / self._shortest) - 0.5
        return min(_MOST, max(0, round(best)))
