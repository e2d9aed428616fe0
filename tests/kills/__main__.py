"""
Kills batches at random points and prints what they owe in the end.

Fails when a promise was broken. Arguments are names, or how names begin.
"""

from __future__ import annotations

import argparse
import functools
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ezlink_async.emulator import EmulatorSettings, faults, in_thread
from tests.kills.forwarder import Forwarder
from tests.kills.night import Night
from tests.series.verdict import Verdict

PHOTOS = 200
KILLS = 50


def killed(night: Night, kills: int) -> Verdict:
    """Kill the command *kills* times, then let it finish; then pay for the unknown."""
    verdict = Verdict()
    while night.kills < kills and night.kill_somewhere():
        night.states()
    summary = night.finish()
    control = night.server.control
    unknown = night.states().get("unknown", 0)
    verdict.say(f"{night.photos} photos, {night.kills} kills, {unknown} unknown")
    verdict.say(f"{len(control.charges)} charges")
    verdict.expect("it was killed often enough", night.kills >= kills, wanted=True)
    verdict.expect("each unknown is listed", summary["unknown"], unknown)
    verdict.expect("all others are right", night.right(), night.photos - unknown)
    too_many = max(0, len(control.charges) - night.photos)
    verdict.expect("nothing is paid twice", too_many, 0)
    before = len(control.charges)
    night.finish("--resubmit-unknown")
    verdict.say(f"{len(control.charges)} charges after --resubmit-unknown")
    verdict.expect("then all are right", night.right(), night.photos)
    verdict.expect("for so many more", len(control.charges) - before, unknown)
    return verdict


def looked_up(night: Night, kills: int) -> Verdict:
    """Do the same with an account token: nothing is unknown, nothing made twice."""
    night.with_account()
    verdict = Verdict()
    while night.kills < kills and night.kill_somewhere():
        night.states()
    summary = night.finish()
    control = night.server.control
    verdict.say(f"{night.photos} photos, {night.kills} kills")
    verdict.say(f"{summary['unknown']} unknown, {len(control.charges)} charges")
    verdict.expect("it was killed often enough", night.kills >= kills, wanted=True)
    verdict.expect("nothing is unknown", summary["unknown"], 0)
    verdict.expect("all are right", night.right(), night.photos)
    verdict.expect("each is paid once", len(control.charges), night.photos)
    verdict.expect("each is made once", len(control.tasks), night.photos)
    return verdict


def server_killed(night: Night, kills: int) -> Verdict:
    """Kill the way to the server instead, again and again, under one run."""
    with Forwarder(night.server.base_url) as way:
        night.environ["EZLINK_BASE_URL"] = way.base_url
        with night.run() as process:
            while night.kills < kills and night.comes_to_a_point(process):
                way.kill()
                night.kills += 1
                way.restart()
            process.communicate(timeout=600)
        return killed(night, night.kills)


def in_the_dark(night: Night, kills: int, *, down: bool) -> Verdict:
    """Do the same with the log off, or the account down: as without a token."""
    night.with_account()
    if down:
        night.server.control.standing("account", faults.Answer(503, "down"))
    else:
        night.server.control.account_side(log=False)
    return killed(night, kills)


SERIES: dict[str, Callable[[Night, int], Verdict]] = {
    "killed": killed,
    "looked-up": looked_up,
    "server-killed": server_killed,
    "log-off": functools.partial(in_the_dark, down=False),
    "account-down": functools.partial(in_the_dark, down=True),
}


def main(chosen: list[str], photos: int, kills: int, seed: int) -> bool:
    """Run the series that are *chosen*, and print a line for each."""
    good = True
    for name, series in SERIES.items():
        if chosen and not name.startswith(tuple(chosen)):
            continue
        began = time.monotonic()
        settings = EmulatorSettings(
            concurrency=4, queue=10_000, engine_seconds=0.02, code_22=False
        )
        with tempfile.TemporaryDirectory() as folder, in_thread(settings) as server:
            night = Night(
                folder=Path(folder),
                server=server,
                photos=photos,
                chance=random.Random(seed),  # noqa: S311 - no secret
                more=("--concurrency", "3"),
            )
            verdict = series(night, kills)
        verdict.say(f"{time.monotonic() - began:.0f} s")
        print(f"{name} (seed {seed}): {verdict}", flush=True)
        good = good and not verdict.broken
    return good


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("name", nargs="*", help=", ".join(SERIES))
    options.add_argument("--photos", type=int, default=PHOTOS)
    options.add_argument("--kills", type=int, default=KILLS)
    options.add_argument("--seed", type=int, default=random.randrange(10**6))  # noqa: S311
    given = options.parse_args()
    sys.exit(not main(given.name, given.photos, given.kills, given.seed))
