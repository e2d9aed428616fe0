"""Calls of language models that were not recorded, and odd ones."""

from __future__ import annotations

import base64
import json
import math
import struct

import pytest

from ezlink_async.emulator import Emulator, EmulatorSettings, faults, serving
from ezlink_async.emulator.relay.llm import prices
from tests.emulator.recorded import FILES, SAMPLES, body_of
from tests.emulator.recorded_llm import GROUPS
from tests.support.emulator_requests import RawApi, headers
from tests.support.wire import RawConnection, RawResponse

_CHAT = "/v1/chat/completions"
_NO_MODEL = "Model name is required"


async def _post(api: RawApi, path: str, **fields: object) -> RawResponse:
    return await api.post(f"/v1/{path}", json.dumps(fields).encode())


async def _chat(api: RawApi, *messages: object, **fields: object) -> RawResponse:
    return await _post(
        api, "chat/completions", model="gpt-4o", messages=list(messages), **fields
    )


def _said(answer: RawResponse) -> object:
    return json.loads(answer.body)["choices"][0]["message"]["content"]


def _message(answer: RawResponse) -> str:
    return str(json.loads(answer.body)["error"]["message"])


async def _form(
    emu: Emulator, path: str, *parts: tuple[str, bytes], end: bytes = b"--b--\r\n"
) -> RawResponse:
    """Send a form; a part whose name has a dot is the file ``image`` or ``file``."""
    body = b""
    for name, content in parts:
        field = f'name="{name}"'
        if "." in name:
            kind = "image" if name.endswith("png") else "file"
            field = f'name="{kind}"; filename="{name}"'
        head = f"--b\r\nContent-Disposition: form-data; {field}\r\n\r\n"
        body += head.encode() + content + b"\r\n"
    named = [headers(emu)[0], ("Content-Type", "multipart/form-data; boundary=b")]
    async with RawConnection(emu.base_url) as raw:
        return await raw.request("POST", f"/v1/{path}", named, body + end)


# Bodies


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"model":7}', b"\xff", b"null"])
async def test_body_without_a_model_is_refused(api: RawApi, body: bytes) -> None:
    answer = await api.post(_CHAT, body)
    assert answer.status == 400
    assert _message(answer).startswith(_NO_MODEL)


async def test_form_that_broke_off_is_refused(emu: Emulator) -> None:
    answer = await _form(emu, "images/edits", ("model", b"dall-e-2"), end=b"")
    assert (answer.status, _message(answer)[:22]) == (400, _NO_MODEL)


@pytest.mark.parametrize(
    ("messages", "kind"),
    [("hi", "string"), (7, "number"), (True, "bool"), ({}, "object")],
)
async def test_messages_of_another_type_are_refused_in_the_words_of_go(
    api: RawApi, messages: object, kind: str
) -> None:
    answer = await _post(api, "chat/completions", model="gpt-4o", messages=messages)
    assert answer.status == 400
    assert f"cannot unmarshal {kind} into" in _message(answer)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"role": "user", "content": "  two  words "}, "  two  words "),
        ({"role": "user", "content": ""}, ""),
        ({"role": 7, "content": 7}, ""),
        ("words", ""),
        ({"content": [{"text": "a"}, {"text": 7}, 7, {"text": "b"}]}, "ab"),
        ({"content": "\ud800"}, "?"),
    ],
)
async def test_last_message_is_repeated_whatever_it_is(
    api: RawApi, message: object, said: str
) -> None:
    assert _said(await _chat(api, {"role": "system", "content": "x"}, message)) == said


async def test_same_chat_has_the_same_answer_and_another_one_another_id(
    stopped_api: RawApi,
) -> None:
    one, same, other = [
        (await _chat(stopped_api, {"role": "user", "content": text})).body
        for text in ("a", "a", "b")
    ]
    assert one == same != other


@pytest.mark.parametrize("limit", [0, "0", None, -1, 10**400, "9" * 5000, 1.5, []])
async def test_odd_limit_limits_nothing(api: RawApi, limit: object) -> None:
    message = {"role": "user", "content": "a b c"}
    assert _said(await _chat(api, message, max_tokens=limit)) == "a b c"


async def test_limit_may_be_written_as_text(api: RawApi) -> None:
    message = {"role": "user", "content": "a b c"}
    assert _said(await _chat(api, message, max_tokens="2")) == "a b"


# Embeddings


@pytest.mark.parametrize(
    ("given", "count"), [("a", 1), (["a", "b"], 2), ([1, 2], 1), ([[1, 2], [3]], 2)]
)
async def test_texts_and_tokens_are_embedded(
    api: RawApi, given: object, count: int
) -> None:
    answer = await _post(api, "embeddings", model="text-embedding-3-large", input=given)
    data = json.loads(answer.body)["data"]
    assert [len(each["embedding"]) for each in data] == [3072] * count


