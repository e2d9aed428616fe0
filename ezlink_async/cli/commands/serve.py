"""``ezlink serve``: the built-in server, until it is interrupted."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from ezlink_async.cli.connect import check_engine
from ezlink_async.cli.display import Display
from ezlink_async.cli.interrupts import Interrupts
from ezlink_async.errors import ConfigurationError


def serve(
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65_535))] = 0,
    engine: Literal["opencv", "copy"] = "opencv",
) -> int:
    """
    Run the built-in server until it is interrupted.

    Parameters
    ----------
    host
        Address to listen on; others than this machine's own are not protected.
    port
        Port to listen on; 0 is any that is free.
    engine
        What makes the results: a face swap, or a copy of the target.

    """
    if engine == "opencv":
        check_engine()
    try:
        asyncio.run(_serve(host, port, engine))
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {error.strerror or error}"
        ) from error
    return 0


async def _serve(host: str, port: int, engine: Literal["opencv", "copy"]) -> None:
    from ezlink_async import emulator  # slow to import, and --help needs none

    interrupted = asyncio.Event()
    settings = emulator.EmulatorSettings(engine=engine, host=host, port=port)
    with Display() as display, Interrupts(interrupted.set):
        async with emulator.serving(settings) as server:
            display.result(server.base_url)
            display.note(
                "use it from another terminal; Ctrl-C here stops it:\n"
                f"  export EZLINK_BASE_URL={server.base_url}\n"
                f"  export EZLINK_API_KEY={server.api_key}\n"
                "  ezlink doctor"
            )
            await interrupted.wait()
