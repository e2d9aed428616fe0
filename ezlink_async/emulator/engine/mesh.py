"""
Faces as meshes of 468 points, found with two networks.

The mesh is fitted to a turned square around a candidate; the square is then computed
anew from the mesh, twice, which corrects faces that the detector found askew. A mesh
is a face if it stays where it is when the square is moved a little: on anything else
the network finds a face wherever it looks.
"""

from __future__ import annotations

import math

import attrs
import cv2
import numpy as np

from ezlink_async.emulator.engine import landmarks
from ezlink_async.emulator.engine.arrays import Floats, Pixels
from ezlink_async.emulator.engine.detect import Detector, overlap
from ezlink_async.emulator.engine.geometry import Square
from ezlink_async.emulator.engine.networks import LANDMARKS, Network

_SIDE = 192  # pixels the network sees
_CONTEXT = 1.5
_ROUNDS = 2
_HOPELESS = -1.4  # a flag: so poor a fit gives a useless next square
_LEAST_FLAG = 4.0  # faces have 10 to 30
_SHIFT = 0.07  # of the square's side, up and down along the face
_MOST_WANDER = 0.02  # of the face's width
_QUARTER = math.pi / 2
LEAST_WIDTH = 30
"""Pixels; smaller faces are ignored, since other things look like them."""
_SAME_OVERLAP = 0.35
_SAME_PLACE = 0.35  # of the size of the box


@attrs.frozen(eq=False)
class Face:
    """
    A mesh: *points* is (468, 3) in pixels.

    *flag* says how much it looks like a face: 10 to 30 for real ones, lower for
    covered and blurred ones.
    """

    points: Floats
    flag: float

    @property
    def box(self) -> Floats:
        """Left, top, right, bottom of the mesh."""
        flat = self.points[:, :2]
        return np.concatenate([flat.min(axis=0), flat.max(axis=0)])

    @property
    def area(self) -> float:
        """Square pixels of the box."""
        return float((self.box[2:] - self.box[:2]).prod())

    @property
    def width(self) -> float:
        """Pixels across, the mean of ear to ear and forehead to chin."""
        ears = self._distance(landmarks.RIGHT_EAR, landmarks.LEFT_EAR)
        return (ears + self._distance(landmarks.FOREHEAD_TOP, landmarks.CHIN)) / 2

    @property
    def yaw(self) -> float:
        """The nose's offset from the middle, -1..1; 0 looks into the camera."""
        right, left = (
            self.points[index, :2]
            for index in (landmarks.RIGHT_EAR, landmarks.LEFT_EAR)
        )
        across = left - right
        nose = self.points[landmarks.NOSE_TIP, :2] - right
        return float(nose @ across / (across @ across + 1e-6)) * 2 - 1

    @property
    def mouth_opening(self) -> float:
        """Height of the gap between the lips over the width of the mouth."""
        gap = self._distance(landmarks.UPPER_LIP, landmarks.LOWER_LIP)
        width = self._distance(landmarks.RIGHT_MOUTH, landmarks.LEFT_MOUTH)
        return gap / (width + 1e-6)

    def moved(self, left: float, top: float, scale: float) -> Face:
        """Return the face in coordinates of a part of the picture, scaled."""
        origin = np.array([left, top, 0], np.float32)
        return attrs.evolve(
            self, points=((self.points - origin) * scale).astype(np.float32)
        )

    def distance(self, other: Face) -> float:
        """Return how far the points of two meshes lie apart, in pixels on average."""
        apart = self.points[:, :2] - other.points[:, :2]
        return float(np.linalg.norm(apart, axis=1).mean())

    def is_same(self, other: Face) -> bool:
        """Tell whether two meshes lie on one face."""
        if overlap(self.box, other.box[None])[0] > _SAME_OVERLAP:
            return True
        apart = np.abs(
            self.box + np.roll(self.box, 2) - other.box - np.roll(other.box, 2)
        )
        size = other.box[2:] - other.box[:2]
        return bool((apart[:2] / 2 < _SAME_PLACE * size).all())

    def _distance(self, one: int, other: int) -> float:
        return float(np.linalg.norm(self.points[one, :2] - self.points[other, :2]))


class Finder:
    """Finds the faces of a picture. For one thread, like its networks."""

    def __init__(self, detector: Detector | None = None) -> None:
        self._detector = detector or Detector()
        # 468 points of x, y and z; then a flag, the likeness to a face.
        self._network = Network(LANDMARKS, ("conv2d_21", "conv2d_31"))

    def faces(self, image: Pixels) -> list[Face]:
        """Return every face, biggest first."""
        for squares in self._detector.attempts(image):
            faces = self._meshes(image, squares)
            if faces:
                return sorted(faces, key=lambda face: -face.area)
        return []

    def mirrored(self, flipped: Pixels, face: Face) -> Face | None:
        """Return the mesh of a *face* in its picture *flipped* left to right."""
        square = Square.around(face.points, _CONTEXT)
        there = attrs.evolve(
            square, x=flipped.shape[1] - 1 - square.x, angle=-square.angle
        )
        return self._checked(flipped, there)

    def _meshes(self, image: Pixels, squares: list[Square]) -> list[Face]:
        faces: list[Face] = []
        for square in squares:
            face = self._upright(image, square)
            if face is None or face.width < LEAST_WIDTH or not _inside(face, image):
                continue
            if not any(face.is_same(other) for other in faces):
                faces.append(face)
        return faces

    def _upright(self, image: Pixels, square: Square) -> Face | None:
        # The detector reports a face on its head as an upright one, on which the
        # mesh does not hold still.
        turns = (
            attrs.evolve(square, angle=square.angle + quarter * _QUARTER)
            for quarter in range(4)
        )
        found = (self._checked(image, turned) for turned in turns)
        return next(filter(None, found), None)

    def _checked(self, image: Pixels, square: Square) -> Face | None:
        """Return the mesh near *square*, or ``None`` if it is not one of a face."""
        face = self._fitted(image, square)
        for _ in range(_ROUNDS):
            if face.flag < _HOPELESS:
                return None
            square = Square.around(face.points, _CONTEXT)
            face = self._fitted(image, square)
        others = [
            self._fitted(image, square.shifted(part)) for part in (-_SHIFT, _SHIFT)
        ]
        flag = (face.flag + sum(other.flag for other in others)) / 3
        wander = sum(face.distance(other) for other in others) / 2
        if flag <= _LEAST_FLAG or wander >= _MOST_WANDER * face.width:
            return None
        return attrs.evolve(face, flag=flag)

    def _fitted(self, image: Pixels, square: Square) -> Face:
        part = square.cut(image, _SIDE)
        blob = cv2.dnn.blobFromImage(part, 1 / 255.0, swapRB=True)
        points, flag = self._network.run(np.asarray(blob, np.float32))
        points = points.reshape(-1, 3)
        matrix = square.matrix(_SIDE)
        flat = points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
        deep = points[:, 2:] * (square.side / _SIDE)
        return Face(
            points=np.concatenate([flat, deep], axis=1).astype(np.float32),
            flag=float(flag.reshape(-1)[0]),
        )


def _inside(face: Face, image: Pixels) -> bool:
    # In a padded picture the repeated border can look like a face.
    height, width = image.shape[:2]
    x, y = (face.box[:2] + face.box[2:]) / 2
    return bool(0 <= x < width and 0 <= y < height)
