"""
What the relay makes of each provider's answer, to a submit and to a query.

After the ``HandleVideoRequest`` and ``HandleVideoResult`` of ye4293/one-api
``relay/channel/{keling,doubao,minimax,vertexai,xai,ali,gemini}``. Mind its oddities: a
status of HTTP is often not looked at, and a failed query may read as a failed video.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from attrs import frozen

from ezlink_async.emulator.faults import Upstream
from ezlink_async.emulator.http import go_json
from ezlink_async.emulator.relay.video.answers import (
    OK,
    BadJsonError,
    FailedQueryError,
    RefusedVideoError,
    below,
    connection_error,
    number_in,
    object_of,
    text_in,
)
from ezlink_async.emulator.relay.video.calls import VideoCall
from ezlink_async.emulator.relay.video_rows import VideoRow

Fields = dict[str, object]
_PENDING = (OK, 202)


@frozen(kw_only=True)
class Look:
    """
    What a query shows; *tokens* and *model* are those of a Doubao answer.

    *addresses* are None as long as the answer has none; one of them may be empty.
    """

    task_id: str
    status: str
    message: str = ""
    video_id: str = ""
    duration: str = ""
    addresses: tuple[str, ...] | None = None
    usage: Mapping[str, object] | None = None
    tokens: float = 0
    model: str = ""

    def shown(self, *, cached: bool = False) -> dict[str, object]:
        """Return the fields of the answer, in the order of the wire."""
        fields: dict[str, object] = {"task_id": self.task_id}
        if self.addresses:
            if result := _result_text(self.addresses, cached=cached):
                fields["video_result"] = result
            fields["video_results"] = [{"url": each} for each in self.addresses]
        fields |= {
            "video_id": self.video_id,
            "task_status": self.status,
            "message": self.message,
            "duration": self.duration,
        }
        return fields | ({"usage": self.usage} if self.usage else {})


def _result_text(addresses: tuple[str, ...], *, cached: bool) -> str:
    """Return the address; of several a JSON list, or the first if it is *cached*."""
    if len(addresses) == 1 or cached:
        return addresses[0]
    return go_json.dumps(list(addresses)).decode()


@frozen
class Submitted:
    """An accepted submit; *task_id* is empty when the provider gave none."""

    task_id: str
    message: str = ""


# Submits


def read_submit(call: VideoCall, answer: Upstream, base: str) -> Submitted:
    """Return what a provider accepted, or raise RefusedVideoError."""
    if answer.broken == "half":
        raise RefusedVideoError(500, "read_response_error", "unexpected EOF")
    if answer.broken:
        text = connection_error(answer, "Post", base + call.path)
        text = f"do request: {text}" if call.provider == "omni" else text
        raise RefusedVideoError(500, "request_error", text)
    try:
        fields = object_of(answer.content)
    except BadJsonError as exc:
        code = _PARSE_CODES.get(call.provider, "response_parse_error")
        raise RefusedVideoError(500, code, str(exc)) from None
    return _SUBMITS[call.provider](answer, fields)


def _kling_submit(answer: Upstream, fields: Fields) -> Submitted:
    if answer.status != OK:
        raw = answer.content.decode("utf-8", "replace")
        message = text_in(fields, "message")
        text = f"API error ({answer.status}): {message}, full response: {raw}"
        raise RefusedVideoError(answer.status, "api_error", text)
    return Submitted(text_in(fields, "data", "task_id"))


def _doubao_submit(answer: Upstream, fields: Fields) -> Submitted:
    if answer.status != OK:
        text = text_in(fields, "error", "message") or "豆包API错误"
        raise RefusedVideoError(answer.status, "api_error", text)
    return Submitted(text_in(fields, "id"))


_MINIMAX_REFUSALS = {1002: 429, 1008: 429, 1004: 403, 1013: 400, 1026: 400}


def _minimax_submit(_answer: Upstream, fields: Fields) -> Submitted:
    code = int(number_in(fields, "base_resp", "status_code"))
    message = text_in(fields, "base_resp", "status_msg")
    if code in _MINIMAX_REFUSALS:
        text = f"API error: {message}"
        raise RefusedVideoError(_MINIMAX_REFUSALS[code], "api_error", text)
    if code:
        raise RefusedVideoError(500, "api_error", f"Unknown API error: {message}")
    return Submitted(text_in(fields, "task_id"), message)


def _veo_submit(answer: Upstream, fields: Fields) -> Submitted:
    if answer.status != OK:
        message = text_in(fields, "error", "message") or "Unknown error"
        raise RefusedVideoError(answer.status, "api_error", f"VEO API错误: {message}")
    return Submitted(text_in(fields, "name").rpartition("/")[2])


def _grok_submit(answer: Upstream, fields: Fields) -> Submitted:
    if answer.status not in _PENDING:
        raise RefusedVideoError(answer.status, "api_error", _grok_error(answer, fields))
    return Submitted(text_in(fields, "request_id"))


def _grok_error(answer: Upstream, fields: Fields) -> str:
    error = text_in(fields, "error") or answer.content.decode("utf-8", "replace")
    return f"{text_in(fields, 'code')}: {error}"


def _wan_submit(_answer: Upstream, fields: Fields) -> Submitted:
    code, message = text_in(fields, "code"), text_in(fields, "message")
    if code:
        text = f"ali API error: [{code}] {message}"
        raise RefusedVideoError(400, "api_error", text)
    return Submitted(text_in(fields, "output", "task_id"))


def _omni_submit(answer: Upstream, fields: Fields) -> Submitted:
    error, number = fields.get("error"), text_in(fields, "id")
    if answer.status != OK or error is not None:
        unnamed = f"Interactions API error (HTTP {answer.status})"
        text = unnamed if error is None else text_in(error, "message")
        raise RefusedVideoError(answer.status, "api_error", text)
    if not number:
        text = "no interaction ID in response"
        raise RefusedVideoError(500, "invalid_response", text)
    return Submitted(number)


_SUBMITS: Mapping[str, Callable[[Upstream, Fields], Submitted]] = {
    "kling": _kling_submit,
    "doubao": _doubao_submit,
    "minimax": _minimax_submit,
    "veo": _veo_submit,
    "grok": _grok_submit,
    "wan": _wan_submit,
    "omni": _omni_submit,
}
_PARSE_CODES = {
    "doubao": "parse_response_error",
    "wan": "parse_ali_video_response_failed",
}


# Queries


def read_look(row: VideoRow, answer: Upstream, base: str) -> Look:
    """Return what a query shows, or raise FailedQueryError."""
    before, unparsed = _TEXTS.get(row.provider, ("do request", ""))
    method = "Post" if row.provider == "veo" else "Get"
    if answer.broken == "half":
        raise FailedQueryError("unexpected EOF")
    if answer.broken:
        text = connection_error(answer, method, base + row.path + row.task_id)
        raise FailedQueryError(f"{before}: {text}" if before else text)
    if row.provider == "omni" and answer.status != OK:
        raw = answer.content.decode("utf-8", "replace")
        raise FailedQueryError(f"Interactions API returned HTTP {answer.status}: {raw}")
    try:
        fields = object_of(answer.content)
    except BadJsonError as exc:
        raise FailedQueryError(f"{unparsed}{exc}") from None
    return _LOOKS[row.provider](row, answer, fields)


_UNPARSED = "failed to parse response JSON: "
_TEXTS = {
    "minimax": ("failed to send request", _UNPARSED),
    "veo": ("failed to do request", _UNPARSED),
    "grok": ("", ""),
    "omni": ("request failed: do request", "failed to parse response: "),
}


def _own_look(
    row: VideoRow,
    status: str,
    message: str,
    *addresses: str,
    duration: str = "",
    usage: Mapping[str, object] | None = None,
) -> Look:
    """Return a look that has no more than these facts, and the row's own."""
    return Look(
        task_id=row.task_id,
        status=status,
        message=message,
        video_id=row.task_id,
        duration=duration or row.duration,
        addresses=addresses or None,
        usage=usage,
    )


