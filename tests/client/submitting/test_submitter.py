"""The life of one submit: what is sent again, what is told, what is left alone."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
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
from ezlink_async._client.handle import TaskHandle
from ezlink_async._client.submitting.gate import Gate
from ezlink_async._client.submitting.pending_submit import NoObserver, PendingSubmit
from ezlink_async._client.submitting.submitter import Submitter
from ezlink_async._core.images import Image, InspectedImage
from ezlink_async._core.messages import HttpRequest, HttpResponse
from ezlink_async._io.upload import Upload
from ezlink_async.emulator import Emulator, EmulatorSettings, faults, serving
from ezlink_async.services.base import TaskFamily
from ezlink_async.services.face_swap import FaceSwapJob, SwapOptions
from tests.support.pictures import jpeg
from tests.support.raw_servers import server_tls
from tests.support.scripted_transport import (
    BASE,
    ScriptedTransport,
    World,
    refused,
    reply,
    row,
    unknown_id,
)

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


QUICK = RetryPolicy(first=0.001, longest=0.002, attempts=3, timeout=20)

PICTURE = InspectedImage(Image(path=Path("target.jpg")), "image/jpeg", 3)

JOB = FaceSwapJob(source=PICTURE, target=PICTURE, options=SwapOptions(state="s"))

ACCEPTED = reply({"code": 1, "description": "", "properties": {}, "result": "7"})


def _b(code: int, description: str, status: int = 400) -> HttpResponse:
    body = {"code": code, "description": description, "type": "upstream_error"}
    return reply(body, status)


BUSY = _b(23, "full ")

NO_CHANNEL = refused("There are no channels available for model swap_face", 503)

LOST = errors.TransportError("lost", stage="answer", maybe_charged=True)

SILENT = errors.TransportError("silence", stage="silence", maybe_charged=True)

CUT = errors.TransportError("cut", stage="upload", retry_safe=True)

OFFLINE = errors.TransportError("offline", stage="connect", retry_safe=True)

DISTRUSTED = errors.TransportError("tls", stage="tls", retry_safe=True)

Step = HttpResponse | errors.EzlinkError | Callable[[Upload], Awaitable[HttpResponse]]


class Attempts(ScriptedTransport):
    """Gives each attempt of a submit the next step of a script."""

    def __init__(self, *steps: Step, key: HttpResponse | None = None) -> None:
        super().__init__(lambda _: key or unknown_id())
        self.steps = list(steps)
        self.ids: list[str] = []
        self.settings = attrs.evolve(self.settings, retry=QUICK)

    async def submit(
        self, request: HttpRequest, request_id: str, watch: Callable[[Upload], None]
    ) -> HttpResponse:
        """Answer an attempt from the script."""
        self.ids.append(request_id)
        upload = Upload(request, stall=1)
        watch(upload)
        await asyncio.sleep(0)
        step = self.steps.pop(0)
        if isinstance(step, errors.EzlinkError):
            raise step.for_awaiter()
        return step if isinstance(step, HttpResponse) else await step(upload)


class Book(NoObserver):
    """Writes down what an observer is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    async def before_submit(self, request_id: str, state: str | None) -> None:
        """Note an attempt."""
        assert request_id
        self.lines.append(f"before {state}")

    def accepted(self, task_id: str) -> None:
        """Note an id."""
        self.lines.append(f"accepted {task_id}")

    def refused(self, error: errors.EzlinkError) -> None:
        """Note a refusal."""
        self.lines.append(f"refused {type(error).__name__}")

    def unknown(self, error: errors.EzlinkError) -> None:
        """Note an unknown outcome."""
        self.lines.append(f"unknown {type(error).__name__}")


