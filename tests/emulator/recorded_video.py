"""The providers' part in the recorded exchanges of videos."""

from __future__ import annotations

import json
from collections.abc import Sequence

from attrs import frozen

from ezlink_async.emulator import faults
from ezlink_async.emulator.faults import Upstream
from tests.emulator.recorded import SAMPLES

Body = dict[str, object]

_VERTEX = "projects/p/locations/global/publishers/google/models/veo/operations"
_HTML = "<html>502</html>"

#: A submit for each provider, as the tasks of the recorded queries were made.
SUBMITS: dict[str, Body] = {
    "kling": {"model": "kling-v1", "prompt": "a cat", "mode": "std", "duration": "5"},
    "doubao": {
        "model": "doubao-seedance-1-0-lite",
        "content": [{"type": "text", "text": "a cat --dur 5"}],
    },
    "minimax": {"model": "T2V-01", "prompt": "a cat"},
    "veo": {"model": "veo-3.0-generate-001", "instances": [{"prompt": "a cat"}]},
    "grok": {"model": "grok-imagine-video", "prompt": "a cat", "duration": 5},
    "wan": {"model": "wan2.5-t2v-preview", "input": {"prompt": "a cat"}},
    "omni": {"model": "gemini-omni-flash-preview", "prompt": "a cat"},
}


def accepted(provider: str, task_id: str) -> Upstream:
    """Return a provider's acceptance of a submit."""
    bodies: dict[str, Body] = {
        "kling": {"code": 0, "data": {"task_id": task_id, "task_status": "submitted"}},
        "doubao": {"id": task_id},
        "minimax": {"task_id": task_id, "base_resp": _base()},
        "veo": {"name": f"{_VERTEX}/{task_id}"},
        "grok": {"request_id": task_id},
        "wan": {"output": {"task_id": task_id, "task_status": "PENDING"}},
        "omni": {"id": task_id, "status": "in_progress"},
    }
    return Upstream(body=bodies[provider])


# Answers to submits


def _base(code: int = 0, message: str = "success") -> Body:
    return {"status_code": code, "status_msg": message}


def _minimax_refusal(code: int, message: str) -> Upstream:
    return Upstream(body={"base_resp": _base(code, message)})


def _kling_refusal(status: int, code: int, message: str, **more: object) -> Upstream:
    return Upstream(status, {"code": code, "message": message, **more})


_NO_ID = Upstream(body={"code": 1200, "message": "no"})
#: What happens to a submit at the provider, by name; others are accepted.
ANSWERS: dict[str, faults.Fault] = {
    "video-no-channel": faults.Trouble("no_channel"),
    "video-rid-no-channel": faults.Trouble("no_channel"),
    "video-kling-refused-200": _NO_ID,
    "video-kling-rid-no-id": _NO_ID,
    "video-kling-refused-400": _kling_refusal(
        400, 1201, "Invalid parameters, see /x", request_id="r2"
    ),
    "rid-echo-video": _kling_refusal(400, 1303, "busy"),
    "video-kling-rid-refused": _kling_refusal(400, 1201, "bad prompt"),
    "video-kling-refused-401": _kling_refusal(401, 1002, "access key not found"),
    "video-kling-refused-429": _kling_refusal(429, 1302, "slow down"),
    "video-kling-refused-500": _kling_refusal(500, 5000, "Internal server error"),
    "video-rid-retried-refused": _kling_refusal(500, 5000, "oops"),
    "video-kling-refused-html": Upstream(502, _HTML),
    "video-kling-200-html": Upstream(200, _HTML),
    "video-kling-upstream-down": Upstream(broken="refused"),
    "video-rid-down": Upstream(broken="refused"),
    "video-kling-upstream-reset": Upstream(broken="reset"),
    "video-doubao-refused-400": Upstream(
        400, {"error": {"code": "x", "message": "bad prompt"}}
    ),
    "video-doubao-rid-refused": Upstream(
        400, {"error": {"code": "x", "message": "bad content"}}
    ),
    "video-doubao-rid-no-id": Upstream(body={}),
    "alias-doubao2-429": Upstream(
        429, {"error": {"code": "RateLimit", "message": "slow"}}
    ),
    "video-minimax-refused-1002": _minimax_refusal(1002, "rate"),
    "video-minimax-refused-1004": _minimax_refusal(1004, "auth failed"),
    "video-minimax-refused-1026": _minimax_refusal(1026, "sensitive"),
    "video-minimax-rid-refused": _minimax_refusal(1026, "sensitive"),
    "video-minimax-refused-2013": _minimax_refusal(2013, "invalid params"),
    "video-minimax-refused-500": Upstream(500, {"error": "x"}),
    "video-minimax-rid-no-id": Upstream(body={"other": 1}),
    "video-grok-refused-403": Upstream(
        403, {"code": "x", "error": "Content violates usage guidelines"}
    ),
    "video-grok-slow-75": Upstream(broken="slow"),
    "video-wan-refused-429": Upstream(
        429,
        {"code": "Throttling.RateQuota", "message": "Requests rate limit exceeded"},
    ),
    "video-veo-refused-400": Upstream(400, {"error": {"message": "Text says why"}}),
    "video-veo-refused-429": Upstream(429, {"error": {"message": "quota"}}),
    "video-omni-down": Upstream(broken="refused"),
}
#: The balance before a submit.
BALANCES = {
    "video-poor": 99_999,
    "video-rid-poor": 99_999,
    "video-overdraw": 100_000,
    "video-veo-poor": 2_999_999,
}


