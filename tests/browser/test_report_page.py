"""The report in a browser: opened from the disk, used by mouse, keys and finger."""

from __future__ import annotations

import asyncio
import datetime as dt
import io
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from PIL import Image

from ezlink_async.report import Facts, Photo, Status, write_report
from tests.browser.chromium import PROGRAM, Page, browsing

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="there is no Chromium")

STARTED = dt.datetime(2026, 3, 31, 21, 5, tzinfo=dt.UTC)
FACTS = Facts(
    title="Album",
    started=STARTED,
    finished=STARTED + dt.timedelta(hours=1),
    seconds=3600.0,
    command="ezlink swap me.jpg in --output out",
    charged_note="0.36 was charged.",
    notes=("One file was left out.",),
)
STATUSES: tuple[Status, ...] = (
    *("succeeded", "succeeded", "failed", "unknown", "skipped", "open"),
)
EVIL = '<img src=x onerror=alert(1)>"\u202egpj \udcff &amp; 👩\u200d🚀.jpg'
BROKEN = 6  # the photo whose result was damaged
BOUND = 300  # seconds; a test ends sooner unless the browser hangs


def album(top: Path, count: int) -> Iterator[Photo]:
    """Yield photos with each status in turn, one of them with a hostile name."""
    source = top / "me.jpg"
    Image.new("RGB", (200, 200), "teal").save(source)
    for number in range(count):
        status = STATUSES[number % len(STATUSES)]
        name = EVIL if number == 1 else f"IMG_{number:04}.jpg"
        target, output = top / "in" / name, top / "out" / name
        Image.new("RGB", (300, 200), "red").save(target)
        Image.new("RGB", (300, 200), "blue").save(output)
        if number == BROKEN:
            output.write_bytes(b"no picture any more")
        good = status == "succeeded"
        yield Photo(
            source=source,
            target=target,
            status=status,
            output=output if good else None,
            error=None if good else f"reason {number}",
            next_step=None if good else f"do {number}",
            maybe_charged=status == "unknown",
            task_id=f"t{number}",
            seconds=1.5,
        )


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a report of 120 photos."""
    top = tmp_path_factory.mktemp("album")
    (top / "in").mkdir()
    (top / "out").mkdir()
    return write_report(top / "out", album(top, 120), FACTS)


@pytest.fixture
def moved(report: Path, tmp_path: Path) -> Path:
    """Return a copy of the page without its thumbnails."""
    return Path(shutil.copy(report, tmp_path))


@pytest.fixture
async def page(tmp_path: Path, report: Path) -> AsyncIterator[Page]:
    """Return the open page. It must report no error and use no network."""
    async with asyncio.timeout(BOUND), browsing(tmp_path) as page:
        await page.window(1280, 900)
        await page.open(report)
        yield page
        assert page.complaints == []
        assert {each.partition(":")[0] for each in page.requests} <= {"file", "data"}


async def names(page: Page) -> list[str]:
    """Return the names on the cards that exist, in the order of the page."""
    found = await page.run("[...document.querySelectorAll('.name')].map(e => e.title)")
    assert isinstance(found, list)
    return found


async def text(page: Page, selector: str) -> str:
    """Return the visible text of an element."""
    return str(await page.run(f"document.querySelector({selector!r}).innerText"))


async def until(page: Page, claim: str) -> None:
    """Wait until a claim about the page holds; the bound is the fixture's."""
    await page.run(
        "new Promise(done => { const poll = () => "
        f"({claim}) ? done() : requestAnimationFrame(poll); poll(); }})"
    )


async def choose(page: Page, status: str) -> None:
    """Click a filter."""
    await page.run(f"document.querySelector('[value={status}]').click()")


async def open_photo(page: Page, number: int) -> None:
    """Open a photo in the large view."""
    await page.run(f"document.querySelectorAll('.look')[{number}].click()")
    await until(page, "document.getElementById('before').naturalWidth === 300")


async def test_report_opens_from_the_disk(page: Page) -> None:
    """The page shows the numbers, the facts and the first photos with pictures."""
    assert await text(page, "h1") == "Album"
    assert await text(page, ".sum") == "40 of 120 photos succeeded"
    assert "0.36 was charged." in await text(page, ".warned")
    assert (await names(page))[0] == "IMG_0000.jpg"
    await until(page, "document.querySelector('.tile img').naturalWidth === 300")


