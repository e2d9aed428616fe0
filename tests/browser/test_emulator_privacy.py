"""Pages of other origins beside an emulator: they read nothing and change nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
from aiohttp import web

from ezlink_async.emulator import (
    DEFAULT_KEY,
    Emulator,
    EmulatorSettings,
    faults,
    serving,
)
from tests.browser.chromium import PROGRAM, browsing
from tests.support.emulator_requests import LIST, SWAP, RawApi, swap_body
from tests.support.photographs import encoded, photo

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="there is no Chromium")

BOUND = 300  # seconds; a test ends sooner unless the browser hangs
# Known to the page, as a careless test might have it.
KNOWN = EmulatorSettings(api_key=DEFAULT_KEY, control_secret="hush")

# Each attempt of a page, by name; true where it has read something.
_ATTEMPTS = """
(async () => {
  const [base, id, key, secret, swap] = %s;
  const json = {"Content-Type": "application/json"};
  const auth = {...json, "Authorization": "Bearer " + key};
  const control = {...json, "X-Emulator-Secret": secret};
  const reads = async (path, options) => {
    try { return (await (await fetch(base + path, options)).text()).length > 0; }
    catch { return false; }
  };
  const post = (headers, body) => ({method: "POST", headers, body});
  const draws = () => new Promise((done) => {
    const image = new Image();
    image.crossOrigin = "anonymous";
    image.onload = () => done(true);
    image.onerror = () => done(false);
    image.src = base + "/mj/image/" + id;
  });
  const stand = '{"on": "fetch", "standing": {"kind": "answer", "status": 418}}';
  return {
    task: await reads("/mj/task/" + id + "/fetch", {headers: auth}),
    list: await reads("%s", post(auth, JSON.stringify({ids: [id]}))),
    swap: await reads("%s", post(auth, swap)),
    picture: await reads("/mj/image/" + id),
    drawn: await draws(),
    state: await reads("/__emu/state"),
    secret_state: await reads("/__emu/state", {headers: control}),
    cookies: await reads("/__emu/state", {credentials: "include"}),
    faults: await reads("/__emu/faults", post({"Content-Type": "text/plain"}, stand)),
    secret_faults: await reads("/__emu/faults", post(control, stand)),
    reset: await reads("/__emu/reset", {method: "POST", mode: "no-cors"}),
    secret_reset: await reads("/__emu/reset", post(control, "{}")),
  };
})()
"""
_API = {"task", "list", "swap", "picture", "drawn"}


@asynccontextmanager
async def _front_end() -> AsyncIterator[str]:
    """Serve an empty page, and give its origin."""

    async def page(_request: web.Request) -> web.Response:
        return web.Response(text="<title>A page</title>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/{path:.*}", page)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def _attempts(emu: Emulator, page_url: str, home: Path) -> set[str]:
    """Return the names of the attempts by which a page has read something."""
    task_id = await RawApi(emu).swapped()
    picture = encoded(photo(), "PNG")  # one that a browser can draw
    emu.control.standing("image", faults.Picture(content=picture))
    values = json.dumps(
        [emu.base_url, task_id, DEFAULT_KEY, "hush", swap_body().decode()]
    )
    async with asyncio.timeout(BOUND), browsing(home) as page:
        await page.visit(page_url)
        read = await page.run(_ATTEMPTS % (values, LIST, SWAP))
    assert isinstance(read, dict)
    return {name for name, success in read.items() if success}


async def test_page_of_another_origin_reads_and_changes_nothing(tmp_path: Path) -> None:
    """Not even a page that knows key, id and secret."""
    async with _front_end() as stranger, serving(KNOWN) as emu:
        assert await _attempts(emu, stranger, tmp_path) == set()

        assert len(emu.control.charges) == 1
        assert (await RawApi(emu).get("/mj/task/1/fetch")).status == 400


async def test_named_front_end_reads_the_api_only_and_others_nothing(
    tmp_path: Path,
) -> None:
    async with _front_end() as named, _front_end() as stranger:
        async with serving(attrs.evolve(KNOWN, origins=(named,))) as emu:
            assert await _attempts(emu, named, tmp_path / "named") == _API
            assert len(emu.control.charges) == 2
        async with serving(attrs.evolve(KNOWN, origins=(named,))) as emu:
            assert await _attempts(emu, stranger, tmp_path / "stranger") == set()
            assert len(emu.control.charges) == 1


async def test_page_whose_name_was_pointed_at_this_machine_reads_nothing(
    tmp_path: Path,
) -> None:
    """For the browser such a page is of the emulator's own origin."""
    async with serving(KNOWN) as emu:
        api = RawApi(emu)
        task_id = await api.swapped()
        port = emu.base_url.rpartition(":")[2]
        async with (
            asyncio.timeout(BOUND),
            browsing(tmp_path, "--host-resolver-rules=MAP * 127.0.0.1") as page,
        ):
            await page.visit(f"http://stranger.example:{port}/mj/image/{task_id}")
            shown = await page.run("document.body.innerText")
        assert "this emulator is not stranger.example" in str(shown)
