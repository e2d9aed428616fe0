"""
The upstream's notifications, posted to the ``notifyHook`` of a job.

After trueai-org/midjourney-proxy ``Services/NotifyService.cs``: in order, equal
states once, never a second try. Only loopback hosts unless settings say otherwise,
since anybody who submits chooses the address.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Mapping

import aiohttp
from attrs import Factory, define, frozen
from yarl import URL

from ezlink_async.emulator.http import go_json
from ezlink_async.emulator.settings import EmulatorSettings

__all__ = ["HookSent", "Hooks"]

_ORDER = {"NOT_START": 0.0, "SUBMITTED": 1.0, "IN_PROGRESS": 3.0, "FAILURE": 4.0}
_ENDS = {"FAILURE": 4.0, "SUCCESS": 5.0}


@frozen
class HookSent:
    """One notification; *status* is the receiver's answer, None when there was none."""

    url: str
    body: Mapping[str, object]
    status: int | None


@define(eq=False)
class Hooks:
    """Sends notifications, one receiver's in their order."""

    settings: EmulatorSettings
    sent: list[HookSent] = Factory(list)
    _session: aiohttp.ClientSession | None = None
    _places: dict[str, float] = Factory(dict)
    _queues: dict[str, asyncio.Queue[tuple[str, dict[str, object]]]] = Factory(dict)
    _senders: set[asyncio.Task[None]] = Factory(set)

    def notify(self, url: str, view: Mapping[str, object]) -> None:
        """Post *view* to *url* soon, unless it is no news or not allowed."""
        if not url or not self.settings.forward_hooks or not self._allowed(url):
            return
        task_id, status = str(view["id"]), str(view["status"] or "")
        place = _place(view)
        if self._places.get(task_id, -1.0) >= place:
            return
        self._places[task_id] = place
        copies = 2 if self.settings.hook_twice and status in _ENDS else 1
        for _ in range(copies):
            self._queue(task_id).put_nowait((url, dict(view)))

    def _allowed(self, url: str) -> bool:
        if self.settings.hooks_anywhere:
            return True
        try:
            host = URL(url).host or ""
            return host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    def _queue(self, task_id: str) -> asyncio.Queue[tuple[str, dict[str, object]]]:
        queue = self._queues.get(task_id)
        if queue is None:
            queue = self._queues[task_id] = asyncio.Queue()
            sender = asyncio.create_task(self._send(task_id, queue))
            self._senders.add(sender)
            sender.add_done_callback(self._senders.discard)
        return queue

    async def _send(
        self, task_id: str, queue: asyncio.Queue[tuple[str, dict[str, object]]]
    ) -> None:
        while True:
            url, view = await queue.get()
            status = await self._post(url, go_json.dumps(view))
            self.sent.append(HookSent(url, view, status))
            if queue.empty() and view["status"] in _ENDS:
                del self._queues[task_id]
                return

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
        """Send nothing more."""
        for sender in self._senders:
            sender.cancel()
        await asyncio.gather(*self._senders, return_exceptions=True)
        if self._session is not None:
            await self._session.close()


def _place(view: Mapping[str, object]) -> float:
    status = str(view["status"] or "")
    share = str(view["progress"] or "").removesuffix("%")
    part = int(share) / 100 if status == "IN_PROGRESS" and share.isdigit() else 0.0
    return (_ORDER | _ENDS).get(status, 0.0) + part
