"""Following tasks: what the poller asks, when, and what ends a task."""

from __future__ import annotations

import asyncio
import json
import math
import random
from collections.abc import Awaitable, Callable
from typing import Never

import pytest

from ezlink_async import errors
from ezlink_async._client.handle import FollowedHandle
from ezlink_async._core.messages import HttpRequest, HttpResponse
from ezlink_async._core.policies import PollPolicy
from ezlink_async.models import TaskStatus
from ezlink_async.services.base import AnyRecord, TaskFamily
from ezlink_async.services.midjourney import MIDJOURNEY
from ezlink_async.services.stability import STABILITY
from ezlink_async.services.video import VIDEO_DOUBAO
from tests.support import virtual_clock
from tests.support.loop import now, on_virtual_clock, turns
from tests.support.scripted_transport import (
    BASE,
    Answer,
    PollerHarness,
    ScriptedTransport,
    offline,
    poller_harness,
    refused,
    reply,
    row,
    unknown_id,
)

JPEG = b"\xff\xd8\xff\xe0\x00\x04ab" + b"\xff\xda\x00\x04ab" + b"picture" + b"\xff\xd9"

EVERY_SECOND = PollPolicy(first=1, shortest=1, longest=1, deadline=60)

SHORT_LIFE = PollPolicy(first=0.001, shortest=0.001, longest=0.01, deadline=0.1)


def _ids(request: HttpRequest) -> list[str]:
    body = request.body[0]
    assert isinstance(body, bytes)
    ids: list[str] = json.loads(body)["ids"]
    return ids


def _id(request: HttpRequest) -> str:
    return request.path.split("/")[3]


def _success(request: HttpRequest) -> HttpResponse:
    return reply(row(_id(request), "SUCCESS"))


def _after(polls: int) -> Answer:
    """Answer by id and by list; each task succeeds at its *polls*-th poll."""
    count: dict[str, int] = {}

    def one(task_id: str) -> dict[str, object]:
        count[task_id] = count.get(task_id, 0) + 1
        return row(task_id, "SUCCESS" if count[task_id] >= polls else "IN_PROGRESS")

    def answer(request: HttpRequest) -> HttpResponse:
        if request.method == "POST":
            return reply([one(task_id) for task_id in _ids(request)])
        return reply(one(_id(request)))

    return answer


def _in_turn(*answers: HttpResponse) -> Answer:
    """Give each of *answers* once."""
    left = list(answers)
    return lambda _: left.pop(0)


def _listed(
    on_list: Callable[[HttpRequest], HttpResponse],
    by_id: Callable[[HttpRequest], HttpResponse | Awaitable[HttpResponse]],
) -> Answer:
    """Answer a list request by *on_list*, and others by *by_id*."""
    return lambda request: (on_list if request.method == "POST" else by_id)(request)


def _resume(here: PollerHarness, count: int) -> list[FollowedHandle]:
    """Follow *count* tasks of earlier clients: all are due at once."""
    return [here.follow(str(number), own=False) for number in range(count)]


def _posts(here: PollerHarness) -> int:
    return [request.method for request in here.transport.seen].count("POST")


async def test_single_task_is_fetched_by_id_until_it_ends() -> None:
    async with poller_harness(_after(3)) as here:
        record = await here.follow("7")
        assert record.status is TaskStatus.SUCCESS
        assert here.transport.paths() == ["/mj/task/7/fetch"] * 3
        assert here.released == ["7"]
        assert here.poller.pending() == ()


async def test_handle_that_is_never_awaited_ends_and_releases_its_slot() -> None:
    async with poller_harness(_after(2)) as here:
        handle = here.follow("7")
        await here.some_released.wait()
        assert handle.done()


async def _requests_for_250_tasks() -> list[HttpRequest]:
    async with poller_harness(_after(2), bound=None) as here:
        await asyncio.gather(*_resume(here, 250))
        return here.transport.seen


