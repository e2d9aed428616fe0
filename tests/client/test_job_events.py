"""The events of a client: which come for each job, in which order, and with what."""

from __future__ import annotations

import asyncio
import contextlib
import time
from itertools import pairwise
from pathlib import Path

import attrs
import pytest

from ezlink_async import (
    AsyncEzlink,
    ClientClosedError,
    ConfigurationError,
    Event,
    ImageError,
    RejectedError,
    RequestFinished,
    RequestRetried,
    ResultSaved,
    ServerBusy,
    SlotTimeoutError,
    SubmitFailed,
    SubmitQueued,
    SubmitUnknownError,
    TaskChanged,
    TaskFailedError,
    TaskFinished,
    TaskNotFoundError,
    TaskPolled,
    TaskResumed,
    TaskStatus,
    TaskSubmitted,
)
from ezlink_async.emulator import faults, scripts, serving
from ezlink_async.requests import (
    AsyncImage,
    FaceSwap,
    Flux,
    Imagine,
    JobRequest,
    Shorten,
    Veo,
)
from ezlink_async.services.base import AnyRecord
from tests.support.client_harness import (
    POLL,
    RETRY,
    EmulatedClient,
    emulated_client,
)
from tests.support.event_log import EventLog, steps
from tests.support.pictures import jpeg

SOURCE = jpeg(20_000)
TARGET = jpeg(30_000)
SWAP = FaceSwap(SOURCE, TARGET)

DONE = ["SubmitQueued", "SubmitStarted", "TaskSubmitted", "TaskFinished"]
STUCK = scripts.stuck()

FAMILIES: list[JobRequest[AnyRecord]] = [
    SWAP,
    Imagine("a red fox"),
    Shorten("a very red fox"),
    AsyncImage("flux-pro-1.1", "a fox"),
    Flux("flux-pro", "a fox"),
    Veo("a cat", model="veo-3.0-generate-001"),
]


def _ids(here: EmulatedClient) -> set[str]:
    return {request.request_id for request in here.server.control.requests}


# --- one job


async def test_life_of_a_job_is_a_row_of_events_with_its_number_and_ids(
    tmp_path: Path,
) -> None:
    log, before = EventLog(), time.time()
    async with emulated_client(on_event=log) as here:
        handle = await here.ez.submit(SWAP)
        path = await handle.save(tmp_path / "a.jpg")
    assert log.names() == [*DONE, "ResultSaved"]
    assert set(log.jobs()) == {1}
    events = log.jobs()[1]
    assert {(each.family, each.kind) for each in events} == {("midjourney", "swap")}
    accepted = log.of(TaskSubmitted)[0]
    for event in events[events.index(accepted) :]:
        assert event.task_id == handle.task_id
        is_own = isinstance(event, ResultSaved)
        assert is_own or event.request_id in _ids(here)
    assert before <= events[0].at <= events[-1].at <= time.time()
    [saved] = log.of(ResultSaved)
    assert (saved.path, saved.bytes) == (path, path.stat().st_size)
    [end] = log.of(TaskFinished)
    assert (end.status, end.error) == (TaskStatus.SUCCESS, None)
    assert log.of(TaskChanged)[-1].new is TaskStatus.SUCCESS


async def test_each_change_follows_the_poll_that_brought_it() -> None:
    log = EventLog()
    async with emulated_client(on_event=log) as here:
        await (await here.ez.submit(SWAP))
    shown = [each for each in log.events if isinstance(each, TaskPolled | TaskChanged)]
    assert isinstance(shown[0], TaskPolled)
    for before, event in pairwise(shown):
        if isinstance(event, TaskChanged):
            assert isinstance(before, TaskPolled)
            assert (event.new, event.progress) == (before.status, before.progress)
            assert event.request_id == before.request_id
    changes = log.of(TaskChanged)
    assert changes[0].old is TaskStatus.SUBMITTED
    assert [each.old for each in changes[1:]] == [each.new for each in changes[:-1]]
    assert all(
        (one.new, one.progress or 0.0) != (other.new, other.progress or 0.0)
        for one, other in pairwise(changes)
    )


