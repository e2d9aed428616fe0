"""The official package as the client sets it up: whom it asks, and with which key."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import openai
import pytest
from openai.types.chat import ChatCompletionUserMessageParam

from ezlink_async import AsyncEzlink, Timeouts, errors
from tests.support.raw_servers import (
    Connection,
    Handler,
    Server,
    answer,
    closes_after,
    keeps_open,
    serving,
)

KEY = "sk-thekeythatmustnotleak"
BEARER = f"Bearer {KEY}"

MESSAGES: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "x"}]

_CHAT = (
    b'{"id":"c","object":"chat.completion","created":1,"model":"gpt-4o","choices":'
    b'[{"index":0,"message":{"role":"assistant","content":"x"},"finish_reason":"stop"}]}'
)
_OK = answer(200, _CHAT, Content_Type="application/json")


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set every variable of the package against the client."""
    for name in ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID", "WEBHOOK_SECRET"):
        monkeypatch.setenv(f"OPENAI_{name}", f"foreign-{name.lower()}")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    headers = "authorization: Bearer foreign\nOpenAI-Organization: foreign"
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", headers)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


async def _silent(connection: Connection) -> None:
    """Read a request, and answer nothing."""
    await connection.read_request()
    await connection.read_until_closed()


@asynccontextmanager
async def _beside(handler: Handler) -> AsyncIterator[tuple[AsyncEzlink, Server]]:
    async with (
        serving(handler) as server,
        AsyncEzlink(api_key=KEY, base_url=f"{server.url}/api") as ez,
    ):
        yield ez, server


async def _ask(ai: openai.AsyncOpenAI) -> None:
    await ai.chat.completions.create(model="gpt-4o", messages=MESSAGES)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


async def _refused(ai: openai.AsyncOpenAI) -> errors.ConfigurationError:
    """Return the refusal of the client; older versions of the package wrap it."""
    with pytest.raises((errors.ConfigurationError, openai.APIConnectionError)) as got:
        await _ask(ai)
    found = [e for e in _causes(got.value) if isinstance(e, errors.ConfigurationError)]
    return found[0]


async def test_client_repeats_nothing_and_waits_longer_than_the_server() -> None:
    timeouts = Timeouts(connect=7)
    async with AsyncEzlink(api_key=KEY, timeouts=timeouts) as ez:
        ai = ez.openai()
        assert ez.openai() is ai
        assert ai.max_retries == 0
        assert isinstance(ai.timeout, openai.Timeout)
        assert (ai.timeout.read, ai.timeout.connect) == (360, 7)
        assert (ai.organization, ai.project) == (None, None)
        assert ai.default_headers["Authorization"] == BEARER
        assert str(ai.base_url) == "https://api.ezlinkai.com/v1/"


async def test_key_that_arrives_is_ours_whatever_the_environment_says() -> None:
    async with _beside(keeps_open(_OK)) as (ez, server):
        ai = ez.openai()
        await _ask(ai)
        await _ask(ai.with_options(timeout=300))
        await _ask(ai.with_options(api_key="sk-other"))
        header = {"Authorization": "Bearer another"}
        await ai.with_options(default_headers=header).models.list()
    assert len(server.requests) == 4
    for request in server.requests:
        assert request.path.startswith("/api/v1/")
        assert request.headers["authorization"] == BEARER
        assert "openai-organization" not in request.headers
        assert "openai-project" not in request.headers


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirect_is_not_followed(status: int) -> None:
    """The next host would get the prompt and, below the same name, the key."""
    async with serving(keeps_open(_OK)) as other:
        moved = answer(status, Location=f"{other.url}/v1/chat/completions")
        async with _beside(closes_after(moved)) as (ez, server):
            with pytest.raises(openai.APIStatusError) as got:
                await _ask(ez.openai())
            assert got.value.status_code == status
            assert len(server.requests) == 1
    assert other.requests == []


async def test_foreign_server_is_not_asked() -> None:
    async with (
        serving(keeps_open(_OK)) as other,
        _beside(keeps_open(_OK)) as (ez, server),
    ):
        ai = ez.openai()
        error = await _refused(ai.with_options(base_url=f"{other.url}/v1"))
        assert "of your own for another server" in str(error)
        assert KEY not in str(error)
        ai.base_url = f"{other.url}/v1"
        await _refused(ai)
        ai.base_url = "ftp://127.0.0.1/v1"
        await _refused(ai)
        assert (other.requests, server.requests) == ([], [])


async def test_key_is_in_no_representation_and_no_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    bad = answer(401, b'{"error":{"message":"no"}}', Content_Type="application/json")
    async with _beside(closes_after(_OK, bad)) as (ez, _server):
        ai = ez.openai()
        await _ask(ai)
        with pytest.raises(openai.AuthenticationError) as got:
            await _ask(ai)
        shown = [repr(ai), repr(vars(ai)), str(got.value), repr(vars(got.value))]
    texts = "\n".join([*shown, caplog.text])
    assert "thekey" not in texts


async def test_read_timeout_makes_one_attempt() -> None:
    async with _beside(_silent) as (ez, server):
        impatient = openai.Timeout(60, read=0.05)
        with pytest.raises(openai.APITimeoutError):
            await _ask(ez.openai().with_options(timeout=impatient))
        while not server.requests:
            await asyncio.sleep(0)
        assert len(server.requests) == 1


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
async def test_answer_that_the_package_would_repeat_makes_one_attempt(
    status: int,
) -> None:
    async with _beside(closes_after(answer(status))) as (ez, server):
        with pytest.raises(openai.APIStatusError):
            await _ask(ez.openai())
        assert len(server.requests) == 1


async def test_client_is_closed_with_ours() -> None:
    async with AsyncEzlink(api_key=KEY) as ez:
        ai = ez.openai()
        assert not ai.is_closed()
    assert ai.is_closed()
    with pytest.raises(errors.ClientClosedError):
        ez.openai()


async def test_call_in_progress_ends_when_the_client_is_closed() -> None:
    async with _beside(_silent) as (ez, server):
        call = asyncio.create_task(_ask(ez.openai()))
        while not server.requests:
            await asyncio.sleep(0)
        await ez.aclose()
        with pytest.raises((openai.APIConnectionError, RuntimeError)):
            await call


async def test_transport_is_closed_even_if_the_package_fails_to_close(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fail() -> None:
        raise OSError("the package's own")

    ez = AsyncEzlink(api_key=KEY)
    await ez.__aenter__()
    ai, session = ez.openai(), ez._session
    with monkeypatch.context() as patch:
        patch.setattr(ai, "close", fail)
        with pytest.raises(OSError, match="the package's own"):
            await ez.aclose()
    assert session is not None
    assert session.transport._pools._plain.closed
    await ai.close()


def test_client_that_is_not_entered_names_the_remedy() -> None:
    with pytest.raises(errors.ConfigurationError, match="not entered"):
        AsyncEzlink(api_key=KEY).openai()


_WITHOUT = """
import asyncio, sys
sys.modules["openai"] = None
from ezlink_async import AsyncEzlink, errors, llm

async def main():
    async with AsyncEzlink("sk-none") as ez:
        try:
            ez.openai()
        except errors.ConfigurationError as error:
            print(error)
    print(llm.checked("text"), "httpx" in str(sorted(sys.modules)))

asyncio.run(main())
"""


def test_install_without_the_package_works_and_names_the_extra() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT], capture_output=True, text=True, check=True
    )
    first, second = done.stdout.splitlines()
    assert first.endswith("pip install 'ezlink_async[openai]'")
    assert second == "text False"
