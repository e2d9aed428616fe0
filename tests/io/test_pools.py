"""Pools, proxies, and who may be talked to."""

from __future__ import annotations

import asyncio
import socket
import warnings

import aiohttp
import pytest

from ezlink_async._io.addresses import AddressRefusedError
from ezlink_async._io.pools import ConnectionPools, proxy_for, public_socket
from ezlink_async.errors import ClientClosedError, ConfigurationError
from tests.support.transports import secrets_in, settings


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
async def test_no_spelling_leads_inside(host: str) -> None:
    """What counts is the host that is connected to, not how it is written."""
    pools = ConnectionPools(settings("https://api.example.com"), None)
    await pools.open()
    for strict in (True, False):
        with pytest.raises(AddressRefusedError):
            pools.route_to(f"http://{host}:80/x.png", strict=strict)
    await pools.close()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
async def test_names_that_lead_inside_are_not_followed(host: str) -> None:
    """Whatever a public name resolves to, no private address is connected to."""
    pools = ConnectionPools(settings("https://api.example.com"), None)
    await pools.open()
    route = pools.route_to("http://cdn.example.com", strict=True)
    async with asyncio.timeout(20):
        with pytest.raises(aiohttp.ClientConnectorError, match="no public address"):
            await route.session().get(f"http://{host}:80/")
    await pools.close()


def test_a_public_address_is_connected_to() -> None:
    """What is looked at is the address itself, IPv4 or IPv6."""
    tcp = (socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
    found: aiohttp.AddrInfoType = (socket.AF_INET, *tcp, ("8.8.8.8", 80))
    with public_socket(found) as made:
        assert made.family is socket.AF_INET


@pytest.mark.parametrize(
    "url", ["https://a\\b", "https://loca\N{ZERO WIDTH SPACE}l.com"]
)
async def test_an_api_without_an_address_is_refused(url: str) -> None:
    """What aiohttp cannot ask is said on entering."""
    with pytest.raises(ConfigurationError, match="is no address"):
        await ConnectionPools(settings(url), None).open()


# Proxies


def test_there_is_no_proxy_unless_one_is_named() -> None:
    """Without a setting in the environment connections are direct."""
    assert proxy_for("https://api.example.com") is None


def test_the_proxy_is_chosen_by_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each scheme has its proxy, and ALL_PROXY stands in for a missing one."""
    monkeypatch.setenv("HTTPS_PROXY", "http://one:1")
    monkeypatch.setenv("ALL_PROXY", "two:2")
    assert proxy_for("https://api.example.com") == "http://one:1"
    assert proxy_for("http://api.example.com") == "http://two:2"


@pytest.mark.parametrize("url", ["http://localhost:1", "https://127.0.0.1:1"])
def test_loopback_needs_no_proxy(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """A server on this machine is reached directly whatever the environment says."""
    monkeypatch.setenv("HTTP_PROXY", "http://one:1")
    monkeypatch.setenv("HTTPS_PROXY", "http://one:1")
    assert proxy_for(url) is None


@pytest.mark.parametrize(
    "without", ["api.example.com", ".example.com", "*", "api.example.com:443"]
)
def test_some_hosts_are_reached_without(
    monkeypatch: pytest.MonkeyPatch, without: str
) -> None:
    """What NO_PROXY names is reached directly."""
    monkeypatch.setenv("HTTPS_PROXY", "http://one:1")
    monkeypatch.setenv("NO_PROXY", without)
    assert proxy_for("https://api.example.com/x") is None


def test_a_proxy_of_another_kind_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A SOCKS proxy is a ConfigurationError that keeps its password."""
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
def test_a_proxy_without_an_address_is_said_so(
    monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    """A mistyped proxy is a ConfigurationError, and shows no part of itself."""
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(ConfigurationError, match="set HTTPS_PROXY") as caught:
        proxy_for("https://api.example.com")
    assert not secrets_in(caught.value)
    assert "hunter2" not in str(caught.value)


# Pools


async def test_a_closed_session_is_refused() -> None:
    """A caller's session that is closed is a ConfigurationError on entering."""
    session = aiohttp.ClientSession()
    await session.close()
    with pytest.raises(ConfigurationError, match="is closed"):
        await ConnectionPools(settings("http://localhost:1"), session).open()


async def test_a_session_with_auth_is_refused() -> None:
    """A caller's session with credentials of its own is a ConfigurationError."""
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
async def test_a_session_that_says_how_bodies_come_is_refused(name: str) -> None:
    """Its header would make a submit wait for ever, or break it."""
    async with aiohttp.ClientSession(headers={name: "100-continue"}) as session:
        with pytest.raises(ConfigurationError, match=f"(?i){name}"):
            await ConnectionPools(settings("http://localhost:1"), session).open()


async def test_closed_pools_say_whose_they_were() -> None:
    """After close our own pools are a closed client, a caller's a wrong setting."""
    pools = ConnectionPools(settings("http://localhost:1"), None)
    await pools.open()
    await pools.close()
    await pools.close()
    with pytest.raises(ClientClosedError):
        pools.submits.session()
    async with aiohttp.ClientSession() as session:
        pools = ConnectionPools(settings("http://localhost:1"), session)
        await pools.open()
        await pools.close()
        assert pools.fetches.session() is session
    with pytest.raises(ConfigurationError, match="http="):
        pools.fetches.session()


async def test_no_pool_has_a_limit() -> None:
    """Waiting for a free connection would look like a server out of reach."""
    pools = ConnectionPools(settings("http://localhost:1"), None)
    await pools.open()
    public = pools.route_to("http://example.com", strict=True)
    for route in (pools.submits, pools.fetches, public):
        connector = route.session().connector
        assert connector is not None
        assert connector.limit == 0
    await pools.close()


async def test_what_lies_elsewhere_must_be_public(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only the API's own origin, and public hosts, may be downloaded from."""
    pools = ConnectionPools(settings("https://api.example.com"), None)
    await pools.open()
    own = pools.route_to("https://api.example.com/mj/image/7", strict=True)
    assert own == pools.fetches
    assert pools.route_to("HTTPS://API.example.com:443/7", strict=True) == own
    for url in ("cdn.example.com", "api.example.com.evil.org", "api.example.com@a.org"):
        assert pools.route_to(f"https://{url}/7", strict=True) != own
    for url in ("http://10.0.0.1/", "http://localhost/", "ftp://a.example.com/", "x"):
        for strict in (True, False):
            with pytest.raises(AddressRefusedError):
                pools.route_to(url, strict=strict)
    # A proxy resolves names itself, and is often a private host.
    monkeypatch.setenv("HTTPS_PROXY", "http://10.0.0.1:3128")
    route = pools.route_to("https://cdn.example.com/7", strict=True)
    assert route.proxy == "http://10.0.0.1:3128"
    assert route.session() is own.session()
    await pools.close()


async def test_a_private_server_may_name_its_neighbours() -> None:
    """An API on a private network may send there, unless a caller asked."""
    pools = ConnectionPools(settings("http://localhost:1"), None)
    await pools.open()
    pools.route_to("http://10.0.0.1/7", strict=False)
    for url in ("file://localhost/etc/passwd", "http://"):
        with pytest.raises(AddressRefusedError):
            pools.route_to(url, strict=False)
    with pytest.raises(AddressRefusedError):
        pools.route_to("http://10.0.0.1/7", strict=True)
    await pools.close()
