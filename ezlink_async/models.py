"""
Frozen values that users see: a task, its status, its buttons.

A status is an open enum: a word that a later server adds is kept, not refused.
The wire's spelling of each field is in ``_core.records``.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Mapping
from typing import Literal, Protocol

import attrs

from ezlink_async.buttons import Button, ButtonLookup

_FULL = 100.0  # per cent


class TaskStatus(enum.Enum):
    """
    The status of a task, in the server's words.

    A word that is not listed equals ``UNKNOWN`` and keeps its text:
    ``TaskStatus("QUEUED") == TaskStatus.UNKNOWN``, and ``str()`` of it is
    ``"QUEUED"``. ``EMPTY`` is the first status of every task. The statuses are
    listed in the order of progress.
    """

    EMPTY = ""
    UNKNOWN = "UNKNOWN"
    NOT_START = "NOT_START"
    SUBMITTED = "SUBMITTED"
    IN_PROGRESS = "IN_PROGRESS"
    MODAL = "MODAL"
    CANCEL = "CANCEL"
    FAILURE = "FAILURE"
    SUCCESS = "SUCCESS"

    @classmethod
    def _missing_(cls, value: object) -> TaskStatus | None:
        if not isinstance(value, str):
            return None
        known = cls._value2member_map_.get(value.strip().upper())
        if isinstance(known, cls):
            return known
        word = object.__new__(cls)
        word._name_ = "UNKNOWN"
        word._value_ = value
        return word

    def __str__(self) -> str:
        return str(self._value_)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TaskStatus):
            return NotImplemented
        return self._name_ == other._name_

    def __hash__(self) -> int:
        return hash(self._name_)

    @property
    def is_terminal(self) -> bool:
        """Whether the server will not change the status any more."""
        return self._name_ in _TERMINAL


_TERMINAL = frozenset({"SUCCESS", "FAILURE", "CANCEL"})


def _plain(_: object, __: object, value: object) -> object:
    """Return a value of a record as one that JSON has."""
    if isinstance(value, TaskStatus):
        return str(value)
    if isinstance(value, dt.datetime):
        return value.isoformat()
    return list(value) if isinstance(value, tuple) else value


_TEXT_ACTIONS = frozenset({"DESCRIBE", "SHORTEN"})


@attrs.frozen
class TaskProperties:
    """The two prompts the server keeps with a task; both empty for a swap."""

    final_prompt: str = ""
    final_zh_prompt: str = ""


@attrs.frozen(kw_only=True)
class Result:
    """
    One result of a task: where it is, or, when it came with the record, its bytes.

    *content* is that of data URIs and of texts.
    """

    kind: Literal["image", "video", "text"]
    url: str | None = None
    content: bytes | None = attrs.field(default=None, repr=False)


class Record(Protocol):
    """What the record of a task has in every family."""

    @property
    def task_id(self) -> str:
        """The server's id."""
        ...

    @property
    def status(self) -> TaskStatus:
        """The status, in the one vocabulary of all families."""
        ...

    @property
    def progress(self) -> float | None:
        """Per cent; ``None`` where the server says nothing."""
        ...

    @property
    def fail_reason(self) -> str:
        """Why the task failed, in the server's words."""
        ...

    @property
    def results(self) -> tuple[Result, ...]:
        """The results, in the server's order; empty before the end."""
        ...

    @property
    def text(self) -> str:
        """The text of a task that makes one, else empty."""
        ...

    @property
    def is_terminal(self) -> bool:
        """Whether the task cannot change any more."""
        ...


@attrs.frozen(kw_only=True)
class KeyQuota:
    """
    What a key may spend, by the two balance pages, in US dollars.

    *limit* is what the key may spend in all and *used* what it has spent. A limit of
    ``None`` is that of a key without one, *expires* of ``None`` that of a key which
    does not. Where the operator shows the account in place of the key, *limit* is what
    the account has left and *used* what it has spent; the pages do not say which. Of a
    key they say nothing about the account: with an empty one its calls are refused.
    """

    limit: float | None
    used: float
    expires: dt.datetime | None = None

    @property
    def unlimited(self) -> bool:
        """Whether the key has no limit of its own."""
        return self.limit is None

    @property
    def rest(self) -> float | None:
        """
        What the key may still spend; ``None`` without a limit.

        A limit below what was used can only be what the account has left.
        """
        if self.limit is None or self.used > self.limit:
            return self.limit
        return self.limit - self.used

    def __str__(self) -> str:
        limit = "no limit" if self.limit is None else f"limit {self.limit:.2f} USD"
        ends = f", expires {self.expires:%Y-%m-%d}" if self.expires else ""
        return f"{limit}, {self.used:.2f} USD used{ends}"