def test_many_due_tasks_share_list_requests_of_a_hundred() -> None:
    seen = virtual_clock.run(_requests_for_250_tasks())
    assert {request.method for request in seen} == {"POST"}
    assert sorted(len(_ids(request)) for request in seen[:3]) == [50, 100, 100]


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_server_without_list_call_is_asked_for_a_list_once(status: int) -> None:
    no_list = HttpResponse(status, {}, b"<html>", BASE)
    async with poller_harness(_listed(lambda _: no_list, _after(2))) as here:
        await asyncio.gather(*_resume(here, 5))
        assert _posts(here) == 1


@pytest.mark.parametrize(
    "refusal",
    [
        HttpResponse(302, {"location": "/sorry"}, b"", BASE),
        HttpResponse(400, {}, b"<html>400 Bad Request", BASE),
        HttpResponse(413, {}, b"", BASE),
        HttpResponse(499, {}, b"", BASE),
        reply({"code": 4, "description": "x", "type": "upstream_error"}, 400),
        pytest.param(HttpResponse(200, {}, b"[" + b"[]," * 6000, BASE), id="too much"),
        pytest.param(HttpResponse(200, {}, b"[{}", oversized=4), id="too long"),
    ],
)
async def test_tasks_of_a_refused_list_are_fetched_and_later_listed_again(
    refusal: HttpResponse,
) -> None:
    def on_list(request: HttpRequest) -> HttpResponse:
        if _posts(here) == 1:
            return refusal
        return reply([row(task_id, "SUCCESS") for task_id in _ids(request)])

    def by_id(request: HttpRequest) -> HttpResponse:
        status = "IN_PROGRESS" if _posts(here) < 2 else "SUCCESS"
        return reply(row(_id(request), status))

    async with poller_harness(_listed(on_list, by_id)) as here:
        await asyncio.gather(*_resume(here, 5))
        fetched = here.transport.paths()[1:6]
        assert fetched == [f"/mj/task/{number}/fetch" for number in range(5)]
        assert _posts(here) == 2


async def _refused_at(tasks: int, deadline: float) -> list[float]:
    """Return when each list request for *tasks* tasks was refused, until *deadline*."""
    refused_at: list[float] = []

    def on_list(_: HttpRequest) -> HttpResponse:
        refused_at.append(here.loop.time())
        return HttpResponse(400, {}, b"", BASE)

    def by_id(request: HttpRequest) -> HttpResponse:
        return reply(row(_id(request), "IN_PROGRESS"))

    policy = PollPolicy(first=1, shortest=1, longest=1, deadline=deadline)
    async with poller_harness(
        _listed(on_list, by_id), policy=policy, bound=None
    ) as here:
        await asyncio.gather(*_resume(here, tasks), return_exceptions=True)
    return refused_at


def test_lists_refused_together_count_as_one_refusal() -> None:
    first, _, third, fourth, *_ = virtual_clock.run(_refused_at(250, 60))
    assert third == first
    assert fourth - third < 4  # and not the eight of a third refusal


def test_list_that_stays_refused_is_requested_ever_more_rarely() -> None:
    assert 2 <= len(virtual_clock.run(_refused_at(3, 10))) <= 5
    assert 6 <= len(virtual_clock.run(_refused_at(3, 3600))) <= 70


class BrokenPictures(dict[str, bytes]):
    """Pictures of a server that cannot be asked for them."""

    def get(self, key: str, default: object = None) -> Never:  # noqa: ARG002 - dict's
        """Fail."""
        raise ValueError("a bug")


