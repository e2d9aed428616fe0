"""How a body leaves, and what is known when it does not."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import threading
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp.abc import AbstractStreamWriter

from ezlink_async._core.images import EncodedImage, InspectedImage
from ezlink_async._core.messages import HttpRequest
from ezlink_async._core.policies import Timeouts
from ezlink_async._io import image_reader, upload
from ezlink_async._io.upload import Upload, is_readable
from ezlink_async.errors import ImageError, TransportError
from tests.support.pictures import JPEG, MIB, jpeg, prepared, prepared_file
from tests.support.raw_servers import (
    SMALL,
    Connection,
    Handler,
    answer,
    closes_after,
    keeps_open,
    server_tls,
    serving,
)
from tests.support.transports import Submits, submit_of, submits


async def _listen(conn: Connection) -> None:
    await conn.read_until_closed()


async def test_an_open_connection_is_open_and_nothing_is_on_its_way() -> None:
    """Before anything was written everything has arrived."""
    async with serving(_listen) as server:
        _, stream = await asyncio.open_connection("localhost", server.port)
        assert upload.is_open(stream.transport)
        assert not upload.has_unacknowledged(stream.transport)
        assert not upload.is_readable(stream.transport)
        stream.close()


async def test_of_a_closed_connection_nothing_is_expected() -> None:
    """It is not open, and nothing is waited for."""
    async with serving(_listen) as server:
        _, stream = await asyncio.open_connection("localhost", server.port)
        stream.close()
        assert not upload.is_open(stream.transport)
        assert not upload.has_unacknowledged(stream.transport)
        await stream.wait_closed()
        assert not upload.is_readable(stream.transport)


class _Odd(asyncio.WriteTransport):
    """A connection that is no socket."""

    def is_closing(self) -> bool:
        """Stay open."""
        return False


def test_where_nothing_is_told_nothing_is_changed() -> None:
    """Without a socket to ask, it counts as open, empty, and without news."""
    assert upload.is_open(_Odd())
    assert not upload.has_unacknowledged(_Odd())
    assert not upload.is_readable(_Odd())
    upload.limit_unsent(_Odd())


LARGE = jpeg(9 * MIB)

OK = answer(200, b'{"code":1,"result":"7"}')

BOTH = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


def large() -> HttpRequest:
    """Return a submit of 12 MB."""
    return submit_of(prepared(LARGE))


async def fails(here: Submits, request: HttpRequest) -> TransportError:
    """Submit, and return the error it must end with."""
    with pytest.raises(TransportError) as caught:
        await here.submit(request)
    return caught.value


# What leaves


async def test_every_kind_of_part_arrives_byte_for_byte(tmp_path: Path) -> None:
    """Files, bytes and encoded sources arrive as their base64, with exact length."""
    file = prepared_file(tmp_path / "a.jpg", jpeg(700_001))
    encoded = await image_reader.encode(prepared(jpeg(300_000)))
    request = HttpRequest(
        "POST", "/", (b'{"a":"', file, b'","b":"', encoded, b'","c":"', _tiny(), b'"}')
    )
    async with serving(closes_after(OK)) as server, submits(server.url) as here:
        await here.submit(request)
        (conn,) = server.requests
        assert "transfer-encoding" not in conn.headers
        assert conn.length == len(conn.body) == request.content_length
        sent = json.loads(conn.body)
        assert [base64.b64decode(sent[name]) for name in "abc"] == [
            jpeg(700_001),
            jpeg(300_000),
            JPEG,
        ]
        assert here.complete


def _tiny() -> InspectedImage:
    return prepared(JPEG)


class CountingWriter(AbstractStreamWriter):
    """Counts what is written onto a real connection, and keeps none of it."""

    def __init__(self, transport: asyncio.WriteTransport | None) -> None:
        self._transport = transport
        self.blocks: list[int] = []

    @property
    def transport(self) -> asyncio.WriteTransport | None:
        """The connection."""
        return self._transport

    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Count a block."""
        self.blocks.append(len(chunk))
        self.output_size += len(chunk)

    async def write_eof(self, chunk: bytes = b"") -> None:
        """Do nothing."""

    async def drain(self) -> None:
        """Do nothing."""

    def enable_compression(
        self, encoding: str = "deflate", strategy: int | None = None
    ) -> None:
        """Do nothing."""

    def enable_chunking(self) -> None:
        """Do nothing."""

    async def write_headers(self, status_line: str, headers: object) -> None:
        """Do nothing."""