@attrs.frozen(kw_only=True)
class ModelInfo:
    """
    One entry of the server's catalogue of models.

    *owner* names the provider, *created* is the date the server gives; it gives one
    for all.
    """

    id: str
    owner: str = ""
    created: dt.datetime | None = None


@attrs.frozen(kw_only=True)
class UploadedFile:
    """
    A file that the server has stored.

    *name* is the file's name as the server keeps it, *size* its length in bytes. *url*
    has its name percent-encoded; the server names a fixed host, so with a storage of
    the operator's own the address may lead nowhere.
    """

    id: str
    name: str
    url: str
    size: int
    purpose: str = ""
    created: dt.datetime | None = None


def _is_shown(field: attrs.Attribute[object], _: object) -> bool:
    """Return whether *field* stands in a record's dictionary: once, for the id."""
    return field not in _BUTTON_IDS


_BUTTON_IDS = (attrs.fields(Button).task_id,)


@attrs.frozen(kw_only=True)
class TaskRecord(ButtonLookup):
    """
    One snapshot of a task.

    Times are the server's, aware, in UTC; they may jump between two snapshots,
    and ``start_time`` may go back to ``None``, so never measure with them.
    ``progress`` is in per cent, and 100 for failed tasks too: decide by
    ``status``. ``image_url`` opens the picture without a key.
    """

    task_id: str
    action: str = ""
    status: TaskStatus = TaskStatus.EMPTY
    progress: float | None = None
    image_url: str | None = None
    fail_reason: str = ""
    state: str = ""
    description: str = ""
    submit_time: dt.datetime | None = None
    start_time: dt.datetime | None = None
    finish_time: dt.datetime | None = None
    prompt: str = ""
    prompt_en: str = ""
    buttons: tuple[Button, ...] = ()
    properties: TaskProperties | None = None

    def to_dict(self) -> dict[str, object]:
        """
        Return the fields by name, fit for JSON.

        The status is the server's word, a time is ISO 8601 with its zone. Leave
        ``image_url`` and ``task_id`` out of what strangers see: each opens the
        picture without a key.
        """
        return dict(attrs.asdict(self, filter=_is_shown, value_serializer=_plain))

    @property
    def results(self) -> tuple[Result, ...]:
        """The text of a task that makes one, else the picture."""
        if self.action in _TEXT_ACTIONS:
            content = self.text.encode()
            return (Result(kind="text", content=content),) if content else ()
        return (Result(kind="image", url=self.image_url),) if self.image_url else ()

    @property
    def text(self) -> str:
        """The text of a describe or shorten task; empty for every other."""
        if self.action not in _TEXT_ACTIONS:
            return ""
        final = self.properties.final_prompt if self.properties else ""
        return final or self.prompt_en

    @property
    def needs_input(self) -> bool:
        """Whether the task waits for a prompt or a mask."""
        return self.status is TaskStatus.MODAL

    @property
    def is_frozen(self) -> bool:
        """Whether the server has stopped refreshing the task without ending it."""
        return self.progress == _FULL and not self.status.is_terminal

    @property
    def is_terminal(self) -> bool:
        """Whether the task cannot change any more; true for a frozen failure too."""
        return self.status.is_terminal or (self.is_frozen and bool(self.fail_reason))


@attrs.frozen(kw_only=True)
class StabilityRecord:
    """
    One snapshot of a task of Stability; a success has the result in it.

    *seed* makes the same result again. *finish_reason* is ``"SUCCESS"``, or
    ``"CONTENT_FILTERED"`` for a result that the provider has blurred. *media_type* is
    that of *content*, ``None`` for a format that cannot be verified. A saved handle
    keeps all but the content, which is asked for again, for nothing.
    """

    task_id: str
    status: TaskStatus = TaskStatus.EMPTY
    progress: float | None = None
    fail_reason: str = ""
    kind: Literal["image", "video"] = "image"
    content: bytes | None = attrs.field(default=None, repr=False)
    media_type: str | None = None
    seed: int | None = None
    finish_reason: str = ""
    text: str = ""

    @property
    def results(self) -> tuple[Result, ...]:
        """The picture or the video of a task that has succeeded."""
        if self.status is not TaskStatus.SUCCESS:
            return ()
        return (Result(kind=self.kind, content=self.content),)

    @property
    def is_terminal(self) -> bool:
        """Whether the task cannot change any more."""
        return self.status.is_terminal


