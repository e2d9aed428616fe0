"""An emulator put into the state in which an exchange was recorded."""

import json
import re
import time
from collections.abc import Awaitable, Callable

import attrs

from ezlink_async.emulator import Clock, EmulatorSettings, faults, scripts
from tests.emulator import (
    midjourney_stages,
    recorded,
    recorded_files,
    video_stages,
)
from tests.emulator.recorded import FAMILY_NAMES, SAMPLES
from tests.emulator.stage import Stage
from tests.support.emulator_requests import STOPPED, SWAP, swap_body


def _sample_id(name: str) -> str:
    found = re.search(r"\d{16}", SAMPLES[name]["request"]["path"])
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
    if name in recorded.SUBMIT_FAULTS:
        control.script("submit", recorded.SUBMIT_FAULTS[name])
        return
    body = SAMPLES[name]["response"]["body"]["text"]
    answer = recorded.UPSTREAM.get(name, recorded.OK)
    if isinstance(answer, dict) and name != "swap-upstream-no-code":
        answer = {"result": json.loads(body).get("result"), **answer}
    status = recorded.UPSTREAM_STATUS.get(name, 200)
    control.script("submit", faults.Upstream(status, answer))


async def _fetch(name: str, stage: Stage) -> None:
    control, sample_id = stage.control, _sample_id(name)
    kind = name.removeprefix("fetch-")
    if kind in recorded.LATE_VIEWS:
        await stage.task_in(sample_id, recorded.LATE_VIEWS[kind], after=3_601)
    elif kind in recorded.VIEWS:
        await stage.task_in(sample_id, recorded.VIEWS[kind])
    elif kind in _FETCHES:
        await _FETCHES[kind](stage, sample_id)
    elif kind != "unknown":
        await stage.task(sample_id)
    if kind == "database-down":
        control.script("fetch", faults.Trouble("tasks_unreadable"))


async def _existing(stage: Stage, sample_id: str) -> None:
    answer = faults.Upstream(200, recorded.EXISTING)
    stage.control.script("submit", answer, answer)
    await stage.task(sample_id)
    await stage.task(sample_id)


async def _unmentioned(stage: Stage, sample_id: str) -> None:
    stage.control.script_tasks(scripts.unmentioned())
    await stage.task(sample_id)
    stage.control.beat()


async def _channel_gone(stage: Stage, sample_id: str) -> None:
    await stage.task(sample_id)
    stage.control.lose_channel(94)
    stage.control.beat()


async def _exhausted(stage: Stage, sample_id: str) -> None:
    await stage.task(sample_id)
    stage.control.set_key(stage.key, quota=0)


async def _foreign(stage: Stage, sample_id: str) -> None:
    await stage.task(sample_id)
    stage.key = stage.control.add_account(balance=1)


_FETCHES: dict[str, Callable[[Stage, str], Awaitable[None]]] = {
    "existing": _existing,
    "not-mentioned": _unmentioned,
    "channel-gone": _channel_gone,
    "key-exhausted": _exhausted,
    "key-exhausted-again": _exhausted,
    "foreign": _foreign,
}


async def _list(name: str, stage: Stage) -> None:
    ids = re.findall(r"\d{16}", SAMPLES[name]["request"]["body"]["text"])
    if name == "list-existing":
        await _existing(stage, ids[0])
    elif name == "list-mixed":
        await stage.task_in(ids[2], recorded.VIEWS["in-progress"])
        await stage.task_in(ids[0], recorded.VIEWS["success"])
        await stage.task_in(ids[1], recorded.VIEWS["failure"])
    elif ids:
        await stage.task(ids[0])
    if name == "list-database-down":
        stage.control.script("list", faults.Trouble("tasks_unreadable"))
    if name == "list-foreign":
        stage.key = stage.control.add_account(balance=1)


_IMAGE_VIEWS = {
    "image-of-failure": "failure",
    "image-not-ready": "not-start",
    "image-preview": "in-progress-preview",
}