@pytest.mark.parametrize("request_", FAMILIES, ids=lambda each: each.kind)
async def test_jobs_of_every_family_have_the_same_events(
    request_: JobRequest[AnyRecord], tmp_path: Path
) -> None:
    log = EventLog()
    async with emulated_client(on_event=log) as here:
        handle = await here.ez.submit(request_)
        paths = await handle.save_all(tmp_path / "made")
    assert log.names() == [*DONE, *["ResultSaved"] * len(paths)]
    assert {each.path for each in log.of(ResultSaved)} == set(paths)
    assert {each.kind for each in log.jobs()[1]} == {request_.kind}
    assert log.of(TaskFinished)[0].family == handle.family
    assert log.of(TaskPolled)
    assert all(each.request_id for each in log.of(TaskPolled))


async def test_result_that_is_read_or_opened_has_no_path() -> None:
    log = EventLog()
    async with emulated_client(on_event=log) as here:
        handle = await here.ez.submit(SWAP)
        content = await handle.read()
        await (await handle.open()).aclose()
    found = [(each.path, each.bytes) for each in log.of(ResultSaved)]
    assert found == [(None, len(content))] * 2


async def test_failed_task_finishes_with_its_error_and_the_id_of_the_request() -> None:
    log = EventLog()
    async with emulated_client(on_event=log) as here:
        here.server.control.script_tasks(scripts.fails("no face"))
        handle = await here.ez.submit(SWAP)
        with pytest.raises(TaskFailedError) as caught:
            await handle
        [end] = log.of(TaskFinished)
        assert isinstance(end.error, TaskFailedError)
        assert end.status is TaskStatus.FAILURE
        assert end.request_id == caught.value.request_id in _ids(here)
    assert log.names() == DONE


# --- submits that end without a task


async def test_refused_submit_fails_with_the_id_of_the_request() -> None:
    log = EventLog()
    async with emulated_client(on_event=log) as here:
        here.server.control.script("submit", faults.banned_word())
        with pytest.raises(RejectedError) as caught:
            await here.ez.submit(SWAP)
        [failed] = log.of(SubmitFailed)
        assert failed.request_id == caught.value.request_id in _ids(here)
    assert isinstance(failed.error, RejectedError)
    assert log.names() == ["SubmitQueued", "SubmitStarted", "SubmitFailed"]


async def test_unknown_submit_fails_with_an_error_that_may_be_charged() -> None:
    log = EventLog()
    async with emulated_client(on_event=log) as here:
        here.server.control.script("submit", faults.Drop(job=True))
        with pytest.raises(SubmitUnknownError):
            await here.ez.submit(SWAP)
    [failed] = log.of(SubmitFailed)
    assert isinstance(failed.error, SubmitUnknownError)
    assert failed.error.maybe_charged


async def test_picture_that_cannot_be_sent_fails_before_any_request(
    tmp_path: Path,
) -> None:
    log = EventLog()
    async with emulated_client(on_event=log) as here:
        with pytest.raises(ImageError):
            await here.ez.swap_face(SOURCE, tmp_path / "missing.jpg")
    assert log.names() == ["SubmitQueued", "SubmitStarted", "SubmitFailed"]
    assert (log.events[-1].request_id, log.of(RequestFinished)) == (None, [])


async def test_submit_without_a_slot_fails_without_having_started() -> None:
    log = EventLog()
    async with emulated_client(
        on_event=log, max_concurrency=1, slot_timeout=0.01
    ) as here:
        here.server.control.script_tasks(STUCK)
        await here.ez.submit(SWAP)
        with pytest.raises(SlotTimeoutError):
            await here.ez.submit(SWAP)
        assert list(steps(log.jobs()[2])) == ["SubmitQueued", "SubmitFailed"]


async def test_cancelled_submit_that_waits_fails() -> None:
    log = EventLog()
    async with emulated_client(on_event=log, max_concurrency=1) as here:
        here.server.control.script_tasks(STUCK)
        await here.ez.submit(SWAP)
        waiting = asyncio.create_task(here.ez.submit(SWAP))
        while 2 not in log.jobs():
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert list(steps(log.jobs()[2])) == ["SubmitQueued", "SubmitFailed"]
        assert isinstance(log.of(SubmitFailed)[0].error, ClientClosedError)


