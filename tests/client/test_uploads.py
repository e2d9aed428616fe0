"""Uploads as pictures of jobs of every family: read once, sent whole, freed."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from ezlink_async import Image, RetryPolicy, Timeouts, errors
from ezlink_async._core.images import MAX_BYTES, Upload
from ezlink_async.batch import run_batch
from ezlink_async.emulator import EmulatorSettings, faults, scripts
from ezlink_async.emulator.http.exchange import Exchange
from ezlink_async.emulator.http.replies import Reply
from ezlink_async.emulator.relay.routes import Route
from ezlink_async.emulator.relay.state import RelayState
from ezlink_async.prepare import prepare_picture
from ezlink_async.requests import (
    AsyncImage,
    Base64,
    Blend,
    Describe,
    Doubao,
    FaceSwap,
    Flux,
    Grok,
    Imagine,
    JobRequest,
    Kling,
    MiniMax,
    Modal,
    Runway,
    Veo,
    Video,
    Wan,
)
from ezlink_async.services.base import AnyRecord
from ezlink_async.services.stability.endpoints import IMAGE_TO_VIDEO
from ezlink_async.services.stability.submits import StabilityRequest
from tests.support.cancelling import cancel
from tests.support.client_harness import (
    beside_emulator,
    charges,
    emulated_client,
    until,
)
from tests.support.loop import turns
from tests.support.pictures import MIB, jpeg
from tests.support.uploads import (
    FORMS,
    ReadUpload,
    endless,
    temporary_files,
    unreadable,
)

SOURCE, TARGET = jpeg(20_000), jpeg(30_000)
LARGE, OTHER = jpeg(2_000_000), jpeg(2_000_001)

Make = Callable[[Upload], JobRequest[AnyRecord]]

EACH: dict[str, Make] = {
    "swap": lambda picture: FaceSwap(SOURCE, picture),
    "blend": lambda picture: Blend((picture, SOURCE)),
    "imagine": lambda picture: Imagine("a fox", images=(picture,)),
    "describe": Describe,
    "modal": lambda picture: Modal("17", prompt="a fox", mask=picture),
    "images": lambda picture: AsyncImage("kling-v1", "a fox", images=(picture,)),
    "flux": lambda picture: Flux("flux-kontext-pro", "a fox", input_image=picture),
    "doubao": lambda picture: Doubao(
        "a fox", model="doubao-seedance-1-0-lite", images=(picture,)
    ),
    "grok": lambda picture: Grok("a fox", model="grok-imagine-video", image=picture),
    "kling": lambda picture: Kling("a fox", model="kling-v1", image=picture),
    "minimax": lambda picture: MiniMax("a fox", model="I2V-01", first_frame=picture),
    "runway": lambda picture: Runway("a fox", image=picture),
    "veo": lambda picture: Veo("a fox", model="veo-3.0-generate-001", image=picture),
    "wan": lambda picture: Wan("a fox", model="wan2.5-i2v-preview", image=picture),
    "video": lambda picture: Video("kling-v1", image=picture, prompt="a fox"),
    "body": lambda picture: Video("any", {"here": {"it": [Base64(picture)]}}),
    "stability": lambda picture: StabilityRequest.of(
        IMAGE_TO_VIDEO, {"image": picture}
    ),
}
"""A job request of each call with pictures, one of which is the upload."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have temporary files be made in a folder of their own."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def sha256(content: bytes) -> str:
    """Return what the emulator notes of a picture."""
    return hashlib.sha256(content).hexdigest()


