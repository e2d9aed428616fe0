"""
Dark glasses: seen by both eye sockets, which are far darker than the skin.

A target keeps its dark glasses, with the bridge and the arms of the frame. Clear
glasses cannot be told from skin by lightness, and are not looked for.
"""

from __future__ import annotations

import cv2
import numpy as np

from ezlink_async.emulator.engine import landmarks, masks
from ezlink_async.emulator.engine.arrays import Floats, Size, blurred

_DARK = 0.42  # of the lightness of the skin; eyes with make-up are lighter
_FRAME = 0.6  # of the lightness of the skin
# Parts of the face's width.
_AROUND = 0.05  # that a frame reaches beyond brows and cheekbones
_GAP = 0.06  # reflections in a lens
_RIM = 0.012
_SOFT = 0.01


def wears_dark_glasses(lab: Floats, points: Floats, width: float) -> bool:
    """Tell whether the face in a picture in L*a*b* has both eyes behind dark lenses."""
    size = (lab.shape[0], lab.shape[1])
    darkest = _DARK * _lightness_of_skin(lab, points, width)
    insides = (
        masks.hull(size, points, socket) > 0.5  # noqa: PLR2004
        for socket in landmarks.SOCKETS
    )
    return all(float(np.median(lab[..., 0][eye])) <= darkest for eye in insides)


def dark_glasses(lab: Floats, points: Floats, width: float) -> Floats:
    """Return 1 on the lenses and the frame of dark glasses, 0 away from them."""
    size = (lab.shape[0], lab.shape[1])
    dark = lab[..., 0] < _FRAME * _lightness_of_skin(lab, points, width)
    band = masks.hull(size, points, landmarks.GLASSES)
    there = masks.grown(band, round(width * _AROUND)) * dark
    block = np.ones((round(width * _GAP) | 1,) * 2, np.uint8)
    whole = np.asarray(cv2.morphologyEx(there, cv2.MORPH_CLOSE, block), np.float32)
    for socket in landmarks.SOCKETS:
        whole = np.maximum(whole, masks.hull(size, points, socket))
    return blurred(
        masks.grown(whole, max(1, round(width * _RIM))), max(0.5, width * _SOFT)
    )


def _lightness_of_skin(lab: Floats, points: Floats, width: float) -> float:
    size: Size = (lab.shape[0], lab.shape[1])
    whole = masks.oval(size, points) > 0.5  # noqa: PLR2004
    core = masks.core_of(masks.skin(size, points), whole, width)
    return float(np.median(lab[..., 0][core]))
