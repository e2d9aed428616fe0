"""
Kills batches at random points and prints what they owe in the end.

Fails when a promise was broken. Arguments are names, or how names begin.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ezlink_async.emulator import EmulatorSettings, in_thread
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


SERIES: dict[str, Callable[[Night, int], Verdict]] = {"killed": killed}


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
