"""The example application in a browser: photos are dropped, swapped and compared."""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from PIL import Image

from ezlink_async.emulator import EmulatorSettings, in_thread
from tests.browser.chromium import PROGRAM, Page, browsing
from tests.support.webapp import BOUND, ROOT, Application, application, environment

pytest.importorskip("fastapi", reason="needs the dependency group webapp")
pytest.importorskip("uvicorn", reason="needs the dependency group webapp")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="there is no Chromium")

SAMPLES = ROOT / "docs" / "samples"
FACE = SAMPLES / "astronaut.jpg"
TARGETS = [path for path in sorted(SAMPLES.glob("*.jpg")) if path != FACE]
EVIL = "<img src=x onerror=alert(1)>&amp;.jpg"


def album(folder: Path, count: int) -> list[Path]:
    """Write *count* photos, no two alike: copies of the samples."""
    folder.mkdir()
    photos = []
    for number in range(count):
        sample = TARGETS[number % len(TARGETS)]
        photo = folder / f"IMG_{number:02}_{sample.stem}.jpg"
        # Bytes behind the end of a JPEG make it another file, and the same picture.
        photo.write_bytes(sample.read_bytes() + bytes([number]))
        photos.append(photo)
    return photos


def faceless(folder: Path) -> Path:
    """Write a picture without a face."""
    path = folder / "meadow.png"
    Image.linear_gradient("L").resize((640, 480)).convert("RGB").save(path)
    return path


def letter(folder: Path) -> Path:
    """Write a text with the name of a picture."""
    path = folder / "letter.jpg"
    path.write_text("This is a letter.")
    return path


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    """Return a browser; no script and no picture of the page may fail."""
    async with asyncio.timeout(BOUND), browsing(tmp_path / "browser") as page:
        await page.window(1280, 900)
        yield page
        # A refusal is an answer with an error status, which the browser logs.
        refusals = [each for each in page.complaints if "Failed to load" in each]
        assert page.complaints == refusals
        assert all(" 4" in each or " 5" in each for each in refusals), refusals


@pytest.fixture
async def local(tmp_path: Path) -> AsyncIterator[Application]:
    """Return the application with its built-in server and engine."""
    pytest.importorskip("cv2", reason="needs the extra local")
    async with application("python", environment(tmp_path / "data")) as app:
        yield app


@pytest.fixture
async def quick(tmp_path: Path) -> AsyncIterator[Application]:
    """Return the application beside an emulator that copies photos."""
    settings = EmulatorSettings(queue=10**6, code_22=False)
    with in_thread(settings) as server:
        environ = environment(tmp_path / "data", server)
        async with application("python", environ) as app:
            yield app


async def until(page: Page, claim: str) -> None:
    """Wait until a claim about the page holds; the bound is the fixture's."""
    await page.run(
        "new Promise(done => { const poll = () => "
        f"({claim}) ? done() : requestAnimationFrame(poll); poll(); }})"
    )


def count(state: str) -> str:
    """Return an expression for the number of cards in a state."""
    return f"document.querySelectorAll('[data-state={state}]').length"


async def text(page: Page, selector: str) -> str:
    """Return the visible text of an element."""
    return str(await page.run(f"document.querySelector({selector!r}).innerText"))


async def start(page: Page, app: Application, *photos: Path) -> None:
    """Open the page, choose the face and *photos*, and start."""
    await page.visit(app.url)
    await page.choose("#face", FACE)
    await page.choose("#photos", *photos)
    await page.run("document.getElementById('go').click()")


async def test_twenty_photos_are_dropped_left_and_found_again(
    local: Application, page: Page, tmp_path: Path
) -> None:
    """With a photo without a face, a file that is no picture, and a reload."""
    photos = album(tmp_path / "photos", 20)
    odd = [faceless(tmp_path), letter(tmp_path)]
    await page.visit(local.url)
    assert "Built-in server" in await text(page, ".server")
    await page.drop("#face-picker", FACE)
    await page.drop("#photos-picker", *photos, *odd)
    assert await text(page, "#go") == "Swap 22 photos"
    await page.run("document.getElementById('go').click()")

    # Everything is accepted, and some of it done: the tab is reloaded, then closed.
    await until(
        page, f"{count('queued')} + {count('sending')} === 0 && {count('done')}"
    )
    address = str(await page.run("location.href"))
    await page.visit(address)
    await until(page, f"{count('done')} >= 4")
    await page.visit("about:blank")
    await local.until(address.removeprefix(local.url), 22)

    await page.visit(address)
    await until(page, f"{count('done')} === 20 && {count('failed')} === 2")
    assert "20 of 22 photos done, 2 failed" in await text(page, "#sum")
    errors = str(
        await page.run(
            "[...document.querySelectorAll('[data-state=failed]')]"
            ".map(e => e.innerText).join('\\n')"
        )
    )
    assert "No face was found in the target picture" in errors
    assert "This is not a picture" in errors

    await page.download("#all", tmp_path)
    with zipfile.ZipFile(tmp_path / "photos.zip") as archive:
        assert archive.testzip() is None
        assert len(archive.namelist()) == 20
        for name in archive.namelist():
            Image.open(io.BytesIO(archive.read(name))).verify()


