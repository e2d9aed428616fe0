"""Videos over real sockets: what each provider's bring, and what they cost."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path

import pytest

from ezlink_async import RetryPolicy, TaskFailedError, TaskStatus, TaskTimeoutError
from ezlink_async._core.policies import PollPolicy
from ezlink_async.batch import Order, read_manifest, run_jobs
from ezlink_async.emulator import EmulatorSettings, faults, scripts
from ezlink_async.errors import (
    BusyError,
    DownloadError,
    ProtocolError,
    QuotaError,
    RejectedError,
    ServerError,
    SubmitUnknownError,
)
from ezlink_async.requests import (
    Doubao,
    Grok,
    Imagine,
    JobRequest,
    Kling,
    MiniMax,
    Veo,
    Video,
    Wan,
)
from ezlink_async.services.base import AnyRecord
from ezlink_async.services.video.requests import VideoRequest
from tests.support.client_harness import EmulatedClient, emulated_client
from tests.support.pictures import png

KLING = Kling("a cat", model="kling-v1", seconds=5)

DOUBAO = Doubao("a cat --dur 5", model="doubao-seedance-1-0-lite")

PREPAID = 98_000

EACH: dict[str, tuple[VideoRequest, int]] = {
    "kling": (KLING, 70_000),
    "kling from a picture": (Kling(model="kling-v1", image=png()), 70_000),
    "minimax": (MiniMax("a cat", model="T2V-01"), 50_000),
    "veo": (Veo("a cat", model="veo-3.0-generate-001"), 50_000),
    "grok": (Grok("a cat", model="grok-imagine-video", seconds=5), 125_000),
    "wan": (Wan("a cat", model="wan2.5-t2v-preview", seconds=5), 50_000),
    "any": (Video("kling-v1", {"mode": "pro"}, prompt="a cat", seconds=5), 70_000),
}


def _boxes(content: bytes) -> list[str]:
    """Return the names of the boxes of an MP4, which has to end with the last."""
    names, at = [], 0
    while at < len(content):
        size, name = struct.unpack_from(">I4s", content, at)
        assert size >= 8
        names.append(name.decode())
        at += size
    assert at == len(content)
    return names


def _units(both: EmulatedClient) -> list[int]:
    return [charge.units for charge in both.server.control.charges]


def _asked(both: EmulatedClient, part: str) -> int:
    return sum(part in path for path in both.paths)


@pytest.mark.parametrize("provider", EACH)
async def test_video_of_each_provider_is_paid_once_and_saved_whole(
    provider: str, tmp_path: Path
) -> None:
    request, price = EACH[provider]
    async with emulated_client() as both:
        clip = await both.ez.video.generate(request)
        record = await clip
        path = await clip.save(tmp_path / "cat.mp4")
        assert _units(both) == [price]
    assert (record.status, record.raw_status) == (TaskStatus.SUCCESS, "succeed")
    boxes = _boxes(path.read_bytes())
    assert boxes[0] == "ftyp"
    assert {"moov", "mdat"} <= set(boxes)


async def test_two_videos_of_veo_are_two_files(tmp_path: Path) -> None:
    async with emulated_client() as both:
        request = Veo("a cat", model="veo-3.0-generate-001", count=2)
        clips = await both.ez.video.generate(request)
        paths = await clips.save_all(tmp_path / "cat")
        assert len(_units(both)) == 1
    contents = [path.read_bytes() for path in paths]
    assert [path.name for path in paths] == ["cat_1.mp4", "cat_2.mp4"]
    assert all(map(_boxes, contents))
    assert contents[0] != contents[1]


async def test_finished_task_of_doubao_is_settled_once() -> None:
    """The ledger has the price of the submit and one correction."""
    async with emulated_client() as both:
        clip = await both.ez.video.generate(DOUBAO)
        await asyncio.gather(clip, clip.result())
        first = await clip.read()
        restored = both.ez.restore(clip.to_dict())
        assert await restored.read() == first
        prepaid, correction = both.server.control.charges
        assert (prepaid.units, correction.action) == (PREPAID, "SETTLEMENT")
        assert _asked(both, "/v1/video/generations/result") == 1
        # Another program that looks at the bare id settles it again.
        await both.ez.task(clip.task_id, family="video")
        assert len(_units(both)) == 3
        # The path without the key does not.
        other = both.ez.task(clip.task_id, family="video-doubao")
        assert (await other).status is TaskStatus.SUCCESS
        assert other.family == "video-doubao"


async def test_settlement_that_is_cut_off_is_not_asked_for_again() -> None:
    """The server settles it all the same, and would settle another one, too."""
    async with emulated_client() as both:
        both.server.control.script("video_result", faults.Cut(20))
        clip = await both.ez.video.generate(DOUBAO)
        assert _boxes(await clip.read())
        assert len(_units(both)) == 2


async def test_failed_video_is_given_back_once() -> None:
    async with emulated_client() as both:
        both.server.control.script_tasks(scripts.fails("blocked"))
        clip = await both.ez.video.generate(KLING)
        with pytest.raises(TaskFailedError) as caught:
            await clip
        assert caught.value.refunded
        assert not caught.value.maybe_charged
        assert [charge.units for charge in both.server.control.refunds] == [70_000]


async def test_failed_query_of_grok_is_not_a_failed_video() -> None:
    """Its provider has no room for the query; the relay gives the price back."""
    async with emulated_client() as both:
        no_room = faults.Upstream(429, {"code": "rate", "error": "too many requests"})
        both.server.control.script("video_result", no_room)
        clip = await both.ez.video.generate(Grok("a cat", model="grok-imagine-video"))
        assert (await clip).status is TaskStatus.SUCCESS
        assert _asked(both, "/result") == 2


@pytest.mark.parametrize("end", ["fails", "cancelled"])
async def test_end_of_doubao_is_given_back_since_its_own_path_sees_it_first(
    end: str,
) -> None:
    script = scripts.fails("no") if end == "fails" else scripts.cancelled("no")
    async with emulated_client() as both:
        both.server.control.script_tasks(script)
        clip = await both.ez.video.generate(DOUBAO)
        with pytest.raises(Exception, match=clip.task_id) as caught:
            await clip
        assert not getattr(caught.value, "maybe_charged", True)
        assert [charge.units for charge in both.server.control.refunds] == [PREPAID]
        assert _asked(both, "/v1/video/generations/result") == 0


REFUSED: dict[str, tuple[faults.Fault, type[Exception], bool]] = {
    "400": (
        faults.Upstream(400, {"code": 1201, "message": "no"}),
        RejectedError,
        False,
    ),
    "401": (faults.Upstream(401, {"code": 1002, "message": "no"}), ServerError, False),
    "no id": (
        faults.Upstream(200, {"code": 1201, "message": "no"}),
        ProtocolError,
        True,
    ),
    "down": (faults.Upstream(broken="refused"), ServerError, False),
    "html": (faults.Upstream(body="<html>"), ServerError, False),
    "lost": (faults.Drop(job=True), SubmitUnknownError, True),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_refused_and_lost_submits_are_what_the_ledger_says(what: str) -> None:
    fault, error, paid = REFUSED[what]
    async with emulated_client() as both:
        both.server.control.standing("video", fault)
        with pytest.raises(error) as caught:
            await both.ez.video.generate(KLING)
        assert getattr(caught.value, "maybe_charged", None) is paid
        assert _units(both) == [70_000] * paid


async def test_balance_below_the_bar_is_a_quota_error() -> None:
    async with emulated_client(EmulatorSettings(balance=2_999_999)) as both:
        with pytest.raises(QuotaError, match=r"Veo needs 6\.00"):
            await both.ez.video.generate(Veo("a cat", model="veo-3.0-generate-001"))
        await both.ez.video.generate(KLING)
        assert _units(both) == [70_000]


async def test_no_room_is_waited_for() -> None:
    retry = RetryPolicy(first=0.01, longest=0.02, timeout=0.5)
    async with emulated_client(retry=retry) as both:
        busy = faults.Upstream(429, {"code": 1303, "message": "slow down"})
        both.server.control.script("video", busy, busy)
        await both.ez.video.generate(KLING)
        both.server.control.standing("video", busy)
        with pytest.raises(BusyError):
            await both.ez.video.generate(KLING)


async def test_task_that_is_shown_as_running_for_ever_keeps_its_id() -> None:
    poll = PollPolicy(first=0.01, shortest=0.01, longest=0.05, deadline=0.5)
    async with emulated_client(poll=poll) as both:
        both.server.control.script_tasks(scripts.stuck())
        clip = await both.ez.video.generate(KLING)
        with pytest.raises(TaskTimeoutError) as caught:
            await clip
        assert (caught.value.task_id, caught.value.maybe_charged) == (
            clip.task_id,
            True,
        )


async def test_mixed_manifest_is_done_and_goes_on(tmp_path: Path) -> None:
    """What the first run has paid but not saved, the second one only fetches."""
    manifest = tmp_path / "jobs.csv"
    manifest.write_text(
        "kind,prompt,model,seconds,set.mode,then\n"
        "video,a cat,kling-v1,5,pro,\n"
        "video,a dog --dur 5,doubao-seedance-1-0-lite,,,\n"
        "imagine,a fox,,,,U1\n",
        encoding="utf-8",
    )
    out = tmp_path / "out"
    async with emulated_client() as both:
        both.server.control.standing("video_file", faults.Answer(404))
        first = await _run(both, list(read_manifest(manifest)), out)
        paid = _units(both)
        both.server.control.standing("video_file", None)
        second = await _run(both, list(read_manifest(manifest)), out)
        assert _units(both) == paid
        sent = both.server.control.forwarded
    assert first == {"a cat": "failed", "a dog --dur 5": "failed", "a fox": "succeeded"}
    assert second["a cat"] == second["a dog --dur 5"] == "succeeded"
    assert _boxes((out / "a cat.mp4").read_bytes())
    assert _boxes((out / "a dog --dur 5.mp4").read_bytes())
    kling = next(call for call in sent if "/videos/" in call.path)
    assert kling.body is not None
    assert (kling.body["mode"], kling.body["duration"]) == ("pro", "5")


async def _run(
    both: EmulatedClient, orders: list[Order], folder: Path
) -> dict[str, str]:
    async with run_jobs(both.ez, orders, output=folder) as run:
        return {
            each.label: str(each.status) async for each in run if each.kind != "action"
        }


async def test_videos_and_pictures_run_side_by_side() -> None:
    requests: list[JobRequest[AnyRecord]] = [
        KLING,
        Imagine("a fox"),
        DOUBAO,
        Wan("a cat", model="wan2.5"),
    ]
    async with emulated_client() as both, both.ez.submit_all(requests) as jobs:
        ended = [job async for job in jobs]
    assert [job.error for job in ended] == [None] * 4
    assert {job.handle.family for job in ended if job.handle} == {
        "video",
        "video-doubao",
        "midjourney",
    }


async def test_video_that_is_cut_off_is_not_saved(tmp_path: Path) -> None:
    async with emulated_client() as both:
        both.server.control.standing("video_file", faults.Cut(1_000))
        clip = await both.ez.video.generate(KLING)
        with pytest.raises(DownloadError) as caught:
            await clip.save(tmp_path / "cat.mp4")
        assert caught.value.maybe_charged
    assert not (tmp_path / "cat.mp4").exists()


async def test_omni_is_charged_once_at_its_end() -> None:
    async with emulated_client() as both:
        request = Video("gemini-omni-flash-preview", prompt="a cat")
        clip = await both.ez.video.generate(request)
        assert _units(both) == []
        assert (await clip).usage["total_tokens"] > 0
        assert _boxes(await clip.read())
        await both.ez.task(clip.task_id, family="video")
        assert len(_units(both)) == 1
