"""A headless Chromium, driven over its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import aiohttp

Message = dict[str, object]

PROGRAM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    None,
)

# The codes of keys, which a key event needs besides the name.
_CODES = {
    "Tab": 9,
    "Enter": 13,
    "Escape": 27,
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
    "Home": 36,
    "End": 35,
    "b": 66,
}


class Page:
    """One tab, with its errors and requests since it was opened."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._session: str | None = None
        self._answers: dict[int, asyncio.Future[Message]] = {}
        self._loaded = asyncio.Event()
        self._downloaded = asyncio.Event()
        self.complaints: list[str] = []
        self.expected: str | None = None
        """What the complaints of a test say that belong to it."""
        self.requests: list[str] = []

    async def listen(self) -> None:
        """Read the messages of the browser until it ends."""
        async for frame in self._socket:
            message = cast("Message", frame.json())
            number = message.get("id")
            if isinstance(number, int):
                self._answers.pop(number).set_result(message)
            else:
                self._note(
                    str(message["method"]),
                    cast("dict[str, Message]", message["params"]),
                )

    def _note(self, method: str, said: dict[str, Message]) -> None:
        if method == "Page.loadEventFired":
            self._loaded.set()
        elif method == "Browser.downloadProgress":
            if str(said["state"]) == "completed":
                self._downloaded.set()
        elif method == "Network.requestWillBeSent":
            self.requests.append(str(said["request"]["url"]))
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(said))
        elif method == "Log.entryAdded" and said["entry"]["level"] == "error":
            text = str(said["entry"]["text"])
            if self.expected is None or self.expected not in text:
                self.complaints.append(text)

    async def call(self, method: str, **params: object) -> Message:
        """Send one command and return its result."""
        number = next(self._numbers)
        answer = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        await self._socket.send_json(message)
        said = cast("Message", await answer)
        if "error" in said:
            raise RuntimeError(f"{method}: {said['error']}")
        return cast("Message", said["result"])

    async def attach(self) -> None:
        """Open the tab."""
        target = await self.call("Target.createTarget", url="about:blank")
        attached = await self.call(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        self._session = str(attached["sessionId"])
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.call(f"{domain}.enable")

    async def open(self, path: Path) -> None:
        """Load a file, and wait until it has loaded."""
        await self.visit(path.as_uri())

    async def visit(self, url: str) -> None:
        """Load a page, and wait until it has loaded."""
        self._loaded.clear()
        await self.call("Page.navigate", url=url)
        await self._loaded.wait()

    async def run(self, script: str) -> object:
        """Return the value of an expression in the page; promises are awaited."""
        said = await self.call(
            "Runtime.evaluate",
            expression=script,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        if "exceptionDetails" in said:
            raise RuntimeError(json.dumps(said["exceptionDetails"]))
        return cast("Message", said["result"]).get("value")

    async def press(self, *keys: str) -> None:
        """Press keys, one after the other, at the focus."""
        for key in keys:
            code = {"windowsVirtualKeyCode": _CODES[key], "code": key}
            text = "\r" if key == "Enter" else key
            typed = {"text": text} if len(text) == 1 else {}
            await self.call(
                "Input.dispatchKeyEvent", type="keyDown", key=key, **code, **typed
            )
            await self.call("Input.dispatchKeyEvent", type="keyUp", key=key, **code)

    async def type(self, text: str) -> None:
        """Insert text at the focus."""
        await self.call("Input.insertText", text=text)

    async def mouse(self, kind: str, x: float, y: float) -> None:
        """Press, move or release the mouse at a point of the window."""
        await self.call(
            "Input.dispatchMouseEvent",
            type=kind,
            x=x,
            y=y,
            button="left",
            buttons=1,
            clickCount=1,
        )

    async def touch(self, kind: str, *points: tuple[float, float]) -> None:
        """Begin, move or end a touch."""
        await self.call(
            "Input.dispatchTouchEvent",
            type=kind,
            touchPoints=[{"x": x, "y": y} for x, y in points],
        )

    async def window(self, width: int, height: int, *, phone: bool = False) -> None:
        """Set the size of the window, or of a phone's screen."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        await self.call("Emulation.setTouchEmulationEnabled", enabled=phone)

    async def prefer(self, **features: str) -> None:
        """Set the preferences of the user, such as a dark colour scheme."""
        wanted = [
            {"name": f"prefers-{name.replace('_', '-')}", "value": value}
            for name, value in features.items()
        ]
        await self.call("Emulation.setEmulatedMedia", features=wanted)

    async def screenshot(self, *, whole: bool = False) -> bytes:
        """Return a screenshot as PNG: of the window, or of the *whole* page."""
        said = await self.call(
            "Page.captureScreenshot", format="png", captureBeyondViewport=whole
        )
        return base64.b64decode(str(said["data"]))

    async def choose(self, selector: str, *paths: Path) -> None:
        """Choose files in a field, as its dialog does."""
        root = cast("Message", (await self.call("DOM.getDocument"))["root"])
        field = await self.call(
            "DOM.querySelector", nodeId=root["nodeId"], selector=selector
        )
        files = [str(path) for path in paths]
        await self.call("DOM.setFileInputFiles", files=files, nodeId=field["nodeId"])

    async def drop(self, selector: str, *paths: Path) -> None:
        """Drag files from outside to the middle of an element, and drop them."""
        box = await self.run(
            f"(() => {{ const e = document.querySelector({selector!r});"
            " e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect();"
            " return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        x, y = cast("list[float]", box)
        data = {"items": [], "files": list(map(str, paths)), "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            await self.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    async def download(self, selector: str, folder: Path) -> None:
        """Click a link, and wait until its file is in *folder*."""
        self._downloaded.clear()
        await self.call(
            "Browser.setDownloadBehavior",
            behavior="allow",
            downloadPath=str(folder),
            eventsEnabled=True,
        )
        await self.run(f"document.querySelector({selector!r}).click()")
        await self._downloaded.wait()


@asynccontextmanager
async def browsing(home: Path, *options: str) -> AsyncIterator[Page]:
    """Run a browser that keeps everything in *home*, with one tab."""
    root = ("--no-sandbox",) if getattr(os, "geteuid", lambda: 1)() == 0 else ()
    process = await asyncio.create_subprocess_exec(
        PROGRAM or "chromium",
        *root,
        *options,
        "--headless=new",
        "--remote-debugging-port=0",
        f"--user-data-dir={home}",
        "--no-first-run",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "about:blank",
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        address = await _address(process)
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(address, max_msg_size=0) as socket,
        ):
            page = Page(socket)
            listening = asyncio.create_task(page.listen())
            await page.attach()
            yield page
            listening.cancel()
    finally:
        process.kill()
        await process.communicate()


async def _address(process: asyncio.subprocess.Process) -> str:
    """Return the address that the browser prints when it starts to listen."""
    assert process.stderr
    async for line in process.stderr:
        _, found, address = line.decode().strip().partition("listening on ")
        if found:
            return address
    raise RuntimeError("Chromium did not start")
