"""Everything one emulator consists of, in one place, for its handlers."""

from __future__ import annotations

import asyncio
from collections import deque

from attrs import Factory, define, frozen

from ezlink_async.emulator.faults import Fault
from ezlink_async.emulator.http.overrides import AccountSide
from ezlink_async.emulator.relay.refresh import refresh
from ezlink_async.emulator.relay.store import Store
from ezlink_async.emulator.settings import EmulatorSettings
from ezlink_async.emulator.upstream.notifications import Hooks
from ezlink_async.emulator.upstream.service import Upstream

__all__ = ["PLACES", "Desk", "Playbook", "Seen"]

#: Where a fault can play: the kinds of request.
PLACES = ("submit", "fetch", "list", "image", "seed", "usage", "account")


@define
class Playbook:
    """The faults to come, in order, and those that hold until further notice."""

    coming: dict[str, deque[Fault]] = Factory(dict)
    standing: dict[str, Fault] = Factory(dict)

    def take(self, place: str) -> Fault | None:
        """Return the next fault of *place* and forget it, or the standing one."""
        coming = self.coming.get(place)
        if coming:
            return coming.popleft()
        return self.standing.get(place)


@frozen
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    request_id: str
    headers: tuple[tuple[str, str], ...]


@define(eq=False)
class Desk:
    """The parts of one emulator. Belongs to its event loop."""

    settings: EmulatorSettings
    store: Store
    upstream: Upstream
    hooks: Hooks
    leaving: asyncio.Event
    base_url: str = ""
    playbook: Playbook = Factory(Playbook)
    seen: list[Seen] = Factory(list)
    gone_channel: int | None = None
    side: AccountSide = Factory(AccountSide)

    @property
    def seconds(self) -> int:
        """Seconds since 1970 of the emulator's clock."""
        return self.settings.clock.milliseconds() // 1000

    @property
    def address(self) -> str:
        """Where picture addresses point to."""
        given = self.settings.server_address
        return self.base_url if given is None else given

    def beat(self) -> None:
        """Copy the upstream's tasks into the relay's rows, once."""
        now = self.settings.clock.milliseconds()
        refresh(self.store, self.upstream, now, gone_channel=self.gone_channel)

    def look(self) -> None:
        """Refresh the rows before they are read, when there is no beat."""
        if not self.settings.poll_interval:
            self.beat()

    async def keep_beating(self) -> None:
        """Refresh the rows every *poll_interval*, for ever."""
        while True:
            await self.settings.clock.sleep(self.settings.poll_interval)
            self.beat()