async def test_the_body_is_never_whole_in_memory(tmp_path: Path) -> None:
    """A file of 9 MiB leaves in blocks of up to 256 KiB, a few at a time."""
    request = submit_of(prepared_file(tmp_path / "a.jpg", LARGE))

    async def silent(conn: Connection) -> None:
        await conn.read_until_closed()

    async with serving(silent) as server:
        _, stream = await asyncio.open_connection("localhost", server.port)
        counting = CountingWriter(stream.transport)
        upload = Upload(request, stall=5)
        tracemalloc.start()
        try:
            await upload.write(counting)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            stream.close()
    assert max(counting.blocks) <= 256 * 1024
    assert sum(counting.blocks) == request.content_length
    assert peak < 6 * MIB


async def test_a_body_has_no_text_form() -> None:
    """Asking for the body as text is refused, since it is never whole."""
    with pytest.raises(TypeError):
        Upload(large(), stall=1).decode()


@pytest.mark.parametrize("body", [(b"",), (b"x", prepared(JPEG))])
async def test_the_last_part_is_bytes(body: tuple[bytes | InspectedImage, ...]) -> None:
    """A body whose last part cannot be held back is refused before it starts."""
    with pytest.raises(TypeError):
        Upload(HttpRequest("POST", "/", body), stall=1)


async def test_a_lost_connection_is_no_place_to_write() -> None:
    """An upload onto a connection that is gone fails and is not complete."""
    upload = Upload(large(), stall=1)
    with pytest.raises(ConnectionResetError):
        await upload.write(CountingWriter(None))
    assert not upload.complete
    assert isinstance(upload.fault, ConnectionResetError)


class ClosingWriter(CountingWriter):
    """Loses its connection while the last block is on its way."""

    async def drain(self) -> None:
        """Return as aiohttp's does when the connection was closed meanwhile."""
        assert self.transport is not None
        self.transport.close()


class TimedOutWriter(CountingWriter):
    """Fails as the kernel does when nobody acknowledges."""

    async def drain(self) -> None:
        """Raise what a dead line becomes."""
        raise TimeoutError(110, "Connection timed out")


async def _written_to(kind: type[CountingWriter]) -> Upload:
    """Write a small body with a writer of a kind; it must fail."""

    async def silent(conn: Connection) -> None:
        await conn.read_until_closed()

    upload = Upload(submit_of(_tiny()), stall=5)
    async with serving(silent) as server:
        _, stream = await asyncio.open_connection("localhost", server.port)
        with pytest.raises(OSError, match=r"closed|timed out"):
            await upload.write(kind(stream.transport))
        stream.close()
    return upload


@pytest.mark.parametrize("kind", [ClosingWriter, TimedOutWriter])
async def test_the_last_part_needs_a_connection(kind: type[CountingWriter]) -> None:
    """A connection lost right before the last part leaves the body unwhole."""
    upload = await _written_to(kind)
    assert not upload.complete
    assert isinstance(upload.fault, OSError)


def test_no_connection_has_no_news() -> None:
    """Where nothing can be asked of the socket, nothing has come."""
    assert not is_readable(None)


# What a file can do


def _cut(path: Path) -> None:
    os.truncate(path, 5 * MIB)


