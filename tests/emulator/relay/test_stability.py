"""Stability's old calls as the relay answers them, and its 404 without them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

import attrs
import pytest

from ezlink_async.emulator import Clock, Emulator, EmulatorSettings, faults, serving
from tests.support.pictures import png
from tests.support.wire import RawConnection, RawResponse

OLD = EmulatorSettings(stability=True)

CORE = "/v2beta/stable-image/generate/core"
VIDEO = "/v2beta/image-to-video"


def _form(fields: Mapping[str, str], picture: bytes | None = None) -> bytes:
    part = "--b\r\nContent-Disposition: form-data; name="
    body = "".join(f'{part}"{name}"\r\n\r\n{text}\r\n' for name, text in fields.items())
    content = body.encode()
    if picture is not None:
        head = f'{part}"image"; filename="image.png"\r\n\r\n'
        content += head.encode() + picture + b"\r\n"
    return content + b"--b--\r\n"


async def _ask(
    emu: Emulator,
    path: str = CORE,
    body: bytes | None = None,
    *,
    accept: str = "application/json",
    content_type: str = "multipart/form-data; boundary=b",
) -> RawResponse:
    method = "GET" if "/result/" in path else "POST"
    named = [
        ("Authorization", f"Bearer {emu.api_key}"),
        ("Accept", accept),
        ("Content-Type", content_type),
    ]
    content = _form({"prompt": "a fox"}) if body is None else body
    async with RawConnection(emu.base_url) as raw:
        sent = b"" if method == "GET" else content
        return await raw.request(method, path, named, sent)


async def test_picture_is_text_to_the_relay_and_is_charged() -> None:
    """It names no content type, so its server takes JSON for a text."""
    async with serving(OLD) as emu:
        answer = await _ask(emu)
        assert answer.status == 200
        assert answer.header("Content-Type") == "text/plain; charset=utf-8"
        body = answer.fields()
        assert base64.b64decode(str(body["image"])).startswith(b"\x89PNG")
        assert body["finish_reason"] == "SUCCESS"
        (charge,) = emu.control.charges
        assert (charge.units, charge.model, charge.action) == (
            15_000,
            "generate_core",
            "GENERATE_CORE",
        )


async def test_picture_alone_is_sent_where_that_is_asked() -> None:
    async with serving(OLD) as emu:
        answer = await _ask(emu, accept="image/*")
        assert answer.header("Content-Type") == "image/png"
        assert answer.body.startswith(b"\x89PNG")


@pytest.mark.parametrize("prefix", ["", "/sd"])
async def test_task_runs_is_done_and_expires(prefix: str) -> None:
    clock = Clock(ticking=False)
    settings = attrs.evolve(OLD, engine_seconds=60, clock=clock)
    async with serving(settings) as emu:
        accepted = await _ask(emu, prefix + VIDEO, _form({"seed": "7"}, png()))
        number = str(accepted.fields()["id"])
        path = f"{prefix}{VIDEO}/result/{number}"
        running = await _ask(emu, path)
        assert (running.status, running.fields()["status"]) == (202, "in-progress")
        emu.control.advance(60)
        done = await _ask(emu, path)
        assert (done.status, done.fields()["seed"]) == (200, 7)
        assert b"ftyp" in base64.b64decode(str(done.fields()["video"]))[:12]
        emu.control.advance(86_400)
        gone = await _ask(emu, path)
        assert (gone.status, gone.fields()["name"]) == (404, "not_found")
        assert [charge.units for charge in emu.control.charges] == [100_000]


async def test_id_is_known_behind_its_own_call_only() -> None:
    async with serving(OLD) as emu:
        accepted = await _ask(emu, VIDEO, _form({}, png()))
        number = accepted.fields()["id"]
        other = f"/v2beta/stable-image/upscale/creative/result/{number}"
        assert (await _ask(emu, other)).status == 404
        unknown = await _ask(emu, f"{VIDEO}/result/{'ab' * 32}")
        assert (unknown.status, unknown.fields()) == (
            400,
            {"error": "get_channel_id_failed"},
        )


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        (CORE, _form({}), "prompt: is required"),
        (CORE, _form({"prompt": "a", "aspect_ratio": "1:0"}), "division"),
        (CORE, _form({"prompt": "a", "aspect_ratio": "wide"}), "invalid literal"),
        (VIDEO, _form({}), "image: is required"),
        (VIDEO, _form({}, b"no picture"), "picture"),
        ("/v2beta/stable-image/edit/erase", _form({}, b"no"), "picture"),
        (
            "/v2beta/stable-image/edit/outpaint",
            _form({"left": "many"}, png()),
            "invalid literal",
        ),
    ],
)
async def test_provider_refuses_a_form_for_nothing(
    path: str, body: bytes, says: str
) -> None:
    async with serving(OLD) as emu:
        answer = await _ask(emu, path, body)
        assert (answer.status, answer.fields()["name"]) == (400, "bad_request")
        assert says in json.dumps(answer.fields()["errors"])
        assert emu.control.charged == 0


@pytest.mark.parametrize(
    ("fault", "status", "body", "charged"),
    [
        (faults.Trouble("panic"), 500, b"", 0),
        (faults.Trouble("user_quota_lookup"), 400, b"Failed to get userQuota", 0),
        (faults.Trouble("no_channel"), 503, b"There are no channels available", 0),
        (faults.Trouble("insert_failed"), 400, b"failed to Insert sdTask", 15_000),
        (faults.Upstream(broken="reset"), 400, b"failed to get response", 0),
        (faults.Upstream(200, "<html>"), 400, b"failed to get response", 0),
        (faults.Upstream(403, {"name": "x"}), 403, b'{"name":"x"}', 0),
        (faults.Upstream(200, {"image": ""}), 200, b'{"image":""}', 15_000),
    ],
)
async def test_relay_answers_in_its_words_and_charges_for_status_200(
    fault: faults.Fault, status: int, body: bytes, charged: int
) -> None:
    async with serving(OLD) as emu:
        emu.control.script("stability", fault)
        answer = await _ask(emu)
        assert answer.status == status
        assert body in answer.body
        assert emu.control.charged == charged


async def test_body_that_is_no_form_is_a_failed_call() -> None:
    async with serving(OLD) as emu:
        for content_type in ("application/json", "multipart/form-data; boundary=b"):
            answer = await _ask(emu, CORE, b"{}", content_type=content_type)
            assert answer.fields() == {"error": "failed to get response"}


async def test_account_below_the_price_is_refused() -> None:
    async with serving(attrs.evolve(OLD, balance=14_999)) as emu:
        answer = await _ask(emu)
        assert answer.fields() == {"error": "User balance is not enough"}


async def test_scripted_answer_about_a_result_is_passed_on() -> None:
    async with serving(OLD) as emu:
        accepted = await _ask(emu, VIDEO, _form({}, png()))
        path = f"{VIDEO}/result/{accepted.fields()['id']}"
        emu.control.script(
            "stability_result",
            faults.Upstream(403, {"name": "x"}),
            faults.Upstream(broken="half"),
        )
        assert (await _ask(emu, path)).status == 403
        assert (await _ask(emu, path)).fields() == {"error": "failed to get response"}
        assert (await _ask(emu, path)).status == 200


@pytest.mark.parametrize("path", [CORE, VIDEO, f"{VIDEO}/", f"{VIDEO}/result/ab"])
async def test_server_without_the_calls_serves_nothing_there(path: str) -> None:
    """It asks for no key, and sends on to no other path."""
    async with serving() as emu:
        async with RawConnection(emu.base_url) as raw:
            method = "GET" if "/result/" in path else "POST"
            answer = await raw.request(method, path)
        assert (answer.status, answer.body) == (404, b"")
        assert answer.header("Cache-Control") == "no-cache"
        assert answer.header("Content-Type") == "text/html; charset=utf-8"


async def test_style_is_not_served() -> None:
    async with serving(OLD) as emu:
        path = "/v2beta/stable-image/control/style"
        assert (await _ask(emu, path, _form({}, png()))).status == 404


async def test_call_needs_a_key() -> None:
    async with serving(OLD) as emu, RawConnection(emu.base_url) as raw:
        assert (await raw.request("POST", CORE)).status == 401
