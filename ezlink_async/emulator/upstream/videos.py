"""
The providers of videos behind the relay: their tasks, and how each of these lives.

A life is worked out whenever it is looked at, so a video needs no task of the event
loop and no place in the upstream's queue. ``provider_answers`` says how each provider
puts what is seen here.
"""

from __future__ import annotations

import secrets
import string
import time
import uuid
from collections import deque

from attrs import Factory, define, field, frozen

from ezlink_async.emulator.http import go_json
from ezlink_async.emulator.pictures.clip import clip_of
from ezlink_async.emulator.scripts import Script, Step
from ezlink_async.emulator.settings import EmulatorSettings

_ENDS = {"SUCCESS", "FAILURE", "CANCEL"}
_LETTERS = string.ascii_lowercase + string.digits


@frozen(kw_only=True)
class VideoJob:
    """
    One submit as the relay forwards it.

    *body* is what the provider was sent, long texts cut; *count* videos are made.
    """

    provider: str
    model: str
    body: dict[str, object]
    prompt: str = ""
    count: int = 1
    request_id: str = ""


@define(eq=False)
class Life:
    """The steps of a video; *since* is when the present one began, in milliseconds."""

    steps: tuple[Step, ...]
    mentioned: bool
    since: int
    view: dict[str, object] = Factory(lambda: {"status": "NOT_START"})
    _number: int = 0
    _polled: bool = False

    def at(self, now: int, *, polled: bool) -> dict[str, object]:
        """Return the view at *now*; a step without a length ends once it is polled."""
        while self._number < len(self.steps):
            step = self.steps[self._number]
            self.view |= step.view
            if self._number + 1 == len(self.steps) or not self._is_over(step, now):
                break
            self._number += 1
            self._polled = False
        self._polled = self._polled or polled
        return self.view

    def _is_over(self, step: Step, now: int) -> bool:
        if step.seconds is None:
            if not self._polled and self.view["status"] not in _ENDS:
                return False
            self.since = now
            return True
        due = self.since + round(step.seconds * 1000)
        if now < due:
            return False
        self.since = due
        return True


@define(kw_only=True, eq=False)
class VideoTask:
    """A video at its provider; *asked* counts the provider's answers about it."""

    task_id: str
    job: VideoJob
    life: Life
    asked: int = 0

    def files(self) -> dict[str, bytes]:
        """Return the finished videos by the names of their files."""
        return {
            f"{self.task_id}_{number}.mp4": clip_of(self._request(number))
            for number in range(1, self.job.count + 1)
        }

    def _request(self, number: int) -> bytes:
        job = self.job
        shown = {"provider": job.provider, "model": job.model, "number": number}
        return go_json.dumps({**shown, "request": job.body})


@define(eq=False)
class VideoProviders:
    """
    All providers, each with tasks of its own; *scripts* are taken by the next tasks.

    The scripts are those of the upstream's other tasks, in one order.
    """

    settings: EmulatorSettings
    scripts: deque[Script] = field(repr=False)
    tasks: dict[str, VideoTask] = Factory(dict)

    def submit(self, job: VideoJob, life: Script | None = None) -> VideoTask:
        """Begin a video; *life* goes before the scripts to come."""
        script = life or (self.scripts.popleft() if self.scripts else Script())
        steps = script.steps + (self._work() if script.swap else ())
        task = VideoTask(
            task_id=_new_id(job.provider),
            job=job,
            life=Life(steps, script.mentioned, self._now()),
        )
        self.tasks[task.task_id] = task
        return task

    def _work(self) -> tuple[Step, ...]:
        settings = self.settings
        return (
            Step({"status": "NOT_START"}, settings.start_seconds),
            Step({"status": "SUBMITTED"}, settings.submit_seconds),
            Step({"status": "IN_PROGRESS"}, settings.engine_seconds),
            Step({"status": "SUCCESS", "video": True}),
        )

    def look(self, task_id: str) -> VideoTask | None:
        """Return the task, whose view is then that of now, or None if none is known."""
        task = self.tasks.get(task_id)
        if task is None or not task.life.mentioned:
            return None
        task.life.at(self._now(), polled=True)
        task.asked += 1
        return task

    def status(self, task: VideoTask) -> str:
        """Return the status of now, without counting as a poll."""
        return str(task.life.at(self._now(), polled=False)["status"])

    def file(self, name: str) -> bytes | None:
        """Return a finished video by the name of its file."""
        task = self.tasks.get(name.rpartition("_")[0])
        return task.files().get(name) if task else None

    def _now(self) -> int:
        return self.settings.clock.milliseconds()


def _new_id(provider: str) -> str:
    """Return an id of the provider's form; none follows from the time of another."""
    if provider == "doubao":
        date = time.strftime("%Y%m%d%H%M%S", time.gmtime())
        return f"cgt-{date}-{''.join(secrets.choice(_LETTERS) for _ in range(8))}"
    if provider in {"kling", "minimax"}:
        return str(10**17 + secrets.randbelow(9 * 10**17))
    return str(uuid.uuid4())
