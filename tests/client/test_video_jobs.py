"""Videos by the client over real sockets; the relay answers from a script."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ezlink_async import (
    AsyncEzlink,
    AuthenticationError,
    BusyError,
    ConfigurationError,
    DownloadError,
    ProtocolError,
    QuotaError,
    RejectedError,
    RetryPolicy,
    ServerError,
    SubmitUnknownError,
    TaskCancelledError,
    TaskFailedError,
    TaskNotFoundError,
    TaskStatus,
    TaskTimeoutError,
    Timeouts,
)
from ezlink_async._core.policies import PollPolicy
from ezlink_async.batch import Order, run_jobs
from ezlink_async.emulator import faults
from ezlink_async.emulator.http.replies import Reply
from ezlink_async.requests import Doubao, Grok, Imagine, Kling, Runway, Video
from tests.support.client_harness import POLL
from tests.support.movies import mp4
from tests.support.pictures import jpeg, png
from tests.support.video_relay import (
    CLIP,
    PRICE,
    VideoClient,
    VideoRelay,
    record,
    refused,
    video_client,
)

CAT = Kling("a cat", model="kling-v1", seconds=5)

DOUBAO = Doubao("a cat --dur 5", model="doubao-seedance-1-0-lite")

OTHER = mp4(wide=True)


def _in_turn(*words: str) -> Callable[[str, int], object]:
    """Answer each look with the next of *words*; ``succeed`` has a video."""

    def answer(task_id: str, number: int) -> object:
        word = words[min(number, len(words)) - 1]
        urls = ("clip:a",) if word == "succeed" else ()
        return record(task_id, word, *urls, message=f"look {number}")

    return answer


def _doubao(*words: str) -> Callable[[str, int], object]:
    """Answer each look at Doubao's own path with the next of *words*."""

    def answer(task_id: str, number: int) -> object:
        word = words[min(number, len(words)) - 1]
        content = {"content": {"video_url": "clip:a"}}
        return {
            "id": task_id,
            "status": word,
            **(content if word == "succeeded" else {}),
        }

    return answer


def _settled(task_id: str, _: int) -> object:
    return record(task_id, "succeeded", "clip:b")


def _doubao_relay(*words: str) -> VideoRelay:
    """Return a relay whose tasks of Doubao show *words*, and are settled at the end."""
    relay = VideoRelay()
    relay.on_keyless, relay.on_look = _doubao(*words), _settled
    relay.clips["b"] = OTHER
    return relay


# --- a video


async def test_video_is_submitted_followed_and_saved(tmp_path: Path) -> None:
    relay = VideoRelay()
    relay.on_look = _in_turn("processing", "succeed")
    async with video_client(relay) as here:
        handle = await here.ez.video.generate(CAT)
        assert (handle.task_id, handle.family) == ("v1", "video")
        done = await handle
        assert await handle.save(tmp_path / "cat.mp4") == tmp_path / "cat.mp4"
        assert await handle.read() == CLIP
    assert (done.status, done.raw_status, done.seconds) == (
        TaskStatus.SUCCESS,
        "succeed",
        5.0,
    )
    assert (tmp_path / "cat.mp4").read_bytes() == CLIP
    assert relay.submits == [{"model": "kling-v1", "prompt": "a cat", "duration": "5"}]
    assert relay.looks == ["v1"] * 2


async def test_picture_of_a_video_is_streamed_into_its_body() -> None:
    async with video_client() as here:
        picture = png()
        far = "https://a.example/b.png"
        request = Video("kling-v1", image=picture, last_image=far)
        await here.ez.video.generate(request)
        sent = here.relay.submits[0]
    assert sent["image"] == base64.b64encode(picture).decode()
    assert sent["image_tail"] == "https://a.example/b.png"