def _grow(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(b"more")


def _vanish(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("change", [_cut, _grow, _vanish])
@BOTH
async def test_a_file_that_changes_leaves_no_job(
    tmp_path: Path, change: Callable[[Path], None], *, tls: bool
) -> None:
    """A file that changes under way is an ImageError, and no whole body arrives."""
    path = tmp_path / "a.jpg"
    first, second = prepared(LARGE), prepared_file(path, LARGE)

    async def handler(conn: Connection) -> None:
        if await conn.read_head():
            await conn.read_body(1 * MIB)
            change(path)
            await conn.read_until_closed()

    tls_context = server_tls() if tls else None
    async with serving(handler, tls=tls_context) as server, submits(server.url) as here:
        with pytest.raises(ImageError) as caught:
            await here.submit(submit_of(first, b'","b":"', second))
        assert caught.value.path == path
        assert caught.value.retry_safe
        assert not here.complete
        await server.connections[0].closed.wait()
        assert server.requests[0].received < server.requests[0].length


async def test_a_disk_that_gives_nothing_ends_the_upload() -> None:
    """A read that never comes back counts as standing still, and is safe."""
    release = threading.Event()

    async def handler(conn: Connection) -> None:
        if await conn.read_head():
            await conn.read_until_closed()

    async with (
        serving(handler) as server,
        submits(server.url, Timeouts(upload=0.2)) as here,
    ):
        for _ in range(8):
            here.transport.readers.submit(release.wait)
        try:
            error = await fails(here, large())
            assert (error.stage, error.retry_safe) == ("upload", True)
        finally:
            release.set()


# Who breaks off


async def _reset(conn: Connection) -> None:
    await conn.read_body(3 * MIB)
    conn.reset()


async def _close(conn: Connection) -> None:
    await conn.read_body(3 * MIB)
    conn.close()


async def _garbage(conn: Connection) -> None:
    await conn.read_body(3 * MIB)
    conn.send(b"220 smtp.example.com ready\r\n")
    await conn.read_until_closed()


def _then(end: Callable[[Connection], Awaitable[None]]) -> Handler:
    async def handler(conn: Connection) -> None:
        if await conn.read_head():
            await end(conn)

    return handler


@pytest.mark.parametrize("end", [_reset, _close, _garbage])
@BOTH
async def test_a_break_in_mid_body_proves_that_there_is_no_job(
    end: Callable[[Connection], Awaitable[None]], *, tls: bool
) -> None:
    """A connection lost in mid-body is not complete, and safe to repeat."""
    context = server_tls() if tls else None
    async with (
        serving(_then(end), tls=context, buffer=SMALL) as server,
        submits(server.url) as here,
    ):
        error = await fails(here, large())
        assert (error.stage, error.retry_safe, error.maybe_charged) == (
            "upload",
            True,
            False,
        )
        assert not here.complete
        assert error.request_id == "request-1"


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.8])
@BOTH
async def test_even_a_body_of_two_megabytes_is_known_to_be_cut_off(
    kept: float, *, tls: bool
) -> None:
    """The kernel's buffers do not make a body count that was cut off."""
    request = submit_of(prepared(jpeg(int(1.5 * MIB))))

    async def handler(conn: Connection) -> None:
        if await conn.read_head():
            await conn.read_body(int(conn.length * kept))
            conn.reset()

    context = server_tls() if tls else None
    async with (
        serving(handler, tls=context, buffer=SMALL) as server,
        submits(server.url) as here,
    ):
        assert (await fails(here, request)).retry_safe
        assert not here.complete


async def _eof(conn: Connection) -> None:
    await conn.read_body()
    conn.close()


async def _late_reset(conn: Connection) -> None:
    await conn.read_body()
    conn.reset()


async def _silence(conn: Connection) -> None:
    await conn.read_body()
    await conn.read_until_closed()


async def _late_garbage(conn: Connection) -> None:
    await conn.read_body()
    conn.send(b"\x00\x01 nothing that is HTTP\r\n\r\n")
    await conn.read_until_closed()


@pytest.mark.parametrize("end", [_eof, _late_reset, _silence, _late_garbage])
@BOTH
async def test_a_break_after_the_last_byte_proves_nothing(
    end: Callable[[Connection], Awaitable[None]], *, tls: bool
) -> None:
    """Once the body has left whole, a lost answer may be a paid job."""
    context = server_tls() if tls else None
    timeouts = Timeouts(connect=5, upload=5, submit=0.3)
    async with (
        serving(_then(end), tls=context) as server,
        submits(server.url, timeouts) as here,
    ):
        error = await fails(here, large())
        assert (error.retry_safe, error.maybe_charged) == (False, True)
        assert error.stage == ("silence" if end is _silence else "answer")
        assert here.complete
        assert server.requests[0].whole


@BOTH
async def test_a_server_that_stops_reading_does_not_hang_the_upload(
    *, tls: bool
) -> None:
    """When no byte moves for the longest time allowed, the upload ends, safely."""

    async def handler(conn: Connection) -> None:
        if await conn.read_head():
            await conn.read_body(1 * MIB)
            await asyncio.Event().wait()

    context = server_tls() if tls else None
    async with (
        serving(handler, tls=context, buffer=SMALL) as server,
        submits(server.url, Timeouts(upload=0.2)) as here,
    ):
        error = await fails(here, large())
        assert (error.stage, error.retry_safe) == ("upload", True)
        assert "no byte of the body moved for 0.2 s" in str(error)
        assert not here.complete


async def test_a_slow_reader_is_waited_for() -> None:
    """An upload whose bytes move is no stalled one, however long it takes."""
    steps = 0

    async def handler(conn: Connection) -> None:
        nonlocal steps
        loop = asyncio.get_running_loop()
        await conn.read_head()
        while not conn.whole:
            await conn.read_body(64 * 1024, keep=False)
            pause = loop.create_future()
            loop.call_later(0.02, pause.set_result, None)
            await pause
            steps += 1
        conn.send(OK)

    request = submit_of(prepared(jpeg(3 * MIB)))
    async with (
        serving(handler, buffer=SMALL) as server,
        submits(server.url, Timeouts(upload=0.25)) as here,
    ):
        assert (await here.submit(request)).status == 200
        assert steps > 30


