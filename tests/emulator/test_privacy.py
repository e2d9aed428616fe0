"""What strangers can do to an emulator: other pages, other users, other names."""

from __future__ import annotations

import json

import pytest

from ezlink_async.emulator import (
    DEFAULT_KEY,
    Clock,
    Emulator,
    EmulatorSettings,
    running,
    serving,
)
from tests.support.emulator_requests import LIST, SWAP, RawApi, headers, swap_body
from tests.support.wire import RawConnection, RawResponse

FRONT_END = "http://localhost:3000"
STRANGER = "https://stranger.example"
CONTROL = [
    ("GET", "/__emu/state"),
    ("POST", "/__emu/faults"),
    ("POST", "/__emu/reset"),
]
JSON = ("Content-Type", "application/json")


async def _ask(
    emu: Emulator, method: str, path: str, *more: tuple[str, str], body: bytes = b""
) -> RawResponse:
    """Send a request that carries neither key nor secret unless *more* has them."""
    async with RawConnection(emu.base_url) as raw:
        return await raw.request(method, path, more, body)


def _shared(response: RawResponse) -> set[str]:
    return {name for name, _ in response.headers if name.startswith("Access-Control-")}


@pytest.mark.parametrize(("method", "path"), CONTROL)
@pytest.mark.parametrize("secret", [None, "", "guess", "gu\u00e9ss"])
async def test_control_answers_only_with_the_secret_of_this_run(
    emu: Emulator, api: RawApi, method: str, path: str, secret: str | None
) -> None:
    """A request without it, or with another, changes nothing and is told nothing."""
    await api.submit()
    given = [] if secret is None else [("X-Emulator-Secret", secret)]
    body = json.dumps({"on": "fetch", "standing": {"kind": "stall"}}).encode()

    response = await _ask(emu, method, path, JSON, *given, body=body)

    assert response.status == 403
    assert response.fields() == {"error": "X-Emulator-Secret is missing or wrong"}
    assert len(emu.control.charges) == 1
    assert (await api.get("/mj/task/1/fetch")).status == 400


@pytest.mark.parametrize("path", ["/__emu/faults", "/__emu/reset"])
@pytest.mark.parametrize("kind", ["text/plain", "application/jsonp", ""])
async def test_control_is_changed_only_by_json(
    emu: Emulator, path: str, kind: str
) -> None:
    """A page may send text to another origin unasked, but no JSON."""
    given = [("X-Emulator-Secret", emu.control_secret), ("Content-Type", kind)]

    response = await _ask(emu, "POST", path, *given, body=b"{}")

    assert response.status == 415
    assert "application/json" in str(response.fields())


async def test_parameters_of_the_json_type_are_allowed(emu: Emulator) -> None:
    kind = ("Content-Type", "Application/JSON; charset=utf-8")
    secret = ("X-Emulator-Secret", emu.control_secret)

    response = await _ask(emu, "POST", "/__emu/reset", kind, secret)

    assert response.fields() == {"ok": True}


@pytest.mark.parametrize("path", ["/__emu/state", "/mj/image/1", "/api/user/self"])
@pytest.mark.parametrize(
    "host", ["stranger.example", "127.0.0.1.stranger.example", "10.0.0.1", "[odd", ""]
)
async def test_only_the_address_it_listens_on_is_answered(
    emu: Emulator, path: str, host: str
) -> None:
    """A name that a stranger points at this machine opens nothing."""
    async with RawConnection(emu.base_url) as raw:
        raw.host = host
        response = await raw.request("GET", path, headers(emu))

    assert response.status == 421
    assert "hosts" in response.body.decode()
    assert emu.control.requests == []


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost:99", "LOCALHOST.", "emu.test:1"]
)
async def test_names_of_its_address_and_of_the_settings_are_answered(host: str) -> None:
    async with (
        serving(EmulatorSettings(hosts=("emu.test",))) as emu,
        RawConnection(emu.base_url) as raw,
    ):
        raw.host = host
        response = await raw.request("GET", "/mj/task/1/fetch", headers(emu))

    assert response.status == 400


async def test_emulator_on_every_address_answers_the_one_that_was_called() -> None:
    """No name reaches it that is not an address of this machine."""
    async with serving(EmulatorSettings(host="0.0.0.0")) as emu:  # noqa: S104 - the case
        address = emu.base_url.replace("0.0.0.0", "127.0.0.1")  # noqa: S104
        async with RawConnection(address) as raw:
            response = await raw.request("GET", "/mj/task/1/fetch", headers(emu))
            raw.host = "stranger.example"
            refused = await raw.request("GET", "/mj/task/1/fetch", headers(emu))

    assert (response.status, refused.status) == (400, 421)


_PATHS = ["/mj/task/1/fetch", "/mj/image/1", "/api/user/self", "/nowhere", "/mj/"]


@pytest.mark.parametrize("path", _PATHS)
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
async def test_no_origin_may_read_an_answer_by_default(
    emu: Emulator, method: str, path: str
) -> None:
    asked = [("Origin", STRANGER), ("Access-Control-Request-Method", "GET")]

    response = await _ask(emu, method, path, *asked, *headers(emu))

    assert _shared(response) == set()


