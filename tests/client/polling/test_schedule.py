"""Which tasks are looked at next; what looks from afar is in test_schedule."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezlink_async._client.polling.durations import Durations
from ezlink_async._client.polling.schedule import (
    CHUNK,
    HEAD_OF_LINE,
    LIST_FROM,
    DueQueue,
    FollowedTask,
    ListPacing,
    PollSchedule,
)
from ezlink_async._core.policies import PollPolicy
from ezlink_async.models import TaskStatus
from tests.support.followed_tasks import entry, shows

POLICY = PollPolicy()

LATER = 20.0


class Book:
    """An agenda with so many own tasks, all accepted at 0."""

    def __init__(self, count: int) -> None:
        random.seed(1)
        self.agenda = PollSchedule(POLICY)
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
        *tasks: FollowedTask,
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


def show(book: Book, now: float, *tasks: FollowedTask) -> None:
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


LONG = 3 * POLICY.longest


def spacing(*, lasted: float | None = None) -> ListPacing:
    """Return one that has learned nothing, or of twenty tasks that *lasted*."""
    durations = Durations()
    for _ in range(20 if lasted else 0):
        durations.add(lasted or 0.0)
    return ListPacing(POLICY, durations)


def watching(
    spacing: ListPacing, active: int, now: float, *, hopeful: bool = True
) -> bool:
    """Let it decide anew, and return what it does."""
    spacing.watch(active, now, hopeful=hopeful)
    return spacing.watching


def test_in_the_long_run_there_is_about_one_request_for_each_task() -> None:
    """With 32 of 8 s in flight one comes every 0.3 s, and never twice in half a s."""
    assert spacing(lasted=8.0).share(32) == pytest.approx(8.0 / (0.8 * 32))
    assert spacing(lasted=8.0).gap(32) == pytest.approx(8.0 / (0.8 * 32))
    assert spacing(lasted=80.0).gap(32) == POLICY.shortest / 2
    assert spacing().gap(32) == POLICY.shortest / 2


def test_a_few_are_asked_for_each_when_it_is_due() -> None:
    """One or two need no request that is worth waiting for."""
    assert (spacing().gap(2), spacing().gap(3)) == (0.0, POLICY.shortest / 2)


@pytest.mark.parametrize("active", [1, 3, 7])
def test_a_few_tasks_are_never_watched(active: int) -> None:
    """They would pay for every look in vain."""
    assert not watching(spacing(), active, 0.0)


def test_a_watch_ends_after_three_of_the_longest_steps() -> None:
    """By the first time that there were enough tasks, and for good."""
    watch = spacing()
    assert not watching(watch, 7, 0.0)
    assert watching(watch, 8, 5.0)
    assert not watching(watch, 7, 6.0)
    assert watching(watch, 100, LONG + 4.9)
    assert not watching(watch, 100, LONG + 5.0)


def test_without_hope_there_is_no_watch() -> None:
    """Changes at any time end it, and so does a beat that is known."""
    watch = spacing()
    assert watching(watch, 32, 0.0)
    assert not watching(watch, 32, 1.0, hopeful=False)


@pytest.mark.parametrize(
    ("listed", "active", "riders"), [(3, 32, 13), (5, 9, 0), (20, 32, 0), (1, 500, 99)]
)
def test_on_a_watch_the_tasks_are_looked_at_in_two_parts(
    listed: int, active: int, riders: int
) -> None:
    """What is due comes in any case, and the half is filled up."""
    watch = spacing()
    watching(watch, active, 0.0)
    assert watch.room(listed, active) == riders


@pytest.mark.parametrize(("listed", "riders"), [(1, 99), (100, 0), (101, 99)])
def test_without_a_watch_a_request_is_filled_up(listed: int, riders: int) -> None:
    """Up to a hundred ids cost one request."""
    assert spacing().room(listed, 500) == riders


def test_after_a_watch_all_look_together_again() -> None:
    """The two parts meet in one request, which comes a shortest step later."""
    watch = spacing(lasted=8.0)
    usual = watch.gap(32)
    watching(watch, 32, 0.0)
    watch.room(3, 32)
    assert watch.gap(32) == usual
    watching(watch, 32, 1.0, hopeful=False)
    assert watch.gap(32) == POLICY.shortest
    watch.room(3, 32)
    assert watch.gap(32) == usual


STEP = 0.25


def table(**dues: float) -> DueQueue:
    """Return a timetable with a look planned for each task."""
    times = DueQueue(STEP, 100.0)
    for task_id, due in dues.items():
        times.add(entry(task_id))
        times.plan(times.entries[task_id], due)
    return times


def ids(entries: list[FollowedTask]) -> list[str]:
    """Return whose they are."""
    return [one.handle.task_id for one in entries]


def test_looks_come_in_the_order_of_their_times() -> None:
    """What is due by a time is taken, soonest first, and the rest left."""
    times = table(c=3.0, a=1.0, d=9.0, b=2.0)
    assert ids(times.due(3.0)) == ["a", "b", "c"]
    assert times.next_due() == 9.0
    assert ids(times.due(9.0)) == ["d"]
    assert (times.next_due(), times.due(1000.0)) == (None, [])


def test_no_look_comes_before_its_time() -> None:
    """Times are rounded up to a slot, never down."""
    times = table(a=1.01)
    assert times.next_due() == 1.25
    assert times.due(1.24) == []
    assert ids(times.due(1.25)) == ["a"]


def test_a_new_plan_replaces_the_old_one() -> None:
    """Each task has one next look, sooner or later than what was planned."""
    times = table(a=5.0, b=5.0)
    times.plan(times.entries["a"], 2.0)
    times.plan(times.entries["b"], 8.0)
    assert ids(times.due(2.0)) == ["a"]
    assert times.next_due() == 8.0
    assert ids(times.due(10.0)) == ["b"]


def test_a_look_planned_twice_for_one_time_is_one() -> None:
    """Planning the same again changes nothing."""
    times = table(a=5.0)
    times.plan(times.entries["a"], 5.0)
    assert ids(times.due(5.0)) == ["a"]


def test_what_was_forgotten_is_not_looked_at() -> None:
    """A task that has ended leaves no look behind, nor a deadline."""
    times = table(a=1.0, b=2.0)
    forgotten = times.forget("a")
    assert forgotten is not None
    assert times.forget("a") is None
    assert times.next_due() == 2.0
    assert ids(times.due(5.0)) == ["b"]
    assert ids(times.ended(1000.0)) == ["b"]


def test_an_id_taken_up_again_has_a_look_and_a_deadline_of_its_own() -> None:
    """Nothing of its first life is left, though the id is the same."""
    times = table(a=5.0, b=1.0)
    times.forget("a")
    again = entry("a", since=50.0)
    times.add(again)
    times.plan(again, 60.0)
    assert ids(times.due(59.0)) == ["b"]
    assert ids(times.ended(149.0)) == ["b"]
    assert times.next_end() == 150.0
    assert times.due(60.0) == [again]
    assert times.ended(150.0) == [again]


def test_deadlines_come_in_the_order_tasks_came_in() -> None:
    """Each has the same time to live, counted from its own start."""
    times = DueQueue(STEP, 100.0)
    for number in range(5):
        times.add(entry(str(number), since=float(number)))
    times.forget("1")
    assert times.next_end() == 100.0
    assert ids(times.ended(102.5)) == ["0", "2"]
    assert times.next_end() == 103.0
    assert ids(times.ended(1000.0)) == ["3", "4"]
    assert times.next_end() is None


def test_whatever_is_due_next_can_be_taken_early() -> None:
    """One at a time, soonest first, with the time it was planned for."""
    times = table(a=3.0, b=1.0, c=2.0)
    times.forget("c")
    taken = [times.soonest(), times.soonest()]
    assert [(one[0].handle.task_id, one[1]) for one in taken if one] == [
        ("b", 1.0),
        ("a", 3.0),
    ]
    assert times.soonest() is None
    assert times.due(1000.0) == []


def test_those_that_have_ended_leave_nothing_behind() -> None:
    """Ten thousand that came and went are not remembered."""
    times = DueQueue(STEP, 100.0)
    times.add(entry("stays"))
    for number in range(10_000):
        times.add(entry(str(number)))
        times.forget(str(number))
    assert len(times._lives) < 100
    assert ids(times.ended(100.0)) == ["stays"]


@pytest.mark.parametrize("shortest", [0.3, 0.7, 1.3, 2.2, 1 / 3])
def test_what_is_due_now_is_taken_now(shortest: float) -> None:
    """However the slots divide, nobody wakes for a look and finds none."""
    times = DueQueue(shortest / 64, 100.0)
    only = entry("a")
    times.add(only)
    for number in range(2000):
        times.plan(only, number * shortest / 64)
        due = times.next_due()
        assert due is not None
        assert times.due(due) == [only]


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["plan", "plan", "plan", "forget", "due", "soonest"]),
        st.sampled_from("abcde"),
        st.floats(0, 20),
    )
)


class Plain:
    """What a timetable promises, as a dictionary of times."""

    def __init__(self) -> None:
        self.times = DueQueue(STEP, 1000.0)
        self.dues: dict[str, float] = {}

    def plan(self, task_id: str, due: float) -> None:
        """Plan a look."""
        if task_id not in self.times.entries:
            self.times.add(entry(task_id))
        self.times.plan(self.times.entries[task_id], due)
        self.dues[task_id] = math.ceil(due / STEP) * STEP

    def forget(self, task_id: str, _: float) -> None:
        """Forget a task."""
        known = task_id in self.times.entries
        assert (self.times.forget(task_id) is not None) is known
        self.dues.pop(task_id, None)

    def due(self, _: str, limit: float) -> None:
        """Take what is due."""
        taken = ids(self.times.due(limit))
        dues = [self.dues.pop(task_id) for task_id in taken]
        assert dues == sorted(dues)
        assert max(dues, default=0.0) <= limit
        assert min(self.dues.values(), default=math.inf) > limit

    def soonest(self, _: str, __: float) -> None:
        """Take one."""
        found = self.times.soonest()
        least = min(self.dues.values(), default=None)
        assert (found and found[1]) == least
        if found is not None:
            assert self.dues.pop(found[0].handle.task_id) == least


@given(EVENTS)
def test_a_timetable_is_a_dictionary_of_times(
    events: list[tuple[str, str, float]],
) -> None:
    """Any order of planning, forgetting and taking gives what was planned."""
    plain = Plain()
    for word, task_id, moment in events:
        getattr(plain, word)(task_id, moment)
        assert plain.times.next_due() == min(plain.dues.values(), default=None)