async def test_several_videos_of_one_task_are_saved_each(tmp_path: Path) -> None:
    relay = VideoRelay()
    relay.on_look = lambda task_id, _: record(task_id, "succeed", "clip:a", "clip:b")
    relay.clips["b"] = OTHER
    async with video_client(relay) as here:
        handle = await here.ez.video.generate(CAT)
        paths = await handle.save_all(tmp_path / "cat")
    assert [path.name for path in paths] == ["cat_1.mp4", "cat_2.mp4"]
    assert [path.read_bytes() for path in paths] == [CLIP, OTHER]


async def test_video_in_the_answer_is_saved_and_asked_for_again_after_restoring(
    tmp_path: Path,
) -> None:
    """A saved handle has no place for its bytes; another look costs nothing."""
    uri = f"data:video/mp4;base64,{base64.b64encode(CLIP).decode()}"
    relay = VideoRelay()
    relay.on_look = lambda task_id, _: record(task_id, "succeed", uri)
    async with video_client(relay) as here:
        handle = await here.ez.video.generate(CAT)
        assert await handle.read() == CLIP
        assert len(relay.looks) == 1
        restored = here.ez.restore(json.loads(json.dumps(handle.to_dict())))
        assert restored.done()
        place = await restored.save(tmp_path / "a.mp4")
    assert place.read_bytes() == CLIP
    assert len(relay.looks) == 2


async def test_link_that_has_gone_is_renewed(tmp_path: Path) -> None:
    relay = VideoRelay()
    names = ["gone", "a"]
    relay.on_look = lambda task_id, _: record(
        task_id, "succeed", f"clip:{names.pop(0)}"
    )
    async with video_client(relay) as here:
        handle = await here.ez.video.generate(CAT)
        await handle.save(tmp_path / "a.mp4")
    assert len(relay.looks) == 2


async def test_request_of_another_kind_is_refused() -> None:
    async with video_client() as here:
        with pytest.raises(ConfigurationError, match="give a request such as Kling"):
            await here.ez.video.generate(Imagine("a cat"))  # type: ignore[arg-type]
        assert here.relay.submits == []


# --- how a task ends


async def test_failure_that_was_a_failed_query_is_not_believed() -> None:
    """Grok says ``failed`` of a query that its provider had no room for."""
    relay = VideoRelay()
    relay.on_look = _in_turn("failed", "succeed")
    async with video_client(relay) as here:
        handle = await here.ez.video.generate(Grok("a cat", model="grok-imagine-video"))
        assert (await handle).status is TaskStatus.SUCCESS
        assert await handle.read() == CLIP


async def test_failure_is_believed_the_second_time() -> None:
    relay = VideoRelay()
    relay.on_look = _in_turn("processing", "failed")
    async with video_client(relay) as here:
        handle = await here.ez.video.generate(CAT)
        with pytest.raises(TaskFailedError, match="look 3") as caught:
            await handle
    assert (caught.value.task_id, caught.value.refunded) == ("v1", True)
    assert not caught.value.maybe_charged
    assert len(relay.looks) == 3


async def test_failure_of_runway_stays_paid() -> None:
    relay = VideoRelay()
    relay.on_look = lambda task_id, _: record(task_id, "unknown", message="Task failed")
    async with video_client(relay) as here:
        handle = await here.ez.video.generate(Runway("go", image=png()))
        with pytest.raises(TaskFailedError, match="nothing of its price") as caught:
            await handle
    assert (caught.value.refunded, caught.value.maybe_charged) == (False, True)
    assert relay.submits[0]["duration"] == 5


async def test_saved_failure_that_is_not_believed_yet_is_asked_for_again() -> None:
    relay = VideoRelay()
    relay.on_look = _in_turn("failed", "succeed")
    async with video_client(relay) as here:
        handle = await here.ez.video.generate(CAT)
        first = await anext(handle.updates())
        assert first.status is TaskStatus.FAILURE
        saved = handle.to_dict()
        assert (await handle).status is TaskStatus.SUCCESS
        assert (await here.ez.restore(saved)).status is TaskStatus.SUCCESS