class Bodies:
    """A relay that keeps the body of every submit, and refuses it."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self.routes = (Route("POST", "/.*", "any", self._refuse),)

    async def _refuse(self, _: RelayState, exchange: Exchange) -> Reply:
        self.seen.append(await exchange.read(10**9))
        return Reply(400, b'{"error": {"code": "bad", "message": "no"}}')


@pytest.mark.parametrize("kind", EACH)
@pytest.mark.parametrize("content", [TARGET, LARGE], ids=["memory", "file"])
async def test_upload_is_a_picture_of_every_request(
    kind: str, content: bytes, folder: Path
) -> None:
    """The server gets all its bytes, and no temporary file is left of it."""
    relay = Bodies()
    async with emulated_client(EmulatorSettings(routes=relay.routes)) as both:
        request = EACH[kind](ReadUpload(content))
        with pytest.raises(errors.EzlinkError):
            await both.ez.submit(request)
        text = content if kind == "stability" else base64.b64encode(content)
        assert any(text in body for body in relay.seen)
        assert temporary_files(folder) == []


@pytest.mark.parametrize("form", FORMS)
async def test_swap_takes_uploads_of_each_form(
    form: Callable[[bytes], Upload], folder: Path
) -> None:
    async with beside_emulator() as (ez, server):
        handle = await ez.swap_face(form(LARGE), form(TARGET))
        assert temporary_files(folder) == []  # the submit has ended, the task not
        await handle
        (task,) = server.control.tasks
        assert task.source_sha256 == sha256(LARGE)
        assert task.target_sha256 == sha256(TARGET)


async def test_upload_is_read_before_the_job_waits_for_a_slot(folder: Path) -> None:
    async with beside_emulator(max_concurrency=1) as (ez, server):
        server.control.script_tasks(scripts.stuck())
        await ez.swap_face(SOURCE, TARGET)
        upload = ReadUpload(LARGE)
        waiting = asyncio.create_task(ez.swap_face(SOURCE, upload))
        while not ez.stats().waiting:
            await asyncio.sleep(0)
        assert upload.given == len(LARGE)
        assert len(temporary_files(folder)) == 1
        await cancel(waiting)
        assert temporary_files(folder) == []
        assert charges(server) == 1


@pytest.mark.parametrize(
    ("upload", "says"),
    [
        (lambda: ReadUpload(bytes(MAX_BYTES + 1)), "more than the 10485760"),
        (lambda: ReadUpload(b""), "empty"),
        (lambda: ReadUpload(b"GIF89a" + bytes(2 * MIB)), "GIF"),
        (unreadable, "broke off"),
        (endless, "stands still"),
    ],
)
async def test_bad_upload_sends_nothing_and_takes_no_slot(
    upload: Callable[[], Upload], says: str, folder: Path
) -> None:
    timeouts = Timeouts(upload=0.05)
    async with beside_emulator(timeouts=timeouts) as (ez, server):
        with pytest.raises(errors.ImageError, match=says):
            await ez.swap_face(SOURCE, upload())
        assert server.control.requests == []
        assert (ez.stats().in_progress, ez.stats().waiting) == (0, 0)
        assert temporary_files(folder) == []


async def test_one_upload_for_both_pictures_is_the_same_picture() -> None:
    async with beside_emulator() as (ez, server):
        upload = ReadUpload(TARGET)
        with pytest.raises(errors.ImageError, match="the same picture"):
            await ez.swap_face(upload, upload)
        assert server.control.requests == []


async def test_upload_is_sent_again_from_its_file(folder: Path) -> None:
    """The server is busy at first; the upload itself was read once."""
    retry = RetryPolicy(first=0.01, longest=0.02, timeout=20)
    async with beside_emulator(retry=retry) as (ez, server):
        server.control.script("submit", *[faults.queue_full()] * 2)
        upload = ReadUpload(LARGE)
        handle = await ez.swap_face(SOURCE, upload)
        await handle
        assert server.control.tasks[-1].target_sha256 == sha256(LARGE)
        assert ez.stats().retries >= 2
        assert temporary_files(folder) == []


async def test_file_of_a_submit_that_goes_on_after_a_cancellation_is_freed(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The task is in ``pending()``, its id in the log, and the file is gone."""
    async with beside_emulator() as (ez, server):
        server.control.script("submit", faults.Delay(0.2, job=True))
        server.control.script_tasks(scripts.stuck())
        submit = asyncio.create_task(ez.swap_face(SOURCE, ReadUpload(LARGE)))
        await until(server, "charges")
        await cancel(submit)
        while not ez.pending():
            await asyncio.sleep(0)
        await turns()
        assert temporary_files(folder) == []
        assert charges(server) == 1
        assert ez.pending()[0].task_id in caplog.text


