"""The emitter: whom it calls, what it says of a job, and what a bad callback does."""

from __future__ import annotations

import gc
import logging

import attrs
import pytest

from ezlink_async import ConfigurationError, Event, SubmitQueued
from ezlink_async._core.events import Emitter, Subject
from tests.support.event_log import EventLog


@attrs.define(eq=False)
class _Handle:
    task_id: str = "7"
    family: str = "midjourney"


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_emitter_without_a_callback_is_off_and_calls_nothing() -> None:
    emitter = Emitter()
    assert not emitter.is_on
    emitter.emit(SubmitQueued(at=0.0))


def test_jobs_are_numbered_and_keep_their_number_with_the_handle() -> None:
    clock = _Clock()
    emitter = Emitter(EventLog(), clock)
    first, second = emitter.new_job("video", "video"), emitter.new_job("flux", "flux")
    clock.now = 5.0
    assert (first.job, second.job) == (1, 2)
    assert emitter.seconds(first) == 5.0
    handle = _Handle()
    assert emitter.follow(handle, first) is first
    assert emitter.seconds(first) == 0.0
    facts = emitter.facts(emitter.of(handle))
    assert {name: facts[name] for name in ("job", "task_id", "family", "kind")} == {
        "job": 1,
        "task_id": "7",
        "family": "midjourney",
        "kind": "video",
    }


def test_task_that_was_not_followed_has_no_number() -> None:
    emitter = Emitter(EventLog())
    assert emitter.of(_Handle()).job == 0
    assert emitter.facts(None)["job"] == 0


def test_resumed_task_gets_a_number_and_no_kind() -> None:
    subject = Emitter(EventLog()).follow(_Handle())
    assert (subject.job, subject.kind, subject.task_id) == (1, None, "7")


def test_jobs_are_forgotten_with_their_handles() -> None:
    emitter, handle = Emitter(EventLog()), _Handle()
    emitter.follow(handle, Subject(1))
    del handle
    gc.collect()
    assert len(emitter._subjects) == 0


def test_exceptions_of_a_callback_are_logged_once_and_swallowed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen = list[Event]()

    def broken(event: Event) -> None:
        seen.append(event)
        raise LookupError("a bug")

    emitter = Emitter(broken)
    for at in range(3):
        emitter.emit(SubmitQueued(at=float(at)))
    assert [event.at for event in seen] == [0.0, 1.0, 2.0]
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage().startswith("on_event failed for a SubmitQueued")
    assert record.exc_text is not None
    assert "LookupError: a bug" in record.exc_text


def test_exception_that_is_to_end_the_program_is_raised() -> None:
    def interrupted(_: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Emitter(interrupted).emit(SubmitQueued(at=0.0))


async def _coroutine(_: Event) -> None:
    pass


class _Awaitable:
    async def __call__(self, _: Event) -> None:
        pass


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("print", "not str"),
        (_coroutine, "called and not awaited"),
        (_Awaitable(), "called and not awaited"),
    ],
    ids=["text", "coroutine function", "object with one"],
)
def test_callback_that_cannot_be_called_is_refused(given: object, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        Emitter(given)  # type: ignore[arg-type]