class Desk:
    """A submitter, and what became of its handles."""

    def __init__(self, transport: Attempts) -> None:
        self.world = World(transport)
        self.transport = transport
        self.submitter = Submitter(transport, self.world.background, self._follow)
        self.book = Book()
        self.followed: list[TaskHandle] = []

    def _follow(
        self, task_id: str, release: Callable[[], None], family: TaskFamily
    ) -> TaskHandle:
        handle = TaskHandle(task_id, family, self.world)
        self.world.poller.follow(handle, own=True, release=release)
        self.followed.append(handle)
        return handle

    def ticket(self) -> PendingSubmit:
        """Return a new ticket for the one job."""

        async def load() -> FaceSwapJob:
            return JOB

        return PendingSubmit(load, "target.jpg", self.book)

    async def submit(self) -> TaskHandle:
        """Submit the one job."""
        return await self.submitter.submit(self.ticket())


@asynccontextmanager
async def desk(*steps: Step, key: HttpResponse | None = None) -> AsyncIterator[Desk]:
    """Submit against a script until the block is left."""
    here = Desk(Attempts(*steps, key=key))
    try:
        async with asyncio.timeout(30):
            yield here
    finally:
        await here.world.background.close()


@pytest.mark.parametrize(
    "fault",
    [
        CUT,
        OFFLINE,
        refused("Token verification failed"),
        refused("no such table: users", 500),
        _b(5, "empty_response_body "),
        _b(4, "Failed to get user quota Error"),
        BUSY,
        _b(9, "提交失败，队列已满，请稍后重试 "),
        _b(30, "saturated", 429),
        HttpResponse(429, {}, b"", BASE),
        HttpResponse(502, {}, b"<html>", BASE, early=True),
    ],
)
async def test_what_surely_was_not_created_is_sent_again(fault: Step) -> None:
    """A refusal without a job, or a body that never left, is followed by another."""
    async with desk(fault, ACCEPTED) as here:
        handle = await here.submit()
        assert handle.task_id == "7"
        assert len(set(here.transport.ids)) == 2
        assert here.book.lines[0::2] == ["before s", "before s"]
        assert here.book.lines[1].startswith("refused")
        assert here.book.lines[3] == "accepted 7"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (LOST, errors.SubmitUnknownError),
        (SILENT, errors.SubmitUnknownError),
        (HttpResponse(502, {}, b"<html>", BASE), errors.SubmitUnknownError),
        (HttpResponse(503, {}, b"<html>", BASE), errors.SubmitUnknownError),
        (HttpResponse(504, {}, b"", BASE), errors.SubmitUnknownError),
        (HttpResponse(500, {}, b"", BASE), errors.SubmitUnknownError),
        (_b(4, "insert_midjourney_task_failed "), errors.SubmitUnknownError),
        (HttpResponse(200, {}, b'{"code":1,', BASE), errors.ProtocolError),
        (reply({"code": 1, "result": ""}), errors.ProtocolError),
    ],
)
async def test_what_may_have_been_paid_is_never_sent_again(
    answer: Step, error: type[errors.EzlinkError]
) -> None:
    """An unknown outcome is raised after one attempt, and told as unknown."""
    async with desk(answer, ACCEPTED) as here:
        with pytest.raises(error) as caught:
            await here.submit()
        assert caught.value.maybe_charged
        assert not caught.value.retry_safe
        assert len(here.transport.ids) == 1
        assert here.book.lines == ["before s", f"unknown {error.__name__}"]
        assert here.submitter.slots.taken == 0


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (refused("Token not provided"), errors.AuthenticationError),
        (refused("User has been banned", 403), errors.PermissionDeniedError),
        (_b(4, "User quota is not enough Error"), errors.QuotaError),
        (_b(24, "可能包含敏感词 "), errors.RejectedError),
        (_b(-1, " "), errors.RejectedError),
        (_b(9, "系统错误 "), errors.RejectedError),
        (HttpResponse(404, {}, b"<html>", BASE), errors.EndpointNotSupportedError),
        (HttpResponse(413, {}, b"<html>", BASE), errors.RejectedError),
        (_b(5, "do_request_failed "), errors.ServerError),
        (DISTRUSTED, errors.TransportError),
        (errors.ImageError("changed"), errors.ImageError),
    ],
)
async def test_a_lasting_refusal_is_raised_at_once(
    answer: Step, error: type[errors.EzlinkError]
) -> None:
    """What another attempt would not change is raised after the first."""
    async with desk(answer, ACCEPTED) as here:
        with pytest.raises(error) as caught:
            await here.submit()
        assert not caught.value.maybe_charged
        assert len(here.transport.ids) == 1
        assert here.book.lines == ["before s", f"refused {error.__name__}"]
        assert here.submitter.slots.taken == 0


