"""How a body is sent, and what is certain when it is not."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import threading
import tracemalloc
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp.abc import AbstractStreamWriter

from ezlink_async._core.images import EncodedImage, InspectedImage
from ezlink_async._core.messages import HttpRequest, StreamContent
from ezlink_async._core.policies import Timeouts
from ezlink_async._io import image_reader, upload
from ezlink_async._io.upload import Upload, is_readable
from ezlink_async.errors import ConfigurationError, ImageError, TransportError
from tests.support.cancelling import cancel
from tests.support.pictures import JPEG, MIB, jpeg, prepared, prepared_file
from tests.support.raw_servers import (
    SMALL,
    Connection,
    Handler,
    after_body,
    answer,
    closes_after,
    keeps_open,
    never_answers,
    resets,
    serving,
)
from tests.support.transports import submit_of, submits, submitting_to


async def test_idle_connection_is_open_and_has_nothing_unacknowledged() -> None:
    async with serving(never_answers) as server:
        _, stream = await asyncio.open_connection("localhost", server.port)
        assert upload.is_open(stream.transport)
        assert not upload.has_unacknowledged(stream.transport)
        assert not upload.is_readable(stream.transport)
        stream.close()


async def test_closed_connection_is_not_open_and_has_nothing_unacknowledged() -> None:
    async with serving(never_answers) as server:
        _, stream = await asyncio.open_connection("localhost", server.port)
        stream.close()
        assert not upload.is_open(stream.transport)
        assert not upload.has_unacknowledged(stream.transport)
        await stream.wait_closed()
        assert not upload.is_readable(stream.transport)


class NoSocket(asyncio.WriteTransport):
    """A connection without a socket to ask."""

    def is_closing(self) -> bool:
        return False


def test_connection_without_a_socket_counts_as_open_and_acknowledged() -> None:
    assert upload.is_open(NoSocket())
    assert not upload.has_unacknowledged(NoSocket())
    assert not upload.is_readable(NoSocket())
    upload.limit_unsent(NoSocket())


LARGE = jpeg(9 * MIB)

OK = answer(200, b'{"code":1,"result":"7"}')

BOTH = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


def large() -> HttpRequest:
    """Return a submit of 12 MB."""
    return submit_of(prepared(LARGE))


# Bodies


async def test_files_bytes_and_encoded_sources_arrive_as_base64_of_exact_length(
    tmp_path: Path,
) -> None:
    file = prepared_file(tmp_path / "a.jpg", jpeg(700_001))
    encoded = await image_reader.encode(prepared(jpeg(300_000)))
    request = HttpRequest(
        "POST", "/", (b'{"a":"', file, b'","b":"', encoded, b'","c":"', small(), b'"}')
    )
    async with submitting_to(closes_after(OK)) as here:
        await here.submit(request)
        (conn,) = here.server.requests
        assert "transfer-encoding" not in conn.headers
        assert conn.length == len(conn.body) == request.content_length
        sent = json.loads(conn.body)
        assert [base64.b64decode(sent[name]) for name in "abc"] == [
            jpeg(700_001),
            jpeg(300_000),
            JPEG,
        ]
        assert here.complete


async def test_file_arrives_as_it_is_and_a_changed_one_ends_the_upload(
    tmp_path: Path,
) -> None:
    path, content = tmp_path / "a.mp4", os.urandom(3 * MIB)
    path.write_bytes(content)
    file = image_reader.measure_file(path)
    request = HttpRequest("POST", "/", (b"head ", file, b" end"))
    async with submitting_to(keeps_open(OK)) as here:
        await here.submit(request)
        (conn,) = here.server.requests
        assert conn.body == b"head " + content + b" end"
        for changed in (content + b"x", content[:-1]):
            path.write_bytes(changed)
            with pytest.raises(ImageError, match="changed its length") as caught:
                await here.submit(request)
            assert caught.value.path == path
            assert not here.complete


async def blocks_of(*blocks: bytes) -> AsyncIterator[bytes]:
    """Yield *blocks*, as an iterator of a caller does."""
    for block in blocks:
        await asyncio.sleep(0)
        yield block


def from_iterator(length: int, *blocks: bytes) -> HttpRequest:
    """Return a submit with bytes from an iterator."""
    stream = StreamContent(blocks_of(*blocks), length)
    return HttpRequest("POST", "/", (b"head ", stream, b" end"))


async def test_bytes_of_an_iterator_arrive_as_they_are() -> None:
    blocks = [b"a", b"", os.urandom(MIB), b"z" * 7]
    whole = b"".join(blocks)
    async with submitting_to(closes_after(OK)) as here:
        await here.submit(from_iterator(len(whole), *blocks))
        (conn,) = here.server.requests
        assert conn.body == b"head " + whole + b" end"


@pytest.mark.parametrize(("length", "says"), [(9, "more"), (11, "fewer")])
async def test_iterator_of_another_length_ends_the_upload(
    length: int, says: str
) -> None:
    async with submitting_to(closes_after(OK)) as here:
        with pytest.raises(ConfigurationError, match=f"{says} bytes than the {length}"):
            await here.submit(from_iterator(length, b"12345", b"67890"))
        assert not here.complete


async def test_iterator_that_raises_ends_the_upload() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"12345"
        raise LookupError("the disk is gone")

    request = HttpRequest("POST", "/", (StreamContent(broken(), 10), b" end"))
    async with submitting_to(closes_after(OK)) as here:
        error = await here.error_of(request)
        assert error.retry_safe
        assert "the disk is gone" in str(error)


def small() -> InspectedImage:
    return prepared(JPEG)


class CountingWriter(AbstractStreamWriter):
    """Counts the bytes of each block written to a real connection, and drops them."""

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


async def test_file_is_sent_in_blocks_of_256_kib_within_6_mib_of_memory(
    tmp_path: Path,
) -> None:
    request = submit_of(prepared_file(tmp_path / "a.jpg", LARGE))

    async with serving(never_answers) as server:
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


async def test_body_as_text_is_refused() -> None:
    with pytest.raises(TypeError):
        Upload(large(), stall=1).decode()


@pytest.mark.parametrize("body", [(b"",), (b"x", prepared(JPEG))])
async def test_body_without_bytes_at_its_end_is_refused(
    body: tuple[bytes | InspectedImage, ...],
) -> None:
    """Such a last part could not be withheld."""
    with pytest.raises(TypeError):
        Upload(HttpRequest("POST", "/", body), stall=1)


async def test_upload_without_a_connection_fails_and_is_not_complete() -> None:
    upload = Upload(large(), stall=1)
    with pytest.raises(ConnectionResetError):
        await upload.write(CountingWriter(None))
    assert not upload.complete
    assert isinstance(upload.fault, ConnectionResetError)


class ClosingWriter(CountingWriter):
    """Loses its connection while the last block is sent."""

    async def drain(self) -> None:
        """Return as aiohttp's does when the connection was closed meanwhile."""
        assert self.transport is not None
        self.transport.close()


