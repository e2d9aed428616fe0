"""
The brows of the target, removed before the new face is laid over it.

Where the new face fades out, the old brows would show beside the new ones. Skin around
them is spread over them; hair that hangs over a brow stays.
"""

from __future__ import annotations

import attrs
import cv2
import numpy as np

from ezlink_async.emulator.engine import landmarks, masks
from ezlink_async.emulator.engine.arrays import (
    Floats,
    Mask,
    Size,
    blurred,
    widely_blurred,
)
from ezlink_async.emulator.engine.mesh import Face

# Parts of the face's width.
_ABOVE, _BELOW, _AROUND = 0.05, 0.04, 0.02  # hairs beyond the points of the mesh
_INSIDE = 0.02  # distance to the rim of the face
_RAISED = 0.11  # from a brow to the forehead above it
_LIDS = 0.03
_SPREAD = 0.07  # sigma of the skin that is spread
_REACH = 0.17  # of the band that is worked on
_NEAR = 0.03  # distance from the new face
_SOFT = 0.015
_DARKER = (6, 20)  # grey levels: from where brows begin, to where they are sure
_HALF = 0.5
_ENOUGH = 100  # times the skin that reaches a pixel, or nothing is filled in
_SKIN = 1.6  # deviations from the usual skin


@attrs.frozen(eq=False)
class Browless:
    """A picture with skin for brows; *gone* is 1 where it was changed, else 0."""

    pixels: Floats
    gone: Floats

    @classmethod
    def of(
        cls, picture: Floats, lab: Floats, core: Mask, face: Face, alpha: Floats
    ) -> Browless:
        """
        Return the BGR *picture* without the brows of *face*.

        *core* is bare skin, *alpha* where the new face will be.
        """
        gone = np.zeros(alpha.shape, np.float32)
        pixels = picture.copy()
        box = _band(face, (alpha.shape[0], alpha.shape[1]))
        if alpha[box].size:
            left, top = box[1].start, box[0].start
            skin = masks.likeness(lab[box], lab[core], _SKIN) > _HALF
            there = face.moved(left, top, 1)
            pixels[box], gone[box] = _filled(picture[box], skin, there, alpha[box])
        return cls(pixels, gone)


def _band(face: Face, size: Size) -> tuple[slice[int, int, int], slice[int, int, int]]:
    brows = face.points[list(landmarks.BROWS), :2]
    reach = face.width * _REACH
    low, high = brows.min(axis=0) - reach, brows.max(axis=0) + reach
    left, right = np.clip([low[0], high[0]], 0, size[1]).astype(int).tolist()
    top, bottom = np.clip([low[1], high[1]], 0, size[0]).astype(int).tolist()
    return slice(top, bottom), slice(left, right)


def _filled(
    picture: Floats, skin: Mask, face: Face, alpha: Floats
) -> tuple[Floats, Floats]:
    zone = _zone(skin, face)
    eyes = _eyes(skin, face)
    known = skin & (zone == 0) & (eyes == 0)
    sigma = face.width * _SPREAD
    soften = max(0.7, face.width * _SOFT)
    seen = blurred(_grey(picture), soften)  # pores and grain are no brows
    fill, _ = _spread(picture, known, sigma)
    # The rest of it is in the shade of hair, or hair of the colour of skin.
    known &= seen >= _grey(fill)
    fill, weight = _spread(picture, known, sigma)
    darker = _grey(fill) - seen
    low, high = _DARKER
    gone = np.clip((darker - low) / (high - low), 0, 1)
    gone *= np.clip(weight * _ENOUGH, 0, 1)
    reach = max(1, round(face.width * _NEAR))
    shown = np.clip(masks.grown(alpha, reach) * 4, 0, 1)
    soft = blurred(zone * (1 - eyes) * shown, soften)
    gone = (gone * np.clip(soft * 1.5, 0, 1)).astype(np.float32)
    changed = picture + (fill - picture) * gone[..., None]
    return changed.astype(np.float32), gone


def _spread(picture: Floats, known: Mask, sigma: float) -> tuple[Floats, Floats]:
    """Return the *known* pixels spread over the others, and how many there are."""
    there = known.astype(np.float32)
    weight = widely_blurred(there, sigma)
    fill = widely_blurred(picture * there[..., None], sigma)
    return fill / (weight[..., None] + np.float32(1e-6)), weight


def _grey(picture: Floats) -> Floats:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), np.float32)


def _zone(skin: Mask, face: Face) -> Floats:
    """Return the brows that no hair covers, with what grows above and below them."""
    size = (skin.shape[0], skin.shape[1])
    width = face.width
    up = face.points[landmarks.FOREHEAD_TOP] - face.points[landmarks.CHIN]
    up = up * (width / np.linalg.norm(up[:2]))
    zone = np.zeros(size, np.float32)
    for brow in (landmarks.RIGHT_BROW, landmarks.LEFT_BROW):
        points = face.points[list(brow)]
        above = masks.hull(size, points + up * _RAISED, range(len(brow))) > _HALF
        if above.any() and skin[above].mean() >= _HALF:
            both = np.concatenate([points + up * _ABOVE, points - up * _BELOW])
            zone = np.maximum(zone, masks.hull(size, both, range(len(both))))
    zone = masks.grown(zone, max(1, round(width * _AROUND)))
    inner = masks.shrunk(masks.oval(size, face.points), max(1, round(width * _INSIDE)))
    return zone * inner


def _eyes(skin: Mask, face: Face) -> Floats:
    size = (skin.shape[0], skin.shape[1])
    eyes = [
        masks.hull(size, face.points, eye)
        for eye in (landmarks.RIGHT_EYE, landmarks.LEFT_EYE)
    ]
    return masks.grown(np.maximum(*eyes), max(1, round(face.width * _LIDS)))