async def _image(name: str, stage: Stage) -> None:
    sample_id = _sample_id(name)
    if name == "image-late":
        await stage.task_in(sample_id, recorded.SUCCESS, after=3_601)
    elif name in _IMAGE_VIEWS:
        await stage.task_in(sample_id, recorded.VIEWS[_IMAGE_VIEWS[name]])
    elif sample_id:
        await stage.task_in(sample_id, recorded.SUCCESS)
    picture = recorded.PICTURES.get(name, faults.Picture(content=recorded.WHOLE))
    stage.control.script("image", picture)


async def _seed(name: str, stage: Stage) -> None:
    if name in recorded.SEEDS:
        await stage.task(_sample_id(name))
        stage.control.script("seed", recorded.SEEDS[name])


async def _route(name: str, stage: Stage) -> None:
    if name == "route-gzip":
        await stage.task(_sample_id(name))


async def _v1(name: str, stage: Stage) -> None:
    for _ in range(9 if name == "v1-usage" else 0):
        stage.control.script("submit", faults.Upstream(200, recorded.OK))
        await stage.api.submit()


async def _account(name: str, stage: Stage) -> None:
    stage.control.script_tasks(
        scripts.sequence({**recorded.RUNNING, "state": "mine-42"})
    )
    number = ("X-Request-ID", "attempt-0042")
    await stage.api.post(SWAP, swap_body(), number)
    if name == "account-tasks":
        stage.control.beat()


async def _balance(name: str, stage: Stage) -> None:
    if name.startswith("balance-limited"):
        stage.control.set_key(stage.key, expires=int(time.time()) + 86_400)
    if "fresh" not in name and "richer" not in name:
        await stage.api.submit()


async def _files(name: str, stage: Stage) -> None:
    if name in recorded_files.STORAGE:
        stage.control.script("files", recorded_files.STORAGE[name])


async def _nothing(_name: str, _stage: Stage) -> None:
    """Prepare nothing: the sample needs no state."""


_LIMITED = attrs.evolve(STOPPED, balance=5_000_000, key_quota=1_000_000, price=3_250)
_SETTINGS = {
    "balance-unlimited": attrs.evolve(_LIMITED, key_quota=None),
    "balance-account": attrs.evolve(STOPPED, price=69_750, shows_account=True),
    "balance-exhausted": attrs.evolve(_LIMITED, key_quota=100),
    "balance-key-richer": attrs.evolve(_LIMITED, balance=1_000),
    "balance": _LIMITED,
    "imagine-prefix-turbo-32": attrs.evolve(STOPPED, channel_type=32),
    "change-upstream-404": STOPPED,
    "change": attrs.evolve(STOPPED, serves_change=True),
    "video-rid-down": attrs.evolve(
        STOPPED,
        provider_address="http://127.0.0.1:9/secret-path?token=UPSTREAM-KEY",
    ),
}


def settings_of(name: str) -> EmulatorSettings:
    """Return the operator's settings of a sample, with a clock that stands still."""
    fitting = (each for begin, each in _SETTINGS.items() if name.startswith(begin))
    settings = next(fitting, STOPPED)
    if name.startswith("files-"):
        with_file = attrs.evolve(STOPPED, files_work=True)
        settings = attrs.evolve(with_file, **recorded_files.ACCOUNTS.get(name, {}))
    return attrs.evolve(settings, clock=Clock(ticking=False))


#: The groups of videos.
VIDEOS = {"video", "doubao", "alias", "rid"}

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
    "balance": _balance,
    "files": _files,
    "models": _nothing,
    "stability": _nothing,
    **dict.fromkeys(VIDEOS, video_stages.prepare),
}

#: The groups of Midjourney's submits.
MIDJOURNEY = {
    *("imagine", "blend", "describe", "shorten", "action", "modal", "change", "simple"),
}


async def prepare(name: str, stage: Stage) -> None:
    """Put the emulator into the state in which the sample was recorded."""
    group = name.split("-", maxsplit=1)[0]
    rows = {"fetch", "list", "seed"}
    if group in MIDJOURNEY or (group in rows and name in FAMILY_NAMES):
        await midjourney_stages.prepare(name, stage)
    else:
        await _GROUPS[group](name, stage)
