"""``ezlink video``: a video of each prompt, by any model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import attrs
from cyclopts import Parameter
from cyclopts.validators import Number

from ezlink_async._core.images import Image
from ezlink_async.batch.pairs.order_manifest import read_manifest
from ezlink_async.batch.pairs.orders import Order
from ezlink_async.cli.job_options import (
    FIELDS,
    JobOptions,
    check_alone,
    named_as,
    read_fields,
)
from ezlink_async.cli.job_run import JobPlan, run_plan
from ezlink_async.cli.order_list import check_no_address
from ezlink_async.errors import ConfigurationError
from ezlink_async.services.leaves import is_address
from ezlink_async.services.video import Video

_OPTIONS = {
    "model": "--model",
    "prompt": "PROMPT",
    "image": "--image",
    "seconds": "--seconds",
    "aspect": "--aspect",
}
"""The options by the fields of the job request that they fill."""


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class VideoOptions:
    """
    The options of ``ezlink video`` alone.

    Attributes
    ----------
    model
        The model, as the server calls it: kling-v1, veo-3.0-generate-001, ...
    image
        A picture that the video begins with, or an https:// address of one.
    last_image
        A picture that it ends with, or an https:// address of one.
    seconds
        How long it is. [default: the provider's]
    aspect
        Its shape, such as 16:9. [default: the provider's]
    set
        A further field in the provider's own words, as KEY=JSON; what is no JSON is
        a text: --set mode=pro, --set 'parameters={"seed": 7}'; may be repeated.

    """

    model: Annotated[str, Parameter(show_default=False)] = ""
    image: str | None = None
    last_image: str | None = None
    seconds: Annotated[
        float | None, Parameter(validator=Number(gt=0), show_default=False)
    ] = None
    aspect: str | None = None
    set: Annotated[tuple[str, ...], FIELDS] = ()


def video(
    *prompts: Annotated[str, Parameter(name="PROMPT")],
    own: VideoOptions = VideoOptions(),
    options: JobOptions,
) -> int:
    """
    Make a video of each PROMPT, or of a picture alone.

    A prompt of several words needs quotes around it. A video costs from 0.1 to some
    dollars, and is charged at once; the operator sets the prices. The same command goes
    on where one has ended, and pays for nothing twice. Exit code 0: all done; 1: some
    are not; 2: nothing could be done; 130: interrupted.

    Parameters
    ----------
    prompts
        What to show.
    own
        See there.
    options
        See there.

    """
    options.check()
    return run_plan(options, JobPlan(orders=_given(prompts, own, options)))


def _given(
    prompts: tuple[str, ...], own: VideoOptions, options: JobOptions
) -> Iterator[Order]:
    """Return the orders of the arguments, or those of the manifest in their place."""
    check_alone(options, prompts, own)
    if options.manifest is not None:
        return read_manifest(options.manifest, kind=Video.kind)
    if not own.model:
        raise ConfigurationError("name the model, as in --model kling-v1")
    if not prompts and own.image is None:
        raise ConfigurationError(
            "say what to show, or give --image, or a file that lists it: "
            "--manifest FILE"
        )
    return _orders(prompts or (None,), own)


def _orders(prompts: tuple[str | None, ...], own: VideoOptions) -> Iterator[Order]:
    fields = read_fields(own.set)
    for prompt in prompts:
        with named_as(**_OPTIONS):
            request = Video(
                own.model,
                fields,
                prompt=prompt,
                image=_picture(own.image),
                last_image=_picture(own.last_image),
                seconds=own.seconds,
                aspect=own.aspect,
            )
        yield Order.of(request)


def _picture(given: str | None) -> Image | str | None:
    """Return a picture of the disk; an address stays one, since providers open it."""
    if given is None or is_address(given):
        return given
    check_no_address(Path(given))
    return Image(path=Path(given))
