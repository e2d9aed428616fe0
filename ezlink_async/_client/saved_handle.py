"""
The saved form of a handle: what another process needs to follow its task.

Its two formats are a promise: what an older version has saved is read.
"""

from __future__ import annotations

import attrs

from ezlink_async._core.records import SAVED
from ezlink_async.errors import ConfigurationError
from ezlink_async.services.base import R, TaskFamily

FORMAT = 2

MALFORMED = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError)


@attrs.frozen(kw_only=True)
class SavedHandle:
    """
    Server, family and id of a task, with its latest record if there is one.

    *record* is as the family saves it. Format 1 knew one family, and saved the same.
    """

    origin: str
    family: str
    task_id: str
    record: dict[str, object] | None = None
    format: int = FORMAT

    def to_dict(self) -> dict[str, object]:
        """Return the same as values that JSON can hold."""
        return attrs.asdict(self)

    @classmethod
    def from_dict(cls, saved: object) -> SavedHandle:
        """Read a saved handle; :exc:`ConfigurationError` when *saved* is not one."""
        try:
            found = SAVED.structure(saved, cls)
        except MALFORMED as fault:
            raise ConfigurationError(f"this is not a saved handle: {fault!r}") from None
        if not 1 <= found.format <= FORMAT:
            raise ConfigurationError(
                f"this handle was saved in format {found.format}; this version of "
                f"the package reads up to {FORMAT}"
            )
        return found

    def read_record(self, family: TaskFamily[R]) -> R | None:
        """Read the record; :exc:`ConfigurationError` when *family* has no such one."""
        try:
            return None if self.record is None else family.load(self.record)
        except MALFORMED as fault:
            raise ConfigurationError(f"this is not a saved handle: {fault!r}") from None
