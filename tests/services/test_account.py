"""The account's own pages: what is read from them; their token stays secret."""

from __future__ import annotations

import datetime as dt
import json
import logging
import math
from collections.abc import Callable

import pytest

from ezlink_async import AsyncEzlink, errors
from ezlink_async._core.error_mapping import server_time
from ezlink_async._core.messages import Credential, HttpRequest, HttpResponse
from ezlink_async.emulator import DEFAULT_ACCOUNT_TOKEN as TOKEN
from ezlink_async.emulator import EmulatorSettings, faults
from ezlink_async.models import TaskStatus
from ezlink_async.services import account
from tests.support.client_harness import beside_emulator
from tests.support.pictures import jpeg
from tests.support.samples import samples
from tests.support.transports import chain

SOURCE, TARGET = jpeg(20_000), jpeg(30_000)
ROOMY = EmulatorSettings(queue=1000, concurrency=64, account_token=TOKEN)


def _answer(body: object, status: int = 200) -> HttpResponse:
    return HttpResponse(status, {}, json.dumps(body).encode())


def _data(data: object) -> HttpResponse:
    return _answer({"data": data, "message": "", "success": True})


def test_account_requests_carry_the_account_token_and_may_be_repeated() -> None:
    asked = [
        account.self_request(),
        account.tasks_request(1),
        account.log_request("attempt-0042"),
        account.log_request("a b&c"),
    ]
    assert [request.path for request in asked] == [
        "/api/user/self",
        "/api/mj/self?page=1&pagesize=100",
        samples()["account-log-charged"].path,
        "/api/log/self?x_request_id=a+b%26c",
    ]
    assert all(request.repeatable for request in asked)
    assert {request.credential for request in asked} == {Credential.ACCOUNT}


@pytest.mark.parametrize(
    ("path", "credential"),
    [
        ("/api/user/self", Credential.KEY),
        ("/api/user/self", Credential.NONE),
        ("/mj/task/1/fetch", Credential.ACCOUNT),
        ("/v1/api/", Credential.ACCOUNT),
    ],
)
def test_account_token_and_key_cannot_be_mixed_up(
    path: str, credential: Credential
) -> None:
    """The token opens the account's pages only, the key all others."""
    with pytest.raises(ValueError, match="is not asked with"):
        HttpRequest("GET", path, credential=credential)


def test_recorded_balance_is_read() -> None:
    found = account.read_balance(samples()["account-self"].response)
    assert found == account.AccountBalance(
        units=999_991_000, used=9_000, requests=1, group="Lv1"
    )
    assert found.dollars == pytest.approx(1999.982)


def test_recorded_charge_is_read() -> None:
    of = samples()
    charge = account.read_charge(of["account-log-charged"].response, "attempt-0042")
    assert charge == account.Charge(
        request_id="attempt-0042",
        units=9_000,
        model="swap_face",
        time=dt.datetime.fromtimestamp(1_795_415_788, dt.UTC),
    )
    nothing = of["account-log-nothing"].response
    assert account.read_charge(nothing, "attempt-0043") is None


def test_recorded_tasks_are_read() -> None:
    """The state is there only after the server's first refresh."""
    first = account.read_tasks(samples()["account-tasks-first"].response)
    (record,) = first.records
    assert (record.task_id, record.state) == ("1795415787617741", "")
    assert record.status is TaskStatus.EMPTY
    assert record.image_url is None
    assert record.buttons == ()
    assert record.properties is None
    assert first.time == pytest.approx(1_795_415_788)
    assert first.is_last(1)
    (record,) = account.read_tasks(samples()["account-tasks"].response).records
    assert (record.state, record.status) == ("mine-42", TaskStatus.IN_PROGRESS)
    assert record.submit_time == dt.datetime(2026, 11, 23, 6, 36, 28, 673_000, dt.UTC)
    assert record.properties is not None
    assert not account.read_tasks(samples()["account-tasks-page-0"].response).is_last(1)


@pytest.mark.parametrize("name", ["account-wrong-token", "account-no-token"])
def test_refused_token_is_an_authentication_error(name: str) -> None:
    for read in (account.read_balance, account.read_tasks):
        with pytest.raises(
            errors.AuthenticationError, match="Not authorized"
        ) as caught:
            read(samples()[name].response)
        assert caught.value.status == 401


