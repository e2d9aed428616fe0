"""Bringing results home: from where, how often, and nothing wrong is kept, ever."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import aiohttp
import attrs
import pytest

from ezlink_async import (
    AsyncEzlink,
    PollPolicy,
    RetryPolicy,
    TaskHandle,
    Timeouts,
    errors,
)
from ezlink_async._io.addresses import ResultAddress, candidate_addresses
from ezlink_async._io.concurrency import run_in_thread
from ezlink_async._io.download import Downloader
from ezlink_async._io.responses import DownloadStream
from ezlink_async.emulator import Emulator, EmulatorSettings, faults, serving
from tests.support.pictures import GIF, jpeg, png
from tests.support.raw_servers import (
    Connection,
    Handler,
    answer,
    closes_after,
    keeps_open,
    stranger_tls,
)
from tests.support.raw_servers import serving as raw_server
from tests.support.scripted_transport import Held, ScriptedTransport, offline
from tests.support.transports import SHORT, RecordedSleep, secrets_in, transport

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
    found = candidate_addresses(given, REBUILT, base)
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
        assert (
            await handle.save_fitting(tmp_path / "b.c")
        ).path == tmp_path / "b.c.png"
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
        drip = faults.Picture(drip=0.001, block=5000)
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
        server.control.script("image", faults.Picture(drip=0.001, block=5000))
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
    async with raw_server(closes_after(away)) as server, strict(server.url) as ez:
        with pytest.raises(errors.DownloadError, match="public internet"):
            await ez.fetch_image(f"{server.url}/a.jpg")


async def test_fetch_image_says_at_once_what_is_no_picture() -> None:
    """A page is refused the first time: trying again would not mend it."""
    async with (
        raw_server(closes_after(answer(200, b"<html>"))) as server,
        strict(server.url) as ez,
    ):
        with pytest.raises(errors.DownloadError, match="no picture"):
            await ez.fetch_image(f"{server.url}/a.jpg")
        assert len(server.requests) == 1


class Dripping(ScriptedTransport):
    """Begins downloads that bring a byte at every turn of the loop and never end."""

    async def stream(self, url: str, *, strict: bool) -> DownloadStream:  # noqa: ARG002 - the seam's signature
        """Give such a stream."""
        return cast("DownloadStream", _Drip(200, url, b""))


class _Drip(Held):
    async def block(self) -> bytes:
        """Return the next byte, after a turn of the loop."""
        await asyncio.sleep(0)
        return b"x"


async def test_a_download_that_drips_for_ever_ends() -> None:
    """However small the silences, the whole is bounded."""
    there = Dripping(offline)
    there.settings = attrs.evolve(
        there.settings,
        retry=attrs.evolve(RETRY, attempts=1),
        timeouts=Timeouts(image=0.001),
    )
    async with asyncio.timeout(60):
        with pytest.raises(errors.DownloadError, match=r"not whole after 0\.03 s"):
            await Downloader(there).read([ResultAddress(REBUILT)], "7")


def test_an_address_knows_how_far_to_trust_itself() -> None:
    """What a caller gave is strict only where the caller says so."""
    assert not ResultAddress("x").strict
    assert ResultAddress("x").limit == 100 * 1024 * 1024


# On the wire


PICTURE = jpeg(300_000)


@asynccontextmanager
async def downloads(
    home: Handler,
    elsewhere: Handler | None = None,
    *,
    tls: bool = False,
    timeouts: Timeouts = SHORT,
) -> AsyncIterator[tuple[Downloader, list[ResultAddress], RecordedSleep]]:
    """Give downloads, and the addresses of a raw API and of another server."""
    sleep = RecordedSleep()
    async with (
        raw_server(home) as api,
        raw_server(elsewhere or home, tls=stranger_tls() if tls else None) as other,
        transport(api.url, timeouts, sleep=sleep) as there,
    ):
        places = [
            ResultAddress(f"{other.url}/7", foreign=True),
            ResultAddress(f"{api.url}/7"),
        ]
        yield Downloader(there, sleep), places, sleep


async def _hang_up(conn: Connection) -> None:
    await conn.read_head()
    conn.close()


async def _babble(conn: Connection) -> None:
    await conn.read_head()
    conn.send(b"this is not HTTP\r\n\r\n")


async def _silence(conn: Connection) -> None:
    await conn.read_until_closed()


async def _stop_in_the_middle(conn: Connection) -> None:
    await conn.read_head()
    conn.send(answer(200, PICTURE)[:200_000])
    await conn.read_until_closed()


def _moved(target: str) -> Handler:
    return keeps_open(answer(302, b"", Location=target))


ELSEWHERE: dict[str, Handler] = {
    "401": closes_after(answer(401, b"no")),
    "404": closes_after(answer(404, b"no")),
    "451": closes_after(answer(451, b"no")),
    "503": closes_after(answer(503, b"no")),
    "a page": closes_after(answer(200, b"<html>")),
    "nothing": closes_after(answer(200, b"")),
    "truncated": closes_after(answer(200, PICTURE[:-2])),
    "cut off": closes_after(answer(200, PICTURE)[:-100]),
    "not gzip": closes_after(answer(200, b"x" * 99, Content_Encoding="gzip")),
    "hang up": _hang_up,
    "babble": _babble,
    "silence": _silence,
    "stopped": _stop_in_the_middle,
    "sent in circles": _moved("/7"),
    "sent to no address": _moved("http://[broken"),
    "sent to a file": _moved("file:///etc/passwd"),
    "sent to an odd name": _moved("http://" + "a" * 70 + ".invalid/"),
    "sent to an odd port": _moved("http://localhost:99999/"),
}


@pytest.mark.parametrize("name", ELSEWHERE)
async def test_whatever_is_wrong_elsewhere_the_api_is_asked(
    name: str, tmp_path: Path
) -> None:
    """The address in the record is tried once; then the API, without a wait."""
    short = Timeouts(connect=0.2, fetch=0.2, image=0.2)
    home = closes_after(answer(200, PICTURE))
    async with downloads(home, ELSEWHERE[name], timeouts=short) as (here, places, _):
        saved = await here.save(places, "7", tmp_path / "a.jpg", fit_suffix=False)
        assert saved.path.read_bytes() == PICTURE
        assert _files(tmp_path) == ["a.jpg"]
        assert await here.read(places) == PICTURE


async def test_a_certificate_elsewhere_does_not_lose_the_picture() -> None:
    """A host that cannot be trusted is passed over, and nobody waits for it."""
    home = keeps_open(answer(200, PICTURE))
    async with downloads(home, tls=True) as (here, places, sleep):
        assert await here.read(places) == PICTURE
        assert not sleep.waits


async def test_what_lies_elsewhere_is_taken_from_there() -> None:
    """A good address in the record is used, with its redirects."""
    nowhere = closes_after(answer(500, b""))
    there = closes_after(answer(301, b"", Location="../8?a=%2F"), answer(200, PICTURE))
    async with downloads(nowhere, there) as (here, places, _):
        assert await here.read(places) == PICTURE


async def test_a_link_that_is_gone_is_gone_even_if_its_words_are_lost() -> None:
    """The status counts when the body of a refusal breaks off."""
    cut = closes_after(answer(404, b"x" * 100)[:-100])
    async with downloads(cut) as (here, places, sleep):
        with pytest.raises(errors.DownloadError) as caught:
            await here.read(places, "7")
        assert (caught.value.status, caught.value.task_id) == (404, "7")
        assert not sleep.waits
        assert not secrets_in(caught.value)


async def test_an_untrusted_api_does_not_become_trusted_by_waiting() -> None:
    """A certificate nobody vouches for ends a download at once."""
    home = keeps_open(answer(200, PICTURE))
    async with downloads(home, tls=True) as (here, places, sleep):
        (untrusted, _) = places
        with pytest.raises(errors.DownloadError, match="SSL_CERT_FILE"):
            await here.read([attrs.evolve(untrusted, foreign=False)])
        assert not sleep.waits


async def test_one_look_tells_whether_there_is_a_picture() -> None:
    """Looking once never raises, whatever is there, and repeats nothing."""
    looks = closes_after(answer(200, PICTURE), answer(200, b""), answer(500, b""))
    async with downloads(looks) as (here, places, sleep):
        home = places[-1]
        assert await here.is_there(home)
        assert not await here.is_there(home)
        assert not await here.is_there(home)
        assert not await here.is_there(ResultAddress("http://[broken"))
        assert not sleep.waits
    assert not await here.is_there(home)  # closed


@pytest.mark.parametrize(("hint", "least"), [("7", 7.0), ("86400", 450.0)])
async def test_a_server_that_asks_to_wait_is_waited_for(
    hint: str, least: float
) -> None:
    """A paid picture is not given up for a server that is busy for a while."""
    refusal = answer(429, b"", Retry_After=hint)
    answers = keeps_open(*[refusal] * 2, answer(200, PICTURE))
    async with downloads(answers) as (here, (_, home), sleep):
        assert await here.read([home]) == PICTURE
        assert len(sleep.waits) == 2
        assert all(least <= wait < 900 for wait in sleep.waits)


async def test_a_closed_session_is_no_missing_picture() -> None:
    """A caller's session closed under a download is said so, at once."""
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


