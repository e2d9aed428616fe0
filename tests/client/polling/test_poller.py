"""Following tasks: what is asked, when, and what ends a task."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from typing import Never

import pytest

from ezlink_async import errors
from ezlink_async._client.handle import TaskHandle
from ezlink_async._core.messages import HttpRequest, HttpResponse
from ezlink_async._core.policies import PollPolicy
from ezlink_async.models import TaskStatus
from ezlink_async.services.midjourney import MIDJOURNEY
from tests.support import virtual_clock
from tests.support.scripted_transport import (
    BASE,
    Answer,
    offline,
    poller_harness,
    refused,
    reply,
    row,
    unknown_id,
)

JPEG = b"\xff\xd8\xff\xe0\x00\x04ab" + b"\xff\xda\x00\x04ab" + b"picture" + b"\xff\xd9"


def _ids(request: HttpRequest) -> list[str]:
    body = request.body[0]
    assert isinstance(body, bytes)
    ids: list[str] = json.loads(body)["ids"]
    return ids


def _id(request: HttpRequest) -> str:
    return request.path.split("/")[3]


def _after(looks: int, then: str = "SUCCESS") -> Answer:
    """Answer by id and by list; each task is *then* from its *looks*-th look on."""
    count: dict[str, int] = {}

    def one(task_id: str) -> dict[str, object]:
        count[task_id] = count.get(task_id, 0) + 1
        return row(task_id, then if count[task_id] >= looks else "IN_PROGRESS")

    def answer(request: HttpRequest) -> HttpResponse:
        if request.method == "POST":
            return reply([one(task_id) for task_id in _ids(request)])
        return reply(one(_id(request)))

    return answer


async def test_one_task_is_fetched_by_id_until_it_is_done() -> None:
    """A single task is asked for by its id, and its slot comes back at the end."""
    async with poller_harness(_after(3)) as here:
        record = await here.follow("7")
        assert record.status is TaskStatus.SUCCESS
        assert here.transport.paths() == ["/mj/task/7/fetch"] * 3
        assert here.released == ["7"]
        assert here.poller.pending() == ()


async def test_a_handle_nobody_awaits_is_done_by_itself() -> None:
    """``done()`` turns without anybody waiting, and the slot comes back."""
    async with poller_harness(_after(2)) as here:
        handle = here.follow("7")
        await here.some_released.wait()
        assert handle.done()


async def _asked_for_250() -> list[HttpRequest]:
    """Return what was asked of the server for 250 tasks that were taken up."""
    async with poller_harness(_after(2), bound=None) as here:
        await asyncio.gather(*[here.follow(str(n), own=False) for n in range(250)])
        return here.transport.seen


def test_many_due_tasks_share_one_list_request() -> None:
    """From three due tasks on, one request asks for all of them."""
    seen = virtual_clock.run(_asked_for_250())
    assert {request.method for request in seen} == {"POST"}
    assert sorted(len(_ids(request)) for request in seen[:3]) == [50, 100, 100]


@pytest.mark.parametrize(
    "no_list",
    [
        HttpResponse(404, {}, b"<html>", BASE),
        HttpResponse(405, {}, b"<html>", BASE),
        HttpResponse(501, {}, b"", BASE),
    ],
)
async def test_a_server_without_the_list_is_asked_by_id(no_list: HttpResponse) -> None:
    """A list call that is not served is tried once; then every id is fetched."""
    by_id = _after(2)

    def answer(request: HttpRequest) -> HttpResponse | Awaitable[HttpResponse]:
        return no_list if request.method == "POST" else by_id(request)

    async with poller_harness(answer) as here:
        handles = [here.follow(str(n), own=False) for n in range(5)]
        await asyncio.gather(*handles)
        assert [r.method for r in here.transport.seen].count("POST") == 1


@pytest.mark.parametrize(
    "refusal",
    [
        HttpResponse(302, {"location": "/sorry"}, b"", BASE),
        HttpResponse(400, {}, b"<html>400 Bad Request", BASE),
        HttpResponse(413, {}, b"", BASE),
        HttpResponse(499, {}, b"", BASE),
        reply({"code": 4, "description": "x", "type": "upstream_error"}, 400),
    ],
)
async def test_a_list_refused_in_passing_is_asked_for_again(
    refusal: HttpResponse,
) -> None:
    """Its ids are fetched meanwhile; later one request asks for many again."""
    lists: list[HttpRequest] = []

    def answer(request: HttpRequest) -> HttpResponse:
        if request.method == "GET":
            status = "IN_PROGRESS" if len(lists) < 2 else "SUCCESS"
            return reply(row(_id(request), status))
        lists.append(request)
        if len(lists) == 1:
            return refusal
        return reply([row(task_id, "SUCCESS") for task_id in _ids(request)])

    async with poller_harness(answer) as here:
        handles = [here.follow(str(n), own=False) for n in range(5)]
        await asyncio.gather(*handles)
        fetched = here.transport.paths()[1:6]
        assert fetched == [f"/mj/task/{n}/fetch" for n in range(5)]
        assert len(lists) == 2


async def _lists_in(seconds: float) -> int:
    """Count the list requests to a server that refuses each of them."""

    def answer(request: HttpRequest) -> HttpResponse:
        if request.method == "POST":
            return HttpResponse(400, {}, b"", BASE)
        return reply(row(_id(request), "IN_PROGRESS"))

    policy = PollPolicy(first=1, shortest=1, longest=1, deadline=seconds)
    async with poller_harness(answer, policy=policy, bound=None) as here:
        handles = [here.follow(str(n), own=False) for n in range(3)]
        await asyncio.gather(*handles, return_exceptions=True)
        return [request.method for request in here.transport.seen].count("POST")


async def _refused_at() -> list[float]:
    """Return when each list request for 250 tasks was refused."""
    refused_at: list[float] = []

    def answer(request: HttpRequest) -> HttpResponse:
        if request.method == "GET":
            status = "IN_PROGRESS" if len(refused_at) < 6 else "SUCCESS"
            return reply(row(_id(request), status))
        refused_at.append(here.loop.time())
        return HttpResponse(400, {}, b"", BASE)

    policy = PollPolicy(first=1, shortest=1, longest=1, deadline=60)
    async with poller_harness(answer, policy=policy, bound=None) as here:
        handles = [here.follow(str(n), own=False) for n in range(250)]
        await asyncio.gather(*handles)
    return refused_at


def test_of_several_lists_refused_at_once_one_counts() -> None:
    """Three requests for 250 tasks are one reason to wait, not three."""
    first, _, third, fourth, *_ = virtual_clock.run(_refused_at())
    assert third == first
    assert fourth - third < 4  # and not the eight of a third refusal


def test_a_list_that_stays_refused_is_asked_for_ever_more_rarely() -> None:
    """An hour of a look a second costs a few dozen list requests, not thousands."""
    assert 2 <= virtual_clock.run(_lists_in(10)) <= 5
    assert 6 <= virtual_clock.run(_lists_in(3600)) <= 70


@pytest.mark.parametrize("way", ["by id", "by list", "without the key"])
async def test_whatever_a_look_raises_the_task_is_looked_at_again(
    way: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug below is logged once, and no paid task is given up for it."""
    count = 1 if way == "by id" else 3
    looks: list[HttpRequest] = []
    pictures = Pictures({"": b""})

    def answer(request: HttpRequest) -> HttpResponse | Awaitable[HttpResponse]:
        looks.append(request)
        if len(looks) > 9:
            return by_now(request)
        if way == "without the key":
            return refused("Token not provided")
        raise ValueError("a bug")

    by_now = _after(1)
    async with poller_harness(answer, pictures=pictures) as here:
        handles = [here.follow(str(n), own=False) for n in range(count)]
        records = await asyncio.gather(*handles)
    assert [record.status for record in records] == [TaskStatus.SUCCESS] * count
    (entry,) = caplog.records
    assert "bug" in entry.message
    assert entry.exc_info