ODD_ROWS: dict[str, tuple[dict[str, object], Callable[[HttpResponse], object]]] = {
    "no balance": ({"quota": "7"}, account.read_balance),
    "no use": ({"quota": 7}, account.read_balance),
    "beyond 64 bits": ({"quota": 10**400, "used_quota": 1}, account.read_balance),
    "no total": ({"list": []}, account.read_tasks),
    "no list": ({"list": 7, "total": 1}, account.read_tasks),
    "no rows": ({"list": [7], "total": 1}, account.read_tasks),
    "others' entries": (
        {"list": [{"x_request_id": "other", "quota": 9}], "total": 1},
        lambda response: account.read_charge(response, "mine"),
    ),
}


@pytest.mark.parametrize("name", ODD_ROWS)
def test_unreadable_page_is_a_protocol_error_without_an_excerpt(name: str) -> None:
    """The page may be the one that shows the token."""
    data, read = ODD_ROWS[name]
    with pytest.raises(errors.ProtocolError) as caught:
        read(_data({**data, "access_token": "sesame"}))
    assert caught.value.head == b""
    assert "sesame" not in f"{caught.value}{vars(caught.value)}"


@pytest.mark.parametrize(
    ("response", "error", "reason"),
    [
        (_answer({"success": False, "message": "x"}), errors.ServerError, "read: x"),
        (_answer({"success": True}), errors.ProtocolError, "no page of the account"),
        (_answer([]), errors.ProtocolError, "no page of the account"),
        (HttpResponse(200, {}, b"<html>"), errors.ProtocolError, "no page"),
        (HttpResponse(401, {}, b"<html>"), errors.ProtocolError, "HTTP 401"),
        (HttpResponse(404, {}, b""), errors.EndpointNotSupportedError, "404"),
        (HttpResponse(429, {}, b""), errors.BusyError, "429"),
        (HttpResponse(503, {}, b"<html>"), errors.ServerError, "503"),
    ],
)
def test_fault_is_an_error_whatever_its_status(
    response: HttpResponse, error: type[errors.EzlinkError], reason: str
) -> None:
    """The account's pages answer faults with 200."""
    with pytest.raises(error, match=reason):
        account.read_tasks(response)


@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        ("Sat, 01 Jan 2000 00:00:00 GMT", 946_684_800.0),
        ("Sat, 01 Jan 2000 01:00:00 +0100", 946_684_800.0),
        ("Sat, 01 Jan 2000 00:00:00", None),  # in which zone?
        ("Sat, 01 Jan 2000 99:00:00 GMT", None),
        ("now", None),
        ("", None),
    ],
)
def test_server_time_without_a_zone_is_none(date: str, seconds: float | None) -> None:
    """A guess would be wrong by hours."""
    assert server_time(HttpResponse(200, {"date": date})) == seconds


def test_text_of_a_row_that_would_be_parsed_for_long_is_left_out() -> None:
    """Brackets in it are no brackets of the answer, whose limit does not see them."""
    many = {"mj_id": "7", "buttons": "[" + "{}," * 600 + "{}]"}
    few = {"mj_id": "8", "buttons": '[{"customId":"a"}]'}
    page = account.read_tasks(_data({"list": [many, few], "total": 2}))
    assert [len(each.buttons) for each in page.records] == [0, 1]


def test_odd_values_of_a_page_are_no_errors() -> None:
    """A row without an id is left out."""
    rows = [
        {"mj_id": "", "state": "x"},
        {"mj_id": 7, "status": None, "buttons": 3, "properties": "{"},
        {"mj_id": "8", "status": "SUCCESS", "image_url": "https://a/8"},
    ]
    page = account.read_tasks(_data({"list": rows, "total": 300}))
    assert [each.task_id for each in page.records] == ["7", "8"]
    assert page.records[1].image_url == "https://a/8"
    assert (page.rows, page.time) == (3, None)
    assert not page.is_last(1)
    assert account.read_tasks(_data({"list": None, "total": 0})).is_last(1)
    entry = {"x_request_id": "r", "quota": 9}
    charge = account.read_charge(_data({"list": [entry, entry]}), "r")
    assert charge == account.Charge(request_id="r", units=18, model="", time=None)
    free = {**entry, "quota": 0}
    assert account.read_charge(_data({"list": [free]}), "r") is None


REFUSAL: dict[str, object] = {
    "x_request_id": "r",
    "type": 2,
    "quota": 0,
    "content": "可能包含敏感词",
}

