"""Stability over real sockets: what its calls bring and cost, and how they go wrong."""

from __future__ import annotations

import asyncio
import io
import json
import struct
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import attrs
import pytest
from PIL import Image as Pillow

from ezlink_async import AsyncEzlink, StabilityImage, errors
from ezlink_async.emulator import EmulatorSettings, faults
from ezlink_async.emulator.faults import Proceed
from ezlink_async.emulator.http.exchange import Exchange
from ezlink_async.emulator.http.replies import Reply
from tests.support.cancelling import cancel
from tests.support.client_harness import EmulatedClient, emulated_client, until

OLD = EmulatorSettings(stability=True)

SLOW = EmulatorSettings(stability=True, engine_seconds=600)

REMOVED = "removed its Stability routes \\(January 2026\\)"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """Return a picture of 96 x 64 pixels."""
    path = tmp_path / "photo.png"
    Pillow.new("RGB", (96, 64), "red").save(path)
    return path


Call = Callable[[AsyncEzlink, Path], Awaitable[StabilityImage]]

#: Each synchronous call: its price in units, and the size of its picture.
CALLS: dict[str, tuple[Call, int, tuple[int, int]]] = {
    "conservative": (
        lambda ez, path: ez.stability.upscale(path, "a fox", how="conservative"),
        *(125_000, (192, 128)),
    ),
    "erase": (
        lambda ez, path: ez.stability.edit("erase", path, mask=path),
        *(15_000, (96, 64)),
    ),
    "inpaint": (
        lambda ez, path: ez.stability.edit("inpaint", path, prompt="a fox"),
        *(15_000, (96, 64)),
    ),
    "outpaint": (
        lambda ez, path: ez.stability.edit("outpaint", path, left=10, down=36),
        *(20_000, (106, 100)),
    ),
    "search-and-replace": (
        lambda ez, path: ez.stability.edit(
            "search-and-replace", path, prompt="a fox", search_prompt="a dog"
        ),
        *(20_000, (96, 64)),
    ),
    "remove-background": (
        lambda ez, path: ez.stability.edit("remove-background", path),
        *(10_000, (96, 64)),
    ),
    "ultra": (
        lambda ez, _: ez.stability.generate("ultra", "a fox", aspect_ratio="16:9"),
        *(40_000, (1365, 768)),
    ),
    "core": (
        lambda ez, _: ez.stability.generate("core", "a fox", style_preset="anime"),
        *(15_000, (1024, 1024)),
    ),
    "sd3": (
        lambda ez, path: ez.stability.generate(
            "sd3", "a fox", image=path, strength=0.5
        ),
        *(32_500, (96, 64)),
    ),
    "sketch": (
        lambda ez, path: ez.stability.control("sketch", path, "a fox"),
        *(15_000, (96, 64)),
    ),
    "structure": (
        lambda ez, path: ez.stability.control("structure", path, "a fox"),
        *(15_000, (96, 64)),
    ),
}


@attrs.frozen
class _Held:
    """A fault that holds an answer back until the test lets it go."""

    released: asyncio.Event = attrs.field(factory=asyncio.Event)

    async def apply(self, exchange: Exchange, proceed: Proceed) -> Reply:
        """Handle the request, and answer it later."""
        del exchange
        reply = await proceed()
        await self.released.wait()
        return reply


def _boxes(movie: bytes) -> list[str]:
    """Return the names of the boxes of an MP4, which end where it ends."""
    names, start = [], 0
    while start < len(movie):
        length, name = struct.unpack_from(">I4s", movie, start)
        assert length >= 8
        names.append(name.decode())
        start += length
    assert start == len(movie)
    return names


def _units(both: EmulatedClient) -> list[int]:
    return [charge.units for charge in both.server.control.charges]


