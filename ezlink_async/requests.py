"""
The job requests: values that say what to submit, and check themselves when made.

``await client.submit(Imagine("a red fox"))`` submits one, ``client.submit_all(...)``
any number of them, of any kinds. Names load on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ezlink_async.services.base import JobRequest
    from ezlink_async.services.face_swap import FaceSwap
    from ezlink_async.services.flux import Flux
    from ezlink_async.services.image_generation import AsyncImage
    from ezlink_async.services.midjourney import (
        Action,
        Blend,
        Change,
        Describe,
        Imagine,
        Modal,
        Shorten,
    )
    from ezlink_async.services.video import (
        Base64,
        Doubao,
        Grok,
        Kling,
        MiniMax,
        Runway,
        Veo,
        Video,
        Wan,
    )

__all__ = [
    "Action",
    "AsyncImage",
    "Base64",
    "Blend",
    "Change",
    "Describe",
    "Doubao",
    "FaceSwap",
    "Flux",
    "Grok",
    "Imagine",
    "JobRequest",
    "Kling",
    "MiniMax",
    "Modal",
    "Runway",
    "Shorten",
    "Veo",
    "Video",
    "Wan",
]

_VIDEO = "Base64 Doubao Grok Kling MiniMax Runway Veo Video Wan"

_HOMES = {
    **dict.fromkeys(__all__, "midjourney"),
    **dict.fromkeys(_VIDEO.split(), "video"),
    "AsyncImage": "image_generation",
    "FaceSwap": "face_swap",
    "Flux": "flux",
    "JobRequest": "base",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = import_module(f"ezlink_async.services.{_HOMES[name]}")
    found: object = getattr(home, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__
