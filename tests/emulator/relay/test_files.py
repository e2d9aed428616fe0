"""Uploads: what is stored, for whom, and what is refused."""

from __future__ import annotations

import hashlib

import pytest

from ezlink_async.emulator import Emulator, EmulatorSettings, serving
from tests.support.emulator_requests import RawApi
from tests.support.wire import RawConnection, RawResponse

_WORKS = EmulatorSettings(files_work=True)


def _form(content: bytes = b"hello", name: str = "a.txt", purpose: str = "") -> bytes:
    part = "--b\r\nContent-Disposition: form-data; name="
    field = f'{part}"Purpose"\r\n\r\n{purpose}\r\n' if purpose else ""
    head = f'{field}{part}"file"; filename="{name}"\r\n\r\n'
    return head.encode() + content + b"\r\n--b--\r\n"


async def _post(
    emu: Emulator,
    body: bytes,
    key: str | None = None,
    content_type: str = "multipart/form-data; boundary=b",
) -> RawResponse:
    named = [("Authorization", f"Bearer {key or emu.api_key}")]
    if content_type:
        named.append(("Content-Type", content_type))
    async with RawConnection(emu.base_url) as raw:
        return await raw.request("POST", "/v1/files", named, body)


async def test_file_is_recorded_with_its_hash_and_is_free() -> None:
    async with serving(_WORKS) as emu:
        answer = await _post(emu, _form(b"hello" * 100_000, purpose="vision"))
        (stored,) = emu.control.files
        assert answer.fields()["file"] == stored.shown()
        assert (stored.name, stored.purpose, stored.size) == (
            "a.txt",
            "vision",
            500_000,
        )
        assert stored.sha256 == hashlib.sha256(b"hello" * 100_000).hexdigest()
        assert emu.control.charged == 0
        emu.control.reset()
        assert emu.control.files == [stored]


async def test_account_without_a_file_is_answered_with_nothing(emu: Emulator) -> None:
    """So are its second upload and its tenth: the record is never made."""
    for _ in range(2):
        answer = await _post(emu, _form())
        assert (answer.status, answer.body) == (200, b"")
        assert answer.header("Content-Type") is None
    assert emu.control.files == []


async def test_files_of_one_account_count_together_up_to_its_limit() -> None:
    async with serving(EmulatorSettings(files_work=True, files_limit=10)) as emu:
        other = emu.control.add_account(balance=1)
        assert (await _post(emu, _form(b"12345"))).status == 200
        assert (await _post(emu, _form(b"123456"))).status == 400
        assert (await _post(emu, _form(b"12345"))).status == 200
        assert (await _post(emu, _form(b"1"))).status == 400
        assert (await _post(emu, _form(b"1"), other)).status == 200
        assert len(emu.control.files) == 3


async def test_upload_needs_a_key(emu: Emulator) -> None:
    assert (await _post(emu, _form(), key="sk-x")).status == 401


@pytest.mark.parametrize(
    ("body", "content_type", "status", "says"),
    [
        (_form(), "multipart/form-data", 400, "no multipart boundary param"),
        (_form(), "", 500, "Error retrieving the file"),
        (_form(name=""), "multipart/form-data; boundary=b", 500, "Error retrieving"),
        (b"", "multipart/form-data; boundary=b", 500, "Error retrieving the file"),
    ],
)
async def test_body_without_a_file_is_refused(
    body: bytes, content_type: str, status: int, says: str
) -> None:
    async with serving(_WORKS) as emu:
        answer = await _post(emu, body, content_type=content_type)
        assert answer.status == status
        assert str(answer.fields()["message"]).startswith(says)
        assert answer.fields()["success"] is False
        assert emu.control.files == []


async def test_upload_from_a_client_that_leaves_stores_nothing() -> None:
    async with serving(_WORKS) as emu:
        async with RawConnection(emu.base_url) as raw:
            named = [
                ("Authorization", f"Bearer {emu.api_key}"),
                ("Content-Type", "multipart/form-data; boundary=b"),
            ]
            await raw.send_head("POST", "/v1/files", named, 1_000_000)
            raw.writer.write(_form()[:-9])
            await raw.writer.drain()
        assert (await _post(emu, _form(name="b.txt"))).status == 200
        assert [file.name for file in emu.control.files] == ["b.txt"]


@pytest.mark.parametrize("path", ["/v1/files", "/v1/files/1", "/v1/files/1/content"])
async def test_other_calls_about_files_miss_a_model(api: RawApi, path: str) -> None:
    answer = await api.get(path)
    assert answer.status == 400
    assert b"Model name is required (request id: " in answer.body
