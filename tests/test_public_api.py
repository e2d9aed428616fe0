"""The front door: which names there are, and what an import costs."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import pytest

import ezlink_async
from ezlink_async import errors
from ezlink_async.batch.outcomes import BatchOutcome, BatchSummary
from ezlink_async.batch.pairs.matching import Pair
from ezlink_async.batch.run import BatchRun
from ezlink_async.batch.spending import Charges

NAMES = [
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

OPTIONAL = ["cyclopts", "rich", "numpy", "cv2", "PIL", "pillow_heif", "pybase64"]
OPTIONAL += ["dask", "openai", "pytest"]


def _run(code: str) -> str:
    """Run *code* in a new interpreter that has imported nothing."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_public_names_are_the_ones_listed_here() -> None:
    assert ezlink_async.__all__ == NAMES
    assert dir(ezlink_async) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_public_name_loads_once(name: str) -> None:
    assert getattr(ezlink_async, name) is getattr(ezlink_async, name)


def test_module_of_errors_loads_with_the_package() -> None:
    code = "import ezlink_async; print(ezlink_async.errors.QuotaError.__name__)"
    assert _run(code) == "QuotaError"


def test_misspelt_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'AsyncEzLink'"):
        getattr(ezlink_async, "AsyncEzLink")  # noqa: B009 - mypy knows better


@pytest.mark.parametrize("room", ["batch", "batch.pairs", "requests", "services"])
def test_every_name_of_a_room_loads_on_first_use(room: str) -> None:
    face = importlib.import_module(f"ezlink_async.{room}")
    assert dir(face) == sorted(face.__all__)
    for name in face.__all__:
        assert face.__getattr__(name) is getattr(face, name)
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        face.__getattr__("Nothing")


def test_importing_the_package_loads_no_other_module() -> None:
    code = (
        "import sys; before = set(sys.modules); import ezlink_async; "
        "print(*sorted({name for name in set(sys.modules) - before "
        "if not name.startswith(('importlib', 'typing'))}))"
    )
    loaded = set(_run(code).split())
    assert {name for name in loaded if name.startswith("ezlink_async")} == {
        "ezlink_async"
    }
    assert not loaded & {"aiohttp", "asyncio", "attrs", "attr", "cattrs", "backoff"}


def test_public_names_load_without_any_extra() -> None:
    block = "".join(f"sys.modules[{name!r}] = None; " for name in OPTIONAL)
    code = (
        f"import sys; {block} import ezlink_async; "
        "print(len([getattr(ezlink_async, name) for name in ezlink_async.__all__]))"
    )
    assert _run(code) == str(len(NAMES))


def test_importing_errors_loads_no_network_code() -> None:
    code = (
        "import sys; from ezlink_async.errors import BusyError; "
        "print('aiohttp' in sys.modules, 'asyncio' in sys.modules)"
    )
    assert _run(code) == "False False"


CLASSES = [
    value
    for value in (getattr(ezlink_async, name) for name in NAMES)
    if inspect.isclass(value)
]
ERRORS = [
    value
    for _, value in inspect.getmembers(errors, inspect.isclass)
    if issubclass(value, errors.EzlinkError)
]


BATCH = [BatchRun, BatchOutcome, BatchSummary, Charges, Pair]


@pytest.mark.parametrize(
    "kind", [*CLASSES, *BATCH, *ERRORS], ids=lambda kind: kind.__name__
)
def test_every_public_name_has_a_docstring(kind: type) -> None:
    """``help()`` says something of each class, method and property."""
    assert inspect.getdoc(ezlink_async)
    assert vars(kind).get("__doc__")
    members = inspect.getmembers(
        kind, lambda each: inspect.isroutine(each) or isinstance(each, property)
    )
    public = {name: each for name, each in members if not name.startswith("_")}
    assert [name for name, each in public.items() if not inspect.getdoc(each)] == []
