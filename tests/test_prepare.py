"""Any file is made acceptable to the server, or the error says what to change."""

from __future__ import annotations

import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ezlink_async import prepare
from ezlink_async._core import containers, images
from ezlink_async._core.images import Image
from ezlink_async._io import image_reader
from ezlink_async.errors import ImageError
from ezlink_async.prepare import MOST_READ, Prepared, needs_preparing, prepare_picture
from tests.support.photographs import (
    BLUE,
    CORNERS,
    GREEN,
    GREY,
    SECRETS,
    STORED,
    ImageCms,
    Pillow,
    corners,
    decoded,
    encoded,
    exif,
    lying,
    near,
    noise,
    photo,
)
from tests.support.pictures import png, recorded_jpeg, webp

BEST: dict[str, dict[str, object]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "PNG": {},
    "WEBP": {"lossless": True},
    "TIFF": {},
    "HEIC": {"quality": 90},
    "AVIF": {"quality": 95, "subsampling": "4:4:4"},
}


def to_picture(content: bytes, name: str = "TIFF") -> Pillow.Image:
    """Encode anew, check that the result can be sent, and decode it."""
    result, _ = prepare.to_jpeg(content, name)
    assert containers.verify_complete(result) == "image/jpeg"
    assert images.check_acceptable(result, len(result)) == "image/jpeg"
    picture = decoded(result)
    assert picture.mode == "RGB"
    return picture


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("name", BEST)
def test_encoding_anew_turns_the_picture_and_removes_its_metadata(
    name: str, orientation: int
) -> None:
    """Each corner is where the photographer saw it, and no orientation is left."""
    options = {"exif": exif(orientation), **BEST[name]}
    if name == "JPEG":
        options["comment"] = b"SECRET"
    content = encoded(lying(orientation), name, **options)
    assert b"SECRET" in content
    result, changes = prepare.to_jpeg(content, name)
    picture = decoded(result)
    assert picture.size == (96, 64)
    assert near(corners(picture))
    assert "exif" not in picture.info
    assert not [secret for secret in SECRETS if secret in result]
    assert ("turned upright" in changes) == (orientation != 1)
    assert (f"converted from {name}" in changes) == (name != "JPEG")
    assert changes[-1] == "metadata removed"


def deep(order: str, bands: int) -> bytes:
    """Return a TIFF of 16 by 16 pixels with 16 bits for each number."""
    tile = photo(16, 16)
    colours = tile.tobytes() if bands == 3 else tile.convert("L").tobytes()
    numbers = struct.pack(f"{order}{len(colours)}H", *(257 * n for n in colours))
    bits = (258, 3, 1, 16) if bands == 1 else (258, 3, 3, 134)
    entries = [
        (256, 3, 1, 16),
        (257, 3, 1, 16),
        bits,
        (259, 3, 1, 1),
        (262, 3, 1, 1 if bands == 1 else 2),
        (273, 4, 1, 140),
        (277, 3, 1, bands),
        (278, 3, 1, 16),
        (279, 4, 1, len(numbers)),
    ]
    head = (b"MM" if order == ">" else b"II") + struct.pack(f"{order}HI", 42, 8)
    table = struct.pack(f"{order}H", len(entries))
    for tag, kind, count, value in entries:
        short = kind == 3 and count == 1
        shape = f"{order}HHIHxx" if short else f"{order}HHII"
        table += struct.pack(shape, tag, kind, count, value)
    content = (head + table + bytes(4)).ljust(134, b"\0")
    return content + struct.pack(f"{order}3H", 16, 16, 16) + numbers


@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bits_are_scaled_to_eight(order: str) -> None:
    """White stays white and grey stays grey, in both byte orders."""
    assert near(corners(to_picture(deep(order, 3))))
    grey = corners(photo().convert("L"))
    assert near(corners(to_picture(deep(order, 1))), tuple(grey))