async def test_only_cards_near_the_window_exist(page: Page) -> None:
    assert len(await names(page)) < 40
    await page.run("scrollTo(0, document.body.scrollHeight)")
    await until(
        page, "[...document.querySelectorAll('.name')].at(-1).title.includes('119')"
    )
    assert len(await names(page)) < 40
    assert "IMG_0000.jpg" not in await names(page)


async def test_hostile_name_is_only_text(page: Page) -> None:
    name = (await names(page))[1]
    assert name == '<img src=x onerror=alert(1)>"⟨U+202E⟩gpj \\xff &amp; 👩\u200d🚀.jpg'
    await open_photo(page, 1)
    size = (
        "new Promise((done, bad) => { const image = new Image(); image.onerror = bad; "
    )
    size += "image.onload = () => done(image.naturalWidth); image.src = "
    for link in ("Target", "Result"):
        address = (
            f"[...document.querySelectorAll('#facts dt')].find(e => "
            f"e.innerText === '{link}').nextSibling.querySelector('a').href"
        )
        assert await page.run(f"{size}{address} }})") == 300


async def test_filter_shows_the_photos_of_a_status_and_explains_it(page: Page) -> None:
    for status, count in (("failed", 20), ("unknown", 20), ("succeeded", 40)):
        await choose(page, status)
        assert await text(page, "#count") == f"{count} photos"
        assert await text(page, f".controls .{status} b") == str(count)
        assert await page.run(f"!document.querySelector('.card:not(.{status})')")
        assert len(await text(page, "#meaning")) > 20
    await choose(page, "failed")
    assert await text(page, ".why .error") == "reason 2"
    assert await text(page, ".why .next") == "Next: do 2"


async def test_filters_are_one_stop_of_the_tab_key(page: Page) -> None:
    """Arrows change the status, as in any group of choices."""
    await page.run("document.querySelector('[value=all]').focus()")
    await page.press("ArrowRight", "ArrowRight")
    assert await text(page, "#count") == "20 photos"
    await page.press("Tab")
    assert await page.run("document.activeElement.id") == "find"


async def test_search_ignores_case_and_says_when_no_photo_fits(page: Page) -> None:
    await page.run("document.getElementById('find').focus()")
    await page.type("img_0117")
    assert await names(page) == ["IMG_0117.jpg"]
    await page.type("x")
    assert await names(page) == []
    assert "No photo fits." in await text(page, "#none")
    await page.run("document.getElementById('reset').click()")
    assert await text(page, "#count") == "120 photos"


async def test_command_is_copied_or_at_least_selected(page: Page) -> None:
    """Some browsers forbid the clipboard."""
    await page.run("document.getElementById('copy').click()")
    copied = "document.getElementById('copy').textContent === 'Copied'"
    selected = f"getSelection().toString() === {FACTS.command!r}"
    await until(page, f"{copied} || {selected}")


async def test_large_view_is_used_by_keys_alone(page: Page) -> None:
    """Escape closes it and returns the focus to the card of the photo."""
    await page.run("document.querySelector('.look').focus()")
    await page.press("Enter")
    assert await page.run("document.getElementById('view').open")
    assert await text(page, "#view-place") == "1 of 120"
    await page.press("ArrowRight", "ArrowRight", "ArrowRight", "ArrowLeft")
    assert await text(page, "#view-name") == "IMG_0002.jpg"
    assert "reason 2" in await text(page, "#facts")
    assert "do 2" in await text(page, "#facts")
    await page.press("Escape")
    assert not await page.run("document.getElementById('view').open")
    card = "document.activeElement.closest('.card')?.dataset.index"
    await until(page, f"{card} === '2'")
    await page.press("ArrowDown", "ArrowLeft")
    assert await page.run(card) == "3"


