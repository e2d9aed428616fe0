"""One request and its answer, over real sockets."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import threading
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import attrs
import pytest

from ezlink_async._core.long_texts import decode_data_uri
from ezlink_async._core.messages import (
    Credential,
    HttpRequest,
    HttpResponse,
    multipart_body,
)
from ezlink_async._core.policies import RetryPolicy, Timeouts
from ezlink_async._io.transport import Transport, new_request_id
from ezlink_async.errors import (
    ClientClosedError,
    ConfigurationError,
    EzlinkError,
    TransportError,
)
from tests.support.movies import mp4
from tests.support.pictures import JPEG, MIB, jpeg, prepared
from tests.support.raw_servers import (
    Connection,
    Handler,
    answer,
    closes_after,
    free_port,
    keeps_open,
    never_answers,
    resets,
    run_client,
    server_tls,
    serving,
    stranger_tls,
    trust_file,
)
from tests.support.threads import out_of_threads
from tests.support.transports import (
    FETCH,
    KEY,
    LIST,
    PASSWORD,
    RecordedSleep,
    Submits,
    secrets_in,
    submit_of,
    submits,
    transport,
)

OK = answer(200, b'{"code":1,"result":"7"}')
SUBMIT = submit_of(prepared(JPEG))
BUSY = answer(429, b'{"code":30,"type":"upstream_error"}', Retry_After="7")
IMPATIENT = Timeouts(connect=0.3, upload=0.3, submit=0.3, fetch=0.3, image=0.3)


async def error_of(here: Transport, request: HttpRequest = FETCH) -> TransportError:
    """Send, and return the error that this must raise."""
    with pytest.raises(TransportError) as caught:
        await here.send(request)
    assert not secrets_in(caught.value)
    return caught.value


def block_loop(seconds: float) -> None:
    """Block the loop, as a stopped program does."""
    over = time.monotonic() + seconds
    while time.monotonic() < over:
        pass


@pytest.mark.parametrize("split", [0, 1])
async def test_answer_that_arrived_while_the_loop_was_blocked_is_read(
    split: int,
) -> None:
    """It may hold the id of a paid task, so a timeout must not drop it."""
    head, end, body = OK.partition(b"\r\n\r\n")
    first, rest = (head + end + body[:3], body[3:]) if split else (b"", OK)

    async def stopped(conn: Connection) -> None:
        await conn.read_request()
        conn.send(first)
        for _ in range(20):
            await asyncio.sleep(0)
        conn.send(rest)
        block_loop(2 * IMPATIENT.submit)
        await conn.read_until_closed()

    async with serving(stopped) as server, submits(server.url, IMPATIENT) as here:
        assert (await here.submit(SUBMIT)).body == body


# Requests


async def test_each_request_carries_the_key_and_an_id_of_its_own() -> None:
    async with serving(keeps_open(OK)) as server:
        async with transport(server.url) as here:
            response = await here.send(FETCH)
        async with transport(server.url) as here:
            await here.send(LIST)
        one, two = (conn.headers for conn in server.requests)
        assert one["authorization"] == f"Bearer {KEY}"
        assert one["x-request-id"] == response.request_id
        assert "content-type" not in one
        assert two["content-type"] == "application/json"
        assert one["x-request-id"] != two["x-request-id"]
        assert two["user-agent"].startswith("ezlink-async/")
    assert new_request_id() != new_request_id()


async def test_request_without_a_credential_carries_no_key() -> None:
    request = HttpRequest(
        "GET", "/mj/image/7", credential=Credential.NONE, repeatable=True
    )
    async with serving(closes_after(OK)) as server, transport(server.url) as here:
        await here.send(request)
        assert "authorization" not in server.requests[0].headers
        assert here.answered
        assert not here.key_worked


async def test_request_says_what_its_body_is_and_what_it_accepts() -> None:
    typed = attrs.evolve(LIST, content_type="text/plain", accept="image/*")
    async with serving(keeps_open(OK)) as server, transport(server.url) as here:
        for request in (typed, FETCH):
            await here.send(attrs.evolve(request, new_connection=True))
        one, two = (conn.headers for conn in server.requests)
        assert (one["content-type"], one["accept"]) == ("text/plain", "image/*")
        assert "content-type" not in two
        assert two["accept"] == "*/*"


async def test_submit_says_what_its_body_is_and_what_it_accepts() -> None:
    kind, parts = multipart_body({"a": "1"})
    request = HttpRequest(
        "POST", "/", parts, content_type=kind, accept="application/json"
    )
    async with serving(closes_after(OK)) as server, submits(server.url) as here:
        await here.submit(request)
        (conn,) = server.requests
        assert conn.headers["content-type"] == kind
        assert conn.headers["accept"] == "application/json"
        assert [bytes(conn.body)] == list(parts)


async def test_wait_of_a_request_counts_in_place_of_the_timeouts() -> None:
    """Where the timeouts counted, either all would time out or the test would hang."""
    at_once = Timeouts(fetch=1e-6, submit=1e-6)
    patient, impatient = (
        [attrs.evolve(request, wait=wait) for request in (FETCH, SUBMIT)]
        for wait in (290, 0.01)
    )
    async with serving(keeps_open(OK)) as server, submits(server.url, at_once) as here:
        assert (await here.transport.send(patient[0])).ok
        assert (await here.submit(patient[1])).ok
    forever = Timeouts(fetch=900, submit=900)
    async with serving(never_answers) as server, submits(server.url, forever) as here:
        assert (await error_of(here.transport, impatient[0])).stage == "silence"
        assert (await here.error_of(impatient[1])).stage == "silence"


async def test_answer_may_have_the_bytes_that_the_request_says() -> None:
    async with serving(keeps_open(OK)) as server, transport(server.url) as here:
        length = len(OK.partition(b"\r\n\r\n")[2])
        enough = await here.send(attrs.evolve(FETCH, answer_bytes=length))
        less = await here.send(attrs.evolve(FETCH, answer_bytes=length - 1))
        assert (enough.oversized, enough.whole) == (0, True)
        assert (less.oversized, less.whole) == (length - 1, False)


async def test_answer_with_a_video_in_it_is_read_whole() -> None:
    video = mp4() + bytes(4 * MIB)
    uri = f"data:video/mp4;base64,{base64.b64encode(video).decode()}"
    body = json.dumps({"task_id": "7", "video_result": uri}).encode()
    async with (
        serving(keeps_open(answer(200, body))) as server,
        transport(server.url) as here,
    ):
        response = await here.send(attrs.evolve(FETCH, answer_bytes=192 * MIB))
        document = response.document
        assert isinstance(document, dict)
        assert decode_data_uri(document["video_result"]) == ("video/mp4", video)


@pytest.mark.parametrize("before", [0, MIB - 1, MIB, MIB - len(KEY), 2 * MIB - 5])
async def test_key_is_redacted_anywhere_in_a_large_answer(before: int) -> None:
    """It is searched in pieces of 1 MiB."""
    body = b"a" * before + KEY.encode() + b"b" * MIB
    async with (
        serving(keeps_open(answer(200, body))) as server,
        transport(server.url) as here,
    ):
        response = await here.send(attrs.evolve(FETCH, answer_bytes=4 * MIB))
        assert response.body == body.replace(KEY.encode(), b"[key]")


async def test_request_with_a_connection_of_its_own_leaves_none_behind() -> None:
    alone = attrs.evolve(FETCH, new_connection=True)
    async with serving(keeps_open(OK)) as server, submits(server.url) as here:
        for request in (FETCH, FETCH, alone, alone):
            await here.transport.send(request)
        assert len(server.connections) == 3
        for _ in range(2):
            await here.submit(attrs.evolve(SUBMIT, new_connection=True))
        assert len(server.connections) == 5


@pytest.mark.parametrize("given", [False, True], ids=["ours", "given"])
@pytest.mark.parametrize("end", [closes_after(b""), resets], ids=["closed", "reset"])
async def test_request_with_a_connection_of_its_own_is_never_sent_twice(
    end: Handler, *, given: bool
) -> None:
    """Its answer may cost; aiohttp sends any other GET once more by itself."""
    alone = attrs.evolve(FETCH, new_connection=True)
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        server = await stack.enter_async_context(serving(end))
        here = await stack.enter_async_context(
            transport(server.url, http=session if given else None)
        )
        assert (await error_of(here, alone)).stage == "answer"
        assert len(server.requests) == 1
        await error_of(here, FETCH)
        assert len(server.requests) == 3


async def test_refused_connection_of_a_request_sent_once_is_named() -> None:
    alone = attrs.evolve(FETCH, new_connection=True)
    async with transport(f"http://localhost:{free_port()}") as here:
        assert (await error_of(here, alone)).stage == "connect"


async def test_quoted_path_is_not_quoted_again() -> None:
    request = HttpRequest("GET", "/mj/task/a%2Fb%20%C3%A9/fetch")
    async with serving(closes_after(OK)) as server, transport(server.url) as here:
        await here.send(request)
        assert server.requests[0].path == "/mj/task/a%2Fb%20%C3%A9/fetch"


@pytest.mark.parametrize(
    ("status", "body", "worked"),
    [
        (200, b"{}", True),
        (400, b'{"code":4,"type":"upstream_error"}', True),
        (401, b'{"error":{"message":"x (request id: 1)","type":"api_error"}}', False),
        (502, b"<html>", False),
    ],
)
async def test_key_counts_as_working_after_an_answer_from_behind_its_check(
    status: int, body: bytes, *, worked: bool
) -> None:
    handler = closes_after(answer(status, body))
    async with serving(handler) as server, transport(server.url) as here:
        seen = [here.answered]
        response = await here.send(FETCH)
        assert (response.status, response.body) == (status, body)
        assert [*seen, here.answered] == [False, True]
        assert here.key_worked == worked


# Failures


async def test_refused_connection_is_safe_to_retry_and_names_the_address() -> None:
    port = free_port()
    async with submits(f"http://localhost:{port}") as here:
        error = await error_of(here.transport)
        assert error.stage == "connect"
        error = await here.error_of(SUBMIT)
        assert (error.stage, error.retry_safe) == ("connect", True)
        assert f"localhost:{port}" in str(error)
        assert not here.complete
        assert not here.transport.answered


@pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 70 + ".invalid", "a..b"])
async def test_host_that_is_not_found_is_safe_to_retry(host: str) -> None:
    async with submits(f"https://{host}", IMPATIENT) as here:
        error = await here.error_of(SUBMIT)
        assert (error.stage, error.retry_safe) == ("connect", True)


async def test_untrusted_certificate_ends_a_request_before_anything_is_sent() -> None:
    async with (
        serving(keeps_open(OK), tls=stranger_tls()) as server,
        transport(server.url) as here,
    ):
        error = await error_of(here)
        assert error.stage == "tls"
        assert "certificate verify failed" in str(error)
        assert "SSL_CERT_FILE" in str(error)
        assert not server.requests


async def _garbles(conn: Connection) -> None:
    await conn.reader.read(10)
    conn.send(b"HTTP/1.1 400 this is not TLS\r\n\r\n")
    await conn.read_until_closed()


@pytest.mark.parametrize(
    ("handler", "stage"), [(_garbles, "tls"), (never_answers, "connect")]
)
async def test_https_to_a_port_without_tls_is_safe_to_retry(
    handler: Handler, stage: str
) -> None:
    async with serving(handler) as server:
        url = server.url.replace("http:", "https:")
        async with submits(url, IMPATIENT) as here:
            error = await here.error_of(SUBMIT)
        assert (error.stage, error.retry_safe) == (stage, True)


async def test_http_to_a_tls_port_says_to_write_https() -> None:
    async with (
        serving(keeps_open(OK), tls=server_tls()) as server,
        submits(server.url.replace("https:", "http:")) as here,
    ):
        with pytest.raises(TransportError, match="write https"):
            await here.submit(SUBMIT)


SILENT = keeps_open(b"")
NO_ANSWER = {
    "end of file": closes_after(b""),
    "reset": resets,
    "silence": SILENT,
    "not HTTP": keeps_open(b"SSH-2.0-OpenSSH_9.6\r\n" + KEY.encode() + b"\r\n"),
    "half a head": closes_after(b"HTTP/1.1 200 OK\r\nContent-"),
}


@pytest.mark.parametrize("handler", NO_ANSWER.values(), ids=NO_ANSWER)
async def test_status_request_without_an_answer_names_the_stage(
    handler: Handler,
) -> None:
    async with serving(handler) as server, transport(server.url, IMPATIENT) as here:
        for request in (FETCH, LIST):
            error = await error_of(here, request)
            assert error.stage == ("silence" if handler is SILENT else "answer")
            assert not error.retry_safe
            assert not error.maybe_charged
            assert error.request_id


async def test_image_timeout_does_not_bound_a_status_request() -> None:
    async def slow(conn: Connection) -> None:
        await conn.read_request()
        loop = asyncio.get_running_loop()
        pause = loop.create_future()
        loop.call_later(0.2, pause.set_result, None)
        await pause
        conn.send(OK)

    timeouts = Timeouts(image=0.05, fetch=5)
    async with serving(slow) as server, transport(server.url, timeouts) as here:
        assert (await here.send(FETCH)).status == 200


# Unusual answers


WHOLE = b'{"code":1,"description":"ok","result":"1733213213123456"}'


async def _half_closes(conn: Connection) -> None:
    await conn.read_request()
    conn.send(CUT)
    await conn.writer.drain()
    conn.writer.get_extra_info("socket").shutdown(1)
    await conn.read_until_closed()


CUT = answer(200, WHOLE + b" " * 50)[:-50]
CUT_CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n"
BREAKS_OFF = {
    "end of file": closes_after(CUT),
    "half closed": _half_closes,
    "chunks": closes_after(CUT_CHUNKS % (len(WHOLE), WHOLE)),
    "silence": keeps_open(CUT),
}


@pytest.mark.parametrize("handler", BREAKS_OFF.values(), ids=BREAKS_OFF)
async def test_answer_to_a_submit_is_returned_as_far_as_it_came(
    handler: Handler,
) -> None:
    """An id that arrived before the break is not lost."""
    async with serving(handler) as server, submits(server.url, IMPATIENT) as here:
        response = await here.submit(SUBMIT)
        assert response.status == 200
        assert json.loads(response.body)["result"] == "1733213213123456"
        assert not response.early
        assert not response.whole


@pytest.mark.parametrize("handler", BREAKS_OFF.values(), ids=BREAKS_OFF)
async def test_answer_to_a_status_request_that_breaks_off_is_an_error(
    handler: Handler,
) -> None:
    async with serving(handler) as server, transport(server.url, IMPATIENT) as here:
        assert (await error_of(here)).stage in {"answer", "silence"}


async def test_refusal_that_breaks_off_does_not_condemn_the_key() -> None:
    """The missing text may say that the key is good."""
    handler = closes_after(answer(401, b'{"error":' + b" " * 50)[:-50])
    async with serving(handler) as server, submits(server.url) as here:
        assert (await error_of(here.transport)).stage == "answer"
        assert not here.transport.key_worked
        response = await here.submit(SUBMIT)
        assert (response.status, response.body) == (401, b'{"error":')
        assert not response.whole


async def test_key_echoed_by_the_server_is_redacted() -> None:
    async def echoes(conn: Connection) -> None:
        while await conn.read_request():
            conn.send(answer(401, str(conn.headers).encode()))

    async with serving(echoes) as server, transport(server.url) as here:
        body = (await here.send(FETCH)).body
        assert b"'authorization': 'Bearer [key]'" in body
        assert KEY.encode() not in body
        here.settings = attrs.evolve(here.settings, api_key="host")
        body = (await here.send(FETCH)).body
        assert b"'authorization': '[key]'" in body
        assert b"'host': 'localhost" in body


async def test_compressed_answer_is_decompressed() -> None:
    handler = closes_after(answer(200, gzip.compress(WHOLE), Content_Encoding="gzip"))
    async with serving(handler) as server, submits(server.url) as here:
        response = await here.submit(SUBMIT)
        assert (response.body, response.whole) == (WHOLE, True)


async def test_answer_with_broken_compression_has_its_status_and_no_body() -> None:
    handler = closes_after(answer(200, b"not gzip at all", Content_Encoding="gzip"))
    async with serving(handler) as server, submits(server.url) as here:
        response = await here.submit(SUBMIT)
        assert (response.status, response.body) == (200, b"")
        with pytest.raises(TransportError):
            await here.transport.send(FETCH)


@pytest.mark.parametrize(("tasks", "most"), [(1, MIB), (32, MIB), (33, 33 * MIB // 32)])
async def test_body_of_an_endless_answer_is_read_up_to_its_limit(
    tasks: int, most: int
) -> None:
    """One task has room in 1 MiB, more of them in 32 KiB each."""

    async def endless(conn: Connection) -> None:
        await conn.read_request()
        conn.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while not conn.writer.is_closing():
            conn.send(b"x" * MIB)
            await conn.writer.drain()

    async with serving(endless) as server, transport(server.url) as here:
        response = await here.send(attrs.evolve(FETCH, tasks=tasks))
        assert response.oversized == most
        assert len(response.body) == 64 * 1024
        assert (response.document, response.whole) == (None, False)


async def test_heavy_answer_is_parsed_and_read_in_a_thread() -> None:
    """The loop has no time for it; a small one is read at once."""

    def thread(response: HttpResponse) -> str:
        assert response.document == ["x" * len(response.body[4:])]
        return threading.current_thread().name

    heavy = answer(200, b'["' + b"x" * 300_000 + b'"]')
    light = answer(200, b'["x"]')
    async with (
        serving(keeps_open(heavy, light)) as server,
        transport(server.url) as here,
    ):
        response = await here.send(FETCH)
        assert response.document is response.document
        assert (await here.read(response, thread)).startswith("ezlink-read")
        response = await here.send(FETCH)
        assert await here.read(response, thread) == threading.current_thread().name


async def test_heavy_answer_is_read_on_the_loop_if_there_is_no_thread() -> None:
    """It may hold the id of a paid task."""
    handler = keeps_open(answer(200, b'["' + b"x" * 300_000 + b'"]'))
    async with serving(handler) as server, submits(server.url) as here:
        with out_of_threads("ezlink-read"):
            response = await here.submit(SUBMIT)
        assert response.document == ["x" * 300_000]


async def test_error_of_a_callers_own_hook_is_no_lack_of_threads() -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("mine")

    config = aiohttp.TraceConfig()
    config.on_request_start.append(fail)
    async with (
        aiohttp.ClientSession(trace_configs=[config]) as session,
        transport("http://localhost:9", http=session) as here,
    ):
        with pytest.raises(RuntimeError, match="mine"):
            await here.send(FETCH)


async def test_name_that_cannot_be_looked_up_for_want_of_threads_was_never_asked() -> (
    None
):
    """So the submit is safe to repeat."""
    async with submits("http://localhost:9") as here:
        with out_of_threads("asyncio"):
            error = await here.error_of(SUBMIT)
        assert (error.stage, error.retry_safe) == ("connect", True)
        assert "ulimit -u" in str(error)


async def test_redirect_of_the_api_is_returned_and_not_followed() -> None:
    """The key must not go to the target of a redirect."""
    moved = answer(307, b"", Location="/elsewhere")
    async with serving(keeps_open(moved)) as server, submits(server.url) as here:
        response = await here.submit(SUBMIT)
        assert response.status == 307
        assert response.headers["location"] == "/elsewhere"
        assert (await here.transport.send(FETCH)).status == 307
        assert len(server.requests) == 2


# Connections and retries


async def test_submit_on_a_connection_that_is_closed_is_not_repeated() -> None:
    async def handler(conn: Connection) -> None:
        await conn.read_request()
        conn.send(OK)
        if await conn.read_request():
            conn.close()

    async with serving(handler) as server, submits(server.url) as here:
        assert (await here.submit(SUBMIT)).status == 200
        error = await here.error_of(SUBMIT)
        assert error.maybe_charged
        assert len(server.requests) == 2


async def test_connection_that_was_idle_for_two_seconds_takes_no_submit() -> None:
    async with serving(keeps_open(OK)) as server, submits(server.url) as here:
        await here.submit(SUBMIT)
        await server.connections[
            0
        ].closed.wait()  # the client closes it, not the server
        await here.submit(SUBMIT)
        assert len(server.connections) == 2


async def test_submits_and_status_requests_have_separate_connections() -> None:
    async with serving(keeps_open(OK)) as server, submits(server.url) as here:
        await here.submit(SUBMIT)
        await here.transport.send(FETCH)
        await here.transport.send(FETCH)
        assert len(server.connections) == 2


QUICK = RetryPolicy(first=0.001, longest=0.002, attempts=3, timeout=5)


@asynccontextmanager
async def retrying(
    handler: Handler,
) -> AsyncIterator[tuple[Transport, RecordedSleep, list[Connection]]]:
    """Give a transport that retries, its sleep, and the requests of its server."""
    sleep = RecordedSleep()
    async with (
        serving(handler) as server,
        transport(server.url, IMPATIENT, retry=QUICK, sleep=sleep) as here,
    ):
        yield here, sleep, server.requests


RETRIES = {
    "lost answer and server error": (b"", answer(500, b"oops"), OK),
    "page of a firewall": (answer(403, b"<html>Just a moment..."), OK),
    "server error to the end": (answer(503, b"x"),) * 3,
    "refusal": (answer(400, b"{}"),),
}


@pytest.mark.parametrize("answers", RETRIES.values(), ids=RETRIES)
async def test_server_errors_are_retried_and_refusals_are_not(
    answers: tuple[bytes, ...],
) -> None:
    """The last answer counts. Not a GET, which aiohttp itself sends twice."""
    async with retrying(closes_after(*answers)) as (here, sleep, requests):
        response = await here.send_with_retries(LIST)
        assert f" {response.status} ".encode() in answers[-1]
        assert len(requests) == len(answers) == len(sleep.waits) + 1


async def test_error_of_the_last_attempt_is_raised() -> None:
    async with retrying(closes_after(b"")) as (here, sleep, _):
        with pytest.raises(TransportError):
            await here.send_with_retries(FETCH)
        assert len(sleep.waits) == 2


async def test_retry_after_is_honoured_up_to_half_the_retry_timeout() -> None:
    week = BUSY.replace(b"Retry-After: 7", b"Retry-After: 604800")
    async with retrying(closes_after(BUSY, week, OK)) as (here, sleep, _):
        assert (await here.send_with_retries(FETCH)).status == 200
        assert sleep.waits == [2.5, 2.5]  # the policy's timeout is 5


async def test_tls_error_is_not_retried() -> None:
    sleep = RecordedSleep()
    async with (
        serving(keeps_open(OK), tls=stranger_tls()) as server,
        transport(server.url, sleep=sleep) as here,
    ):
        with pytest.raises(TransportError, match="SSL_CERT_FILE"):
            await here.send_with_retries(FETCH)
        assert not sleep.waits


async def test_submit_cannot_be_sent_with_retries() -> None:
    async with retrying(closes_after(OK)) as (here, _, requests):
        with pytest.raises(ValueError, match="not repeatable"):
            await here.send_with_retries(SUBMIT)
        assert requests == []


# Sessions of the caller


async def _twice(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    await handler(request)
    return await handler(request)


async def test_settings_of_a_callers_session_do_not_change_a_request() -> None:
    """Its middlewares, timeouts and switches are undone for each request."""
    zipped = answer(500, gzip.compress(b"oops"), Content_Encoding="gzip")
    async with (
        serving(keeps_open(zipped)) as server,
        aiohttp.ClientSession(
            middlewares=(_twice,),
            raise_for_status=True,
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=0.0001),
            headers={"Authorization": "Bearer theirs", "X-Own": "1"},
        ) as session,
    ):
        async with submits(server.url, http=session) as here:
            response = await here.submit(SUBMIT)
            assert (response.status, response.body) == (500, b"oops")
            assert (await here.transport.send(FETCH)).body == b"oops"
            assert len(server.requests) == 2
            headers = server.requests[0].headers
            assert headers["authorization"] == f"Bearer {KEY}"
        assert not session.closed


async def test_closed_session_of_the_caller_is_a_configuration_error() -> None:
    """Nothing is sent."""
    async with serving(keeps_open(OK)) as server:
        session = aiohttp.ClientSession()
        async with submits(server.url, http=session) as here:
            await session.close()
            for sending in (here.submit(SUBMIT), here.transport.send(FETCH)):
                with pytest.raises(ConfigurationError, match="http="):
                    await sending
        assert not server.requests


async def test_closed_transport_raises_client_closed_error() -> None:
    async with serving(keeps_open(OK)) as server:
        async with submits(server.url) as here:
            pass
        for sending in (here.submit(SUBMIT), here.transport.send(FETCH)):
            with pytest.raises(ClientClosedError):
                await sending


async def test_close_ends_a_request_in_progress_with_an_error() -> None:
    there = asyncio.Event()

    async def handler(conn: Connection) -> None:
        await conn.read_request()
        there.set()
        await conn.read_until_closed()

    async with serving(handler) as server, submits(server.url) as here:
        task = asyncio.create_task(here.submit(SUBMIT))
        await there.wait()
        await here.transport.close()
        with pytest.raises(EzlinkError) as caught:
            await task
        assert caught.value.maybe_charged


async def test_expect_header_added_to_the_session_later_is_refused() -> None:
    async with (
        serving(keeps_open(OK)) as server,
        aiohttp.ClientSession() as session,
        submits(server.url, http=session) as here,
    ):
        session.headers["Expect"] = "100-continue"
        for sending in (here.submit(SUBMIT), here.transport.send(FETCH)):
            with pytest.raises(ConfigurationError, match="Expect"):
                await sending
        assert not server.requests


async def test_netrc_entry_does_not_replace_the_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    entries = tmp_path / "netrc"
    entries.write_text("machine localhost login me password mine\n")
    monkeypatch.setenv("NETRC", str(entries))
    async with (
        serving(keeps_open(OK)) as server,
        aiohttp.ClientSession(trust_env=True) as session,
        submits(server.url, http=session) as here,
    ):
        await here.submit(SUBMIT)
        await here.transport.send(FETCH)
        sent = [conn.headers["authorization"] for conn in server.requests]
        assert sent == [f"Bearer {KEY}"] * 2


async def test_proxy_address_that_aiohttp_refuses_is_a_transport_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://user:{PASSWORD}@localhost:99999")
    async with (
        aiohttp.ClientSession(trust_env=True) as session,
        submits("http://api.example.com", http=session) as here,
    ):
        error = await here.error_of(SUBMIT)
        assert error.retry_safe
        await error_of(here.transport)


# Proxies


async def test_proxy_of_the_environment_gets_the_whole_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(closes_after(OK)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        async with submits("http://api.example.com") as here:
            assert (await here.submit(SUBMIT)).status == 200
        assert proxy.requests[0].path.startswith("http://api.example.com/mj/")


async def test_refusal_by_the_proxy_is_safe_to_retry_and_hides_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(closes_after(answer(407, b"no"))) as proxy:
        login = f"http://user:{PASSWORD}@localhost:{proxy.port}"
        monkeypatch.setenv("HTTPS_PROXY", login)
        async with transport("https://api.example.com", IMPATIENT) as here:
            error = await error_of(here)
            assert error.stage == "connect"
            assert "the proxy answered 407" in str(error)
            error = await Submits(here).error_of(SUBMIT)
            assert error.retry_safe
        assert proxy.requests[0].start.startswith("CONNECT api.example.com:443")


@pytest.mark.parametrize("handler", [SILENT, closes_after(b""), resets])
async def test_proxy_that_fails_is_safe_to_retry(
    monkeypatch: pytest.MonkeyPatch, handler: Handler
) -> None:
    async with serving(handler) as proxy:
        login = f"http://user:{PASSWORD}@localhost:{proxy.port}"
        monkeypatch.setenv("HTTPS_PROXY", login)
        async with transport("https://api.example.com", IMPATIENT) as here:
            error = await Submits(here).error_of(SUBMIT)
            assert error.retry_safe
            assert not error.maybe_charged


async def tunnel(conn: Connection) -> None:
    """Tunnel every CONNECT to the port that the test wrote into the server's url."""
    await conn.read_head()
    target = conn.server.url  # set by the test to the port behind it
    reader, writer = await asyncio.open_connection("localhost", int(target))
    conn.send(b"HTTP/1.1 200 Connection established\r\n\r\n")

    async def pipe(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while block := await source.read(65536):
            sink.write(block)
            await sink.drain()
        sink.close()

    await asyncio.gather(pipe(conn.reader, writer), pipe(reader, conn.writer))


SCRIPT = """
import asyncio, sys
from tests.support.pictures import jpeg, prepared
from tests.support.transports import submit_of, submits, transport

async def main():
    asyncio.get_running_loop().slow_callback_duration = 60  # a busy machine may be slow
    async with transport(sys.argv[1]) as here:
        request = submit_of(prepared(jpeg(2_000_000)))
        answer = await here.submit(request, "1", lambda upload: None)
        print(answer.status, answer.body.decode())

asyncio.run(main())
"""


async def run_script(url: str, folder: Path, **environ: str) -> str:
    """Submit in another process, which may write nothing to stderr."""
    trusted = {"SSL_CERT_FILE": str(trust_file(folder)), **environ}
    printed, problems = await run_client(SCRIPT, url, **trusted)
    assert not problems
    return printed.strip()


async def test_certificates_of_ssl_cert_file_are_trusted(
    tmp_path: Path,
) -> None:
    async with serving(closes_after(OK), tls=server_tls()) as server:
        printed = await run_script(server.url, tmp_path)
    assert printed == '200 {"code":1,"result":"7"}'


async def test_submit_passes_through_a_connect_tunnel(tmp_path: Path) -> None:
    """The proxy sees none of the request."""
    async with (
        serving(closes_after(OK), tls=server_tls()) as server,
        serving(tunnel) as proxy,
    ):
        address = proxy.url
        proxy.url = str(server.port)
        printed = await run_script(
            "https://api.example.com",
            tmp_path,
            HTTPS_PROXY=address.replace("://", f"://user:{PASSWORD}@"),
        )
        assert printed == '200 {"code":1,"result":"7"}'
        assert server.requests[0].whole
        assert "authorization" not in proxy.requests[0].headers
        assert "proxy-authorization" in proxy.requests[0].headers


async def test_thirty_submits_at_once_arrive_and_leave_no_task() -> None:
    before = asyncio.all_tasks()
    async with serving(keeps_open(OK)) as server, submits(server.url) as here:
        request = submit_of(prepared(jpeg(300_000)))
        answers = await asyncio.gather(*(here.submit(request) for _ in range(30)))
        assert {response.status for response in answers} == {200}
        assert len(server.requests) == 30
    assert len(asyncio.all_tasks()) == len(before)


@pytest.mark.parametrize("longest", [5.0, 700.0])
async def test_wait_above_the_longest_is_neither_made_nor_announced(
    longest: float, caplog: pytest.LogCaptureFixture
) -> None:
    sleep, policy = RecordedSleep(), RetryPolicy(attempts=2, timeout=1_200)
    busy = BUSY.replace(b"Retry-After: 7", b"Retry-After: 600")
    async with (
        serving(closes_after(busy)) as server,
        transport(server.url, sleep=sleep, retry=policy) as here,
    ):
        assert (await here.send_with_retries(FETCH, longest)).status == 429
    assert sleep.waits == ([600] if longest > 600 else [])
    assert len(caplog.messages) == len(sleep.waits)
