"""``ezlink swap``: find the pairs, swap them, print what became of each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import attrs
from cyclopts import Parameter

from ezlink_async._core.images import Image
from ezlink_async.batch.pairs import matching
from ezlink_async.batch.pairs.folders import LeftOut, Search
from ezlink_async.batch.pairs.matching import Pair
from ezlink_async.batch.pairs.order_manifest import read_manifest
from ezlink_async.batch.pairs.orders import Order
from ezlink_async.batch.preflight import check_source
from ezlink_async.cli.connect import check_engine, has_engine
from ezlink_async.cli.job_options import JobOptions, check_alone
from ezlink_async.cli.job_run import JobPlan, run_plan
from ezlink_async.cli.order_list import check_no_address, piped_paths
from ezlink_async.cli.source_face import check_face, doubt_about_face
from ezlink_async.errors import ConfigurationError
from ezlink_async.report.escaping import shown
from ezlink_async.services.face_swap import FaceSwap
from ezlink_async.services.midjourney import Mode

_STDIN = Path("-")  # the targets are read from a pipe


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class SwapOptions:
    """
    The options of ``ezlink swap`` alone.

    Attributes
    ----------
    pairs
        How sources and targets go together: zip (the two folders by name),
        product (each with each), or a file that lists them (CSV or JSON Lines,
        with source and target).
    mode
        Queue of the server; the price is the same. [default: the server's]
    faces
        Faces of a group to swap, with --local only: the largest one, or all. The
        real server decides by itself. [default: all]

    """

    pairs: str | None = None
    mode: Literal["fast", "turbo", "relax"] | None = None
    faces: Literal["largest", "all"] | None = None


def swap(
    *pictures: Annotated[Path, Parameter(name="PICTURE")],
    own: SwapOptions = SwapOptions(),
    options: JobOptions,
) -> int:
    """
    Put the face of a source into every target: SOURCE TARGET...

    The key comes from EZLINK_API_KEY or the profile file. The same command goes
    on where one has ended, and pays for nothing twice. Exit code 0: all done;
    1: some are not; 2: nothing could be done; 130: interrupted.

    Parameters
    ----------
    pictures
        First the picture the face is taken from, then pictures or folders to
        put it into; - reads their names from a pipe, a line each or separated by
        NUL. With --pairs and a file: none.
    own
        See there.
    options
        See there.

    """
    if own.faces is not None and not options.local:
        raise ConfigurationError(
            "--faces is for --local: the real server decides by itself which faces "
            "it swaps"
        )
    options.check()
    if options.local and not options.dry_run:
        check_engine()
    left_out = LeftOut()
    orders = _find_orders(own, options, pictures, left_out)
    lists = own.pairs or options.manifest
    source = None if lists else _checked_source(options, pictures[0])
    named = ", ".join(map(shown, pictures[1:])) or lists
    plan = JobPlan(
        orders=orders,
        left_out=left_out,
        none=f"there is no picture to swap in {named}",
        order_noun="target",
        job_noun="swap",
        one_price=True,
        faces=own.faces or "all",
        doubt=lambda: None if source is None else doubt_about_face(source),
    )
    return run_plan(options, plan)


def _find_orders(
    own: SwapOptions,
    options: JobOptions,
    pictures: tuple[Path, ...],
    left_out: LeftOut,
) -> Iterator[Order]:
    check_alone(options, pictures, attrs.evolve(own, faces=None))
    if options.manifest is not None:
        return read_manifest(options.manifest, kind=FaceSwap.kind)
    mode = Mode.parse(own.mode)
    pairs = _find_pairs(own.pairs, options, pictures, left_out)
    return (pair.order(mode) for pair in pairs)


def _find_pairs(
    how: str | None,
    options: JobOptions,
    pictures: tuple[Path, ...],
    left_out: LeftOut,
) -> Iterator[Pair]:
    """Return the pairs; raise ConfigurationError if the arguments name none."""
    if how not in {None, "zip", "product"}:
        if pictures:
            raise ConfigurationError("a manifest names the pictures: give no others")
        return matching.manifest(Path(how or ""))
    if len(pictures) < 2:  # noqa: PLR2004 - one of each
        raise ConfigurationError("give a SOURCE and at least one TARGET")
    source, *targets = _named_pictures(pictures)
    search = Search(left_out=left_out, sources=[source], output=options.output)
    if how == "zip":
        return matching.by_name(source, targets, search)
    if how == "product":
        return matching.product(source, targets, search)
    return matching.one_to_many(source, targets, search)


def _checked_source(options: JobOptions, source: Path) -> Image:
    """Return the source as it is sent; raise ImageError if no swap can use it."""
    image = check_source(source, strip_metadata=options.strip_metadata)
    if options.local and has_engine():
        check_face(image)
    return image


def _named_pictures(pictures: tuple[Path, ...]) -> Iterator[Path]:
    """Yield the source and the targets; a dash stands for those on stdin."""
    for number, picture in enumerate(pictures):
        if picture != _STDIN:
            check_no_address(picture)
            yield picture
        elif number:
            yield from piped_paths()
        else:
            raise ConfigurationError("- stands for targets: name the SOURCE before it")
