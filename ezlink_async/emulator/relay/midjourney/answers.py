"""
Answers of the upstream as the relay reads them, and the relay's refusals.

After ye4293/one-api ``relay/channel/midjourney/main.go`` DoMidjourneyHttpRequest.
"""

from __future__ import annotations

from ezlink_async.emulator import faults
from ezlink_async.emulator.http import go_json
from ezlink_async.emulator.http.exchange import Exchange
from ezlink_async.emulator.http.replies import (
    JSON,
    TEXT,
    Reply,
    api_error,
    upstream_error,
)
from ezlink_async.emulator.relay.state import RelayState
from ezlink_async.emulator.relay.store import Key, Refusal
from ezlink_async.emulator.upstream.requests import UpstreamReply

OK = 200
#: Codes of the upstream that accept a job.
ACCEPTED = {1, 21, 22}
QUEUED = 22


class RefusedCallError(Exception):
    """A handler of the relay, or its upstream, refuses a call."""

    def __init__(self, code: int, description: str, result: str = "") -> None:
        super().__init__(f"{description} {result}".strip())
        self.reply: Reply = upstream_error(code, description, result)


_BROKEN = {
    "refused": "do_request_failed",
    "reset": "do_request_failed",
    "slow": "do_request_failed",
    "half": "read_response_body_failed",
}
_UNREADABLE = "unmarshal_response_body_failed"


class BrokenCallError(RefusedCallError):
    """The relay's call to the upstream failed; *text* is the relay's (code 5)."""

    def __init__(self, text: str) -> None:
        super().__init__(5, text)


def read_upstream_reply(answer: faults.Upstream) -> UpstreamReply:
    """Return *answer* as the relay reads it, or raise :class:`BrokenCallError`."""
    if answer.broken:
        raise BrokenCallError(_BROKEN[answer.broken])
    if not answer.content:
        raise BrokenCallError("empty_response_body")
    try:
        value = go_json.loads(answer.content)
    except ValueError:
        raise BrokenCallError(_UNREADABLE) from None
    fields = {} if value is None else value
    if not isinstance(fields, dict):
        raise BrokenCallError(_UNREADABLE)
    code = _typed(fields, "code")
    return UpstreamReply(
        code if isinstance(code, int) else 0,
        str(_typed(fields, "description") or ""),
        str(_typed(fields, "result") or ""),
        last_field(fields, "properties"),
        answer.status,
    )


def last_field(fields: dict[str, object], name: str) -> object:
    """Return the last value of a key in any spelling, None without one."""
    return ([None, *go_json.folded(fields, name)])[-1]


def _typed(fields: dict[str, object], name: str) -> object:
    # encoding/json refuses the whole body for one field of another type.
    value = last_field(fields, name)
    wanted = int if name == "code" else str
    if isinstance(value, bool) or not isinstance(value, wanted | None):
        raise BrokenCallError(_UNREADABLE)
    return value


def shown_reply(reply: UpstreamReply) -> dict[str, object]:
    """Return the four keys of an answer, in the order of the wire."""
    return {
        "code": reply.code,
        "description": reply.description,
        "properties": go_json.ordered(reply.properties),
        "result": reply.result,
    }


def no_channel(exchange: Exchange, key: Key, model: str) -> Reply:
    """Return the refusal when no upstream serves *model*."""
    text = (
        f"There are no channels available for model {model} under the"
        f" current group {key.account.group}"
    )
    return api_error(503, text, exchange.request_id)


def log_refusal(
    state: RelayState,
    exchange: Exchange,
    key: Key,
    refused: RefusedCallError,
    model: str,
) -> None:
    """Add a refusal to the log of the account: an entry that costs nothing."""
    refusal = Refusal(
        request_id=exchange.request_id,
        text=str(refused),
        account=key.account.number,
        key=key.text,
        seconds=state.seconds,
        model=model,
    )
    state.store.log.append(refusal)


def accepted(state: RelayState, status: int, body: bytes) -> Reply:
    """Return an acceptance, whose handler names no content type."""
    if state.settings.plain_text:
        return Reply(status, body, TEXT, sniffed=True)
    return Reply(status, body, JSON)
