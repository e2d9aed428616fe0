"""The provider's part in the recorded exchanges of async images and native Flux."""

from __future__ import annotations

from ezlink_async.emulator import faults

_REPLICATE = "another provider behind Flux, which the emulator does not have"
#: Exchanges that are not replayed, each with the reason.
LEFT_OUT = {
    "flux-rid-retried": "a server whose operator lets it repeat calls",
    **dict.fromkeys(
        (
            *("flux-replicate-canceled-at-once", "flux-replicate-failed-at-once"),
            *("flux-replicate-ready", "flux-replicate-record-failed"),
            *("flux-replicate-rid-ready", "flux-replicate-source-401"),
            *("flux-replicate-source-404", "flux-replicate-source-failed"),
            *("flux-replicate-source-processing", "flux-replicate-source-ready"),
            *("flux-replicate-source-unknown", "flux-replicate-starting"),
            "flux-replicate-unsupported",
            "flux-record-ready-by-reconciler-replicate",
            "flux-record-failed-by-reconciler-replicate",
        ),
        _REPLICATE,
    ),
}

_GUIDELINES = {"detail": "Content violates usage guidelines"}
_BAD_PROMPT = {"detail": "bad prompt"}
_CUT = '{"id":'
_HTML = "<html>boom</html>"


def _kling(task_id: str) -> faults.Upstream:
    data = {"task_id": task_id, "task_status": "submitted"}
    return faults.Upstream(body={"code": 0, "message": "SUCCEED", "data": data})


def _kling_error(code: int, message: str) -> faults.Upstream:
    return faults.Upstream(400, {"code": code, "message": message})


def _wan(task_id: str) -> faults.Upstream:
    return faults.Upstream(body={"output": {"task_id": task_id}})


def _bfl(task_id: str, **fields: object) -> faults.Upstream:
    return faults.Upstream(body={"id": task_id, "polling_url": "x", **fields})


_WAN_FULL = faults.Upstream(429, {"code": "Throttling", "message": "limit"})
_WITH_SIZE = {"cost": 3, "input_mp": 0, "output_mp": 1.05}

#: The provider's answers to submits.
SUBMITS: dict[str, faults.Upstream] = {
    "async-flux-accepted": _bfl("af-1"),
    "async-flux-poor": _bfl("af-p"),
    "async-flux-rid-accepted": _bfl("af-log-1"),
    "async-flux-200-no-id": faults.Upstream(body={"queued": True}),
    "async-flux-rid-no-id": faults.Upstream(body={"queued": True}),
    "async-flux-refused-202": faults.Upstream(202, '{"id":"af-2","polling_url":"x"}'),
    "async-flux-refused-401": faults.Upstream(401, {"detail": "Not authenticated"}),
    "async-flux-refused-422": faults.Upstream(
        422, {"detail": [{"loc": ["body", "prompt"], "msg": "Field required"}]}
    ),
    "async-flux-refused-429": faults.Upstream(429, "slow down"),
    "async-flux-refused-500": faults.Upstream(500, {"detail": "boom /x"}),
    "async-flux-refused-403-guidelines": faults.Upstream(403, _GUIDELINES),
    "async-flux-rid-guidelines": faults.Upstream(403, _GUIDELINES),
    "async-flux-rid-refused": faults.Upstream(400, _BAD_PROMPT),
    "async-flux-200-html": faults.Upstream(200, _HTML),
    "async-flux-down": faults.Upstream(broken="refused"),
    "async-flux-slow-330": faults.Upstream(broken="slow"),
    "async-kling-accepted": _kling("ak-1"),
    "async-kling-rid-accepted": _kling("ak-log-1"),
    "async-kling-500-no-code": faults.Upstream(500, {"error": "x"}),
    "async-kling-rid-no-id": faults.Upstream(500, {"message": "oops"}),
    "async-kling-refused": _kling_error(1201, "bad n"),
    "async-kling-refused-429": _kling_error(1303, "parallel"),
    "async-kling-rid-refused": _kling_error(
        1303, "parallel task over resource pack limit"
    ),
    "async-wan-accepted": _wan("aw-1"),
    "async-wan-rid-accepted": _wan("aw-log-1"),
    "async-wan-refused-429": _WAN_FULL,
    "async-wan-rid-refused": _WAN_FULL,
    "flux-accepted": _bfl("fx-1", **_WITH_SIZE),
    "flux-accepted-202": faults.Upstream(202, {"id": "fx-2", "cost": None}),
    "flux-rid-accepted": _bfl("fl-cb", **_WITH_SIZE, webhook_url="http://relay/x"),
    "flux-rid-header-1": _bfl("fl-h", cost=0),
    "flux-rid-header-2": _bfl("fl-h"),
    "flux-rid-header-3": _bfl("fl-h"),
    "flux-200-no-id": faults.Upstream(body={"queued": True}),
    "flux-rid-no-id": faults.Upstream(body={"queued": True, "cost": 3}),
    "flux-refused-200": faults.Upstream(body={"error": "no gpu"}),
    "flux-refused-401": faults.Upstream(401, {"detail": "Not authenticated"}),
    "flux-refused-403": faults.Upstream(403, {"detail": "Forbidden"}),
    "flux-refused-403-guidelines": faults.Upstream(403, _GUIDELINES),
    "flux-rid-guidelines": faults.Upstream(403, _GUIDELINES),
    "flux-rid-refused": faults.Upstream(400, _BAD_PROMPT),
    "flux-refused-422": faults.Upstream(
        422, {"detail": [{"loc": ["body", "prompt"], "msg": "Field required"}]}
    ),
    "flux-refused-429": faults.Upstream(429, "slow down"),
    "flux-refused-500": faults.Upstream(500, _HTML),
    "flux-rid-unreadable": faults.Upstream(200, _CUT),
    "flux-down": faults.Upstream(broken="refused"),
    "flux-slow-330": faults.Upstream(broken="slow"),
    "flux-rid-upstream-reset": faults.Upstream(broken="reset"),
}


