"""
The swap: the face of a source put into every face of a target.

The source is analysed once. The target's faces follow one after the other, biggest
first, each at a bounded working size: the cost does not grow with the picture.
"""

from __future__ import annotations

from typing import Literal

import attrs
import cv2
import numpy as np

from ezlink_async.emulator.engine import masks
from ezlink_async.emulator.engine.arrays import Floats, Mask, Pixels, scaled, to_lab
from ezlink_async.emulator.engine.blend import blend, levels_for
from ezlink_async.emulator.engine.brows import Browless
from ezlink_async.emulator.engine.colour import SkinSample, relit, softened
from ezlink_async.emulator.engine.geometry import target_shape, warp_map
from ezlink_async.emulator.engine.glasses import dark_glasses, wears_dark_glasses
from ezlink_async.emulator.engine.mesh import LEAST_WIDTH, Face, Finder
from ezlink_async.emulator.engine.networks import load_triangles
from ezlink_async.emulator.engine.sharpness import matched
from ezlink_async.emulator.engine.validity import source_validity
from ezlink_async.emulator.engine.window import Window

_PULL = 0.35  # of the source's proportions
_PLATE_MARGIN = 0.5  # of the longer side of the box
_PLATE_FACE = 700  # pixels; the largest face at the working size
_MIRROR_GAIN = 0.12  # of yaw; a smaller gain does not justify mirroring
_LEAST_SOURCE = 60  # pixels
_MOST_YAW = 0.55  # beyond, the nose is torn and the far cheek smeared
_CLEAR_FLAG = 15.5  # hair, hands and strong blur are below, bare faces above
_GLANCE = 200  # pixels; enough to see glasses
_SHARPER = 1.4  # the source is shrunk to this many times the target's size


Reason = Literal["none", "small", "turned", "covered", "sunglasses"]

_ADVICE: dict[Reason, str] = {
    "small": "is less than 60 pixels wide; give a larger picture of it",
    "turned": "is turned away; give one that looks into the camera",
    "covered": "is covered or blurred; give a sharp picture without hair, a hand or "
    "a mask over it",
    "sunglasses": "wears dark glasses; give a picture without them",
}


class FaceError(ValueError):
    """
    A picture has no face, or the source none that can be used.

    *which* names the picture. *reason* is ``none``, or the fault of the biggest
    face of a source.
    """

    def __init__(
        self, which: Literal["source", "target"], reason: Reason = "none"
    ) -> None:
        least = _LEAST_SOURCE if which == "source" else LEAST_WIDTH
        super().__init__(
            f"the face in the {which} picture {_ADVICE[reason]}"
            if reason != "none"
            else f"no face was found in the {which} picture; give one in which a "
            f"face is seen from the front and is at least {least} pixels wide"
        )
        self.which: Literal["source", "target"] = which
        self.reason: Reason = reason


def fault_of_source(face: Face, picture: Pixels) -> Reason | None:
    """Return why *face* of *picture* is of no use elsewhere; ``None`` if it is."""
    if face.width < _LEAST_SOURCE:
        return "small"
    if abs(face.yaw) > _MOST_YAW:
        return "turned"
    if face.flag <= _CLEAR_FLAG:
        return "covered"
    window = Window.about(face, picture, most=_GLANCE)
    seen = window.seen(face)
    lab = to_lab(window.cut(picture))
    return "sunglasses" if wears_dark_glasses(lab, seen.points, seen.width) else None


@attrs.frozen(eq=False)
class Plate:
    """The surroundings of a source's face, and the mask of usable pixels."""

    pixels: Pixels
    face: Face
    valid: Floats

    @classmethod
    def of(cls, pixels: Pixels, face: Face) -> Plate:
        """Return the plate of a face in its surroundings."""
        return cls(pixels, face, source_validity(pixels, face.points))

    def fitted(self, width: float) -> Plate:
        """Return the plate shrunk so far that a face of *width* has no aliasing."""
        scale = _SHARPER * width / self.face.width
        if scale >= 1:
            return self
        return Plate(
            pixels=scaled(self.pixels, scale),
            face=self.face.moved(0, 0, scale),
            valid=scaled(self.valid, scale),
        )


@attrs.frozen(eq=False)
class Source:
    """
    A face ready to be put into targets. Immutable, so threads may share it.

    The first plate is as photographed; the second is mirrored, for targets that look
    the other way.
    """

    plates: tuple[Plate, ...]

    def facing(self, yaw: float) -> Plate:
        """Return the plate that fits a target turned by *yaw* best."""
        return min(
            self.plates,
            key=lambda plate: (
                abs(plate.face.yaw - yaw)
                + (0 if plate is self.plates[0] else _MIRROR_GAIN)
            ),
        )


@attrs.frozen(eq=False)
class Layer:
    """The source's face warped to the target; *cover* is the mask of its pixels."""

    pixels: Pixels
    valid: Floats
    cover: Mask


