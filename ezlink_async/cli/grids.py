"""A grid of four pictures, cut into the four: free, without the server."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from ezlink_async._io.part_files import create_part
from ezlink_async.batch.outcomes import BatchOutcome
from ezlink_async.errors import ConfigurationError
from ezlink_async.services.midjourney import Imagine

if TYPE_CHECKING:
    from PIL.Image import Image

_QUARTERS = ((0, 0), (1, 0), (0, 1), (1, 1))
"""The column and the row of each of the four, by its number."""


def check_pillow() -> None:
    """Raise ConfigurationError if Pillow, which cuts the grids, is missing."""
    if importlib.util.find_spec("PIL") is None:
        raise ConfigurationError(
            "--split needs Pillow, which is not installed: "
            "pip install 'ezlink-async[images]'"
        )


def with_quarters(outcome: BatchOutcome, *, replace: bool = False) -> BatchOutcome:
    """
    Cut the saved grid of *outcome* into ``NAME_1.png`` to ``NAME_4.png``, and add them.

    A file that is there already stays, unless *replace* says otherwise and the grid is
    new. Needs Pillow, and blocks.
    """
    grid = outcome.output
    if outcome.kind != Imagine.kind or grid is None or outcome.error is not None:
        return outcome
    try:
        quarters = _cut(grid, replace=replace and outcome.status == "succeeded")
    except OSError as fault:
        return attrs.evolve(
            outcome,
            status="failed",
            error=f"OSError: {grid} is saved, and its four pictures are not: {fault}; "
            "the next run makes them",
            resumable=True,
        )
    return attrs.evolve(outcome, outputs=(*outcome.outputs, *quarters))


def _cut(grid: Path, *, replace: bool) -> tuple[Path, ...]:
    from PIL import Image

    paths = tuple(grid.with_name(f"{grid.stem}_{number}.png") for number in range(1, 5))
    wanted = [
        each
        for each in zip(paths, _QUARTERS, strict=True)
        if replace or not each[0].exists()
    ]
    if wanted:
        with Image.open(grid) as picture:
            for path, place in wanted:
                _save(picture, place, path)
    return paths


def _save(grid: Image, place: tuple[int, int], path: Path) -> None:
    """Save one quarter of *grid*, whole or not at all."""
    width, height = grid.width // 2, grid.height // 2
    left, top = place[0] * width, place[1] * height
    part, stream = create_part(path.parent)
    try:
        with stream:
            grid.crop((left, top, left + width, top + height)).save(stream, "PNG")
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