@pytest.mark.parametrize("way", ["by id", "by list", "without the key"])
async def test_unexpected_error_is_logged_once_and_the_task_polled_again(
    way: str, caplog: pytest.LogCaptureFixture
) -> None:
    by_now = _after(1)

    def answer(request: HttpRequest) -> HttpResponse | Awaitable[HttpResponse]:
        if len(here.transport.seen) > 9:
            return by_now(request)
        if way == "without the key":
            return refused("Token not provided")
        raise ValueError("a bug")

    async with poller_harness(answer, pictures=BrokenPictures({"": b""})) as here:
        handles = _resume(here, 1 if way == "by id" else 3)
        records = await asyncio.gather(*handles)
    assert {record.status for record in records} == {TaskStatus.SUCCESS}
    (logged,) = caplog.records
    assert "bug" in logged.message
    assert logged.exc_info


async def test_id_that_no_path_can_hold_sends_nothing_until_the_deadline() -> None:
    async with poller_harness(_after(1), policy=SHORT_LIFE) as here:
        with pytest.raises(errors.TaskTimeoutError) as caught:
            await here.follow("..")
        assert caught.value.task_id == ".."
        assert here.transport.seen == []


async def test_end_of_an_unfollowed_handle_leaves_the_followed_one_of_its_id() -> None:
    async with poller_harness(_after(3)) as here:
        followed = here.follow("7")
        unfollowed = FollowedHandle("7", MIDJOURNEY, here)
        unfollowed.end(errors.ClientClosedError())
        assert here.poller.pending() == (followed,)
        assert here.released == []
        assert (await followed).status is TaskStatus.SUCCESS
        assert here.released == ["7"]


async def test_e35_ids_that_a_list_leaves_out_are_fetched_next() -> None:
    """A database fault of the server looks like an empty list."""
    async with poller_harness(_listed(lambda _: reply([]), _success)) as here:
        records = await asyncio.gather(*_resume(here, 4))
        assert [record.task_id for record in records] == ["0", "1", "2", "3"]
        assert len(here.transport.seen) == 5


@pytest.mark.parametrize(
    "fault",
    [
        refused("Token verification failed"),
        refused("no such table: users", 500),
        reply({"code": 5, "description": "x", "type": "upstream_error"}, 400),
        HttpResponse(502, {}, b"<html>", BASE),
        HttpResponse(429, {"retry-after": "0"}, b"", BASE),
        HttpResponse(200, {}, b"not json", BASE),
        HttpResponse(200, {}, b"", BASE),
        reply(row("8", "SUCCESS")),
        reply(row("8", "FAILURE", failReason="broken")),
        unknown_id(),
    ],
)
async def test_e3_e25_failed_poll_is_not_a_failed_task(fault: HttpResponse) -> None:
    async with poller_harness(
        _in_turn(*[fault] * 3, reply(row("7", "SUCCESS")))
    ) as here:
        assert (await here.follow("7")).status is TaskStatus.SUCCESS


async def test_task_is_polled_until_the_network_is_back() -> None:
    def answer(request: HttpRequest) -> HttpResponse:
        return (offline if len(here.transport.seen) < 9 else _success)(request)

    async with poller_harness(answer) as here:
        assert (await here.follow("7")).status is TaskStatus.SUCCESS


def test_e34_stuck_task_ends_at_its_deadline_with_its_last_status() -> None:
    async def work() -> None:
        stuck = reply(row("7", "IN_PROGRESS"))
        async with poller_harness(
            lambda _: stuck, policy=EVERY_SECOND, bound=None
        ) as here:
            handle = here.follow("7")
            with pytest.raises(errors.TaskTimeoutError, match="IN_PROGRESS") as caught:
                await handle
            assert caught.value.task_id == "7"
            assert handle.done()
            assert here.released == ["7"]
            with pytest.raises(errors.TaskTimeoutError):
                await handle.result()

    virtual_clock.run(work())


