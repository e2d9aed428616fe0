"""What the account's pages prove about a lost submit: the table of decisions."""

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

NOW = 1_800_000_000.0
STATE = "ezlink-1"
LOST = Lost(state=STATE, request_ids=("r1",), since=NOW)
NOTHING = ChargeLog(charged=False, witnessed=True)
CHARGED = ChargeLog(charged=True, witnessed=True)


def task(name: str, state: str = "", at: float | None = NOW) -> TaskRecord:
    """Return a task of the account, made *at* that second."""
    made = None if at is None else dt.datetime.fromtimestamp(at, dt.UTC)
    return TaskRecord(task_id=name, state=state, submit_time=made)


def sheet(*tasks: TaskRecord, reaches: float | None = -math.inf) -> AccountTasks:
    """Return a list in which the tasks called "known" are known."""
    return AccountTasks(tasks, reaches, lambda task_id: task_id == "known")


def test_states_are_unique_and_known_again() -> None:
    """Each is another one; a caller's is none of ours."""
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
        ([task("known", STATE)], "known"),  # nobody else has it
        ([task("7", STATE, NOW - 999)], "7"),
        ([task("7", STATE), task("7", STATE)], "7"),  # two rows of one task
        ([task("8", STATE), task("7", STATE)], None),  # one attempt, two tasks
    ],
)
def test_a_task_with_its_state_is_the_one(
    tasks: list[TaskRecord], found: str | None
) -> None:
    """One unknown task carries it: found; two of them for one attempt: not."""
    finding = find(LOST, sheet(*tasks), shared=False)
    assert (finding.task_id if finding else None) == found
    assert finding is None or finding.fate is Fate.FOUND
    assert find(LOST, sheet(*tasks), shared=True) is None


def test_of_two_attempts_the_latest_task_is_taken() -> None:
    """A job that was sent twice may have two tasks; each is the job's."""
    twice = attrs.evolve(LOST, request_ids=("r1", "r2"))
    finding = find(twice, sheet(task("8", STATE), task("7", STATE)), shared=False)
    assert finding is not None
    assert finding.task_id == "8"


@pytest.mark.parametrize(
    ("at", "found"),
    [(NOW, True), (NOW - SLACK, True), (NOW - SLACK - 1, False), (None, True)],
)
def test_a_callers_state_may_have_been_used_before(
    at: float | None, *, found: bool
) -> None:
    """Only tasks made since the submit began count; one without a time may be new."""
    lost = attrs.evolve(LOST, state="mine")
    assert (find(lost, sheet(task("7", "mine", at)), shared=False) is not None) is found
    unknown = attrs.evolve(lost, since=None)
    assert find(unknown, sheet(task("7", "mine", at)), shared=False) is None


def test_a_known_task_with_a_callers_state_is_another_jobs() -> None:
    """It was accepted, or is followed: the lost one is not it."""
    lost = attrs.evolve(LOST, state="mine")
    known = sheet(task("known", "mine"))
    assert find(lost, known, shared=False) is None
    assert conclude(lost, known, NOTHING, shared=False).fate is Fate.NOT_CREATED


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
        ChargeLog, charged=st.booleans(), witnessed=st.booleans(), settled=st.booleans()
    ),
    shared=st.booleans(),
)
def test_nothing_is_sent_again_while_anything_may_be_the_task(
    *,
    rows: list[TaskRecord],
    state: str | None,
    since: float | None,
    reaches: float | None,
    log: ChargeLog,
    shared: bool,
) -> None:
    """Whatever the pages show: one doubt is enough, and a find is never shared."""
    lost = Lost(state=state, request_ids=("r1",), since=since)
    pages = sheet(*rows, reaches=reaches)
    found = find(lost, pages, shared=shared)
    fate = conclude(lost, pages, log, shared=shared).fate
    assert found is None or not shared
    mine = {each.task_id for each in rows if state and each.state == state}
    if found is not None:
        assert found.task_id in mine
    if fate is Fate.NOT_CREATED:
        assert log == ChargeLog(charged=False, witnessed=True, settled=True)
        assert None not in {state, since, reaches}
        assert not shared
        assert not pages.own(lost)
        assert not pages.mute(lost)
        assert state != STATE or not mine


