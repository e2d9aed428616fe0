"""
The control API: the emulator's state and faults for other processes, as JSON.

``GET /__emu/state``, ``POST /__emu/faults``, ``POST /__emu/reset``; each needs the
secret of the run in ``X-Emulator-Secret``, and a POST is of the type JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, cast

from ezlink_async.emulator import admission, control, faults, scripts
from ezlink_async.emulator.http import go_json
from ezlink_async.emulator.http.exchange import Exchange
from ezlink_async.emulator.http.replies import Reply, as_json
from ezlink_async.emulator.relay.routes import Handler, Route
from ezlink_async.emulator.relay.state import RelayState

_FAULT_NAMES = "answer cut delay drop garbage picture rows stall trouble upstream"
_FAULTS = {name: getattr(faults, name.title()) for name in _FAULT_NAMES.split()}
_SCRIPT_NAMES = (
    "cancelled fails fails_at_100 frozen_at_100 slow stuck succeeds_without_image"
    " unmentioned"
)
_SCRIPTS = {name: getattr(scripts, name) for name in _SCRIPT_NAMES.split()}
_SCRIPTS["swap"] = scripts.Script


class _Maker(Protocol):
    def __call__(self, **options: object) -> object: ...


class BadInstructionError(ValueError):
    """An instruction to the control API cannot be read; the text says why."""


async def show_state(state: RelayState, _exchange: Exchange) -> Reply:
    """Show charges, tasks, uploads and peaks."""
    return as_json(control.summary(state))


async def add_faults(state: RelayState, exchange: Exchange) -> Reply:
    """
    Script faults and tasks.

    Body: ``{"on": KIND, "faults": [...], "standing": FAULT or null, "tasks": [...]}``,
    every key optional but ``on`` beside ``faults`` and ``standing``. A fault is
    ``{"kind": "drop", "job": true}``, a task ``{"kind": "fails", "reason": "..."}`` or
    ``{"views": [...], "swap": true}``.
    """
    try:
        instruction = go_json.loads(await exchange.read())
        if not isinstance(instruction, dict):
            raise BadInstructionError("the body must be a JSON object")
        _follow(state, instruction)
    except ValueError as exc:
        return as_json({"error": str(exc)}, status=400)
    return as_json({"ok": True})


async def reset(state: RelayState, _exchange: Exchange) -> Reply:
    """Delete charges, uploads, requests and faults; keys and rows stay."""
    control.reset(state)
    return as_json({"ok": True})


def _with_secret(handler: Handler) -> Handler:
    async def checked(state: RelayState, exchange: Exchange) -> Reply:
        refusal = admission.control_refusal(exchange, state.control_secret)
        return refusal or await handler(state, exchange)

    return checked


ROUTES = (
    Route("GET", "/__emu/state", "", _with_secret(show_state)),
    Route("POST", "/__emu/faults", "", _with_secret(add_faults)),
    Route("POST", "/__emu/reset", "", _with_secret(reset)),
)


def _follow(state: RelayState, instruction: dict[str, object]) -> None:
    kind, standing = str(instruction.get("on")), instruction.get("standing")
    coming = [_fault(item) for item in _objects(instruction.get("faults") or [])]
    lasting = _fault(*_objects([standing])) if standing else None
    lives = [_script(item) for item in _objects(instruction.get("tasks") or [])]
    if (coming or "standing" in instruction) and kind not in state.kinds:
        raise BadInstructionError(f"on must be one of {', '.join(state.kinds)}")
    state.faults.add(kind, *coming)
    if "standing" in instruction:
        state.faults.stand(kind, lasting)
    state.upstream.scripts.extend(lives)


def _fault(item: dict[str, object]) -> faults.Fault:
    return cast("faults.Fault", _made(item, _FAULTS))


def _script(item: dict[str, object]) -> scripts.Script:
    if "views" not in item:
        return cast("scripts.Script", _made(item, _SCRIPTS))
    steps = tuple(scripts.Step(view) for view in _objects(item["views"]))
    return scripts.Script(steps, swap=bool(item.get("swap", False)))


def _made(item: dict[str, object], makers: Mapping[str, _Maker]) -> object:
    options = {name: _frozen(value) for name, value in item.items() if name != "kind"}
    maker = makers.get(str(item.get("kind")))
    if maker is None:
        raise BadInstructionError(f"kind must be one of {', '.join(sorted(makers))}")
    try:
        return maker(**options)
    except (TypeError, ValueError) as exc:
        raise BadInstructionError(f"{item['kind']}: {exc}") from None


def _frozen(value: object) -> object:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _objects(value: object) -> list[dict[str, object]]:
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return value
    raise BadInstructionError("expected a list of objects")
