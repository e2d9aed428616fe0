"""Spans and metrics of a client, as the SDK's exporters in memory get them."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import attrs
import pytest

from ezlink_async import AsyncEzlink, RejectedError, SubmitUnknownError, TaskFailedError
from ezlink_async.emulator import faults, scripts
from ezlink_async.requests import Imagine
from tests.support.client_harness import POLL, emulated_client
from tests.support.pictures import jpeg

REASON = "the SDK of OpenTelemetry is not installed"

pytest.importorskip("opentelemetry.sdk", reason=REASON)

from opentelemetry.sdk.metrics import MeterProvider  # noqa: E402
from opentelemetry.sdk.metrics.export import (  # noqa: E402
    HistogramDataPoint,
    InMemoryMetricReader,
)
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider  # noqa: E402
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import (  # noqa: E402
    InMemorySpanExporter,
)
from opentelemetry.trace import SpanKind, StatusCode  # noqa: E402

from ezlink_async.instrumentation.otel import OpenTelemetry  # noqa: E402

SOURCE = jpeg(20_000)
TARGET = jpeg(30_000)


@attrs.define
class Telemetry:
    """A sink, and what it has exported."""

    request_spans: bool = False
    exporter: InMemorySpanExporter = attrs.field(factory=InMemorySpanExporter)
    reader: InMemoryMetricReader = attrs.field(factory=InMemoryMetricReader)
    provider: TracerProvider = attrs.field(factory=TracerProvider)
    sink: OpenTelemetry = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.sink = OpenTelemetry(
            tracer_provider=self.provider,
            meter_provider=MeterProvider(metric_readers=[self.reader]),
            request_spans=self.request_spans,
        )

    def spans(self) -> list[ReadableSpan]:
        """Return the spans that have ended."""
        return list(self.exporter.get_finished_spans())

    def ending(self, path: str) -> list[ReadableSpan]:
        """Return the spans of requests whose address ends with *path*."""
        urls = [str(_attributes(span).get("url.full")) for span in self.spans()]
        return [
            span
            for span, url in zip(self.spans(), urls, strict=False)
            if url.endswith(path)
        ]

    def only(self) -> ReadableSpan:
        """Return the one span there is."""
        [span] = self.spans()
        return span

    def metrics(self) -> dict[str, float]:
        """Return the sum of each metric, of a histogram how many were recorded."""
        found: dict[str, float] = {}
        data = self.reader.get_metrics_data()
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    name = metric.name.removeprefix("ezlink.client.job.")
                    found[name] = sum(map(_number, metric.data.data_points))
        return found


def _number(point: object) -> float:
    if isinstance(point, HistogramDataPoint):
        return point.count
    value: object = getattr(point, "value", None)
    assert isinstance(value, int | float)
    return value


def _attributes(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


def _events(span: ReadableSpan) -> list[str]:
    return [event.name for event in span.events]


async def test_job_is_one_span_from_its_submit_to_its_end() -> None:
    telemetry = Telemetry()
    async with emulated_client(on_event=telemetry.sink) as here:
        handle = await here.ez.swap_face(SOURCE, TARGET)
        await handle.read()
    span = telemetry.only()
    assert (span.name, span.kind) == ("ezlink swap", SpanKind.CLIENT)
    assert span.status.status_code is StatusCode.UNSET
    attributes = _attributes(span)
    ids = {request.request_id for request in here.server.control.requests}
    assert attributes.pop("ezlink.request.id") in ids
    assert attributes == {
        "ezlink.job.kind": "swap",
        "ezlink.task.family": "midjourney",
        "ezlink.task.id": handle.task_id,
        "ezlink.task.status": "SUCCESS",
    }
    names = _events(span)
    assert names[:2] == ["ezlink.started", "ezlink.accepted"]
    assert {"ezlink.poll", "ezlink.change"} == set(names[2:])
    start, end = span.start_time or 0, span.end_time or 0
    times = [start, *(event.timestamp for event in span.events), end]
    assert times == sorted(times)


async def test_span_of_a_job_is_a_child_of_the_span_that_submitted_it() -> None:
    telemetry = Telemetry()
    tracer = telemetry.provider.get_tracer("test")
    async with emulated_client(on_event=telemetry.sink) as here:
        handles = []
        for number in range(2):
            with tracer.start_as_current_span(f"request {number}"):
                handles.append(await here.ez.swap_face(SOURCE, jpeg(30_000 + number)))
        await asyncio.gather(*handles)
    spans = telemetry.spans()
    callers = {span.name: span.context.span_id for span in spans if span.context}
    parents = [s.parent.span_id for s in spans if s.name == "ezlink swap" and s.parent]
    assert sorted(parents) == sorted(
        callers[name] for name in callers if name.startswith("request")
    )


async def test_retries_are_events_of_the_span() -> None:
    telemetry = Telemetry()
    async with emulated_client(on_event=telemetry.sink) as here:
        here.server.control.script("submit", faults.queue_full())
        here.server.control.script("fetch", faults.Answer(502, "<html>"))
        await (await here.ez.swap_face(SOURCE, TARGET))
    events = telemetry.only().events
    retries = [event for event in events if event.name == "ezlink.retry"]
    purposes = [dict(e.attributes or {})["ezlink.retry.purpose"] for e in retries]
    assert purposes == ["submit", "poll"]
    [busy] = [event for event in events if event.name == "ezlink.busy"]
    assert dict(busy.attributes or {})["ezlink.reason"] == "full"


async def test_failed_jobs_have_spans_with_their_error() -> None:
    telemetry = Telemetry()
    async with emulated_client(on_event=telemetry.sink) as here:
        control = here.server.control
        control.script("submit", faults.banned_word())
        with pytest.raises(RejectedError):
            await here.ez.swap_face(SOURCE, TARGET)
        control.script("submit", faults.Drop(job=True))
        with pytest.raises(SubmitUnknownError):
            await here.ez.swap_face(SOURCE, TARGET)
        control.script_tasks(scripts.fails("no face"))
        with pytest.raises(TaskFailedError):
            await (await here.ez.swap_face(SOURCE, TARGET))
    spans = telemetry.spans()
    found = [
        (_attributes(each)["error.type"], _attributes(each)["ezlink.maybe_charged"])
        for each in spans
    ]
    assert [kind for kind, _ in found] == [
        *("RejectedError", "SubmitUnknownError", "TaskFailedError")
    ]
    assert [paid for _, paid in found[:2]] == [False, True]
    assert {each.status.status_code for each in spans} == {StatusCode.ERROR}
    assert "no face" in (spans[2].status.description or "")


async def test_closed_client_leaves_no_span_open_and_no_job_counted() -> None:
    telemetry = Telemetry()
    async with emulated_client(on_event=telemetry.sink, max_concurrency=1) as here:
        here.server.control.script_tasks(scripts.stuck())
        await here.ez.swap_face(SOURCE, TARGET)
        waiting = asyncio.create_task(here.ez.swap_face(SOURCE, TARGET))
        while telemetry.metrics().get("waiting") != 1:
            await asyncio.sleep(0)
        counted = telemetry.metrics()
        assert (counted["active"], counted["waiting"]) == (1, 1)
    await asyncio.wait([waiting])
    assert waiting.exception()
    assert len(telemetry.spans()) == 2
    counted = telemetry.metrics()
    assert (counted["active"], counted["waiting"]) == (0, 0)
    assert (counted["accepted"], counted["duration"]) == (1, 2)


async def test_metrics_count_what_was_accepted_and_what_is_unknown() -> None:
    telemetry = Telemetry()
    async with emulated_client(on_event=telemetry.sink) as here:
        await (await here.ez.swap_face(SOURCE, TARGET))
        await (await here.ez.submit(Imagine("a fox")))
        here.server.control.script("submit", faults.Drop(job=True))
        with pytest.raises(SubmitUnknownError):
            await here.ez.swap_face(SOURCE, TARGET)
    assert telemetry.metrics() == {
        "waiting": 0,
        "active": 0,
        "accepted": 2,
        "unknown": 1,
        "duration": 3,
    }


async def test_job_that_joins_another_ends_its_span() -> None:
    telemetry = Telemetry()
    async with emulated_client(on_event=telemetry.sink) as here:
        here.server.control.script_tasks(scripts.stuck())
        handle = await here.ez.swap_face(SOURCE, TARGET)
        body = {"code": 21, "description": "任务已存在", "result": handle.task_id}
        here.server.control.script("submit", faults.Upstream(body=body))
        await here.ez.swap_face(SOURCE, TARGET)
        joined = _attributes(telemetry.only())
        assert joined["ezlink.task.existed"] is True
        assert telemetry.metrics()["active"] == 1
    assert telemetry.metrics()["accepted"] == 1


async def test_resumed_task_has_a_span_and_counts_nothing() -> None:
    telemetry = Telemetry()
    async with emulated_client() as here:
        task_id = (await here.ez.swap_face(SOURCE, TARGET)).task_id
        async with AsyncEzlink(
            here.server.api_key,
            base_url=here.server.base_url,
            poll=POLL,
            on_event=telemetry.sink,
        ) as ez:
            await ez.task(task_id)
    assert telemetry.only().name == "ezlink midjourney"
    assert telemetry.metrics() == {}


async def test_requests_are_spans_below_their_job_on_demand() -> None:
    telemetry = Telemetry(request_spans=True)
    async with emulated_client(on_event=telemetry.sink) as here:
        here.server.control.script("fetch", faults.Answer(502, "<html>"))
        await (await here.ez.swap_face(SOURCE, TARGET))
    *requests, job = telemetry.spans()
    assert job.context is not None
    assert {each.parent.span_id for each in requests if each.parent} == {
        job.context.span_id
    }
    submit, poll = requests[0], requests[1]
    found = _attributes(submit)
    assert (submit.name, submit.kind) == ("POST", SpanKind.CLIENT)
    assert found["http.request.method"] == "POST"
    assert found["http.response.status_code"] == 200
    assert found["url.full"] == f"{here.server.base_url}/mj/insight-face/swap"
    assert found["server.address"] == "127.0.0.1"
    assert f":{found['server.port']}" in here.server.base_url
    assert _attributes(poll)["error.type"] == "502"
    assert poll.status.status_code is StatusCode.ERROR


async def test_polls_for_all_callers_belong_to_no_caller() -> None:
    """A list polls the tasks of many, so its span is no child of the first one's."""
    telemetry = Telemetry(request_spans=True)
    tracer = telemetry.provider.get_tracer("test")
    async with emulated_client(on_event=telemetry.sink) as here:
        here.server.control.script_tasks(*[scripts.stuck()] * 4)
        with tracer.start_as_current_span("caller"):
            for number in range(4):
                await here.ez.swap_face(SOURCE, jpeg(30_000 + number))
        while not (lists := telemetry.ending("list-by-condition")):
            await asyncio.sleep(0)
    assert lists[0].parent is None


def test_module_without_opentelemetry_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "try: import ezlink_async.instrumentation.otel\n"
        "except ModuleNotFoundError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "pip install 'ezlink-async[otel]'" in done.stdout
