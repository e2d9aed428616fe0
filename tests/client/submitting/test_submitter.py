"""The life of one submit: which are sent again, what is reported, how it ends."""

from __future__ import annotations

import asyncio
import base64
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

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
from ezlink_async._client.client import session_of
from ezlink_async._client.handle import FollowedHandle
from ezlink_async._client.submitting.pending_submit import PendingSubmit
from ezlink_async._client.submitting.reconciler import NoReconciler
from ezlink_async._client.submitting.submitter import Submitter
from ezlink_async._core.events import Subject
from ezlink_async._core.images import Image, InspectedImage
from ezlink_async._core.messages import HttpRequest, HttpResponse
from ezlink_async._io.server_log import ServerWaitLog
from ezlink_async._io.transport import Sleep
from ezlink_async._io.upload import Upload
from ezlink_async.emulator import EmulatorSettings, faults
from ezlink_async.models import StabilityRecord, TaskRecord
from ezlink_async.services.base import Accepted, Job, JobRequest, TaskFamily
from ezlink_async.services.face_swap import FaceSwapJob, SwapOptions
from ezlink_async.services.midjourney import MIDJOURNEY
from ezlink_async.services.stability import StabilityRequest, endpoint_of
from tests.support.cancelling import cancel
from tests.support.client_harness import BOUND, EmulatedClient, emulated_client
from tests.support.loop import now, on_virtual_clock, turns
from tests.support.pictures import chunk, jpeg, png
from tests.support.raw_servers import server_tls
from tests.support.scripted_transport import (
    BASE,
    Answer,
    PollerHarness,
    ScriptedTransport,
    offline,
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


def client(
    tls: ssl.SSLContext | None,
    *,
    retry: RetryPolicy = RETRY,
    timeouts: Timeouts | None = None,
    balance: int = 1_000_000_000,
) -> AbstractAsyncContextManager[EmulatedClient]:
    """Enter a client beside an emulator."""
    return emulated_client(
        EmulatorSettings(ssl_context=tls, balance=balance),
        poll=POLL,
        retry=retry,
        timeouts=timeouts or Timeouts(submit=20),
    )


async def _use_key(here: EmulatedClient) -> None:
    """Have the key work once, so that no later submit probes it."""
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
async def test_job_that_was_not_created_is_sent_again(
    name: str, tls: ssl.SSLContext | None
) -> None:
    """After two refusals or cut uploads there is one task and one charge."""
    async with client(tls) as here:
        await _use_key(here)
        here.server.control.script("submit", *[NOT_CREATED[name]] * 2)
        pictures = LARGE if "mid-body" in name else SMALL
        handle = await here.ez.swap_face(*pictures)
        assert (await handle).status is TaskStatus.SUCCESS
        assert (here.tasks, here.charges) == (1, 1)
        assert here.submits == 3


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

NOTHING_DONE: dict[str, faults.Fault] = {
    "dropped before anything was done": faults.Drop(),
    "reset before anything was done": faults.Drop(reset=True),
    "a 502 page without a job": faults.proxy(502),
    "an empty 500": faults.Trouble("panic"),
}


@pytest.mark.parametrize("name", [*UNKNOWN, *NOTHING_DONE])
async def test_job_the_server_may_have_made_is_never_sent_again(
    name: str, tls: ssl.SSLContext | None
) -> None:
    """The client cannot see which jobs exist: all get the same error."""
    faulty = UNKNOWN | NOTHING_DONE
    async with client(tls, timeouts=Timeouts(submit=0.3)) as here:
        await _use_key(here)
        here.server.control.script("submit", faulty[name])
        with pytest.raises((errors.SubmitUnknownError, errors.ProtocolError)) as caught:
            await here.ez.swap_face(*SMALL)
        assert caught.value.maybe_charged
        assert not caught.value.retry_safe
        made = int(name in UNKNOWN)
        assert (here.tasks, here.charges, here.submits) == (made, made, 1)
        uploads = here.server.control.uploads
        assert not made or caught.value.request_id in uploads


async def test_unknown_submit_is_sent_again_with_resubmit_unknown(
    tls: ssl.SSLContext | None,
) -> None:
    """The job may be paid twice, as the option says."""
    willing = attrs.evolve(RETRY, resubmit_unknown=True)
    async with client(tls, retry=willing) as here:
        here.server.control.script("submit", faults.Drop(job=True))
        await (await here.ez.swap_face(*SMALL))
        assert (here.tasks, here.charges) == (2, 2)


async def test_later_refusal_does_not_undo_an_unknown_attempt(
    tls: ssl.SSLContext | None,
) -> None:
    """The job was paid once, so the error does not say "not created"."""
    willing = attrs.evolve(RETRY, resubmit_unknown=True)
    async with client(tls, retry=willing) as here:
        here.server.control.script(
            "submit", faults.Drop(job=True), faults.banned_word()
        )
        with pytest.raises(errors.SubmitUnknownError) as caught:
            await here.ez.swap_face(*SMALL)
        assert isinstance(caught.value.__cause__, errors.RejectedError)
        assert (caught.value.retry_safe, caught.value.maybe_charged) == (False, True)
        assert (here.tasks, here.charges, here.submits) == (1, 1, 2)
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
async def test_refusal_is_raised_at_once(name: str, tls: ssl.SSLContext | None) -> None:
    """There is one upload, no task and no charge."""
    fault, error = LASTING[name]
    async with client(tls) as here:
        here.server.control.script("submit", fault)
        with pytest.raises(error) as caught:
            await here.ez.swap_face(*SMALL)
        assert not caught.value.maybe_charged
        assert (here.tasks, here.charges, here.submits) == (0, 0, 1)


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
async def test_refused_key_costs_one_upload_at_most(
    size: tuple[bytes, bytes], tls: ssl.SSLContext | None
) -> None:
    """An early 401 is an AuthenticationError, not a broken connection to retry."""
    async with (
        client(tls) as here,
        AsyncEzlink(
            "sk-wrong", base_url=here.server.base_url, poll=POLL, retry=RETRY
        ) as stranger,
    ):
        with pytest.raises(errors.AuthenticationError) as caught:
            await stranger.swap_face(*size)
        assert caught.value.retry_safe
        assert (here.tasks, here.charges, here.submits) == (0, 0, 1)


async def test_body_too_large_for_a_proxy_costs_one_upload(
    tls: ssl.SSLContext | None,
) -> None:
    """An early 413 is a RejectedError that is raised at once."""
    async with client(tls) as here:
        here.server.control.script("submit", faults.proxy(413))
        with pytest.raises(errors.RejectedError) as caught:
            await here.ez.swap_face(*LARGE)
        assert (caught.value.status, caught.value.retry_safe) == (413, True)
        assert (here.tasks, here.charges, here.submits) == (0, 0, 1)


async def test_stalled_upload_is_cut_off_and_sent_again(
    tls: ssl.SSLContext | None,
) -> None:
    timeouts = Timeouts(upload=0.3)
    async with client(tls, timeouts=timeouts) as here:
        await _use_key(here)
        here.server.control.script("submit", faults.Stall(after_bytes=100_000))
        await (await here.ez.swap_face(*LARGE))
        assert (here.tasks, here.charges) == (1, 1)


async def test_no_channel_is_retried_up_to_the_attempts(
    tls: ssl.SSLContext | None,
) -> None:
    """A 503 "no channel" creates no job; the error names the reason."""
    once = attrs.evolve(RETRY, attempts=1)
    async with client(tls, retry=once) as here:
        here.server.control.standing("submit", faults.Trouble("no_channel"))
        with pytest.raises(errors.ServerError, match="no upstream is free") as caught:
            await here.ez.swap_face(*SMALL)
        assert caught.value.retry_safe
        assert caught.value.retry_after == 10
        assert (here.tasks, here.charges) == (0, 0)


async def test_file_that_shrinks_during_its_upload_creates_no_job(
    tls: ssl.SSLContext | None, tmp_path: Path
) -> None:
    """The body stays incomplete; the error is an ImageError, without a retry."""
    target = tmp_path / "target.jpg"
    target.write_bytes(LARGE[1])
    async with client(tls) as here:
        here.server.control.script("submit", faults.Delay(0.0))
        submit = asyncio.create_task(here.ez.swap_face(LARGE[0], target))
        while not here.server.control.attempts:
            await asyncio.sleep(0)
        with target.open("r+b") as stream:
            stream.truncate(1000)
        with pytest.raises(errors.ImageError, match="changed its length") as caught:
            await submit
        assert caught.value.path == target
        assert (here.tasks, here.charges, here.submits) == (0, 0, 1)
        assert here.server.control.uploads == {}


async def test_sixth_swap_with_money_for_five_is_a_quota_error(
    tls: ssl.SSLContext | None,
) -> None:
    async with client(tls, balance=5 * 9000) as here:
        for number in range(5):
            await (await here.ez.swap_face(SMALL[0], jpeg(20_001 + number)))
        with pytest.raises(errors.QuotaError, match="below the price"):
            await here.ez.swap_face(*SMALL)
        assert (here.tasks, here.charges) == (5, 5)


async def test_untrusted_certificate_ends_the_submit() -> None:
    """Nothing is sent, and the error names the variable to set."""
    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(stranger)
    async with client(stranger) as here:
        with pytest.raises(errors.TransportError, match="SSL_CERT_FILE") as caught:
            await here.ez.swap_face(*SMALL)
        assert (caught.value.stage, caught.value.retry_safe) == ("tls", True)
        assert here.server.control.requests == []


async def test_unknown_host_is_tried_up_to_the_attempts() -> None:
    """A mistyped host is named in the error."""
    async with AsyncEzlink(
        "sk-x", base_url="https://no-such-host.invalid", retry=RETRY
    ) as ez:
        with pytest.raises(errors.TransportError, match="was not found") as caught:
            await ez.swap_face(*SMALL)
        assert (caught.value.stage, caught.value.retry_safe) == ("connect", True)


QUICK = RetryPolicy(first=0.001, longest=0.002, attempts=3, timeout=20)

WILLING = attrs.evolve(QUICK, resubmit_unknown=True)

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

    def __init__(
        self,
        *steps: Step,
        key: HttpResponse | Answer | None,
        retry: RetryPolicy,
        close: float,
    ) -> None:
        answer = key or unknown_id()
        super().__init__(answer if callable(answer) else lambda _: answer)
        self.steps = list(steps)
        self.ids: list[str] = []
        timeouts = attrs.evolve(self.settings.timeouts, close=close)
        self.settings = attrs.evolve(self.settings, retry=retry, timeouts=timeouts)

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


class RecordingObserver:
    """Writes down each call; *fails* makes every call but the first raise."""

    def __init__(self, *, fails: bool = False) -> None:
        self.lines: list[str] = []
        self._fails = fails

    def _record(self, line: str) -> None:
        self.lines.append(line)
        if self._fails and len(self.lines) > 1:
            raise OSError(f"cannot record {line}")

    async def before_submit(self, request_id: str, state: str | None) -> None:
        """Record an attempt."""
        assert request_id
        self._record(f"before {state}")

    def accepted(self, task_id: str) -> None:
        """Record an id."""
        self._record(f"accepted {task_id}")

    def refused(self, error: errors.EzlinkError) -> None:
        """Record a refusal."""
        self._record(f"refused {type(error).__name__}")

    def unknown(self, error: errors.EzlinkError) -> None:
        """Record an unknown outcome."""
        self._record(f"unknown {type(error).__name__}")


class SubmitterHarness:
    """A submitter on a scripted transport, its observer and its handles."""

    def __init__(
        self, transport: Attempts, observer: RecordingObserver, sleep: Sleep
    ) -> None:
        self.owner = PollerHarness(transport)
        self.transport = transport
        self.observer = observer
        self.submitter = Submitter(
            transport,
            self.owner.background,
            self._follow,
            NoReconciler(),
            sleep=sleep,
        )
        self.followed: list[FollowedHandle] = []

    def _follow(
        self,
        accepted: Accepted,
        family: TaskFamily,
        release: Callable[[], None],
        deadline: float | None,
        subject: Subject | None,  # noqa: ARG002 - the signature of Follow
    ) -> FollowedHandle:
        handle = FollowedHandle(accepted.task_id, family, self.owner)
        self.owner.poller.of(family).follow(
            handle, own=True, release=release, deadline=deadline
        )
        self.followed.append(handle)
        return handle

    async def submit(self, job: Job = JOB) -> FollowedHandle:
        """Submit the job."""

        async def load() -> Job:
            return job

        pending = PendingSubmit(load, "target.jpg", self.observer)
        return await self.submitter.submit(pending)

    async def start(self, attempts: int = 1) -> asyncio.Task[FollowedHandle]:
        """Start a submit, and wait until so many *attempts* have begun."""
        task = asyncio.create_task(self.submit())
        while len(self.transport.ids) < attempts:
            await asyncio.sleep(0)
        await turns()
        return task

    async def until_free(self) -> None:
        """Wait until no slot is taken."""
        while self.submitter.slots.taken:
            await asyncio.sleep(0)
        await turns()


@asynccontextmanager
async def submitting(
    *steps: Step,
    key: HttpResponse | Answer | None = None,
    retry: RetryPolicy = QUICK,
    close: float = 5.0,
    observer: RecordingObserver | None = None,
    sleep: Sleep = asyncio.sleep,
) -> AsyncIterator[SubmitterHarness]:
    """Submit against a script until the block is left."""
    transport = Attempts(*steps, key=key, retry=retry, close=close)
    here = SubmitterHarness(transport, observer or RecordingObserver(), sleep)
    try:
        async with asyncio.timeout(BOUND):
            yield here
    finally:
        await here.owner.background.close()


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
async def test_refusal_without_a_job_is_followed_by_another_attempt(
    fault: Step,
) -> None:
    """So is a body that never left whole."""
    async with submitting(fault, ACCEPTED) as here:
        handle = await here.submit()
        assert handle.task_id == "7"
        assert len(set(here.transport.ids)) == 2
        lines = here.observer.lines
        assert lines[0::2] == ["before s", "before s"]
        assert lines[1].startswith("refused")
        assert lines[3] == "accepted 7"


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
        (HttpResponse(200, {}, b'{"code":1,', BASE), errors.SubmitUnknownError),
        (reply({"code": 1, "result": ""}), errors.ProtocolError),
    ],
)
async def test_job_that_may_be_paid_is_never_sent_again(
    answer: Step, error: type[errors.EzlinkError]
) -> None:
    """The error is raised after one attempt, and reported as unknown."""
    async with submitting(answer, ACCEPTED) as here:
        with pytest.raises(error) as caught:
            await here.submit()
        assert caught.value.maybe_charged
        assert not caught.value.retry_safe
        assert len(here.transport.ids) == 1
        assert here.observer.lines == ["before s", f"unknown {error.__name__}"]
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
async def test_lasting_refusal_is_raised_after_one_attempt(
    answer: Step, error: type[errors.EzlinkError]
) -> None:
    async with submitting(answer, ACCEPTED) as here:
        with pytest.raises(error) as caught:
            await here.submit()
        assert not caught.value.maybe_charged
        assert len(here.transport.ids) == 1
        assert here.observer.lines == ["before s", f"refused {error.__name__}"]
        assert here.submitter.slots.taken == 0


