"""``ezlink action``: buttons of a finished task, with the input they ask for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Annotated

import attrs
from cyclopts import Parameter

from ezlink_async._core.images import Image
from ezlink_async.batch.follow_ups import button_order
from ezlink_async.batch.pairs.folders import LeftOut
from ezlink_async.batch.pairs.order_manifest import read_manifest
from ezlink_async.batch.pairs.orders import Order
from ezlink_async.batch.pairs.output_paths import escape
from ezlink_async.batch.pairs.pictures import digest_of_picture
from ezlink_async.buttons import Button
from ezlink_async.cli.connect import connect, server_of
from ezlink_async.cli.estimate import Expected, estimate
from ezlink_async.cli.follow_up import (
    NO_INPUT,
    InputOptions,
    Parent,
    check_follow_up,
    fetch_record,
)
from ezlink_async.cli.job_options import JobOptions, check_alone
from ezlink_async.cli.job_run import JobPlan, run_plan
from ezlink_async.cli.order_list import OrderList
from ezlink_async.errors import ConfigurationError, ModalNeededError
from ezlink_async.models import TaskRecord
from ezlink_async.services.base import canonical
from ezlink_async.services.midjourney import Action, Modal


def action(
    *words: Annotated[str, Parameter(name="TASK BUTTON")],
    own: InputOptions = NO_INPUT,
    options: JobOptions,
) -> int:
    """
    Press buttons of a finished task: TASK BUTTON...

    Each is a job, and paid. With --prompt or --mask one button that asks for input
    is pressed, and its dialog answered. The same command goes on where one has ended,
    and pays for nothing twice. Exit code 0: all done; 1: some are not; 2: nothing
    could be done; 130: interrupted.

    Parameters
    ----------
    words
        The task, by the file of its result or by its id, and then buttons: by their
        label (U1, 'Vary (Subtle)'), their emoji, or their custom id.
    own
        See there.
    options
        See there.

    """
    check_follow_up(options)
    check_alone(options, words, own)
    if options.manifest is not None:
        found = read_manifest(options.manifest, kind=Action.kind)
        return run_plan(options, JobPlan(orders=found))
    if len(words) < 2:  # noqa: PLR2004 - a task and a button
        raise ConfigurationError("give a TASK and at least one BUTTON")
    given, *names = words
    task = Parent.of(given, options)
    orders = _presses(options, task, names)
    if own.is_given:
        orders = iter([_answered(options, task, names, own)])
    return run_plan(options, JobPlan(orders=orders))


def _presses(options: JobOptions, task: Parent, names: list[str]) -> Iterator[Order]:
    """Yield the order of each button; only those with a label need the record."""
    if all("::" in name for name in names):
        for name in names:
            yield Order.of(Action(name, task.task_id), output=_place(task, name))
        return
    record = fetch_record(options, task.task_id)
    for button in _buttons(record, names):
        request = Action(button, record)
        if task.record is None:
            yield Order.of(request, output=_place(task, button.name))
            continue
        # The same job as if the button had been named by --then.
        label, key = task.record.label, task.record.key
        order = button_order(label, key.request, key.output_path, button.name)
        yield attrs.evolve(order, request=request)


def _buttons(record: TaskRecord, names: list[str]) -> list[Button]:
    if not record.buttons:
        status = str(record.status) or "not started"
        raise ConfigurationError(
            f"task {record.task_id} has no buttons; its status is {status}"
        )
    return [record.button(name) for name in names]


def _place(task: Parent, name: str) -> str:
    return f"{task.place}+{escape(name)}"


def _answered(
    options: JobOptions, task: Parent, names: list[str], own: InputOptions
) -> Order:
    """
    Return the order of a button's input; the button is pressed if it has not been.

    Pressing is free and makes a new task each time, so the job is known by the button
    and the input, and a later run finds it.
    """
    if len(names) > 1:
        raise ConfigurationError("--prompt and --mask answer one button, not several")
    record = fetch_record(options, task.task_id)
    (button,) = _buttons(record, names)
    if not button.needs_input:
        raise ConfigurationError(
            f"the button {button.name!r} takes neither prompt nor mask"
        )
    mask = None if own.mask is None else Image(path=own.mask)
    # Checks the input before the button is pressed.
    request = Modal(record, prompt=own.prompt, mask=mask)
    order = attrs.evolve(
        Order.of(request, output=_place(task, button.name)),
        label=f"{button.name} of {task.task_id}: {request.sent_prompt}",
        named=_identity(task.task_id, button, own),
    )
    if options.dry_run:
        return order
    if not _is_new(options, order):
        return attrs.evolve(order, request=None)  # it is sent once, and followed
    dialog = asyncio.run(_press(options, Action(button, record)))
    request = Modal(dialog, prompt=own.prompt, mask=mask)
    return attrs.evolve(order, request=request)


def _identity(task: str, button: Button, own: InputOptions) -> str:
    """Return all that changes the result, as canonical JSON."""
    said: dict[str, object] = {"button": button.name, "parent": {"task": task}}
    if own.prompt is not None:
        said["prompt"] = own.prompt
    if own.mask is not None:
        said["mask"] = digest_of_picture(own.mask).hex()
    return canonical(said)


def _is_new(options: JobOptions, order: Order) -> bool:
    """Return whether a run would send *order*, after all that earlier runs did."""
    with contextlib.closing(OrderList([order], LeftOut())) as orders:
        batch = options.batch_options(orders, "all")
        server = batch.server_name(server_of(options))
        journal = None if options.fresh else batch.journal_path
        found = estimate(orders, batch, server, journal)
    return Expected.NEW in found.orders


async def _press(options: JobOptions, request: Action) -> ModalNeededError:
    """Press a button that asks for input, and return its dialog."""
    async with connect(options) as ez:
        handle = await ez.submit(request)
        try:
            await handle
        except ModalNeededError as dialog:
            return dialog
    raise ConfigurationError(
        f"the server asked for no input; save the result of the button with: ezlink "
        f"task {handle.task_id} --output {options.output}"
    )
