"""
The colours, the light and the softness of the target for the source's face.

Computed in L*a*b*: first mean and contrast, measured on unmistakable skin only, then
the slow changes of light across the target's face, then the tone of a grey photo.
"""

from __future__ import annotations

import attrs
import cv2
import numpy as np

from ezlink_async.emulator.engine.arrays import (
    Floats,
    Mask,
    blurred,
    from_lab,
    widely_blurred,
)
from ezlink_async.emulator.engine.masks import likeness
from ezlink_async.emulator.engine.toning import toned

_LIGHT = np.float32(0.85)  # the share of the target's light that is applied
_LEAST_SKIN = 20  # pixels
_USABLE = 0.5
_SLOW = 0.11  # of the face's width: changes wider than this are light
_MOST_SHIFT = np.array([18, 8, 10], np.float32)
# More contrast makes brows blue and teeth glow.
_LEAST_GAIN = np.array([0.65, 0.6, 0.6], np.float32)
_MOST_GAIN = np.array([1.12, 1.2, 1.2], np.float32)
_CRISPER = 1.6
_FINE = 1.2  # sigma in pixels of what counts as fine detail


@attrs.frozen(eq=False)
class SkinSample:
    """The pixels at which the colour of skin is measured, in source and target."""

    source: Mask
    target: Mask

    @classmethod
    def choose(cls, core: Mask, valid: Floats, target_lab: Floats) -> SkinSample:
        """Return the sure skin in *core*, or all of *core* if there is too little."""
        source = core & (valid > _USABLE)
        target = core & (likeness(target_lab, target_lab[core], 1.6) > _USABLE)
        if min(source.sum(), target.sum()) < _LEAST_SKIN:
            return cls(source=core, target=core)
        return cls(source=source, target=target)


def relit(source: Floats, target: Floats, sample: SkinSample, width: float) -> Floats:
    """Return BGR floats of the *source* in the target's light; both are L*a*b*."""
    mean = source[sample.source].mean(axis=0)
    goal = target[sample.target].mean(axis=0)
    gain = target[sample.target].std(axis=0)
    gain /= source[sample.source].std(axis=0) + np.float32(1e-3)
    # Dark pixels, such as brows and pupils, get less tint, else they turn blue.
    tint = np.clip(source[..., :1] / max(float(mean[0]), 1), 0, 1)
    shift = (source - mean) * np.clip(gain, _LEAST_GAIN, _MOST_GAIN) + goal - source
    shift[..., 1:] *= tint
    result = source + shift
    light = _light(result, target, sample.source & sample.target, width)
    light[..., 1:] *= tint
    result += light
    result[..., 0] = np.clip(result[..., 0], 0, 100)
    return from_lab(toned(result.astype(np.float32), target))


def _light(source: Floats, target: Floats, skin: Mask, width: float) -> Floats:
    """Return the change that makes slow changes of light follow the target."""
    known = skin.astype(np.float32)
    sigma = width * _SLOW
    weight = widely_blurred(known, sigma)
    wanted = widely_blurred((target - source) * known[..., None], sigma)
    wanted /= weight[..., None] + np.float32(1e-4)
    # Far from skin that both pictures show, the light is a guess.
    trust = np.clip(weight * 3, 0, 1) * _LIGHT
    return np.clip(wanted, -_MOST_SHIFT, _MOST_SHIFT) * trust[..., None]


def softened(colour: Floats, source: Floats, target: Floats, core: Mask) -> Floats:
    """Return *colour* blurred when it is much crisper than the target's skin."""
    crisp, soft = (_detail(lab[..., 0], core) for lab in (source, target))
    if crisp <= _CRISPER * soft:
        return colour
    return blurred(colour, min(1.6, 0.35 * crisp / max(soft, 1e-3)))


def _detail(light: Floats, core: Mask) -> float:
    light = np.ascontiguousarray(light)
    fine = light - np.asarray(cv2.GaussianBlur(light, (0, 0), _FINE))
    return float(fine[core].std())
