"""Faults and scripts as they are written in JSON on the control surface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, cast

from ezlink_async.emulator import scripts
from ezlink_async.emulator.playing import KINDS, Fault
from ezlink_async.emulator.scripts import Script, Step

__all__ = ["OrderError", "read_faults", "read_scripts"]

_SCRIPTS: Mapping[str, object] = {
    "cancelled": scripts.cancelled,
    "fails": scripts.fails,
    "fails_at_100": scripts.fails_at_100,
    "frozen_at_100": scripts.frozen_at_100,
    "slow": scripts.slow,
    "stuck": scripts.stuck,
    "succeeds_without_image": scripts.succeeds_without_image,
    "swap": Script,
    "unmentioned": scripts.unmentioned,
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
