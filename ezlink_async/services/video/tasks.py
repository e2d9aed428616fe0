"""
Tasks that make videos: how they are asked for, judged and downloaded.

Two families share one reading. The price of a task of Doubao is settled by **each**
general query that sees its end, from any key, and again by the next one. So a task of
Doubao that this package has submitted is followed at Doubao's own path, which needs no
key and never settles, and one general query is made at its end. Where a server lacks
that path, the task ends with an error that says so, and what the general queries cost:
one whose answer is lost has settled, so they are not made without being asked for. A
bare id may be any provider's: it is followed by general queries, and ends at the first
``succeeded``.

Source: ``ye4293/one-api`` (``relay/controller/directvideo.go``,
``relay/channel/doubao/``), the code of the server.
"""

from __future__ import annotations

from urllib.parse import quote

import attrs

from ezlink_async._core.messages import Credential, HttpRequest, HttpResponse
from ezlink_async.errors import ConfigurationError, TaskFailedError
from ezlink_async.models import TaskStatus, VideoRecord
from ezlink_async.services.balance_bars import BalanceBar
from ezlink_async.services.base import PollTiming, TaskFamily
from ezlink_async.services.endings import Ending, error_of, failure
from ezlink_async.services.traces import Traces
from ezlink_async.services.video.answers import DONE, DOUBAO_DONE, read_video

MOST_BYTES = 192 * 1024 * 1024
"""The most bytes of an answer: a provider's video may stand in it, as base64."""

_TIMING = PollTiming(
    first=10.0,
    # Two queries that both say "failed" have to be ten seconds apart.
    shortest=10.0,
    longest=10.0,
    deadline=3_600.0,
    submit_wait=330.0,
    query_wait=360.0,
    new_connection=True,
)

# An accepted video leaves no entry under its request id, so absence says nothing.
_TRACES = Traces(log=True)

_CAUTION = (
    "a finished video of Doubao is settled once more by this query, which charges or "
    "credits the key; 'ezlink task video-doubao:ID', without --output, is free"
)

_CAUTION_AT_END = (
    "a video of Doubao is settled when its end is seen, once more if it was before: "
    "that charges or credits the key"
)

_BAR = BalanceBar(100_000, "video")

_BARS = {
    "sora": BalanceBar(200_000, "video of Sora"),
    "veo": BalanceBar(3_000_000, "video of Veo"),
}
"""The higher bars of some providers, by the begin of their models' names."""

_FAILED = (TaskStatus.FAILURE, TaskStatus.CANCEL)


def bar_of(model: str) -> BalanceBar:
    """Return the balance below which the server refuses a video of *model*."""
    name = model.lower()
    higher = (bar for begin, bar in _BARS.items() if name.startswith(begin))
    return next(higher, _BAR)


def _quoted(task_id: str) -> str:
    """Return *task_id* as a part of an address; ids are opaque, so it is quoted."""
    try:
        part = quote(task_id, safe="")
    except UnicodeEncodeError:
        part = ""
    # Without an id the server shows the task of a stranger that has none.
    if not part.strip("."):
        raise ConfigurationError(f"{task_id!r} is no task id")
    return part


def general_request(task_id: str) -> HttpRequest:
    """Ask for a task of any provider; with Doubao's, this may cost something."""
    path = "/v1/video/generations/result"
    query = f"taskid={_quoted(task_id)}&response_format=url"
    return HttpRequest("GET", f"{path}?{query}", answer_bytes=MOST_BYTES)


def keyless_request(task_id: str) -> HttpRequest:
    """Ask for a task of Doubao without a key, which never costs anything."""
    path = f"/doubao/api/v3/contents/generations/tasks/{_quoted(task_id)}"
    return HttpRequest("GET", path, repeatable=True, credential=Credential.NONE)


@attrs.frozen
class VideoFamily(TaskFamily[VideoRecord]):
    """Videos of every provider, asked for by the general query."""

    name: str = "video"
    record_type: type[VideoRecord] = VideoRecord
    timing: PollTiming = _TIMING
    traces: Traces = _TRACES
    caution: str = _CAUTION
    caution_at_end: str = _CAUTION
    bars: tuple[BalanceBar, ...] = (_BAR, *_BARS.values())

    def fetch_request(self, task_id: str, polls: int = 0) -> HttpRequest:
        """Ask for one task; a finished one of Doubao is settled by each such query."""
        return general_request(task_id)

    def read(self, response: HttpResponse, task_id: str) -> VideoRecord:
        """Read one task, or raise the error that the answer stands for."""
        return read_video(response, task_id)

    def judge(self, record: VideoRecord, before: VideoRecord | None) -> Ending | None:
        """
        Return how the task has ended, ``None`` while it goes on.

        A failure counts when two queries in a row say it: the server says ``failed`` of
        a query that failed, too, and a later one may bring the video.
        """
        if record.status is TaskStatus.SUCCESS:
            return self._succeeded(record)
        if record.status not in _FAILED or before is None or before is record:
            return None
        return self._failed(record) if before.status in _FAILED else None

    def _succeeded(self, record: VideoRecord) -> Ending:
        if record.results:
            return Ending()
        says = "succeeded, but without an address; it is paid"
        return Ending(failure(record, says, refunded=False))

    def _failed(self, record: VideoRecord) -> Ending:
        error = error_of(record)
        refunded = self.is_refunded(record)
        if isinstance(error, TaskFailedError):
            says = f"failed: {record.fail_reason or 'no reason given'}"
            kept = "" if refunded else "; the server gives nothing of its price back"
            return Ending(failure(record, says + kept, refunded=refunded))
        return Ending(error)

    def is_refunded(self, record: VideoRecord | None) -> bool | None:
        """
        Return whether the server gives back what the task cost, if it is known.

        It does so for ``failed``, to the account and never to the key's own quota, and
        for ``cancelled`` and ``expired`` of Doubao where its own path sees them first.
        It does not for Runway, whose failures show as ``unknown``.
        """
        if record is None or record.status not in _FAILED:
            return None
        return record.raw_status != "unknown"

    def renew(self, record: VideoRecord) -> HttpRequest | None:
        """
        Ask for fresh addresses of a finished task, where that surely costs nothing.

        Doubao's own path has one fresh address after each general query, and the
        same again after that.
        """
        if record.raw_status == DOUBAO_DONE:
            return keyless_request(record.task_id)
        if record.raw_status == DONE:
            request, wait = general_request(record.task_id), self.timing.query_wait
            return attrs.evolve(request, repeatable=True, wait=wait)
        return None


@attrs.frozen
class DoubaoFamily(VideoFamily):
    """Videos of Doubao, which are settled once, at their end."""

    name: str = "video-doubao"
    caution: str = ""
    caution_at_end: str = _CAUTION_AT_END

    def fetch_request(self, task_id: str, polls: int = 0) -> HttpRequest:
        """Ask for one task at Doubao's own path, which needs no key and is free."""
        return keyless_request(task_id)

    def fallback(self, task_id: str) -> str:
        """Return how to ask by the general query, which settles the price."""
        return (
            f"client.task({task_id!r}, family='video') or "
            f"'ezlink task video:{task_id}' asks for it elsewhere: each such query "
            "that sees the end settles the price, which charges or credits the key"
        )

    def settling_request(self, record: VideoRecord) -> HttpRequest | None:
        """Ask for the price of a task that is done to be settled; not of another."""
        done = record.raw_status == DOUBAO_DONE
        return general_request(record.task_id) if done else None


VIDEO = VideoFamily()

VIDEO_DOUBAO = DoubaoFamily()
