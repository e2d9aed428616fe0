"""The upstream's records of tasks, and its finished pictures."""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable

from attrs import Factory, define

from ezlink_async.emulator.upstream.drawings import Drawing


@define(kw_only=True, eq=False)
class UpstreamTask:
    """
    A task as the upstream keeps it.

    *view* is the task as the upstream lists it; a task that is not *mentioned* is
    never listed. *polled* is set when the relay has read the view. *dialog* is what a
    task draws once its dialog is confirmed. *on_end* is called once it has ended.
    """

    task_id: str
    state: str
    hook: str
    request_id: str
    view: dict[str, object]
    source_sha256: str = ""
    target_sha256: str = ""
    prompt: str = ""
    dialog: Drawing | None = None
    mentioned: bool = True
    polled: asyncio.Event = Factory(asyncio.Event)
    on_end: Callable[[], None] = lambda: None

    @property
    def action(self) -> str:
        """The upstream's name of what was asked for, such as ``IMAGINE``."""
        return str(self.view["action"])

    @property
    def status(self) -> str:
        """The upstream's status, which the relay may learn much later."""
        return str(self.view["status"] or "")


@define
class ResultStore:
    """Finished pictures, at most *limit* bytes: the oldest are dropped first."""

    limit: int
    _pictures: OrderedDict[str, bytes] = Factory(OrderedDict)
    _bytes: int = 0

    def put(self, task_id: str, picture: bytes) -> None:
        """Keep *picture*; the newest one is kept even if it exceeds the limit."""
        self._pictures[task_id] = picture
        self._bytes += len(picture)
        while self._bytes > self.limit and len(self._pictures) > 1:
            _, old = self._pictures.popitem(last=False)
            self._bytes -= len(old)

    def get(self, task_id: str) -> bytes | None:
        """Return the picture, or None if there never was one or it was dropped."""
        return self._pictures.get(task_id)


def new_id() -> str:
    """Return the id of a task: 16 digits at random."""
    # As long as the upstream's, which are milliseconds and three digits at random: a
    # picture is shown without a key, so no id may follow from the time of another.
    return f"{secrets.randbelow(10**16):016d}"


def first_view(
    task_id: str, action: str, now: int, *, state: str, hook: str
) -> dict[str, object]:
    """Return a task as the upstream lists it when it is new; *now* in milliseconds."""
    return {
        "id": task_id,
        "action": action,
        "prompt": None,
        "promptEn": None,
        "description": "提交成功",
        "state": state or None,
        "submitTime": now,
        "startTime": None,
        "finishTime": None,
        "imageUrl": None,
        "status": "NOT_START",
        "progress": None,
        "failReason": None,
        "buttons": [],
        "properties": {"notifyHook": hook or None, "finalPrompt": None},
    }
