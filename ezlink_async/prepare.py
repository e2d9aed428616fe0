"""
Pictures made acceptable to the server, before anything is sent or paid.

A picture is known by its content; a wrong suffix does not matter. A picture
that cannot be made acceptable is an :exc:`ImageError` that says what to change.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, cast

import attrs

from ezlink_async._core import containers
from ezlink_async._core.containers import dimensions, orientation, verify_complete
from ezlink_async._core.images import (
    HEAD_BYTES,
    MAX_BYTES,
    Image,
    ImageLike,
    check_acceptable,
    foreign_format,
    sniff,
)
from ezlink_async._io.image_reader import open_picture, reading
from ezlink_async.errors import ImageError

if TYPE_CHECKING:
    from PIL import Image as PillowImage

__all__ = ["Prepared", "prepare_picture"]

MOST_READ = 512 * 1024 * 1024
"""The most bytes of a file; it is read into memory."""

_MOST_PIXELS = 500_000_000  # of any picture; more is a mistake

_MOST_DECODED = 120_000_000  # of a picture that is only decoded at its full size

_MOST_FULL_SIZE = 2**26  # of a JPEG; a larger one is decoded at 1/2, 1/4 or 1/8

_LONGEST_SIDE = 65_500  # of a JPEG

# Quality and subsampling: the first step that fits at full size is taken, and the
# last step for smaller sizes.
_STEPS = ((95, "4:4:4"), (95, "4:2:0"), (92, "4:2:0"), (88, "4:2:0"), (85, "4:2:0"))

_HOPELESS = 4 * MAX_BYTES  # at the first step: only the last is tried after it

_TRIES = 6  # of smaller sizes

_TRUSTED = 3  # guesses from the length, before the range is halved

_NEARLY_FULL = 0.93 * MAX_BYTES

_SURE_PIXELS = MAX_BYTES // 2  # fit at the last step, even if they are pure noise

# Tags of TIFF.
_KIND, _TURN, _DNG = 254, 274, 50706

_RAW_FILE = (
    "this is a camera's raw file, of which only a preview can be read; "
    "export it as a JPEG"
)


@attrs.frozen
class Prepared:
    """
    A picture the server takes, and what was *changed* to make it one.

    *image* is the file itself, or bytes that keep the file's path as their
    name. *changes* are short plain words for a report, such as
    ``converted from HEIC``; empty means the file is sent byte for byte.
    """

    image: Image
    changes: tuple[str, ...] = ()


def prepare_picture(picture: ImageLike, *, strip_metadata: bool = False) -> Prepared:
    """
    Return a picture of an acceptable format and length, standing upright.

    A file can be converted, and an upload that ``client.receive_image`` has received;
    bytes that the server would not take are refused.
    A complete JPEG, PNG or WebP within the limit is left as it is;
    *strip_metadata* removes position, serial numbers, thumbnails, comments and
    appended films from it without touching its pixels. The same is done to a
    larger one if that brings it below the limit. Every other picture is encoded
    anew by the extra ``images``, always without metadata.

    This function blocks, and may be called from many threads at once. One call
    takes up to 30 MB for a picture that need not be decoded. Otherwise it takes
    the file and up to 14 bytes for each pixel: 170 MB for a photo of 12
    megapixels, 0.8 GB for the largest JPEGs, which are decoded at a part of
    their size, and 1.7 GB for the 120 megapixels that other formats may have.
    So bound how many calls run at once.
    """
    image = Image.of(picture)
    with _naming(image):
        return _prepare(image, _read(image), strip_metadata=strip_metadata)


def needs_preparing(path: str | os.PathLike[str]) -> bool:
    """
    Return whether the server would refuse a file that can be made acceptable.

    Only the beginning of the file is read. :exc:`ImageError` when the file
    cannot be used at all, or the extra that would convert it is missing.
    """
    image = Image.from_path(path)
    with reading(image), open_picture(image) as stream:
        length = os.fstat(stream.fileno()).st_size
        head = stream.read(HEAD_BYTES)
    media_type, foreign = sniff(head), foreign_format(head)
    too_large = media_type is not None and length > MAX_BYTES
    with _naming(image):
        if not foreign and not too_large:
            check_acceptable(head, length)
            return False
        name = foreign or (media_type or "")[6:].upper()
        with _decoding(name, large=too_large):
            _decoder(name)
    return True


@contextlib.contextmanager
def _naming(image: Image) -> Iterator[None]:
    """Put the path of *image* into an :exc:`ImageError` that has none."""
    try:
        yield
    except ImageError as error:
        if error.path:
            raise
        raise ImageError(
            error.reason, path=image.path, limit=error.limit
        ) from error.__cause__


def _read(image: Image) -> bytes:
    if (held := image.held) is not None:
        return bytes(held)
    with reading(image), open_picture(image) as stream:
        length = os.fstat(stream.fileno()).st_size
        if length > MOST_READ:
            raise ImageError(
                f"{length} bytes are too many to be made smaller here; "
                "export the picture as a JPEG",
                limit=MOST_READ,
            )
        return stream.read()


def _prepare(image: Image, content: bytes, *, strip_metadata: bool) -> Prepared:
    media_type, fits = _acceptable_type(content), len(content) <= MAX_BYTES
    if media_type is None:
        name = _foreign_name(content)
    else:
        _check_pixels(dimensions(content))
        name = media_type[6:].upper()
        original = content
        if strip_metadata or not fits:
            content = containers.strip_metadata(content)
        if fits and content == original:
            return Prepared(image)
        if len(content) <= MAX_BYTES:
            return Prepared(Image(image.path, content), ("metadata removed",))
    jpeg, changes = to_jpeg(content, name)
    return Prepared(Image(image.path, jpeg), changes)


def _acceptable_type(content: bytes) -> str | None:
    """Return the media type of a complete picture that can be sent as it is."""
    if not content:
        raise ImageError("the picture is empty; copy it again")
    if sniff(content[:HEAD_BYTES]) is None:
        return None
    try:
        return verify_complete(content)
    except ImageError as error:
        raise ImageError(f"{error.reason}; copy it again from where it is") from None


def _foreign_name(content: bytes) -> str:
    name = foreign_format(content[:HEAD_BYTES])
    if name is None:
        raise ImageError("this is not a picture; give a JPEG, PNG, WebP or HEIC")
    # HEIC and AVIF share a container; the brands it lists tell which it is.
    box = content[: int.from_bytes(content[:4], "big")]
    return "AVIF" if name == "HEIC" and b"avif" in box[8:512] else name


def to_jpeg(picture: bytes, name: str) -> tuple[bytes, tuple[str, ...]]:
    """
    Return a JPEG of at most :data:`MAX_BYTES`, and what was changed, in plain words.

    *name* is the format of *picture*. The result is upright, in sRGB and
    without metadata. Transparent parts become white: a JPEG has no
    transparency, hidden pixels have any colour, and a result comes back
    without transparency anyway. :exc:`ImageError` when the picture is broken,
    has too many pixels, or the extra is missing.
    """
    large = len(picture) > MAX_BYTES
    with _decoding(name, large=large):
        image, shrunk = _open(picture, name)
        image, turned = _turn_upright(image, name)
        profile = image.info.get("icc_profile")
        image, filled = _make_opaque(image)
        image = _convert_to_srgb(image, profile)
        content, scaled = _encode_to_fit(image)
    smaller = shrunk or scaled
    changes = {
        f"converted from {name}": name != "JPEG",
        "turned upright": turned,
        "transparency filled with white": filled,
        "made smaller to fit 10 MiB": smaller,
        "compressed to fit 10 MiB": large and not smaller,
        "metadata removed": True,
    }
    return content, tuple(words for words, holds in changes.items() if holds)


@contextlib.contextmanager
def _decoding(name: str, *, large: bool) -> Iterator[None]:
    """Turn every exception of a decoder into an :exc:`ImageError`."""
    try:
        yield
    except ImageError:
        raise
    except ImportError as fault:
        raise ImageError(
            f"this is a {name}{' of more than 10 MiB' if large else ''}, which the "
            "server does not take; to convert it: pip install 'ezlink-async[images]'"
        ) from fault
    except MemoryError as fault:
        raise ImageError(
            "there is not enough memory to decode it; make the picture smaller, "
            "or do fewer at the same time"
        ) from fault
    except Exception as fault:  # decoders raise exceptions of any type
        says = " ".join(str(fault).split()) or type(fault).__name__
        raise ImageError(
            f"the {name} cannot be decoded ({says}); it may be cut off: copy it "
            "again, or save it as a JPEG"
        ) from fault


def _decoder(name: str) -> Callable[[io.BytesIO], PillowImage.Image]:
    # Imported one by one: Image.open() would register plugins in the user's process.
    plugin = {"WEBP": "WebP", "HEIC": "Heif"}.get(name, name.capitalize())
    module = "pillow_heif" if name == "HEIC" else f"PIL.{plugin}ImagePlugin"
    decoder = getattr(importlib.import_module(module), f"{plugin}ImageFile")
    return cast("Callable[[io.BytesIO], PillowImage.Image]", decoder)


def _open(picture: bytes, name: str) -> tuple[PillowImage.Image, bool]:
    """Open a picture that is safe to decode; return whether at a part of its size."""
    if name == "TIFF" and picture[8:10] == b"CR":  # the raw files of one maker
        raise ImageError(_RAW_FILE)
    image = _decoder(name)(io.BytesIO(picture))
    tags = getattr(image, "tag_v2", {})
    if _DNG in tags or tags.get(_KIND) == 1:  # 1: a smaller version of another
        raise ImageError(_RAW_FILE)
    in_parts = name == "JPEG" and not image.info.get("progressive")
    _check_pixels(image.size, _MOST_PIXELS if in_parts else _MOST_DECODED)
    pixels = image.width * image.height
    if name != "JPEG" or pixels <= _MOST_FULL_SIZE:
        return image, False
    parts = next(n for n in (2, 4, 8) if pixels <= _MOST_FULL_SIZE * n * n)
    image.draft(None, (image.width // parts, image.height // parts))
    return image, True


def _check_pixels(size: tuple[int, int], most: int = _MOST_PIXELS) -> None:
    """Refuse a picture without pixels, and one with more than *most*."""
    width, height = size
    if not width or not height:
        raise ImageError(f"it has {width} x {height} pixels; export it again")
    if width * height > most or max(size) > _LONGEST_SIDE:
        raise ImageError(
            f"{width} x {height} pixels are too many; make it smaller, to at most "
            f"{most // 1_000_000} megapixels and sides of {_LONGEST_SIDE}",
            limit=most,
        )


def _turn_upright(
    image: PillowImage.Image, name: str
) -> tuple[PillowImage.Image, bool]:
    """Decode a picture and turn it as the camera says; return whether it did."""
    if name in {"TIFF", "HEIC"}:  # their decoders turn them
        tags = getattr(image, "tag_v2", {})
        found = tags.get(_TURN) or image.info.get("original_orientation")
        image.load()
        return image, found not in {None, 1}
    image.load()
    from PIL.Image import Transpose

    turn = orientation(image.info.get("exif") or b"")
    if turn == 1:
        return image, False
    steps = (
        Transpose.FLIP_LEFT_RIGHT,
        Transpose.ROTATE_180,
        Transpose.FLIP_TOP_BOTTOM,
        Transpose.TRANSPOSE,
        Transpose.ROTATE_270,
        Transpose.TRANSVERSE,
        Transpose.ROTATE_90,
    )
    return image.transpose(steps[turn - 2]), True


def _make_opaque(image: PillowImage.Image) -> tuple[PillowImage.Image, bool]:
    """Return 8 bits a colour on white; and whether a part was transparent."""
    from PIL import ImageChops

    if image.mode == "F":
        raise ImageError("its pixels are fractions; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        return image.convert("I").point(lambda value: value / 256).convert("L"), False
    if not image.has_transparency_data:
        return image.convert("RGB") if image.mode == "P" else image, False
    image = image.convert("RGBA")
    alpha = image.getchannel("A")
    image = image.convert("RGB")
    if alpha.getextrema() == (255, 255):
        return image, False
    image.paste((255, 255, 255), mask=ImageChops.invert(alpha))
    return image, True


def _convert_to_srgb(
    image: PillowImage.Image, profile: bytes | None
) -> PillowImage.Image:
    """Convert the colours, so that a decoder of the result needs no profile."""
    from PIL import ImageCms

    if profile and image.mode in {"L", "RGB", "CMYK"}:
        # A broken profile, or one for another mode, is ignored.
        with contextlib.suppress(ImageCms.PyCMSError, OSError):
            converted = ImageCms.profileToProfile(
                image,
                ImageCms.ImageCmsProfile(io.BytesIO(profile)),
                ImageCms.createProfile("sRGB"),
                renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
                outputMode="RGB",
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
            return cast("PillowImage.Image", converted)
    return image if image.mode == "RGB" else image.convert("RGB")


class _JpegStream(io.BytesIO):
    """A JPEG up to the limit; of more only the length is kept."""

    length = 0

    def write(self, piece: bytes) -> int:  # type: ignore[override]  # Pillow's bytes
        self.length += len(piece)
        return super().write(piece) if self.fits else len(piece)

    @property
    def fits(self) -> bool:
        return self.length <= MAX_BYTES


def _encode(image: PillowImage.Image, quality: int, subsampling: str) -> _JpegStream:
    image.info = {}  # Pillow would write the comment
    stream = _JpegStream()
    image.save(stream, "JPEG", quality=quality, subsampling=subsampling)
    return stream


def _encode_to_fit(image: PillowImage.Image) -> tuple[bytes, bool]:
    """Encode as well as the limit allows; return whether it cost pixels."""
    encoded = _encode(image, *_STEPS[0])
    others = _STEPS[1:] if encoded.length < _HOPELESS else _STEPS[-1:]
    for step in others:
        if encoded.fits:
            break
        encoded = _encode(image, *step)
    if encoded.fits:
        return encoded.getvalue(), False
    return _encode_smaller(image, encoded.length), True


def _encode_smaller(image: PillowImage.Image, length: int) -> bytes:
    """Search the largest size that fits; *length* is that of the full size."""
    best = b""
    low = min(1.0, _SURE_PIXELS / (image.width * image.height))  # of all pixels
    high = share = 1.0
    for tried in range(1, _TRIES + 1):
        share *= 0.97 * MAX_BYTES / length  # a little less than in proportion
        # A blurred picture has hardly fewer bytes when it has fewer pixels.
        if not low < share < high or (tried > _TRUSTED and not best):
            share = (low * high) ** 0.5
        encoded = _encode_resized(image, share)
        length = encoded.length
        if not encoded.fits:
            high = share
            continue
        best, low = encoded.getvalue(), share
        if length >= _NEARLY_FULL:
            break
    return best or _encode_resized(image, low).getvalue()


def _encode_resized(image: PillowImage.Image, share: float) -> _JpegStream:
    """Encode with this share of the pixels."""
    from PIL.Image import Resampling

    side = share**0.5
    size = max(1, int(image.width * side)), max(1, int(image.height * side))
    return _encode(image.resize(size, Resampling.LANCZOS), *_STEPS[-1])
