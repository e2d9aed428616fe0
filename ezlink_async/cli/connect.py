"""The server a command talks to: the account's own, or one in this process."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Literal

import attrs

from ezlink_async import AsyncEzlink
from ezlink_async._core.policies import PollPolicy, RetryPolicy
from ezlink_async._core.settings import (
    Options,
    SettingsSources,
    profile_path,
    profile_sources,
    resolve,
)
from ezlink_async.batch.options import LOCAL
from ezlink_async.errors import ConfigurationError
from ezlink_async.services.registry import is_found

# Seconds; enough for a night without network. The library's own 15 minutes are
# too short for a person with a folder of photos.
_RETRY_TIMEOUT = 86_400.0

# A poll of the built-in server costs next to nothing, so a photo takes only as
# long as the engine needs.
_LOCAL_POLL = PollPolicy(first=0.05, shortest=0.05, longest=0.2)

# Larger than any batch: the limits of the built-in server shall not be reached.
_UNLIMITED = 10**15


Faces = Literal["largest", "all"]
"""The faces of a group that the built-in engine swaps."""


@attrs.frozen(kw_only=True)
class Connection:
    """The options of a command about the server and how to talk to it."""

    base_url: str | None = None
    local: bool = False
    concurrency: int | None = None
    deadline: float | None = None

    def adapt(self, retry: RetryPolicy) -> RetryPolicy:
        """Return the *retry* policy of the user's settings as the command needs it."""
        if retry.timeout == RetryPolicy().timeout:
            return attrs.evolve(retry, timeout=_RETRY_TIMEOUT)
        return retry


def settings_sources() -> SettingsSources:
    """Return environment and profile; the command line always reads both."""
    return profile_sources(os.environ, None)


def check_key(sources: SettingsSources, alternative: str = "") -> None:
    """Raise ConfigurationError if no API key is set; *alternative* ends its message."""
    if not sources.text("api_key"):
        raise ConfigurationError(
            "there is no API key: set EZLINK_API_KEY, or write api_key into "
            f"{profile_path(sources.environ)}{alternative}"
        )


def would_be(*, local: bool) -> str:
    """Return what a run would do with jobs, after their number."""
    how = "done by the built-in server, for free" if local else "paid for"
    return f"would be {how}"


def unknown_advice(kinds: Collection[str]) -> str:
    """
    Return what helps against unknown submits of jobs of these *kinds*.

    The account's pages, which its token opens, show what became of most. They show no
    task of a lost video or image: a person has to look or to ask.
    """
    lasting = sorted(kind for kind in kinds if not is_found(kind))
    advice = list[str]()
    if len(lasting) < len(kinds):
        again = "run the same command again: it looks them up, for nothing"
        advice.append(_token_advice() + again)
    if lasting:
        jobs = " or ".join(f"{kind} job" for kind in lasting)
        advice.append(
            f"no run finds a lost {jobs}: compare the dashboard's log of charges, by "
            "time and model, or give the request id to the server's operator"
        )
    last = "as the last resort --resubmit-unknown sends again, and may pay twice"
    return "; ".join([*advice, last])


def _token_advice() -> str:
    if settings_sources().text("account_token"):
        return ""
    return (
        "set EZLINK_ACCOUNT_TOKEN to the account's access token, which the dashboard "
        "makes, and "
    )


def check_connection(connection: Connection, alternative: str = "") -> None:
    """Raise ConfigurationError if a setting is missing or wrong. Sends nothing."""
    if not connection.local:
        sources = settings_sources()
        check_key(sources, alternative)
        resolve(_options(connection, sources), sources)
        return
    if connection.base_url is not None:
        raise ConfigurationError("--local starts its own server: leave out --base-url")


def has_engine() -> bool:
    """Return whether the packages of the built-in engine are installed."""
    return None not in map(importlib.util.find_spec, ("numpy", "cv2"))


def check_engine() -> None:
    """Raise ConfigurationError if the engine of the built-in server is missing."""
    if not has_engine():
        raise ConfigurationError(
            "the built-in engine is not installed: pip install 'ezlink-async[local]'"
        )


def server_of(connection: Connection) -> str:
    """Return the name of the server in journals; works without a key."""
    if connection.local:
        return LOCAL
    sources = settings_sources()
    options = _options(connection, sources)
    if not sources.text("api_key"):
        options["api_key"] = "none"  # required, but nothing is sent with it
    return resolve(options, sources).origin


@asynccontextmanager
async def connect(
    connection: Connection, faces: Faces = "all"
) -> AsyncIterator[AsyncEzlink]:
    """Enter a client of the server that *connection* names; *faces* are --local's."""
    if connection.local:
        async with _local_client(connection, faces) as ez:
            yield ez
        return
    options = _options(connection, settings_sources())
    async with AsyncEzlink.from_profile(**options) as ez:
        yield ez


def _options(connection: Connection, sources: SettingsSources) -> Options:
    poll = sources.policy("poll", PollPolicy)
    if connection.deadline is not None:
        poll = attrs.evolve(poll, deadline=connection.deadline)
    return Options(
        base_url=connection.base_url,
        max_concurrency=connection.concurrency,
        poll=poll,
        retry=connection.adapt(sources.policy("retry", RetryPolicy)),
    )


@asynccontextmanager
async def _local_client(
    connection: Connection, faces: Faces
) -> AsyncIterator[AsyncEzlink]:
    from ezlink_async import emulator  # slow to import, and rarely needed

    threads = os.cpu_count() or 1
    settings = emulator.EmulatorSettings(
        engine="opencv" if has_engine() else "copy",  # only swaps need it
        faces=faces,
        concurrency=threads,
        queue=_UNLIMITED,
        balance=_UNLIMITED,
        key_quota=None,
        stability=True,
        files_work=True,
    )
    poll = _LOCAL_POLL
    if connection.deadline is not None:
        poll = attrs.evolve(poll, deadline=connection.deadline)
    async with (
        emulator.serving(settings) as server,
        AsyncEzlink(
            server.api_key,
            base_url=server.base_url,
            account_token=server.account_token,  # never the user's own
            # Two more than the engine runs, so that it never waits for an upload.
            max_concurrency=connection.concurrency or threads + 2,
            poll=poll,
        ) as ez,
    ):
        yield ez
