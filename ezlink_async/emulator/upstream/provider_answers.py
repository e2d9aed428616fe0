"""
What each provider of videos answers the relay, in its own words.

After the providers' documentation: Kling ``app.klingai.com/global/dev``, Doubao
``volcengine.com/docs/82379``, MiniMax ``platform.minimaxi.com``, Veo
``cloud.google.com/vertex-ai``, Grok ``docs.x.ai``, Wan
``help.aliyun.com/model-studio``, Omni ``ai.google.dev/gemini-api``.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence

from ezlink_async.emulator.faults import Upstream
from ezlink_async.emulator.pictures.clip import SECONDS
from ezlink_async.emulator.upstream.videos import VideoTask

View = Mapping[str, object]
_TOKENS = 245_388  # of a Doubao video of 5 s
_OPERATIONS = "projects/p/locations/global/publishers/google/models/{}/operations/{}"
_OK = {"status_code": 0, "status_msg": "success"}


def accepted(task: VideoTask) -> Upstream:
    """Return the provider's answer to the submit of *task*."""
    return Upstream(body=_ACCEPTED[task.job.provider](task))


def shown(provider: str, task: VideoTask | None, addresses: Sequence[str]) -> Upstream:
    """
    Return the provider's answer to a query; None is a task it does not know.

    *addresses* are those of the finished videos.
    """
    if task is None:
        return Upstream(404, _UNKNOWN[provider])
    view = task.life.view
    done = view["status"] == "SUCCESS" and bool(view.get("video"))
    return Upstream(body=_SHOWN[provider](task, view, addresses if done else ()))


def _reason(view: View) -> str:
    return str(view.get("failReason") or "")


#: What each provider calls the statuses, in their order.
_STATUSES = ("IN_PROGRESS", "NOT_START", "SUBMITTED", "SUCCESS", "FAILURE", "CANCEL")
_WORDS = {
    "kling": "processing submitted processing succeed failed failed",
    "doubao": "running queued running succeeded failed cancelled",
    "minimax": "Processing Queueing Preparing Success Fail Fail",
    "grok": "pending pending pending done failed expired",
    "wan": "RUNNING PENDING RUNNING SUCCEEDED FAILED CANCELED",
    "omni": "in_progress in_progress in_progress completed failed cancelled",
}


def _word(task: VideoTask) -> str:
    """Return the provider's word for the status; for any other, it runs."""
    first, *others = _WORDS[task.job.provider].split()
    status = task.life.view["status"]
    return dict(zip(_STATUSES[1:], others, strict=True)).get(str(status), first)


def _number(task: VideoTask) -> str:
    return hashlib.sha256(task.task_id.encode()).hexdigest()[:16]


def _kling_accepted(task: VideoTask) -> View:
    data = {"task_id": task.task_id, "task_status": "submitted"}
    head = {"code": 0, "message": "SUCCEED", "request_id": _number(task)}
    return {**head, "data": data}


def _kling_shown(task: VideoTask, view: View, addresses: Sequence[str]) -> View:
    word = _word(task)
    videos = [
        {"id": _number(task), "url": address, "duration": f"{SECONDS}.0"}
        for address in addresses
    ]
    data: dict[str, object] = {"task_id": task.task_id, "task_status": word}
    data |= {"task_status_msg": _reason(view)}
    if videos:
        data["task_result"] = {"videos": videos}
    return {"code": 0, "message": "SUCCEED", "data": data}


def _doubao_shown(task: VideoTask, view: View, addresses: Sequence[str]) -> View:
    word = _word(task)
    head: dict[str, object] = {"id": task.task_id, "model": task.job.model}
    head["status"] = word
    if addresses:
        head["content"] = {"video_url": addresses[0]}
        head["usage"] = {"completion_tokens": _TOKENS, "total_tokens": _TOKENS}
    if reason := _reason(view):
        head["error"] = {"code": "TaskFailed", "message": reason}
    return head


