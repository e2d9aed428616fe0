"""Programs in processes of their own, where every warning is an error."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path

import attrs
import cattrs

from tests.series.orders import Order, Receipt
from tests.support.raw_servers import trust_file


async def python(*arguments: str, **env: str) -> str:
    """Run a module with who is trusted in its environment; return what it wrote."""
    with tempfile.TemporaryDirectory() as folder:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", "-m", *arguments),
            env=os.environ | env | {"SSL_CERT_FILE": str(trust_file(Path(folder)))},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, complaints = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    if complaints:
        raise RuntimeError(complaints.decode())
    return out.decode()


async def buy(order: Order) -> Receipt:
    """Send a customer out, and return its receipt."""
    given = json.dumps(attrs.asdict(order))
    receipt = await python("tests.series.customer", given)
    return cattrs.structure(json.loads(receipt), Receipt)
