"""
Requests to the upstream, its checks of their pictures, and its replies.

Pictures are data URIs or bare base64. Checks and texts after
trueai-org/midjourney-proxy ``Controllers/InsightFaceController.cs`` and
``Base/Dto/DataUrl.cs``, for drawings after ``Controllers/SubmitController.cs``.
"""

import base64
import hashlib

from attrs import frozen

from ezlink_async.emulator.upstream.drawings import Drawing


class RefusedError(Exception):
    """The upstream refuses the job (code 4); the text is its reason."""


@frozen(kw_only=True)
class SwapRequest:
    """One face swap as the relay forwards it; an empty text is a missing field."""

    source: str = ""
    target: str = ""
    state: str = ""
    hook: str = ""
    request_id: str = ""

    @property
    def size(self) -> int:
        """The length of both pictures as text."""
        return len(self.source) + len(self.target)


@frozen(kw_only=True)
class DrawingRequest:
    """
    One Midjourney submit as the relay forwards it; an empty text is a missing field.

    *action* and *index* are what the relay read from the call, or from *custom_id*.
    *parent* is the id of the task whose button was pressed, or that waits for input.
    """

    action: str
    index: int = 0
    custom_id: str = ""
    parent: str = ""
    prompt: str = ""
    pictures: tuple[str, ...] = ()
    mask: str = ""
    state: str = ""
    hook: str = ""
    request_id: str = ""

    @property
    def size(self) -> int:
        """The length of all pictures as text."""
        return sum(map(len, self.pictures)) + len(self.mask)


@frozen
class UpstreamReply:
    """The upstream's answer to the relay, with its HTTP status."""

    code: int
    description: str
    result: str = ""
    properties: object = None
    status: int = 200


@frozen
class Pictures:
    """Source and target as bytes, with their SHA-256 in hexadecimal."""

    source: bytes
    target: bytes
    source_sha256: str
    target_sha256: str


def read_pictures(request: SwapRequest, limit: int) -> Pictures:
    """Return the pictures of *request*, or refuse it; *limit* is bytes a picture."""
    if request.source == request.target:
        raise RefusedError("人脸图片和目标图片不能相同")
    source = _read(request.source, "人脸图片", limit)
    target = _read(request.target, "目标图片", limit)
    digests = (hashlib.sha256(picture).hexdigest() for picture in (source, target))
    return Pictures(source, target, *digests)


def read_drawing(request: DrawingRequest, limit: int) -> Drawing:
    """Return the job that *request* asks for, or refuse it; *limit* as above."""
    return Drawing(
        action=request.action,
        index=request.index,
        custom_id=request.custom_id,
        prompt=request.prompt,
        pictures=tuple(_read(picture, "base64", limit) for picture in request.pictures),
        mask=_read(request.mask, "base64", limit) if request.mask else None,
    )


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