def _kling_look(row: VideoRow, _answer: Upstream, fields: Fields) -> Look:
    data = below(fields, "data")
    videos = below(data, "task_result", "videos")
    first = videos[0] if isinstance(videos, list) and videos else None
    word = text_in(data, "task_status")
    done = word == "succeed" and first is not None
    return Look(
        task_id=text_in(data, "task_id"),
        status="processing" if word == "submitted" else word,
        message=text_in(data, "task_status_msg"),
        video_id=text_in(first, "id"),
        duration=text_in(first, "duration") or ("" if done else row.duration),
        addresses=(text_in(first, "url"),) if done else None,
    )


_DOUBAO_WORDS = {
    "queued": "processing",
    "running": "processing",
    "succeeded": "succeeded",
    "failed": "failed",
}


def _doubao_look(row: VideoRow, _answer: Upstream, fields: Fields) -> Look:
    word = text_in(fields, "status")
    address = text_in(fields, "content", "video_url")
    done = word == "succeeded"
    return Look(
        task_id=text_in(fields, "id"),
        status=_DOUBAO_WORDS.get(word, "unknown"),
        message=text_in(fields, "error", "message") if word == "failed" else "",
        video_id=text_in(fields, "id"),
        duration=row.duration,
        addresses=(address,) if done and address else None,
        tokens=number_in(fields, "usage", "total_tokens") if done else 0,
        model=text_in(fields, "model"),
    )


