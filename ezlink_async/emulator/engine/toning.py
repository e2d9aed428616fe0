"""
Pictures without colours of their own: grey, sepia, or toned in another way.

In such a picture the tint of a pixel follows from its lightness. The curve is measured
around the face in L*a*b*, one rule for every kind of toning.
"""

from __future__ import annotations

import attrs
import numpy as np

from ezlink_async.emulator.engine.arrays import Floats, scaled

_SIDE = 48  # pixels of the longer side; JPEG's noise in the tint averages out
_STEPS = 32  # of lightness
_MOST_TINT = 1.0  # in a and b; colour photos that are not nearly black have 2 or more


@attrs.frozen(eq=False)
class Tone:
    """The tint of a toned picture: a and b, (n, 2), at n values of its *lightness*."""

    lightness: Floats
    tints: Floats

    @classmethod
    def of(cls, lab: Floats) -> Tone | None:
        """Return the tone of a picture in L*a*b*; ``None`` if it has colours."""
        seen = scaled(lab, _SIDE / max(lab.shape[:2])).reshape(-1, 3)
        step = np.clip(seen[:, 0] * (_STEPS / 100), 0, _STEPS - 1).astype(int)
        counts = np.bincount(step, minlength=_STEPS)
        filled = counts > 0
        means = np.stack(
            [
                np.bincount(step, seen[:, channel], _STEPS)[filled] / counts[filled]
                for channel in range(3)
            ],
            axis=1,
        ).astype(np.float32)
        tone = cls(means[:, 0], means[:, 1:])
        away = tone.applied(seen) - seen
        return tone if np.sqrt((away**2).mean(axis=0)).max() < _MOST_TINT else None

    def applied(self, lab: Floats) -> Floats:
        """Return *lab* with its lightness, and the tint that belongs to it here."""
        tints = [
            np.interp(lab[..., 0], self.lightness, self.tints[:, channel])
            for channel in range(2)
        ]
        return np.stack([lab[..., 0], *tints], axis=-1, dtype=np.float32)


def toned(lab: Floats, target: Floats) -> Floats:
    """Return *lab* in the tone of the *target*, as it is if that has colours."""
    tone = Tone.of(target)
    return lab if tone is None else tone.applied(lab)
