"""How one job of many ended, and the way from there to its result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Generic

import attrs

from ezlink_async._client.handle import TaskHandle
from ezlink_async._core.images import ImageLike
from ezlink_async.errors import ConfigurationError, EzlinkError
from ezlink_async.models import TaskRecord
from ezlink_async.services.base import AnyRecord

if TYPE_CHECKING:
    # Defaults of type variables reach `typing` with Python 3.13; checkers know them.
    from typing_extensions import TypeVar

    RequestT_co = TypeVar("RequestT_co", covariant=True)
    RecordT_co = TypeVar("RecordT_co", covariant=True, default=TaskRecord)
    TargetT_co = TypeVar(
        "TargetT_co", bound=ImageLike, covariant=True, default=ImageLike
    )
else:
    from typing import TypeVar

    RequestT_co = TypeVar("RequestT_co", covariant=True)
    RecordT_co = TypeVar("RecordT_co", covariant=True)
    TargetT_co = TypeVar("TargetT_co", covariant=True)


@attrs.frozen
class Outcome(Generic[RequestT_co, RecordT_co]):
    """
    How one of many jobs ended: exactly one of *record* and *error* is set.

    *request* is what was asked for. *handle* is set once the server has accepted
    the job, so the id is known even if the task failed later.
    """

    request: RequestT_co
    handle: TaskHandle[AnyRecord] | None = None
    record: RecordT_co | None = None
    error: EzlinkError | None = None

    @property
    def ok(self) -> bool:
        """Whether the task succeeded: there is a result to read or to save."""
        return self.error is None

    def unwrap(self) -> TaskHandle[AnyRecord]:
        """Return the handle of a task that succeeded, or raise *error*."""
        if self.error is not None:
            raise self.error.for_awaiter()
        if self.handle is None:
            raise ConfigurationError(
                "this outcome was made by hand with neither a handle nor an error"
            )
        return self.handle

    async def read(self) -> bytes:
        """Return the result as :meth:`TaskHandle.read` does, or raise *error*."""
        return await self.unwrap().read()

    async def save(self, path: str | Path) -> Path:
        """Save the result as :meth:`TaskHandle.save` does, or raise *error*."""
        return await self.unwrap().save(path)


@attrs.frozen
class SwapRequest(Generic[TargetT_co]):
    """The two pictures of one swap, as they were given."""

    source: ImageLike
    target: TargetT_co


@attrs.frozen
class SwapOutcome(Outcome[SwapRequest[TargetT_co], TaskRecord], Generic[TargetT_co]):
    """
    How one swap of many ended: exactly one of *record* and *error* is set.

    *target* is the one that was given, of the type in which it was given.
    *handle* is set once the server has accepted the job, so the id is known even
    if the task failed later. *request* holds source and target together.
    """

    source: ImageLike
    target: TargetT_co
    handle: TaskHandle | None = None
    record: TaskRecord | None = None
    error: EzlinkError | None = None
    request: SwapRequest[TargetT_co] = attrs.field(init=False, repr=False, eq=False)

    def unwrap(self) -> TaskHandle[TaskRecord]:
        """Return the handle of a task that succeeded, or raise *error*."""
        return super().unwrap()

    @request.default
    def _(self) -> SwapRequest[TargetT_co]:
        return SwapRequest(self.source, self.target)
