"""The local engine on arrays: which pixels change, and how."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import attrs
import pytest

np = pytest.importorskip("numpy")
cv2 = pytest.importorskip("cv2")

from ezlink_async.emulator.engine import landmarks, masks  # noqa: E402
from ezlink_async.emulator.engine.arrays import Pixels, to_lab  # noqa: E402
from ezlink_async.emulator.engine.blend import blend  # noqa: E402
from ezlink_async.emulator.engine.colour import SkinSample, softened  # noqa: E402
from ezlink_async.emulator.engine.detect import Detector  # noqa: E402
from ezlink_async.emulator.engine.geometry import Square, aligned, warp_map  # noqa: E402
from ezlink_async.emulator.engine.mesh import Face, Finder  # noqa: E402
from ezlink_async.emulator.engine.networks import (  # noqa: E402
    SHA256,
    check,
    load_triangles,
    weights_file,
)
from ezlink_async.emulator.engine.swap import (  # noqa: E402
    FaceError,
    Plate,
    Source,
    Swapper,
    fault_of_source,
)
from ezlink_async.emulator.engine.validity import source_validity  # noqa: E402

pytestmark = pytest.mark.local

SAMPLES = Path(__file__).parents[3] / "docs" / "samples"


def sample(name: str) -> Pixels:
    """Read a sample picture as BGR."""
    return np.asarray(cv2.imread(str(SAMPLES / f"{name}.jpg")), np.uint8)


def cat() -> Pixels:
    """Read a picture of a cat, which detectors take for a face."""
    path = Path(__file__).parents[2] / "samples" / "cat.jpg"
    return np.asarray(cv2.imread(str(path)), np.uint8)


def shrunk(name: str, scale: float) -> Pixels:
    """Read a sample at a smaller size."""
    return cv2.resize(
        sample(name), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA
    )


def gradient() -> Pixels:
    """Draw a picture without a face: a slope of grey."""
    slope = np.linspace(0, 255, 400).astype(np.uint8)
    return np.repeat(np.repeat(slope[None, :, None], 300, axis=0), 3, axis=2)


def noise() -> Pixels:
    """Draw a picture without a face: coloured noise."""
    return np.random.default_rng(7).integers(0, 256, (300, 420, 3), np.uint8)


def likeness(one: Pixels, other: Pixels) -> float:
    """Correlate the fine shapes of two upright cuts from brows to mouth."""
    shapes = []
    for cut in (one, other):
        grey = cv2.cvtColor(cut, cv2.COLOR_BGR2GRAY).astype(np.float32)
        fine = cv2.GaussianBlur(grey, (0, 0), 2) - cv2.GaussianBlur(grey, (0, 0), 12)
        shapes.append(fine[40:110, 24:104].ravel())
    return float(np.corrcoef(*shapes)[0, 1])


def posed(plate: Plate, picture: Pixels, face: Face) -> Pixels:
    """Warp a source on to the mesh of a face, as the picture would show it."""
    positions, _ = warp_map(
        picture.shape[:2], face.points, plate.face.points, load_triangles()
    )
    return cv2.remap(
        plate.pixels, positions[..., 0], positions[..., 1], cv2.INTER_LINEAR
    )


def changed(before: Pixels, after: Pixels) -> Pixels:
    """Return where two pictures differ at all."""
    return (before != after).any(axis=2)


def skin_colour(picture: Pixels, face: Face) -> Pixels:
    """Return mean L, a and b of the skin of a face."""
    bare = masks.skin(picture.shape[:2], face.points)
    return to_lab(picture)[bare].mean(axis=0)


@pytest.fixture(scope="module")
def swapper() -> Swapper:
    """Make one engine for the module: its networks are loaded once."""
    return Swapper()


@pytest.fixture(scope="module")
def astronaut(swapper: Swapper) -> Source:
    """Analyse one source for the module."""
    return swapper.analyse(sample("astronaut"))


@pytest.fixture(scope="module")
def finder() -> Finder:
    """Make a face finder of the tests' own."""
    return Finder()


