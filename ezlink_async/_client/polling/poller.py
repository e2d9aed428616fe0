"""Polls every task that one client follows, each family at its own pace."""

from __future__ import annotations

import contextvars

from ezlink_async._client.handle import AnyHandle
from ezlink_async._client.polling.family_poller import FamilyPoller
from ezlink_async._core.policies import PollPolicy
from ezlink_async._io.concurrency import BackgroundTasks
from ezlink_async._io.download import Downloader
from ezlink_async._io.transport import Transport
from ezlink_async.models import TaskRecord
from ezlink_async.services.base import AnyRecord, TaskFamily


class Poller:
    """
    The pollers of one client, by family, which run once it is started.

    Ids are those of one family: the same id in two of them names two tasks.
    """

    def __init__(
        self,
        transport: Transport,
        policy: PollPolicy,
        background: BackgroundTasks,
        downloads: Downloader,
    ) -> None:
        self._transport = transport
        self._policy = policy
        self._background = background
        self._downloads = downloads
        self._pollers: dict[str, FamilyPoller] = {}
        self._started = False

    def start(self) -> None:
        """Poll from now on, until the client's background tasks are closed."""
        self._started = True
        for poller in self._pollers.values():
            self._run(poller)

    def of(self, family: TaskFamily[AnyRecord]) -> FamilyPoller:
        """Return the poller of *family*."""
        poller = self._pollers.get(family.name)
        if poller is None:
            poller = self._pollers[family.name] = FamilyPoller(
                family, self._transport, self._policy, self._background, self._downloads
            )
            # A job may be accepted while the client is being closed.
            if self._started and not self._background.closed:
                self._run(poller)
        return poller

    def _run(self, poller: FamilyPoller) -> None:
        # Its polls are for all callers, so no trace of the first one goes with them.
        contextvars.Context().run(self._background.start_soon, poller.run())

    def hear(self, hint: TaskRecord) -> None:
        """Poll the task of a *hint* sooner: a record that a callback brought."""
        for poller in self._pollers.values():
            if poller.has_hooks:
                poller.hear(hint)

    def find(self, family: str, task_id: str) -> AnyHandle | None:
        """Return the handle that is followed under *task_id* in *family*."""
        poller = self._pollers.get(family)
        return poller.find(task_id) if poller else None

    @property
    def count(self) -> int:
        """How many handles are followed now."""
        return sum(poller.count for poller in self._pollers.values())

    def pending(self) -> tuple[AnyHandle, ...]:
        """Return every handle that is followed now, the oldest of a family first."""
        return tuple(
            handle for poller in self._pollers.values() for handle in poller.pending()
        )

    def forget(self, handle: AnyHandle) -> None:
        """Stop following *handle*, which has ended; another one of its id goes on."""
        poller = self._pollers.get(handle.family)
        if poller is not None:
            poller.forget(handle)
