"""Async images and native Flux over real sockets: what they bring and cost."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
from PIL import Image as Pillow

from ezlink_async import FluxRecord, ImagesRecord, Timeouts
from ezlink_async.batch import run_jobs
from ezlink_async.emulator import EmulatorSettings, faults, scripts
from ezlink_async.emulator.faults import Proceed
from ezlink_async.emulator.http.exchange import Exchange
from ezlink_async.emulator.http.replies import Reply
from ezlink_async.errors import (
    ContentRefusedError,
    DownloadError,
    ProtocolError,
    QuotaError,
    RejectedError,
    ServerError,
    SubmitUnknownError,
    TaskFailedError,
)
from ezlink_async.models import TaskStatus
from ezlink_async.requests import AsyncImage, Flux, JobRequest
from ezlink_async.services.base import AnyRecord
from tests.support.client_harness import EmulatedClient, emulated_client
from tests.support.command_line import SAMPLES
from tests.support.pictures import jpeg

WAN = "wan2.5-i2i-preview"

_SOON = Timeouts(reconcile=0.3)

GUIDELINES = faults.Upstream(403, {"detail": "Content violates usage guidelines"})

QUIET = EmulatorSettings(flux_calls_back=False)
"""Flux makes no call of its own: only a query of the source finds a picture."""


def _units(both: EmulatedClient) -> list[int]:
    return [charge.units for charge in both.server.control.charges]


def _submits(both: EmulatedClient) -> int:
    posts = ("/v1/async/images/generations", "/flux/v1/")
    return sum(
        each.method == "POST" and each.path.startswith(posts)
        for each in both.server.control.requests
    )


def _opened(content: bytes) -> Pillow.Image:
    return Pillow.open(io.BytesIO(content)).convert("RGB")


def _size_of(path: Path) -> tuple[int, int]:
    return _opened(path.read_bytes()).size


# --- async images


async def test_four_wan_pictures_give_four_files(tmp_path: Path) -> None:
    """They differ, have the size that was asked for, and are paid once."""
    async with emulated_client() as both:
        request = AsyncImage(
            WAN, "a fox", n=4, body={"parameters": {"size": "640*384"}}
        )
        handle = await both.ez.images.generate_async(request)
        record = await handle
        paths = await handle.save_all(tmp_path / "fox")
        assert [path.name for path in paths] == [f"fox_{n}.png" for n in (1, 2, 3, 4)]
        assert len({path.read_bytes() for path in paths}) == 4
        assert {_opened(path.read_bytes()).size for path in paths} == {(640, 384)}
        assert isinstance(record, ImagesRecord)
        assert (handle.family, record.raw_status) == ("images", "succeed")
        assert _units(both) == [400_000]


@pytest.mark.parametrize(
    ("request_", "sent"),
    [
        (AsyncImage(WAN, "x"), {"parameters": {"n": 1}}),
        (AsyncImage("kling-v2", "x"), {"n": 1}),
        (AsyncImage("flux-pro-1.1", "x"), {}),
    ],
)
async def test_count_is_always_sent_for_kling_and_wan_and_never_for_flux(
    request_: AsyncImage, sent: dict[str, object]
) -> None:
    """Wan charges four pictures without it; of Flux the price would be multiplied."""
    async with emulated_client() as both:
        await both.ez.submit(request_)
        (call,) = both.server.control.forwarded
        assert call.body is not None
        counts = {
            each: call.body[each] for each in ("n", "parameters") if each in call.body
        }
        assert counts == sent
        assert _units(both) == [request_.price]


@pytest.mark.parametrize(
    ("model", "refunded", "left"),
    [(WAN, True, 0), ("kling-v2", False, 50_000), ("flux-pro-1.1", False, 20_000)],
)
async def test_failure_says_whether_its_price_came_back(
    *, model: str, refunded: bool, left: int
) -> None:
    async with emulated_client() as both:
        balance = both.server.control.balance
        both.server.control.script_tasks(scripts.fails("no"))
        handle = await both.ez.submit(AsyncImage(model, "a fox"))
        with pytest.raises(TaskFailedError) as failed:
            await handle
        assert failed.value.refunded is refunded
        assert failed.value.maybe_charged is not refunded
        assert failed.value.task_id == handle.task_id
        assert balance - both.server.control.balance == left


async def test_empty_account_pays_all_the_same() -> None:
    async with emulated_client(EmulatorSettings(balance=0)) as both:
        await (await both.ez.submit(AsyncImage("flux-pro-1.1", "a fox")))
        assert both.server.control.balance == -20_000


async def test_acceptance_without_an_id_is_paid_and_not_repeated() -> None:
    async with emulated_client() as both:
        both.server.control.script("images", faults.Upstream(body={"queued": True}))
        with pytest.raises(ProtocolError, match="it is paid") as lost:
            await both.ez.submit(AsyncImage("flux-pro-1.1", "a fox"))
        assert lost.value.maybe_charged
        assert (_submits(both), _units(both)) == (1, [20_000])


async def test_lost_answer_is_unknown_and_the_log_tells_that_it_was_paid() -> None:
    """Its task cannot be found: rows of async images have no request id."""
    async with emulated_client(with_account=True, timeouts=_SOON) as both:
        both.server.control.script("images", faults.Drop(job=True))
        with pytest.raises(SubmitUnknownError) as lost:
            await both.ez.submit(AsyncImage("flux-pro-1.1", "a fox"))
        assert lost.value.charged is True
        assert (_submits(both), _units(both)) == (1, [20_000])


async def test_submit_that_left_no_trace_is_not_sent_again() -> None:
    """A swap is a witness for the log, but a refusal of Wan would leave none in it."""
    async with emulated_client(with_account=True, timeouts=_SOON) as both:
        await (await both.ez.swap_face(jpeg(2_000), jpeg(3_000)))
        both.server.control.script("images", faults.Drop())
        with pytest.raises(SubmitUnknownError) as lost:
            await both.ez.submit(AsyncImage(WAN, "a fox"))
        assert lost.value.charged is None
        assert _submits(both) == 1


async def test_wan_that_is_throttled_is_waited_for() -> None:
    """Its refusal is a 200."""
    async with emulated_client() as both:
        busy = faults.Upstream(429, {"code": "Throttling", "message": "limit"})
        both.server.control.script("images", busy, busy)
        await (await both.ez.submit(AsyncImage(WAN, "a fox")))
        assert (_submits(both), _units(both)) == (3, [100_000])


async def test_success_without_addresses_is_believed_the_fourth_time() -> None:
    """They may be on their way; at last it is a failure that stays paid."""
    async with emulated_client() as both:
        empty = faults.Upstream(body={"status": "Ready", "result": {}})
        both.server.control.script("images_result", empty, empty, empty)
        handle = await both.ez.submit(AsyncImage("flux-pro-1.1", "a fox"))
        assert (await handle).urls
        both.server.control.script("images_result", *[empty] * 4)
        handle = await both.ez.submit(AsyncImage("flux-pro-1.1", "a cat"))
        with pytest.raises(TaskFailedError, match="without a picture") as failed:
            await handle
        assert failed.value.refunded is False
        both.server.control.assert_all_played()


async def test_link_of_an_image_that_has_ended_is_renewed_by_the_query() -> None:
    """A query goes to the provider and costs nothing; one without a picture is none."""
    async with emulated_client() as both:
        handle = await both.ez.submit(AsyncImage("flux-pro-1.1", "a fox"))
        await handle
        both.server.control.advance(601)
        empty = {"id": handle.task_id, "status": "Ready", "result": {}}
        both.server.control.script("images_result", faults.Upstream(body=empty))
        with pytest.raises(DownloadError, match="no longer has the result"):
            await handle.read()
        fresh = f"{both.server.base_url}/__emu/pictures/{handle.task_id}/1.png"
        there = {**empty, "result": {"sample": f"{fresh}?se=9999999999"}}
        both.server.control.script("images_result", faults.Upstream(body=there))
        assert await handle.read()
        assert _units(both) == [20_000]


@pytest.mark.parametrize(
    "request_",
    [AsyncImage("flux-pro-1.1", "a fox"), Flux("flux-2-pro", "a fox")],
    ids=["images", "flux"],
)
async def test_picture_in_the_answer_is_saved_and_asked_for_again_after_restoring(
    request_: JobRequest[AnyRecord], tmp_path: Path
) -> None:
    """It is larger than a usual answer may be, and verified like a download."""
    picture = jpeg(1_500_000)
    settings = EmulatorSettings(flux_calls_back=False, engine_seconds=600)
    async with emulated_client(settings) as both:
        handle = await both.ez.submit(request_)
        found = f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"
        _answer_with(both, handle.task_id, found)
        assert (await handle.save(tmp_path / "fox.jpg")).read_bytes() == picture
        saved = json.loads(json.dumps(handle.to_dict()))
        assert len(str(saved)) < 2_000
        _answer_with(both, handle.task_id, found)
        assert await both.ez.restore(saved).read() == picture

        cut = f"data:image/jpeg;base64,{base64.b64encode(picture[:900]).decode()}"
        _answer_with(both, handle.task_id, cut)
        with pytest.raises(DownloadError, match="came with the record") as broken:
            await both.ez.restore(saved).save(tmp_path / "cut.jpg")
        assert broken.value.task_id == handle.task_id
        assert not (tmp_path / "cut.jpg").exists()


def _answer_with(both: EmulatedClient, task_id: str, sample: str) -> None:
    """Have the next query of either family find the picture at *sample*."""
    images = {"task_id": task_id, "task_status": "succeed", "image_urls": [sample]}
    flux = {"id": task_id, "status": "Ready", "result": {"sample": sample}}
    for place, body in (("images_result", images), ("flux_result", flux)):
        both.server.control.script(place, faults.Answer(200, json.dumps(body)))


# --- native Flux


@pytest.mark.parametrize(
    "settings", [EmulatorSettings(), QUIET], ids=["called", "quiet"]
)
async def test_picture_of_flux_has_its_size_and_is_paid_once_it_is_there(
    settings: EmulatorSettings, tmp_path: Path
) -> None:
    """Whether the provider calls the relay, or each third poll asks it."""
    async with emulated_client(settings) as both:
        fox = await both.ez.flux.generate(
            "flux-2-pro", "a fox", width=512, height=384, seed=7
        )
        record = await fox
        path = await fox.save(tmp_path / "fox.png")
        assert _opened(path.read_bytes()).size == (512, 384)
        assert isinstance(record, FluxRecord)
        assert (record.seed, record.prompt, record.raw_status) == (7, "a fox", "Ready")
        assert _units(both) == [15_000]
        asked = [path for path in both.paths if "from_source=true" in path]
        assert bool(asked) is (settings is QUIET)


async def test_flux_is_charged_for_no_failure() -> None:
    async with emulated_client() as both:
        moderated = {"status": "Request Moderated", "failReason": "Safety Filter"}
        both.server.control.script_tasks(scripts.sequence(moderated))
        handle = await both.ez.flux.generate("flux-2-pro", "a fox")
        with pytest.raises(TaskFailedError, match="Safety Filter") as failed:
            await handle
        assert isinstance(failed.value.record, FluxRecord)
        assert failed.value.record.moderation == ("Safety Filter",)
        assert (failed.value.refunded, failed.value.maybe_charged) == (True, False)
        assert _units(both) == []


async def test_content_that_breaks_the_guidelines_costs_a_fee_once() -> None:
    """It is known to be refused, so nothing is unknown, and it is never sent again."""
    async with emulated_client() as both:
        both.server.control.script("flux", GUIDELINES)
        with pytest.raises(ContentRefusedError, match=r"0\.05 USD") as refused:
            await both.ez.flux.generate("flux-2-pro", "a fox")
        error = refused.value
        assert (error.fee, error.retry_safe, error.maybe_charged) == (
            *(25_000, False, False),
        )
        assert (_submits(both), _units(both)) == (1, [25_000])


async def test_fee_counts_in_the_budget(tmp_path: Path) -> None:
    """Two may be paid for: the fee is the first, so the third is not sent."""
    orders = [Flux("flux-2-pro", word) for word in ("fox", "cat", "owl")]
    async with emulated_client(max_concurrency=1) as both:
        both.server.control.script("flux", GUIDELINES)
        async with run_jobs(both.ez, orders, output=tmp_path, budget=2) as run:
            found = {each.label: str(each.status) async for each in run}
        assert found == {"fox": "failed", "cat": "succeeded", "owl": "skipped"}
        assert _units(both) == [25_000, 15_000]


async def test_same_guideline_words_cost_nothing_at_async_images() -> None:
    async with emulated_client() as both:
        both.server.control.standing("images", GUIDELINES)
        with pytest.raises(ServerError, match="the key is not at fault"):
            await both.ez.submit(AsyncImage("flux-pro-1.1", "a fox"))
        assert _units(both) == []


async def test_balance_below_the_bar_of_flux_is_a_quota_error() -> None:
    async with emulated_client(EmulatorSettings(balance=49_999)) as both:
        with pytest.raises(QuotaError, match="balance"):
            await both.ez.flux.generate("flux-2-pro", "a fox")
        assert _units(both) == []


async def test_flux_without_an_id_costs_nothing_and_is_not_repeated() -> None:
    async with emulated_client() as both:
        both.server.control.script("flux", faults.Upstream(body={"queued": True}))
        with pytest.raises(ProtocolError, match="costs nothing") as lost:
            await both.ez.flux.generate("flux-2-pro", "a fox")
        assert not lost.value.maybe_charged
        assert (_submits(both), _units(both)) == (1, [])


async def test_channels_refusal_of_its_own_key_dooms_no_other_job() -> None:
    """A 401 of the operator's upstream is no refusal of our key."""
    async with emulated_client() as both:
        refused = faults.Upstream(401, {"detail": "Not authenticated"})
        both.server.control.script("flux", *[refused] * 3)
        requests = [Flux("flux-2-pro", word) for word in ("fox", "cat")]
        async with both.ez.submit_all(requests) as jobs:
            done = [job async for job in jobs]
        assert any(job.error is None for job in done)


