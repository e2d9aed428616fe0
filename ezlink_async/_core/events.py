"""
The events of one client, on their way to the callback of its user.

Rules:

1. Without a callback no event is made: a caller asks ``is_on`` first.
2. The callback is called where a thing happens, in the thread of the event loop, so
   events arrive in the order in which things happen.
3. Its exceptions change nothing, and the first of them is logged.
"""

from __future__ import annotations

import inspect
import itertools
import time
import weakref
from collections.abc import Callable
from typing import Protocol, TypedDict

import attrs

from ezlink_async._core.log_lines import get_logger
from ezlink_async.errors import ConfigurationError
from ezlink_async.models import Event

_log = get_logger()

OnEvent = Callable[[Event], None]


class Task(Protocol):
    """A handle, as far as events say something of it."""

    @property
    def task_id(self) -> str:
        """The server's id."""
        ...

    @property
    def family(self) -> str:
        """The name of its family."""
        ...


@attrs.define(eq=False)
class Subject:
    """A job that events are about, and *since* when it is queued or followed."""

    job: int = 0
    family: str | None = None
    kind: str | None = None
    task_id: str | None = None
    since: float = 0.0


class _Facts(TypedDict):
    """The fields that every event has."""

    at: float
    job: int
    task_id: str | None
    family: str | None
    kind: str | None


class Emitter:
    """
    Calls *on_event* with each event.

    *clock* measures seconds between two events. Jobs are known for as long as their
    handles are.
    """

    def __init__(
        self,
        on_event: OnEvent | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        _check(on_event)
        self.is_on: bool = on_event is not None
        """Whether there is a callback; without one nothing else here is called."""
        self._on_event = on_event
        self._clock = clock
        self._numbers = itertools.count(1)
        self._subjects: weakref.WeakKeyDictionary[Task, Subject] = (
            weakref.WeakKeyDictionary()
        )
        self._has_failed = False

    def new_job(self, family: str, kind: str | None = None) -> Subject:
        """Return the subject of a job that is queued now."""
        return Subject(next(self._numbers), family, kind, since=self._clock())

    def follow(self, task: Task, subject: Subject | None = None) -> Subject:
        """Remember that *task* is that of *subject*, or a resumed one; return it."""
        subject = subject or self.new_job(task.family)
        subject.family, subject.task_id = task.family, task.task_id
        subject.since = self._clock()
        self._subjects[task] = subject
        return subject

    def of(self, task: Task) -> Subject:
        """Return the subject of *task*; its job is 0 if the task was not followed."""
        known = self._subjects.get(task)
        return known or Subject(family=task.family, task_id=task.task_id)

    def seconds(self, subject: Subject) -> float:
        """Return the seconds since *subject* was queued, accepted or resumed."""
        return self._clock() - subject.since

    @staticmethod
    def facts(subject: Subject | None) -> _Facts:
        """Return the fields that each event about *subject* has now."""
        known = subject or Subject()
        return _Facts(
            at=time.time(),
            job=known.job,
            task_id=known.task_id,
            family=known.family,
            kind=known.kind,
        )

    def emit(self, event: Event) -> None:
        """Call the callback with *event*."""
        if self._on_event is None:
            return
        try:
            self._on_event(event)
        except Exception:  # noqa: BLE001 - no bug of a callback may disturb a job
            if not self._has_failed:
                self._has_failed = True
                _log.exception(
                    "on_event failed for a %s; its further exceptions are not logged",
                    type(event).__name__,
                )


def _check(on_event: object) -> None:
    """Raise :exc:`ConfigurationError` unless *on_event* can be called as it is."""
    if on_event is None:
        return
    if not callable(on_event):
        raise ConfigurationError(
            f"on_event is a function of one event, not {type(on_event).__name__}"
        )
    if any(map(inspect.iscoroutinefunction, (on_event, type(on_event).__call__))):
        raise ConfigurationError(
            "on_event is called and not awaited: pass a plain function, which may "
            "put the event into an asyncio.Queue"
        )
