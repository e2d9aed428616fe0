"""``ezlink image``: pictures of each prompt by Flux, Kling or Wan."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import attrs
from cyclopts import Parameter
from cyclopts.validators import Number

from ezlink_async._core.images import Image
from ezlink_async.batch.pairs.orders import Order
from ezlink_async.cli.creations import run_creations
from ezlink_async.cli.job_options import FIELDS, JobOptions, named_as, read_fields
from ezlink_async.cli.order_list import check_no_address
from ezlink_async.errors import ConfigurationError
from ezlink_async.services.image_generation import AsyncImage
from ezlink_async.services.image_generation.requests import provider_of
from ezlink_async.services.image_generation.tasks import Provider

_MOST = 100  # pictures of one prompt


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class ImageOptions:
    """
    The options of ``ezlink image`` alone.

    Attributes
    ----------
    model
        Who makes the pictures: flux..., kling... or wan...
    count
        Pictures of each prompt, each paid. Kling and Wan make up to ten in one job.
        [default: 1]
    image
        A picture to start from; may be repeated.
    fields
        A further field as the model's maker names it, as KEY=JSON; may be repeated.

    """

    model: str | None = None
    count: Annotated[
        int, Parameter(validator=Number(gte=1, lte=_MOST), show_default=False)
    ] = 1
    image: Annotated[tuple[Path, ...], Parameter(negative=(), show_default=False)] = ()
    fields: Annotated[tuple[str, ...], FIELDS] = ()


def image(
    *prompts: Annotated[str, Parameter(name="PROMPT")],
    own: ImageOptions = ImageOptions(),
    options: JobOptions,
) -> int:
    """
    Make pictures of each PROMPT by a model of Flux, Kling or Wan.

    They are paid at acceptance, also where they fail; only failures of Wan are given
    back. The same command goes on where one has ended, and pays for nothing twice.
    Exit code 0: all done; 1: some are not; 2: nothing could be done; 130: interrupted.

    Parameters
    ----------
    prompts
        What to draw; one of several words needs quotes around it.
    own
        See there.
    options
        See there.

    """
    made = _orders(prompts, own)
    return run_creations(options, AsyncImage.kind, prompts, own, made)


def _orders(prompts: tuple[str, ...], own: ImageOptions) -> Iterator[Order]:
    if own.model is None:
        raise ConfigurationError(
            "name who makes the pictures, such as --model kling-v2"
        )
    for picture in own.image:
        check_no_address(picture)
    images = tuple(Image(path=picture) for picture in own.image)
    body = read_fields(own.fields)
    in_one_job = provider_of(own.model) is not Provider.FLUX
    n, jobs = (own.count, 1) if in_one_job else (1, own.count)
    for prompt in prompts:
        with named_as(n="--count", images="--image", body="--set", prompt="PROMPT"):
            request = AsyncImage(own.model, prompt, n=n, images=images, body=body)
        first = Order.of(request)
        yield first
        for number in range(2, jobs + 1):
            yield attrs.evolve(first, wanted_path=f"{first.wanted_path}-{number}")
