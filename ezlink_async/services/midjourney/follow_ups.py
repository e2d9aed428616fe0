"""
Action, modal and change: the jobs that go on from another task.

The server checks next to nothing before it charges: an action without a task is paid.
So the checks are here, and nothing is sent when one fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import attrs

from ezlink_async._core.images import Image, ImageLike
from ezlink_async._core.messages import clip
from ezlink_async.buttons import Button
from ezlink_async.errors import ConfigurationError
from ezlink_async.models import TaskRecord
from ezlink_async.services.base import (
    APART,
    PICTURES,
    JobRequest,
    LoadedImage,
    TaskFamily,
    canonical,
)
from ezlink_async.services.midjourney.jobs import ActionJob, ModalJob
from ezlink_async.services.midjourney.parents import ParentTask, TaskRef
from ezlink_async.services.midjourney.requests import (
    LABEL,
    PRICES,
    MidjourneyRequest,
    check_choice,
    checked_prompt,
)
from ezlink_async.services.midjourney.submits import Mode, as_picture, json_body
from ezlink_async.services.midjourney.tasks import MIDJOURNEY_MODAL

Changed = Literal["upscale", "variation", "reroll"]

_BY_ACTION = {
    "UPSCALE": 9_000,
    "ZOOM": 9_000,
    "VARIATION": 18_000,
    "HIGH_VARIATION": 18_000,
    "LOW_VARIATION": 18_000,
    "REROLL": 18_000,
    "PAN": 18_000,
}

_CHANGES = ("upscale", "variation", "reroll")

_INDEXES = range(1, 5)


def _picture_or_none(picture: ImageLike | None) -> Image | None:
    return None if picture is None else as_picture(picture)


def _parent(task: ParentTask | TaskRef) -> ParentTask:
    return ParentTask.of(task)


def _parent_or_none(task: ParentTask | TaskRef | None) -> ParentTask | None:
    return None if task is None else ParentTask.of(task)


def _button(button: Button | str) -> Button:
    if isinstance(button, str):
        return Button(custom_id=button)
    if isinstance(button, Button):
        return button
    raise ConfigurationError(f"give a button or its custom id, not {button!r:.200}")


@attrs.frozen
class Action(MidjourneyRequest):
    """
    Press *button*, one of a record or a custom id of one's own, on *task*.

    A button of a record knows its task. Costs 9,000 units for upscale and zoom,
    18,000 for variation, reroll and pan; those that need input are free, and the
    :class:`Modal` behind them is charged. The same button again is charged again, even
    where the server answers with the earlier result. :exc:`ConfigurationError` for a
    custom id that breaks the server, and for no task: it would be charged.
    """

    kind: ClassVar[str] = "action"

    button: Button = attrs.field(converter=_button)
    task: ParentTask | None = attrs.field(default=None, converter=_parent_or_none)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.button.check()
        known = self.button.task_id
        if self.task is None and not known.strip():
            raise ConfigurationError("give the task that the custom id belongs to")
        if known not in {"", self.parent.task_id}:
            raise ConfigurationError(
                f"{self.button.name!r} is a button of task {known}, not of "
                f"{self.parent.task_id}"
            )

    @property
    def parent(self) -> ParentTask:
        """The task; one whose record had the button has succeeded."""
        return self.task or ParentTask(self.button.task_id, succeeded=True)

    @property
    def label(self) -> str:
        """The button and its task."""
        return f"{self.button.name} of {self.parent.task_id}"

    @property
    def charged_mode(self) -> Mode | None:
        """The mode of the parent, as far as it is known."""
        return self.parent.mode

    @property
    def price(self) -> int:
        """The server's default price in units, 500,000 to the dollar; 0 is free."""
        return _BY_ACTION.get(self.button.leads_to or "", 0)

    @property
    def is_free(self) -> bool:
        """Whether the button opens a dialog: those cost nothing."""
        return self.button.needs_input

    def job(self, pictures: tuple[LoadedImage, ...]) -> ActionJob:
        """Return the job; there are no *pictures*."""
        custom_id, task_id = self.button.custom_id, self.parent.task_id
        said = {"customId": custom_id, "taskId": task_id, **self.fields()}
        return ActionJob(
            path="/mj/submit/action",
            label=self.label,
            state=self.state,
            body=json_body(said, {}),
            leads_to=self.button.leads_to,
            parent_succeeded=self.parent.succeeded,
        )

    def identity(self, digests: Sequence[str]) -> str:
        """Return the custom id and the task, as canonical JSON."""
        said = {"button": self.button.custom_id, "task": self.parent.task_id}
        return canonical(said)


