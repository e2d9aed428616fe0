"""Which server a command talks to: the account's own, or one in this process."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs

from ezlink_async import AsyncEzlink, emulator
from ezlink_async._core.policies import PollPolicy, RetryPolicy
from ezlink_async._core.settings import (
    Options,
    SettingsSources,
    profile_path,
    read_profile,
    resolve,
)
from ezlink_async.batch.options import LOCAL
from ezlink_async.errors import ConfigurationError

# Long enough for a night without network: the library gives up after a
# quarter of an hour, a person with a folder of photos would rather wait.
_PATIENCE = 86_400.0


@attrs.frozen(kw_only=True)
class Connection:
    """What the command line says about the server and how to talk to it."""

    base_url: str | None = None
    local: bool = False
    concurrency: int | None = None
    deadline: float | None = None
    resubmit_unknown: bool = False


def settings_sources() -> SettingsSources:
    """Return where the command line looks for settings: always the profile too."""
    named = bool(os.environ.get("EZLINK_CONFIG"))
    profile = read_profile(profile_path(os.environ), demanded=named)
    return SettingsSources(os.environ, profile)


def check_key(sources: SettingsSources, otherwise: str = "") -> None:
    """Raise what to do when there is no key anywhere, or what *otherwise* does."""
    if not sources.text("api_key"):
        raise ConfigurationError(
            "there is no API key: set EZLINK_API_KEY, or write api_key into "
            f"{profile_path(os.environ)}{otherwise}"
        )


def ready(connection: Connection, otherwise: str = "") -> None:
    """Raise what is missing or wrong, before anything is begun."""
    if not connection.local:
        sources = settings_sources()
        check_key(sources, otherwise)
        resolve(_options(connection, sources), sources)
        return
    if connection.base_url is not None:
        raise ConfigurationError("--local is a server of its own: no --base-url")
    check_engine()


def server_of(connection: Connection) -> str:
    """Return the origin of the server, also where no key is set."""
    if connection.local:
        return LOCAL
    sources = settings_sources()
    options = _options(connection, sources)
    if not sources.text("api_key"):
        options["api_key"] = "none"  # nothing is sent with it
    return resolve(options, sources).origin


@asynccontextmanager
async def connect(connection: Connection) -> AsyncIterator[AsyncEzlink]:
    """Enter a client as *connection* says."""
    if connection.local:
        # Most never need a server, and it takes a while to import.
        from ezlink_async.cli.connect import local_client

        async with local_client(connection.concurrency, connection.deadline) as ez:
            yield ez
        return
    options = _options(connection, settings_sources())
    async with AsyncEzlink.from_profile(**options) as ez:
        yield ez


def _options(connection: Connection, sources: SettingsSources) -> Options:
    return Options(
        base_url=connection.base_url,
        max_concurrency=connection.concurrency,
        poll=_poll(connection, sources.policy("poll", PollPolicy)),
        retry=_retry(connection, sources.policy("retry", RetryPolicy)),
    )


def _poll(connection: Connection, policy: PollPolicy) -> PollPolicy:
    if connection.deadline is None:
        return policy
    return attrs.evolve(policy, deadline=connection.deadline)


def _retry(connection: Connection, policy: RetryPolicy) -> RetryPolicy:
    if policy.timeout == RetryPolicy().timeout:
        policy = attrs.evolve(policy, timeout=_PATIENCE)
    if connection.resubmit_unknown:
        policy = attrs.evolve(policy, resubmit_unknown=True)
    return policy


def check_engine() -> None:
    """Raise how to get the engine when it is not installed."""
    if None in map(importlib.util.find_spec, ("numpy", "cv2")):
        raise ConfigurationError(
            "the built-in engine is not installed: pip install 'ezlink-async[local]'"
        )


# Looks cost next to nothing here, so a photo takes as long as the engine.
_POLL = PollPolicy(first=0.05, shortest=0.05, longest=0.2)

# Nobody pays, and nobody else waits: no limit may get in the way.
_PLENTY = 10**15


@asynccontextmanager
async def local_client(
    concurrency: int | None, deadline: float | None
) -> AsyncIterator[AsyncEzlink]:
    """Enter a client of a server of its own, with one engine thread a processor."""
    threads = os.cpu_count() or 1
    bound = _POLL.deadline if deadline is None else deadline
    async with (
        emulator.serving(
            emulator.EmulatorSettings(
                engine="opencv",
                concurrency=threads,
                queue=_PLENTY,
                balance=_PLENTY,
                key_quota=None,
            )
        ) as server,
        AsyncEzlink(
            server.api_key,
            base_url=server.base_url,
            account_token=server.account_token,  # not the user's own
            # Two more than the engine can take: it never waits for an upload.
            max_concurrency=concurrency or threads + 2,
            poll=attrs.evolve(_POLL, deadline=bound),
        ) as ez,
    ):
        yield ez