async def test_failed_queries_are_no_states() -> None:
    """Kling's upstream answers an error, Sora's has no such video, a page is lost."""
    answers: list[object] = [
        record("", ""),
        Reply(404, b'{"error":"API error: {}"}'),
        Reply(401, b'{"error":"API error: no key"}'),
        Reply(500, b'{"error":"do request: EOF"}'),
        Reply(200, b"<html>"),
        record("v1", "succeed"),
        record("v1", "succeed", "clip:a"),
    ]
    relay = VideoRelay()
    relay.on_look = lambda _, number: answers[number - 1]
    async with video_client(relay) as here:
        handle = await here.ez.video.generate(CAT)
        assert await handle.read() == CLIP
    assert len(relay.looks) == len(answers)


async def test_task_that_never_ends_keeps_its_id_and_is_paid() -> None:
    """A provider's error shows as ``processing``, for ever."""
    relay = VideoRelay()
    relay.on_look = _in_turn("processing")
    policy = PollPolicy(first=0.01, shortest=0.01, longest=0.05, deadline=0.5)
    async with video_client(relay, poll=policy) as here:
        handle = await here.ez.video.generate(CAT)
        with pytest.raises(TaskTimeoutError, match="family='video'") as caught:
            await handle
    assert (caught.value.task_id, caught.value.maybe_charged) == ("v1", True)


async def test_id_that_the_server_does_not_know_is_said_to_be_unknown() -> None:
    relay = VideoRelay()
    body = b'{"error":"failed to get video: no record found for task_id: nope"}'
    relay.on_look = lambda *_: Reply(500, body)
    async with video_client(relay) as here:
        with pytest.raises(TaskNotFoundError):
            await here.ez.task("nope", family="video")


async def test_video_is_asked_for_on_a_connection_of_its_own() -> None:
    """A query that aiohttp repeated would settle a task of Doubao twice."""
    relay = VideoRelay()
    relay.on_look = _in_turn("processing", "processing", "succeed")
    async with video_client(relay) as here:
        await (await here.ez.video.generate(CAT))
        heads = [
            dict(each.headers)
            for each in here.server.control.requests
            if "/result" in each.path
        ]
    assert len(heads) == 3
    assert all(head.get("Connection") == "close" for head in heads)


# --- Doubao: one settlement


async def test_finished_task_of_doubao_is_settled_once(tmp_path: Path) -> None:
    """Two awaiters, a check, a restored handle, and a link that has gone."""
    relay = _doubao_relay("queued", "running", "succeeded")
    async with video_client(relay) as here:
        handle = await here.ez.video.generate(DOUBAO)
        assert handle.family == "video-doubao"
        one, other = await asyncio.gather(handle, handle.result())
        assert one is other
        assert handle.done()
        assert await handle.read() == OTHER  # the address of the general query
        del relay.clips["b"]
        restored = here.ez.restore(handle.to_dict())
        assert await restored == one
        assert (await restored.save(tmp_path / "a.mp4")).read_bytes() == CLIP
        asked = [each for each in here.paths if "/result?" in each]
    assert relay.looks == ["v1"]
    assert len(asked) == 1
    assert set(relay.keys) == {""}  # the key went to none of the others


async def test_address_of_doubao_that_has_not_changed_counts_as_gone() -> None:
    relay = _doubao_relay("succeeded")
    relay.clips.clear()
    async with video_client(relay) as here:
        handle = await here.ez.video.generate(DOUBAO)
        with pytest.raises(DownloadError) as caught:
            await handle.read()
    assert caught.value.gone
    assert (len(relay.looks), len(relay.keyless)) == (1, 2)


LOST: dict[str, faults.Fault] = {
    "no answer": faults.Drop(),
    "an answer that breaks off": faults.Cut(20),
    "a page of a proxy": faults.proxy(504, job=True),
    "an answer that is no task": faults.Answer(200, "{}", job=True),
}


