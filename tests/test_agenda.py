"""Which tasks are looked at next; what looks from afar is in test_schedule."""

from __future__ import annotations

import random

import pytest

from ezlink_async._client.polling.schedule import (
    CHUNK,
    HEAD_OF_LINE,
    LIST_FROM,
    Agenda,
    Entry,
)
from ezlink_async._core.policies import PollPolicy
from ezlink_async.models import TaskStatus
from tests.entries import entry, shows

POLICY = PollPolicy()
LATER = 20.0


class Book:
    """An agenda with so many own tasks, all accepted at 0."""

    def __init__(self, count: int) -> None:
        random.seed(1)
        self.agenda = Agenda(POLICY)
        self.tasks = [entry(str(number)) for number in range(count)]
        for task in self.tasks:
            self.agenda.add(task)

    def taken(self, now: float) -> set[str]:
        """Return the ids of what is to be looked at."""
        return {task.handle.task_id for task in self.agenda.take(now)}

    def seen(
        self,
        now: float,
        status: TaskStatus,
        *tasks: Entry,
        progress: float | None = None,
    ) -> None:
        """Let one answer show *tasks* like this, all of them news."""
        looks = [(task, shows(task, status, progress), True) for task in tasks]
        self.agenda.seen(looks, now, now)


def due(book: Book) -> float:
    """Return when there is something to do."""
    moment = book.agenda.next_due()
    assert moment is not None
    return moment


def test_without_tasks_there_is_nothing_to_do() -> None:
    """An agenda that is empty, or empty again, is never due."""
    book = Book(1)
    assert book.agenda.remove("0", 1.0) is book.tasks[0]
    assert book.agenda.remove("0", 1.0) is None
    assert book.agenda.next_due() is None
    assert (book.taken(LATER), book.agenda.ended(1e6)) == (set(), [])


def test_an_own_task_waits_and_one_taken_up_does_not() -> None:
    """What was just accepted takes a while; what is taken up may have ended."""
    book = Book(1)
    assert POLICY.first / 2 <= due(book) <= POLICY.first + 0.1
    book.agenda.add(entry("old", 0.5, own=False))
    assert due(book) == pytest.approx(0.5, abs=0.02)
    assert book.taken(0.52) == {"old"}


def test_what_is_being_looked_at_is_not_due() -> None:
    """A look in flight is not asked for again, however long it takes."""
    book = Book(2)
    assert book.taken(LATER) == {"0", "1"}
    assert book.taken(LATER + 100) == set()
    assert due(book) == POLICY.deadline  # nothing but its end


def test_a_look_in_vain_is_followed_by_another() -> None:
    """After growing steps, or after what the server asked for if that is more."""
    book = Book(1)
    task = book.tasks[0]
    for looks in range(1, 6):
        book.taken(LATER)
        book.agenda.missed(task, LATER)
        wait = due(book) - LATER
        assert POLICY.step(looks) / 2 <= wait <= POLICY.step(looks) + 0.02
    book.agenda.missed(task, LATER, 60.0)
    assert due(book) == pytest.approx(LATER + 60.0, abs=0.02)


def test_a_look_comes_before_the_deadline_and_not_after() -> None:
    """The last wait is cut, so that an end is not missed by seconds."""
    book = Book(1)
    book.taken(LATER)
    book.agenda.missed(book.tasks[0], POLICY.deadline - 5.0, 1e4)
    assert POLICY.deadline - 1.02 <= due(book) < POLICY.deadline
    assert book.agenda.ended(POLICY.deadline - 0.01) == []
    assert book.agenda.ended(POLICY.deadline) == book.tasks


@pytest.mark.parametrize("place", ["ended", "behind"])
def test_nothing_more_is_planned_for_what_needs_no_look(place: str) -> None:
    """A task that has ended, or waits behind the head, is left alone."""
    book = Book(HEAD_OF_LINE + 5 if place == "behind" else 1)
    task = book.tasks[-1]
    if place == "ended":
        task.handle.end(None)
        book.agenda.at_once(task, LATER)
    book.taken(LATER)
    book.agenda.missed(task, LATER)
    assert task.slot < 0


def test_a_task_can_be_looked_at_at_once() -> None:
    """Whatever was planned, it is due right now."""
    book = Book(3)
    book.agenda.at_once(book.tasks[1], 0.5)
    assert "1" in book.taken(0.52)


def test_what_shows_progress_is_looked_at_when_it_should_be_done() -> None:
    """From afar a part of the way ahead, from near when it should be over."""
    book = Book(1)
    book.taken(4.0)
    book.seen(4.0, TaskStatus.IN_PROGRESS, *book.tasks, progress=50.0)
    assert due(book) == pytest.approx(4.0 + 0.6 * 4.0, abs=0.02)
    book.taken(8.0)
    book.seen(8.0, TaskStatus.IN_PROGRESS, *book.tasks, progress=90.0)
    assert due(book) == pytest.approx(9.0, abs=0.02)


