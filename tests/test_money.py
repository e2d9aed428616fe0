"""
Never pay twice: what the server created and charged, for each way to fail.

Every case runs over plain HTTP and over TLS with a certificate of our own,
since the real server is only reached that way. "Created" and "charged" are
read from the emulator, never from the client.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import attrs
import pytest
import trustme

from ezlink_async import (
    AsyncEzlink,
    PollPolicy,
    RetryPolicy,
    TaskStatus,
    Timeouts,
    errors,
)
from ezlink_async.emulator import Emulator, EmulatorSettings, faults, serving
from tests.fakes import jpeg
from tests.servers import server_tls

POLL = PollPolicy(first=0.01, shortest=0.01, longest=0.05)
RETRY = RetryPolicy(first=0.01, longest=0.02, attempts=3, timeout=20)
SMALL = (jpeg(20_000), jpeg(30_000))
LARGE = (jpeg(10_000_000), jpeg(10_000_001))


@pytest.fixture(params=["plain", "tls"])
def tls(request: pytest.FixtureRequest) -> ssl.SSLContext | None:
    """Serve with TLS or without; ``SSL_CERT_FILE`` names who is trusted."""
    return server_tls() if request.param == "tls" else None


@attrs.frozen
class Shop:
    """A client and the server it pays."""

    ez: AsyncEzlink
    server: Emulator

    @property
    def created(self) -> int:
        """How many tasks exist upstream."""
        return len(self.server.control.tasks)

    @property
    def charged(self) -> int:
        """How many swaps were paid."""
        return len(self.server.control.charges)

    @property
    def uploads(self) -> int:
        """How many submits came, whole or not."""
        seen = self.server.control.requests
        return sum(each.path.endswith("/insight-face/swap") for each in seen)


@asynccontextmanager
async def shop(
    tls: ssl.SSLContext | None,
    *,
    retry: RetryPolicy = RETRY,
    timeouts: Timeouts | None = None,
    balance: int = 1_000_000_000,
) -> AsyncIterator[Shop]:
    """Open a client beside an emulator."""
    chosen = EmulatorSettings(ssl_context=tls, balance=balance)
    async with asyncio.timeout(60), serving(chosen) as server:
        client = AsyncEzlink(
            server.api_key,
            base_url=server.base_url,
            poll=POLL,
            retry=retry,
            timeouts=timeouts or Timeouts(submit=20),
        )
        async with client as ez:
            yield Shop(ez, server)


async def _warm(here: Shop) -> None:
    """Let the key be seen to work, so that nobody asks about it later."""
    with pytest.raises(errors.TaskNotFoundError):
        await here.ez.fetch_task("1")


NOT_CREATED: dict[str, faults.Fault] = {
    "busy, code 9": faults.queue_full(),
    "busy, code 23": faults.queue_full_23(),
    "saturated, 429 code 30": faults.saturated(),
    "a limiter's empty 429": faults.limiter(),
    "a limiter's page": faults.limiter(html=True),
    "the key's table cannot be read": faults.Trouble("token_verification"),
    "the user's table cannot be read": faults.Trouble("user_lookup"),
    "the balance cannot be read": faults.Trouble("user_quota_lookup"),
    "the upstream answers nothing": faults.Upstream(body=""),
    "the upstream answers 404": faults.Upstream(status=404, body=""),
    "reset in mid-body": faults.Drop(after_bytes=1_000_000, reset=True),
    "closed in mid-body": faults.Drop(after_bytes=1_000_000),
}


@pytest.mark.parametrize("name", NOT_CREATED)
async def test_what_was_not_created_is_sent_again(
    name: str, tls: ssl.SSLContext | None
) -> None:
    """Twice refused or cut off, then accepted: one task, one charge."""
    async with shop(tls) as here:
        await _warm(here)
        here.server.control.script("submit", *[NOT_CREATED[name]] * 2)
        pictures = LARGE if "mid-body" in name else SMALL
        handle = await here.ez.swap_face(*pictures)
        assert (await handle).status is TaskStatus.SUCCESS
        assert (here.created, here.charged) == (1, 1)
        assert here.uploads == 3


UNKNOWN: dict[str, faults.Fault] = {
    "accepted, then dropped": faults.Drop(job=True),
    "accepted, then reset": faults.Drop(job=True, reset=True),
    "accepted, then silence": faults.Stall(job=True),
    "accepted behind a 502 page": faults.proxy(502, job=True),
    "accepted behind a 503 page": faults.proxy(503, job=True),
    "accepted behind a 504 page": faults.proxy(504, job=True),
    "accepted behind a 524 page": faults.proxy(524, job=True),
    "accepted behind a firewall's page": faults.proxy(403, job=True),
    "accepted, the answer cut off": faults.Cut(10),
    "accepted, then not HTTP": faults.Garbage(job=True),
    "the row was not written": faults.Trouble("insert_failed"),
}


@pytest.mark.parametrize("name", UNKNOWN)
async def test_what_may_be_paid_is_never_sent_again(
    name: str, tls: ssl.SSLContext | None
) -> None:
    """One upload, one task, one charge, and an error that says "maybe paid"."""
    timeouts = Timeouts(submit=0.3)
    async with shop(tls, timeouts=timeouts) as here:
        await _warm(here)
        here.server.control.script("submit", UNKNOWN[name])
        with pytest.raises((errors.SubmitUnknownError, errors.ProtocolError)) as caught:
            await here.ez.swap_face(*SMALL)
        assert caught.value.maybe_charged
        assert not caught.value.retry_safe
        assert (here.created, here.charged, here.uploads) == (1, 1, 1)
        assert caught.value.request_id in here.server.control.uploads


NEVER_HEARD: dict[str, faults.Fault] = {
    "dropped before anything was done": faults.Drop(),
    "reset before anything was done": faults.Drop(reset=True),
    "a 502 page without a job": faults.proxy(502),
    "an empty 500": faults.Trouble("panic"),
}


@pytest.mark.parametrize("name", NEVER_HEARD)
async def test_what_looks_the_same_is_unknown_too(
    name: str, tls: ssl.SSLContext | None
) -> None:
    """The client cannot know that nothing was done, so it does not repeat it."""
    async with shop(tls) as here:
        await _warm(here)
        here.server.control.script("submit", NEVER_HEARD[name])
        with pytest.raises(errors.SubmitUnknownError):
            await here.ez.swap_face(*SMALL)
        assert (here.created, here.charged, here.uploads) == (0, 0, 1)


async def test_unknown_ones_are_sent_again_when_asked_for(
    tls: ssl.SSLContext | None,
) -> None:
    """``resubmit_unknown`` pays twice: that is what it says."""
    willing = attrs.evolve(RETRY, resubmit_unknown=True)
    async with shop(tls, retry=willing) as here:
        here.server.control.script("submit", faults.Drop(job=True))
        await (await here.ez.swap_face(*SMALL))
        assert (here.created, here.charged) == (2, 2)


async def test_a_later_refusal_does_not_undo_an_unknown_attempt(
    tls: ssl.SSLContext | None,
) -> None:
    """The job was paid once; the last word is not "surely not created"."""
    willing = attrs.evolve(RETRY, resubmit_unknown=True)
    async with shop(tls, retry=willing) as here:
        here.server.control.script(
            "submit", faults.Drop(job=True), faults.banned_word()
        )
        with pytest.raises(errors.SubmitUnknownError) as caught:
            await here.ez.swap_face(*SMALL)
        assert isinstance(caught.value.__cause__, errors.RejectedError)
        assert (caught.value.retry_safe, caught.value.maybe_charged) == (False, True)
        assert (here.created, here.charged, here.uploads) == (1, 1, 2)
        assert caught.value.request_ids == (caught.value.request_id,)
        assert caught.value.request_id == next(iter(here.server.control.uploads))


LASTING: dict[str, tuple[faults.Fault, type[errors.ApiError]]] = {
    "banned word": (faults.banned_word(), errors.RejectedError),
    "bad picture": (
        faults.Upstream(body={"code": 4, "description": "人脸图片格式错误"}),
        errors.RejectedError,
    ),
    "generic failure": (
        faults.Upstream(body={"success": False, "code": -1}),
        errors.RejectedError,
    ),
    "unreachable upstream": (faults.Upstream(broken="refused"), errors.ServerError),
    "upstream's own 401": (
        faults.Upstream(status=401, body="no"),
        errors.ServerError,
    ),
    "redirect": (
        faults.Answer(307, headers=(("Location", "/x"),)),
        errors.EndpointNotSupportedError,
    ),
    "not served": (faults.Answer(404, "<html>"), errors.EndpointNotSupportedError),
}


@pytest.mark.parametrize("name", LASTING)
async def test_a_refusal_is_raised_at_once(
    name: str, tls: ssl.SSLContext | None
) -> None:
    """One upload, no task, no charge, and the right error."""
    fault, error = LASTING[name]
    async with shop(tls) as here:
        here.server.control.script("submit", fault)
        with pytest.raises(error) as caught:
            await here.ez.swap_face(*SMALL)
        assert not caught.value.maybe_charged
        assert (here.created, here.charged, here.uploads) == (0, 0, 1)


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
async def test_a_refused_key_costs_one_upload_at_most(
    size: tuple[bytes, bytes], tls: ssl.SSLContext | None
) -> None:
    """An early 401 is AuthenticationError, not a broken connection, and no retry."""
    async with (
        shop(tls) as here,
        AsyncEzlink(
            "sk-wrong", base_url=here.server.base_url, poll=POLL, retry=RETRY
        ) as stranger,
    ):
        with pytest.raises(errors.AuthenticationError) as caught:
            await stranger.swap_face(*size)
        assert caught.value.retry_safe
        assert (here.created, here.charged, here.uploads) == (0, 0, 1)


async def test_a_body_that_is_too_large_for_a_proxy_costs_one_upload(
    tls: ssl.SSLContext | None,
) -> None:
    """An early 413 is RejectedError, once."""
    async with shop(tls) as here:
        here.server.control.script("submit", faults.proxy(413))
        with pytest.raises(errors.RejectedError) as caught:
            await here.ez.swap_face(*LARGE)
        assert (caught.value.status, caught.value.retry_safe) == (413, True)
        assert (here.created, here.charged, here.uploads) == (0, 0, 1)


async def test_a_server_that_stops_reading_is_left(
    tls: ssl.SSLContext | None,
) -> None:
    """An upload that stalls is cut off, counts as not created, and is repeated."""
    timeouts = Timeouts(upload=0.3)
    async with shop(tls, timeouts=timeouts) as here:
        await _warm(here)
        here.server.control.script("submit", faults.Stall(after_bytes=100_000))
        await (await here.ez.swap_face(*LARGE))
        assert (here.created, here.charged) == (1, 1)


async def test_no_channel_is_waited_for(tls: ssl.SSLContext | None) -> None:
    """503 "no channel" creates nothing; giving up after ``attempts`` says so."""
    once = attrs.evolve(RETRY, attempts=1)
    async with shop(tls, retry=once) as here:
        here.server.control.standing("submit", faults.Trouble("no_channel"))
        with pytest.raises(errors.ServerError, match="no upstream is free") as caught:
            await here.ez.swap_face(*SMALL)
        assert caught.value.retry_safe
        assert caught.value.retry_after == 10
        assert (here.created, here.charged) == (0, 0)


async def test_a_file_that_shrinks_while_it_is_sent(
    tls: ssl.SSLContext | None, tmp_path: Path
) -> None:
    """The body stays incomplete: ImageError, no task, no charge, no retry."""
    target = tmp_path / "target.jpg"
    target.write_bytes(LARGE[1])
    async with shop(tls) as here:
        here.server.control.script("submit", faults.Delay(0.0))
        submit = asyncio.create_task(here.ez.swap_face(LARGE[0], target))
        while not here.server.control.attempts:
            await asyncio.sleep(0)
        with target.open("r+b") as stream:
            stream.truncate(1000)
        with pytest.raises(errors.ImageError, match="changed its length") as caught:
            await submit
        assert caught.value.path == target
        assert (here.created, here.charged, here.uploads) == (0, 0, 1)
        assert here.server.control.uploads == {}


async def test_money_for_five(tls: ssl.SSLContext | None) -> None:
    """With money for five swaps, one after the other, the sixth is QuotaError."""
    async with shop(tls, balance=5 * 9000) as here:
        for number in range(5):
            await (await here.ez.swap_face(SMALL[0], jpeg(20_001 + number)))
        with pytest.raises(errors.QuotaError, match="below the price"):
            await here.ez.swap_face(*SMALL)
        assert (here.created, here.charged) == (5, 5)


async def test_a_certificate_nobody_trusts() -> None:
    """Nothing is sent, and the error names what to set."""
    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(stranger)
    async with shop(stranger) as here:
        with pytest.raises(errors.TransportError, match="SSL_CERT_FILE") as caught:
            await here.ez.swap_face(*SMALL)
        assert (caught.value.stage, caught.value.retry_safe) == ("tls", True)
        assert here.server.control.requests == []


async def test_http_to_a_tls_port() -> None:
    """Plain text to a TLS server is a clear error, and surely no job."""
    async with serving(EmulatorSettings(ssl_context=server_tls())) as server:
        url = server.base_url.replace("https://", "http://")
        async with AsyncEzlink("sk-x", base_url=url, retry=RETRY) as ez:
            with pytest.raises(errors.TransportError, match="write https") as caught:
                await ez.swap_face(*SMALL)
            assert caught.value.retry_safe


async def test_https_to_a_plain_port() -> None:
    """TLS to a plain server is a clear error, and nothing is sent."""
    async with serving() as server:
        url = server.base_url.replace("http://", "https://")
        timeouts = Timeouts(connect=0.5)
        async with AsyncEzlink(
            "sk-x", base_url=url, retry=RETRY, timeouts=timeouts
        ) as ez:
            with pytest.raises(errors.TransportError) as caught:
                await ez.swap_face(*SMALL)
            assert caught.value.retry_safe
            assert server.control.requests == []


async def test_a_name_that_does_not_exist() -> None:
    """A mistyped host is tried as often as ``attempts`` says, and named."""
    async with AsyncEzlink(
        "sk-x", base_url="https://no-such-host.invalid", retry=RETRY
    ) as ez:
        with pytest.raises(errors.TransportError, match="was not found") as caught:
            await ez.swap_face(*SMALL)
        assert (caught.value.stage, caught.value.retry_safe) == ("connect", True)


async def test_through_a_session_of_the_caller() -> None:
    """``http=`` is used, its settings do no harm, and it is left open."""
    async with (
        serving() as server,
        aiohttp.ClientSession(
            raise_for_status=True, timeout=aiohttp.ClientTimeout(total=0.001)
        ) as session,
    ):
        async with AsyncEzlink(
            server.api_key, base_url=server.base_url, poll=POLL, http=session
        ) as ez:
            handle = await ez.swap_face(*SMALL)
            assert await handle.read()
        assert not session.closed


async def test_an_entry_in_netrc_does_no_harm(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A caller's session that reads ``.netrc`` sends the key all the same."""
    entries = tmp_path / "netrc"
    entries.write_text("machine 127.0.0.1 login me password mine\n")
    monkeypatch.setenv("NETRC", str(entries))
    async with (
        serving() as server,
        aiohttp.ClientSession(trust_env=True) as session,
        AsyncEzlink(
            server.api_key, base_url=server.base_url, poll=POLL, http=session
        ) as ez,
    ):
        assert await (await ez.swap_face(*SMALL)).read()