@pytest.mark.parametrize("how", LOST)
async def test_settlement_whose_answer_is_lost_is_not_asked_for_again(how: str) -> None:
    """The server settles all the same; the video is at the keyless address."""
    relay = _doubao_relay("succeeded")
    async with video_client(relay) as here:
        here.server.control.standing("video_result", LOST[how])
        handle = await here.ez.video.generate(DOUBAO)
        done = await handle
        assert await handle.read() == CLIP
        asked = [each for each in here.paths if "/result?" in each]
    assert done.raw_status == "succeeded"
    assert len(asked) == 1


async def test_settlement_that_shows_another_state_does_not_undo_the_end() -> None:
    relay = _doubao_relay("succeeded")
    relay.on_look = lambda task_id, _: record(task_id, "unknown")
    async with video_client(relay) as here:
        handle = await here.ez.video.generate(DOUBAO)
        assert (await handle).status is TaskStatus.SUCCESS
        assert await handle.read() == CLIP
    assert relay.looks == ["v1"]


async def _settling(here: VideoClient) -> None:
    """Wait until the server was asked to settle a task."""
    while not any("/result?" in path for path in here.paths):
        await asyncio.sleep(0.01)


async def test_client_that_is_closed_while_it_settles_keeps_the_end() -> None:
    """Another client would settle the task once more to see it."""
    relay = _doubao_relay("succeeded")
    async with video_client(relay) as here:
        here.server.control.standing("video_result", faults.Delay(30))
        handle = await here.ez.video.generate(DOUBAO)
        await _settling(here)
        assert not handle.done()
        await here.ez.aclose()
        assert (await handle).status is TaskStatus.SUCCESS
        assert handle.to_dict()["record"]


async def test_deadline_while_a_task_is_settled_is_no_failure() -> None:
    relay = _doubao_relay("succeeded")
    policy = PollPolicy(first=0.01, shortest=0.01, longest=0.05, deadline=0.5)
    async with video_client(relay, poll=policy) as here:
        here.server.control.standing("video_result", faults.Delay(30))
        handle = await here.ez.video.generate(DOUBAO)
        assert await handle.read() == CLIP


async def test_last_look_after_a_standstill_does_not_settle_again() -> None:
    relay = _doubao_relay("succeeded")
    policy = PollPolicy(first=0.01, shortest=0.01, longest=0.05, deadline=1)
    async with video_client(relay, poll=policy) as here:
        here.server.control.standing("video_result", faults.Delay(30))
        handle = await here.ez.video.generate(DOUBAO)
        await _settling(here)
        time.sleep(1.8)  # noqa: ASYNC251 - the loop stands still past the deadline
        assert (await handle).status is TaskStatus.SUCCESS
        asked = [path for path in here.paths if "/result?" in path]
    assert len(asked) == 1


async def test_bare_id_is_not_asked_for_twice_at_once_after_a_standstill() -> None:
    """Each answer about a finished task of Doubao settles it."""
    relay = _doubao_relay("succeeded")
    policy = PollPolicy(first=0.01, shortest=0.01, longest=0.05, deadline=1)
    async with video_client(relay, poll=policy) as here:
        here.server.control.standing("video_result", faults.Delay(2))
        handle = here.ez.task("cgt-1", family="video")
        await _settling(here)
        time.sleep(1.8)  # noqa: ASYNC251 - the loop stands still past the deadline
        assert await handle.read() == OTHER
        asked = [path for path in here.paths if "/result?" in path]
    assert len(asked) == 1


async def test_end_without_an_address_is_settled_and_stays_a_failure() -> None:
    """Nothing to keep: where the answer is cut off, the deadline is the end."""
    relay = _doubao_relay("succeeded")
    relay.on_keyless = lambda task_id, _: {"id": task_id, "status": "succeeded"}
    policy = PollPolicy(first=0.01, shortest=0.01, longest=0.05, deadline=0.5)
    async with video_client(relay, poll=policy) as here:
        here.server.control.standing("video_result", faults.Delay(30))
        handle = await here.ez.video.generate(DOUBAO)
        with pytest.raises(TaskTimeoutError):
            await handle


