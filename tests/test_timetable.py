"""When each look is due, and each deadline."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezlink_async._client.polling.schedule import Entry, Timetable
from tests.entries import entry

STEP = 0.25


def table(**dues: float) -> Timetable:
    """Return a timetable with a look planned for each task."""
    times = Timetable(STEP, 100.0)
    for task_id, due in dues.items():
        times.add(entry(task_id))
        times.plan(times.entries[task_id], due)
    return times


def ids(entries: list[Entry]) -> list[str]:
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
    times = Timetable(STEP, 100.0)
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
    times = Timetable(STEP, 100.0)
    times.add(entry("stays"))
    for number in range(10_000):
        times.add(entry(str(number)))
        times.forget(str(number))
    assert len(times._lives) < 100
    assert ids(times.ended(100.0)) == ["stays"]


@pytest.mark.parametrize("shortest", [0.3, 0.7, 1.3, 2.2, 1 / 3])
def test_what_is_due_now_is_taken_now(shortest: float) -> None:
    """However the slots divide, nobody wakes for a look and finds none."""
    times = Timetable(shortest / 64, 100.0)
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
        self.times = Timetable(STEP, 1000.0)
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
