"""``ezlink doctor``: what is wrong, what to do, and nothing paid for it."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from ezlink_async.emulator import Emulator, faults
from tests.support.command_line import Ezlink, Said
from tests.support.raw_servers import (
    Handler,
    answer,
    keeps_open,
    server_tls,
    serving,
    stranger_tls,
)


def _page(text: str) -> faults.Answer:
    return faults.Answer(200, text, "application/json")


def test_all_checks_pass_and_nothing_is_charged(ezlink: Ezlink, user: Emulator) -> None:
    """The checks are settings, address, clock, key, its limit and the route."""
    said = ezlink("doctor")
    assert said.code == 0
    assert said.out.count("ok  ") == 6
    assert "ok  key limit limit 2,000.00 USD" in said.out
    assert user.control.charges == []
    assert user.api_key not in said.out + said.err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda u: u.control.set_key(u.api_key, status="expired"), "make a new key"),
        (lambda u: u.control.set_key(u.api_key, status="exhausted"), "larger quota"),
        (lambda u: u.control.ban(), "ask the operator"),
        (
            lambda u: u.control.script("submit", faults.Answer(404, "<html>")),
            "check EZLINK_BASE_URL",
        ),
        (
            lambda u: u.control.script("submit", faults.Trouble("no_channel")),
            "try again later",
        ),
        (lambda u: u.control.script("submit", faults.Drop()), "check the address"),
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
            "below the price of a swap\n              -> give the key a larger limit",
        ),
    ],
)
def test_failed_check_comes_with_advice(
    ezlink: Ezlink, user: Emulator, change: Callable[[Emulator], None], words: str
) -> None:
    change(user)
    said = ezlink("doctor")
    assert said.code == 1
    assert words in said.out
    assert user.control.charges == []


def test_account_token_is_checked_if_there_is_one(
    ezlink: Ezlink, user: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EZLINK_ACCOUNT_TOKEN", user.account_token)
    said = ezlink("doctor")
    assert said.code == 0
    assert "ok  account   token accepted, 2,000.00 USD left" in said.out
    assert user.account_token not in said.out + said.err

    user.control.script("account", faults.Answer(502, "<html>"))
    said = ezlink("doctor")
    assert said.code == 1
    assert "!!  account   " in said.out

    monkeypatch.setenv("EZLINK_ACCOUNT_TOKEN", "another")
    said = ezlink("doctor")
    assert said.code == 1
    assert "make a new access token" in said.out
    assert "ok  swaps" in said.out


def test_missing_account_token_is_recommended_with_the_reason(
    ezlink: Ezlink, user: Emulator
) -> None:
    """It is no fault: swaps work without it."""
    assert user.account_token
    said = ezlink("doctor")
    assert said.code == 0
    assert "--  account   no access token, so the balance is not known" in said.out
    assert "set EZLINK_ACCOUNT_TOKEN to it: with it the client finds" in said.out


@pytest.mark.parametrize(("units", "code"), [(9_000, 0), (8_999, 1), (0, 1), (-5, 1)])
def test_balance_below_the_price_of_a_swap_fails(
    ezlink: Ezlink,
    user: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    units: int,
    code: int,
) -> None:
    monkeypatch.setenv("EZLINK_ACCOUNT_TOKEN", user.account_token)
    limit = _page('{"hard_limit_usd": 100000000, "access_until": 0}')
    user.control.script("usage", limit)  # only the account is short of money
    user.control.balance = units
    said = ezlink("doctor")
    assert said.code == code
    short = "left: below the price of a swap\n              -> top up the account"
    assert (short in said.out) == bool(code)
    assert ("!!  account " in said.out) == bool(code)


@pytest.mark.parametrize(
    ("units", "advice"),
    [
        (3_000_000, ""),
        (
            2_999_999,
            (
                "below 6.00 USD the server refuses every video of Veo: top up the "
                "account for those"
            ),
        ),
        (
            40_000,
            (
                "below 0.10 USD the server refuses every picture of native Flux, below "
                "0.20 USD the server refuses every video, below 0.40 USD the server "
                "refuses every video of Sora, below 6.00 USD the server refuses every "
                "video of Veo: top up the account for those"
            ),
        ),
    ],
)
def test_balance_below_the_bar_of_some_jobs_is_said_but_no_failure(
    ezlink: Ezlink,
    user: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    units: int,
    advice: str,
) -> None:
    """Swaps have no bar but their price."""
    monkeypatch.setenv("EZLINK_ACCOUNT_TOKEN", user.account_token)
    limit = _page('{"hard_limit_usd": 100000000, "access_until": 0}')
    user.control.script("usage", limit)
    user.control.balance = units
    said = ezlink("doctor")
    assert said.code == 0
    assert ("--  account   token accepted" in said.out) == bool(advice)
    assert f"-> {advice}\n" in said.out if advice else "refuses" not in said.out
    assert user.control.charges == []


def test_limit_that_may_be_used_up_is_said_but_no_failure(
    ezlink: Ezlink, user: Emulator
) -> None:
    """Some operators show the balance of the account as the limit of the key."""
    limit = _page('{"hard_limit_usd": 2.0, "access_until": 0}')
    user.control.script("usage", limit, _page('{"total_usage": 199.0}'))
    said = ezlink("doctor")
    assert said.code == 0
    assert "--  key limit limit 2.00 USD, 1.99 USD used: used up, if" in said.out


def test_api_key_given_as_access_token_is_recognised(
    ezlink: Ezlink, user: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in (user.api_key, "sk-another"):
        monkeypatch.setenv("EZLINK_ACCOUNT_TOKEN", key)
        said = ezlink("doctor")
        assert said.code == 1
        assert "EZLINK_ACCOUNT_TOKEN holds an API key" in said.out
        assert key not in said.out + said.err


def test_access_token_given_as_api_key_is_recognised(
    ezlink: Ezlink, user: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EZLINK_API_KEY", user.account_token)
    said = ezlink("doctor")
    assert said.code == 1
    assert "which belongs into EZLINK_ACCOUNT_TOKEN" in said.out


@pytest.mark.usefixtures("stranger")
def test_missing_key_or_wrong_address_ends_the_checks_with_advice(
    ezlink: Ezlink, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = ezlink("doctor")
    assert said.code == 1
    assert "EZLINK_API_KEY" in said.out
    monkeypatch.setenv("EZLINK_API_KEY", "sk-x")
    assert "https" in ezlink("doctor", "--base-url", "http://example.com").out
    said = ezlink("doctor", "--base-url", "http://127.0.0.1:9")
    assert said.code == 1
    assert "check the address" in said.out


def test_server_without_balance_pages_passes(ezlink: Ezlink, user: Emulator) -> None:
    """Not every operator shows them, and swaps need none."""
    user.control.script("usage", faults.Answer(404, "<html>"))
    said = ezlink("doctor")
    assert said.code == 0
    assert "key limit not shown by this server" in said.out


def test_key_from_the_profile_is_named_and_a_broken_profile_too(
    ezlink: Ezlink, user: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = tmp_path / "profile.toml"
    monkeypatch.delenv("EZLINK_API_KEY")
    monkeypatch.setenv("EZLINK_CONFIG", str(profile))
    profile.write_text(f'api_key = "{user.api_key}"')
    said = ezlink("doctor")
    assert said.code == 0
    assert f"settings  {user.base_url}, key from profile" in said.out
    profile.write_text("api_key =")
    said = ezlink("doctor")
    assert said.code == 1
    assert f"the profile {profile} cannot be read" in said.out


async def _silence(_: object) -> None:
    await asyncio.Event().wait()


async def _ask(
    ezlink: Ezlink,
    talk: Handler,
    tls: ssl.SSLContext | None = None,
) -> Said:
    """Return what the command says of this server."""
    async with serving(talk, tls=tls) as server:
        said = await asyncio.to_thread(ezlink, "doctor", "--base-url", server.url)
    assert said.code == 1
    return said


def _now() -> str:
    return dt.datetime.now(dt.UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")


@pytest.mark.usefixtures("user")
@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"Date": "Sat, 01 Jan 2000 00:00:00 GMT"}, "s ahead of the server's\n"),
        ({"Date": "Fri, 01 Jan 2100 00:00:00 GMT"}, "s behind the server's\n"),
        ({"Date": None}, "agrees with the server's\n"),
        ({"Date": ""}, "the server does not send its time"),
        ({"Date": "yesterday"}, "the server does not send its time"),
        ({"Date": "Sat, 01 Jan 2000 00:00:00"}, "the server does not send its time"),
        ({}, "the server does not send its time"),
    ],
)
async def test_clock_is_compared_with_the_time_of_the_server(
    ezlink: Ezlink, headers: dict[str, str | None], words: str
) -> None:
    sent = {name: _now() if date is None else date for name, date in headers.items()}
    out = (await _ask(ezlink, keeps_open(answer(401, b"", **sent)))).out
    assert words in out
    skewed = "ahead" in words or "behind" in words
    assert ("-> set this machine's clock" in out) == skewed


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
async def test_another_http_server_is_a_wrong_address_and_no_bad_key(
    ezlink: Ezlink, reply: bytes
) -> None:
    assert "-> check EZLINK_BASE_URL" in (await _ask(ezlink, keeps_open(reply))).out


@pytest.mark.usefixtures("user")
async def test_untrusted_certificate_advises_on_address_and_certificates(
    ezlink: Ezlink,
) -> None:
    assert "SSL_CERT_FILE" in (await _ask(ezlink, _silence, stranger_tls())).out
    trusted = await _ask(ezlink, keeps_open(answer(401)), server_tls())
    assert "answers, without a proxy" in trusted.out


def test_proxy_is_named_without_its_password(
    ezlink: Ezlink, user: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that does not answer and one that cannot be used are both failures."""
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