async def test_same_id_is_never_asked_for_in_the_other_family() -> None:
    """Flux would charge the picture of async images a second time."""
    async with emulated_client(QUIET) as both:
        handle = await both.ez.submit(AsyncImage("flux-pro-1.1", "a fox"))
        assert await handle.read()
        saved = handle.to_dict()
        assert await both.ez.restore(saved) == await handle
        assert not [path for path in both.paths if path.startswith("/flux/")]
        assert _units(both) == [20_000]


async def test_link_that_has_ended_is_asked_for_once_more_for_nothing() -> None:
    async with emulated_client() as both:
        handle = await both.ez.flux.generate("flux-2-pro", "a fox")
        await handle
        both.server.control.advance(601)
        with pytest.raises(DownloadError, match="gone") as gone:
            await handle.read()
        assert gone.value.maybe_charged
        fresh = f"{both.server.base_url}/__emu/pictures/{handle.task_id}/1.png"
        answer = {
            "id": handle.task_id,
            "status": "Ready",
            "result": {"sample": f"{fresh}?se=99999999999"},
        }
        both.server.control.script("flux_result", faults.Upstream(body=answer))
        assert _opened(await handle.read()).size == (1024, 1024)
        assert _units(both) == [15_000]


async def test_link_whose_task_the_provider_has_forgotten_is_gone() -> None:
    async with emulated_client() as both:
        handle = await both.ez.flux.generate("flux-2-pro", "a fox")
        await handle
        both.server.control.advance(601)
        forgotten = {"id": handle.task_id, "status": "Task not found"}
        both.server.control.script("flux_result", faults.Upstream(404, forgotten))
        with pytest.raises(DownloadError, match="no longer has the result") as gone:
            await handle.read()
        assert gone.value.gone


