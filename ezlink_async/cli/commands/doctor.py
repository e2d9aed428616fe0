"""
``ezlink doctor``: what stands between this machine and a swap, without paying.

Each check asks one thing and returns one finding; nothing is created.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import attrs

from ezlink_async._core.error_mapping import error_from, server_time
from ezlink_async._core.messages import HttpRequest, HttpResponse
from ezlink_async._core.settings import Options, Settings, SettingsSources, resolve
from ezlink_async._io.pools import proxy_for
from ezlink_async._io.transport import Transport
from ezlink_async.cli.connect import check_key, settings_sources
from ezlink_async.cli.display import Lines, shown
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
from ezlink_async.services import account, billing
from ezlink_async.services.base import NO_TASK
from ezlink_async.services.midjourney import MIDJOURNEY

_SKEW = 60.0  # seconds; a clock further off misjudges certificates and expiries

_MISSING_FIELD = 4  # the code of "source and target are required"

_ADVICE: tuple[tuple[type[EzlinkError], str], ...] = (
    (AuthenticationError, "make a new key, and set EZLINK_API_KEY to it"),
    (PermissionDeniedError, "ask whoever runs the service about the account"),
    (QuotaError, "top up the account, or give the key a larger quota"),
    (EndpointNotSupportedError, "check EZLINK_BASE_URL: it ends before /v1 or /mj"),
    (ProtocolError, "check EZLINK_BASE_URL: something else answers there"),
    (TransportError, "check the address, the network and the proxy"),
)


@attrs.frozen
class Finding:
    """One thing that was looked at; *advice* is what to do about it."""

    name: str
    says: str
    advice: str | None = None

    def __str__(self) -> str:
        mark = "ok" if self.advice is None else "!!"
        then = f"\n{'':13}-> {shown(self.advice)}" if self.advice else ""
        return f"{mark}  {self.name:9}{shown(self.says)}{then}"


def doctor(base_url: str | None) -> int:
    """Look at everything, and return the exit code: 0 when all is well."""
    with Lines() as display:
        try:
            sources = settings_sources()
            check_key(sources)
            settings = resolve(Options(base_url=base_url), sources)
        except EzlinkError as error:
            display.result(str(Finding("settings", "not usable", str(error))))
            return 1
        display.result(str(Finding("settings", _where(settings, sources))))
        return asyncio.run(_look(settings, display))


def _where(settings: Settings, sources: SettingsSources) -> str:
    known = bool(sources.environ.get("EZLINK_API_KEY"))
    return f"{settings.base_url}, key from {'EZLINK_API_KEY' if known else 'profile'}"


async def _look(settings: Settings, display: Lines) -> int:
    good = True
    transport = Transport(settings)
    try:
        await transport.open()
    except ConfigurationError as error:
        display.result(str(Finding("proxy", "not usable", str(error))))
        return 1
    try:
        async for finding in _findings(transport):
            good = good and finding.advice is None
            display.result(str(finding))
    finally:
        await transport.close()
    return 0 if good else 1


async def _findings(transport: Transport) -> AsyncIterator[Finding]:
    """Yield one finding after the other; without an answer there is no next."""
    try:
        response = await transport.send(MIDJOURNEY.fetch_request(NO_TASK))
    except TransportError as error:
        yield _unreachable(transport.settings, error)
        return
    yield Finding("address", f"answers, {_way(transport.settings)}")
    yield _clock(response)
    key = _key(response)
    yield key
    if key.advice is None:
        yield await _balance(transport)
        if transport.settings.account_token is not None:
            yield await _account(transport)
        yield await _route(transport)


def _way(settings: Settings) -> str:
    """Name the proxy without what opens it."""
    proxy = proxy_for(settings.base_url)
    if proxy is None:
        return "without a proxy"
    return f"through the proxy {urlsplit(proxy).netloc.rpartition('@')[2]}"


def _unreachable(settings: Settings, error: TransportError) -> Finding:
    advice = {
        "tls": "check https in the address; behind a company's proxy, have "
        "SSL_CERT_FILE name the company's certificates",
        "silence": "try again later; a firewall may swallow what is sent",
    }.get(error.stage, "check the address, the network and the proxy")
    return Finding("address", f"{error} ({_way(settings)})", advice)


def _clock(response: HttpResponse) -> Finding:
    theirs = server_time(response)
    if theirs is None:
        return Finding("clock", "the server does not tell its time")
    skew = time.time() - theirs
    if abs(skew) <= _SKEW:
        return Finding("clock", "agrees with the server's")
    way = "ahead of" if skew > 0 else "behind"
    return Finding(
        "clock", f"{abs(skew):.0f} s {way} the server's", "set this machine's clock"
    )


def _bad(name: str, error: EzlinkError) -> Finding:
    for kind, advice in _ADVICE:
        if isinstance(error, kind):
            return Finding(name, str(error), advice)
    return Finding(name, str(error), "try again later; it is not on your side")


def _key(response: HttpResponse) -> Finding:
    try:
        MIDJOURNEY.read(response, NO_TASK)
    except TaskNotFoundError:
        pass  # nobody has this id: the key opened the door
    except EzlinkError as error:
        return _bad("key", error)
    return Finding("key", "accepted")


async def _balance(transport: Transport) -> Finding:
    try:
        found = billing.read_balance(
            await transport.send(billing.subscription_request()),
            await transport.send(billing.usage_request()),
        )
    except EndpointNotSupportedError:
        return Finding("balance", "not shown by this server")
    except EzlinkError as error:
        return _bad("balance", error)
    if found.limit is not None and found.limit <= 0:
        return Finding("balance", str(found), "top up the account")
    return Finding("balance", str(found))


async def _account(transport: Transport) -> Finding:
    """Without this page a swap that is lost stays unknown."""
    try:
        found = account.read_balance(await transport.send(account.self_request()))
    except AuthenticationError as error:
        advice = "make a new access token, and set EZLINK_ACCOUNT_TOKEN to it"
        return Finding("account", str(error), advice)
    except EzlinkError as error:
        return _bad("account", error)
    return Finding("account", f"token accepted, {found.dollars:.2f} USD left")


async def _route(transport: Transport) -> Finding:
    """Send a job without pictures: it is refused before anything is made."""
    empty = HttpRequest("POST", "/mj/insight-face/swap", (b"{}",))
    try:
        refused = error_from(await transport.send(empty))
    except TransportError as error:
        return _bad("swaps", error)
    if isinstance(refused, RejectedError) and refused.code == _MISSING_FIELD:
        return Finding("swaps", "served")
    return _bad("swaps", refused)