@pytest.mark.parametrize("name", SHA256)
def test_vendored_file_has_its_recorded_hash(name: str) -> None:
    """The weights are those whose SHA-256 was recorded when they were vendored."""
    with weights_file(name) as path:
        check(name, path.read_bytes())


@pytest.mark.parametrize("name", ["LICENSE", "NOTICE"])
def test_licence_and_notice_are_beside_the_weights(name: str) -> None:
    folder = resources.files("ezlink_async.emulator.engine") / "weights"
    assert "Apache" in (folder / name).read_text()


def test_damaged_weights_file_is_refused() -> None:
    """The error names a file whose SHA-256 is another."""
    with pytest.raises(RuntimeError, match=r"face_landmark\.tflite is damaged"):
        check("face_landmark.tflite", b"something else")


def test_triangles_join_all_points_of_the_mesh() -> None:
    """Every point of the mesh is in some triangle, and no other index is."""
    triangles = load_triangles()
    assert triangles.shape == (898, 3)
    assert set(np.unique(triangles)) == set(range(468))


def test_all_faces_of_a_group_are_swapped_and_nothing_else(
    swapper: Swapper, finder: Finder
) -> None:
    """Three faces change; away from them every pixel is the same to the bit."""
    target = sample("group")
    untouched = target.copy()
    result = swapper.swap(swapper.analyse(sample("synthetic_1")), target)
    assert np.array_equal(target, untouched)
    difference = changed(target, result)
    faces = finder.faces(target)
    assert len(faces) == 3
    for face in faces:
        left, top, right, bottom = face.box.astype(int)
        assert difference[top:bottom, left:right].mean() > 0.4
        margin = int(0.15 * face.width)
        difference[
            max(0, top - margin) : bottom + margin, left - margin : right + margin
        ] = False
    assert not difference.any()


def test_largest_face_of_a_group_is_swapped_alone(
    swapper: Swapper, finder: Finder
) -> None:
    target = sample("group")
    source = swapper.analyse(sample("synthetic_1"))
    difference = changed(target, swapper.swap(source, target, largest_only=True))
    first, *others = finder.faces(target)
    assert all(face.area < first.area for face in others)
    shares = []
    for face in (first, *others):
        left, top, right, bottom = face.box.astype(int)
        shares.append(difference[top:bottom, left:right].mean())
    assert shares[0] > 0.4
    assert shares[1:] == [0, 0]


@pytest.mark.parametrize(
    "picture", [gradient(), noise(), cat(), sample("group")[:60, :90]]
)
@pytest.mark.parametrize("which", ["source", "target"])
def test_error_names_the_picture_without_a_face(
    swapper: Swapper, astronaut: Source, which: str, picture: Pixels
) -> None:
    """The error is a ValueError with a text and *which* for source or target."""

    def use() -> None:
        if which == "source":
            swapper.analyse(picture)
        else:
            swapper.swap(astronaut, picture)

    with pytest.raises(FaceError, match=f"no face was found in the {which}") as info:
        use()
    assert info.value.which == which
    assert isinstance(info.value, ValueError)


def half_covered() -> Pixels:
    """Paint over the right half of a face."""
    picture = sample("astronaut")
    picture[133:339, 356:447] = (30, 60, 40)
    return picture


@pytest.mark.parametrize(
    ("picture", "reason", "advice"),
    [
        (shrunk("synthetic_1", 0.25), "small", "less than 60 pixels wide"),
        (half_covered(), "covered", "covered or blurred"),
        (cv2.GaussianBlur(sample("hopper"), (0, 0), 14), "covered", "sharp picture"),
    ],
    ids=["small", "covered", "blurred"],
)
def test_source_with_an_unusable_face_is_refused_with_its_fault(
    swapper: Swapper, picture: Pixels, reason: str, advice: str
) -> None:
    with pytest.raises(FaceError, match=advice) as caught:
        swapper.analyse(picture)
    assert (caught.value.which, caught.value.reason) == ("source", reason)


