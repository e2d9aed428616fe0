"""
Swap a face into many photos, in a browser: an example application for FastAPI.

``python app.py`` runs it on this machine. It needs ``pip install 'ezlink-async[local]'
fastapi uvicorn``. With ``EZLINK_API_KEY`` it uses that account, else a built-in server.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import html
import os
from collections.abc import AsyncIterator
from pathlib import Path
from string import Template
from typing import Annotated

import attrs
import uvicorn
from fastapi import Depends, FastAPI, Query, Request
from fastapi import Path as InPath
from fastapi.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    Response,
    StreamingResponse,
)
from starlette.datastructures import MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from albums import Albums
from connection import Connection, connected
from feed import View
from refusals import RefusedError
from store import Store, data_folder
from uploads import MEDIA_TYPES, zipped

HERE = Path(__file__).parent

DAY = 86_400.0

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; "
    "style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # the address of an album is its key
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}

_SAYS = {
    True: "<b>Built-in server.</b> Photos stay on this machine; nothing is charged.",
    False: "<b>EZLINK API at $server.</b> Each photo that is accepted is charged to "
    "the key of this application.",
}


class SafeHeaders:
    """Adds the headers that keep a page, and what users have uploaded, apart."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the headers, where the answer has none of its own."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, send_with_headers)


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keep one client, one database and the jobs for as long as the program runs."""
    folder = data_folder()
    async with (
        Store(folder / "albums.sqlite").opened() as store,
        connected() as connection,
        Albums(connection.ez, store, folder).running() as albums,
    ):
        app.state.albums, app.state.connection = albums, connection
        # The collector would stop the loop to search the modules, time and again.
        gc.collect()
        gc.freeze()
        cleaner = asyncio.create_task(delete_old_albums(albums))
        try:
            yield
        finally:
            cleaner.cancel()


async def delete_old_albums(albums: Albums) -> None:
    """Delete albums of more than a day, once an hour."""
    while True:
        await albums.delete_older(DAY)
        await asyncio.sleep(DAY / 24)


app = FastAPI(lifespan=lifespan, openapi_url=None)
app.add_middleware(SafeHeaders)
# A page of another name that points at this machine is answered nothing.
app.add_middleware(
    TrustedHostMiddleware,
    allowed_hosts=os.environ.get("WEBAPP_HOSTS", "127.0.0.1,localhost").split(","),
)


async def albums_of(request: Request) -> Albums:
    """Return the albums of the application."""
    albums: Albums = request.app.state.albums
    return albums


async def body_of(request: Request) -> AsyncIterator[bytes]:
    """
    Return the body of a request as it comes.

    Pages of other sites may send some types of bodies without asking; not this one.
    """
    if request.headers.get("content-type") != "application/octet-stream":
        raise RefusedError(415, "Send a picture as application/octet-stream.")
    return request.stream()


Shared = Annotated[Albums, Depends(albums_of)]
Upload = Annotated[AsyncIterator[bytes], Depends(body_of)]
AlbumId = Annotated[str, InPath(pattern=r"^[\w-]{22}$")]
PhotoId = Annotated[str, InPath(pattern=r"^[0-9a-f]{32}$")]


@app.exception_handler(RefusedError)
async def refused(_: Request, error: RefusedError) -> JSONResponse:
    """Answer with a sentence for a person."""
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    return JSONResponse({"error": str(error)}, error.status, headers)


@app.get("/")
@app.get("/albums/{album}")
async def page(request: Request) -> HTMLResponse:
    """Return the page; its script finds the album in its address."""
    connection: Connection = request.app.state.connection
    says = Template(_SAYS[connection.is_local])
    server = says.substitute(server=html.escape(connection.server))
    text = await asyncio.to_thread((HERE / "page.html").read_text, encoding="utf-8")
    return HTMLResponse(Template(text).substitute(server=server))


@app.get("/page.{suffix}")
async def page_file(suffix: str) -> Response:
    """Return the script or the style of the page."""
    media_type = {"js": "text/javascript", "css": "text/css"}.get(suffix)
    if media_type is None:
        raise RefusedError(404, "There is no such page.")
    return FileResponse(HERE / f"page.{suffix}", media_type=media_type)


@app.get("/health")
async def health(request: Request) -> dict[str, float]:
    """Return what the client does now: places taken, waiting calls, bytes."""
    connection: Connection = request.app.state.connection
    return attrs.asdict(connection.ez.stats())


@app.post("/albums", status_code=201)
async def create_album(albums: Shared, face: Upload) -> dict[str, str]:
    """Make an album for the face in the body."""
    return {"id": await albums.create(face)}


@app.get("/albums/{album}/photos")
async def photos(albums: Shared, album: AlbumId) -> list[View]:
    """Return what became of each photo so far."""
    await albums.face(album)
    return [albums.feed.view(photo) for photo in await albums.store.photos(album)]


@app.put("/albums/{album}/photos/{photo}", status_code=202)
async def add_photo(
    albums: Shared,
    album: AlbumId,
    photo: PhotoId,
    name: Annotated[str, Query(max_length=255)],
    content: Upload,
) -> View:
    """Send the photo in the body; answer once its swap is accepted. Repeatable."""
    await albums.face(album)
    return albums.feed.view(await albums.add(album, photo, name, content))


@app.get("/albums/{album}/events")
async def events(albums: Shared, album: AlbumId) -> StreamingResponse:
    """Stream all photos of the album, and then each change."""
    await albums.face(album)
    return StreamingResponse(albums.events(album), media_type="text/event-stream")


@app.get("/albums/{album}/face")
async def face(albums: Shared, album: AlbumId) -> Response:
    """Return the face of the album."""
    return picture(await albums.face(album))


@app.get("/albums/{album}/photos/{photo}/before")
async def before(albums: Shared, album: AlbumId, photo: PhotoId) -> Response:
    """Return the photo as it was uploaded."""
    return picture((await albums.pictures(album, photo))[0])


@app.get("/albums/{album}/photos/{photo}/after")
async def after(albums: Shared, album: AlbumId, photo: PhotoId) -> Response:
    """Return the result of the photo."""
    return picture((await albums.pictures(album, photo))[1])


def picture(path: Path | None) -> Response:
    """Return a picture with its media type, which a browser must not guess."""
    if path is None or path.suffix not in MEDIA_TYPES:
        raise RefusedError(404, "There is no such picture.")
    headers = {"Cache-Control": "private, max-age=86400, immutable"}
    return FileResponse(path, media_type=MEDIA_TYPES[path.suffix], headers=headers)


@app.get("/albums/{album}/all.zip")
async def all_results(albums: Shared, album: AlbumId) -> StreamingResponse:
    """Stream all results that are there as a ZIP."""
    await albums.face(album)
    return StreamingResponse(
        zipped(await albums.results(album)),
        media_type="application/zip",
        headers={"Content-Disposition": 'attachment; filename="photos.zip"'},
    )


def main() -> None:
    """Run the application on this machine."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--host", default="127.0.0.1")
    options.add_argument("--port", type=int, default=8000)
    chosen = options.parse_args()
    uvicorn.run(app, host=chosen.host, port=chosen.port, timeout_graceful_shutdown=10)


if __name__ == "__main__":
    main()
