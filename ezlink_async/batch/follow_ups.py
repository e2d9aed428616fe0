"""
The jobs of buttons: each is planned when the job whose button it is has ended.

A job is known by the request of the one before it and the name of the button, since
a server gives the same button another custom id in each task.
"""

from __future__ import annotations

import json

import attrs

from ezlink_async.batch.pairs.orders import Order
from ezlink_async.batch.pairs.output_paths import escape
from ezlink_async.batch.preflight import BatchJob
from ezlink_async.buttons import Button, ButtonLookup
from ezlink_async.errors import ConfigurationError
from ezlink_async.services.base import AnyRecord, canonical
from ezlink_async.services.midjourney.follow_ups import Action

_UNKNOWN = "what the server said of its task is not known any more"


def follow_ups(job: BatchJob) -> list[Order]:
    """
    Return the orders of the buttons to press once *job* is done.

    A button that is not there, or needs input, is a problem of its own order.
    """
    task = job.task_record
    return [_follow_up(job, task, name) for name in dict.fromkeys(job.order.then)]


def planned(order: Order, request: str, output_path: str) -> list[Order]:
    """
    Return the orders of the buttons of *order*, before its task is known.

    *request* is the identity of its job, *output_path* the place of its results.
    """
    names = dict.fromkeys(order.then)
    return [button_order(order.label, request, output_path, name) for name in names]


def button_order(label: str, request: str, output_path: str, name: str) -> Order:
    """
    Return the order of the button called *name* of a job, before it is known.

    *label*, *request* and *output_path* are those of the job.
    """
    return Order(
        kind=Action.kind,
        request=None,
        wanted_path=f"{output_path}+{escape(name)}",
        label=f"{label}: {name}",
        named=canonical({"button": name, "parent": json.loads(request)}),
    )


def _follow_up(job: BatchJob, task: AnyRecord | None, name: str) -> Order:
    request, problem = None, None
    try:
        button = _button(task, name)
        name, request = button.name, Action(button, task)
    except ConfigurationError as error:
        problem = str(error)
    key = job.record.key
    order = button_order(job.order.label, key.request, key.output_path, name)
    return attrs.evolve(order, request=request, problem=problem)


def _button(task: AnyRecord | None, name: str) -> Button:
    """Return the button, or raise :exc:`ConfigurationError` why it is not pressed."""
    if not isinstance(task, ButtonLookup):
        why = _UNKNOWN if task is None else "its task has no buttons"
        raise ConfigurationError(f"{name!r} cannot be pressed: {why}")
    button = task.button(name)
    if button.needs_input:
        raise ConfigurationError(
            f"{button.name!r} needs a prompt or a mask, which a batch has not: "
            f"send it by itself, to task {task.task_id}"
        )
    return button
