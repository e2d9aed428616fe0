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

from ezlink_async.emulator import dashboard, relay, showing, surface
from ezlink_async.emulator.auth import authenticate
from ezlink_async.emulator.desk import Desk, Seen
from ezlink_async.emulator.exchange import Exchange, GoneError, put_in_order
from ezlink_async.emulator.replies import Reply, redirect, unknown_path
from ezlink_async.emulator.store import Key

__all__ = ["make_app"]

Keyed = Callable[[Desk, Exchange, Key], Awaitable[Reply]]
KeyedById = Callable[[Desk, Exchange, Key, str], Awaitable[Reply]]
Open = Callable[[Desk, Exchange], Awaitable[Reply]]
OpenById = Callable[[Desk, Exchange, str], Awaitable[Reply]]


@frozen
class Route:
    """One kind of request. *place* is where its faults are kept."""

    method: str
    pattern: re.Pattern[str]
    handler: Callable[..., Awaitable[Reply]]
    place: str = ""
    keyed: bool = True


def _route(
    method: str,
    pattern: str,
    handler: Keyed | KeyedById | Open | OpenById,
    place: str = "",
    *,
    keyed: bool = True,
) -> Route:
    return Route(method, re.compile(pattern), handler, place, keyed)


_MJ = "(?:/[^/]+)?/mj"
_BILLING = "(?:/v1)?/dashboard/billing"
_ROUTES = (
    _route("POST", f"{_MJ}/insight-face/swap", relay.swap, "submit"),
    _route("GET", f"{_MJ}/task/([^/]+)/fetch", relay.fetch, "fetch"),
    _route("POST", f"{_MJ}/task/list-by-condition", relay.list_by_condition, "list"),
    _route("GET", f"{_MJ}/task/([^/]+)/image-seed", relay.seed, "seed"),
    _route("GET", f"{_MJ}/image/([^/]+)", showing.image, "image", keyed=False),
    _route("GET", f"{_BILLING}/subscription", showing.subscription, "usage"),
    _route("GET", f"{_BILLING}/usage", showing.usage, "usage"),
    _route("GET", "/api/log/self", dashboard.log, keyed=False),
    _route("GET", "/api/mj/self", dashboard.tasks, keyed=False),
    _route("GET", "/api/user/self", dashboard.account, keyed=False),
    _route("GET", "/__emu/cdn/([^/]+)", showing.cdn, keyed=False),
    _route("GET", "/__emu/state", surface.state, keyed=False),
    _route("POST", "/__emu/faults", surface.faults, keyed=False),
    _route("POST", "/__emu/reset", surface.reset, keyed=False),
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
    route, found = _find(exchange.method, exchange.path)
    if route is None or found is None:
        return _not_found(exchange)
    if not route.place:
        return await _handle(desk, exchange, route, found)
    _remember(desk, exchange)
    fault = desk.playbook.take(route.place)
    if fault is None:
        return await _handle(desk, exchange, route, found)
    return await fault.play(exchange, lambda: _handle(desk, exchange, route, found))


async def _handle(
    desk: Desk, exchange: Exchange, route: Route, found: re.Match[str]
) -> Reply:
    given = [unquote(part) for part in found.groups()]
    if not route.keyed:
        return await route.handler(desk, exchange, *given)
    key = authenticate(exchange, desk.store, desk.seconds)
    if isinstance(key, Reply):
        return key
    return await route.handler(desk, exchange, key, *given)


def _find(method: str, path: str) -> tuple[Route | None, re.Match[str] | None]:
    for route in _ROUTES:
        found = route.pattern.fullmatch(path)
        if found and route.method == method:
            return route, found
    return None, None


def _not_found(exchange: Exchange) -> Reply:
    path = exchange.path
    other = path[:-1] if path.endswith("/") else f"{path}/"
    if _find(exchange.method, other)[0] is not None:
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
        ("Access-Control-Allow-Methods", method),
        (
            "Vary",
            "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
        ),
    ]
    if names:
        headers.append(("Access-Control-Allow-Headers", names))
    return Reply(HTTPStatus.OK, b"", None, tuple(headers), vary=0)