@pytest.mark.parametrize("is_filled", [False, True])
@on_virtual_clock
async def test_e7_deadline_of_a_used_up_key_says_to_fill_it(*, is_filled: bool) -> None:
    """Unless the latest poll has found it filled."""

    def answer(_: HttpRequest) -> HttpResponse:
        if is_filled and now() > 30:
            return reply(row("7", "IN_PROGRESS"))
        return refused("The token quota has been exhausted")

    async with poller_harness(answer, policy=EVERY_SECOND, bound=None) as here:
        with pytest.raises(errors.TaskTimeoutError) as caught:
            await here.follow("7")
    fill = "fill the key's quota, then resume it with client.task('7')"
    assert (fill in str(caught.value)) is not is_filled
    assert isinstance(caught.value.__cause__, errors.QuotaError) is not is_filled


async def test_deadline_ends_a_task_whose_poll_gets_no_answer() -> None:
    async def hang() -> HttpResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async with poller_harness(lambda _: hang(), policy=SHORT_LIFE) as here:
        with pytest.raises(errors.TaskTimeoutError, match="not refreshed yet"):
            await here.follow("7")


@pytest.mark.parametrize("ids", [1, 4])
@on_virtual_clock
async def test_resumed_id_that_is_unknown_five_times_ends_within_3_seconds(
    ids: int,
) -> None:
    answer = _listed(lambda _: reply([]), lambda _: unknown_id())
    async with poller_harness(answer, policy=PollPolicy(), bound=None) as here:
        for handle in _resume(here, ids):
            with pytest.raises(errors.TaskNotFoundError) as caught:
                await handle
            assert caught.value.task_id == handle.task_id
        assert len(here.transport.seen) - _posts(here) == 5 * ids
        assert now() <= 3


async def _life_of_a_restored_id(found_at: float) -> float:
    """Restore an id that is unknown until *found_at*; return when its handle ends."""

    def answer(request: HttpRequest) -> HttpResponse:
        return _success(request) if now() >= found_at else unknown_id()

    async with poller_harness(answer, policy=PollPolicy(), bound=None) as here:
        handle = here.follow("7", own=False, paid=True)
        while not handle.done():
            await asyncio.sleep(0.1)
        assert (handle.record is None) is (found_at > now())
        if handle.record is None:
            with pytest.raises(errors.TaskNotFoundError):
                await handle
        return now()


def test_restored_id_may_be_unknown_for_a_minute() -> None:
    """A fault of the server's database looks the same."""
    random.seed(1)
    assert 60 <= virtual_clock.run(_life_of_a_restored_id(60)) <= 71


def test_restored_id_that_stays_unknown_ends_before_its_deadline() -> None:
    random.seed(1)
    assert 60 < virtual_clock.run(_life_of_a_restored_id(math.inf)) <= 60 + 5 * 10 + 1


async def test_own_id_may_be_unknown_until_the_deadline() -> None:
    """The server's rows lag behind the ids it gives."""
    answers = [unknown_id()] * 12 + [reply(row("7", "SUCCESS"))]
    async with poller_harness(_in_turn(*answers)) as here:
        assert (await here.follow("7")).task_id == "7"


# --- a query that the server does not have

NO_PAGE = HttpResponse(404, {"content-type": "text/html"}, b"<html>", BASE)

NO_ROUTE = reply({"error": {"message": "Invalid URL (GET /x)", "type": "x"}}, 404)

Family = TaskFamily[AnyRecord]


def _follow(
    here: PollerHarness, family: Family, *, own: bool, deadline: float | None = None
) -> FollowedHandle[AnyRecord]:
    """Follow task 7 of *family*; one of this client is paid."""
    handle = FollowedHandle("7", family, here)
    if own:
        handle.mark_paid()
    here.poller.of(family).follow(handle, own=own, deadline=deadline)
    return handle


OTHER_QUERY = "client.task('7', family='video') or 'ezlink task video:7' asks for it"


