"""
The service behind the relay: a queue, a few workers, an engine.

Shaped after trueai-org/midjourney-proxy ``Services/BaseFaceSwapService.cs`` and
``Controllers/InsightFaceController.cs``; the relay sees it only through
:meth:`Upstream.submit` and :meth:`Upstream.look`.
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from itertools import count

from attrs import Factory, define, frozen

from ezlink_async.emulator.scripts import Script, Step
from ezlink_async.emulator.settings import EmulatorSettings, Engine
from ezlink_async.emulator.upstream.requests import (
    Order,
    Pictures,
    RefusedError,
    read_pictures,
)

__all__ = ["Answer", "Gallery", "Upstream", "UpstreamTask"]

# shorter work than a trip to another thread costs
_INLINE = 256 * 1024
_ENDS = {"SUCCESS", "FAILURE", "CANCEL"}


@frozen
class Answer:
    """The upstream's answer to a submit, before the relay has read it."""

    code: int
    description: str
    result: str = ""
    properties: object = None


@define(kw_only=True, eq=False)
class UpstreamTask:
    """A task as the upstream keeps it; *view* is what it tells about it."""

    task_id: str
    state: str
    hook: str
    request_id: str
    source_sha256: str
    target_sha256: str
    view: dict[str, object]
    mentioned: bool = True
    seen: asyncio.Event = Factory(asyncio.Event)

    @property
    def status(self) -> str:
        """The upstream's word, which the relay may learn much later."""
        return str(self.view["status"] or "")

    @property
    def ended(self) -> bool:
        """Whether the upstream is done with it."""
        return self.status in _ENDS


@define
class Gallery:
    """The results, the oldest of which expire when there are too many bytes."""

    limit: int
    _pictures: OrderedDict[str, bytes] = Factory(OrderedDict)
    _bytes: int = 0

    def put(self, task_id: str, picture: bytes) -> None:
        """Keep *picture*, and let old ones go."""
        self._pictures[task_id] = picture
        self._bytes += len(picture)
        while self._bytes > self.limit and len(self._pictures) > 1:
            _, old = self._pictures.popitem(last=False)
            self._bytes -= len(old)

    def get(self, task_id: str) -> bytes | None:
        """Return the picture, or None when there is none (any more)."""
        return self._pictures.get(task_id)