# Answers to queries


@frozen
class Query:
    """
    One query for a task: the provider's *answer*, and those that came before.

    Earlier ones of the path without a key begin with a ``/``.
    """

    answer: faults.Fault | None = None
    earlier: tuple[tuple[str, faults.Fault], ...] = ()
    other: bool = False


def _kling(word: str, message: str = "", videos: Sequence[Body] | None = None) -> Body:
    data: Body = {"task_status": word, "task_status_msg": message}
    if videos is not None:
        data["task_result"] = {"videos": videos}
    return data


def _kling_answer(task_id: str, data: Body) -> Upstream:
    return Upstream(body={"code": 0, "data": {"task_id": task_id, **data}})


_KLING_VIDEO: Body = {
    "id": "v-77",
    "url": "https://cdn.example/a.mp4?x=1&y=2",
    "duration": "5.1",
}
_RISK = _kling("failed", "content risk")
_KLING_VIEWS: dict[str, Body] = {
    "processing": _kling("processing"),
    "other-user": _kling("processing"),
    "submitted": _kling("submitted"),
    "succeed": _kling("succeed", videos=[_KLING_VIDEO]),
    "succeed-no-video": _kling("succeed", videos=[]),
    "failed": _RISK,
    "failed-again": _RISK,
    "failed-refund-twice": _RISK,
    "failed-seen-by-other": _RISK,
    "refund-log": _kling("failed", "risk"),
    "result-slow-130": _kling("processing"),
}
_BROKEN_QUERIES: dict[str, faults.Fault] = {
    "video-kling-result-upstream-500": Upstream(500, {"code": 5000, "message": "x"}),
    "video-kling-result-upstream-html": Upstream(502, _HTML),
    "video-kling-result-upstream-reset": Upstream(broken="reset"),
    "video-channel-deleted": faults.Trouble("channel_deleted"),
    "video-result-no-taskid": Upstream(404, {"code": 1203, "message": "not found"}),
    "video-omni-result-429": Upstream(
        429, {"error": {"code": "429", "message": "quota"}}
    ),
    "video-veo-result-404": Upstream(404, {"error": {"code": 404, "message": "no"}}),
    "video-doubao-result-404": Upstream(404, {"error": {"code": "x", "message": "no"}}),
}


def _doubao(task_id: str, word: str, **more: object) -> Upstream:
    return Upstream(body={"id": task_id, **more, "status": word})


def _done(task_id: str, address: str, *, named: bool = True) -> Upstream:
    """Return a finished Doubao video, in the order of the recorded keys."""
    tokens = {"completion_tokens": 245_388, "total_tokens": 245_388}
    body: Body = {"id": task_id, "model": "doubao-seedance-1-0-lite"}
    body |= {"status": "succeeded", "content": {"video_url": address}, "usage": tokens}
    if not named:
        del body["model"]
    return Upstream(body=body)


