"""``ezlink serve``: the built-in server, until it is interrupted."""

from __future__ import annotations

import asyncio

from ezlink_async import emulator
from ezlink_async.cli.connect import check_engine
from ezlink_async.cli.display import Lines
from ezlink_async.cli.interrupts import Interrupts
from ezlink_async.errors import ConfigurationError


def serve(host: str, port: int, engine: str) -> int:
    """Run it, and return the exit code; to be interrupted is how it ends well."""
    if engine == "opencv":
        check_engine()
    with Lines() as display:
        try:
            return asyncio.run(_serve(host, port, engine, display))
        except OSError as fault:
            says = fault.strerror or fault
            raise ConfigurationError(
                f"nothing can be served at {host}:{port}: {says}"
            ) from fault


async def _serve(host: str, port: int, engine: str, display: Lines) -> int:
    over = asyncio.Event()
    with Interrupts(over.set):
        settings = emulator.EmulatorSettings(engine=engine, host=host, port=port)
        async with emulator.serving(settings) as server:
            display.result(server.base_url)
            display.note(
                "use it from another terminal, until Ctrl-C here:\n"
                f"  export EZLINK_BASE_URL={server.base_url}\n"
                f"  export EZLINK_API_KEY={server.api_key}\n"
                "  ezlink doctor"
            )
            await over.wait()
    return 0
