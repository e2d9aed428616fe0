"""When each task is polled; what a schedule costs is in test_simulation."""

from __future__ import annotations

import gc
import math
import random
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezlink_async._client.polling.followed_tasks import DueQueue, FollowedTask
from ezlink_async._client.polling.schedule import PollSchedule
from ezlink_async._core.policies import TASK_DEADLINE, PollPolicy
from ezlink_async.models import TaskStatus
from tests.support.followed_tasks import followed_task, receive

POLICY = PollPolicy()

LIST_FROM = 3

DEADLINE = TASK_DEADLINE

LATER = 20.0


def ids(tasks: list[FollowedTask]) -> list[str]:
    """Return the ids of *tasks*."""
    return [task.task_id for task in tasks]


# The schedule


class Followed:
    """A schedule of *count* own tasks, all accepted at 0."""

    def __init__(self, count: int = 0) -> None:
        random.seed(1)
        self.schedule = PollSchedule(POLICY, list_from=LIST_FROM, shares_queue=True)
        self.tasks = [self.add(str(number)) for number in range(count)]

    def add(
        self, task_id: str, since: float = 0.0, *, own: bool = True
    ) -> FollowedTask:
        """Follow another task."""
        task = followed_task(task_id, since, own=own)
        self.schedule.add(task)
        return task

    def taken(self, now: float) -> set[str]:
        """Return the ids of the tasks to poll at *now*."""
        return set(ids(self.schedule.take(now)))

    @property
    def due(self) -> float:
        """When a poll or a deadline is due."""
        moment = self.schedule.next_due()
        assert moment is not None
        return moment

    def observe(
        self,
        now: float,
        *tasks: FollowedTask,
        status: TaskStatus = TaskStatus.IN_PROGRESS,
        progress: float | None = None,
        changed: bool = True,
    ) -> None:
        """Let one answer show all *tasks* alike."""
        records = [(task, receive(task, status, progress), changed) for task in tasks]
        self.schedule.observe(records, now, now)

    def learn_cycle(self, period: float) -> None:
        """Let all tasks change five times, *period* seconds apart, first at 1."""
        for number in range(5):
            moment = 1.0 + period * number
            for task in self.tasks:
                task.observed_at = moment - 0.4
            self.observe(moment, *self.tasks)


def test_empty_schedule_has_nothing_due() -> None:
    here = Followed(1)
    here.schedule.remove(here.tasks[0])
    assert here.schedule.next_due() is None
    assert (here.taken(LATER), here.schedule.expired(1e6)) == (set(), [])


def test_own_task_is_polled_after_the_first_step_and_a_resumed_one_at_once() -> None:
    here = Followed(1)
    assert POLICY.first / 2 <= here.due <= POLICY.first + 0.1
    here.add("old", 0.5, own=False)
    assert here.due == pytest.approx(0.5, abs=0.02)
    assert here.taken(0.52) == {"old"}


def test_task_with_a_poll_in_flight_is_not_due() -> None:
    here = Followed(2)
    assert here.taken(LATER) == {"0", "1"}
    assert here.taken(LATER + 100) == set()
    assert here.due == DEADLINE


def test_failed_polls_are_repeated_after_growing_steps_or_retry_after() -> None:
    here = Followed(1)
    (task,) = here.tasks
    for polls in range(1, 6):
        here.taken(LATER)
        here.schedule.plan_retry(task, LATER)
        wait = here.due - LATER
        assert POLICY.step(polls) / 2 <= wait <= POLICY.step(polls) + 0.02
    here.schedule.plan_retry(task, LATER, 60.0)
    assert here.due == pytest.approx(LATER + 60.0, abs=0.02)


def test_last_poll_comes_shortly_before_the_deadline() -> None:
    here = Followed(1)
    here.taken(LATER)
    here.schedule.plan_retry(here.tasks[0], DEADLINE - 5.0, 1e4)
    assert DEADLINE - 1.02 <= here.due < DEADLINE


def test_deadlines_come_in_the_order_of_acceptance() -> None:
    here = Followed()
    tasks = [here.add(str(number), float(number)) for number in range(5)]
    here.taken(LATER)
    here.schedule.remove(tasks[1])
    assert here.due == DEADLINE
    assert here.schedule.expired(DEADLINE - 0.01) == []
    assert ids(here.schedule.expired(DEADLINE + 2.5)) == ["0", "2"]


