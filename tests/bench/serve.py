"""
The process of the server: the API on two ports, control over its own pipes.

A line of JSON on stdin is a command, a line on stdout its answer. It ends with
stdin, so it never outlives its parent.
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


def _cpu_seconds() -> float:
    """Return the seconds of processor time this process has used."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


@define(eq=False)
class Service:
    """The relay of the current run, and what the run has cost so far."""

    _buffers: Buffers = field(factory=Buffers)
    _relay: Relay | None = None
    _cpu: float = 0.0

    def connection(self) -> Connection:
        """Return a connection to the current relay."""
        return Connection(self._answer, self._buffers)

    def _answer(self, request: Request) -> Reply | Picture:
        return self._relay.answer(request) if self._relay else Reply(503)

    def start(self, plan: Plan) -> None:
        """Begin a run with a new relay."""
        self._buffers.clear()
        self._relay, self._cpu = Relay(plan), _cpu_seconds()

    def report(self) -> dict[str, object]:
        """Return what was done in this run."""
        report = self._relay.report() if self._relay else {}
        return report | {"cpu": _cpu_seconds() - self._cpu}


async def _serve(certificate: str) -> None:
    service, loop = Service(), asyncio.get_running_loop()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    urls = {}
    for scheme, tls in (("http", None), ("https", context)):
        server = await loop.create_server(
            service.connection, _HOST, 0, ssl=tls, backlog=512
        )
        urls[scheme] = f"{scheme}://{_HOST}:{server.sockets[0].getsockname()[1]}"
    print(json.dumps(urls), flush=True)
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(commands), sys.stdin
    )
    while line := await commands.readline():
        answer: dict[str, object] = {}
        if plan := json.loads(line).get("plan"):
            service.start(Plan(**plan))
        else:
            answer = service.report()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