async def test_packed_vector_is_the_plain_one(api: RawApi) -> None:
    fields = {"model": "text-embedding-3-small", "input": "x", "dimensions": 10**6}
    plain = await _post(api, "embeddings", **fields)
    packed = await _post(api, "embeddings", **fields, encoding_format="base64")
    vector = json.loads(plain.body)["data"][0]["embedding"]
    content = base64.b64decode(json.loads(packed.body)["data"][0]["embedding"])
    assert len(vector) == 8192
    unpacked = struct.unpack("<8192f", content)
    pairs = zip(vector, unpacked, strict=True)
    assert all(math.isclose(one, other, rel_tol=1e-5) for one, other in pairs)


# Pictures


async def _sketch(api: RawApi, **fields: object) -> tuple[int, int]:
    answer = await _post(
        api, "images/generations", response_format="b64_json", prompt="x", **fields
    )
    png = base64.b64decode(json.loads(answer.body)["data"][0]["b64_json"])
    width, height = struct.unpack_from(">II", png, 16)
    return width, height


@pytest.mark.parametrize(
    ("size", "made"),
    [
        ("1792x1024", (1792, 1024)),
        ("9x8", (9, 8)),
        ("9999x40", (4096, 40)),
        ("auto", (1024, 1024)),
        ("0x5", (1024, 1024)),
        (None, (1024, 1024)),
    ],
)
async def test_sketch_has_the_size_asked_for(
    api: RawApi, size: str | None, made: tuple[int, int]
) -> None:
    assert await _sketch(api, model="gpt-image-1", size=size) == made


@pytest.mark.parametrize(
    ("model", "size", "words"),
    [
        ("dall-e-2", "1792x1024", "size not supported for DALL-E 2: 1792x1024"),
        ("dall-e-3", "256x256", "size not supported for DALL-E 3: 256x256"),
    ],
)
async def test_size_without_a_price_is_refused(
    api: RawApi, model: str, size: str, words: str
) -> None:
    answer = await _post(api, "images/generations", model=model, size=size)
    assert (answer.status, _message(answer)) == (500, words)


@pytest.mark.parametrize(
    ("model", "size", "quality", "number", "price"),
    [
        ("dall-e-2", "256x256", "", 3, 30_000),
        ("dall-e-3", "1024x1024", "standard", 0, 20_000),
        ("dall-e-3", "1792x1024", "", 1, 40_000),
        ("dall-e-3", "", "hd", 1, 40_000),
        ("dall-e-3", "1024x1792", "hd", 2, 120_000),
        ("grok-2-image", "", "", 1, 50_000),
    ],
)
async def test_picture_is_charged_by_size_quality_and_number(
    model: str, size: str, quality: str, number: int, price: int
) -> None:
    fields = {"model": model, "size": size, "quality": quality, "n": number}
    async with serving() as emu:
        answer = await _post(RawApi(emu), "images/generations", prompt="x", **fields)
        assert (answer.status, emu.control.charged) == (200, price)


async def test_edit_has_the_size_of_its_picture_and_is_charged_once(
    emu: Emulator,
) -> None:
    png = b"\x89PNG\r\n\x1a\n" + b"\0" * 8 + struct.pack(">II", 40, 60)
    fields = (("model", b"dall-e-2"), ("n", b"2"), ("response_format", b"b64_json"))
    whole = await _form(emu, "images/edits", ("a.png", png), *fields)
    short = await _form(emu, "images/edits", ("a.png", png[:20]), *fields)
    sizes = [
        struct.unpack_from(">II", base64.b64decode(each["b64_json"]), 16)
        for answer in (whole, short)
        for each in json.loads(answer.body)["data"]
    ]
    assert sizes == [(40, 60)] * 2 + [(1024, 1024)] * 2
    assert emu.control.charged == 20_000


async def test_edit_can_be_streamed(emu: Emulator) -> None:
    parts = (("model", b"gpt-image-1"), ("stream", b"true"), ("a.png", b"x"))
    answer = await _form(emu, "images/edits", *parts)
    assert answer.body.startswith(b"event: image_edit.completed\ndata: {")


@pytest.mark.parametrize(
    "name", ["x", "1x1-a", "ax1-a-a.png", "1x1-a-%C3%A9.png", "%2F"]
)
async def test_address_that_describes_no_sketch_is_unknown(
    api: RawApi, name: str
) -> None:
    assert (await api.get(f"/__emu/sketch/{name}")).status == 404


async def test_picture_that_is_no_json_is_charged_all_the_same() -> None:
    """The recording has it of three attempts at once."""
    for balance, charged in ((10**9, 20_000), (100_000, 0)):
        async with serving(EmulatorSettings(balance=balance)) as emu:
            emu.control.script("llm", faults.Upstream(200, "<html>"))
            answer = await _post(RawApi(emu), "images/generations", model="dall-e-3")
            assert answer.status == 500
            assert "unmarshal_response_body_failed" in answer.body.decode()
            assert emu.control.charged == charged


async def test_busy_upstream_of_a_picture_is_a_429(emu: Emulator, api: RawApi) -> None:
    emu.control.script("llm", faults.Upstream(429, {"error": {"message": "slow"}}))
    answer = await _post(api, "images/generations", model="dall-e-3")
    assert (answer.status, "saturated" in _message(answer)) == (429, True)
    assert emu.control.charged == 0


# Sounds