def test_a_task_without_a_time_is_as_old_as_the_one_above_it() -> None:
    """The list is sorted: what comes below is no newer."""
    old = [task("8", "x", NOW - 999), task("7", "mine", None)]
    lost = attrs.evolve(LOST, state="mine")
    assert find(lost, sheet(*old), shared=False) is None


MUTE = [task("9")]
NO_LOG = ChargeLog(charged=False, witnessed=False)
UNSETTLED = ChargeLog(charged=False, witnessed=True, settled=False)


@pytest.mark.parametrize(
    ("tasks", "reaches", "log", "fate", "charged", "told"),
    [
        ([], -math.inf, NOTHING, Fate.NOT_CREATED, False, "no job was created"),
        ([], NOW - SLACK, NOTHING, Fate.NOT_CREATED, False, "no job was created"),
        ([task("1", "x")], -math.inf, NOTHING, Fate.NOT_CREATED, False, "no job"),
        ([task("known")], -math.inf, NOTHING, Fate.NOT_CREATED, False, "no job"),
        ([], -math.inf, CHARGED, Fate.CHARGED, True, "paid, and there is no task"),
        ([], -math.inf, NO_LOG, Fate.UNKNOWN, None, "no submit of this client"),
        ([], -math.inf, UNSETTLED, Fate.UNKNOWN, None, "still be at work"),
        ([], NOW - 1, NOTHING, Fate.UNKNOWN, False, "far enough back"),
        ([], None, CHARGED, Fate.UNKNOWN, True, "far enough back"),
        (MUTE, -math.inf, NOTHING, Fate.UNKNOWN, False, "it may be task 9"),
        (MUTE, -math.inf, CHARGED, Fate.UNKNOWN, True, "never showed whose it is"),
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
def test_what_is_concluded_when_no_task_was_found(
    *,
    tasks: list[TaskRecord],
    reaches: float | None,
    log: ChargeLog,
    fate: Fate,
    charged: bool | None,
    told: str,
) -> None:
    """Not created needs every proof; whatever is missing is said."""
    finding = conclude(LOST, sheet(*tasks, reaches=reaches), log, shared=False)
    assert (finding.fate, finding.charged) == (fate, charged)
    assert told in finding.reason


def test_a_submit_without_a_time_is_never_called_not_created() -> None:
    """What window the list must cover is not known then."""
    lost = attrs.evolve(LOST, since=None)
    assert conclude(lost, sheet(), NOTHING, shared=False).fate is Fate.UNKNOWN


def test_a_submit_without_a_state_proves_nothing_but_its_charge() -> None:
    """Its task may be any; so even a charge leaves it unknown."""
    lost = attrs.evolve(LOST, state=None)
    finding = conclude(lost, sheet(), CHARGED, shared=False)
    assert (finding.fate, finding.charged) == (Fate.UNKNOWN, True)
    assert "without a state" in finding.reason


def test_a_shared_state_names_what_may_be_the_one() -> None:
    """However the tasks come in, none of them is taken."""
    tasks = sheet(task("8", STATE), task("7", STATE))
    finding = conclude(LOST, tasks, NOTHING, shared=True)
    assert finding.candidates == ("8", "7")
    assert "several open submits share the state" in finding.reason
    assert conclude(LOST, sheet(), NOTHING, shared=True).fate is Fate.UNKNOWN


@pytest.mark.parametrize(
    ("tasks", "shared", "opened"),
    [
        (MUTE, False, True),
        (MUTE, True, False),
        ([], False, False),
        ([task("known")], False, False),
        ([task("9", at=NOW - SLACK - 1)], False, False),
        ([task("9", at=None)], False, True),
    ],
)
def test_a_task_without_a_state_keeps_the_question_open(
    tasks: list[TaskRecord], *, shared: bool, opened: bool
) -> None:
    """Unless it is somebody else's, or older, or nothing could be told anyway."""
    assert is_open(LOST, sheet(*tasks), shared=shared) is opened
