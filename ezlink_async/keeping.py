"""
Keeps a picture that lies where a result comes to, and is not that result.

It may be all that is left of somebody's work: a result that was retouched, or
the result of another job. Synchronous: it reads whole files.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from ezlink_async._core.images import SUFFIXES
from ezlink_async.outputs import digest_of, is_whole

_log = logging.getLogger("ezlink_async")


class Keepsakes:
    """
    Second names of the whole pictures at *place*, while they may be replaced.

    *link* gives a file another name, where the file system can.
    """

    def __init__(
        self, place: Path, link: Callable[[Path, Path], None] = os.link
    ) -> None:
        self._place = place
        self._link = link
        self._kept: dict[Path, Path] = {}

    def take(self) -> None:
        """Give each of them a second name; :exc:`OSError` when that cannot be."""
        for suffix in SUFFIXES.values():
            path = self._place.parent / f"{self._place.name}{suffix}"
            if is_whole(path):
                self._kept[path] = self._second(path)

    def let_go(self) -> None:
        """Take the second name from what is still there, or was the result itself."""
        for path, kept in self._kept.items():
            with contextlib.suppress(OSError):  # then it keeps the name
                if digest_of(path) == digest_of(kept):
                    kept.unlink()
                    continue
            _log.warning("%s was not the result; it is kept as %s", path, kept)
        self._kept.clear()

    def _second(self, path: Path) -> Path:
        is_named = functools.partial(self._is_named, path)
        return next(filter(is_named, map(_name_of(path), itertools.count(1))))

    def _is_named(self, path: Path, name: Path) -> bool:
        """Have *path* as *name*, too, and return whether that was free."""
        try:
            self._link(path, name)
        except FileExistsError:
            return False
        except OSError:
            with path.open("rb") as stream, name.open("xb") as copy:
                shutil.copyfileobj(stream, copy)
        return True


def _name_of(path: Path) -> Callable[[int], Path]:
    def name(number: int) -> Path:
        more = "" if number == 1 else f"-{number}"
        return path.with_name(f"{path.stem}-kept{more}{path.suffix}")

    return name