@pytest.mark.parametrize("while_settling", [True, False])
async def test_batch_that_is_cancelled_while_it_settles_goes_on_with_the_end(
    tmp_path: Path, *, while_settling: bool
) -> None:
    relay = _doubao_relay("succeeded" if while_settling else "running")
    order = Order.of(DOUBAO, output="cat")

    async def run(ez: AsyncEzlink) -> list[str]:
        async with run_jobs(ez, [order], output=tmp_path) as outcomes:
            return [each.status async for each in outcomes]

    async with video_client(relay) as here:
        here.server.control.standing("video_result", faults.Delay(30))
        running = asyncio.create_task(run(here.ez))
        while not relay.keyless:
            await asyncio.sleep(0.01)
        if while_settling:
            await _settling(here)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await here.ez.aclose()
        relay.on_keyless, before = _doubao("succeeded"), len(relay.keyless)
        here.server.control.standing("video_result", None)
        url, key = here.server.base_url, here.server.api_key
        async with AsyncEzlink(api_key=key, base_url=url, poll=POLL) as ez:
            assert await run(ez) == ["succeeded"]
        asked = [path for path in here.paths if "/result?" in path]
    assert len(asked) == 1
    assert (len(relay.keyless) == before) is while_settling


async def test_batch_that_is_cancelled_before_its_id_is_on_disk_keeps_the_end(
    tmp_path: Path,
) -> None:
    relay, disk = _doubao_relay("succeeded"), threading.Event()
    order = Order.of(DOUBAO, output="cat")
    async with video_client(relay) as here:
        here.server.control.standing("video_result", faults.Delay(30))
        batch = run_jobs(here.ez, [order], output=tmp_path)

        async def run() -> None:
            async with batch as outcomes:
                async for _ in outcomes:
                    pass

        running = asyncio.create_task(run())
        while not any(path.endswith("/generations") for path in here.paths):
            await asyncio.sleep(0)
        # The disk takes long: nothing that is written from now on gets there.
        batch._writer.execute_soon(lambda _: disk.wait())
        await _settling(here)
        running.cancel()
        disk.set()
        with pytest.raises(asyncio.CancelledError):
            await running
        await here.ez.aclose()
        here.server.control.standing("video_result", None)
        url, key = here.server.base_url, here.server.api_key
        async with (
            AsyncEzlink(api_key=key, base_url=url, poll=POLL) as ez,
            run_jobs(ez, [order], output=tmp_path) as again,
        ):
            assert [each.status async for each in again] == ["succeeded"]
        asked = [path for path in here.paths if "/result?" in path]
    assert len(asked) == 1


@pytest.mark.parametrize("word", ["failed", "cancelled", "expired"])
async def test_end_of_doubao_that_is_given_back_is_seen_without_a_general_query(
    word: str,
) -> None:
    """After a general query the last two would not be given back."""
    relay = _doubao_relay("running", word)
    async with video_client(relay) as here:
        handle = await here.ez.video.generate(DOUBAO)
        error = TaskCancelledError if word == "cancelled" else TaskFailedError
        with pytest.raises(error, match=word) as caught:
            await handle
    assert not caught.value.maybe_charged
    assert (relay.looks, len(relay.keyless)) == ([], 3)


async def test_bare_id_is_asked_for_by_one_general_query() -> None:
    """Whose task it is, is not known; a finished one is settled once more."""
    relay = _doubao_relay("succeeded")
    async with video_client(relay) as here:
        assert await here.ez.task("cgt-1", family="video").read() == OTHER
    assert (relay.looks, relay.keyless) == (["cgt-1"], [])


async def test_batch_that_goes_on_does_not_settle_doubao_again(tmp_path: Path) -> None:
    """The record is in the journal before the video is fetched."""
    relay = _doubao_relay("succeeded")
    relay.clips.clear()
    order = Order.of(DOUBAO, output="cat")
    async with video_client(relay) as here:
        async with run_jobs(here.ez, [order], output=tmp_path) as run:
            first = [each async for each in run]
        relay.clips["a"] = CLIP
        async with run_jobs(here.ez, [order], output=tmp_path) as run:
            second = [each async for each in run]
        assert (len(relay.submits), _charged(here)) == (1, PRICE)
    assert [each.status for each in first] == ["failed"]
    assert [each.status for each in second] == ["succeeded"]
    assert (tmp_path / "cat.mp4").read_bytes() == CLIP
    assert relay.looks == ["v1"]


