"""Forms with files, as they come in blocks of any size."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezlink_async.emulator.http.forms import Form, boundary_of, read_form


async def _read(body: bytes, size: int) -> Form:
    async def blocks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    return await read_form(blocks(), "boundary")


def _form(
    parts: Iterable[tuple[str, bytes]], end: bytes = b"--boundary--\r\n"
) -> bytes:
    heads = ((f"--boundary\r\n{head}\r\n\r\n".encode(), text) for head, text in parts)
    return b"".join(head + text + b"\r\n" for head, text in heads) + end


_NAMED = 'Content-Disposition: form-data; name="{}"'
_FILE = (
    'Content-Disposition: form-data; name="{}"; filename="{}"\r\n'
    "Content-Type: image/png"
)


#: Pieces that look like the end of a part, and are none.
_PIECES = [b"\r\n", b"\r", b"-", b"--", b"x", b"\r\n--bound", b"--boundary"]


_CONTENTS = st.binary(max_size=300) | st.lists(st.sampled_from(_PIECES)).map(b"".join)


@given(
    content=_CONTENTS.filter(lambda content: b"\r\n--boundary" not in content),
    size=st.integers(1, 50),
)
async def test_file_is_read_whole_from_blocks_of_any_size(
    content: bytes, size: int
) -> None:
    """Its size and hash are those of the content, also where that looks like an end."""
    body = _form([(_NAMED.format("a"), b"text"), (_FILE.format("f", "n.png"), content)])
    form = await _read(body + b"anything behind the end", size)
    assert form.fields == {"a": "text"}
    file = form.file("f")
    assert file is not None
    assert (file.name, file.content_type, file.size) == (
        "n.png",
        "image/png",
        len(content),
    )
    assert file.sha256 == hashlib.sha256(content).hexdigest()


async def test_of_several_fields_with_one_name_the_first_counts() -> None:
    body = _form([(_NAMED.format("a"), b"1"), (_NAMED.format("a"), b"2")])
    assert (await _read(body, 7)).fields == {"a": "1"}


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("../x y/a.png", "a.png"),
        ("/", "/"),
        ("folder/", "folder"),
        (r"a\"b.png", 'a"b.png'),
        (r"a\b.png", r"a\b.png"),
        ("ü.png", "ü.png"),
    ],
)
async def test_name_of_a_file_loses_folders_and_escapes(sent: str, name: str) -> None:
    file = (await _read(_form([(_FILE.format("f", sent), b"x")]), 9)).file("f")
    assert file is not None
    assert file.name == name


async def test_part_without_headers_is_a_field_without_a_name() -> None:
    form = await _read(b"--boundary\r\n\r\ntext\r\n--boundary--", 100)
    assert (form.fields, form.files) == ({"": "text"}, [])
    assert form.file("f") is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no form at all",
        b"--boundary",
        b"--boundary\r\nContent-Disposition: form-data",
        _form([(_FILE.format("f", "a"), b"x")], end=b""),
        b"--boundary\r\nA: " + b"x" * 70_000,
    ],
)
async def test_cut_or_malformed_form_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"the form broke off|the head of a part"):
        await _read(body, 4096)


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=abc", "abc"),
        ('multipart/form-data; charset=x; Boundary="a b"', "a b"),
        ("multipart/form-data", ""),
        ("application/json", ""),
    ],
)
def test_boundary_is_read_from_the_content_type(
    content_type: str, boundary: str
) -> None:
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("keeps", [True, False])
async def test_content_of_a_file_is_kept_on_demand(size: int, *, keeps: bool) -> None:
    body = _form(
        [(_FILE.format("image", "a.png"), b"pixels\r\n"), (_NAMED.format("a"), b"1")]
    )

    async def blocks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    form = await read_form(blocks(), "boundary", keeps_files=keeps)
    (file,) = form.files
    assert file.content == (b"pixels\r\n" if keeps else b"")
    assert (file.size, form.fields) == (8, {"a": "1"})
