"""
The service behind the relay: a queue, a few workers, an engine.

Modelled on trueai-org/midjourney-proxy ``Services/BaseFaceSwapService.cs``,
``Controllers/InsightFaceController.cs`` and ``Controllers/SubmitController.cs``. The
relay uses only :meth:`Upstream.submit`, :meth:`Upstream.draw` and
:meth:`Upstream.poll`, and reads finished pictures from :attr:`Upstream.results`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import TypeVar

from attrs import Factory, define, evolve

from ezlink_async.emulator.scripts import Script, Step
from ezlink_async.emulator.settings import EmulatorSettings, Engine
from ezlink_async.emulator.upstream.drawings import (
    DIALOGS,
    REMIXED,
    Drawing,
    Finished,
    draw,
    job_of,
)
from ezlink_async.emulator.upstream.paintings import Painting
from ezlink_async.emulator.upstream.requests import (
    DrawingRequest,
    RefusedError,
    SwapRequest,
    UpstreamReply,
    read_drawing,
    read_pictures,
)
from ezlink_async.emulator.upstream.tasks import (
    ResultStore,
    UpstreamTask,
    first_view,
    new_id,
)

T = TypeVar("T")
Work = Callable[[], Finished]

# Decoding less text than this takes less time than handing it to a thread.
_INLINE = 256 * 1024
_ENDS = {"SUCCESS", "FAILURE", "CANCEL"}
_RESTARTED: Mapping[str, object] = {
    "status": "NOT_START",
    "progress": None,
    "finishTime": None,
}


@define(eq=False)
class Upstream:
    """
    The service. It calls *on_change* at every change of a task.

    *peak* and *peak_running* are the most tasks accepted and not ended, and the most
    out of the queue, at one time. *scripts* are taken by the next tasks, in order.
    *paintings* are what the other providers were asked for, by task.
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
    paintings: dict[str, Painting] = Factory(dict)
    _open: set[str] = Factory(set)
    _running: int = 0
    _slots: asyncio.Semaphore = Factory(
        lambda self: asyncio.Semaphore(self.settings.concurrency), takes_self=True
    )
    _jobs: set[asyncio.Task[None]] = Factory(set)
    _pressed: dict[tuple[str, str], UpstreamTask] = Factory(dict)

    # Submits

    async def submit(
        self, request: SwapRequest, life: Script | None = None
    ) -> UpstreamReply:
        """Queue a face swap, or refuse it; *life* goes before the scripts to come."""
        limit = self.settings.max_image
        try:
            pictures = await self._decoded(
                request.size, lambda: read_pictures(request, limit)
            )
        except RefusedError as refusal:
            return UpstreamReply(4, str(refusal))
        if self._is_full():
            return UpstreamReply(9, "提交失败，队列已满，请稍后重试")
        task = self._new_task("SWAP_FACE", request.state, request.hook)
        task.request_id = request.request_id
        task.source_sha256 = pictures.source_sha256
        task.target_sha256 = pictures.target_sha256

        def swap() -> Finished:
            return Finished(self.engine.swap(pictures.source, pictures.target), {})

        return self._start(task, life or self._next_script() or Script(), swap)

    async def draw(
        self, request: DrawingRequest, life: Script | None = None
    ) -> UpstreamReply:
        """
        Queue a Midjourney job, or refuse it; *life* as in :meth:`submit`.

        A button that asks for input makes a task that waits in ``MODAL``; the modal
        continues that very task. A button of an upscale that was pressed before
        leads to the task of that time.
        """
        limit = self.settings.max_image
        try:
            drawing = await self._decoded(
                request.size, lambda: read_drawing(request, limit)
            )
        except RefusedError as refusal:
            return UpstreamReply(4, str(refusal))
        earlier = self._pressed.get((request.parent, request.custom_id))
        if earlier is not None and earlier.status != "FAILURE":
            return _existing(earlier)
        if self._is_full():
            return UpstreamReply(23, "队列已满，请稍后尝试")
        script = life or self._next_script()
        parent = self.tasks.get(request.parent)
        if parent and parent.status == "MODAL" and request.action == "MODAL":
            return self._confirm(parent, request, drawing, script)
        task, drawing = self._new_drawing(request, drawing)
        return self._open_or_draw(task, drawing, script)

    def _new_drawing(
        self, request: DrawingRequest, drawing: Drawing
    ) -> tuple[UpstreamTask, Drawing]:
        parent = self.tasks.get(request.parent)
        task = self._new_task(request.action, request.state, request.hook)
        task.request_id = request.request_id
        task.prompt = request.prompt or (parent.prompt if parent else "")
        if request.action == "UPSCALE":
            self._pressed[request.parent, request.custom_id] = task
        before = self.results.get(request.parent)
        job = job_of(task.task_id)
        return task, evolve(drawing, prompt=task.prompt, before=before, job=job)

    def _open_or_draw(
        self, task: UpstreamTask, drawing: Drawing, script: Script | None
    ) -> UpstreamReply:
        remix = self.settings.remix and drawing.action in REMIXED
        if not remix and drawing.action not in DIALOGS:
            return self._start(task, script or Script(), lambda: draw(drawing))
        task.dialog = drawing
        asked = {"finalPrompt": task.prompt, "remix": True}
        waiting = Finished(None, {"status": "MODAL", "progress": "0%"})
        if script is None:
            self._update(task, {**waiting.view, "properties": asked})
        else:
            task.view["properties"] = asked
            self._start(task, script, lambda: waiting)
        return UpstreamReply(21, "Waiting for window confirm", task.task_id, asked)

    def _confirm(
        self,
        task: UpstreamTask,
        request: DrawingRequest,
        given: Drawing,
        script: Script | None,
    ) -> UpstreamReply:
        task.state = request.state or task.state
        task.hook = request.hook or task.hook
        task.prompt = request.prompt or task.prompt
        asked = task.dialog or evolve(given, job=job_of(task.task_id))
        drawing = evolve(asked, prompt=task.prompt, mask=given.mask)
        self._update(task, {**_RESTARTED, "state": task.state or None})
        return self._start(task, script or Script(), lambda: draw(drawing))

    def generate(
        self,
        action: str,
        painting: Painting,
        request_id: str,
        life: Script | None = None,
    ) -> UpstreamTask:
        """
        Run a job of another provider, whose pictures are drawn when they are asked for.

        It is never refused; *life* as in :meth:`submit`.
        """
        task = self._new_task(action, "", "")
        task.request_id, task.prompt = request_id, painting.prompt
        self.paintings[task.task_id] = painting
        script = life or self._next_script() or Script()
        self._start(task, script, lambda: Finished(None, {}))
        return task

    async def _decoded(self, size: int, read: Callable[[], T]) -> T:
        if size <= _INLINE:
            return read()
        return await asyncio.get_running_loop().run_in_executor(self.executor, read)

    # The queue

    def _waiting(self) -> int:
        return max(0, len(self._open) - self.settings.concurrency)

    def _is_full(self) -> bool:
        return self._waiting() >= self.settings.queue

    def _next_script(self) -> Script | None:
        return self.scripts.popleft() if self.scripts else None

    def _new_task(self, action: str, state: str, hook: str) -> UpstreamTask:
        now = self.settings.clock.milliseconds()
        task_id = next(one for one in iter(new_id, "") if one not in self.tasks)
        task = UpstreamTask(
            task_id=task_id,
            state=state,
            hook=hook,
            request_id="",
            view=first_view(task_id, action, now, state=state, hook=hook),
        )
        self.tasks[task_id] = task
        return task

    def _start(self, task: UpstreamTask, script: Script, work: Work) -> UpstreamReply:
        waiting = self._waiting()
        task.mentioned = script.mentioned
        self._open.add(task.task_id)
        self.peak = max(self.peak, len(self._open))
        job = asyncio.create_task(self._run(task, script, work))
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
        if not waiting or not self.settings.code_22:
            return UpstreamReply(1, "提交成功", task.task_id, {})
        ahead = {"numberOfQueues": waiting}
        text = f"排队中，前面还有{waiting}个任务"
        return UpstreamReply(22, text, task.task_id, ahead)

    # The life of a task

    async def _run(self, task: UpstreamTask, script: Script, work: Work) -> None:
        try:
            async with self._slots:
                self._running += 1
                self.peak_running = max(self.peak_running, self._running)
                try:
                    for step in script.steps:
                        await self._show(task, step)
                    if script.swap:
                        await self._work(task, work)
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
        if task.status in _ENDS:
            task.on_end()

    async def _work(self, task: UpstreamTask, work: Work) -> None:
        clock, settings = self.settings.clock, self.settings
        self._update(task, {})
        await clock.sleep(settings.start_seconds)
        view = {"status": "SUBMITTED", "progress": "0%", "startTime": True}
        self._update(task, view)
        await clock.sleep(settings.submit_seconds)
        self._update(task, {"status": "IN_PROGRESS"})
        working = asyncio.get_running_loop().run_in_executor(self.executor, work)
        try:
            await clock.sleep(settings.engine_seconds)
            finished = await working
        except Exception as exc:  # noqa: BLE001 - a bug of the engine must end the task
            reason = str(exc) if isinstance(exc, ValueError) else repr(exc)
            view = {"status": "FAILURE", "progress": None, "failReason": reason}
            self._update(task, {**view, "finishTime": True})
        else:
            self._finish(task, finished)

    def _finish(self, task: UpstreamTask, finished: Finished) -> None:
        view: dict[str, object] = {"status": "SUCCESS", "progress": "100%"}
        if finished.picture is not None:
            self.results.put(task.task_id, finished.picture)
            view["imageUrl"] = f"{self.address}/__emu/cdn/{task.task_id}"
        view |= finished.view
        if view["status"] in _ENDS:
            view["finishTime"] = True
        self._update(task, view)

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


def _existing(task: UpstreamTask) -> UpstreamReply:
    shown = {"status": task.status, "imageUrl": task.view["imageUrl"]}
    return UpstreamReply(21, "任务已存在", task.task_id, shown)