def _cheap(task_id: str) -> Upstream:
    content, usage = {"video_url": "https://cdn.example/b.mp4"}, {"total_tokens": 1000}
    body = {"id": task_id, "status": "succeeded", "content": content, "usage": usage}
    return Upstream(body=body)


def _cdn(name: str) -> str:
    return f"https://cdn.example/{name}.mp4"


_OWN = "/doubao/api/v3/contents/generations/tasks/"
_QUERY = "/v1/video/generations/result?taskid="


def _general(task_id: str, *answers: Upstream) -> tuple[tuple[str, faults.Fault], ...]:
    return tuple((_QUERY + task_id, answer) for answer in answers)


def _keyless(task_id: str, *answers: Upstream) -> tuple[tuple[str, faults.Fault], ...]:
    return tuple((_OWN + task_id, answer) for answer in answers)


_ENDED = {"error": {"code": "X", "message": "no"}}
_ONE, _TWO, _THREE = (_done("db-1", _cdn(name)) for name in "123")
_ALONE = _done("db-2", _cdn("1"))
_SETTLED = _done("cgt-1", _cdn("b"))
_FAILED = Upstream(body={"id": "db-failed", "status": "failed", **_ENDED})
_D2 = Upstream(
    body={
        "id": "d2-1",
        "status": "succeeded",
        "content": {"video_url": _cdn("b")},
        "usage": {"total_tokens": 245_388},
    }
)


def _ended(task_id: str, word: str, *, reason: bool = False) -> Upstream:
    more = _ENDED if reason else {}
    return Upstream(body={"id": task_id, "status": word, **more})


def _of_poller(task_id: str, word: str, **more: object) -> Query:
    answer = Upstream(body={"id": task_id, "status": word, **more})
    return Query(answer, _keyless(task_id, answer))