@attrs.frozen
class Modal(MidjourneyRequest):
    """
    Send the input that *task* waits for: *prompt*, and *mask* for a region.

    Without a prompt it is the one that the task's record suggests, else the parent's;
    a bare id has none. The mask is a picture, white where it may change. Costs
    18,000 units, 40,000 or 6,000 by the mode in the parent's own prompt; flags in
    this one change nothing. A client sends one modal for one task, since the task
    goes on showing that it waits; *again* sends another, which is charged too.
    """

    kind: ClassVar[str] = "modal"

    task: ParentTask = attrs.field(converter=_parent)
    prompt: str | None = attrs.field(default=None, kw_only=True)
    mask: Image | None = attrs.field(
        default=None,
        kw_only=True,
        converter=_picture_or_none,
        metadata={PICTURES: True},
    )
    again: bool = attrs.field(default=False, kw_only=True, metadata={APART: True})

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if type(self.again) is not bool:  # a word such as "no" would pay again
            raise ConfigurationError(f"again is true or false, not {self.again!r:.80}")
        if self.prompt is None and not self.task.prompt.strip():
            raise ConfigurationError(
                f"give the prompt for task {self.task.task_id}; no record of it is "
                "here that suggests one"
            )
        checked_prompt(self.sent_prompt)

    @property
    def sent_prompt(self) -> str:
        """The prompt, else the one that the task's record suggests."""
        return self.task.prompt if self.prompt is None else self.prompt

    @property
    def family(self) -> TaskFamily[TaskRecord]:
        """The task's own row shows the dialog until the modal's is done."""
        return MIDJOURNEY_MODAL

    @property
    def label(self) -> str:
        """The task, and the beginning of the prompt."""
        return f"{self.task.task_id}: {clip(self.sent_prompt, LABEL)}"

    @property
    def charged_mode(self) -> Mode | None:
        """The mode of the parent, as far as it is known."""
        return self.task.mode

    @property
    def price(self) -> int:
        """The server's default price in units, 500,000 to the dollar."""
        return PRICES[self.charged_mode or Mode.FAST]

    @property
    def once(self) -> str:
        """The key under which one client sends only one modal of a task."""
        return f"modal {self.task.task_id}"

    def job(self, pictures: tuple[LoadedImage, ...]) -> ModalJob:
        """Return the job with the inspected mask, if there is one."""
        task_id = self.task.task_id
        said = {"taskId": task_id, "prompt": self.sent_prompt, **self.fields()}
        return ModalJob(
            path="/mj/submit/modal",
            label=self.label,
            state=self.state,
            body=json_body(said, dict(zip(("maskBase64",), pictures, strict=False))),
            task_id=task_id,
        )

    def identity(self, digests: Sequence[str]) -> str:
        """Return the task, the prompt that is sent and the mask, as canonical JSON."""
        whole = attrs.evolve(self, prompt=self.sent_prompt)
        return JobRequest.identity(whole, digests)


@attrs.frozen
class Change(MidjourneyRequest):
    """
    Upscale, vary or reroll *task* by the number of a picture: the older call.

    Many upstreams have no such call today; they refuse it, and nothing is charged.
    *index* is 1 to 4, also for a reroll. Costs what the :class:`Action` costs.
    """

    kind: ClassVar[str] = "change"

    task: ParentTask = attrs.field(converter=_parent)
    what: Changed
    index: int = 1

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        check_choice(str(self.what), "what", _CHANGES)
        if type(self.index) is not int or self.index not in _INDEXES:
            raise ConfigurationError(f"index is 1 to 4, not {self.index!r}")

    @property
    def label(self) -> str:
        """The change and its task."""
        return f"{self.what} {self.index} of {self.task.task_id}"

    @property
    def charged_mode(self) -> Mode | None:
        """The mode of the parent, as far as it is known."""
        return self.task.mode

    @property
    def price(self) -> int:
        """The server's default price in units, 500,000 to the dollar."""
        return _BY_ACTION[self.what.upper()]

    def job(self, pictures: tuple[LoadedImage, ...]) -> ActionJob:
        """Return the job; there are no *pictures*."""
        action = self.what.upper()
        said = {"taskId": self.task.task_id, "action": action, "index": self.index}
        return ActionJob(
            path="/mj/submit/change",
            label=self.label,
            state=self.state,
            body=json_body({**said, **self.fields()}, {}),
            leads_to=action,
            parent_succeeded=self.task.succeeded,
        )
