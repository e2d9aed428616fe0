"""Connection pools, proxies, and the route of each request."""

from __future__ import annotations

import asyncio
import socket
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from ezlink_async._io.addresses import AddressRefusedError
from ezlink_async._io.pools import ConnectionPools, proxy_for, public_socket
from ezlink_async.errors import ClientClosedError, ConfigurationError
from tests.support.transports import secrets_in, settings


@asynccontextmanager
async def opened(
    base_url: str, session: aiohttp.ClientSession | None = None
) -> AsyncIterator[ConnectionPools]:
    """Open the pools of a client, and close them."""
    pools = ConnectionPools(settings(base_url), session)
    await pools.open()
    yield pools
    await pools.close()


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.\N{CIRCLED NUMBER TWENTY ONE}",
        "\N{CIRCLED DIGIT ONE}\N{CIRCLED DIGIT SIX}\N{CIRCLED DIGIT NINE}.254.169.254",
        "\N{FULLWIDTH DIGIT ONE}\N{FULLWIDTH DIGIT TWO}\N{FULLWIDTH DIGIT SEVEN}.0.0.1",
        "127\N{FULLWIDTH FULL STOP}0\N{IDEOGRAPHIC FULL STOP}0.1",
        "127.0.0.1\N{HALFWIDTH IDEOGRAPHIC FULL STOP}",
        "127.0.0.\N{SUPERSCRIPT ONE}",
        "\N{ARABIC-INDIC DIGIT ONE}.0.0.1",
        "127.0.0.1.",
        "127.0.0.1\\@example.com",
        "example.com\\@127.0.0.1",
        "127.0.0.\t1",
        "[::ffff:127.0.0.1]",
        "[fe80::1%25lo]",
        "[::1]@example.com",
        "loca\N{ZERO WIDTH SPACE}lhost",
        "\N{CIRCLED LATIN SMALL LETTER L}ocalhost",
        "%6cocalhost",
        "127.0.0.%31",
    ],
)
async def test_no_spelling_of_a_private_host_is_routed(host: str) -> None:
    async with opened("https://api.example.com") as pools:
        for strict in (True, False):
            with pytest.raises(AddressRefusedError):
                pools.route_to(f"http://{host}:80/x.png", strict=strict)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
async def test_name_that_resolves_to_a_private_address_is_not_connected_to(
    host: str,
) -> None:
    async with opened("https://api.example.com") as pools:
        route = pools.route_to("http://cdn.example.com", strict=True)
        async with asyncio.timeout(300):
            with pytest.raises(aiohttp.ClientConnectorError, match="no public address"):
                await route.session().get(f"http://{host}:80/")


