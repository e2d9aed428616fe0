"""
Events as OpenTelemetry's spans and metrics; needs the extra ``otel``.

A span covers one job, from its submit to the end of its task. It is a child of the
span in which the job was submitted. Metrics count jobs, with or without spans.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

import attrs

from ezlink_async._version import __version__
from ezlink_async.errors import EzlinkError
from ezlink_async.models import (
    Event,
    RequestFinished,
    RequestRetried,
    ServerBusy,
    SubmitFailed,
    SubmitQueued,
    SubmitStarted,
    TaskChanged,
    TaskFinished,
    TaskPolled,
    TaskResumed,
    TaskSubmitted,
)

try:
    from opentelemetry import metrics, trace
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        "OpenTelemetry is not installed: pip install 'ezlink-async[otel]'",
        name=_missing.name,
    ) from _missing

_Attributes = dict[str, str | float]

_SPAN_EVENTS: Mapping[type[Event], str] = {
    SubmitStarted: "ezlink.started",
    TaskSubmitted: "ezlink.accepted",
    TaskPolled: "ezlink.poll",
    TaskChanged: "ezlink.change",
    RequestRetried: "ezlink.retry",
    ServerBusy: "ezlink.busy",
}

_NAMES = {
    "kind": "ezlink.job.kind",
    "family": "ezlink.task.family",
    "task_id": "ezlink.task.id",
    "request_id": "ezlink.request.id",
    "status": "ezlink.task.status",
    "old": "ezlink.task.status.old",
    "new": "ezlink.task.status",
    "progress": "ezlink.task.progress",
    "purpose": "ezlink.retry.purpose",
    "reason": "ezlink.reason",
    "seconds": "ezlink.seconds",
}
"""The attribute of each field of an event that has one."""

_OF_JOB = frozenset({"kind", "family", "task_id"})  # said once, on the span itself
_OF_SPAN = frozenset({*_OF_JOB, "request_id", "status"})

_BOUNDARIES = (1, 2.5, 5, 10, 20, 30, 45, 60, 90, 120, 180, 300, 600, 1200, 3600)


@attrs.define(eq=False)
class _Job:
    """A job between its submit and its end."""

    span: trace.Span
    is_resumed: bool
    has_slot: bool = False
    accepted_after: float = 0.0


class OpenTelemetry:
    """
    A callback for ``AsyncEzlink(on_event=...)`` that makes spans and metrics.

    Without a *tracer_provider* or a *meter_provider* those of the process are used.
    With *request_spans* each HTTP request is a span, too: a child of its job's, or of
    the span that is current. Use one object for one client. The span of a task has the
    task's id, which opens the result without a key: keep what you export private.
    """

    def __init__(
        self,
        *,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
        request_spans: bool = False,
    ) -> None:
        self._tracer = trace.get_tracer("ezlink_async", __version__, tracer_provider)
        self._metrics = _Metrics(
            metrics.get_meter("ezlink_async", __version__, meter_provider)
        )
        self._request_spans = request_spans
        self._jobs: dict[int, _Job] = {}

    def __call__(self, event: Event) -> None:
        """Take note of *event*."""
        if isinstance(event, RequestFinished):
            if self._request_spans:
                self._add_request(event)
        elif isinstance(event, SubmitQueued | TaskResumed):
            self._begin(event)
        elif job := self._jobs.get(event.job):
            self._metrics.note(event, job)
            if name := _SPAN_EVENTS.get(type(event)):
                attributes = _attributes(event, _NAMES.keys() - _OF_JOB)
                job.span.add_event(name, attributes, _nanoseconds(event.at))
            self._note_progress(event, job)

    def _begin(self, event: SubmitQueued | TaskResumed) -> None:
        span = self._tracer.start_span(
            f"ezlink {event.kind or event.family}",
            kind=trace.SpanKind.CLIENT,
            attributes=_attributes(event, _OF_SPAN),
            start_time=_nanoseconds(event.at),
        )
        job = _Job(span, is_resumed=isinstance(event, TaskResumed))
        self._jobs[event.job] = job
        self._metrics.note(event, job)

    def _note_progress(self, event: Event, job: _Job) -> None:
        """Take note of what later events of the *job* depend on."""
        if isinstance(event, SubmitStarted):
            job.has_slot = True
        elif isinstance(event, TaskSubmitted):
            job.accepted_after = event.seconds
            job.span.set_attributes(_attributes(event, _OF_SPAN))
            if event.existed:
                job.span.set_attribute("ezlink.task.existed", value=True)
                self._end(event, job)
        elif isinstance(event, SubmitFailed | TaskFinished):
            job.span.set_attributes(_attributes(event, _OF_SPAN))
            _set_error(job.span, event.error)
            self._end(event, job)

    def _end(self, event: Event, job: _Job) -> None:
        del self._jobs[event.job]
        job.span.end(_nanoseconds(event.at))

    def _add_request(self, event: RequestFinished) -> None:
        job = self._jobs.get(event.job)
        url = urlsplit(event.url)
        attributes = {
            **_attributes(event, {*_OF_JOB, "request_id"}),
            "http.request.method": event.method,
            "url.full": event.url,
            "server.address": url.hostname or "",
            "server.port": url.port or (443 if url.scheme == "https" else 80),
        }
        error = event.error
        if event.status is not None:
            attributes["http.response.status_code"] = event.status
            if error is None and event.status >= 400:  # noqa: PLR2004 - an error
                error = str(event.status)
        span = self._tracer.start_span(
            event.method,
            context=trace.set_span_in_context(job.span) if job else None,
            kind=trace.SpanKind.CLIENT,
            attributes=attributes,
            start_time=_nanoseconds(event.at - event.seconds),
        )
        if error is not None:
            span.set_attribute("error.type", error)
            span.set_status(trace.StatusCode.ERROR)
        span.end(_nanoseconds(event.at))


class _Metrics:
    """The instruments of one client."""

    def __init__(self, meter: metrics.Meter) -> None:
        self._waiting = meter.create_up_down_counter(
            "ezlink.client.job.waiting", "{job}", "Jobs that wait for a slot"
        )
        self._active = meter.create_up_down_counter(
            "ezlink.client.job.active", "{job}", "Jobs that hold a slot"
        )
        self._accepted = meter.create_counter(
            "ezlink.client.job.accepted", "{job}", "Jobs that the server has accepted"
        )
        self._unknown = meter.create_counter(
            "ezlink.client.job.unknown", "{job}", "Submits that may be paid, without id"
        )
        self._duration = meter.create_histogram(
            "ezlink.client.job.duration",
            "s",
            "From the submit to the end of the task",
            explicit_bucket_boundaries_advisory=_BOUNDARIES,
        )

    def note(self, event: Event, job: _Job) -> None:
        """Count *event*, before the *job* takes note of it."""
        if job.is_resumed:
            return  # it takes no slot, and its beginning is not known
        about = _attributes(event, {"kind", "family"})
        if isinstance(event, SubmitQueued):
            self._waiting.add(1, about)
        elif isinstance(event, SubmitStarted):
            self._waiting.add(-1, about)
            self._active.add(1, about)
        elif isinstance(event, TaskSubmitted) and not event.existed:
            self._accepted.add(1, about)
        elif isinstance(event, TaskSubmitted | SubmitFailed | TaskFinished):
            self._end(event, job, about)

    def _end(
        self,
        event: TaskSubmitted | SubmitFailed | TaskFinished,
        job: _Job,
        about: _Attributes,
    ) -> None:
        (self._active if job.has_slot else self._waiting).add(-1, about)
        if isinstance(event, TaskSubmitted):
            return  # it has joined another job
        error = event.error
        if isinstance(event, SubmitFailed) and _maybe_charged(error):
            self._unknown.add(1, about)
        failed: _Attributes = {"error.type": type(error).__name__} if error else {}
        self._duration.record(job.accepted_after + event.seconds, {**about, **failed})


def _maybe_charged(error: Exception | None) -> bool:
    return isinstance(error, EzlinkError) and error.maybe_charged


def _set_error(span: trace.Span, error: Exception | None) -> None:
    if error is not None:
        span.set_attribute("error.type", type(error).__name__)
        span.set_attribute("ezlink.maybe_charged", _maybe_charged(error))
        span.set_status(trace.StatusCode.ERROR, str(error))


def _attributes(event: Event, fields: Collection[str]) -> _Attributes:
    """Return those of *fields* that have a value in *event*, as attributes."""
    found: _Attributes = {}
    for field, name in _NAMES.items():
        value: object = getattr(event, field, None) if field in fields else None
        if value is not None:
            found[name] = value if isinstance(value, float) else str(value)
    return found


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
