"""
Callbacks that the upstream has not sent: they are answered, and change nothing.

One job waits at a server while they come. Afterwards its record is the same, few
status requests were made, and a true callback still brings its end. The requests are
spread over both web servers of :mod:`tests.support.callbacks`.
"""

from __future__ import annotations

import asyncio
import collections
import itertools
import random
import time
from collections.abc import Callable

import attrs

from ezlink_async import AsyncEzlink, PollPolicy
from ezlink_async._client.client import session_of
from ezlink_async.emulator import Clock, Emulator, EmulatorSettings, serving
from ezlink_async.requests import FaceSwap
from ezlink_async.webhook import MOST_BYTES, WebhookReceiver
from tests.series.result import Environment, SeriesResult
from tests.support.callbacks import (
    SECRET,
    behind_aiohttp,
    behind_asgi,
    body,
    listening,
)
from tests.support.emulator_requests import until
from tests.support.pictures import jpeg
from tests.support.wire import RawConnection

AT_ONCE = 32

MOST_ASKED = 150
"""Status requests about one job: three quick times, of steps that grow by a third."""

_POLL = PollPolicy(first=1000, shortest=0.01, longest=1000, deadline=100_000)

_LONG = 100.0  # seconds of the emulator's clock, which stands still meanwhile


@attrs.frozen
class Hostile:
    """One request, and the status that answers it."""

    name: str
    token: str
    body: bytes
    status: int = 404
    method: str = "POST"
    announced: int | None = None


@attrs.frozen
class Target:
    """What a stranger may have learned: the address and the state of one job."""

    task_id: str
    state: str
    token: str

    def says(self, status: str = "SUCCESS", **fields: object) -> bytes:
        """Return what the upstream would post about the job."""
        return body(self.task_id, status, **{"state": self.state, **fields})


def _wrong_token(here: Target, chance: random.Random) -> Hostile:
    token = "".join(chance.choices(here.token, k=len(here.token)))
    return Hostile("wrong token", token, here.says())


def _short_token(here: Target, chance: random.Random) -> Hostile:
    return Hostile("short token", here.token[: chance.randrange(1, 64)], here.says())


def _foreign_token(here: Target, chance: random.Random) -> Hostile:
    token = chance.choice(("%C3%BC", "%FF%FE", "%F0%9F%A6%8A", "%00")) * 3
    return Hostile("token outside ASCII", token, here.says())


def _other_task(here: Target, chance: random.Random) -> Hostile:
    state = f"ezlink-{chance.random()}"
    return Hostile("token of another task", here.token, here.says(state=state))


def _huge(here: Target, chance: random.Random) -> Hostile:
    padding = b" " * chance.randrange(MOST_BYTES, 2 * MOST_BYTES)
    return Hostile("huge body", here.token, padding + here.says())


def _announced(here: Target, chance: random.Random) -> Hostile:
    token = chance.choice("ABC") * len(here.token)
    return Hostile("announced gigabyte", token, b"{", announced=10**9)


def _bad_json(here: Target, chance: random.Random) -> Hostile:
    bad = [here.says()[: -chance.randrange(1, 40)], b"[" * 90_000, b"\xff\x00", b'"']
    return Hostile("bad JSON", here.token, chance.choice(bad))


def _no_task(here: Target, chance: random.Random) -> Hostile:
    bad = (b"[]", b"7", b'{"id":"7"}', b'{"status":"SUCCESS"}', b'{"id":{},"status":1}')
    return Hostile("no task", here.token, chance.choice(bad))


def _slow(here: Target, chance: random.Random) -> Hostile:
    content = here.says()[: chance.randrange(1, 9)]
    return Hostile("slow body", here.token, content, announced=len(content) + 500)


def _other_method(here: Target, chance: random.Random) -> Hostile:
    method = chance.choice(("GET", "PUT", "DELETE", "PATCH"))
    return Hostile("other method", here.token, here.says(), method=method)


def _replay(here: Target, _: random.Random) -> Hostile:
    return Hostile("replay", here.token, here.says("NOT_START"), status=204)


