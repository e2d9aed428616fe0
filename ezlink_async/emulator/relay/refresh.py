"""
The relay's refresh: its rows take over the upstream's view of each task.

Follows ye4293/one-api ``controller/midjourney.go`` updateTask, line by line where it
is odd: a late success is a failure, the row before its last change decides about a
refund, and a row at 100 % is never refreshed again.
"""

from __future__ import annotations

from collections.abc import Mapping

from ezlink_async.emulator.relay.store import Row, Store
from ezlink_async.emulator.upstream.service import Upstream

_HOUR = 3_600_000
_LATE = "上游任务超时（超过1小时）"
_TEXTS = {
    "progress": "progress",
    "promptEn": "prompt_en",
    "state": "state",
    "imageUrl": "image_url",
    "status": "status",
    "failReason": "fail_reason",
}
_TIMES = {
    "submitTime": "submit_time",
    "startTime": "start_time",
    "finishTime": "finish_time",
}
_BUTTON = ("customId", "emoji", "label", "type", "style")


def refresh_rows(
    store: Store, upstream: Upstream, now: int, *, gone_channel: int | None = None
) -> None:
    """
    Copy the upstream's view of every unfinished task into its newest row.

    *now* is in milliseconds. With *gone_channel* the relay has lost its upstream
    and fails every unfinished row.
    """
    newest: dict[str, Row] = {}
    for row in store.unfinished():
        if gone_channel is not None:
            row.fail_reason = f"获取渠道信息失败，请联系管理员，渠道ID：{gone_channel}"
        if gone_channel is not None or not row.task_id:
            row.status, row.progress = "FAILURE", "100%"
        else:
            newest[row.task_id] = row
    for task_id, row in newest.items():
        view = upstream.poll(task_id)
        if view is not None:
            _update(store, row, view, now)


def _update(store: Store, row: Row, view: Mapping[str, object], now: int) -> None:
    fields: dict[str, object] = {
        **{name: view.get(key) or "" for key, name in _TEXTS.items()},
        **{name: view.get(key) or 0 for key, name in _TIMES.items()},
    }
    if now - row.submit_time > _HOUR:
        fields |= {"fail_reason": _LATE, "status": "FAILURE"}
    if not _is_news(row, fields):
        return
    row.code = 1
    for name, value in fields.items():
        setattr(row, name, value)
    properties = view.get("properties")
    if isinstance(properties, Mapping):
        names = ("finalPrompt", "finalZhPrompt")
        row.properties = {name: properties.get(name) or "" for name in names}
    if view.get("buttons") is not None:
        row.buttons = _buttons(view["buttons"])
    unfinished = row.progress != "100%" and row.fail_reason
    if unfinished or row.fail_reason == "未知集成":
        row.progress = "100%"
        store.refund(row, now // 1000)


def _is_news(row: Row, fields: Mapping[str, object]) -> bool:
    if row.code != 1 or fields["fail_reason"]:
        return True
    return any(getattr(row, name) != value for name, value in fields.items())


def _buttons(value: object) -> list[dict[str, object]] | None:
    if not isinstance(value, list):
        return None
    if not all(isinstance(item, Mapping) for item in value):
        return None
    return [{name: item.get(name) for name in _BUTTON} for item in value]
