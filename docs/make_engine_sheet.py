"""
Make docs/engine.jpg: changed samples, each before and after the swap.

Run ``python docs/make_engine_sheet.py`` with the ``local`` extra installed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from ezlink_async.emulator.engine import landmarks, masks
from ezlink_async.emulator.engine.arrays import Floats
from ezlink_async.emulator.engine.geometry import Square
from ezlink_async.emulator.engine.mesh import Face, Finder
from ezlink_async.emulator.engine.swap import Swapper
from ezlink_async.emulator.pictures.codec import Picture, Pixels, decode, encode
from ezlink_async.emulator.pictures.containers import Header

_DOCS = Path(__file__).parent
_SIDE, _GAP, _PAIR_GAP = 230, 4, 14
_ACROSS = 3  # pairs in a row
_AROUND = 1.7  # times the face
_BLUR = 4  # sigma in pixels
_INK = (18, 14, 16)  # BGR
_QUALITY = 82  # low enough for a page that loads fast
# The usual sepia, for BGR.
_SEPIA = np.array([[0.131, 0.534, 0.272], [0.168, 0.686, 0.349], [0.189, 0.769, 0.393]])
_LENSES = ((*landmarks.SOCKETS[0], 31), (*landmarks.SOCKETS[1], 261))

Change = Callable[[Pixels, Face], Pixels]


def as_it_is(picture: Pixels, face: Face) -> Pixels:  # noqa: ARG001 - a Change
    """Return the *picture*."""
    return picture


def grey(picture: Pixels, face: Face) -> Pixels:  # noqa: ARG001 - a Change
    """Return the *picture* without colour."""
    light = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    return np.asarray(cv2.cvtColor(light, cv2.COLOR_GRAY2BGR), np.uint8)


def sepia(picture: Pixels, face: Face) -> Pixels:  # noqa: ARG001 - a Change
    """Return the *picture* in brown tones."""
    return np.asarray(np.clip(0.8 * picture @ _SEPIA.T, 0, 255), np.uint8)


def out_of_focus(picture: Pixels, face: Face) -> Pixels:  # noqa: ARG001 - a Change
    """Return the *picture* blurred."""
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), _BLUR), np.uint8)


def with_sunglasses(picture: Pixels, face: Face) -> Pixels:
    """Return the *picture* with sunglasses drawn on the *face*."""
    size = (picture.shape[0], picture.shape[1])
    glass = np.maximum(*(masks.hull(size, face.points, lens) for lens in _LENSES))
    ends = (landmarks.RIGHT_EAR, 226, 190, 414, 446, landmarks.LEFT_EAR)
    bar = face.points[list(ends), :2].round().astype(np.int32)
    frame = np.zeros(size, np.uint8)
    thick = max(2, round(face.width * 0.03))
    cv2.polylines(frame, [bar], isClosed=False, color=1, thickness=thick)
    return _inked(picture, np.maximum(glass, frame.astype(np.float32)))


def with_bold_brows(picture: Pixels, face: Face) -> Pixels:
    """Return the *picture* with thick brows drawn on the *face*."""
    brows = np.zeros(picture.shape[:2], np.uint8)
    for brow in (landmarks.BROWS_ABOVE[:5], landmarks.BROWS_ABOVE[5:]):
        line = face.points[list(brow), :2].round().astype(np.int32)
        thick = round(face.width * 0.06)
        cv2.polylines(brows, [line], isClosed=False, color=1, thickness=thick)
    return _inked(picture, brows.astype(np.float32))


def _inked(picture: Pixels, where: Floats) -> Pixels:
    soft = cv2.GaussianBlur(where, (0, 0), 1.5)[..., None]
    return np.asarray(picture + (np.array(_INK) - picture) * soft, np.uint8)


TARGETS: tuple[tuple[str, Change], ...] = (
    ("hopper.jpg", as_it_is),
    ("synthetic_1.jpg", grey),
    ("hopper.jpg", sepia),
    ("synthetic_3.jpg", out_of_focus),
    ("synthetic_1.jpg", with_sunglasses),
    ("synthetic_3.jpg", with_bold_brows),
)
"""The pairs of the sheet, row by row; *docs/explanation/engine.md* names them."""


def sheet(source: Pixels, targets: Sequence[tuple[Pixels, Change]]) -> bytes:
    """
    Return a JPEG of each target before and after the swap, three pairs a row.

    The JPEG is marked as synthetic, as the results in it are.
    """
    swapper, finder = Swapper(), Finder()
    donor = swapper.analyse(source)
    pairs = []
    for picture, change in targets:
        face = finder.faces(picture)[0]
        before = change(picture, face)
        frame = Square.around(face.points, _AROUND)
        tiles = [
            frame.cut(each, _SIDE) for each in (before, swapper.swap(donor, before))
        ]
        pairs.append(np.concatenate([tiles[0], _space(_SIDE, _GAP), tiles[1]], axis=1))
    rows = [
        _joined(pairs[first : first + _ACROSS])
        for first in range(0, len(pairs), _ACROSS)
    ]
    pixels = np.concatenate(rows)
    header = Header(kind="jpeg", width=pixels.shape[1], height=pixels.shape[0])
    return encode(Picture(pixels=pixels, alpha=None, header=header), quality=_QUALITY)


def _joined(pairs: Sequence[Pixels]) -> Pixels:
    row = np.concatenate(
        [part for pair in pairs for part in (pair, _space(_SIDE, _PAIR_GAP))], axis=1
    )
    return np.concatenate([row, _space(_GAP, row.shape[1])])


def _space(height: int, width: int) -> Pixels:
    return np.full((height, width, 3), 255, np.uint8)


def main() -> None:
    """Write the sheet from the samples."""

    def sample(name: str) -> Pixels:
        return decode((_DOCS / "samples" / name).read_bytes()).pixels

    targets = [(sample(name), change) for name, change in TARGETS]
    (_DOCS / "engine.jpg").write_bytes(sheet(sample("astronaut.jpg"), targets))


if __name__ == "__main__":
    main()
