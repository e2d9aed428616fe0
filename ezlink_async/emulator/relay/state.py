"""The state of one emulator, shared by its handlers; and its faults to come."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from typing import TYPE_CHECKING

from attrs import Factory, define, field, frozen

from ezlink_async.emulator.faults import Fault
from ezlink_async.emulator.relay.refresh import refresh_rows
from ezlink_async.emulator.relay.store import Store
from ezlink_async.emulator.relay.video_rows import VideoRows
from ezlink_async.emulator.settings import EmulatorSettings
from ezlink_async.emulator.upstream.notifications import Notifier
from ezlink_async.emulator.upstream.service import Upstream
from ezlink_async.emulator.upstream.stability import StabilityService
from ezlink_async.emulator.upstream.tasks import ResultStore
from ezlink_async.emulator.upstream.videos import VideoProviders

if TYPE_CHECKING:
    from ezlink_async.emulator.relay.routes import Route


@define
class FaultQueue:
    """
    Faults by kind of request: those to come, in order, and the standing ones.

    *idle* are the kinds whose standing fault has met no request yet.
    """

    coming: dict[str, deque[Fault]] = Factory(dict)
    standing: dict[str, Fault] = Factory(dict)
    idle: set[str] = Factory(set)

    def add(self, kind: str, *faults: Fault) -> None:
        """Script *faults* for the next requests of *kind*, one each."""
        self.coming.setdefault(kind, deque()).extend(faults)

    def stand(self, kind: str, fault: Fault | None) -> None:
        """Script *fault* for all requests of *kind*, or end that with None."""
        self.standing.pop(kind, None)
        self.idle.discard(kind)
        if fault is not None:
            self.standing[kind] = fault
            self.idle.add(kind)

    def take(self, kind: str) -> Fault | None:
        """Remove and return the next fault of *kind*; without one, the standing one."""
        coming = self.coming.get(kind)
        if coming:
            return coming.popleft()
        self.idle.discard(kind)
        return self.standing.get(kind)

    def unplayed(self) -> list[str]:
        """Return a line for each fault that has met no request."""
        lines = [
            f"{kind}: {each}" for kind in self.coming for each in self.coming[kind]
        ]
        return lines + [f"{kind}: {self.standing[kind]}" for kind in sorted(self.idle)]

    def clear(self) -> None:
        """Drop all faults."""
        self.coming.clear()
        self.standing.clear()
        self.idle.clear()


@define
class AccountLag:
    """
    How far the account's pages lag behind.

    With *log* off the log shows no entry. An entry appears *log_delay* seconds late (5
    in the server's batch mode), a task's state *state_delay* seconds (``inf``: never).
    """

    log: bool = True
    log_delay: float = 0.0
    state_delay: float = 0.0


@frozen
class RecordedRequest:
    """One request as it arrived."""

    method: str
    path: str
    request_id: str
    headers: tuple[tuple[str, str], ...]


@frozen
class ForwardedCall:
    """
    One call of the relay to its upstream.

    *path* is the path there, with the query. *body* is the JSON sent, in which each
    field of more than 300 characters is ``<N characters>``; None without a body.
    """

    method: str
    path: str
    body: dict[str, object] | None


@define(eq=False)
class RelayState:
    """
    The parts of one emulator. Belongs to its event loop.

    *routes* are all paths that it serves; of two that fit a request the first counts.
    """

    settings: EmulatorSettings
    store: Store
    upstream: Upstream
    notifier: Notifier
    leaving: asyncio.Event
    control_secret: str = field(factory=secrets.token_urlsafe, repr=False)
    base_url: str = ""
    faults: FaultQueue = Factory(FaultQueue)
    requests: list[RecordedRequest] = Factory(list)
    forwarded: list[ForwardedCall] = Factory(list)
    routes: tuple[Route, ...] = ()
    gone_channel: int | None = None
    account_lag: AccountLag = Factory(AccountLag)
    stability: StabilityService = Factory(StabilityService)
    videos: VideoRows = Factory(
        lambda self: VideoRows(ResultStore(self.settings.kept_bytes)), takes_self=True
    )
    providers: VideoProviders = Factory(
        lambda self: VideoProviders(self.settings, self.upstream.scripts),
        takes_self=True,
    )

    @property
    def seconds(self) -> int:
        """Seconds since 1970 of the emulator's clock."""
        return self.settings.clock.milliseconds() // 1000

    @property
    def kinds(self) -> list[str]:
        """The kinds of request that faults can be scripted for."""
        return list(dict.fromkeys(route.kind for route in self.routes if route.kind))

    @property
    def address(self) -> str:
        """The server part of picture addresses."""
        given = self.settings.server_address
        return self.base_url if given is None else given

    def refresh(self) -> None:
        """Copy the upstream's tasks into the relay's rows, once."""
        now = self.settings.clock.milliseconds()
        refresh_rows(self.store, self.upstream, now, gone_channel=self.gone_channel)

    def refresh_if_live(self) -> None:
        """Refresh the rows before they are read, when they have no interval."""
        if not self.settings.poll_interval:
            self.refresh()

    async def refresh_periodically(self) -> None:
        """Refresh the rows every *poll_interval*, for ever; return if it is 0."""
        while interval := self.settings.poll_interval:
            await self.settings.clock.sleep(interval)
            self.refresh()
