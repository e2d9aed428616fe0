"""
Submits behind ``/mj``: the fields that all of them take, and how answers are read.

Source: ``ye4293/one-api`` (``relay/controller/midjourney.go``), the code of the
server. No address, no key, no I/O.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping

import attrs

from ezlink_async._core.error_mapping import Refusal, Rule, error_from
from ezlink_async._core.images import (
    EncodedImage,
    Image,
    ImageLike,
    InspectedImage,
)
from ezlink_async._core.messages import (
    HttpResponse,
    Part,
    collapse_blanks,
    identifier,
    part_length,
)
from ezlink_async.errors import (
    ConfigurationError,
    ImageError,
    ProtocolError,
    RejectedError,
    SubmitUnknownError,
    TransportError,
)
from ezlink_async.services.base import APART, Accepted, LoadedImage

_STATE_LIMIT = 255

_HOOK_LIMIT = 2000

MOST_BYTES = 28_000_000
"""The most bytes of a body: two pictures of 10 MiB, and what is around them."""

_NO_ACTION = "for model mj_ under"

_ACCEPTED = (1, 21, 22)


class Mode(enum.Enum):
    """The queue of the server to use; the price of a swap is the same."""

    FAST = "fast"
    TURBO = "turbo"
    RELAX = "relax"

    @classmethod
    def parse(cls, mode: Mode | str | None) -> Mode | None:
        """Return *mode* as a member; :exc:`ConfigurationError` on any other word."""
        if mode is None or isinstance(mode, Mode):
            return mode
        try:
            return cls(mode)
        except ValueError:
            words = ", ".join(repr(each.value) for each in cls)
            raise ConfigurationError(f"mode is one of {words}, not {mode!r}") from None


def _instance(_: object, __: attrs.Attribute[str | None], name: str | None) -> None:
    if name is not None and not isinstance(name, str):
        raise ConfigurationError(f"instance_id is a string, not {name!r}")


@attrs.frozen(kw_only=True)
class AccountFilter:
    """
    The account of the server's pool that should do the job.

    It is sent as the API's page documents it; the public server ignores it.
    """

    instance_id: str | None = attrs.field(default=None, validator=_instance)


def as_mode(mode: Mode | str | None) -> Mode | None:
    """Return *mode* as a member; :exc:`ConfigurationError` on any other word."""
    return Mode.parse(mode)


def as_picture(picture: ImageLike) -> Image:
    """Return a picture that was given in any form the public functions accept."""
    return Image.of(picture)


def inspected(picture: LoadedImage) -> InspectedImage:
    """Return *picture* without its base64 text."""
    return picture.inspected if isinstance(picture, EncodedImage) else picture


def data_uri(picture: LoadedImage) -> tuple[bytes, LoadedImage]:
    """Return the parts of *picture* as a data URI, without quotes around it."""
    return inspected(picture).prefix, picture


def json_body(
    fields: Mapping[str, object],
    pictures: Mapping[str, LoadedImage | tuple[LoadedImage, ...]],
) -> tuple[Part, ...]:
    """
    Return a body of *fields*, and *pictures* as data URIs behind them.

    Without its last two bytes it is no JSON, so an upload that is cut off makes no
    job. :exc:`ImageError` for pictures that are too large together.
    """
    parts: list[Part] = []
    text = json.dumps(dict(fields))[:-1]
    for name, value in pictures.items():
        text += ("" if text == "{" else ",") + json.dumps(name) + ":"
        many = value if isinstance(value, tuple) else (value,)
        text += "[" if isinstance(value, tuple) else ""
        for number, picture in enumerate(many):
            prefix, content = data_uri(picture)
            text += ',"' if number else '"'
            parts += [text.encode() + prefix, content]
            text = '"'
        text += "]" if isinstance(value, tuple) else ""
    parts.append((text + "}").encode())
    length = sum(map(part_length, parts))
    if length > MOST_BYTES:
        raise ImageError(
            f"the pictures of one job have {length:,} bytes on the wire, more than "
            f"the {MOST_BYTES:,} that servers take; make them smaller",
            limit=MOST_BYTES,
        )
    return tuple(parts)


def text_or_none(value: object, name: str, limit: int) -> None:
    """Refuse a *value* that is no text, or longer than *limit* characters."""
    if value is not None and not isinstance(value, str):
        raise ConfigurationError(f"{name} is a string, not {value!r}")
    if value is not None and len(value) > limit:
        raise ConfigurationError(f"{name} has at most {limit:,} characters")


def _filter_or_none(value: object) -> None:
    if value is not None and not isinstance(value, AccountFilter):
        raise ConfigurationError(f"account_filter is an AccountFilter, not {value!r}")


@attrs.frozen(kw_only=True)
class SubmitOptions:
    """The optional fields of every submit, checked; absent ones are not sent."""

    state: str | None = attrs.field(default=None, metadata={APART: True})
    notify_hook: str | None = attrs.field(default=None, metadata={APART: True})
    account_filter: AccountFilter | None = attrs.field(
        default=None, metadata={APART: True}
    )

    def __attrs_post_init__(self) -> None:
        text_or_none(self.state, "state", _STATE_LIMIT)
        text_or_none(self.notify_hook, "notify_hook", _HOOK_LIMIT)
        _filter_or_none(self.account_filter)
        hook = self.notify_hook
        if hook is not None and not hook.startswith(("http://", "https://")):
            raise ConfigurationError(f"notify_hook is an http(s) address, not {hook!r}")

    def fields(self) -> dict[str, object]:
        """Return these fields of the body."""
        chosen: dict[str, object] = {}
        if self.state is not None:
            chosen["state"] = self.state
        if self.notify_hook is not None:
            chosen["notifyHook"] = self.notify_hook
        if self.account_filter is not None:
            name = self.account_filter.instance_id
            chosen["accountFilter"] = {} if name is None else {"instanceId": name}
        return chosen


def _rules(refusal: Refusal) -> Rule | None:
    """Return what is special to a submit below ``/mj``."""
    # A button that leads to no action is looked for under a model without a name.
    if refusal.is_front and _NO_ACTION in refusal.text:
        return Rule(RejectedError, says="the server knows no such action")
    return None


def read_submission(response: HttpResponse) -> Accepted:
    """
    Read the answer to a submit, or raise the error it stands for.

    The body counts before the status: the server was seen to accept a job
    under status 500. Code 1 means accepted, 22 accepted and queued, 21 that the
    job was there already.

    An answer that came before the end of the body is no acceptance: the server
    had no whole job then, so there is none, and the submit may be sent again.
    """
    body = response.document
    code = body.get("code") if isinstance(body, Mapping) else None
    is_accepted = type(code) is int and code in _ACCEPTED
    if response.early and (is_accepted or response.ok):
        raise TransportError(
            "an answer came before the end of the submit, so there is no job: "
            f"{response.excerpt}",
            request_id=response.request_id,
            retry_safe=True,
            stage="upload",
        )
    if isinstance(body, Mapping) and type(code) is int and is_accepted:
        if task_id := identifier(body.get("result")):
            return Accepted(task_id, code, collapse_blanks(body.get("description")))
        message = "the job was accepted without an id: it is paid, and cannot be found"
        raise unreadable(response, message, maybe_charged=True)
    if response.ok:
        message = "the answer to the submit cannot be read, and the job may be paid"
        cause = unreadable(response, message)
        unknown = SubmitUnknownError(str(cause), request_id=response.request_id)
        raise unknown from cause
    raise error_from(response, submit=True, rules=_rules)


def unreadable(
    response: HttpResponse,
    message: str,
    *,
    task_id: str | None = None,
    maybe_charged: bool = False,
) -> ProtocolError:
    """Return the error of a *response* that cannot be read; *message* says why."""
    return ProtocolError(
        f"{message}: {response.excerpt}",
        head=response.head,
        status=response.status,
        task_id=task_id,
        request_id=response.request_id,
        maybe_charged=maybe_charged,
    )
