"""What is out of order around one request: set by a fault, read by the handlers."""

from attrs import define

__all__ = ["AccountSide", "Overrides", "UpstreamAnswer"]


@define
class UpstreamAnswer:
    """
    What the upstream says to the relay, instead of running the job.

    *broken* is how the call fails: ``refused``, ``reset`` (no answer) or ``half``
    (an answer that breaks off).
    """

    status: int = 200
    body: bytes = b""
    broken: str = ""


@define
class AccountSide:
    """
    How the account's pages lag behind, until further notice.

    With *log* off nothing is in the log; an entry is *log_delay* seconds late
    (in the server's batch mode 5), a task's state *state_delay* (``inf``: never).
    """

    log: bool = True
    log_delay: float = 0.0
    state_delay: float = 0.0


@define
class Overrides:
    """
    Nothing unusual, unless a fault says so.

    *trouble* holds words such as ``no_channel``; *picture* is what the picture's
    own server does, see ``faults.Picture``.
    """

    trouble: frozenset[str] = frozenset()
    upstream: UpstreamAnswer | None = None
    picture: "PictureTrouble | None" = None
    rows: "RowTrouble | None" = None


@define
class PictureTrouble:
    """How the picture's own server answers the relay."""

    status: int = 200
    content: bytes | None = None
    content_type: str | None = ""
    keep: int | None = None
    broken: bool = False
    drip: float = 0.0
    block: int = 65_536


@define
class RowTrouble:
    """How the rows of a fetch or list are falsified."""

    omit: tuple[str, ...] | None = None
    repeat: bool = False
    backwards: bool = False
    change: dict[str, object] | None = None
