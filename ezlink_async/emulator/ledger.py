"""What an emulator has seen, as plain values for tests, here and elsewhere."""

from __future__ import annotations

from attrs import asdict, frozen

from ezlink_async.emulator.desk import Desk
from ezlink_async.emulator.upstream import UpstreamTask

__all__ = ["TaskSeen", "reset", "summary", "tasks_of"]


@frozen(kw_only=True)
class TaskSeen:
    """A task the upstream was given, and how far it is there."""

    task_id: str
    request_id: str
    state: str
    status: str
    source_sha256: str
    target_sha256: str


def tasks_of(desk: Desk) -> list[TaskSeen]:
    """Return the tasks made, in order."""
    return [_seen(task) for task in desk.upstream.tasks.values()]


def _seen(task: UpstreamTask) -> TaskSeen:
    return TaskSeen(
        task_id=task.task_id,
        request_id=task.request_id,
        state=task.state,
        status=task.status,
        source_sha256=task.source_sha256,
        target_sha256=task.target_sha256,
    )


def summary(desk: Desk) -> dict[str, object]:
    """Return everything a test may ask about, as JSON can say it."""
    store, upstream = desk.store, desk.upstream
    return {
        "charged": sum(charge.units for charge in store.charges),
        "charges": [asdict(charge) for charge in store.charges],
        "refunds": [asdict(charge) for charge in store.refunds],
        "balance": store.accounts[0].balance,
        "tasks": [asdict(task) for task in tasks_of(desk)],
        "rows": len(store.rows),
        "uploads": dict(store.uploads),
        "attempts": dict(store.attempts),
        "requests": len(desk.seen),
        "peak": upstream.peak,
        "peak_running": upstream.peak_running,
        "hooks": [asdict(hook) for hook in desk.hooks.sent],
    }


def reset(desk: Desk) -> None:
    """Forget what was counted and scripted; accounts, keys and rows stay."""
    for record in (desk.store.charges, desk.store.refunds, desk.seen, desk.hooks.sent):
        record.clear()
    for counter in (desk.store.uploads, desk.store.attempts):
        counter.clear()
    desk.playbook.coming.clear()
    desk.playbook.standing.clear()
    desk.upstream.scripts.clear()
    desk.upstream.reset_peaks()
