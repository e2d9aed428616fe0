"""
Swaps 1,000 and then 100,000 tiny photos with the command, and skips them again.

Prints the peak memory and the time of each run. Fails when the memory grows by
more than 20 MB, the time a photo by more than a fifth, when skipping all takes
a minute or more, or when a photo was paid twice or not at all.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import attrs

from tests.support.pictures import jpeg

FEW, MANY = 1_000, 100_000
GROWTH = 20  # MB
SLOWER = 1.2
SKIPPING = 60  # seconds

_IN_A_FOLDER = 1_000


@attrs.frozen
class Run:
    """What a run of the command took; *megabytes* is its peak."""

    photos: int
    seconds: float
    megabytes: float

    def __str__(self) -> str:
        each = 1000 * self.seconds / self.photos
        took = f"{self.seconds:.1f} s ({each:.2f} ms a photo)"
        return f"{self.photos} photos: {took}, {self.megabytes:.1f} MB"


def write_photos(folder: Path, photos: int) -> None:
    """Write a source and *photos* distinct targets."""
    (folder / "me.jpg").write_bytes(jpeg(300))
    for number in range(photos):
        inner = folder / "photos" / f"{number // _IN_A_FOLDER:03}"
        inner.mkdir(parents=True, exist_ok=True)
        content = jpeg(200) + b"%d" % number  # bytes behind the picture are kept
        (inner / f"{number:06}.jpg").write_bytes(content)


def swap(folder: Path, environ: dict[str, str], photos: int) -> Run:
    """Run the command, and return what it took."""
    command = ("swap", "me.jpg", "photos", "--output", "out", "--no-report")
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "ezlink_async", *command, "--concurrency", "32"],
        cwd=folder,
        env=os.environ | environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"exit {process.returncode}")
    return Run(photos, time.monotonic() - began, usage.ru_maxrss / 1024)


def measure(photos: int) -> tuple[Run, Run, int]:
    """Swap so many, skip them all, and return both runs and the charges."""
    with (
        tempfile.TemporaryDirectory() as name,
        subprocess.Popen(
            [sys.executable, "-u", "-m", "tests.scale.server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as server,
    ):
        assert server.stdout
        folder, environ = Path(name), json.loads(server.stdout.readline())
        write_photos(folder, photos)
        swapped, skipped = (swap(folder, environ, photos) for _ in range(2))
        found = sum(1 for _ in (folder / "out").rglob("*.jpg"))
        charges = int(server.communicate("\n")[0])
        print(f"swapped {swapped}\nskipped {skipped}", flush=True)
        if found != photos:
            print(f"BROKEN: {found} results", flush=True)
        return swapped, skipped, charges if found == photos else -1


def main(few: int, many: int) -> bool:
    """Measure both, and return whether every promise holds."""
    short, _, few_charges = measure(few)
    long, skipped, many_charges = measure(many)
    grown = long.megabytes - short.megabytes
    slower = long.seconds / long.photos / (short.seconds / short.photos)
    print(f"memory grows by {grown:.1f} MB, the time a photo by {slower:.2f}")
    promises = {
        "memory": grown <= GROWTH,
        "time": slower <= SLOWER,
        "skipping": skipped.seconds < SKIPPING,
        "charges": (few_charges, many_charges) == (few, many),
    }
    broken = [name for name, kept in promises.items() if not kept]
    print(f"BROKEN: {', '.join(broken)}" if broken else "ok")
    return not broken


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--few", type=int, default=FEW)
    options.add_argument("--many", type=int, default=MANY)
    given = options.parse_args()
    sys.exit(not main(given.few, given.many))
