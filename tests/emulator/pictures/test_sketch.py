"""Sketches: deterministic pictures, and pictures made of them."""

from __future__ import annotations

import pytest

from ezlink_async.emulator.pictures import lettering, sketch
from ezlink_async.emulator.pictures.inspection import Pixels, decode_png
from ezlink_async.emulator.pictures.sketch import Sketch

_PROMPT = "a red fox --ar 3:2"


def _pixels(picture: Sketch) -> Pixels:
    return decode_png(picture.to_png())


def _planes(pixels: Pixels, y: int) -> list[bytes]:
    """Return the red, the green and the blue of one row."""
    start = 3 * y * pixels.width
    row = pixels.data[start : start + 3 * pixels.width]
    return [row[band::3] for band in range(3)]


@pytest.fixture(scope="module")
def grid() -> Sketch:
    return sketch.grid(_PROMPT)


@pytest.fixture(scope="module")
def single(grid: Sketch) -> Sketch:
    return sketch.enlarged(sketch.tile_of(grid, 2))


def test_grid_is_a_png_that_follows_from_the_prompt(grid: Sketch) -> None:
    """The same prompt gives the same bytes, another one other tiles."""
    pixels = _pixels(grid)

    assert (pixels.width, pixels.height) == (1024, 1024)
    assert sketch.grid(_PROMPT).to_png() == grid.to_png()
    tiles = {sketch.tile_of(grid, number).digest for number in (1, 2, 3, 4)}
    others = {
        sketch.tile_of(sketch.grid("a cat"), number).digest for number in (1, 2, 3, 4)
    }
    assert len(tiles | others) == 8


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_upscale_is_the_tile_pixel_by_pixel(grid: Sketch, number: int) -> None:
    """Each pixel of the tile is two by two pixels of the upscale."""
    whole = _pixels(grid)
    upscaled = _pixels(sketch.enlarged(sketch.tile_of(grid, number)))
    left, top = 512 * ((number - 1) % 2), 512 * ((number - 1) // 2)

    assert (upscaled.width, upscaled.height) == (1024, 1024)
    for y in range(1024):
        rows = zip(_planes(whole, top + y // 2), _planes(upscaled, y), strict=True)
        for old, new in rows:
            assert new[::2] == new[1::2] == old[left : left + 512]


def test_caption_shows_prompt_and_notice(grid: Sketch) -> None:
    """Their dots stand in the lowest rows of each tile."""
    for number in (1, 2, 3, 4):
        tile = sketch.tile_of(grid, number)
        for text, top in ((_PROMPT, 2), (sketch.NOTICE, 38)):
            drawn = lettering.draw_line(text, ink=215, paper=0, scale=2)
            start = 512 - 56 + top
            rows = tile.rows[start : start + len(drawn)]
            assert [row[4 : 4 + len(drawn[0])] for row in rows] == drawn


def test_long_prompt_takes_two_lines_and_is_cut() -> None:
    shown = sketch.grid("m" * 42 + "w" * 42)

    assert sketch.grid("m" * 42 + "w" * 42 + "x").rows[-40:] == shown.rows[-40:]


def test_sketch_is_read_from_its_png(single: Sketch) -> None:
    assert sketch.read_sketch(single.to_png()).rows == single.rows


def test_picture_of_another_program_is_no_sketch() -> None:
    with pytest.raises(ValueError, match="no sketch"):
        sketch.read_sketch(b"\x89PNG\r\n\x1a\n")


def test_tile_5_is_refused(grid: Sketch) -> None:
    with pytest.raises(ValueError, match="no tile 5"):
        sketch.tile_of(grid, 5)


def test_large_sketch_is_not_enlarged_again(single: Sketch) -> None:
    large = sketch.enlarged(single)

    assert (large.width, large.height) == (2048, 2048)
    assert sketch.enlarged(large) is large


@pytest.mark.parametrize("factor", [1.5, 2.0])
def test_zoom_shows_the_picture_smaller_in_a_frame(
    single: Sketch, factor: float
) -> None:
    zoomed = sketch.framed(single, factor, "p")

    size = int(1024 / factor)
    start = (1024 - size) // 2
    for y in range(size):
        old = single.rows[int(y * factor)]
        inner = bytes(old[int(x * factor)] for x in range(size))
        assert zoomed.rows[start + y][start : start + size] == inner
    assert zoomed.rows[0] == sketch.single(single.digest, "p", 1024, 1024).rows[0]


def test_pan_moves_the_picture_by_a_third(single: Sketch) -> None:
    """The part at the side is new, and the caption stands below both."""
    moved = {
        side: sketch.shifted(single, side, "p").rows
        for side in ("left", "right", "up", "down")
    }

    caption = 112
    for y in range(1024 - caption):
        assert moved["left"][y][341:] == single.rows[y][:-341]
        assert moved["right"][y][:-341] == single.rows[y][341:]
    assert moved["up"][341 : 1024 - caption] == single.rows[: 1024 - caption - 341]
    assert moved["down"][: 1024 - 341] == single.rows[341:]
    new = sketch.single(single.digest, "p", 1024, 1024).rows
    assert all(rows[-caption:] == new[-caption:] for rows in moved.values())
    assert moved["up"][:341] == new[:341]


def test_region_changes_the_masked_pixels_only(single: Sketch) -> None:
    mask = [b"\xff" * 300 + b"\0" * 724] * 500 + [b"\0" * 1024] * 524

    changed = sketch.replaced(single, mask, "a hat").rows

    new = sketch.single(single.digest, "a hat", 1024, 1024).rows
    assert [row[:300] for row in changed[:500]] == [row[:300] for row in new[:500]]
    assert [row[300:] for row in changed[:500]] == [r[300:] for r in single.rows[:500]]
    assert changed[500:] == single.rows[500:]
    assert changed != single.rows


def test_blend_has_a_stripe_for_each_colour() -> None:
    """Each tile begins with another colour; the palette holds multiples of 51."""
    colours: list[sketch.Colour] = [(204, 0, 0), (0, 204, 0), (0, 0, 204)]

    blended = _pixels(sketch.stripes(colours, "t"))

    places = [(80, 0), (250, 0), (420, 0), (592, 0), (80, 512), (592, 512)]
    seen = [blended.at(x, y) for x, y in places]
    red, green, blue = colours
    assert seen == [red, green, blue, green, blue, red]


def test_nearest_colour_of_the_palette_differs_little() -> None:
    for colour in ((0, 0, 0), (255, 255, 255), (25, 130, 230)):
        row = bytes([sketch.nearest(colour)])
        shown = _pixels(Sketch((row,))).at(0, 0)
        assert max(abs(a - b) for a, b in zip(shown, colour, strict=True)) <= 26


def test_letters_are_drawn_dot_by_dot() -> None:
    """Small letters are capitals; what the font lacks is a box."""
    drawn = lettering.draw_line("Lé", ink=35, paper=46, scale=1)

    assert drawn == [
        b"#.....#####.",
        b"#.....#...#.",
        b"#.....#...#.",
        b"#.....#...#.",
        b"#.....#...#.",
        b"#.....#...#.",
        b"#####.#####.",
    ]
    assert lettering.draw_line("l", ink=35, paper=46, scale=2)[0] == b"##.........."
    assert lettering.draw_line("L\udc80", ink=35, paper=46, scale=1) == drawn
