"""Requests that no family answers: redirects and preflights."""

from ezlink_async.emulator import EmulatorSettings, serving
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