def test_retired_task_is_found_and_has_neither_polls_nor_a_deadline() -> None:
    here = Followed(1)
    (task,) = here.tasks
    here.schedule.retire(task)
    assert here.schedule.next_due() is None
    assert here.schedule.expired(DEADLINE) == []
    here.schedule.plan_by_id([task], LATER)
    here.schedule.plan_retry(task, LATER)
    here.schedule.plan_confirmation(task, LATER)
    here.observe(LATER, task)
    assert (here.schedule.next_due(), here.taken(1e4)) == (None, set())
    assert here.schedule.find("0") is task
    here.schedule.remove(task)
    assert here.schedule.find("0") is None


def test_end_that_is_seen_after_its_deadline_teaches_no_duration() -> None:
    here = Followed(8)
    for task in here.tasks:
        here.schedule.retire(task)
    here.observe(1e5, *here.tasks, status=TaskStatus.SUCCESS)
    here.add("next", 1e5)
    assert here.due <= 1e5 + POLICY.first + 0.1


def test_resumed_id_has_polls_and_a_deadline_of_its_own() -> None:
    here = Followed(2)
    here.schedule.remove(here.tasks[0])
    again = here.add("0", 50.0)
    assert ids(here.schedule.take(50.5)) == ["1"]
    assert ids(here.schedule.expired(DEADLINE)) == ["1"]
    here.schedule.remove(here.tasks[1])
    assert here.schedule.take(53.0) == [again]
    assert here.due == DEADLINE + 50.0


def test_ended_task_gets_no_more_polls() -> None:
    here = Followed(1)
    (task,) = here.tasks
    here.taken(LATER)
    task.handle.end(None)
    here.schedule.plan_by_id([task], LATER)
    here.schedule.plan_retry(task, LATER)
    here.observe(LATER, task)
    assert here.due == DEADLINE


def test_ended_tasks_are_released_from_memory() -> None:
    here = Followed(1000)
    gone = weakref.WeakSet([task.handle for task in here.tasks])
    for task in here.tasks:
        here.schedule.remove(task)
    here.tasks.clear()
    del task
    here.taken(LATER)
    gc.collect()
    assert len(gone) == 0
    assert not here.schedule.tasks._groups  # nor their deadlines


def test_task_that_a_list_left_out_is_polled_by_id_at_once() -> None:
    here = Followed(3)
    here.schedule.plan_by_id(here.tasks[1:2], 0.5)
    assert here.taken(0.52) == {"1"}
    assert here.tasks[1].by_id


def test_progress_tells_when_a_task_will_end() -> None:
    """A task at half is polled 60 % of the way ahead, a nearly ended one at its end."""
    here = Followed(1)
    here.taken(4.0)
    here.observe(4.0, *here.tasks, progress=50.0)
    assert here.due == pytest.approx(4.0 + 0.6 * 4.0, abs=0.02)
    here.taken(8.0)
    here.observe(8.0, *here.tasks, progress=90.0)
    assert here.due == pytest.approx(9.0, abs=0.02)


def test_new_task_is_first_polled_when_others_have_ended() -> None:
    here = Followed(8)
    here.taken(5.0)
    here.observe(5.0, *here.tasks)
    here.taken(7.0)
    here.observe(7.0, *here.tasks, status=TaskStatus.SUCCESS)
    for task in here.tasks:
        here.schedule.remove(task)
    here.add("next", 100.0)
    assert here.due == pytest.approx(106.0, abs=0.02)


def test_list_requests_are_half_a_shortest_step_apart() -> None:
    here = Followed()
    for number in range(LIST_FROM):
        here.add(str(number), own=False)
    assert len(here.taken(0.0)) == LIST_FROM
    here.add("next", 0.1, own=False)
    assert here.due == POLICY.shortest / 2
    assert here.taken(0.4) == set()
    assert here.taken(0.5) == {"next"}


def test_list_request_is_filled_up_with_tasks_that_may_be_polled_by_list() -> None:
    here = Followed(2)
    by_id, tired = here.add("by id"), here.add("was told to wait")
    by_id.by_id = True
    here.schedule.plan_retry(tired, 0.5, 10.0)
    here.add("too young", 1.0)
    resumed = [here.add(f"resumed {number}", 1.1, own=False) for number in range(3)]
    assert here.taken(1.11) == {"0", "1", *ids(resumed)}


