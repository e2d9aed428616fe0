"""GIF, MP4 and MOV: complete, or cut off anywhere; and boxes made to keep one busy."""

from __future__ import annotations

import contextlib
import mmap
import struct
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezlink_async._core import containers, moving_pictures
from ezlink_async._core.images import RESULT_SUFFIXES, suffixes_of
from ezlink_async.errors import ImageError
from tests.support.movies import (
    FTYP,
    MOVING,
    RUNS,
    SAMPLES,
    WEBM,
    box,
    fragments,
    gif,
    mp4,
    sizes,
    table,
    track,
)

EACH = pytest.mark.parametrize(
    ("media_type", "content"), MOVING.values(), ids=MOVING.keys()
)


@EACH
def test_complete_one_is_verified(media_type: str, content: bytes) -> None:
    assert containers.verify_complete(content) == media_type
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            assert containers.verify_complete(mapped) == media_type


@EACH
def test_one_cut_off_anywhere_is_never_verified(
    media_type: str, content: bytes
) -> None:
    """Of a video in fragments whole ones may be missing, so it cannot be verified."""
    assert media_type in RESULT_SUFFIXES
    may_lack_some = content == fragments(indexed=True)
    for length in range(len(content)):
        try:
            found = containers.verify_complete(content[:length])
        except ImageError:
            continue
        assert (found, may_lack_some) == (None, True)
    with pytest.raises(ImageError, match="is cut off"):
        containers.verify_complete(content[:-1])


@given(st.sampled_from(sorted(MOVING)), st.data())
def test_damaged_one_raises_nothing_but_an_image_error(
    name: str, data: st.DataObject
) -> None:
    content = bytearray(MOVING[name][1])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(
            st.integers(0, 255)
        )
    with contextlib.suppress(ImageError):
        containers.verify_complete(bytes(content))


@given(st.lists(st.binary(max_size=60)), st.sampled_from([b"moov", b"mdat", b"stbl"]))
def test_any_boxes_are_verified_or_an_image_error(
    contents: list[bytes], name: bytes
) -> None:
    boxes = b"".join(box(name, content) for content in contents)
    with contextlib.suppress(ImageError):
        containers.verify_complete(FTYP + box(b"moov", track(boxes)) + boxes)


def test_bytes_behind_the_last_box_of_a_video_are_refused() -> None:
    """Behind a GIF they are allowed, as with other pictures."""
    with pytest.raises(ImageError):
        containers.verify_complete(mp4() + b"\0")
    assert containers.verify_complete(gif() + b"\0") == "image/gif"


@pytest.mark.parametrize("content", [WEBM, fragments(indexed=False)])
def test_video_that_does_not_tell_its_end_cannot_be_verified(content: bytes) -> None:
    assert containers.verify_complete(content) is None


def test_sizes_of_samples_in_a_rare_form_are_not_needed() -> None:
    whole = mp4()
    rare = whole.replace(b"stsz", b"stz2")
    assert containers.verify_complete(rare) == "video/mp4"


def test_samples_of_one_size_are_counted() -> None:
    """The last chunk has two of them."""
    size = box(b"stsz", struct.pack(">III", 0, 10, 4))
    for media, whole in ((40, True), (39, False)):
        moov = box(b"moov", track(table(b"stco", "I", 0, 0, 0), RUNS, size))
        start = len(FTYP + moov) + 8
        offsets = table(b"stco", "I", start, start + 10, start + 20)
        moov = box(b"moov", track(offsets, RUNS, size))
        movie = FTYP + moov + box(b"mdat", bytes(media))
        if whole:
            assert containers.verify_complete(movie) == "video/mp4"
        else:
            with pytest.raises(ImageError):
                containers.verify_complete(movie)


def test_size_of_one_in_old_tables_of_sound_says_nothing() -> None:
    size = box(b"stsz", struct.pack(">III", 0, 1, 1 << 20))
    runs = table(b"stsc", "I", 1, 1 << 19, 1, rows=1)
    offsets = table(b"stco", "I", START, START + 9)
    assert containers.verify_complete(movie(offsets, runs, size)) == "video/mp4"


def movie(*tables: bytes, media: bytes = b"".join(SAMPLES)) -> bytes:
    """Return a video with these tables."""
    return FTYP + box(b"mdat", media) + box(b"moov", track(*tables))


START = len(FTYP) + 8

CHUNKS = table(b"stco", "I", START, START + 7, START + 47)

assert containers.verify_complete(movie(CHUNKS, RUNS, sizes())) == "video/mp4"


def test_chunks_may_lie_in_any_order() -> None:
    """Here the first one is the last in the file."""
    length = len(movie(CHUNKS, RUNS, sizes()))
    for begin, whole in ((length - 7, True), (length - 6, False)):
        offsets = table(b"stco", "I", begin, START, START + 40)
        with contextlib.nullcontext() if whole else pytest.raises(ImageError):
            containers.verify_complete(movie(offsets, RUNS, sizes()))