_MINIMAX_WORDS = {
    "Preparing": "processing",
    "Processing": "processing",
    "Success": "succeed",
    "Fail": "failed",
}


def _minimax_look(row: VideoRow, _answer: Upstream, fields: Fields) -> Look:
    has_file = bool(text_in(fields, "file_id"))
    word = _MINIMAX_WORDS.get(text_in(fields, "status"), "unknown")
    return Look(
        task_id=row.task_id,
        status="succeed" if has_file else word,
        message=text_in(fields, "base_resp", "status_msg"),
        duration=row.duration,
        # A second answer, about the file, that the provider's first one carries here.
        addresses=(text_in(fields, "file", "download_url"),) if has_file else None,
    )


def _veo_look(row: VideoRow, _answer: Upstream, fields: Fields) -> Look:
    look = partial(_own_look, row)
    if fields.get("done") is not True:
        return look("processing", "Operation in progress")
    if isinstance(fields.get("error"), dict):
        unnamed = "Operation failed with an unknown error."
        return look("failed", text_in(fields, "error", "message") or unnamed)
    response = fields.get("response")
    if not isinstance(response, dict):
        return look("failed", "Operation completed with an invalid response format.")
    if reason := _veo_filtered(response):
        return look("failed", reason)
    if found := _veo_addresses(response):
        return look("succeed", "Video generated successfully.", *found)
    return look("failed", "Operation completed, but no video result was found.")


def _veo_filtered(response: Fields) -> str:
    """Return why videos were filtered, empty when none was."""
    count = number_in(response, "raiMediaFilteredCount")
    if count <= 0:
        return ""
    given = response.get("raiMediaFilteredReasons")
    texts = (
        [one for one in given if isinstance(one, str)]
        if isinstance(given, list)
        else []
    )
    return "; ".join(texts) or f"Content filtered (count: {count:.0f})"


def _veo_addresses(response: Fields) -> tuple[str, ...]:
    videos = response.get("videos")
    found = []
    for video in videos if isinstance(videos, list) else []:
        if address := text_in(video, "gcsUri"):
            found.append(address.replace("gs://", "https://storage.googleapis.com/", 1))
        elif content := text_in(video, "bytesBase64Encoded"):
            found.append(f"data:video/mp4;base64,{content}")
    return tuple(found)