def _minimax_shown(task: VideoTask, view: View, addresses: Sequence[str]) -> View:
    word = _word(task)
    base = {"status_code": 0, "status_msg": _reason(view) or "success"}
    answer: dict[str, object] = {"task_id": task.task_id, "status": word}
    if addresses:
        # The relay asks a second time, for the file; both answers are given as one.
        answer["file_id"] = _number(task)
        answer["file"] = {"file_id": _number(task), "download_url": addresses[0]}
    return {**answer, "base_resp": base}


def _veo_shown(task: VideoTask, view: View, addresses: Sequence[str]) -> View:
    name = _OPERATIONS.format(task.job.model, task.task_id)
    status = view["status"]
    if status in {"FAILURE", "CANCEL"}:
        error = {"code": 3, "message": _reason(view) or "cancelled"}
        return {"name": name, "done": True, "error": error}
    if status != "SUCCESS":
        return {"name": name}
    contents = list(task.files().values()) if addresses else []
    videos = [
        {"bytesBase64Encoded": base64.b64encode(content).decode()}
        for content in contents
    ]
    return {"name": name, "done": True, "response": {"videos": videos}}


def _grok_shown(task: VideoTask, view: View, addresses: Sequence[str]) -> View:
    if addresses:
        video = {"url": addresses[0], "duration": SECONDS}
        return {"status": "done", "video": video, "model": task.job.model}
    word = _word(task)
    return {"status": word, **({"error": _reason(view)} if _reason(view) else {})}


def _wan_shown(task: VideoTask, view: View, addresses: Sequence[str]) -> View:
    word = _word(task)
    output: dict[str, object] = {"task_id": task.task_id, "task_status": word}
    if addresses:
        output["video_url"] = addresses[0]
    if reason := _reason(view):
        output |= {"code": "InternalError", "message": reason}
    return {"request_id": _number(task), "output": output}


def _omni_shown(task: VideoTask, view: View, addresses: Sequence[str]) -> View:
    word = _word(task)
    answer: dict[str, object] = {"id": task.task_id, "status": word}
    if addresses:
        answer["outputs"] = [{"type": "video", "uri": addresses[0]}]
        answer["usage"] = _OMNI_USAGE
    if reason := _reason(view):
        answer["error"] = {"code": "failed", "message": reason}
    return answer


_OMNI_USAGE = {
    "total_tokens": 60_000,
    "total_input_tokens": 1_000,
    "total_output_tokens": 59_000,
    "output_tokens_by_modality": [{"modality": "video", "tokens": 58_000}],
}


_ACCEPTED: dict[str, Callable[[VideoTask], View]] = {
    "kling": _kling_accepted,
    "doubao": lambda task: {"id": task.task_id},
    "minimax": lambda task: {"task_id": task.task_id, "base_resp": _OK},
    "veo": lambda task: {"name": _OPERATIONS.format(task.job.model, task.task_id)},
    "grok": lambda task: {"request_id": task.task_id},
    "wan": lambda task: {
        "request_id": _number(task),
        "output": {"task_id": task.task_id, "task_status": "PENDING"},
    },
    "omni": lambda task: {"id": task.task_id, "status": "in_progress"},
}
_SHOWN: dict[str, Callable[[VideoTask, View, Sequence[str]], View]] = {
    "kling": _kling_shown,
    "doubao": _doubao_shown,
    "minimax": _minimax_shown,
    "veo": _veo_shown,
    "grok": _grok_shown,
    "wan": _wan_shown,
    "omni": _omni_shown,
}
_UNKNOWN: dict[str, View] = {
    "kling": {"code": 1203, "message": "Task not found"},
    "doubao": {"error": {"code": "ResourceNotFound", "message": "no such task"}},
    "minimax": {"base_resp": {"status_code": 2013, "status_msg": "invalid task_id"}},
    "veo": {"error": {"code": 404, "message": "Operation not found"}},
    "grok": {"code": "not-found", "error": "no such video"},
    "wan": {"code": "InvalidParameter", "message": "no such task", "request_id": "-"},
    "omni": {"error": {"code": "404", "message": "no such interaction"}},
}
