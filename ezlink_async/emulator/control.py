"""
The control of a running emulator, for the test that runs it.

A test reads charges, tasks and requests here, scripts faults and the lives of tasks,
moves the clock, and changes accounts and keys.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable
from typing import TypeVar

from attrs import asdict, frozen

from ezlink_async.emulator.faults import Fault, check_fault
from ezlink_async.emulator.relay.state import (
    AccountLag,
    ForwardedCall,
    RecordedRequest,
    RelayState,
)
from ezlink_async.emulator.relay.store import Account, Charge, Refusal, StoredFile
from ezlink_async.emulator.scripts import Script, check_script
from ezlink_async.emulator.upstream.notifications import SentNotification

T = TypeVar("T")


@frozen(kw_only=True)
class TaskSnapshot:
    """
    A task of the upstream, with its status there at the time of the question.

    The hashes are those of a swap's pictures, and empty for every other *action*.
    """

    task_id: str
    request_id: str
    state: str
    status: str
    source_sha256: str
    target_sha256: str
    action: str = "SWAP_FACE"
    prompt: str = ""


def tasks_of(state: RelayState) -> list[TaskSnapshot]:
    """Return the upstream's tasks, oldest first, and after them the videos."""
    return [
        TaskSnapshot(
            task_id=task.task_id,
            request_id=task.request_id,
            state=task.state,
            status=task.status,
            source_sha256=task.source_sha256,
            target_sha256=task.target_sha256,
            action=task.action,
            prompt=task.prompt,
        )
        for task in state.upstream.tasks.values()
    ] + [
        TaskSnapshot(
            task_id=task.task_id,
            request_id=task.job.request_id,
            state="",
            status=state.providers.status(task),
            source_sha256="",
            target_sha256="",
            action="VIDEO",
            prompt=task.job.prompt,
        )
        for task in state.providers.tasks.values()
    ]


def summary(state: RelayState) -> dict[str, object]:
    """Return the emulator's counts and records in types that JSON knows."""
    store, upstream = state.store, state.upstream
    return {
        "charged": sum(charge.units for charge in store.charges),
        "charges": [asdict(charge) for charge in store.charges],
        "refusals": [asdict(refusal) for refusal in store.refusals],
        "refunds": [asdict(charge) for charge in store.refunds],
        "balance": store.accounts[0].balance,
        "tasks": [asdict(task) for task in tasks_of(state)],
        "rows": len(store.rows) + len(state.videos.rows) + len(state.pictures.rows),
        "files": len(store.files),
        "uploads": dict(store.uploads),
        "attempts": dict(store.attempts),
        "requests": len(state.requests),
        "peak": upstream.peak,
        "peak_running": upstream.peak_running,
        "hooks": [asdict(sent) for sent in state.notifier.sent],
    }


def reset(state: RelayState) -> None:
    """Delete counts, records, faults and scripts; accounts, keys and rows stay."""
    store = state.store
    for record in (store.log, store.refunds, state.notifier.sent):
        record.clear()
    for calls in (state.requests, state.forwarded):
        calls.clear()
    for counter in (store.uploads, store.attempts):
        counter.clear()
    state.faults.clear()
    state.upstream.scripts.clear()
    state.upstream.reset_peaks()


def unplayed(state: RelayState) -> list[str]:
    """Return a line for each fault and script that met no request."""
    return state.faults.unplayed() + [
        f"task: {each}" for each in state.upstream.scripts
    ]


