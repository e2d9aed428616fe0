"""The upstream's checks of the pictures in a submit."""

import base64
import json

import pytest

from ezlink_async.emulator import EmulatorSettings, serving
from ezlink_async.emulator.upstream.requests import (
    RefusedError,
    SwapRequest,
    read_pictures,
)
from tests.support.emulator_requests import SWAP, RawApi, data_uri, picture, swap_body


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"targetBase64": data_uri(picture("s"))}, "人脸图片和目标图片不能相同 "),
        ({"sourceBase64": "http://x.example/a"}, "人脸图片格式错误 "),
        ({"targetBase64": "data:image/jpeg,abc"}, "目标图片格式错误 "),
        ({"targetBase64": "data:image/jpeg;base64,"}, "目标图片格式错误 "),
        ({"targetBase64": data_uri(b"x" * 10_001)}, "目标图片大小超过最大限制 "),
    ],
)
async def test_unusable_pictures_are_refused_with_code_4(
    fields: dict[str, str], text: str
) -> None:
    """Equal, unreadable and huge pictures are refused and not charged."""
    async with serving(EmulatorSettings(max_image=10_000)) as emu:
        body = json.dumps(json.loads(swap_body()) | fields).encode()
        response = await RawApi(emu).post(SWAP, body)

        assert response.status == 400
        error = {"code": 4, "description": text, "type": "upstream_error"}
        assert response.fields() == error
        assert emu.control.charges == []


def test_bare_base64_is_a_picture() -> None:
    text = base64.b64encode(b"abc").decode()
    pictures = read_pictures(SwapRequest(source=text, target=data_uri(b"d")), 10)

    assert (pictures.source, pictures.target) == (b"abc", b"d")


def test_base64_with_line_breaks_is_refused() -> None:
    with pytest.raises(RefusedError):
        read_pictures(SwapRequest(source="YW\nJj", target="ZA=="), 10)


async def test_large_pictures_give_the_same_result(api: RawApi) -> None:
    """Pictures that are decoded in a thread are swapped like small ones."""
    source, target = picture("s", 200_000), picture("t", 300_000)
    fields = {"sourceBase64": data_uri(source), "targetBase64": data_uri(target)}
    response = await api.post(SWAP, json.dumps(fields).encode())
    task_id = str(response.fields()["result"])

    assert (await api.fetch_end(task_id))["status"] == "SUCCESS"
    shown = await api.image(task_id)
    assert shown.body.endswith(target[-1000:])


async def test_body_beyond_the_limit_is_an_empty_answer() -> None:
    """The upstream refuses the length with an empty body; the relay answers code 5."""
    async with serving(EmulatorSettings(max_body=500)) as emu:
        response = await RawApi(emu).post(SWAP, swap_body())

        assert b"empty_response_body " in response.body
        assert emu.control.tasks == []
