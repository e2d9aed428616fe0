"""Run an emulator on the caller's event loop or on a thread of its own."""

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
from attrs import field, frozen

from ezlink_async.emulator.app import make_app, routes_of
from ezlink_async.emulator.control import Control
from ezlink_async.emulator.pictures.copy_engine import CopyEngine
from ezlink_async.emulator.relay.state import RelayState
from ezlink_async.emulator.relay.store import Store
from ezlink_async.emulator.settings import DEFAULT_KEY, EmulatorSettings, Engine
from ezlink_async.emulator.upstream.notifications import Notifier
from ezlink_async.emulator.upstream.service import Upstream

_START_TIMEOUT = 30.0
_CLOSE_TIMEOUT = 5.0


class _Maker(Protocol):
    def __call__(self, **settings: object) -> EmulatorSettings: ...


@frozen(eq=False)
class Emulator:
    """
    A running emulator: its address, a valid key and access token, its control.

    *control_secret* opens the same control over HTTP, in the header
    ``X-Emulator-Secret``. None of the three appears in the representation.
    """

    base_url: str
    api_key: str = field(repr=False)
    account_token: str = field(repr=False)
    control: Control
    control_secret: str = field(repr=False)


def _engine(settings: EmulatorSettings) -> Engine:
    if not isinstance(settings.engine, str):
        return settings.engine
    if settings.engine == "copy":
        return CopyEngine()
    if settings.engine == "opencv":
        from ezlink_async.emulator.pictures.opencv_engine import load_engine

        return load_engine(largest_only=settings.faces == "largest")
    raise ValueError(f"no such engine: {settings.engine}; known: copy, opencv")


def _new_state(settings: EmulatorSettings, pool: ThreadPoolExecutor) -> RelayState:
    settings = settings.with_clock()
    store = Store()
    account = store.add_account(
        settings.balance, token=settings.account_token, group=settings.group
    )
    store.add_key(account, settings.key_quota, text=settings.api_key)
    notifier = Notifier(settings)
    upstream = Upstream(
        settings,
        _engine(settings),
        pool,
        lambda task: notifier.notify(task.hook, task.view),
    )
    state = RelayState(settings, store, upstream, notifier, asyncio.Event())
    state.routes = routes_of(settings)
    state.control_secret = settings.control_secret or state.control_secret
    return state


def _opened(state: RelayState) -> Emulator:
    (key,) = state.store.keys.values()
    return Emulator(
        base_url=state.base_url,
        api_key=key.text,
        account_token=key.account.token,
        control=Control(state),
        control_secret=state.control_secret,
    )


@contextlib.asynccontextmanager
async def serving(
    settings: EmulatorSettings | None = None,
) -> AsyncIterator[Emulator]:
    """
    Run an emulator on this event loop for the length of the block.

    The emulator listens on loopback unless *settings* say otherwise. Leaving the
    block closes every connection and ends every task. ImportError when packages that
    the engine needs are missing.
    """
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers, thread_name_prefix="ezlink-engine") as pool:
        state = _new_state(settings or EmulatorSettings(), pool)
        async with _running(state):
            yield _opened(state)


@contextlib.asynccontextmanager
async def _running(state: RelayState) -> AsyncIterator[None]:
    settings = state.settings
    runner = web.AppRunner(
        make_app(state),
        access_log=None,
        handle_signals=False,
        shutdown_timeout=_CLOSE_TIMEOUT,
        auto_decompress=False,
        lingering_time=0,
    )
    await runner.setup()
    refreshes = asyncio.create_task(state.refresh_periodically())
    try:
        site = web.TCPSite(
            runner, settings.host, settings.port, ssl_context=settings.ssl_context
        )
        await site.start()
        state.base_url = _url(settings, runner.addresses[0][1])
        state.upstream.address = state.base_url
        yield
    finally:
        state.leaving.set()
        refreshes.cancel()
        await asyncio.gather(refreshes, return_exceptions=True)
        await state.upstream.close()
        await state.notifier.close()
        await runner.cleanup()


def _url(settings: EmulatorSettings, port: int) -> str:
    scheme = "http" if settings.ssl_context is None else "https"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{scheme}://{host}:{port}"


@contextlib.asynccontextmanager
async def running(
    engine: str | Engine = "copy", **settings: object
) -> AsyncIterator[str]:
    """
    Run an emulator on this event loop, and give its base URL.

    :data:`DEFAULT_KEY` is valid there, unless *settings* have another key. They are
    the fields of :class:`EmulatorSettings`. Everybody knows the default key; for
    :func:`serving` one is made for each run.
    """
    chosen = cast("_Maker", EmulatorSettings)(
        engine=engine, **{"api_key": DEFAULT_KEY, **settings}
    )
    async with serving(chosen) as emulator:
        yield emulator.base_url


@contextlib.contextmanager
def in_thread(settings: EmulatorSettings | None = None) -> Iterator[Emulator]:
    """
    Run an emulator on a thread and a loop of its own, for code that is not async.

    Its control may be used from any thread, also after the block.
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
        except BaseException as exc:  # noqa: BLE001 - raised in the caller's thread
            started.set_exception(exc)

    thread = threading.Thread(target=run, name="ezlink-emulator")
    thread.start()
    try:
        yield started.result(_START_TIMEOUT)
    finally:
        leave.set()
        thread.join()
