"""The example application over HTTP, beside an emulator in another process."""

from __future__ import annotations

import asyncio
import hashlib
import io
import re
import sqlite3
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import attrs
import pytest

from ezlink_async.emulator import (
    Emulator,
    EmulatorSettings,
    faults,
    in_thread,
    read_hashes,
    scripts,
)
from tests.support.pictures import GIF, MIB, jpeg
from tests.support.webapp import (
    Application,
    application,
    environment,
    new_id,
)

pytest.importorskip("fastapi", reason="needs the dependency group webapp")
pytest.importorskip("uvicorn", reason="needs the dependency group webapp")

FACE = jpeg(2_000)
SETTINGS = EmulatorSettings(queue=10**6, code_22=False)


def photo(number: int) -> bytes:
    """Return a picture like no other."""
    return jpeg(3_000 + number)


def digest(content: bytes) -> str:
    """Return the SHA-256 as the copy engine writes it."""
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def server() -> Iterator[Emulator]:
    """Return an emulator that outlives the application."""
    with in_thread(SETTINGS) as emulator:
        yield emulator


@pytest.fixture
async def app(server: Emulator, tmp_path: Path) -> AsyncIterator[Application]:
    """Return the application beside the emulator; it ends without a complaint."""
    async with application("uvicorn", environment(tmp_path, server)) as app:
        yield app
        printed = await app.stop()
        assert "Traceback" not in printed, printed


async def test_photos_come_back_with_the_face_of_their_album(app: Application) -> None:
    first, second = await app.create(FACE), await app.create(jpeg(2_001))
    for album, number in ((first, 0), (first, 1), (second, 2)):
        reply = await app.add(album, new_id(), photo(number), f"{number}.jpg")
        assert reply.status == 202, reply
    for album, face, numbers in ((first, FACE, (0, 1)), (second, jpeg(2_001), (2,))):
        views = await app.until(album, len(numbers))
        assert [view["name"] for view in views] == [f"{each}.jpg" for each in numbers]
        for view, number in zip(views, numbers, strict=True):
            path = f"{album}/photos/{view['id']}"
            result = await app.send("GET", f"{path}/after")
            assert read_hashes(result.content) == (digest(face), digest(photo(number)))
            before = await app.send("GET", f"{path}/before")
            assert before.content == photo(number)
        assert (await app.send("GET", f"{album}/face")).content == face


async def test_zip_holds_each_result_under_the_name_of_its_photo(
    app: Application,
) -> None:
    album = await app.create(FACE)
    names = ("a.jpg", "a.jpg", "../..%5Cevil%3A%20%C3%A9.png")
    for number, name in enumerate(names):
        await app.add(album, new_id(), photo(number), name)
    await app.until(album, len(names), "done")
    reply = await app.send("GET", f"{album}/all.zip")
    assert reply.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(reply.content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["001 a.jpg", "002 a.jpg", "003 .._evil_ é.jpg"]
        for number, name in enumerate(archive.namelist()):
            assert read_hashes(archive.read(name))[1] == digest(photo(number))


async def test_photo_that_is_sent_again_is_swapped_once(
    app: Application, server: Emulator
) -> None:
    """At the same time, after its acceptance, and after its end."""
    album, photo_id = await app.create(FACE), new_id()
    adding = [app.add(album, photo_id, photo(0), "a.jpg") for _ in range(5)]
    replies = await asyncio.gather(*adding)
    await app.until(album, 1, "done")
    replies.append(await app.add(album, photo_id, photo(0), "a.jpg"))
    assert {reply.status for reply in replies} == {202}
    assert len(server.control.charges) == 1
    assert len(await app.photos(album)) == 1


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b"This is a letter.", 422, "not a picture"),
        (b"", 422, "empty"),
        (GIF, 422, "GIF pictures are not taken"),
        (jpeg(10 * MIB + 1), 413, "at most 10 MB"),
    ],
    ids=["text", "empty", "gif", "large"],
)
async def test_file_that_cannot_be_swapped_is_refused_in_words(
    app: Application, server: Emulator, content: bytes, status: int, words: str
) -> None:
    """The album shows it, so that a reload does, too; a face is refused alike."""
    album = await app.create(FACE)
    reply = await app.add(album, new_id(), content, "letter.txt")
    assert (reply.status, words in reply.error) == (status, True), reply
    (view,) = await app.photos(album)
    assert (view["state"], view["error"]) == ("failed", reply.error)
    assert (await app.send("POST", "/albums", content)).status == status
    assert server.control.charges == []


async def test_failed_task_says_why(app: Application, server: Emulator) -> None:
    server.control.script_tasks(scripts.fails("no face was found in the target"))
    album = await app.create(FACE)
    await app.add(album, new_id(), photo(0), "a.jpg")
    (view,) = await app.until(album, 1)
    assert view["state"] == "failed"
    assert view["error"].startswith("No face was found in the target.")
    path = f"{album}/photos/{view['id']}/after"
    assert (await app.send("GET", path)).status == 404


async def test_lost_answer_is_shown_and_not_sent_again(
    app: Application, server: Emulator
) -> None:
    server.control.script("submit", faults.Drop(job=True))
    album, photo_id = await app.create(FACE), new_id()
    for _ in range(2):
        reply = await app.add(album, photo_id, photo(0), "a.jpg")
        assert reply.status == 202
    (view,) = await app.photos(album)
    assert view["state"] == "unknown"
    assert "may have been charged" in view["error"]
    assert len(server.control.charges) == 1


