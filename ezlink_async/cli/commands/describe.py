"""``ezlink describe``: pictures described in words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import attrs
from cyclopts import Parameter

from ezlink_async._core.images import Image
from ezlink_async.batch.pairs.folders import LeftOut, Search
from ezlink_async.batch.pairs.orders import Order
from ezlink_async.batch.pairs.output_paths import output_path_for
from ezlink_async.cli.creations import DEFAULTS, CreationOptions, orders_of
from ezlink_async.cli.job_options import JobOptions
from ezlink_async.cli.job_run import JobPlan, run_plan
from ezlink_async.cli.order_list import check_no_address
from ezlink_async.report.escaping import shown
from ezlink_async.services.midjourney import Describe


def describe(
    *pictures: Annotated[Path, Parameter(name="PICTURE")],
    own: CreationOptions = DEFAULTS,
    options: JobOptions,
) -> int:
    """
    Describe pictures in words: PICTURE or FOLDER...

    The text goes to stdout, and into NAME.txt. The same command goes on where one has
    ended, and pays for nothing twice: it prints the texts again. Exit code 0: all done;
    1: some are not; 2: nothing could be done; 130: interrupted.

    Parameters
    ----------
    pictures
        Pictures, and folders that are searched for them.
    own
        See there.
    options
        See there.

    """
    options.check()
    left_out = LeftOut()
    made = _orders(pictures, own, Search(left_out=left_out, output=options.output))
    named = ", ".join(map(shown, pictures)) or options.manifest
    plan = JobPlan(
        orders=orders_of(options, Describe.kind, pictures, own, made),
        left_out=left_out,
        none=f"there is no picture to describe in {named}",
    )
    return run_plan(options, plan)


def _orders(
    pictures: tuple[Path, ...], own: CreationOptions, search: Search
) -> Iterator[Order]:
    for picture in pictures:
        check_no_address(picture)
    for target in search.targets(pictures):
        request = Describe(Image(path=target.path), mode=own.mode, bot=own.bot)
        order = Order.of(request, output=output_path_for(target.below))
        yield attrs.evolve(order, problem=target.problem)