@pytest.mark.parametrize(
    ("picture", "colours"),
    [
        (photo().quantize(16), CORNERS),
        (photo().convert("CMYK"), CORNERS),
        (photo().convert("L"), corners(photo().convert("L"))),
        (Pillow.new("1", (96, 64), 1), [(255, 255, 255)] * 4),
        (photo().convert("RGBA"), CORNERS),
        (photo().convert("I"), [(0, 0, 0)] * 4),
    ],
    ids=["palette", "cmyk", "grey", "bits", "opaque", "wide"],
)
def test_every_pixel_format_keeps_its_colours(
    picture: Pillow.Image, colours: list[tuple[int, ...]]
) -> None:
    assert near(corners(to_picture(encoded(picture, "TIFF"))), tuple(colours))


def test_animation_is_reduced_to_its_first_frame() -> None:
    frames = {"save_all": True, "append_images": [noise(96, 64)]}
    assert near(corners(to_picture(encoded(photo(), "GIF", **frames), "GIF")))


def test_transparency_is_filled_with_white() -> None:
    """A half transparent pixel is half white; hidden colours do not show."""
    picture = photo().convert("RGBA")
    picture.paste((0, 0, 0, 0), (0, 0, 48, 32))
    picture.paste((*BLUE, 128), (0, 32, 48, 64))
    content = encoded(picture, "PNG")
    half = tuple((255 + each) // 2 for each in BLUE)
    found = corners(to_picture(content, "PNG"))
    assert near(found, ((255, 255, 255), GREEN, half, GREY))
    assert "transparency filled with white" in prepare.to_jpeg(content, "PNG")[1]
    opaque = encoded(photo().convert("RGBA"), "PNG")
    assert "white" not in str(prepare.to_jpeg(opaque, "PNG")[1])
    clear = encoded(Pillow.new("P", (8, 8), 3), "GIF", transparency=3)
    assert near(corners(to_picture(clear, "GIF")), ((255, 255, 255),) * 4)


def swapped_profile() -> bytes:
    """Return a profile in which red and green have changed places."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return (
        profile.replace(b"rXYZ", b"tmp.", 1)
        .replace(b"gXYZ", b"rXYZ", 1)
        .replace(b"tmp.", b"gXYZ", 1)
    )


@pytest.mark.parametrize("name", BEST)
def test_colours_are_converted_from_their_profile_to_srgb(name: str) -> None:
    """The result carries no profile."""
    drawn, profile = photo(), swapped_profile()
    drawn.info["icc_profile"] = profile  # where an encoder has no option for it
    content = encoded(drawn, name, icc_profile=profile, **BEST[name])
    picture = to_picture(content, name)
    swapped = [(green, red, blue) for red, green, blue in CORNERS]
    assert near(corners(picture), tuple(swapped))
    assert "icc_profile" not in picture.info


@pytest.mark.parametrize(
    ("picture", "profile"),
    [
        (photo(), b"no profile at all"),
        (photo().convert("L"), swapped_profile()),
    ],
    ids=["broken", "other-mode"],
)
def test_broken_or_unsuitable_profile_is_ignored(
    picture: Pillow.Image, profile: bytes
) -> None:
    content = encoded(picture, "TIFF", icc_profile=profile)
    assert near(corners(to_picture(content)), tuple(corners(picture)))


def test_quality_is_lowered_before_pixels_are_dropped() -> None:
    easy = encoded(photo(4000, 3000), "TIFF")
    content, changes = prepare.to_jpeg(easy, "TIFF")
    assert decoded(content).size == (4000, 3000)
    assert "compressed to fit 10 MiB" in changes
    for side, size in ((2000, (2000, 2000)), (3200, (3200, 3200))):
        content, changes = prepare.to_jpeg(encoded(noise(side, side), "BMP"), "BMP")
        assert decoded(content).size == size
        assert len(content) <= images.MAX_BYTES
        assert "made smaller to fit 10 MiB" not in changes


@pytest.mark.parametrize(
    ("name", "options"), [("PNG", {"compress_level": 0}), ("JPEG", {"quality": 95})]
)
def test_twenty_megapixels_of_noise_fit_the_limit_closely(
    name: str, options: dict[str, object]
) -> None:
    content, changes = prepare.to_jpeg(
        encoded(noise(5000, 4000), name, **options), name
    )
    assert 0.9 * images.MAX_BYTES < len(content) <= images.MAX_BYTES
    assert "made smaller to fit 10 MiB" in changes
    width, height = decoded(content).size
    assert width / height == pytest.approx(5000 / 4000, rel=0.001)


def test_blurred_picture_fits_although_its_length_misleads_the_search() -> None:
    """A blurred picture has hardly fewer bytes when it has fewer pixels."""
    blurred = noise(4400, 4400).resize((6600, 6600), Pillow.Resampling.BICUBIC)
    content, _ = prepare.to_jpeg(encoded(blurred, "BMP"), "BMP")
    assert 0.8 * images.MAX_BYTES < len(content) <= images.MAX_BYTES


def test_huge_jpeg_is_decoded_at_a_part_of_its_size() -> None:
    """All its pixels would fill the memory and would not fit the limit anyway."""
    picture = photo(16, 16).convert("L").resize((8400, 8200))
    content, changes = prepare.to_jpeg(encoded(picture, "JPEG"), "JPEG")
    assert decoded(content).size == (4200, 4100)
    assert "made smaller to fit 10 MiB" in changes


def bmp_of_size(width: int, height: int) -> bytes:
    """Return a BMP whose head claims this size."""
    content = bytearray(encoded(photo(8, 8), "BMP"))
    content[18:26] = struct.pack("<ii", width, height)
    return bytes(content)


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        ((0, 8), "the BMP cannot be decoded"),
        ((11_000, 11_000), "at most 120 megapixels"),
        ((65_501, 1), "sides of 65500"),
    ],
)
def test_absurd_sizes_are_refused_without_decoding(
    size: tuple[int, int], reason: str
) -> None:
    with pytest.raises(ImageError, match=reason):
        prepare.to_jpeg(bmp_of_size(*size), "BMP")


def test_progressive_jpeg_may_have_fewer_pixels_than_a_baseline_one() -> None:
    """Only a baseline JPEG can be decoded at a part of its size."""
    for progressive, most in ((False, 500), (True, 120)):
        content = bytearray(encoded(photo(8, 8), "JPEG", progressive=progressive))
        frame = content.index(b"\xff\xc2" if progressive else b"\xff\xc0")
        content[frame + 5 : frame + 9] = struct.pack(">HH", 30_000, 30_000)
        with pytest.raises(ImageError, match=f"at most {most} megapixels") as caught:
            prepare.to_jpeg(bytes(content), "JPEG")
        assert caught.value.limit == most * 1_000_000


@pytest.mark.parametrize("tags", [{254: 1}, {50706: b"\1\4\0\0"}])
def test_raw_file_is_refused_rather_than_its_preview_sent(
    tags: dict[int, int | bytes],
) -> None:
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    directory = ImageFileDirectory_v2()
    for tag, value in tags.items():
        directory[tag] = value
    for content in (
        encoded(photo(), "TIFF", tiffinfo=directory),
        b"II*\0\x0e\0\0\0CR\2\0\0\0" + encoded(photo(), "TIFF")[8:],
    ):
        with pytest.raises(ImageError, match=r"raw file.*export it as a JPEG"):
            prepare.to_jpeg(content, "TIFF")


def test_fractional_pixels_are_refused() -> None:
    with pytest.raises(ImageError, match="save it with 8 or 16 bits"):
        prepare.to_jpeg(encoded(Pillow.new("F", (8, 8), 0.5), "TIFF"), "TIFF")


@pytest.mark.parametrize("name", ["TIFF", "BMP", "GIF", "HEIC", "AVIF"])
def test_cut_off_picture_is_an_error_whatever_its_decoder_accepts(name: str) -> None:
    content = encoded(noise(64, 64), name)
    for length in (30, len(content) // 2, len(content) - 9):
        with pytest.raises(ImageError, match=f"{name} cannot be decoded"):
            prepare.to_jpeg(content[:length], name)


def test_too_little_memory_is_an_image_error() -> None:
    """A batch goes on with the next picture."""
    pytest.importorskip("resource", reason="memory cannot be limited here")
    code = (
        "import resource, sys\n"
        "from PIL import BmpImagePlugin, ImageCms\n"
        "from ezlink_async import errors, prepare\n"
        "resource.setrlimit(resource.RLIMIT_AS, (3 * 10**8, 3 * 10**8))\n"
        "try:\n"
        "    prepare.to_jpeg(sys.stdin.buffer.read(), 'BMP')\n"
        "except errors.ImageError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=bmp_of_size(10_900, 10_900),
        capture_output=True,
        check=True,
    )
    assert b"not enough memory" in done.stdout


def test_pillows_global_state_is_left_alone() -> None:
    """No plugin is registered in the user's process, and no limit is changed."""
    code = (
        "import io, sys\n"
        "from PIL import Image\n"
        "before = Image.MAX_IMAGE_PIXELS\n"
        "from ezlink_async import prepare\n"
        "prepare.to_jpeg(sys.stdin.buffer.read(), 'HEIC')\n"
        "print(before == Image.MAX_IMAGE_PIXELS, sorted(Image.OPEN))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        input=encoded(photo(), "HEIC"),
        capture_output=True,
        check=True,
    )
    assert done.stdout.startswith(b"True ")
    assert b"HEIF" not in done.stdout


NAMES = ["JPEG", "PNG", "WEBP"]

FOREIGN = ["HEIC", "AVIF", "TIFF", "BMP", "GIF"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Name a file whose suffix says nothing true."""
    return tmp_path / "holiday.txt"


def content_of(prepared: Prepared) -> bytes:
    """Return the bytes, after the client's own inspection of them."""
    content = prepared.image.content
    assert content is not None
    assert image_reader.inspect(prepared.image).length == len(content)
    assert containers.verify_complete(content)
    return content


@pytest.mark.parametrize("strip_metadata", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_acceptable_file_is_left_as_it_is(
    name: str, file: Path, *, strip_metadata: bool
) -> None:
    """The result is the file itself, so it is sent byte for byte."""
    file.write_bytes(encoded(photo(), name))
    prepared = prepare_picture(str(file), strip_metadata=strip_metadata)
    assert prepared == Prepared(Image.from_path(file), changes=())


@pytest.mark.parametrize("name", NAMES)
def test_metadata_is_removed_on_request_without_the_extra(
    name: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_bytes(encoded(photo(), name, exif=exif(6)))
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert prepare_picture(file) == Prepared(Image.from_path(file))
    prepared = prepare_picture(file, strip_metadata=True)
    assert prepared.changes == ("metadata removed",)
    assert not [secret for secret in SECRETS if secret in content_of(prepared)]
    assert prepared.image.path == file


@pytest.mark.parametrize("strip_metadata", [False, True])
def test_film_behind_a_photo_is_removed_without_encoding_the_photo(
    file: Path, monkeypatch: pytest.MonkeyPatch, *, strip_metadata: bool
) -> None:
    """A phone appends eleven megabytes; the photo keeps its own pixels."""
    content = encoded(photo(), "JPEG")
    file.write_bytes(content + bytes(11_000_000))
    monkeypatch.setitem(sys.modules, "PIL", None)
    prepared = prepare_picture(file, strip_metadata=strip_metadata)
    assert prepared.changes == ("metadata removed",)
    assert content_of(prepared) == content


@pytest.mark.parametrize("name", NAMES)
def test_picture_above_the_limit_is_encoded_to_fit(name: str, file: Path) -> None:
    side = 4400 if name == "JPEG" else 2000
    options = {"lossless": True, "method": 0} if name == "WEBP" else {}
    file.write_bytes(encoded(noise(side, side), name, exif=exif(6), **options))
    assert file.stat().st_size > images.MAX_BYTES
    prepared = prepare_picture(file)
    content = content_of(prepared)
    assert decoded(content).format == "JPEG"
    assert prepared.changes[-2].endswith("to fit 10 MiB")
    assert repr(prepared.image) == f"Image({str(file)!r})"


@pytest.mark.parametrize("name", FOREIGN)
def test_other_formats_are_converted_whatever_the_suffix(name: str, file: Path) -> None:
    file.write_bytes(encoded(photo(), name))
    prepared = prepare_picture(file)
    assert prepared.changes == (f"converted from {name}", "metadata removed")
    assert near(corners(decoded(content_of(prepared))), most=16)


def test_container_format_is_known_by_the_brands_it_lists(file: Path) -> None:
    """A file that says only ``mif1`` may be HEIC or AVIF."""
    content = encoded(photo(), "AVIF")
    assert b"avif" in content[16:40]
    file.write_bytes(content[:8] + b"mif1" + content[12:])
    assert prepare_picture(file).changes[0] == "converted from AVIF"


@pytest.mark.parametrize("name", FOREIGN)
def test_without_the_extra_the_error_names_it_and_the_file_once(
    name: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_bytes(encoded(photo(), name))
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match=r"pip install 'ezlink-async\[images\]'") as e:
        prepare_picture(file)
    assert e.value.path == file
    assert str(e.value).count(str(file)) == 1


def test_without_the_extra_a_large_picture_is_an_error_that_says_why(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The format itself is one that the server takes."""
    file.write_bytes(encoded(noise(2000, 2000), "PNG"))
    for module in ("PIL", "PIL.PngImagePlugin"):
        monkeypatch.setitem(sys.modules, module, None)
    for check in (prepare_picture, needs_preparing):
        with pytest.raises(ImageError, match=r"a PNG of more than 10 MiB.*\[images\]"):
            check(file)


def png_of_size(width: int, height: int) -> bytes:
    """Return a PNG whose head claims this size."""
    content = png()
    return content[:16] + struct.pack(">II", width, height) + content[24:]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the picture is empty; copy it again"),
        (b"a letter to my aunt", "not a picture; give a JPEG, PNG, WebP or HEIC"),
        (recorded_jpeg()[:-20], "the JPEG is cut off; copy it again"),
        (png()[:-20], "the PNG is cut off; copy it again"),
        (webp()[:-5], "the WEBP is cut off; copy it again"),
        (png_of_size(0, 5), "it has 0 x 5 pixels; export it again"),
        (
            png_of_size(60_000, 60_000),
            "60000 x 60000 pixels are too many; make it smaller",
        ),
        (b"II*\0" + bytes(40), "the TIFF cannot be decoded .*; it may be cut off"),
        (b"\0\0\0\x18ftypheic" + bytes(40), "the HEIC cannot be decoded"),
    ],
)
def test_unusable_file_is_an_error_that_says_what_to_change(
    content: bytes, reason: str, file: Path
) -> None:
    file.write_bytes(content)
    with pytest.raises(ImageError, match=reason) as caught:
        prepare_picture(file)
    assert caught.value.path == file
    assert caught.value.retry_safe


def test_folder_or_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="this is not a file"):
        prepare_picture(tmp_path)
    with pytest.raises(ImageError, match="there is no such file"):
        prepare_picture(tmp_path / "gone.jpg")


def test_file_above_512_mib_is_not_read(file: Path) -> None:
    with file.open("wb") as stream:
        stream.truncate(MOST_READ + 1)
    with pytest.raises(ImageError, match="too many to be made smaller here") as caught:
        prepare_picture(file)
    assert caught.value.limit == MOST_READ


async def test_prepared_pictures_are_compared_by_the_bytes_that_are_sent(
    tmp_path: Path,
) -> None:
    """Two files that become the same picture are the same to the server."""
    content = encoded(photo(), "JPEG")
    files = [tmp_path / "a.jpg", tmp_path / "b.jpg"]
    for number, each in enumerate(files):
        each.write_bytes(content + b"film %d" % number)
    one, other = (prepare_picture(each, strip_metadata=True) for each in files)
    with pytest.raises(ImageError, match=r"b\.jpg: source and target are the same"):
        await image_reader.inspect_other(other.image, image_reader.inspect(one.image))


def test_threads_prepare_pictures_at_the_same_time(tmp_path: Path) -> None:
    """Each picture comes out as it does alone."""
    files = [tmp_path / f"{number}" for number in range(24)]
    for number, each in enumerate(files):
        name = (*FOREIGN, *NAMES)[number % 8]
        each.write_bytes(encoded(noise(40 + number, 30), name, exif=exif(6)))
    alone = [prepare_picture(each, strip_metadata=True) for each in files]
    with ThreadPoolExecutor(8) as pool:
        together = pool.map(
            lambda each: prepare_picture(each, strip_metadata=True), files
        )
        assert list(together) == alone