async def test_attempts_count_faults() -> None:
    """After ``attempts`` faults the last one is raised."""
    async with desk(CUT, CUT, CUT, ACCEPTED) as here:
        with pytest.raises(errors.TransportError, match="cut"):
            await here.submit()
        assert len(here.transport.ids) == QUICK.attempts


async def test_busy_answers_count_no_attempt() -> None:
    """A busy server is waited for, however often it says so."""
    async with desk(*[BUSY] * 9, ACCEPTED) as here:
        assert (await here.submit()).task_id == "7"


async def test_a_network_that_is_gone_counts_no_attempt_once_it_was_there() -> None:
    """After a first answer, connections that cannot be made are waited out."""
    async with desk(ACCEPTED, *[OFFLINE] * 9, ACCEPTED) as here:
        await here.submit()
        here.transport.answered = True
        await here.submit()
        assert len(here.transport.ids) == 11
    async with desk(*[OFFLINE] * 9) as here:
        with pytest.raises(errors.TransportError):
            await here.submit()
        assert len(here.transport.ids) == QUICK.attempts


async def test_waiting_for_a_busy_server_is_bounded_by_timeout() -> None:
    """When ``timeout`` is over, the last busy answer is raised."""
    async with desk(*[BUSY] * 999) as here:
        bounded = attrs.evolve(QUICK, timeout=0.05)
        here.transport.settings = attrs.evolve(here.transport.settings, retry=bounded)
        here.submitter = Submitter(here.transport, here.world.background, here._follow)
        with pytest.raises(errors.BusyError, match="no room"):
            await here.submit()
        assert here.submitter.slots.taken == 0


