"""Paths as the server reads them, redirects, preflights and unknown paths."""

import pytest

from ezlink_async.emulator import (
    Emulator,
    EmulatorSettings,
    Route,
    faults,
    serving,
    with_key,
)
from ezlink_async.emulator.http.exchange import Exchange
from ezlink_async.emulator.http.replies import Reply, as_json
from ezlink_async.emulator.relay.state import RelayState
from ezlink_async.emulator.relay.store import Charge, Key
from tests.support.emulator_requests import FETCH, RawApi
from tests.support.wire import RawConnection


async def test_redirect_removes_a_slash_and_keeps_the_query(api: RawApi) -> None:
    response = await api.get(f"{FETCH}/?a=1")

    assert response.header("Location") == f"{FETCH}?a=1"


async def test_preflight_without_headers_allows_none() -> None:
    """A preflight that asks for no header is answered without a list of headers."""
    origin = "https://a.example"
    asked = [("Origin", origin), ("Access-Control-Request-Method", "GET")]
    async with (
        serving(EmulatorSettings(origins=(origin,))) as emu,
        RawConnection(emu.base_url) as raw,
    ):
        response = await raw.request("OPTIONS", "/anything", asked)

    assert response.status == 200
    assert response.header("Access-Control-Allow-Headers") is None


@pytest.mark.parametrize(
    ("path", "location", "shown"),
    [
        ("/mj/task//fetch/", "/mj/task/fetch", "/mj/task/fetch"),
        ("/mj/task/a%2e./fetch/?a=1&b=2", "/mj/task/a../fetch?a=1&b=2", "?a=1&amp;b=2"),
        ("/mj/task/1/fetch/?'", "/mj/task/1/fetch?'", "?&#39;"),
        ("/mj/task/%41%20%22/fetch/", "/mj/task/A%20%22/fetch", "%22/fetch"),
    ],
)
async def test_redirect_names_the_cleaned_path(
    api: RawApi, path: str, location: str, shown: str
) -> None:
    """The body is a link, whose text is escaped for HTML."""
    response = await api.get(path)

    assert (response.status, response.header("Location")) == (301, location)
    assert f'{shown}">Moved Permanently</a>' in response.body.decode()


async def test_slash_in_an_id_is_decoded_before_the_path_is_looked_up(
    api: RawApi,
) -> None:
    response = await api.get("/mj/task/1%2F2/fetch")

    assert (response.status, response.body) == (404, b"")
    assert response.header("Content-Type") == "text/html; charset=utf-8"


@pytest.mark.parametrize("key", ["right", "wrong"])
async def test_empty_id_is_unknown_behind_the_check_of_the_key(
    emu: Emulator, api: RawApi, key: str
) -> None:
    """A row without an id is not found by it."""
    emu.control.script("submit", faults.Upstream(200, {"code": 1, "result": ""}))
    await api.submit()
    given = emu.api_key if key == "right" else "sk-wrong"
    async with RawConnection(emu.base_url) as raw:
        named = [("Authorization", f"Bearer {given}")]
        response = await raw.request("GET", "/mj/task//fetch", named)

    assert response.status == (400 if key == "right" else 401)
    assert ("Get mj id failed Error" in response.body.decode()) == (key == "right")


@pytest.mark.parametrize("path", ["/mj/task/%/fetch", "/mj/task/1/fetch%2", "/%zz"])
async def test_invalid_escape_gets_a_bare_refusal(emu: Emulator, path: str) -> None:
    """Go's server answers before any handler, without a date or a length."""
    async with RawConnection(emu.base_url) as raw:
        await raw.send("GET", path)
        answer = await raw.reader.read()

    assert answer == (
        b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
        b"Connection: close\r\n\r\n400 Bad Request"
    )


@pytest.mark.parametrize("method", ["HEAD", "PATCH", "GET"])
async def test_unknown_paths_are_shared_for_routed_methods_only(method: str) -> None:
    """An answer to HEAD or PATCH has no CORS headers, and to HEAD no length."""
    origin = "https://a.example"
    async with (
        serving(EmulatorSettings(origins=(origin,))) as emu,
        RawConnection(emu.base_url) as raw,
    ):
        response = await raw.request(method, "/nowhere", [("Origin", origin)])

    assert response.status == 404
    allowed = response.header("Access-Control-Allow-Origin")
    assert allowed == (origin if method == "GET" else None)
    assert response.header("Content-Length") == (None if method == "HEAD" else "0")


async def test_unknown_path_is_named_decoded(api: RawApi) -> None:
    response = await api.get("/v1/n%6Fpe")

    assert "Invalid URL (GET /v1/nope)" in response.body.decode()


async def _toy(state: RelayState, exchange: Exchange, key: Key) -> Reply:
    charge = Charge(
        request_id=exchange.request_id,
        task_id=exchange.task_id,
        units=5,
        account=key.account.number,
        key=key.text,
        seconds=state.seconds,
    )
    state.store.charge(key, charge)
    return as_json({"made": exchange.task_id})


async def test_family_of_a_test_brings_its_routes() -> None:
    """Its requests are checked, recorded, charged and disturbed like all others."""
    route = Route("POST", "/toy/([^/]+)", "toy", with_key(_toy))
    async with serving(EmulatorSettings(routes=(route,))) as emu:
        api = RawApi(emu)
        emu.control.script("toy", faults.Answer(418))
        statuses = [(await api.post("/toy/7")).status for _ in range(2)]
        made = await api.post("/toy/7")
        async with RawConnection(emu.base_url) as raw:
            refused = await raw.request("POST", "/toy/7")

        assert statuses == [418, 200]
        assert made.fields() == {"made": "7"}
        assert refused.status == 401
        assert emu.control.charged == 10
        assert len(emu.control.requests) == 4
        assert (await api.get(FETCH)).status == 400


async def test_added_route_goes_before_that_of_the_emulator() -> None:
    route = Route("GET", "/mj/task/([^/]+)/fetch", "toy", with_key(_toy))
    async with serving(EmulatorSettings(routes=(route,))) as emu:
        answer = await RawApi(emu).get(FETCH)

    assert answer.fields() == {"made": "1"}
