"""The key and the account's token in tracebacks that print local variables."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path

import aiohttp
import attrs
import pytest

from ezlink_async import AsyncEzlink, RetryPolicy, errors
from ezlink_async._core.settings import (
    Options,
    SettingsSources,
    profile_sources,
    resolve,
)
from tests.support.pictures import jpeg
from tests.support.raw_servers import (
    Connection,
    Handler,
    Server,
    answer,
    closes_after,
    free_port,
    keeps_open,
    never_answers,
    resets,
    serving,
)
from tests.support.transports import SHORT, chain

KEY = "sk-thekeythatmustnotleak"

TOKEN = "thetokenoftheaccountthatmustnotleak"

SECRETS = ("thekeythat", "thetokenof")

_HERE = Path(__file__).parents[1]

_SHORT = attrs.evolve(SHORT, reconcile=0.05, close=0.05)

_RETRY = RetryPolicy(first=0.001, longest=0.001, attempts=1, timeout=1)


def shown(error: BaseException) -> list[str]:
    """Return what a traceback with locals shows of *error* and all behind it."""
    texts = [repr(error), str(error)]
    for link in chain(error):
        texts += [repr(link), str(link), repr(vars(link))]
        for frame in traceback.TracebackException.from_exception(
            link, capture_locals=True
        ).stack:
            if _HERE not in Path(frame.filename).parents:
                texts += [f"{frame.name}: {local}" for local in _locals(frame)]
    return texts


def _locals(frame: traceback.FrameSummary) -> list[str]:
    return [f"{name} = {text}" for name, text in (frame.locals or {}).items()]


def secrets_shown(texts: list[str]) -> list[str]:
    """Return those of *texts* that show a part of the key or of the token."""
    return [text for text in texts if any(secret in text for secret in SECRETS)]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Set the key and the token in the environment, and no profile."""
    monkeypatch.setenv("EZLINK_API_KEY", KEY)
    monkeypatch.setenv("EZLINK_ACCOUNT_TOKEN", TOKEN)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("EZLINK_CONFIG", raising=False)


async def _error_of(work: Coroutine[object, object, object]) -> BaseException:
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - any error at all
        await work
    return caught.value


WRONG_OPTIONS: list[Options] = [
    {"base_url": "ftp://h"},
    {"base_url": "http://example.com"},
    {"base_url": f"https://user:{KEY}@h"},
    {"base_url": KEY},
    {"api_key": f"Bearer {KEY}"},
    {"api_key": f"{KEY} {KEY}"},
    {"api_key": KEY, "account_token": f"Bearer {TOKEN}"},
    {"api_key": KEY, "account_token": f"{TOKEN} {TOKEN}"},
    {"api_key": KEY, "max_concurrency": 0},
    {"api_key": KEY, "slot_timeout": -1},
    {"api_key": KEY.encode()},  # type: ignore[typeddict-item]  # the mistake itself
    {"api_key": KEY, "account_token": [TOKEN]},  # type: ignore[typeddict-item]
    {"api_key": KEY, "poll": 5},  # type: ignore[typeddict-item]
]


@pytest.mark.parametrize("number", range(len(WRONG_OPTIONS)))
async def test_wrong_option_shows_no_secret(number: int) -> None:
    client = AsyncEzlink.from_profile(**WRONG_OPTIONS[number])
    assert not secrets_shown([repr(client), repr(vars(client))])
    error = await _error_of(client.__aenter__())
    assert isinstance(error, errors.ConfigurationError)
    assert not secrets_shown(shown(error))


def test_option_with_a_wrong_name_shows_no_secret() -> None:
    with pytest.raises(TypeError, match="apikey") as caught:
        AsyncEzlink.from_profile(apikey=KEY)  # type: ignore[call-arg]
    assert not secrets_shown(shown(caught.value))


