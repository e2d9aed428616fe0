"""
The service behind the relay: a queue, a few workers, an engine.

Modelled on trueai-org/midjourney-proxy ``Services/BaseFaceSwapService.cs`` and
``Controllers/InsightFaceController.cs``. The relay uses only
:meth:`Upstream.submit` and :meth:`Upstream.poll`, and reads finished pictures from
:attr:`Upstream.results`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from concurrent.futures import Executor

from attrs import Factory, define

from ezlink_async.emulator.scripts import Script, Step
from ezlink_async.emulator.settings import EmulatorSettings, Engine
from ezlink_async.emulator.upstream.requests import (
    Pictures,
    RefusedError,
    SwapRequest,
    UpstreamReply,
    read_pictures,
)

# Decoding less text than this takes less time than handing it to a thread.
_INLINE = 256 * 1024
_ENDS = {"SUCCESS", "FAILURE", "CANCEL"}


@define(kw_only=True, eq=False)
class UpstreamTask:
    """
    A task as the upstream keeps it.

    *view* is the task as the upstream lists it; a task that is not *mentioned* is
    never listed. *polled* is set when the relay has read the view.
    """

    task_id: str
    state: str
    hook: str
    request_id: str
    source_sha256: str
    target_sha256: str
    view: dict[str, object]
    mentioned: bool = True
    polled: asyncio.Event = Factory(asyncio.Event)

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


@define(eq=False)
class Upstream:
    """
    The service. It calls *on_change* at every change of a task.

    *peak* and *peak_running* are the most tasks accepted and not ended, and the most
    out of the queue, at one time. *scripts* are taken by the next tasks, in order.
    """

    settings: EmulatorSettings
    engine: Engine
    executor: Executor
    on_change: Callable[[UpstreamTask], None]
    address: str = ""
    tasks: dict[str, UpstreamTask] = Factory(dict)
    scripts: deque[Script] = Factory(deque)
    peak: int = 0
    peak_running: int = 0
    results: ResultStore = Factory(
        lambda self: ResultStore(self.settings.kept_bytes), takes_self=True
    )
    _open: set[str] = Factory(set)
    _running: int = 0
    _slots: asyncio.Semaphore = Factory(
        lambda self: asyncio.Semaphore(self.settings.concurrency), takes_self=True
    )
    _jobs: set[asyncio.Task[None]] = Factory(set)

    async def submit(
        self, request: SwapRequest, life: Script | None = None
    ) -> UpstreamReply:
        """Queue a job, or refuse it; *life* goes before the scripts to come."""
        limit = self.settings.max_image
        try:
            if request.size <= _INLINE:
                pictures = read_pictures(request, limit)
            else:
                loop = asyncio.get_running_loop()
                pictures = await loop.run_in_executor(
                    self.executor, read_pictures, request, limit
                )
        except RefusedError as refusal:
            return UpstreamReply(4, str(refusal))
        return self._accept(request, pictures, life)

    def _accept(
        self, request: SwapRequest, pictures: Pictures, life: Script | None
    ) -> UpstreamReply:
        waiting = max(0, len(self._open) - self.settings.concurrency)
        if waiting >= self.settings.queue:
            return UpstreamReply(9, "提交失败，队列已满，请稍后重试")
        task = self._new_task(request, pictures)
        script = life or (self.scripts.popleft() if self.scripts else Script())
        task.mentioned = script.mentioned
        self._open.add(task.task_id)
        self.peak = max(self.peak, len(self._open))
        job = asyncio.create_task(self._run(task, script, pictures))
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
        if not waiting or not self.settings.code_22:
            return UpstreamReply(1, "提交成功", task.task_id, {})
        ahead = {"numberOfQueues": waiting}
        text = f"排队中，前面还有{waiting}个任务"
        return UpstreamReply(22, text, task.task_id, ahead)

    def _new_task(self, request: SwapRequest, pictures: Pictures) -> UpstreamTask:
        now = self.settings.clock.milliseconds()
        task_id = next(one for one in iter(_new_id, "") if one not in self.tasks)
        task = UpstreamTask(
            task_id=task_id,
            state=request.state,
            hook=request.hook,
            request_id=request.request_id,
            source_sha256=pictures.source_sha256,
            target_sha256=pictures.target_sha256,
            view=_first_view(task_id, request, now),
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
                    for step in script.steps:
                        await self._show(task, step)
                    if script.swap:
                        await self._swap(task, pictures)
                finally:
                    self._running -= 1
        finally:
            self._open.discard(task.task_id)

    async def _show(self, task: UpstreamTask, step: Step) -> None:
        self._update(task, step.view)
        if step.seconds is not None:
            await self.settings.clock.sleep(step.seconds)
        elif task.status not in _ENDS:
            task.polled.clear()
            await task.polled.wait()

    def _update(self, task: UpstreamTask, changes: Mapping[str, object]) -> None:
        now = self.settings.clock.milliseconds()
        for name, value in changes.items():
            is_now = value is True and name.endswith("Time")
            task.view[name] = now if is_now else value
        self.on_change(task)

    async def _swap(self, task: UpstreamTask, pictures: Pictures) -> None:
        clock, settings = self.settings.clock, self.settings
        self._update(task, {})
        await clock.sleep(settings.start_seconds)
        view = {"status": "SUBMITTED", "progress": "0%", "startTime": True}
        self._update(task, view)
        await clock.sleep(settings.submit_seconds)
        self._update(task, {"status": "IN_PROGRESS"})
        loop = asyncio.get_running_loop()
        working = loop.run_in_executor(
            self.executor, self.engine.swap, pictures.source, pictures.target
        )
        try:
            await clock.sleep(settings.engine_seconds)
            picture = await working
        except Exception as exc:  # noqa: BLE001 - a bug of the engine must end the task
            reason = str(exc) if isinstance(exc, ValueError) else repr(exc)
            view = {"status": "FAILURE", "progress": None, "failReason": reason}
        else:
            self.results.put(task.task_id, picture)
            url = f"{self.address}/__emu/cdn/{task.task_id}"
            view = {"status": "SUCCESS", "progress": "100%", "imageUrl": url}
        self._update(task, {**view, "finishTime": True})

    def poll(self, task_id: str) -> dict[str, object] | None:
        """Return the task as the upstream lists it, or None if it does not."""
        task = self.tasks.get(task_id)
        if task is None or not task.mentioned:
            return None
        task.polled.set()
        return dict(task.view)

    def reset_peaks(self) -> None:
        """Count the peaks anew, from the tasks open now."""
        self.peak, self.peak_running = len(self._open), self._running

    async def close(self) -> None:
        """Cancel all jobs and wait for them."""
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)


def _new_id() -> str:
    # As long as the upstream's, which are milliseconds and three digits at random: a
    # picture is shown without a key, so no id may follow from the time of another.
    return f"{secrets.randbelow(10**16):016d}"


def _first_view(task_id: str, request: SwapRequest, now: int) -> dict[str, object]:
    return {
        "id": task_id,
        "action": "SWAP_FACE",
        "prompt": None,
        "promptEn": None,
        "description": "提交成功",
        "state": request.state or None,
        "submitTime": now,
        "startTime": None,
        "finishTime": None,
        "imageUrl": None,
        "status": "NOT_START",
        "progress": None,
        "failReason": None,
        "buttons": [],
        "properties": {"notifyHook": request.hook or None, "finalPrompt": None},
    }
