"""
Picture files decoded into arrays for the engine, and its results encoded.

Decoding applies the EXIF orientation and drops EXIF (it can hold a position and a
thumbnail of the old face), makes grey colour, and reduces 16 bits to 8.
"""

from __future__ import annotations

import attrs
import cv2
import numpy as np
import numpy.typing as npt

from ezlink_async.emulator.pictures.containers import (
    Header,
    Kind,
    PictureError,
    read_header,
)
from ezlink_async.emulator.pictures.synthetic_mark import mark

Pixels = npt.NDArray[np.uint8]

MAX_PIXELS = 50_000_000
"""The default limit of :func:`decode`."""

QUALITY = 95
"""The default quality of JPEG and lossy WebP results."""

_WEBP_LOSSLESS = 101  # OpenCV's quality for lossless
_GREY_AXES = 2
_COLOURS = 3

# To turn a stored picture upright, swap rows and columns, then mirror these axes.
# Keys are EXIF's orientations; 1 is upright already.
_MIRRORED_AXES = {2: (1,), 3: (0, 1), 4: (0,), 5: (), 6: (1,), 7: (0, 1), 8: (0,)}
_FIRST_TRANSPOSED = 5


@attrs.frozen(eq=False)
class Picture:
    """
    A decoded picture: *pixels* is BGR, upright, (height, width, 3).

    *alpha* is (height, width), or None for an opaque picture. *header* is that of
    the file, so that :func:`encode` can write one of the same kind.
    """

    pixels: Pixels
    alpha: Pixels | None
    header: Header


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """
    Return the picture in the bytes of a JPEG, PNG or WebP file.

    :exc:`PictureError` when the file is something else, damaged, or larger than
    *max_pixels*, which is checked before decoding.
    """
    header = read_header(data)
    if header.width * header.height > max_pixels:
        raise PictureError(
            f"the picture has {header.width} x {header.height} pixels, more than "
            f"the {max_pixels} that the engine accepts; make it smaller"
        )
    image = _upright(_eight_bit(_decoded(data, header.kind)), header.orientation)
    return _picture(image, header)


def encode(picture: Picture, *, quality: int = QUALITY) -> bytes:
    """
    Return a file of the kind that *picture* was decoded from, marked as synthetic.

    PNG and lossless WebP are exact; *quality*, 1 to 100, is for the others. A JPEG
    has its colours at full resolution.
    """
    image = picture.pixels
    if picture.alpha is not None:
        image = np.dstack([image, picture.alpha])
    suffix, options = _form(picture.header, quality)
    _, encoded = cv2.imencode(suffix, image, options)
    return mark(encoded.tobytes(), picture.header.profile)


def _form(header: Header, quality: int) -> tuple[str, list[int]]:
    if header.kind == "jpeg":
        return ".jpg", [
            cv2.IMWRITE_JPEG_QUALITY,
            quality,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
        ]
    if header.kind == "png":
        return ".png", []
    quality = _WEBP_LOSSLESS if header.lossless else quality
    return ".webp", [cv2.IMWRITE_WEBP_QUALITY, quality]


def _decoded(data: bytes, kind: Kind) -> npt.NDArray[np.uint8 | np.uint16]:
    # Unchanged, since the flags that apply the orientation drop the alpha.
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:  # pragma: no cover - no bytes known do this
        image = None
    if image is None:
        raise PictureError(f"the {kind.upper()} is damaged: it cannot be decoded")
    return np.asarray(image)


def _eight_bit(image: npt.NDArray[np.uint8 | np.uint16]) -> Pixels:
    if image.dtype == np.uint16:
        return (image >> np.uint16(8)).astype(np.uint8)
    return image.astype(np.uint8, copy=False)


def _upright(image: Pixels, orientation: int) -> Pixels:
    if orientation == 1:
        return image
    if orientation >= _FIRST_TRANSPOSED:
        image = image.swapaxes(0, 1)
    return np.ascontiguousarray(np.flip(image, _MIRRORED_AXES[orientation]))


def _picture(image: Pixels, header: Header) -> Picture:
    if image.ndim == _GREY_AXES:
        image = np.dstack([image, image, image])
    colour, alpha = image[..., :_COLOURS], image[..., _COLOURS:]
    return Picture(
        pixels=np.ascontiguousarray(colour),
        alpha=np.ascontiguousarray(alpha[..., 0]) if alpha.size else None,
        header=header,
    )