def test_public_address_gets_a_socket() -> None:
    tcp = (socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
    found: aiohttp.AddrInfoType = (socket.AF_INET, *tcp, ("8.8.8.8", 80))
    with public_socket(found) as made:
        assert made.family is socket.AF_INET


@pytest.mark.parametrize(
    "url", ["https://a\\b", "https://loca\N{ZERO WIDTH SPACE}l.com"]
)
async def test_unreadable_base_url_is_a_configuration_error_on_entering(
    url: str,
) -> None:
    with pytest.raises(ConfigurationError, match="is no address"):
        await ConnectionPools(settings(url), None).open()


# Proxies


def test_connections_are_direct_without_a_proxy_in_the_environment() -> None:
    assert proxy_for("https://api.example.com") is None


def test_proxy_is_chosen_by_scheme_with_all_proxy_as_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://one:1")
    monkeypatch.setenv("ALL_PROXY", "two:2")
    assert proxy_for("https://api.example.com") == "http://one:1"
    assert proxy_for("http://api.example.com") == "http://two:2"


@pytest.mark.parametrize("url", ["http://localhost:1", "https://127.0.0.1:1"])
def test_loopback_is_reached_without_a_proxy(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://one:1")
    monkeypatch.setenv("HTTPS_PROXY", "http://one:1")
    assert proxy_for(url) is None


@pytest.mark.parametrize(
    "without", ["api.example.com", ".example.com", "*", "api.example.com:443"]
)
def test_hosts_of_no_proxy_are_reached_directly(
    monkeypatch: pytest.MonkeyPatch, without: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://one:1")
    monkeypatch.setenv("NO_PROXY", without)
    assert proxy_for("https://api.example.com/x") is None


def test_socks_proxy_is_a_configuration_error_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://user:hunter2@one:1")
    with pytest.raises(ConfigurationError, match="socks5") as caught:
        proxy_for("https://api.example.com")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "proxy",
    [
        "http://user:hunter2@host:99999",
        "http://user:hunter2@[::1",
        "http://user:hunter2@",
        "user:hunter2@host:port",
        "user:hunter2@http://host",
        "http://user:hunter2@a\\b",
        "socks5://user:hunter2@one",
    ],
)
def test_unreadable_proxy_is_a_configuration_error_without_its_text(
    monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(ConfigurationError, match="set HTTPS_PROXY") as caught:
        proxy_for("https://api.example.com")
    assert not secrets_in(caught.value)
    assert "hunter2" not in str(caught.value)


# Pools


async def test_closed_session_is_refused_on_entering() -> None:
    session = aiohttp.ClientSession()
    await session.close()
    with pytest.raises(ConfigurationError, match="is closed"):
        await ConnectionPools(settings("http://localhost:1"), session).open()


async def test_session_with_auth_is_refused() -> None:
    with warnings.catch_warnings():  # newer releases would have us not use it
        warnings.simplefilter("ignore", DeprecationWarning)
        auth = aiohttp.BasicAuth("user", "password")
        session = aiohttp.ClientSession(auth=auth)
    async with session:
        with pytest.raises(ConfigurationError, match="auth"):
            await ConnectionPools(settings("http://localhost:1"), session).open()


@pytest.mark.parametrize(
    "name", ["expect", "Content-Length", "Content-Encoding", "Transfer-Encoding"]
)
async def test_session_with_headers_about_bodies_is_refused(name: str) -> None:
    """They would make a submit wait for ever, or break it."""
    async with aiohttp.ClientSession(headers={name: "100-continue"}) as session:
        with pytest.raises(ConfigurationError, match=f"(?i){name}"):
            await ConnectionPools(settings("http://localhost:1"), session).open()


async def test_closed_pools_raise_by_whose_session_it_was() -> None:
    async with opened("http://localhost:1") as pools:
        await pools.close()  # twice
    with pytest.raises(ClientClosedError):
        pools.submits.session()
    async with aiohttp.ClientSession() as session:
        async with opened("http://localhost:1", session) as pools:
            pass
        assert pools.fetches.session() is session
    with pytest.raises(ConfigurationError, match="http="):
        pools.fetches.session()


async def test_no_pool_has_a_limit() -> None:
    """Waiting for a free connection would look like a server out of reach."""
    async with opened("http://localhost:1") as pools:
        public = pools.route_to("http://example.com", strict=True)
        for route in (pools.submits, pools.fetches, pools.single, public):
            connector = route.session().connector
            assert connector is not None
            assert connector.limit == 0


FOREIGN_HOSTS = ("cdn.example.com", "api.example.com.evil.org", "api.example.com@a.org")
REFUSED = ("http://10.0.0.1/", "http://localhost/", "ftp://a.example.com/", "x")


async def test_download_comes_from_the_api_or_a_public_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with opened("https://api.example.com") as pools:
        own = pools.route_to("https://api.example.com/mj/image/7", strict=True)
        assert own == pools.fetches
        assert pools.route_to("HTTPS://API.example.com:443/7", strict=True) == own
        for host in FOREIGN_HOSTS:
            assert pools.route_to(f"https://{host}/7", strict=True) != own
        for url in REFUSED:
            for strict in (True, False):
                with pytest.raises(AddressRefusedError):
                    pools.route_to(url, strict=strict)
        # A proxy resolves names itself, and is often a private host.
        monkeypatch.setenv("HTTPS_PROXY", "http://10.0.0.1:3128")
        route = pools.route_to("https://cdn.example.com/7", strict=True)
        assert route.proxy == "http://10.0.0.1:3128"
        assert route.session() is own.session()


async def test_api_on_a_private_host_may_refer_to_another_unless_strict() -> None:
    async with opened("http://localhost:1") as pools:
        pools.route_to("http://10.0.0.1/7", strict=False)
        for url in ("file://localhost/etc/passwd", "http://"):
            with pytest.raises(AddressRefusedError):
                pools.route_to(url, strict=False)
        with pytest.raises(AddressRefusedError):
            pools.route_to("http://10.0.0.1/7", strict=True)
