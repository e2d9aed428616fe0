"""
``ezlink doctor``: what keeps this machine from swapping faces, found for free.

Each check asks the server one thing. No job is created.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import attrs

from ezlink_async._core.error_mapping import error_from, server_time
from ezlink_async._core.messages import HttpRequest, HttpResponse
from ezlink_async._core.settings import Options, Settings, resolve
from ezlink_async._io.pools import proxy_for
from ezlink_async._io.transport import Transport
from ezlink_async.cli.connect import check_key, settings_sources
from ezlink_async.cli.display import Display, logs_shown_on
from ezlink_async.errors import (
    AuthenticationError,
    ConfigurationError,
    EndpointNotSupportedError,
    EzlinkError,
    PermissionDeniedError,
    ProtocolError,
    QuotaError,
    RejectedError,
    TaskNotFoundError,
    TransportError,
)
from ezlink_async.report.escaping import shown
from ezlink_async.services import account, billing
from ezlink_async.services.balance_bars import refused_jobs
from ezlink_async.services.base import NO_TASK
from ezlink_async.services.face_swap import PRICE
from ezlink_async.services.midjourney import MIDJOURNEY
from ezlink_async.services.registry import FAMILIES

_SKEW = 60.0  # seconds; a clock further off misjudges certificates and expiries

_PRICE = PRICE / 500_000  # US dollars

_KEY_PREFIX = "sk-"  # the dashboard shows each key with it

_MISSING_FIELD = 4  # the code of "source and target are required"

_ADVICE: tuple[tuple[type[EzlinkError], str], ...] = (
    (AuthenticationError, "make a new key, and set EZLINK_API_KEY to it"),
    (PermissionDeniedError, "ask the operator of the service about the account"),
    (QuotaError, "top up the account, or give the key a larger quota"),
    (EndpointNotSupportedError, "check EZLINK_BASE_URL: it ends before /v1 or /mj"),
    (ProtocolError, "check EZLINK_BASE_URL: something else answers there"),
    (TransportError, "check the address, the network and the proxy"),
)

# By the stage in which a request failed.
_UNREACHABLE = {
    "tls": "check https in the address; behind a company's proxy, have "
    "SSL_CERT_FILE name the company's certificates",
    "silence": "try again later; a firewall may drop the requests",
}


_TOP_UP = "top up the account: a swap costs {:.3f} USD unless the operator changed it"

_RECOMMENDATION = (
    "make an access token in the dashboard, and set EZLINK_ACCOUNT_TOKEN to it: with "
    "it the client finds out what became of a paid swap whose answer was lost"
)


@attrs.frozen
class Check:
    """
    The result of one check; *advice* is what to do if the check failed.

    If it is *optional*, swaps work without it, and the advice is a recommendation.
    """

    name: str
    result: str
    advice: str | None = None
    optional: bool = attrs.field(default=False, kw_only=True)

    @property
    def good(self) -> bool:
        """Whether nothing has to be done."""
        return self.advice is None or self.optional

    def __str__(self) -> str:
        mark = "ok" if self.advice is None else "--" if self.optional else "!!"
        then = f"\n{'':14}-> {shown(self.advice)}" if self.advice else ""
        return f"{mark}  {self.name:10}{shown(self.result)}{then}"


def doctor(*, base_url: str | None = None) -> int:
    """
    Check address, key, money, route and clock, and say what to do.

    Parameters
    ----------
    base_url
        Address of the API. [env: EZLINK_BASE_URL]

    """
    return asyncio.run(_run(base_url))


async def _run(base_url: str | None) -> int:
    good = True
    with Display() as display, logs_shown_on(display):
        async for check in _checks(base_url):
            good = good and check.good
            display.result(str(check))
    return int(not good)


async def _checks(base_url: str | None) -> AsyncIterator[Check]:
    try:
        sources = settings_sources()
        check_key(sources)
        settings = resolve(Options(base_url=base_url), sources)
    except EzlinkError as error:
        yield Check("settings", "not usable", str(error))
        return
    origin = "EZLINK_API_KEY" if sources.environ.get("EZLINK_API_KEY") else "profile"
    yield Check("settings", f"{settings.base_url}, key from {origin}")
    transport = Transport(settings)
    try:
        await transport.open()
    except ConfigurationError as error:
        yield Check("proxy", "not usable", str(error))
        return
    try:
        async for check in _server_checks(transport):
            yield check
    finally:
        await transport.close()


async def _server_checks(transport: Transport) -> AsyncIterator[Check]:
    """Yield one check after the other; the others need an answer, and a good key."""
    settings = transport.settings
    proxy = _proxy(settings.base_url)
    try:
        response = await transport.send(MIDJOURNEY.fetch_request(NO_TASK))
    except TransportError as error:
        advice = _UNREACHABLE.get(error.stage, _advice(error))
        yield Check("address", f"{error} ({proxy})", advice)
        return
    yield Check("address", f"answers, {proxy}")
    yield _clock(response)
    try:
        yield _key(response)
    except EzlinkError as error:
        yield Check("key", str(error), _key_advice(error, settings))
        return
    checks = {"key limit": _key_limit, "account": _account, "swaps": _route}
    for name, check in checks.items():
        try:
            yield await check(transport)
        except EzlinkError as error:
            yield Check(name, str(error), _advice(error))


def _advice(error: EzlinkError) -> str:
    for kind, advice in _ADVICE:
        if isinstance(error, kind):
            return advice
    return "try again later; the fault is the server's"


def _key_advice(error: EzlinkError, settings: Settings) -> str:
    """Say what to do about a refused key; an access token is a usual mistake for it."""
    refused = isinstance(error, AuthenticationError)
    if not refused or settings.api_key.startswith(_KEY_PREFIX):
        return _advice(error)
    return (
        f"EZLINK_API_KEY is an API key, which begins with {_KEY_PREFIX}; this may be "
        "the account's access token, which belongs into EZLINK_ACCOUNT_TOKEN; else "
        "make a new key"
    )


def _proxy(base_url: str) -> str:
    """Name the proxy without its user and password."""
    proxy = proxy_for(base_url)
    if proxy is None:
        return "without a proxy"
    return f"through the proxy {urlsplit(proxy).netloc.rpartition('@')[2]}"


def _clock(response: HttpResponse) -> Check:
    theirs = server_time(response)
    if theirs is None:
        return Check("clock", "the server does not send its time")
    skew = time.time() - theirs
    if abs(skew) <= _SKEW:
        return Check("clock", "agrees with the server's")
    way = "ahead of" if skew > 0 else "behind"
    result = f"{abs(skew):.0f} s {way} the server's"
    return Check("clock", result, "set this machine's clock")


def _key(response: HttpResponse) -> Check:
    # No task has this id, so a server that looks for it has accepted the key.
    with contextlib.suppress(TaskNotFoundError):
        MIDJOURNEY.read(response, NO_TASK)
    return Check("key", "accepted")


async def _key_limit(transport: Transport) -> Check:
    """Check what the key may spend, which is not what the account has."""
    try:
        found = billing.read_quota(
            await transport.send(billing.subscription_request()),
            await transport.send(billing.usage_request()),
        )
    except EndpointNotSupportedError:
        return Check("key limit", "not shown by this server")
    if found.limit is None or found.limit - found.used >= _PRICE:
        return Check("key limit", str(found))
    if found.limit >= _PRICE:  # some operators show what the account has left there
        result = f"{found}: used up, if the limit is the key's own"
        advice = "give the key a larger limit if swaps are refused"
        return Check("key limit", result, advice, optional=True)
    return Check(
        "key limit",
        f"{found}: below the price of a swap",
        f"give the key a larger limit, or {_TOP_UP.format(_PRICE)}",
    )


async def _account(transport: Transport) -> Check:
    """Check token and balance: without the account page a lost swap stays unknown."""
    token = transport.settings.account_token
    if token is None:
        result = "no access token, so the balance is not known"
        return Check("account", result, _RECOMMENDATION, optional=True)
    try:
        found = account.read_balance(await transport.send(account.self_request()))
    except AuthenticationError as error:
        return Check("account", str(error), _token_advice(token, transport.settings))
    balance = f"token accepted, {found.dollars:,.2f} USD left"
    bars = (bar for family in FAMILIES.values() for bar in family.bars)
    refused = refused_jobs(bars, found.dollars)
    if found.units >= PRICE:
        advice = f"{refused}: top up the account for those" if refused else None
        return Check("account", balance, advice, optional=True)
    return Check(
        "account",
        f"token accepted, {found.dollars:.3f} USD left: below the price of a swap",
        f"{_TOP_UP.format(_PRICE)}; {refused}",
    )


def _token_advice(token: str, settings: Settings) -> str:
    if token == settings.api_key or token.startswith(_KEY_PREFIX):
        return (
            "EZLINK_ACCOUNT_TOKEN holds an API key; the access token is another one, "
            "which the dashboard makes on the page of the account"
        )
    return "make a new access token, and set EZLINK_ACCOUNT_TOKEN to it"


async def _route(transport: Transport) -> Check:
    """Send a job without pictures, which the server refuses before it creates one."""
    empty = HttpRequest("POST", "/mj/insight-face/swap", (b"{}",))
    refused = error_from(await transport.send(empty))
    if isinstance(refused, RejectedError) and refused.code == _MISSING_FIELD:
        return Check("swaps", "served")
    raise refused