@define(eq=False)
class Upstream:
    """The machine. *saved* is called at every change of a task, for the hooks."""

    settings: EmulatorSettings
    engine: Engine
    executor: Executor
    saved: Callable[[UpstreamTask], None]
    address: str = ""
    tasks: dict[str, UpstreamTask] = Factory(dict)
    scripts: deque[Script] = Factory(deque)
    peak: int = 0
    peak_running: int = 0
    gallery: Gallery = Factory(
        lambda self: Gallery(self.settings.kept_bytes), takes_self=True
    )
    _open: set[str] = Factory(set)
    _running: int = 0
    _slots: asyncio.Semaphore = Factory(
        lambda self: asyncio.Semaphore(self.settings.concurrency), takes_self=True
    )
    _jobs: set[asyncio.Task[None]] = Factory(set)

    async def submit(self, order: Order) -> Answer:
        """Take a job into the queue, or refuse it."""
        limit = self.settings.max_image
        try:
            if order.size <= _INLINE:
                pictures = read_pictures(order, limit)
            else:
                loop = asyncio.get_running_loop()
                pictures = await loop.run_in_executor(
                    self.executor, read_pictures, order, limit
                )
        except RefusedError as refusal:
            return Answer(4, str(refusal))
        return self._accept(order, pictures)

    def _accept(self, order: Order, pictures: Pictures) -> Answer:
        waiting = max(0, len(self._open) - self.settings.concurrency)
        if waiting >= self.settings.queue:
            return Answer(9, "提交失败，队列已满，请稍后重试")
        task = self._new_task(order, pictures)
        script = self.scripts.popleft() if self.scripts else Script()
        task.mentioned = script.mentioned
        self._open.add(task.task_id)
        self.peak = max(self.peak, len(self._open))
        job = asyncio.create_task(self._run(task, script, pictures))
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
        if not waiting or not self.settings.code_22:
            return Answer(1, "提交成功", task.task_id, {})
        ahead = {"numberOfQueues": waiting}
        return Answer(22, f"排队中，前面还有{waiting}个任务", task.task_id, ahead)

    def _new_task(self, order: Order, pictures: Pictures) -> UpstreamTask:
        now = self.settings.clock.milliseconds()
        task_id = next(one for one in _ids(now) if one not in self.tasks)
        task = UpstreamTask(
            task_id=task_id,
            state=order.state,
            hook=order.hook,
            request_id=order.request_id,
            source_sha256=pictures.source_sha256,
            target_sha256=pictures.target_sha256,
            view=_first_view(task_id, order, now),
        )
        self.tasks[task_id] = task
        return task

    async def _run(
        self, task: UpstreamTask, script: Script, pictures: Pictures
    ) -> None:
        try:
            async with self._slots:
                self._running += 1
                self.peak_running = max(self.peak_running, self._running)
                try:
                    await self._play(task, script, pictures)
                finally:
                    self._running -= 1
        finally:
            self._open.discard(task.task_id)

    async def _play(
        self, task: UpstreamTask, script: Script, pictures: Pictures
    ) -> None:
        for step in script.steps:
            await self._show(task, step)
        if script.swap:
            await self._swap(task, pictures)

    async def _show(self, task: UpstreamTask, step: Step) -> None:
        self._save(task, step.view)
        if step.seconds is not None:
            await self.settings.clock.sleep(step.seconds)
        elif not task.ended:
            task.seen.clear()
            await task.seen.wait()

    def _save(self, task: UpstreamTask, view: object) -> None:
        changes = dict(view) if isinstance(view, dict) else {}
        now = self.settings.clock.milliseconds()
        for name in ("startTime", "finishTime", "submitTime"):
            if changes.get(name) is True:
                changes[name] = now
        task.view.update(changes)
        self.saved(task)

    async def _swap(self, task: UpstreamTask, pictures: Pictures) -> None:
        clock, settings = self.settings.clock, self.settings
        self._save(task, {})
        await clock.sleep(settings.start_seconds)
        view = {"status": "SUBMITTED", "progress": "0%", "startTime": True}
        self._save(task, view)
        await clock.sleep(settings.submit_seconds)
        self._save(task, {"status": "IN_PROGRESS"})
        loop = asyncio.get_running_loop()
        working = loop.run_in_executor(
            self.executor, self.engine.swap, pictures.source, pictures.target
        )
        try:
            await clock.sleep(settings.engine_seconds)
            picture = await working
        except Exception as fault:  # noqa: BLE001 - a task must end, whatever happens
            reason = str(fault) if isinstance(fault, ValueError) else repr(fault)
            view = {"status": "FAILURE", "progress": None, "failReason": reason}
            self._save(task, {**view, "finishTime": True})
            return
        self.gallery.put(task.task_id, picture)
        url = f"{self.address}/__emu/cdn/{task.task_id}"
        view = {"status": "SUCCESS", "progress": "100%", "imageUrl": url}
        self._save(task, {**view, "finishTime": True})

    def look(self, task_id: str) -> dict[str, object] | None:
        """Return what the upstream lists for this id, if it lists it."""
        task = self.tasks.get(task_id)
        if task is None or not task.mentioned:
            return None
        view = dict(task.view)
        task.seen.set()
        return view

    def reset_peaks(self) -> None:
        """Count the peaks anew, from what is open now."""
        self.peak, self.peak_running = len(self._open), self._running

    async def close(self) -> None:
        """Stop everything that runs."""
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)


def _ids(now: int) -> Iterator[str]:
    # milliseconds and three digits at random, as the upstream makes them
    return (f"{now + late}{random.randrange(1000):03d}" for late in count())  # noqa: S311


def _first_view(task_id: str, order: Order, now: int) -> dict[str, object]:
    return {
        "id": task_id,
        "action": "SWAP_FACE",
        "prompt": None,
        "promptEn": None,
        "description": "提交成功",
        "state": order.state or None,
        "submitTime": now,
        "startTime": None,
        "finishTime": None,
        "imageUrl": None,
        "status": "NOT_START",
        "progress": None,
        "failReason": None,
        "buttons": [],
        "properties": {"notifyHook": order.hook or None, "finalPrompt": None},
    }
