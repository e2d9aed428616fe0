"""Midjourney for users: each method makes one job request and submits it."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import TYPE_CHECKING, Generic, Protocol, TypedDict, TypeVar, Unpack

from ezlink_async._core.images import ImageLike
from ezlink_async.buttons import Button
from ezlink_async.errors import ConfigurationError, EzlinkError, ModalNeededError
from ezlink_async.models import TaskRecord
from ezlink_async.services.base import JobRequest
from ezlink_async.services.midjourney.creations import (
    Blend,
    Bot,
    Describe,
    Dimensions,
    Imagine,
    Shorten,
)
from ezlink_async.services.midjourney.follow_ups import Action, Change, Changed, Modal
from ezlink_async.services.midjourney.parents import TaskRef
from ezlink_async.services.midjourney.requests import checked_prompt
from ezlink_async.services.midjourney.seeds import read_seed, seed_request
from ezlink_async.services.midjourney.submits import AccountFilter, Mode, as_picture

if TYPE_CHECKING:
    from ezlink_async.services.account import Asking


class Handle(Protocol):
    """What a submit returns: a task that is followed, and can be awaited."""

    @property
    def task_id(self) -> str:
        """The server's id."""
        ...

    def __await__(self) -> Generator[object, None, TaskRecord]:
        """Wait for the end of the task."""
        ...


H = TypeVar("H", bound=Handle)
H_co = TypeVar("H_co", covariant=True)


class Submitting(Protocol[H_co]):
    """How :class:`Midjourney` submits a job request."""

    async def __call__(self, request: JobRequest[TaskRecord], /) -> H_co:
        """Return the handle of the task once the server has accepted the job."""
        ...


class SubmitKeywords(TypedDict, total=False):
    """The optional fields of every submit."""

    state: str | None
    notify_hook: str | None
    account_filter: AccountFilter | None


class CreationKeywords(SubmitKeywords, total=False):
    """The optional fields of a job that belongs to no other task."""

    mode: Mode | str | None
    bot: Bot | None