async def test_no_channel_waits_ten_seconds() -> None:
    """A group without a channel is not asked again at once."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async with desk(NO_CHANNEL, NO_CHANNEL, ACCEPTED) as here:
        here.submitter._sleep = sleep
        await here.submit()
        assert waits == [10.0, 10.0]


def _willing(here: Desk) -> None:
    """Have unknown submits sent again."""
    willing = attrs.evolve(QUICK, resubmit_unknown=True)
    here.transport.settings = attrs.evolve(here.transport.settings, retry=willing)
    here.submitter = Submitter(here.transport, here.world.background, here._follow)


async def test_unknown_is_sent_again_only_when_asked_for() -> None:
    """``resubmit_unknown`` sends it again; each attempt is in the book."""
    async with desk(LOST, ACCEPTED) as here:
        _willing(here)
        assert (await here.submit()).task_id == "7"
        assert here.book.lines[1] == "unknown SubmitUnknownError"


def _lost(number: int) -> errors.TransportError:
    return errors.TransportError(
        f"lost {number}", stage="answer", request_id=f"r{number}", maybe_charged=True
    )


@pytest.mark.parametrize(
    "last",
    [
        _b(24, "banned word "),
        _b(4, "User quota is not enough Error"),
        refused("Token not provided"),
        HttpResponse(413, {}, b"<html>", BASE),
        HttpResponse(200, {}, b"<html>", BASE, sent_id="r3"),
        DISTRUSTED,
        CUT,
        errors.ImageError("changed"),
    ],
)
async def test_no_later_outcome_undoes_an_unknown_one(last: Step) -> None:
    """The job may be paid, whatever the last attempt met; all its ids are kept."""
    async with desk(_lost(1), _lost(2), last, last) as here:
        _willing(here)
        with pytest.raises(errors.SubmitUnknownError) as caught:
            await here.submit()
        assert (caught.value.retry_safe, caught.value.maybe_charged) == (False, True)
        assert caught.value.request_ids == ("r1", "r2")
        assert caught.value.request_id == "r2"
        assert caught.value.target == "target.jpg"
        cause = caught.value.__cause__
        assert isinstance(cause, errors.EzlinkError)
        assert str(cause) in str(caught.value)
        assert here.book.lines[1::2] == ["unknown SubmitUnknownError"] * 3
        assert here.submitter.slots.taken == 0


async def test_unknown_ones_keep_all_their_ids() -> None:
    """When every attempt is unknown, each has an id to look it up by."""
    async with desk(_lost(1), _lost(2), _lost(3)) as here:
        _willing(here)
        with pytest.raises(errors.SubmitUnknownError, match="lost 3") as caught:
            await here.submit()
        assert caught.value.request_ids == ("r1", "r2", "r3")
        assert caught.value.request_id == "r3"


async def test_a_book_that_cannot_be_kept_does_not_hide_an_unknown_attempt() -> None:
    """What stops the second attempt is the cause; the first may be paid."""

    class Full(Book):
        async def before_submit(self, request_id: str, state: str | None) -> None:
            if self.lines:
                raise OSError("no space left")
            await super().before_submit(request_id, state)

    async with desk(_lost(1), ACCEPTED) as here:
        _willing(here)
        here.book = Full()
        with pytest.raises(errors.SubmitUnknownError, match="no space") as caught:
            await here.submit()
        assert caught.value.request_ids == ("r1",)
        assert here.transport.steps == [ACCEPTED]


@pytest.mark.parametrize("hidden", [LOST, CUT, HttpResponse(502, {}, b"<html>", BASE)])
async def test_e59_a_refused_key_behind_a_proxy_is_found_out(hidden: Step) -> None:
    """While the key never worked, one small request tells that it is refused."""
    async with desk(hidden, key=refused("Token not provided")) as here:
        with pytest.raises(errors.AuthenticationError) as caught:
            await here.submit()
        assert caught.value.retry_safe
        assert here.transport.paths() == ["/mj/task/0/fetch"]
        assert here.book.lines == ["before s", "refused AuthenticationError"]


@pytest.mark.parametrize(
    ("hidden", "key"),
    [
        (SILENT, refused("Token not provided")),
        (HttpResponse(504, {}, b"", BASE), refused("Token not provided")),
        (LOST, refused("The token quota has been exhausted")),
        (LOST, refused("Token verification failed")),
        (LOST, unknown_id()),
        (LOST, reply(row("0"))),
    ],
)
async def test_what_proves_nothing_stays_unknown(
    hidden: Step, key: HttpResponse
) -> None:
    """A time-out, a used-up quota or a good key leave the outcome unknown."""
    async with desk(hidden, key=key) as here:
        with pytest.raises(errors.SubmitUnknownError) as caught:
            await here.submit()
        assert caught.value.target == "target.jpg"


async def test_a_key_that_worked_before_proves_nothing() -> None:
    """A key may be withdrawn after the submit: then nobody is asked."""
    async with desk(LOST, key=refused("Token not provided")) as here:
        here.transport.key_worked = True
        with pytest.raises(errors.SubmitUnknownError):
            await here.submit()
        assert here.transport.seen == []


async def test_code_21_for_a_followed_id_gives_the_second_slot_back() -> None:
    """The handle holds one slot from before the submit until the task ends."""
    async with desk(ACCEPTED) as here:
        handle = await here.submit()
        assert here.submitter.slots.taken == 1
        handle.end(None)
        assert here.submitter.slots.taken == 0


def _hang(*, whole: bool, then: HttpResponse = ACCEPTED) -> tuple[Step, asyncio.Event]:
    """Return an attempt that waits for the event, its body whole or not."""
    go_on = asyncio.Event()

    async def attempt(upload: Upload) -> HttpResponse:
        upload.complete = whole
        await go_on.wait()
        return then

    return attempt, go_on


async def _until_attempted(here: Desk, count: int = 1) -> None:
    while len(here.transport.ids) < count:
        await asyncio.sleep(0)
    for _ in range(5):
        await asyncio.sleep(0)


async def test_cancelled_while_uploading_leaves_no_job() -> None:
    """Before the last byte, a cancellation stops the upload and frees the slot."""
    step, _ = _hang(whole=False)
    async with desk(step) as here:
        task = asyncio.create_task(here.submit())
        await _until_attempted(here)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert here.submitter.slots.taken == 0
        assert here.book.lines == ["before s", "refused ClientClosedError"]


async def test_cancelled_after_the_last_byte_is_followed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The caller is let go at once; the id turns up in pending, and in the log."""
    step, go_on = _hang(whole=True)
    async with desk(step) as here:
        task = asyncio.create_task(here.submit())
        await _until_attempted(here)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert here.submitter.slots.taken == 1
        with caplog.at_level(logging.WARNING):
            go_on.set()
            while not here.followed:
                await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert [h.task_id for h in here.world.poller.pending()] == ["7"]
        assert here.book.lines == ["before s", "accepted 7"]
        assert "task 7" in caplog.text
        assert "target.jpg" in caplog.text


