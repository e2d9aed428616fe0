"""Putting an emulator into the state a recorded exchange was made in."""

import json
import re
import time
from collections.abc import Awaitable, Callable

import attrs

from ezlink_async.emulator import Clock, Emulator, EmulatorSettings, faults, scripts
from tests.emulator.recorded import (
    EXISTING,
    OK,
    PICTURES,
    RUNNING,
    SAMPLES,
    SEEDS,
    SUBMIT_FAULTS,
    SUCCESS,
    UPSTREAM,
    UPSTREAM_STATUS,
    VIEWS,
    WHOLE,
)
from tests.support.emulator_requests import STILL, Ask, asker, submit, swap_body

__all__ = ["GROUPS", "Stage", "settings_of"]


class Stage:
    """An emulator, and the ids that stand for those of the recording."""

    def __init__(self, emulator: Emulator) -> None:
        self.emu = emulator
        self.control = emulator.control
        self.ask: Ask = asker(emulator)
        self.ids: dict[str, str] = {}
        self.key = emulator.api_key

    async def task(self, recorded: str) -> None:
        """Make a task that stands for the recorded id."""
        self.ids[recorded] = await submit(self.ask)

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
    told = UPSTREAM.get(name, OK)
    if isinstance(told, dict) and name != "swap-upstream-no-code":
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
    answer = faults.Upstream(200, EXISTING)
    stage.control.script("submit", answer, answer)
    await stage.task(recorded)
    await stage.task(recorded)


async def _old(stage: Stage, recorded: str) -> None:
    stage.control.script_tasks(scripts.sequence(RUNNING))
    await stage.task(recorded)
    stage.control.advance(3_601)
    stage.control.beat()


async def _late(stage: Stage, recorded: str) -> None:
    stage.control.script_tasks(scripts.sequence(SUCCESS))
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
        await stage.task_in(recorded, SUCCESS)
    picture = PICTURES.get(name, faults.Picture(content=WHOLE))
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
        stage.control.script("submit", faults.Upstream(200, OK))
        await submit(stage.ask)


async def _account(name: str, stage: Stage) -> None:
    stage.control.script_tasks(scripts.sequence({**RUNNING, "state": "mine-42"}))
    number = ("X-Request-ID", "attempt-0042")
    await stage.ask("POST", "/mj/insight-face/swap", swap_body(), number)
    if name == "account-tasks":
        stage.control.beat()


async def _balance(name: str, stage: Stage) -> None:
    if name.startswith("balance-limited"):
        stage.control.set_key(stage.key, expires=int(time.time()) + 86_400)
    if "fresh" not in name and "richer" not in name:
        await submit(stage.ask)


_LIMITED = attrs.evolve(STILL, balance=5_000_000, key_quota=1_000_000, price=3_250)
_SETTINGS = {
    "balance-unlimited": attrs.evolve(_LIMITED, key_quota=None),
    "balance-account": attrs.evolve(STILL, price=69_750, shows_account=True),
    "balance-exhausted": attrs.evolve(_LIMITED, key_quota=100),
    "balance-key-richer": attrs.evolve(_LIMITED, balance=1_000),
    "balance": _LIMITED,
}


def settings_of(name: str) -> EmulatorSettings:
    """Return the operator's settings behind a sample, the time standing still."""
    fitting = (each for begin, each in _SETTINGS.items() if name.startswith(begin))
    return attrs.evolve(next(fitting, STILL), clock=Clock(ticking=False))


GROUPS = {
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
}
