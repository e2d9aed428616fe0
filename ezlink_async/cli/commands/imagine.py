"""``ezlink imagine``: a grid of four pictures of each prompt."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import attrs
from cyclopts import Parameter
from cyclopts.validators import Number

from ezlink_async._core.images import Image
from ezlink_async.batch.pairs.orders import Order
from ezlink_async.cli.creations import GridOptions, order, orders_of
from ezlink_async.cli.grids import check_pillow, with_quarters
from ezlink_async.cli.job_options import SWITCH, JobOptions
from ezlink_async.cli.job_run import JobPlan, run_plan
from ezlink_async.cli.order_list import check_no_address
from ezlink_async.services.midjourney import Imagine

_MOST = 100  # grids of one prompt


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class ImagineOptions(GridOptions):
    """
    The options of ``ezlink imagine`` alone.

    Attributes
    ----------
    image
        A picture that the grid starts from; may be repeated.
    count
        Grids of each prompt, each paid. [default: 1]

    """

    image: Annotated[tuple[Path, ...], Parameter(negative=(), show_default=False)] = ()
    count: Annotated[
        int, Parameter(validator=Number(gte=1, lte=_MOST), show_default=False)
    ] = 1


def imagine(
    *prompts: Annotated[str, Parameter(name="PROMPT")],
    own: ImagineOptions = ImagineOptions(),
    split: Annotated[bool, SWITCH] = False,
    options: JobOptions,
) -> int:
    """
    Make a grid of four pictures of each PROMPT.

    A prompt of several words needs quotes around it. The same command goes on where
    one has ended, and pays for nothing twice. Exit code 0: all done; 1: some are
    not; 2: nothing could be done; 130: interrupted.

    Parameters
    ----------
    prompts
        What to draw, with Midjourney's own options at its end: 'a red fox --ar 3:2'.
    own
        See there.
    split
        Cut each grid into NAME_1.png to NAME_4.png, too; costs nothing. Needs Pillow.
    options
        See there.

    """
    if split:
        check_pillow()
    options.check()
    orders = orders_of(options, Imagine.kind, prompts, own, _orders(prompts, own))
    plan = JobPlan(orders=orders, doubt=partial(_doubt, prompts))
    if split:
        replace = options.fresh or options.existing == "replace"
        plan = attrs.evolve(plan, finish=partial(with_quarters, replace=replace))
    return run_plan(options, plan)


def _orders(prompts: tuple[str, ...], own: ImagineOptions) -> Iterator[Order]:
    for picture in own.image:
        check_no_address(picture)
    images = tuple(Image(path=picture) for picture in own.image)
    for prompt in prompts:
        first = order(Imagine(prompt, images=images, mode=own.mode, bot=own.bot), own)
        yield first
        for number in range(2, own.count + 1):
            yield attrs.evolve(first, wanted_path=f"{first.wanted_path}-{number}")


def _doubt(prompts: tuple[str, ...]) -> str | None:
    """Return a warning if the quotes around one prompt may have been forgotten."""
    if len(prompts) > 1 and all(len(prompt.split()) == 1 for prompt in prompts):
        return (
            f"these are {len(prompts)} prompts of one word each; for one prompt put "
            f"quotes around it: '{' '.join(prompts)}'"
        )
    return None
