"""
Small pictures made for the report, and kept for the next one.

A thumbnail is named after its file's path, size and time, so a second report
makes only new ones. Thumbnails hold no metadata of the photos. This module is
imported only if Pillow is installed.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from ezlink_async._core.images import HEAD_BYTES, foreign_format
from ezlink_async._io.files import make_private_folder
from ezlink_async.report.decoder import Decoder, NotShownError, within
from ezlink_async.report.models import Photo, Pictures, Thumbnail

LARGE = 1280
"""The long edge, in pixels, of the pictures in the large view."""

SMALL = 480
"""The long edge, in pixels, of the pictures in the list."""

# JPEG, since WebP takes six times as long for a fifth less.
_QUALITY = 80

# Part of the name, so that thumbnails made with other figures are made again.
_FORM = f"2 {LARGE} {SMALL} {_QUALITY}"

# Results may be a pixel wider or narrower than the target; stretching hides it.
_NEARLY = 0.02

_PAPER = (236, 236, 236)  # around a result that has another shape
_LONG_PROFILE = 64 * 1024  # bytes; only those of printers are longer
_COARSE = 2 * 10**9  # nanoseconds: how exact the worst file system's times are

_Decode = Callable[[Path], Image.Image]


class Thumbnails:
    """The thumbnails in one folder, which is made if it is missing. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        make_private_folder(folder)
        self.folder = folder
        self._decoder = Decoder(LARGE)

    def close(self) -> None:
        """Make no more thumbnails."""
        self._decoder.close()

    def pictures(self, photo: Photo) -> Pictures:
        """Return the thumbnails of one photo; before and after have the same size."""
        if not photo.is_swap:
            return self._others(photo)
        before = self.of(photo.target)
        after = self.of_result(photo.output, before) if photo.output else None
        return Pictures(self.of(photo.source), before, after)

    def _others(self, photo: Photo) -> Pictures:
        """Return the same of a job that is no swap; the divider needs one of each."""
        results = photo.pictures
        given = tuple(map(self.of, photo.inputs))
        if len(results) == len(given) == 1:
            after = self.of_result(results[0], given[0])
            return Pictures(Thumbnail(), given[0], after)
        made = tuple(self.of_result(path, Thumbnail()) for path in results)
        before = given[0] if given and not made else Thumbnail()
        first = made[0] if made else None
        several = [each if len(each) > 1 else () for each in (given, made)]
        return Pictures(Thumbnail(), before, first, *several)

    def of(self, path: Path) -> Thumbnail:
        """
        Return a picture's thumbnail, which is made unless there is one.

        Raises nothing: the thumbnail says why the picture cannot be shown.
        """
        return self._thumbnail(path, Thumbnail(), self._decoder.decode)

    def of_result(self, path: Path, like: Thumbnail) -> Thumbnail:
        """
        Return the same of a picture that came from a server.

        It has exactly the size of *like*, so that one can lie on the other.
        """
        return self._thumbnail(path, like, self._decoder.decode_result)

    def _thumbnail(self, path: Path, like: Thumbnail, decode: _Decode) -> Thumbnail:
        try:
            stem = _stem(path, like)
            if not self._kept(stem):
                self._make(decode(path), stem, like)
        except NotShownError as fault:
            return Thumbnail(fault=str(fault))
        except FileNotFoundError:
            return Thumbnail(fault="The file is no longer there.")
        except UnidentifiedImageError:
            return Thumbnail(fault=_unidentified(path))
        except OSError as fault:
            says = fault.strerror or "it is broken"
            return Thumbnail(fault=f"It cannot be shown: {says}.")
        except Exception:  # noqa: BLE001 - at broken files Pillow raises anything
            return Thumbnail(fault="It cannot be shown: it is broken.")
        return Thumbnail(stem)

    def _files(self, stem: str) -> tuple[Path, Path]:
        return self.folder / f"{stem}-l.jpg", self.folder / f"{stem}-s.jpg"

    def _kept(self, stem: str) -> bool:
        """Return whether both files are there and not empty, and mark them as used."""
        try:
            for file in self._files(stem):
                found = file.lstat()
                if not found.st_size or not stat.S_ISREG(found.st_mode):
                    return False
                os.utime(file)
        except OSError:
            return False
        return True

    def _make(self, large: Image.Image, stem: str, like: Thumbnail) -> None:
        profile = large.info.get("icc_profile")
        if profile and len(profile) > _LONG_PROFILE:
            profile = None
        if like.stem is not None:
            with Image.open(self._files(like.stem)[0]) as pattern:
                large = _shaped(large, pattern.size)
        small = large.resize(within(SMALL, large.size), Image.Resampling.HAMMING)
        for file, thumbnail in zip(self._files(stem), (large, small), strict=True):
            _write(file, thumbnail, profile)

    def delete_unused_since(self, moment: int) -> None:
        """Delete thumbnails neither made nor used since *moment*, in nanoseconds."""
        for file in (*self.folder.glob("*.jpg"), *self.folder.glob("*.part")):
            with contextlib.suppress(OSError):
                if file.lstat().st_mtime_ns < moment - _COARSE:
                    file.unlink()


def _stem(path: Path, like: Thumbnail) -> str:
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):  # a pipe would block
        raise OSError(0, "it is not a file")
    stamp = f"{_FORM} {found.st_size} {found.st_mtime_ns} {like.stem} "
    name = stamp.encode() + os.fsencode(path.absolute())
    return hashlib.sha256(name).hexdigest()[:24]


def _unidentified(path: Path) -> str:
    with path.open("rb") as stream:
        if foreign_format(stream.read(HEAD_BYTES)) == "HEIC":
            return "HEIC is shown with the extra: pip install 'ezlink-async[images]'"
    return "It cannot be shown: it is no picture, or a broken one."


def _shaped(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return it in exactly *size*, with paper around it if its shape differs."""
    if picture.size == size:
        return picture
    ours, theirs = picture.width / picture.height, size[0] / size[1]
    if abs(ours / theirs - 1) <= _NEARLY:
        return picture.resize(size, Image.Resampling.LANCZOS)
    return ImageOps.pad(picture, size, Image.Resampling.LANCZOS, color=_PAPER)


def _write(file: Path, thumbnail: Image.Image, profile: bytes | None) -> None:
    # Not an `AtomicFile`: a thumbnail can be made again and needs no fsync.
    content = io.BytesIO()
    thumbnail.save(content, "JPEG", quality=_QUALITY, icc_profile=profile)
    part = file.parent / f".ezlink-{secrets.token_hex(8)}.part"
    try:
        part.write_bytes(content.getvalue())
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
