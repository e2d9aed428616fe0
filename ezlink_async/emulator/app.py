"""
From a request to its answer: routes, CORS, keys, faults.

Routes are those of ye4293/one-api ``router/relay-router.go``, redirects those of gin.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from urllib.parse import unquote

from aiohttp import web
from attrs import frozen

from ezlink_async.emulator import control_api
from ezlink_async.emulator.http.exchange import Exchange, GoneError, put_in_order
from ezlink_async.emulator.http.replies import Reply, redirect, unknown_path
from ezlink_async.emulator.relay import account, midjourney
from ezlink_async.emulator.relay.auth import authenticate
from ezlink_async.emulator.relay.state import Desk, Seen
from ezlink_async.emulator.relay.store import Key

__all__ = ["make_app"]

Keyed = Callable[[Desk, Exchange, Key, str], Awaitable[Reply]]
Unkeyed = Callable[[Desk, Exchange, str], Awaitable[Reply]]


@frozen
class Route:
    """One kind of request; the group of *pattern* is the id, if there is one."""

    method: str
    pattern: re.Pattern[str]
    place: str
    handler: Unkeyed


def _keyed(method: str, pattern: str, place: str, handler: Keyed) -> Route:
    async def checked(desk: Desk, exchange: Exchange, task_id: str) -> Reply:
        key = authenticate(exchange, desk.store, desk.seconds)
        if isinstance(key, Reply):
            return key
        return await handler(desk, exchange, key, task_id)

    return _unkeyed(method, pattern, place, checked)


def _unkeyed(method: str, pattern: str, place: str, handler: Unkeyed) -> Route:
    return Route(method, re.compile(pattern), place, handler)


_MJ = "(?:/[^/]+)?/mj"
_BILLING = "(?:/v1)?/dashboard/billing"
_ROUTES = (
    _keyed("POST", f"{_MJ}/insight-face/swap", "submit", midjourney.swap),
    _keyed("GET", f"{_MJ}/task/([^/]+)/fetch", "fetch", midjourney.fetch),
    _keyed(
        "POST", f"{_MJ}/task/list-by-condition", "list", midjourney.list_by_condition
    ),
    _keyed("GET", f"{_MJ}/task/([^/]+)/image-seed", "seed", midjourney.seed),
    _unkeyed("GET", f"{_MJ}/image/([^/]+)", "image", midjourney.image),
    _keyed("GET", f"{_BILLING}/subscription", "usage", account.subscription),
    _keyed("GET", f"{_BILLING}/usage", "usage", account.usage),
    _unkeyed("GET", "/api/log/self", "account", account.log),
    _unkeyed("GET", "/api/mj/self", "account", account.tasks),
    _unkeyed("GET", "/api/user/self", "account", account.account),
    _unkeyed("GET", "/__emu/cdn/([^/]+)", "", midjourney.cdn),
    _unkeyed("GET", "/__emu/state", "", control_api.state),
    _unkeyed("POST", "/__emu/faults", "", control_api.faults),
    _unkeyed("POST", "/__emu/reset", "", control_api.reset),
)


def make_app(desk: Desk) -> web.Application:
    """Return the application that answers for *desk*."""
    app = web.Application()

    async def handle(request: web.Request) -> web.StreamResponse:
        exchange = Exchange(request, desk.leaving)
        try:
            return await exchange.send(await _answer(desk, exchange))
        except GoneError:
            exchange.hang_up()
            return web.Response()

    async def keep_waiting(_request: web.Request) -> None:
        """Leave ``100 Continue`` to whoever reads the body first."""

    app.router.add_route("*", "/{path:.*}", handle, expect_handler=keep_waiting)
    app.on_response_prepare.append(put_in_order)
    return app


async def _answer(desk: Desk, exchange: Exchange) -> Reply:
    if _is_preflight(exchange):
        return _preflight(exchange)
    found = _find(exchange.method, exchange.path)
    if found is None:
        return _not_found(exchange)
    route, task_id = found
    if not route.place:
        return await route.handler(desk, exchange, task_id)
    _remember(desk, exchange)
    fault = desk.playbook.take(route.place)
    if fault is None:
        return await route.handler(desk, exchange, task_id)
    return await fault.apply(exchange, lambda: route.handler(desk, exchange, task_id))


def _find(method: str, path: str) -> tuple[Route, str] | None:
    for route in _ROUTES:
        found = route.pattern.fullmatch(path)
        if found and route.method == method:
            return route, unquote((*found.groups(), "")[0])
    return None


def _not_found(exchange: Exchange) -> Reply:
    path = exchange.path
    other = path[:-1] if path.endswith("/") else f"{path}/"
    if _find(exchange.method, other) is not None:
        query = exchange.request.raw_path[len(path) :]
        return redirect(exchange.method, other + query)
    reply = unknown_path(exchange.method, path)
    return reply.packed() if "gzip" in exchange.header("Accept-Encoding") else reply


def _remember(desk: Desk, exchange: Exchange) -> None:
    request = exchange.request
    headers = tuple((name, value) for name, value in request.headers.items())
    method, path, number = request.method, request.raw_path, exchange.request_id
    desk.seen.append(Seen(method, path, number, headers))


def _is_preflight(exchange: Exchange) -> bool:
    asked = exchange.header("Access-Control-Request-Method")
    return exchange.method == "OPTIONS" and bool(asked)


def _preflight(exchange: Exchange) -> Reply:
    asked = exchange.header("Access-Control-Request-Headers")
    names = ", ".join(name.strip().title() for name in asked.split(",") if name)
    method = exchange.header("Access-Control-Request-Method")
    headers = [
        ("Access-Control-Allow-Headers", names),
        ("Access-Control-Allow-Methods", method),
        (
            "Vary",
            "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
        ),
    ]
    named = tuple(header for header in headers if header[1])
    return Reply(HTTPStatus.OK, b"", None, named, vary=0)
