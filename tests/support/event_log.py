"""A callback for ``on_event`` that keeps what it gets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from ezlink_async import Event, RequestFinished, TaskChanged, TaskPolled

_E = TypeVar("_E", bound=Event)

FREQUENT = (RequestFinished, TaskChanged, TaskPolled)
"""Events whose number depends on when polls come."""


class EventLog:
    """The events of one client, in their order."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        """Keep *event*."""
        self.events.append(event)

    def of(self, kind: type[_E]) -> list[_E]:
        """Return the events of this *kind*."""
        return [event for event in self.events if isinstance(event, kind)]

    def jobs(self) -> dict[int, list[Event]]:
        """Return the events of each job."""
        found: dict[int, list[Event]] = {}
        for event in self.events:
            if event.job:
                found.setdefault(event.job, []).append(event)
        return found

    def names(self) -> list[str]:
        """Return the names of the events but for the frequent ones."""
        return list(steps(self.events))


def steps(events: Iterable[Event]) -> Iterator[str]:
    """Yield the names of *events* but for the frequent ones."""
    for event in events:
        if not isinstance(event, FREQUENT):
            yield type(event).__name__
