"""The new face as part of the target's photo: its tone."""

from __future__ import annotations

from pathlib import Path

import pytest

np = pytest.importorskip("numpy")
cv2 = pytest.importorskip("cv2")

from ezlink_async.emulator.engine import masks  # noqa: E402
from ezlink_async.emulator.engine.arrays import Floats, Pixels, to_lab  # noqa: E402
from ezlink_async.emulator.engine.mesh import Face, Finder  # noqa: E402
from ezlink_async.emulator.engine.swap import Swapper  # noqa: E402
from ezlink_async.emulator.engine.toning import Tone, toned  # noqa: E402

pytestmark = pytest.mark.local

SAMPLES = Path(__file__).parents[3] / "docs" / "samples"


def sample(name: str) -> Pixels:
    """Read a sample picture as BGR."""
    return np.asarray(cv2.imread(str(SAMPLES / f"{name}.jpg")), np.uint8)


def grey(picture: Pixels) -> Pixels:
    """Return a picture without colour."""
    light = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    return np.asarray(cv2.cvtColor(light, cv2.COLOR_GRAY2BGR), np.uint8)


def cyanotype(picture: Pixels) -> Pixels:
    """Return a picture in blue tones."""
    light = grey(picture).astype(np.float32) / 255
    return (light ** (0.8, 1.0, 1.2) * (250, 225, 200)).astype(np.uint8)


@pytest.fixture(scope="module")
def swapper() -> Swapper:
    """Make one engine for the module: its networks are loaded once."""
    return Swapper()


@pytest.fixture(scope="module")
def finder() -> Finder:
    """Make a face finder of the tests' own."""
    return Finder()


def tints(picture: Pixels, face: Face) -> Floats:
    """Return a and b of the bare skin of a face."""
    return to_lab(picture)[masks.skin(picture.shape[:2], face.points)][:, 1:]


@pytest.mark.parametrize("name", ["hopper", "joconde", "synthetic_1"])
def test_grey_photo_stays_grey(swapper: Swapper, finder: Finder, name: str) -> None:
    """The new face has no more colour than the photo."""
    target = grey(sample(name))
    result = swapper.swap(swapper.analyse(sample("astronaut")), target)
    assert (result != target).any()
    assert np.abs(tints(result, finder.faces(target)[0])).max() < 1


def test_toned_photo_keeps_its_tone(swapper: Swapper, finder: Finder) -> None:
    """The tint of the new face varies no more than that of the old one."""
    target = cyanotype(sample("hopper"))
    face = finder.faces(target)[0]
    result = swapper.swap(swapper.analyse(sample("astronaut")), target)
    before, after = tints(target, face), tints(result, face)
    assert np.abs(before.mean(axis=0) - after.mean(axis=0)).max() < 1
    assert (after.std(axis=0) < before.std(axis=0) + 0.2).all()


@pytest.mark.parametrize("name", ["astronaut", "hopper", "joconde", "synthetic_2"])
@pytest.mark.parametrize("side", [40, 300])
def test_colour_photo_has_no_tone(name: str, side: int) -> None:
    lab = to_lab(cv2.resize(sample(name), (side, side), interpolation=cv2.INTER_AREA))
    assert Tone.of(lab) is None
    assert toned(lab, lab) is lab


def test_picture_of_one_lightness_has_the_tone_of_that() -> None:
    flat = np.full((60, 50, 3), (50, 4, 20), np.float32)
    bright = np.full((5, 5, 3), (70, 0, 0), np.float32)
    assert toned(bright, flat)[2, 3] == pytest.approx([70, 4, 20])
