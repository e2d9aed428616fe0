"""
The project's numbered edge cases, each shown end to end.

The numbers are those of the list of odd things this kind of server does: E1 to
E48 and E52 to E59 concern swaps, fetches, lists and pictures. Each test asserts
the result the user gets, and what the server charged for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from ezlink_async import (
    AsyncEzlink,
    TaskHandle,
    TaskRecord,
    TaskStatus,
    errors,
)
from ezlink_async.emulator import (
    Control,
    Emulator,
    EmulatorSettings,
    faults,
    scripts,
    serving,
)
from tests.support.client_harness import POLL, RETRY, beside_emulator
from tests.support.pictures import jpeg

SOURCE, TARGET = jpeg(20_000), jpeg(30_000)

LEFT_OUT = {
    "E49": "results of videos",
    "E50": "results of Flux",
    "E51": "uploads of files",
    "E55": "seeds of pictures",
}


def _upstream(**body: object) -> faults.Upstream:
    return faults.Upstream(body=body)


def _b(code: int, description: str, status: int = 400) -> faults.Answer:
    text = '{"code":%d,"description":"%s","type":"upstream_error"}'
    return faults.Answer(status, text % (code, description), "application/json")


_MODEL = (
    '{"error":{"message":"Model name is required (request id: 1)","type":"api_error"}}'
)
_MISSING = _b(4, "sour_base64_and_target_base64_is_required ")

REFUSED: dict[str, tuple[faults.Fault, type[errors.EzlinkError]]] = {
    "E8 malformed": (faults.Answer(400, _MODEL), errors.RejectedError),
    "E9 missing field": (_MISSING, errors.RejectedError),
    "E10 a number": (_b(4, "bind_request_body_failed "), errors.RejectedError),
    "E18 unreachable": (faults.Upstream(broken="refused"), errors.ServerError),
    "E20 plain text": (faults.Upstream(status=401, body="no"), errors.ServerError),
    "E20 html": (faults.Upstream(status=502, body="<html>"), errors.ServerError),
    "E20 a number": (_upstream(code=1, result=7), errors.ServerError),
    "E21 generic": (_upstream(success=False, code=-1), errors.RejectedError),
    "E21 no code": (_upstream(success=False), errors.RejectedError),
    "E24 format": (
        _upstream(code=4, description="人脸图片格式错误"),
        errors.RejectedError,
    ),
    "E42 unknown path": (
        faults.Answer(404, "<html></html>"),
        errors.EndpointNotSupportedError,
    ),
    "E44 trailing slash": (
        faults.Answer(307, headers=(("Location", "/mj/insight-face/swap"),)),
        errors.EndpointNotSupportedError,
    ),
    "E47 too large": (faults.proxy(413), errors.RejectedError),
    "E56 untyped": (_MISSING, errors.RejectedError),
    "E57 another server": (
        faults.Answer(404, '{"status":404,"error":"Not Found"}', "application/json"),
        errors.EndpointNotSupportedError,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_final_refusal_uploads_once_and_creates_nothing(name: str) -> None:
    fault, error = REFUSED[name]
    async with beside_emulator() as (ez, server):
        server.control.script("submit", fault)
        with pytest.raises(error) as caught:
            await ez.swap_face(SOURCE, TARGET)
        assert not caught.value.maybe_charged
        assert caught.value.request_id
        assert (server.control.tasks, server.control.charges) == ([], [])


WAITED_OUT: dict[str, faults.Fault] = {
    "E3 the key's table": faults.Trouble("token_verification"),
    "E16 code 9": faults.queue_full(),
    "E16 code 23": faults.queue_full_23(),
    "E17 saturated": faults.saturated(),
    "E19 empty answer": faults.Upstream(status=404, body=""),
    "E46 a limiter": faults.limiter(),
}


@pytest.mark.parametrize("name", WAITED_OUT)
async def test_passing_refusal_is_sent_again_and_paid_once(name: str) -> None:
    async with beside_emulator() as (ez, server):
        server.control.script("submit", *[WAITED_OUT[name]] * 2)
        assert (await (await ez.swap_face(SOURCE, TARGET))).image_url
        assert len(server.control.charges) == len(server.control.tasks) == 1


PERHAPS_PAID: dict[str, tuple[faults.Fault, type[errors.EzlinkError]]] = {
    "E12 no id": (_upstream(code=1, description="ok"), errors.ProtocolError),
    "E22 insert failed": (faults.Trouble("insert_failed"), errors.SubmitUnknownError),
    "E45 empty 500": (faults.Trouble("panic"), errors.SubmitUnknownError),
    "E47 502": (faults.proxy(502, job=True), errors.SubmitUnknownError),
    "E47 504": (faults.proxy(504, job=True), errors.SubmitUnknownError),
    "E47 520": (faults.proxy(520, job=True), errors.SubmitUnknownError),
}


@pytest.mark.parametrize("name", PERHAPS_PAID)
async def test_submit_that_may_be_paid_is_unknown_and_not_sent_again(name: str) -> None:
    fault, error = PERHAPS_PAID[name]
    async with beside_emulator() as (ez, server):
        server.control.script("submit", fault)
        with pytest.raises(error) as caught:
            await ez.swap_face(SOURCE, TARGET)
        assert caught.value.maybe_charged
        assert caught.value.request_id
        posts = [s for s in server.control.requests if s.path.endswith("/swap")]
        assert len(posts) == 1


def _set(status: str) -> Callable[[Control, str], None]:
    return lambda control, key: control.set_key(key, status=status)


KEYS: dict[str, tuple[Callable[[Control, str], None], type[errors.ApiError]]] = {
    "E2 expired": (_set("expired"), errors.AuthenticationError),
    "E4 banned": (lambda control, key: control.ban(key), errors.PermissionDeniedError),
    "E11 no money": (
        lambda control, _: setattr(control, "balance", 8_999),
        errors.QuotaError,
    ),
}


@pytest.mark.parametrize("name", KEYS)
async def test_trouble_with_key_or_account_is_an_error_of_its_own(name: str) -> None:
    change, error = KEYS[name]
    async with beside_emulator() as (ez, server):
        change(server.control, server.api_key)
        with pytest.raises(error) as caught:
            await ez.swap_face(SOURCE, TARGET)
        assert caught.value.retry_safe
        assert server.control.charges == []


@pytest.mark.parametrize(
    ("key", "error"),
    [
        ("sk-nobody", errors.AuthenticationError),
        ("sk-a-b", errors.AuthenticationError),
        ("VALID-7", errors.PermissionDeniedError),
    ],
    ids=["E1", "E6 unknown", "E6 known"],
)
async def test_unknown_key_is_401_and_known_key_with_a_suffix_is_403(
    key: str, error: type[errors.ApiError]
) -> None:
    async with serving() as server:
        text = key.replace("VALID", server.api_key)
        async with AsyncEzlink(text, base_url=server.base_url, retry=RETRY) as ez:
            with pytest.raises(error):
                await ez.swap_face(SOURCE, TARGET)
            with pytest.raises(error):
                await ez.fetch_task("1")


async def test_e5_key_is_sent_as_bearer_as_it_was_given() -> None:
    async with beside_emulator() as (ez, server):
        await (await ez.swap_face(SOURCE, TARGET))
        sent = {
            text
            for seen in server.control.requests
            for name, text in seen.headers
            if name.lower() == "authorization"
        }
        assert sent == {f"Bearer {server.api_key}"}


async def test_e7_submit_that_uses_up_the_quota_still_has_its_picture_downloaded() -> (
    None
):
    async with beside_emulator(EmulatorSettings(key_quota=9000)) as (ez, server):
        handle = await ez.swap_face(SOURCE, TARGET)
        assert (await handle).status is TaskStatus.SUCCESS
        assert await handle.read()
        with pytest.raises(errors.QuotaError):
            await ez.fetch_task(handle.task_id)
        assert len(server.control.charges) == 1


ACCEPTED: dict[str, faults.Fault] = {
    "E13 queued": _upstream(code=22, properties={"numberOfQueues": 3}, result="7"),
    "E14 existing": _upstream(code=21, description="任务已存在", result="7"),
    "E15 properties null": _upstream(code=1, properties=None, result="7"),
    "E58 under 201": faults.Upstream(status=201, body={"code": 1, "result": "7"}),
    "E58 under 500": faults.Upstream(status=500, body={"code": 1, "result": "7"}),
}


@pytest.mark.parametrize("name", ACCEPTED)
async def test_codes_1_21_and_22_with_an_id_are_an_acceptance(name: str) -> None:
    """Under any HTTP status."""
    async with beside_emulator() as (ez, server):
        server.control.script("submit", ACCEPTED[name])
        handle = await ez.swap_face(SOURCE, TARGET)
        assert handle.task_id == "7"
        assert ez.pending() == (handle,)


async def test_e23_group_without_a_channel_is_retried_within_the_timeout() -> None:
    async with beside_emulator(retry=attrs.evolve(RETRY, timeout=0.02)) as (ez, server):
        server.control.script("submit", *[faults.Trouble("no_channel")] * 3)
        with pytest.raises(errors.ServerError, match="no upstream is free") as caught:
            await ez.swap_face(SOURCE, TARGET)
        assert (caught.value.retry_after, caught.value.retry_safe) == (10, True)


FETCHES: dict[str, faults.Fault] = {
    "E3": faults.Trouble("token_verification"),
    "E25 database": faults.Trouble("tasks_unreadable"),
    "E27 back to the start": faults.Rows(
        change={"status": "NOT_START", "progress": "", "startTime": 0}
    ),
    "E33 a preview": faults.Rows(
        change={"status": "IN_PROGRESS", "imageUrl": "http://x/mj/image/7?rand=17"}
    ),
    "E47 a page": faults.proxy(502),
}


@pytest.mark.parametrize("name", FETCHES)
async def test_task_with_odd_answers_on_the_way_reaches_its_end(name: str) -> None:
    async with beside_emulator() as (ez, server):
        server.control.script("fetch", *[FETCHES[name]] * 3)
        handle = await ez.swap_face(SOURCE, TARGET)
        assert (await handle).status is TaskStatus.SUCCESS
        assert await handle.read()


async def test_e26_first_status_is_the_empty_word_at_0_percent() -> None:
    async with beside_emulator(EmulatorSettings(poll_interval=1000)) as (ez, server):
        handle = await ez.swap_face(SOURCE, TARGET)
        async for record in handle.updates():
            assert (str(record.status), record.progress) == ("", 0.0)
            assert (record.buttons, record.properties) == ((), None)
            break
        server.control.script_tasks(scripts.stuck())
        while server.control.tasks[0].status != "SUCCESS":
            await asyncio.sleep(0)
        server.control.beat()
        assert (await handle).status is TaskStatus.SUCCESS


_LATE: dict[str, object] = {
    "status": "FAILURE",
    "progress": "100%",
    "failReason": "上游任务超时（超过1小时）",
}

FAILED: dict[str, tuple[faults.Fault, str]] = {
    "E28 at 100%": (
        faults.Rows(change={"status": "FAILURE", "progress": "100%"}),
        "no reason given",
    ),
    "E29 an hour": (faults.Rows(change=_LATE), "more than an hour"),
    "E30 no channel": (
        faults.Rows(
            change={**_LATE, "failReason": "获取渠道信息失败，请联系管理员，渠道ID：17"}
        ),
        "upstream is gone",
    ),
    "E53 late": (
        faults.Rows(change={**_LATE, "imageUrl": "https://x.example/7?rand=1"}),
        "more than an hour",
    ),
    "E54 frozen with a reason": (
        faults.Rows(
            change={"status": "IN_PROGRESS", "progress": "100%", "failReason": "x"}
        ),
        "x",
    ),
}


@pytest.mark.parametrize("name", FAILED)
async def test_failed_task_raises_with_its_record(name: str) -> None:
    """Even if a picture came too late."""
    fault, words = FAILED[name]
    async with beside_emulator() as (ez, server):
        server.control.standing("fetch", fault)
        handle = await ez.swap_face(SOURCE, TARGET)
        with pytest.raises(errors.TaskFailedError, match=words) as caught:
            await handle
        assert caught.value.task_id == handle.task_id
        record = caught.value.record
        assert isinstance(record, TaskRecord)
        late = "https://x.example/7?rand=1" if "E53" in name else record.image_url
        assert record.image_url == late


ENDS: dict[str, tuple[scripts.Script, str]] = {
    "E31 no picture": (scripts.succeeds_without_image(), "without a result"),
    "E54 frozen": (scripts.frozen_at_100(), "no longer refreshes"),
}


@pytest.mark.parametrize("name", ENDS)
async def test_odd_end_is_polled_again_before_it_is_believed(name: str) -> None:
    script, words = ENDS[name]
    async with beside_emulator() as (ez, server):
        server.control.script_tasks(script)
        with pytest.raises(errors.TaskFailedError, match=words):
            await (await ez.swap_face(SOURCE, TARGET))
        looks = [s for s in server.control.requests if s.path.endswith("/fetch")]
        assert len(looks) >= 2


async def test_e32_picture_on_localhost_3000_is_downloaded_from_the_api() -> None:
    settings = EmulatorSettings(server_address="http://localhost:3000")
    async with beside_emulator(settings) as (ez, _):
        handle = await ez.swap_face(SOURCE, TARGET)
        assert str((await handle).image_url).startswith("http://localhost:3000/")
        assert await handle.read()


async def test_e34_task_that_never_changes_ends_at_the_deadline_with_its_id() -> None:
    async with beside_emulator(poll=attrs.evolve(POLL, deadline=0.2)) as (ez, server):
        server.control.script_tasks(scripts.stuck())
        handle = await ez.swap_face(SOURCE, TARGET)
        with pytest.raises(errors.TaskTimeoutError) as caught:
            await handle
        assert caught.value.task_id == handle.task_id


async def _several(ez: AsyncEzlink, server: Emulator) -> list[TaskHandle]:
    """Take up four finished tasks at once, so that a list is asked for."""
    handles = [await ez.swap_face(SOURCE, jpeg(20_001 + n)) for n in range(4)]
    ids = [(await handle).task_id for handle in handles]
    server.control.reset()
    return [ez.task(task_id) for task_id in ids]


LISTS: dict[str, faults.Fault] = {
    "E35 empty": faults.Rows(omit=()),
    "E35 twice": faults.Rows(repeat=True),
    "E35 backwards": faults.Rows(backwards=True),
    "E36 bad body": _b(4, "Bind json failed Error"),
    "E42 no such call": faults.Answer(404, "<html></html>"),
}


@pytest.mark.parametrize("name", LISTS)
async def test_odd_list_loses_no_task(name: str) -> None:
    """A list may leave tasks out, repeat them or refuse."""
    async with beside_emulator(EmulatorSettings(concurrency=9)) as (ez, server):
        again = await _several(ez, server)
        server.control.standing("list", LISTS[name])
        for handle in again:
            assert (await handle).task_id == handle.task_id


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


PICTURES: dict[str, faults.Fault] = {
    "E37 not ready": faults.Picture(broken=True),
    "E38 unknown": faults.Answer(400, '{"error":"midjourney_task_not_found"}'),
    "E39 gone once": faults.Picture(status=403, content="<Error>"),
    "E40 truncated": faults.Picture(keep=5000),
    "E41 octets": faults.Picture(content_type="binary/octet-stream"),
}


@pytest.mark.parametrize("name", PICTURES)
async def test_kept_picture_is_complete_and_alone(name: str, tmp_path: Path) -> None:
    async with beside_emulator() as (ez, server):
        server.control.script("image", PICTURES[name])
        path = await (await ez.swap_face(SOURCE, TARGET)).save(tmp_path / "a.jpg")
        assert path.read_bytes().endswith(TARGET[2:])
    assert _names(tmp_path) == ["a.jpg"]


@pytest.mark.parametrize("path", ["/a/nope", "/v1/nope"], ids=["E42", "E43"])
async def test_base_url_with_too_much_in_it_is_named(path: str) -> None:
    async with beside_emulator(path=path) as (ez, server):
        with pytest.raises(errors.EndpointNotSupportedError) as caught:
            await ez.swap_face(SOURCE, TARGET)
        assert f"{server.base_url}{path}/mj/insight-face/swap" in str(caught.value)


async def test_e48_doubled_and_trailing_blanks_are_removed() -> None:
    async with beside_emulator() as (ez, server):
        words = "cannot  read https://files.example.com/a from 10.0.0.1"
        server.control.script("submit", _upstream(code=4, description=words))
        with pytest.raises(errors.RejectedError) as caught:
            await ez.swap_face(SOURCE, TARGET)
        assert caught.value.description == "cannot read /a from <host>"


async def test_e52_changing_submit_time_is_no_change_of_the_task() -> None:
    async with beside_emulator() as (ez, server):
        server.control.script_tasks(scripts.stuck())
        rows = [faults.Rows(change={"submitTime": n}) for n in (1_000, 9_000, 5_000)]
        server.control.script("fetch", *rows)
        handle = await ez.swap_face(SOURCE, TARGET)
        first = await anext(handle.updates())
        while len(server.control.requests) < 5:
            await asyncio.sleep(0)
        assert handle.record is first


async def test_e59_key_refused_behind_a_proxy_is_an_authentication_error() -> None:
    """502 for the submit, 401 for the next small request."""
    async with beside_emulator(api_key="sk-nobody") as (ez, server):
        server.control.script("submit", faults.proxy(502))
        with pytest.raises(errors.AuthenticationError) as caught:
            await ez.swap_face(SOURCE, TARGET)
        assert caught.value.retry_safe
        assert not caught.value.maybe_charged


def test_each_number_has_a_test_or_a_reason() -> None:
    """E1 to E59, each in this file by its number, or left out with a reason."""
    text = Path(__file__).read_text(encoding="utf-8")
    missing = [
        number
        for number in (f"E{n}" for n in range(1, 60))
        if number not in LEFT_OUT
        and f'"{number}' not in text
        and f"test_{number.lower()}_" not in text
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("reason", "paid"),
    [
        ("文件上传失败", False),
        ("获取渠道信息失败，请联系管理员，渠道ID：3", True),
        ("", True),
    ],
    ids=["refunded", "the upstream is gone", "no reason"],
)
async def test_failed_task_is_paid_unless_the_server_gives_it_back(
    reason: str, *, paid: bool
) -> None:
    async with beside_emulator() as (ez, server):
        server.control.script_tasks(scripts.fails_at_100(reason))
        handle = await ez.swap_face(SOURCE, TARGET)
        with pytest.raises(errors.TaskFailedError) as caught:
            await handle
        assert caught.value.maybe_charged is paid
        again = ez.restore(handle.to_dict())
        with pytest.raises(errors.TaskFailedError) as caught:
            await again
        assert caught.value.maybe_charged is paid


async def test_result_that_cannot_be_had_is_paid_for() -> None:
    """The task of a submit is; a task known by its id may be anybody's."""
    async with beside_emulator() as (ez, server):
        server.control.script("image", *[faults.Answer(404)] * 20)
        handle = await ez.swap_face(SOURCE, TARGET)
        with pytest.raises(errors.DownloadError) as caught:
            await handle.read()
        assert caught.value.maybe_charged
        with pytest.raises(errors.DownloadError) as caught:
            await ez.task(handle.task_id).read()
        assert not caught.value.maybe_charged


async def test_task_that_is_not_finished_in_time_is_paid_for() -> None:
    async with beside_emulator() as (ez, server):
        server.control.script_tasks(scripts.stuck())
        handle = await ez.swap_face(SOURCE, TARGET)
        with pytest.raises(errors.TaskTimeoutError) as caught:
            await handle.result(timeout=0)
        assert caught.value.maybe_charged
