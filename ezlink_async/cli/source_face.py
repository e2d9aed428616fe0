"""
What the built-in engine finds out about the face of a source, before anything is sent.

Its verdict is final for ``--local``. The real server has another engine and decides
by itself, so there the verdict is a reason to warn and to ask, and no error.
"""

from __future__ import annotations

from pathlib import Path

from ezlink_async._core.images import Image
from ezlink_async.cli.connect import has_engine
from ezlink_async.errors import ImageError


def check_face(source: Image) -> None:
    """Raise :exc:`ImageError` if the built-in engine would refuse *source*."""
    fault = _fault(source)
    if fault is not None:
        raise ImageError(str(fault), path=source.path)


def doubt_about_face(source: Image) -> str | None:
    """
    Return why another engine may not find a usable face in *source* either.

    ``None`` if there is no such doubt: also for a picture that the built-in engine
    cannot decode, and where it is not installed.
    """
    if not has_engine():
        return None
    from ezlink_async.emulator.engine.swap import FaceError

    fault = _fault(source)
    if not isinstance(fault, FaceError):
        return None
    return (
        f"{source.path}: {fault}; so the built-in engine says, and the server decides "
        "by itself"
    )


def _fault(source: Image) -> ValueError | None:
    from ezlink_async.emulator.pictures.opencv_engine import load_engine

    content = source.content or (source.path or Path()).read_bytes()
    try:
        load_engine().check_source(content)
    except ValueError as fault:
        return fault
    return None