def _forged(here: Target, chance: random.Random) -> Hostile:
    says = here.says(chance.choice(("SUCCESS", "FAILURE", "IN_PROGRESS", "MODAL")))
    return Hostile("forged with the right token", here.token, says, status=204)


_KINDS: tuple[Callable[[Target, random.Random], Hostile], ...] = (
    *(_wrong_token, _short_token, _foreign_token, _other_task, _huge, _announced),
    *(_bad_json, _no_task, _slow, _other_method, _replay, _forged),
)


async def _send(url: str, hostile: Hostile) -> int:
    """Send a request, and return the status of its answer."""
    async with RawConnection(url) as raw:
        path = f"/hooks/{hostile.token}"
        length = hostile.announced or len(hostile.body)
        await raw.send_head(hostile.method, path, length=length)
        raw.writer.write(hostile.body)
        return (await raw.response(hostile.method)).status


async def _attack(
    urls: list[str], target: Target, count: int
) -> collections.Counter[tuple[str, bool]]:
    """Send *count* hostile requests; count them by name and by whether all was well."""
    chance = random.Random(4)  # noqa: S311 - a test
    found = collections.Counter[tuple[str, bool]]()
    places, kinds = itertools.cycle(urls), itertools.cycle(_KINDS)
    left = (next(kinds)(target, chance) for _ in range(count))

    async def work() -> None:
        for hostile in left:
            status = await _send(next(places), hostile)
            found[hostile.name, status == hostile.status] += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())
    return found


def _target(emulator: Emulator) -> Target:
    """Return all that a stranger could learn of the only job."""
    (task,) = emulator.control.tasks
    token = emulator.control.hooks[0].url.rpartition("/")[2]
    return Target(task.task_id, task.state, token)


def _judge(
    result: SeriesResult,
    answered: collections.Counter[tuple[str, bool]],
    emulator: Emulator,
    count: int,
) -> None:
    """Add the figures, and check what is promised of the requests."""
    asked = sum("/mj/task/" in each.path for each in emulator.control.requests)
    result.add(f"{answered.total()} callbacks", f"{asked} status requests")
    wrong = {name: times for (name, well), times in answered.items() if not well}
    result.expect("each is answered as it should be", wrong, {})
    result.expect("each is answered", answered.total(), count)
    result.expect("few make the client ask", asked <= MOST_ASKED, wanted=True)


async def hostile_callbacks(_: Environment, count: int = 10_000) -> SeriesResult:
    """Send *count* hostile callbacks while a job waits, and then let it end."""
    result, began = SeriesResult(), time.monotonic()
    # The emulator's clock stands still, so the job does not end by itself.
    settings = EmulatorSettings(
        forward_hooks=True, engine_seconds=_LONG, clock=Clock(ticking=False)
    )
    first, url = listening()
    second, other_url = listening()
    receiver = WebhookReceiver(f"{url}/hooks", secret=SECRET, body_timeout=0.2)
    asgi = WebhookReceiver(f"{other_url}/hooks", secret=SECRET, body_timeout=0.2)
    async with (
        serving(settings) as emulator,
        behind_aiohttp(receiver, first),
        behind_asgi(asgi, second),
        AsyncEzlink(
            api_key=emulator.api_key,
            base_url=emulator.base_url,
            poll=_POLL,
            webhook=receiver,
        ) as ez,
    ):
        asgi.attach(session_of(ez).hear)
        handle = await ez.submit(FaceSwap(jpeg(500), jpeg(600)))
        await until(lambda: emulator.control.hooks)
        target = _target(emulator)
        answered = await _attack([url, other_url], target, count)
        _judge(result, answered, emulator, count)
        result.expect("the job waits on", handle.done(), wanted=False)
        emulator.control.advance(_LONG)
        result.expect("the job ends well", str((await handle).status), "SUCCESS")
    kept = max(len(each._heard) for each in (receiver, asgi))
    result.expect("few callbacks are kept", kept <= 4096, wanted=True)
    result.add(f"{time.monotonic() - began:.1f} s")
    return result
