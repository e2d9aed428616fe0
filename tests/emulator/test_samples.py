"""The recorded exchanges, asked again: the emulator answers byte for byte alike."""

import base64
import re
from collections.abc import Iterable, Sequence

import pytest

from ezlink_async.emulator import Emulator, serving
from tests.emulator.recorded import LEFT_OUT, SAMPLES
from tests.emulator.stages import GROUPS, Stage, settings_of
from tests.support.emulator_requests import asker, swap_body
from tests.support.wire import Answered, Wire


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


def _compared(headers: Iterable[Sequence[str]], body: bytes) -> list[tuple[str, str]]:
    """Return every header but the date, as it would be with a masked body."""
    kept = []
    for name, text in headers:
        told = text
        if name == "Location":
            told = _masked(text.encode()).decode()
        elif name == "Content-Length" and text == str(len(body)):
            told = str(len(_masked(body)))
        if name != "Date":
            kept.append((name, told))
    return kept


#: Ids, the nanoseconds of a preview, milliseconds; then what an account's own
#: numbers and names are, where they are not empty.
_MASKS = (
    (rb"(?<!\d)\d{16}(?!\d)", b"I" * 16),
    (rb"rand=\d{19}", b"rand=" + b"N" * 19),
    (rb'(Time|_time)":\d{13}', rb'\1":' + b"T" * 13),
    (rb'"((user_|channel_)?id|channel|created_at|access_until)":[1-9]\d*', rb"\1:N"),
    (rb'"(username|aff_code|access_token)":"[^"]+"', rb"\1:N"),
)


def _masked(body: bytes) -> bytes:
    for pattern, mask in _MASKS:
        body = re.sub(pattern, mask, body)
    return body


def _recorded_body(body: dict[str, str]) -> bytes:
    if "base64" in body:
        return base64.b64decode(body["base64"])
    return body["text"].encode()


@pytest.mark.parametrize("name", [name for name in SAMPLES if name not in LEFT_OUT])
async def test_it_answers_as_the_server_did(name: str) -> None:
    """Status, headers in order and spelling, and body are those of the recording."""
    async with serving(settings_of(name)) as emulator:
        stage = Stage(emulator)
        await GROUPS[name.split("-", maxsplit=1)[0]](name, stage)
        before = emulator.control.state()

        answered = await _replay(stage, name)

        after = emulator.control.state()
    recorded = SAMPLES[name]["response"]
    assert (answered.status, answered.reason) == (
        recorded["status"],
        recorded["reason"],
    )
    body = _recorded_body(recorded["body"])
    assert _masked(answered.body) == _masked(body)
    assert _compared(answered.headers, answered.body) == (
        _compared(recorded["headers"], body)
    )
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
