"""One request, one answer, over real sockets."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import attrs
import pytest

from ezlink_async._core.messages import Credential, HttpRequest
from ezlink_async._core.policies import RetryPolicy, Timeouts
from ezlink_async._io.transport import Transport, new_request_id
from ezlink_async.errors import (
    ClientClosedError,
    ConfigurationError,
    EzlinkError,
    TransportError,
)
from tests.support.pictures import JPEG, MIB, jpeg, prepared
from tests.support.raw_servers import (
    Connection,
    Handler,
    answer,
    closes_after,
    free_port,
    keeps_open,
    server_tls,
    serving,
    stranger_tls,
    trust_file,
)
from tests.support.transports import (
    FETCH,
    KEY,
    LIST,
    PASSWORD,
    RecordedSleep,
    secrets_in,
    submit_of,
    submits,
    transport,
)

OK = answer(200, b'{"code":1,"result":"7"}')
SUBMIT = submit_of(prepared(JPEG))
BUSY = answer(429, b'{"code":30,"type":"upstream_error"}', Retry_After="7")
IMPATIENT = Timeouts(connect=0.3, upload=0.3, submit=0.3, fetch=0.3, image=0.3)


async def fault_of(here: Transport, request: HttpRequest = FETCH) -> TransportError:
    """Send, and return the error it must end with."""
    with pytest.raises(TransportError) as caught:
        await here.send(request)
    assert not secrets_in(caught.value)
    return caught.value


def stand_still(seconds: float) -> None:
    """Have the loop do nothing, as in a program that was stopped."""
    over = time.monotonic() + seconds
    while time.monotonic() < over:
        pass


@pytest.mark.parametrize("split", [0, 1])
async def test_an_answer_that_came_while_nothing_ran_is_read(split: int) -> None:
    """It holds the id of what was paid: being late to read it is no reason."""
    head, end, body = OK.partition(b"\r\n\r\n")
    first, rest = (head + end + body[:3], body[3:]) if split else (b"", OK)

    async def stopped(conn: Connection) -> None:
        await conn.read_request()
        conn.send(first)
        for _ in range(20):
            await asyncio.sleep(0)
        conn.send(rest)
        stand_still(2 * IMPATIENT.submit)
        await conn.read_until_closed()

    async with serving(stopped) as server, submits(server.url, IMPATIENT) as here:
        assert (await here.submit(SUBMIT)).body == body


# What is sent


async def test_each_request_carries_its_own_id_and_the_key() -> None:
    """The key goes into the header the server documents, with a new id each."""
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


async def test_an_open_request_carries_no_key() -> None:
    """A request that needs no key is sent without."""
    request = HttpRequest(
        "GET", "/mj/image/7", credential=Credential.NONE, repeatable=True
    )
    async with serving(closes_after(OK)) as server, transport(server.url) as here:
        await here.send(request)
        assert "authorization" not in server.requests[0].headers
        assert here.answered
        assert not here.key_worked


async def test_the_path_is_sent_as_it_is() -> None:
    """What was quoted for the path is not quoted anew."""
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
async def test_it_is_known_whether_the_key_ever_worked(
    status: int, body: bytes, *, worked: bool
) -> None:
    """Only an answer from behind the check of the key says that it is good."""
    handler = closes_after(answer(status, body))
    async with serving(handler) as server, transport(server.url) as here:
        seen = [here.answered]
        response = await here.send(FETCH)
        assert (response.status, response.body) == (status, body)
        assert [*seen, here.answered] == [False, True]
        assert here.key_worked == worked


# What goes wrong


async def test_nobody_there() -> None:
    """A refused connection was never sent, and says where to."""
    port = free_port()
    async with submits(f"http://localhost:{port}") as here:
        error = await fault_of(here.transport)
        assert error.stage == "connect"
        with pytest.raises(TransportError) as caught:
            await here.submit(SUBMIT)
        assert (caught.value.stage, caught.value.retry_safe) == ("connect", True)
        assert f"localhost:{port}" in str(caught.value)
        assert not here.complete
        assert not here.transport.answered
        assert not secrets_in(caught.value)


@pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 70 + ".invalid", "a..b"])
async def test_no_such_host(host: str) -> None:
    """A host that is not found, or cannot be spelled, was never sent to."""
    async with submits(f"https://{host}", IMPATIENT) as here:
        with pytest.raises(TransportError) as caught:
            await here.submit(SUBMIT)
        assert (caught.value.stage, caught.value.retry_safe) == ("connect", True)
        assert not secrets_in(caught.value)


async def test_an_untrusted_certificate() -> None:
    """A certificate nobody vouches for ends it before anything is sent."""
    async with (
        serving(keeps_open(OK), tls=stranger_tls()) as server,
        transport(server.url) as here,
    ):
        error = await fault_of(here)
        assert error.stage == "tls"
        assert "certificate verify failed" in str(error)
        assert "SSL_CERT_FILE" in str(error)
        assert not server.requests


async def _garbles(conn: Connection) -> None:
    await conn.reader.read(10)
    conn.send(b"HTTP/1.1 400 this is not TLS\r\n\r\n")
    await conn.read_until_closed()


async def test_https_to_a_plain_port() -> None:
    """A server without TLS is never sent anything over https."""
    async with (
        serving(_garbles) as server,
        submits(server.url.replace("http:", "https:")) as here,
    ):
        with pytest.raises(TransportError) as caught:
            await here.submit(SUBMIT)
        assert (caught.value.stage, caught.value.retry_safe) == ("tls", True)


async def test_https_to_a_port_that_says_nothing() -> None:
    """A handshake nobody answers ends with the time for connecting."""

    async def silent(conn: Connection) -> None:
        await conn.read_until_closed()

    async with serving(silent) as server:
        url = server.url.replace("http:", "https:")
        async with submits(url, IMPATIENT) as here:
            with pytest.raises(TransportError) as caught:
                await here.submit(SUBMIT)
        assert (caught.value.stage, caught.value.retry_safe) == ("connect", True)


async def test_http_to_a_tls_port() -> None:
    """Speaking in clear to a TLS server is an error that says what to change."""
    async with (
        serving(keeps_open(OK), tls=server_tls()) as server,
        submits(server.url.replace("https:", "http:")) as here,
    ):
        with pytest.raises(TransportError, match="write https"):
            await here.submit(SUBMIT)


async def _eof(conn: Connection) -> None:
    await conn.read_request()
    conn.close()


async def _reset(conn: Connection) -> None:
    await conn.read_request()
    conn.reset()


async def _silence(conn: Connection) -> None:
    await conn.read_request()
    await conn.read_until_closed()


async def _garbage(conn: Connection) -> None:
    await conn.read_request()
    conn.send(b"SSH-2.0-OpenSSH_9.6\r\n" + KEY.encode() + b"\r\n")
    await conn.read_until_closed()


async def _half_a_head(conn: Connection) -> None:
    await conn.read_request()
    conn.send(b"HTTP/1.1 200 OK\r\nContent-")
    conn.close()


@pytest.mark.parametrize("handler", [_eof, _reset, _silence, _garbage, _half_a_head])
async def test_no_answer(handler: Handler) -> None:
    """A status request without an answer is an error that names the stage."""
    async with serving(handler) as server, transport(server.url, IMPATIENT) as here:
        for request in (FETCH, LIST):
            error = await fault_of(here, request)
            assert error.stage == ("silence" if handler is _silence else "answer")
            assert not error.retry_safe
            assert not error.maybe_charged
            assert error.request_id


async def test_a_status_request_may_be_silent_as_long_as_its_own_bound() -> None:
    """The longest silence of a download does not bound a status request."""

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


# Answers that are odd


WHOLE = b'{"code":1,"description":"ok","result":"1733213213123456"}'


async def _cut(conn: Connection) -> None:
    await conn.read_request()
    conn.send(answer(200, WHOLE + b" " * 50)[:-50])
    conn.close()


async def _cut_and_reset(conn: Connection) -> None:
    await conn.read_request()
    conn.send(answer(200, WHOLE + b" " * 50)[:-50])
    await conn.writer.drain()
    conn.writer.get_extra_info("socket").shutdown(1)
    await conn.read_until_closed()


async def _cut_chunks(conn: Connection) -> None:
    await conn.read_request()
    conn.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    conn.send(b"%x\r\n%s\r\n" % (len(WHOLE), WHOLE))
    conn.close()


async def _cut_and_silent(conn: Connection) -> None:
    await conn.read_request()
    conn.send(answer(200, WHOLE + b" " * 50)[:-50])
    await conn.read_until_closed()


CUT = [_cut, _cut_and_reset, _cut_chunks, _cut_and_silent]


@pytest.mark.parametrize("handler", CUT)
async def test_the_answer_to_a_submit_is_kept_as_far_as_it_came(
    handler: Handler,
) -> None:
    """An id that came before an answer broke off or stood still is not lost."""
    async with serving(handler) as server, submits(server.url, IMPATIENT) as here:
        response = await here.submit(SUBMIT)
        assert response.status == 200
        assert json.loads(response.body)["result"] == "1733213213123456"
        assert not response.early
        assert not response.whole


@pytest.mark.parametrize("handler", CUT)
async def test_half_an_answer_to_a_status_request_is_none(handler: Handler) -> None:
    """A status request whose answer broke off is a fault, so it is repeated."""
    async with serving(handler) as server, transport(server.url, IMPATIENT) as here:
        assert (await fault_of(here)).stage in {"answer", "silence"}


async def test_half_a_refusal_is_no_answer() -> None:
    """The lost words may say that the key is good: a question is asked again."""

    async def handler(conn: Connection) -> None:
        await conn.read_request()
        conn.send(answer(401, b'{"error":' + b" " * 50)[:-50])
        conn.close()

    async with serving(handler) as server, submits(server.url) as here:
        assert (await fault_of(here.transport)).stage == "answer"
        assert not here.transport.key_worked
        response = await here.submit(SUBMIT)
        assert (response.status, response.body) == (401, b'{"error":')
        assert not response.whole


async def test_a_key_that_is_echoed_gets_no_further() -> None:
    """A page that shows what it was sent does not put the key into an error."""

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


async def test_a_compressed_answer_is_read() -> None:
    """An answer that a proxy compressed is decoded."""
    handler = closes_after(answer(200, gzip.compress(WHOLE), Content_Encoding="gzip"))
    async with serving(handler) as server, submits(server.url) as here:
        response = await here.submit(SUBMIT)
        assert (response.body, response.whole) == (WHOLE, True)


async def test_an_answer_that_cannot_be_decompressed_loses_nothing_else() -> None:
    """An answer with broken compression has a status, and no body."""
    handler = closes_after(answer(200, b"not gzip at all", Content_Encoding="gzip"))
    async with serving(handler) as server, submits(server.url) as here:
        response = await here.submit(SUBMIT)
        assert (response.status, response.body) == (200, b"")
        with pytest.raises(TransportError):
            await here.transport.send(FETCH)


async def test_an_endless_answer_is_bounded() -> None:
    """No more than 16 MiB of an answer are read."""

    async def endless(conn: Connection) -> None:
        await conn.read_request()
        conn.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while not conn.writer.is_closing():
            conn.send(b"x" * MIB)
            await conn.writer.drain()

    async with serving(endless) as server, transport(server.url) as here:
        response = await here.send(FETCH)
        assert 16 * MIB <= len(response.body) < 17 * MIB


async def test_a_redirect_is_an_answer() -> None:
    """The key is not carried along a redirect: it is returned as it is."""
    moved = answer(307, b"", Location="/elsewhere")
    async with serving(keeps_open(moved)) as server, submits(server.url) as here:
        response = await here.submit(SUBMIT)
        assert response.status == 307
        assert response.headers["location"] == "/elsewhere"
        assert (await here.transport.send(FETCH)).status == 307
        assert len(server.requests) == 2


# How often it is sent


async def test_a_post_is_never_sent_twice() -> None:
    """On a connection that is closed under it a submit is lost, not repeated."""

    async def handler(conn: Connection) -> None:
        await conn.read_request()
        conn.send(OK)
        if await conn.read_request():
            conn.close()

    async with serving(handler) as server, submits(server.url) as here:
        assert (await here.submit(SUBMIT)).status == 200
        with pytest.raises(TransportError) as caught:
            await here.submit(SUBMIT)
        assert caught.value.maybe_charged
        assert len(server.requests) == 2


async def test_a_submit_goes_out_on_a_fresh_connection_only() -> None:
    """A connection that was idle for two seconds is not used for a submit."""
    async with serving(keeps_open(OK)) as server, submits(server.url) as here:
        await here.submit(SUBMIT)
        await server.connections[
            0
        ].closed.wait()  # the client closes it, not the server
        await here.submit(SUBMIT)
        assert len(server.connections) == 2


async def test_submits_and_looks_do_not_share_connections() -> None:
    """Status requests keep their connection longer than submits may."""
    async with serving(keeps_open(OK)) as server, submits(server.url) as here:
        await here.submit(SUBMIT)
        await here.transport.send(FETCH)
        await here.transport.send(FETCH)
        assert len(server.connections) == 2


QUICK = RetryPolicy(first=0.001, longest=0.002, attempts=3, timeout=5)


@asynccontextmanager
async def repeating(
    handler: Handler,
) -> AsyncIterator[tuple[Transport, RecordedSleep, list[Connection]]]:
    """Give a transport that repeats, its sleep, and its server's requests."""
    sleep = RecordedSleep()
    async with (
        serving(handler) as server,
        transport(server.url, IMPATIENT, retry=QUICK, sleep=sleep) as here,
    ):
        yield here, sleep, server.requests


