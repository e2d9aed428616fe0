"""What an emulator can be told, once, before it starts."""

from __future__ import annotations

import ssl
from typing import Protocol

from attrs import field, frozen

from ezlink_async.emulator.clock import Clock

__all__ = ["DEFAULT_ACCOUNT_TOKEN", "DEFAULT_KEY", "EmulatorSettings", "Engine"]

#: The key every emulator knows from the start: ``sk-`` and 48 letters and digits.
DEFAULT_KEY = "sk-ezlinkEmulatorKey0000000000000000000000000000000"
#: The access token of the account behind :data:`DEFAULT_KEY`.
DEFAULT_ACCOUNT_TOKEN = "ezlinkemulatoraccount00000000000"  # noqa: S105 - opens nothing real

_MIB = 1024 * 1024


class Engine(Protocol):
    """What swaps faces. Called from several threads at once."""

    name: str

    def swap(self, source: bytes, target: bytes) -> bytes:
        """Return the result; ValueError with a sentence when it cannot be done."""
        ...


@frozen(kw_only=True)
class EmulatorSettings:
    """
    An emulator as it starts: quick by default, as a test double should be.

    Times are seconds of *clock*. *poll_interval* is the beat of the relay, 0 reads
    the task as it is now. *start_seconds*, *submit_seconds* and *engine_seconds* are
    the least time a task spends in each stage. *concurrency* and *queue* are the
    limits of the upstream. Money is in units, 500,000 to the dollar; *key_quota*
    None is a key without limit. *server_address* is where picture addresses point
    to; None means the emulator itself. With *shows_account* the balance pages are
    those of the account, as after an operator's switch, not of the key. *max_body*
    and *max_image* are bytes, *kept_bytes* how much of finished results stays
    before the oldest link expires.
    """

    engine: str | Engine = "copy"
    host: str = "127.0.0.1"
    port: int = 0
    ssl_context: ssl.SSLContext | None = None
    clock: Clock = field(factory=Clock)
    poll_interval: float = 0.0
    start_seconds: float = 0.0
    submit_seconds: float = 0.0
    engine_seconds: float = 0.0
    concurrency: int = 3
    queue: int = 10
    code_22: bool = True
    price: int = 9_000
    balance: int = 1_000_000_000
    key_quota: int | None = 1_000_000_000
    group: str = "Lv1"
    server_address: str | None = None
    shows_account: bool = False
    plain_text: bool = True
    forward_hooks: bool = True
    hooks_anywhere: bool = False
    hook_twice: bool = False
    hook_timeout: float = 5.0
    max_body: int = 30_000_000
    max_image: int = 10 * _MIB
    kept_bytes: int = 512 * _MIB

    @classmethod
    def realistic(cls) -> EmulatorSettings:
        """Return the beats of the real service: ten seconds, and slow stages."""
        return cls(
            poll_interval=10.0,
            start_seconds=1.0,
            submit_seconds=2.0,
            engine_seconds=15.0,
        )
