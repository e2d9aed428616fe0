"""Uploads: names, forms, and what each answer means."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezlink_async import errors
from ezlink_async._core.messages import FileContent, HttpResponse, StreamContent
from ezlink_async.models import UploadedFile
from ezlink_async.services.files import (
    FileLike,
    check_purpose,
    content_of,
    file_name,
    read_upload,
    upload_request,
)
from tests.support.samples import Sample, family_samples, samples


def _samples() -> dict[str, Sample]:
    both = {**samples(), **family_samples()}
    return {name: each for name, each in both.items() if name.startswith("files-")}


_NOTHING = (errors.RejectedError, "nothing is stored")
_FRONT = (errors.RejectedError, "Model name is required")
_FULL = (errors.RejectedError, "than its level allows")
_STORAGE = (errors.ServerError, "storage has not taken the file")
_NO_FILE = (errors.ServerError, "no file in the form")
_URL = "https://pub-files.r2.dev/33"

OUTCOMES: dict[str, tuple[object, ...]] = {
    "files-first": _NOTHING,
    "files-first-upload": _NOTHING,
    "files-unknown-group": _NOTHING,
    "files-lower-purpose": ("2", "a.txt", f"{_URL}a.txt", 5, ""),
    "files-capital-purpose": ("3", "a.txt", f"{_URL}a.txt", 5, "vision"),
    "files-odd-name": ("4", "ü&.png", f"{_URL}%C3%BC%26.png", 5, ""),
    "files-no-part": _NO_FILE,
    "files-json": _NO_FILE,
    "files-cut": _NO_FILE,
    "files-quota": _FULL,
    "files-unknown-level": _FULL,
    "files-storage-refuses": _STORAGE,
    "files-storage-resets": _STORAGE,
    # No call of the client asks for these; they end in front of every handler.
    "files-list": _FRONT,
    "files-list-model": _FRONT,
    "files-list-openai": _FRONT,
    "files-delete": _FRONT,
}


@pytest.mark.parametrize("name", OUTCOMES)
def test_recorded_answer_becomes_the_outcome_beside_its_name(name: str) -> None:
    """Each refusal surely stored nothing, and none is paid."""
    outcome, response = OUTCOMES[name], _samples()[name].response
    if isinstance(outcome[0], str):
        found = read_upload(response)
        shown = (found.id, found.name, found.url, found.size, found.purpose)
        assert shown == outcome
        assert found.created is not None
        assert found.created.year == 2026
        return
    with pytest.raises(errors.ApiError) as caught:
        read_upload(response)
    kind, says = outcome
    assert type(caught.value) is kind
    assert str(says) in str(caught.value)
    assert caught.value.retry_safe
    assert not caught.value.maybe_charged
    assert caught.value.request_id


def test_every_recorded_answer_has_an_outcome() -> None:
    assert set(_samples()) == set(OUTCOMES)


_FILE: dict[str, object] = {
    "id": 7,
    "user_id": 3,
    "creat_time": 1795416306,
    "bytes": 5,
    "store_url": "https://files.example/3a b#?.txt",
    "purpose": "",
    "file_name": "a b#?.txt",
}


def _answer(body: object, status: int = 200, *, whole: bool = True) -> HttpResponse:
    return HttpResponse(status, {}, json.dumps(body).encode(), whole=whole)


def _stored(**changes: object) -> UploadedFile:
    file = {**_FILE, **changes}
    return read_upload(_answer({"file": file, "success": True}))


def test_address_has_its_name_percent_encoded() -> None:
    """The server writes the name as it is; a browser would cut it at ``#``."""
    assert _stored().url == "https://files.example/3a%20b%23%3F.txt"
    assert _stored(store_url="http://h/1/50%.txt").url == "http://h/1/50%25.txt"


