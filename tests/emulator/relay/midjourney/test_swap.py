"""The submit of a swap: bodies as the relay reads them."""

from __future__ import annotations

import gzip
import json

import pytest

from ezlink_async.emulator import Emulator, EmulatorSettings, serving
from tests.support.emulator_requests import SWAP, RawApi, headers, swap_body
from tests.support.wire import RawConnection


def _swap_with(**changes: object) -> bytes:
    return json.dumps(json.loads(swap_body()) | changes).encode()


_FORM = "application/x-www-form-urlencoded"
_BODIES = [
    # a general field of another type: refused by the distributor
    ("application/json", _swap_with(index=1.5), "Model name is required"),
    ("application/json", _swap_with(index=True), "Model name is required"),
    ("application/json", _swap_with(base64Array=[1]), "Model name is required"),
    ("application/json", _swap_with(base64Array="x"), "Model name is required"),
    ("application/json", _swap_with(NOTIFYHOOK=1), "Model name is required"),
    ("application/json", b'{"state":NaN}', "Model name is required"),
    ("multipart/form-data; boundary=x", swap_body(), "Model name is required"),
    # the same under a type that is no JSON type: the handler's own reading
    ("Application/JSON", _swap_with(state=1), '"code":1,'),
    ("text/plain", _swap_with(sourceBase64=1), "sour_base64_and"),
    ("text/plain", b"[1]", "sour_base64_and"),
    ("text/plain", b"{", "sour_base64_and"),
    # one key in two spellings: the value of the right type counts
    ("text/plain", _swap_with(SOURCEBASE64=1), '"code":1,'),
    ("text/plain", _swap_with(TargetBase64=["x"]), '"code":1,'),
    # a form, none of whose fields is the relay's; a data URI has a semicolon
    (_FORM, b"sourceBase64=x&targetBase64=y", "sour_base64_and"),
    (f"{_FORM}; charset=utf-8", b"", "sour_base64_and"),
    (_FORM, b'{"a":"100%41"}', "sour_base64_and"),
    (_FORM, swap_body(), "Model name is required"),
    (_FORM, b"a=1;b=2", "Model name is required"),
    (_FORM, b"a=100%", "Model name is required"),
    # bodies that Go accepts
    ("application/json", _swap_with(index=None, base64Array=None), '"code":1,'),
    ("application/json", _swap_with(index=3, base64Array=["a", None]), '"code":1,'),
    ("application/json", _swap_with(accountFilter=7), '"code":1,'),
    ("application/json", _swap_with(SourceBase64=None), '"code":1,'),
    ("application/json", _swap_with(SOURCEBASE64=1), "bind_request_body_failed"),
]


@pytest.mark.parametrize(("kind", "body", "words"), _BODIES)
async def test_odd_body_is_read_as_the_relay_reads_it(
    kind: str, body: bytes, words: str, emu: Emulator
) -> None:
    """Each body is refused at the stage, and in the words, of the relay."""
    async with RawConnection(emu.base_url) as raw:
        named = [headers(emu)[0], ("Content-Type", kind)]
        response = await raw.request("POST", SWAP, named, body)

    assert words in response.body.decode()
    assert len(emu.control.charges) == int('"code":1,' in words)


async def test_gzipped_submit_is_refused(emu: Emulator, api: RawApi) -> None:
    """The relay does not unpack a body, so it finds no JSON."""
    packed = gzip.compress(swap_body())
    response = await api.post(SWAP, packed, ("Content-Encoding", "gzip"))

    assert response.status == 400
    assert b"Model name is required" in response.body
    assert emu.control.charges == []


async def test_accepted_submit_is_json_without_plain_text() -> None:
    async with serving(EmulatorSettings(plain_text=False)) as emu:
        response = await RawApi(emu).post(SWAP, swap_body())

    assert response.header("Content-Type") == "application/json"