async def test_slider_is_moved_by_keys_and_mouse(
    quick: Application, page: Page
) -> None:
    await start(page, quick, TARGETS[0])
    await until(page, f"{count('done')} === 1")
    cut = "document.querySelector('.compare').style.getPropertyValue('--cut')"
    await page.run("document.querySelector('.compare input').focus()")
    await page.press("ArrowLeft", "ArrowLeft")
    assert await page.run(cut) == "48%"
    box = await page.run(
        "(() => { const e = document.querySelector('.compare input');"
        " e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect();"
        " return [b.x, b.y + b.height / 2, b.width]; })()"
    )
    assert isinstance(box, list)
    x, y, width = box
    await page.mouse("mousePressed", x + width * 0.8, y)
    await page.mouse("mouseReleased", x + width * 0.8, y)
    assert 75 <= float(str(await page.run(cut)).rstrip("%")) <= 85


async def test_photo_opens_large_and_closes_by_the_keyboard(
    quick: Application, page: Page
) -> None:
    await start(page, quick, TARGETS[0])
    await until(page, f"{count('done')} === 1")
    await page.run("document.querySelector('.look').focus()")
    await page.press("Enter")
    await until(page, "document.getElementById('large').open")
    await until(page, "document.querySelector('#large .after').naturalWidth > 0")
    await page.press("End")
    cut = "document.querySelector('#large .compare').style.getPropertyValue('--cut')"
    assert await page.run(cut) == "100%"
    await page.press("Escape")
    await until(page, "!document.getElementById('large').open")
    assert await page.run("document.activeElement.className") == "look"


async def test_every_field_is_reached_by_tab_and_has_a_name(
    quick: Application, page: Page
) -> None:
    await start(page, quick, TARGETS[0])
    await until(page, f"{count('done')} === 1")
    names = await page.run(
        "[...document.querySelectorAll('a, button, input, progress, img')]"
        ".filter(e => e.checkVisibility() && !e.matches('.before, [alt=\"\"]'))"
        ".filter(e => !(e.innerText || e.ariaLabel || e.alt"
        " || e.labels?.[0]?.innerText)).map(e => e.outerHTML)"
    )
    assert names == []
    await page.run("document.activeElement.blur()")
    reached = set()
    for _ in range(8):
        await page.press("Tab")
        reached.add(
            await page.run(
                "document.activeElement.id || document.activeElement.className"
                " || document.activeElement.type"
            )
        )
    assert {"photos", "all", "new", "range", "look", "save"} <= reached


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
async def test_page_fits_the_window_and_can_be_read(
    quick: Application, page: Page, tmp_path: Path, width: int, scheme: str
) -> None:
    """Nothing is wider than the window, and each text has a contrast of 4.5."""
    await page.prefer(color_scheme=scheme)
    await page.window(width, 844, phone=width == 390)
    await start(page, quick, *album(tmp_path / "photos", 3), letter(tmp_path))
    await until(page, f"{count('done')} === 3 && {count('failed')} === 1")
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert await page.run(wide) == 0
    assert await page.run(_CONTRASTS) == []


_CONTRASTS = """
(() => {
  const part = (value) =>
    value <= .03928 ? value / 12.92 : ((value + .055) / 1.055) ** 2.4;
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map((each) => part(each / 255));
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const ground = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = getComputedStyle(each).backgroundColor;
      if (!/, 0\\)$/.test(colour)) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const low = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) =>
      node.nodeType === Node.TEXT_NODE && node.data.trim());
    if (!own || !element.checkVisibility() || element.matches(".tag")) continue;
    const pair = [light(getComputedStyle(element).color), light(ground(element))];
    const ratio = (Math.max(...pair) + .05) / (Math.min(...pair) + .05);
    if (ratio < 4.5) low.push(`${element.className || element.id}: ${ratio}`);
  }
  return low;
})()
"""


async def test_name_of_a_file_is_text(
    quick: Application, page: Page, tmp_path: Path
) -> None:
    photo = tmp_path / EVIL
    photo.write_bytes(TARGETS[0].read_bytes())
    await start(page, quick, photo)
    await until(page, f"{count('done')} === 1")
    assert await text(page, ".name") == EVIL
    await page.visit(str(await page.run("location.href")))
    await until(page, f"{count('done')} === 1")
    assert await text(page, ".name") == EVIL


async def test_file_that_is_too_large_is_not_uploaded(
    quick: Application, page: Page, tmp_path: Path
) -> None:
    photo = tmp_path / "huge.jpg"
    photo.write_bytes(b"\xff\xd8\xff" + bytes(10 * 1024 * 1024))
    await start(page, quick, photo)
    await until(page, f"{count('failed')} === 1")
    assert "larger than 10 MB" in await text(page, ".error")
    assert not any("/photos/" in each for each in page.requests)


async def test_album_that_is_not_there_is_said(quick: Application, page: Page) -> None:
    await page.visit(f"{quick.url}/albums/{'x' * 22}")
    await until(page, "!document.getElementById('notice').hidden")
    assert "There is no such album" in await text(page, "#notice")


async def test_application_that_starts_again_is_found_by_the_open_page(
    page: Page, tmp_path: Path
) -> None:
    """The page sends again what had no answer, and nothing is swapped twice."""
    settings = EmulatorSettings(
        queue=10**6, code_22=False, engine_seconds=0.3, concurrency=1
    )
    with in_thread(settings) as server:
        environ = environment(tmp_path / "data", server)
        environ["EZLINK_MAX_CONCURRENCY"] = "2"
        async with application("python", environ) as app:
            photos = album(tmp_path / "photos", 8)
            await start(page, app, *photos)
            await until(page, f"{count('done')} >= 2")
            await app.stop()
        async with application("python", environ, app.port):
            await until(page, f"{count('done')} === 8")
            await page.visit("about:blank")
        assert len(server.control.charges) == 8
    page.complaints.clear()  # the browser logs each connection that was refused