class Midjourney(Generic[H]):
    """
    Midjourney's jobs; get it as ``client.midjourney``.

    Each method submits one job and returns its handle once the server has accepted
    it; ``await handle`` waits for the record. Costs are in units, 500,000 to the US
    dollar, and are the server's defaults: operators may have others. They are charged
    at acceptance. *state* comes back in the records, and the server's upstream calls
    *notify_hook*, unsigned.

    A wrong argument is a :exc:`ConfigurationError` or an :exc:`ImageError`, and nothing
    is sent. A refusal is an :exc:`ApiError`, an unknown outcome a
    :exc:`SubmitUnknownError`. A cancellation before the upload ends sends no job;
    later the submit goes on, and the task runs and is paid. There is no call that
    stops a task. Source: ``ye4293/one-api`` (``relay/controller/midjourney.go``).
    """

    def __init__(self, submit: Submitting[H], ask: Asking) -> None:
        self._submit = submit
        self._ask = ask

    async def imagine(
        self,
        prompt: str,
        *,
        images: Iterable[ImageLike] = (),
        **options: Unpack[CreationKeywords],
    ) -> H:
        """
        Make a grid of four pictures of *prompt*, which start from *images* if given.

        The prompt is not blank. Each picture is JPEG, PNG or WebP of up to 10 MiB, and
        all fit into a body of 28 MB. Costs 18,000 units in fast mode, 40,000 in
        turbo, 6,000 in relax. *mode* becomes the last word of the prompt; a prompt
        with another flag is refused. *bot* is ``"midjourney"`` or ``"niji"``.
        """
        return await self._submit(Imagine(prompt, images=images, **options))

    async def shorten(self, prompt: str, **options: Unpack[CreationKeywords]) -> H:
        """
        Find the words of *prompt* that matter; ``record.text`` is the answer.

        The prompt is not blank. Costs what :meth:`imagine` costs.
        """
        return await self._submit(Shorten(prompt, **options))

    async def blend(
        self,
        images: Sequence[ImageLike],
        *,
        dimensions: Dimensions | None = None,
        **options: Unpack[CreationKeywords],
    ) -> H:
        """
        Mix 2 to 5 *images* into a grid of four pictures.

        Each is JPEG, PNG or WebP of up to 10 MiB, and all fit into a body of 28 MB.
        Costs 18,000 units in each mode.
        """
        return await self._submit(Blend(images, dimensions=dimensions, **options))

    async def describe(
        self, image: ImageLike, **options: Unpack[CreationKeywords]
    ) -> H:
        """
        Describe *image* in prompts; ``record.text`` is the answer.

        The picture is JPEG, PNG or WebP of up to 10 MiB. Costs 9,000 units in each
        mode. The server sometimes loses the text, which is then empty, and paid.
        """
        return await self._submit(Describe(image, **options))

    async def action(
        self,
        button: Button | str,
        task: TaskRef | None = None,
        *,
        prompt: str | None = None,
        mask: ImageLike | None = None,
        **options: Unpack[SubmitKeywords],
    ) -> H:
        """
        Press *button*, one of a finished record, or a custom id on *task*.

        Costs 9,000 units for upscale and zoom, 18,000 for variation, reroll and pan.
        **The same button again pays again**, also where the server answers with the
        earlier result. Region and custom zoom are free, and their modal is charged.

        With *prompt* or *mask* such a button is pressed, its dialog is waited for, and
        the modal is sent; its handle is returned. Where that fails, the error carries
        the id of the task that waits, as ``error.task_id``: go on with :meth:`modal`.
        A cancellation while the dialog is waited for leaves a task that cost nothing.
        """
        request = Action(button, task, **options)
        if prompt is None and mask is None:
            return await self._submit(request)
        if not request.button.needs_input:
            raise ConfigurationError(
                f"the button {request.button.name!r} takes neither prompt nor mask"
            )
        picture = None if mask is None else as_picture(mask)
        words = None if prompt is None else checked_prompt(prompt)
        handle = await self._submit(request)
        try:
            await handle
        except ModalNeededError as dialog:
            waits = dialog
        else:
            return handle  # the server asked for nothing
        try:
            return await self.modal(waits, prompt=words, mask=picture, **options)
        except EzlinkError as error:
            error.task_id = error.task_id or handle.task_id
            raise

    async def modal(
        self,
        task: TaskRef,
        *,
        prompt: str | None = None,
        mask: ImageLike | None = None,
        again: bool = False,
        **options: Unpack[SubmitKeywords],
    ) -> H:
        """
        Send the input that *task* waits for: a *prompt*, and a *mask* for a region.

        *task* is a handle, a record, a :exc:`ModalNeededError` or an id. Without a
        prompt it is the one that the record suggests; with a bare id it is needed.
        Costs 18,000 units, 40,000 or 6,000 by the mode in the **parent's** own prompt;
        flags in this one change nothing. A client sends only one modal of a task: a
        second is a :exc:`ConfigurationError`, unless *again* says that it is meant.
        """
        return await self._submit(
            Modal(task, prompt=prompt, mask=mask, again=again, **options)
        )

    async def change(
        self,
        task: TaskRef,
        what: Changed,
        index: int = 1,
        **options: Unpack[SubmitKeywords],
    ) -> H:
        """
        Upscale, vary or reroll *task* without its buttons; the older call.

        *index* is 1 to 4, also for a reroll. Costs what :meth:`action` costs. Many
        upstreams have no such call today: a :exc:`ServerError`, and nothing is charged.
        """
        return await self._submit(Change(task, what, index, **options))

    async def image_seed(self, task: TaskRef) -> int:
        """
        Return the seed of a finished *task*; free, and may take 30 s.

        It works only where the operator has set a private channel.
        :exc:`TaskNotFoundError` for an id that the server does not know,
        :exc:`RejectedError` where the upstream does not say it, else
        :exc:`ServerError`.
        """
        request, task_id = seed_request(task)
        return await self._ask(request, lambda answer: read_seed(answer, task_id))
