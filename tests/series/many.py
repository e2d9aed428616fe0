"""Three hundred swaps through a client and an emulator, in Python's devmode."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

from tests.end_to_end import three_hundred_swaps
from tests.series.child import python
from tests.series.verdict import Edition, Verdict
from tests.support.raw_servers import authority


async def many(here: Edition) -> Verdict:
    """Run the program, and hold its report against what it should be."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        certificate = Path(folder) / "server.pem"
        issued = authority().issue_cert("localhost", "127.0.0.1")
        issued.private_key_and_cert_chain_pem.write_to_path(str(certificate))
        told = await python(
            "tests.end_to_end.three_hundred_swaps",
            *([str(certificate)] if here.tls else []),
            PYTHONDEVMODE="1",
            PYTHONASYNCIODEBUG="1",
        )
    report = json.loads(told)
    verdict = Verdict()
    for name, figure in report.items():
        verdict.say(f"{figure} {name}")
    verdict.say(f"{time.monotonic() - began:.1f} s")
    verdict.expect("the report is right", report, three_hundred_swaps.EXPECTED)
    return verdict
