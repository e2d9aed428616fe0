"""The recorded exchanges, asked again: the emulator answers byte for byte alike."""

import base64
import re
from collections.abc import Iterable, Sequence

import pytest

from ezlink_async.emulator import Emulator
from tests.emulator.conftest import asker, swap_body
from tests.emulator.recorded import LEFT_OUT, SAMPLES
from tests.emulator.stages import GROUPS, Stage
from tests.emulator.wire import Answered, Wire


async def _replay(stage: Stage, name: str) -> Answered:
    sample = SAMPLES[name]
    request, response = sample["request"], sample["response"]
    plain = stage.key.removeprefix("sk-")
    given = [
        (field, text.replace("KEY", plain).replace("ACCOUNT-TOKEN", _token(stage)))
        for field, text in request["headers"]
        if field not in {"X-Request-ID", "Host", "Content-Length"}
    ]
    number = dict(response["headers"]).get("X-Request-Id")
    if number is not None:
        given.append(("X-Request-ID", number))
    path, body = request["path"], request["body"].get("text", "")
    for recorded, ours in stage.ids.items():
        path, body = path.replace(recorded, ours), body.replace(recorded, ours)
    async with Wire(stage.emu.base_url) as wire:
        return await wire.ask(request["method"], path, given, body.encode())


def _token(stage: Stage) -> str:
    return stage.control.account_token()


def _compared(headers: Iterable[Sequence[str]]) -> list[tuple[str, bytes]]:
    # only a redirect's address has an id in it
    return [
        (name, _masked(text.encode()) if name == "Location" else text.encode())
        for name, text in headers
        if name != "Date"
    ]


def _masked(body: bytes) -> bytes:
    # ids, then the nanoseconds of a preview, then milliseconds
    masked = re.sub(rb"(?<!\d)\d{16}(?!\d)", b"I" * 16, body)
    masked = re.sub(rb"rand=\d{19}", b"rand=" + b"N" * 19, masked)
    return re.sub(rb"Time\":\d{13}", b'Time":' + b"T" * 13, masked)


def _recorded_body(body: dict[str, str]) -> bytes:
    if "base64" in body:
        return base64.b64decode(body["base64"])
    return body["text"].encode()


@pytest.mark.parametrize("name", [name for name in SAMPLES if name not in LEFT_OUT])
async def test_it_answers_as_the_server_did(name: str, still: Emulator) -> None:
    """Status, headers in order and spelling, and body are those of the recording."""
    stage = Stage(still)
    await GROUPS[name.split("-", maxsplit=1)[0]](name, stage)
    before = still.control.state()

    answered = await _replay(stage, name)

    recorded = SAMPLES[name]["response"]
    assert (answered.status, answered.reason) == (
        recorded["status"],
        recorded["reason"],
    )
    assert _compared(answered.headers) == _compared(recorded["headers"])
    assert _masked(answered.body) == _masked(_recorded_body(recorded["body"]))
    after = still.control.state()
    facts = SAMPLES[name]["facts"]
    for fact, ledger in (("charged", "charged"), ("rows_added", "rows")):
        assert _number(after, ledger) - _number(before, ledger) == facts.get(fact, 0)


def _number(state: dict[str, object], name: str) -> int:
    value = state[name]
    assert isinstance(value, int)
    return value


def test_every_sample_left_out_is_in_the_recording() -> None:
    """The list of samples left out names no sample that is not there."""
    assert set(LEFT_OUT) <= set(SAMPLES)


async def test_a_submit_without_a_name_gets_a_request_id(still: Emulator) -> None:
    """A generated request id is a date, nanoseconds and eight digits at random."""
    answered = await asker(still)("POST", "/mj/insight-face/swap", swap_body())

    assert re.fullmatch(r"20\d{12}\d{1,9}\d{8}", answered.header("X-Request-Id") or "")