class Swapper:
    """
    The engine: two networks and the steps between them.

    Two threads must not use its networks at once: make one swapper for each.
    Pictures are BGR arrays, (height, width, 3) of bytes, upright.
    """

    def __init__(self, finder: Finder | None = None) -> None:
        self._finder = finder or Finder()
        self._triangles = load_triangles()

    def analyse(self, picture: Pixels) -> Source:
        """Return the biggest usable face of *picture*, or raise :exc:`FaceError`."""
        found = self._usable(picture)
        window = Window.about(
            found, picture, margin=_PLATE_MARGIN, most=_PLATE_FACE * 2
        )
        pixels = np.ascontiguousarray(window.cut(picture))
        face = window.seen(found)
        flipped = np.ascontiguousarray(pixels[:, ::-1])
        mirrored = self._finder.mirrored(flipped, face)
        plates = [Plate.of(pixels, face)]
        if mirrored is not None:
            plates.append(Plate.of(flipped, mirrored))
        return Source(tuple(plates))

    def _usable(self, picture: Pixels) -> Face:
        faces = self._finder.faces(picture)
        if not faces:
            raise FaceError("source")
        faults = [fault_of_source(face, picture) for face in faces]
        for face, fault in zip(faces, faults, strict=True):
            if fault is None:
                return face
        raise FaceError("source", faults[0] or "none")

    def swap(
        self, source: Source, target: Pixels, *, largest_only: bool = False
    ) -> Pixels:
        """
        Return a copy of *target* with every face replaced, or the largest only.

        :exc:`FaceError` when no face is found. Pixels away from the faces are the
        same to the bit.
        """
        faces = self._finder.faces(target)
        if not faces:
            raise FaceError("target")
        result = target.copy()
        for face in faces[:1] if largest_only else faces:
            self._replace(source.facing(face.yaw), face, result)
        return result

    def _replace(self, plate: Plate, face: Face, canvas: Pixels) -> None:
        window = Window.about(face, canvas)
        below = window.cut(canvas)
        seen = window.seen(face)
        shape = target_shape(plate.face.points, seen.points, _PULL)
        layer = self._warped(plate, shape, below, seen.width)
        dressed = _dressed(layer, below, plate.face, seen, shape)
        mixed = dressed.blended(seen.width)
        # The coarse bands reach beyond the face, and no pixel outside may change.
        whole = masks.oval(layer.cover.shape, seen.points) * layer.cover
        near = masks.near(whole, seen.width)
        before = below.astype(np.float32)
        window.put(canvas, before, mixed, alpha=dressed.opaque, near=near)

    def _warped(
        self, plate: Plate, shape: Floats, below: Pixels, width: float
    ) -> Layer:
        crisp = width > plate.face.width
        plate = plate.fitted(width)
        positions, cover = warp_map(
            (below.shape[0], below.shape[1]), shape, plate.face.points, self._triangles
        )
        across, down = (np.ascontiguousarray(positions[..., axis]) for axis in (0, 1))
        how = cv2.INTER_CUBIC if crisp else cv2.INTER_LINEAR
        border = cv2.BORDER_REPLICATE
        pixels = cv2.remap(plate.pixels, across, down, how, borderMode=border)
        valid = cv2.remap(
            plate.valid, across, down, cv2.INTER_LINEAR, borderMode=border
        )
        return Layer(
            pixels=np.asarray(pixels, np.uint8),
            valid=np.asarray(valid, np.float32) * cover,
            cover=cover,
        )


@attrs.frozen(eq=False)
class Dressed:
    """
    A layer in the target's light, and what it is laid on.

    *alpha* is its opacity, *opaque* where the target's own detail must not return.
    """

    colour: Floats
    under: Floats
    alpha: Floats
    opaque: Floats

    def blended(self, width: float) -> Floats:
        """Return the new face in the target, BGR floats."""
        # Where the layer fades out it may show hair, which coarse bands would spread.
        shown = np.clip(self.alpha * 2, 0, 1)[..., None]
        colour = matched(self.colour, self.under, self.alpha, width)
        over = self.under + (colour - self.under) * shown
        return blend(self.under, over, self.alpha, levels_for(width))


def _dressed(
    layer: Layer, below: Pixels, source: Face, target: Face, shape: Floats
) -> Dressed:
    size = (below.shape[0], below.shape[1])
    width = target.width
    source_lab, target_lab = to_lab(layer.pixels), to_lab(below)
    bare = masks.skin(size, shape) & masks.skin(size, target.points) & layer.cover
    core = masks.core_of(bare, layer.cover, width)
    sample = SkinSample.choose(core, layer.valid, target_lab)
    colour = relit(source_lab, target_lab, sample, width)
    colour = softened(colour, source_lab, target_lab, core)
    whole = masks.oval(size, target.points) * layer.cover
    alpha = masks.feathered(whole, layer.cover, width)
    zone = masks.features(size, shape, width)
    alpha *= np.minimum(
        masks.uncovered(target_lab, core, zone, width),
        masks.smoothed(layer.valid, width),
    )
    alpha = masks.teeth_kept(alpha, source, target, shape)
    under = below.astype(np.float32)
    if wears_dark_glasses(target_lab, target.points, width):
        alpha *= 1 - dark_glasses(target_lab, target.points, width)
        return Dressed(colour, under, alpha, opaque=alpha)
    browless = Browless.of(under, target_lab, core, target, alpha)
    opaque = np.maximum(alpha, browless.gone)
    return Dressed(colour, browless.pixels, alpha, opaque)