@pytest.mark.parametrize(
    ("yaw", "fault"), [(0.54, None), (-0.54, None), (0.56, "turned"), (-0.7, "turned")]
)
def test_face_that_looks_away_is_no_source(
    finder: Finder, yaw: float, fault: str | None
) -> None:
    """The nose may lie a little more than half way from the middle to an ear."""
    face = finder.faces(sample("astronaut"))[0]
    points = face.points.copy()
    ears = points[[landmarks.RIGHT_EAR, landmarks.LEFT_EAR]]
    points[landmarks.NOSE_TIP] = ears[0] + (ears[1] - ears[0]) * (1 + yaw) / 2
    turned = attrs.evolve(face, points=points)
    assert turned.yaw == pytest.approx(yaw, abs=1e-3)
    assert fault_of_source(turned, sample("astronaut")) == fault


def test_source_is_the_biggest_face_that_can_be_used(swapper: Swapper) -> None:
    """A large covered face beside a clear one is passed over."""
    covered, clear = half_covered(), shrunk("astronaut", 0.6)
    height, width = covered.shape[:2]
    beside = np.zeros((height, width + clear.shape[1], 3), np.uint8)
    beside[:, :width] = covered
    beside[: clear.shape[0], width:] = clear
    plate = swapper.analyse(beside).plates[0]
    (alone, *_) = swapper.analyse(clear).plates
    assert plate.face.width == pytest.approx(alone.face.width, rel=0.05)


def test_face_under_thirty_pixels_is_ignored(swapper: Swapper) -> None:
    source = swapper.analyse(sample("hopper"))
    with pytest.raises(FaceError, match="at least 30 pixels"):
        swapper.swap(source, shrunk("synthetic_1", 0.14))


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("astronaut", "hopper"),
        ("astronaut", "joconde"),
        ("hopper", "astronaut"),
        ("joconde", "synthetic_3"),
    ],
)
def test_swapped_face_looks_like_the_source(
    swapper: Swapper, finder: Finder, source: str, target: str
) -> None:
    """After the swap brows, eyes, nose and mouth correlate with the source's."""
    picture = sample(target)
    donor = swapper.analyse(sample(source))
    result = swapper.swap(donor, picture)
    face = finder.faces(picture)[0]
    square = Square.around(face.points, 1.0)
    wanted = square.cut(posed(donor.facing(face.yaw), picture, face), 128)
    before = likeness(wanted, square.cut(picture, 128))
    after = likeness(wanted, square.cut(result, 128))
    assert after > before + 0.15
    assert after > 0.7


@pytest.mark.parametrize("target", ["hopper", "joconde", "synthetic_1"])
@pytest.mark.parametrize("source", ["astronaut", "joconde"])
def test_skin_keeps_the_tone_of_the_target(
    swapper: Swapper, finder: Finder, source: str, target: str
) -> None:
    """The mean colour of the skin changes by less than is visible at a glance."""
    picture = sample(target)
    face = finder.faces(picture)[0]
    result = swapper.swap(swapper.analyse(sample(source)), picture)
    apart = np.abs(skin_colour(result, face) - skin_colour(picture, face))
    assert apart[0] < 6
    assert apart[1:].max() < 4


