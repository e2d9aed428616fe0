"""What the relay makes of odd answers of each provider; nothing is sent."""

from __future__ import annotations

import pytest

from ezlink_async.emulator.faults import Upstream
from ezlink_async.emulator.relay.video.answers import (
    BadJsonError,
    FailedQueryError,
    RefusedVideoError,
    object_of,
)
from ezlink_async.emulator.relay.video.calls import provider_of, read_call
from ezlink_async.emulator.relay.video.providers import read_look, read_submit
from ezlink_async.emulator.relay.video_rows import VideoRows
from ezlink_async.emulator.upstream.tasks import ResultStore
from tests.emulator.recorded_video import SUBMITS
from tests.support.emulator_videos import video_row

_BASE = "http://127.0.0.1:9"


def _look(provider: str, body: object, status: int = 200) -> tuple[str, str]:
    look = read_look(video_row(provider), Upstream(status, body), _BASE)
    return look.status, look.message


@pytest.mark.parametrize(
    ("provider", "body", "seen"),
    [
        ("kling", {}, ("", "")),
        ("kling", {"data": {"task_status": "odd"}}, ("odd", "")),
        (
            "kling",
            {"data": {"task_status": "succeed", "task_result": 7}},
            ("succeed", ""),
        ),
        ("doubao", {"status": "queued"}, ("processing", "")),
        ("doubao", {"status": "odd", "error": {"message": "x"}}, ("unknown", "")),
        ("minimax", {"status": "Odd", "base_resp": 7}, ("unknown", "")),
        ("veo", {"done": "true"}, ("processing", "Operation in progress")),
        (
            "veo",
            {"done": True, "error": {}},
            ("failed", "Operation failed with an unknown error."),
        ),
        (
            "veo",
            {"done": True, "response": []},
            ("failed", "Operation completed with an invalid response format."),
        ),
        (
            "veo",
            {"done": True, "response": {"videos": 7}},
            ("failed", "Operation completed, but no video result was found."),
        ),
        (
            "veo",
            {"done": True, "response": {"raiMediaFilteredCount": 2}},
            ("failed", "Content filtered (count: 2)"),
        ),
        (
            "veo",
            {
                "done": True,
                "response": {
                    "raiMediaFilteredCount": 2,
                    "raiMediaFilteredReasons": ["a", 7, "b"],
                },
            },
            ("failed", "a; b"),
        ),
        ("grok", {"status": "queued"}, ("processing", "Video status: queued")),
        (
            "grok",
            {"status": "failed", "error": {"message": "x"}},
            ("failed", "Video generation failed: x"),
        ),
        ("wan", {"request_id": "q"}, ("failed", "未收到响应数据 (request_id: q)")),
        (
            "wan",
            {"output": {"task_status": "UNKNOWN"}},
            ("failed", "任务已过期或未知 (request_id: )"),
        ),
        (
            "wan",
            {"output": {"task_status": "FAILED", "message": "x"}},
            ("failed", "视频生成失败: x (request_id: )"),
        ),
        (
            "wan",
            {"output": {"task_status": "FAILED"}},
            ("failed", "视频生成失败 (request_id: )"),
        ),
        (
            "wan",
            {"output": {"task_status": "SUCCEEDED"}, "request_id": "q"},
            ("succeed", "Video generation completed, request_id: q"),
        ),
        ("omni", {"status": "failed"}, ("failed", "Video generation failed")),
        (
            "omni",
            {"status": "completed", "outputs": 7},
            ("failed", "Interaction completed but no video output found"),
        ),
        ("omni", {"status": "odd"}, ("processing", "Video is being generated")),
    ],
)
def test_odd_answers_to_queries(
    provider: str, body: object, seen: tuple[str, str]
) -> None:
    assert _look(provider, body) == seen


def test_error_without_a_text_shows_the_body() -> None:
    assert _look("grok", {"code": "x"}, 500) == ("failed", 'x: {"code":"x"}')


def test_grok_shows_the_length_of_the_video() -> None:
    body = {"video": {"url": "u", "duration": 7}}
    look = read_look(video_row("grok"), Upstream(body=body), _BASE)

    assert (look.duration, look.usage) == ("7", None)


@pytest.mark.parametrize(
    ("provider", "answer", "refusal"),
    [
        ("doubao", Upstream(500, {}), (500, "api_error", "豆包API错误")),
        ("veo", Upstream(500, {}), (500, "api_error", "VEO API错误: Unknown error")),
        ("veo", Upstream(200, "x"), (500, "response_parse_error", "'x'")),
        ("doubao", Upstream(200, "[]"), (500, "parse_response_error", "array")),
        (
            "wan",
            Upstream(200, "7"),
            (500, "parse_ali_video_response_failed", "number"),
        ),
        ("grok", Upstream(500, {"code": "x"}), (500, "api_error", "x: {")),
        ("omni", Upstream(500, {}), (500, "api_error", "API error (HTTP 500)")),
        (
            "omni",
            Upstream(400, {"error": {"message": "bad"}}),
            (400, "api_error", "bad"),
        ),
        ("omni", Upstream(200, {}), (500, "invalid_response", "no interaction ID")),
        ("minimax", Upstream(broken="half"), (500, "read_response_error", "EOF")),
        ("grok", Upstream(broken="slow"), (500, "request_error", "deadline")),
    ],
)
def test_odd_answers_to_submits(
    provider: str, answer: Upstream, refusal: tuple[int, str, str]
) -> None:
    body = SUBMITS[provider]
    call = read_call(provider, str(body["model"]), body)
    with pytest.raises(RefusedVideoError) as caught:
        read_submit(call, answer, _BASE)

    status, code, words = refusal
    assert caught.value.reply.status == status
    assert f'"code":"{code}"'.encode() in caught.value.reply.body
    assert words in str(caught.value)


def test_failed_query_shows_no_host() -> None:
    with pytest.raises(FailedQueryError) as caught:
        read_look(video_row("veo"), Upstream(broken="refused"), _BASE)

    assert str(caught.value).endswith(
        "dial tcp 127.0.0.1:9: connect: connection refused"
    )
    assert b"127.0.0.1" not in caught.value.reply.body
    assert b'failed to do request: Post \\"' in caught.value.reply.body


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "unexpected end of JSON input"),
        (b'{"a":', "unexpected end of JSON input"),
        (b"<html>", "invalid character '<' looking for beginning of value"),
        (b"[" * 100_000, "exceeded max depth"),
        (b'"x"', "json: cannot unmarshal string into Go value of type "),
    ],
)
def test_unreadable_json_is_named_as_go_does(content: bytes, text: str) -> None:
    with pytest.raises(BadJsonError, match=text):
        object_of(content)


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("kling-v3-omni", "kling"),
        ("MiniMax-Hailuo-02", "minimax"),
        ("S2V-01", "minimax"),
        ("wan-x1", "wan"),
        ("gemini-omni-flash-preview", "omni"),
    ],
)
def test_model_names_its_provider(model: str, provider: str) -> None:
    assert provider_of(model) == provider


def test_oldest_of_equal_rows_is_found() -> None:
    rows = VideoRows(ResultStore(1))
    first, second = video_row("kling"), video_row("kling")
    for row in (first, second):
        rows.add(row)

    assert rows.find("t-1") is first
    assert rows.find("t-2") is None
