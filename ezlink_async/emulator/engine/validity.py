"""
The usable parts of a source: face, and not fringe, hat or hand.

Computed in an upright frame of 256 pixels. The part between the brows and the mouth is
always used. Above the brows a column of pixels counts up to the first that is not
skin; unless the forehead as a whole is clean, the target keeps its own.
"""

from __future__ import annotations

import cv2
import numpy as np

from ezlink_async.emulator.engine import landmarks, masks
from ezlink_async.emulator.engine.arrays import Floats, Mask, Pixels, blurred, to_lab
from ezlink_async.emulator.engine.geometry import Square

_SIDE = 256
_MARGIN = 1 / 0.9
_CLEAN = 0.95
_LEAST_SKIN = 200  # pixels; fewer are no measure of its colour
_SPREAD = np.array([6, 1.8, 2.2], np.float32)
# Pixels of the frame.
_ABOVE_ARCH = 6
_SAFE = 5  # hair throws a shadow on the skin beside it
_FADE = 5
_THICKNESS = 0.75  # of the mesh's brow
_ROWS = np.arange(_SIDE)[:, None]


def source_validity(image: Pixels, points: Floats) -> Floats:
    """Return 1 where *image* shows usable face, (height, width) as the image."""
    frame = Square.around(points, _MARGIN)
    upright = frame.cut(image, _SIDE)
    matrix = frame.matrix(_SIDE)
    inverse = cv2.invertAffineTransform(matrix)
    there = points.copy()
    there[:, :2] = points[:, :2] @ inverse[:, :2].T + inverse[:, 2]
    valid = _judged(to_lab(upright), there)
    back = cv2.warpAffine(
        valid, inverse, image.shape[1::-1], flags=cv2.WARP_INVERSE_MAP
    )
    return np.asarray(back, np.float32)


def _judged(lab: Floats, points: Floats) -> Floats:
    size = (_SIDE, _SIDE)
    sample = _sample(points)
    whole = masks.oval(size, points) > 0.5  # noqa: PLR2004
    if sample.sum() < _LEAST_SKIN:
        return np.ones(size, np.float32)
    valid = _tinted(lab, sample) * _smooth(lab[..., 0], sample)
    valid[~whole] = 0
    zone = masks.hull(size, points, landmarks.FEATURES + landmarks.NOSE_AND_CHEEKBONES)
    always = (masks.grown(zone, 1) > 0) * _below(points)
    valid = _forehead(np.maximum(valid, always), points, whole)
    valid = blurred(masks.shrunk(valid, _SAFE), 2.5)
    return np.maximum(valid, blurred(always, 2))


def _sample(points: Floats) -> Mask:
    """Return the skin below the brows: nose and cheeks."""
    bare = masks.skin((_SIDE, _SIDE), points)
    brow = min(float(points[list(landmarks.BROWS), 1].min()), _SIDE - 2)
    below = (bare & (brow + 8 < _ROWS)).astype(np.uint8)
    return np.asarray(cv2.erode(below, np.ones((13, 13), np.uint8))) > 0


def _tinted(lab: Floats, sample: Mask) -> Floats:
    seen = lab[sample]
    median = np.median(seen, axis=0)
    spread = np.median(np.abs(seen - median), axis=0) * 1.4826 + _SPREAD
    away = (blurred(lab, 2) - median) / spread
    away[..., 0] *= np.where(away[..., 0] > 0, 0.45, 0.8)
    distance = np.sqrt((away**2).sum(axis=2))
    return np.asarray(np.clip((2.9 - distance) / 1.2, 0, 1), np.float32)


def _smooth(light: Floats, sample: Mask) -> Floats:
    """Return 0 where the texture is much rougher than skin, as strands of hair are."""
    rough = np.sqrt(np.maximum(blurred((light - blurred(light, 3)) ** 2, 4), 0))
    usual = float(np.percentile(rough[sample], 70))
    return np.clip(2.6 - rough / np.float32(1 + 1.6 * usual), 0, 1)


def _forehead(valid: Floats, points: Floats, whole: Mask) -> Floats:
    brows = points[list(landmarks.BROWS), :2]
    brows = brows[np.argsort(brows[:, 0])]
    arch = np.interp(np.arange(_SIDE), brows[:, 0], brows[:, 1])[None]
    above = arch - _ABOVE_ARCH > _ROWS
    seen = np.where(above, np.asarray(cv2.blur(valid, (9, 5))), 1)
    # From the arch upwards no pixel counts more than the one below it.
    seen = np.minimum.accumulate(seen[::-1])[::-1]
    valid = np.minimum(valid, seen.astype(np.float32))
    zone = above & whole & (points[landmarks.FOREHEAD_TOP, 1] < _ROWS)
    clean = float(valid[zone].mean()) if zone.any() else 1.0
    if clean >= _CLEAN:
        return valid
    return np.minimum(valid, _below(points))


def _below(points: Floats) -> Floats:
    """Return 1 on the brows and below, 0 above; the mesh puts thin brows too high."""
    lower = points[list(landmarks.BROWS_BELOW), :2]
    upper = points[list(landmarks.BROWS_ABOVE), :2]
    line = lower + (upper - lower) * _THICKNESS
    line = line[np.argsort(line[:, 0])]
    height = np.interp(np.arange(_SIDE), line[:, 0], line[:, 1])[None]
    return np.clip(1 - (height - _ROWS) / _FADE, 0, 1).astype(np.float32)
