"""
Rough positions of faces: BlazeFace on overlapping tiles of a picture.

The network sees 128 pixels and misses faces that are small in them, hence the tiles;
it misses faces cut by the edge or lying on their side, hence the second and third
tries.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import cv2
import numpy as np

from ezlink_async.emulator.engine.arrays import Floats, Pixels, resized, scaled
from ezlink_async.emulator.engine.geometry import Matrix, Square
from ezlink_async.emulator.engine.networks import DETECTOR, Network, sigmoid

_SIDE = 128  # pixels the network sees
_LONGEST = 1600  # tiles of a larger picture would show no more
_LEAST_SCORE = 0.55
_SAME_FACE = 0.3  # overlap from which two boxes are one face
_TILE_OVERLAP = 1.3
_PADDING = 0.4
_CONTEXT = 1.5  # the mesh needs this many times the box
# The shortest picture each set of grids is for: n means n x n tiles.
# The finest grid and the whole picture find what coarser grids find.
_GRIDS = ((1101, 5), (400, 3), (200, 2), (0, 0))

# Columns of a table of boxes: left, top, right, bottom, then x and y of the
# right and of the left eye, then the score.
_EYES = slice(4, 8)
_COORDINATES = slice(0, 8)
_SCORE = 8


@attrs.frozen(eq=False)
class View:
    """A picture to search, and the 2x3 map from it to the original."""

    pixels: Pixels
    to_original: Matrix

    def squares(self, boxes: Floats) -> list[Square]:
        """Return *boxes* found here as squares of the original."""
        centres = (boxes[:, :2] + boxes[:, 2:4]) / 2
        sides = (boxes[:, 2:4] - boxes[:, :2]).max(axis=1)
        scale = float(np.hypot(*self.to_original[:, 0]))
        linear = self.to_original[:, :2].T
        positions = centres @ linear + self.to_original[:, 2]
        eyes = boxes[:, _EYES].reshape(-1, 2, 2) @ linear
        across = eyes[:, 1] - eyes[:, 0]
        angles = np.arctan2(across[:, 1], across[:, 0])
        return [
            Square(float(x), float(y), float(side) * scale * _CONTEXT, float(angle))
            for (x, y), side, angle in zip(positions, sides, angles, strict=True)
        ]


class Detector:
    """Finds candidates for faces. For one thread, like its network."""

    def __init__(self) -> None:
        self._network = Network(DETECTOR, ("classificators", "regressors"))
        self._anchors = _anchors()

    def attempts(self, image: Pixels) -> Iterator[list[Square]]:
        """
        Yield candidates, best first, one list a try; stop when one is a face.

        The tries: the picture as it is, padded (for a face that touches the edges),
        then turned by 90, 270 and 180 degrees.
        """
        for view in _views(image):
            yield view.squares(self.boxes(view.pixels))

    def boxes(self, image: Pixels) -> Floats:
        """Return one row a face, best first: box, eyes and score, nine columns."""
        found = [self._found(image, tile) for tile in _tiles(image)]
        return merged(np.concatenate(found))

    def _found(self, image: Pixels, tile: tuple[int, int, int, int]) -> Floats:
        left, top, right, bottom = tile
        part = image[top:bottom, left:right]
        shrink = _SIDE / max(part.shape[:2])
        height, width = (max(1, round(side * shrink)) for side in part.shape[:2])
        letterbox = np.zeros((_SIDE, _SIDE, 3), np.uint8)
        letterbox[:height, :width] = resized(part, (height, width))
        blob = cv2.dnn.blobFromImage(
            letterbox, 1 / 127.5, mean=(127.5, 127.5, 127.5), swapRB=True
        )
        raw, offsets = self._network.run(np.asarray(blob, np.float32))
        scores = sigmoid(raw.reshape(-1))
        sure = np.flatnonzero(scores > _LEAST_SCORE)
        found = self._decoded(offsets.reshape(-1, 16)[sure], self._anchors[sure])
        found = found / shrink + np.tile(np.array([left, top], np.float32), 4)
        return np.concatenate([found, scores[sure, None]], axis=1, dtype=np.float32)

    @staticmethod
    def _decoded(offsets: Floats, anchors: Floats) -> Floats:
        """Return box and eyes in pixels of the letterbox."""
        positions = anchors * np.float32(_SIDE)
        centre, half = offsets[:, :2] + positions, offsets[:, 2:4] / 2
        eyes = offsets[:, 4:8] + np.tile(positions, 2)
        return np.concatenate([centre - half, centre + half, eyes], axis=1)


def merged(boxes: Floats) -> Floats:
    """
    Return one row for each group of overlapping boxes, best score first.

    Coordinates are the mean weighted by score: several tiles find one face, each at
    a slightly different position.
    """
    left = boxes[np.argsort(-boxes[:, _SCORE], kind="stable")]
    rows = [np.zeros((0, 9), np.float32)]
    while len(left):
        same = overlap(left[0], left) > _SAME_FACE
        same[0] = True
        row = np.average(left[same], axis=0, weights=left[same, _SCORE])
        row[_SCORE] = left[0, _SCORE]
        rows.append(row[None].astype(np.float32))
        left = left[~same]
    return np.concatenate(rows)


def overlap(box: Floats, others: Floats) -> Floats:
    """Return intersection over union of *box* with each row of *others*."""
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[2:4], others[:, 2:4])
    common = np.clip(high - low, 0, None).prod(axis=1)
    one = (box[2:4] - box[:2]).prod()
    each = (others[:, 2:4] - others[:, :2]).prod(axis=1)
    return np.asarray(common / (one + each - common + 1e-9), np.float32)


def _anchors() -> Floats:
    # Two anchors a cell of a 16 x 16 grid, then six a cell of an 8 x 8 grid.
    parts = []
    for cells, each in ((16, 2), (8, 6)):
        middle = (np.arange(cells) + 0.5) / cells
        x, y = np.meshgrid(middle, middle)
        parts.append(np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), each, axis=0))
    return np.concatenate(parts).astype(np.float32)


def _tiles(image: Pixels) -> list[tuple[int, int, int, int]]:
    height, width = image.shape[:2]
    longest = max(height, width)
    count = next(count for least, count in _GRIDS if longest >= least)
    whole = (0, 0, width, height)
    if not count:
        return [whole]
    side = max(
        min(int(width / count * _TILE_OVERLAP), width),
        min(int(height / count * _TILE_OVERLAP), height),
    )
    across, down = min(side, width), min(side, height)
    tops = [(height - down) * row // (count - 1) for row in range(count)]
    lefts = [(width - across) * column // (count - 1) for column in range(count)]
    tiles = [(left, top, left + across, top + down) for top in tops for left in lefts]
    return list(dict.fromkeys([whole, *tiles]))


def _views(image: Pixels) -> Iterator[View]:
    shrink = min(1.0, _LONGEST / max(image.shape[:2]))
    small = scaled(image, shrink)
    grow = np.diag([image.shape[1] / small.shape[1], image.shape[0] / small.shape[0]])
    for pixels, matrix in _variants(small):
        yield View(np.ascontiguousarray(pixels), grow @ matrix)


def _variants(image: Pixels) -> Iterator[tuple[Pixels, Matrix]]:
    height, width = image.shape[:2]
    yield image, np.array([[1.0, 0, 0], [0, 1, 0]])
    pad = int(_PADDING * max(height, width))
    padded = cv2.copyMakeBorder(image, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
    yield np.asarray(padded, np.uint8), np.array([[1.0, 0, -pad], [0, 1, -pad]])
    yield np.rot90(image, 1), np.array([[0.0, -1, width - 1], [1, 0, 0]])
    yield np.rot90(image, 3), np.array([[0.0, 1, 0], [-1, 0, height - 1]])
    yield np.rot90(image, 2), np.array([[-1.0, 0, width - 1], [0, -1, height - 1]])
