"""
The control surface: what another process may ask and order, under ``/__emu/``.

``GET /__emu/state``, ``POST /__emu/faults``, ``POST /__emu/reset``. JSON both ways.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Protocol, cast

from ezlink_async.emulator.control import reset as reset_desk
from ezlink_async.emulator.control import summary
from ezlink_async.emulator.faults import KINDS, Fault
from ezlink_async.emulator.http import go_json
from ezlink_async.emulator.http.exchange import Exchange
from ezlink_async.emulator.http.replies import Reply, as_json
from ezlink_async.emulator.relay.state import PLACES, Desk
from ezlink_async.emulator.scripts import (
    Script,
    Step,
    cancelled,
    fails,
    fails_at_100,
    frozen_at_100,
    slow,
    stuck,
    succeeds_without_image,
    unmentioned,
)

_SCRIPTS: Mapping[str, object] = {
    "cancelled": cancelled,
    "fails": fails,
    "fails_at_100": fails_at_100,
    "frozen_at_100": frozen_at_100,
    "slow": slow,
    "stuck": stuck,
    "succeeds_without_image": succeeds_without_image,
    "swap": Script,
    "unmentioned": unmentioned,
}


class _Maker(Protocol):
    def __call__(self, **options: object) -> object: ...


class OrderError(ValueError):
    """An order to the control surface cannot be read."""


def read_faults(value: object) -> list[Fault]:
    """Read ``[{"kind": "drop", "job": true}, ...]``."""
    faults = [_made(item, KINDS) for item in _objects(value)]
    return [cast("Fault", fault) for fault in faults]


def read_scripts(value: object) -> list[Script]:
    """Read ``[{"kind": "fails", "reason": "..."}, {"views": [...], "swap": true}]``."""
    return [_script(item) for item in _objects(value)]


def _script(order: dict[str, object]) -> Script:
    if "views" not in order:
        return cast("Script", _made(order, _SCRIPTS))
    steps = tuple(Step(view) for view in _objects(order["views"]))
    return Script(steps, swap=bool(order.get("swap", False)))


def _made(order: dict[str, object], kinds: Mapping[str, object]) -> object:
    options = {name: _frozen(value) for name, value in order.items() if name != "kind"}
    kind = kinds.get(str(order.get("kind")))
    if kind is None:
        raise OrderError(f"kind must be one of {', '.join(sorted(kinds))}")
    try:
        return cast("_Maker", kind)(**options)
    except TypeError as fault:
        raise OrderError(f"{order['kind']}: {fault}") from None


def _frozen(value: object) -> object:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _objects(value: object) -> list[dict[str, object]]:
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return value
    raise OrderError("expected a list of objects")


async def state(desk: Desk, _exchange: Exchange, _task_id: str) -> Reply:
    """Show charges, tasks, uploads and peaks."""
    return as_json(summary(desk))


async def faults(desk: Desk, exchange: Exchange, _task_id: str) -> Reply:
    """
    Script faults and tasks.

    Body: ``{"on": PLACE, "faults": [...], "standing": FAULT or null, "tasks": [...]}``,
    every key optional but ``on`` beside ``faults`` and ``standing``.
    """
    try:
        order = go_json.loads(await exchange.read())
        if not isinstance(order, dict):
            raise OrderError("the body must be a JSON object")
        _obey(desk, order)
    except ValueError as fault:
        return as_json({"error": str(fault)}, status=400)
    return as_json({"ok": True})


def _obey(desk: Desk, order: dict[str, object]) -> None:
    place = order.get("on")
    coming = read_faults(order.get("faults") or [])
    standing = read_faults([order["standing"]] if order.get("standing") else [])
    scripts = read_scripts(order.get("tasks") or [])
    if (coming or "standing" in order) and place not in PLACES:
        raise OrderError(f"on must be one of {', '.join(PLACES)}")
    book = desk.playbook
    book.coming.setdefault(str(place), deque()).extend(coming)
    if "standing" in order:
        book.standing.pop(str(place), None)
        book.standing.update({str(place): fault for fault in standing})
    desk.upstream.scripts.extend(scripts)


async def reset(desk: Desk, _exchange: Exchange, _task_id: str) -> Reply:
    """Forget charges, uploads, requests and faults; keys and rows stay."""
    reset_desk(desk)
    return as_json({"ok": True})
