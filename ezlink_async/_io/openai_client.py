"""
The official ``openai`` package, set up for the server of this client.

The package is optional, and loaded on the first use. Its own defaults do not fit
the server: it repeats a call whose answer was slow or lost, and the server, which
knows no idempotency key, charges each attempt (ye4293/one-api
``relay/controller/text.go`` charges after the answer, whether the caller is still
there or not). It also takes the key, the organization and headers from its own
environment variables. So everything that decides who is asked, and with which key,
is given here, and enforced on each request, those of copies by ``with_options``
included.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from ezlink_async._core.secret_text import SecretText
from ezlink_async._core.settings import Settings, origin
from ezlink_async.errors import ConfigurationError

if TYPE_CHECKING:
    from openai import AsyncOpenAI

READ_TIMEOUT = 360.0
"""
Seconds that a call may wait for the next byte of its answer.

The server waits up to 300 s for its own upstream, unless its operator chose otherwise
(ye4293/one-api ``relay/util/init.go``); a caller that leaves earlier pays for an answer
that it does not read.
"""

_FOREIGN = ("OpenAI-Organization", "OpenAI-Project")


class _Outgoing(Protocol):
    """The parts of an outgoing request that are checked."""

    @property
    def url(self) -> object: ...

    @property
    def headers(self) -> MutableMapping[str, str]: ...


class OpenAIAccess:
    """Makes the package's client on first use, and closes it with the session."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: AsyncOpenAI | None = None

    def client(self) -> AsyncOpenAI:
        """
        Return the one client; the first call loads the package.

        Raises :exc:`ConfigurationError` if the package is not installed.
        """
        if self._client is None:
            self._client = _make_client(self._settings)
        return self._client

    async def close(self) -> None:
        """Close the client, if there is one; calls in progress fail."""
        if self._client is not None:
            await self._client.close()


def _make_client(settings: Settings) -> AsyncOpenAI:
    try:
        import openai
    except ImportError as error:
        raise ConfigurationError(
            "this needs the official package of OpenAI: "
            "pip install 'ezlink_async[openai]'"
        ) from error
    bearer = SecretText(f"Bearer {settings.api_key}")
    timeout = openai.Timeout(READ_TIMEOUT, connect=settings.timeouts.connect)
    client = openai.AsyncOpenAI(
        api_key=settings.api_key,
        base_url=f"{settings.base_url}/v1",
        max_retries=0,
        timeout=timeout,
        # Goes before the variable OPENAI_CUSTOM_HEADERS.
        default_headers={"Authorization": bearer},
        # The package's own client for HTTP, of whichever library it is made.
        http_client=openai.DefaultAsyncHttpxClient(
            follow_redirects=False,  # the next host would get the prompt, and be paid
            event_hooks={"request": [_guard(settings.origin, bearer)]},
        ),
    )
    # Arguments of None would be read from the environment.
    client.organization = client.project = None
    return client


def _guard(own: str, bearer: SecretText) -> Callable[[_Outgoing], Awaitable[None]]:
    """Return a check of each request: to the server *own* only, with its key."""

    async def check(request: _Outgoing) -> None:
        url = str(request.url)
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or origin(url) != own:
            raise ConfigurationError(
                f"this client sends its key to {own} only, not to {parts.hostname}: "
                "make an openai.AsyncOpenAI of your own for another server"
            )
        request.headers["Authorization"] = bearer
        for name in _FOREIGN:
            request.headers.pop(name, None)

    return check