@pytest.mark.parametrize("count", [8_192, 8_193, 20_000])
def test_last_of_many_chunks_counts(count: int) -> None:
    """They are read a few thousand at a time."""
    runs = table(b"stsc", "I", 1, 1, 1, rows=1)
    size = box(
        b"stsz", struct.pack(f">III{count}I", 0, 0, count, 9, *[1] * (count - 1))
    )
    for last in (8, 9):
        offsets = table(b"stco", "I", *[START] * count)
        length = len(movie(offsets, runs, size))
        offsets = table(b"stco", "I", length - last, *[START] * (count - 1))
        with contextlib.nullcontext() if last == 9 else pytest.raises(ImageError):
            containers.verify_complete(movie(offsets, runs, size))


MANY = b"\xff\xff\xff\xff"


def nested(name: bytes, depth: int) -> bytes:
    """Return boxes inside one another."""
    heads = [struct.pack(">I4s", 8 * each, name) for each in range(depth, 0, -1)]
    return b"".join(heads)


HOSTILE = {
    "no media": FTYP + box(b"moov", track(CHUNKS, RUNS, sizes())),
    "empty media": movie(CHUNKS, RUNS, sizes(), media=b""),
    "no index": FTYP + box(b"mdat", b"1"),
    "no track": FTYP + box(b"mdat", b"1") + box(b"moov"),
    "no table": movie(),
    "no chunk": movie(table(b"stco", "I"), RUNS, sizes()),
    "no runs": movie(CHUNKS, sizes()),
    "a box without a size": FTYP + b"\0\0\0\0free" + mp4()[len(FTYP) :],
    "a box smaller than its head": FTYP + b"\0\0\0\7free" + mp4()[len(FTYP) :],
    "a large box smaller than its head": FTYP + b"\0\0\0\1free" + bytes(7) + b"\x0f",
    "a large box of 16 EiB": FTYP + b"\0\0\0\1mdat" + b"\xff" * 8,
    "a large box without its size": FTYP + b"\0\0\0\1mdat" + b"\0",
    "a box that overlaps the next": FTYP + box(b"moov", MANY + b"trak" + bytes(99)),
    "a box behind the end of its parent": movie(CHUNKS)[:-4] + MANY,
    "a table larger than its box": movie(CHUNKS.replace(b"\0\0\0\3", MANY, 1)),
    "a table without a length": movie(box(b"stco", b"\0\0\0\0")),
    "chunks far behind the end": movie(
        table(b"co64", "Q", START, 1 << 63), RUNS, sizes()
    ),
    "traks in traks": FTYP + box(b"mdat", b"1") + box(b"moov", nested(b"trak", 99_999)),
    "moovs in moovs": FTYP + box(b"mdat", b"1") + nested(b"moov", 99_999),
    "a million boxes": FTYP + box(b"free") * 1_000_000 + mp4()[len(FTYP) :],
    "an index of 65 MiB": FTYP + box(b"mdat", b"1") + box(b"moov", bytes(65 << 20)),
    "a table of millions": movie(
        CHUNKS, RUNS, box(b"stsz", struct.pack(">III", 0, 0, 3_000_000), bytes(9 << 20))
    ),
    "a GIF without an image": gif(0),
    "a GIF with another block": gif()[:-1] + b"\1\x3b",
    "a GIF of short blocks": gif()[:-2] + b"\1\1" * 3_000_000 + b"\0\x3b",
    "a GIF of empty extensions": gif()[:-1] + b"\x21\1\0" * 1_500_000 + b"\x3b",
    "a short GIF": b"GIF89a",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_one_is_refused(content: bytes) -> None:
    """Each ends after a bounded number of steps, and none of them recurs."""
    with pytest.raises(ImageError, match="is cut off"):
        containers.verify_complete(content)


@pytest.mark.parametrize(
    ("head", "media_type"),
    [
        (b"\0\0\0\x18ftypheic", None),
        (b"\0\0\0\x18ftypavif", None),
        (b"\0\0\0\x18ftypmp42", "video/mp4"),
        (b"\0\0\0\x08moov", "video/quicktime"),
        (b"GIF", None),
        (b"GIF8", "image/gif"),
        (b"", None),
    ],
)
def test_format_is_known_by_its_first_bytes(head: bytes, media_type: str) -> None:
    assert moving_pictures.sniff(head) == media_type


def test_each_kind_of_result_has_its_suffixes() -> None:
    assert suffixes_of("image") == {".jpg", ".png", ".webp", ".gif"}
    assert suffixes_of("video") == {".mp4", ".mov"}
    assert suffixes_of("text") == {".txt"}
    types = {media_type for media_type, _ in MOVING.values()}
    assert types < set(RESULT_SUFFIXES)
