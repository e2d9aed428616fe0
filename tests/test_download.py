"""Bringing results home: from where, how often, and nothing wrong is kept, ever."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest

from ezlink_async import AsyncEzlink, PollPolicy, RetryPolicy, TaskHandle, errors
from ezlink_async.download import Address, addresses
from ezlink_async.emulator import Emulator, EmulatorSettings, faults, serving
from tests.conftest import png
from tests.fakes import GIF, jpeg
from tests.servers import Line, answer, hangs_up_after
from tests.servers import serving as raw_server

POLL = PollPolicy(first=0.01, shortest=0.01, longest=0.05)
RETRY = RetryPolicy(first=0.01, longest=0.02, attempts=3, timeout=20)
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
def test_e32_where_a_result_may_lie(
    given: str | None, base: str, urls: list[str]
) -> None:
    """As given when the host can be right, once; then built from the base URL."""
    found = addresses(given, REBUILT, base)
    assert [place.url for place in found] == urls
    assert [place.foreign for place in found] == [True, False][-len(urls) :]


@asynccontextmanager
async def paid(
    settings: EmulatorSettings | None = None, target: bytes | None = None
) -> AsyncIterator[tuple[TaskHandle, Emulator]]:
    """Have one finished swap."""
    async with asyncio.timeout(60), serving(settings) as server:
        client = AsyncEzlink(
            server.api_key, base_url=server.base_url, poll=POLL, retry=RETRY
        )
        async with client as ez:
            handle = await ez.swap_face(jpeg(20_000), target or jpeg(1_500_000))
            await handle
            yield handle, server


def _files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


PASSING: dict[str, faults.Fault] = {
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


@pytest.mark.parametrize("name", PASSING)
async def test_what_passes_is_tried_again(name: str, tmp_path: Path) -> None:
    """E37, E38, E40: after a fault the whole picture comes, and only that is kept."""
    async with paid() as (handle, server):
        server.control.script("image", PASSING[name])
        path = await handle.save(tmp_path / "a.jpg")
        assert path.read_bytes() == await handle.read()
        assert _files(tmp_path) == ["a.jpg"]


LASTING: dict[str, tuple[faults.Fault, int, int | None]] = {
    "gone: 403 twice": (faults.Picture(status=403, content="<Error>"), 2, 403),
    "gone: 404 twice": (faults.Picture(status=404, content="x"), 2, 404),
    "gone: 410 twice": (faults.Picture(status=410, content="x"), 2, 410),
    "refused": (faults.Answer(451, "no"), 1, 451),
    "always truncated": (faults.Picture(keep=300_000), 3, 200),
    # aiohttp itself sends a GET once more when a kept connection was closed.
    "always broken": (faults.Drop(), 6, None),
}


@pytest.mark.parametrize("name", LASTING)
async def test_what_lasts_is_an_error_that_keeps_the_id(
    name: str, tmp_path: Path
) -> None:
    """E39: a link that is gone ends after the second try, others after a few."""
    fault, tries, status = LASTING[name]
    async with paid() as (handle, server):
        server.control.standing("image", fault)
        before = len(server.control.requests)
        with pytest.raises(errors.DownloadError) as caught:
            await handle.save(tmp_path / "a.jpg")
        assert (caught.value.task_id, caught.value.status) == (handle.task_id, status)
        assert len(server.control.requests) - before <= tries
        assert len(server.control.requests) - before >= min(tries, 3)
        assert _files(tmp_path) == []


async def test_e41_the_content_type_proves_nothing() -> None:
    """A picture named a stream of octets is a picture."""
    async with paid() as (handle, server):
        octets = faults.Picture(content_type="application/octet-stream")
        server.control.script("image", octets)
        assert await handle.read()


async def test_e32_an_address_on_localhost_is_rebuilt(tmp_path: Path) -> None:
    """The server's default ``http://localhost:3000`` leads nowhere; the API does."""
    settings = EmulatorSettings(server_address="http://localhost:3")
    async with paid(settings) as (handle, _):
        record = await handle
        assert record.image_url == f"http://localhost:3/mj/image/{handle.task_id}"
        assert (await handle.save(tmp_path / "a.jpg")).stat().st_size


