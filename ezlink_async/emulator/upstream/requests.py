"""
Pictures as they stand in a submit: data URIs or bare base64.

The upstream's own checks, after trueai-org/midjourney-proxy
``Controllers/InsightFaceController.cs`` and ``Base/Dto/DataUrl.cs``.
"""

import base64
import hashlib

from attrs import frozen

__all__ = ["Order", "Pictures", "RefusedError", "read_pictures"]


class RefusedError(Exception):
    """The upstream says no, in these words (code 4)."""


@frozen(kw_only=True)
class Order:
    """What the relay forwards."""

    source: str
    target: str
    state: str = ""
    hook: str = ""
    request_id: str = ""

    @property
    def size(self) -> int:
        """The length of both pictures as text."""
        return len(self.source) + len(self.target)


@frozen
class Pictures:
    """Source and target as bytes, and what tells them from others."""

    source: bytes
    target: bytes
    source_sha256: str
    target_sha256: str


def read_pictures(order: Order, limit: int) -> Pictures:
    """Return the pictures of *order*, each at most *limit* bytes, or refuse it."""
    if order.source == order.target:
        raise RefusedError("人脸图片和目标图片不能相同")
    source = _read(order.source, "人脸图片", limit)
    target = _read(order.target, "目标图片", limit)
    digests = (hashlib.sha256(picture).hexdigest() for picture in (source, target))
    return Pictures(source, target, *digests)


def _read(text: str, name: str, limit: int) -> bytes:
    head, _, content = text.rpartition(",")
    if head and not (head.startswith("data:") and head.endswith(";base64")):
        raise RefusedError(f"{name}格式错误")
    try:
        picture = base64.b64decode(content, validate=True)
    except ValueError:
        picture = b""
    if not picture:
        raise RefusedError(f"{name}格式错误")
    if len(picture) > limit:
        raise RefusedError(f"{name}大小超过最大限制")
    return picture
