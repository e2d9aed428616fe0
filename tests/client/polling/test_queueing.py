"""Which of many waiting tasks are looked at."""

from __future__ import annotations

import pytest

from ezlink_async._client.polling.schedule import HEAD_OF_LINE, FollowedTask, Line
from tests.support.followed_tasks import entry


class Queue:
    """A line, and so many tasks that have joined it, a second apart."""

    def __init__(self, count: int) -> None:
        self.entries: dict[str, FollowedTask] = {}
        self.line = Line(self.entries)
        for number in range(count):
            self.join(number)

    def join(self, number: int) -> bool:
        """Let another one join."""
        one = entry(str(number), since=float(number))
        self.entries[str(number)] = one
        return self.line.join(one)

    def leave(self, number: int, *, started: bool = True) -> None:
        """Let one leave."""
        self.line.leave(self.entries[str(number)], started=started)

    def moves_up(self, before: float = -1.0) -> list[int]:
        """Return who has come to the head."""
        return [int(one.handle.task_id) for one in self.line.moves_up(before)]

    def sample(self, count: int) -> list[int]:
        """Return some of those behind."""
        return [int(one.handle.task_id) for one in self.line.sample(count)]

    def waits(self, number: int) -> bool:
        """Tell whether one is behind."""
        return self.line.waits(self.entries[str(number)])


def test_a_hundred_are_at_the_head() -> None:
    """They are looked at; whoever comes later waits behind."""
    queue = Queue(0)
    heads = [queue.join(number) for number in range(HEAD_OF_LINE + 5)]
    assert heads == [True] * HEAD_OF_LINE + [False] * 5
    assert queue.line.behind == 5
    assert [queue.waits(99), queue.waits(100)] == [False, True]


def test_a_short_line_has_nobody_behind() -> None:
    """Nobody moves up, and there is nothing to sample."""
    queue = Queue(7)
    assert (queue.moves_up(), queue.sample(10)) == ([], [])
    assert queue.line.first() is None


@pytest.mark.parametrize("started", [True, False])
def test_who_is_behind_moves_up_in_order(*, started: bool) -> None:
    """For each that leaves the head the next one comes."""
    queue = Queue(106)
    for number in (3, 50, 99):
        queue.leave(number, started=started)
    assert queue.moves_up() == [100, 101, 102]
    assert queue.line.behind == 3
    assert not queue.waits(102)
    assert queue.line.first() is queue.entries["103"]


def test_who_ended_behind_does_not_move_up() -> None:
    """One that left, or was forgotten, leaves no gap at the head."""
    queue = Queue(106)
    queue.leave(100, started=False)
    queue.leave(101, started=False)
    del queue.entries["101"]
    queue.leave(0)
    assert queue.moves_up() == [102]
    assert queue.line.behind == 3


def test_leaving_twice_is_leaving_once() -> None:
    """A task that started and then ended makes room for one."""
    queue = Queue(106)
    queue.leave(0)
    queue.leave(0)
    assert queue.moves_up() == [100]


def test_samples_go_round() -> None:
    """Each sample shows others, until all had their turn, and then again."""
    queue = Queue(107)
    samples = [queue.sample(3) for _ in range(4)]
    assert samples == [[100, 101, 102], [103, 104, 105], [106], [100, 101, 102]]


def test_a_sample_shows_only_who_waits() -> None:
    """Who has left or was forgotten is not asked about any more."""
    queue = Queue(105)
    queue.leave(102, started=False)
    queue.leave(103, started=False)
    del queue.entries["103"]
    assert queue.sample(10) == [100, 101, 104]


def test_one_that_overtakes_dissolves_the_line() -> None:
    """If one from behind has started there is no order, and all are looked at."""
    queue = Queue(106)
    queue.leave(104)
    assert queue.moves_up() == [100, 101, 102, 103, 105]
    assert queue.line.behind == 0
    assert queue.join(200)


def test_who_has_no_time_left_is_looked_at() -> None:
    """A last look comes before the deadline, at the head or not."""
    queue = Queue(110)
    assert queue.moves_up(before=102.0) == [100, 101, 102]
    assert queue.moves_up(before=102.0) == []
    assert queue.line.behind == 7