_UNUSED = Upstream(
    body={
        "id": "db-nousage",
        "status": "succeeded",
        "content": {"video_url": _cdn("n")},
    }
)
_DOUBAO: dict[str, Query] = {
    "video-doubao-running": Query(_doubao("cgt-1", "running")),
    "video-doubao-succeeded": Query(_SETTLED),
    "video-doubao-succeeded-again": Query(_SETTLED, _general("cgt-1", _SETTLED)),
    "video-doubao-succeeded-by-other": Query(_SETTLED, other=True),
    "video-doubao-cheap": Query(_cheap("d2-2")),
    "video-doubao-cheap-2": Query(_cheap("d2-2"), _general("d2-2", _cheap("d2-2"))),
    "video-doubao-failed": Query(
        _doubao("cgt-2", "failed", error={"code": "x", "message": "sensitive"})
    ),
    "video-doubao-cancelled": Query(_doubao("cgt-3", "cancelled")),
    "video-doubao-failed-after-poller": _of_poller(
        "db-failed", "failed", error={"code": "x", "message": "m"}
    ),
    "video-doubao-succeeded-after-poller": Query(
        _done("db-ok", _cdn("b")), _keyless("db-ok", _done("db-ok", _cdn("b")))
    ),
    "video-doubao-settled-1": Query(_ONE),
    "video-doubao-settled-2": Query(_TWO, _general("db-1", _ONE)),
    "video-doubao-settled-3": Query(
        _THREE, (*_general("db-1", _ONE, _TWO), *_keyless("db-1", _TWO))
    ),
    "video-doubao-general-failed-after": Query(_FAILED, _keyless("db-failed", _FAILED)),
    "video-doubao-general-cancelled": Query(_ended("db-cancelled", "cancelled")),
    "video-doubao-general-cancelled-after": Query(
        _ended("db-cancelled", "cancelled"),
        (
            *_general("db-cancelled", _ended("db-cancelled", "cancelled")),
            *_keyless("db-cancelled", _ended("db-cancelled", "cancelled")),
        ),
    ),
    "video-doubao-general-cancelled-second": Query(
        _ended("db-cancelled-k", "cancelled"),
        _keyless("db-cancelled-k", _ended("db-cancelled-k", "cancelled")),
    ),
    "video-doubao-general-expired": Query(_ended("db-expired", "expired")),
    "video-doubao-general-expired-after": Query(
        _ended("db-expired", "expired"),
        (
            *_general("db-expired", _ended("db-expired", "expired")),
            *_keyless("db-expired", _ended("db-expired", "expired")),
        ),
    ),
    "video-doubao-general-expired-second": Query(
        _ended("db-expired-k", "expired"),
        _keyless("db-expired-k", _ended("db-expired-k", "expired")),
    ),
    "video-doubao-after-cut": Query(
        _done("db-slow", _cdn("1")), _general("db-slow", _done("db-slow", _cdn("1")))
    ),
    "video-doubao-no-usage": Query(_UNUSED),
    "doubao-alias-result": Query(_doubao("cgt-4", "running")),
    "doubao-alias-settled": Query(_THREE, _general("db-1", _ONE)),
    "doubao-keyless-after-success": Query(_TWO, _general("db-1", _ONE, _TWO)),
    "doubao-keyless-cached": Query(
        earlier=(*_general("db-1", _TWO), *_keyless("db-1", _TWO))
    ),
    "doubao-keyless-fresh-again": Query(
        _THREE, (*_keyless("db-1", _TWO), *_general("db-1", _THREE))
    ),
    "doubao-keyless-with-key": Query(earlier=_keyless("db-1", _THREE)),
    "doubao-keyless-running": Query(_doubao("db-2", "running")),
    "doubao-keyless-only-1": Query(_ALONE),
    "doubao-keyless-only-3": Query(earlier=_keyless("db-2", _ALONE)),
    "doubao-keyless-failed-after": Query(_FAILED),
    "doubao-keyless-cancelled-after": Query(
        _ended("db-cancelled", "cancelled", reason=True),
        _general("db-cancelled", _ended("db-cancelled", "cancelled")),
    ),
    "doubao-keyless-cancelled-first": Query(_ended("db-cancelled-k", "cancelled")),
    "doubao-keyless-expired-after": Query(
        _ended("db-expired", "expired", reason=True),
        _general("db-expired", _ended("db-expired", "expired")),
    ),
    "doubao-keyless-expired-first": Query(_ended("db-expired-k", "expired")),
    "alias-doubao2-result-no-key": Query(_doubao("d2-1", "running")),
    "alias-doubao2-succeeded": Query(_D2),
    "alias-doubao2-cached": Query(earlier=_keyless("d2-1", _D2)),
    "alias-doubao2-general-task": Query(_cheap("d2-2")),
}


def _minimax(word: str, message: str = "success", **more: object) -> Query:
    body = {"task_id": "mm-1", "status": word, "base_resp": _base(message=message)}
    return Query(Upstream(body={**body, **more}))


_MM_FILE = {"download_url": "https://cdn.example/m.mp4"}
_GROK_DONE = Upstream(
    body={
        "status": "done",
        "video": {"url": _cdn("g"), "duration": 5},
        "usage": {"cost_in_usd_ticks": 2_500_000_000},
    }
)
_GROK_429 = Upstream(429, {"code": "rate", "error": "too many requests"})


def _veo(task_id: str, **response: object) -> Upstream:
    name = f"{_VERTEX}/{task_id}"
    return Upstream(body={"name": name, "done": True, "response": response})


