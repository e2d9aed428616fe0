"""What the account's pages prove about a lost submit."""

from __future__ import annotations

import datetime as dt
import math

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezlink_async._client.submitting.evidence import (
    SLACK,
    AccountTasks,
    ChargeLog,
    Fate,
    Lost,
    conclude,
    find,
    is_open,
    is_unique,
    new_state,
)
from ezlink_async.models import TaskRecord
from ezlink_async.services.traces import Traces

NOW = 1_800_000_000.0
STATE = "ezlink-1"
LOST = Lost(state=STATE, request_ids=("r1",), since=NOW)
SHARED = attrs.evolve(LOST, shared=True)
NOTHING = ChargeLog(charged=False, witnessed=True)
CHARGED = ChargeLog(charged=True, witnessed=True)


def task(name: str, state: str = "", at: float | None = NOW) -> TaskRecord:
    """Return a task of the account, made *at* that second."""
    made = None if at is None else dt.datetime.fromtimestamp(at, dt.UTC)
    return TaskRecord(task_id=name, state=state, submit_time=made)


def account_tasks(
    *tasks: TaskRecord, reaches: float | None = -math.inf
) -> AccountTasks:
    """Return the account's list; a task called "known" belongs to a known job."""
    return AccountTasks(tasks, reaches, lambda task_id: task_id == "known")


def test_new_states_are_unique_and_recognised() -> None:
    assert new_state() != new_state()
    assert is_unique(new_state())
    assert not is_unique("mine")
    assert not is_unique(None)


@pytest.mark.parametrize(
    ("tasks", "found"),
    [
        ([], None),
        ([task("7", STATE)], "7"),
        ([task("8", "other"), task("7", STATE)], "7"),
        ([task("known", STATE)], "known"),  # the state is unique
        ([task("7", STATE, NOW - 999)], "7"),
        ([task("7", STATE), task("7", STATE)], "7"),  # two rows of one task
        ([task("8", STATE), task("7", STATE)], None),  # one attempt, two tasks
    ],
)
def test_task_with_the_state_is_found(
    tasks: list[TaskRecord], found: str | None
) -> None:
    """One unknown task proves it, two tasks of one attempt do not."""
    finding = find(LOST, account_tasks(*tasks))
    assert (finding.task_id if finding else None) == found
    assert finding is None or finding.fate is Fate.FOUND
    assert find(SHARED, account_tasks(*tasks)) is None


def test_latest_task_of_two_attempts_is_taken() -> None:
    """A job that was sent twice may have two tasks, and both are its own."""
    twice = attrs.evolve(LOST, request_ids=("r1", "r2"))
    finding = find(twice, account_tasks(task("8", STATE), task("7", STATE)))
    assert finding is not None
    assert finding.task_id == "8"


@pytest.mark.parametrize(
    ("at", "found"),
    [(NOW, True), (NOW - SLACK, True), (NOW - SLACK - 1, False), (None, True)],
)
def test_only_recent_tasks_count_for_a_callers_state(
    at: float | None, *, found: bool
) -> None:
    """The caller may have used it before; a task without a time may be new."""
    tasks = account_tasks(task("7", "mine", at))
    lost = attrs.evolve(LOST, state="mine")
    assert (find(lost, tasks) is not None) is found
    assert find(attrs.evolve(lost, since=None), tasks) is None


def test_known_task_with_a_callers_state_belongs_to_another_job() -> None:
    lost = attrs.evolve(LOST, state="mine")
    known = account_tasks(task("known", "mine"))
    assert find(lost, known) is None
    assert conclude(lost, known, NOTHING).fate is Fate.NOT_CREATED


ROWS = st.builds(
    task,
    st.sampled_from(["known", "7", "8", "9"]),
    st.sampled_from(["", STATE, "mine", "theirs"]),
    st.none() | st.floats(NOW - 60, NOW + 60),
)


