"""Running an emulator: inside a loop, or on a thread of its own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, cast

from aiohttp import web
from attrs import frozen

from ezlink_async.emulator.app import make_app
from ezlink_async.emulator.control import Control
from ezlink_async.emulator.pictures.copy_engine import CopyEngine
from ezlink_async.emulator.relay.state import Desk
from ezlink_async.emulator.relay.store import Store
from ezlink_async.emulator.settings import (
    DEFAULT_ACCOUNT_TOKEN,
    DEFAULT_KEY,
    EmulatorSettings,
    Engine,
)
from ezlink_async.emulator.upstream.notifications import Hooks
from ezlink_async.emulator.upstream.service import Upstream

__all__ = ["Emulator", "in_thread", "running", "serving"]

_STARTING = 30.0
_CLOSING = 5.0


class _Maker(Protocol):
    def __call__(self, **settings: object) -> EmulatorSettings: ...


@frozen(eq=False)
class Emulator:
    """A running emulator: where it is, a key it knows, and the strings behind it."""

    base_url: str
    api_key: str
    account_token: str
    control: Control


def _engine(settings: EmulatorSettings) -> Engine:
    if not isinstance(settings.engine, str):
        return settings.engine
    if settings.engine == "copy":
        return CopyEngine()
    if settings.engine == "opencv":
        from ezlink_async.emulator.pictures.opencv_engine import load_engine

        return load_engine()
    raise ValueError(f"no such engine: {settings.engine}; known: copy, opencv")


def _desk(settings: EmulatorSettings, engine: Engine, pool: ThreadPoolExecutor) -> Desk:
    store = Store()
    account = store.add_account(
        settings.balance, token=DEFAULT_ACCOUNT_TOKEN, group=settings.group
    )
    store.add_key(account, settings.key_quota, text=DEFAULT_KEY)
    hooks = Hooks(settings)
    upstream = Upstream(
        settings,
        engine,
        pool,
        lambda task: hooks.notify(task.hook, task.view),
    )
    return Desk(settings, store, upstream, hooks, asyncio.Event())


@contextlib.asynccontextmanager
async def serving(
    settings: EmulatorSettings | None = None,
) -> AsyncIterator[Emulator]:
    """
    Run an emulator on this event loop for the length of the block.

    It listens on loopback unless *settings* say otherwise. Leaving closes every
    connection and leaves no task behind. ImportError when the engine needs packages
    that are not there.
    """
    settings = settings or EmulatorSettings()
    engine = _engine(settings)
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers, thread_name_prefix="ezlink-engine") as pool:
        desk = _desk(settings, engine, pool)
        async with _listening(desk), _beating(desk):
            control = Control(desk, asyncio.get_running_loop())
            yield Emulator(desk.base_url, DEFAULT_KEY, DEFAULT_ACCOUNT_TOKEN, control)


@contextlib.asynccontextmanager
async def _listening(desk: Desk) -> AsyncIterator[None]:
    settings = desk.settings
    runner = web.AppRunner(
        make_app(desk),
        access_log=None,
        handle_signals=False,
        shutdown_timeout=_CLOSING,
        auto_decompress=False,
        lingering_time=0,
    )
    await runner.setup()
    try:
        site = web.TCPSite(
            runner, settings.host, settings.port, ssl_context=settings.ssl_context
        )
        await site.start()
        desk.base_url = _url(settings, runner.addresses[0][1])
        desk.upstream.address = desk.base_url
        yield
    finally:
        desk.leaving.set()
        await desk.upstream.close()
        await desk.hooks.close()
        await runner.cleanup()


def _url(settings: EmulatorSettings, port: int) -> str:
    scheme = "http" if settings.ssl_context is None else "https"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{scheme}://{host}:{port}"


@contextlib.asynccontextmanager
async def _beating(desk: Desk) -> AsyncIterator[None]:
    if not desk.settings.poll_interval:
        yield
        return
    beats = asyncio.create_task(desk.keep_beating())
    try:
        yield
    finally:
        beats.cancel()
        await asyncio.gather(beats, return_exceptions=True)


@contextlib.asynccontextmanager
async def running(
    engine: str | Engine = "copy", **settings: object
) -> AsyncIterator[str]:
    """
    Run an emulator on this event loop, yielding its base URL.

    It knows :data:`DEFAULT_KEY`. *settings* are those of :class:`EmulatorSettings`.
    """
    chosen = cast("_Maker", EmulatorSettings)(engine=engine, **settings)
    async with serving(chosen) as emulator:
        yield emulator.base_url


@contextlib.contextmanager
def in_thread(settings: EmulatorSettings | None = None) -> Iterator[Emulator]:
    """
    Run an emulator on a thread and a loop of its own, for code that is not async.

    Its control may be used from any thread.
    """
    started: concurrent.futures.Future[Emulator] = concurrent.futures.Future()
    leave = threading.Event()

    async def serve() -> None:
        async with serving(settings) as emulator:
            started.set_result(emulator)
            await asyncio.to_thread(leave.wait)

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as fault:  # noqa: BLE001 - raised where it was started
            started.set_exception(fault)

    thread = threading.Thread(target=run, name="ezlink-emulator")
    thread.start()
    try:
        yield started.result(_STARTING)
    finally:
        leave.set()
        thread.join()