async def test_last_fault_is_raised_after_the_attempts() -> None:
    async with submitting(CUT, CUT, CUT, ACCEPTED) as here:
        with pytest.raises(errors.TransportError, match="cut"):
            await here.submit()
        assert len(here.transport.ids) == QUICK.attempts


async def test_busy_answers_count_no_attempt() -> None:
    async with submitting(*[BUSY] * 9, ACCEPTED) as here:
        assert (await here.submit()).task_id == "7"


async def test_lost_network_counts_no_attempt_after_a_first_answer() -> None:
    """Before it the host may be mistyped, and attempts count."""
    async with submitting(ACCEPTED, *[OFFLINE] * 9, ACCEPTED) as here:
        await here.submit()
        here.transport.answered = True
        await here.submit()
        assert len(here.transport.ids) == 11
    async with submitting(*[OFFLINE] * 9) as here:
        with pytest.raises(errors.TransportError):
            await here.submit()
        assert len(here.transport.ids) == QUICK.attempts


@on_virtual_clock
async def test_wait_for_a_busy_server_is_bounded_by_timeout() -> None:
    """The last busy answer is raised."""
    async with submitting(*[BUSY] * 9999, retry=RetryPolicy(timeout=60)) as here:
        with pytest.raises(errors.BusyError, match="no room"):
            await here.submit()
        assert 30 <= now() <= 60
        assert here.submitter.slots.taken == 0