@given(
    rows=st.lists(ROWS, max_size=6),
    state=st.sampled_from([STATE, "mine", None]),
    since=st.none() | st.floats(NOW - 30, NOW + 30),
    reaches=st.none() | st.floats(NOW - 90, NOW + 90),
    log=st.builds(
        ChargeLog,
        charged=st.booleans(),
        witnessed=st.booleans(),
        settled=st.booleans(),
        refused=st.booleans(),
        may_run=st.booleans(),
    ),
    shared=st.booleans(),
)
def test_submit_with_any_doubt_is_never_called_not_created(
    *,
    rows: list[TaskRecord],
    state: str | None,
    since: float | None,
    reaches: float | None,
    log: ChargeLog,
    shared: bool,
) -> None:
    """For any pages one doubt is enough, and no shared state leads to a task."""
    lost = Lost(state=state, request_ids=("r1",), since=since, shared=shared)
    pages = account_tasks(*rows, reaches=reaches)
    found = find(lost, pages)
    fate = conclude(lost, pages, log).fate
    assert found is None or not shared
    mine = {each.task_id for each in rows if state and each.state == state}
    if found is not None:
        assert found.task_id in mine
    if fate is Fate.NOT_CREATED:
        assert not log.charged
        assert log.refused or (log.witnessed and log.settled)
        assert None not in {state, since, reaches}
        assert not shared
        assert not pages.tagged(lost)
        assert not pages.untagged(lost)
        assert state != STATE or not mine


@pytest.mark.parametrize("refused", [False, True])
@pytest.mark.parametrize("may_run", [False, True])
def test_job_that_the_upstream_may_run_is_not_created_and_not_repeatable(
    *, refused: bool, may_run: bool
) -> None:
    log = attrs.evolve(NOTHING, refused=refused, may_run=may_run)
    finding = conclude(LOST, account_tasks(), log)
    assert (finding.fate, finding.charged) == (Fate.NOT_CREATED, False)
    assert finding.may_run is may_run
    assert ("its upstream" in finding.reason) is may_run


def test_task_without_a_time_is_as_old_as_the_one_above_it() -> None:
    """The list is sorted, the newest task first."""
    old = [task("8", "x", NOW - 999), task("7", "mine", None)]
    lost = attrs.evolve(LOST, state="mine")
    assert find(lost, account_tasks(*old)) is None


UNTAGGED = [task("9")]
NO_LOG = ChargeLog(charged=False, witnessed=False)
UNSETTLED = ChargeLog(charged=False, witnessed=True, settled=False)
REFUSED = ChargeLog(charged=False, witnessed=False, settled=False, refused=True)
BOTH = attrs.evolve(REFUSED, charged=True)


@pytest.mark.parametrize(
    ("tasks", "reaches", "log", "fate", "charged", "reason"),
    [
        ([], -math.inf, NOTHING, Fate.NOT_CREATED, False, "no job was created"),
        ([], NOW - SLACK, NOTHING, Fate.NOT_CREATED, False, "no job was created"),
        ([task("1", "x")], -math.inf, NOTHING, Fate.NOT_CREATED, False, "no job"),
        ([task("known")], -math.inf, NOTHING, Fate.NOT_CREATED, False, "no job"),
        ([], -math.inf, CHARGED, Fate.CHARGED, True, "paid, and there is no task"),
        ([], -math.inf, NO_LOG, Fate.UNKNOWN, None, "no submit of this client"),
        ([], -math.inf, UNSETTLED, Fate.UNKNOWN, None, "still be at work"),
        ([], -math.inf, REFUSED, Fate.NOT_CREATED, False, "it was refused"),
        ([], -math.inf, BOTH, Fate.CHARGED, True, "paid, and there is no task"),
        ([], NOW - 1, REFUSED, Fate.UNKNOWN, False, "far enough back"),
        (UNTAGGED, -math.inf, REFUSED, Fate.UNKNOWN, False, "it may be task 9"),
        ([], NOW - 1, NOTHING, Fate.UNKNOWN, False, "far enough back"),
        ([], None, CHARGED, Fate.UNKNOWN, True, "far enough back"),
        (UNTAGGED, -math.inf, NOTHING, Fate.UNKNOWN, False, "it may be task 9"),
        (UNTAGGED, -math.inf, CHARGED, Fate.UNKNOWN, True, "never showed whose it is"),
        ([task("9", at=NOW - 99)], -math.inf, NOTHING, Fate.NOT_CREATED, False, ""),
        (
            [task("8", STATE), task("7", STATE)],
            -math.inf,
            NOTHING,
            Fate.UNKNOWN,
            False,
            "several tasks carry the state 'ezlink-1'; it may be task 8 or 7",
        ),
    ],
)
def test_conclusion_when_no_task_was_found(
    *,
    tasks: list[TaskRecord],
    reaches: float | None,
    log: ChargeLog,
    fate: Fate,
    charged: bool | None,
    reason: str,
) -> None:
    """Every proof is needed to say "not created"; else the reason names the gap."""
    finding = conclude(LOST, account_tasks(*tasks, reaches=reaches), log)
    assert (finding.fate, finding.charged) == (fate, charged)
    assert reason in finding.reason


