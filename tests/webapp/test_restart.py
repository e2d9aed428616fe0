"""The example application is stopped in the middle of its work, and started again."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from pathlib import Path

import aiohttp
import pytest

from ezlink_async.emulator import EmulatorSettings, in_thread, read_hashes
from tests.support.pictures import jpeg
from tests.support.webapp import application, environment, new_id

pytest.importorskip("fastapi", reason="needs the dependency group webapp")

PHOTOS = {new_id(): jpeg(3_000 + number) for number in range(50)}

FACE = jpeg(2_000)

PACED = EmulatorSettings(concurrency=4, queue=10**6, engine_seconds=0.2, code_22=False)
"""All photos take 2.5 s at least."""


def task_ids(folder: Path) -> list[str]:
    """Return the ids of tasks in the database."""
    database = sqlite3.connect(folder / "albums.sqlite")
    rows = database.execute("SELECT task_id FROM photos WHERE task_id != ''").fetchall()
    database.close()
    return [row[0] for row in rows]


@pytest.mark.parametrize("kind", ["uvicorn", "hypercorn", "aiohttp"])
async def test_stopped_application_goes_on_with_the_next_start(
    kind: str, tmp_path: Path
) -> None:
    """Each accepted job is listed with its id, ends well, and is paid once."""
    pytest.importorskip(kind, reason="needs the dependency group webapp")
    with in_thread(PACED) as server:
        # Fewer places than photos: some uploads wait when the application stops.
        environ = environment(tmp_path, server) | {"EZLINK_MAX_CONCURRENCY": "12"}
        async with application(kind, environ) as app:
            album = await app.create(FACE)
            adding = [
                asyncio.create_task(app.add(album, photo, content, "a.jpg"))
                for photo, content in PHOTOS.items()
            ]
            await app.until(album, 10, "done")
            await app.stop()
            replies = await asyncio.gather(*adding, return_exceptions=True)
        accepted = [r for r in replies if not isinstance(r, BaseException)]
        # A web server answers a request that it cancels with 500.
        assert {reply.status for reply in accepted} <= {202, 500, 503}
        lost = (aiohttp.ClientError,)
        assert all(isinstance(r, lost) for r in replies if isinstance(r, BaseException))
        listed = task_ids(tmp_path)
        assert sorted(listed) == sorted(each.task_id for each in server.control.tasks)
        assert 10 <= len(listed) <= 50

        async with application(kind, environ) as app:
            # Each browser sends again what it had no answer for; all do, here.
            for photo, content in PHOTOS.items():
                reply = await app.add(album, photo, content, "a.jpg")
                assert reply.status == 202, reply
            views = await app.until(album, len(PHOTOS))
            assert {view["state"] for view in views} == {"done"}
            for photo, content in PHOTOS.items():
                reply = await app.send("GET", f"{album}/photos/{photo}/after")
                expected = hashlib.sha256(content).hexdigest()
                assert read_hashes(reply.content)[1] == expected
        assert len(server.control.charges) == len(PHOTOS)


async def test_killed_application_sends_nothing_twice(tmp_path: Path) -> None:
    """What was being sent may be paid, so it is shown as unknown, and stays so."""
    with in_thread(PACED) as server:
        environ = environment(tmp_path, server) | {"EZLINK_MAX_CONCURRENCY": "12"}
        async with application("uvicorn", environ) as app:
            album = await app.create(FACE)
            adding = [
                asyncio.create_task(app.add(album, photo, content, "a.jpg"))
                for photo, content in PHOTOS.items()
            ]
            await app.until(album, 10, "done")
            await app.end()
            await asyncio.gather(*adding, return_exceptions=True)

        paid = len(server.control.charges)
        async with application("uvicorn", environ) as app:
            views = await app.until(album, len(await app.photos(album)))
            for view in views:
                reply = await app.add(album, view["id"], FACE, "a.jpg")
                assert reply.status == 202, reply
        states = [view["state"] for view in views]
        assert states.count("done") + states.count("unknown") == len(views)
        assert states.count("done") <= paid <= len(views)
        assert len(server.control.charges) == paid


async def test_built_in_server_forgets_its_tasks_and_the_album_says_so(
    tmp_path: Path,
) -> None:
    """``python app.py`` without a key: its tasks end with it, its results do not."""
    pytest.importorskip("uvicorn", reason="needs the dependency group webapp")
    environ = environment(tmp_path)
    samples = Path(__file__).parents[2] / "docs" / "samples"
    face, content = (
        (samples / name).read_bytes() for name in ("astronaut.jpg", "joconde.jpg")
    )
    async with application("python", environ) as app:
        text = (await app.send("GET", "/")).content.decode()
        assert "Built-in server" in text
        album = await app.create(face)
        await app.add(album, new_id(), content, "a.jpg")
        await app.until(album, 1, "done")
        await app.add(album, new_id(), content, "b.jpg")
        await app.stop()
    async with application("python", environ) as app:
        first, second = await app.until(album, 2)
        assert first["state"] == "done"
        assert second["state"] in {"done", "failed"}
        path = f"{album}/photos/{first['id']}/after"
        assert (await app.send("GET", path)).status == 200
