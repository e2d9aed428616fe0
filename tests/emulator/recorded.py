"""The upstream's part in each recorded exchange, as faults and views."""

import base64
import json
from pathlib import Path

from ezlink_async.emulator import faults
from tests.emulator import recorded_images, recorded_llm

_FOLDER = Path(__file__).parent.parent / "samples"
FAMILIES = _FOLDER / "samples-families.jsonl"
FILES = [_FOLDER / "samples.jsonl", _FOLDER / "balance.jsonl", FAMILIES]


SAMPLES = {
    sample["name"]: sample
    for file in FILES
    for sample in map(json.loads, file.read_text("utf-8").splitlines())
}
#: The names in the file of the other families.
FAMILY_NAMES = frozenset(
    json.loads(line)["name"] for line in FAMILIES.read_text("utf-8").splitlines()
)

#: Why whole groups of samples are not replayed, by the first word of their names.
_LEFT_OUT_GROUPS = {
    "retry": "calls through a server whose operator lets it repeat them",
}
#: Why parts of groups are not replayed, by the beginnings of their names.
_LEFT_OUT_PARTS = {
    **dict.fromkeys(
        (
            *("video-luma-", "video-runway-", "video-sora-", "video-pixverse-"),
            "video-cogvideox-",
        ),
        "a provider that the emulator has not: its exchanges are played as faults",
    ),
    **dict.fromkeys(
        ("alias-kling-", "alias-runway-", "alias-xai-", "alias-ali-", "alias-sora-"),
        "a provider's own path, which the documentation does not have",
    ),
}
_PAGES = "a page of the whole recording; the entries of one call are compared with it"
#: Samples that are not replayed, each with the reason.
LEFT_OUT: dict[str, str] = {
    "models-list": "its body was not recorded; the emulator has its shape",
    "image-redirect": "the relay follows it, so that its client sees image-ok",
    **recorded_llm.LEFT_OUT,
    **{name: _PAGES for name in FAMILY_NAMES if name.startswith("account-")},
    **recorded_images.LEFT_OUT,
    **{
        name: _LEFT_OUT_GROUPS[group]
        for name in SAMPLES
        if (group := name.split("-", maxsplit=1)[0]) in _LEFT_OUT_GROUPS
    },
    **{
        name: reason
        for name in SAMPLES
        for begin, reason in _LEFT_OUT_PARTS.items()
        if name.startswith(begin)
    },
}

