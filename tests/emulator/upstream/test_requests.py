"""Pictures on their way in: what the upstream takes, and what it refuses."""

import base64
import json

import pytest

from ezlink_async.emulator import EmulatorSettings, serving
from ezlink_async.emulator.upstream.requests import (
    RefusedError,
    SwapRequest,
    read_pictures,
)
from tests.support.emulator_requests import Ask, asker, fetch_end, picture, swap_body
from tests.support.wire import Answered

_SWAP = "/mj/insight-face/swap"


def _uri(content: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(content).decode()


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"targetBase64": _uri(picture("s"))}, "人脸图片和目标图片不能相同 "),
        ({"sourceBase64": "http://x.example/a"}, "人脸图片格式错误 "),
        ({"targetBase64": "data:image/jpeg,abc"}, "目标图片格式错误 "),
        ({"targetBase64": "data:image/jpeg;base64,"}, "目标图片格式错误 "),
        ({"targetBase64": _uri(b"x" * 10_001)}, "目标图片大小超过最大限制 "),
    ],
)
async def test_the_upstream_checks_the_pictures(
    fields: dict[str, str], text: str
) -> None:
    """Equal, unreadable and huge pictures are refused with code 4, unpaid."""
    async with serving(EmulatorSettings(max_image=10_000)) as emu:
        value = json.loads(swap_body()) | fields
        answered = await asker(emu)("POST", _SWAP, json.dumps(value).encode())

        assert answered.status == 400
        assert answered.json() == {
            "code": 4,
            "description": text,
            "type": "upstream_error",
        }
        assert emu.control.charges == []


def test_bare_base64_is_a_picture() -> None:
    """A picture without the words of a data URI is taken as it is."""
    text = base64.b64encode(b"abc").decode()
    pictures = read_pictures(SwapRequest(source=text, target=_uri(b"d")), 10)

    assert (pictures.source, pictures.target) == (b"abc", b"d")


def test_line_breaks_are_no_base64() -> None:
    """Base64 folded into lines is refused."""
    with pytest.raises(RefusedError):
        read_pictures(SwapRequest(source="YW\nJj", target="ZA=="), 10)


async def test_big_pictures_are_swapped_as_well(ask: Ask) -> None:
    """What is decoded away from the loop gives the same result."""
    body = json.dumps(
        {
            "sourceBase64": _uri(picture("s", 200_000)),
            "targetBase64": _uri(picture("t", 300_000)),
        }
    ).encode()
    answered = await ask("POST", _SWAP, body)
    task_id = _result(answered)

    assert (await fetch_end(ask, task_id))["status"] == "SUCCESS"
    shown = await ask("GET", f"/mj/image/{task_id}")
    assert shown.body.endswith(picture("t", 300_000)[-1000:])


async def test_a_body_beyond_the_limit_is_an_empty_answer() -> None:
    """The upstream refuses the length without a word; the relay says code 5."""
    async with serving(EmulatorSettings(max_body=500)) as emu:
        answered = await asker(emu)("POST", _SWAP, swap_body())

        assert b"empty_response_body " in answered.body
        assert emu.control.tasks == []


def _result(answered: Answered) -> str:
    value = answered.json()
    assert isinstance(value, dict)
    return str(value["result"])