async def test_large_view_stops_at_the_ends_of_the_list(page: Page) -> None:
    await choose(page, "unknown")
    await page.run("document.querySelector('.look').click()")
    await page.press("ArrowLeft")
    assert await text(page, "#view-place") == "1 of 20"
    assert await page.run("document.getElementById('previous').ariaDisabled") == "true"
    await page.press(*["ArrowRight"] * 25)
    assert await text(page, "#view-place") == "20 of 20"
    await page.press("Escape")
    await until(page, "document.activeElement.closest('.card')?.dataset.index === '19'")


async def test_broken_result_is_explained_and_not_compared(page: Page) -> None:
    """The target is still shown."""
    await open_photo(page, BROKEN)
    assert "no picture, or a broken one" in await text(page, "#facts")
    assert await page.run("document.getElementById('divider').hidden")
    assert await page.run("document.getElementById('after').hidden")


async def value(page: Page) -> int:
    """Return the position of the divider, in per cent."""
    said = "document.getElementById('divider').getAttribute('aria-valuenow')"
    return int(str(await page.run(said)))


async def shares(page: Page) -> tuple[bool, bool]:
    """Return whether the left and the right end of the frame show the target."""
    box = await page.run(
        "(() => { const b = document.getElementById('frame').getBoundingClientRect();"
        "return [b.left + 8, b.right - 8, b.top + 20]; })()"
    )
    assert isinstance(box, list)
    left, right, y = box
    seen = Image.open(io.BytesIO(await page.screenshot())).convert("RGB")
    scale = seen.width / int(str(await page.run("innerWidth")))
    ends = [seen.getpixel((int(x * scale), int(y * scale))) for x in (left, right)]
    first, last = (isinstance(end, tuple) and end[0] > end[2] for end in ends)
    return first, last


async def test_divider_moves_by_keys(page: Page) -> None:
    """Arrows make small steps, Home and End go to the ends, and B toggles them."""
    await open_photo(page, 0)
    assert await value(page) == 50
    assert await shares(page) == (True, False)
    await page.run("document.getElementById('divider').focus()")
    await page.press("ArrowRight", "ArrowRight", "ArrowLeft")
    assert await value(page) == 52
    await page.press("End")
    assert (await value(page), await shares(page)) == (100, (True, True))
    await page.press("b")
    assert (await value(page), await shares(page)) == (0, (False, False))
    assert await text(page, "#view-place") == "1 of 120"


async def test_divider_is_dragged_by_a_mouse(page: Page) -> None:
    await open_photo(page, 0)
    left, top, width = await frame(page)
    await page.mouse("mousePressed", left + width * 0.2, top)
    assert await value(page) == 20
    await page.mouse("mouseMoved", left + width * 0.9, top)
    await page.mouse("mouseReleased", left + width * 0.9, top)
    assert await value(page) == 90
    await page.mouse("mouseMoved", left, top)
    assert await value(page) == 90


async def frame(page: Page) -> tuple[float, float, float]:
    """Return where the picture of the large view begins, and its width."""
    box = await page.run(
        "(() => { const b = document.getElementById('frame').getBoundingClientRect();"
        "return [b.left, b.top + 30, b.width]; })()"
    )
    assert isinstance(box, list)
    left, top, width = box
    return left, top, width


async def test_divider_is_dragged_by_a_finger(page: Page, report: Path) -> None:
    """The page behind it does not scroll."""
    await page.window(390, 844, phone=True)
    await page.open(report)
    await open_photo(page, 0)
    left, top, width = await frame(page)
    await page.touch("touchStart", (left + width * 0.5, top))
    for share in (0.6, 0.7, 0.8):
        await page.touch("touchMove", (left + width * share, top))
    await page.touch("touchEnd")
    assert await value(page) == 80