class TimedOutWriter(CountingWriter):
    """Fails as the kernel does when the other side acknowledges nothing."""

    async def drain(self) -> None:
        """Raise what a dead line becomes."""
        raise TimeoutError(110, "Connection timed out")


async def failed_upload(kind: type[CountingWriter]) -> Upload:
    """Write a small body with a writer of *kind*, which must fail."""
    upload = Upload(submit_of(small()), stall=5)
    async with serving(never_answers) as server:
        _, stream = await asyncio.open_connection("localhost", server.port)
        with pytest.raises(OSError, match=r"closed|timed out"):
            await upload.write(kind(stream.transport))
        stream.close()
    return upload


@pytest.mark.parametrize("kind", [ClosingWriter, TimedOutWriter])
async def test_connection_lost_before_the_last_part_leaves_the_body_incomplete(
    kind: type[CountingWriter],
) -> None:
    upload = await failed_upload(kind)
    assert not upload.complete
    assert isinstance(upload.fault, OSError)


def test_no_connection_is_not_readable() -> None:
    assert not is_readable(None)


# Files that change or cannot be read


@pytest.mark.parametrize(
    "change",
    [
        lambda path: os.truncate(path, 5 * MIB),
        lambda path: os.truncate(path, 10 * MIB),
        Path.unlink,
    ],
    ids=["shorter", "longer", "deleted"],
)
@BOTH
async def test_file_that_changes_during_the_upload_is_an_image_error_without_a_job(
    tmp_path: Path, change: Callable[[Path], None], *, tls: bool
) -> None:
    path = tmp_path / "a.jpg"
    first, second = prepared(LARGE), prepared_file(path, LARGE)

    async def change_file(conn: Connection) -> None:
        change(path)
        await conn.read_until_closed()

    async with submitting_to(after_body(1 * MIB, change_file), tls=tls) as here:
        with pytest.raises(ImageError) as caught:
            await here.submit(submit_of(first, b'","b":"', second))
        assert caught.value.path == path
        assert caught.value.retry_safe
        assert not here.complete
        await here.server.connections[0].closed.wait()
        assert here.server.requests[0].received < here.server.requests[0].length


async def test_read_that_never_returns_counts_as_a_stall() -> None:
    """The error is safe to retry."""
    release = threading.Event()

    async with submitting_to(never_answers, Timeouts(upload=0.2)) as here:
        for _ in range(8):
            here.transport.readers.submit(release.wait)
        try:
            error = await here.error_of(large())
            assert (error.stage, error.retry_safe) == ("upload", True)
        finally:
            release.set()


