"""The new face as part of the target's photo: tone, sharpness, glasses, brows."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

np = pytest.importorskip("numpy")
cv2 = pytest.importorskip("cv2")

from ezlink_async.emulator.engine import landmarks, masks  # noqa: E402
from ezlink_async.emulator.engine.arrays import (  # noqa: E402
    Floats,
    Mask,
    Pixels,
    to_lab,
)
from ezlink_async.emulator.engine.brows import Browless  # noqa: E402
from ezlink_async.emulator.engine.glasses import wears_dark_glasses  # noqa: E402
from ezlink_async.emulator.engine.mesh import Face, Finder  # noqa: E402
from ezlink_async.emulator.engine.sharpness import matched  # noqa: E402
from ezlink_async.emulator.engine.swap import Dressed, FaceError, Swapper  # noqa: E402
from ezlink_async.emulator.engine.toning import Tone, toned  # noqa: E402
from ezlink_async.emulator.engine.validity import source_validity  # noqa: E402

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


def lenses(picture: Pixels, face: Face) -> Mask:
    """Return where the lenses of glasses lie on a face."""
    canvas = np.zeros(picture.shape[:2], np.uint8)
    for corners in ((33, 133), (362, 263)):
        one, other = face.points[list(corners), :2]
        middle = tuple(int(value) for value in (one + other) / 2)
        half = int(0.75 * np.linalg.norm(other - one))
        angle = float(np.degrees(np.arctan2(*(other - one)[::-1])))
        cv2.ellipse(canvas, middle, (half, int(0.8 * half)), angle, 0, 360, 255, -1)
    return canvas > 0


def with_sunglasses(picture: Pixels, face: Face) -> Pixels:
    """Return a picture with dark glasses drawn on a face."""
    result = picture.copy()
    result[lenses(picture, face)] = (14, 12, 16)
    temples = face.points[[landmarks.RIGHT_EAR, landmarks.LEFT_EAR], :2]
    eyes = face.points[[landmarks.RIGHT_EYE_CORNER, landmarks.LEFT_EYE_CORNER], :2]
    thick = max(2, int(face.width * 0.03))
    bar = [tuple(int(value) for value in end) for end in (temples[0], *eyes)]
    bar.append(tuple(int(value) for value in temples[1]))
    for one, other in itertools.pairwise(bar):
        cv2.line(result, one, other, (14, 12, 16), thick, cv2.LINE_AA)
    return result


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


@pytest.mark.parametrize("name", ["astronaut", "synthetic_1", "synthetic_3"])
def test_sunglasses_of_the_target_are_kept(
    swapper: Swapper, finder: Finder, name: str
) -> None:
    """Lenses and frame stay as they are, and the mouth is replaced."""
    plain = sample(name)
    face = finder.faces(plain)[0]
    target = with_sunglasses(plain, face)
    result = swapper.swap(swapper.analyse(sample("hopper")), target)
    apart = np.abs(result.astype(int) - target).max(axis=2)
    assert apart[lenses(plain, face)].mean() < 3
    x, y = face.points[[landmarks.UPPER_LIP, landmarks.LOWER_LIP], :2].mean(axis=0)
    assert apart[int(y) - 8 : int(y) + 8, int(x) - 8 : int(x) + 8].mean() > 5


@pytest.mark.parametrize(
    "name", ["astronaut", "hopper", "joconde", "synthetic_1", "synthetic_2", "group"]
)
@pytest.mark.parametrize("light", [0.4, 1.0])
def test_eyes_are_no_dark_glasses(finder: Finder, name: str, light: float) -> None:
    """Neither clear glasses, nor a dark photo."""
    picture = sample(name)
    lab = to_lab((picture * light).astype(np.uint8))
    faces = finder.faces(picture)
    assert not any(wears_dark_glasses(lab, face.points, face.width) for face in faces)


def test_source_with_sunglasses_is_refused(swapper: Swapper, finder: Finder) -> None:
    plain = sample("astronaut")
    picture = with_sunglasses(plain, finder.faces(plain)[0])
    with pytest.raises(FaceError, match="wears dark glasses; give a picture") as info:
        swapper.analyse(picture)
    assert info.value.reason == "sunglasses"


def crispness(picture: Pixels, face: Face) -> float:
    """Return how much the strong edges of a face lose in a small blur."""
    left, top, right, bottom = face.box.astype(int)
    light = to_lab(picture)[top:bottom, left:right, 0].copy()
    whole = masks.oval(picture.shape[:2], face.points)[top:bottom, left:right]
    inside = masks.shrunk(whole, int(0.12 * face.width)) > 0
    edges = [
        np.percentile(cv2.Laplacian(seen, cv2.CV_32F, ksize=5)[inside], 97)
        for seen in (light, cv2.GaussianBlur(light, (0, 0), 3))
    ]
    return float(edges[0] / edges[1])


@pytest.mark.parametrize("name", ["hopper", "synthetic_1", "synthetic_3"])
@pytest.mark.parametrize("sigma", [3, 5])
def test_blurred_photo_gets_a_face_as_blurred(
    swapper: Swapper, finder: Finder, name: str, sigma: int
) -> None:
    """The edges of the new face are about as soft as those of the photo."""
    target = cv2.GaussianBlur(sample(name), (0, 0), sigma)
    face = finder.faces(target)[0]
    result = swapper.swap(swapper.analyse(sample("astronaut")), target)
    assert crispness(result, face) < 1.5 * crispness(target, face)


def checks(contrast: float) -> Floats:
    """Draw squares with sharp edges."""
    rows, columns = np.indices((200, 200)) // 20
    grey = 128 + contrast * ((rows + columns) % 2 - 0.5)
    return np.repeat(grey[..., None], 3, axis=2).astype(np.float32)


def test_face_is_blurred_by_its_edges_and_not_by_its_contrast() -> None:
    """A faint pattern is as sharp as a strong one; a blurred one is not."""
    sharp, opaque = checks(200), np.ones((200, 200), np.float32)
    assert matched(sharp, checks(20), opaque, 150) is sharp
    soft = matched(sharp, cv2.GaussianBlur(checks(20), (0, 0), 4), opaque, 150)
    softer = matched(sharp, cv2.GaussianBlur(checks(20), (0, 0), 9), opaque, 150)
    assert 0 < soft.std() - softer.std() < sharp.std() - softer.std()


def test_face_of_which_little_is_shown_is_not_blurred() -> None:
    """Too few pixels are no measure of sharpness."""
    sharp, alpha = checks(200), np.zeros((200, 200), np.float32)
    alpha[:10, :10] = 1
    assert matched(sharp, np.full_like(sharp, 128), alpha, 150) is sharp


def bold_brows(picture: Pixels, face: Face) -> Mask:
    """Return where brows would be that are thicker than those of a face."""
    canvas = np.zeros(picture.shape[:2], np.uint8)
    for brow in (landmarks.BROWS_ABOVE[:5], landmarks.BROWS_ABOVE[5:]):
        line = face.points[list(brow), :2].round().astype(np.int32)
        thick = int(0.07 * face.width)
        cv2.polylines(canvas, [line], isClosed=False, color=255, thickness=thick)
    return canvas > 128


def with_brows(picture: Pixels, face: Face) -> Pixels:
    """Return a picture with bold brows drawn on a face."""
    ink = bold_brows(picture, face).astype(np.float32)[..., None]
    ink = cv2.GaussianBlur(ink, (0, 0), 1)[..., None]
    drawn = picture * (1 - ink) + np.array([35, 45, 60]) * ink
    return drawn.round().astype(np.uint8)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("hopper", "joconde"),
        ("synthetic_2", "joconde"),
        ("synthetic_3", "astronaut"),
    ],
)
def test_brows_of_the_target_do_not_show(
    swapper: Swapper, finder: Finder, name: str, source: str
) -> None:
    """A target with bold brows gets about the same face as one without."""
    plain = sample(name)
    face = finder.faces(plain)[0]
    target = with_brows(plain, face)
    there = bold_brows(plain, face)
    donor = swapper.analyse(sample(source))
    one = to_lab(swapper.swap(donor, plain))[there]
    other = to_lab(swapper.swap(donor, target))[there]
    drawn = (to_lab(plain)[there] - to_lab(target)[there])[:, 0].mean()
    assert abs((one - other)[:, 0].mean()) < 0.2 * drawn


def browless(picture: Pixels, face: Face, alpha: Floats) -> Browless:
    """Remove the brows of a face."""
    lab = to_lab(picture)
    whole = masks.oval(picture.shape[:2], face.points) > 0
    core = masks.core_of(masks.skin(whole.shape, face.points), whole, face.width)
    return Browless.of(picture.astype(np.float32), lab, core, face, alpha)


def test_only_brows_near_the_new_face_are_removed(finder: Finder) -> None:
    """What lies away from the brows is the same to the bit."""
    plain = sample("hopper")
    face = finder.faces(plain)[0]
    picture = with_brows(plain, face)
    near = bold_brows(picture, face).astype(np.float32)
    alpha = masks.oval(picture.shape[:2], face.points)
    result = browless(picture, face, alpha)
    far = masks.grown(near, int(0.15 * face.width)) == 0
    assert np.array_equal(result.pixels[far], picture[far])
    assert result.gone[near > 0].mean() > 0.7
    assert not browless(picture, face, np.zeros_like(alpha)).gone.any()


def test_brow_under_hair_is_left_alone(finder: Finder) -> None:
    """The skin for it would come from hair."""
    picture = sample("hopper")
    face = finder.faces(picture)[0]
    brow = face.points[list(landmarks.BROWS), 1]
    picture[: int(brow.min())] = (20, 30, 40)
    result = browless(picture, face, masks.oval(picture.shape[:2], face.points))
    assert np.array_equal(result.pixels, picture)


@pytest.mark.parametrize(
    "first_row", [landmarks.NOSE_TIP, landmarks.LOWER_LIP], ids=["near", "far"]
)
def test_brows_outside_the_picture_change_nothing_in_it(
    finder: Finder, first_row: int
) -> None:
    picture = sample("hopper")
    face = finder.faces(picture)[0]
    top = int(face.points[first_row, 1])
    cut = np.ascontiguousarray(picture[top:])
    result = browless(cut, face.moved(0, top, 1), np.ones(cut.shape[:2], np.float32))
    assert np.array_equal(result.pixels, cut)


def test_hair_right_above_the_brows_of_a_source_is_not_used(finder: Finder) -> None:
    """The mesh puts its upper brow points above a thin brow."""
    picture = sample("astronaut")
    points = finder.faces(picture)[0].points
    even = np.full_like(picture, (120, 150, 210))
    upper = points[list(landmarks.BROWS_ABOVE), :2]
    upper = upper[np.argsort(upper[:, 0])]
    rows, columns = np.indices(even.shape[:2])
    even[rows < np.interp(columns, *upper.T) + 1] = (20, 30, 40)
    valid = source_validity(even, points)
    for x, y in points[[105, 334], :2].astype(int):
        assert valid[y, x] < 0.6
        assert valid[y + 20, x] > 0.95


def test_hidden_part_of_a_source_does_not_shine_through() -> None:
    """Where the layer is transparent its colours do not count in any band."""
    alpha = np.zeros((128, 128), np.float32)
    alpha[:, :64] = 1
    under = np.full((128, 128, 3), 90, np.float32)
    colour = np.full((128, 128, 3), 90, np.float32)
    colour[:, 64:] = 0
    mixed = Dressed(colour, under, alpha, opaque=alpha).blended(700)
    assert mixed == pytest.approx(under, abs=0.5)
