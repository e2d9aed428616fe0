"""The strings behind an emulator, for the test that holds them."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from attrs import asdict, frozen

from ezlink_async.emulator.faults import Fault
from ezlink_async.emulator.http.overrides import AccountSide
from ezlink_async.emulator.relay.state import PLACES, Desk, Seen
from ezlink_async.emulator.relay.store import Account, Charge
from ezlink_async.emulator.scripts import Script
from ezlink_async.emulator.upstream.notifications import HookSent
from ezlink_async.emulator.upstream.service import UpstreamTask


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


__all__ = ["Control"]

T = TypeVar("T")


class Control:
    """
    Look into a running emulator, and make trouble in it.

    Every member may be used from any thread; what is returned is a copy. Amounts
    are units, 500,000 to the dollar.
    """

    def __init__(self, desk: Desk, loop: asyncio.AbstractEventLoop) -> None:
        self._desk = desk
        self._loop = loop

    def _on_loop(self, look: Callable[[], T]) -> T:
        if self._loop.is_closed() or _current_loop() is self._loop:
            return look()
        answer: concurrent.futures.Future[T] = concurrent.futures.Future()

        def run() -> None:
            try:
                answer.set_result(look())
            except Exception as fault:  # noqa: BLE001 - it is raised where it was asked
                answer.set_exception(fault)

        self._loop.call_soon_threadsafe(run)
        return answer.result()

    # What happened

    @property
    def charges(self) -> list[Charge]:
        """The consumption log: one entry for each submit that was charged."""
        return self._on_loop(lambda: list(self._desk.store.charges))

    @property
    def charged(self) -> int:
        """The sum of all charges; refunds do not lower it."""
        return sum(charge.units for charge in self.charges)

    @property
    def refunds(self) -> list[Charge]:
        """What failed tasks gave back to their accounts."""
        return self._on_loop(lambda: list(self._desk.store.refunds))

    @property
    def tasks(self) -> list[TaskSeen]:
        """The tasks the upstream has made, in order."""
        return self._on_loop(lambda: tasks_of(self._desk))

    @property
    def uploads(self) -> dict[str, int]:
        """How often a whole submit body arrived, by request id."""
        return self._on_loop(lambda: dict(self._desk.store.uploads))

    @property
    def attempts(self) -> dict[str, int]:
        """How often a submit got past its key, by request id, whole or not."""
        return self._on_loop(lambda: dict(self._desk.store.attempts))

    @property
    def requests(self) -> list[Seen]:
        """Every request to the API's own paths, with its headers."""
        return self._on_loop(lambda: list(self._desk.seen))

    @property
    def hooks(self) -> list[HookSent]:
        """The notifications sent, and how they were answered."""
        return self._on_loop(lambda: list(self._desk.hooks.sent))

    @property
    def peak(self) -> int:
        """The most tasks that were accepted and not yet ended, at one time."""
        return self._on_loop(lambda: self._desk.upstream.peak)

    @property
    def peak_running(self) -> int:
        """The most tasks that were out of the queue at one time."""
        return self._on_loop(lambda: self._desk.upstream.peak_running)

    def state(self) -> dict[str, object]:
        """Return what ``GET /__emu/state`` shows."""
        return self._on_loop(lambda: summary(self._desk))

    # What shall happen

    def script(self, place: str, *faults: Fault) -> None:
        """
        Let *faults* play around the next requests of *place*, one each, in order.

        Places: submit, fetch, list, image, seed, usage, account.
        """
        coming = self._desk.playbook.coming
        self._on_loop(lambda: coming.setdefault(_place(place), deque()).extend(faults))

    def standing(self, place: str, fault: Fault | None) -> None:
        """Let *fault* play around every request of *place*, until None is given."""
        faults = self._desk.playbook.standing

        def stand() -> None:
            faults.pop(_place(place), None)
            if fault is not None:
                faults[place] = fault

        self._on_loop(stand)

    def script_tasks(self, *scripts: Script) -> None:
        """Give the next tasks, one each, a life of their own."""
        self._on_loop(lambda: self._desk.upstream.scripts.extend(scripts))

    def advance(self, seconds: float) -> None:
        """Push the emulator's clock forward."""
        self._on_loop(lambda: self._desk.settings.clock.advance(seconds))

    def beat(self) -> None:
        """Refresh the relay's rows now, whatever the interval."""
        self._on_loop(self._desk.beat)

    def lose_channel(self, number: int | None = 17) -> None:
        """Take the relay's upstream away (E30), or give it back with None."""

        def lose() -> None:
            self._desk.gone_channel = number

        self._on_loop(lose)

    def account_side(
        self, *, log: bool = True, log_delay: float = 0.0, state_delay: float = 0.0
    ) -> None:
        """
        Let the account's pages lag behind, from now on.

        With *log* off nothing is in the log; an entry is *log_delay* seconds
        late, a task's state *state_delay* (``inf``: it never shows). A page that
        fails is a fault at the place ``account``.
        """
        side = AccountSide(log, log_delay, state_delay)
        self._on_loop(lambda: setattr(self._desk, "side", side))

    def reset(self) -> None:
        """Forget what was counted and scripted; accounts, keys and rows stay."""
        self._on_loop(lambda: reset(self._desk))

    # Whose money

    @property
    def balance(self) -> int:
        """What the account of the default key has left."""
        return self._on_loop(lambda: self._account(None).balance)

    @balance.setter
    def balance(self, units: int) -> None:
        self._on_loop(lambda: setattr(self._account(None), "balance", units))

    def account_token(self, key: str | None = None) -> str:
        """Return the access token of the account behind *key*."""
        return self._on_loop(lambda: self._account(key).token)

    def add_key(self, *, quota: int | None = None, of: str | None = None) -> str:
        """Make one more key for the account of *of*; quota None is no limit."""

        def add() -> str:
            return self._desk.store.add_key(self._account(of), quota).text

        return self._on_loop(add)

    def add_account(self, *, balance: int, group: str = "Lv1") -> str:
        """Open another account and return its key, which has no limit of its own."""

        def add() -> str:
            account = self._desk.store.add_account(balance, group=group)
            return self._desk.store.add_key(account, None).text

        return self._on_loop(add)

    def set_key(
        self,
        key: str,
        *,
        status: str | None = None,
        quota: int | None = None,
        expires: int | None = None,
    ) -> None:
        """Change a key: status enabled, disabled, expired, exhausted; what it has."""

        def change() -> None:
            found = self._desk.store.keys[key.removeprefix("sk-")]
            found.status = status or found.status
            found.quota = found.quota if quota is None else quota
            found.expires = found.expires if expires is None else expires

        self._on_loop(change)

    def ban(self, key: str | None = None, *, banned: bool = True) -> None:
        """Ban the account of *key*."""
        self._on_loop(lambda: setattr(self._account(key), "banned", banned))

    def _account(self, key: str | None) -> Account:
        if key is None:
            return self._desk.store.accounts[0]
        return self._desk.store.keys[key.removeprefix("sk-")].account


def _current_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _place(place: str) -> str:
    if place not in PLACES:
        raise ValueError(f"no such place: {place}; known: {', '.join(PLACES)}")
    return place
