"""
The face swap: its options, and the job that is sent.

Source: the public page ``api-205930916``. No address, no key, no I/O.
"""

from __future__ import annotations

import json

import attrs

from ezlink_async._core.images import EncodedImage, InspectedImage
from ezlink_async._core.messages import HttpRequest, HttpResponse, Part
from ezlink_async.errors import ConfigurationError
from ezlink_async.services.base import Accepted, TaskFamily
from ezlink_async.services.midjourney import (
    MIDJOURNEY,
    AccountFilter,
    Mode,
    read_submission,
)

PRICE = 9_000
"""
What a swap costs, in units: 500,000 to the US dollar.

The default of the server (``ye4293/one-api``); an operator may set another price.
"""

_STATE_LIMIT = 255

_HOOK_LIMIT = 2000


def _text_or_none(value: object, name: str, limit: int) -> None:
    if value is not None and not isinstance(value, str):
        raise ConfigurationError(f"{name} is a string, not {value!r}")
    if value is not None and len(value) > limit:
        raise ConfigurationError(f"{name} has at most {limit} characters")


def _filter_or_none(value: object) -> None:
    if value is not None and not isinstance(value, AccountFilter):
        raise ConfigurationError(f"account_filter is an AccountFilter, not {value!r}")


@attrs.frozen(kw_only=True)
class SwapOptions:
    """The optional fields of a swap, checked; absent ones are not sent."""

    state: str | None = None
    notify_hook: str | None = None
    account_filter: AccountFilter | None = None
    mode: Mode | None = None

    def __attrs_post_init__(self) -> None:
        _text_or_none(self.state, "state", _STATE_LIMIT)
        _text_or_none(self.notify_hook, "notify_hook", _HOOK_LIMIT)
        _filter_or_none(self.account_filter)
        hook = self.notify_hook
        if hook is not None and not hook.startswith(("http://", "https://")):
            raise ConfigurationError(f"notify_hook is an http(s) address, not {hook!r}")

    def fields(self) -> dict[str, object]:
        """Return the fields of the body beside the pictures."""
        chosen: dict[str, object] = {}
        if self.state is not None:
            chosen["state"] = self.state
        if self.notify_hook is not None:
            chosen["notifyHook"] = self.notify_hook
        if self.account_filter is not None:
            name = self.account_filter.instance_id
            chosen["accountFilter"] = {} if name is None else {"instanceId": name}
        return chosen


@attrs.frozen(kw_only=True)
class FaceSwapJob:
    """One swap, ready to be sent; the implementation of :class:`Job`."""

    source: InspectedImage | EncodedImage
    target: InspectedImage
    options: SwapOptions

    @property
    def family(self) -> TaskFamily:
        """A swap becomes a task behind ``/mj/task/``."""
        return MIDJOURNEY

    @property
    def state(self) -> str | None:
        """The state of the options."""
        return self.options.state

    @property
    def label(self) -> str:
        """The target: its path, or the number of its bytes."""
        return repr(self.target.image)

    def request(self) -> HttpRequest:
        """Describe the submit; without its last two bytes the body is no JSON."""
        prefix = f"/mj-{self.options.mode.value}" if self.options.mode else ""
        fields = self.options.fields()
        head = json.dumps(fields)[:-1].encode()
        comma = b"," if fields else b""
        source = self.source
        inspected = source.inspected if isinstance(source, EncodedImage) else source
        body: tuple[Part, ...] = (
            head + comma + b'"sourceBase64":"' + inspected.prefix,
            source,
            b'","targetBase64":"' + self.target.prefix,
            self.target,
            b'"}',
        )
        return HttpRequest("POST", f"{prefix}/mj/insight-face/swap", body)

    def read(self, response: HttpResponse) -> Accepted:
        """Read the answer to the submit, or raise the error it stands for."""
        return read_submission(response)
