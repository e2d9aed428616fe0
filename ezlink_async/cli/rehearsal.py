"""``ezlink swap --dry-run``: say what would be done, and leave no trace."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path

import attrs

from ezlink_async.batch.journal.jobs import Step
from ezlink_async.batch.journal.store import Journal
from ezlink_async.batch.options import Rules
from ezlink_async.batch.preflight import Job, Screening
from ezlink_async.cli.telling import Teller
from ezlink_async.plan import Plan

_AT_ONCE = 64


def rehearse(plan: Plan, journal: Path | None, rules: Rules, teller: Teller) -> int:
    """Tell what would become of each pair, and return how many would be sent."""
    swaps = 0
    with contextlib.closing(Journal.rehearsal(journal)) as copy:
        screening = Screening(rules, copy.start_run(0))
        pairs = iter(plan)
        while few := list(itertools.islice(pairs, _AT_ONCE)):
            looks = screening.look(few)
            for screened in screening.decide(looks, screening.enter(copy, looks)):
                if screened.job is not None and screened.settled is None:
                    swaps += screened.job.step is Step.SUBMIT
                    _tell(screened.job, teller)
                else:
                    teller.tell(screened.left_over("nothing was sent"))
    return swaps


def _tell(job: Job, teller: Teller) -> None:
    outcome = job.outcome("skipped")
    teller.tell(attrs.evolve(outcome, output=job.place), "planned")
