"""``ezlink serve``: the built-in server, until it is interrupted."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from ezlink_async.cli.connect import check_engine
from ezlink_async.cli.display import Display
from ezlink_async.cli.interrupts import Interrupts
from ezlink_async.errors import ConfigurationError

if TYPE_CHECKING:
    from ezlink_async.emulator import EmulatorSettings
    from ezlink_async.emulator.faults import Fault

_Seconds = Annotated[float, Parameter(validator=Number(gte=0))]

_Switch = Annotated[bool, Parameter(negative=(), show_default=False)]


def serve(
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65_535))] = 0,
    engine: Literal["opencv", "copy"] = "opencv",
    api_key: str | None = None,
    origin: tuple[str, ...] = (),
    hooks: _Switch = False,
    files_work: _Switch = False,
    stability: _Switch = False,
    delay: _Seconds = 0.0,
    beat: _Seconds = 0.0,
    capacity: Annotated[int, Parameter(validator=Number(gte=1))] = 3,
    fault: tuple[str, ...] = (),
) -> int:
    """
    Run the built-in server until it is interrupted.

    It prints the key of this run, and the secret that opens its control API.

    Parameters
    ----------
    host
        Address to listen on; others than this machine's own are not protected.
    port
        Port to listen on; 0 is any that is free.
    engine
        What makes the results: a face swap, or a copy of the target.
    api_key
        The key to accept, for tests; a random one otherwise.
    origin
        Origin of a front end whose pages may read answers; none may by default.
    hooks
        Post notifications to hooks on this machine.
    files_work
        Store the first file of an account, too, which the real server refuses.
    stability
        Serve Stability's calls, as the public server did until January 2026.
    delay
        Seconds that each swap takes at least.
    beat
        Seconds between two refreshes of the tasks; 0 is at every request.
    capacity
        Tasks that run at the same time.
    fault
        KIND:RATE, a fault that strikes at random, such as lost:0.05. Kinds: busy,
        dropped, failed, gateway, lost, refused, unavailable, cut.

    """
    if engine == "opencv":
        check_engine()
    # Slow to import, and --help needs none.
    from ezlink_async.emulator import EmulatorSettings, read_random_faults

    try:
        faults = read_random_faults(fault)
        settings = EmulatorSettings(
            engine=engine,
            host=host,
            port=port,
            api_key=api_key,
            origins=origin,
            forward_hooks=hooks,
            files_work=files_work,
            stability=stability,
            engine_seconds=delay,
            poll_interval=beat,
            concurrency=capacity,
        )
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    try:
        asyncio.run(_serve(settings, faults))
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {error.strerror or error}"
        ) from error
    return 0


async def _serve(settings: EmulatorSettings, faults: Mapping[str, Fault]) -> None:
    from ezlink_async.emulator import serving

    interrupted = asyncio.Event()
    with Display() as display, Interrupts(interrupted.set):
        async with serving(settings) as server:
            for kind, fault in faults.items():
                server.control.standing(kind, fault)
            display.result(server.base_url)
            display.note(
                "use it from another terminal; Ctrl-C here stops it:\n"
                f"  export EZLINK_BASE_URL={server.base_url}\n"
                f"  export EZLINK_API_KEY={server.api_key}\n"
                f"  export EZLINK_ACCOUNT_TOKEN={server.account_token}\n"
                "  ezlink doctor\n"
                "its state, and the faults it shall play:\n"
                f"  curl -H 'X-Emulator-Secret: {server.control_secret}' "
                f"{server.base_url}/__emu/state"
            )
            await interrupted.wait()