async def test_the_key_is_never_sent_with_a_download() -> None:
    """The id alone opens a picture, so no key goes along."""
    async with paid() as (handle, server):
        await handle.read()
        images = [s for s in server.control.requests if "/mj/image/" in s.path]
        assert images
        assert "authorization" not in str([s.headers for s in images]).lower()


async def test_the_suffix_stays_or_fits(tmp_path: Path) -> None:
    """``save`` leaves the suffix as given; the command line has it fit."""
    async with paid(target=png()) as (handle, _):
        assert await handle.save(tmp_path / "a.jpg") == tmp_path / "a.jpg"
        assert await handle.save_fitting(tmp_path / "b.c") == tmp_path / "b.c.png"
        assert _files(tmp_path) == ["a.jpg", "b.c.png"]


class _Gif:
    """An engine whose results cannot be verified."""

    name = "gif"

    def swap(self, source: bytes, target: bytes) -> bytes:
        """Return a moving picture."""
        return GIF + source[:1] + target[:1]


async def test_what_cannot_be_verified_is_kept_under_another_name(
    tmp_path: Path,
) -> None:
    """A GIF goes to ``NAME.unverified`` with an error; ``read`` gives none."""
    async with paid(EmulatorSettings(engine=_Gif())) as (handle, _):
        with pytest.raises(errors.DownloadError) as caught:
            await handle.save(tmp_path / "a.jpg")
        assert caught.value.path == tmp_path / "a.jpg.unverified"
        assert _files(tmp_path) == ["a.jpg.unverified"]
        with pytest.raises(errors.DownloadError, match="save it instead"):
            await handle.read()


async def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    """A file where a folder is due, or a folder at the place: DownloadError."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    async with paid() as (handle, _):
        for place in ("file/a.jpg", "folder"):
            with pytest.raises(errors.DownloadError, match="cannot be written"):
                await handle.save(tmp_path / place)
    assert _files(tmp_path) == ["file", "folder"]


async def test_a_file_that_is_there_stays_until_a_whole_one_comes(
    tmp_path: Path,
) -> None:
    """A failed save changes nothing; a good one replaces in one step."""
    path = tmp_path / "a.jpg"
    path.write_bytes(b"old")
    async with paid() as (handle, server):
        server.control.standing("image", faults.Picture(keep=300_000))
        with pytest.raises(errors.DownloadError):
            await handle.save(path)
        assert path.read_bytes() == b"old"
        server.control.standing("image", None)
        await handle.save(path)
        assert path.read_bytes() == await handle.read()


async def test_a_cancelled_save_leaves_nothing(tmp_path: Path) -> None:
    """Neither a file nor a part of one is left by a cancellation."""
    async with paid() as (handle, server):
        drip = faults.Picture(drip=0.01, block=1000)
        server.control.script("image", drip)
        save = asyncio.create_task(handle.save(tmp_path / "a.jpg"))
        while not _files(tmp_path):
            await asyncio.sleep(0)
        save.cancel()
        with pytest.raises(asyncio.CancelledError):
            await save
        assert _files(tmp_path) == []


async def test_a_closed_client_ends_a_save_in_progress(tmp_path: Path) -> None:
    """Closing while a download runs is ClientClosedError with the id."""
    async with asyncio.timeout(60), serving() as server:
        ez = AsyncEzlink(server.api_key, base_url=server.base_url, poll=POLL)
        async with ez:
            handle = await ez.swap_face(jpeg(20_000), jpeg(1_500_000))
            await handle
            server.control.script("image", faults.Stall())
            save = asyncio.create_task(handle.save(tmp_path / "a.jpg"))
            while not any("/mj/image" in s.path for s in server.control.requests):
                await asyncio.sleep(0)
        with pytest.raises(errors.ClientClosedError) as caught:
            await save
        assert caught.value.task_ids == (handle.task_id,)
        assert _files(tmp_path) == []


SAVE = """
import asyncio, sys
from ezlink_async import AsyncEzlink, PollPolicy