@pytest.mark.parametrize(("width", "phone"), [(390, True), (1280, False)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_page_fits_its_width_in_both_colour_schemes(
    page: Page, report: Path, width: int, scheme: str, *, phone: bool
) -> None:
    await page.window(width, 844, phone=phone)
    await page.prefer(color_scheme=scheme)
    await page.open(report)
    await page.run("document.getElementById('find').value = ''")
    wide = "document.documentElement.scrollWidth <= innerWidth"
    assert await page.run(wide)
    await open_photo(page, 1)
    assert await page.run(wide)
    inside = "[...document.querySelectorAll('#view button, #view .tag, #frame')].every"
    inside += "(e => e.getBoundingClientRect().right <= innerWidth + 0.5)"
    assert await page.run(inside)
    ground = await page.run("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(246, 245, 242)" if scheme == "light" else "rgb(22, 22, 20)")


async def test_focus_is_visible_and_reduced_motion_is_respected(page: Page) -> None:
    await page.run("document.querySelector('[value=all]').focus()")
    await page.press("Tab", "Tab")
    style = "getComputedStyle(document.activeElement.closest('.card'))"
    assert await page.run(f"{style}.outlineStyle") == "solid"
    moving = "[...document.querySelectorAll('*')].filter(e => "
    moving += "parseFloat(getComputedStyle(e).transitionDuration) > 0).length"
    assert await page.run(moving)
    await page.prefer(reduced_motion="reduce")
    assert await page.run(moving) == 0


async def test_every_control_has_an_accessible_name(page: Page) -> None:
    await open_photo(page, 0)
    said = await page.call("Accessibility.getFullAXTree")
    nodes = said["nodes"]
    assert isinstance(nodes, list)
    controls = [
        node
        for node in nodes
        if node.get("role", {}).get("value") in {"button", "slider", "dialog", "link"}
    ]
    assert len(controls) >= 6
    assert [node for node in controls if not node["name"]["value"]] == []


async def test_failures_are_shown_without_javascript(page: Page, report: Path) -> None:
    """The page has totals, reasons and next steps without any script."""
    await page.call("Emulation.setScriptExecutionDisabled", value=True)
    await page.open(report)
    assert await text(page, ".sum") == "40 of 120 photos succeeded"
    assert "Failed 20" in await text(page, "fieldset")
    seen = await text(page, ".troubles")
    assert "Failed: IMG_0002.jpg\nreason 2 Next: do 2" in seen
    assert "IMG_0119.jpg" in seen
    hidden = "getComputedStyle(document.getElementById('list')).display"
    assert await page.run(hidden) == "none"


async def test_page_without_its_thumbnails_says_what_is_missing(
    page: Page, moved: Path
) -> None:
    # The browser reports each missing file, at any time until the page is closed.
    page.expected = "ERR_FILE_NOT_FOUND"
    await page.open(moved)
    await until(page, "document.querySelector('.tile .gone')")
    assert "keep the folder .ezlink" in await text(page, ".tile .gone")


async def test_video_is_named_and_not_called_a_missing_picture(
    page: Page, tmp_path: Path
) -> None:
    """Made from words alone, and from a picture."""
    Image.new("RGB", (300, 200), "red").save(tmp_path / "start.png")
    clips = [tmp_path / name for name in ("cat_1.mp4", "cat_2.mp4", "walk.mp4")]
    for clip in clips:
        clip.write_bytes(b"a clip")

    def job(name: str, outputs: list[Path], inputs: tuple[Path, ...] = ()) -> Photo:
        return Photo(
            status="succeeded",
            kind="video",
            label=name,
            output=outputs[0],
            outputs=tuple(outputs),
            inputs=inputs,
        )

    start = (tmp_path / "start.png",)
    jobs = (job("a cat", clips[:2]), job("it walks", clips[2:], start))
    await page.open(write_report(tmp_path, iter(jobs), FACTS))
    await until(page, "document.querySelectorAll('.look').length === 2")
    cards = await page.run(
        "[...document.querySelectorAll('.look')].map(e => e.innerText)"
    )
    assert cards == ["cat_1.mp4\ncat_2.mp4", "walk.mp4"]
    await page.run("document.querySelectorAll('.look')[0].click()")
    assert await text(page, "#words") == "cat_1.mp4\ncat_2.mp4"
    assert await page.run("document.getElementById('gone').hidden")
    links = "[...document.querySelectorAll('#facts a')].map(e => e.innerText)"
    assert await page.run(links) == ["cat_1.mp4", "cat_2.mp4"]
    await page.press("ArrowRight")
    await until(page, "document.getElementById('before').naturalWidth === 300")
    assert await page.run("document.getElementById('words').hidden")
    assert await page.run(links) == ["start.png", "walk.mp4"]
