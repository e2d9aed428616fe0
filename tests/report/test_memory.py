"""The memory of a report over results that a hostile server made."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("PIL", reason="needs the cli extra")

from ezlink_async._core.containers import verify_complete
from ezlink_async.report.models import Thumbnail
from ezlink_async.report.thumbnails import Thumbnails
from tests.support.hostile_pictures import (
    hostile_results,
    jpeg,
    jpeg_in_scans,
    png,
    webp,
)
from tests.support.programs import run_python

MOST = 400  # MB


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Return a folder of hostile results, each of which a client takes for whole."""
    for name, content in hostile_results().items():
        assert verify_complete(content)
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
async def test_report_over_hostile_results_takes_little_memory(results: Path) -> None:
    out, _ = await run_python("-m", "tests.report.hostile_run", str(results))
    assert int(out) < MOST


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (png(13_000, 13_000), "It has 169 megapixels, and up to 120 are shown here"),
        (png(10_900, 10_900), "A PNG of 10900 x 10900 pixels takes 475 MB of memory"),
        (webp(16_383, 7_300), "A WEBP of 16383 x 7300 pixels takes 1913 MB of memory"),
        (jpeg(9_000, 9_000, progressive=True), "A JPEG of 9000 x 9000 pixels takes"),
        (b"GIF89a" + bytes(40), "A GIF is not shown here"),
        (b"\xff\xd8\xff" + bytes(70_000_000), "It has 70 MB, more than is read"),
    ],
    ids=["pixels", "png", "webp", "progressive", "gif", "length"],
)
def test_result_that_would_take_much_memory_is_not_decoded(
    tmp_path: Path, content: bytes, says: str
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    made = Thumbnails(tmp_path / "kept").of_result(path, Thumbnail())
    assert says in (made.fault or "")
    assert (made.fault or "").endswith("; open the file itself.")


@pytest.mark.parametrize(
    "content",
    [png(2_000, 1_500), webp(2_000, 1_500), png(13_000, 900, "grey")],
    ids=["png", "webp", "grey"],
)
def test_result_of_usual_size_is_shown(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    made = Thumbnails(tmp_path / "kept").of_result(path, Thumbnail())
    assert made.fault is None


@pytest.mark.parametrize(
    "segment",
    [b"", b"\xff\xd0", b"\xff\xf0\xff\xff"],
    ids=["in scans", "marker alone", "length beyond the end"],
)
def test_jpeg_that_may_have_several_scans_is_not_decoded(
    tmp_path: Path, segment: bytes
) -> None:
    """Its decoder would keep all of it in memory, at its full size."""
    whole = jpeg(10_900, 10_900) if segment else jpeg_in_scans(10_900, 10_900)
    path = tmp_path / "a.jpg"
    path.write_bytes(whole[:2] + segment + whole[2:])
    made = Thumbnails(tmp_path / "kept").of_result(path, Thumbnail())
    assert "takes 720 MB of memory" in (made.fault or "")


@pytest.mark.parametrize(("times", "says"), [(10, ""), (600, "layers, which take")])
def test_jpeg_of_many_scans_is_not_decoded(
    tmp_path: Path, times: int, says: str
) -> None:
    """Each takes some bytes, and the time of decoding the whole picture."""
    whole = jpeg(2_000, 2_000, progressive=True)
    last = whole.rindex(b"\xff\xda")
    path = tmp_path / "a.jpg"
    path.write_bytes(whole[:-2] + whole[last:-2] * times + whole[-2:])
    fault = Thumbnails(tmp_path / "kept").of_result(path, Thumbnail()).fault
    assert bool(fault) == bool(says)
    assert says in (fault or "")


def test_result_that_is_no_picture_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"hello")
    made = Thumbnails(tmp_path / "kept").of_result(path, Thumbnail())
    assert "it is no picture" in (made.fault or "")


def test_picture_that_breaks_between_its_parts_is_named(tmp_path: Path) -> None:
    """Pillow says so by an exception that is no error of the system."""
    whole, start = png(2_000, 1_000), 33  # of the chunk of pixels
    half = int.from_bytes(whole[start : start + 4], "big") // 2
    pixels = half.to_bytes(4, "big") + whole[start + 4 :][: 4 + half]
    path = tmp_path / "a.png"
    path.write_bytes(whole[:start] + pixels + bytes(64))
    made = Thumbnails(tmp_path / "kept").of(path)
    assert made.fault == "It cannot be shown: it is broken."


def test_users_picture_of_many_megapixels_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(13_000, 13_000))
    made = Thumbnails(tmp_path / "kept").of(path)
    assert "169 megapixels" in (made.fault or "")