@pytest.mark.parametrize("name", CALLS)
async def test_single_pictures_are_made_edited_and_controlled(
    name: str, picture: Path, tmp_path: Path
) -> None:
    call, units, size = CALLS[name]
    async with emulated_client(OLD) as both:
        image = await call(both.ez, picture)
        assert both.ez.pending() == ()
        assert (image.finish_reason, image.media_type) == ("SUCCESS", "image/png")
        assert image.seed
        saved = await image.save(f"{tmp_path}/{name}.png")
        assert saved.read_bytes() == image.content
        assert Pillow.open(io.BytesIO(image.content)).size == size
        assert _units(both) == [units]
        assert len(both.paths) == 1


async def test_same_seed_makes_the_same_picture() -> None:
    async with emulated_client(OLD) as both:
        draw = both.ez.stability.generate
        one = await draw("core", "a fox", seed=7)
        again = await draw("core", "a fox", seed=7)
        other = await draw("core", "a fox", seed=8)
    assert (one.seed, one.content == again.content) == (7, True)
    assert one.content != other.content


async def test_tasks_are_polled_and_saved(picture: Path, tmp_path: Path) -> None:
    """The video is an MP4, and the picture twice as large as the one given."""
    async with emulated_client(OLD) as both:
        video = await both.ez.stability.image_to_video(picture, seed=7)
        record = await video
        assert (video.family, record.seed, record.media_type) == (
            "stability",
            7,
            "video/mp4",
        )
        saved = await video.save(tmp_path / "clip.mp4")
        names = _boxes(saved.read_bytes())
        assert (names[0], "moov" in names, "mdat" in names) == ("ftyp", True, True)
        larger = await both.ez.stability.upscale(picture, "a fox", creativity=0.3)
        assert larger.family == "stability-upscale"
        size = Pillow.open(io.BytesIO(await larger.read())).size
        assert size == (192, 128)
        assert _units(both) == [100_000, 125_000]


async def test_query_costs_nothing_and_waits_for_the_end(picture: Path) -> None:
    async with emulated_client(SLOW) as both:
        handle = await both.ez.stability.image_to_video(picture)
        updates = handle.updates()
        first = await anext(updates)
        assert not first.is_terminal
        both.server.control.advance(600)
        assert (await handle).is_terminal
        assert _units(both) == [100_000]


_RESUME = """
import asyncio, json, os, sys
from ezlink_async import AsyncEzlink, PollPolicy

async def main():
    poll = PollPolicy(first=0.01, shortest=0.01)
    async with AsyncEzlink(poll=poll) as ez:
        for number, saved in enumerate(json.load(sys.stdin)):
            handle = ez.restore(saved)
            await handle.save_all(f"{sys.argv[1]}/{number}")

asyncio.run(main())
"""


async def test_tasks_are_resumed_in_another_process(
    picture: Path, tmp_path: Path
) -> None:
    """The one that had ended is asked for its content; neither is sent again."""
    async with emulated_client(SLOW) as both:
        video = await both.ez.stability.image_to_video(picture)
        both.server.control.advance(600)
        content = (await video).content
        larger = await both.ez.stability.upscale(picture, "a fox")
        saved = [video.to_dict(), larger.to_dict()]
        both.server.control.advance(600)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _RESUME, str(tmp_path)),
            stdin=asyncio.subprocess.PIPE,
            env={
                "EZLINK_API_KEY": both.server.api_key,
                "EZLINK_BASE_URL": both.server.base_url,
                "PYTHONPATH": str(Path(__file__).parents[2]),
            },
        )
        await process.communicate(json.dumps(saved).encode())
        assert process.returncode == 0
        posts = [each for each in both.paths if "/result/" not in each]
        assert len(posts) == 2
        assert _units(both) == [100_000, 125_000]
    assert (tmp_path / "0.mp4").read_bytes() == content
    larger_png = (tmp_path / "1.png").read_bytes()
    assert Pillow.open(io.BytesIO(larger_png)).size == (192, 128)