async def test_full_application_asks_to_come_back(tmp_path: Path) -> None:
    """One place, which a task holds: the next upload is answered with 503."""
    with in_thread(attrs.evolve(SETTINGS, engine_seconds=3)) as server:
        environ = environment(tmp_path, server)
        environ |= {"EZLINK_MAX_CONCURRENCY": "1", "EZLINK_SLOT_TIMEOUT": "0.1"}
        async with application("uvicorn", environ) as app:
            album, waiting = await app.create(FACE), new_id()
            assert (await app.add(album, new_id(), photo(0), "a.jpg")).status == 202
            reply = await app.add(album, waiting, photo(1), "b.jpg")
            assert (reply.status, reply.headers["retry-after"]) == (503, "5")
            assert "places are taken" in reply.error
            assert [view["name"] for view in await app.photos(album)] == ["a.jpg"]
            await app.until(album, 1, "done")
            assert (await app.add(album, waiting, photo(1), "b.jpg")).status == 202
        assert len(server.control.charges) == 2


async def test_server_that_is_down_is_no_charge(tmp_path: Path) -> None:
    with in_thread(SETTINGS) as server:
        environ = environment(tmp_path, server) | {"EZLINK_RETRY_TIMEOUT": "0.1"}
    async with application("uvicorn", environ) as app:
        album = await app.create(FACE)
        reply = await app.add(album, new_id(), photo(0), "a.jpg")
        assert (reply.status, "cannot be reached" in reply.error) == (502, True)
        assert await app.photos(album) == []


async def test_pages_and_pictures_come_with_strict_headers(app: Application) -> None:
    album, photo_id = await app.create(FACE), new_id()
    await app.add(album, photo_id, photo(0), "a.jpg")
    await app.until(album, 1, "done")
    kinds = {
        "/": "text/html; charset=utf-8",
        album: "text/html; charset=utf-8",
        "/page.js": "text/javascript; charset=utf-8",
        "/page.css": "text/css; charset=utf-8",
        f"{album}/face": "image/jpeg",
        f"{album}/photos/{photo_id}/before": "image/jpeg",
        f"{album}/photos/{photo_id}/after": "image/jpeg",
    }
    for path, kind in kinds.items():
        headers = (await app.send("GET", path)).headers
        assert headers["content-type"] == kind
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
    text = (await app.send("GET", "/")).content.decode()
    assert not re.search(r"<script(?![^>]* src=)|\son\w+=|\sstyle=|<style", text)
    assert "EZLINK API at 127.0.0.1" in text
    assert "consent" in text


async def test_albums_of_others_cannot_be_found(app: Application) -> None:
    """An id has 128 random bits; a photo is found in its own album alone."""
    mine, other = await app.create(FACE), await app.create(FACE)
    photo_id = new_id()
    await app.add(mine, photo_id, photo(0), "a.jpg")
    await app.until(mine, 1, "done")
    assert len(mine.rpartition("/")[2]) == 22
    for path in (
        *("/albums", "/albums/", f"/albums/{'x' * 22}/photos"),
        *(f"{other}/photos/{photo_id}/{kind}" for kind in ("before", "after")),
        *(f"/albums/{'x' * 22}/{kind}" for kind in ("face", "all.zip", "events")),
        *(f"/albums/..%2f..%2f/{kind}" for kind in ("face", "photos")),
    ):
        assert (await app.send("GET", path)).status in {404, 405, 422}, path
    assert await app.photos(other) == []


async def test_pages_of_other_sites_can_send_nothing(
    app: Application, server: Emulator
) -> None:
    """Neither with a type that browsers send unasked, nor by a name of their own."""
    reply = await app.send("POST", "/albums", FACE, **{"Content-Type": "text/plain"})
    assert reply.status == 415
    reply = await app.send("POST", "/albums", FACE, Host="stranger.example")
    assert reply.status == 400
    assert server.control.charges == []


async def test_events_begin_with_all_photos_and_end_with_each_result(
    app: Application,
) -> None:
    album, photo_id = await app.create(FACE), new_id()
    await app.add(album, new_id(), b"no picture", "letter.txt")

    async def until_done() -> list[str]:
        seen = []
        async for view in app.events(album):
            seen.append(view["state"])
            if view["state"] == "done":
                break
        return seen

    watching = asyncio.create_task(until_done())
    await app.add(album, photo_id, photo(0), "a.jpg")
    seen = await watching
    assert (seen[0], seen[-1]) == ("failed", "done")


async def test_database_has_the_handle_of_each_accepted_photo(
    app: Application, server: Emulator, tmp_path: Path
) -> None:
    album = await app.create(FACE)
    for number in range(3):
        await app.add(album, new_id(), photo(number), "a.jpg")
    with sqlite3.connect(tmp_path / "albums.sqlite") as database:
        rows = database.execute("SELECT task_id, handle FROM photos").fetchall()
    database.close()
    assert {row[0] for row in rows} == {each.task_id for each in server.control.tasks}
    assert all(row[0] in row[1] for row in rows)


async def test_health_page_has_the_figures_of_the_client(app: Application) -> None:
    album = await app.create(FACE)
    await app.add(album, new_id(), photo(0), "a.jpg")
    await app.until(album, 1, "done")
    figures = (await app.send("GET", "/health")).json()
    assert isinstance(figures, dict)
    assert (figures["in_progress"], figures["pending"]) == (0, 0)
    assert figures["requests"] >= 3
