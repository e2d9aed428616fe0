"""The recorded exchanges, replayed: the emulator answers with the same bytes."""

import re
from collections.abc import Iterable, Sequence

import pytest

from ezlink_async.emulator import serving
from tests.emulator.recorded import LEFT_OUT, SAMPLES, body_of
from tests.emulator.stages import GROUPS, Stage, settings_of
from tests.support.emulator_requests import SWAP, RawApi, swap_body
from tests.support.wire import RawConnection, RawResponse


async def _replay(stage: Stage, name: str) -> RawResponse:
    sample = SAMPLES[name]
    request, response = sample["request"], sample["response"]
    key, token = stage.key.removeprefix("sk-"), stage.control.account_token()
    given = [
        (field, text.replace("KEY", key).replace("ACCOUNT-TOKEN", token))
        for field, text in request["headers"]
        if field not in {"X-Request-ID", "Host", "Content-Length"}
    ]
    number = dict(response["headers"]).get("X-Request-Id")
    if number is not None:
        given.append(("X-Request-ID", number))
    path, body = request["path"], request["body"].get("text", "")
    for recorded, ours in stage.ids.items():
        path, body = path.replace(recorded, ours), body.replace(recorded, ours)
    async with RawConnection(stage.emu.base_url) as raw:
        return await raw.request(request["method"], path, given, body.encode())


def _compared(headers: Iterable[Sequence[str]], body: bytes) -> list[tuple[str, str]]:
    """Return every header but the date, as with a masked body."""
    kept = []
    for name, text in headers:
        if name == "Location":
            kept.append((name, _masked(text.encode()).decode()))
        elif name == "Content-Length" and text == str(len(body)):
            kept.append((name, str(len(_masked(body)))))
        elif name != "Date":
            kept.append((name, text))
    return kept


#: Ids, the nanoseconds of a preview, milliseconds; then an account's own numbers and
#: names that are not empty.
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


@pytest.mark.parametrize("name", [name for name in SAMPLES if name not in LEFT_OUT])
async def test_emulator_answers_as_the_recorded_server(name: str) -> None:
    """Status, headers (order and spelling), body and charges are the recorded ones."""
    async with serving(settings_of(name)) as emulator:
        stage = Stage(emulator)
        await GROUPS[name.split("-", maxsplit=1)[0]](name, stage)
        before = emulator.control.state()

        response = await _replay(stage, name)

        after = emulator.control.state()
    recorded, body = SAMPLES[name]["response"], body_of(name)
    assert response.status == recorded["status"]
    assert response.reason == recorded["reason"]
    assert _masked(response.body) == _masked(body)
    headers = _compared(response.headers, response.body)
    assert headers == _compared(recorded["headers"], body)
    facts = SAMPLES[name]["facts"]
    for fact, count in (("charged", "charged"), ("rows_added", "rows")):
        assert _number(after, count) - _number(before, count) == facts.get(fact, 0)


def _number(state: dict[str, object], name: str) -> int:
    value = state[name]
    assert isinstance(value, int)
    return value


def test_samples_left_out_are_in_the_recording() -> None:
    """The list of samples left out names no sample that does not exist."""
    assert set(LEFT_OUT) <= set(SAMPLES)


async def test_submit_without_a_request_id_gets_one(api: RawApi) -> None:
    """A generated request id is a date, nanoseconds and eight digits at random."""
    response = await api.post(SWAP, swap_body())

    assert re.fullmatch(r"20\d{12}\d{1,9}\d{8}", response.header("X-Request-Id") or "")