async def test_text_that_is_too_long_is_not_read_out(api: RawApi) -> None:
    fields = {"model": "tts-1", "voice": "alloy"}
    assert (await _post(api, "audio/speech", input="é" * 2048, **fields)).status == 200
    answer = await _post(api, "audio/speech", input="é" * 2049, **fields)
    assert answer.status == 400
    assert "text_too_long" in answer.body.decode()


async def test_sound_that_is_missing_has_no_text(emu: Emulator) -> None:
    answer = await _form(emu, "audio/transcriptions", ("response_format", b"text"))
    assert answer.body == b"\n"


@pytest.mark.parametrize(
    ("form", "body", "status"),
    [
        ("json", "{}", 200),
        ("json", "[]", 200),
        ("json", '{"text":7}', 200),
        ("json", "words", 500),
        ("text", "words\n", 200),
        ("srt", "1\n00 --> 01\nwords\n\n", 200),
        ("odd", "{}", 500),
        ("odd", '{"usage":{"type":"duration","seconds":3}}', 200),
    ],
)
async def test_transcription_is_charged_by_its_text(
    emu: Emulator, form: str, body: str, status: int
) -> None:
    emu.control.script("llm", faults.Upstream(200, body))
    parts = (("response_format", form.encode()), ("a.wav", b"x"))
    answer = await _form(emu, "audio/transcriptions", *parts)
    assert answer.status == status
    words = prices.count("words") if "words" in body else 0
    free = status != 200 or "duration" in body
    assert emu.control.charged == (0 if free else 500 + words)


async def test_error_of_a_transcription_that_is_no_json_keeps_its_status(
    emu: Emulator,
) -> None:
    emu.control.script("llm", faults.Upstream(502, "<html>"))
    answer = await _form(emu, "audio/translations", ("a.wav", b"x"))
    assert (answer.status, _message(answer)) == (502, "")


# The upstream


async def test_deposit_is_kept_only_of_a_small_balance() -> None:
    for balance, charged in ((100_000, 1255), (10**9, 0)):
        async with serving(EmulatorSettings(balance=balance)) as emu:
            emu.control.script("llm", faults.Upstream(broken="reset"))
            answer = await _post(
                RawApi(emu), "completions", model="gpt-4o", prompt="12345678"
            )
            assert answer.status == 500
            assert emu.control.charged == charged


async def test_half_an_answer_to_a_chat_is_an_error_that_is_free(
    emu: Emulator, api: RawApi
) -> None:
    emu.control.script("llm", faults.Upstream(broken="half"))
    answer = await _chat(api, {"role": "user", "content": "x"})
    assert (answer.status, _message(answer)) == (500, "unexpected EOF")
    assert emu.control.charged == 0


@pytest.mark.parametrize(
    ("choices", "received"),
    [
        ([{"message": {"content": "12345678"}}], 2),
        ([{"text": "1234"}, {"text": 7}, 7, {"message": 7}], 1),
        (7, 0),
    ],
)
async def test_answer_without_usage_is_counted(
    emu: Emulator, api: RawApi, choices: object, received: int
) -> None:
    emu.control.script("llm", faults.Upstream(200, {"choices": choices}))
    await _post(api, "completions", model="gpt-4o", prompt="1234")
    assert emu.control.charged == math.ceil((1 + 3 * received) * 2.5)


async def test_long_answer_is_sent_with_the_length_of_the_upstream(
    api: RawApi,
) -> None:
    answer = await _chat(api, {"role": "user", "content": "x" * 5000})
    assert answer.header("Content-Length") == str(len(answer.body))
    assert answer.header("Transfer-Encoding") is None


_RECORDED = [
    name
    for name, sample in SAMPLES.items()
    if name.split("-")[0] in GROUPS and sample["response"]["complete"]
]


@pytest.mark.parametrize("name", _RECORDED)
async def test_every_recorded_answer_can_be_played(
    emu: Emulator, api: RawApi, name: str
) -> None:
    emu.control.script("llm", faults.recorded(name, *FILES))
    answer = await _chat(api, {"role": "user", "content": "x"})
    recorded = SAMPLES[name]["response"]
    assert answer.status == recorded["status"]
    number = dict(recorded["headers"])["X-Request-Id"].encode()
    ours = (answer.header("X-Request-Id") or "").encode()
    assert answer.body == body_of(name).replace(number, ours)
    assert emu.control.charged == 0


async def test_account_sees_the_charge_and_the_refusal(emu: Emulator) -> None:
    api = RawApi(emu)
    emu.control.script("llm", faults.Upstream(400, {"error": {"message": "no"}}))
    await _chat(api, {"role": "user", "content": "x"})
    await _chat(api, {"role": "user", "content": "x"})
    token = ("Authorization", emu.account_token)
    async with RawConnection(emu.base_url) as raw:
        page = (await raw.request("GET", "/api/log/self", [token])).fields()["data"]
    assert isinstance(page, dict)
    shown = [(row["type"], row["model_name"], row["quota"]) for row in page["list"]]
    assert [row[:2] for row in shown] == [(2, "gpt-4o"), (5, "gpt-4o")]
    assert [row[2] > 0 for row in shown] == [True, False]