def test_what_others_took_tells_when_to_look() -> None:
    """After eight tasks of 6 s the next one is looked at when it is as old."""
    book = Book(8)
    book.taken(5.0)
    book.seen(5.0, TaskStatus.SUBMITTED, *book.tasks)
    book.taken(7.0)
    book.seen(7.0, TaskStatus.SUCCESS, *book.tasks)
    for task in book.tasks:
        book.agenda.remove(task.handle.task_id, 7.0)
    book.agenda.add(entry("next", 100.0))
    assert due(book) == pytest.approx(106.0, abs=0.02)


def test_a_full_line_waits_behind_a_hundred() -> None:
    """Who is behind is not due, but for a sample; who leaves lets one move up."""
    book = Book(HEAD_OF_LINE + 50)
    behind = {str(number) for number in range(HEAD_OF_LINE, HEAD_OF_LINE + 50)}
    assert book.taken(0.0) == behind  # the sample
    for task in book.tasks[HEAD_OF_LINE:]:
        assert task.slot < 0
    assert not behind & book.taken(5.0)
    book.tasks[0].handle.end(None)
    book.agenda.remove("0", 5.0)
    assert book.tasks[HEAD_OF_LINE].slot > 0


def test_tasks_taken_up_that_wait_join_the_line() -> None:
    """Of a thousand ids taken up only the head is looked at, once all were."""
    book = Book(0)
    tasks = [entry(str(number), own=False) for number in range(300)]
    for task in tasks:
        book.agenda.add(task)
    assert len(book.taken(0.1)) == 300
    book.seen(0.1, TaskStatus.NOT_START, *tasks)
    assert sum(task.slot > 0 for task in tasks) == HEAD_OF_LINE
    assert len(book.taken(0.1) | book.taken(5.0)) == HEAD_OF_LINE + CHUNK


def test_what_is_not_due_rides_along_unless_it_was_just_looked_at() -> None:
    """A list request is filled up with what may be asked for, by list."""
    book = Book(7)
    for task in book.tasks[:LIST_FROM]:
        book.agenda.at_once(task, 1.5)
    book.tasks[5].seen = 1.0
    book.tasks[6].by_id = True
    for number in (5, 6):
        book.agenda.missed(book.tasks[number], 1.0, 10.0)
    assert book.taken(1.5) == {"0", "1", "2", "3", "4"}


def test_on_the_watch_half_of_the_tasks_ride_in_a_request() -> None:
    """The others come half a step later, so that a beat falls between two looks."""
    book = Book(20)
    for task in book.tasks[:LIST_FROM]:
        book.agenda.at_once(task, 1.0)
    first = book.taken(1.0)
    assert len(first) == 10
    show(book, 1.0, *(task for task in book.tasks if task.task_id in first))
    for task in book.tasks:
        if task.task_id not in first:
            book.agenda.at_once(task, 1.1)
    assert book.taken(1.45) == set()
    second = book.taken(1.5)
    assert (len(second), first & second) == (10, set())
    assert book.taken(1.95) == set()
    assert book.taken(2.02) == first


def test_a_beat_that_was_not_seen_for_long_is_not_waited_for() -> None:
    """A task that comes after a long pause is looked at as at the very start."""
    book = Book(3)
    teach(book, 10.0)
    book.taken(400.0)
    for task in book.tasks:
        book.agenda.remove(task.task_id, 400.0)
    book.agenda.add(entry("new", 500.0))
    assert 500.0 + POLICY.first / 2 <= due(book) <= 500.0 + POLICY.first + 0.02


def test_no_beat_is_slept_through_because_others_were_shown_late() -> None:
    """Ends that a beat showed after 19 s may have been there after 9 s."""
    book = Book(3)
    teach(book, 10.0)
    others = [entry(f"other {number}", 32.0) for number in range(5)]
    for task in others:
        book.agenda.add(task)
        task.seen = 50.6
    book.seen(51.0, TaskStatus.SUCCESS, *others)
    window = book.agenda._beat.next(51.0)
    book.agenda.add(entry("new", 51.5))
    assert window is not None
    assert "new" in book.taken(window.hi + 0.02)


def test_who_was_told_to_wait_is_not_called_by_a_scout() -> None:
    """A beat before its time calls the others, but ends no Retry-After."""
    book = Book(4)
    scout, tired, *others = book.tasks
    teach(book, 10.0)
    book.taken(47.0)
    show(book, 47.0, scout, *others)
    tired.looks = 0
    book.agenda.missed(tired, 47.0, 4.0)
    assert book.taken(50.83) == {"0"}
    book.seen(50.83, TaskStatus.IN_PROGRESS, scout)
    assert book.taken(50.84) == {"2", "3"}
    assert book.taken(51.02) == {"1"}


def show(book: Book, now: float, *tasks: Entry) -> None:
    """Let one answer show *tasks* as they were, none of them news."""
    looks = [(task, shows(task, TaskStatus.IN_PROGRESS), False) for task in tasks]
    book.agenda.seen(looks, now, now)


def teach(book: Book, period: float) -> None:
    """Let all tasks change five times, *period* seconds apart, first at 1."""
    for beat in range(5):
        moment = 1.0 + period * beat
        for task in book.tasks:
            task.seen = moment - 0.4
        book.seen(moment, TaskStatus.IN_PROGRESS, *book.tasks)