# Who calls it off


@BOTH
async def test_a_cancelled_submit_leaves_no_whole_body(*, tls: bool) -> None:
    """Cancelling in mid-upload drops the connection; the server has no job."""
    halfway = asyncio.Event()

    async def handler(conn: Connection) -> None:
        if await conn.read_head():
            await conn.read_body(2 * MIB)
            halfway.set()
            await conn.read_until_closed()

    context = server_tls() if tls else None
    async with serving(handler, tls=context) as server, submits(server.url) as here:
        task = asyncio.create_task(here.submit(large()))
        await halfway.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not here.complete
        await server.connections[0].closed.wait()
        assert not server.requests[0].whole


@BOTH
async def test_cancelling_drops_the_connection_of_a_server_that_reads_nothing(
    *, tls: bool
) -> None:
    """Nothing is flushed to a server that stands still: the connection is dropped."""
    stuck, go_on = asyncio.Event(), asyncio.Event()

    async def handler(conn: Connection) -> None:
        if await conn.read_head():
            await conn.read_body(1 * MIB)
            stuck.set()
            await go_on.wait()
            await conn.read_until_closed()

    context = server_tls() if tls else None
    async with (
        serving(handler, tls=context, buffer=SMALL) as server,
        submits(server.url) as here,
    ):
        task = asyncio.create_task(here.submit(large()))
        await stuck.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()
        await server.connections[0].closed.wait()
        assert server.requests[0].received < 4 * MIB


@pytest.mark.parametrize("turns", range(0, 60, 3))
@BOTH
async def test_after_abort_the_last_part_never_leaves(turns: int, *, tls: bool) -> None:
    """Called off at any turn of the loop, a body is whole only if it says so."""
    request = submit_of(prepared(jpeg(400_000)))

    async def handler(conn: Connection) -> None:
        if await conn.read_head() and await conn.read_body():
            conn.send(OK)
        await conn.read_until_closed()

    context = server_tls() if tls else None
    async with serving(handler, tls=context) as server, submits(server.url) as here:
        task = asyncio.create_task(here.submit(request))
        while here.upload is None or not server.requests:
            await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0)
        here.upload.abort()
        if here.complete:
            assert (await task).status == 200
            return
        with pytest.raises(TransportError) as caught:
            await task
        assert caught.value.retry_safe
        await server.connections[0].closed.wait()
        assert not server.requests[0].whole


async def test_abort_before_the_connection_stops_the_upload() -> None:
    """Called off before its first byte, nothing of a body leaves."""
    upload = Upload(large(), stall=1)
    upload.abort()

    async def handler(conn: Connection) -> None:
        await conn.read_until_closed()

    async with serving(handler) as server:
        _, stream = await asyncio.open_connection("localhost", server.port)
        writer = CountingWriter(stream.transport)
        with pytest.raises(Exception, match="called off"):
            await upload.write(writer)
        assert not writer.blocks
        stream.close()
    assert not upload.complete


async def test_abort_after_the_last_byte_changes_nothing() -> None:
    """A body that has left is not called off: its answer is read."""
    answered = asyncio.Event()

    async def handler(conn: Connection) -> None:
        await conn.read_request()
        await answered.wait()
        conn.send(OK)
        await conn.read_until_closed()

    async with serving(handler) as server, submits(server.url) as here:
        task = asyncio.create_task(here.submit(submit_of(_tiny())))
        while here.upload is None or not here.complete:
            await asyncio.sleep(0)
        here.upload.abort()
        answered.set()
        assert (await task).status == 200


# Answers that come early


REFUSED = b'{"error":{"message":"no (request id: 1)","type":"api_error"}}'


async def _early_and_close(conn: Connection) -> None:
    conn.send(answer(401, REFUSED, Connection="close"))
    conn.close()


async def _early_and_drain(conn: Connection) -> None:
    conn.send(answer(413, REFUSED))
    await conn.read_until_closed()


async def _early_and_stay(conn: Connection) -> None:
    conn.send(answer(401, REFUSED))
    await asyncio.Event().wait()


async def _early_in_two(conn: Connection) -> None:
    whole = answer(401, REFUSED)
    conn.send(whole[:-10])
    await conn.read_body(2 * MIB)
    conn.send(whole[-10:])
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    "end", [_early_and_close, _early_and_drain, _early_and_stay, _early_in_two]
)
@BOTH
async def test_an_early_answer_is_read_and_the_body_stays_unwhole(
    end: Callable[[Connection], Awaitable[None]], *, tls: bool
) -> None:
    """An answer that overtakes the body is returned, and marked as early."""

    async def handler(conn: Connection) -> None:
        if await conn.read_head():
            await conn.read_body(1 * MIB)
            await end(conn)

    context = server_tls() if tls else None
    async with (
        serving(handler, tls=context, buffer=SMALL) as server,
        submits(server.url) as here,
    ):
        response = await here.submit(large())
        assert response.early
        assert response.status in {401, 413}
        assert response.body == REFUSED
        assert not here.complete
        assert not server.requests[0].whole


