"""Recorded exchanges, played as faults."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from ezlink_async.emulator import Emulator, faults
from tests.emulator.recorded import FILES, SAMPLES, body_of
from tests.support.emulator_requests import FETCH, RawApi

_OWN = {"Content-Length", "Date", "Transfer-Encoding", "X-Request-Id", "Connection"}


def _kept(headers: Iterable[Sequence[str]]) -> list[tuple[str, str]]:
    return [(name, text) for name, text in headers if name not in _OWN]


def _shape(name: str) -> tuple[object, ...]:
    response = SAMPLES[name]["response"]
    names = tuple(header for header, _ in response["headers"])
    return (response["status"], names, *response["body"])


# One exchange of each status, each row of headers, and each way to store a body.
_SHAPES = {
    _shape(name): name for name in SAMPLES if SAMPLES[name]["response"]["complete"]
}


async def test_each_recorded_exchange_is_answered_again(
    emu: Emulator, api: RawApi
) -> None:
    """Status, body and headers, but for the lengths, date and request id."""
    assert {"text", "base64", "bytes"} <= {kind for *_, kind in _SHAPES}
    for name in _SHAPES.values():
        emu.control.script("fetch", faults.recorded(name, *FILES))
        answer = await api.get(FETCH, ("X-Request-ID", "mine"))

        recorded = SAMPLES[name]["response"]
        old = dict(recorded["headers"]).get("X-Request-Id", "-")
        assert answer.status == recorded["status"], name
        assert _kept(answer.headers) == _kept(recorded["headers"]), name
        assert answer.header("X-Request-Id") in {None, "mine"}
        if "bytes" in recorded["body"]:
            assert len(answer.body) == recorded["body"]["bytes"]
        else:
            assert answer.body == body_of(name).replace(old.encode(), b"mine"), name


async def test_recorded_answer_that_broke_off_breaks_off(
    emu: Emulator, api: RawApi
) -> None:
    emu.control.script("fetch", faults.recorded("audio-speech-cut-sized", *FILES))

    with pytest.raises(asyncio.IncompleteReadError) as caught:
        await api.get(FETCH)
    assert caught.value.partial == b""


async def test_recorded_call_without_an_answer_closes_the_connection(
    emu: Emulator, api: RawApi
) -> None:
    name = "images-timeout-default-retries"
    emu.control.script("fetch", faults.recorded(name, *FILES))

    with pytest.raises(asyncio.IncompleteReadError):
        await api.get(FETCH)


async def test_recorded_answer_may_follow_the_work(emu: Emulator, api: RawApi) -> None:
    """With *job* the server handles the request, and charges."""
    played = [faults.recorded("imagine-full", *FILES, job=job) for job in (False, True)]
    emu.control.script("imagine", *played)
    charged = []
    for _ in range(2):
        assert (await api.call("imagine", prompt="a fox")).status == 400
        charged.append(emu.control.charged)

    assert charged == [0, 18_000]


async def test_recorded_connection_close_closes_it(
    emu: Emulator, api: RawApi, tmp_path: Path
) -> None:
    headers = [["Connection", "close"], ["Content-Type", "text/html"]]
    response = {"status": 413, "headers": headers, "body": {}, "complete": True}
    file = tmp_path / "own.jsonl"
    file.write_text(json.dumps({"name": "mine", "response": response}), "utf-8")
    emu.control.script("fetch", faults.recorded("mine", file))

    answer = await api.get(FETCH)

    assert (answer.status, answer.header("Connection")) == (413, "close")


def test_unknown_name_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="no exchange dance"):
        faults.recorded("dance", FILES[0])