async def test_no_key_goes_anywhere() -> None:
    """Neither the API nor another server is shown the key for a picture."""
    seen: list[dict[str, str]] = []

    async def handler(conn: Connection) -> None:
        while await conn.read_request():
            seen.append(conn.headers)
            conn.send(answer(500, b""))

    async with downloads(handler) as (here, places, _):
        with pytest.raises(errors.DownloadError):
            await here.read(places)
    assert len(seen) == 4
    assert all("authorization" not in headers for headers in seen)


async def test_a_thread_at_work_is_waited_for_however_often_one_leaves() -> None:
    """A file in use is not pulled from under the thread that writes it."""
    begun, go_on, through = threading.Event(), threading.Event(), list[bool]()

    def work() -> None:
        begun.set()
        go_on.wait(20)
        through.append(True)

    task = asyncio.create_task(run_in_thread(work))
    await asyncio.to_thread(begun.wait, 20)
    for _ in range(3):
        task.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert through


async def test_a_thread_that_fails_while_one_leaves_is_silent() -> None:
    """The error of abandoned work is not reported as never retrieved."""
    begun, go_on = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait(20)
        raise OSError(28, "No space left on device")

    told: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context))
    task = asyncio.create_task(run_in_thread(work))
    await asyncio.to_thread(begun.wait, 20)
    task.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    del task
    gc.collect()
    await asyncio.sleep(0)
    assert told == []


