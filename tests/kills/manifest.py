"""Runs the jobs of ``jobs.jsonl``, as often as it is started, and prints a summary."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from ezlink_async import AsyncEzlink
from ezlink_async.batch import read_manifest, run_jobs


async def main(*, resubmit_unknown: bool) -> dict[str, int]:
    """Run the manifest, and return how many jobs ended how."""
    async with AsyncEzlink(max_concurrency=3) as ez:
        orders = read_manifest(Path("jobs.jsonl"))
        run = run_jobs(ez, orders, output="out", resubmit_unknown=resubmit_unknown)
        async with run:
            async for _ in run:
                pass
    return {
        "succeeded": run.summary.counts["succeeded"],
        "skipped": run.summary.counts["skipped"],
        "failed": run.summary.counts["failed"],
        "unknown": run.summary.counts["unknown"],
    }


if __name__ == "__main__":
    again = "--resubmit-unknown" in sys.argv
    print(json.dumps({"summary": asyncio.run(main(resubmit_unknown=again))}))