async def test_submit_whose_caller_leaves_after_the_upload_goes_on_with_events() -> (
    None
):
    log = EventLog()
    async with emulated_client(on_event=log) as here:
        here.server.control.script("submit", faults.Delay(0.05))
        caller = asyncio.create_task(here.ez.submit(SWAP))
        while not here.server.control.uploads:
            await asyncio.sleep(0)
        caller.cancel()
        await asyncio.wait([caller])
        while not log.of(TaskFinished):
            await asyncio.sleep(0)
    assert log.names() == DONE


# --- what passes


async def test_busy_server_and_its_retries_are_events_of_the_job() -> None:
    log = EventLog()
    async with emulated_client(on_event=log) as here:
        here.server.control.script("submit", faults.queue_full())
        await (await here.ez.submit(SWAP))
    assert log.names() == [*DONE[:2], "ServerBusy", "RequestRetried", *DONE[2:]]
    [busy], [retry] = log.of(ServerBusy), log.of(RequestRetried)
    assert (busy.reason, busy.job, busy.family) == ("full", 1, "midjourney")
    assert busy.seconds > 0
    assert (retry.purpose, retry.job) == ("submit", 1)
    assert busy.request_id == retry.request_id in _ids(here)
    assert log.of(TaskSubmitted)[0].request_id != retry.request_id


async def test_server_that_vanishes_is_out_of_reach() -> None:
    log = EventLog()
    async with serving() as server:
        ez = AsyncEzlink(
            server.api_key, base_url=server.base_url, retry=RETRY, on_event=log
        )
        await ez.__aenter__()
        with pytest.raises(TaskNotFoundError):
            await ez.fetch_task("1")  # the server has answered once
    submit = asyncio.create_task(ez.submit(SWAP))
    while not log.of(RequestRetried):
        await asyncio.sleep(0)
    submit.cancel()
    await asyncio.wait([submit])
    await ez.aclose()
    assert log.of(ServerBusy)[0].reason == "offline"
    assert log.of(RequestRetried)[0].purpose == "submit"


async def test_failures_that_pass_are_retries_of_a_poll_a_download_and_others(
    tmp_path: Path,
) -> None:
    log = EventLog()
    async with emulated_client(on_event=log) as here:
        control = here.server.control
        control.script("fetch", faults.Answer(502, "<html>"))
        control.script("image", faults.Picture(status=503, content="busy"))
        handle = await here.ez.submit(SWAP)
        await handle.save(tmp_path / "a.jpg")
        control.script("fetch", faults.Answer(502, "<html>"))
        await here.ez.fetch_task(handle.task_id)
    found = {each.purpose: each for each in log.of(RequestRetried)}
    assert set(found) == {"poll", "download", "other"}
    assert {found["poll"].job, found["download"].job, found["other"].job} == {0, 1}
    assert found["download"].task_id == handle.task_id
    assert found["download"].reason.startswith("HTTP 503")
    assert "502" in found["poll"].reason
    assert "502" in found["other"].reason


# --- resumed, joined, closed


async def test_resumed_task_has_a_number_and_no_slot(tmp_path: Path) -> None:
    log = EventLog()
    async with emulated_client() as here:
        saved = (await here.ez.submit(SWAP)).to_dict()
        async with AsyncEzlink(
            here.server.api_key, base_url=here.server.base_url, poll=POLL, on_event=log
        ) as ez:
            handle = ez.restore(saved)
            await handle.save(tmp_path / "a.jpg")
            assert ez.task(handle.task_id) is not handle
    assert log.names() == [
        *("TaskResumed", "TaskFinished", "ResultSaved"),
        *("TaskResumed", "TaskFinished"),
    ]
    assert log.of(TaskResumed)[0].kind is None
    assert isinstance(log.of(TaskFinished)[1].error, ClientClosedError)


async def test_saved_handle_of_a_finished_task_only_saves(tmp_path: Path) -> None:
    log = EventLog()
    async with emulated_client(on_event=log) as here:
        handle = await here.ez.submit(SWAP)
        await handle
        saved = handle.to_dict()
        log.events.clear()
        await here.ez.restore(saved).save(tmp_path / "a.jpg")
    assert log.names() == ["ResultSaved"]
    assert (log.events[-1].job, log.events[-1].task_id) == (0, handle.task_id)