async def test_faults_are_repeated_until_an_answer_comes() -> None:
    """Lost answers and server faults are asked for again, by POST too."""
    handler = closes_after(b"", answer(500, b"oops"), OK)
    async with repeating(handler) as (here, sleep, requests):
        assert (await here.send_with_retries(LIST)).status == 200
        assert len(requests) == 3
        assert len(sleep.waits) == 2


async def test_repeating_ends_with_what_came_last() -> None:
    """After the last attempt the last answer, or the last fault, is what counts."""
    async with repeating(closes_after(answer(503, b"x"))) as (here, sleep, _):
        assert (await here.send_with_retries(FETCH)).status == 503
        assert len(sleep.waits) == 2
    async with repeating(closes_after(b"")) as (here, sleep, _):
        with pytest.raises(TransportError):
            await here.send_with_retries(FETCH)
        assert len(sleep.waits) == 2


async def test_a_hint_is_honoured_within_reason() -> None:
    """A server's hint makes the wait longer, but not longer than all may take."""
    week = BUSY.replace(b"Retry-After: 7", b"Retry-After: 604800")
    async with repeating(closes_after(BUSY, week, OK)) as (here, sleep, _):
        assert (await here.send_with_retries(FETCH)).status == 200
        assert sleep.waits == [5, 5]  # the policy's timeout


