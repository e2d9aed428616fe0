"""
Asyncio-native client for the EZLINK AI API.

Its main job is swapping faces: submit many swaps in parallel, await each
through its :class:`TaskHandle`, and download every result, verified.

Names load on first use: importing the package loads none of its modules.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ezlink_async._client.client import AsyncEzlink
    from ezlink_async._client.handle import TaskHandle
    from ezlink_async._client.outcomes import SwapOutcome
    from ezlink_async._core.images import Image
    from ezlink_async._core.policies import PollPolicy, RetryPolicy, Timeouts
    from ezlink_async._version import __version__
    from ezlink_async.errors import EzlinkError
    from ezlink_async.models import TaskRecord, TaskStatus
    from ezlink_async.services.midjourney import AccountFilter, Mode

__all__ = [
    "AccountFilter",
    "AsyncEzlink",
    "EzlinkError",
    "Image",
    "Mode",
    "PollPolicy",
    "RetryPolicy",
    "SwapOutcome",
    "TaskHandle",
    "TaskRecord",
    "TaskStatus",
    "Timeouts",
    "__version__",
]

_HOMES = {
    "AccountFilter": "services.midjourney",
    "AsyncEzlink": "_client.client",
    "EzlinkError": "errors",
    "Image": "_core.images",
    "Mode": "services.midjourney",
    "PollPolicy": "_core.policies",
    "RetryPolicy": "_core.policies",
    "SwapOutcome": "_client.outcomes",
    "TaskHandle": "_client.handle",
    "TaskRecord": "models",
    "TaskStatus": "models",
    "Timeouts": "_core.policies",
    "__version__": "_version",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__