@pytest.mark.parametrize("page", [NO_PAGE, NO_ROUTE])
@pytest.mark.parametrize(
    ("family", "own", "says"),
    [
        (STABILITY, False, ""),
        (VIDEO_DOUBAO, False, OTHER_QUERY),
        (VIDEO_DOUBAO, True, OTHER_QUERY),
    ],
)
@on_virtual_clock
async def test_query_that_the_server_lacks_ends_a_task_after_a_minute_of_looks(
    page: HttpResponse, family: Family, says: str, *, own: bool
) -> None:
    """It names the query that helps, with its price, and sends none by itself."""
    async with poller_harness(lambda _: page, policy=PollPolicy(), bound=None) as here:
        with pytest.raises(errors.EndpointNotSupportedError) as caught:
            await _follow(here, family, own=own)
        assert 60 < now() <= 60 + 5 * 10 + 11
        assert caught.value.task_id == "7"
        assert caught.value.maybe_charged is own
        assert says in str(caught.value)
        assert ("charges or credits the key" in str(caught.value)) is bool(says)
        assert not [path for path in here.transport.paths() if path.startswith("/v1/")]


@pytest.mark.parametrize("looks", [1, 6])
@on_virtual_clock
async def test_page_of_a_proxy_in_the_first_minute_ends_no_task(looks: int) -> None:
    def answer(_: HttpRequest) -> HttpResponse:
        if len(here.transport.seen) <= looks:
            return NO_PAGE
        return reply({"errors": ["no"], "name": "bad_request"}, 400)

    async with poller_harness(answer, policy=PollPolicy(), bound=None) as here:
        with pytest.raises(errors.TaskFailedError, match="bad_request"):
            await _follow(here, STABILITY, own=False)


@on_virtual_clock
async def test_page_of_a_proxy_ends_no_task_that_the_server_has_shown() -> None:
    def answer(_: HttpRequest) -> HttpResponse:
        if len(here.transport.seen) == 1:
            return reply({"id": "7", "status": "running"})
        return NO_PAGE

    async with poller_harness(answer, policy=PollPolicy(), bound=None) as here:
        with pytest.raises(errors.TaskTimeoutError) as caught:
            await _follow(here, VIDEO_DOUBAO, own=True)
        assert now() >= 3_600
    assert OTHER_QUERY in str(caught.value)
    assert "family='video-doubao'" not in str(caught.value)


@on_virtual_clock
async def test_page_of_a_proxy_ends_no_task_of_this_client_without_another_query() -> (
    None
):
    async with poller_harness(
        lambda _: NO_PAGE, policy=PollPolicy(), bound=None
    ) as here:
        with pytest.raises(errors.TaskTimeoutError) as caught:
            await _follow(here, STABILITY, own=True)
    assert "resume it with client.task('7', family='stability')" in str(caught.value)


@on_virtual_clock
async def test_deadline_in_the_first_minute_names_the_query_that_helps() -> None:
    async with poller_harness(
        lambda _: NO_PAGE, policy=PollPolicy(), bound=None
    ) as here:
        with pytest.raises(errors.TaskTimeoutError) as caught:
            await _follow(here, VIDEO_DOUBAO, own=True, deadline=30)
    assert OTHER_QUERY in str(caught.value)


async def test_id_that_a_list_leaves_out_does_not_count_as_unknown() -> None:
    lost_polls = [unknown_id()] * 4 + [reply(row("0", "SUCCESS"))]

    def on_list(request: HttpRequest) -> HttpResponse:
        return reply([row(i, "IN_PROGRESS") for i in _ids(request) if i != "0"])

    def by_id(request: HttpRequest) -> HttpResponse:
        task_id = _id(request)
        return lost_polls.pop(0) if task_id == "0" else reply(row(task_id))

    async with poller_harness(_listed(on_list, by_id)) as here:
        lost, *_ = _resume(here, 4)
        assert (await lost).task_id == "0"


@pytest.mark.parametrize(
    ("message", "status", "error"),
    [
        ("Token not provided", 401, errors.AuthenticationError),
        ("The token has expired", 401, errors.AuthenticationError),
        ("User has been banned", 403, errors.PermissionDeniedError),
    ],
)
async def test_e1_e2_e4_key_refused_for_good_ends_the_task(
    message: str, status: int, error: type[errors.ApiError]
) -> None:
    async with poller_harness(lambda _: refused(message, status)) as here:
        with pytest.raises(error) as caught:
            await here.follow("7")
        assert caught.value.task_id == "7"
        assert len(here.transport.seen) == 1


