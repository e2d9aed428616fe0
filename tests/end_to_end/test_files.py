"""Uploads and the catalogue over real sockets: what is stored, and what is not."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ezlink_async import AsyncEzlink, Timeouts, errors
from ezlink_async.emulator import EmulatorSettings, faults
from tests.support.cancelling import cancel
from tests.support.client_harness import RETRY, EmulatedClient, emulated_client, until
from tests.support.raw_servers import answer, keeps_open, stranger_tls
from tests.support.raw_servers import serving as raw_server

_MIB = 1024 * 1024
_WORKS = EmulatorSettings(files_work=True)


async def _blocks(count: int, size: int = 64 * 1024) -> AsyncIterator[bytes]:
    for number in range(count):
        yield bytes([number % 256]) * size


def _uploads(both: EmulatedClient) -> int:
    return both.paths.count("/v1/files")


async def test_path_bytes_and_iterable_are_stored_as_they_are(tmp_path: Path) -> None:
    """The hash that the server made of each is that of the content."""
    content = b"".join([block async for block in _blocks(40)])
    path = tmp_path / "a film.mp4"
    path.write_bytes(content)
    async with emulated_client(_WORKS) as both:
        upload = both.ez.files.upload
        from_path = await upload(path, purpose="vision")
        from_bytes = await upload(content)
        streamed = await upload(_blocks(40), length=len(content), name="b.mp4")
        empty = await upload(b"", name="empty")
        stored = both.server.control.files
        assert both.server.control.charged == 0
    digest = hashlib.sha256(content).hexdigest()
    assert [file.sha256 for file in stored[:3]] == [digest] * 3
    assert [file.size for file in stored] == [len(content)] * 3 + [0]
    assert [file.purpose for file in stored] == ["vision", "", "", ""]
    types = [file.content_type for file in stored[:3]]
    assert types == ["video/mp4", "application/octet-stream", "video/mp4"]
    for found, file in zip((from_path, from_bytes, streamed), stored, strict=False):
        assert (found.id, found.name) == (str(file.number), file.name)
        assert (found.size, found.purpose) == (file.size, file.purpose)
    assert from_path.url.endswith("-a%20film.mp4")
    assert streamed.url.endswith("/1b.mp4")
    assert empty.size == 0


async def test_upload_from_an_iterable_takes_little_memory() -> None:
    """A small edition of 200 MB: neither client nor emulator holds the file."""
    async with emulated_client(_WORKS) as both:
        await both.ez.files.upload(_blocks(4), length=4 * 64 * 1024)
        tracemalloc.start()
        try:
            found = await both.ez.files.upload(_blocks(512), length=32 * _MIB)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert found.size == 32 * _MIB
    assert peak < 6 * _MIB


async def test_first_upload_of_an_account_is_refused_and_not_repeated() -> None:
    async with emulated_client() as both:
        with pytest.raises(errors.RejectedError, match="first upload") as caught:
            await both.ez.files.upload(b"hello")
        assert caught.value.request_id
        assert _uploads(both) == 1
        assert both.server.control.files == []


async def test_same_name_overwrites_and_a_name_of_our_own_does_not() -> None:
    async with emulated_client(_WORKS) as both:
        named = [await both.ez.files.upload(b"x", name="a.txt") for _ in range(2)]
        assert len({file.url for file in named}) == 1
        own = [await both.ez.files.upload(b"x") for _ in range(5)]
        assert len({file.url for file in own}) == 5


async def test_lost_answer_says_that_the_file_may_be_stored_and_is_unpaid() -> None:
    """It is not sent again: the file would count twice in its account's level."""
    async with emulated_client(_WORKS) as both:
        both.server.control.script("files", faults.Drop(job=True))
        with pytest.raises(errors.TransportError, match="may be stored") as caught:
            await both.ez.files.upload(b"hello" * 100_000)
        error = caught.value
        assert (error.retry_safe, error.maybe_charged) == (False, False)
        assert error.stage == "answer"
        assert error.request_id == both.server.control.requests[-1].request_id
        assert (_uploads(both), len(both.server.control.files)) == (1, 1)


async def test_upload_that_is_cut_off_stores_nothing_and_says_so() -> None:
    async with emulated_client(_WORKS) as both:
        cut = faults.Drop(after_bytes=100_000, reset=True)
        both.server.control.script("files", cut)
        with pytest.raises(errors.TransportError) as caught:
            await both.ez.files.upload(_blocks(64), length=4 * _MIB)
        assert (caught.value.retry_safe, caught.value.stage) == (True, "upload")
        assert both.server.control.files == []


@pytest.mark.parametrize(
    "fault", [faults.Drop(after_bytes=100_000, reset=True), faults.limiter()]
)
async def test_path_and_bytes_are_sent_again_where_nothing_was_stored(
    tmp_path: Path, fault: faults.Fault
) -> None:
    """All attempts have one name, and an iterable has been read already."""
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(4 * _MIB))
    async with emulated_client(_WORKS) as both:
        both.server.control.script("files", fault)
        await both.ez.files.upload(path)
        both.server.control.script("files", fault, fault)
        await both.ez.files.upload(bytes(4 * _MIB))
        assert _uploads(both) == 5
        assert [file.size for file in both.server.control.files] == [4 * _MIB] * 2
        both.server.control.script("files", fault)
        with pytest.raises(errors.EzlinkError) as caught:
            await both.ez.files.upload(_blocks(64), length=4 * _MIB)
        assert caught.value.retry_safe
        assert _uploads(both) == 6


