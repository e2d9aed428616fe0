"""
Types of the arrays, and the few OpenCV calls that all modules share.

Pictures are (height, width, 3) in BGR order, points are (n, 2) or (n, 3) in pixels
with x first. OpenCV's own annotations lose the element type; the wrappers here
restore it without copying. Short for a module: the foundation of all others here.
"""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

Raster = TypeVar("Raster", Pixels, Floats)

Size = tuple[int, int]
"""Height and width, the order of ``array.shape``."""


def resized(image: Raster, size: Size) -> Raster:
    """Return *image* in another size, averaging where it gets smaller."""
    smaller = size[0] < image.shape[0]
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(
        cv2.resize(image, (size[1], size[0]), interpolation=how), image.dtype
    )


def scaled(image: Raster, scale: float) -> Raster:
    """Return *image* shrunk by *scale*; one of 1 or more leaves it as it is."""
    if scale >= 1:
        return image
    height, width = image.shape[:2]
    return resized(image, (max(1, round(height * scale)), max(1, round(width * scale))))


def blurred(image: Floats, sigma: float) -> Floats:
    """Return *image* after a Gaussian blur, *sigma* in pixels."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)


def widely_blurred(image: Floats, sigma: float) -> Floats:
    """Return *image* blurred, on a reduced grid: no detail can be lost."""
    step = max(1, int(sigma // 4))
    height, width = image.shape[:2]
    small = resized(image, (max(2, height // step), max(2, width // step)))
    return resized(blurred(small, sigma / step), (height, width))


def to_lab(image: Pixels | Floats) -> Floats:
    """Return CIE L*a*b* (L 0..100) of BGR values from 0 to 255."""
    unit = image.astype(np.float32) / np.float32(255)
    return np.asarray(cv2.cvtColor(unit, cv2.COLOR_BGR2LAB), np.float32)


def from_lab(lab: Floats) -> Floats:
    """Return BGR values cut to 0..255, not rounded."""
    bgr = np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2BGR), np.float32)
    bgr *= np.float32(255)
    return np.clip(bgr, 0, 255)
