"""
The wire of swaps and tasks: values to requests, responses to values.

The server's spelling lives here. Sources: the public page ``api-205930916``
(swap) and ``ye4293/one-api`` (``relay/controller/midjourney.go``,
``router/relay-router.go``), the code behind it. No address, no key, no I/O.
"""

from __future__ import annotations

import json

import attrs

from ezlink_async._core.images import EncodedImage, InspectedImage
from ezlink_async._core.messages import HttpRequest, Part
from ezlink_async.errors import ConfigurationError
from ezlink_async.services.midjourney import AccountFilter, Mode

_STATE_LIMIT = 255

_HOOK_LIMIT = 2000


@attrs.frozen(kw_only=True)
class FaceSwapJob:
    """One swap, as asked for, before the server knows of it."""

    source: InspectedImage | EncodedImage
    target: InspectedImage
    options: SwapOptions


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
        """Return what goes into the body beside the pictures."""
        chosen: dict[str, object] = {}
        if self.state is not None:
            chosen["state"] = self.state
        if self.notify_hook is not None:
            chosen["notifyHook"] = self.notify_hook
        if self.account_filter is not None:
            name = self.account_filter.instance_id
            chosen["accountFilter"] = {} if name is None else {"instanceId": name}
        return chosen


def submit_request(job: FaceSwapJob) -> HttpRequest:
    """Describe the submit; its last part is two bytes that make it whole."""
    prefix = f"/mj-{job.options.mode.value}" if job.options.mode else ""
    head = json.dumps(job.options.fields())[:-1].encode()
    comma = b"," if job.options.fields() else b""
    source = job.source
    stamp = source.inspected if isinstance(source, EncodedImage) else source
    body: tuple[Part, ...] = (
        head + comma + b'"sourceBase64":"' + stamp.prefix,
        source,
        b'","targetBase64":"' + job.target.prefix,
        job.target,
        b'"}',
    )
    return HttpRequest("POST", f"{prefix}/mj/insight-face/swap", body)