def _charged(here: VideoClient) -> int:
    return sum(charge.units for charge in here.server.control.charges)


# --- submits


REFUSALS: dict[str, tuple[Reply, type[Exception], int]] = {
    "too poor": (refused(400, "User balance is not enough"), QuotaError, 1),
    "a wrong body": (refused(400, "parse_kling_failed"), RejectedError, 1),
    "no such model": (refused(501, "unsupported_model"), RejectedError, 1),
    "no account of the operator": (refused(401, "api_error"), ServerError, 3),
    "no money of the operator": (refused(402, "api_error"), ServerError, 3),
    "guidelines": (refused(403, "api_error", "violates usage"), ServerError, 3),
    "a fault": (refused(500, "get_channel_error"), ServerError, 3),
    "a lost call": (refused(500, "request_error"), ServerError, 1),
    "an unread answer": (refused(500, "parse_kling_response_failed"), ServerError, 1),
    "an error in a 200": (Reply(200, b'{"error":{"code":"x"}}'), ServerError, 1),
}


@pytest.mark.parametrize("what", REFUSALS)
async def test_refused_submit_is_sent_again_only_where_it_made_no_work(
    what: str,
) -> None:
    reply, error, sent = REFUSALS[what]
    relay = VideoRelay()
    relay.on_submit = lambda *_: reply
    async with video_client(relay) as here:
        with pytest.raises(error) as caught:
            await here.ez.video.generate(CAT)
    assert type(caught.value) is error
    assert not caught.value.maybe_charged  # type: ignore[attr-defined]
    assert len(relay.submits) == sent


async def test_submit_waits_for_room() -> None:
    busy = refused(429, "api_error", "The current group upstream load is saturated")
    relay = VideoRelay()
    accepted = relay.on_submit
    relay.on_submit = lambda body, number: busy if number < 3 else accepted(body, 3)
    async with video_client(relay) as here:
        assert (await here.ez.video.generate(CAT)).task_id == "v3"
    relay.on_submit = lambda *_: busy
    retry = RetryPolicy(first=0.01, longest=0.02, attempts=2, timeout=0.2)
    async with video_client(relay, retry=retry) as here:
        with pytest.raises(BusyError):
            await here.ez.video.generate(CAT)


async def test_acceptance_without_an_id_is_paid_and_never_repeated() -> None:
    relay = VideoRelay()
    relay.on_submit = lambda *_: {"task_id": "", "task_status": "succeed"}
    async with video_client(relay) as here:
        with pytest.raises(ProtocolError, match="it is paid") as caught:
            await here.ez.video.generate(CAT)
        assert _charged(here) == PRICE
    assert caught.value.maybe_charged
    assert len(relay.submits) == 1


UNKNOWN: dict[str, faults.Fault] = {
    "no answer": faults.Drop(job=True),
    "a panic": faults.Answer(500, '{"error":{"type":"api_panic"}}', job=True),
    "a page of a proxy": faults.proxy(504, job=True),
    "a foreign error": faults.Answer(500, '{"code":"gateway"}', job=True),
    "an answer that cannot be read": faults.Answer(200, "<html>", job=True),
}


@pytest.mark.parametrize("how", UNKNOWN)
async def test_lost_submit_stays_unknown_and_is_not_sent_again(how: str) -> None:
    async with video_client() as here:
        here.server.control.script("video", UNKNOWN[how])
        with pytest.raises(SubmitUnknownError) as caught:
            await here.ez.video.generate(CAT)
        posts = [each for each in here.paths if each == "/v1/video/generations"]
    assert caught.value.maybe_charged
    assert len(posts) == 1


