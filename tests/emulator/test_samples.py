"""The recorded exchanges, asked again: the emulator answers byte for byte alike."""

import base64
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path

import pytest

from ezlink_async.emulator import Emulator, faults, scripts
from tests.emulator.conftest import Ask, asker, submit, swap_body
from tests.emulator.wire import Answered, Wire

_FILE = Path(__file__).parent.parent / "samples" / "samples.jsonl"
_LINES = _FILE.read_text("utf-8").splitlines()
SAMPLES = {sample["name"]: sample for sample in map(json.loads, _LINES)}

_FAMILY = "a family the emulator does not serve"
_NAMES = "shows numbers and names of the recorded account; see test_app for its form"
LEFT_OUT = {
    "account-log-charged": _NAMES,
    "account-self": _NAMES,
    "account-tasks": _NAMES,
    "account-tasks-first": _NAMES,
    "image-redirect": "the relay follows the redirect: not to be told from image-ok",
} | dict.fromkeys(
    (
        name
        for name in SAMPLES
        if name.split("-")[0]
        in {
            "action", "async", "blend", "change", "chat", "describe", "files", "flux",
            "imagine", "modal", "shorten", "simple", "video",
        }
    ),
    _FAMILY,
)  # fmt: skip

_OK = {"code": 1, "description": "提交成功", "properties": {}}
_EXISTING = {
    "code": 21,
    "description": "任务已存在",
    "properties": {"status": "SUCCESS", "imageUrl": "https://cdn.example/x.png"},
    "result": "0741798445574458",
}
#: What the upstream said to the relay, where it was not a plain acceptance.
UPSTREAM = {
    "swap-queued": {
        "code": 22,
        "description": "排队中，前面还有3个任务",
        "properties": {"numberOfQueues": 3},
    },
    "swap-existing": _EXISTING,
    "swap-existing-again": _EXISTING,
    "swap-properties-null": {**_OK, "properties": None},
    "swap-properties-missing": {"code": 1, "description": "提交成功"},
    "swap-result-null": {**_OK, "result": None},
    "swap-result-empty": {**_OK, "result": ""},
    "swap-result-number": {**_OK, "result": 17},
    "swap-201": {
        "code": 1,
        "description": "ok",
        "properties": {"b": 1, "a": "<&>"},
        "result": "201201",
        "more": True,
    },
    "swap-upstream-500-code-1": {
        "code": 1,
        "description": "ok",
        "properties": {},
        "result": "500500",
    },
    "swap-upstream-4": {"code": 4, "description": "人脸图片格式错误"},
    "swap-upstream-3": {"code": 3, "description": "not found"},
    "swap-upstream-minus-1": {"success": False, "code": -1, "message": "no"},
    "swap-upstream-no-code": {"hello": "you"},
    "swap-upstream-hosts": {
        "code": 4,
        "description": "cannot read https://cdn.example:8443/a/photo.png from 10.0.0.1 x",
    },
    "swap-upstream-empty-404": "",
    "swap-upstream-empty-200": "",
    "swap-upstream-text-401": "Unauthorized",
    "swap-upstream-html-502": "<html>502</html>",
    "swap-upstream-array": [1],
    "swap-upstream-null": None,
}
UPSTREAM_STATUS = {
    "swap-201": 201,
    "swap-upstream-500-code-1": 500,
    "swap-upstream-empty-404": 404,
}
SUBMIT_FAULTS = {
    "swap-queue-full-9": faults.queue_full(),
    "swap-queue-full-23": faults.queue_full_23(),
    "swap-banned-word": faults.banned_word(),
    "swap-saturated": faults.saturated(),
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
_SUCCESS = {"status": "SUCCESS", "progress": "100%", **_IMAGE}
_FAILED = {
    "status": "FAILURE",
    "failReason": "文件上传失败",
    "submitTime": _T,
    "finishTime": _T + 9000,
}
_RUNNING = {"status": "IN_PROGRESS", "progress": "0%"}
#: What the upstream listed for the task, by the end of the sample's name.
VIEWS: dict[str, dict[str, object]] = {
    "not-start": {},
    "submitted": {"status": "SUBMITTED", "progress": "0%", "startTime": _T},
    "in-progress": {**_RUNNING, "startTime": _T},
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
    "success": {**_SUCCESS, "state": "a<b"},
    "success-no-image": {"status": "SUCCESS", "progress": "100%", **_ENDED},
    "success-no-buttons": {**_SUCCESS, "buttons": None, "properties": None},
    "failure": _FAILED,
    "failure-progress-null": {**_FAILED, "progress": None},
    "failure-at-100": {**_FAILED, "progress": "100%"},
    "failure-no-reason": {**_FAILED, "failReason": None},
    "cancel": {"status": "CANCEL"},
    "cancel-with-reason": {"status": "CANCEL", "failReason": "取消"},
    "running-with-reason": {**_RUNNING, "failReason": "警告"},
    "running-at-100": {**_RUNNING, "progress": "100%"},
    "status-null": {"status": None},
    "status-lower": {
        "status": "success",
        "progress": "100%",
        "imageUrl": "https://cdn.example/x.jpg",
    },
    "submit-time-null": {**_RUNNING, "submitTime": None},
    "extra-keys": {**_SUCCESS, "videoUrl": "x"},
    "channel-disabled": _SUCCESS,
}
_WHOLE = base64.b64decode(SAMPLES["image-ok"]["response"]["body"]["base64"])
_LONG = base64.b64decode(SAMPLES["image-big"]["response"]["body"]["base64"])
PICTURES = {
    "image-big": faults.Picture(content=_LONG),
    "image-notype": faults.Picture(content=_WHOLE, content_type=None),
    "image-octet": faults.Picture(
        content=_WHOLE, content_type="application/octet-stream"
    ),
    "image-cut": faults.Picture(
        content=_LONG,
        keep=len(base64.b64decode(SAMPLES["image-cut"]["response"]["body"]["base64"])),
    ),
    "image-cut-small": faults.Picture(content=_WHOLE, keep=500),
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


class Stage:
    """An emulator, and the ids that stand for those of the recording."""

    def __init__(self, emulator: Emulator) -> None:
        self.emu = emulator
        self.control = emulator.control
        self.ask: Ask = asker(emulator)
        self.ids: dict[str, str] = {}
        self.key = emulator.api_key

    async def task(self, recorded: str, **fields: object) -> None:
        """Make a task that stands for the recorded id."""
        self.ids[recorded] = await submit(self.ask, **fields)

    async def task_in(self, recorded: str, view: dict[str, object]) -> None:
        """Make a task that the relay has once seen like this."""
        self.control.script_tasks(scripts.sequence(view))
        await self.task(recorded)
        self.control.beat()


def _recorded_id(sample: dict[str, dict[str, str]]) -> str:
    found = re.search(r"\d{16}", sample["request"]["path"])
    return found[0] if found else ""


async def _auth(name: str, stage: Stage) -> None:
    control, key = stage.control, stage.key
    changes: dict[str, Callable[[], None]] = {
        "auth-expired": lambda: control.set_key(key, expires=1),
        "auth-exhausted": lambda: control.set_key(key, quota=0),
        "auth-exhausted-marked": lambda: control.set_key(key, status="exhausted"),
        "auth-disabled": lambda: control.set_key(key, status="disabled"),
        "auth-banned": control.ban,
        "auth-backend-down": lambda: control.script(
            "fetch", faults.Trouble("token_verification")
        ),
        "auth-user-lookup-failed": lambda: control.script(
            "fetch", faults.Trouble("user_lookup")
        ),
    }
    changes.get(name, lambda: None)()


async def _swap(name: str, stage: Stage) -> None:
    control, key = stage.control, stage.key
    changes: dict[str, Callable[[], None]] = {
        "swap-poor": lambda: setattr(control, "balance", 8_999),
        "swap-last-money": lambda: setattr(control, "balance", 9_000),
        "swap-no-money-left": lambda: setattr(control, "balance", 0),
        "swap-key-quota-last": lambda: control.set_key(key, quota=9_000),
        "swap-key-quota-short": lambda: control.set_key(key, quota=1),
        "swap-key-quota-below-zero": lambda: control.set_key(key, quota=-8_999),
        "swap-channel-disabled": control.lose_channel,
    }
    changes.get(name, lambda: None)()
    if name in SUBMIT_FAULTS:
        control.script("submit", SUBMIT_FAULTS[name])
        return
    body = SAMPLES[name]["response"]["body"]["text"]
    told = UPSTREAM.get(name, _OK)
    if isinstance(told, dict) and name not in {"swap-upstream-no-code"}:
        told = {"result": json.loads(body).get("result"), **told}
    control.script("submit", faults.Upstream(UPSTREAM_STATUS.get(name, 200), told))


async def _fetch(name: str, stage: Stage) -> None:
    control, recorded = stage.control, _recorded_id(SAMPLES[name])
    kind = name.removeprefix("fetch-")
    if kind in VIEWS:
        await stage.task_in(recorded, VIEWS[kind])
    elif kind in _FETCHES:
        await _FETCHES[kind](stage, recorded)
    elif kind != "unknown":
        await stage.task(recorded)
    if kind == "database-down":
        control.script("fetch", faults.Trouble("tasks_unreadable"))


async def _existing(stage: Stage, recorded: str) -> None:
    answer = faults.Upstream(200, _EXISTING)
    stage.control.script("submit", answer, answer)
    await stage.task(recorded)
    await stage.task(recorded)


async def _old(stage: Stage, recorded: str) -> None:
    stage.control.script_tasks(scripts.sequence(_RUNNING))
    await stage.task(recorded)
    stage.control.advance(3_601)
    stage.control.beat()


async def _late(stage: Stage, recorded: str) -> None:
    stage.control.script_tasks(scripts.sequence(_SUCCESS))
    await stage.task(recorded)
    stage.control.advance(3_601)
    stage.control.beat()


async def _unmentioned(stage: Stage, recorded: str) -> None:
    stage.control.script_tasks(scripts.unmentioned())
    await stage.task(recorded)
    stage.control.beat()


async def _channel_gone(stage: Stage, recorded: str) -> None:
    await stage.task(recorded)
    stage.control.lose_channel(94)
    stage.control.beat()


async def _exhausted(stage: Stage, recorded: str) -> None:
    await stage.task(recorded)
    stage.control.set_key(stage.key, quota=0)


async def _foreign(stage: Stage, recorded: str) -> None:
    await stage.task(recorded)
    stage.key = stage.control.add_account(balance=1)


_FETCHES: dict[str, Callable[[Stage, str], Awaitable[None]]] = {
    "existing": _existing,
    "old": _old,
    "late-success": _late,
    "not-mentioned": _unmentioned,
    "channel-gone": _channel_gone,
    "key-exhausted": _exhausted,
    "key-exhausted-again": _exhausted,
    "foreign": _foreign,
}


async def _list(name: str, stage: Stage) -> None:
    recorded = re.findall(r"\d{16}", SAMPLES[name]["request"]["body"]["text"])
    if name == "list-existing":
        await _existing(stage, recorded[0])
    elif name == "list-mixed":
        await stage.task_in(recorded[2], VIEWS["in-progress"])
        await stage.task_in(recorded[0], VIEWS["success"])
        await stage.task_in(recorded[1], VIEWS["failure"])
    elif recorded:
        await stage.task(recorded[0])
    if name == "list-database-down":
        stage.control.script("list", faults.Trouble("tasks_unreadable"))
    if name == "list-foreign":
        stage.key = stage.control.add_account(balance=1)


async def _image(name: str, stage: Stage) -> None:
    recorded = _recorded_id(SAMPLES[name])
    if name == "image-late":
        await _late(stage, recorded)
    elif name in {"image-of-failure", "image-not-ready", "image-preview"}:
        kinds = ("failure", "not-start", "in-progress-preview")
        kind = {"o": kinds[0], "n": kinds[1], "p": kinds[2]}[name[6]]
        await stage.task_in(recorded, VIEWS[kind])
    elif recorded:
        await stage.task_in(recorded, _SUCCESS)
    picture = PICTURES.get(name, faults.Picture(content=_WHOLE))
    stage.control.script("image", picture)


async def _seed(name: str, stage: Stage) -> None:
    if name in SEEDS:
        await stage.task(_recorded_id(SAMPLES[name]))
        stage.control.script("seed", SEEDS[name])


async def _route(name: str, stage: Stage) -> None:
    if name == "route-gzip":
        await stage.task(_recorded_id(SAMPLES[name]))


async def _v1(name: str, stage: Stage) -> None:
    for _ in range(9 if name == "v1-usage" else 0):
        stage.control.script("submit", faults.Upstream(200, _OK))
        await submit(stage.ask)


async def _account(name: str, stage: Stage) -> None:
    if name == "account-tasks-page-0":
        await submit(stage.ask)


_GROUPS = {
    "auth": _auth,
    "swap": _swap,
    "fetch": _fetch,
    "list": _list,
    "image": _image,
    "seed": _seed,
    "route": _route,
    "v1": _v1,
    "account": _account,
}


async def _replay(stage: Stage, name: str) -> Answered:
    sample = SAMPLES[name]
    request, response = sample["request"], sample["response"]
    plain = stage.key.removeprefix("sk-")
    given = [
        (field, text.replace("KEY", plain).replace("ACCOUNT-TOKEN", _token(stage)))
        for field, text in request["headers"]
        if field not in {"X-Request-ID", "Host", "Content-Length"}
    ]
    number = dict(response["headers"]).get("X-Request-Id")
    if number is not None:
        given.append(("X-Request-ID", number))
    path, body = request["path"], request["body"].get("text", "")
    for recorded, ours in stage.ids.items():
        path, body = path.replace(recorded, ours), body.replace(recorded, ours)
    async with Wire(stage.emu.base_url) as wire:
        return await wire.ask(request["method"], path, given, body.encode())


def _token(stage: Stage) -> str:
    return stage.control.account_token()


def _compared(headers: Iterable[Sequence[str]]) -> list[tuple[str, bytes]]:
    # only a redirect's address has an id in it
    return [
        (name, _masked(text.encode()) if name == "Location" else text.encode())
        for name, text in headers
        if name != "Date"
    ]


def _masked(body: bytes) -> bytes:
    # ids, then the nanoseconds of a preview, then milliseconds
    masked = re.sub(rb"(?<!\d)\d{16}(?!\d)", b"I" * 16, body)
    masked = re.sub(rb"rand=\d{19}", b"rand=" + b"N" * 19, masked)
    return re.sub(rb"Time\":\d{13}", b'Time":' + b"T" * 13, masked)


def _recorded_body(body: dict[str, str]) -> bytes:
    if "base64" in body:
        return base64.b64decode(body["base64"])
    return body["text"].encode()


@pytest.mark.parametrize("name", [name for name in SAMPLES if name not in LEFT_OUT])
async def test_it_answers_as_the_server_did(name: str, still: Emulator) -> None:
    """Status, headers in order and spelling, and body are those of the recording."""
    stage = Stage(still)
    await _GROUPS[name.split("-", maxsplit=1)[0]](name, stage)
    before = still.control.state()

    answered = await _replay(stage, name)

    recorded = SAMPLES[name]["response"]
    assert (answered.status, answered.reason) == (
        recorded["status"],
        recorded["reason"],
    )
    assert _compared(answered.headers) == _compared(recorded["headers"])
    assert _masked(answered.body) == _masked(_recorded_body(recorded["body"]))
    after = still.control.state()
    facts = SAMPLES[name]["facts"]
    for fact, ledger in (("charged", "charged"), ("rows_added", "rows")):
        assert _number(after, ledger) - _number(before, ledger) == facts.get(fact, 0)


def _number(state: dict[str, object], name: str) -> int:
    value = state[name]
    assert isinstance(value, int)
    return value


def test_every_sample_left_out_is_in_the_recording() -> None:
    """The list of samples left out names no sample that is not there."""
    assert set(LEFT_OUT) <= set(SAMPLES)


async def test_a_submit_without_a_name_gets_a_request_id(still: Emulator) -> None:
    """A generated request id is a date, nanoseconds and eight digits at random."""
    answered = await asker(still)("POST", "/mj/insight-face/swap", swap_body())

    assert re.fullmatch(r"20\d{12}\d{1,9}\d{8}", answered.header("X-Request-Id") or "")