def test_submit_without_a_time_is_never_called_not_created() -> None:
    """Nothing says how far back the list must reach."""
    lost = attrs.evolve(LOST, since=None)
    assert conclude(lost, account_tasks(), NOTHING).fate is Fate.UNKNOWN


def test_submit_without_a_state_stays_unknown_even_if_charged() -> None:
    """Any task may be its own."""
    lost = attrs.evolve(LOST, state=None)
    finding = conclude(lost, account_tasks(), CHARGED)
    assert (finding.fate, finding.charged) == (Fate.UNKNOWN, True)
    assert "without a state" in finding.reason


def test_shared_state_is_unknown_and_names_the_candidates() -> None:
    tasks = account_tasks(task("8", STATE), task("7", STATE))
    finding = conclude(SHARED, tasks, NOTHING)
    assert "share the state 'ezlink-1'; it may be task 8 or 7" in finding.reason
    assert conclude(SHARED, account_tasks(), NOTHING).fate is Fate.UNKNOWN


@pytest.mark.parametrize(
    ("tasks", "lost", "opened"),
    [
        (UNTAGGED, LOST, True),
        (UNTAGGED, SHARED, False),
        ([], LOST, False),
        ([task("known")], LOST, False),
        ([task("9", at=NOW - SLACK - 1)], LOST, False),
        ([task("9", at=None)], LOST, True),
    ],
)
def test_unknown_recent_task_without_a_state_keeps_the_question_open(
    tasks: list[TaskRecord], lost: Lost, *, opened: bool
) -> None:
    """With a shared state it would prove nothing anyway."""
    assert is_open(lost, account_tasks(*tasks)) is opened


# Families whose tasks the account's pages do not show

LOG_ALONE = attrs.evolve(LOST, traces=Traces(log=True))


@pytest.mark.parametrize(
    ("log", "fate", "words"),
    [
        (NOTHING, Fate.UNKNOWN, "do not show every job of this kind"),
        (CHARGED, Fate.CHARGED, "that it was paid"),
        (attrs.evolve(NOTHING, refused=True), Fate.NOT_CREATED, "was refused"),
    ],
)
def test_absence_proves_nothing_of_a_task_that_the_pages_do_not_show(
    log: ChargeLog, fate: Fate, words: str
) -> None:
    finding = conclude(LOG_ALONE, account_tasks(reaches=None), log)
    assert (finding.fate, words in finding.reason) == (fate, True)


def test_state_proves_nothing_of_a_task_that_the_pages_do_not_show() -> None:
    tasks = account_tasks(task("7", STATE), task("8"))
    assert find(LOG_ALONE, tasks) is None
    assert not is_open(LOG_ALONE, tasks)