@on_virtual_clock
async def test_wait_that_a_server_asks_for_is_cut_to_half_the_timeout() -> None:
    """A refusal that names a day is followed by another attempt."""
    busy = refused("Token verification failed")
    day = attrs.evolve(busy, headers={**busy.headers, "retry-after": "86400"})
    async with submitting(day, ACCEPTED, retry=RetryPolicy(timeout=400)) as here:
        start = now()
        assert (await here.submit()).task_id == "7"
        assert now() - start == pytest.approx(200, abs=1)


def _asking(seconds: int) -> HttpResponse:
    return attrs.evolve(BUSY, headers={**BUSY.headers, "retry-after": f"{seconds}"})


@on_virtual_clock
async def test_submit_that_a_second_wait_outlasts_says_when_it_gives_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    policy = RetryPolicy(timeout=60)
    async with submitting(*[_asking(600)] * 2, retry=policy) as here:
        here.transport.server_waits = ServerWaitLog(now)
        with pytest.raises(errors.BusyError):
            await here.submit()
    assert [line.split(" at ")[0] for line in caplog.messages] == [
        "the server asks to wait 10 min; going on",
        "the server asks to wait 10 min; giving up",
    ]


@on_virtual_clock
@pytest.mark.parametrize(
    ("refusal", "bound"), [(BUSY, " for up to 15 min"), (NO_CHANNEL, "")]
)
async def test_server_that_takes_no_submit_is_named_once_until_it_takes_one(
    refusal: HttpResponse, bound: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Four refusals are one line; its bound is named if no number of them ends it."""
    async with submitting(*[refusal] * 4, ACCEPTED, retry=RetryPolicy()) as here:
        await here.submit()
        assert here.transport.server_waits.says == ""
        (line,) = caplog.messages
        assert line.endswith(f"; trying again{bound}")


async def test_submit_accepted_late_ends_no_wait_of_the_others() -> None:
    go_on = asyncio.Event()

    async def slow(_: Upload) -> HttpResponse:
        await go_on.wait()
        return ACCEPTED

    async with submitting(slow, _asking(600), retry=RetryPolicy()) as here:
        first = await here.start()
        second = await here.start(attempts=2)
        while not here.transport.server_waits.says:
            await asyncio.sleep(0)
        go_on.set()
        await first
        assert here.transport.server_waits.says.startswith("going on at ")
        await cancel(second)


@on_virtual_clock
async def test_full_server_with_a_task_of_ours_is_no_standstill(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with submitting(ACCEPTED, *[BUSY] * 5, ACCEPTED, retry=RetryPolicy()) as here:
        await here.submit()
        await here.submit()
        assert caplog.messages == []


async def test_no_channel_waits_ten_seconds() -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async with submitting(NO_CHANNEL, NO_CHANNEL, ACCEPTED, sleep=sleep) as here:
        await here.submit()
        assert waits == [10.0, 10.0]


async def test_unknown_submit_is_sent_again_only_when_asked_for() -> None:
    """With ``resubmit_unknown`` each attempt is reported."""
    async with submitting(LOST, ACCEPTED, retry=WILLING) as here:
        assert (await here.submit()).task_id == "7"
        assert here.observer.lines[1] == "unknown SubmitUnknownError"


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
        DISTRUSTED,
        CUT,
        errors.ImageError("changed"),
    ],
)
async def test_no_later_outcome_undoes_an_unknown_attempt(last: Step) -> None:
    """The job may be paid, so all request ids are kept."""
    async with submitting(_lost(1), _lost(2), last, last, retry=WILLING) as here:
        with pytest.raises(errors.SubmitUnknownError) as caught:
            await here.submit()
        assert (caught.value.retry_safe, caught.value.maybe_charged) == (False, True)
        assert caught.value.request_ids == ("r1", "r2")
        assert caught.value.request_id == "r2"
        assert caught.value.target == "target.jpg"
        cause = caught.value.__cause__
        assert isinstance(cause, errors.EzlinkError)
        assert str(cause) in str(caught.value)
        assert here.observer.lines[1::2] == ["unknown SubmitUnknownError"] * 3
        assert here.submitter.slots.taken == 0


async def test_unknown_attempts_keep_all_their_ids() -> None:
    async with submitting(_lost(1), _lost(2), _lost(3), retry=WILLING) as here:
        with pytest.raises(errors.SubmitUnknownError, match="lost 3") as caught:
            await here.submit()
        assert caught.value.request_ids == ("r1", "r2", "r3")
        assert caught.value.request_id == "r3"


async def test_answer_that_cannot_be_read_is_an_unknown_attempt() -> None:
    """It is repeated if the caller resubmits unknown submits."""
    page = HttpResponse(200, {}, b"<html>", BASE, sent_id="r1")
    async with submitting(
        page, reply({"code": 1, "result": "7"}), retry=WILLING
    ) as here:
        assert (await here.submit()).task_id == "7"
        assert here.observer.lines[1] == "unknown SubmitUnknownError"


async def test_acceptance_that_came_too_early_is_not_this_jobs() -> None:
    """An answer left on a kept connection gives the job no foreign id."""
    early = attrs.evolve(reply({"code": 1, "result": "8"}), early=True)
    async with submitting(early, reply({"code": 1, "result": "7"})) as here:
        assert (await here.submit()).task_id == "7"
        assert here.observer.lines[1] == "refused TransportError"


async def test_failing_observer_does_not_hide_an_unknown_attempt() -> None:
    """Its error, which stops the second attempt, is the cause."""

    class Full(RecordingObserver):
        async def before_submit(self, request_id: str, state: str | None) -> None:
            if self.lines:
                raise OSError("no space left")
            await super().before_submit(request_id, state)

    steps = _lost(1), ACCEPTED
    async with submitting(*steps, retry=WILLING, observer=Full()) as here:
        with pytest.raises(errors.SubmitUnknownError, match="no space") as caught:
            await here.submit()
        assert caught.value.request_ids == ("r1",)
        assert here.transport.steps == [ACCEPTED]


@pytest.mark.parametrize("hidden", [LOST, CUT, HttpResponse(502, {}, b"<html>", BASE)])
async def test_e59_refused_key_behind_a_proxy_is_found_out(hidden: Step) -> None:
    """While the key never worked, one small request shows that it is refused."""
    async with submitting(hidden, key=refused("Token not provided")) as here:
        with pytest.raises(errors.AuthenticationError) as caught:
            await here.submit()
        assert caught.value.retry_safe
        assert here.transport.paths() == ["/mj/task/0/fetch"]
        assert here.observer.lines == ["before s", "refused AuthenticationError"]


@pytest.mark.parametrize(
    ("hidden", "key"),
    [
        (SILENT, refused("Token not provided")),
        (HttpResponse(504, {}, b"", BASE), refused("Token not provided")),
        (LOST, refused("The token quota has been exhausted")),
        (LOST, refused("Token verification failed")),
        (LOST, unknown_id()),
        (LOST, reply(row("0"))),
        (LOST, offline),
    ],
)
async def test_timeout_used_up_quota_or_good_key_leave_the_submit_unknown(
    hidden: Step, key: HttpResponse | Answer
) -> None:
    async with submitting(hidden, key=key) as here:
        with pytest.raises(errors.SubmitUnknownError) as caught:
            await here.submit()
        assert caught.value.target == "target.jpg"


async def test_key_that_worked_before_is_not_probed() -> None:
    """It may have been withdrawn after the submit, so a refusal proves nothing."""
    async with submitting(LOST, key=refused("Token not provided")) as here:
        here.transport.key_worked = True
        with pytest.raises(errors.SubmitUnknownError):
            await here.submit()
        assert here.transport.seen == []


async def test_slot_is_held_until_the_task_ends() -> None:
    async with submitting(ACCEPTED) as here:
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


async def test_cancelled_upload_leaves_no_job() -> None:
    """Before the last byte a cancellation stops the upload and frees the slot."""
    step, _ = _hang(whole=False)
    async with submitting(step) as here:
        await cancel(await here.start())
        assert here.submitter.slots.taken == 0
        assert here.observer.lines == ["before s", "refused ClientClosedError"]


async def test_submit_cancelled_after_the_last_byte_is_followed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The caller returns at once; the id is in ``pending`` and in the log."""
    step, go_on = _hang(whole=True)
    async with submitting(step) as here:
        await cancel(await here.start())
        assert here.submitter.slots.taken == 1
        go_on.set()
        while not here.followed:
            await asyncio.sleep(0)
        await turns()
        assert [h.task_id for h in here.owner.poller.pending()] == ["7"]
        assert here.observer.lines == ["before s", "accepted 7"]
        assert "task 7" in caplog.text
        assert "target.jpg" in caplog.text


async def test_unknown_outcome_of_a_cancelled_caller_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The warning has its request id."""
    step, go_on = _hang(whole=True, then=HttpResponse(504, {}, b"", BASE, sent_id="r1"))
    async with submitting(step) as here:
        await cancel(await here.start())
        go_on.set()
        await here.until_free()
        assert "r1" in caplog.text
        assert here.observer.lines[-1] == "unknown SubmitUnknownError"


async def test_submit_of_a_cancelled_caller_is_not_sent_again() -> None:
    step, go_on = _hang(whole=True, then=_b(5, "empty_response_body "))
    async with submitting(step, ACCEPTED) as here:
        await cancel(await here.start())
        go_on.set()
        await here.until_free()
        assert len(here.transport.ids) == 1


async def test_cancelled_wait_for_a_slot_or_the_gate_loses_no_slot() -> None:
    step, _ = _hang(whole=False)
    async with submitting(*[step] * 8, BUSY) as here:
        limit = here.submitter.slots.limit
        tasks = [asyncio.create_task(here.submit()) for _ in range(limit)]
        last = await here.start(limit)
        await cancel(last)
        assert len(here.transport.ids) == limit
        await cancel(tasks[0])
        assert here.submitter.slots.taken == limit - 1
        await here.submitter.close()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_closing_cuts_off_uploads_and_waits_for_answers() -> None:
    """A cut upload created no job; an answer in time brings its id."""
    uploading, _ = _hang(whole=False)
    answering, go_on = _hang(whole=True)
    async with submitting(uploading, answering) as here:
        tasks = [await here.start(1), await here.start(2)]
        here.owner.loop.call_soon(go_on.set)
        await here.submitter.close()
        cut, named = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(cut, errors.ClientClosedError)
        assert cut.retry_safe
        assert isinstance(named, errors.ClientClosedError)
        assert named.task_ids == ("7",)


async def test_closing_without_an_answer_in_time_is_unknown() -> None:
    answering, _ = _hang(whole=True)
    async with submitting(answering, close=0.01) as here:
        task = await here.start()
        await here.submitter.close()
        with pytest.raises(errors.SubmitUnknownError) as caught:
            await task
        assert caught.value.request_id == here.transport.ids[0]
        assert caught.value.target == "target.jpg"
        assert here.observer.lines == ["before s", "unknown SubmitUnknownError"]


async def test_closing_ends_submits_that_wait_for_a_slot() -> None:
    """Their error says that no job was created."""
    step, _ = _hang(whole=False)
    async with submitting(*[step] * 8) as here:
        limit = here.submitter.slots.limit
        tasks = [asyncio.create_task(here.submit()) for _ in range(limit)]
        tasks.append(await here.start(limit))
        await here.submitter.close()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(each) for each in found} == {errors.ClientClosedError}
        assert here.submitter.slots.taken == 0


async def test_closing_between_attempts_does_not_undo_an_unknown_one() -> None:
    paused = asyncio.Event()

    async def sleep(_: float) -> None:
        paused.set()
        await asyncio.Event().wait()

    async with submitting(_lost(1), ACCEPTED, retry=WILLING, sleep=sleep) as here:
        task = asyncio.create_task(here.submit())
        await paused.wait()
        await here.submitter.close()
        with pytest.raises(errors.SubmitUnknownError) as caught:
            await task
        assert caught.value.request_ids == ("r1",)
        assert isinstance(caught.value.__cause__, errors.ClientClosedError)
        assert here.submitter.slots.taken == 0


async def test_closing_during_a_second_attempt_keeps_both_ids() -> None:
    answering, _ = _hang(whole=True)
    async with submitting(_lost(1), answering, retry=WILLING, close=0.01) as here:
        task = await here.start(2)
        await here.submitter.close()
        with pytest.raises(errors.SubmitUnknownError) as caught:
            await task
        assert caught.value.request_ids == ("r1", here.transport.ids[1])
        assert here.observer.lines[-1] == "unknown SubmitUnknownError"


async def test_closing_before_the_first_step_is_an_error_not_a_cancellation() -> None:
    async with submitting(ACCEPTED) as here:
        task = asyncio.create_task(here.submit())
        await asyncio.sleep(0)
        await here.submitter.close()
        with pytest.raises(errors.ClientClosedError) as caught:
            await task
        assert caught.value.retry_safe
        assert here.transport.ids == []
        assert here.submitter.slots.taken == 0


async def test_large_body_is_not_repeated_on_an_empty_answer() -> None:
    """Near the upstream's size limit an empty answer may mean "too large"."""
    huge = attrs.evolve(PICTURE, length=10_000_000)
    job = FaceSwapJob(source=huge, target=huge, options=SwapOptions())
    async with submitting(_b(5, "empty_response_body "), ACCEPTED) as here:
        with pytest.raises(errors.ServerError):
            await here.submit(job)
        assert len(here.transport.ids) == 1


async def test_wait_beyond_the_time_left_is_not_begun() -> None:
    """When the next attempt would come too late, the fault is raised at once."""
    short = attrs.evolve(QUICK, timeout=5)
    async with submitting(NO_CHANNEL, NO_CHANNEL, ACCEPTED, retry=short) as here:
        with pytest.raises(errors.ServerError, match="no upstream"):
            await here.submit()


@on_virtual_clock
async def test_timeout_counts_from_the_first_fault() -> None:
    """A job may wait long for a slot, and break in a long upload after that."""

    async def slow(_: Upload) -> HttpResponse:
        await asyncio.sleep(2 * QUICK.timeout)
        raise CUT

    async with submitting(slow, ACCEPTED) as here:
        assert (await here.submit()).task_id == "7"
        assert len(here.transport.ids) == 2


async def test_observer_that_fails_before_the_submit_stops_it() -> None:
    """Nothing is sent, and the caller gets the observer's error."""

    class Broken(RecordingObserver):
        async def before_submit(self, *_: object) -> None:
            raise TimeoutError("the journal is stuck")

    async with submitting(ACCEPTED, observer=Broken()) as here:
        with pytest.raises(TimeoutError, match="stuck"):
            await here.submit()
        assert here.transport.ids == []
        assert here.submitter.slots.taken == 0


async def test_observer_that_fails_to_record_an_id_does_not_lose_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The caller has the handle, the client follows it, and the log has the id."""
    async with submitting(ACCEPTED, observer=RecordingObserver(fails=True)) as here:
        handle = await here.submit()
        assert (handle.task_id, here.owner.poller.pending()) == ("7", (handle,))
        assert "task 7" in caplog.text
        assert "cannot record accepted 7" in caplog.text
        handle.end(None)
        assert here.submitter.slots.taken == 0


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (_lost(1), errors.SubmitUnknownError),
        (_b(24, "banned word "), errors.RejectedError),
    ],
)
async def test_failing_observer_does_not_hide_the_outcome(
    answer: Step, error: type[errors.EzlinkError], caplog: pytest.LogCaptureFixture
) -> None:
    """The caller gets the submit's own error, and the log that of the observer."""
    async with submitting(answer, observer=RecordingObserver(fails=True)) as here:
        with pytest.raises(error):
            await here.submit()
        assert "cannot record" in caplog.text
        assert here.submitter.slots.taken == 0


async def test_failing_observer_does_not_hide_a_cancellation() -> None:
    step, _ = _hang(whole=False)
    async with submitting(step, observer=RecordingObserver(fails=True)) as here:
        await cancel(await here.start())
        assert here.submitter.slots.taken == 0


@on_virtual_clock
async def test_gate_that_stays_closed_ends_a_submit_with_its_last_error() -> None:
    """A submit that was never sent gets an error that says so."""
    patience = RetryPolicy(first=1000, longest=1000, timeout=10)
    async with submitting(BUSY, retry=patience) as here:
        with pytest.raises(errors.BusyError, match="full") as sent:
            await here.submit()
        with pytest.raises(errors.BusyError, match="for 10 s; this one was") as unsent:
            await here.submit()
        assert sent.value.retry_safe
        assert unsent.value.retry_safe
        assert len(here.transport.ids) == 1


# What a job says of itself


@attrs.frozen
class _Patient(Job[TaskRecord]):
    """A job that is sent again after a refusal, or that costs nothing."""

    label: str = "patient"
    pause: float | None = 10.0
    is_free: bool = False
    lane: str = "patience"
    family: TaskFamily[TaskRecord] = MIDJOURNEY

    def request(self) -> HttpRequest:
        return JOB.request()

    def read(self, response: HttpResponse) -> Accepted:
        return JOB.read(response)

    def pause_after(self, refusal: errors.ApiError, refusals: int) -> float | None:
        assert refusal.code == 24
        return self.pause if refusals < 3 else None


@on_virtual_clock
async def test_refused_job_is_sent_again_as_often_as_it_asks_for() -> None:
    refusal = _b(24, "not yet")
    retry = RetryPolicy()
    async with submitting(refusal, refusal, ACCEPTED, retry=retry) as here:
        began = now()
        handle = await here.submit(_Patient())
        assert handle.task_id == "7"
        assert now() - began == pytest.approx(20, abs=0.1)
    async with submitting(*[refusal] * 3, ACCEPTED, retry=retry) as here:
        with pytest.raises(errors.RejectedError):
            await here.submit(_Patient())
        assert len(here.transport.ids) == 3


async def test_lost_submit_that_costs_nothing_is_sent_again() -> None:
    async with submitting(LOST, ACCEPTED) as here:
        handle = await here.submit(_Patient(is_free=True))
        assert handle.task_id == "7"
        assert len(here.transport.ids) == 2


async def test_acceptance_may_bring_the_end() -> None:
    done = TaskRecord(task_id="7", status=TaskStatus.SUCCESS, image_url=f"{BASE}/x")

    async with emulated_client() as here:
        session = session_of(here.ez)
        accepted = Accepted("7", 1, "", done)
        handle = session.accepted(accepted, MIDJOURNEY, lambda: None)
        assert handle.done()
        assert await handle == done
        assert here.paths == []


async def test_cancellation_while_the_client_closes_sends_nothing() -> None:
    async with submitting(ACCEPTED) as here:
        task = asyncio.create_task(here.submit())
        await asyncio.sleep(0)
        task.cancel()
        await here.submitter.close()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert here.transport.ids == []


@attrs.frozen
class _WatchedJob(Job[StabilityRecord]):
    """A job that notes the thread in which its answer is read."""

    inner: Job[StabilityRecord]
    threads: list[int]

    @property
    def family(self) -> TaskFamily[StabilityRecord]:
        return self.inner.family

    @property
    def label(self) -> str:
        return self.inner.label

    def request(self) -> HttpRequest:
        return self.inner.request()

    def read(self, response: HttpResponse) -> Accepted:
        self.threads.append(threading.get_ident())
        return self.inner.read(response)


@attrs.frozen
class _WatchedRequest(JobRequest[StabilityRecord]):
    inner: StabilityRequest
    threads: list[int] = attrs.field(factory=list)

    @property
    def family(self) -> TaskFamily[StabilityRecord]:
        return self.inner.family

    def job(self, _: object) -> Job[StabilityRecord]:
        return _WatchedJob(self.inner.job(()), self.threads)


async def test_answer_with_a_large_picture_is_read_in_a_thread() -> None:
    """Unpacking it would keep the loop from everything else."""
    large = png()[:33] + chunk(b"tEXt", bytes(3_000_000)) + png()[33:]
    inner = StabilityRequest.of(endpoint_of("core"), {"prompt": "a fox"})
    request = _WatchedRequest(inner)
    async with emulated_client(EmulatorSettings(stability=True)) as here:
        for content in (png(), large):
            body = {"image": base64.b64encode(content).decode()}
            here.server.control.script("stability", faults.Upstream(200, body))
            assert (await (await here.ez.submit(request))).content == content
    first, second = request.threads
    assert first == threading.get_ident()
    assert second != first