OK = {"code": 1, "description": "提交成功", "properties": {}}
EXISTING = {
    "code": 21,
    "description": "任务已存在",
    "properties": {"status": "SUCCESS", "imageUrl": "https://cdn.example/x.png"},
    "result": "0741798445574458",
}
_OK_TEXT = {"code": 1, "description": "ok"}
#: The upstream's answer to the relay, unless it is a plain acceptance.
UPSTREAM = {
    "swap-queued": {
        "code": 22,
        "description": "排队中，前面还有3个任务",
        "properties": {"numberOfQueues": 3},
    },
    "swap-existing": EXISTING,
    "swap-existing-again": EXISTING,
    "swap-properties-null": {**OK, "properties": None},
    "swap-properties-missing": {"code": 1, "description": "提交成功"},
    "swap-result-null": {**OK, "result": None},
    "swap-result-empty": {**OK, "result": ""},
    "swap-result-number": {**OK, "result": 17},
    "swap-201": {
        **_OK_TEXT,
        "properties": {"b": 1, "a": "<&>"},
        "result": "201201",
        "more": True,
    },
    "swap-upstream-500-code-1": {**_OK_TEXT, "properties": {}, "result": "500500"},
    "swap-upstream-4": {"code": 4, "description": "人脸图片格式错误"},
    "swap-upstream-3": {"code": 3, "description": "not found"},
    "swap-upstream-minus-1": {"success": False, "code": -1, "message": "no"},
    "swap-upstream-no-code": {"hello": "you"},
    "swap-upstream-hosts": {
        "code": 4,
        "description": "cannot read https://cdn.example/a/x.png from 10.0.0.1 x",
    },
    "swap-upstream-empty-404": "",
    "swap-upstream-empty-200": "",
    "swap-upstream-text-401": "Unauthorized",
    "swap-upstream-html-502": "<html>502</html>",
    "swap-rid-code-4": {"code": 4, "description": "no face"},
    "swap-rid-code-5-number": {**OK, "result": 17},
    "swap-rid-code-5-empty": "",
    "swap-rid-code-5-html": "<html>502</html>",
    "swap-rid-code-22": {"code": 22, "description": "q", "result": "swap-22"},
    "swap-rid-no-result": _OK_TEXT,
    "swap-upstream-array": [1],
    "swap-upstream-null": None,
}
UPSTREAM_STATUS = {
    "swap-201": 201,
    "swap-upstream-500-code-1": 500,
    "swap-upstream-empty-404": 404,
}
SUBMIT_FAULTS: dict[str, faults.Fault] = {
    "swap-queue-full-9": faults.queue_full(),
    "swap-queue-full-23": faults.queue_full_23(),
    "swap-banned-word": faults.banned_word(),
    "swap-saturated": faults.saturated(),
    "swap-rid-code-5-reset": faults.Upstream(broken="reset"),
    "swap-rid-code-5-down": faults.Upstream(broken="refused"),
    "swap-upstream-reset": faults.Upstream(broken="reset"),
    "swap-upstream-half": faults.Upstream(broken="half"),
    "swap-upstream-refused": faults.Upstream(broken="refused"),
    "swap-no-channel": faults.Trouble("no_channel"),
    "swap-channel-lookup-failed": faults.Trouble("no_channel"),
    "swap-insert-failed": faults.Trouble("insert_failed"),
}
_T = 1795415787749
_ENDED = {"submitTime": _T, "startTime": _T, "finishTime": _T + 9000}
_IMAGE = {"imageUrl": "https://cdn.example/x.jpg", **_ENDED}
SUCCESS = {"status": "SUCCESS", "progress": "100%", **_IMAGE}
_FAILED = {
    "status": "FAILURE",
    "failReason": "文件上传失败",
    "submitTime": _T,
    "finishTime": _T + 9000,
}
RUNNING = {"status": "IN_PROGRESS", "progress": "0%"}
#: The upstream's view of the task, by the end of the sample's name.
VIEWS: dict[str, dict[str, object]] = {
    "not-start": {},
    "submitted": {"status": "SUBMITTED", "progress": "0%", "startTime": _T},
    "in-progress": {**RUNNING, "startTime": _T},
    "in-progress-preview": {
        "status": "IN_PROGRESS",
        "progress": "37%",
        "startTime": _T,
        "imageUrl": "https://cdn.example/x.jpg",
    },
    "modal": {
        "status": "MODAL",
        "progress": "0%",
        "buttons": [
            {"customId": "c", "emoji": "", "label": "l", "type": 2, "style": 1, "x": 1}
        ],
    },
    "success": {**SUCCESS, "state": "a<b"},
    "success-no-image": {"status": "SUCCESS", "progress": "100%", **_ENDED},
    "success-no-buttons": {**SUCCESS, "buttons": None, "properties": None},
    "failure": _FAILED,
    "failure-progress-null": {**_FAILED, "progress": None},
    "failure-at-100": {**_FAILED, "progress": "100%"},
    "failure-no-reason": {**_FAILED, "failReason": None},
    "cancel": {"status": "CANCEL"},
    "cancel-with-reason": {"status": "CANCEL", "failReason": "取消"},
    "running-with-reason": {**RUNNING, "failReason": "警告"},
    "running-at-100": {**RUNNING, "progress": "100%"},
    "status-null": {"status": None},
    "status-lower": {
        "status": "success",
        "progress": "100%",
        "imageUrl": "https://cdn.example/x.jpg",
    },
    "submit-time-null": {**RUNNING, "submitTime": None},
    "extra-keys": {**SUCCESS, "videoUrl": "x"},
    "channel-disabled": SUCCESS,
}
#: Views that the relay polls only when an hour has passed.
LATE_VIEWS: dict[str, dict[str, object]] = {
    "old": {**RUNNING},
    "late-success": {**SUCCESS},
}


def body_of(name: str) -> bytes:
    """Return the recorded body of a response."""
    body = SAMPLES[name]["response"]["body"]
    if "base64" in body:
        return base64.b64decode(body["base64"])
    return str(body["text"]).encode()


WHOLE = body_of("image-ok")
_LONG = body_of("image-big")
PICTURES = {
    "image-big": faults.Picture(content=_LONG),
    "image-notype": faults.Picture(content=WHOLE, content_type=None),
    "image-octet": faults.Picture(200, WHOLE, "application/octet-stream"),
    "image-cut": faults.Picture(content=_LONG, keep=len(body_of("image-cut"))),
    "image-cut-small": faults.Picture(content=WHOLE, keep=500),
    "image-garbage": faults.Picture(broken=True),
    "image-dead": faults.Picture(broken=True),
    "image-gone": faults.Picture(403, "<Error><Code>AccessDenied</Code></Error>"),
    "image-missing": faults.Picture(404, "<html>404</html>"),
    "image-503": faults.Picture(503, "busy"),
    "image-empty": faults.Picture(content=b""),
}
SEEDS = {
    "seed-ok": faults.Upstream(
        200, {"code": 1, "description": "成功", "result": "103541234", "x": 1}
    ),
    "seed-refused": faults.Upstream(
        200, {"code": 4, "description": "关联任务状态错误"}
    ),
    "seed-refused-404": faults.Upstream(
        404, {"code": 3, "description": "任务不存在或已失效"}
    ),
    "seed-empty": faults.Upstream(404, ""),
    "seed-html": faults.Upstream(502, "<html>"),
}
