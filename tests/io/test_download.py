"""Downloads of results: from which address, how often, and complete or not at all."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType
from typing import cast

import aiohttp
import attrs
import pytest

from ezlink_async import (
    AsyncEzlink,
    TaskHandle,
    Timeouts,
    errors,
)
from ezlink_async._core.containers import verify_complete
from ezlink_async._core.events import Subject
from ezlink_async._io.addresses import (
    InlineResult,
    ResultAddress,
    candidate_addresses,
    locate,
)
from ezlink_async._io.download import Downloader
from ezlink_async._io.responses import DownloadStream
from ezlink_async.emulator import Emulator, EmulatorSettings, faults
from ezlink_async.models import Result
from tests.support.cancelling import cancel
from tests.support.client_harness import RETRY, beside_emulator
from tests.support.loop import now, on_virtual_clock, turns
from tests.support.movies import WEBM, gif, mp4, mp4_head
from tests.support.pictures import BMP, MIB, jpeg, png
from tests.support.raw_servers import (
    Connection,
    Handler,
    answer,
    closes_after,
    keeps_open,
    never_answers,
    run_client,
    stranger_tls,
)
from tests.support.raw_servers import serving as raw_server
from tests.support.scripted_transport import Held, ScriptedTransport, offline
from tests.support.threads import out_of_threads
from tests.support.transports import SHORT, RecordedSleep, secrets_in, transport

API = "https://api.ezlinkai.com"
REBUILT = f"{API}/mj/image/7"


@pytest.mark.parametrize(
    ("given", "base", "urls"),
    [
        (None, API, [REBUILT]),
        (REBUILT, API, [REBUILT]),
        (f"{REBUILT}?rand=17", API, [REBUILT]),
        ("http://localhost:3000/mj/image/7", API, [REBUILT]),
        ("http://10.0.0.3/mj/image/7", API, [REBUILT]),
        ("nonsense", API, [REBUILT]),
        ("http://[broken", API, [REBUILT]),
        ("https://cdn.example.com/7", API, ["https://cdn.example.com/7", REBUILT]),
    ],
)
def test_e32_plausible_address_is_tried_before_the_rebuilt_one(
    given: str | None, base: str, urls: list[str]
) -> None:
    found = candidate_addresses(given, REBUILT, base)
    assert [address.url for address in found] == urls
    assert [address.foreign for address in found] == [True, False][-len(urls) :]


@asynccontextmanager
async def finished_swap(
    settings: EmulatorSettings | None = None, target: bytes | None = None
) -> AsyncIterator[tuple[TaskHandle, Emulator]]:
    """Give the handle of one finished swap, and its server."""
    async with beside_emulator(settings) as (ez, server):
        handle = await ez.swap_face(jpeg(20_000), target or jpeg(1_500_000))
        await handle
        yield handle, server


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


PASSING_FAILURES: dict[str, faults.Fault] = {
    "truncated with a clean end": faults.Picture(keep=300_000),
    "truncated within two KiB": faults.Picture(keep=1_000),
    "empty": faults.Picture(content=""),
    "a page with status 200": faults.Answer(200, "<html>sorry</html>"),
    "upstream 503": faults.Picture(status=503, content="busy"),
    "upstream 204": faults.Picture(status=204, content=""),
    "the row cannot be looked up": faults.Answer(
        400, '{"error":"midjourney_task_not_found"}'
    ),
    "not reachable for the relay": faults.Picture(broken=True),
    "dropped": faults.Drop(),
    "dropped in the middle": faults.Cut(300_000),
    "a limiter": faults.limiter(),
    "once gone": faults.Picture(status=404, content="<html>"),
}


@pytest.mark.parametrize("name", PASSING_FAILURES)
async def test_e37_e38_e40_passing_failure_is_retried_until_the_picture_is_whole(
    name: str, tmp_path: Path
) -> None:
    async with finished_swap() as (handle, server):
        server.control.script("image", PASSING_FAILURES[name])
        path = await handle.save(tmp_path / "a.jpg")
        assert path.read_bytes() == await handle.read()
        assert files(tmp_path) == ["a.jpg"]


@asynccontextmanager
async def verified_in() -> AsyncIterator[set[str]]:
    """Collect the names of the threads in which pictures are verified."""
    names: set[str] = set()

    def profile(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code is verify_complete.__code__:
            names.add(threading.current_thread().name)

    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        yield names
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


@pytest.mark.parametrize("length", [20_000, 260_000])
async def test_picture_is_verified_in_a_thread(length: int, tmp_path: Path) -> None:
    """One that is made of markers would stop the loop; only tiny ones cannot."""
    markers = b"\xff\xd8\xff\xda\0\2" + b"\xff\xe0\0\2" * (length // 4)
    picture = answer(200, markers + b"\xff\xda\0\2ab\xff\xd9")
    async with (
        raw_server(keeps_open(picture)) as server,
        transport(server.url) as here,
        verified_in() as names,
    ):
        address = [ResultAddress(f"{server.url}/mj/image/7")]
        downloads = Downloader(here)
        await downloads.read(address)
        await downloads.save(address, "7", tmp_path / "a.jpg", fit_suffix=False)
        assert {name.rpartition("_")[0] for name in names} == {"ezlink-write"}


@attrs.define
class SlowDownload(Held):
    """A download that brings *portion* bytes each *pause* seconds."""

    portion: int = 1
    pause: float = 1.0

    async def block(self) -> bytes:
        """Return the next portion."""
        block, self.content = self.content[: self.portion], self.content[self.portion :]
        if block:
            await asyncio.sleep(self.pause)
        return block


class SlowTransport(ScriptedTransport):
    """Brings SMALL_PICTURE, a portion a second, at the rate that an address names."""

    def __init__(self) -> None:
        super().__init__(offline)
        self.started: list[str] = []

    async def stream(
        self,
        url: str,
        *,
        strict: bool,  # noqa: ARG002 - the signature of Transport
        subject: Subject | None = None,  # noqa: ARG002 - the same
    ) -> DownloadStream:
        """Start a download."""
        self.started.append(url)
        rate = int(url.rpartition("/")[2])
        return cast(
            "DownloadStream", SlowDownload(200, url, SMALL_PICTURE, portion=rate)
        )


SMALL_PICTURE = jpeg(16_000)  # small enough to be verified without a thread


def at_rate(rate: int) -> list[ResultAddress]:
    return [ResultAddress(f"{API}/{rate}")]


@on_virtual_clock
async def test_download_without_least_progress_is_tried_again_and_ends() -> None:
    """Each attempt lasts one window of ``Timeouts.image``, here of 5 s."""
    here = SlowTransport()
    with pytest.raises(errors.DownloadError, match="only 500 bytes a second"):
        await Downloader(here).read(at_rate(500), "7")
    assert len(here.started) == 3
    assert 14.9 < now() < 18.1  # a window ends with the next portion


@on_virtual_clock
async def test_slow_downloads_go_on_and_leave_their_turns_to_others() -> None:
    downloads, here = list[asyncio.Task[bytes]](), SlowTransport()
    downloader = Downloader(here)
    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            slow = group.create_task(downloader.read(at_rate(600), "7"))
            downloads.append(slow)
        await turns()
        assert await downloader.read(at_rate(20_000), "8") == SMALL_PICTURE
        assert 5.9 < now() < 7.1  # after one window of the others
        assert not any(slow.done() for slow in downloads)
    assert [slow.result() for slow in downloads] == [SMALL_PICTURE] * 8
    assert len(here.started) == 9  # none was begun anew


@on_virtual_clock
async def test_only_so_many_slow_downloads_share_the_link() -> None:
    """The others wait, or a slow link would be divided until no download moves."""
    here = SlowTransport()
    downloader = Downloader(here)
    async with asyncio.TaskGroup() as group:
        for _ in range(30):
            group.create_task(downloader.read(at_rate(600), "7"))
        await asyncio.sleep(20)
        assert len(here.started) == 16
    assert len(here.started) == 30


@on_virtual_clock
async def test_slow_download_keeps_its_turn_while_none_waits() -> None:
    here = SlowTransport()
    downloader = Downloader(here)
    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(downloader.read(at_rate(600), "7"))
        await asyncio.sleep(20)
        for _ in range(8):
            group.create_task(downloader.read(at_rate(600), "8"))
        await turns()
        assert len(here.started) == 8


async def test_result_stays_at_the_server_while_no_thread_can_be_started(
    tmp_path: Path,
) -> None:
    """The error carries the id and says what to change; later it is downloaded."""
    async with finished_swap() as (handle, _):
        for download in (handle.read, lambda: handle.save(tmp_path / "a.jpg")):
            with (
                out_of_threads("ezlink-write"),
                pytest.raises(errors.DownloadError, match="ulimit -u") as caught,
            ):
                await download()
            assert caught.value.task_id == handle.task_id
            assert files(tmp_path) == []
        path = await handle.save(tmp_path / "a.jpg")
        assert path.read_bytes() == await handle.read()


async def test_small_result_is_not_saved_without_a_thread(tmp_path: Path) -> None:
    """Its file is committed in a thread, with others."""
    async with finished_swap(target=jpeg(8_000)) as (handle, _):
        with (
            out_of_threads("ezlink-write"),
            pytest.raises(errors.DownloadError, match="ulimit -u"),
        ):
            await handle.save(tmp_path / "a.jpg")
        assert files(tmp_path) == []
        await handle.save(tmp_path / "a.jpg")


LASTING_FAILURES: dict[str, tuple[faults.Fault, int, int | None]] = {
    "gone: 403 twice": (faults.Picture(status=403, content="<Error>"), 2, 403),
    "gone: 404 twice": (faults.Picture(status=404, content="x"), 2, 404),
    "gone: 410 twice": (faults.Picture(status=410, content="x"), 2, 410),
    "refused": (faults.Answer(451, "no"), 1, 451),
    "always truncated": (faults.Picture(keep=300_000), 3, 200),
    # aiohttp itself sends a GET once more when a kept connection was closed.
    "always broken": (faults.Drop(), 6, None),
}


@pytest.mark.parametrize("name", LASTING_FAILURES)
async def test_e39_lasting_failure_is_a_download_error_with_the_task_id(
    name: str, tmp_path: Path
) -> None:
    """A result that is gone ends it after two attempts, other failures after a few."""
    fault, tries, status = LASTING_FAILURES[name]
    async with finished_swap() as (handle, server):
        server.control.standing("image", fault)
        before = len(server.control.requests)
        with pytest.raises(errors.DownloadError) as caught:
            await handle.save(tmp_path / "a.jpg")
        assert (caught.value.task_id, caught.value.status) == (handle.task_id, status)
        if status and isinstance(fault, faults.Picture):  # others are no answers of it
            last = server.control.requests[-1]
            assert caught.value.request_id == last.request_id
        assert len(server.control.requests) - before <= tries
        assert len(server.control.requests) - before >= min(tries, 3)
        assert files(tmp_path) == []


async def test_e41_picture_with_another_content_type_is_a_picture() -> None:
    async with finished_swap() as (handle, server):
        octets = faults.Picture(content_type="application/octet-stream")
        server.control.script("image", octets)
        assert await handle.read()


async def test_e32_address_on_localhost_is_rebuilt(tmp_path: Path) -> None:
    """The server's default ``http://localhost:3000`` leads nowhere; the API does."""
    settings = EmulatorSettings(server_address="http://localhost:3")
    async with finished_swap(settings) as (handle, _):
        record = await handle
        assert record.image_url == f"http://localhost:3/mj/image/{handle.task_id}"
        assert (await handle.save(tmp_path / "a.jpg")).stat().st_size