class Pictures(dict[str, bytes]):
    """Pictures of a server that cannot be asked for them."""

    def get(self, key: str, default: object = None) -> Never:  # noqa: ARG002 - dict's
        """Fail."""
        raise ValueError("a bug")


async def test_an_id_no_path_can_hold_is_asked_for_until_the_deadline() -> None:
    """It is no bug, and no end of polling: nothing is sent, and the end has its id."""
    policy = PollPolicy(first=0.001, shortest=0.001, longest=0.01, deadline=0.05)
    async with poller_harness(_after(1), policy=policy) as here:
        with pytest.raises(errors.TaskTimeoutError) as caught:
            await here.follow("..")
        assert caught.value.task_id == ".."
        assert here.transport.seen == []


async def test_the_end_of_one_handle_is_not_that_of_another_of_its_id() -> None:
    """A loose handle that ends leaves the followed one followed, with its slot."""
    async with poller_harness(_after(3)) as here:
        followed = here.follow("7")
        loose = TaskHandle("7", MIDJOURNEY, here)
        loose.end(errors.ClientClosedError())
        assert here.poller.pending() == (followed,)
        assert here.released == []
        assert (await followed).status is TaskStatus.SUCCESS
        assert here.released == ["7"]


async def test_e35_ids_left_out_of_a_list_are_fetched_next() -> None:
    """An empty list (a database fault looks so) only makes fetch the next question."""

    def answer(request: HttpRequest) -> HttpResponse:
        if request.method == "POST":
            return reply([])
        return reply(row(_id(request), "SUCCESS"))

    async with poller_harness(answer) as here:
        handles = [here.follow(str(n), own=False) for n in range(4)]
        records = await asyncio.gather(*handles)
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
async def test_a_failed_look_is_not_a_failed_task(fault: HttpResponse) -> None:
    """Whatever goes wrong with a look, the task is looked at again (E3, E25)."""
    answers = [fault, fault, fault, reply(row("7", "SUCCESS"))]
    async with poller_harness(lambda _: answers.pop(0)) as here:
        assert (await here.follow("7")).status is TaskStatus.SUCCESS


