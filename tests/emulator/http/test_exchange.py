"""Connections: when they stay open, when they close, and what is charged by then."""

from __future__ import annotations

import ssl

import pytest
import trustme

from ezlink_async.emulator import Emulator, EmulatorSettings, faults, serving
from tests.support.emulator_requests import (
    FETCH,
    SWAP,
    RawApi,
    headers,
    swap_body,
    until,
)
from tests.support.wire import RawConnection

_WRONG = [("Authorization", "Bearer sk-wrong"), ("Content-Type", "application/json")]
_CHUNKED = ("Transfer-Encoding", "chunked")
_EXPECT = ("Expect", "100-continue")


async def test_connection_survives_a_refused_short_body(emu: Emulator) -> None:
    """A refusal that leaves up to 256 KiB unread is answered, and so is the next."""
    async with RawConnection(emu.base_url) as raw:
        first = await raw.request("POST", SWAP, _WRONG, b"x" * 100_000)
        second = await raw.request("GET", FETCH, headers(emu))

    assert (first.status, first.header("Connection")) == (401, None)
    assert second.status == 400


async def test_connection_closes_after_a_refused_long_body(emu: Emulator) -> None:
    """The refusal comes before the body is sent, with ``Connection: close``."""
    async with RawConnection(emu.base_url) as raw:
        await raw.send_head("POST", SWAP, _WRONG, 1_000_000)
        response = await raw.response()
        assert await raw.reader.read() == b""

    assert (response.status, response.header("Connection")) == (401, "close")


async def test_connection_closes_after_a_refused_endless_body(emu: Emulator) -> None:
    """The server reads a chunked body up to the limit, then closes."""
    async with RawConnection(emu.base_url) as raw:
        await raw.send_head("POST", SWAP, [*_WRONG, _CHUNKED])
        raw.writer.write(b"40000\r\n" + b"x" * 0x40000 + b"\r\n" + b"9\r\n")
        raw.writer.write(b"123456789\r\n")
        response = await raw.response()

    assert (response.status, response.header("Connection")) == (401, "close")


async def test_chunked_submit_is_accepted(emu: Emulator) -> None:
    body = swap_body()
    async with RawConnection(emu.base_url) as raw:
        await raw.send_head("POST", SWAP, headers(emu, _CHUNKED))
        raw.writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
        assert (await raw.response()).status == 200


async def test_expect_is_continued_for_a_good_key(emu: Emulator) -> None:
    """``Expect: 100-continue`` is answered once the key is known to be good."""
    body = swap_body()
    async with RawConnection(emu.base_url) as raw:
        await raw.send_head("POST", SWAP, headers(emu, _EXPECT), len(body))
        assert (await raw.response()).status == 100
        raw.writer.write(body)
        assert (await raw.response()).status == 200


async def test_expect_is_refused_for_a_bad_key(emu: Emulator) -> None:
    """The 401 comes in place of ``100 Continue``, and the connection closes."""
    async with RawConnection(emu.base_url) as raw:
        await raw.send_head("POST", SWAP, [*_WRONG, _EXPECT], 9)
        response = await raw.response()

    assert (response.status, response.header("Connection")) == (401, "close")


async def test_incomplete_submit_makes_no_task(emu: Emulator, api: RawApi) -> None:
    """A body that ends one byte short is no upload, and makes no task."""
    body = swap_body()
    async with RawConnection(emu.base_url) as raw:
        await raw.send_head("POST", SWAP, headers(emu), len(body))
        raw.writer.write(body[:-1])
        await until(lambda: emu.control.attempts)

    await api.submit()
    assert len(emu.control.tasks) == 1
    assert sum(emu.control.uploads.values()) == 1


async def test_client_that_leaves_after_the_body_is_charged() -> None:
    """The task is made and charged, though its client has closed the connection."""
    async with serving() as emu:
        emu.control.script("submit", faults.Delay(60, job=True))
        async with RawConnection(emu.base_url) as raw:
            await raw.send("POST", SWAP, headers(emu), swap_body())
            await until(lambda: emu.control.charges)
        await RawApi(emu).fetch(emu.control.tasks[0].task_id)

    assert len(emu.control.charges) == 1


async def test_server_survives_a_client_that_leaves_within_a_picture() -> None:
    async with serving() as emu:
        task_id = await RawApi(emu).swapped()
        emu.control.script("image", faults.Picture(drip=60, block=10))
        async with RawConnection(emu.base_url) as raw:
            await raw.send_head("GET", f"/mj/image/{task_id}")
            await raw.reader.readuntil(b"\r\n\r\n")

        assert (await RawApi(emu).image(task_id)).status == 200


@pytest.mark.parametrize("job", [True, False])
async def test_stall_ends_when_its_client_leaves(
    emu: Emulator, api: RawApi, *, job: bool
) -> None:
    """The server serves the next client; with *job* the stalled task is finished."""
    emu.control.script("submit", faults.Stall(job=job))
    async with RawConnection(emu.base_url) as raw:
        await raw.send("POST", SWAP, headers(emu), swap_body())
        await until(lambda: emu.control.charges if job else emu.control.requests)

    await api.submit()
    assert len(emu.control.tasks) == 1 + job
    task_id = emu.control.tasks[0].task_id
    assert (await api.fetch_end(task_id))["status"] == "SUCCESS"


async def test_http_1_0_client_gets_no_chunks(emu: Emulator, api: RawApi) -> None:
    """HTTP/1.0 has no chunks: a long answer comes with its length."""
    task_id = await api.swapped()
    emu.control.script("image", faults.Picture(content=b"x" * 5000))
    async with RawConnection(emu.base_url) as raw:
        head = f"GET /mj/image/{task_id} HTTP/1.0\r\nHost: {raw.host}\r\n\r\n"
        raw.writer.write(head.encode())
        response = await raw.response()

    assert response.header("Content-Length") == "5000"
    assert response.body == b"x" * 5000


async def test_tls_connection_closes_after_a_refused_long_body() -> None:
    """With a TLS context the address is https, and connections close likewise."""
    authority = trustme.CA()
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(served)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with (
        serving(EmulatorSettings(ssl_context=served)) as emu,
        RawConnection(emu.base_url, trusting) as raw,
    ):
        assert emu.base_url.startswith("https://127.0.0.1:")
        await raw.send_head("POST", SWAP, _WRONG, 1_000_000)
        response = await raw.response()

    assert (response.status, response.header("Connection")) == (401, "close")
