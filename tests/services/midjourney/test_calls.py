"""Midjourney's calls for users: each makes one job request and submits it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Generator
from typing import TypeVar

import attrs
import pytest

from ezlink_async._core.messages import HttpRequest, HttpResponse
from ezlink_async.buttons import Button
from ezlink_async.errors import (
    ConfigurationError,
    EzlinkError,
    ImageError,
    ModalNeededError,
    RejectedError,
    SubmitUnknownError,
    TaskFailedError,
)
from ezlink_async.models import TaskRecord, TaskStatus
from ezlink_async.services.base import JobRequest
from ezlink_async.services.midjourney import (
    Action,
    Blend,
    Change,
    Describe,
    Imagine,
    Midjourney,
    Modal,
    Shorten,
)
from tests.support.pictures import png
from tests.support.samples import family_samples, samples

T = TypeVar("T")

INPAINT = Button("MJ::Inpaint::1::x::SOLO", label="Vary (Region)", task_id="7")

WAITS = TaskRecord(task_id="8", status=TaskStatus.MODAL, prompt="a cat --turbo")

DIALOG = ModalNeededError("waits", task_id="8", record=WAITS)


@attrs.frozen
class _Handle:
    """A handle that ends at once: with a record, or with an error."""

    task_id: str
    end: TaskRecord | EzlinkError

    def __await__(self) -> Generator[object, None, TaskRecord]:
        return self._ended().__await__()

    async def _ended(self) -> TaskRecord:
        if isinstance(self.end, EzlinkError):
            raise self.end
        return self.end


@attrs.define
class _Client:
    """Keeps what is submitted, and answers with what is planned."""

    planned: list[_Handle | EzlinkError]
    asked: HttpResponse | None = None
    submitted: list[JobRequest[TaskRecord]] = attrs.field(factory=list)
    requests: list[HttpRequest] = attrs.field(factory=list)

    async def submit(self, request: JobRequest[TaskRecord]) -> _Handle:
        self.submitted.append(request)
        planned = self.planned.pop(0)
        if isinstance(planned, EzlinkError):
            raise planned
        return planned

    async def ask(self, request: HttpRequest, reader: Callable[[HttpResponse], T]) -> T:
        self.requests.append(request)
        assert self.asked is not None
        return reader(self.asked)

    @property
    def calls(self) -> Midjourney[_Handle]:
        return Midjourney(self.submit, self.ask)


DONE = _Handle("9", TaskRecord(task_id="9", status=TaskStatus.SUCCESS))

Call = Callable[[Midjourney[_Handle]], Coroutine[object, object, _Handle]]


@pytest.mark.parametrize(
    ("call", "request_"),
    [
        (
            lambda mj: mj.imagine("a cat", images=[png()], mode="relax", bot="niji"),
            Imagine("a cat", images=[png()], mode="relax", bot="niji"),
        ),
        (lambda mj: mj.shorten("a cat", state="s"), Shorten("a cat", state="s")),
        (
            lambda mj: mj.blend([png(), png()], dimensions="square"),
            Blend([png(), png()], dimensions="square"),
        ),
        (lambda mj: mj.describe(png(), mode="turbo"), Describe(png(), mode="turbo")),
        (lambda mj: mj.action(INPAINT), Action(INPAINT)),
        (lambda mj: mj.action("MJ::x", "7"), Action("MJ::x", "7")),
        (
            lambda mj: mj.modal("8", prompt="a hat", mask=png(), again=True),
            Modal("8", prompt="a hat", mask=png(), again=True),
        ),
        (
            lambda mj: mj.change("7", "upscale", 2, notify_hook="https://h"),
            Change("7", "upscale", 2, notify_hook="https://h"),
        ),
    ],
)
async def test_call_submits_one_job_request_and_returns_its_handle(
    call: Call, request_: JobRequest[TaskRecord]
) -> None:
    client = _Client([DONE])
    assert await call(client.calls) is DONE
    assert client.submitted == [request_]


@pytest.mark.parametrize(
    "call",
    [
        lambda mj: mj.imagine(" "),
        lambda mj: mj.blend([]),
        lambda mj: mj.action("zzz", "7"),
        lambda mj: mj.action(INPAINT, prompt=" "),
        lambda mj: mj.action("MJ::JOB::upsample::1::x", "7", prompt="a hat"),
        lambda mj: mj.action("MJ::JOB::upsample::1::x", "7", mask=png()),
        lambda mj: mj.modal("8"),
        lambda mj: mj.change("7", "upscale", 9),
    ],
)
async def test_wrong_argument_is_refused_before_anything_is_sent(call: Call) -> None:
    client = _Client([])
    with pytest.raises(ConfigurationError):
        await call(client.calls)


async def test_wrong_mask_is_refused_before_the_button_is_pressed() -> None:
    client = _Client([])
    with pytest.raises(ImageError):
        await client.calls.action(INPAINT, prompt="a hat", mask=b"GIF89a")


async def test_action_with_input_presses_the_button_and_sends_the_modal() -> None:
    """The modal is charged by the mode of the parent, which the dialog names."""
    client = _Client([_Handle("8", DIALOG), DONE])
    handle = await client.calls.action(INPAINT, prompt="a hat", mask=png(), state="s")
    assert handle is DONE
    assert client.submitted == [
        Action(INPAINT, state="s"),
        Modal(WAITS, prompt="a hat", mask=png(), state="s"),
    ]
    assert client.submitted[1].price == 40_000


async def test_mask_alone_goes_with_the_prompt_that_the_dialog_suggests() -> None:
    client = _Client([_Handle("8", DIALOG), DONE])
    await client.calls.action(INPAINT, mask=png())
    assert client.submitted[1] == Modal(WAITS, mask=png())


async def test_server_that_asks_for_nothing_gets_no_modal() -> None:
    client = _Client([DONE])
    assert await client.calls.action(INPAINT, prompt="a hat") is DONE


async def test_action_that_fails_before_its_dialog_is_an_error() -> None:
    failed = TaskFailedError("task 8 failed", task_id="8")
    client = _Client([_Handle("8", failed)])
    with pytest.raises(TaskFailedError):
        await client.calls.action(INPAINT, prompt="a hat")


@pytest.mark.parametrize(
    "refused",
    [
        RejectedError("banned words", code=24),
        SubmitUnknownError("the answer was lost"),
        ConfigurationError("modal 8 was sent already"),
    ],
)
async def test_error_of_the_modal_carries_the_id_of_the_task_that_waits(
    refused: EzlinkError,
) -> None:
    client = _Client([_Handle("8", DIALOG), refused])
    with pytest.raises(type(refused)) as caught:
        await client.calls.action(INPAINT, prompt="a hat")
    assert caught.value.task_id == "8"


async def test_seed_is_a_number() -> None:
    sample = samples()["seed-ok"]
    client = _Client([], asked=sample.response)
    assert await client.calls.image_seed("1795415787577823") == 103541234
    (request,) = client.requests
    assert (request.method, request.path) == (sample.method, sample.path)
    assert request.repeatable


async def test_seed_of_a_record_is_asked_by_its_id() -> None:
    client = _Client([], asked=family_samples()["seed-prefix"].response)
    await client.calls.image_seed(WAITS)
    assert client.requests[0].path == "/mj/task/8/image-seed"
    with pytest.raises(ConfigurationError):
        await client.calls.image_seed("")


def test_every_call_says_what_it_costs() -> None:
    """Users decide by it: the server has no page of prices."""
    calls = inspect.getmembers(Midjourney, inspect.iscoroutinefunction)
    assert len(calls) == 8
    for _, call in calls:
        words = " ".join(str(call.__doc__).split())
        assert "Costs" in words or "free" in words