# Servers that break off


async def _reset(conn: Connection) -> None:
    conn.reset()


async def _close(conn: Connection) -> None:
    conn.close()


async def _garbage(conn: Connection) -> None:
    conn.send(b"220 smtp.example.com ready\r\n")
    await conn.read_until_closed()


async def _stop_reading(_: Connection) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("end", [_reset, _close, _garbage])
@BOTH
async def test_connection_lost_in_mid_body_is_safe_to_retry(
    end: Handler, *, tls: bool
) -> None:
    async with submitting_to(after_body(3 * MIB, end), tls=tls, buffer=SMALL) as here:
        error = await here.error_of(large())
        assert (error.stage, error.retry_safe) == ("upload", True)
        assert not error.maybe_charged
        assert not here.complete
        assert error.request_id == "request-1"


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.8])
@BOTH
async def test_body_of_two_megabytes_that_is_cut_off_is_not_complete(
    kept: float, *, tls: bool
) -> None:
    """The kernel's buffers do not make a body count that the server did not read."""
    request = submit_of(prepared(jpeg(int(1.5 * MIB))))

    async def handler(conn: Connection) -> None:
        if await conn.read_head():
            await conn.read_body(int(conn.length * kept))
            conn.reset()

    async with submitting_to(handler, tls=tls, buffer=SMALL) as here:
        assert (await here.error_of(request)).retry_safe
        assert not here.complete


SILENT = keeps_open(b"")
NO_ANSWER = {
    "end of file": closes_after(b""),
    "reset": resets,
    "silence": SILENT,
    "not HTTP": keeps_open(b"\x00\x01 nothing that is HTTP\r\n\r\n"),
}


@pytest.mark.parametrize("handler", NO_ANSWER.values(), ids=NO_ANSWER)
@BOTH
async def test_connection_lost_after_the_last_byte_may_be_charged(
    handler: Handler, *, tls: bool
) -> None:
    timeouts = Timeouts(connect=5, upload=5, submit=0.3)
    async with submitting_to(handler, timeouts, tls=tls) as here:
        error = await here.error_of(large())
        assert (error.retry_safe, error.maybe_charged) == (False, True)
        assert error.stage == ("silence" if handler is SILENT else "answer")
        assert here.complete
        assert here.server.requests[0].whole


@BOTH
async def test_server_that_stops_reading_is_a_stall_that_is_safe_to_retry(
    *, tls: bool
) -> None:
    handler, short = after_body(1 * MIB, _stop_reading), Timeouts(upload=0.2)
    async with submitting_to(handler, short, tls=tls, buffer=SMALL) as here:
        error = await here.error_of(large())
        assert (error.stage, error.retry_safe) == ("upload", True)
        assert "no byte of the body moved for 0.2 s" in str(error)
        assert not here.complete


async def test_upload_to_a_slow_reader_does_not_stall() -> None:
    """Its bytes move, if slowly, for longer than the longest stall."""
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
    async with submitting_to(handler, Timeouts(upload=0.25), buffer=SMALL) as here:
        assert (await here.submit(request)).status == 200
        assert steps > 30


# Cancelled uploads


@BOTH
async def test_submit_cancelled_in_mid_upload_leaves_no_complete_body(
    *, tls: bool
) -> None:
    halfway = asyncio.Event()

    async def handler(conn: Connection) -> None:
        if await conn.read_head():
            await conn.read_body(2 * MIB)
            halfway.set()
            await conn.read_until_closed()

    async with submitting_to(handler, tls=tls) as here:
        task = asyncio.create_task(here.submit(large()))
        await halfway.wait()
        await cancel(task)
        assert not here.complete
        await here.server.connections[0].closed.wait()
        assert not here.server.requests[0].whole


@BOTH
async def test_cancelled_submit_flushes_nothing_to_a_server_that_stopped_reading(
    *, tls: bool
) -> None:
    stuck, go_on = asyncio.Event(), asyncio.Event()

    async def handler(conn: Connection) -> None:
        if await conn.read_head():
            await conn.read_body(1 * MIB)
            stuck.set()
            await go_on.wait()
            await conn.read_until_closed()

    async with submitting_to(handler, tls=tls, buffer=SMALL) as here:
        task = asyncio.create_task(here.submit(large()))
        await stuck.wait()
        await cancel(task)
        go_on.set()
        await here.server.connections[0].closed.wait()
        assert here.server.requests[0].received < 4 * MIB


