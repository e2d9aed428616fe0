"""Connections: who waits for whom, who leaves, and what was paid by then."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trustme

from ezlink_async.emulator import Emulator, EmulatorSettings, faults, serving
from tests.support.emulator_requests import (
    Ask,
    asker,
    fetch,
    fetch_end,
    submit,
    swap_body,
)
from tests.support.wire import Answered, Wire

_SWAP = "/mj/insight-face/swap"
_FETCH = "/mj/task/1/fetch"
_WRONG = [("Authorization", "Bearer sk-wrong"), ("Content-Type", "application/json")]


def _key(emu: Emulator) -> tuple[str, str]:
    return ("Authorization", f"Bearer {emu.api_key}")


async def test_a_short_unread_body_keeps_the_connection(emu: Emulator) -> None:
    """A refusal of up to 256 KiB unread is answered, and the next request too."""
    async with Wire(emu.base_url) as wire:
        first = await wire.ask("POST", _SWAP, _WRONG, b"x" * 100_000)
        second = await wire.ask("GET", _FETCH, [_key(emu)])

    assert (first.status, first.header("Connection")) == (401, None)
    assert second.status == 400


async def test_a_long_unread_body_costs_the_connection(emu: Emulator) -> None:
    """A refusal comes before the body is sent, says close, and closes."""
    async with Wire(emu.base_url) as wire:
        await wire.send_head("POST", _SWAP, _WRONG, 1_000_000)
        answered = await wire.answer()
        assert await wire.reader.read() == b""

    assert (answered.status, answered.header("Connection")) == (401, "close")


async def test_a_chunked_body_without_end_costs_the_connection(emu: Emulator) -> None:
    """A body of unknown length is read up to the limit, then the door closes."""
    chunks = [*_WRONG, ("Transfer-Encoding", "chunked")]
    async with Wire(emu.base_url) as wire:
        await wire.send_head("POST", _SWAP, chunks)
        wire.writer.write(b"40000\r\n" + b"x" * 0x40000 + b"\r\n" + b"9\r\n")
        wire.writer.write(b"123456789\r\n")
        answered = await wire.answer()

    assert (answered.status, answered.header("Connection")) == (401, "close")


async def test_a_chunked_body_is_a_body(emu: Emulator) -> None:
    """A submit without a length is taken like any other."""
    body = swap_body()
    headers = [_key(emu), ("Content-Type", "application/json")]
    async with Wire(emu.base_url) as wire:
        await wire.send_head(
            "POST", _SWAP, [*headers, ("Transfer-Encoding", "chunked")]
        )
        wire.writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
        assert (await wire.answer()).status == 200


async def test_a_good_key_is_asked_for_its_body(emu: Emulator) -> None:
    """``Expect: 100-continue`` is answered once the key is known to be good."""
    body = swap_body()
    headers = [_key(emu), ("Content-Type", "application/json")]
    async with Wire(emu.base_url) as wire:
        expect = [*headers, ("Expect", "100-continue")]
        await wire.send_head("POST", _SWAP, expect, len(body))
        assert (await wire.answer()).status == 100
        wire.writer.write(body)
        assert (await wire.answer()).status == 200


async def test_a_bad_key_is_refused_without_its_body(emu: Emulator) -> None:
    """The 401 comes in place of ``100 Continue``, and the connection closes."""
    async with Wire(emu.base_url) as wire:
        await wire.send_head("POST", _SWAP, [*_WRONG, ("Expect", "100-continue")], 9)
        answered = await wire.answer()

    assert (answered.status, answered.header("Connection")) == (401, "close")


async def test_a_body_that_breaks_off_makes_nothing(emu: Emulator) -> None:
    """One byte short is no submit at all."""
    body = swap_body()
    async with Wire(emu.base_url) as wire:
        headers = [_key(emu), ("Content-Type", "application/json")]
        await wire.send_head("POST", _SWAP, headers, len(body))
        wire.writer.write(body[:-1])
        while not emu.control.attempts:
            await asyncio.sleep(0)

    await submit(asker(emu))
    assert len(emu.control.tasks) == 1
    assert sum(emu.control.uploads.values()) == 1


async def test_who_leaves_after_the_body_has_paid() -> None:
    """The job is made and charged, though nobody is there for the answer."""
    async with serving() as emu:
        emu.control.script("submit", faults.Delay(60, job=True))
        async with Wire(emu.base_url) as wire:
            body = swap_body()
            headers = [_key(emu), ("Content-Type", "application/json")]
            await wire.send_head("POST", _SWAP, headers, len(body))
            wire.writer.write(body)
            while not emu.control.charges:
                await asyncio.sleep(0)
        await fetch(asker(emu), emu.control.tasks[0].task_id)

    assert len(emu.control.charges) == 1


async def test_who_leaves_within_a_picture_breaks_nothing() -> None:
    """A picture whose reader has gone is given up quietly."""
    async with serving() as emu:
        task_id = await submit(asker(emu))
        await fetch_end(asker(emu), task_id)
        emu.control.script("image", faults.Picture(drip=60, block=10))
        async with Wire(emu.base_url) as wire:
            await wire.send_head("GET", f"/mj/image/{task_id}")
            await wire.reader.readuntil(b"\r\n\r\n")

        assert (await asker(emu)("GET", f"/mj/image/{task_id}")).status == 200


async def test_a_stall_ends_with_its_client(emu: Emulator, ask: Ask) -> None:
    """A charged submit that is never answered lets go of a client that leaves."""
    emu.control.script("submit", faults.Stall(job=True))
    async with Wire(emu.base_url) as wire:
        headers = [_key(emu), ("Content-Type", "application/json")]
        await wire.send_head("POST", _SWAP, headers, len(swap_body()))
        wire.writer.write(swap_body())
        while not emu.control.charges:
            await asyncio.sleep(0)

    task_id = emu.control.tasks[0].task_id
    assert (await fetch_end(ask, task_id))["status"] == "SUCCESS"


async def test_an_old_client_gets_no_chunks(emu: Emulator) -> None:
    """HTTP/1.0 has no chunks: a long answer comes with its length."""
    task_id = await submit(asker(emu))
    await fetch_end(asker(emu), task_id)
    emu.control.script("image", faults.Picture(content=b"x" * 5000))
    async with Wire(emu.base_url) as wire:
        wire.writer.write(f"GET /mj/image/{task_id} HTTP/1.0\r\n\r\n".encode())
        answered = await wire.answer()

    assert answered.header("Content-Length") == "5000"
    assert answered.body == b"x" * 5000


@asynccontextmanager
async def _secure() -> AsyncIterator[tuple[Emulator, ssl.SSLContext]]:
    authority = trustme.CA()
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(served)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with serving(EmulatorSettings(ssl_context=served)) as emu:
        yield emu, trusting


async def test_it_speaks_tls_and_closes_there_too() -> None:
    """The address is https, and a long unread body costs the connection there too."""
    async with _secure() as (emu, trusting), Wire(emu.base_url, trusting) as wire:
        assert emu.base_url.startswith("https://127.0.0.1:")
        await wire.send_head("POST", _SWAP, _WRONG, 1_000_000)
        answered: Answered = await wire.answer()

    assert (answered.status, answered.header("Connection")) == (401, "close")
