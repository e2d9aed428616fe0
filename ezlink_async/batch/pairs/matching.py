"""
Pairs of a source and a target, and the path of each result.

Lazy: each function yields :class:`Pair` values in an order that stays the same, so
that a second run gives the results the same names.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

import attrs

from ezlink_async._core.images import Image
from ezlink_async.batch.pairs.folders import LeftOut, Search, Target
from ezlink_async.batch.pairs.orders import Order
from ezlink_async.batch.pairs.output_paths import is_below, output_path_for, path_key
from ezlink_async.batch.pairs.pictures import (
    IN_MEMORY,
    InMemory,
    Input,
    Picture,
    PictureLike,
    absolute,
    picture_of,
)
from ezlink_async.batch.pairs.rows import is_path, read_rows, wrong
from ezlink_async.errors import ConfigurationError
from ezlink_async.services.face_swap import FaceSwap
from ezlink_async.services.midjourney import Mode

NO_SOURCE = Path()
"""Stands for the source of a pair that has none yet."""


@attrs.frozen(init=False)
class Pair:
    """
    One swap to make.

    *source* and *target* are paths, bytes, :class:`Image` values or binary file
    objects, which are read once, in a thread, and stay open: one file object serves
    one pair, and bytes serve many. Without a *source* the pair is a target for the
    source of :func:`run_batch`.

    *wanted_path* is the path of the result: relative to the output folder, with
    ``/`` and without a suffix. Left out it is made of *name*, or of the file's name.
    A target in memory needs a *name*, a path below the output folder, which stands
    for it in outcomes and in the report. It is known by its content: other content
    under the same name is another picture, whose result gets ``-2``.

    A *problem* says why the swap cannot be made. :exc:`ConfigurationError` for a
    value that is no picture, or a name that is missing or leads elsewhere.
    """

    source: Path
    target: Path
    wanted_path: str
    problem: str | None = None
    source_picture: Picture = attrs.field(init=False, eq=False, repr=False)
    target_picture: Picture = attrs.field(init=False, eq=False, repr=False)

    def __init__(
        self,
        source: PictureLike | None = None,
        target: PictureLike | None = None,
        wanted_path: str | None = None,
        problem: str | None = None,
        *,
        name: str | None = None,
    ) -> None:
        face = NO_SOURCE if source is None else picture_of(source, IN_MEMORY)
        photo = picture_of(target, _target_name(target, name))
        path = photo.name if isinstance(photo, InMemory) else photo
        if wanted_path is None:
            below = path if isinstance(photo, InMemory) else Path(path.name)
            wanted_path = output_path_for(below if name is None else Path(name))
        face_path = face.name if isinstance(face, InMemory) else face
        self.__attrs_init__(face_path, path, wanted_path, problem)
        object.__setattr__(self, "source_picture", face)
        object.__setattr__(self, "target_picture", photo)

    @property
    def has_source(self) -> bool:
        """Whether it names a source of its own."""
        return self.source_picture != NO_SOURCE

    def order(self, mode: Mode | None = None) -> Order:
        """Return the order of the swap, in the queue of this *mode*."""
        inputs = (Input("source", self.source), Input("target", self.target))
        # The pictures themselves may be read only later, and in a thread.
        named = (Image(path=each.path) for each in inputs)
        return Order(
            kind=FaceSwap.kind,
            request=FaceSwap(*named, mode=mode),
            wanted_path=self.wanted_path,
            label=str(_stored(self.target_picture)),
            inputs=inputs,
            problem=self.problem,
            pictures=(self.source_picture, self.target_picture),
        )

    def with_source(self, source: Picture) -> Pair:
        """Return the pair with a *source*, of which it has none."""
        if self.has_source:
            raise ConfigurationError(
                f"the pair of {self.target} has a source of its own: leave out the "
                "source of run_batch"
            )
        return Pair(source, self.target_picture, self.wanted_path, self.problem)


def _stored(picture: Picture) -> Path:
    return picture.name if isinstance(picture, InMemory) else absolute(picture)


def _target_name(target: object, name: str | None) -> Path:
    """Return what a target is called if it is in memory; check *name*."""
    if name is None:
        if isinstance(target, Image) and target.path is not None:
            return Path(target.path.name)
        if target is None or isinstance(target, str | os.PathLike | InMemory):
            return Path()
        raise ConfigurationError(
            "a target that is no path needs a name: Pair(source, target, name='...')"
        )
    if not is_path(name) or not is_below(PurePosixPath(name)):
        raise ConfigurationError(
            f"a name is a path below the output folder, not {name!r:.200}"
        )
    return Path(name)


def one_to_many(
    source: Picture, targets: Iterable[Path], search: Search | None = None
) -> Iterator[Pair]:
    """Pair one source with many targets."""
    sources = [source] if isinstance(source, Path) else []
    search = search or Search(sources=sources)
    for target in search.targets(targets):
        path = output_path_for(target.below)
        yield Pair(source, target.path, path, target.problem)


def by_name(
    source: Path, targets: Iterable[Path], search: Search | None = None
) -> Iterator[Pair]:
    """
    Pair each target with the source of the same name.

    Names are compared with their folders and without their suffixes. A target
    without a source, or with several, is a pair with a problem.
    """
    search = search or Search(sources=[source])
    faces: dict[str, Path | None] = {}
    for face in _faces(source, search):
        name = path_key(output_path_for(face.below))
        faces[name] = None if name in faces else face.path
    for target in search.targets(targets):
        path = output_path_for(target.below)
        found = faces.get(path_key(path))
        if found is not None:
            yield Pair(found, target.path, path, target.problem)
        else:
            how_many = "more than one" if path_key(path) in faces else "no"
            problem = f"there is {how_many} source of that name in {source}"
            yield Pair(source, target.path, path, problem)


def product(
    source: Path, targets: Iterable[Path], search: Search | None = None
) -> Iterator[Pair]:
    """Pair every source with every target; each source gets a folder of results."""
    search = search or Search(sources=[source])
    named = list(targets)
    for face in _faces(source, search):
        for target in search.targets(named):
            path = f"{output_path_for(face.below)}/{output_path_for(target.below)}"
            yield Pair(face.path, target.path, path, target.problem)
        search = attrs.evolve(search, left_out=LeftOut())  # files are counted once


def _faces(source: Path, search: Search) -> list[Target]:
    # Sources are left out of the targets only.
    faces = list(attrs.evolve(search, sources=()).targets([source]))
    if not faces:
        raise ConfigurationError(f"{source} holds no picture to take a face from")
    return faces


def manifest(path: Path) -> Iterator[Pair]:
    """
    Read pairs out of a file: CSV with a heading, or JSON Lines.

    Each row has ``source``, ``target`` and optionally ``output``, a path below the
    output folder. Columns are separated by commas, semicolons or tabs.
    Relative paths begin at the manifest's folder. Raises
    :exc:`ConfigurationError` with the line that is wrong.
    """
    for number, row in read_rows(path, _wrong_column):
        yield _pair(path, number, row)


def _wrong_column(names: list[str]) -> str | None:
    if {"source", "target"} <= set(names):
        return None
    return (
        "the heading has to name the columns source and target, separated by "
        "commas, semicolons or tabs"
    )


def _pair(path: Path, number: int, row: object) -> Pair:
    if not isinstance(row, Mapping):
        raise wrong(path, number, "this is no object with source and target")
    source, target, output = (row.get(name) for name in ("source", "target", "output"))
    if not (is_path(source) and is_path(target)):
        raise wrong(path, number, "it needs a source and a target")
    found = path.parent / target
    if not output:
        inside = not Path(target).is_absolute() and ".." not in Path(target).parts
        wanted = output_path_for(Path(target) if inside else Path(found.name))
    elif is_path(output) and is_below(PurePosixPath(output)):
        wanted = output_path_for(Path(output))
    else:
        raise wrong(path, number, f"the output {output!r} is no path below the folder")
    return Pair(path.parent / source, found, wanted)
