"""Faults on demand: what is sent, what was made, what was paid."""

import asyncio
import contextlib

import pytest

from ezlink_async.emulator import Emulator, faults, serving
from tests.support.emulator_requests import Ask, asker, submit, swap_body
from tests.support.wire import Wire

_SWAP = "/mj/insight-face/swap"
_BIG = swap_body("s", "t", padding="x" * 3_000_000)


def _headers(emu: Emulator) -> list[tuple[str, str]]:
    key = ("Authorization", f"Bearer {emu.api_key}")
    return [key, ("Content-Type", "application/json"), ("X-Request-ID", "one")]


@pytest.mark.parametrize(
    ("fault", "made"),
    [
        (faults.Drop(job=True), 1),
        (faults.Drop(job=True, reset=True), 1),
        (faults.Drop(), 0),
        (faults.Drop(reset=True), 0),
    ],
)
async def test_a_dropped_answer_leaves_its_job(
    fault: faults.Drop, made: int, emu: Emulator, ask: Ask
) -> None:
    """The connection ends without an answer; with *job* the swap was made and paid."""
    emu.control.script("submit", fault)

    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await ask("POST", _SWAP, swap_body(), ("X-Request-ID", "one"))

    assert (len(emu.control.tasks), len(emu.control.charges)) == (made, made)
    assert emu.control.attempts.get("one", 0) == made


async def test_a_reset_comes_while_the_body_goes_out(emu: Emulator) -> None:
    """After so many bytes of the body the client sees a reset; nothing was made."""
    emu.control.script("submit", faults.Drop(after_bytes=500_000, reset=True))

    async with Wire(emu.base_url) as wire:
        await wire.send_head("POST", _SWAP, _headers(emu), len(_BIG))
        wire.writer.write(_BIG)
        with pytest.raises(ConnectionResetError):
            await wire.answer()

    assert emu.control.uploads == {}
    assert emu.control.tasks == []


async def test_a_server_that_stops_reading_takes_no_more() -> None:
    """The upload stands still, and ends only when one of the two leaves."""
    async with serving() as emu:
        emu.control.script("submit", faults.Stall(after_bytes=1000))
        wire = await Wire(emu.base_url).__aenter__()
        await wire.send_head("POST", _SWAP, _headers(emu), 60_000_000)
        wire.writer.write(b"x" * 60_000_000)
        while not emu.control.requests:
            await asyncio.sleep(0)
        await submit(asker(emu))
        # far more than sockets hold is still here
        assert wire.writer.transport.get_write_buffer_size() > 30_000_000

    with pytest.raises(ConnectionError):
        await wire.writer.drain()
    assert emu.control.attempts.get("one") is None


async def test_a_silent_server_has_charged() -> None:
    """With *job* a stalled submit is a paid task without one byte of an answer."""
    async with serving() as emu:
        emu.control.script("submit", faults.Stall(job=True))
        wire = await Wire(emu.base_url).__aenter__()
        body = swap_body()
        await wire.send_head("POST", _SWAP, _headers(emu), len(body))
        wire.writer.write(body)
        while not emu.control.charges:
            await asyncio.sleep(0)

    with contextlib.suppress(ConnectionError):
        assert await wire.reader.read() == b""
    wire.writer.transport.abort()
    assert emu.control.uploads == {"one": 1}


async def test_a_silent_server_notices_who_leaves(emu: Emulator, ask: Ask) -> None:
    """A client that hangs up on a stall costs nothing: the next one is served."""
    emu.control.script("submit", faults.Stall())
    async with Wire(emu.base_url) as wire:
        await wire.send_head("POST", _SWAP, _headers(emu), len(swap_body()))
        while not emu.control.requests:
            await asyncio.sleep(0)

    assert await submit(ask) == emu.control.tasks[0].task_id


@pytest.mark.parametrize("job", [True, False])
@pytest.mark.parametrize("status", [502, 503, 504, 520])
async def test_a_proxy_page_may_hide_a_job(
    status: int, emu: Emulator, ask: Ask, *, job: bool
) -> None:
    """A page of nginx comes back; the job behind it was done, or not, as told."""
    emu.control.script("submit", faults.proxy(status, job=job))

    answered = await ask("POST", _SWAP, swap_body())

    assert answered.status == status
    assert answered.header("X-Request-Id") is None
    assert b"<center>nginx</center>" in answered.body
    assert len(emu.control.charges) == int(job)


async def test_a_proxy_refuses_a_length_at_once(emu: Emulator) -> None:
    """A 413 comes while the body is still going out, and the connection closes."""
    emu.control.script("submit", faults.proxy(413))

    async with Wire(emu.base_url) as wire:
        await wire.send_head("POST", _SWAP, _headers(emu), len(_BIG))
        answered = await wire.answer()

    assert (answered.status, answered.header("Connection")) == (413, "close")
    assert emu.control.uploads == {}


