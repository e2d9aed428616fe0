"""
The families of tasks and the kinds of jobs, by name.

The only place that knows them all. :func:`register` adds a family at run time.
"""

from __future__ import annotations

from ezlink_async.errors import ConfigurationError
from ezlink_async.services.base import AnyRecord, JobRequest, TaskFamily
from ezlink_async.services.face_swap import FaceSwap
from ezlink_async.services.flux import FLUX, Flux
from ezlink_async.services.image_generation import IMAGES, AsyncImage
from ezlink_async.services.midjourney import (
    MIDJOURNEY,
    MIDJOURNEY_MODAL,
    Action,
    Blend,
    Change,
    Describe,
    Imagine,
    Modal,
    Shorten,
)
from ezlink_async.services.stability import STABILITY, STABILITY_UPSCALE
from ezlink_async.services.video import VIDEO, VIDEO_DOUBAO, Video

FAMILIES: dict[str, TaskFamily[AnyRecord]] = {}
"""The families by the name that saved handles, journals and commands give."""

KINDS: dict[str, type[JobRequest[AnyRecord]]] = {}
"""The job requests by the name that manifests and journals give."""


_FAMILY_NAMES: dict[str, str] = {}  # by the name of a kind


def is_found(kind: str) -> bool:
    """Return whether the account's pages lead to a lost job of this *kind*."""
    family = FAMILIES.get(_FAMILY_NAMES.get(kind, ""))
    return family is not None and (
        family.traces.state or family.traces.rows is not None
    )


def register(
    family: TaskFamily[AnyRecord], *requests: type[JobRequest[AnyRecord]]
) -> None:
    """
    Add a *family* and the *requests* whose tasks it has.

    A client then submits, polls, saves and restores them, and a batch runs them.
    Raises :exc:`ConfigurationError` when another one has a name already.
    """
    if FAMILIES.setdefault(family.name, family) != family:
        raise ConfigurationError(f"there is another family {family.name!r} already")
    for request in requests:
        if KINDS.setdefault(request.kind, request) is not request:
            raise ConfigurationError(f"there is another kind {request.kind!r} already")
        _FAMILY_NAMES[request.kind] = family.name


def family_of(name: object) -> TaskFamily[AnyRecord]:
    """Return the family with this *name*, or raise :exc:`ConfigurationError`."""
    family = FAMILIES.get(name) if isinstance(name, str) else None
    if family is None:
        known = ", ".join(map(repr, FAMILIES))
        raise ConfigurationError(f"no family of tasks is called {name!r}: {known}")
    return family


register(MIDJOURNEY, FaceSwap, Imagine, Blend, Describe, Shorten, Action, Change)
register(MIDJOURNEY_MODAL, Modal)
register(STABILITY)
register(STABILITY_UPSCALE)
register(VIDEO, Video)
register(VIDEO_DOUBAO)
register(IMAGES, AsyncImage)
register(FLUX, Flux)
