"""``ezlink blend``: two to five pictures mixed into one grid."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import attrs
from cyclopts import Parameter

from ezlink_async._core.images import Image
from ezlink_async.batch.pairs.orders import Order
from ezlink_async.cli.creations import GridOptions, order, run_creations
from ezlink_async.cli.job_options import JobOptions
from ezlink_async.cli.order_list import check_no_address
from ezlink_async.services.midjourney import Blend


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class BlendOptions(GridOptions):
    """
    The options of ``ezlink blend`` alone.

    Attributes
    ----------
    dimensions
        Shape of the result. [default: square]

    """

    dimensions: Literal["portrait", "square", "landscape"] | None = None


def blend(
    *pictures: Annotated[Path, Parameter(name="PICTURE")],
    own: BlendOptions = BlendOptions(),
    options: JobOptions,
) -> int:
    """
    Mix two to five pictures into one grid of four: PICTURE PICTURE...

    The result is named after the first one. The same command goes on where one has
    ended, and pays for nothing twice. Exit code 0: all done; 1: some are not; 2:
    nothing could be done; 130: interrupted.

    Parameters
    ----------
    pictures
        The pictures to mix.
    own
        See there.
    options
        See there.

    """
    made = _orders(pictures, own)
    return run_creations(options, Blend.kind, pictures, own, made)


def _orders(pictures: tuple[Path, ...], own: BlendOptions) -> Iterator[Order]:
    for picture in pictures:
        check_no_address(picture)
    images = tuple(Image(path=picture) for picture in pictures)
    request = Blend(images, dimensions=own.dimensions, mode=own.mode, bot=own.bot)
    yield order(request, own)