@pytest.mark.parametrize("html", [True, False])
async def test_a_limiter_says_little(emu: Emulator, ask: Ask, *, html: bool) -> None:
    """A proxy's 429 is a page or nothing at all."""
    emu.control.script("submit", faults.limiter(html=html))

    answered = await ask("POST", _SWAP, swap_body())

    assert (answered.status, bool(answered.body)) == (429, html)


async def test_an_early_answer_is_any_answer(emu: Emulator, ask: Ask) -> None:
    """Status, body and headers are as told, and nothing was made."""
    location = (("Location", "https://elsewhere.example/"),)
    emu.control.script("submit", faults.Answer(307, "", None, headers=location))

    answered = await ask("POST", _SWAP, swap_body())

    assert answered.status == 307
    assert answered.header("Location") == "https://elsewhere.example/"
    assert emu.control.charges == []


@pytest.mark.parametrize("job", [True, False])
async def test_what_is_not_http_is_sent_as_it_is(emu: Emulator, *, job: bool) -> None:
    """The words arrive and the connection ends."""
    emu.control.script("submit", faults.Garbage("hello there", job=job))

    async with Wire(emu.base_url) as wire:
        body = swap_body()
        await wire.send_head("POST", _SWAP, _headers(emu), len(body))
        wire.writer.write(body)
        assert await wire.reader.read() == b"hello there"

    assert len(emu.control.tasks) == int(job)


@pytest.mark.parametrize("job", [True, False])
async def test_a_late_answer_is_a_good_one(
    emu: Emulator, ask: Ask, *, job: bool
) -> None:
    """A delay changes nothing about the answer."""
    emu.control.script("submit", faults.Delay(0.01, job=job))

    assert await submit(ask) == emu.control.tasks[0].task_id


@pytest.mark.parametrize("keep", [0, 10])
async def test_a_cut_answer_promised_more(keep: int, emu: Emulator, ask: Ask) -> None:
    """The length of the whole is announced, and the connection ends before it."""
    emu.control.script("submit", faults.Cut(keep))

    with pytest.raises(asyncio.IncompleteReadError):
        await ask("POST", _SWAP, swap_body())

    assert len(emu.control.charges) == 1


@pytest.mark.parametrize(
    ("word", "status", "text"),
    [
        ("token_verification", 401, "Token verification failed"),
        ("user_lookup", 500, "no such table"),
        ("no_channel", 503, "There are no channels"),
        ("user_quota_lookup", 400, "Failed to get user quota Error"),
        ("panic", 500, ""),
    ],
)
async def test_trouble_inside_the_relay_makes_nothing(
    word: str, status: int, text: str, emu: Emulator, ask: Ask
) -> None:
    """Each trouble has the answer of the server, and no task and no charge."""
    emu.control.script("submit", faults.Trouble(word))

    answered = await ask("POST", _SWAP, swap_body())

    assert answered.status == status
    assert text in answered.body.decode()
    assert (emu.control.tasks, emu.control.charges) == ([], [])


async def test_a_failed_insert_is_paid_for(emu: Emulator, ask: Ask) -> None:
    """The task exists upstream and is charged, and the relay never knows its id."""
    emu.control.script("submit", faults.Trouble("insert_failed"))

    answered = await ask("POST", _SWAP, swap_body())

    assert b"insert_midjourney_task_failed " in answered.body
    task = emu.control.tasks[0]
    assert [charge.task_id for charge in emu.control.charges] == [task.task_id]
    assert (await ask("GET", f"/mj/task/{task.task_id}/fetch")).status == 400


async def test_faults_play_in_order_and_then_no_more(emu: Emulator, ask: Ask) -> None:
    """Each request takes the next fault; behind the last one all is well."""
    emu.control.script("submit", faults.limiter(), faults.queue_full())

    statuses = [(await ask("POST", _SWAP, swap_body())).status for _ in range(3)]

    assert statuses == [429, 400, 200]


async def test_a_standing_fault_stays_until_it_is_taken_away(
    emu: Emulator, ask: Ask
) -> None:
    """Every request meets it, until it is replaced by nothing."""
    emu.control.standing("list", faults.Answer(404))
    path, body = "/mj/task/list-by-condition", b'{"ids":[]}'
    first = [(await ask("POST", path, body)).status for _ in range(2)]
    emu.control.standing("list", None)

    assert [*first, (await ask("POST", path, body)).status] == [404, 404, 200]


def test_an_unknown_place_is_refused(ezlink_emulator: Emulator) -> None:
    """A typing error in a place is a ValueError, not a fault that never plays."""
    with pytest.raises(ValueError, match="no such kind of request"):
        ezlink_emulator.control.script("nowhere", faults.limiter())
