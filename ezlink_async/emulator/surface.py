"""
The control surface: what another process may ask and order, under ``/__emu/``.

``GET /__emu/state``, ``POST /__emu/faults``, ``POST /__emu/reset``. JSON both ways.
"""

from __future__ import annotations

from collections import deque

from ezlink_async.emulator import gojson
from ezlink_async.emulator.desk import PLACES, Desk
from ezlink_async.emulator.exchange import Exchange
from ezlink_async.emulator.ledger import reset as reset_desk
from ezlink_async.emulator.ledger import summary
from ezlink_async.emulator.orders import OrderError, read_faults, read_scripts
from ezlink_async.emulator.replies import Reply, as_json

__all__ = ["faults", "reset", "state"]


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
        order = gojson.loads(await exchange.read())
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
