"""``ezlink flux``: a picture of each prompt by native Flux."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, TypedDict, cast

import attrs
from cyclopts import Parameter

from ezlink_async._core.images import Image
from ezlink_async.batch.pairs.orders import Order
from ezlink_async.cli.creations import run_creations
from ezlink_async.cli.job_options import FIELDS, JobOptions, named_as, read_fields
from ezlink_async.cli.order_list import check_no_address
from ezlink_async.errors import ConfigurationError
from ezlink_async.services.flux import Flux

_SIZE = re.compile(r"([1-9][0-9]{0,4})[xX]([1-9][0-9]{0,4})")

_MODEL = "flux-2-pro"


class _WithoutOption(TypedDict, total=False):
    """Fields of the job request that only ``--set`` names; it checks their types."""

    aspect_ratio: str | None
    output_format: str | None
    safety_tolerance: int | None


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class FluxOptions:
    """
    The options of ``ezlink flux`` alone.

    Attributes
    ----------
    model
        The model, as its maker names it. [default: flux-2-pro]
    size
        Width and height in pixels, as WIDTHxHEIGHT.
    seed
        The same seed and prompt give a similar picture.
    image
        A picture to start from.
    fields
        A further field as the model's maker names it, as KEY=JSON; may be repeated.

    """

    model: Annotated[str, Parameter(show_default=False)] = _MODEL
    size: str | None = None
    seed: int | None = None
    image: Path | None = None
    fields: Annotated[tuple[str, ...], FIELDS] = ()


def flux(
    *prompts: Annotated[str, Parameter(name="PROMPT")],
    own: FluxOptions = FluxOptions(),
    options: JobOptions,
) -> int:
    """
    Make a picture of each PROMPT by native Flux.

    A picture is paid once it is there, and a failure costs nothing; content that
    breaks the guidelines costs a fee of 0.05 USD. The same command goes on where one
    has ended, and pays for nothing twice. Exit code 0: all done; 1: some are not; 2:
    nothing could be done; 130: interrupted.

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
    return run_creations(options, Flux.kind, prompts, own, made)


def _orders(prompts: tuple[str, ...], own: FluxOptions) -> Iterator[Order]:
    picture = None
    if own.image is not None:
        check_no_address(own.image)
        picture = Image(path=own.image)
    width, height = _size(own.size)
    further = read_fields(own.fields)
    named = _WithoutOption.__annotations__.keys() & further
    rest = cast("_WithoutOption", {name: further.pop(name) for name in named})
    for prompt in prompts:
        with named_as(extra="--set", seed="--seed", prompt="PROMPT"):
            request = Flux(
                own.model,
                prompt,
                width=width,
                height=height,
                seed=own.seed,
                input_image=picture,
                extra=further,
                **rest,
            )
        yield Order.of(request)


def _size(size: str | None) -> tuple[int | None, int | None]:
    if size is None:
        return None, None
    found = _SIZE.fullmatch(size)
    if found is None:
        raise ConfigurationError(f"--size is WIDTHxHEIGHT, not {size!r:.80}")
    return int(found[1]), int(found[2])