async def test_refused_key_does_not_lose_a_finished_picture() -> None:
    """The picture needs no key: where it is there, the task is a success."""
    pictures = {f"{BASE}/mj/image/7": JPEG}
    async with poller_harness(lambda _: refused("expired"), pictures=pictures) as here:
        record = await here.follow("7")
        assert (record.status, record.progress) == (TaskStatus.SUCCESS, 100.0)
        assert record.image_url == f"{BASE}/mj/image/7"


async def test_e7_task_of_a_used_up_key_waits_for_its_picture() -> None:
    url = f"{BASE}/mj/image/7"
    pictures = {url: b""}

    def answer(_: HttpRequest) -> HttpResponse:
        if len(here.transport.seen) == 4:
            pictures[url] = JPEG
        return refused("The token quota has been exhausted")

    async with poller_harness(answer, pictures=pictures) as here:
        assert (await here.follow("7")).status is TaskStatus.SUCCESS
        assert len(here.transport.seen) == 4


async def test_key_refused_for_a_list_ends_each_of_its_tasks() -> None:
    async with poller_harness(lambda _: refused("Token not provided")) as here:
        results = await asyncio.gather(*_resume(here, 3), return_exceptions=True)
        ended = [r for r in results if isinstance(r, errors.AuthenticationError)]
        assert [error.task_id for error in ended] == ["0", "1", "2"]


async def test_e31_success_without_a_picture_is_believed_the_second_time() -> None:
    bare = reply(row("7", "SUCCESS", imageUrl=""))
    async with poller_harness(_in_turn(bare, bare)) as here:
        with pytest.raises(errors.TaskFailedError, match="without a result"):
            await here.follow("7")
    async with poller_harness(_in_turn(bare, reply(row("7", "SUCCESS")))) as here:
        assert (await here.follow("7")).image_url


@pytest.mark.parametrize(
    ("reason", "words", "polls"),
    [("", "no longer refreshes", 5), ("broken", "broken", 1)],
)
async def test_e54_frozen_task_ends_after_five_polls_or_at_once_with_a_reason(
    reason: str, words: str, polls: int
) -> None:
    frozen = row("7", "IN_PROGRESS", progress="100%", failReason=reason)
    async with poller_harness(lambda _: reply(frozen)) as here:
        with pytest.raises(errors.TaskFailedError, match=words):
            await here.follow("7")
        assert len(here.transport.seen) == polls


async def test_at_most_32_polls_are_in_flight() -> None:
    gone = HttpResponse(404, {}, b"", BASE)
    async with poller_harness(_listed(lambda _: gone, _success)) as here:
        await asyncio.gather(*_resume(here, 200))
        assert here.transport.most_inside == 32