async def test_account_proves_nothing_of_a_lost_video() -> None:
    """An accepted one leaves no entry; that a swap has left one is no witness."""
    times = Timeouts(reconcile=0.3)
    async with video_client(with_account=True, timeouts=times) as here:
        await (await here.ez.swap_face(jpeg(3_000), jpeg(4_000)))
        here.server.control.script("video", faults.Drop(job=True))
        with pytest.raises(SubmitUnknownError, match="not show every job") as caught:
            await here.ez.video.generate(CAT)
        assert len(here.relay.submits) == 1
        assert caught.value.charged is None


async def test_refusal_of_one_providers_account_stops_no_other_job() -> None:
    """The operator's provider refuses every third; a batch goes on with the others."""
    relay = VideoRelay()
    accepted = relay.on_submit

    def answer(body: dict[str, object], number: int) -> object:
        odd = int(str(body["prompt"])) % 3 == 0
        return refused(401, "api_error") if odd else accepted(body, number)

    relay.on_submit = answer
    requests = [Kling(str(number), model="kling-v1") for number in range(100)]
    poll = PollPolicy(first=0.01, shortest=0.001, longest=0.01)
    retry = RetryPolicy(first=0.001, longest=0.002, attempts=2, timeout=20)
    async with (
        video_client(relay, max_concurrency=20, poll=poll, retry=retry) as here,
        here.ez.submit_all(requests) as jobs,
    ):
        ended = [job async for job in jobs]
        charged = _charged(here)
    wrong = [job for job in ended if job.error is not None]
    assert {type(job.error) for job in wrong} == {ServerError}
    assert (len(wrong), len(ended)) == (34, 100)
    assert charged == 66 * PRICE


async def test_refused_key_stops_the_others_after_the_first() -> None:
    relay = VideoRelay()
    requests = [Kling(str(number), model="kling-v1") for number in range(100)]
    async with video_client(relay, api_key="sk-wrong", max_concurrency=1) as here:
        ended = []
        with pytest.raises(AuthenticationError):  # noqa: PT012 - the stream raises last
            async with here.ez.submit_all(requests) as jobs:
                async for job in jobs:
                    ended.append(job)  # noqa: PERF401 - those before the error count
    assert len(ended) == 1
    assert relay.submits == []


async def test_key_that_the_submit_has_used_up_keeps_the_id() -> None:
    """Its quota may be raised again, so the handle waits for its deadline."""
    body = {"message": "The token quota has been exhausted (request id: 1)"}
    used_up = Reply(401, json.dumps({"error": {**body, "type": "api_error"}}).encode())
    relay = VideoRelay()
    relay.on_look = lambda *_: used_up
    poll = PollPolicy(first=0.01, shortest=0.01, longest=0.05, deadline=0.5)
    async with video_client(relay, poll=poll) as here:
        handle = await here.ez.video.generate(CAT)
        with pytest.raises(TaskTimeoutError) as caught:
            await handle
    assert caught.value.task_id == "v1"


async def test_hanging_queries_of_videos_delay_no_swap() -> None:
    """Each family polls by itself; forty queries wait for their answers."""
    relay = VideoRelay()
    async with video_client(relay, max_concurrency=50) as here:
        here.server.control.standing("video_result", faults.Stall())
        for _ in range(40):
            await here.ez.video.generate(CAT)
        swap = await here.ez.swap_face(jpeg(3_000), jpeg(4_000))
        assert (await swap).status is TaskStatus.SUCCESS


async def test_one_clip_cut_at_any_byte_is_never_saved_under_its_name(
    tmp_path: Path,
) -> None:
    relay = VideoRelay()
    for cut in range(0, len(CLIP), max(1, len(CLIP) // 50)):
        relay.clips["a"] = CLIP[:cut]
        async with video_client(relay) as here:
            handle = here.ez.task("v1", family="video")
            with pytest.raises(DownloadError):
                await handle.save(tmp_path / "cat.mp4")
    assert not (tmp_path / "cat.mp4").exists()
