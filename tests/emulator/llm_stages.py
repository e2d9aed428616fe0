"""An emulator put into the state in which a chat, a picture or a sound was recorded."""

from __future__ import annotations

import json

from ezlink_async.emulator import faults
from tests.emulator.recorded import SAMPLES, body_of
from tests.emulator.recorded_llm import ANSWERS, LEFT_OUT_LINES
from tests.emulator.stage import Stage

#: Headers that the relay, and not its upstream, gives to an answer that it passes on.
_OWN = {
    *("Cache-Control", "Connection", "Content-Length", "Date", "Transfer-Encoding"),
    *("Vary", "X-Accel-Buffering"),
}


async def prepare(name: str, stage: Stage) -> None:
    """Script what happened at the upstream or in the relay."""
    fault = _fault_of(name)
    if fault is not None:
        stage.control.script("llm", fault)


def _fault_of(name: str) -> faults.Fault | None:
    response, facts = SAMPLES[name]["response"], SAMPLES[name]["facts"]
    if name == "chat-no-channel":
        return faults.Trouble("no_channel")
    if name in ANSWERS:
        return ANSWERS[name]
    if not facts["upstream_calls"]:
        return None
    if "API请求失败" in str(response["body"].get("text")):
        return _refused_picture(name)
    before, behind = LEFT_OUT_LINES.get(name, ("", ""))
    body = before.encode() + body_of(name) + behind.encode()
    return faults.Upstream(response["status"], body, headers=_passed_headers(name))


def _passed_headers(name: str) -> tuple[tuple[str, str], ...]:
    """Return the upstream's headers; of the ids only one that it made itself."""
    given = SAMPLES[name]["response"]["headers"]
    kept = [(field, text) for field, text in given if field not in _OWN]
    return tuple(
        (field, text)
        for field, text in kept
        if field != "X-Request-Id" or text.startswith("req_upstream")
    )


def _refused_picture(name: str) -> faults.Upstream:
    """Return the upstream's refusal, whose whole body the relay's message quotes."""
    message = json.loads(body_of(name))["error"]["message"]
    _, _, quoted = message.partition("响应: ")
    return faults.Upstream(SAMPLES[name]["response"]["status"], quoted)