WRONG_VARIABLES = [
    ("EZLINK_API_KEY", f"Bearer {KEY}"),
    ("EZLINK_API_KEY", f"{KEY}\x07"),
    ("EZLINK_ACCOUNT_TOKEN", f"{TOKEN} {TOKEN}"),
    ("EZLINK_BASE_URL", f"https://{KEY}@h"),
    ("EZLINK_BASE_URL", KEY),
    ("EZLINK_MAX_UPLOADS", "many"),
    ("EZLINK_POLL_FIRST", "-1"),
    ("EZLINK_RETRY_RESUBMIT_UNKNOWN", "perhaps"),
    ("EZLINK_CONFIG", "/nowhere/config.toml"),
]


@pytest.mark.parametrize(("name", "text"), WRONG_VARIABLES)
async def test_wrong_variable_shows_no_secret(
    name: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole environment is no local variable either."""
    monkeypatch.setenv(name, text)
    error = await _error_of(AsyncEzlink.from_profile().__aenter__())
    assert isinstance(error, errors.ConfigurationError)
    assert not secrets_shown(shown(error))


WRONG_PROFILES = [
    f'api_key = "{KEY}"\nmax_uploads = "many"',
    f'api_key = "{KEY}"\nnothing = 1',
    f'apikey = "{KEY}"',
    f'api_key = ["{KEY}"]',
    f'api_key = "{KEY}"\nbase_url = "ftp://h"',
    f'api_key = "{KEY}"\npoll = "{KEY}"',
    f'api_key = "{KEY}"\naccount_token = "Bearer {TOKEN}"',
    f'api_key = "{KEY}',
    f'api_key = "Bearer {KEY}"',
]


@pytest.mark.parametrize("content", WRONG_PROFILES)
async def test_wrong_profile_shows_no_secret(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EZLINK_API_KEY")
    monkeypatch.delenv("EZLINK_ACCOUNT_TOKEN")
    path = tmp_path / "config.toml"
    path.write_text(content, encoding="utf-8")
    error = await _error_of(AsyncEzlink.from_profile(path).__aenter__())
    assert isinstance(error, errors.ConfigurationError)
    assert not secrets_shown(shown(error))


def test_sources_and_settings_show_no_secret() -> None:
    sources = profile_sources({"EZLINK_API_KEY": KEY, "OTHER": KEY}, None)
    settings = resolve(Options(account_token=TOKEN), sources)
    assert (settings.api_key, settings.account_token) == (KEY, TOKEN)
    direct = SettingsSources({"EZLINK_API_KEY": KEY}, {"api_key": KEY})
    texts = [repr(each) for each in (sources, direct, settings, settings.api_key)]
    assert not secrets_shown([*texts, repr(sources.environ), repr(direct.profile)])


async def test_unusable_session_of_the_caller_shows_no_secret() -> None:
    """``http=`` closed before entering, and closed after it."""
    async with aiohttp.ClientSession() as session:
        client = AsyncEzlink(base_url="http://localhost:9", http=session)
        async with client:
            await session.close()
            error = await _error_of(client.fetch_task("7"))
            assert not secrets_shown(shown(error))
        other = AsyncEzlink(http=session)
        assert not secrets_shown(shown(await _error_of(other.__aenter__())))


async def test_unusable_proxy_shows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"socks5://user:{KEY}@h:1")
    error = await _error_of(AsyncEzlink(base_url="https://example.com").__aenter__())
    assert isinstance(error, errors.ConfigurationError)
    assert not secrets_shown(shown(error))


def _json(text: str, status: int = 200) -> bytes:
    return answer(status, text.encode(), Content_Type="application/json")


Call = Callable[[AsyncEzlink], Awaitable[object]]

_ECHO = f'{{"error": {{"message": "no {KEY}", "type": "api_error"}}}}'

SERVERS: dict[str, Handler] = {
    "refused key": keeps_open(_json(_ECHO, 401)),
    "server error": keeps_open(_json(_ECHO, 500)),
    "no JSON": keeps_open(answer(200, f"<p>{KEY}".encode())),
    "cut off": closes_after(_json(_ECHO)[:-5]),
    "no HTTP": closes_after(f"{KEY}\r\n\r\n".encode()),
    "redirect": keeps_open(answer(302, b"", Location=f"http://h/{KEY}")),
    "reset": resets,
    "account without balance": keeps_open(
        _json(f'{{"success": true, "data": {{"list": 5, "access_token": "{TOKEN}"}}}}')
    ),
    "account refused": keeps_open(
        _json(f'{{"success": false, "message": "no {TOKEN}"}}')
    ),
}

CALLS: dict[str, Call] = {
    "fetch": lambda ez: ez.fetch_task("7"),
    "list": lambda ez: ez.fetch_tasks(["7", "8"]),
    "submit": lambda ez: ez.swap_face(jpeg(2000), jpeg(3000)),
    "balance": lambda ez: ez.account.balance(),
    "charged": lambda ez: ez.account.charged("r"),
    "found": lambda ez: ez.account.find(state="s"),
    "download": lambda ez: ez.fetch_image("http://10.0.0.1/x.jpg"),
}


def _client(server_url: str) -> AsyncEzlink:
    return AsyncEzlink(base_url=server_url, timeouts=_SHORT, retry=_RETRY)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        (name, call)
        for name in SERVERS
        for call in CALLS
        if not (call == "submit" and name.startswith("account"))
    ],
)
async def test_failed_request_shows_no_secret(
    name: str, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that echoes key and token puts them into no local variable."""
    if call == "submit":  # a lost one would be looked up for seconds
        monkeypatch.delenv("EZLINK_ACCOUNT_TOKEN")
    async with serving(SERVERS[name]) as server, _client(server.url) as ez:
        error = await _error_of(_as_coroutine(CALLS[call](ez)))
        assert isinstance(error, errors.EzlinkError)
        assert not secrets_shown(shown(error))


async def _as_coroutine(work: Awaitable[object]) -> object:
    return await work


@pytest.mark.parametrize("call", ["fetch", "submit", "balance"])
async def test_unreachable_server_shows_no_secret(call: str) -> None:
    async with _client(f"http://localhost:{free_port()}") as ez:
        error = await _error_of(_as_coroutine(CALLS[call](ez)))
        assert isinstance(error, errors.TransportError)
        assert not secrets_shown(shown(error))


async def test_download_that_fails_shows_no_secret() -> None:
    handler = keeps_open(answer(404, KEY.encode()))
    async with serving(handler) as server, _client(server.url) as ez:
        error = await _error_of(ez.fetch_image(f"{server.url}/x.jpg"))
        assert isinstance(error, errors.DownloadError)
        assert not secrets_shown(shown(error))


async def _asked(server: Server) -> None:
    while not server.requests:
        await asyncio.sleep(0)


async def _reads_and_waits(conn: Connection) -> None:
    await conn.read_request()
    await never_answers(conn)


@pytest.mark.parametrize("call", ["fetch", "submit", "balance"])
async def test_cancelled_request_shows_no_secret(call: str) -> None:
    async with serving(_reads_and_waits) as server, _client(server.url) as ez:
        work = asyncio.create_task(_as_coroutine(CALLS[call](ez)))
        await _asked(server)
        work.cancel()
        error = await _error_of(_as_coroutine(work))
        assert isinstance(error, asyncio.CancelledError)
        assert not secrets_shown(shown(error))


@pytest.mark.parametrize("call", ["fetch", "submit", "balance"])
async def test_closing_under_a_request_shows_no_secret(call: str) -> None:
    async with serving(_reads_and_waits) as server:
        ez = AsyncEzlink(base_url=server.url, timeouts=_SHORT, retry=_RETRY)
        async with ez:
            work = asyncio.create_task(_as_coroutine(CALLS[call](ez)))
            await _asked(server)
            await ez.aclose()
            error = await _error_of(_as_coroutine(work))
            assert isinstance(error, errors.EzlinkError)
            assert not secrets_shown(shown(error))