async def test_a_strange_page_is_asked_again() -> None:
    """A firewall that says 403 once is not what a look ends with."""
    handler = closes_after(answer(403, b"<html>Just a moment..."), OK)
    async with repeating(handler) as (here, sleep, _):
        assert (await here.send_with_retries(FETCH)).status == 200
        assert len(sleep.waits) == 1


async def test_a_refusal_is_not_repeated() -> None:
    """What the server refused is refused again: once is enough."""
    async with repeating(closes_after(answer(400, b"{}"))) as (here, sleep, _):
        assert (await here.send_with_retries(FETCH)).status == 400
        assert not sleep.waits


async def test_a_certificate_does_not_become_good_by_waiting() -> None:
    """A TLS failure is raised at once."""
    sleep = RecordedSleep()
    async with (
        serving(keeps_open(OK), tls=stranger_tls()) as server,
        transport(server.url, sleep=sleep) as here,
    ):
        with pytest.raises(TransportError, match="SSL_CERT_FILE"):
            await here.send_with_retries(FETCH)
        assert not sleep.waits


async def test_a_submit_cannot_be_repeated_here() -> None:
    """What is not marked repeatable is refused before it is sent."""
    async with repeating(closes_after(OK)) as (here, _, requests):
        with pytest.raises(ValueError, match="not repeatable"):
            await here.send_with_retries(SUBMIT)
        assert requests == []