@pytest.mark.parametrize("target", ["hopper", "synthetic_1", "synthetic_2"])
def test_rim_of_the_face_has_no_seam(
    swapper: Swapper, finder: Finder, astronaut: Source, target: str
) -> None:
    """Edges along the rim are no stronger than in the untouched photo."""
    picture = sample(target)
    face = finder.faces(picture)[0]
    result = swapper.swap(astronaut, picture)
    whole = masks.oval(picture.shape[:2], face.points)
    step = max(1, int(face.width * 0.06))
    rim = (whole > 0) & (masks.shrunk(whole, step) == 0)

    def edges(image: Pixels) -> float:
        light = cv2.GaussianBlur(to_lab(image)[..., 0], (0, 0), 1.0)
        return float(
            np.hypot(cv2.Sobel(light, -1, 1, 0), cv2.Sobel(light, -1, 0, 1))[rim].mean()
        )

    assert edges(result) < 1.1 * edges(picture)


def test_target_that_looks_the_other_way_gets_the_mirrored_source(
    swapper: Swapper, finder: Finder
) -> None:
    """The source or its mirror image is used, whichever is turned like the target."""
    source = swapper.analyse(sample("joconde"))
    straight, mirrored = source.plates
    assert straight.face.yaw < -0.3
    assert mirrored.face.yaw > 0.3
    flipped = np.ascontiguousarray(sample("synthetic_2")[:, ::-1])
    assert source.facing(finder.faces(sample("synthetic_2"))[0].yaw) is straight
    assert source.facing(finder.faces(flipped)[0].yaw) is mirrored
    assert source.facing(0.0) is straight


def _check_turned(
    finder: Finder, picture: Pixels, upright: list[Face], turns: int
) -> None:
    turned = np.ascontiguousarray(np.rot90(picture, turns))
    centre = np.array(picture.shape[1::-1], np.float32) / 2 - 0.5
    there = np.array(turned.shape[1::-1], np.float32) / 2 - 0.5
    matrix = np.linalg.matrix_power(np.array([[0, 1], [-1, 0]], np.float32), turns)
    found = [
        (face.points[:, :2] - there) @ matrix + centre for face in finder.faces(turned)
    ]
    assert len(found) == len(upright)
    for face in upright:
        apart = min(np.abs(face.points[:, :2] - points).mean() for points in found)
        assert apart < 0.05 * face.width


@pytest.mark.parametrize("scale", [0.3, 1.0])
@pytest.mark.parametrize("name", ["astronaut", "group", "synthetic_2"])
def test_mesh_of_a_turned_face_is_the_upright_one(
    finder: Finder, name: str, scale: float
) -> None:
    """No face of a photo on its side or head gets a mesh across it."""
    picture = shrunk(name, scale)
    upright = finder.faces(picture)
    for turns in (1, 2, 3):
        _check_turned(finder, picture, upright, turns)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_turned_photo_is_swapped(swapper: Swapper, finder: Finder, turns: int) -> None:
    """The new face looks like the one in the upright photo."""
    target = sample("synthetic_1")
    source = swapper.analyse(sample("hopper"))
    upright = swapper.swap(source, target)
    turned = swapper.swap(source, np.ascontiguousarray(np.rot90(target, turns)))
    back = np.ascontiguousarray(np.rot90(turned, -turns))
    square = Square.around(finder.faces(target)[0].points, 1.0)
    assert likeness(square.cut(back, 128), square.cut(upright, 128)) > 0.8


@pytest.mark.parametrize("scale", [0.2, 0.3])
def test_tiny_face_is_swapped(swapper: Swapper, scale: float) -> None:
    """A face of some 40 pixels is found and changed."""
    small = shrunk("synthetic_1", scale)
    result = swapper.swap(swapper.analyse(sample("hopper")), small)
    assert result.shape == small.shape
    assert changed(small, result).mean() > 0.01


def test_face_that_touches_the_edges_is_swapped(
    swapper: Swapper, astronaut: Source
) -> None:
    """A crop through forehead and chin is found on the padded second try."""
    left, top, right, bottom = 205, 190, 530, 545
    tight = np.ascontiguousarray(sample("hopper")[top:bottom, left:right])
    result = swapper.swap(astronaut, tight)
    assert changed(tight, result).mean() > 0.3


