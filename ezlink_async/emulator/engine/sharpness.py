"""
The sharpness of edges: a new face is no sharper than the photo around it.

Crispness is how much the strongest edges lose in a small blur. It does not depend on
contrast, and is 1 for a picture that is blurred already.
"""

from __future__ import annotations

import cv2
import numpy as np

from ezlink_async.emulator.engine.arrays import Floats, Mask, blurred

_OPAQUE = 0.9
_LEAST = 200  # pixels; fewer have too few edges
_ENOUGH = 20_000  # pixels
_TEST = 0.016  # sigma of the small blur; like all that follow, of the face's width
_LEAST_TEST = 1.5  # pixels
_STRONG = 97  # percent of all pixels have weaker edges
_CRISPER = 1.15  # times the target; less is not seen
_SIGMAS = (0.004, 0.006, 0.009, 0.013, 0.018, 0.025, 0.035, 0.05)
_LEAST_SIGMA = 0.5  # pixels


def matched(colour: Floats, target: Floats, alpha: Floats, width: float) -> Floats:
    """
    Return *colour*, blurred as little as makes it no crisper than the *target*.

    Pictures are BGR floats. Both are measured where *alpha* shows the new face alone.
    """
    shown = alpha > _OPAQUE
    if shown.sum() < _LEAST:
        return colour
    x, y, across, down = cv2.boundingRect(shown.astype(np.uint8))
    part = np.s_[y : y + down, x : x + across]
    shown = shown[part]
    most = _CRISPER * _crispness(_grey(target[part]), shown, width)
    light = _grey(colour[part])
    if _crispness(light, shown, width) <= most:
        return colour
    sigmas = [sigma * width for sigma in _SIGMAS if sigma * width > _LEAST_SIGMA]
    low, high = 0, len(sigmas) - 1
    while low < high:
        middle = (low + high) // 2
        if _crispness(blurred(light, sigmas[middle]), shown, width) <= most:
            high = middle
        else:
            low = middle + 1
    return blurred(colour, sigmas[low])


def _crispness(light: Floats, shown: Mask, width: float) -> float:
    soft = blurred(light, max(_LEAST_TEST, _TEST * width))
    return _edges(light, shown) / max(_edges(soft, shown), 1e-6)


def _edges(light: Floats, shown: Mask) -> float:
    steep = cv2.magnitude(
        cv2.Sobel(light, cv2.CV_32F, 1, 0), cv2.Sobel(light, cv2.CV_32F, 0, 1)
    )
    seen = steep[shown]
    return float(np.percentile(seen[:: 1 + len(seen) // _ENOUGH], _STRONG))


def _grey(picture: Floats) -> Floats:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), np.float32)