@pytest.mark.parametrize(
    "origin", [STRANGER, "null", f"{FRONT_END}0", "http://localhost"]
)
async def test_named_origin_may_read_and_no_other(origin: str) -> None:
    """The front end's own page passes its preflight and reads; a stranger does not."""
    async with serving(EmulatorSettings(origins=(FRONT_END,))) as emu:
        for asking, wanted in ((FRONT_END, FRONT_END), (origin, None)):
            preflight = [
                ("Origin", asking),
                ("Access-Control-Request-Method", "POST"),
                ("Access-Control-Request-Headers", "authorization"),
            ]
            allowed = await _ask(emu, "OPTIONS", SWAP, *preflight)
            read = await _ask(
                emu, "POST", LIST, ("Origin", asking), *headers(emu), body=b"{}"
            )
            for response in (allowed, read):
                assert response.header("Access-Control-Allow-Origin") == wanted
                assert bool(_shared(response)) == bool(wanted)


@pytest.mark.parametrize(
    ("method", "path"), [*CONTROL, ("GET", "/__%65mu/state"), ("GET", "/%5f_emu/state")]
)
async def test_control_is_shared_with_no_origin(method: str, path: str) -> None:
    """Named origins may call the API, but neither read nor change the emulator."""
    async with serving(EmulatorSettings(origins=(FRONT_END,))) as emu:
        asked = [("Origin", FRONT_END), ("Access-Control-Request-Method", method)]
        preflight = await _ask(emu, "OPTIONS", path, *asked)
        secret = ("X-Emulator-Secret", emu.control_secret)
        answer = await _ask(
            emu, method, path, ("Origin", FRONT_END), secret, JSON, body=b"{}"
        )

    assert (preflight.status, _shared(preflight)) == (404, set())
    assert (answer.status, _shared(answer)) == (200, set())


@pytest.mark.parametrize("origin", ["*", "null", "localhost:3000", "http://a.example/"])
def test_origin_that_no_browser_sends_is_a_mistake(origin: str) -> None:
    with pytest.raises(ValueError, match="such as http://localhost:3000"):
        EmulatorSettings(origins=(origin,))


async def test_every_run_has_credentials_of_its_own() -> None:
    """Key, access token and secret of one run open no other, nor do the known ones."""
    settings = EmulatorSettings()
    async with serving(settings) as first, serving(settings) as second:
        for name in ("api_key", "account_token", "control_secret"):
            assert getattr(first, name) != getattr(second, name)
            assert getattr(first, name) not in repr(first)
        known = ("Authorization", f"Bearer {DEFAULT_KEY}")
        assert (await _ask(first, "GET", "/mj/task/1/fetch", known)).status == 401


async def test_credentials_may_be_fixed() -> None:
    settings = EmulatorSettings(
        api_key="sk-mine", account_token="tell", control_secret="hush"
    )
    async with serving(settings) as emu:
        fixed = (emu.api_key, emu.account_token, emu.control_secret)
        assert (await RawApi(emu).get("/mj/task/1/fetch")).status == 400

    assert fixed == ("sk-mine", "tell", "hush")
    assert "hush" not in repr(settings)


async def test_key_alone_lists_no_tasks_of_a_server_with_the_default_key() -> None:
    """The key of ``running()`` is known to all; the account's pages stay closed."""
    async with running() as base_url, RawConnection(base_url) as raw:
        known = [("Authorization", DEFAULT_KEY)]
        listed = await raw.request("GET", "/api/mj/self?page=1&pagesize=9", known)
        everything = await raw.request("POST", LIST, [*known, JSON], b"{}")

    assert (listed.status, everything.rows()) == (401, [])


async def test_ids_of_tasks_do_not_follow_from_the_time() -> None:
    """A picture needs no key, so its id is the only thing that protects it."""
    async with serving(EmulatorSettings(clock=Clock(ticking=False), queue=99)) as emu:
        api = RawApi(emu)
        ids = [await api.submit() for _ in range(20)]

    assert all(len(task_id) == 16 and task_id.isdigit() for task_id in ids)
    # 13 digits of milliseconds alike would leave one beginning for all.
    assert len({task_id[:6] for task_id in ids}) > 10


async def test_stranger_without_a_key_gets_nothing(emu: Emulator, api: RawApi) -> None:
    """As curl on the same machine: no submit, no task, no account, no picture."""
    task_id = await api.swapped()
    for method, path in (
        ("GET", f"/mj/task/{task_id}/fetch"),
        ("POST", LIST),
        ("POST", SWAP),
        ("GET", "/api/mj/self?page=1&pagesize=9"),
        ("GET", "/api/user/self"),
    ):
        response = await _ask(emu, method, path, JSON, body=swap_body())
        assert response.status == 401
    assert len(emu.control.charges) == 1


async def test_hook_to_this_machine_is_not_called_by_default(
    emu: Emulator, api: RawApi
) -> None:
    """A submit cannot make the emulator send requests to other local servers."""
    async with serving() as other:
        await api.fetch_end(await api.submit(notifyHook=f"{other.base_url}/hook"))

        assert (emu.control.hooks, other.control.requests) == ([], [])