def test_large_photo_is_unchanged_around_the_face(
    swapper: Swapper, finder: Finder, astronaut: Source
) -> None:
    """A face larger than the working size is replaced, its surroundings are not."""
    large = cv2.resize(sample("hopper"), None, fx=2.5, fy=2.5)
    face = finder.faces(large)[0]
    result = swapper.swap(astronaut, large)
    difference = changed(large, result)
    left, top, right, bottom = face.box.astype(int)
    assert difference[top:bottom, left:right].mean() > 0.5
    margin = int(0.15 * face.width)
    difference[top - margin : bottom + margin, left - margin : right + margin] = False
    assert not difference.any()


def test_soft_photo_gets_a_soft_face(swapper: Swapper, finder: Finder) -> None:
    """The new face is not much crisper than its photo."""
    soft = cv2.GaussianBlur(sample("synthetic_3"), (0, 0), 4)
    face = finder.faces(soft)[0]
    result = swapper.swap(swapper.analyse(sample("hopper")), soft)
    bare = masks.skin(soft.shape[:2], face.points)

    def detail(image: Pixels) -> float:
        light = np.ascontiguousarray(to_lab(image)[..., 0])
        return float((light - cv2.GaussianBlur(light, (0, 0), 1.2))[bare].std())

    crisp = swapper.swap(swapper.analyse(sample("hopper")), sample("synthetic_3"))
    assert detail(result) < 0.5 * detail(crisp)


def test_covered_forehead_is_not_copied(swapper: Swapper, finder: Finder) -> None:
    """A source in a cap does not change the target's forehead."""
    target = sample("joconde")
    result = swapper.swap(swapper.analyse(sample("hopper")), target)
    x, y = finder.faces(target)[0].points[151, :2].astype(int)
    apart = np.abs(result.astype(int) - target)[y - 8 : y + 8, x - 8 : x + 8]
    assert apart.mean() < 3


def test_bare_forehead_is_copied(finder: Finder) -> None:
    """A source with only skin above the brows gives its forehead too."""
    points = finder.faces(sample("astronaut"))[0].points
    even = np.full_like(sample("astronaut"), (120, 150, 210))
    valid = source_validity(even, points)
    x, y = points[151, :2].astype(int)
    assert valid[y, x] > 0.95
    assert valid[10, 10] == 0


def test_target_keeps_its_teeth_when_the_source_shows_none(
    swapper: Swapper, finder: Finder
) -> None:
    """A closed mouth is not stretched over an open one."""
    target = sample("astronaut")
    face = finder.faces(target)[0]
    source = swapper.analyse(sample("joconde"))
    plain = np.ones(target.shape[:2], np.float32)
    shut = source.plates[0].face
    kept = masks.teeth_kept(plain, shut, face, face.points)
    x, y = face.points[[13, 14], :2].mean(axis=0).astype(int)
    assert kept[y, x] < 0.2
    assert masks.teeth_kept(plain, face, shut, shut.points) is plain


def test_same_pictures_give_the_same_result(swapper: Swapper) -> None:
    """The result is deterministic, in one engine and across engines."""
    source, target = sample("synthetic_2"), sample("synthetic_1")
    first = swapper.swap(swapper.analyse(source), target)
    again = Swapper()
    assert np.array_equal(first, again.swap(again.analyse(source), target))


def test_mesh_on_a_blank_picture_is_no_face(finder: Finder) -> None:
    face = finder.faces(sample("astronaut"))[0]
    blank = np.full((300, 300, 3), 128, np.uint8)
    assert finder.mirrored(blank, face) is None


def test_meshes_on_one_face_are_the_same_face(finder: Finder) -> None:
    """Overlap or a shared centre makes them one; a step aside makes them two."""
    face = finder.faces(sample("astronaut"))[0]
    step = float(face.box[2] - face.box[0])
    inside = attrs.evolve(face, points=face.points.copy())
    inside.points[:, :2] = (face.points[:, :2] - 350) * 0.3 + 350
    centre = face.points[:, :2].mean(axis=0)
    inside.points[:, :2] += centre - inside.points[:, :2].mean(axis=0)
    assert face.is_same(face.moved(step / 10, 0, 1))
    assert inside.is_same(face)
    assert not face.is_same(face.moved(step, 0, 1))


