"""
Masks of a face: its oval, its bare skin, its features, and its covers (hair, caps).

Drawn masks are boolean; soft ones are floats from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ezlink_async.emulator.engine import landmarks
from ezlink_async.emulator.engine.arrays import Floats, Mask, Size, blurred
from ezlink_async.emulator.engine.geometry import SUBPIXEL, fixed
from ezlink_async.emulator.engine.mesh import Face

_SKIN_HOLES = (
    landmarks.LEFT_EYE,
    landmarks.RIGHT_EYE,
    landmarks.LIPS_OUTER,
    landmarks.LEFT_BROW,
    landmarks.RIGHT_BROW,
)
_SHRINK = 0.03  # parts of the face's width
_FEATHER = 0.035
_SPREAD = np.array([9, 3, 3], np.float32)  # in L, a and b of any skin
_ENOUGH = 3000  # pixels give the colour of skin
_TEETH = 0.16  # a mouth open this far shows them


def outline(size: Size, points: Floats, indices: Sequence[int]) -> Floats:
    """Return the polygon through *indices*: 1 inside, its edge smoothed."""
    canvas = np.zeros(size, np.uint8)
    corners = fixed(points[list(indices)])
    cv2.fillPoly(canvas, [corners], 255, cv2.LINE_AA, SUBPIXEL)
    return canvas.astype(np.float32) / np.float32(255)


def hull(size: Size, points: Floats, indices: Sequence[int]) -> Floats:
    """Return the convex hull of *indices*: 1 inside, its edge smoothed."""
    canvas = np.zeros(size, np.uint8)
    corners = cv2.convexHull(fixed(points[list(indices)]))
    cv2.fillConvexPoly(canvas, corners, 255, cv2.LINE_AA, SUBPIXEL)
    return canvas.astype(np.float32) / np.float32(255)


def grown(mask: Floats, pixels: int) -> Floats:
    """Return *mask* widened by *pixels* on each side."""
    block = np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8)
    return np.asarray(cv2.dilate(mask, block), np.float32)


def shrunk(mask: Floats, pixels: int) -> Floats:
    """Return *mask* narrowed by *pixels* on each side, with round corners."""
    side = 2 * pixels + 1
    block = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    return np.asarray(cv2.erode(mask, block), np.float32)


def oval(size: Size, points: Floats) -> Floats:
    """Return the whole face: 1 inside, its edge smoothed."""
    return outline(size, points, landmarks.OVAL)


def skin(size: Size, points: Floats) -> Mask:
    """Return the face without eyes, brows and lips."""
    face = oval(size, points) > 0.5  # noqa: PLR2004
    for feature in _SKIN_HOLES:
        face &= grown(hull(size, points, feature), 1) == 0
    return face


def core_of(bare: Mask, cover: Mask, width: float) -> Mask:
    """Return the inside of *bare* skin; all of it, or *cover*, for a tiny face."""
    inside = shrunk(bare.astype(np.float32), max(1, int(width * 0.03))) > 0
    for mask, least in ((inside, 50), (bare, 20)):
        if mask.sum() >= least:
            return mask
    return cover


def likeness(lab: Floats, skin: Floats, tolerance: float) -> Floats:
    """
    Return how well each pixel's colour fits the *skin*, (n, 3), from 0 to 1.

    1 up to *tolerance* robust deviations from the median, then falling. Lightness
    counts less than tint: shaded skin fits, hair does not.
    """
    seen = skin[:: 1 + len(skin) // _ENOUGH]
    median = np.median(seen, axis=0)
    spread = np.median(np.abs(seen - median), axis=0) * 1.4826 + _SPREAD
    away = (lab - median) / spread
    away[..., 0] *= np.where(away[..., 0] > 0, 0.5, 0.75)
    distance = np.sqrt((away**2).sum(axis=2))
    return np.asarray(np.clip((tolerance + 1 - distance) / 1.6, 0, 1), np.float32)


def features(size: Size, points: Floats, width: float) -> Floats:
    """Return the zone from the brows to the lips, which is always replaced."""
    zone = hull(size, points, landmarks.FEATURES + landmarks.MIDDLE)
    return blurred(grown(zone, max(1, int(width * 0.015))), max(1, width * 0.02))


def uncovered(lab: Floats, core: Mask, zone: Floats, width: float) -> Floats:
    """Return 1 where the target's face is visible, 0 where hair or a cap covers it."""
    seen = blurred(likeness(lab, lab[core], 3.2), max(0.8, width * 0.02))
    return np.maximum(seen, zone)


def feathered(whole: Floats, cover: Mask, width: float) -> Floats:
    """Return the oval *whole* drawn in a little, with a soft rim."""
    inner = shrunk(whole, max(1, round(width * _SHRINK)))
    soft = blurred(inner, max(0.8, width * _FEATHER))
    soft *= blurred(cover.astype(np.float32), 0.8)
    return np.asarray(np.clip((soft - 0.1) / 0.85, 0, 1), np.float32)


def teeth_kept(alpha: Floats, source: Face, target: Face, shape: Floats) -> Floats:
    """Return *alpha*, low at the mouth if only the target shows its teeth."""
    opening = target.mouth_opening
    if opening <= _TEETH or source.mouth_opening >= 0.6 * opening:
        return alpha
    size = (alpha.shape[0], alpha.shape[1])
    mouth = outline(size, shape, landmarks.LIPS_INNER)
    return alpha * (1 - blurred(mouth, max(0.7, target.width * 0.012)))


def smoothed(mask: Floats, width: float) -> Floats:
    """Return *mask* without hard edges, at the scale of a face of *width*."""
    return blurred(mask, max(0.8, width * 0.02))


def near(whole: Floats, width: float) -> Floats:
    """Return 1 on the face and a little around it, exactly 0 further away."""
    return np.clip(blurred(whole, max(1, width * 0.03)) * 4, 0, 1)
