"""Receiving callbacks: tokens, bodies, and the answers of both web servers."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, MutableMapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezlink_async import errors
from ezlink_async.errors import ConfigurationError, WebhookError
from ezlink_async.models import TaskRecord, TaskStatus
from ezlink_async.webhook import MOST_BYTES, WebhookReceiver, parse_hook
from tests.support.callbacks import SECRET, SERVERS, body, token_of
from tests.support.wire import RawConnection, RawResponse

URL = "https://app.example/hooks/ezlink"


@pytest.fixture
def receiver() -> WebhookReceiver:
    """Return a receiver of callbacks at an address of its own."""
    return WebhookReceiver(URL, secret=SECRET)


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> str:
    """Name each web server that may stand in front of a receiver."""
    return str(request.param)


# Addresses


def test_address_of_a_task_is_the_same_after_a_restart(
    receiver: WebhookReceiver,
) -> None:
    again = WebhookReceiver(URL + "/", secret=SECRET.encode())
    assert receiver.hook_url("a state") == again.hook_url("a state")


def test_addresses_differ_by_state_and_by_secret(receiver: WebhookReceiver) -> None:
    other = WebhookReceiver(URL, secret="another secret of 24 bytes")
    urls = [one.hook_url(state) for one in (receiver, other) for state in ("a", "b")]
    tokens = [url.removeprefix(URL + "/") for url in urls]
    halves = {half for token in tokens for half in (token[:32], token[32:])}
    assert len(halves) == 8
    assert all(len(token) == 64 and token.isascii() for token in tokens)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://app.example/",
        "app.example",
        "https://",
        "https://[odd",
        "https://app.example/?a=b",
        "https://app.example/#a",
        "https://app.example/a b",
        "https://app.example/{token}",
        "https://ä.example/",
        "https://app.example/" + "a" * 2000,
    ],
)
def test_address_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="address"):
        WebhookReceiver(url, secret=SECRET)


def test_short_secret_is_refused_and_no_secret_is_shown() -> None:
    with pytest.raises(ConfigurationError, match="at least 16 bytes"):
        WebhookReceiver(URL, secret="short")
    assert SECRET not in repr(WebhookReceiver(URL, secret=SECRET))


# Bodies


def test_upstream_object_is_read_as_a_record() -> None:
    record = parse_hook(body(status="IN_PROGRESS", progress="37%"))
    assert (record.task_id, record.status) == ("7", TaskStatus.IN_PROGRESS)
    assert (record.progress, record.state) == (37.0, "state of 7")
    assert record.submit_time is not None
    assert record.submit_time.year == 2024
    assert (record.start_time, record.finish_time, record.image_url) == (None,) * 3


BAD_BODIES = {
    "empty": (b"", errors.WebhookSyntaxError),
    "cut off": (body()[:-2], errors.WebhookSyntaxError),
    "text": (b"hello", errors.WebhookSyntaxError),
    "deep": (b"[" * 3000, errors.WebhookSyntaxError),
    "many values": (b"[" + b"1," * 70_000 + b"1]", errors.WebhookSyntaxError),
    "list": (b"[]", errors.WebhookTaskError),
    "number": (b"7", errors.WebhookTaskError),
    "no id": (b'{"status":"SUCCESS"}', errors.WebhookTaskError),
    "no status": (b'{"id":"7"}', errors.WebhookTaskError),
    "odd status": (b'{"id":"7","status":[]}', errors.WebhookTaskError),
    "too large": (b" " * MOST_BYTES + body(), errors.WebhookSizeError),
}


@pytest.mark.parametrize("name", BAD_BODIES)
async def test_bad_body_is_a_typed_failure(
    receiver: WebhookReceiver, name: str
) -> None:
    bad, kind = BAD_BODIES[name]
    with pytest.raises(kind):
        parse_hook(bad)
    with pytest.raises(kind) as failure:
        await receiver.deliver(token_of(receiver), bad)
    assert failure.value.answer == 404


@given(
    st.binary()
    | st.recursive(st.none() | st.text(), st.lists).map(
        lambda value: json.dumps(value).encode()
    )
    | st.dictionaries(
        st.sampled_from(["id", "status", "state", "progress", "buttons", "submitTime"]),
        st.none() | st.text() | st.integers() | st.floats() | st.lists(st.text()),
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_body_is_a_record_or_a_typed_failure(content: bytes) -> None:
    with contextlib.suppress(WebhookError):
        assert parse_hook(content).task_id


# Delivery


async def test_delivered_callback_is_passed_on_to_each_client(
    receiver: WebhookReceiver,
) -> None:
    heard: list[TaskRecord] = []
    receiver.attach(heard.append)
    receiver.attach(heard.append)
    record = await receiver.deliver(token_of(receiver), body())
    assert heard == [record, record]
    receiver.detach(heard.append)
    await receiver.deliver(token_of(receiver, "8"), body("8"))
    assert len(heard) == 3


@pytest.mark.parametrize(
    "wrong",
    ["", "a", "A" * 64, "A" * 10_000, "ünïcode", "\ud800", "%00", "\0" * 64, "🦊" * 64],
)
async def test_unknown_token_is_refused(receiver: WebhookReceiver, wrong: str) -> None:
    heard: list[TaskRecord] = []
    receiver.attach(heard.append)
    for token in (wrong, token_of(receiver) + wrong[1:] + "x"):
        with pytest.raises(errors.WebhookTokenError):
            await receiver.deliver(token, body())
    assert heard == []


async def test_token_of_another_task_is_refused(receiver: WebhookReceiver) -> None:
    mine, other = token_of(receiver), token_of(receiver, "8")
    for token in (other, mine[:32] + other[32:], other[:32] + mine[32:]):
        with pytest.raises(errors.WebhookTokenError):
            await receiver.deliver(token, body())


async def test_large_body_is_read_in_a_thread(receiver: WebhookReceiver) -> None:
    padded = body(extra=["word"] * 50_000)
    record = await receiver.deliver(token_of(receiver), padded)
    assert record == parse_hook(padded)


async def test_doubled_callback_is_reported_and_passed_on(
    receiver: WebhookReceiver,
) -> None:
    """A forged one may have come before, so what it says counts once more."""
    heard: list[TaskRecord] = []
    receiver.attach(heard.append)
    await receiver.deliver(token_of(receiver), body())
    with pytest.raises(errors.WebhookDuplicateError) as failure:
        await receiver.deliver(token_of(receiver), body())
    assert (failure.value.answer, failure.value.task_id) == (204, "7")
    assert len(heard) == 2
    await receiver.deliver(token_of(receiver), body(status="FAILURE"))


async def test_receiver_keeps_a_bounded_number_of_callbacks(
    receiver: WebhookReceiver,
) -> None:
    token = receiver.hook_url("shared").rpartition("/")[2]
    for number in range(5000):
        await receiver.deliver(token, body(str(number), state="shared"))
    assert len(receiver._heard) == 4096
    await receiver.deliver(token, body("0", state="shared"))


async def test_state_with_half_a_character_is_found_again(
    receiver: WebhookReceiver,
) -> None:
    token = receiver.hook_url("half \ud83e").rpartition("/")[2]
    assert (await receiver.deliver(token, body(state="half \ud83e"))).task_id == "7"


# Web servers


async def _post(
    url: str,
    token: str,
    content: bytes,
    *headers: tuple[str, str],
    method: str = "POST",
) -> RawResponse:
    async with RawConnection(url) as raw:
        path = f"/hooks/ezlink/{token}"
        return await raw.request(method, path, headers, content)


async def test_callback_is_answered_204_each_time(
    server: str, receiver: WebhookReceiver
) -> None:
    heard: list[TaskRecord] = []
    receiver.attach(heard.append)
    async with SERVERS[server](receiver) as url:
        for _ in range(2):
            answer = await _post(url, token_of(receiver), body())
            assert (answer.status, answer.body) == (204, b"")
    assert [each.task_id for each in heard] == ["7", "7"]


@pytest.mark.parametrize("name", BAD_BODIES)
async def test_bad_body_is_answered_404_without_a_word(
    server: str, receiver: WebhookReceiver, name: str
) -> None:
    async with SERVERS[server](receiver) as url:
        answer = await _post(url, token_of(receiver), BAD_BODIES[name][0])
    assert (answer.status, answer.body) == (404, b"")


@pytest.mark.parametrize(
    "token", ["a", "A" * 64, "%C3%BC", "%FF%FE", "%00", "A" * 4000]
)
async def test_wrong_token_is_answered_404_without_a_word(
    server: str, receiver: WebhookReceiver, token: str
) -> None:
    async with SERVERS[server](receiver) as url:
        answer = await _post(url, token, body())
    assert (answer.status, answer.body) == (404, b"")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_other_method_is_answered_404(
    server: str, receiver: WebhookReceiver, method: str
) -> None:
    async with SERVERS[server](receiver) as url:
        answer = await _post(url, token_of(receiver), body(), method=method)
    assert (answer.status, answer.body) == (404, b"")


async def test_compressed_body_is_not_read(
    server: str, receiver: WebhookReceiver
) -> None:
    async with SERVERS[server](receiver) as url:
        encoding = ("Content-Encoding", "br-or-gzip")
        answer = await _post(url, token_of(receiver), body(), encoding)
    assert answer.status == 404


async def test_wrong_token_is_answered_before_the_body(
    server: str, receiver: WebhookReceiver
) -> None:
    """No byte of the announced gigabyte comes."""
    async with SERVERS[server](receiver) as url, RawConnection(url) as raw:
        await raw.send_head("POST", f"/hooks/ezlink/{'A' * 64}", length=10**9)
        assert (await raw.response()).status == 404


async def test_slow_body_is_answered_404_and_ends(server: str) -> None:
    receiver = WebhookReceiver(URL, secret=SECRET, body_timeout=0.05)
    async with SERVERS[server](receiver) as url, RawConnection(url) as raw:
        path = f"/hooks/ezlink/{token_of(receiver)}"
        await raw.send_head("POST", path, length=len(body()))
        raw.writer.write(body()[:10])
        assert (await raw.response()).status == 404


async def test_client_that_goes_away_disturbs_nothing(
    server: str, receiver: WebhookReceiver
) -> None:
    async with SERVERS[server](receiver) as url:
        for _ in range(5):
            async with RawConnection(url) as raw:
                path = f"/hooks/ezlink/{token_of(receiver)}"
                await raw.send_head("POST", path, length=len(body()))
                raw.writer.write(body()[:10])
                await raw.writer.drain()
        assert (await _post(url, token_of(receiver), body())).status == 204


async def _talk(
    receiver: WebhookReceiver, kind: str, *messages: Mapping[str, object]
) -> list[object]:
    """Return the types of what the application sends in answer to *messages*."""
    left, sent = list(messages), list[object]()

    async def receive() -> Mapping[str, object]:
        return left.pop(0)

    async def send(message: MutableMapping[str, object]) -> None:
        sent.append(message["type"])

    await receiver.asgi({"type": kind, "path": "/", "headers": []}, receive, send)
    return sent


async def test_server_is_answered_at_its_start_and_its_end(
    receiver: WebhookReceiver,
) -> None:
    words = ["lifespan.startup", "lifespan.shutdown"]
    sent = await _talk(receiver, "lifespan", *({"type": word} for word in words))
    assert sent == [f"{word}.complete" for word in words]


async def test_websocket_is_refused(receiver: WebhookReceiver) -> None:
    assert await _talk(receiver, "websocket") == ["websocket.close"]