async def test_unknown_with_nobody_waiting_goes_into_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An unknown outcome whose caller is gone is a warning with its request id."""
    step, go_on = _hang(whole=True, then=HttpResponse(504, {}, b"", BASE, sent_id="r1"))
    async with desk(step) as here:
        task = asyncio.create_task(here.submit())
        await _until_attempted(here)
        task.cancel()
        with caplog.at_level(logging.WARNING):
            go_on.set()
            while here.submitter.slots.taken:
                await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert "r1" in caplog.text
        assert here.book.lines[-1] == "unknown SubmitUnknownError"


async def test_a_caller_who_left_gets_no_second_attempt() -> None:
    """With nobody waiting, a refusal is the end: nothing more is sent."""
    step, go_on = _hang(whole=True, then=_b(5, "empty_response_body "))
    async with desk(step, ACCEPTED) as here:
        task = asyncio.create_task(here.submit())
        await _until_attempted(here)
        task.cancel()
        go_on.set()
        while here.submitter.slots.taken:
            await asyncio.sleep(0)
        assert len(here.transport.ids) == 1


async def test_cancelled_while_waiting_for_a_slot_or_the_gate() -> None:
    """Nothing was sent, and no slot is lost."""
    step, _ = _hang(whole=False)
    async with desk(*[step] * 8, BUSY) as here:
        limit = here.submitter.slots.limit
        tasks = [asyncio.create_task(here.submit()) for _ in range(limit + 1)]
        await _until_attempted(here, limit)
        tasks[-1].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[-1]
        assert len(here.transport.ids) == limit
        tasks[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]
        assert here.submitter.slots.taken == limit - 1
        await here.submitter.close()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_closing_cuts_off_uploads_and_waits_for_answers() -> None:
    """Not whole: nothing was created. Whole: an answer in time brings its id."""
    uploading, _ = _hang(whole=False)
    answering, go_on = _hang(whole=True)
    async with desk(uploading, answering) as here:
        tasks = [asyncio.create_task(here.submit()) for _ in range(2)]
        await _until_attempted(here, 2)
        here.world.loop.call_soon(go_on.set)
        await here.submitter.close()
        cut, named = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(cut, errors.ClientClosedError)
        assert cut.retry_safe
        assert isinstance(named, errors.ClientClosedError)
        assert named.task_ids == ("7",)


async def test_closing_without_an_answer_in_time_is_unknown() -> None:
    """A submit whose answer does not come while closing may be paid."""
    answering, _ = _hang(whole=True)
    async with desk(answering) as here:
        short = attrs.evolve(here.transport.settings.timeouts, close=0.01)
        here.submitter._settings = attrs.evolve(here.transport.settings, timeouts=short)
        task = asyncio.create_task(here.submit())
        await _until_attempted(here)
        await here.submitter.close()
        with pytest.raises(errors.SubmitUnknownError) as caught:
            await task
        assert caught.value.request_id == here.transport.ids[0]
        assert caught.value.target == "target.jpg"
        assert here.book.lines == ["before s", "unknown SubmitUnknownError"]


async def test_closing_while_waiting_for_a_slot() -> None:
    """Who waits for a slot is told that nothing was created."""
    step, _ = _hang(whole=False)
    async with desk(*[step] * 8) as here:
        limit = here.submitter.slots.limit
        tasks = [asyncio.create_task(here.submit()) for _ in range(limit + 1)]
        await _until_attempted(here, limit)
        await here.submitter.close()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(each) for each in found} == {errors.ClientClosedError}
        assert here.submitter.slots.taken == 0


async def test_closing_between_attempts_does_not_undo_an_unknown_one() -> None:
    """Nothing more is sent, but what was sent may be paid."""
    paused = asyncio.Event()

    async def sleep(_: float) -> None:
        paused.set()
        await asyncio.Event().wait()

    async with desk(_lost(1), ACCEPTED) as here:
        _willing(here)
        here.submitter._sleep = sleep
        task = asyncio.create_task(here.submit())
        await paused.wait()
        await here.submitter.close()
        with pytest.raises(errors.SubmitUnknownError) as caught:
            await task
        assert caught.value.request_ids == ("r1",)
        assert isinstance(caught.value.__cause__, errors.ClientClosedError)
        assert here.submitter.slots.taken == 0


async def test_closing_under_a_second_attempt_keeps_both_ids() -> None:
    """The one that was answered by silence, and the one that awaits its answer."""
    answering, _ = _hang(whole=True)
    async with desk(_lost(1), answering) as here:
        _willing(here)
        short = attrs.evolve(here.transport.settings.timeouts, close=0.01)
        here.submitter._settings = attrs.evolve(here.transport.settings, timeouts=short)
        task = asyncio.create_task(here.submit())
        await _until_attempted(here, 2)
        await here.submitter.close()
        with pytest.raises(errors.SubmitUnknownError) as caught:
            await task
        assert caught.value.request_ids == ("r1", here.transport.ids[1])
        assert here.book.lines[-1] == "unknown SubmitUnknownError"


async def test_closing_before_the_first_step() -> None:
    """A caller nobody cancelled gets an error, not a cancellation."""
    async with desk(ACCEPTED) as here:
        task = asyncio.create_task(here.submit())
        await asyncio.sleep(0)
        await here.submitter.close()
        with pytest.raises(errors.ClientClosedError) as caught:
            await task
        assert caught.value.retry_safe
        assert here.transport.ids == []
        assert here.submitter.slots.taken == 0


async def test_a_large_body_is_not_repeated_on_an_empty_answer() -> None:
    """Near the upstream's size limit an empty answer may mean "too large"."""
    huge = attrs.evolve(PICTURE, length=10_000_000)
    job = FaceSwapJob(source=huge, target=huge, options=SwapOptions())
    async with desk(_b(5, "empty_response_body "), ACCEPTED) as here:

        async def load() -> FaceSwapJob:
            return job

        with pytest.raises(errors.ServerError):
            await here.submitter.submit(
                PendingSubmit(load, b"\xff\xd8\xff", NoObserver())
            )
        assert len(here.transport.ids) == 1