# A session of the caller's


async def _twice(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    await handler(request)
    return await handler(request)


async def test_a_caller_s_session_cannot_change_what_a_request_means() -> None:
    """Its middlewares, timeouts and switches are undone for each request of ours."""
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


async def test_a_caller_s_session_that_was_closed_is_said_so() -> None:
    """A session closed under the client is a clear error, and nothing was sent."""
    async with serving(keeps_open(OK)) as server:
        session = aiohttp.ClientSession()
        async with submits(server.url, http=session) as here:
            await session.close()
            for sending in (here.submit(SUBMIT), here.transport.send(FETCH)):
                with pytest.raises(ConfigurationError, match="http="):
                    await sending
        assert not server.requests


async def test_after_close_nothing_is_sent() -> None:
    """A closed transport says that the client is closed."""
    async with serving(keeps_open(OK)) as server:
        async with submits(server.url) as here:
            pass
        for sending in (here.submit(SUBMIT), here.transport.send(FETCH)):
            with pytest.raises(ClientClosedError):
                await sending


async def test_closing_under_a_request_ends_it() -> None:
    """A request whose connections are closed ends with an error, it does not hang."""
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


async def test_a_session_changed_under_the_client_is_said_so() -> None:
    """What would have a submit wait for a server's leave is refused each time."""
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


async def test_an_entry_in_netrc_does_not_replace_the_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A session that reads ``.netrc`` sends our key, and no other name."""
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


async def test_what_aiohttp_refuses_of_a_session_is_an_error_of_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A proxy without an address, in a session that reads the environment."""
    monkeypatch.setenv("HTTP_PROXY", f"http://user:{PASSWORD}@localhost:99999")
    async with (
        aiohttp.ClientSession(trust_env=True) as session,
        submits("http://api.example.com", http=session) as here,
    ):
        with pytest.raises(TransportError) as caught:
            await here.submit(SUBMIT)
        assert caught.value.retry_safe
        assert not secrets_in(caught.value)
        await fault_of(here.transport)


# Proxies


async def test_a_proxy_is_used_as_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A request for a foreign host goes to the proxy, which is told the address."""
    async with serving(closes_after(OK)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        async with submits("http://api.example.com") as here:
            assert (await here.submit(SUBMIT)).status == 200
        assert proxy.requests[0].path.startswith("http://api.example.com/mj/")


async def test_a_proxy_that_refuses_was_never_sent_a_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The status of a proxy is not the API's, and its password is not told."""
    async with serving(closes_after(answer(407, b"no"))) as proxy:
        login = f"http://user:{PASSWORD}@localhost:{proxy.port}"
        monkeypatch.setenv("HTTPS_PROXY", login)
        async with transport("https://api.example.com", IMPATIENT) as here:
            error = await fault_of(here)
            assert error.stage == "connect"
            assert "the proxy answered 407" in str(error)
            with pytest.raises(TransportError) as caught:
                await here.submit(SUBMIT, "1", lambda _: None)
            assert caught.value.retry_safe
            assert not secrets_in(caught.value)
        assert proxy.requests[0].start.startswith("CONNECT api.example.com:443")


@pytest.mark.parametrize("handler", [_silence, _eof, _reset])
async def test_a_proxy_that_fails_was_never_sent_a_job(
    monkeypatch: pytest.MonkeyPatch, handler: Handler
) -> None:
    """A proxy that dies or says nothing has not passed anything on."""
    async with serving(handler) as proxy:
        login = f"http://user:{PASSWORD}@localhost:{proxy.port}"
        monkeypatch.setenv("HTTPS_PROXY", login)
        async with transport("https://api.example.com", IMPATIENT) as here:
            with pytest.raises(TransportError) as caught:
                await here.submit(SUBMIT, "1", lambda _: None)
            assert caught.value.retry_safe
            assert not caught.value.maybe_charged
            assert not secrets_in(caught.value)


async def _connect(conn: Connection) -> None:
    """Be a CONNECT proxy that leads wherever it is asked to one server."""
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
    asyncio.get_running_loop().slow_callback_duration = 60  # no stopwatch here
    async with transport(sys.argv[1]) as here:
        request = submit_of(prepared(jpeg(2_000_000)))
        answer = await here.submit(request, "1", lambda upload: None)
        print(answer.status, answer.body.decode())

asyncio.run(main())
"""


async def _run_script(url: str, folder: Path, **environ: str) -> str:
    """Submit in a process of its own, where nothing may be written to stderr."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-X", "dev", "-W", "error", "-c", SCRIPT, url),
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "SSL_CERT_FILE": str(trust_file(folder)),
            **environ,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await process.communicate()
    assert not errors.decode()
    return out.decode().strip()


