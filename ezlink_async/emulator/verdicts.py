"""
The upstream's answer as the relay reads it.

After ye4293/one-api ``relay/channel/midjourney/main.go`` DoMidjourneyHttpRequest.
"""

from attrs import frozen

from ezlink_async.emulator import gojson
from ezlink_async.emulator.circumstances import UpstreamAnswer

__all__ = ["BrokenCallError", "Verdict", "read_verdict"]

_BROKEN = {
    "refused": "do_request_failed",
    "reset": "do_request_failed",
    "half": "read_response_body_failed",
}
_UNREADABLE = "unmarshal_response_body_failed"


class BrokenCallError(Exception):
    """The call to the upstream came to nothing, in the relay's words (code 5)."""


@frozen
class Verdict:
    """What the upstream said, in the relay's types."""

    status: int
    code: int
    description: str
    properties: object
    result: str

    def as_answer(self) -> dict[str, object]:
        """Return the four keys that a client is sent, in their order."""
        return {
            "code": self.code,
            "description": self.description,
            "properties": self.properties,
            "result": self.result,
        }


def read_verdict(answer: UpstreamAnswer) -> Verdict:
    """Read *answer*, or raise :class:`BrokenCallError`."""
    if answer.broken:
        raise BrokenCallError(_BROKEN[answer.broken])
    if not answer.body:
        raise BrokenCallError("empty_response_body")
    try:
        value = gojson.loads(answer.body)
    except ValueError:
        raise BrokenCallError(_UNREADABLE) from None
    fields = {} if value is None else value
    if not isinstance(fields, dict):
        raise BrokenCallError(_UNREADABLE)
    code = _typed(fields, "code")
    return Verdict(
        answer.status,
        code if isinstance(code, int) else 0,
        str(_typed(fields, "description") or ""),
        gojson.ordered(_last_field(fields, "properties")),
        str(_typed(fields, "result") or ""),
    )


def _last_field(fields: dict[str, object], name: str) -> object:
    return ([None, *gojson.folded(fields, name)])[-1]


def _typed(fields: dict[str, object], name: str) -> object:
    # encoding/json refuses the whole body for one field of another type.
    value = _last_field(fields, name)
    wanted = int if name == "code" else str
    if isinstance(value, bool) or not isinstance(value, wanted | None):
        raise BrokenCallError(_UNREADABLE)
    return value
