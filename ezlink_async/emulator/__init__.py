"""
A local server that speaks EZLINK's protocol, for tests, tutorials and ``--local``.

A second reading of the wire: it shares no code with the client. The server listens on
a real socket, keeps accounts and charges like the service, and fails on demand.
"""

from ezlink_async.emulator import faults, scripts
from ezlink_async.emulator.clock import Clock
from ezlink_async.emulator.control import Control
from ezlink_async.emulator.pictures.copy_engine import read_hashes
from ezlink_async.emulator.random_faults import RANDOM_FAULTS, read_random_faults
from ezlink_async.emulator.relay.routes import Route, with_key
from ezlink_async.emulator.server import Emulator, in_thread, running, serving
from ezlink_async.emulator.settings import (
    DEFAULT_ACCOUNT_TOKEN,
    DEFAULT_KEY,
    EmulatorSettings,
    Engine,
    HookFaults,
)

__all__ = [
    "DEFAULT_ACCOUNT_TOKEN",
    "DEFAULT_KEY",
    "RANDOM_FAULTS",
    "Clock",
    "Control",
    "Emulator",
    "EmulatorSettings",
    "Engine",
    "HookFaults",
    "Route",
    "faults",
    "in_thread",
    "read_hashes",
    "read_random_faults",
    "running",
    "scripts",
    "serving",
    "with_key",
]
