"""
The same albums behind aiohttp's own server, without the page: a small second example.

``python aiohttp_app.py`` runs it. A client makes an album with ``POST /albums``, adds
photos with ``PUT /albums/ALBUM/photos/PHOTO?name=NAME``, reads the states under
``/albums/ALBUM/photos`` or, as they change, ``/albums/ALBUM/events``, and the results
under ``/albums/ALBUM/photos/PHOTO/after``.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict

from aiohttp import web

from albums import Albums
from connection import connected
from refusals import RefusedError
from store import Store, data_folder
from uploads import MEDIA_TYPES

ALBUMS = web.AppKey("albums", Albums)

_PHOTO = re.compile(r"[0-9a-f]{32}")

_LONGEST_NAME = 255


async def keep_albums(app: web.Application) -> AsyncIterator[None]:
    """Keep one client, one database and the jobs for as long as the program runs."""
    folder = data_folder()
    async with (
        Store(folder / "albums.sqlite").opened() as store,
        connected() as connection,
        Albums(connection.ez, store, folder).running() as albums,
    ):
        app[ALBUMS] = albums
        yield


@web.middleware
async def answer_refusals(
    request: web.Request,
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> web.StreamResponse:
    """Answer a refusal with its sentence."""
    try:
        return await handler(request)
    except RefusedError as error:
        headers = {}
        if error.retry_after is not None:
            headers["Retry-After"] = str(error.retry_after)
        body = {"error": str(error)}
        return web.json_response(body, status=error.status, headers=headers)


async def create_album(request: web.Request) -> web.Response:
    """Make an album for the face in the body."""
    album = await request.app[ALBUMS].create(request.content.iter_any())
    return web.json_response({"id": album}, status=201)


async def photos(request: web.Request) -> web.Response:
    """Return what became of each photo so far."""
    albums, album = request.app[ALBUMS], request.match_info["album"]
    await albums.face(album)
    found = await albums.store.photos(album)
    return web.json_response([asdict(albums.feed.view(photo)) for photo in found])


async def add_photo(request: web.Request) -> web.Response:
    """Send the photo in the body; answer once its swap is accepted. Repeatable."""
    albums, album = request.app[ALBUMS], request.match_info["album"]
    await albums.face(album)
    name, photo_id = request.query.get("name", "photo"), request.match_info["photo"]
    if not _PHOTO.fullmatch(photo_id) or len(name) > _LONGEST_NAME:
        raise RefusedError(422, "A photo is named by 32 hexadecimal digits.")
    photo = await albums.add(album, photo_id, name, request.content.iter_any())
    return web.json_response(asdict(albums.feed.view(photo)), status=202)


async def events(request: web.Request) -> web.StreamResponse:
    """Stream all photos of the album, and then each change."""
    albums, album = request.app[ALBUMS], request.match_info["album"]
    await albums.face(album)
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    async for event in albums.events(album):
        await response.write(event.encode())
    return response


async def after(request: web.Request) -> web.FileResponse:
    """Return the result of a photo."""
    album, photo_id = request.match_info["album"], request.match_info["photo"]
    _, result = await request.app[ALBUMS].pictures(album, photo_id)
    if result is None:
        raise RefusedError(404, "There is no result yet.")
    headers = {
        "Content-Type": MEDIA_TYPES.get(result.suffix, "application/octet-stream"),
        "X-Content-Type-Options": "nosniff",
    }
    return web.FileResponse(result, headers=headers)


def make_app() -> web.Application:
    """Return the application."""
    app = web.Application(middlewares=[answer_refusals])
    app.cleanup_ctx.append(keep_albums)
    app.router.add_post("/albums", create_album)
    app.router.add_get("/albums/{album}/photos", photos)
    app.router.add_get("/albums/{album}/events", events)
    app.router.add_put("/albums/{album}/photos/{photo}", add_photo)
    app.router.add_get("/albums/{album}/photos/{photo}/after", after)
    return app


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--host", default="127.0.0.1")
    options.add_argument("--port", type=int, default=8000)
    options.add_argument("--grace", type=float, default=10, help="seconds at the end")
    chosen = options.parse_args()
    web.run_app(
        make_app(),
        host=chosen.host,
        port=chosen.port,
        shutdown_timeout=chosen.grace,
    )