async def test_a_wait_beyond_the_time_left_is_not_begun() -> None:
    """When the next attempt would come too late, the fault is raised at once."""
    async with desk(NO_CHANNEL, ACCEPTED) as here:
        short = attrs.evolve(QUICK, timeout=5)
        here.submitter._gate = Gate(short)
        with pytest.raises(errors.ServerError, match="no upstream"):
            await here.submit()


async def test_time_before_the_first_fault_is_no_time_of_faults() -> None:
    """A photo may wait long in line, and its upload take long, and break then."""
    short = attrs.evolve(QUICK, timeout=0.05)
    loop = asyncio.get_running_loop()
    over = loop.time() + 2 * short.timeout

    async def slow(_: Upload) -> HttpResponse:
        while loop.time() < over:
            await asyncio.sleep(0)
        raise CUT

    async with desk(slow, ACCEPTED) as here:
        here.submitter._gate = Gate(short)
        assert (await here.submit()).task_id == "7"
        assert len(here.transport.ids) == 2


async def test_an_observer_that_fails_stops_the_submit() -> None:
    """Nothing is sent when the book cannot be kept; its error comes out as it is."""

    class Broken(Book):
        async def before_submit(self, *_: object) -> None:
            raise TimeoutError("the journal is stuck")

    async with desk(ACCEPTED) as here:
        here.book = Broken()
        with pytest.raises(TimeoutError, match="stuck"):
            await here.submit()
        assert here.transport.ids == []
        assert here.submitter.slots.taken == 0


