"""``ezlink shorten``: the words of a prompt that matter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from cyclopts import Parameter

from ezlink_async.batch.pairs.orders import Order
from ezlink_async.cli.creations import DEFAULTS, CreationOptions, orders_of
from ezlink_async.cli.job_options import JobOptions
from ezlink_async.cli.job_run import JobPlan, run_plan
from ezlink_async.services.midjourney import Shorten


def shorten(
    *prompts: Annotated[str, Parameter(name="PROMPT")],
    own: CreationOptions = DEFAULTS,
    options: JobOptions,
) -> int:
    """
    Find the words of each PROMPT that matter.

    The text goes to stdout, and into a file. The same command goes on where one has
    ended, and pays for nothing twice: it prints the texts again. Exit code 0: all done;
    1: some are not; 2: nothing could be done; 130: interrupted.

    Parameters
    ----------
    prompts
        The prompts; one of several words needs quotes around it.
    own
        See there.
    options
        See there.

    """
    options.check()
    made = _orders(prompts, own)
    return run_plan(
        options,
        JobPlan(orders=orders_of(options, Shorten.kind, prompts, own, made)),
    )


def _orders(prompts: tuple[str, ...], own: CreationOptions) -> Iterator[Order]:
    for prompt in prompts:
        yield Order.of(Shorten(prompt, mode=own.mode, bot=own.bot))
