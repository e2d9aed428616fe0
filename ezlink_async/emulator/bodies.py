"""
What the relay makes of a request's body.

Two readings, as in ye4293/one-api: first ``middleware/distributor.go`` decodes the
body into a general Midjourney request, then the handler binds its own fields.
"""

from attrs import frozen

from ezlink_async.emulator import gojson

__all__ = ["BadBodyError", "SwapBody", "read_ids", "read_swap"]

_TEXTS = (
    "prompt",
    "customId",
    "botType",
    "notifyHook",
    "action",
    "state",
    "taskId",
    "content",
    "maskBase64",
)
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


class BadBodyError(ValueError):
    """The body is refused; *early* when before the handler, by the distributor."""

    def __init__(self, *, early: bool) -> None:
        super().__init__(early)
        self.early = early


@frozen
class SwapBody:
    """The fields of a face swap; an empty string is a field left out."""

    source: str = ""
    target: str = ""
    state: str = ""
    hook: str = ""


def read_swap(body: bytes, content_type: str) -> SwapBody:
    """Return the fields of a submit, or raise :class:`BadBodyError`."""
    kind = content_type.partition(";")[0].strip()
    if kind in _FORMS:
        raise BadBodyError(early=True)
    strict = content_type.startswith("application/json")
    try:
        value = gojson.loads(body)
    except ValueError:
        if strict:
            raise BadBodyError(early=True) from None
        return SwapBody()
    return _bound(value, strict=strict)


def _bound(value: object, *, strict: bool) -> SwapBody:
    if value is None:
        return SwapBody()
    if not isinstance(value, dict):
        if strict:
            raise BadBodyError(early=True)
        return SwapBody()
    if strict and not _is_general(value):
        raise BadBodyError(early=True)
    pictures = [_last(value, name) for name in ("sourceBase64", "targetBase64")]
    if not all(isinstance(picture, str) for picture in pictures):
        if strict:
            raise BadBodyError(early=False)
        return SwapBody()
    texts = [*pictures, _last(value, "state"), _last(value, "notifyHook")]
    return SwapBody(*(item if isinstance(item, str) else "" for item in texts))


def _is_general(value: dict[str, object]) -> bool:
    texts = (item for name in _TEXTS for item in gojson.folded(value, name))
    if not all(isinstance(item, str | None) for item in texts):
        return False
    numbers = gojson.folded(value, "index")
    if not all(item is None or _is_integer(item) for item in numbers):
        return False
    return all(map(_is_list_of_texts, gojson.folded(value, "base64Array")))


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_list_of_texts(value: object) -> bool:
    if value is None:
        return True
    return isinstance(value, list) and all(isinstance(i, str | None) for i in value)


def _last(value: dict[str, object], name: str) -> object:
    # encoding/json: a later key wins, null leaves what was there, and a wrong type
    # anywhere fails the whole.
    found = [item for item in gojson.folded(value, name) if item is not None]
    wrong = [item for item in found if not isinstance(item, str)]
    return (wrong or found or [""])[-1]


def read_ids(body: bytes) -> list[str]:
    """Return the ids of a list-by-condition, or raise :class:`BadBodyError`."""
    try:
        value = gojson.loads_first(body)
    except ValueError:
        raise BadBodyError(early=False) from None
    if value is None:
        return []
    if not isinstance(value, dict):
        raise BadBodyError(early=False)
    ids: list[str] = []
    for item in gojson.folded(value, "ids"):
        if not _is_list_of_texts(item):
            raise BadBodyError(early=False)
        ids = [one or "" for one in item] if isinstance(item, list) else []
    return ids
