"""The part of a picture around one face, at a bounded working size."""

from __future__ import annotations

import attrs
import cv2
import numpy as np

from ezlink_async.emulator.engine.arrays import Floats, Pixels, scaled
from ezlink_async.emulator.engine.mesh import Face

_MOST = 720  # pixels of the longer side
_MARGIN = 0.12
_BAND = 128  # rows written at once


@attrs.frozen
class Window:
    """The corners in the picture, and the scale of the working size."""

    left: int
    top: int
    right: int
    bottom: int
    scale: float

    @classmethod
    def about(
        cls, face: Face, picture: Pixels, *, margin: float = _MARGIN, most: int = _MOST
    ) -> Window:
        """Return the window *margin* wider than the face on each side."""
        height, width = picture.shape[:2]
        left, top, right, bottom = (float(value) for value in face.box)
        more = margin * max(right - left, bottom - top)
        left, top = max(0, int(left - more)), max(0, int(top - more))
        right, bottom = min(width, int(right + more)), min(height, int(bottom + more))
        scale = min(1.0, most / max(right - left, bottom - top))
        return cls(left, top, right, bottom, scale)

    def cut(self, picture: Pixels) -> Pixels:
        """Return the window's pixels at the working size."""
        return scaled(self._part(picture), self.scale)

    def seen(self, face: Face) -> Face:
        """Return *face* in the window's coordinates."""
        return face.moved(self.left, self.top, self.scale)

    def put(
        self,
        picture: Pixels,
        before: Floats,
        after: Floats,
        *,
        alpha: Floats,
        near: Floats,
    ) -> None:
        """
        Write the change from *before* to *after* into *picture*, where *near* is not 0.

        Where *alpha* is low, a shrunk window adds the change and keeps the picture's
        own detail; where it is high, it writes its pixels.
        """
        part = self._part(picture)
        change = (after - before) * near[..., None]
        if self.scale >= 1:
            part[:] = _bytes(before + change)
            return
        for row in range(0, part.shape[0], _BAND):
            band = part[row : row + _BAND]
            self._put_band(band, row, before + change, change, alpha * near)

    def _put_band(
        self, band: Pixels, row: int, after: Floats, change: Floats, alpha: Floats
    ) -> None:
        here = band.astype(np.float32)
        opaque = self._enlarged(alpha, band, row)[..., None]
        changed: Floats = here + self._enlarged(change, band, row)
        band[:] = _bytes(
            changed + (self._enlarged(after, band, row) - changed) * opaque
        )

    def _enlarged(self, image: Floats, band: Pixels, row: int) -> Floats:
        # In bands: the floats of a whole large face would take more memory than the
        # picture itself.
        down = image.shape[0] / (self.bottom - self.top)
        across = image.shape[1] / (self.right - self.left)
        matrix = np.array(
            [
                [across, 0, (across - 1) / 2],
                [0, down, (row + 0.5) * down - 0.5],
            ]
        )
        enlarged = cv2.warpAffine(
            image,
            matrix,
            band.shape[1::-1],
            flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return np.asarray(enlarged, np.float32)

    def _part(self, picture: Pixels) -> Pixels:
        return picture[self.top : self.bottom, self.left : self.right]


def _bytes(values: Floats) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
