"""The recorded exchanges, replayed: the emulator answers with the same bytes."""

import base64
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence

import pytest

from ezlink_async.emulator import serving
from ezlink_async.emulator.http import go_json
from tests.emulator import recorded_llm
from tests.emulator.recorded import LEFT_OUT, SAMPLES, body_of
from tests.emulator.recorded_images import SUBMITTED_AS
from tests.emulator.stage import Stage
from tests.emulator.stages import MIDJOURNEY, VIDEOS, prepare, settings_of
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
    path, body = request["path"], _sent(request["body"])
    for recorded, ours in stage.ids.items():
        path = path.replace(recorded, ours)
        body = body.replace(recorded.encode(), ours.encode())
    async with RawConnection(stage.emu.base_url) as raw:
        return await raw.request(request["method"], path, given, body)


def _sent(body: dict[str, str]) -> bytes:
    """Return a recorded body, which is text or, with files in it, bytes."""
    if "base64" in body:
        return base64.b64decode(body["base64"])
    return body.get("text", "").encode()


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


#: Videos in the relay's storage; ids, the nanoseconds of a preview, milliseconds; then
#: an account's own numbers and names that are not empty.
_MASKS = (
    (rb"https?://[^\"\\]+/\d+_\d{10}_[0-9a-f]{16}\.mp4", b"STORED"),
    (rb"(?<!\d)\d{16}(?!\d)", b"I" * 16),
    (rb"rand=\d{19}", b"rand=" + b"N" * 19),
    (rb'(Time|_time)":\d{13}', rb'\1":' + b"T" * 13),
    (rb'_time":\d{10}\b', rb'_time":' + b"T" * 10),
    (rb"r2\.dev/\d+", rb"r2.dev/N"),
    (rb'"((user_|channel_)?id|channel|created_at|access_until)":[1-9]\d*', rb"\1:N"),
    (rb'"(username|aff_code|access_token)":"[^"]+"', rb"\1:N"),
    (rb"https?://upstream\.example", b"U"),  # it was recorded with both
)


def _masked(body: bytes) -> bytes:
    for pattern, mask in _MASKS:
        body = re.sub(pattern, mask, body)
    return body


REPLAYED = [name for name in SAMPLES if name not in LEFT_OUT]


@pytest.mark.parametrize("name", REPLAYED)
async def test_emulator_answers_as_the_recorded_server(name: str) -> None:
    """Status, headers (order and spelling), body and charges are the recorded ones."""
    async with serving(settings_of(name)) as emulator:
        stage = Stage(emulator)
        await prepare(name, stage)
        before = emulator.control.state()

        response = await _replay(stage, name)

        after = emulator.control.state()
        await _assert_facts(stage, name)
    recorded, body = SAMPLES[name]["response"], body_of(name)
    assert response.status == recorded["status"]
    assert response.reason == recorded["reason"]
    assert _masked(response.body) == _masked(body)
    headers = _compared(response.headers, response.body)
    assert headers == _compared(recorded["headers"], body)
    facts = SAMPLES[name]["facts"]
    assert _paid(after) - _paid(before) == facts.get("charged", 0)
    if "seconds" not in facts:  # those were recorded without a look at the rows
        rows = "files" if name.startswith("files-") else "rows"
        added = _number(after, rows) - _number(before, rows)
        assert added == facts.get("rows_added", 0)


async def _assert_facts(stage: Stage, name: str) -> None:
    """Compare what was seen beside the exchange: forwarded call, row, log entries."""
    facts = SAMPLES[name]["facts"]
    if "forwarded" in facts and facts["upstream_calls"] == 1:
        call = stage.control.forwarded[-1]
        seen = go_json.dumps(
            {"forwarded": f"{call.method} {call.path}", "b": call.body}
        )
        for recorded, ours in stage.ids.items():
            seen = seen.replace(ours.encode(), recorded.encode())
        known: dict[str, object] = {"forwarded": facts["forwarded"]}
        # Of the calls of language models only some were recorded with their body.
        if "forwarded_body" in facts or not call.path.startswith("/v1/"):
            known["b"] = facts["forwarded_body"]
        found = json.loads(seen)
        assert {each: found[each] for each in known} == known
    token = ("Authorization", stage.control.account_token())
    if "row" in facts:
        page = await _page(stage, "/api/mj/self?page=1&pagesize=1", token)
        row = {each: page[0][each] for each in facts["row"] if each != "image_url"}
        assert row == {each: facts["row"][each] for each in row}
    is_charged_later = name in SUBMITTED_AS
    if "logged" in facts and (
        SAMPLES[name]["request"]["method"] == "POST" or is_charged_later
    ):
        number = dict(SAMPLES[name]["response"]["headers"])["X-Request-Id"]
        number = SUBMITTED_AS.get(name, number)
        page = await _page(stage, f"/api/log/self?x_request_id={number}", token)
        shown = [(each["type"], each["model_name"], each["quota"]) for each in page]
        logged = [each for each in facts["logged"] if each["x_request_id"]]
        wanted = [(each["type"], each["model"], each["quota"]) for each in logged]
        assert shown[::-1] == wanted


async def _page(
    stage: Stage, path: str, token: tuple[str, str]
) -> list[dict[str, object]]:
    async with RawConnection(stage.emu.base_url) as raw:
        answer = (await raw.request("GET", path, [token])).fields()["data"]
    assert isinstance(answer, dict)
    rows: list[dict[str, object]] = answer["list"]
    return rows


def _paid(state: dict[str, object]) -> int:
    """Return what was charged and not given back."""
    refunds = state["refunds"]
    assert isinstance(refunds, list)
    return _number(state, "charged") - sum(int(refund["units"]) for refund in refunds)


def _number(state: dict[str, object], name: str) -> int:
    value = state[name]
    assert isinstance(value, int)
    return value


def test_each_sample_is_replayed_or_left_out_for_a_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No name is in neither list, and of Midjourney none is left out."""
    groups = Counter(name.split("-", maxsplit=1)[0] for name in REPLAYED)
    with capsys.disabled():
        print(f"\n{len(REPLAYED)} of {len(SAMPLES)} exchanges agree: {dict(groups)}")  # noqa: T201
    assert set(LEFT_OUT) <= set(SAMPLES)
    assert all(LEFT_OUT.values())
    assert not {name.split("-", maxsplit=1)[0] for name in LEFT_OUT} & MIDJOURNEY
    assert len([name for name in REPLAYED if name.startswith(_OF_MIDJOURNEY)]) == 180
    videos = [name for name in REPLAYED if name.split("-", maxsplit=1)[0] in VIDEOS]
    assert len(videos) == 147  # with the echoes of request ids
    counts = [groups[group] for group in ("files", "models", "balance", "stability")]
    assert counts == [17, 3, 15, 3]
    assert not [name for name in LEFT_OUT if name.startswith("async-")]
    assert groups["flux"] == 50  # all but Replicate, and a relay that repeats calls
    of_models = [name for name in REPLAYED if name.split("-")[0] in recorded_llm.GROUPS]
    assert len(of_models) == 81


_OF_MIDJOURNEY = tuple(f"{group}-" for group in (*MIDJOURNEY, "fetch", "list", "seed"))


async def test_submit_without_a_request_id_gets_one(api: RawApi) -> None:
    """A generated request id is a date, nanoseconds and eight digits at random."""
    response = await api.post(SWAP, swap_body())

    assert re.fullmatch(r"20\d{12}\d{1,9}\d{8}", response.header("X-Request-Id") or "")