async def test_attempts_of_an_upload_end_with_their_error() -> None:
    async with emulated_client(_WORKS) as both:
        both.server.control.standing("files", faults.limiter())
        with pytest.raises(errors.BusyError):
            await both.ez.files.upload(b"hello")
        assert _uploads(both) == 3  # as many as the policy of the tests has
        both.server.control.standing("files", None)


async def test_server_that_is_not_trusted_is_not_asked_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No wait makes a certificate a good one."""
    caplog.set_level(logging.INFO, "ezlink_async")
    async with raw_server(keeps_open(answer(200)), tls=stranger_tls()) as server:
        async with AsyncEzlink("sk-none", base_url=server.url, retry=RETRY) as ez:
            with pytest.raises(errors.TransportError) as caught:
                await ez.files.upload(b"hello")
        assert (caught.value.stage, caught.value.retry_safe) == ("tls", True)
        assert "again" not in caplog.text


async def test_storage_that_fails_is_not_asked_again() -> None:
    """The server has tried it three times."""
    async with emulated_client(_WORKS) as both:
        both.server.control.script("files", faults.Upstream(broken="reset"))
        with pytest.raises(errors.ServerError, match="storage") as caught:
            await both.ez.files.upload(b"hello")
        assert caught.value.retry_safe
        assert _uploads(both) == 1


async def test_iterable_of_another_length_stores_nothing() -> None:
    """The end of the body never leaves, so that the server has no whole form."""
    async with emulated_client(_WORKS) as both:
        for length in (64 * 1024 - 1, 64 * 1024 + 1):
            with pytest.raises(errors.ConfigurationError, match="than the") as caught:
                await both.ez.files.upload(_blocks(1), length=length)
            assert caught.value.retry_safe
        await both.ez.files.upload(b"a", name="a")
        assert [file.name for file in both.server.control.files] == ["a"]


async def test_iterable_that_fails_stores_nothing() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 1000
        raise KeyError("lost")

    async with emulated_client(_WORKS) as both:
        with pytest.raises(errors.TransportError, match="cut off") as caught:
            await both.ez.files.upload(broken(), length=2000)
        assert caught.value.retry_safe
        assert both.server.control.files == []


async def test_iterable_that_stalls_ends_the_upload() -> None:
    async def stalled() -> AsyncIterator[bytes]:
        yield b"x" * 1000
        await asyncio.Event().wait()

    timeouts = Timeouts(upload=0.2)
    async with emulated_client(_WORKS, timeouts=timeouts) as both:
        with pytest.raises(errors.TransportError, match="no byte") as caught:
            await both.ez.files.upload(stalled(), length=2000)
        assert caught.value.retry_safe


async def _waiting(started: asyncio.Event) -> AsyncIterator[bytes]:
    yield b"x" * 200_000
    started.set()
    await asyncio.Event().wait()


async def test_cancelled_upload_stores_nothing_and_the_client_goes_on() -> None:
    async with emulated_client(_WORKS) as both:
        started = asyncio.Event()
        file = both.ez.files.upload(_waiting(started), length=400_000)
        task: asyncio.Task[object] = asyncio.create_task(file)
        await started.wait()
        await cancel(task)
        await both.ez.files.upload(b"a", name="a")
        assert [file.name for file in both.server.control.files] == ["a"]


async def test_closing_the_client_ends_an_upload() -> None:
    async with emulated_client(_WORKS) as both:
        started = asyncio.Event()
        file = both.ez.files.upload(_waiting(started), length=400_000)
        task = asyncio.create_task(file)
        await started.wait()
        await both.ez.aclose()
        with pytest.raises(errors.ClientClosedError):
            await task
        with pytest.raises(errors.ClientClosedError):
            await both.ez.files.upload(b"a")
        assert both.server.control.files == []


async def test_refused_key_ends_a_large_upload_early() -> None:
    async with emulated_client(_WORKS, api_key="sk-nobody") as both:
        with pytest.raises(errors.AuthenticationError) as caught:
            await both.ez.files.upload(_blocks(512), length=32 * _MIB)
        assert caught.value.retry_safe


async def test_missing_file_and_wrong_arguments_send_nothing(tmp_path: Path) -> None:
    async with emulated_client(_WORKS) as both:
        with pytest.raises(errors.ImageError, match="there is no such file"):
            await both.ez.files.upload(tmp_path / "none.txt")
        with pytest.raises(errors.ImageError, match="this is not a file"):
            await both.ez.files.upload(tmp_path)
        with pytest.raises(errors.ConfigurationError, match="may not hold"):
            await both.ez.files.upload(b"x", name="a/b")
        with pytest.raises(errors.ConfigurationError, match="pass length="):
            await both.ez.files.upload(_blocks(1))
        assert both.paths == []


async def test_uploads_do_not_wait_for_each_other() -> None:
    """One that stalls holds no other call of the client."""
    async with emulated_client(_WORKS) as both:
        both.server.control.script("files", faults.Stall(job=True))
        stalled = asyncio.create_task(both.ez.files.upload(b"a", name="a"))
        await until(both.server, "files")
        assert (await both.ez.files.upload(b"b", name="b")).name == "b"
        task: asyncio.Task[object] = stalled
        await cancel(task)


async def test_catalogue_has_each_id_once() -> None:
    async with emulated_client() as both:
        both.server.control.script("models", faults.Answer(503))
        models = await both.ez.models()
        ids = [model.id for model in models]
        assert len(set(ids)) == len(ids) > 50
        assert "swap_face" in ids
        assert both.paths == ["/v1/models"] * 2  # a fault is asked again
        kling = await both.ez.models("KLING")
        assert [model.id for model in kling][:2] == ["kling-v1", "kling-v1-6"]
        assert {model.owner for model in kling} == {"kling"}
        assert await both.ez.models("nope-1") == ()