@pytest.mark.parametrize("turns", range(0, 60, 3))
@BOTH
async def test_upload_aborted_at_any_turn_is_whole_only_if_it_says_so(
    turns: int, *, tls: bool
) -> None:
    request = submit_of(prepared(jpeg(400_000)))

    async def handler(conn: Connection) -> None:
        if await conn.read_head() and await conn.read_body():
            conn.send(OK)
        await conn.read_until_closed()

    async with submitting_to(handler, tls=tls) as here:
        task = asyncio.create_task(here.submit(request))
        while here.upload is None or not here.server.requests:
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
        await here.server.connections[0].closed.wait()
        assert not here.server.requests[0].whole


async def test_upload_aborted_before_its_first_byte_sends_nothing() -> None:
    upload = Upload(large(), stall=1)
    upload.abort()

    async with serving(never_answers) as server:
        _, stream = await asyncio.open_connection("localhost", server.port)
        writer = CountingWriter(stream.transport)
        with pytest.raises(Exception, match="aborted"):
            await upload.write(writer)
        assert not writer.blocks
        stream.close()
    assert not upload.complete


async def test_abort_after_the_last_byte_has_no_effect() -> None:
    """The answer is still read."""
    answered = asyncio.Event()

    async def handler(conn: Connection) -> None:
        await conn.read_request()
        await answered.wait()
        conn.send(OK)
        await conn.read_until_closed()

    async with submitting_to(handler) as here:
        task = asyncio.create_task(here.submit(submit_of(small())))
        while here.upload is None or not here.complete:
            await asyncio.sleep(0)
        here.upload.abort()
        answered.set()
        assert (await task).status == 200


# Answers before the end of the body


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
async def test_answer_before_the_end_of_the_body_is_returned_as_early(
    end: Handler, *, tls: bool
) -> None:
    """The body stays incomplete."""
    async with submitting_to(after_body(1 * MIB, end), tls=tls, buffer=SMALL) as here:
        response = await here.submit(large())
        assert response.early
        assert response.status in {401, 413}
        assert response.body == REFUSED
        assert not here.complete
        assert not here.server.requests[0].whole


async def test_early_answer_in_progress_withholds_only_the_last_part() -> None:
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
    async with submitting_to(handler) as here:
        response = await here.submit(request)
        assert most.is_set()
        assert response.early
        assert response.body == REFUSED
        await here.server.connections[0].closed.wait()
        assert here.server.requests[0].received == request.content_length - 2


async def test_early_answer_that_stands_still_is_returned_as_far_as_it_came() -> None:
    async def handler(conn: Connection) -> None:
        await conn.read_head()
        conn.send(answer(401, REFUSED)[:-10])
        await asyncio.Event().wait()

    timeouts = Timeouts(upload=5, fetch=0.2)
    async with submitting_to(handler, timeouts, buffer=SMALL) as here:
        response = await here.submit(large())
        assert (response.status, response.early) == (401, True)
        assert response.body == REFUSED[:-10]


async def test_upload_withheld_by_an_answer_that_stands_still_ends() -> None:
    async def handler(conn: Connection) -> None:
        await conn.read_head()
        conn.send(answer(401, REFUSED)[:-10])
        await conn.read_until_closed()

    async with submitting_to(handler, Timeouts(upload=0.2, fetch=5)) as here:
        response = await here.submit(submit_of(prepared(jpeg(MIB))))
        assert (response.status, response.early) == (401, True)
        await here.server.connections[0].closed.wait()
        assert not here.server.requests[0].whole


async def test_connection_of_an_early_answer_is_not_reused() -> None:
    async def handler(conn: Connection) -> None:
        await conn.read_head()
        if len(conn.server.connections) == 1:
            conn.send(answer(401, REFUSED))
            await conn.read_until_closed()
        elif await conn.read_body():
            conn.send(OK)

    async with submitting_to(handler, buffer=SMALL) as here:
        assert (await here.submit(large())).early
        assert not (await here.submit(large())).early
        assert len(here.server.connections) == 2


async def test_body_of_one_part_is_sent_to_its_end() -> None:
    async with submitting_to(closes_after(OK)) as here:
        await here.submit(HttpRequest("POST", "/", (b"{}",)))
        assert bytes(here.server.requests[0].body) == b"{}"
        assert here.complete


async def test_two_submits_of_one_encoded_source_send_the_same_text() -> None:
    encoded = await image_reader.encode(prepared(jpeg(100_000)))
    assert isinstance(encoded, EncodedImage)
    request = HttpRequest("POST", "/", (b'{"a":"', encoded, b'"}'))
    async with submitting_to(keeps_open(OK)) as here:
        await here.submit(request)
        await here.submit(request)
        one, two = (bytes(conn.body) for conn in here.server.requests)
        assert one == two


async def test_trace_hooks_of_a_callers_session_see_every_block() -> None:
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
