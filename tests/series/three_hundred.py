"""Three hundred swaps through a client and an emulator, in Python's devmode."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

from tests.end_to_end import three_hundred_swaps
from tests.series.result import Environment, SeriesResult
from tests.support.programs import certificate_file, run_strictly
from tests.support.raw_servers import trust_file


async def three_hundred(here: Environment) -> SeriesResult:
    """Run the program, and compare its report with what it should be."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        out = await run_strictly(
            *("-m", "tests.end_to_end.three_hundred_swaps"),
            *([str(certificate_file(folder))] if here.tls else []),
            **three_hundred_swaps.DEVMODE,
            SSL_CERT_FILE=str(trust_file(folder)),
        )
    report = json.loads(out)
    result = SeriesResult([f"{figure} {name}" for name, figure in report.items()])
    result.add(f"{time.monotonic() - began:.1f} s")
    result.expect("the report is right", report, three_hundred_swaps.EXPECTED)
    return result
