"""
Scripts for the lives of tasks; a task without one is swapped.

A script is a series of steps, each a view of the task as the upstream lists it. A step
without *seconds* stays until the relay has polled it once, so that a client is sure to
see it.
"""

from collections.abc import Mapping

from attrs import field, frozen, validators

__all__ = [
    "Script",
    "Step",
    "cancelled",
    "fails",
    "fails_at_100",
    "frozen_at_100",
    "sequence",
    "slow",
    "stuck",
    "succeeds_without_image",
    "unmentioned",
]


def _check_view(_step: object, _field: object, view: object) -> None:
    if not isinstance(view, Mapping):
        raise TypeError(f"{view!r} is no view of a task: it is a mapping of fields")


@frozen
class Step:
    """
    One view: the upstream's fields (``status``, ``progress``, ``failReason`` ...).

    A field left out keeps its value; a time that is True becomes the present. The
    step lasts *seconds*, or with None until the relay's next poll.
    """

    view: Mapping[str, object] = field(factory=dict, validator=_check_view)
    seconds: float | None = field(
        default=None, validator=validators.optional(validators.ge(0))
    )


@frozen
class Script:
    """
    The life of one task.

    *swap*: the engine runs after the steps. *mentioned*: the upstream lists the task.
    """

    steps: tuple[Step, ...] = field(
        default=(), validator=validators.deep_iterable(validators.instance_of(Step))
    )
    swap: bool = True
    mentioned: bool = True


def check_script(value: object) -> None:
    """Raise TypeError unless *value* is the script of a task."""
    if not isinstance(value, Script):
        raise TypeError(
            f"{value!r} is no script of a task: call one of "
            "ezlink_async.emulator.scripts, such as scripts.fails()"
        )


def sequence(*views: Mapping[str, object], swap: bool = False) -> Script:
    """Show each of *views* to one poll of the relay; the last one stays."""
    return Script(tuple(Step(view) for view in views), swap=swap)


def fails(reason: str = "文件上传失败") -> Script:
    """Fail as usual: the account is refunded."""
    return sequence({"status": "FAILURE", "failReason": reason, "finishTime": True})


def fails_at_100(reason: str = "文件上传失败") -> Script:
    """Fail at 100 %: the account is not refunded."""
    view = {"status": "FAILURE", "failReason": reason, "progress": "100%"}
    return sequence({**view, "finishTime": True})


def succeeds_without_image() -> Script:
    """Succeed without a picture."""
    view = {"status": "SUCCESS", "progress": "100%", "finishTime": True}
    return sequence(view)


def cancelled(reason: str = "") -> Script:
    """Be cancelled by the upstream; without a reason it never ends at 100 %."""
    return sequence({"status": "CANCEL", "failReason": reason})


def stuck(status: str = "IN_PROGRESS", progress: str = "0%") -> Script:
    """Stay in this state for ever."""
    return sequence({"status": status, "progress": progress})


def frozen_at_100(status: str = "IN_PROGRESS", reason: str = "") -> Script:
    """Stay at 100 % in a status that is no end; the relay stops polling."""
    return sequence({"status": status, "progress": "100%", "failReason": reason})


def slow(seconds: float) -> Script:
    """Run for *seconds* of the emulator's clock, then swap."""
    return Script((Step({"status": "IN_PROGRESS", "progress": "0%"}, seconds),))


def unmentioned() -> Script:
    """Be accepted and never listed by the upstream: the row stays as it is."""
    return Script(mentioned=False)