def _grok_look(row: VideoRow, answer: Upstream, fields: Fields) -> Look:
    # docs.x.ai: a dollar has 10,000,000,000 ticks
    dollars = number_in(fields, "usage", "cost_in_usd_ticks") / 1e10
    address, word = text_in(fields, "video", "url"), text_in(fields, "status")
    error = text_in(fields, "error") or text_in(fields, "error", "message")
    status, message = "processing", f"Video status: {word}"
    if answer.status not in _PENDING:
        address = ""
        status, message = "failed", _grok_error(answer, fields)
    elif address:
        status, message = "succeed", "Video generation completed"
    elif word == "pending":
        message = "Video generation in progress"
    elif error:
        status, message = "failed", f"Video generation failed: {error}"
    seconds = int(number_in(fields, "video", "duration"))
    if not address:
        return _own_look(row, status, message)
    length = str(seconds or "")
    usage = {"cost_in_usd": dollars} if dollars else None
    return _own_look(row, status, message, address, duration=length, usage=usage)


def _wan_look(row: VideoRow, _answer: Upstream, fields: Fields) -> Look:
    status, message = _wan_status(fields)
    address = text_in(fields, "output", "video_url") if status == "succeed" else ""
    return _own_look(row, status, message, *filter(None, [address]))


def _wan_status(fields: Fields) -> tuple[str, str]:
    number = text_in(fields, "request_id")
    code, text = text_in(fields, "code"), text_in(fields, "message")
    if code:
        return "failed", f"阿里云API错误: [{code}] {text} (request_id: {number})"
    if not isinstance(fields.get("output"), dict):
        return "failed", f"未收到响应数据 (request_id: {number})"
    word = text_in(fields, "output", "task_status")
    if word == "SUCCEEDED":
        return "succeed", f"Video generation completed, request_id: {number}"
    if word == "FAILED":
        return "failed", f"{_wan_failure(fields)} (request_id: {number})"
    if word == "UNKNOWN":
        return "failed", f"任务已过期或未知 (request_id: {number})"
    return "processing", f"Video generation in progress, request_id: {number}"


def _wan_failure(fields: Fields) -> str:
    code, text = text_in(fields, "output", "code"), text_in(fields, "output", "message")
    if code and text:
        return f"视频生成失败: [{code}] {text}"
    return f"视频生成失败: {text}" if text else "视频生成失败"


def _omni_look(row: VideoRow, _answer: Upstream, fields: Fields) -> Look:
    word, usage = text_in(fields, "status"), fields.get("usage")
    address = _omni_address(fields) if word == "completed" else ""
    status, message = "processing", "Video is being generated"
    if address:
        status, message = "succeed", "Video generated successfully"
    elif word in _OMNI_FAILURES:
        status = "failed"
        message = text_in(fields, "error", "message") or _OMNI_FAILURES[word]
    seen = usage if address and isinstance(usage, dict) else None
    return _own_look(row, status, message, *filter(None, [address]), usage=seen)


_OMNI_FAILURES = {
    "completed": "Interaction completed but no video output found",
    "failed": "Video generation failed",
    "cancelled": "Video generation was cancelled",
}


def _omni_address(fields: Fields) -> str:
    outputs = fields.get("outputs")
    for output in outputs if isinstance(outputs, list) else []:
        if text_in(output, "type") == "video":
            return text_in(output, "uri")
    return ""


_LOOKS: Mapping[str, Callable[[VideoRow, Upstream, Fields], Look]] = {
    "kling": _kling_look,
    "doubao": _doubao_look,
    "minimax": _minimax_look,
    "veo": _veo_look,
    "grok": _grok_look,
    "wan": _wan_look,
    "omni": _omni_look,
}