@pytest.mark.parametrize(
    "changes",
    [
        {"id": None},
        {"bytes": "5"},
        {"file_name": None},
        {"store_url": None},
        {"store_url": "javascript:alert(1)"},
        {"store_url": "https://host"},
        {"store_url": "https:///a"},
    ],
)
def test_answer_without_a_whole_file_says_that_one_may_be_stored(
    changes: dict[str, object],
) -> None:
    with pytest.raises(errors.ProtocolError, match="may be stored") as caught:
        _stored(**changes)
    assert not caught.value.retry_safe


@pytest.mark.parametrize("seconds", [None, 0, "x", 10**300])
def test_file_without_a_time_is_read_without_one(seconds: object) -> None:
    assert _stored(creat_time=seconds).created is None


@pytest.mark.parametrize("body", [[], "ok", {"success": True}, {"file": []}])
def test_answer_of_another_shape_is_a_protocol_error(body: object) -> None:
    with pytest.raises(errors.ProtocolError):
        read_upload(_answer(body))


def test_empty_answer_that_broke_off_is_no_refusal() -> None:
    """Its rest may have named the file."""
    with pytest.raises(errors.ProtocolError, match="may be stored"):
        read_upload(HttpResponse(200, {}, b"", whole=False))


def test_file_whose_record_is_lost_is_a_server_error() -> None:
    """Read in the server's source: the object is there, and no record of it."""
    with pytest.raises(
        errors.ServerError, match="lost its record: disk full"
    ) as caught:
        read_upload(_answer({"success": False, "message": "disk full"}))
    assert not caught.value.retry_safe


@pytest.mark.parametrize("status", [500, 502, 504])
def test_fault_of_an_unknown_kind_is_unpaid_and_not_safe(status: int) -> None:
    """A proxy's page says nothing about the file; no upload is ever paid."""
    with pytest.raises(errors.ServerError) as caught:
        read_upload(HttpResponse(status, {}, b"<html>"))
    assert not caught.value.retry_safe
    assert not caught.value.maybe_charged


def test_refusal_in_other_words_is_shown_in_these() -> None:
    words = "no multipart boundary param in Content-Type"
    with pytest.raises(errors.RejectedError, match=words) as caught:
        read_upload(_answer({"message": words, "success": False}, 400))
    assert caught.value.retry_safe


def test_refused_key_and_busy_server_stored_nothing() -> None:
    text = "Token not provided (request id: 1)"
    refused = _answer({"error": {"message": text, "type": "api_error"}}, 401)
    with pytest.raises(errors.AuthenticationError) as key:
        read_upload(refused)
    with pytest.raises(errors.BusyError) as busy:
        read_upload(HttpResponse(429))
    assert key.value.retry_safe
    assert busy.value.retry_safe


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
_ROWS = st.fixed_dictionaries({}, optional=dict.fromkeys(_FILE, _JSON))
_BODIES = _JSON | st.fixed_dictionaries(
    {"file": _ROWS.map(lambda row: {**_FILE, **row}) | _JSON},
    optional={"success": _JSON, "message": _JSON},
)


@given(_BODIES, st.sampled_from([200, 201, 400, 401, 413, 429, 500, 502]))
def test_any_answer_is_a_file_or_an_error_that_is_not_paid(
    body: object, status: int
) -> None:
    try:
        found = read_upload(_answer(body, status))
    except errors.EzlinkError as error:
        paid = error.maybe_charged
    else:
        paid = not (found.url.isascii() and found.url.startswith("http"))
    assert not paid


# Names


@pytest.mark.parametrize(
    ("file", "ends"),
    [
        ("photos/me.jpg", "-me.jpg"),
        (Path("a b.png"), "-a b.png"),
        (b"bytes", "-file"),
        ("/", "-file"),
        (PurePosixPath('odd"\x07name\\.txt'), "-odd__name_.txt"),
        ("half\udcff.txt", "-half_udcff.txt"),
        ("ü" * 300 + ".jpeg", "ü" * 55 + ".jpeg"),
    ],
)
def test_name_that_is_not_given_is_unique_and_keeps_the_suffix(
    file: FileLike, ends: str
) -> None:
    """The server overwrites a file of the same name, of other users too."""
    names = {file_name(None, file) for _ in range(20)}
    assert len(names) == 20
    for name in names:
        assert re.fullmatch(r"[0-9a-f]{12}-.*", name)
        assert name.endswith(ends)
        assert file_name(name, file) == name


