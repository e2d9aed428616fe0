"""
Geometry: turned squares, 3-D similarities, the warp of the mesh.

Coordinates are pixels, x to the right, y down; z grows away from the camera.
"""

from __future__ import annotations

import math

import attrs
import cv2
import numpy as np
import numpy.typing as npt

from ezlink_async.emulator.engine import landmarks
from ezlink_async.emulator.engine.arrays import Floats, Mask, Pixels, Size, scaled

Matrix = npt.NDArray[np.float64]

SUBPIXEL = 4
"""Fractional bits of the coordinates that OpenCV draws with."""
_COARSE = 1.5  # a cut that shrinks more is averaged first, else it aliases


def fixed(points: Floats) -> npt.NDArray[np.int32]:
    """Return x and y as the fixed-point numbers that OpenCV's drawing needs."""
    return np.round(points[..., :2] * (1 << SUBPIXEL)).astype(np.int32)


@attrs.frozen
class Square:
    """A square in a picture, turned by *angle* radians (clockwise as seen)."""

    x: float
    y: float
    side: float
    angle: float = 0.0

    @classmethod
    def around(cls, points: Floats, factor: float) -> Square:
        """Return the upright square about a face, *factor* times its longer side."""
        right = points[landmarks.RIGHT_EYE_CORNER]
        left = points[landmarks.LEFT_EYE_CORNER]
        angle = math.atan2(float(left[1] - right[1]), float(left[0] - right[0]))
        cosine, sine = math.cos(angle), math.sin(angle)
        upright = points[:, :2] @ np.array(
            [[cosine, -sine], [sine, cosine]], np.float32
        )
        low, high = upright.min(axis=0), upright.max(axis=0)
        x, y = (float(value) for value in (low + high) / 2)
        return cls(
            x=cosine * x - sine * y,
            y=sine * x + cosine * y,
            side=factor * float((high - low).max()),
            angle=angle,
        )

    def shifted(self, part: float) -> Square:
        """Return the square moved down along its own side, by a *part* of that."""
        by = part * self.side
        return attrs.evolve(
            self,
            x=self.x - by * math.sin(self.angle),
            y=self.y + by * math.cos(self.angle),
        )

    def matrix(self, pixels: int) -> Matrix:
        """Return the 2x3 map from a cut of *pixels* a side to the picture."""
        scale = self.side / pixels
        cosine, sine = math.cos(self.angle) * scale, math.sin(self.angle) * scale
        half = pixels / 2
        return np.array(
            [
                [cosine, -sine, self.x - (cosine - sine) * half],
                [sine, cosine, self.y - (sine + cosine) * half],
            ]
        )

    def cut(self, image: Pixels, pixels: int) -> Pixels:
        """Return the square as (pixels, pixels, 3); the border of *image* repeats."""
        matrix = self.matrix(pixels)
        scale = self.side / pixels
        if scale > _COARSE:
            image, matrix = self._shrunk(image, matrix, _COARSE / scale)
        turned = cv2.warpAffine(
            image,
            matrix,
            (pixels, pixels),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return np.asarray(turned, np.uint8)

    def _shrunk(
        self, image: Pixels, matrix: Matrix, scale: float
    ) -> tuple[Pixels, Matrix]:
        # Shrink only the surroundings: a whole photo for each face is slow.
        height, width = image.shape[:2]
        reach = int(self.side * 0.75) + 2
        left = min(max(0, int(self.x) - reach), width - 1)
        top = min(max(0, int(self.y) - reach), height - 1)
        right, bottom = int(self.x) + reach, int(self.y) + reach
        near = image[top : max(top + 1, bottom), left : max(left + 1, right)]
        moved = matrix.copy()
        moved[:, 2] -= (left, top)
        return scaled(near, scale), moved * scale


def aligned(points: Floats, onto: Floats) -> Floats:
    """Return *points* moved *onto* others by the best 3-D similarity (Umeyama)."""
    centre, goal = points.mean(axis=0), onto.mean(axis=0)
    here, there = points - centre, onto - goal
    left, stretch, right = np.linalg.svd(there.T @ here / len(here))
    mirror = np.eye(3)
    mirror[-1, -1] = np.sign(np.linalg.det(left @ right))
    rotation = left @ mirror @ right
    scale = (stretch * mirror.diagonal()).sum() / here.var(axis=0).sum()
    return np.asarray(scale * here @ rotation.T + goal, np.float32)


def target_shape(source: Floats, target: Floats, pull: float) -> Floats:
    """
    Return the target's points with its inner features pulled to the source's.

    *pull* is from 0 (the target's proportions) to 1. The oval does not move, and
    neither does a point that would move far: the two meshes disagree there.
    """
    goal = aligned(source, target)
    width = float(
        np.linalg.norm(target[landmarks.RIGHT_EAR] - target[landmarks.LEFT_EAR])
    )
    rim = target[list(landmarks.OVAL)]
    depth = np.linalg.norm(target[:, None, :2] - rim[None, :, :2], axis=2).min(axis=1)
    weight = np.clip(depth / (0.22 * width), 0, 1) * pull
    away = np.linalg.norm(goal - target, axis=1) / (0.12 * width)
    weight *= 1 - np.clip(away - 1, 0, 1)
    return np.asarray(target + (goal - target) * weight[:, None], np.float32)


def warp_map(
    size: Size, shape: Floats, source: Floats, triangles: npt.NDArray[np.int64]
) -> tuple[Floats, Mask]:
    """
    Return each pixel's position in the source, and the mask of those that have one.

    Positions are (height, width, 2) of x and y, -1 outside *shape*. Triangles that
    face away are left out; of overlapping ones the nearest counts.
    """
    corners = shape[triangles]
    area = _signed_areas(corners)
    front = np.flatnonzero(area * np.sign(np.median(area)) > 1e-3)  # noqa: PLR2004
    drawn = front[np.argsort(-corners[front, :, 2].mean(axis=1))]
    number = np.full(size, -1, np.int32)
    outlines = fixed(corners[drawn])
    for index, outline in enumerate(outlines):
        cv2.fillConvexPoly(number, outline, index, cv2.LINE_8, SUBPIXEL)
    flat = np.concatenate([corners[drawn, :, :2], np.ones((len(drawn), 3, 1))], axis=2)
    planes = np.linalg.solve(flat, source[triangles[drawn]][:, :, :2])
    cover = number >= 0
    rows, columns = np.nonzero(cover)
    plane = planes.astype(np.float32)[number[rows, columns]]
    positions = np.full((*size, 2), -1, np.float32)
    positions[rows, columns] = (
        columns[:, None] * plane[:, 0] + rows[:, None] * plane[:, 1] + plane[:, 2]
    )
    return positions, cover


def _signed_areas(corners: Floats) -> Floats:
    first = corners[:, 1, :2] - corners[:, 0, :2]
    second = corners[:, 2, :2] - corners[:, 0, :2]
    doubled = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    return np.asarray(doubled, np.float32)
