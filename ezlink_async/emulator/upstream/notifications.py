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
from collections import defaultdict
from collections.abc import Mapping

import aiohttp
from attrs import Factory, define, frozen
from yarl import URL

from ezlink_async.emulator.http import go_json
from ezlink_async.emulator.settings import EmulatorSettings

_ENDS = {"FAILURE": 4.0, "SUCCESS": 5.0}
_RANKS = {"NOT_START": 0.0, "SUBMITTED": 1.0, "IN_PROGRESS": 3.0, **_ENDS}


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

    def notify(self, url: str, view: Mapping[str, object]) -> None:
        """Post *view* to *url* soon, unless it is old news or *url* is not allowed."""
        if not url or not self.settings.forward_hooks or not self._allowed(url):
            return
        task_id, status = str(view["id"]), str(view["status"] or "")
        rank = _rank(view)
        if self._ranks.get(task_id, -1.0) >= rank:
            return
        self._ranks[task_id] = rank
        copies = 2 if self.settings.hook_twice and status in _ENDS else 1
        for _ in range(copies):
            sender = asyncio.create_task(self._send(url, dict(view)))
            self._senders.add(sender)
            sender.add_done_callback(self._senders.discard)

    def _allowed(self, url: str) -> bool:
        if self.settings.hooks_anywhere:
            return True
        try:
            host = URL(url).host or ""
            return host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    async def _send(self, url: str, view: dict[str, object]) -> None:
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


def _rank(view: Mapping[str, object]) -> float:
    status = str(view["status"] or "")
    share = str(view["progress"] or "").removesuffix("%")
    part = int(share) / 100 if status == "IN_PROGRESS" and share.isdigit() else 0.0
    return _RANKS.get(status, 0.0) + part