def _result(status: str, **fields: object) -> faults.Upstream:
    return faults.Upstream(body={"id": "af-1", "status": status, **fields})


def _kling_result(status: str, *urls: str) -> faults.Upstream:
    images = [{"index": index, "url": url} for index, url in enumerate(urls)]
    data = {"task_status": status, "task_result": {"images": images}}
    return faults.Upstream(body={"code": 0, "message": "SUCCEED", "data": data})


def _wan_failed(message: str) -> faults.Upstream:
    output = {"task_status": "FAILED", "message": message}
    return faults.Upstream(body={"output": output})


_READY = _result(
    "Ready", result={"sample": "https://delivery.example/s.jpeg?se=1&sig=2"}
)

#: The provider's answers to queries of async images.
QUERIES: dict[str, faults.Upstream] = {
    "async-flux-pending": _result("Pending"),
    "async-flux-ready": _READY,
    "async-flux-other-user": _READY,
    "flux-async-result-unpaid": _READY,
    "async-flux-ready-after-reconciler": _result(
        "Ready", result={"sample": "https://delivery.example/p.jpeg"}
    ),
    "async-flux-ready-empty": _result("Ready", result={}),
    "async-flux-moderated": _result(
        "Request Moderated", details={"Moderation Reasons": ["Copyright"]}
    ),
    "async-flux-error": _result("Error"),
    "async-flux-not-found-404": faults.Upstream(
        404, '{"id":"af-1","status":"Task not found","result":null}'
    ),
    "async-flux-result-429": faults.Upstream(429, "slow down"),
    "async-result-no-taskid": faults.Upstream(body={}),
    "async-kling-processing": _kling_result("processing"),
    "async-kling-failed": _kling_result("failed"),
    "async-kling-succeed": _kling_result(
        "succeed", "https://cdn.example/0.png", "https://cdn.example/1.png"
    ),
    "async-kling-result-code": faults.Upstream(
        body={"code": 1203, "message": "no such task"}
    ),
    "async-wan-failed": _wan_failed("inappropriate"),
    "async-wan-refund-log": _wan_failed("no"),
    "async-wan-partly": faults.Upstream(
        body={
            "output": {
                "task_status": "SUCCEEDED",
                "results": [{"url": "https://cdn.example/w.png"}, {"code": "x"}],
                "task_metrics": {"TOTAL": 2, "SUCCEEDED": 1, "FAILED": 1},
            }
        }
    ),
}

#: What the provider has said of a native task before the recorded look at its record,
#: by the exchange in which it said so.
BEFORE = {
    "flux-record-ready": "flux-source-ready-by-other",
    "flux-source-ready-again": "flux-source-ready-by-other",
    "flux-record-request-moderated": "flux-source-request-moderated",
    "flux-record-task-not-found": "flux-source-task-not-found",
}

_SEEN = (
    '{"id":"bfl-ready","status":"Ready","result":'
    '{"sample":"https://delivery.example/p.jpeg","seed":1,"start_time":1.5}}'
)
#: What the provider has said in a call of its own before that.
CALLED = {
    "flux-record-ready-by-callback": (
        '{"id": "fx-9", "status": "Ready", "result": '
        '{"sample": "https://delivery.example/t.jpeg", "seed": 3}}'
    ),
    "flux-record-ready-by-reconciler": _SEEN,
}

#: The native tasks whose ids stand in no query.
CALLED_IDS = {"flux-callback": "fx-9", "flux-callback-ready": "fl-cb"}

#: The request ids under which tasks were submitted that are charged later.
SUBMITTED_AS = {
    "flux-callback-ready": "family-flux-callback",
    "flux-rid-source-ready": "family-flux-source",
}