@pytest.mark.parametrize(
    "name",
    ["", " ", ".", "..", "a/b", "a\\b", 'a"b', "a\nb", "\x00", "x" * 256, "\udcff", 7],
)
def test_name_that_the_server_would_change_is_refused(name: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=r"name of a file|no name"):
        file_name(name, b"")


@given(st.text())
def test_any_name_is_taken_as_it_is_or_refused(name: str) -> None:
    try:
        found = file_name(name, b"")
    except errors.ConfigurationError:
        return
    assert found == name


@pytest.mark.parametrize("purpose", [7, b"x", "\udcff"])
def test_purpose_that_is_no_text_is_refused(purpose: str) -> None:
    with pytest.raises(errors.ConfigurationError, match="a purpose is text"):
        check_purpose(purpose)
    assert check_purpose(None) == ""


# Contents


class _BytesPath:
    """A path of bytes, as some systems' libraries give one."""

    def __fspath__(self) -> bytes:
        return b"a.txt"


class _Sized:
    """An iterable that knows its length, as users write one."""

    def __len__(self) -> int:
        return 3

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"abc"


async def _blocks() -> AsyncIterator[bytes]:
    yield b"abc"


def test_content_is_a_path_bytes_or_a_stream_with_its_length() -> None:
    assert content_of("a.txt") == Path("a.txt")
    assert content_of(b"abc") == b"abc"
    changing = bytearray(b"abc")
    assert content_of(changing) is changing  # copied apart from the loop
    for stream in (content_of(_blocks(), 3), content_of(_Sized())):
        assert isinstance(stream, StreamContent)
        assert stream.length == 3


@pytest.mark.parametrize(
    ("file", "length", "says"),
    [
        (_blocks(), None, "pass length="),
        (_blocks(), -1, "pass length="),
        (_blocks(), 2.5, "pass length="),
        (_blocks(), True, "pass length="),
        (b"abc", 3, "leave it out"),
        ("a.txt", 3, "leave it out"),
        (None, None, "not NoneType"),
        (_BytesPath(), None, "not _BytesPath"),
        ([b"abc"], None, "not list"),
    ],
)
def test_file_of_another_kind_or_without_a_length_is_refused(
    file: FileLike, length: int | None, says: str
) -> None:
    with pytest.raises(errors.ConfigurationError, match=says):
        content_of(file, length)


def test_form_has_both_spellings_of_the_purpose_before_the_file() -> None:
    """The server reads ``Purpose`` alone; its documentation says ``purpose``."""
    request = upload_request(b"hello", "a.txt", "vision")
    boundary = request.content_type.partition("boundary=")[2]
    assert request.small_body.decode().split(f"--{boundary}")[1:] == [
        '\r\nContent-Disposition: form-data; name="Purpose"\r\n\r\nvision\r\n',
        '\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nvision\r\n',
        (
            '\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n'
            "Content-Type: text/plain\r\n\r\nhello\r\n"
        ),
        "--\r\n",
    ]
    assert (request.method, request.path) == ("POST", "/v1/files")
    assert not request.repeatable


def test_form_without_a_purpose_has_the_file_alone() -> None:
    content = FileContent(Path("a"), 1_000_000)
    request = upload_request(content, "a.unknown-suffix", "")
    first, file, last = request.body
    assert file is content
    assert isinstance(first, bytes)
    assert isinstance(last, bytes)
    assert b"purpose" not in first.lower()
    assert b"Content-Type: application/octet-stream" in first
    assert request.content_length == len(first) + 1_000_000 + len(last)