async def test_job_that_joins_a_followed_task_says_so() -> None:
    log = EventLog()
    async with emulated_client(on_event=log) as here:
        here.server.control.script_tasks(STUCK)
        handle = await here.ez.submit(SWAP)
        body = {"code": 21, "description": "任务已存在", "result": handle.task_id}
        here.server.control.script("submit", faults.Upstream(body=body))
        assert await here.ez.submit(SWAP) is handle
        second = log.of(TaskSubmitted)[1]
        assert (second.job, second.task_id, second.existed) == (2, handle.task_id, True)
    assert [each.job for each in log.of(TaskFinished)] == [1]


async def test_closed_client_finishes_each_task_and_fails_each_submit() -> None:
    log = EventLog()
    async with emulated_client(on_event=log, max_concurrency=2) as here:
        here.server.control.script_tasks(STUCK, STUCK)
        for _ in range(2):
            await here.ez.submit(SWAP)
        waiting = asyncio.create_task(here.ez.submit(SWAP))
        while 3 not in log.jobs():
            await asyncio.sleep(0)
    with pytest.raises(ClientClosedError):
        await waiting
    ends = {job: list(steps(events))[-1] for job, events in log.jobs().items()}
    assert ends == {1: "TaskFinished", 2: "TaskFinished", 3: "SubmitFailed"}
    assert all(
        isinstance(each.error, ClientClosedError) for each in log.of(TaskFinished)
    )


async def test_unknown_id_finishes_with_its_error() -> None:
    log = EventLog()
    async with emulated_client(on_event=log) as here:
        with pytest.raises(TaskNotFoundError):
            await here.ez.task("7")
    [end] = log.of(TaskFinished)
    assert isinstance(end.error, TaskNotFoundError)
    assert end.request_id == end.error.request_id in _ids(here)
    assert {each.purpose for each in log.of(RequestRetried)} == {"poll"}


# --- many jobs


async def test_each_job_of_a_stream_has_its_events() -> None:
    log = EventLog()
    async with emulated_client(on_event=log) as here:
        targets = [jpeg(30_000 + number) for number in range(5)]
        async for swap in here.ez.swap_faces(SOURCE, targets):
            assert swap.ok
        async for job in here.ez.submit_all([Imagine("a fox"), Shorten("a red fox")]):
            assert job.ok
    jobs = log.jobs()
    assert len(jobs) == 7
    assert all(list(steps(events)) == DONE for events in jobs.values())
    assert len({events[-1].task_id for events in jobs.values()}) == 7


# --- the callback


async def test_broken_callback_disturbs_no_job_and_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(event: Event) -> None:
        raise RuntimeError(type(event).__name__)

    async with emulated_client(on_event=broken) as here:
        here.server.control.script("submit", faults.queue_full())
        await (await here.ez.submit(SWAP)).save(tmp_path / "a.jpg")
        assert here.charges == 1
    errors = [each for each in caplog.records if each.name == "ezlink_async"]
    assert [each.getMessage() for each in errors if each.exc_text] == [
        "on_event failed for a SubmitQueued; its further exceptions are not logged"
    ]


async def test_callback_may_use_the_client() -> None:
    """It sees the task in ``pending()``, and may resume another one."""
    seen = list[str]()
    async with contextlib.AsyncExitStack() as stack:

        def look(event: Event) -> None:
            if isinstance(event, TaskSubmitted):
                seen.extend(each.task_id for each in here.ez.pending())

        here = await stack.enter_async_context(emulated_client(on_event=look))
        handle = await here.ez.submit(SWAP)
        await handle
    assert seen == [handle.task_id]


async def test_callback_that_would_have_to_be_awaited_is_refused_on_entering() -> None:
    async def awaited(_: Event) -> None:
        pass

    with pytest.raises(ConfigurationError, match="called and not awaited"):
        await AsyncEzlink("sk-x", on_event=awaited).__aenter__()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "event",
    [SubmitQueued(at=1.0), ServerBusy(at=1.0, reason="full", seconds=1.0)],
    ids=lambda event: type(event).__name__,
)
def test_events_are_frozen_values(event: Event) -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.at = 2.0  # type: ignore[misc]
    assert event == attrs.evolve(event)