PRICE = "模型固定价格 0.00，分组倍率 1.00，操作 SWAP_FACE"


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ([{}], "refused"),
        ([{"content": "do_request_failed "}], "may run"),
        ([{}, {"content": "unmarshal_response_body_failed"}], "may run"),
        ([{"content": "read_response_body_failed "}], "may run"),
        ([{"content": "close_response_body_failed "}], "may run"),
        ([{"content": "create_request_failed "}], "refused"),
        ([{"content": "marshal_request_body_failed "}], "refused"),
        ([{"content": "empty_response_body "}], "refused"),
        ([{"quota": 9}, {"content": "do_request_failed "}], "charged"),
        ([{}, {}], "refused"),
        ([], "nothing"),
        ([{"quota": 9}], "charged"),
        ([{}, {"quota": 9}], "charged"),
        ([{"quota": 9}, {"content": "insert_midjourney_task_failed "}], "charged"),
        ([{"content": "insert_midjourney_task_failed "}], "nothing"),
        ([{"content": " Insert midjourneyTask failed Error"}], "nothing"),
        ([{}, {"content": "x: Insert_Midjourney_Task_Failed"}], "nothing"),
        ([{"content": PRICE}], "nothing"),
        ([{"content": ""}], "nothing"),
        ([{"content": None}], "nothing"),
        ([{"type": 4}], "nothing"),
        ([{"type": None}], "nothing"),
        ([{"quota": None}], "nothing"),
        ([{"quota": "0"}], "nothing"),
        ([{"quota": False}], "nothing"),
        ([{}, {"quota": "9000"}], "nothing"),
    ],
)
def test_only_entries_that_are_all_refusals_show_a_refusal(
    changes: list[dict[str, object]], shown: str
) -> None:
    """An entry that is odd, or may stand beside a charge, shows nothing."""
    rows = [{**REFUSAL, **change} for change in changes]
    response = _data({"list": rows, "total": len(rows)})
    assert account.read_evidence(response, "r").value == shown


@pytest.mark.parametrize("total", [2, 11, None, "1"])
def test_refusal_among_entries_that_are_not_shown_shows_nothing(total: object) -> None:
    """One of the others may be a charge."""
    response = _data({"list": [REFUSAL], "total": total})
    assert account.read_evidence(response, "r") is account.LogEvidence.NOTHING


def test_recorded_log_shows_a_charge_or_nothing() -> None:
    of = samples()
    for name, request_id, shown in (
        ("account-log-charged", "attempt-0042", account.LogEvidence.CHARGED),
        ("account-log-nothing", "attempt-0043", account.LogEvidence.NOTHING),
    ):
        assert account.read_evidence(of[name].response, request_id) is shown


@pytest.mark.parametrize(
    "number",
    [0, -1, 1733213213123, 2**62, 2**64, 10**400, 1e308, math.inf, math.nan, "1", True],
)
def test_any_number_of_a_page_is_read_or_left_out(number: object) -> None:
    """A time in milliseconds is one beyond the calendar, and the charge counts."""
    entry = {"x_request_id": "r", "quota": 9, "created_at": number}
    charge = account.read_charge(_data({"list": [entry]}), "r")
    assert charge is not None
    assert charge.units == 9
    assert charge.time is None
    names = ("submit_time", "start_time", "finish_time", "progress", "code")
    row = {"mj_id": "7", "status": "SUCCESS", **dict.fromkeys(names, number)}
    page = account.read_tasks(_data({"list": [row], "total": 1}))
    assert [each.task_id for each in page.records] == ["7"]


async def test_client_returns_balance_charge_and_tasks_of_the_account() -> None:
    async with beside_emulator(ROOMY, account_token=TOKEN) as (ez, server):
        handle = await ez.swap_face(SOURCE, TARGET, state="mine")
        found = await ez.account.balance()
        assert (found.used, found.requests) == (9_000, 1)
        assert found.units == server.control.balance
        request_id = server.control.tasks[0].request_id
        charge = await ez.account.charged(request_id)
        assert charge is not None
        assert charge.units == 9_000
        assert await ez.account.charged("another") is None
        (record,) = await ez.account.find(state="mine")
        assert record.task_id == handle.task_id
        assert await ez.account.find(state="yours") == ()


async def test_find_returns_tasks_of_every_page_once() -> None:
    async with beside_emulator(ROOMY, account_token=TOKEN) as (ez, server):
        targets = [jpeg(1_000 + number) for number in range(120)]
        async for swap in ez.swap_faces(SOURCE, targets, state="mine"):
            assert swap.error is None
        found = await ez.account.find(state="mine")
        made = {task.task_id for task in server.control.tasks}
        assert len(found) == 120
        assert {record.task_id for record in found} == made


