"""
The upstream's notifications, posted to the ``notifyHook`` of a job.

After trueai-org/midjourney-proxy ``Services/NotifyService.cs``: a task's states are
posted in their order, each once, and a failed post is not repeated. Only loopback
hosts are called unless settings say otherwise, since every client that may submit
chooses the address.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
from collections import defaultdict
from collections.abc import Mapping

import aiohttp
from attrs import Factory, define, frozen
from yarl import URL

from ezlink_async.emulator.http import go_json
from ezlink_async.emulator.settings import EmulatorSettings

_ENDS = {"FAILURE": 4.0, "SUCCESS": 5.0}
_RANKS = {"NOT_START": 0.0, "SUBMITTED": 1.0, "IN_PROGRESS": 3.0, **_ENDS}


_Post = tuple[dict[str, object], float]


def _dice(notifier: Notifier) -> random.Random:
    return random.Random(notifier.settings.hook_faults.seed)  # noqa: S311 - no secret


@frozen
class SentNotification:
    """One notification; *status* is that of the receiver's answer, None without."""

    url: str
    body: Mapping[str, object]
    status: int | None


@define(eq=False)
class Notifier:
    """Sends notifications, those of one task in their order."""

    settings: EmulatorSettings
    sent: list[SentNotification] = Factory(list)
    _session: aiohttp.ClientSession | None = None
    _ranks: dict[str, float] = Factory(dict)
    _locks: defaultdict[str, asyncio.Lock] = Factory(lambda: defaultdict(asyncio.Lock))
    _senders: set[asyncio.Task[None]] = Factory(set)
    _held: dict[str, _Post] = Factory(dict)
    _chance: random.Random = Factory(_dice, takes_self=True)

    def notify(self, url: str, view: Mapping[str, object]) -> None:
        """Post *view* to *url* soon, unless it is old news or *url* is not allowed."""
        if not url or not self.settings.forward_hooks or not self._allowed(url):
            return
        task_id = str(view["id"])
        rank = _rank(view)
        if self._ranks.get(task_id, -1.0) >= rank:
            return
        self._ranks[task_id] = rank
        for later in self._with_faults(task_id, view):
            sender = asyncio.create_task(self._send(url, *later))
            self._senders.add(sender)
            sender.add_done_callback(self._senders.discard)

    def _with_faults(self, task_id: str, view: Mapping[str, object]) -> list[_Post]:
        """Return what is posted in place of *view*, with the seconds it is late."""
        faults, chance = self.settings.hook_faults, self._chance.random
        ends = view["status"] in _ENDS
        post = dict(view), faults.seconds * chance() if chance() < faults.late else 0.0
        held = self._held.pop(task_id, None)
        if not ends and held is None and chance() < faults.reordered:
            self._held[task_id] = post
            return []
        twice = (self.settings.hook_twice and ends) or chance() < faults.doubled
        posts = [] if chance() < faults.dropped else [post] * (1 + twice)
        if chance() < faults.forged:
            posts.append((_forged(view), 0.0))
        return posts if held is None else [*posts, held]

    def _allowed(self, url: str) -> bool:
        if self.settings.hooks_anywhere:
            return True
        try:
            host = URL(url).host or ""
            return host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    async def _send(self, url: str, view: dict[str, object], late: float) -> None:
        if late:
            await self.settings.clock.sleep(late)
        # A lock wakes its waiters in order, so the posts of a task keep theirs.
        async with self._locks[str(view["id"])]:
            status = await self._post(url, go_json.dumps(view))
            self.sent.append(SentNotification(url, view, status))

    async def _post(self, url: str, body: bytes) -> int | None:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=self.settings.hook_timeout)
            self._session = aiohttp.ClientSession(timeout=timeout)
        headers = {"Content-Type": "application/json; charset=utf-8"}
        try:
            async with self._session.post(
                url, data=body, headers=headers, allow_redirects=False
            ) as response:
                return response.status
        except (aiohttp.ClientError, TimeoutError):
            return None

    async def close(self) -> None:
        """Cancel what is not sent yet, and wait for the end."""
        for sender in self._senders:
            sender.cancel()
        await asyncio.gather(*self._senders, return_exceptions=True)
        if self._session is not None:
            await self._session.close()


def _forged(view: Mapping[str, object]) -> dict[str, object]:
    """Return a notification of *view*'s task that its upstream never sent."""
    if view["status"] == "SUCCESS":
        failure = {"status": "FAILURE", "failReason": "forged", "imageUrl": None}
        return {**view, **failure}
    return {**view, "status": "SUCCESS", "progress": "100%"}


def _rank(view: Mapping[str, object]) -> float:
    status = str(view["status"] or "")
    share = str(view["progress"] or "").removesuffix("%")
    part = int(share) / 100 if status == "IN_PROGRESS" and share.isdigit() else 0.0
    return _RANKS.get(status, 0.0) + part
