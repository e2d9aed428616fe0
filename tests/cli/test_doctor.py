"""``ezlink doctor``: what is wrong, what to do, and nothing paid for it."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from pathlib import Path

import pytest

from ezlink_async.emulator import Emulator, faults
from tests.support.command_line import Ezlink, home
from tests.support.raw_servers import (
    answer,
    keeps_open,
    server_tls,
    serving,
    stranger_tls,
)


def _page(text: str) -> faults.Answer:
    return faults.Answer(200, text, "application/json")


def test_doctor_finds_all_well(ezlink: Ezlink, user: Emulator) -> None:
    """Address, clock, key, balance and route are fine, and nothing was paid."""
    said = ezlink("doctor")
    assert said.code == 0
    assert said.out.count("ok  ") == 6
    assert "2000.00 USD" in said.out
    assert user.control.charges == []
    assert user.api_key not in said.out + said.err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda u: u.control.set_key(u.api_key, status="expired"), "make a new key"),
        (lambda u: u.control.set_key(u.api_key, status="exhausted"), "larger quota"),
        (lambda u: u.control.ban(), "ask whoever"),
        (
            lambda u: u.control.script("submit", faults.Answer(404, "<html>")),
            "check EZLINK_BASE_URL",
        ),
        (
            lambda u: u.control.script("submit", faults.Trouble("no_channel")),
            "try again later",
        ),
        (
            lambda u: u.control.script("submit", faults.Drop()),
            "check the address",
        ),
        (
            lambda u: u.control.script("usage", faults.Answer(500, "oops")),
            "try again later",
        ),
        (
            lambda u: u.control.script("usage", _page('{"hard_limit_usd": 0}')),
            "something else answers",
        ),
        (
            lambda u: u.control.script(
                "usage", _page('{"hard_limit_usd": 0, "access_until": 0}')
            ),
            "limit 0.00 USD, 0.00 USD used\n             -> top up the account",
        ),
    ],
)
def test_doctor_says_what_to_do(
    ezlink: Ezlink, user: Emulator, change: Callable[[Emulator], None], words: str
) -> None:
    """Each trouble is found and comes with advice."""
    change(user)
    said = ezlink("doctor")
    assert words in said.out
    assert said.code == 1
    assert user.control.charges == []


def test_doctor_looks_at_the_account_where_there_is_a_token(
    ezlink: Ezlink, user: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is lost is looked up there: better to know before that it cannot be."""
    monkeypatch.setenv("EZLINK_ACCOUNT_TOKEN", user.account_token)
    said = ezlink("doctor")
    assert said.code == 0
    assert "ok  account  token accepted, 2000.00 USD left" in said.out
    assert user.account_token not in said.out + said.err

    user.control.script("account", faults.Answer(502, "<html>"))
    said = ezlink("doctor")
    assert said.code == 1
    assert "!!  account  " in said.out

    monkeypatch.setenv("EZLINK_ACCOUNT_TOKEN", "another")
    said = ezlink("doctor")
    assert said.code == 1
    assert "make a new access token" in said.out
    assert "ok  swaps" in said.out


def test_doctor_without_a_key_or_a_server(
    ezlink: Ezlink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No key, a wrong address, nobody there: one finding and what to do."""
    home(monkeypatch, tmp_path)
    said = ezlink("doctor")
    assert said.code == 1
    assert "EZLINK_API_KEY" in said.out
    monkeypatch.setenv("EZLINK_API_KEY", "sk-x")
    assert "https" in ezlink("doctor", "--base-url", "http://example.com").out
    said = ezlink("doctor", "--base-url", "http://127.0.0.1:9")
    assert said.code == 1
    assert "check the address" in said.out


def test_a_server_without_balance_pages(ezlink: Ezlink, user: Emulator) -> None:
    """Not every operator shows them, and swaps need none."""
    user.control.script("usage", faults.Answer(404, "<html>"))
    said = ezlink("doctor")
    assert said.code == 0
    assert "balance  not shown by this server" in said.out


def test_the_key_may_stand_in_the_profile(
    ezlink: Ezlink, user: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said where it comes from; a profile that is broken is named."""
    profile = tmp_path / "profile.toml"
    monkeypatch.delenv("EZLINK_API_KEY")
    monkeypatch.setenv("EZLINK_CONFIG", str(profile))
    profile.write_text(f'api_key = "{user.api_key}"')
    said = ezlink("doctor")
    assert said.code == 0
    assert f"settings {user.base_url}, key from profile" in said.out
    profile.write_text("api_key =")
    said = ezlink("doctor")
    assert said.code == 1
    assert f"the profile {profile} cannot be read" in said.out


async def _of(ezlink: Ezlink, *replies: bytes) -> str:
    """Return what it says of a server that gives these answers."""
    async with serving(keeps_open(*replies)) as server:
        said = await asyncio.to_thread(ezlink, "doctor", "--base-url", server.url)
    assert said.code == 1
    return said.out


async def test_a_clock_that_is_wrong(ezlink: Ezlink, user: Emulator) -> None:
    """It is measured against the server's, where that tells its time."""
    assert user.control.requests == []
    told = {
        "Sat, 01 Jan 2000 00:00:00 GMT": "s ahead of the server's",
        "Fri, 01 Jan 2100 00:00:00 GMT": "s behind the server's",
    }
    for date, words in told.items():
        out = await _of(ezlink, answer(401, Date=date))
        assert words in out
        assert "-> set this machine's clock" in out
    now = dt.datetime.now(dt.UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    assert "agrees with the server's" in await _of(ezlink, answer(401, Date=now))
    for nonsense in ("", "yesterday", "Sat, 01 Jan 2000 00:00:00"):
        out = await _of(ezlink, answer(401, Date=nonsense))
        assert "does not tell its time" in out
    assert "does not tell its time" in await _of(ezlink, answer(401))


@pytest.mark.usefixtures("user")
@pytest.mark.parametrize(
    "reply",
    [
        answer(200, b"<html>welcome</html>"),
        answer(200, b"{}"),
        answer(404, b"<html>"),
        answer(301, Location="https://www.example.com/"),
    ],
)
async def test_another_server_at_the_address(ezlink: Ezlink, reply: bytes) -> None:
    """What speaks HTTP but not this API is a wrong address, not a bad key."""
    assert "-> check EZLINK_BASE_URL" in await _of(ezlink, reply)


@pytest.mark.usefixtures("user")
async def test_certificates(ezlink: Ezlink) -> None:
    """An untrusted one, and none at all, name both things to check."""

    async def silence(_: object) -> None:
        await asyncio.Event().wait()

    async with serving(silence, tls=stranger_tls()) as server:
        said = await asyncio.to_thread(ezlink, "doctor", "--base-url", server.url)
    assert said.code == 1
    assert "SSL_CERT_FILE" in said.out
    async with serving(keeps_open(answer(401)), tls=server_tls()) as server:
        said = await asyncio.to_thread(ezlink, "doctor", "--base-url", server.url)
    assert "answers, without a proxy" in said.out


def test_the_proxy_is_named_and_its_password_is_not(
    ezlink: Ezlink, user: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is not there, and one of a kind that cannot be used."""
    away = ("doctor", "--base-url", "https://api.example.com")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://me:hunter2@127.0.0.1:9")
    said = ezlink(*away)
    assert said.code == 1
    assert "(through the proxy 127.0.0.1:9)" in said.out
    assert "hunter2" not in said.out + said.err
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:9")
    said = ezlink(*away)
    assert (said.code, said.err) == (1, "")
    assert "only HTTP proxies can be used" in said.out
    assert user.control.requests == []