async def test_batch_whose_link_has_ended_makes_the_picture_again_on_demand(
    tmp_path: Path,
) -> None:
    """A run that was cut short before the download meets a link that leads nowhere."""
    async with emulated_client() as both:

        async def status(*, retry_failed: bool = False) -> str:
            orders = [Flux("flux-2-pro", "fox")]
            async with run_jobs(
                both.ez, orders, output=tmp_path, retry_failed=retry_failed
            ) as run:
                (fox,) = [each async for each in run]
            return f"{fox.status} {fox.error or ''}"

        both.server.control.standing("picture", faults.Answer(503))
        assert "failed" in await status()
        both.server.control.standing("picture", None)
        both.server.control.advance(601)
        for _ in range(2):
            assert "no longer has the result" in await status()
        assert (_submits(both), _units(both)) == (1, [15_000])
        assert "succeeded" in await status(retry_failed=True)
        assert (_submits(both), _units(both)) == (2, [15_000, 15_000])


async def test_answer_that_was_lost_is_found_by_its_row() -> None:
    """The account's page of pictures shows the request id of the submit."""
    async with emulated_client(with_account=True, timeouts=_SOON) as both:
        both.server.control.script("flux", faults.Drop(job=True))
        handle = await both.ez.flux.generate("flux-2-pro", "a fox")
        assert (await handle).status is TaskStatus.SUCCESS
        assert (_submits(both), _units(both)) == (1, [15_000])


