"""
The process of the server: API on two ports, control over its own pipes.

A line of JSON on stdin is an order, a line on stdout its answer. It ends with stdin,
so it never outlives whoever started it.
"""

from __future__ import annotations

import asyncio
import json
import resource
import ssl
import sys

from attrs import define, field

from ezlink_async.emulator.http.replies import Reply
from tests.bench.front import Buffers, Connection
from tests.bench.plans import Plan
from tests.bench.relay import Picture, Relay, Request

_HOST = "127.0.0.1"


def _used() -> float:
    """Return the seconds of processor time this process has used."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


@define(eq=False)
class Desk:
    """The relay of the current run, and what the run has cost so far."""

    buffers: Buffers = field(factory=Buffers)
    _relay: Relay | None = None
    _used: float = 0.0

    def connection(self) -> Connection:
        """Make a connection to whichever relay there is."""
        return Connection(self._answer, self.buffers)

    def _answer(self, request: Request) -> Reply | Picture:
        if self._relay is None:
            return Reply(503)
        return self._relay.answer(request)

    def obey(self, order: dict[str, dict[str, object]]) -> dict[str, object]:
        """Begin a run with a new relay, or report on the one there is."""
        if "begin" in order:
            self.buffers.clear()
            self._relay = Relay(Plan(**order["begin"]))  # type: ignore[arg-type] # JSON
            self._used = _used()
            return {}
        report = self._relay.report() if self._relay else {}
        return report | {"cpu": _used() - self._used}


async def _serve(certificate: str) -> None:
    desk, loop = Desk(), asyncio.get_running_loop()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    ports = []
    for tls in (None, context):
        server = await loop.create_server(
            desk.connection, _HOST, 0, ssl=tls, backlog=512
        )
        ports.append(server.sockets[0].getsockname()[1])
    plain, secure = ports
    _say({"http": f"http://{_HOST}:{plain}", "https": f"https://{_HOST}:{secure}"})
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(orders), sys.stdin
    )
    while line := await orders.readline():
        _say(desk.obey(json.loads(line)))


def _say(answer: dict[str, object]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