def test_list_request_is_filled_up_to_a_hundred() -> None:
    here = Followed(150)
    for number in range(LIST_FROM):
        here.add(f"resumed {number}", 1.0, own=False)
    assert len(here.taken(1.0)) == 100


def test_cycle_that_was_not_seen_for_long_is_not_waited_for() -> None:
    here = Followed(3)
    here.learn_cycle(10.0)
    here.taken(400.0)
    for task in here.tasks:
        here.schedule.remove(task)
    here.add("new", 500.0)
    assert 500.0 + POLICY.first / 2 <= here.due <= 500.0 + POLICY.first + 0.02


def test_no_refresh_is_skipped_because_others_were_shown_late() -> None:
    """Ends that a refresh showed after 19 s may have been there after 9 s."""
    here = Followed(3)
    here.learn_cycle(10.0)
    others = [here.add(f"other {number}", 32.0) for number in range(5)]
    for task in others:
        task.observed_at = 50.6
    here.observe(51.0, *others, status=TaskStatus.SUCCESS)
    refresh = here.schedule.cycle.next(51.0)
    here.add("new", 51.5)
    assert refresh is not None
    assert "new" in here.taken(refresh.hi + 0.02)


def test_early_refresh_calls_waiting_tasks_but_ends_no_retry_after() -> None:
    here = Followed(4)
    probe, tired, *others = here.tasks
    here.learn_cycle(10.0)
    here.taken(47.0)
    here.observe(47.0, probe, *others, changed=False)
    tired.polls = 0
    here.schedule.plan_retry(tired, 47.0, 4.0)
    assert here.taken(50.83) == {"0"}
    here.observe(50.83, probe)
    assert here.taken(50.84) == {"2", "3"}
    assert here.taken(51.02) == {"1"}


# The queue

STEP = 0.25


def queue(**dues: float) -> tuple[DueQueue, dict[str, FollowedTask]]:
    """Return a queue with a poll planned for each task, and the tasks."""
    planned = DueQueue(STEP)
    tasks = {task_id: followed_task(task_id) for task_id in dues}
    for task_id, due in dues.items():
        planned.plan(tasks[task_id], due)
    return planned, tasks


def test_polls_are_taken_in_the_order_of_their_times() -> None:
    planned, _ = queue(c=3.0, a=1.0, d=9.0, b=2.0)
    assert ids(planned.take(3.0)) == ["a", "b", "c"]
    assert planned.next_due() == 9.0
    assert ids(planned.take(9.0)) == ["d"]
    assert (planned.next_due(), planned.take(1000.0)) == (None, [])


def test_due_times_are_rounded_up_to_a_slot() -> None:
    planned, _ = queue(a=1.01)
    assert planned.next_due() == 1.25
    assert planned.take(1.24) == []
    assert ids(planned.take(1.25)) == ["a"]


@pytest.mark.parametrize("shortest", [0.3, 0.7, 1.3, 2.2, 1 / 3])
def test_poll_can_be_taken_at_the_very_time_it_is_due(shortest: float) -> None:
    planned = DueQueue(shortest / 64)
    only = followed_task("a")
    for number in range(2000):
        planned.plan(only, number * shortest / 64)
        due = planned.next_due()
        assert due is not None
        assert planned.take(due) == [only]


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["plan", "plan", "plan", "take", "take one"]),
        st.sampled_from("abcde"),
        st.floats(0, 20),
    )
)


@given(EVENTS)
def test_queue_holds_one_time_for_each_task(
    events: list[tuple[str, str, float]],
) -> None:
    """A plan replaces the former one, and each poll is taken once, soonest first."""
    planned, tasks = queue(a=1.0, b=1.0, c=1.0, d=1.0, e=1.0)
    dues = dict.fromkeys("abcde", 1.0)
    for event, task_id, moment in events:
        if event == "plan":
            planned.plan(tasks[task_id], moment)
            dues[task_id] = math.ceil(moment / STEP) * STEP
        elif event == "take":
            taken = [dues.pop(task.task_id) for task in planned.take(moment)]
            assert taken == sorted(taken)
            assert max(taken, default=0.0) <= moment < min([*dues.values(), math.inf])
        elif (due := planned.next_due()) is not None:
            assert dues.pop(planned.take_one().task_id) == due
        assert planned.next_due() == min(dues.values(), default=None)
