"""
From a request to its answer: admission, routes, faults.

A family is a module in ``relay/`` with its ``ROUTES``, and one line here; or a test
brings it in the setting ``routes``. Routes are those of ye4293/one-api
``router/relay-router.go``, redirects those of gin.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from aiohttp import web

from ezlink_async.emulator import admission, control_api
from ezlink_async.emulator.http import paths
from ezlink_async.emulator.http.exchange import Exchange, GoneError, put_in_order
from ezlink_async.emulator.http.replies import Reply, redirect, unknown_path
from ezlink_async.emulator.relay import (
    account,
    catalogue,
    files,
    flux,
    images,
    llm,
    midjourney,
    stability,
    video,
)
from ezlink_async.emulator.relay.routes import Route
from ezlink_async.emulator.relay.state import RecordedRequest, RelayState
from ezlink_async.emulator.settings import EmulatorSettings

_ROUTES = (
    *midjourney.ROUTES,
    *video.ROUTES,
    *account.ROUTES,
    *catalogue.ROUTES,
    *files.ROUTES,
    *flux.ROUTES,
    *images.ROUTES,
    *llm.ROUTES,
    *control_api.ROUTES,
)


def routes_of(settings: EmulatorSettings) -> tuple[Route, ...]:
    """Return the routes of the settings, then those of all families."""
    older = stability.ROUTES if settings.stability else stability.REMOVED
    return (*settings.routes, *_ROUTES, *older)


def make_app(state: RelayState) -> web.Application:
    """Return the application that answers from *state*."""
    app = web.Application()

    async def handle(request: web.Request) -> web.StreamResponse:
        exchange = Exchange(request, state.leaving)
        try:
            return await exchange.send(await _answer(state, exchange))
        except GoneError:
            exchange.hang_up()
            return web.Response()

    async def keep_waiting(_request: web.Request) -> None:
        """Send no ``100 Continue`` here: Exchange.read does, when it needs the body."""

    app.router.add_route("*", "/{path:.*}", handle, expect_handler=keep_waiting)
    app.on_response_prepare.append(put_in_order)
    return app


async def _answer(state: RelayState, exchange: Exchange) -> Reply:
    if not admission.is_called_by_its_name(exchange, state.settings):
        return admission.wrong_host(exchange)
    exchange.shared_with = admission.allowed_origin(exchange, state.settings)
    method = exchange.method
    if exchange.shared_with and admission.is_preflight(exchange):
        return admission.preflight(exchange)
    if not paths.is_well_escaped(exchange.path):
        await exchange.send_raw(paths.BAD_REQUEST)
    found = _find(state, method, unquote(exchange.path))
    if found is None:
        return _not_found(state, exchange)
    route, exchange.task_id = found
    if not route.kind:
        return await route.handler(state, exchange)
    _record(state, exchange)
    fault = state.faults.take(route.kind)
    if fault is None:
        return await route.handler(state, exchange)
    return await fault.apply(exchange, lambda: route.handler(state, exchange))


def _find(state: RelayState, method: str, path: str) -> tuple[Route, str] | None:
    for route in state.routes:
        found = re.fullmatch(route.pattern, path)
        if found and route.method == method:
            return route, (*found.groups(), "")[0]
    return None


def _not_found(state: RelayState, exchange: Exchange) -> Reply:
    path = unquote(exchange.path)
    other = path[:-1] if path.endswith("/") else f"{path}/"
    if _find(state, exchange.method, other) is not None:
        query = exchange.request.raw_path[len(exchange.path) :]
        return redirect(exchange.method, paths.cleaned(other) + query)
    reply = unknown_path(exchange.method, path)
    return reply.packed_for(exchange.header("Accept-Encoding"))


def _record(state: RelayState, exchange: Exchange) -> None:
    request = exchange.request
    headers = tuple(request.headers.items())
    method, path, number = request.method, request.raw_path, exchange.request_id
    state.requests.append(RecordedRequest(method, path, number, headers))