async def test_find_ends_at_an_empty_page() -> None:
    """The server promises more tasks than it lists."""
    async with beside_emulator(ROOMY, account_token=TOKEN) as (ez, server):
        promise = '{"data":{"list":[],"total":9},"message":"","success":true}'
        server.control.standing("account", faults.Answer(200, promise))
        assert await ez.account.find(state="mine") == ()


async def test_quota_of_a_key_needs_no_token_and_is_free() -> None:
    async with beside_emulator(ROOMY) as (ez, server):
        quota = await ez.account.key()
        assert (quota.limit, quota.used, quota.rest) == (2000, 0, 2000)
        assert quota.expires is None
        await (await ez.swap_face(SOURCE, TARGET))
        after = await ez.account.key()
        assert after.limit == 2000
        assert after.used == pytest.approx(0.018)
        assert after.rest == pytest.approx(1999.982)
        assert server.control.charged == 9_000


async def test_quota_of_a_key_says_nothing_about_its_account() -> None:
    settings = EmulatorSettings(balance=1_000, key_quota=1_000_000)
    async with beside_emulator(settings) as (ez, server):
        assert (await ez.account.key()).rest == 2
        with pytest.raises(errors.QuotaError):
            await ez.swap_face(SOURCE, TARGET)
        server.control.set_key(server.api_key, quota=0)
        with pytest.raises(errors.QuotaError, match="quota is used up"):
            await ez.account.key()


async def test_server_without_the_balance_pages_is_named() -> None:
    async with beside_emulator() as (ez, server):
        server.control.script("usage", faults.Answer(404))
        with pytest.raises(errors.EndpointNotSupportedError, match="/billing/"):
            await ez.account.key()


async def test_without_a_token_methods_say_what_to_set_and_send_nothing() -> None:
    async with beside_emulator() as (ez, server):
        of = ez.account
        for call in (of.balance(), of.charged("r"), of.find(state="s")):
            with pytest.raises(errors.ConfigurationError, match="EZLINK_ACCOUNT_TOKEN"):
                await call
        assert server.control.requests == []


async def test_method_of_a_client_that_is_not_entered_is_an_error() -> None:
    ez = AsyncEzlink("sk-x", account_token="t")
    with pytest.raises(errors.ConfigurationError, match="not entered"):
        await ez.account.balance()


WRONG = "theTokenOfAnotherAccount"


async def test_refused_token_is_sent_once() -> None:
    """The key still works."""
    async with beside_emulator(account_token=WRONG) as (ez, server):
        with pytest.raises(errors.AuthenticationError, match="account token is refus"):
            await ez.account.balance()
        assert len(server.control.requests) == 1
        await ez.swap_face(SOURCE, TARGET)


async def test_fault_of_the_network_is_retried() -> None:
    async with beside_emulator(ROOMY, account_token=TOKEN) as (ez, server):
        server.control.script("account", faults.proxy(503), faults.Drop())
        assert (await ez.account.balance()).used == 0
        assert len(server.control.requests) == 3


@pytest.mark.parametrize(
    "fault",
    [
        faults.Answer(200, f'{{"data":{{"access_token":"{WRONG}"}},"success":true}}'),
        faults.Answer(200, f'{{"access_token":"{WRONG}'),
        faults.Answer(401, f"<p>{WRONG}"),
        faults.Answer(403, f'{{"message":"{WRONG}","success":false}}'),
        faults.Answer(502, f"Bearer {WRONG}"),
        faults.Answer(302, "", headers=(("Location", "http://127.0.0.1:9/"),)),
        faults.Garbage(f"Bearer {WRONG}"),
        faults.Cut(keep=20),
    ],
)
async def test_account_token_is_in_no_error_and_no_log(
    fault: faults.Fault, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with beside_emulator(account_token=WRONG) as (ez, server):
        server.control.standing("account", fault)
        with pytest.raises(errors.EzlinkError) as caught:
            await ez.account.balance()
        for link in chain(caught.value):
            assert WRONG not in f"{link}{link!r}{link.args!r}{vars(link)}"
        assert WRONG not in f"{ez!r}{ez.account!r}{caplog.text}"
        assert all(each.path == "/api/user/self" for each in server.control.requests)
