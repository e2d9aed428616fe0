"""
Kills batches at random points and prints what was paid and saved in the end.

Fails when a promise was broken. Arguments are names, or how names begin.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path

from ezlink_async.emulator import Emulator, faults
from ezlink_async.emulator.control import Control
from tests.kills.command import SwapCommand, emulator
from tests.kills.mixed import MIXED, MixedJobs
from tests.series.result import SeriesResult
from tests.support.network import Network

PHOTOS = 200
KILLS = 50


def _kill_and_finish(
    command: SwapCommand, kills: int, result: SeriesResult
) -> dict[str, int]:
    """Kill *kills* runs, check the journal after each, and let the last one finish."""
    while command.kills < kills and command.run_killed():
        command.states()
    result.add(f"{command.photos} photos", f"{command.kills} kills")
    result.expect("it was killed often enough", command.kills >= kills, wanted=True)
    return command.run_to_end()


def killed(command: SwapCommand, kills: int) -> SeriesResult:
    """Without the account's token: each photo that may be paid is unknown."""
    result, control = SeriesResult(), command.server.control
    summary = _kill_and_finish(command, kills, result)
    unknown, charges = command.states().get("unknown", 0), len(control.charges)
    result.add(f"{unknown} unknown", f"{charges} charges")
    result.expect("each unknown is listed", summary["unknown"], unknown)
    result.expect("all others are right", command.right(), command.photos - unknown)
    result.expect("nothing is paid twice", max(0, charges - command.photos), 0)
    command.run_to_end("--resubmit-unknown")
    result.add(f"{len(control.charges)} charges after --resubmit-unknown")
    result.expect("then all are right", command.right(), command.photos)
    result.expect("for so many more", len(control.charges) - charges, unknown)
    return result


def reconciled(command: SwapCommand, kills: int) -> SeriesResult:
    """With the account's token: nothing is unknown, and nothing is made twice."""
    command.use_account()
    result, control = SeriesResult(), command.server.control
    summary = _kill_and_finish(command, kills, result)
    result.add(f"{summary['unknown']} unknown", f"{len(control.charges)} charges")
    result.expect("nothing is unknown", summary["unknown"], 0)
    result.expect("all are right", command.right(), command.photos)
    result.expect("each is paid once", len(control.charges), command.photos)
    result.expect("each is made once", len(control.tasks), command.photos)
    return result


@contextlib.contextmanager
def _loop_in_thread() -> Iterator[Callable[[Coroutine[object, object, None]], None]]:
    """Run an event loop in a thread; yield what runs a coroutine on it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield lambda work: asyncio.run_coroutine_threadsafe(work, loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def mixed(command: SwapCommand, kills: int) -> SeriesResult:
    """Jobs of several kinds, some with a button: each is paid once and right."""
    assert isinstance(command, MixedJobs)
    result, control = SeriesResult(), command.server.control
    summary = _kill_and_finish(command, kills, result)
    states, charges = command.states(), _submits(control)
    unknown = states.get("unknown", 0)
    result.add(f"{states} in the journal", f"{charges} charges")
    result.expect("each unknown is listed", summary["unknown"], unknown)
    result.expect("all others are right", command.right(), states.get("saved", 0))
    result.expect("nothing is paid twice", max(0, charges - sum(states.values())), 0)
    # A button is pressed once its job is done.
    for _ in range(2):
        command.run_to_end("--resubmit-unknown")
    result.expect("then all are right", command.right(), command.jobs)
    more = unknown + command.jobs - sum(states.values())
    result.expect("for so many more", _submits(control) - charges, more)
    # Each task of Doubao is settled once, and once more if a kill came in between.
    settled = len(control.charges) - _submits(control) - command.photos
    result.add(f"{settled} settlements more than tasks")
    result.expect("by no more than the kills", settled <= command.kills, wanted=True)
    return result


def _submits(control: Control) -> int:
    """Return how many charges are for jobs, and correct no other."""
    return sum(charge.action != "SETTLEMENT" for charge in control.charges)


def server_killed(command: SwapCommand, kills: int) -> SeriesResult:
    """Under one run, break every connection to the server again and again."""
    network = Network(command.server.base_url)
    with _loop_in_thread() as run:
        run(network.open())
        command.environ["EZLINK_BASE_URL"] = network.url
        with command.run() as process:
            while command.kills < kills and command.reaches_random_point(process):
                run(network.cut())
                command.kills += 1
                run(network.open())
            process.communicate(timeout=600)
        result = killed(command, command.kills)
        run(network.cut())
    return result


def without_account_pages(
    command: SwapCommand, kills: int, *, down: bool
) -> SeriesResult:
    """With a token, but the pages *down* or the log off: as without a token."""
    command.use_account()
    if down:
        command.server.control.standing("account", faults.Answer(503, "down"))
        command.environ["EZLINK_RETRY_TIMEOUT"] = "5"  # so long it is asked
    else:
        command.server.control.account_side(log=False)
    return killed(command, kills)


Series = Callable[[SwapCommand, int], SeriesResult]

SERIES: dict[str, Series] = {
    "killed": killed,
    "looked-up": reconciled,
    "server-killed": server_killed,
    "log-off": functools.partial(without_account_pages, down=False),
    "account-down": functools.partial(without_account_pages, down=True),
    "mixed": mixed,
}


def _command(
    name: str, folder: Path, server: Emulator, photos: int, chance: random.Random
) -> SwapCommand:
    if name == "mixed":
        rounds = max(1, photos // MIXED)
        return MixedJobs(folder=folder, server=server, photos=rounds, random=chance)
    options = ("--concurrency", "3")
    return SwapCommand(
        folder=folder, server=server, photos=photos, random=chance, options=options
    )


def main(chosen: list[str], photos: int, kills: int, seed: int) -> bool:
    """Run the series that are *chosen*, and print a line for each."""
    good = True
    for name in (name for name in SERIES if name.startswith(tuple(chosen or [""]))):
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder, emulator() as server:
            chance = random.Random(seed)  # noqa: S311 - no secret
            command = _command(name, Path(folder), server, photos, chance)
            result = SERIES[name](command, kills)
        result.add(f"{time.monotonic() - began:.0f} s")
        print(f"{name} (seed {seed}): {result}", flush=True)
        good = good and not result.broken
    return good


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("name", nargs="*", help=", ".join(SERIES))
    options.add_argument("--photos", type=int, default=PHOTOS)
    options.add_argument("--kills", type=int, default=KILLS)
    options.add_argument("--seed", type=int, default=random.randrange(10**6))  # noqa: S311
    given = options.parse_args()
    sys.exit(not main(given.name, given.photos, given.kills, given.seed))