async def test_server_without_the_routes_is_named(picture: Path) -> None:
    async with emulated_client() as both:
        for call, _, _ in CALLS.values():
            with pytest.raises(errors.EndpointNotSupportedError, match=REMOVED):
                await call(both.ez, picture)
        with pytest.raises(errors.EndpointNotSupportedError, match=REMOVED):
            await both.ez.stability.image_to_video(picture)
        with pytest.raises(errors.EndpointNotSupportedError, match=REMOVED) as caught:
            await both.ez.stability.upscale(picture, "a fox")
        assert caught.value.retry_safe
        assert _units(both) == []
        assert len(both.paths) == len(CALLS) + 2


async def test_style_was_never_served(picture: Path) -> None:
    async with emulated_client(OLD) as both:
        with pytest.raises(errors.EndpointNotSupportedError):
            await both.ez.stability.control("style", picture, "a fox", fidelity=1)


_BAD_CALLS: dict[str, Callable[[AsyncEzlink, Path], Awaitable[object]]] = {
    "foreign field": lambda ez, path: ez.stability.edit("erase", path, left=1),
    "bad value": lambda ez, path: ez.stability.image_to_video(path, cfg_scale=11),
    "unknown call": lambda ez, path: ez.stability.edit("blur", path),  # type: ignore[arg-type]
    "unknown way": lambda ez, path: ez.stability.upscale(path, "a", how="best"),  # type: ignore[call-overload]
    "blank prompt": lambda ez, _: ez.stability.generate("core", " "),
    "no picture": lambda ez, _: ez.stability.edit("erase", None),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", _BAD_CALLS)
async def test_wrong_argument_sends_nothing(name: str, picture: Path) -> None:
    async with emulated_client(OLD) as both:
        with pytest.raises((errors.ConfigurationError, errors.ImageError)) as caught:
            await _BAD_CALLS[name](both.ez, picture)
        assert caught.value.retry_safe
        assert both.paths == []


async def test_picture_of_another_format_sends_nothing(tmp_path: Path) -> None:
    path = tmp_path / "moving.gif"
    Pillow.new("P", (8, 8)).save(path)
    async with emulated_client(OLD) as both:
        with pytest.raises(errors.ImageError):
            await both.ez.stability.edit("erase", path)
        assert both.paths == []


async def test_refusal_of_the_provider_is_free_and_says_why(picture: Path) -> None:
    said = {"errors": ["flagged"], "id": "x", "name": "content_moderation"}
    async with emulated_client(OLD) as both:
        both.server.control.script("stability", faults.Upstream(403, said))
        with pytest.raises(errors.RejectedError, match="flagged") as caught:
            await both.ez.stability.edit("erase", picture)
        assert (caught.value.retry_safe, caught.value.maybe_charged) == (True, False)
        assert _units(both) == []
        assert len(both.paths) == 1


async def test_balance_below_the_price_is_a_lack_of_quota() -> None:
    async with emulated_client(attrs.evolve(OLD, balance=14_999)) as both:
        with pytest.raises(errors.QuotaError):
            await both.ez.stability.generate("core", "a fox")
        assert _units(both) == []


@pytest.mark.parametrize(
    "fault",
    [
        faults.Drop(job=True),
        faults.Cut(keep=1000),
        faults.Trouble("insert_failed"),
        faults.Upstream(200, {"image": ""}),
    ],
)
async def test_lost_picture_is_unknown_and_never_asked_for_again(
    fault: faults.Fault,
) -> None:
    """It is paid, and another try would pay again."""
    async with emulated_client(OLD) as both:
        both.server.control.script("stability", fault)
        with pytest.raises(errors.SubmitUnknownError) as caught:
            await both.ez.stability.generate("core", "a fox")
        assert (caught.value.maybe_charged, caught.value.retry_safe) == (True, False)
        assert caught.value.request_id
        assert _units(both) == [15_000]
        posts = [each for each in both.paths if "/generate/" in each]
        assert len(posts) == 1


async def test_task_whose_answer_was_lost_is_not_sent_again(picture: Path) -> None:
    async with emulated_client(OLD, with_account=False) as both:
        both.server.control.script("stability", faults.Drop(job=True))
        with pytest.raises(errors.SubmitUnknownError):
            await both.ez.stability.upscale(picture, "a fox")
        assert _units(both) == [125_000]


async def test_log_of_the_account_says_that_a_lost_picture_was_charged() -> None:
    """It is lost all the same, and not asked for again."""
    async with emulated_client(OLD, with_account=True) as both:
        both.server.control.script("stability", faults.Drop(job=True))
        with pytest.raises(errors.SubmitUnknownError) as caught:
            await both.ez.stability.generate("core", "a fox")
        assert caught.value.charged is True
        assert _units(both) == [15_000]
        assert sum("/generate/" in each for each in both.paths) == 1


async def test_broken_call_of_the_relay_is_not_repeated() -> None:
    """The provider may be at work on it; nothing was charged."""
    async with emulated_client(OLD) as both:
        both.server.control.script("stability", faults.Upstream(broken="reset"))
        with pytest.raises(errors.ServerError) as caught:
            await both.ez.stability.generate("core", "a fox")
        assert (caught.value.retry_safe, caught.value.maybe_charged) == (False, False)
        assert len(both.paths) == 1


async def test_refusal_that_proves_no_call_is_repeated() -> None:
    async with emulated_client(OLD) as both:
        both.server.control.script("stability", faults.Trouble("user_quota_lookup"))
        image = await both.ez.stability.generate("core", "a fox")
        assert image.content
        assert _units(both) == [15_000]


async def test_cancelled_call_that_the_server_has_frees_its_slot() -> None:
    """The picture is lost; the call was paid once, and the client goes on."""
    held = _Held()
    async with emulated_client(OLD, max_concurrency=1) as both:
        both.server.control.script("stability", held)
        call = asyncio.create_task(both.ez.stability.generate("core", "a fox"))
        await until(both.server, "charges")
        await cancel(call)
        following = asyncio.create_task(both.ez.stability.generate("core", "a dog"))
        held.released.set()
        await following
        assert _units(both) == [15_000, 15_000]


async def test_failed_task_names_the_reason_and_is_not_given_back(
    picture: Path,
) -> None:
    said = {"errors": ["flagged"], "id": "x", "name": "content_moderation"}
    async with emulated_client(SLOW) as both:
        handle = await both.ez.stability.image_to_video(picture)
        both.server.control.standing("stability_result", faults.Upstream(403, said))
        with pytest.raises(errors.TaskFailedError, match="flagged") as caught:
            await handle
        assert caught.value.maybe_charged
        assert caught.value.task_id == handle.task_id


async def test_id_that_the_server_does_not_know_is_not_found() -> None:
    async with emulated_client(OLD) as both:
        with pytest.raises(errors.TaskNotFoundError):
            await both.ez.task("ab" * 32, family="stability")


async def test_id_of_another_call_is_not_found(picture: Path) -> None:
    async with emulated_client(OLD) as both:
        handle = await both.ez.stability.image_to_video(picture)
        with pytest.raises(errors.TaskNotFoundError):
            await both.ez.task(handle.task_id, family="stability-upscale")
        again = both.ez.task(handle.task_id, family="stability")
        assert (await again).media_type == "video/mp4"


async def test_picture_is_saved_whole_or_not_at_all(tmp_path: Path) -> None:
    """A folder in the way is refused, and the picture is still in memory."""
    (tmp_path / "file").write_text("x", encoding="utf-8")
    async with emulated_client(OLD) as both:
        image = await both.ez.stability.generate("core", "a fox")
        with pytest.raises(errors.DownloadError):
            await image.save(tmp_path / "file" / "fox.png")
        saved = await image.save(f"{tmp_path}/")
        assert saved.suffix == ".png"
        assert saved.read_bytes() == image.content
    assert "content" not in repr(image)