@pytest.mark.parametrize("turns", range(0, 40, 2))
async def test_a_save_cancelled_at_any_turn_keeps_all_or_nothing(
    turns: int, tmp_path: Path
) -> None:
    """Whenever it is cancelled, the old file or the whole new one is there."""
    path = tmp_path / "a.jpg"
    path.write_bytes(b"old")
    home = closes_after(answer(200, jpeg(1_500_000)))
    async with downloads(home) as (here, places, _):
        save = asyncio.create_task(here.save(places[1:], "7", path, fit_suffix=False))
        for _ in range(turns):
            await asyncio.sleep(0)
        save.cancel()
        await asyncio.gather(save, return_exceptions=True)
        assert _files(tmp_path) == ["a.jpg"]
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
            place = [ResultAddress(url + "/7")]
            await Downloader(here).save(place, "7", Path(path), fit_suffix=False)
        except errors.DownloadError as error:
            print(error.task_id, error)

asyncio.run(main())
"""


@pytest.mark.skipif(os.name == "nt", reason="there is no limit to set")
async def test_a_full_disk_is_a_download_error(tmp_path: Path) -> None:
    """A disk without room keeps what was there, and says so with the id."""
    path = tmp_path / "a.jpg"
    path.write_bytes(b"old")
    async with raw_server(keeps_open(answer(200, jpeg(2_000_000)))) as server:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-X", "dev", "-W", "error", "-c", FULL),
            *(server.url, str(path)),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdout=asyncio.subprocess.PIPE,
        )
        told, _ = await process.communicate()
    assert told.decode().startswith("7 ")
    assert "cannot be written: File too large" in told.decode()
    assert path.read_bytes() == b"old"
    assert _files(tmp_path) == ["a.jpg"]