async def test_file_of_a_submit_that_the_closing_client_ends_is_freed(
    folder: Path,
) -> None:
    async with beside_emulator(max_concurrency=1) as (ez, server):
        server.control.script_tasks(scripts.stuck())
        await ez.swap_face(SOURCE, TARGET)
        waiting = asyncio.create_task(ez.swap_face(SOURCE, ReadUpload(LARGE)))
        while not ez.stats().waiting:
            await asyncio.sleep(0)
        reading = asyncio.create_task(ez.swap_face(SOURCE, endless()))
        await asyncio.sleep(0)
    for task in (waiting, reading):
        with pytest.raises(errors.ClientClosedError):
            await task
    del waiting, reading, task
    assert temporary_files(folder) == []


async def test_upload_as_the_source_of_many_swaps_is_read_once(folder: Path) -> None:
    async with beside_emulator() as (ez, server):
        source = ReadUpload(LARGE)
        targets = [ReadUpload(jpeg(30_000 + number)) for number in range(5)]
        async with ez.swap_faces(source, targets) as swaps:
            outcomes = [outcome async for outcome in swaps]
        assert [outcome.error for outcome in outcomes] == [None] * 5
        assert {outcome.source for outcome in outcomes} == {source}
        assert {outcome.target for outcome in outcomes} == set(targets)
        assert {task.source_sha256 for task in server.control.tasks} == {sha256(LARGE)}
        assert temporary_files(folder) == []


async def test_upload_that_was_read_before_is_one_failed_outcome() -> None:
    async with beside_emulator() as (ez, _):
        upload = ReadUpload(TARGET)
        jobs = [FaceSwap(SOURCE, upload), FaceSwap(OTHER, upload)]
        async with ez.submit_all(jobs) as stream:
            errors_seen = [outcome.error async for outcome in stream]
    assert sum(error is None for error in errors_seen) == 1
    assert "was read before" in str(next(filter(None, errors_seen)))


async def test_received_image_serves_many_jobs_and_goes_with_its_last_reference(
    folder: Path,
) -> None:
    """A form's source comes before its photos: it is received, then swapped."""
    async with beside_emulator() as (ez, server):
        source = await ez.receive_image(ReadUpload(LARGE))
        for number in range(2):
            await (await ez.swap_face(source, ReadUpload(jpeg(30_000 + number))))
        assert {task.source_sha256 for task in server.control.tasks} == {sha256(LARGE)}
        assert len(temporary_files(folder)) == 1
        del source
        assert temporary_files(folder) == []


async def test_received_image_may_be_larger_and_be_prepared(tmp_path: Path) -> None:
    """Pillow makes of it what the server takes."""
    pytest.importorskip("PIL")
    from PIL import Image as Pillow

    path = tmp_path / "a.tiff"
    Pillow.new("RGB", (1200, 1200), "white").save(path)
    content = path.read_bytes()
    async with beside_emulator() as (ez, server):
        photo = await ez.receive_image(ReadUpload(content), limit=50 * MIB)
        with pytest.raises(errors.ImageError, match="TIFF"):
            await ez.swap_face(SOURCE, photo)
        prepared = prepare_picture(photo)
        assert "converted from TIFF" in prepared.changes
        await (await ez.swap_face(SOURCE, prepared.image))
        assert charges(server) == 1


async def test_only_what_is_read_asynchronously_is_received() -> None:
    async with beside_emulator() as (ez, _):
        for given in (SOURCE, "a.jpg", 7, open(__file__, "rb")):  # noqa: SIM115, ASYNC230, PTH123
            with pytest.raises(errors.ImageError, match="read asynchronously"):
                await ez.receive_image(given)  # type: ignore[arg-type]
            if hasattr(given, "close"):
                given.close()


async def test_unread_upload_is_refused_by_a_batch_and_by_prepare(
    tmp_path: Path,
) -> None:
    picture = Image.of(ReadUpload(TARGET))
    assert repr(picture) == "Image(<upload>)"
    with pytest.raises(errors.ImageError, match="receive_image"):
        prepare_picture(picture)
    async with beside_emulator() as (ez, server):
        with pytest.raises(errors.ImageError, match="receive_image"):
            async with run_batch(ez, picture, [tmp_path], output=tmp_path) as run:
                _ = [outcome async for outcome in run]
        assert charges(server) == 0