async def test_submit_that_never_came_is_sent_again_with_a_witness() -> None:
    async with emulated_client(with_account=True, timeouts=_SOON) as both:
        await (await both.ez.flux.generate("flux-2-pro", "a witness"))
        both.server.control.script("flux", faults.Drop())
        await (await both.ez.flux.generate("flux-2-pro", "a fox"))
        assert (_submits(both), _units(both)) == (3, [15_000, 15_000])


async def test_submit_that_never_came_stays_unknown_without_a_witness() -> None:
    async with emulated_client(with_account=True, timeouts=_SOON) as both:
        both.server.control.script("flux", faults.Drop())
        with pytest.raises(SubmitUnknownError, match="no submit of this client"):
            await both.ez.flux.generate("flux-2-pro", "a fox")
        assert _submits(both) == 1


@attrs.frozen
class LostRefusal:
    """The provider refuses the job, and the answer is lost."""

    upstream: faults.Upstream

    async def apply(self, exchange: Exchange, proceed: Proceed) -> Reply:
        """Handle the job, then hang up."""
        exchange.overrides.upstream = self.upstream
        await proceed()
        exchange.drop()


async def test_lost_refusal_with_a_fee_is_known_to_be_charged() -> None:
    async with emulated_client(with_account=True, timeouts=_SOON) as both:
        both.server.control.script("flux", LostRefusal(GUIDELINES))
        with pytest.raises(SubmitUnknownError, match="fee") as lost:
            await both.ez.flux.generate("flux-2-pro", "a fox")
        assert lost.value.charged is True
        assert (_submits(both), _units(both)) == (1, [25_000])