async def test_certificates_named_by_the_environment_are_trusted(
    tmp_path: Path,
) -> None:
    """SSL_CERT_FILE is honoured, and no warning is given in development mode."""
    async with serving(closes_after(OK), tls=server_tls()) as server:
        told = await _run_script(server.url, tmp_path)
    assert told == '200 {"code":1,"result":"7"}'


async def test_a_submit_goes_through_a_tunnel(tmp_path: Path) -> None:
    """Over CONNECT the body arrives whole and the proxy sees none of it."""
    async with (
        serving(closes_after(OK), tls=server_tls()) as server,
        serving(_connect) as proxy,
    ):
        address = proxy.url
        proxy.url = str(server.port)
        told = await _run_script(
            "https://api.example.com",
            tmp_path,
            HTTPS_PROXY=address.replace("://", f"://user:{PASSWORD}@"),
        )
        assert told == '200 {"code":1,"result":"7"}'
        assert server.requests[0].whole
        assert "authorization" not in proxy.requests[0].headers
        assert "proxy-authorization" in proxy.requests[0].headers


async def test_many_submits_at_once_leave_nothing_behind() -> None:
    """Thirty submits at once all arrive whole, and no task is left."""
    before = asyncio.all_tasks()
    async with serving(keeps_open(OK)) as server, submits(server.url) as here:
        request = submit_of(prepared(jpeg(300_000)))
        answers = await asyncio.gather(*(here.submit(request) for _ in range(30)))
        assert {response.status for response in answers} == {200}
        assert len(server.requests) == 30
    assert len(asyncio.all_tasks()) == len(before)