async def test_a_dead_network_is_waited_out() -> None:
    """No connection is no reason to give a paid task up."""
    calls = []

    def answer(request: HttpRequest) -> HttpResponse:
        calls.append(request)
        return offline(request) if len(calls) < 9 else reply(row("7", "SUCCESS"))

    async with poller_harness(answer) as here:
        assert (await here.follow("7")).status is TaskStatus.SUCCESS


async def test_e34_a_stuck_task_ends_at_its_deadline() -> None:
    """The deadline ends a task that never changes, with its id and last status."""
    policy = PollPolicy(first=0.001, shortest=0.001, longest=0.01, deadline=0.1)
    async with poller_harness(
        lambda _: reply(row("7", "IN_PROGRESS")), policy=policy
    ) as here:
        handle = here.follow("7")
        with pytest.raises(errors.TaskTimeoutError, match="IN_PROGRESS") as caught:
            await handle
        assert caught.value.task_id == "7"
        assert handle.done()
        assert here.released == ["7"]
        with pytest.raises(errors.TaskTimeoutError):
            await handle.result()


async def test_a_look_without_an_answer_does_not_outlive_the_deadline() -> None:
    """The deadline strikes even while a look hangs."""
    policy = PollPolicy(first=0.001, shortest=0.001, longest=0.01, deadline=0.05)
    never = asyncio.Event()

    async def hang() -> HttpResponse:
        await never.wait()
        raise AssertionError

    async with poller_harness(lambda _: hang(), policy=policy) as here:
        with pytest.raises(errors.TaskTimeoutError, match="not refreshed yet"):
            await here.follow("7")


async def test_a_followed_id_that_stays_unknown_ends_after_five_looks() -> None:
    """An id that came from outside and is unknown five times ends the handle."""
    async with poller_harness(lambda _: unknown_id()) as here:
        with pytest.raises(errors.TaskNotFoundError) as caught:
            await here.follow("7", own=False)
        assert caught.value.task_id == "7"
        assert len(here.transport.seen) == 5


async def test_an_own_id_may_be_unknown_for_long() -> None:
    """An id this client was given is asked for until the deadline: rows lag."""
    answers = [unknown_id()] * 12 + [reply(row("7", "SUCCESS"))]
    async with poller_harness(lambda _: answers.pop(0)) as here:
        assert (await here.follow("7")).task_id == "7"


async def test_being_left_out_of_a_list_is_not_being_unknown() -> None:
    """Only fetch-by-id counts; a list that leaves an id out counts for nothing."""
    by_id = [unknown_id()] * 4 + [reply(row("0", "SUCCESS"))]

    def answer(request: HttpRequest) -> HttpResponse:
        if request.method == "POST":
            return reply([row(i, "IN_PROGRESS") for i in _ids(request) if i != "0"])
        return by_id.pop(0) if _id(request) == "0" else reply(row(_id(request)))

    async with poller_harness(answer) as here:
        lost, *_ = [here.follow(str(n), own=False) for n in range(4)]
        assert (await lost).task_id == "0"


@pytest.mark.parametrize(
    ("message", "status", "error"),
    [
        ("Token not provided", 401, errors.AuthenticationError),
        ("The token has expired", 401, errors.AuthenticationError),
        ("User has been banned", 403, errors.PermissionDeniedError),
    ],
)
async def test_a_key_refused_for_good_ends_the_handle(
    message: str, status: int, error: type[errors.ApiError]
) -> None:
    """E1, E2, E4: after one look at the picture, the handle ends with its id."""
    async with poller_harness(lambda _: refused(message, status)) as here:
        with pytest.raises(error) as caught:
            await here.follow("7")
        assert caught.value.task_id == "7"
        assert len(here.transport.seen) == 1


async def test_a_refused_key_does_not_lose_a_finished_picture() -> None:
    """The picture needs no key: when it is there, the task is a success."""
    pictures = {f"{BASE}/mj/image/7": JPEG}
    async with poller_harness(lambda _: refused("expired"), pictures=pictures) as here:
        record = await here.follow("7")
        assert (record.status, record.progress) == (TaskStatus.SUCCESS, 100.0)
        assert record.image_url == f"{BASE}/mj/image/7"