def _stop_loop(seconds: float) -> None:
    """Let *seconds* pass in which the loop does nothing, as when it is suspended."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, virtual_clock.VirtualLoop)
    loop.now += seconds


def _success_after(seconds: float) -> Answer:
    """Answer by id and by list; each task succeeds after *seconds*."""

    def one(task_id: str) -> dict[str, object]:
        return row(task_id, "SUCCESS" if now() > seconds else "IN_PROGRESS")

    return _listed(
        lambda request: reply([one(task_id) for task_id in _ids(request)]),
        lambda request: reply(one(_id(request))),
    )


@pytest.mark.parametrize(("tasks", "requests"), [(1, 1), (250, 3)])
@on_virtual_clock
async def test_deadline_that_passed_in_a_stopped_loop_is_followed_by_one_poll(
    tasks: int, requests: int
) -> None:
    """A debugger or Ctrl-Z stops the loop, and the server goes on."""
    async with poller_harness(
        _success_after(100), policy=EVERY_SECOND, bound=None
    ) as here:
        handles = [here.follow(str(number)) for number in range(tasks)]
        await asyncio.sleep(5.5)
        before = len(here.transport.seen)
        _stop_loop(1000)
        records = await asyncio.gather(*handles)
        assert {record.status for record in records} == {TaskStatus.SUCCESS}
        assert len(here.transport.seen) - before == requests
        assert len(here.released) == tasks
        assert here.poller.pending() == ()


@on_virtual_clock
async def test_task_is_polled_though_the_loop_stopped_right_after_its_start() -> None:
    async with poller_harness(
        _success_after(100), policy=EVERY_SECOND, bound=None
    ) as here:
        await turns()
        handle = here.follow("7")
        _stop_loop(1000)
        assert (await handle).status is TaskStatus.SUCCESS


@pytest.mark.parametrize("tasks", [1, 250])
@on_virtual_clock
async def test_task_that_is_unfinished_after_a_stopped_loop_ends_with_its_deadline(
    tasks: int,
) -> None:
    async with poller_harness(
        _success_after(math.inf), policy=EVERY_SECOND, bound=None
    ) as here:
        handles = [here.follow(str(number)) for number in range(tasks)]
        await asyncio.sleep(5.5)
        _stop_loop(1000)
        young = here.follow("young")
        results = await asyncio.gather(*handles, return_exceptions=True)
        assert {type(each) for each in results} == {errors.TaskTimeoutError}
        assert now() == pytest.approx(1005.5)
        assert len(here.released) == tasks
        assert here.poller.pending() == (young,)
        with pytest.raises(errors.TaskTimeoutError):
            await young
        assert now() == pytest.approx(1065.5)


@on_virtual_clock
async def test_handle_of_a_task_polled_for_the_last_time_is_still_followed() -> None:
    asked, answered = asyncio.Event(), asyncio.Event()

    async def answer(request: HttpRequest) -> HttpResponse:
        if now() > 100:
            asked.set()
            await answered.wait()
        return reply(row(_id(request), "IN_PROGRESS"))

    async with poller_harness(answer, policy=EVERY_SECOND, bound=None) as here:
        handle = here.follow("7")
        await asyncio.sleep(5.5)
        _stop_loop(1000)
        await asked.wait()
        assert here.poller.find("midjourney", "7") is handle
        assert here.poller.pending() == (handle,)
        answered.set()
        with pytest.raises(errors.TaskTimeoutError):
            await handle


async def _answers_never() -> HttpResponse:
    await asyncio.Event().wait()
    raise AssertionError


@pytest.mark.parametrize("tasks", [1, 250])
@on_virtual_clock
async def test_last_poll_after_a_stopped_loop_has_a_bound(tasks: int) -> None:
    async with poller_harness(
        lambda _: _answers_never(), policy=EVERY_SECOND, bound=None
    ) as here:
        handles = [here.follow(str(number)) for number in range(tasks)]
        await asyncio.sleep(0.1)
        _stop_loop(1000)
        results = await asyncio.gather(*handles, return_exceptions=True)
        assert {type(each) for each in results} == {errors.TaskTimeoutError}
        assert now() <= 1000.1 + 2 * 30


@pytest.mark.parametrize(
    "on_list",
    [
        reply([]),
        HttpResponse(404, {}, b"", BASE),
        HttpResponse(502, {}, b"<html>", BASE),
    ],
)
@on_virtual_clock
async def test_last_list_that_leaves_tasks_out_is_followed_by_fetches(
    on_list: HttpResponse,
) -> None:
    answer = _success_after(100)

    def late_list(request: HttpRequest) -> HttpResponse | Awaitable[HttpResponse]:
        return on_list if request.method == "POST" and now() > 100 else answer(request)

    async with poller_harness(late_list, policy=EVERY_SECOND, bound=None) as here:
        handles = [here.follow(str(number)) for number in range(4)]
        await asyncio.sleep(5.5)
        _stop_loop(1000)
        records = await asyncio.gather(*handles)
        assert {record.status for record in records} == {TaskStatus.SUCCESS}


async def test_ended_task_is_forgotten() -> None:
    async with poller_harness(_after(1)) as here:
        handle = here.follow("7")
        await handle
        assert here.poller.find("midjourney", "7") is None
        here.poller.forget(handle)  # a second time does nothing
        assert here.released == ["7"]


async def _life_of_a_resumed_task() -> float:
    """Resume a task that has ended, and return how long it is polled for."""
    first = [reply(row("7", "SUCCESS"))]

    def answer(request: HttpRequest) -> HttpResponse:
        return first.pop() if first else reply(row(_id(request), "IN_PROGRESS"))

    async with poller_harness(answer, policy=EVERY_SECOND, bound=None) as here:
        await here.follow("7")
        here.follow("8")
        await asyncio.sleep(5)
        resumed_at = here.loop.time()
        with pytest.raises(errors.TaskTimeoutError):
            await here.follow("7")
        return here.loop.time() - resumed_at


def test_resumed_task_has_a_deadline_of_its_own() -> None:
    life = virtual_clock.run(_life_of_a_resumed_task())
    assert life == pytest.approx(EVERY_SECOND.deadline, abs=0.01)


async def test_list_answer_about_tasks_that_have_ended_meanwhile_is_ignored() -> None:
    async def answer(_: HttpRequest) -> HttpResponse:
        for handle in handles:
            handle.end(errors.ClientClosedError())
        return reply([row("0", "SUCCESS")])

    async with poller_harness(answer) as here:
        handles = _resume(here, 3)
        results = await asyncio.gather(*handles, return_exceptions=True)
        assert {type(each) for each in results} == {errors.ClientClosedError}
        assert len(here.transport.seen) == 1


async def test_task_that_is_followed_before_the_start_is_polled_from_then_on() -> None:
    here = PollerHarness(ScriptedTransport(_after(1)))
    handle = here.follow("7")
    await turns()
    assert here.transport.seen == []
    here.poller.start()
    assert (await handle).status is TaskStatus.SUCCESS
    await here.background.close()


# --- what settles a price


async def test_price_of_a_task_that_has_ended_meanwhile_is_not_settled() -> None:
    """Its handle has ended; a later client settles it when it looks."""
    arrived, answered = asyncio.Event(), asyncio.Event()

    async def answer(_: HttpRequest) -> HttpResponse:
        arrived.set()
        await answered.wait()
        url = f"{BASE}/a.mp4"
        return reply({"id": "7", "status": "succeeded", "content": {"video_url": url}})

    async with poller_harness(answer) as here:
        handle = FollowedHandle("7", VIDEO_DOUBAO, here)
        here.poller.of(VIDEO_DOUBAO).follow(handle, own=True)
        await arrived.wait()
        handle.end(errors.TaskTimeoutError("too late", task_id="7"))
        answered.set()
        await turns(20)
        assert len(here.transport.seen) == 1


async def test_bug_in_the_answer_of_a_settlement_does_not_repeat_it() -> None:
    """Each repetition would be paid."""
    done = {"id": "7", "status": "succeeded", "content": {"video_url": f"{BASE}/a"}}
    asked: list[str] = []

    def answer(request: HttpRequest) -> HttpResponse:
        asked.append(request.path.split("/")[1])
        if asked[-1] == "v1":
            raise ZeroDivisionError
        return reply(done)

    async with poller_harness(answer) as here:
        handle = FollowedHandle("7", VIDEO_DOUBAO, here)
        here.poller.of(VIDEO_DOUBAO).follow(handle, own=True)
        assert (await handle).results[0].url == f"{BASE}/a"
        await turns(20)
    assert asked == ["doubao", "v1"]
