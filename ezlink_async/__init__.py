"""
Asyncio-native client for the EZLINK AI API.

Its main job is swapping faces: submit many swaps in parallel, await each
through its :class:`TaskHandle`, and download every result, verified.

Names load on first use: importing the package loads none of its modules.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ezlink_async import errors
    from ezlink_async._client.client import AsyncEzlink
    from ezlink_async._client.handle import TaskHandle
    from ezlink_async._client.job_stream import JobStream
    from ezlink_async._client.outcomes import Outcome, SwapOutcome
    from ezlink_async._client.swap_stream import SwapStream
    from ezlink_async._core.images import Image
    from ezlink_async._core.policies import PollPolicy, RetryPolicy, Timeouts
    from ezlink_async._io.spool import ResultStream
    from ezlink_async._version import __version__
    from ezlink_async.batch.outcomes import BatchOutcome, BatchSummary
    from ezlink_async.batch.pairs.matching import Pair
    from ezlink_async.batch.run import BatchRun, run_batch
    from ezlink_async.errors import (
        ApiError,
        AuthenticationError,
        BusyError,
        ClientClosedError,
        ConfigurationError,
        ContentRefusedError,
        DownloadError,
        EndpointNotSupportedError,
        EzlinkError,
        ImageError,
        JournalError,
        ModalNeededError,
        PermissionDeniedError,
        ProtocolError,
        QuotaError,
        RejectedError,
        ServerError,
        SlotTimeoutError,
        SubmitUnknownError,
        TaskCancelledError,
        TaskError,
        TaskFailedError,
        TaskNotFoundError,
        TaskTimeoutError,
        TextLostError,
        TransportError,
    )
    from ezlink_async.models import (
        FluxRecord,
        ImagesRecord,
        Record,
        Result,
        StabilityRecord,
        Stats,
        TaskRecord,
        TaskStatus,
        VideoRecord,
    )
    from ezlink_async.services.midjourney import AccountFilter, Mode
    from ezlink_async.services.stability import StabilityImage

__all__ = [
    "AccountFilter",
    "ApiError",
    "AsyncEzlink",
    "AuthenticationError",
    "BatchOutcome",
    "BatchRun",
    "BatchSummary",
    "BusyError",
    "ClientClosedError",
    "ConfigurationError",
    "ContentRefusedError",
    "DownloadError",
    "EndpointNotSupportedError",
    "EzlinkError",
    "FluxRecord",
    "Image",
    "ImageError",
    "ImagesRecord",
    "JobStream",
    "JournalError",
    "ModalNeededError",
    "Mode",
    "Outcome",
    "Pair",
    "PermissionDeniedError",
    "PollPolicy",
    "ProtocolError",
    "QuotaError",
    "Record",
    "RejectedError",
    "Result",
    "ResultStream",
    "RetryPolicy",
    "ServerError",
    "SlotTimeoutError",
    "StabilityImage",
    "StabilityRecord",
    "Stats",
    "SubmitUnknownError",
    "SwapOutcome",
    "SwapStream",
    "TaskCancelledError",
    "TaskError",
    "TaskFailedError",
    "TaskHandle",
    "TaskNotFoundError",
    "TaskRecord",
    "TaskStatus",
    "TaskTimeoutError",
    "TextLostError",
    "Timeouts",
    "TransportError",
    "VideoRecord",
    "__version__",
    "errors",
    "run_batch",
]

_NAMES = {
    "_client.client": ("AsyncEzlink",),
    "_client.handle": ("TaskHandle",),
    "_client.job_stream": ("JobStream",),
    "_client.outcomes": (
        "Outcome",
        "SwapOutcome",
    ),
    "_client.swap_stream": ("SwapStream",),
    "_core.images": ("Image",),
    "_core.policies": (
        "PollPolicy",
        "RetryPolicy",
        "Timeouts",
    ),
    "_io.spool": ("ResultStream",),
    "_version": ("__version__",),
    "batch.outcomes": (
        "BatchOutcome",
        "BatchSummary",
    ),
    "batch.pairs.matching": ("Pair",),
    "batch.run": (
        "BatchRun",
        "run_batch",
    ),
    "errors": (
        "ApiError",
        "AuthenticationError",
        "BusyError",
        "ClientClosedError",
        "ConfigurationError",
        "ContentRefusedError",
        "DownloadError",
        "EndpointNotSupportedError",
        "EzlinkError",
        "ImageError",
        "JournalError",
        "ModalNeededError",
        "PermissionDeniedError",
        "ProtocolError",
        "QuotaError",
        "RejectedError",
        "ServerError",
        "SlotTimeoutError",
        "SubmitUnknownError",
        "TaskCancelledError",
        "TaskError",
        "TaskFailedError",
        "TaskNotFoundError",
        "TaskTimeoutError",
        "TextLostError",
        "TransportError",
    ),
    "models": (
        "FluxRecord",
        "ImagesRecord",
        "Record",
        "Result",
        "StabilityRecord",
        "Stats",
        "TaskRecord",
        "TaskStatus",
        "VideoRecord",
    ),
    "services.midjourney": (
        "AccountFilter",
        "Mode",
    ),
    "services.stability": ("StabilityImage",),
}
"""The names by the module they come from."""

_HOMES = {name: home for home, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name == "errors":
        return import_module("ezlink_async.errors")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__