async def test_lost_refusal_without_a_fee_is_sent_again() -> None:
    async with emulated_client(with_account=True, timeouts=_SOON) as both:
        refused = faults.Upstream(400, {"detail": "bad prompt"})
        both.server.control.script("flux", LostRefusal(refused), refused)
        with pytest.raises(RejectedError, match="bad prompt"):
            await both.ez.flux.generate("flux-2-pro", "a fox")
        assert (_submits(both), _units(both)) == (2, [])


async def test_lost_break_of_the_call_to_the_provider_is_not_sent_again() -> None:
    """The provider may be at work on it, for nothing."""
    async with emulated_client(with_account=True, timeouts=_SOON) as both:
        broken = LostRefusal(faults.Upstream(broken="reset"))
        both.server.control.script("flux", broken)
        with pytest.raises(ServerError, match="costs nothing") as lost:
            await both.ez.flux.generate("flux-2-pro", "a fox")
        assert (lost.value.retry_safe, lost.value.maybe_charged) == (False, False)
        assert (_submits(both), _units(both)) == (1, [])


@pytest.mark.parametrize(
    "request_", [AsyncImage("kling-v2", "a fox", n=2), Flux("flux-2-pro", "a fox")]
)
async def test_task_is_resumed_in_another_process(
    request_: JobRequest[AnyRecord], tmp_path: Path
) -> None:
    async with emulated_client() as both:
        handle = await both.ez.submit(request_)
        saved = json.dumps(handle.to_dict())
        program = _RESUME.format(
            key=both.server.api_key,
            url=both.server.base_url,
            saved=saved,
            place=str(tmp_path / "fox"),
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, stdout=subprocess.PIPE
        )
        out, _ = await process.communicate()
        assert process.returncode == 0
        files = [Path(line) for line in out.decode().splitlines()]
        assert len(files) == (2 if isinstance(request_, AsyncImage) else 1)
        assert {_size_of(file) for file in files} == {(1024, 1024)}
        assert (_submits(both), _units(both)) == (1, [request_.price])


_RESUME = """
import asyncio, json
from ezlink_async import AsyncEzlink, PollPolicy

async def main():
    poll = PollPolicy(first=0.01, shortest=0.01)
    async with AsyncEzlink("{key}", base_url="{url}", poll=poll) as ez:
        handle = ez.restore(json.loads('''{saved}'''))
        print(*await handle.save_all(r"{place}"), sep="\\n")

asyncio.run(main())
"""


async def test_pictures_to_start_from_are_sent() -> None:
    """As base64 for Flux and Kling, as a data URI for Wan."""
    photo = SAMPLES / "hopper.jpg"
    async with emulated_client() as both:
        await both.ez.submit(AsyncImage(WAN, "x", images=[photo]))
        await both.ez.submit(AsyncImage("kling-v2", "x", images=[photo]))
        await both.ez.flux.generate("flux-kontext-pro", "x", input_image=photo)
        wan, kling, flux = (call.body or {} for call in both.server.control.forwarded)
        content = base64.b64encode(photo.read_bytes()).decode()
        assert wan["input"] == {
            "prompt": "x",
            "images": [f"data:image/jpeg;base64,{content}"],
        }
        assert kling["image"] == flux["input_image"] == content
