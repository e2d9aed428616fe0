"""Videos: the job requests of its providers, and the families of their tasks."""

from ezlink_async.services.leaves import Base64
from ezlink_async.services.video.anything import Video
from ezlink_async.services.video.calls import Videos
from ezlink_async.services.video.providers import (
    Doubao,
    Grok,
    Kling,
    MiniMax,
    Runway,
    Veo,
    Wan,
)
from ezlink_async.services.video.tasks import VIDEO, VIDEO_DOUBAO

__all__ = [
    "VIDEO",
    "VIDEO_DOUBAO",
    "Base64",
    "Doubao",
    "Grok",
    "Kling",
    "MiniMax",
    "Runway",
    "Veo",
    "Video",
    "Videos",
    "Wan",
]
