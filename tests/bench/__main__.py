"""
Interleaved runs of the client and the naive script; prints ratios.

Absolute times of a shared machine mean nothing, so only ratios of runs that
were neighbours are shown.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from ezlink_async import emulator

HEAD = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xda\x00\x04ab"
FIGURES = ("wall", "cpu", "rss", "stall")
SLOTS = 16


def _photos(folder: Path, count: int) -> None:
    """Write *count* pictures of 0.3 to 4 MB that differ from each other."""
    chance = random.Random(1)  # noqa: S311 - sizes, no secrets
    for number in range(count):
        body = chance.randbytes(chance.randint(300_000, 4_000_000))
        content = HEAD + body.replace(b"\xff", b"\x00") + b"\xff\xd9"
        (folder / f"{number:04}.jpg").write_bytes(content)


def _measure(name: str, base_url: str, key: str, folder: Path) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as output:
        command = [sys.executable, "-m", "tests.bench.runner", name]
        command += [base_url, key, str(folder), output, str(SLOTS)]
        done = subprocess.run(command, check=True, capture_output=True)
        figures: dict[str, float] = json.loads(done.stdout)
        return figures


def main() -> None:
    """Run the pairs and print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="fewer runs and photos")
    quick = options.parse_args().quick
    pairs, count = (2, 24) if quick else (5, 120)
    ratios: dict[str, list[float]] = {figure: [] for figure in FIGURES}
    with tempfile.TemporaryDirectory() as folder, emulator.in_thread() as server:
        _photos(Path(folder), count + 1)
        for _ in range(pairs):
            ours, naive = (
                _measure(name, server.base_url, server.api_key, Path(folder))
                for name in ("ours", "naive")
            )
            for figure in FIGURES:
                ratios[figure].append(ours[figure] / naive[figure])
    print(
        f"{pairs} pairs of {count} swaps of 0.3 to 4 MB, {SLOTS} at once; ours / naive"
    )
    for figure, values in ratios.items():
        print(f"  {figure:6} {statistics.median(values):5.2f}")


if __name__ == "__main__":
    main()