class Control:
    """
    Reads and changes a running emulator.

    Every member may be used from any thread, and after the emulator's end; a value
    returned is a copy. Amounts are units, 500,000 to the dollar.
    """

    def __init__(self, state: RelayState) -> None:
        self._state = state
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()

    def _on_loop(self, call: Callable[[], T]) -> T:
        if self._loop.is_closed() or threading.get_ident() == self._thread:
            return call()
        answer: concurrent.futures.Future[T] = concurrent.futures.Future()

        def run() -> None:
            try:
                answer.set_result(call())
            except Exception as exc:  # noqa: BLE001 - raised in the caller's thread
                answer.set_exception(exc)

        self._loop.call_soon_threadsafe(run)
        return answer.result()

    # Records and counts

    @property
    def charges(self) -> list[Charge]:
        """The consumption log: one entry for each submit that was charged."""
        return self._on_loop(lambda: self._state.store.charges)

    @property
    def refusals(self) -> list[Refusal]:
        """The free entries of the log: one for each submit that a handler refused."""
        return self._on_loop(lambda: self._state.store.refusals)

    @property
    def charged(self) -> int:
        """The sum of all charges; refunds do not lower it."""
        return sum(charge.units for charge in self.charges)

    @property
    def refunds(self) -> list[Charge]:
        """The refunds of failed tasks to their accounts, oldest first."""
        return self._on_loop(lambda: list(self._state.store.refunds))

    @property
    def tasks(self) -> list[TaskSnapshot]:
        """The upstream's tasks, oldest first, and after them the videos."""
        return self._on_loop(lambda: tasks_of(self._state))

    @property
    def uploads(self) -> dict[str, int]:
        """The number of whole submit bodies received, by request id."""
        return self._on_loop(lambda: dict(self._state.store.uploads))

    @property
    def attempts(self) -> dict[str, int]:
        """The number of submits with a good key, whole or not, by request id."""
        return self._on_loop(lambda: dict(self._state.store.attempts))

    @property
    def requests(self) -> list[RecordedRequest]:
        """Every request to the API's own paths, with its headers."""
        return self._on_loop(lambda: list(self._state.requests))

    @property
    def forwarded(self) -> list[ForwardedCall]:
        """The submits and questions for a seed that the relay passed on: no swaps."""
        return self._on_loop(lambda: list(self._state.forwarded))

    @property
    def files(self) -> list[StoredFile]:
        """The records of all uploads, oldest first."""
        return self._on_loop(lambda: list(self._state.store.files))

    @property
    def hooks(self) -> list[SentNotification]:
        """The notifications sent, with the status of each answer."""
        return self._on_loop(lambda: list(self._state.notifier.sent))

    @property
    def peak(self) -> int:
        """The most tasks that were accepted and not yet ended, at one time."""
        return self._on_loop(lambda: self._state.upstream.peak)

    @property
    def peak_running(self) -> int:
        """The most tasks that were out of the queue at one time."""
        return self._on_loop(lambda: self._state.upstream.peak_running)

    def state(self) -> dict[str, object]:
        """Return the content of ``GET /__emu/state``."""
        return self._on_loop(lambda: summary(self._state))

    # Faults, scripts and time

    def script(self, kind: str, *faults: Fault) -> None:
        """
        Apply *faults* to the next requests of *kind*, one each, in order.

        Kinds: submit (the swap), imagine, blend, describe, shorten, action, modal,
        change, fetch, list, image, seed, video, video_result, video_keyless (the
        path that asks for no key), video_file, images, images_result, flux,
        flux_result, picture, usage, account, files, models, llm (chats, pictures,
        sounds and their like), stability (and stability_result, with the setting
        ``stability``), and those of the setting ``routes``. ValueError for another
        one, TypeError for what is no fault.
        """
        self._check(kind)
        for each in faults:
            check_fault(each)
        self._on_loop(lambda: self._state.faults.add(kind, *faults))

    def standing(self, kind: str, fault: Fault | None) -> None:
        """Apply *fault* to every request of *kind*, until None is given."""
        self._check(kind)
        if fault is not None:
            check_fault(fault)
        self._on_loop(lambda: self._state.faults.stand(kind, fault))

    def script_tasks(self, *scripts: Script) -> None:
        """Script the lives of the next tasks, one each, in order; else TypeError."""
        for script in scripts:
            check_script(script)
        self._on_loop(lambda: self._state.upstream.scripts.extend(scripts))

    def assert_all_played(self) -> None:
        """
        Raise AssertionError if a fault or a script of a task met no request.

        A standing fault counts as played once a request has met it; one that was
        ended or deleted is not asked for.
        """
        lines = self._on_loop(lambda: unplayed(self._state))
        if lines:
            listed = "\n".join(f"  {line}" for line in lines)
            raise AssertionError(f"scripted and never played:\n{listed}")

    def advance(self, seconds: float) -> None:
        """Move the emulator's clock forward by *seconds*."""
        self._on_loop(lambda: self._state.settings.clock.advance(seconds))

    def beat(self) -> None:
        """Refresh the relay's rows now, without waiting for the interval."""
        self._on_loop(self._state.refresh)

    def lose_channel(self, number: int | None = 17) -> None:
        """Take the relay's upstream channel away, or give it back with None."""
        self._on_loop(lambda: setattr(self._state, "gone_channel", number))

    def account_side(
        self, *, log: bool = True, log_delay: float = 0.0, state_delay: float = 0.0
    ) -> None:
        """
        Let the account's pages lag behind, from now on.

        With *log* off the log shows no entry. An entry appears *log_delay* seconds
        late, a task's state *state_delay* seconds (``inf``: never). To let a page
        fail, script a fault for ``account``.
        """
        lag = AccountLag(log, log_delay, state_delay)
        self._on_loop(lambda: setattr(self._state, "account_lag", lag))

    def reset(self) -> None:
        """Delete counts, records, faults and scripts; accounts, keys and rows stay."""
        self._on_loop(lambda: reset(self._state))

    # Accounts and keys

    @property
    def balance(self) -> int:
        """The balance of the default key's account."""
        return self._on_loop(lambda: self._account(None).balance)

    @balance.setter
    def balance(self, units: int) -> None:
        self._on_loop(lambda: setattr(self._account(None), "balance", units))

    def account_token(self, key: str | None = None) -> str:
        """Return the access token of the account of *key* (None: the default key)."""
        return self._on_loop(lambda: self._account(key).token)

    def add_key(self, *, quota: int | None = None, of: str | None = None) -> str:
        """Add a key to the account of the key *of* and return it; None: no quota."""

        def add() -> str:
            return self._state.store.add_key(self._account(of), quota).text

        return self._on_loop(add)

    def add_account(self, *, balance: int, group: str = "Lv1") -> str:
        """Add an account and return its key, which has no quota of its own."""

        def add() -> str:
            account = self._state.store.add_account(balance, group=group)
            return self._state.store.add_key(account, None).text

        return self._on_loop(add)

    def set_key(
        self,
        key: str,
        *,
        status: str | None = None,
        quota: int | None = None,
        expires: int | None = None,
    ) -> None:
        """
        Change a key; None leaves a field as it is.

        *status* is enabled, disabled, expired or exhausted; *expires* is in seconds
        since 1970.
        """

        def change() -> None:
            found = self._state.store.keys[key.removeprefix("sk-")]
            found.status = status or found.status
            found.quota = found.quota if quota is None else quota
            found.expires = found.expires if expires is None else expires

        self._on_loop(change)

    def ban(self, key: str | None = None, *, banned: bool = True) -> None:
        """Ban the account of *key*, or end that."""
        self._on_loop(lambda: setattr(self._account(key), "banned", banned))

    def _account(self, key: str | None) -> Account:
        if key is None:
            return self._state.store.accounts[0]
        return self._state.store.keys[key.removeprefix("sk-")].account

    def _check(self, kind: str) -> None:
        if kind not in self._state.kinds:
            known = ", ".join(self._state.kinds)
            raise ValueError(f"no such kind of request: {kind}; known: {known}")