async def test_e7_a_used_up_quota_waits_for_the_picture() -> None:
    """A key that is used up asks on, and takes the picture once it is whole."""
    pictures: dict[str, bytes] = {}

    def answer(_: HttpRequest) -> HttpResponse:
        if len(here.transport.seen) == 4:
            pictures[f"{BASE}/mj/image/7"] = JPEG
        return refused("The token quota has been exhausted")

    async with poller_harness(answer, pictures=pictures) as here:
        here.transport._pictures = pictures
        assert (await here.follow("7")).status is TaskStatus.SUCCESS
        assert len(here.transport.seen) == 4


async def test_a_refused_list_is_judged_for_each_task() -> None:
    """A key that is refused on the list call ends every task it asked for."""
    async with poller_harness(lambda _: refused("Token not provided")) as here:
        handles = [here.follow(str(n), own=False) for n in range(3)]
        results = await asyncio.gather(*handles, return_exceptions=True)
        assert [type(r) for r in results] == [errors.AuthenticationError] * 3
        assert [r.task_id for r in results] == ["0", "1", "2"]  # type: ignore[union-attr]


async def test_e31_success_without_a_picture_is_asked_once_more() -> None:
    """SUCCESS with an empty address is believed the second time only."""
    bare = row("7", "SUCCESS", imageUrl="")
    answers = [reply(bare), reply(bare)]
    async with poller_harness(lambda _: answers.pop(0)) as here:
        with pytest.raises(errors.TaskFailedError, match="without a picture"):
            await here.follow("7")
    answers = [reply(bare), reply(row("7", "SUCCESS"))]
    async with poller_harness(lambda _: answers.pop(0)) as here:
        assert (await here.follow("7")).image_url


async def test_e54_a_frozen_row_ends_after_a_few_looks() -> None:
    """100% without an end is given some looks, then up: it is never refreshed."""
    frozen = row("7", "IN_PROGRESS", progress="100%")
    async with poller_harness(lambda _: reply(frozen)) as here:
        with pytest.raises(errors.TaskFailedError, match="stopped looking"):
            await here.follow("7")
        assert len(here.transport.seen) == 5


async def test_e54_a_frozen_row_with_a_reason_is_a_failure() -> None:
    """100% with a reason is a failure at once."""
    frozen = row("7", "IN_PROGRESS", progress="100%", failReason="broken")
    async with poller_harness(lambda _: reply(frozen)) as here:
        with pytest.raises(errors.TaskFailedError, match="broken"):
            await here.follow("7")
        assert len(here.transport.seen) == 1


async def test_looks_are_bounded_in_number_at_once() -> None:
    """However many tasks are due, few requests are under way together."""
    gone = HttpResponse(404, {}, b"", BASE)

    def answer(request: HttpRequest) -> HttpResponse:
        return gone if request.method == "POST" else reply(row(_id(request), "SUCCESS"))

    async with poller_harness(answer) as here:
        await asyncio.gather(*[here.follow(str(n), own=False) for n in range(200)])
        assert here.transport.most_inside == 32


async def test_what_has_ended_is_not_kept() -> None:
    """The poller lets go of a finished handle at once."""
    async with poller_harness(_after(1)) as here:
        handle = here.follow("7")
        await handle
        assert here.poller.find("7") is None
        here.poller.forget(handle)  # harmless
        assert here.released == ["7"]


async def test_a_followed_again_task_has_a_deadline_of_its_own() -> None:
    """The deadline of an earlier handle does not strike a later one of that id."""
    policy = PollPolicy(first=0.001, shortest=0.001, longest=0.01, deadline=0.2)
    answers = [reply(row("7", "SUCCESS"))]

    def answer(request: HttpRequest) -> HttpResponse:
        return answers.pop() if answers else reply(row(_id(request), "IN_PROGRESS"))

    async with poller_harness(answer, policy=policy) as here:
        await here.follow("7")
        other = here.follow("8")
        async for _ in other.updates():
            break
        began = here.loop.time()
        again = here.follow("7")
        with pytest.raises(errors.TaskTimeoutError):
            await again
        assert here.loop.time() - began >= policy.deadline


async def test_a_task_that_ends_while_a_list_is_under_way() -> None:
    """What a list says of a task that has ended meanwhile is ignored."""

    async def answer(_: HttpRequest) -> HttpResponse:
        for handle in handles:
            handle.end(errors.ClientClosedError())
        return reply([row("0", "SUCCESS")])

    async with poller_harness(answer) as here:
        handles = [here.follow(str(n), own=False) for n in range(3)]
        found = await asyncio.gather(
            *(handle.result() for handle in handles), return_exceptions=True
        )
        assert {type(each) for each in found} == {errors.ClientClosedError}
        assert len(here.transport.seen) == 1
