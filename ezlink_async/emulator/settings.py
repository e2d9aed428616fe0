"""The settings of an emulator, fixed at its start; and the engine's interface."""

from __future__ import annotations

import re
import ssl
from typing import TYPE_CHECKING, Literal, Protocol, get_args

from attrs import Attribute, evolve, field, frozen, validators

from ezlink_async.emulator.clock import Clock

if TYPE_CHECKING:
    from ezlink_async.emulator.relay.routes import Route

#: A key for tests, as ``EmulatorSettings(api_key=DEFAULT_KEY)``; known to everybody.
DEFAULT_KEY = "sk-ezlinkEmulatorKey0000000000000000000000000000000"
#: An access token for tests, as ``EmulatorSettings(account_token=...)``.
DEFAULT_ACCOUNT_TOKEN = "ezlinkemulatoraccount00000000000"  # noqa: S105 - opens nothing real

_ORIGIN = re.compile(r"https?://[a-z0-9.\[\]:-]+")

_MIB = 1024 * 1024

_OWN = Clock()  # stands for the clock that each emulator makes for itself

Faces = Literal["largest", "all"]
"""The faces of a target that the built-in engine swaps."""


class Engine(Protocol):
    """Swaps faces. Several threads call it at once."""

    name: str

    def swap(self, source: bytes, target: bytes) -> bytes:
        """Return the result; ValueError, whose text is the reason, when it cannot."""
        ...


def _check_origins(
    _settings: object, _field: Attribute[tuple[str, ...]], origins: tuple[str, ...]
) -> None:
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise ValueError(
                f"{origin!r} is no origin: write it as a browser sends it, in lower "
                "case and without a path, such as http://localhost:3000"
            )


def _check_share(_faults: object, field_: Attribute[float], share: float) -> None:
    if not 0 <= share <= 1:
        raise ValueError(f"{field_.name} is a share from 0 to 1, not {share!r}")


def _share() -> float:
    return field(default=0.0, validator=_check_share)


@frozen(kw_only=True)
class HookFaults:
    """
    What goes wrong with the notifications to hooks, as the same *seed* repeats it.

    Of all notifications the shares from 0 to 1: *dropped* are not posted, *doubled*
    posted twice, *late* posted after up to *seconds* of the emulator's clock, and
    *reordered* after the next one of their task. *forged* are followed by one that
    the upstream has not sent: it says that the task has ended well, or has failed
    where it did end well.
    """

    dropped: float = _share()
    doubled: float = _share()
    late: float = _share()
    seconds: float = field(default=10.0, validator=validators.ge(0))
    reordered: float = _share()
    forged: float = _share()
    seed: int = 0


@frozen(kw_only=True)
class EmulatorSettings:
    """
    The settings of an emulator: by default quick, as a test double should be.

    *engine* is ``copy``, ``opencv`` or an object. *faces*: ``all`` or ``largest``,
    which faces of a target ``opencv`` swaps; the protocol has no such choice, and the
    real server makes it by itself. Times are seconds of *clock*; by default each
    emulator has one of its own, so that settings serve in several event loops.

    *api_key*, *account_token*, *control_secret*: credentials of the first account, and
    of the control API; None: a random one each run. *hosts*: names that requests may
    give as their ``Host``, besides the address they came to. *origins*: whose pages
    may read answers of the API (never of the control API); by default none's.

    *poll_interval*: the relay refreshes its rows that often; 0: at every request.
    *start_seconds*, *submit_seconds*, *engine_seconds*: the least time that a task
    spends in each stage. *concurrency*, *queue*: how many tasks the upstream runs,
    and lets wait. *code_22*: accept a waiting task with code 22, a swap uncharged.

    *remix*: a reroll, a variation and a pan ask for a new prompt first, after they were
    charged. *channel_type*: 32 forwards each Midjourney submit without its mode.
    *serves_change*: the upstream serves ``change``, as older ones did.

    *flux_calls_back*: Flux calls the relay when a picture is there; without that only a
    query with ``from_source`` finds it. *flux_reconciler*: the relay's own reconciler
    fails a record of Flux that is older than 15 minutes.

    *price*, *balance*, *key_quota*: units, 500,000 to the dollar; None is a key
    without limit. The price is that of a swap; those of Midjourney are fixed.
    *group*: the account's. *server_address*: the server part of picture addresses;
    None: the emulator's own. *shows_account*: the balance pages show the account
    instead of the key, as after an operator's switch. *plain_text*: an accepted submit
    is sent as ``text/plain``, as the real server does.

    *provider_address*: the server that the relay asks for videos, as it stands in the
    texts of its failures; none is asked.

    *forward_hooks*: post notifications to a job's ``notifyHook`` on a loopback host,
    within *hook_timeout*; *hooks_anywhere*: and on any other; *hook_twice*: post the
    end of a task twice; *hook_faults*: what else goes wrong. By default none is sent:
    each client that may submit chooses the address, and so could reach servers of this
    machine.

    *files_work*: store the first file of an account, too, which the real server
    refuses. *files_limit*: bytes that the files of an account may have together; None:
    as many as its group allows.

    *max_body*, *max_image*: bytes that the upstream accepts. *kept_bytes*: finished
    pictures kept before the oldest link expires, and as many of videos that were sent
    inline.

    *stability*: serve Stability's calls, as the public server did until January 2026;
    else they are answered with its 404.

    *routes*: paths of further families, which go before those of the emulator.
    """

    engine: str | Engine = "copy"
    faces: Faces = field(default="all", validator=validators.in_(get_args(Faces)))
    host: str = "127.0.0.1"
    port: int = 0
    ssl_context: ssl.SSLContext | None = None
    api_key: str | None = field(default=None, repr=False)
    account_token: str | None = field(default=None, repr=False)
    control_secret: str | None = field(default=None, repr=False)
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = field(default=(), validator=_check_origins)
    clock: Clock = _OWN
    poll_interval: float = 0.0
    start_seconds: float = 0.0
    submit_seconds: float = 0.0
    engine_seconds: float = 0.0
    concurrency: int = 3
    queue: int = 10
    code_22: bool = True
    remix: bool = False
    channel_type: int = 1
    serves_change: bool = False
    flux_calls_back: bool = True
    flux_reconciler: bool = False
    price: int = 9_000
    balance: int = 1_000_000_000
    key_quota: int | None = 1_000_000_000
    group: str = "Lv1"
    server_address: str | None = None
    provider_address: str = "http://127.0.0.1:9"
    shows_account: bool = False
    plain_text: bool = True
    forward_hooks: bool = False
    hooks_anywhere: bool = False
    hook_twice: bool = False
    hook_timeout: float = 5.0
    hook_faults: HookFaults = HookFaults()
    files_work: bool = False
    files_limit: int | None = None
    max_body: int = 30_000_000
    max_image: int = 10 * _MIB
    kept_bytes: int = 512 * _MIB
    stability: bool = False
    routes: tuple[Route, ...] = ()

    def with_clock(self) -> EmulatorSettings:
        """Return the settings of one emulator, with a clock of its own if none is."""
        return evolve(self, clock=Clock()) if self.clock is _OWN else self

    @classmethod
    def realistic(cls) -> EmulatorSettings:
        """Return the pace of the real service: a refresh every 10 s, slow stages."""
        return cls(
            poll_interval=10.0,
            start_seconds=1.0,
            submit_seconds=2.0,
            engine_seconds=15.0,
        )