async def test_an_early_answer_holds_the_last_part_back() -> None:
    """While an early answer is still coming the rest may leave, but not all."""
    most = asyncio.Event()

    async def handler(conn: Connection) -> None:
        await conn.read_head()
        whole = answer(401, REFUSED)
        conn.send(whole[:-10])
        await conn.read_body(conn.length - 2)
        most.set()
        conn.send(whole[-10:])
        await conn.read_until_closed()

    request = submit_of(prepared(jpeg(2 * MIB)))
    async with serving(handler) as server, submits(server.url) as here:
        response = await here.submit(request)
        assert most.is_set()
        assert response.early
        assert response.body == REFUSED
        await server.connections[0].closed.wait()
        assert server.requests[0].received == request.content_length - 2


async def test_an_early_answer_that_never_ends_is_kept_as_far_as_it_came() -> None:
    """An early answer that stands still gives its status and what came of it."""

    async def handler(conn: Connection) -> None:
        await conn.read_head()
        conn.send(answer(401, REFUSED)[:-10])
        await asyncio.Event().wait()

    async with (
        serving(handler, buffer=SMALL) as server,
        submits(server.url, Timeouts(upload=5, fetch=0.2)) as here,
    ):
        response = await here.submit(large())
        assert (response.status, response.early) == (401, True)
        assert response.body == REFUSED[:-10]


async def test_the_last_part_waits_no_longer_than_any_other() -> None:
    """Held back by an answer that never comes whole, an upload ends too."""

    async def handler(conn: Connection) -> None:
        await conn.read_head()
        conn.send(answer(401, REFUSED)[:-10])
        await conn.read_until_closed()

    async with (
        serving(handler) as server,
        submits(server.url, Timeouts(upload=0.2, fetch=5)) as here,
    ):
        response = await here.submit(submit_of(prepared(jpeg(MIB))))
        assert (response.status, response.early) == (401, True)
        await server.connections[0].closed.wait()
        assert not server.requests[0].whole


async def test_connections_are_not_reused_after_a_body_that_did_not_leave() -> None:
    """The next submit after an early answer has a connection of its own."""

    async def handler(conn: Connection) -> None:
        await conn.read_head()
        if len(conn.server.connections) == 1:
            conn.send(answer(401, REFUSED))
            await conn.read_until_closed()
        elif await conn.read_body():
            conn.send(OK)

    async with (
        serving(handler, buffer=SMALL) as server,
        submits(server.url) as here,
    ):
        assert (await here.submit(large())).early
        assert not (await here.submit(large())).early
        assert len(server.connections) == 2


async def test_a_body_in_one_piece_is_complete_when_it_leaves() -> None:
    """A body of one part is sent whole, with its length."""
    async with serving(closes_after(OK)) as server, submits(server.url) as here:
        await here.submit(HttpRequest("POST", "/", (b"{}",)))
        assert bytes(server.requests[0].body) == b"{}"
        assert here.complete


async def test_an_encoded_source_is_shared_not_copied() -> None:
    """Many uploads of one source send the same text."""
    encoded = await image_reader.encode(prepared(jpeg(100_000)))
    assert isinstance(encoded, EncodedImage)
    request = HttpRequest("POST", "/", (b'{"a":"', encoded, b'"}'))
    async with serving(keeps_open(OK)) as server, submits(server.url) as here:
        await here.submit(request)
        await here.submit(request)
        one, two = (bytes(conn.body) for conn in server.requests)
        assert one == two


async def test_a_caller_s_trace_sees_every_block() -> None:
    """Hooks of a caller's session are served while a body is under way."""
    seen: list[int] = []
    hooks = aiohttp.TraceConfig()

    async def note(*given: object) -> None:
        params = given[-1]
        assert isinstance(params, aiohttp.TraceRequestChunkSentParams)
        seen.append(len(params.chunk))

    hooks.on_request_chunk_sent.append(note)
    request = submit_of(prepared(jpeg(500_000)))
    async with (
        serving(closes_after(OK)) as server,
        aiohttp.ClientSession(trace_configs=[hooks]) as session,
        submits(server.url, http=session) as here,
    ):
        await here.submit(request)
        assert sum(seen) == request.content_length
