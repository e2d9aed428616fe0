"""Whole journeys, in processes of their own where that is the point."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from ezlink_async import AsyncEzlink, PollPolicy
from ezlink_async.emulator import EmulatorSettings, scripts, serving
from tests.end_to_end.three_hundred_swaps import DEVMODE, EXPECTED
from tests.support.client_harness import beside_emulator
from tests.support.pictures import jpeg
from tests.support.programs import run_strictly
from tests.support.raw_servers import server_tls

POLL = PollPolicy(first=0.01, shortest=0.01, longest=0.05)

RESTORE = """
import asyncio, json, sys
from ezlink_async import AsyncEzlink, PollPolicy

async def main():
    poll = PollPolicy(first=0.01, shortest=0.01, longest=0.05)
    key, base_url, saved = sys.argv[1:]
    async with AsyncEzlink(key, base_url=base_url, poll=poll) as ez:
        print(str((await ez.restore(json.loads(saved))).status))

asyncio.run(main())
"""


async def test_three_hundred_swaps() -> None:
    """Each result is right, 300 are charged, 32 in progress, and no task is left."""
    out = await run_strictly("-m", "tests.end_to_end.three_hundred_swaps", **DEVMODE)
    assert json.loads(out) == EXPECTED


async def test_another_process_restores_a_saved_handle() -> None:
    """The value of ``to_dict`` is all that the other process needs."""
    async with beside_emulator() as (ez, server):
        server.control.script_tasks(scripts.slow(0.2))
        handle = await ez.swap_face(jpeg(20_000), jpeg(30_000))
        saved = json.dumps(handle.to_dict())
        arguments = ("-c", RESTORE, server.api_key, server.base_url, saved)
        assert await run_strictly(*arguments, **DEVMODE) == "SUCCESS\n"
        assert len(server.control.charges) == 1


@contextlib.asynccontextmanager
async def _connect_proxy(port: int, asked: list[str]) -> AsyncIterator[str]:
    """Run an HTTP proxy whose every CONNECT leads to *port* of this machine."""

    async def pipe(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while block := await source.read(65536):
                sink.write(block)
                await sink.drain()
        sink.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head.decode().split("\r\n")[0])
        inner_reader, inner = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(pipe(reader, inner), pipe(inner_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_swap_through_https_proxy_sends_everything_over_connect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The proxy of ``HTTPS_PROXY`` carries submit, polls and picture."""
    settings = EmulatorSettings(ssl_context=server_tls(), hosts=("api.example.com",))
    asked: list[str] = []
    async with asyncio.timeout(300), serving(settings) as server:
        port = urlsplit(server.base_url).port or 0
        async with _connect_proxy(port, asked) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy)
            async with AsyncEzlink(
                server.api_key, base_url="https://api.example.com", poll=POLL
            ) as ez:
                handle = await ez.swap_face(jpeg(20_000), jpeg(30_000))
                assert await handle.read()
        assert set(asked) == {"CONNECT api.example.com:443 HTTP/1.1"}
        assert len(server.control.charges) == 1