async def main():
    key, base_url, task_id, path = sys.argv[1:]
    async with AsyncEzlink(key, base_url=base_url) as ez:
        await ez.task(task_id).save(path)

asyncio.run(main())
"""


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
async def test_a_process_killed_during_a_download(tmp_path: Path) -> None:
    """Nothing stands under the final name, only a hidden part."""
    async with paid() as (handle, server):
        server.control.script("image", faults.Picture(drip=0.01, block=1000))
        path = tmp_path / "a.jpg"
        command = [sys.executable, "-c", SAVE, server.api_key, server.base_url]
        command += [handle.task_id, str(path)]
        process = subprocess.Popen(command)  # noqa: ASYNC220 - it is killed at once
        while not _files(tmp_path):
            await asyncio.sleep(0)
        process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(process.wait)
        assert not path.exists()
        assert all(name.startswith(".ezlink-") for name in _files(tmp_path))


@asynccontextmanager
async def strict(base_url: str) -> AsyncIterator[AsyncEzlink]:
    """Open a client of a raw server."""
    async with (
        asyncio.timeout(60),
        AsyncEzlink("sk-x", base_url=base_url, retry=RETRY) as ez,
    ):
        yield ez


async def test_fetch_image_has_a_limit() -> None:
    """More than a swap may have is refused while it comes, not after."""
    async with paid() as (handle, server), strict(server.base_url) as ez:
        large = faults.Picture(content="x" * (10 * 1024 * 1024 + 1))
        server.control.script("image", large)
        with pytest.raises(errors.DownloadError, match="more than 10485760"):
            await ez.fetch_image(f"{server.base_url}/mj/image/{handle.task_id}")


async def test_fetch_image_follows_no_redirect_to_a_private_host() -> None:
    """Each redirect is checked like the address itself."""
    away = answer(302, b"", Location="http://10.0.0.1/secret.jpg")
    async with raw_server(hangs_up_after(away)) as server, strict(server.url) as ez:
        with pytest.raises(errors.DownloadError, match="public internet"):
            await ez.fetch_image(f"{server.url}/a.jpg")


async def test_fetch_image_says_at_once_what_is_no_picture() -> None:
    """A page is refused the first time: trying again would not mend it."""
    async with (
        raw_server(hangs_up_after(answer(200, b"<html>"))) as server,
        strict(server.url) as ez,
    ):
        with pytest.raises(errors.DownloadError, match="no picture"):
            await ez.fetch_image(f"{server.url}/a.jpg")
        assert len(server.requests) == 1


async def test_a_download_that_drips_for_ever_ends() -> None:
    """However small the silences, the whole is bounded."""

    async def drip(line: Line) -> None:
        await line.head()
        line.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not line.reader.at_eof():
            line.say(b"1\r\nx\r\n")
            await asyncio.sleep(0.005)

    async with raw_server(drip) as server:
        from ezlink_async import Timeouts

        client = AsyncEzlink(
            "sk-x",
            base_url=server.url,
            retry=attrs.evolve(RETRY, attempts=1),
            timeouts=Timeouts(image=0.01),
        )
        async with asyncio.timeout(60), client as ez:
            with pytest.raises(errors.DownloadError, match="no picture from"):
                await ez.fetch_image(f"{server.url}/a.jpg")


def test_an_address_knows_how_far_to_trust_itself() -> None:
    """What a caller gave is strict only where the caller says so."""
    assert not Address("x").strict
    assert Address("x").limit == 100 * 1024 * 1024