class _DoubleDetector(Detector):
    """Finds each candidate twice, a little apart."""

    def attempts(self, image: Pixels) -> Iterator[list[Square]]:
        """Yield the candidates of one try after the other."""
        for squares in super().attempts(image):
            aside = [attrs.evolve(each, x=each.x + each.side / 50) for each in squares]
            yield [*squares, *aside]


def test_face_with_two_candidates_is_found_once(finder: Finder) -> None:
    """It would be swapped twice."""
    found = Finder(_DoubleDetector()).faces(sample("synthetic_1"))
    assert len(found) == len(finder.faces(sample("synthetic_1")))


class _OneSidedFinder(Finder):
    """Finds no face in a picture that is flipped."""

    def mirrored(self, flipped: Pixels, face: Face) -> Face | None:  # noqa: ARG002 - the room's signature
        """Find nothing."""
        return None


def test_source_whose_flipped_picture_shows_no_face_serves_as_it_is(
    astronaut: Source,
) -> None:
    source = Swapper(_OneSidedFinder()).analyse(sample("astronaut"))
    assert (len(astronaut.plates), len(source.plates)) == (2, 1)
    assert np.array_equal(source.plates[0].pixels, astronaut.plates[0].pixels)


def test_face_seen_edge_on_is_used_as_a_whole(finder: Finder) -> None:
    """With too little skin to measure, every part of the source is usable."""
    face = finder.faces(sample("astronaut"))[0]
    points = face.points.copy()
    points[:, 0] = points[:, 0].mean() + (points[:, 0] - points[:, 0].mean()) * 0.05
    valid = source_validity(sample("astronaut"), points)
    x, y = points[landmarks.NOSE_TIP, :2].astype(int)
    assert valid[y, x] == 1


def test_skin_is_sampled_from_the_whole_face_if_hardly_any_is_bare() -> None:
    none = np.zeros((60, 60), np.bool_)
    cover = ~none
    some = none.copy()
    some[10:15, 10:15] = True
    assert masks.core_of(none, cover, 40) is cover
    assert masks.core_of(some, cover, 40) is some
    black = np.zeros((60, 60), np.float32)
    chosen = SkinSample.choose(some, black, np.zeros((60, 60, 3), np.float32))
    assert chosen.source is some
    assert chosen.target is some


def test_face_no_crisper_than_the_photo_is_unchanged() -> None:
    lab = np.random.default_rng(3).random((40, 40, 3), np.float32)
    core = np.ones((40, 40), np.bool_)
    assert softened(lab, lab, lab, core) is lab


def test_aligned_finds_a_known_similarity(finder: Finder) -> None:
    """Points that were turned, scaled and moved are aligned with the original ones."""
    points = finder.faces(sample("astronaut"))[0].points
    turned = points[:, [1, 0, 2]] * np.array([1, -1, 1], np.float32) * 0.5 + 30
    assert np.abs(aligned(turned, points) - points).max() < 0.1


@pytest.mark.parametrize("levels", [0, 1, 3])
def test_blend_keeps_each_picture_far_from_the_edge(levels: int) -> None:
    """Far from the edge of the mask the pictures are not mixed."""
    under = np.zeros((128, 128, 3), np.float32)
    over = np.full((128, 128, 3), 200, np.float32)
    alpha = np.zeros((128, 128), np.float32)
    alpha[:, 64:] = 1
    mixed = blend(under, over, alpha, levels)
    assert np.abs(mixed[:, :8]).max() < 1
    assert np.abs(mixed[:, -8:] - 200).max() < 1
