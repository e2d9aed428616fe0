"""``ezlink modal``: the input that a task waits for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import attrs
from cyclopts import Parameter

from ezlink_async._core.images import Image
from ezlink_async.batch.pairs.order_manifest import read_manifest
from ezlink_async.batch.pairs.orders import Order
from ezlink_async.batch.pairs.output_paths import escape
from ezlink_async.cli.follow_up import (
    NO_INPUT,
    InputOptions,
    check_follow_up,
    fetch_record,
)
from ezlink_async.cli.job_options import JobOptions, check_alone
from ezlink_async.cli.job_run import JobPlan, run_plan
from ezlink_async.errors import ConfigurationError
from ezlink_async.services.midjourney import Modal


def modal(
    task: Annotated[str | None, Parameter(name="TASK")] = None,
    /,
    *,
    own: InputOptions = NO_INPUT,
    options: JobOptions,
) -> int:
    """
    Send the input that a task waits for: TASK.

    It is charged, also where the button was. The same command goes on where
    one has ended, and pays for nothing twice. Exit code 0: done; 1: it is not; 2:
    nothing could be done; 130: interrupted.

    Parameters
    ----------
    task
        What the server called the task that waits.
    own
        See there.
    options
        See there.

    """
    check_follow_up(options)
    check_alone(options, task, own)
    if options.manifest is not None:
        found = read_manifest(options.manifest, kind=Modal.kind)
        return run_plan(options, JobPlan(orders=found))
    if task is None:
        raise ConfigurationError("name the TASK that waits for input")
    return run_plan(options, JobPlan(orders=_orders(task, own, options)))


def _orders(task: str, own: InputOptions, options: JobOptions) -> Iterator[Order]:
    mask = None if own.mask is None else Image(path=own.mask)
    if own.prompt is None:
        request = Modal(fetch_record(options, task), mask=mask)
    else:
        request = Modal(task, prompt=own.prompt, mask=mask)
    order = Order.of(request, output=escape(f"{task}+modal"))
    yield attrs.evolve(order, label=request.label)