async def test_download_carries_no_key() -> None:
    """The id alone opens a picture."""
    async with finished_swap() as (handle, server):
        await handle.read()
        images = [s for s in server.control.requests if "/mj/image/" in s.path]
        assert images
        assert "authorization" not in str([s.headers for s in images]).lower()


async def test_save_warns_of_a_suffix_that_names_another_format(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with finished_swap(target=png()) as (handle, _):
        for name in ("a.png", "b", "c.PNG", "d.v2"):
            assert await handle.save(tmp_path / name) == tmp_path / name
        assert caplog.text == ""
        assert await handle.save(tmp_path / "a.JPG") == tmp_path / "a.JPG"
        [record] = caplog.records
        assert f"{tmp_path / 'a.JPG'} holds image/png" in record.getMessage()
        assert handle.task_id in record.getMessage()


async def test_save_into_a_folder_names_the_file_by_task_and_format(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with finished_swap(target=png()) as (handle, _):
        named = tmp_path / f"{handle.task_id}.png"
        assert await handle.save(tmp_path) == named
        new = await handle.save(f"{tmp_path}/new/")
        assert new == tmp_path / "new" / named.name
        assert named.read_bytes() == new.read_bytes() == await handle.read()
        assert caplog.text == ""


@pytest.mark.parametrize("size", [30_000, 1_500_000])
async def test_opened_result_streams_a_picture_of_known_length(size: int) -> None:
    async with finished_swap(target=jpeg(size)) as (handle, server):
        server.control.script("image", faults.Picture(keep=size // 2))
        async with await handle.open() as stream:
            content = b"".join([block async for block in stream])
            assert [block async for block in stream] == []
        assert (stream.media_type, stream.length) == ("image/jpeg", len(content))
        assert content == await handle.read()


async def test_stream_left_early_ends() -> None:
    async with finished_swap() as (handle, _):
        async with await handle.open() as stream:
            assert len(await anext(stream)) < stream.length
        assert [block async for block in stream] == []


async def test_result_that_cannot_be_verified_is_not_streamed() -> None:
    settings = EmulatorSettings(engine=BmpEngine())
    async with finished_swap(settings) as (handle, _):
        with pytest.raises(errors.DownloadError, match="cannot be verified"):
            await handle.open()


class BmpEngine:
    """An engine whose results cannot be verified."""

    name = "bmp"

    def swap(self, source: bytes, target: bytes) -> bytes:
        """Return a BMP."""
        return BMP + source[:1] + target[:1]


async def test_result_that_cannot_be_verified_is_saved_as_unverified(
    tmp_path: Path,
) -> None:
    """``save`` raises an error with its path; ``read`` returns no bytes."""
    async with finished_swap(EmulatorSettings(engine=BmpEngine())) as (handle, _):
        with pytest.raises(errors.DownloadError) as caught:
            await handle.save(tmp_path / "a.jpg")
        assert caught.value.path == tmp_path / "a.jpg.unverified"
        assert files(tmp_path) == ["a.jpg.unverified"]
        with pytest.raises(errors.DownloadError, match="save it instead"):
            await handle.read()


async def test_path_that_cannot_be_written_is_a_download_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    async with finished_swap() as (handle, _):
        with pytest.raises(errors.DownloadError, match="cannot be written"):
            await handle.save(tmp_path / "file" / "a.jpg")
    assert files(tmp_path) == ["file"]


async def test_full_temporary_folder_is_a_download_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    async with finished_swap() as (handle, _):
        with pytest.raises(errors.DownloadError, match="the folder for temporary"):
            await handle.open()


async def test_failed_save_keeps_the_old_file_and_a_good_one_replaces_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"old")
    async with finished_swap() as (handle, server):
        server.control.standing("image", faults.Picture(keep=300_000))
        with pytest.raises(errors.DownloadError):
            await handle.save(path)
        assert path.read_bytes() == b"old"
        server.control.standing("image", None)
        await handle.save(path)
        assert path.read_bytes() == await handle.read()


async def test_cancelled_save_leaves_no_file(tmp_path: Path) -> None:
    async with finished_swap() as (handle, server):
        drip = faults.Picture(drip=0.001, block=5000)
        server.control.script("image", drip)
        save = asyncio.create_task(handle.save(tmp_path / "a.jpg"))
        while not files(tmp_path):
            await asyncio.sleep(0)
        await cancel(save)
        assert files(tmp_path) == []


async def test_close_ends_a_save_in_progress_with_client_closed_error(
    tmp_path: Path,
) -> None:
    async with finished_swap() as (handle, server):
        server.control.script("image", faults.Stall())
        save = asyncio.create_task(handle.save(tmp_path / "a.jpg"))
        while not any("/mj/image" in s.path for s in server.control.requests):
            await asyncio.sleep(0)
    with pytest.raises(errors.ClientClosedError) as caught:
        await save
    assert caught.value.task_ids == (handle.task_id,)
    assert files(tmp_path) == []


SAVE = """
import asyncio, sys
from ezlink_async import AsyncEzlink

async def main():
    key, base_url, task_id, path = sys.argv[1:]
    async with AsyncEzlink(key, base_url=base_url) as ez:
        await ez.task(task_id).save(path)

asyncio.run(main())
"""


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
async def test_process_killed_during_a_download_leaves_a_hidden_part_only(
    tmp_path: Path,
) -> None:
    async with finished_swap() as (handle, server):
        server.control.script("image", faults.Picture(drip=0.001, block=5000))
        path = tmp_path / "a.jpg"
        command = [sys.executable, "-c", SAVE, server.api_key, server.base_url]
        command += [handle.task_id, str(path)]
        process = subprocess.Popen(command)  # noqa: ASYNC220 - it is killed at once
        while not files(tmp_path):
            await asyncio.sleep(0)
        process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(process.wait)
        assert not path.exists()
        assert all(name.startswith(".ezlink-") for name in files(tmp_path))


@asynccontextmanager
async def client_of(base_url: str) -> AsyncIterator[AsyncEzlink]:
    """Open a client of a raw server."""
    async with (
        asyncio.timeout(300),
        AsyncEzlink("sk-x", base_url=base_url, retry=RETRY) as ez,
    ):
        yield ez


async def test_fetch_image_refuses_a_large_picture_while_it_comes() -> None:
    async with finished_swap() as (handle, server), client_of(server.base_url) as ez:
        large = faults.Picture(content="x" * (10 * 1024 * 1024 + 1))
        server.control.script("image", large)
        with pytest.raises(errors.DownloadError, match="more than 10,485,760"):
            await ez.fetch_image(f"{server.base_url}/mj/image/{handle.task_id}")


async def test_fetch_image_follows_no_redirect_to_a_private_host() -> None:
    away = answer(302, b"", Location="http://10.0.0.1/secret.jpg")
    async with raw_server(closes_after(away)) as server, client_of(server.url) as ez:
        with pytest.raises(errors.DownloadError, match="public internet"):
            await ez.fetch_image(f"{server.url}/a.jpg")


async def test_fetch_image_does_not_retry_a_page() -> None:
    async with (
        raw_server(closes_after(answer(200, b"<html>"))) as server,
        client_of(server.url) as ez,
    ):
        with pytest.raises(errors.DownloadError, match="no picture"):
            await ez.fetch_image(f"{server.url}/a.jpg")
        assert len(server.requests) == 1


class DrippingTransport(ScriptedTransport):
    """Starts downloads that bring a byte at every turn of the loop and never end."""

    async def stream(
        self,
        url: str,
        *,
        strict: bool,  # noqa: ARG002 - the signature of Transport
        subject: Subject | None = None,  # noqa: ARG002 - the same
    ) -> DownloadStream:
        """Start such a download."""
        return cast("DownloadStream", Drip(200, url, b""))


class Drip(Held):
    async def block(self) -> bytes:
        """Return the next byte, after a turn of the loop."""
        await asyncio.sleep(0)
        return b"x"


async def test_download_without_an_end_is_bounded_by_thirty_silences() -> None:
    there = DrippingTransport(offline)
    there.settings = attrs.evolve(
        there.settings,
        retry=attrs.evolve(RETRY, attempts=1),
        timeouts=Timeouts(image=0.001),
    )
    async with asyncio.timeout(300):
        with pytest.raises(errors.DownloadError, match=r"not whole after 0\.03 s"):
            await Downloader(there).read([ResultAddress(REBUILT)], "7")


async def test_download_of_a_video_may_take_as_much_longer_as_it_may_be_larger() -> (
    None
):
    there = DrippingTransport(offline)
    there.settings = attrs.evolve(
        there.settings,
        retry=attrs.evolve(RETRY, attempts=1),
        timeouts=Timeouts(image=0.0001),
    )
    video = ResultAddress(REBUILT, limit=2 * 1024**3)
    async with asyncio.timeout(300):
        with pytest.raises(errors.DownloadError, match=r"not whole after 0\.06144 s"):
            await Downloader(there).read([video], "7")


@pytest.mark.parametrize(
    ("status", "gone"), [(403, True), (404, True), (410, True), (451, False)]
)
async def test_error_of_a_link_that_is_gone_says_so(status: int, *, gone: bool) -> None:
    """A caller that can have the link renewed does it then."""
    async with downloads(closes_after(answer(status, b""))) as (here, addresses, _):
        with pytest.raises(errors.DownloadError) as caught:
            await here.read(addresses[1:], "7")
    assert (caught.value.status, caught.value.gone) == (status, gone)
    assert ("the link is gone" in str(caught.value)) is gone


async def test_no_message_shows_the_key_in_a_link(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Some providers sign their links with a key of the operator's."""
    caplog.set_level("DEBUG")
    away = answer(302, b"", Location="/8?key=UPSTREAM-KEY")
    answers = closes_after(answer(503, b""), away, answer(404, b""))
    async with downloads(answers) as (here, (_, address), sleep):
        signed = attrs.evolve(address, url=f"{address.url}?a=b&key=UPSTREAM-KEY")
        with pytest.raises(errors.DownloadError) as caught:
            await here.read([signed], "7")
        assert sleep.waits
    assert "?a=b&key=...: HTTP 404" in str(caught.value)
    assert "UPSTREAM-KEY" not in str(caught.value) + caplog.text


REFUSED = [
    "http://127.0.0.1:9/a.mp4",
    "http://10.0.0.1/a.mp4",
    "http://localhost/a.mp4",
    "http://[::1]/a.mp4",
    "file:///etc/passwd",
    "data:video/mp4;base64,AAAA",
    "a.mp4",
]


@pytest.mark.parametrize("url", REFUSED)
async def test_only_address_of_a_result_leads_to_the_public_internet(url: str) -> None:
    """Unless the API itself is on a private network; nothing is asked."""
    source = locate(Result(kind="video", url=url), API)
    sleep = RecordedSleep()
    async with transport(API, sleep=sleep) as there:
        with pytest.raises(errors.DownloadError, match=r"no address"):
            await Downloader(there, sleep).read(source, "7")
    assert not sleep.waits


async def test_result_that_is_nowhere_counts_as_gone(tmp_path: Path) -> None:
    """It came with its record, which was saved without it."""
    here = Downloader(ScriptedTransport(offline))
    for download in (
        here.read([], "7"),
        here.open([], "7"),
        here.save([], "7", tmp_path / "a", fit_suffix=True),
    ):
        with pytest.raises(errors.DownloadError, match="was not kept") as caught:
            await download
        assert (caught.value.gone, caught.value.task_id) == (True, "7")
    assert files(tmp_path) == []


INLINE = {
    "text": (InlineResult("füchse\n".encode(), is_text=True), "text/plain", ".txt"),
    "empty text": (InlineResult(b"", is_text=True), "text/plain", ".txt"),
    "small": (InlineResult(png()), "image/png", ".png"),
    "picture": (InlineResult(jpeg(2_500_000)), "image/jpeg", ".jpg"),
    "video": (InlineResult(mp4()), "video/mp4", ".mp4"),
    "GIF": (InlineResult(gif()), "image/gif", ".gif"),
}


@pytest.mark.parametrize(
    ("result", "media_type", "suffix"), INLINE.values(), ids=INLINE.keys()
)
async def test_result_in_its_record_is_read_streamed_and_saved(
    result: InlineResult, media_type: str, suffix: str, tmp_path: Path
) -> None:
    here = Downloader(ScriptedTransport(offline))
    assert await here.read(result) == result.content
    async with await here.open(result, "7") as stream:
        assert b"".join([block async for block in stream]) == result.content
        assert (stream.media_type, stream.length) == (media_type, len(result.content))
    saved = await here.save(result, "7", tmp_path / "a.b", fit_suffix=True)
    assert saved.path == tmp_path / f"a.b{suffix}"
    assert saved.path.read_bytes() == result.content
    assert files(tmp_path) == [saved.path.name]


@pytest.mark.parametrize("content", [jpeg(20_000)[:-9], b"", b"<html>", mp4()[:-1]])
async def test_broken_result_in_its_record_is_a_download_error(
    content: bytes, tmp_path: Path
) -> None:
    here = Downloader(ScriptedTransport(offline))
    with pytest.raises(errors.DownloadError, match="came with the record of task 7"):
        await here.save(InlineResult(content), "7", tmp_path / "a", fit_suffix=True)
    assert files(tmp_path) == []


async def test_result_in_its_record_of_another_format_is_kept_as_unverified(
    tmp_path: Path,
) -> None:
    here = Downloader(ScriptedTransport(offline))
    with pytest.raises(errors.DownloadError) as caught:
        await here.save(InlineResult(WEBM), "7", tmp_path / "a", fit_suffix=True)
    assert caught.value.path == tmp_path / "a.unverified"
    assert (tmp_path / "a.unverified").read_bytes() == WEBM


def test_result_address_is_not_strict_by_default() -> None:
    assert not ResultAddress("x").strict
    assert ResultAddress("x").limit == 100 * 1024 * 1024


# On raw servers


PICTURE = jpeg(300_000)


@asynccontextmanager
async def downloads(
    api: Handler,
    foreign: Handler | None = None,
    *,
    tls: bool = False,
    timeouts: Timeouts = SHORT,
) -> AsyncIterator[tuple[Downloader, list[ResultAddress], RecordedSleep]]:
    """Give a downloader, the addresses of a foreign host and an API, and the sleep."""
    sleep = RecordedSleep()
    async with (
        raw_server(api) as own,
        raw_server(foreign or api, tls=stranger_tls() if tls else None) as other,
        transport(own.url, timeouts, sleep=sleep) as there,
    ):
        addresses = [
            ResultAddress(f"{other.url}/7", foreign=True),
            ResultAddress(f"{own.url}/7"),
        ]
        yield Downloader(there, sleep), addresses, sleep


@pytest.mark.parametrize(
    "content", [mp4(), mp4(first=False), gif()], ids=["MP4", "index last", "GIF"]
)
async def test_what_moves_is_saved_whole_or_not_at_all(
    content: bytes, tmp_path: Path
) -> None:
    """A server that ends a stream cleanly anywhere makes no half of a video."""
    for length in random.sample(range(len(content)), 50):
        cut = answer(200, content[:length])
        async with downloads(closes_after(cut)) as (here, (_, address), sleep):
            with pytest.raises(errors.DownloadError):
                await here.save([address], "7", tmp_path / "a", fit_suffix=True)
            assert len(sleep.waits) == 2
    assert files(tmp_path) == []
    whole = closes_after(answer(200, content[:-1]), answer(200, content))
    async with downloads(whole) as (here, (_, address), _):
        saved = await here.save([address], "7", tmp_path / "a", fit_suffix=True)
    assert saved.path.suffix in {".mp4", ".gif"}
    assert saved.path.read_bytes() == content


async def test_video_is_saved_in_flat_memory(tmp_path: Path) -> None:
    """One of 150 MiB, which a picture may not have."""
    head, length = mp4_head(150 * MIB), 150 * MIB
    block = bytes(MIB)

    async def streams(conn: Connection) -> None:
        await conn.read_request()
        start = f"HTTP/1.1 200 OK\r\nContent-Length: {len(head) + length}\r\n\r\n"
        conn.send(start.encode() + head)
        for _ in range(length // MIB):
            conn.send(block)
            await conn.writer.drain()

    async with downloads(streams, timeouts=Timeouts()) as (here, (_, address), _):
        with pytest.raises(errors.DownloadError, match="more than 104,857,600 bytes"):
            await here.save([address], "7", tmp_path / "a", fit_suffix=True)
        video = attrs.evolve(address, limit=2048 * MIB)
        tracemalloc.start()
        saved = await here.save([video], "7", tmp_path / "a", fit_suffix=True)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert saved.path == tmp_path / "a.mp4"
    assert saved.size == len(head) + length
    assert peak < 30 * MIB


@pytest.mark.parametrize("announced", [True, False])
async def test_result_that_is_too_long_is_refused_as_soon_as_that_is_known(
    *, announced: bool
) -> None:
    """Of an announced one nothing is read: the server of this test sends no more."""
    whole = answer(200, jpeg(3_000))
    unannounced = b"HTTP/1.1 200 OK\r\n\r\n" + bytes(3_000)
    handler = keeps_open(whole[:-2_000] if announced else unannounced)
    async with downloads(handler) as (here, (_, address), sleep):
        short = attrs.evolve(address, limit=2_000)
        with pytest.raises(errors.DownloadError, match="more than 2,000 bytes"):
            await here.read([short])
        assert not sleep.waits


async def test_headers_that_drip_end_an_attempt() -> None:
    """They are never silent, and would keep a turn for a quarter of an hour."""

    async def drips(conn: Connection) -> None:
        await conn.read_request()
        conn.send(b"HTTP/1.1 200 OK\r\nX: ")
        while not conn.writer.is_closing():
            conn.send(b"a")
            await asyncio.sleep(timeouts.image / 4)

    timeouts = Timeouts(connect=0.2, image=0.2)
    async with downloads(drips, timeouts=timeouts) as (here, addresses, _):
        with pytest.raises(errors.DownloadError, match="no answer from"):
            await here.read(addresses)


def redirects_to(target: str) -> Handler:
    return keeps_open(answer(302, b"", Location=target))


FOREIGN_FAILURES: dict[str, Handler] = {
    "401": closes_after(answer(401, b"no")),
    "404": closes_after(answer(404, b"no")),
    "451": closes_after(answer(451, b"no")),
    "503": closes_after(answer(503, b"no")),
    "a page": closes_after(answer(200, b"<html>")),
    "nothing": closes_after(answer(200, b"")),
    "truncated": closes_after(answer(200, PICTURE[:-2])),
    "cut off": closes_after(answer(200, PICTURE)[:-100]),
    "not gzip": closes_after(answer(200, b"x" * 99, Content_Encoding="gzip")),
    "no answer": closes_after(b""),
    "not HTTP": closes_after(b"this is not HTTP\r\n\r\n"),
    "silence": never_answers,
    "stopped in the middle": keeps_open(answer(200, PICTURE)[:200_000]),
    "redirected in circles": redirects_to("/7"),
    "redirected to no address": redirects_to("http://[broken"),
    "redirected to a file": redirects_to("file:///etc/passwd"),
    "redirected to an odd name": redirects_to("http://" + "a" * 70 + ".invalid/"),
    "redirected to an odd port": redirects_to("http://localhost:99999/"),
}


@pytest.mark.parametrize("foreign", FOREIGN_FAILURES.values(), ids=FOREIGN_FAILURES)
async def test_failure_of_a_foreign_address_falls_back_to_the_api(
    foreign: Handler, tmp_path: Path
) -> None:
    """The foreign address is tried once, and the API without a wait."""
    short = Timeouts(connect=0.2, fetch=0.2, image=0.2)
    api = closes_after(answer(200, PICTURE))
    async with downloads(api, foreign, timeouts=short) as (here, addresses, _):
        saved = await here.save(addresses, "7", tmp_path / "a.jpg", fit_suffix=False)
        assert saved.path.read_bytes() == PICTURE
        assert files(tmp_path) == ["a.jpg"]
        assert await here.read(addresses) == PICTURE


async def test_untrusted_foreign_address_falls_back_to_the_api() -> None:
    api = keeps_open(answer(200, PICTURE))
    async with downloads(api, tls=True) as (here, addresses, sleep):
        assert await here.read(addresses) == PICTURE
        assert not sleep.waits


async def test_foreign_address_is_used_with_its_redirects() -> None:
    nowhere = closes_after(answer(500, b""))
    there = closes_after(answer(301, b"", Location="../8?a=%2F"), answer(200, PICTURE))
    async with downloads(nowhere, there) as (here, addresses, _):
        assert await here.read(addresses) == PICTURE


async def test_status_counts_when_the_body_of_a_refusal_breaks_off() -> None:
    cut = closes_after(answer(404, b"x" * 100)[:-100])
    async with downloads(cut) as (here, addresses, sleep):
        with pytest.raises(errors.DownloadError) as caught:
            await here.read(addresses, "7")
        assert (caught.value.status, caught.value.task_id) == (404, "7")
        assert not sleep.waits
        assert not secrets_in(caught.value)


async def test_tls_error_of_the_api_is_not_retried() -> None:
    api = keeps_open(answer(200, PICTURE))
    async with downloads(api, tls=True) as (here, addresses, sleep):
        (untrusted, _) = addresses
        with pytest.raises(errors.DownloadError, match="SSL_CERT_FILE"):
            await here.read([attrs.evolve(untrusted, foreign=False)])
        assert not sleep.waits


async def test_is_there_makes_one_attempt_and_never_raises() -> None:
    answers = closes_after(answer(200, PICTURE), answer(200, b""), answer(500, b""))
    async with downloads(answers) as (here, addresses, sleep):
        address = addresses[-1]
        assert await here.is_there(address)
        assert not await here.is_there(address)
        assert not await here.is_there(address)
        assert not await here.is_there(ResultAddress("http://[broken"))
        assert not sleep.waits
    assert not await here.is_there(address)  # closed


@pytest.mark.parametrize(("hint", "least"), [("7", 7.0), ("86400", 450.0)])
async def test_retry_after_is_honoured_up_to_fifteen_minutes(
    hint: str, least: float
) -> None:
    refusal = answer(429, b"", Retry_After=hint)
    answers = keeps_open(*[refusal] * 2, answer(200, PICTURE))
    async with downloads(answers) as (here, (_, address), sleep):
        assert await here.read([address]) == PICTURE
        assert len(sleep.waits) == 2
        assert all(least <= wait < 900 for wait in sleep.waits)


async def test_closed_session_during_a_download_is_a_configuration_error() -> None:
    sleep = RecordedSleep()
    session = aiohttp.ClientSession()
    async with (
        raw_server(keeps_open(answer(200, PICTURE))) as server,
        transport(server.url, http=session, sleep=sleep) as there,
    ):
        here = Downloader(there, sleep)
        assert await here.read([ResultAddress(f"{server.url}/7")]) == PICTURE
        await session.close()
        with pytest.raises(errors.ConfigurationError, match="http="):
            await here.read([ResultAddress(f"{server.url}/7")])
        assert not sleep.waits


async def test_neither_the_api_nor_a_foreign_host_gets_the_key() -> None:
    seen: list[dict[str, str]] = []

    async def handler(conn: Connection) -> None:
        while await conn.read_request():
            seen.append(conn.headers)
            conn.send(answer(500, b""))

    async with downloads(handler) as (here, addresses, _):
        with pytest.raises(errors.DownloadError):
            await here.read(addresses)
    assert len(seen) == 4
    assert all("authorization" not in headers for headers in seen)


@pytest.mark.parametrize("turns", range(0, 40, 2))
async def test_save_cancelled_at_any_turn_leaves_the_old_or_the_new_file(
    turns: int, tmp_path: Path
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"old")
    api = closes_after(answer(200, jpeg(1_500_000)))
    async with downloads(api) as (here, addresses, _):
        save = asyncio.create_task(
            here.save(addresses[1:], "7", path, fit_suffix=False)
        )
        for _ in range(turns):
            await asyncio.sleep(0)
        save.cancel()
        await asyncio.gather(save, return_exceptions=True)
        assert files(tmp_path) == ["a.jpg"]
        assert path.read_bytes() in {b"old", jpeg(1_500_000)}


FULL = """
import asyncio, resource, signal, sys
from ezlink_async import errors
from ezlink_async._io.download import Downloader
from ezlink_async._io.addresses import ResultAddress
from tests.support.transports import transport
from pathlib import Path

async def main():
    url, path = sys.argv[1:]
    async with transport(url) as here:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        try:
            address = [ResultAddress(url + "/7")]
            await Downloader(here).save(address, "7", Path(path), fit_suffix=False)
        except errors.DownloadError as error:
            print(error.task_id, error)

asyncio.run(main())
"""


@pytest.mark.skipif(os.name == "nt", reason="there is no limit to set")
async def test_full_disk_keeps_the_old_file_and_is_a_download_error(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"old")
    async with raw_server(keeps_open(answer(200, jpeg(2_000_000)))) as server:
        printed, problems = await run_client(FULL, server.url, str(path))
    assert not problems
    assert printed.startswith("7 ")
    assert "cannot be written: File too large" in printed
    assert path.read_bytes() == b"old"
    assert files(tmp_path) == ["a.jpg"]