_BYTES = "AAAAGGZ0eXBtcDQyeHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4"
_INLINE = [{"bytesBase64Encoded": _BYTES, "mimeType": "video/mp4"}]
_PAIR = [{"gcsUri": f"gs://bucket/a/{number}.mp4"} for number in (0, 1)]
_LINKS = "&response_format=url"
_OMNI_DONE = Upstream(
    body={
        "id": "go-1",
        "status": "completed",
        "outputs": [{"type": "video", "uri": _cdn("o")}],
        "usage": {
            "total_tokens": 60_000,
            "total_input_tokens": 1_000,
            "total_output_tokens": 59_000,
            "output_tokens_by_modality": [{"modality": "video", "tokens": 58_000}],
        },
    }
)
_OTHERS: dict[str, Query] = {
    "video-minimax-queueing": _minimax("Queueing"),
    "video-minimax-preparing": _minimax("Preparing"),
    "video-minimax-success": _minimax("Success", file_id="f", file=_MM_FILE),
    "video-minimax-success-no-url": _minimax("Success", file_id="f"),
    "video-minimax-fail": _minimax("Fail", "output sensitive"),
    "video-grok-pending": Query(Upstream(202, {"status": "pending"})),
    "video-grok-result-429": Query(_GROK_429),
    "video-grok-done": Query(_GROK_DONE, _general("gr-1", _GROK_429)),
    "video-grok-cached": Query(earlier=_general("gr-1", _GROK_DONE)),
    "video-wan-result-throttled": Query(
        Upstream(
            429,
            {
                "code": "Throttling.RateQuota",
                "message": "Requests rate limit exceeded",
                "request_id": "q2",
            },
        )
    ),
    "video-veo-running": Query(Upstream(body={"name": "n"})),
    "video-veo-done-url": Query(_veo("ve-1", videos=_INLINE)),
    "video-veo-done-data": Query(_veo("ve-2", videos=_INLINE)),
    "video-veo-data-stays": Query(
        earlier=_general("ve-2", _veo("ve-2", videos=_INLINE))
    ),
    "video-veo-cached": Query(
        earlier=_general(f"ve-1{_LINKS}", _veo("ve-1", videos=_INLINE))
    ),
    "video-veo-two": Query(_veo("ve-3", videos=_PAIR)),
    "video-veo-two-cached": Query(
        earlier=_general(f"ve-3{_LINKS}", _veo("ve-3", videos=_PAIR))
    ),
    "video-veo-filtered": Query(
        _veo(
            "ve-4",
            raiMediaFilteredCount=1,
            raiMediaFilteredReasons=["Veo could not generate videos because ..."],
        )
    ),
    "video-veo-partly-filtered": Query(
        _veo(
            "ve-6",
            raiMediaFilteredCount=1,
            raiMediaFilteredReasons=["one of two"],
            videos=_INLINE,
        )
    ),
    "video-omni-succeed": Query(_OMNI_DONE),
    "video-omni-again": Query(earlier=_general("go-1", _OMNI_DONE)),
}


def query_of(name: str, task_id: str) -> Query:
    """Return what the provider answers in a recorded query, now and before it."""
    if name in _BROKEN_QUERIES:
        return Query(_BROKEN_QUERIES[name])
    found = _DOUBAO.get(name) or _OTHERS.get(name)
    if found is not None:
        return found
    view = _KLING_VIEWS.get(name.removeprefix("video-kling-"))
    if view is None:
        return Query()  # of a task that the relay does not ask the provider for
    earlier = {
        "video-kling-failed-again": (_RISK,),
        "video-kling-failed-refund-twice": (_RISK, _kling("processing")),
    }.get(name, ())
    answers = (_kling_answer(task_id, each) for each in earlier)
    return Query(
        _kling_answer(task_id, view),
        _general(task_id, *answers),
        other=name.endswith(("other-user", "by-other")),
    )


_IDS = {
    **dict.fromkeys(("cgt", "d2", "db"), "doubao"),
    "mm": "minimax",
    "gr": "grok",
    "wa": "wan",
    "ve": "veo",
    "go": "omni",
}


def provider_of(task_id: str) -> str:
    """Return the provider of a recorded task by the beginning of its id."""
    return _IDS.get(task_id.partition("-")[0], "kling")


def provider_of_submit(name: str) -> str:
    """Return the provider of a recorded submit, Kling if its model names none."""
    text = SAMPLES[name]["request"]["body"]["text"]
    try:
        model = str(json.loads(text).get("model", ""))
    except ValueError:
        model = ""
    beginnings = {body["model"]: provider for provider, body in SUBMITS.items()}
    return str(beginnings.get(model, "kling"))
