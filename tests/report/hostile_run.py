"""Makes a report of hostile results in a process of its own, and prints its peak."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path

from ezlink_async.report import Facts, Photo, write_report


def peak() -> int:
    """Return the most memory that this process has had, in MB."""
    # Not `getrusage`, which begins with the memory of the parent process.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) // 1024


def main(folder: Path) -> None:
    """Report on the pictures in *folder*, which are results of one photo."""
    photo = Path("docs/samples/hopper.jpg").absolute()
    photos = [
        Photo(source=photo, target=photo, status="succeeded", output=result)
        for result in sorted(folder.glob("*.*"))
    ]
    now = dt.datetime.now(dt.UTC)
    facts = Facts(title="Hostile", started=now, finished=now, seconds=0)
    write_report(folder, photos, facts)
    sys.stdout.write(f"{peak()}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
