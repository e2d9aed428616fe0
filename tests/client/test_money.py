"""
What the client says of its jobs, against the ledger of the server.

Mixes of kinds, faults, cancellations and closes are drawn from a seed. Every charge
belongs to a job that was accepted or is unknown, or is a fee that the client has said;
and no job is charged twice.
"""

from __future__ import annotations

import contextlib
import random

import attrs
import pytest

from ezlink_async import (
    ClientClosedError,
    ContentRefusedError,
    EzlinkError,
    RetryPolicy,
    Timeouts,
)
from ezlink_async._client.outcomes import Outcome
from ezlink_async.emulator import EmulatorSettings, faults, scripts
from ezlink_async.emulator.faults import Fault
from ezlink_async.requests import (
    AsyncImage,
    Blend,
    Describe,
    Doubao,
    FaceSwap,
    Flux,
    Grok,
    Imagine,
    JobRequest,
    Kling,
    Shorten,
)
from ezlink_async.services.base import AnyRecord
from tests.support.client_harness import EmulatedClient, emulated_client
from tests.support.photographs import encoded, photo
from tests.support.pictures import jpeg

JOBS = 12

FAULTS: tuple[Fault, ...] = (
    faults.Drop(job=True),
    faults.Drop(job=True, reset=True),
    faults.Drop(),
    faults.Cut(7),
    faults.proxy(502),
    faults.proxy(504, job=True),
    faults.queue_full(),
    faults.saturated(),
    faults.banned_word(),
    faults.Garbage(job=True),
    faults.Trouble("insert_failed"),
    faults.Upstream(body='{"code":1,"description":"ok"}'),
    faults.Upstream(body=""),
    faults.Upstream(403, {"detail": "Content violates usage guidelines"}),
    faults.Upstream(broken="reset"),
)

CALLS = (
    *("submit", "imagine", "describe", "shorten", "blend"),
    *("video", "video_result", "video_keyless", "images", "flux"),
)

SETTLEMENT = "SETTLEMENT"
"""What corrects the price of a task of Doubao, once."""

RETRY = RetryPolicy(first=0.01, longest=0.02, attempts=3, timeout=5)

PICTURE = encoded(photo(), "PNG")


@attrs.define
class Ledger:
    """What the client has said: ids of accepted jobs, unknown requests, and fees."""

    accepted: list[str] = attrs.field(factory=list)
    unknown: set[str] = attrs.field(factory=set)
    safe: set[str] = attrs.field(factory=set)
    fees: set[str] = attrs.field(factory=set)

    def add(self, outcome: Outcome[JobRequest[AnyRecord], AnyRecord]) -> None:
        """Note how one job stands."""
        error = outcome.error
        if outcome.handle is not None:
            self.accepted.append(outcome.handle.task_id)
        elif error is not None:
            self.note(error)

    def note(self, error: EzlinkError) -> None:
        """Note what an error says of its job."""
        if error.task_id is not None:
            self.accepted.append(error.task_id)
        requests = {*getattr(error, "request_ids", ()), error.request_id or ""} - {""}
        if isinstance(error, ContentRefusedError):
            assert error.fee
            self.fees |= requests
        if error.maybe_charged:
            self.unknown |= requests
        elif error.retry_safe:
            self.safe |= requests


def _request(rng: random.Random, number: int) -> JobRequest[AnyRecord]:
    made: list[JobRequest[AnyRecord]] = [
        Imagine(f"picture {number}", mode=rng.choice(["fast", "relax", "turbo"])),
        Shorten(f"some words {number}"),
        Describe(PICTURE),
        Blend([PICTURE, encoded(photo(40 + number, 30), "PNG")]),
        FaceSwap(jpeg(2_000), jpeg(3_000 + number)),
        Kling(f"clip {number}", model="kling-v1"),
        Doubao(f"clip {number}", model="doubao-seedance-1-0-lite"),
        Grok(f"clip {number}", model="grok-imagine-video"),
        AsyncImage(rng.choice(["kling-v2", "wanx", "flux-dev"]), f"image {number}"),
        Flux("flux-2-pro", f"flux {number}"),
    ]
    return rng.choice(made)


async def _run(here: EmulatedClient, rng: random.Random, ledger: Ledger) -> None:
    """Do the jobs, and leave early now and then, by a break or by closing."""
    control = here.server.control
    for call in CALLS:
        control.script(call, *rng.choices(FAULTS, k=rng.randint(0, 4)))
    ends = [scripts.fails(), scripts.fails_at_100(), scripts.slow(0.05)]
    control.script_tasks(*rng.choices(ends, k=rng.randint(0, 4)))
    requests = [_request(rng, number) for number in range(JOBS)]
    leaves_after = rng.choice([JOBS, JOBS, rng.randint(0, JOBS)])
    closes = rng.random() < 0.3
    stream = here.ez.submit_all(requests)
    seen = 0
    with contextlib.suppress(EzlinkError):
        async with stream:
            async for outcome in stream:
                ledger.add(outcome)
                seen += 1
                if seen >= leaves_after:
                    break
            if closes:
                await here.ez.aclose()
    for outcome in stream.dropped():
        ledger.add(outcome)


@pytest.mark.parametrize("seed", range(12))
async def test_every_charge_belongs_to_a_job_that_the_client_knows_of(
    seed: int,
) -> None:
    rng, ledger = random.Random(seed), Ledger()  # noqa: S311 - no secret
    settings = EmulatorSettings(concurrency=rng.choice([2, 20]))
    timeouts = Timeouts(submit=2, close=2)
    async with emulated_client(
        settings, retry=RETRY, timeouts=timeouts, max_concurrency=rng.choice([1, 4])
    ) as here:
        await _run(here, rng, ledger)
        with contextlib.suppress(ClientClosedError):
            ledger.accepted += [handle.task_id for handle in here.ez.pending()]
        charges = here.server.control.charges

    stray = [
        charge
        for charge in charges
        if charge.task_id not in ledger.accepted
        and charge.request_id not in ledger.unknown | ledger.fees
    ]
    assert stray == []
    assert not {charge.request_id for charge in charges} & ledger.safe
    for settled in (False, True):
        ids = [
            charge.task_id
            for charge in charges
            if charge.task_id and (charge.action == SETTLEMENT) is settled
        ]
        assert len(ids) == len(set(ids))
    assert sum(charge.action != SETTLEMENT for charge in charges) <= JOBS
