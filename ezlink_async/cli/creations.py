"""
What the commands that make something new have in common: options, and orders.

``imagine``, ``blend``, ``describe``, ``shorten``, ``image`` and ``flux`` belong to no
other task.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

import attrs
from cyclopts import Parameter

from ezlink_async.batch.pairs.order_manifest import read_manifest
from ezlink_async.batch.pairs.orders import AnyRequest, Order
from ezlink_async.cli.job_options import JobOptions, check_alone
from ezlink_async.cli.job_run import JobPlan, run_plan
from ezlink_async.errors import ConfigurationError


# Resolved here, since a subclass in another module lacks the names of the types.
@Parameter(name="*")
@attrs.resolve_types
@attrs.frozen(kw_only=True)
class CreationOptions:
    """
    The options of a job that belongs to no other task.

    Attributes
    ----------
    mode
        How fast, and at which price: relax is cheap and may take an hour. [default:
        the server's, which is fast]
    bot
        Which of the two draws; niji is for anime. [default: midjourney]

    """

    mode: Literal["fast", "turbo", "relax"] | None = None
    bot: Literal["midjourney", "niji"] | None = None


_VERBS = {"image": "draw", "flux": "draw"}
"""What a command does, where its own name does not say it."""

DEFAULTS = CreationOptions()
"""No option is given."""


@Parameter(name="*")
@attrs.resolve_types
@attrs.frozen(kw_only=True)
class GridOptions(CreationOptions):
    """
    The options of a job that makes a grid of four pictures.

    Attributes
    ----------
    then
        Buttons to press on each grid once it is saved, separated by commas: U1 to
        U4 enlarge one of the four, V1 to V4 vary it. Each is paid.

    """

    then: Annotated[str, Parameter(show_default=False)] = ""

    @property
    def buttons(self) -> tuple[str, ...]:
        """The names of the buttons."""
        return tuple(name.strip() for name in self.then.split(",") if name.strip())


def orders_of(
    options: JobOptions,
    kind: str,
    given: Iterable[object],
    own: object,
    made: Iterable[Order],
) -> Iterator[Order]:
    """
    Return the orders *made* of the arguments, or those of the manifest in their place.

    Rows of the manifest that name no kind are of this *kind*. *given* are the
    arguments, and *own* the options that a manifest has in its rows.
    """
    check_alone(options, given, own)
    if options.manifest is not None:
        return read_manifest(options.manifest, kind=kind)
    if not given:
        verb = _VERBS.get(kind, kind)
        raise ConfigurationError(
            f"name what to {verb}, or a file that lists it: --manifest FILE"
        )
    return iter(made)


def run_creations(
    options: JobOptions,
    kind: str,
    given: Iterable[object],
    own: object,
    made: Iterable[Order],
) -> int:
    """Do the orders that :func:`orders_of` returns, and return the exit code."""
    options.check()
    orders = orders_of(options, kind, given, own, made)
    return run_plan(options, JobPlan(orders=orders))


def order(request: AnyRequest, own: GridOptions) -> Order:
    """Return the order of *request*, with the buttons that *own* names."""
    return Order.of(request, then=own.buttons)
