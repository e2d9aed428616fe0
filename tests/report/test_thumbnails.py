"""The thumbnails of the report: upright, of one size, kept, never an exception."""

from __future__ import annotations

import datetime as dt
import io
import os
import struct
import sys
import time
import zlib
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("PIL", reason="needs the cli extra")

from PIL import Image, ImageCms

from ezlink_async.errors import ConfigurationError
from ezlink_async.report import Facts, Photo, write_report
from ezlink_async.report.models import Thumbnail
from ezlink_async.report.thumbnails import LARGE, SMALL, Thumbnails
from tests.support.pictures import jpeg

ORIENTATION = 0x0112
RED, BLUE, PAPER = (255, 0, 0), (0, 0, 255), (236, 236, 236)


@pytest.fixture
def thumbnails(tmp_path: Path) -> Thumbnails:
    """Return the thumbnails of a folder that has none."""
    return Thumbnails(tmp_path / "kept")


def photo(
    path: Path, size: tuple[int, int] = (2400, 1600), **how: bytes | Image.Exif
) -> Path:
    """Write a picture whose left half is red and whose right half is blue."""
    image = Image.new("RGB", size, BLUE)
    image.paste(RED, (0, 0, size[0] // 2, size[1]))
    image.save(path, None, **how)
    return path


def both(thumbnails: Thumbnails, made: Thumbnail) -> list[Image.Image]:
    """Return the large and the small one, read from the disk."""
    assert made.fault is None
    return [
        Image.open(
            io.BytesIO((thumbnails.folder / f"{made.stem}-{size}.jpg").read_bytes())
        )
        for size in "ls"
    ]


def is_about(
    image: Image.Image, place: tuple[int, int], colour: tuple[int, ...]
) -> bool:
    """Return whether a pixel has this colour, but for what JPEG changed."""
    pixel = image.getpixel(place)
    assert isinstance(pixel, tuple)
    return all(abs(a - b) < 40 for a, b in zip(pixel, colour, strict=True))


@pytest.mark.parametrize(
    ("size", "large", "small"),
    [
        ((2400, 1600), (LARGE, 853), (SMALL, 320)),
        ((1600, 2400), (853, LARGE), (320, SMALL)),
        ((600, 300), (600, 300), (SMALL, 240)),
        ((40, 30), (40, 30), (40, 30)),
        ((3000, 2), (LARGE, 1), (SMALL, 1)),
    ],
)
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_both_sizes_keep_the_shape_and_enlarge_nothing(
    thumbnails: Thumbnails,
    tmp_path: Path,
    size: tuple[int, int],
    large: tuple[int, int],
    small: tuple[int, int],
    suffix: str,
) -> None:
    made = both(thumbnails, thumbnails.of(photo(tmp_path / f"a.{suffix}", size)))
    assert [each.size for each in made] == [large, small]


def test_picture_is_turned_by_its_orientation_and_loses_its_metadata(
    thumbnails: Thumbnails, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # the first row is the right side
    exif[0x010F] = "a phone that tells where it was"
    path = photo(tmp_path / "a.jpg", exif=exif)
    large, small = both(thumbnails, thumbnails.of(path))
    assert (large.size, small.size) == ((853, LARGE), (320, SMALL))
    assert is_about(large, (400, 10), RED)
    assert is_about(large, (400, LARGE - 10), BLUE)
    assert not large.getexif()
    assert not any(
        b"phone" in each.read_bytes() for each in thumbnails.folder.iterdir()
    )


def test_broken_metadata_does_not_lose_the_picture(
    thumbnails: Thumbnails, tmp_path: Path
) -> None:
    path = photo(tmp_path / "a.jpg", exif=b"Exif\0\0nonsense")
    assert both(thumbnails, thumbnails.of(path))[0].size == (LARGE, 853)


@pytest.mark.parametrize(
    ("mode", "colour", "looks"),
    [
        ("L", 0, (0, 0, 0)),
        ("CMYK", (0, 255, 255, 0), RED),
        ("RGBA", (255, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (255, 0, 0, 255), RED),
        ("P", 0, (0, 0, 0)),
        ("1", 0, (0, 0, 0)),
    ],
)
def test_every_mode_is_shown_in_its_colours(
    thumbnails: Thumbnails,
    tmp_path: Path,
    mode: str,
    colour: tuple[int, ...],
    looks: tuple[int, ...],
) -> None:
    path = tmp_path / "a.tiff"
    Image.new(mode, (100, 100), colour).save(path)
    large, _ = both(thumbnails, thumbnails.of(path))
    assert large.mode == "RGB"
    assert is_about(large, (50, 50), looks)


def test_colour_profile_is_kept_unless_it_is_huge(
    thumbnails: Thumbnails, tmp_path: Path
) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    kept = thumbnails.of(photo(tmp_path / "a.jpg", icc_profile=profile))
    dropped = thumbnails.of(
        photo(tmp_path / "b.jpg", icc_profile=profile + bytes(70_000))
    )
    assert both(thumbnails, kept)[0].info["icc_profile"] == profile
    assert "icc_profile" not in both(thumbnails, dropped)[0].info


@pytest.mark.parametrize("size", [(2400, 1600), (1201, 800), (300, 200), (1600, 1600)])
def test_result_of_any_size_gets_the_size_of_its_target(
    thumbnails: Thumbnails, tmp_path: Path, size: tuple[int, int]
) -> None:
    before = thumbnails.of(photo(tmp_path / "a.jpg"))
    after = thumbnails.of_result(photo(tmp_path / "b.jpg", size), before)
    ours, theirs = both(thumbnails, before), both(thumbnails, after)
    assert [each.size for each in ours] == [each.size for each in theirs]


def test_result_of_another_shape_is_padded_and_not_distorted(
    thumbnails: Thumbnails, tmp_path: Path
) -> None:
    before = thumbnails.of(photo(tmp_path / "a.jpg"))
    after = thumbnails.of_result(photo(tmp_path / "b.jpg", (800, 800)), before)
    large, _ = both(thumbnails, after)
    for x, colour in ((100, PAPER), (300, RED), (1000, BLUE), (1200, PAPER)):
        assert is_about(large, (x, 400), colour)


def test_result_of_a_deleted_target_is_shown_in_its_own_size(
    thumbnails: Thumbnails, tmp_path: Path
) -> None:
    deleted = Photo(
        source=photo(tmp_path / "me.jpg", (100, 100)),
        target=tmp_path / "gone.jpg",
        status="succeeded",
        output=photo(tmp_path / "b.jpg", (300, 200)),
    )
    made = thumbnails.pictures(deleted)
    assert made.before.fault == "The file is no longer there."
    assert made.after
    assert both(thumbnails, made.after)[0].size == (300, 200)


# Kept


def test_thumbnail_is_made_again_only_for_a_changed_file(
    thumbnails: Thumbnails, tmp_path: Path
) -> None:
    path = photo(tmp_path / "a.jpg")
    first = thumbnails.of(path)
    marked = thumbnails.folder / f"{first.stem}-l.jpg"
    marked.write_bytes(b"made before")
    assert thumbnails.of(path) == first
    assert marked.read_bytes() == b"made before"
    os.utime(path, (1, 1))
    assert thumbnails.of(path).stem != first.stem


def test_empty_thumbnail_of_a_power_cut_is_made_again(
    thumbnails: Thumbnails, tmp_path: Path
) -> None:
    path = photo(tmp_path / "a.jpg")
    first = thumbnails.of(path)
    (thumbnails.folder / f"{first.stem}-s.jpg").write_bytes(b"")
    assert thumbnails.of(path) == first
    assert both(thumbnails, first)[1].size == (SMALL, 320)


def test_unused_thumbnails_and_part_files_are_deleted(
    thumbnails: Thumbnails, tmp_path: Path
) -> None:
    """Used thumbnails stay, however old they are, and so do files of others."""
    old, used = thumbnails.of(photo(tmp_path / "a.jpg")), tmp_path / "b.jpg"
    kept = thumbnails.of(photo(used))
    rest = thumbnails.folder / ".ezlink-1.part"
    stranger = thumbnails.folder / "mine.txt"
    for file in (rest, stranger):
        file.write_bytes(b"half")
    for file in thumbnails.folder.iterdir():
        os.utime(file, (1, 1))
    began = time.time_ns()
    assert thumbnails.of(used) == kept
    thumbnails.delete_unused_since(began)
    left = {file.name for file in thumbnails.folder.iterdir()}
    assert left == {f"{kept.stem}-l.jpg", f"{kept.stem}-s.jpg", "mine.txt"}
    assert f"{old.stem}-l.jpg" not in left


# Files that are no pictures


def _bomb() -> bytes:
    """Return the head of a PNG that claims ten thousand megapixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    head = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "it is no picture, or a broken one"),
        (b"hello", "it is no picture, or a broken one"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "it is no picture"),
        (jpeg(500), "it is no picture, or a broken one"),
        (b"\0\0\0\x18ftypheic" + bytes(40), "ezlink-async[images]"),
        (_bomb(), "has 10,000 megapixels, and up to 120 are shown here"),
    ],
)
def test_file_that_is_no_picture_gets_a_reason_and_no_files(
    thumbnails: Thumbnails, tmp_path: Path, content: bytes, says: str
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    assert says in (thumbnails.of(path).fault or "")
    assert not [*thumbnails.folder.iterdir()]


def test_truncated_picture_has_no_thumbnail(
    thumbnails: Thumbnails, tmp_path: Path
) -> None:
    path = photo(tmp_path / "a.jpg")
    path.write_bytes(path.read_bytes()[:9000])
    assert thumbnails.of(path).stem is None


def test_folder_has_no_thumbnail(thumbnails: Thumbnails, tmp_path: Path) -> None:
    assert thumbnails.of(tmp_path).fault == "It cannot be shown: it is not a file."


def test_thumbnail_that_cannot_be_written_gets_the_reason_of_the_system(
    thumbnails: Thumbnails, tmp_path: Path
) -> None:
    path = photo(tmp_path / "a.jpg")
    thumbnails.folder.rmdir()
    thumbnails.folder.write_bytes(b"a file where the folder was")
    assert "It cannot be shown: Not a directory." in (thumbnails.of(path).fault or "")


@pytest.mark.parametrize("installed", [True, False])
def test_pillow_heif_is_registered_if_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, installed: bool
) -> None:
    calls: list[str] = []
    package = ModuleType("pillow_heif")
    vars(package)["register_heif_opener"] = lambda: calls.append("registered")
    monkeypatch.setitem(sys.modules, "pillow_heif", package if installed else None)
    Thumbnails(tmp_path)
    assert calls == ["registered"] * installed


# Links


@pytest.mark.parametrize("link", [".ezlink", ".ezlink/report"])
def test_report_is_not_written_through_a_link(tmp_path: Path, link: str) -> None:
    """Pictures behind the link are not deleted as thumbnails that are not used."""
    out, album = tmp_path / "out", tmp_path / "album"
    (album / "report").mkdir(parents=True)
    kept = [album / "a.jpg", album / "report" / "b.jpg", album / "c.part"]
    for file in kept:
        file.write_bytes(b"mine")
        os.utime(file, (1, 1))
    (out / link).parent.mkdir(parents=True, exist_ok=True)
    (out / link).symlink_to(album)
    now = dt.datetime.now(dt.UTC)
    facts = Facts(title="a", started=now, finished=now, seconds=0)
    with pytest.raises(ConfigurationError, match=r"is a link.*remove it"):
        write_report(out, [], facts)
    assert [file.read_bytes() for file in kept] == [b"mine"] * 3


def test_thumbnail_that_is_a_link_is_made_anew(
    thumbnails: Thumbnails, tmp_path: Path
) -> None:
    path, mine = photo(tmp_path / "a.jpg"), tmp_path / "mine.txt"
    mine.write_bytes(b"mine")
    os.utime(mine, (1, 1))
    made = thumbnails.folder / f"{thumbnails.of(path).stem}-l.jpg"
    made.unlink()
    made.symlink_to(mine)
    thumbnails.of(path)
    assert not made.is_symlink()
    assert (mine.read_bytes(), mine.stat().st_mtime) == (b"mine", 1)