@attrs.frozen(kw_only=True)
class VideoRecord:
    """
    One snapshot of a task that makes videos.

    *raw_status* is the server's own word, *message* its reason or its chatter, and
    *video_id* the provider's id of the video, where there is one. *seconds* is how long
    the video is, *usage* what the provider says it counted. The server has no figure
    of the progress. A ``FAILURE`` may be that of one query alone: the task goes on
    until a second look says the same.
    """

    task_id: str
    status: TaskStatus = TaskStatus.EMPTY
    raw_status: str = ""
    message: str = ""
    video_id: str = ""
    seconds: float | None = None
    usage: Mapping[str, float] = attrs.field(factory=dict, hash=False)
    results: tuple[Result, ...] = ()

    @property
    def progress(self) -> float | None:
        """``None``: the server does not say it."""
        return None

    @property
    def fail_reason(self) -> str:
        """The message of a task that failed or was cancelled, else empty."""
        failed = self.status in {TaskStatus.FAILURE, TaskStatus.CANCEL}
        return self.message if failed else ""

    @property
    def text(self) -> str:
        """Empty: a video is no text."""
        return ""

    @property
    def is_terminal(self) -> bool:
        """Whether the status is one that does not change any more."""
        return self.status.is_terminal


@attrs.frozen(kw_only=True)
class ImagesRecord:
    """
    One snapshot of a task of ``client.images``.

    *raw_status* is the server's own word, *message* its sentence, which for a failed
    Kling picture is no reason. *image_id* is set once there are pictures, *urls* are
    their addresses; those of Flux lead nowhere after some ten minutes.
    """

    task_id: str
    status: TaskStatus = TaskStatus.EMPTY
    progress: float | None = None
    fail_reason: str = ""
    raw_status: str = ""
    message: str = ""
    image_id: str = ""
    urls: tuple[str, ...] = ()
    text: str = ""

    @property
    def results(self) -> tuple[Result, ...]:
        """The pictures, in the server's order."""
        return tuple(Result(kind="image", url=url) for url in self.urls)

    @property
    def is_terminal(self) -> bool:
        """Whether the task has ended, well or not."""
        return self.status.is_terminal


@attrs.frozen(kw_only=True)
class Stats:
    """
    How busy a client is, and what it has sent and received since it was entered.

    *in_progress* jobs hold a slot, *waiting* calls wait for one, *pending* tasks are
    followed. New jobs wait *busy_for* seconds, since the server is full or cannot be
    reached; where that holds for jobs of some kinds alone, the longest wait counts.
    *requests* are all that were sent, *retries* those that repeated another one.
    *bytes_sent* and *bytes_received* are those of bodies, without headers and TLS, an
    upload once it has ended. Requests of ``client.openai()`` are not counted.
    """

    in_progress: int
    waiting: int
    pending: int
    busy_for: float
    requests: int
    retries: int
    bytes_sent: int
    bytes_received: int


@attrs.frozen(kw_only=True)
class FluxRecord:
    """
    One snapshot of a task of ``client.flux``.

    *raw_status* is the server's own word, *url* the address of the picture, which leads
    nowhere after some ten minutes. *seed* and *prompt* are those the picture was made
    with, where the server says them. *moderation* are the reasons for which the content
    was refused; such a task costs nothing.
    """

    task_id: str
    status: TaskStatus = TaskStatus.EMPTY
    progress: float | None = None
    fail_reason: str = ""
    raw_status: str = ""
    url: str | None = None
    seed: int | None = None
    prompt: str = ""
    moderation: tuple[str, ...] = ()
    text: str = ""

    @property
    def results(self) -> tuple[Result, ...]:
        """The picture, once it is there."""
        return (Result(kind="image", url=self.url),) if self.url else ()

    @property
    def is_terminal(self) -> bool:
        """Whether the task has ended, well or not."""
        return self.status.is_terminal