class Deaf(Book):
    """Fails whenever it is told an outcome."""

    def accepted(self, task_id: str) -> None:
        """Fail."""
        raise OSError(f"cannot note {task_id}")

    def refused(self, error: errors.EzlinkError) -> None:
        """Fail."""
        raise OSError("cannot note") from error

    unknown = refused


async def test_an_observer_that_cannot_note_an_id_does_not_lose_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The caller has the handle, the client follows it, and the log has the id."""
    async with desk(ACCEPTED) as here:
        here.book = Deaf()
        handle = await here.submit()
        assert (handle.task_id, here.world.poller.pending()) == ("7", (handle,))
        assert "task 7" in caplog.text
        assert "cannot note 7" in caplog.text
        handle.end(None)
        assert here.submitter.slots.taken == 0


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (_lost(1), errors.SubmitUnknownError),
        (_b(24, "banned word "), errors.RejectedError),
    ],
)
async def test_an_observer_that_fails_does_not_hide_the_outcome(
    answer: Step, error: type[errors.EzlinkError], caplog: pytest.LogCaptureFixture
) -> None:
    """The error is the submit's own, and that of the book goes into the log."""
    async with desk(answer) as here:
        here.book = Deaf()
        with pytest.raises(error):
            await here.submit()
        assert "cannot note" in caplog.text
        assert here.submitter.slots.taken == 0


async def test_an_observer_that_fails_does_not_hide_a_cancellation() -> None:
    """A caller who leaves in mid-upload is let go as ever."""
    step, _ = _hang(whole=False)
    async with desk(step) as here:
        here.book = Deaf()
        task = asyncio.create_task(here.submit())
        await _until_attempted(here)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert here.submitter.slots.taken == 0


async def test_a_gate_that_stays_shut_ends_a_submit_with_what_it_met() -> None:
    """Who was refused is told so again; who never got to the server is told that."""
    patience = RetryPolicy(first=1000, longest=1000, timeout=0.01)
    async with desk(BUSY) as here:
        here.submitter._settings = attrs.evolve(here.transport.settings, retry=patience)
        here.submitter._gate = Gate(patience)
        with pytest.raises(errors.BusyError, match="full") as refused_one:
            await here.submit()
        with pytest.raises(errors.BusyError, match="no room for 0") as other:
            await here.submit()
        assert refused_one.value.retry_safe
        assert other.value.retry_safe
        assert len(here.transport.ids) == 1
